// SPDX-License-Identifier: Apache-2.0
/*
 * On which devices does a directory lie in the end? From its file system down
 * through partitions, the slaves of dm and md, and the backing files of loop
 * devices, until the range looked for is met or nothing lies below any more.
 *
 * Below a partition, all of what lies below its disk is looked at: which part
 * of a mapped device lies where is not resolved, and an answer that is wrong
 * must be a needless refusal.
 *
 * Any thread; no state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/loop.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev_sysfs.h"

#define WALK_DEPTH_MAX 16U
#define WALK_SEEN_MAX 256U

struct walk {
	const struct blkdev_roots *roots;
	const struct blkdev_range *target;
	unsigned int depth;
	unsigned int n_seen;
	struct devno seen[WALK_SEEN_MAX];
};

/* All of these: 1 found, 0 not there, negative errno. */
static int walk_dev(struct walk *w, struct devno no);
static int walk_path(struct walk *w, const char *path);
static int walk_fs(struct walk *w, dev_t dev, const char *path);

static int walk_slave(void *arg, const char *name, struct devno no)
{
	(void)name;
	return walk_dev(arg, no);
}

/*
 * The kernel knows what a loop device stands on, also when the name of the
 * file has gone or belongs to another name space.
 */
static int loop_status(const struct walk *w, struct devno disk,
		       struct loop_info64 *out)
{
	_cleanup_close_ int fd = -1;
	char name[32];

	if (w->roots != &blkdev_host)
		return -ENOSYS;
	(void)snprintf(name, sizeof(name), "loop%" PRIu32, disk.minor);
	fd = blkdev_open_node(w->roots, disk, name, O_RDONLY);
	if (fd < 0)
		return fd;
	return ioctl(fd, LOOP_GET_STATUS64, out) < 0 ? -errno : 0;
}

static int walk_loop(struct walk *w, struct devno disk, int disk_fd)
{
	struct loop_info64 info;
	char backing[4096];

	if (sysfs_text(disk_fd, "loop/backing_file", backing,
		       sizeof(backing)) < 0)
		return 0;	/* no loop device, or one without a file */
	if (loop_status(w, disk, &info) < 0)
		return walk_path(w, backing);
	if (info.lo_rdevice)
		return walk_dev(w, (struct devno){ major(info.lo_rdevice),
						   minor(info.lo_rdevice) });
	return walk_fs(w, (dev_t)info.lo_device, backing);
}

static int walk_below(struct walk *w, struct devno disk)
{
	_cleanup_close_ int disk_fd = -1;
	int r;

	disk_fd = sysfs_open_dev(w->roots, disk);
	if (disk_fd < 0)
		return disk_fd;
	r = sysfs_each_dev(disk_fd, "slaves", walk_slave, w);
	return r ? r : walk_loop(w, disk, disk_fd);
}

static int walk_dev(struct walk *w, struct devno no)
{
	struct blkdev_range range;
	unsigned int i;
	int r;

	for (i = 0; i < w->n_seen; i++)
		if (devno_equal(w->seen[i], no))
			return 0;
	if (w->depth >= WALK_DEPTH_MAX || w->n_seen >= WALK_SEEN_MAX)
		return -ELOOP;
	w->seen[w->n_seen++] = no;
	r = blkdev_get_range(w->roots, no, &range);
	if (r < 0)
		return r;
	if (blkdev_range_overlaps(&range, w->target))
		return 1;
	w->depth++;
	r = walk_below(w, range.disk);
	w->depth--;
	return r;
}

/* A device node named in /proc or /sys. */
static int walk_node(struct walk *w, const char *path)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return -ENOTBLK;
	return walk_dev(w, (struct devno){ major(st.st_rdev),
					   minor(st.st_rdev) });
}

/* ---- file systems that have no device number of their own ---- */

struct btrfs_search {
	struct walk *walk;
	const char *sys_btrfs;
	struct devno member;
	bool is_it;
	bool found;
};

static int btrfs_member(void *arg, const char *name, struct devno no)
{
	struct btrfs_search *s = arg;

	(void)name;
	s->is_it |= devno_equal(no, s->member);
	return 0;
}

/* One directory per file system: is the device one of its members? */
static int btrfs_fs(void *arg, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct btrfs_search *s = arg;
	char path[512];
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s", s->sys_btrfs, name);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	s->is_it = false;
	r = sysfs_each_dev(fd, "devices", btrfs_member, s);
	if (r < 0 || !s->is_it)
		return r;
	s->found = true;
	return sysfs_each_dev(fd, "devices", walk_slave, s->walk);
}

/* Of a btrfs over several devices, mountinfo names one. */
static int walk_btrfs(struct walk *w, const char *source)
{
	struct btrfs_search s = { .walk = w };
	struct io *io = io_posix();
	char dir[512];
	struct stat st;
	int r;

	if (stat(source, &st) < 0 || !S_ISBLK(st.st_mode))
		return -EOPNOTSUPP;
	(void)snprintf(dir, sizeof(dir), "%s/fs/btrfs", w->roots->sys);
	s.sys_btrfs = dir;
	s.member = (struct devno){ major(st.st_rdev), minor(st.st_rdev) };
	r = io->ops->listdir(io, AT_FDCWD, dir, btrfs_fs, &s);
	if (r || s.found)
		return r;
	return walk_dev(w, s.member);
}

/* Writes of an overlay go to its upper directory. */
static int walk_overlay(struct walk *w, const char *options)
{
	_cleanup_free_ char *copy = strdup(options);
	char *option, *rest = copy;
	int r;

	if (!copy)
		return -ENOMEM;
	while ((option = strsep(&rest, ",")))
		if (!strncmp(option, "upperdir=", 9)) {
			r = walk_path(w, option + 9);
			return r == -ENOENT ? -EOPNOTSUPP : r;
		}
	return 0;	/* nothing can be written to it */
}

struct mount_search {
	struct walk *walk;
	uint64_t id;
	bool found;
	int result;
};

static int walk_sources(struct walk *w, const char *source)
{
	_cleanup_free_ char *copy = strdup(source);
	char *one, *rest = copy;
	int r;

	if (!copy)
		return -ENOMEM;
	/* bcachefs: "/dev/a:/dev/b" */
	while ((one = strsep(&rest, ":"))) {
		r = walk_node(w, one);
		if (r && r != -ENOTBLK)
			return r;
	}
	return 0;	/* memory, a network */
}

static int walk_mount(void *arg, const struct mount_entry *m)
{
	struct mount_search *s = arg;

	if (m->id != s->id)
		return 0;
	s->found = true;
	if (!strcmp(m->fstype, "btrfs"))
		s->result = walk_btrfs(s->walk, m->source);
	else if (!strcmp(m->fstype, "overlay"))
		s->result = walk_overlay(s->walk, m->super_options);
	else if (!strcmp(m->fstype, "zfs"))
		s->result = -EOPNOTSUPP;	/* does not say where it lies */
	else
		s->result = walk_sources(s->walk, m->source);
	return 1;
}

static int walk_anonymous(struct walk *w, const char *path)
{
	struct mount_search s = { .walk = w };
	struct statx stx;
	int r;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	s.id = stx.stx_mnt_id;
	r = mounts_each(w->roots, walk_mount, &s);
	if (r < 0)
		return r;
	return s.found ? s.result : -EOPNOTSUPP;
}

/* path: something on that file system. */
static int walk_fs(struct walk *w, dev_t dev, const char *path)
{
	const struct devno no = { major(dev), minor(dev) };
	_cleanup_close_ int fd = -1;
	int r;

	fd = no.major ? sysfs_open_dev(w->roots, no) : -ENODEV;
	if (fd >= 0)
		return walk_dev(w, no);
	if (w->depth >= WALK_DEPTH_MAX)
		return -ELOOP;
	w->depth++;
	r = walk_anonymous(w, path);
	w->depth--;
	return r;
}

/* What does not exist yet will lie where its parent lies. */
static int stat_nearest(char *path, struct stat *st)
{
	char *slash;

	while (stat(path, st) < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return -errno;
		slash = strrchr(path, '/');
		if (!slash)
			strcpy(path, ".");
		else if (slash == path)
			path[1] = 0;
		else
			*slash = 0;
	}
	return 0;
}

static int walk_path(struct walk *w, const char *path)
{
	_cleanup_free_ char *copy = strdup(*path ? path : ".");
	struct stat st;
	int r;

	if (!copy)
		return -ENOMEM;
	r = stat_nearest(copy, &st);
	if (r < 0)
		return r;
	if (S_ISBLK(st.st_mode))
		return walk_dev(w, (struct devno){ major(st.st_rdev),
						   minor(st.st_rdev) });
	return walk_fs(w, st.st_dev, copy);
}

int blkdev_range_holds(const struct blkdev_roots *roots,
		       const struct blkdev_range *range, const char *dir)
{
	struct walk w = { .roots = roots, .target = range };

	return walk_path(&w, dir);
}

int blkdev_holds_path(uint32_t disk_major, uint32_t disk_minor,
		      uint32_t part_major, uint32_t part_minor,
		      const char *dir)
{
	struct devno no = { part_major, part_minor };
	struct blkdev_range range;
	int r;

	if (!part_major && !part_minor)
		no = (struct devno){ disk_major, disk_minor };
	r = blkdev_get_range(&blkdev_host, no, &range);
	if (r < 0)
		return r;
	return blkdev_range_holds(&blkdev_host, &range, dir);
}
