// SPDX-License-Identifier: Apache-2.0
/*
 * Is a block device in use? By range: a disk is in use when one of its
 * partitions is, a partition when the whole disk is, but not when another
 * partition is. First the reasons that have a name (mounts, swap, mappings and
 * loop devices on top), then the kernel's own answer, an exclusive open, which
 * also knows of other name spaces.
 *
 * A regular file counts as in use while a loop device or swap stands on it.
 *
 * Any thread; no state. An answer of 0 is true when given and no longer.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev_sysfs.h"

struct use {
	const struct blkdev_roots *roots;
	bool is_file;
	struct blkdev_range range;	/* of the device */
	dev_t file_dev;			/* or of the file */
	ino_t file_ino;
	char *reason;
	unsigned int cap;
};

/* Sets the reason: "it is mounted on /srv". */
static int used(struct use *u, const char *how, const char *by)
{
	if (u->cap)
		(void)snprintf(u->reason, u->cap, "%s %s", how, by);
	return 1;
}

static bool overlaps(const struct use *u, struct devno no)
{
	struct blkdev_range range;

	return !u->is_file && blkdev_get_range(u->roots, no, &range) == 0 &&
	       blkdev_range_overlaps(&range, &u->range);
}

/* Does this path name the file or a device on the same range? */
static bool is_same(const struct use *u, const char *path)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st) < 0)
		return false;
	if (S_ISBLK(st.st_mode))
		return overlaps(u, (struct devno){ major(st.st_rdev),
						   minor(st.st_rdev) });
	return u->is_file && st.st_dev == u->file_dev &&
	       st.st_ino == u->file_ino;
}

static int use_mount(void *arg, const struct mount_entry *m)
{
	struct use *u = arg;

	/* btrfs and others have a number without a device. */
	if (overlaps(u, m->no) || is_same(u, m->source))
		return used(u, "it is mounted on", m->point);
	return 0;
}

/* "NAME type size used priority", after one line of headings. */
static int use_swaps(struct use *u)
{
	_cleanup_free_ char *text = NULL;
	char path[512], *line, *rest, *name;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/swaps", u->roots->proc);
	r = io_read_file(io_posix(), AT_FDCWD, path, (size_t)1 << 20, &text,
			 &len);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rest = text;
	(void)strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n"))) {
		name = strsep(&line, " \t");
		if (is_same(u, name))
			return used(u, "it is used as swap:", name);
	}
	return 0;
}

static int use_holder(void *arg, const char *name, struct devno no)
{
	_cleanup_close_ int fd = -1;
	struct use *u = arg;
	char dm_name[160], by[256];

	fd = sysfs_open_dev(u->roots, no);
	if (fd < 0 || sysfs_text(fd, "dm/name", dm_name, sizeof(dm_name)) < 0)
		dm_name[0] = 0;
	(void)snprintf(by, sizeof(by), "/dev/%s%s%s%s", name,
		       dm_name[0] ? " (" : "", dm_name, dm_name[0] ? ")" : "");
	return used(u, "it is part of", by);
}

struct use_parts {
	struct use *use;
	int disk_fd;
};

/* A directory below a disk; a partition if it has a number as one. */
static int use_partition(void *arg, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct use_parts *p = arg;
	struct devno no;

	fd = openat(p->disk_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !sysfs_has(fd, "partition") ||
	    sysfs_devno(fd, "dev", &no) < 0 || !overlaps(p->use, no))
		return 0;
	return sysfs_each_dev(fd, "holders", use_holder, p->use);
}

static int use_holders(struct use *u)
{
	struct use_parts p = { .use = u };
	_cleanup_close_ int fd = -1;
	struct io *io = io_posix();
	int r;

	fd = sysfs_open_dev(u->roots, u->range.disk);
	if (fd < 0)
		return fd;
	r = sysfs_each_dev(fd, "holders", use_holder, u);
	if (r)
		return r;
	p.disk_fd = fd;
	return io->ops->listdir(io, fd, ".", use_partition, &p);
}

struct use_loops {
	struct use *use;
	const char *sys_block;
};

static int use_loop(void *arg, const char *name)
{
	struct use_loops *l = arg;
	char path[512], backing[4096], node[128];

	if (strncmp(name, "loop", 4) || !isdigit((unsigned char)name[4]))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s/loop/backing_file",
		       l->sys_block, name);
	if (sysfs_text(AT_FDCWD, path, backing, sizeof(backing)) < 0 ||
	    !is_same(l->use, backing))
		return 0;
	(void)snprintf(node, sizeof(node), "/dev/%s", name);
	return used(l->use, "it is the backing file of", node);
}

static int use_all_loops(struct use *u)
{
	struct use_loops l = { .use = u };
	struct io *io = io_posix();
	char dir[512];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/block", u->roots->sys);
	l.sys_block = dir;
	r = io->ops->listdir(io, AT_FDCWD, dir, use_loop, &l);
	return r == -ENOENT ? 0 : r;
}

static int use_device(struct use *u)
{
	int r;

	r = mounts_each(u->roots, use_mount, u);
	if (!r)
		r = use_swaps(u);
	if (!r)
		r = use_holders(u);
	return r ? r : use_all_loops(u);
}

int blkdev_in_use_no(const struct blkdev_roots *roots, struct devno no,
		     char *reason, unsigned int cap)
{
	struct use u = { .roots = roots, .reason = reason, .cap = cap };
	int r;

	r = blkdev_get_range(roots, no, &u.range);
	return r < 0 ? r : use_device(&u);
}

static int use_file(const struct stat *st, char *reason, unsigned int cap)
{
	struct use u = {
		.roots = &blkdev_host, .is_file = true, .file_dev = st->st_dev,
		.file_ino = st->st_ino, .reason = reason, .cap = cap,
	};
	int r;

	r = use_swaps(&u);
	return r ? r : use_all_loops(&u);
}

/* The kernel's answer: may somebody have it for himself alone? */
static int use_exclusive(const char *path, char *reason, unsigned int cap)
{
	_cleanup_close_ int fd = -1;

	do {
		fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd >= 0 || errno == ENOMEDIUM)
		return 0;
	if (errno != EBUSY)
		return -errno;
	if (cap)
		(void)snprintf(reason, cap, "somebody holds it exclusively (a "
			       "mount elsewhere, a mapping, another program)");
	return 1;
}

int blkdev_in_use(const char *path, char *reason, unsigned int cap)
{
	struct stat st;
	int r;

	if (cap)
		reason[0] = 0;
	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode))
		return use_file(&st, reason, cap);
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	r = blkdev_in_use_no(&blkdev_host,
			     (struct devno){ major(st.st_rdev),
					     minor(st.st_rdev) },
			     reason, cap);
	return r ? r : use_exclusive(path, reason, cap);
}
