/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEVICE_BLKDEV_H
#define DEVICE_BLKDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * What the kernel says of a block device: which disk it is a range of, who it
 * is, whether it can be tracked. Reads sysfs and ioctls only.
 */
struct blkdev_id {			/* what makes a volume the same one */
	uint64_t size_bytes;
	char kind[16];			/* "loop", "scsi", "nvme", "virtio", "dm"... */
	char wwn[128];			/* any of these may be empty */
	char serial[128];
	char partuuid[64];
	char dm_uuid[160];
	char backing_file[512];		/* loop */
};

struct blkdev {
	char path[512];			/* as configured */
	char real_path[512];		/* /dev/loop0p1 */
	char name[64];			/* kernel name, "loop0p1" */
	char disk_name[64];		/* "loop0"; same as name for a disk */
	uint32_t major, minor;		/* of the device itself */
	uint32_t disk_major, disk_minor;
	uint64_t start_sector;		/* on the disk, 512-byte sectors */
	uint64_t n_sectors;
	uint64_t diskseq;
	uint32_t lbs_bytes;		/* logical block size */
	bool is_partition;
	bool request_based;		/* has blk-mq requests; else bios */
	bool exact_ends;		/* of bios: what they say at their end holds */
	uint32_t n_queues;		/* hardware queues (sysfs mq/) */
	uint32_t n_tags;		/* largest nr_tags + reserved over queues */
	bool zoned, dax, multipath_head, read_only;
	struct blkdev_id id;
	int fd;				/* of the whole disk, O_RDONLY|O_DIRECT */
	int sys_fd;			/* its directory in sysfs; valid with fd */
};

/*
 * Look at path. 0; -ENODEV (absent: "device-absent"), -ENOTBLK
 * ("not-a-block-device"), other negative errno ("device-unreadable",
 * "device-changed"). Opens dev->fd; after an error there is nothing to close,
 * and closing does no harm.
 */
int blkdev_open(const char *path, struct blkdev *dev, struct err *err);
/* Only of a struct that blkdev_open filled, or with fd = -1. */
void blkdev_close(struct blkdev *dev);
/*
 * Is it still the same device, same diskseq, same size, same range? 0;
 * -ESTALE "device-changed", or "size-changed" when it is smaller; -ENODEV
 * "device-gone"; -EFBIG "size-changed" when it has grown;
 * -EOPNOTSUPP "dax", when a disk has come to allow it.
 * Cheap enough for every cut (ioctls on held descriptors).
 */
int blkdev_recheck(const struct blkdev *dev, struct err *err);
/*
 * May it be tracked by this build? 0, or -EOPNOTSUPP with the reason and the
 * remedy ("bio-based", "zoned", "dax", "multipath-head"...).
 */
int blkdev_admit(const struct blkdev *dev, struct err *err);
/* Are writes of the disk under way right now, as far as can be told? One look
 * may overlook some. */
bool blkdev_writes_under_way(const struct blkdev *dev);
/* Can that be told? Mostly not with queue/iostats off. */
bool blkdev_counts_requests(const struct blkdev *dev);
/*
 * What the disk itself has counted as written and discarded, in sectors of 512
 * bytes: requests that have ended, well or not, since it is there. 0 or
 * negative errno. With queue/iostats off it stands still.
 */
int blkdev_written_sectors(const struct blkdev *dev, uint64_t *out);
/* Same identity across reboots? Size and kind must agree, and every name that
 * both sides know; a name that one side lacks says nothing. */
bool blkdev_id_same(const struct blkdev_id *a, const struct blkdev_id *b);
/* What differs, for a message. */
void blkdev_id_diff(const struct blkdev_id *a, const struct blkdev_id *b,
		    char *out, unsigned int cap);

/*
 * Is it in use: mounted, swap, part of a mapping, under a loop device, held
 * exclusively? A disk is when one of its partitions is; a partition when its
 * whole disk is; a regular file when a loop device or swap stands on it. 1 with
 * reason ("it is mounted on /srv"), 0, or negative errno.
 */
int blkdev_in_use(const char *path, char *reason, unsigned int cap);
/*
 * Does the filesystem that holds dir (or its nearest parent that exists) lie,
 * through partitions, dm and md slaves, loop backing files, btrfs members and
 * overlays, on the volume? The volume is partition part of the disk, or the
 * whole disk when part is the disk's own number or 0:0; another partition of
 * the same disk does not count. 1, 0, -ENODEV (no such volume), -EOPNOTSUPP
 * (the filesystem does not say where it lies), -ELOOP, other negative errno:
 * an error is not a no.
 */
int blkdev_holds_path(uint32_t disk_major, uint32_t disk_minor,
		      uint32_t part_major, uint32_t part_minor,
		      const char *dir);

#endif
