// SPDX-License-Identifier: Apache-2.0
/*
 * Can this device be protected, and what should be known before? Refusals are
 * failures with their remedy; what only costs something or limits what can be
 * promised is told.
 *
 * Any thread. The device is opened for reading; its first and last block are
 * read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "device/blkdev.h"
#include "device/blkdev_sysfs.h"
#include "source/doctor_checks.h"
#include "source/reader.h"
#include "tracker/tracker_host.h"

#define TRACKER_MEMORY_BYTES ((uint64_t)128 << 20)	/* unless configured */
#define BLOCK_BYTES 4096U

static void check_what_it_is(struct doctor_report *r, const struct blkdev *dev)
{
	char size[24];

	size_format(dev->id.size_bytes, size);
	doctor_add(r, DOCTOR_OK, "device", NULL,
		   "%s: %s %s, %s in logical blocks of %u bytes, %u queue%s of "
		   "%u requests%s%s%s", dev->real_path, dev->id.kind,
		   dev->is_partition ? "partition" : "disk", size,
		   dev->lbs_bytes, dev->n_queues, dev->n_queues == 1 ? "" : "s",
		   dev->n_tags, dev->is_partition ? ", on /dev/" : "",
		   dev->is_partition ? dev->disk_name : "",
		   dev->read_only ? ", read-only" : "");
}

static void check_admission(struct doctor_report *r, const struct blkdev *dev)
{
	struct err err = ERR_INIT;

	if (blkdev_admit(dev, &err) < 0 || tracker_admit(dev, &err) < 0)
		doctor_add_err(r, DOCTOR_FAIL, err.code, &err);
	else
		doctor_add(r, DOCTOR_OK, "admission", NULL,
			   dev->request_based ?
				   "its writes are followed as requests" :
				   "its writes are followed as bios");
}

static void check_granularity(struct doctor_report *r,
			      const struct blkdev *dev)
{
	char block[24], takes[24], memory[24];
	struct err err = ERR_INIT;
	uint32_t shift;

	if (tracker_choose_shift(dev, 0, TRACKER_MEMORY_BYTES, &shift, &err)) {
		doctor_add_err(r, DOCTOR_FAIL, "granularity", &err);
		return;
	}
	size_format(1ULL << shift, block);
	size_format(tracker_memory_bytes(dev, shift), takes);
	size_format(TRACKER_MEMORY_BYTES, memory);
	doctor_add(r, DOCTOR_OK, "granularity", NULL,
		   "blocks of %s take %s, tracker-memory = %s", block, takes,
		   memory);
}

static void check_identity(struct doctor_report *r, const struct blkdev *dev)
{
	const struct blkdev_id *id = &dev->id;
	const struct {
		const char *what, *value;
	} known[] = {
		{ "WWN", id->wwn },
		{ "serial number", id->serial },
		{ "PARTUUID", id->partuuid },
		{ "dm UUID", id->dm_uuid },
		{ "backing file", id->backing_file },
	};
	char text[384] = "";
	size_t i, len = 0;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		if (!known[i].value[0] || len + 1 >= sizeof(text))
			continue;
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s%s %s", len ? ", " : "",
					known[i].what, known[i].value);
	}
	if (len)
		doctor_add(r, DOCTOR_OK, "identity", NULL,
			   "known again after a reboot by %s", text);
	else
		doctor_add(r, DOCTOR_WARN, "identity",
			   "give the disk a serial number, or use a partition "
			   "of a GPT",
			   "it has no name of its own: after a reboot it "
			   "cannot be told from another of the same size");
}

static void check_use(struct doctor_report *r, const struct blkdev *dev)
{
	char reason[256];
	int res = blkdev_in_use(dev->path, reason, sizeof(reason));

	if (res < 0)
		doctor_add(r, DOCTOR_WARN, "in-use", NULL,
			   "it cannot be said who uses it: %s",
			   strerrordesc_np(-res));
	else
		doctor_add(r, DOCTOR_OK, "in-use", NULL, "%s",
			   res ? reason : "nobody uses it now");
}

/* An ext file system on the whole of the disk? */
static int is_ext_on_disk(void *arg, const struct mount_entry *m)
{
	const struct blkdev *dev = arg;

	return m->no.major == dev->disk_major &&
	       m->no.minor == dev->disk_minor && !strncmp(m->fstype, "ext", 3);
}

static void check_read_path(struct doctor_report *r, struct blkdev *dev)
{
	if (dev->is_partition)
		doctor_add(r, DOCTOR_OK, "read-path", NULL,
			   "read through /dev/%s, so that reading causes no "
			   "writes", dev->disk_name);
	else if (mounts_each(&blkdev_host, is_ext_on_disk, dev) == 1)
		doctor_add(r, DOCTOR_OK, "read-path", NULL,
			   "the file system lies on the whole disk: reading "
			   "makes it write committed metadata a little earlier "
			   "(on a partition it does not)");
}

/* Something other than this kernel's block layer can change it. */
static void check_coverage(struct doctor_report *r, const struct blkdev *dev)
{
	const char *kind = dev->id.kind;

	if (!strcmp(kind, "loop"))
		doctor_add(r, DOCTOR_OK, "coverage", NULL,
			   "what is written to %s past the loop device is not "
			   "seen", dev->id.backing_file);
	else if (!strcmp(kind, "nbd") || !strcmp(kind, "ublk") ||
		 !strcmp(kind, "rbd"))
		doctor_add(r, DOCTOR_OK, "coverage", NULL,
			   "what its server or another client writes is not "
			   "seen");
}

static int read_block(struct reader *reader, uint64_t off_bytes)
{
	struct read_req *req = reader->ops->get(reader);
	int r;

	if (!req)
		return -ENOBUFS;
	req->off_bytes = off_bytes;
	req->len_bytes = BLOCK_BYTES;
	r = reader->ops->submit(reader, req);
	if (r == 0)
		r = reader->ops->next(reader, true, &req);
	if (r == 0)
		r = req->res;
	reader->ops->put(reader, req);
	return r;
}

static void check_reading(struct doctor_report *r, const struct blkdev *dev)
{
	const struct reader_config cfg = {
		.fd = dev->fd,
		.start_bytes = dev->start_sector * 512,
		.size_bytes = dev->id.size_bytes,
		.lbs_bytes = dev->lbs_bytes,
		.clock = clock_real(),
	};
	const uint64_t last = (dev->id.size_bytes - 1) / BLOCK_BYTES *
			      BLOCK_BYTES;
	struct err err = ERR_INIT;
	struct reader *reader;
	int res;

	if (reader_open(&cfg, &reader, &err) < 0) {
		doctor_add_err(r, DOCTOR_FAIL, "read", &err);
		return;
	}
	res = read_block(reader, 0);
	if (res == 0)
		res = read_block(reader, last);
	if (res == 0)
		doctor_add(r, DOCTOR_OK, "read", NULL,
			   "its first and last block are read with %s",
			   reader->kind);
	else
		doctor_add(r, DOCTOR_FAIL, "read",
			   "look into the kernel log, replace the device",
			   "its first or last block cannot be read: %s",
			   strerrordesc_np(-res));
	reader->ops->close(reader);
}

void doctor_check_device(struct doctor_report *r, const char *path,
			 const struct doctor_env *env)
{
	struct err err = ERR_INIT;
	struct blkdev dev;

	if (blkdev_open(path, &dev, &err) < 0) {
		doctor_add_err(r, DOCTOR_FAIL, err.code, &err);
		return;
	}
	check_what_it_is(r, &dev);
	check_admission(r, &dev);
	if (dev.lbs_bytes <= BLOCK_BYTES) {
		check_granularity(r, &dev);
		check_reading(r, &dev);
	}
	check_identity(r, &dev);
	check_use(r, &dev);
	check_read_path(r, &dev);
	check_coverage(r, &dev);
	doctor_check_caveats(r, &dev, env);
	blkdev_close(&dev);
}
