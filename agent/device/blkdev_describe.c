// SPDX-License-Identifier: Apache-2.0
/*
 * A block device as sysfs describes it: which range of which disk it is, how
 * many hardware queues and tags that disk has, what kind of disk it is.
 *
 * A disk whose driver takes requests has a directory mq/; one that takes bios
 * (dm, md, zram, brd, pmem, the head of an NVMe multipath) has none. That
 * directory decides, not a list of drivers.
 *
 * Any thread; no state.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev_sysfs.h"

struct mq_scan {
	int disk_fd;
	uint32_t n_queues;
	uint32_t n_tags;
};

static int mq_scan_queue(void *arg, const char *name)
{
	struct mq_scan *scan = arg;
	uint64_t tags = 0, reserved = 0;
	unsigned long queue;
	char path[320], *end;

	if (!isdigit((unsigned char)name[0]))
		return 0;
	queue = strtoul(name, &end, 10);
	if (*end || queue >= UINT16_MAX)
		return 0;
	/* The number of a queue selects its slots: the largest one counts. */
	if (queue + 1 > scan->n_queues)
		scan->n_queues = (uint32_t)queue + 1;
	(void)snprintf(path, sizeof(path), "mq/%s/nr_tags", name);
	(void)sysfs_u64(scan->disk_fd, path, &tags);
	(void)snprintf(path, sizeof(path), "mq/%s/nr_reserved_tags", name);
	(void)sysfs_u64(scan->disk_fd, path, &reserved);
	if (tags > UINT16_MAX || reserved > UINT16_MAX)
		return -EBADMSG;
	if (tags + reserved > scan->n_tags)
		scan->n_tags = (uint32_t)(tags + reserved);
	return 0;
}

static int describe_queues(int disk_fd, struct blkdev *dev)
{
	struct mq_scan scan = { .disk_fd = disk_fd };
	struct io *io = io_posix();
	int r;

	r = io->ops->listdir(io, disk_fd, "mq", mq_scan_queue, &scan);
	if (r < 0 && r != -ENOENT)
		return r;
	dev->request_based = scan.n_queues > 0;
	dev->n_queues = scan.n_queues;
	dev->n_tags = scan.n_tags;
	return 0;
}

static const struct {
	const char *prefix;
	const char *kind;
} kind_by_name[] = {
	{ "dm-", "dm" }, { "loop", "loop" }, { "zram", "zram" },
	{ "ram", "brd" }, { "nbd", "nbd" }, { "ublkb", "ublk" },
	{ "nullb", "null" }, { "pmem", "pmem" }, { "bcache", "bcache" },
	{ "drbd", "drbd" }, { "rbd", "rbd" }, { "xvd", "xen" },
	{ "nvme", "nvme" }, { "mmcblk", "mmc" }, { "vd", "virtio" },
	{ "sd", "scsi" }, { "sr", "scsi" }, { "md", "md" }, { "zd", "zvol" },
};

/*
 * Kind: the bus that the disk hangs on, or for a disk without one the name
 * that its driver gives.
 */
static void describe_kind(int disk_fd, struct blkdev *dev)
{
	char *kind = dev->id.kind;
	char bus[64];
	size_t i;

	if (sysfs_has(disk_fd, "dm")) {
		strcpy(kind, "dm");
		return;
	}
	if (sysfs_has(disk_fd, "md")) {
		strcpy(kind, "md");
		return;
	}
	if (sysfs_link_name(disk_fd, "device/subsystem", bus, sizeof(bus)) == 0) {
		if (!strncmp(bus, "nvme", 4))
			strcpy(bus, "nvme");
		else if (!strcmp(bus, "nd"))
			strcpy(bus, "pmem");
		(void)snprintf(kind, sizeof(dev->id.kind), "%.15s", bus);
		return;
	}
	for (i = 0; i < sizeof(kind_by_name) / sizeof(kind_by_name[0]); i++) {
		if (strncmp(dev->disk_name, kind_by_name[i].prefix,
			    strlen(kind_by_name[i].prefix)))
			continue;
		strcpy(kind, kind_by_name[i].kind);
		return;
	}
	(void)snprintf(kind, sizeof(dev->id.kind), "%.*s",
		       (int)strcspn(dev->disk_name, "0123456789"),
		       dev->disk_name);
}

/*
 * Drivers that leave a bio's range alone, or whose pieces have ends of their
 * own that together are the whole. dm trims the bio to what it sent last, brd
 * uses it up (6.17).
 */
static bool has_exact_ends(int disk_fd, const struct blkdev *dev)
{
	static const char *const kinds[] = { "md", "zram", "pmem" };
	char level[32];
	size_t i;

	/* Its pieces went on as they were, before 6.8: their end is another
	 * device's. */
	if (!strcmp(dev->id.kind, "md") &&
	    (sysfs_text(disk_fd, "md/level", level, sizeof(level)) ||
	     !strcmp(level, "raid0")))
		return false;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(dev->id.kind, kinds[i]))
			return true;
	return false;
}

/*
 * The disk of a native multipath is the child of an NVMe subsystem; with
 * multipath off it is the child of a controller.
 */
static bool is_multipath_head(int disk_fd)
{
	char parent[64];

	if (sysfs_has(disk_fd, "multipath"))
		return true;
	return sysfs_link_name(disk_fd, "device", parent, sizeof(parent)) == 0 &&
	       !strncmp(parent, "nvme-subsys", 11);
}

static int describe_disk(int disk_fd, struct blkdev *dev)
{
	uint64_t v = 0;
	char text[64];
	int r;

	r = describe_queues(disk_fd, dev);
	if (r < 0)
		return r;
	describe_kind(disk_fd, dev);
	dev->exact_ends = has_exact_ends(disk_fd, dev);
	r = sysfs_u64(disk_fd, "queue/logical_block_size", &v);
	if (r < 0)
		return r;
	if (!v || v > (1U << 20))
		return -EBADMSG;
	dev->lbs_bytes = (uint32_t)v;
	dev->zoned = sysfs_text(disk_fd, "queue/zoned", text,
				sizeof(text)) == 0 && strcmp(text, "none");
	v = 0;
	dev->dax = sysfs_u64(disk_fd, "queue/dax", &v) == 0 && v;
	dev->multipath_head = is_multipath_head(disk_fd);
	/* Kernels before 5.15 have none; then it stays 0 everywhere. */
	dev->diskseq = 0;
	r = sysfs_u64(disk_fd, "diskseq", &dev->diskseq);
	return r == -ENOENT ? 0 : r;
}

/* Kernel name: the last component of what /sys/dev/block/M:m points to. */
static int describe_names(const struct blkdev_roots *roots,
			  struct blkdev *dev)
{
	char path[512];
	int r;

	(void)snprintf(path, sizeof(path), "%s/dev/block/%" PRIu32 ":%" PRIu32,
		       roots->sys, dev->major, dev->minor);
	r = sysfs_link_name(-1, path, dev->name, sizeof(dev->name));
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/dev/block/%" PRIu32 ":%" PRIu32,
		       roots->sys, dev->disk_major, dev->disk_minor);
	return sysfs_link_name(-1, path, dev->disk_name,
			       sizeof(dev->disk_name));
}

static int describe(const struct blkdev_roots *roots, struct devno no,
		    struct blkdev *dev)
{
	_cleanup_close_ int sys_fd = -1, disk_fd = -1;
	struct devno disk;
	uint64_t ro = 0;
	int r;

	sys_fd = sysfs_open_dev(roots, no);
	if (sys_fd < 0)
		return sys_fd;
	disk_fd = sysfs_open_disk(sys_fd);
	if (disk_fd < 0)
		return disk_fd;
	r = sysfs_devno(disk_fd, "dev", &disk);
	if (r < 0)
		return r;
	dev->major = no.major;
	dev->minor = no.minor;
	dev->disk_major = disk.major;
	dev->disk_minor = disk.minor;
	dev->is_partition = !devno_equal(no, disk);
	r = describe_names(roots, dev);
	if (r < 0)
		return r;
	dev->start_sector = 0;
	if (dev->is_partition)
		r = sysfs_u64(sys_fd, "start", &dev->start_sector);
	if (r == 0)
		r = sysfs_u64(sys_fd, "size", &dev->n_sectors);
	if (r == 0)
		r = describe_disk(disk_fd, dev);
	if (r < 0)
		return r;
	dev->read_only = sysfs_u64(sys_fd, "ro", &ro) == 0 && ro;
	blkdev_identify(roots, sys_fd, disk_fd, dev);
	return 0;
}

int blkdev_describe(const struct blkdev_roots *roots, struct devno no,
		    struct blkdev *dev, struct err *err)
{
	char object[64];
	int r;

	r = describe(roots, no, dev);
	if (r == 0 && dev->n_sectors > (uint64_t)INT64_MAX / 512)
		r = -EBADMSG;
	if (r == 0) {
		dev->id.size_bytes = dev->n_sectors * 512;
		return 0;
	}
	(void)snprintf(object, sizeof(object),
		       "device %" PRIu32 ":%" PRIu32, no.major, no.minor);
	/* Gone while its attributes were read. */
	if (r == -ENOENT)
		r = -ENODEV;
	if (r == -ENODEV)
		return err_set(err, r, "device-absent", object,
			       "the kernel has no such device");
	return err_sys(err, r, "device-unreadable", object,
		       "read its attributes in %s", roots->sys);
}
