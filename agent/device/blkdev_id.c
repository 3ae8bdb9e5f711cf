// SPDX-License-Identifier: Apache-2.0
/*
 * Who a block device is: names that its hardware, its partition table, its
 * mapping or its backing file give it, and that a reboot does not change.
 *
 * Nothing here is read from the medium through the partition, and only one
 * thing asks the device: the serial number of a virtio disk that udev has not
 * recorded is fetched by the kernel with a GET_ID command each time the
 * attribute is read. It changes nothing, but a tracker that is attached sees
 * it go by as a command of type DRV_IN. SCSI and NVMe answers come from what
 * the kernel kept when it found the disk.
 *
 * Any thread; no state.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <blkid/blkid.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev_sysfs.h"

/*
 * Made printable in the way udev does it, so that the same serial number is
 * the same string whether it came from udev or from sysfs. White space at the
 * ends goes, runs of it become one '_'.
 */
static void make_printable(char *s)
{
	char *from = s, *to = s;

	while (isspace((unsigned char)*from))
		from++;
	for (; *from; from++) {
		const unsigned char c = (unsigned char)*from;

		if (isspace(c)) {
			if (from[1] && !isspace((unsigned char)from[1]))
				*to++ = '_';
		} else if (isalnum(c) || strchr("#+-.:=@_/", c)) {
			*to++ = (char)c;
		} else {
			*to++ = '_';
		}
	}
	*to = 0;
}

static int udev_property(const struct blkdev_roots *roots, struct devno no,
			 const char *key, char *out, size_t cap)
{
	char path[512], line_key[80];

	(void)snprintf(path, sizeof(path), "%s/data/b%" PRIu32 ":%" PRIu32,
		       roots->udev, no.major, no.minor);
	(void)snprintf(line_key, sizeof(line_key), "E:%s", key);
	return sysfs_env(AT_FDCWD, path, line_key, out, cap);
}

/*
 * SCSI unit serial number page: 4 bytes of header, the last of which are the
 * length, then text.
 */
static int scsi_serial(int disk_fd, char *out, size_t cap)
{
	_cleanup_free_ char *page = NULL;
	size_t len, n;
	int r;

	out[0] = 0;
	r = io_read_file(io_posix(), disk_fd, "device/vpd_pg80", 4096, &page,
			 &len);
	if (r < 0)
		return r;
	if (len < 4 || (uint8_t)page[1] != 0x80)
		return -EBADMSG;
	n = (size_t)(uint8_t)page[2] << 8 | (uint8_t)page[3];
	if (n > len - 4)
		n = len - 4;
	(void)snprintf(out, cap, "%.*s", (int)n, page + 4);
	return 0;
}

static void identify_serial(const struct blkdev_roots *roots, int disk_fd,
			    const struct blkdev *dev, struct blkdev_id *id)
{
	const struct devno disk = { dev->disk_major, dev->disk_minor };
	int r = -ENOENT;

	if (!strcmp(id->kind, "scsi")) {
		r = scsi_serial(disk_fd, id->serial, sizeof(id->serial));
	} else if (!strcmp(id->kind, "virtio")) {
		r = udev_property(roots, disk, "ID_SERIAL", id->serial,
				  sizeof(id->serial));
		if (r < 0)
			r = sysfs_text(disk_fd, "serial", id->serial,
				       sizeof(id->serial));
	} else if (!strcmp(id->kind, "nbd")) {
		r = sysfs_text(disk_fd, "backend", id->serial,
			       sizeof(id->serial));
	} else if (strcmp(id->kind, "loop")) {
		r = sysfs_text(disk_fd, "device/serial", id->serial,
			       sizeof(id->serial));
	}
	if (r < 0)
		id->serial[0] = 0;
	make_printable(id->serial);
}

static void identify_wwn(int disk_fd, struct blkdev_id *id)
{
	static const char *const attrs[] = {
		"wwid", "device/wwid", "device/cid",
	};
	size_t i;

	for (i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++)
		if (sysfs_text(disk_fd, attrs[i], id->wwn,
			       sizeof(id->wwn)) == 0 && id->wwn[0])
			break;
	make_printable(id->wwn);
}

static void identify_partition(const struct blkdev_roots *roots, int sys_fd,
			       const struct blkdev *dev, struct blkdev_id *id)
{
	const struct devno no = { dev->major, dev->minor };
	char *c;
	int r;

	r = sysfs_env(sys_fd, "uevent", "PARTUUID", id->partuuid,
		      sizeof(id->partuuid));
	if (r < 0)
		r = udev_property(roots, no, "ID_PART_ENTRY_UUID",
				  id->partuuid, sizeof(id->partuuid));
	if (r < 0)
		id->partuuid[0] = 0;
	make_printable(id->partuuid);
	for (c = id->partuuid; *c; c++)
		*c = (char)tolower((unsigned char)*c);
}

void blkdev_identify(const struct blkdev_roots *roots, int sys_fd, int disk_fd,
		     struct blkdev *dev)
{
	static const char deleted[] = " (deleted)";
	struct blkdev_id *id = &dev->id;
	size_t len;

	identify_wwn(disk_fd, id);
	identify_serial(roots, disk_fd, dev, id);
	id->partuuid[0] = 0;
	if (dev->is_partition)
		identify_partition(roots, sys_fd, dev, id);
	(void)sysfs_text(disk_fd, "dm/uuid", id->dm_uuid, sizeof(id->dm_uuid));
	(void)sysfs_text(disk_fd, "loop/backing_file", id->backing_file,
			 sizeof(id->backing_file));
	/* The kernel's remark, not part of the name. */
	len = strlen(id->backing_file);
	if (len >= sizeof(deleted) &&
	    !strcmp(id->backing_file + len - (sizeof(deleted) - 1), deleted))
		id->backing_file[len - (sizeof(deleted) - 1)] = 0;
}

static void free_probep(blkid_probe *probe)
{
	if (*probe)
		blkid_free_probe(*probe);
}

int blkdev_table_partuuid(int disk_fd, uint64_t partno, char *out, size_t cap)
{
	_cleanup_(free_probep) blkid_probe probe = NULL;
	blkid_partition part;
	blkid_partlist list;
	const char *uuid;
	char *c;

	out[0] = 0;
	if (partno > INT32_MAX)
		return -EINVAL;
	probe = blkid_new_probe();
	if (!probe)
		return -ENOMEM;
	if (blkid_probe_set_device(probe, disk_fd, 0, 0) < 0)
		return -EIO;
	(void)blkid_probe_enable_superblocks(probe, 0);
	(void)blkid_probe_enable_partitions(probe, 1);
	list = blkid_probe_get_partitions(probe);
	if (!list)
		return -ENODATA;
	part = blkid_partlist_get_partition_by_partno(list, (int)partno);
	uuid = part ? blkid_partition_get_uuid(part) : NULL;
	if (!uuid || !*uuid)
		return -ENODATA;
	(void)snprintf(out, cap, "%s", uuid);
	for (c = out; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return 0;
}

/*
 * A field that one side lacks says nothing: an attribute may appear with a
 * newer kernel or with udev, and an identity kept for years must survive that.
 */
static bool field_same(const char *a, const char *b)
{
	return !*a || !*b || !strcmp(a, b);
}

bool blkdev_id_same(const struct blkdev_id *a, const struct blkdev_id *b)
{
	char diff[8];

	blkdev_id_diff(a, b, diff, sizeof(diff));
	return !diff[0];
}

/* Appends "; what: from is now to". */
static void diff_field(const char *what, const char *a, const char *b,
		       char *out, unsigned int cap)
{
	size_t len = strlen(out);

	if (field_same(a, b) || len + 1 >= cap)
		return;
	(void)snprintf(out + len, cap - len, "%s%s was %s, is %s",
		       len ? "; " : "", what, a, b);
}

void blkdev_id_diff(const struct blkdev_id *a, const struct blkdev_id *b,
		    char *out, unsigned int cap)
{
	char was[32], is[32];

	if (!cap)
		return;
	out[0] = 0;
	(void)snprintf(was, sizeof(was), "%" PRIu64, a->size_bytes);
	(void)snprintf(is, sizeof(is), "%" PRIu64, b->size_bytes);
	diff_field("kind", a->kind, b->kind, out, cap);
	diff_field("wwn", a->wwn, b->wwn, out, cap);
	diff_field("serial", a->serial, b->serial, out, cap);
	diff_field("partuuid", a->partuuid, b->partuuid, out, cap);
	diff_field("dm uuid", a->dm_uuid, b->dm_uuid, out, cap);
	diff_field("backing file", a->backing_file, b->backing_file, out, cap);
	diff_field("size_bytes", was, is, out, cap);
}
