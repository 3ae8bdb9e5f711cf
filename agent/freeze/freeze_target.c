// SPDX-License-Identifier: Apache-2.0
/*
 * Freezing and thawing. A filesystem is named by a directory that is open on
 * it: a name could lead elsewhere by the time it is to be thawed, and an open
 * directory keeps the filesystem from going away.
 *
 * One thread. What is frozen outlives the process: whoever calls here has
 * written down before that it may be.
 */
#include "freeze/freeze_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/fault.h"

int freeze_open_mount(const char *path, uint64_t mount_id, dev_t dev)
{
	struct statx stx;
	struct stat st;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0 &&
	    stx.stx_mask & STATX_MNT_ID && stx.stx_mnt_id == mount_id)
		return fd;
	if (dev && fstat(fd, &st) == 0 && st.st_dev == dev)
		return fd;
	(void)close(fd);
	return -ESTALE;
}

/* The first of its mounts that can be reached. */
static int open_fs(const struct freeze_request *q, uint32_t fs)
{
	int r = -ENOENT;
	uint32_t i;

	for (i = 0; i < q->n_mounts; i++) {
		if (q->mounts[i].fs != fs)
			continue;
		r = freeze_open_mount(q->paths + q->mounts[i].path,
				      q->mounts[i].mount_id, 0);
		if (r >= 0)
			return r;
	}
	return r;
}

int freeze_targets_open(const struct freeze_request *q,
			struct freeze_targets *t, uint32_t *failed)
{
	struct stat st;
	int r = 0;

	*t = (struct freeze_targets){ 0 };
	while (t->n_fs < q->n_fs && r >= 0) {
		*failed = t->n_fs;
		r = open_fs(q, t->n_fs);
		if (r < 0)
			break;
		t->fs_fd[t->n_fs++] = r;
		r = fstat(r, &st) < 0 ? -errno : 0;
		t->devs[t->n_fs - 1] = st.st_dev;
	}
	if (r >= 0)
		return 0;
	freeze_targets_close(t);
	return r;
}

void freeze_targets_close(struct freeze_targets *t)
{
	while (t->n_fs)
		(void)close(t->fs_fd[--t->n_fs]);
}

void freeze_targets_sync(const struct freeze_targets *t)
{
	uint32_t i;

	for (i = 0; i < t->n_fs; i++)
		(void)syncfs(t->fs_fd[i]);
}

int freeze_target_freeze(const struct freeze_targets *t, uint32_t i)
{
	int r = FAULT("freeze.freeze");

	if (r < 0)
		return r;
	return ioctl(t->fs_fd[i], FIFREEZE, 0) < 0 ? -errno : 0;
}

int freeze_target_thaw(const struct freeze_targets *t, uint32_t i)
{
	return ioctl(t->fs_fd[i], FITHAW, 0) < 0 ? -errno : 0;
}
