// SPDX-License-Identifier: Apache-2.0
/*
 * Opening a block device by its number. Names in /dev are suggestions: what
 * was opened is compared with the number before anyone uses it. Where /dev has
 * no node (a container, an initramfs without devtmpfs), one is made in a
 * directory that only root can enter, opened, and removed again; a daemon that
 * may not make one has a helper that may.
 *
 * A crash in between leaves an empty directory ".understudy-XXXXXX" or one
 * with a node in it, which nothing uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "device/blkdev_sysfs.h"

/* Set once, before there are threads. */
static blkdev_open_fn open_for_us;

void blkdev_set_helper(blkdev_open_fn open_disk)
{
	open_for_us = open_disk;
}

static int open_checked(const char *path, struct devno no, int flags)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	/* Never wait for a FIFO somebody put there. */
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != makedev(no.major, no.minor))
		return -ENXIO;
	do {
		fd = open(path, flags | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != makedev(no.major, no.minor))
		return -ENXIO;
	return TAKE_FD(fd);
}

static int open_private(const char *in, struct devno no, int flags)
{
	char dir[256], node[280];
	int fd;

	(void)snprintf(dir, sizeof(dir), "%s/.understudy-XXXXXX", in);
	if (!mkdtemp(dir))
		return -errno;
	(void)snprintf(node, sizeof(node), "%s/disk", dir);
	if (mknod(node, S_IFBLK | 0600, makedev(no.major, no.minor)) < 0) {
		fd = -errno;
	} else {
		fd = open_checked(node, no, flags);
		(void)unlink(node);
	}
	(void)rmdir(dir);
	return fd;
}

/* Worth looking for the device under another name? */
static bool is_no_node(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ENXIO;
}

int blkdev_open_node(const struct blkdev_roots *roots, struct devno no,
		     const char *name, int flags)
{
	const char *const places[] = { roots->dev, "/run", "/tmp" };
	char path[512], *c;
	size_t i;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", roots->dev, name);
	/* "cciss!c0d0" is cciss/c0d0 in /dev. */
	for (c = path + strlen(roots->dev) + 1; *c; c++)
		if (*c == '!')
			*c = '/';
	fd = open_checked(path, no, flags);
	if (!is_no_node(fd))
		return fd;
	(void)snprintf(path, sizeof(path), "%s/block/%" PRIu32 ":%" PRIu32,
		       roots->dev, no.major, no.minor);
	fd = open_checked(path, no, flags);
	if (!is_no_node(fd))
		return fd;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		fd = open_private(places[i], no, flags);
		/* A file system mounted nodev or read-only: the next place. */
		if (fd != -EACCES && fd != -EROFS && fd != -ENOENT &&
		    fd != -EPERM)
			return fd;
	}
	if (fd == -EPERM && open_for_us)
		return open_for_us(no, name, flags);
	return fd;
}
