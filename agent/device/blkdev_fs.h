/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEVICE_BLKDEV_FS_H
#define DEVICE_BLKDEV_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "device/blkdev_sysfs.h"

/*
 * The filesystems that lie on a volume: mounted on it, on its partitions, or
 * on what is mapped or looped on top of either. What this mount namespace sees.
 */
#define BLKDEV_FS_MAX 16U
#define BLKDEV_FS_MOUNTS_MAX 64U

struct blkdev_fs_mount {
	uint32_t fs;			/* counts filesystems from 0 */
	struct devno no;		/* of the filesystem, as mountinfo has it */
	uint64_t id;
	char *point;
};

struct blkdev_fs {
	uint32_t n_fs, n_mounts;
	struct blkdev_fs_mount mounts[BLKDEV_FS_MOUNTS_MAX];
	/* Somebody has a part of it for himself, and it is none of these: a
	 * mount elsewhere, another program. Empty: nobody has. */
	char hidden[128];
};

/*
 * 0, to be freed; -E2BIG: more than there is room for; other negative errno:
 * cannot be told, nothing to free.
 */
int blkdev_fs_find(const struct blkdev_roots *roots, struct devno volume,
		   struct blkdev_fs *out);
void blkdev_fs_free(struct blkdev_fs *fs);
/* 0, to be freed; -ENOMEM, and to is empty. */
int blkdev_fs_copy(struct blkdev_fs *to, const struct blkdev_fs *from);
/* The same filesystems, and as much of it hidden? */
bool blkdev_fs_same(const struct blkdev_fs *a, const struct blkdev_fs *b);

#endif
