/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZE_TARGET_H
#define FREEZE_FREEZE_TARGET_H

#include <stdint.h>
#include <sys/types.h>

#include "freeze/freeze_abi.h"

/*
 * The filesystems that a hold freezes, opened beforehand. Freezing and thawing
 * are one ioctl each.
 */
struct freeze_targets {
	uint32_t n_fs;
	int fs_fd[FREEZE_FS_MAX];	/* a directory on each */
	dev_t devs[FREEZE_FS_MAX];	/* as stat has it */
};

/* 0; negative errno, and the filesystem in *failed. Closes what it opened. */
int freeze_targets_open(const struct freeze_request *q,
			struct freeze_targets *t, uint32_t *failed);
void freeze_targets_close(struct freeze_targets *t);

/* Writes back what is dirty, without holding anybody. */
void freeze_targets_sync(const struct freeze_targets *t);
/* Number i of them, below n_fs. 0, negative errno. */
int freeze_target_freeze(const struct freeze_targets *t, uint32_t i);
/* -EINVAL: it was not frozen any more. */
int freeze_target_thaw(const struct freeze_targets *t, uint32_t i);

/* The directory where this mount is found, or another one of this device (0:
 * no other): descriptor, or -ESTALE when something else is there now, or
 * negative errno. */
int freeze_open_mount(const char *path, uint64_t mount_id, dev_t dev);

#endif
