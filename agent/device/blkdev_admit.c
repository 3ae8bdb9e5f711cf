// SPDX-License-Identifier: Apache-2.0
/*
 * May this build track the device? It follows requests from their issue to
 * their completion, or bios from their queueing to their end, where the driver
 * is known to end the bios that it was given; and every change of the content
 * must be one of either. Each refusal names what can be tracked instead.
 *
 * Any thread; no state.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "device/blkdev_sysfs.h"

/* Everything is stored and compared in blocks of this size. */
#define BLOCK_BYTES_MAX_LBS 4096U

#define BELOW_DEPTH_MAX 16

struct below {
	char names[160];
	unsigned int depth;
};

static void below_add(struct below *below, const char *name)
{
	size_t len = strlen(below->names);

	if (strlen(name) + len + 8 >= sizeof(below->names))
		return;
	(void)snprintf(below->names + len, sizeof(below->names) - len,
		       "%s/dev/%s", len ? " " : "", name);
}

/* Descends to the devices that have nothing below them. */
static int below_visit(void *arg, const char *name, struct devno no)
{
	_cleanup_close_ int sys_fd = -1, disk_fd = -1;
	struct below *below = arg;
	size_t before = strlen(below->names);
	int r;

	if (below->depth >= BELOW_DEPTH_MAX)
		return 0;
	sys_fd = sysfs_open_dev(&blkdev_host, no);
	disk_fd = sys_fd < 0 ? -1 : sysfs_open_disk(sys_fd);
	if (disk_fd < 0)
		return 0;
	below->depth++;
	r = sysfs_each_dev(disk_fd, "slaves", below_visit, below);
	below->depth--;
	if (r == 0 && strlen(below->names) == before)
		below_add(below, name);
	return r;
}

static void remedy_bio_based(const struct blkdev *dev, struct err *err)
{
	const struct devno no = { dev->disk_major, dev->disk_minor };
	_cleanup_close_ int sys_fd = -1;
	struct below below = { .depth = 0 };

	sys_fd = sysfs_open_dev(&blkdev_host, no);
	if (sys_fd >= 0)
		(void)sysfs_each_dev(sys_fd, "slaves", below_visit, &below);
	if (below.names[0])
		(void)err_remedy(err, "track what lies below instead: %s",
				 below.names);
	else
		(void)err_remedy(err, "track a disk, a partition or a loop "
				 "device instead");
}

static int refuse(const char *code, const struct blkdev *dev,
		  const char *reason, struct err *err)
{
	(void)err_set(err, -EOPNOTSUPP, code, dev->path, "cannot be tracked: %s",
		      reason);
	return -EOPNOTSUPP;
}

/*
 * Not all do: bcache sends some of its bios on as they are, and their end is
 * then seen as that of another device.
 */
static bool ends_its_bios(const struct blkdev *dev)
{
	static const char *const kinds[] = { "dm", "md", "zram", "brd",
					     "pmem" };
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(dev->id.kind, kinds[i]))
			return true;
	return false;
}

int blkdev_admit(const struct blkdev *dev, struct err *err)
{
	char reason[160];

	if (dev->multipath_head) {
		(void)refuse("multipath-head", dev, "it is the head of an NVMe "
			     "multipath, whose writes go to hidden paths", err);
		(void)err_remedy(err, "boot with nvme_core.multipath=N where "
				 "there is one path only");
		return -EOPNOTSUPP;
	}
	if (dev->dax) {
		(void)refuse("dax", dev, "with direct access (DAX) memory is "
			     "written without any request", err);
		(void)err_remedy(err, "use a device without direct access");
		return -EOPNOTSUPP;
	}
	if (!dev->request_based && !ends_its_bios(dev)) {
		(void)snprintf(reason, sizeof(reason),
			       "a %s device takes bios, and whether it ends "
			       "them itself is not known", dev->id.kind);
		(void)refuse("bio-based", dev, reason, err);
		remedy_bio_based(dev, err);
		return -EOPNOTSUPP;
	}
	if (dev->zoned) {
		(void)refuse("zoned", dev, "it is a zoned device: where an "
			     "append lands is not known beforehand", err);
		(void)err_remedy(err, "use a conventional device");
		return -EOPNOTSUPP;
	}
	if (dev->lbs_bytes > BLOCK_BYTES_MAX_LBS) {
		(void)snprintf(reason, sizeof(reason),
			       "its logical block is %" PRIu32
			       " bytes, more than %u", dev->lbs_bytes,
			       BLOCK_BYTES_MAX_LBS);
		(void)refuse("block-size", dev, reason, err);
		(void)err_remedy(err, "format the device with logical blocks "
				 "of 512 or 4096 bytes");
		return -EOPNOTSUPP;
	}
	if (dev->request_based && !dev->n_tags) {
		(void)refuse("no-tags", dev, "the kernel does not say how "
			     "many requests it takes at a time", err);
		(void)err_remedy(err, "let the daemon read mq/*/nr_tags of the "
				 "disk in /sys; or track a linear dm device on "
				 "top of it, and write to that only");
		return -EOPNOTSUPP;
	}
	return 0;
}
