// SPDX-License-Identifier: Apache-2.0
/*
 * Which filesystems lie on a volume? First all devices that share blocks with
 * it are gathered, from the volume upwards (partitions, mappings, loop devices
 * that stand on a node); then mountinfo is read. A device of those that
 * somebody holds exclusively, and whose holder is neither a mount that we see,
 * nor swap, nor one of the others, is "hidden": what lies on it cannot be
 * frozen by us, so nothing may be claimed of it.
 *
 * Any thread; no state. True when looked at and no longer.
 */
#include "device/blkdev_fs.h"

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

#define STACK_MAX 256U

struct above {
	struct devno no;
	char name[64];			/* the kernel's */
	bool is_claimed;		/* and it is known by whom */
	bool is_divided;		/* into others of these */
	bool is_around;			/* the disk of one of them: its other
					 * partitions are not ours */
};

struct gather {
	const struct blkdev_roots *roots;
	struct blkdev_fs *out;
	unsigned int n;
	struct above all[STACK_MAX];
};

static struct above *find(struct gather *g, struct devno no)
{
	unsigned int i;

	for (i = 0; i < g->n; i++)
		if (devno_equal(g->all[i].no, no))
			return &g->all[i];
	return NULL;
}

static int stat_node(const char *path, struct devno *no)
{
	struct stat st;

	if (path[0] != '/' || stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return -ENOTBLK;
	*no = (struct devno){ major(st.st_rdev), minor(st.st_rdev) };
	return 0;
}

/* ---- upwards ---- */

/* 1 when it is new. */
static int add(struct gather *g, struct devno no)
{
	_cleanup_close_ int fd = -1;
	char link[64];
	struct above *a;

	if (find(g, no))
		return 0;
	if (g->n == STACK_MAX)
		return -E2BIG;
	fd = sysfs_open_dev(g->roots, no);
	if (fd < 0)
		return fd;
	a = &g->all[g->n];
	*a = (struct above){ .no = no };
	if (sysfs_env(fd, "uevent", "DEVNAME", link, sizeof(link)) < 0)
		(void)snprintf(link, sizeof(link), "%" PRIu32 ":%" PRIu32,
			       no.major, no.minor);
	memcpy(a->name, link, sizeof(a->name));
	g->n++;
	return 1;
}

static int add_holder(void *arg, const char *name, struct devno no)
{
	int r = add(arg, no);

	(void)name;
	return r < 0 ? r : 0;
}

struct parts {
	struct gather *g;
	struct devno whole;		/* a gathered device, */
	const struct blkdev_range *range;	/* and where it lies */
	int disk_fd;
};

/* What shares blocks with a gathered device uses it. */
static int add_partition(void *arg, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct parts *p = arg;
	struct blkdev_range range;
	struct above *a;
	struct devno no;
	int r;

	fd = openat(p->disk_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !sysfs_has(fd, "partition") ||
	    sysfs_devno(fd, "dev", &no) < 0 || devno_equal(no, p->whole))
		return 0;
	r = blkdev_get_range(p->g->roots, no, &range);
	if (r < 0)
		return r;
	if (!blkdev_range_overlaps(&range, p->range))
		return 0;
	a = find(p->g, p->whole);
	if (a)
		a->is_divided = true;
	r = add(p->g, no);
	return r < 0 ? r : 0;
}

static int count_holder(void *arg, const char *name, struct devno no)
{
	(void)name;
	(void)no;
	(*(unsigned int *)arg)++;
	return 0;
}

/* Holders and overlapping partitions of the i-th. */
static int climb(struct gather *g, unsigned int i)
{
	_cleanup_close_ int fd = -1, disk_fd = -1;
	struct devno no = g->all[i].no;
	struct io *io = io_posix();
	struct blkdev_range range;
	struct parts p = { .g = g, .whole = no, .range = &range };
	unsigned int holders = 0;
	int r;

	fd = sysfs_open_dev(g->roots, no);
	if (fd < 0)
		return fd;
	r = sysfs_each_dev(fd, "holders", count_holder, &holders);
	if (!r)
		r = sysfs_each_dev(fd, "holders", add_holder, g);
	g->all[i].is_claimed |= holders > 0;
	if (!r)
		r = blkdev_get_range(g->roots, no, &range);
	if (r < 0 || g->all[i].is_around)
		return r;
	disk_fd = sysfs_open_dev(g->roots, range.disk);
	if (disk_fd < 0)
		return disk_fd;
	p.disk_fd = disk_fd;
	r = io->ops->listdir(io, disk_fd, ".", add_partition, &p);
	if (r < 0 || devno_equal(range.disk, no))
		return r;
	/* A partition's disk: a filesystem or a mapping over all of it has its
	 * blocks too. It is held by whoever has another partition. */
	r = add(g, range.disk);
	if (r > 0)
		g->all[g->n - 1].is_around = true;
	return r < 0 ? r : 0;
}

struct loops {
	struct gather *g;
	const char *sys_block;
	bool more;
};

/* A loop device over a node of a gathered device. */
static int add_loop(void *arg, const char *name)
{
	struct loops *l = arg;
	char path[512], text[4096];
	struct devno below, no;
	struct above *a;
	int r;

	if (strncmp(name, "loop", 4) || !isdigit((unsigned char)name[4]))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s/loop/backing_file",
		       l->sys_block, name);
	if (sysfs_text(AT_FDCWD, path, text, sizeof(text)) < 0 ||
	    stat_node(text, &below) < 0)
		return 0;
	a = find(l->g, below);
	(void)snprintf(path, sizeof(path), "%s/%s/dev", l->sys_block, name);
	if (!a || sysfs_devno(AT_FDCWD, path, &no) < 0)
		return 0;
	a->is_claimed = true;
	r = add(l->g, no);
	l->more |= r > 0;
	return r < 0 ? r : 0;
}

static int gather_all(struct gather *g, struct devno volume)
{
	struct loops l = { .g = g };
	struct io *io = io_posix();
	unsigned int i = 0;
	char dir[512];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/block", g->roots->sys);
	l.sys_block = dir;
	r = add(g, volume);
	while (r >= 0) {
		for (; i < g->n && r >= 0; i++)
			r = climb(g, i);
		if (r < 0)
			return r;
		l.more = false;
		r = io->ops->listdir(io, AT_FDCWD, dir, add_loop, &l);
		if (r == -ENOENT)
			r = 0;
		if (r < 0 || !l.more)
			return r;
	}
	return r;
}

/* ---- mounts ---- */

struct members {
	struct gather *g;
	const char *dir;
	struct devno source;
	bool has_source, is_above;
};

static int look_member(void *arg, const char *name, struct devno no)
{
	struct members *m = arg;

	(void)name;
	m->has_source |= devno_equal(no, m->source);
	m->is_above |= find(m->g, no) != NULL;
	return 0;
}

static int account_member(void *arg, const char *name, struct devno no)
{
	struct above *a = find(arg, no);

	(void)name;
	if (a)
		a->is_claimed = true;
	return 0;
}

/* 1: this btrfs is the source's, and lies on a gathered device. */
static int look_btrfs(void *arg, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct members *m = arg;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", m->dir, name);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	m->has_source = m->is_above = false;
	if (sysfs_each_dev(fd, "devices", look_member, m) < 0 ||
	    !m->has_source || !m->is_above)
		return 0;
	(void)sysfs_each_dev(fd, "devices", account_member, m->g);
	return 1;
}

/* Of a filesystem over several devices mountinfo names one, or all. */
static bool source_is_above(struct gather *g, const struct mount_entry *m)
{
	_cleanup_free_ char *copy = strdup(m->source);
	struct members s = { .g = g };
	struct io *io = io_posix();
	char *one, *rest = copy, dir[512];
	bool is_above = false;

	while (copy && (one = strsep(&rest, ":"))) {
		struct above *a;

		if (stat_node(one, &s.source) < 0)
			continue;
		a = find(g, s.source);
		if (a)
			a->is_claimed = is_above = true;
		(void)snprintf(dir, sizeof(dir), "%s/fs/btrfs",
			       g->roots->sys);
		s.dir = dir;
		if (!strcmp(m->fstype, "btrfs") &&
		    io->ops->listdir(io, AT_FDCWD, dir, look_btrfs, &s) == 1)
			is_above = true;
	}
	return is_above;
}

static int keep_mount(struct blkdev_fs *out, const struct mount_entry *m)
{
	struct blkdev_fs_mount *k;
	uint32_t i, fs = out->n_fs;

	for (i = 0; i < out->n_mounts; i++)
		if (devno_equal(out->mounts[i].no, m->no))
			fs = out->mounts[i].fs;
	/* A further place of one that is reachable already may be left out. */
	if (out->n_mounts == BLKDEV_FS_MOUNTS_MAX)
		return fs < out->n_fs ? 0 : -E2BIG;
	if (fs >= BLKDEV_FS_MAX)
		return -E2BIG;
	k = &out->mounts[out->n_mounts];
	*k = (struct blkdev_fs_mount){ .fs = fs, .no = m->no, .id = m->id };
	k->point = strdup(m->point);
	if (!k->point)
		return -ENOMEM;
	out->n_mounts++;
	if (fs == out->n_fs)
		out->n_fs++;
	return 0;
}

static int take_mount(void *arg, const struct mount_entry *m)
{
	struct gather *g = arg;
	struct above *a = find(g, m->no);

	if (a)
		a->is_claimed = true;
	else if (m->no.major || !source_is_above(g, m))
		return 0;
	return keep_mount(g->out, m);
}

/* Swap is in nobody's way: what is in it is of no use after a crash. */
static int account_swaps(struct gather *g)
{
	_cleanup_free_ char *text = NULL;
	char path[512], *line, *rest;
	struct above *a;
	struct devno no;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/swaps", g->roots->proc);
	r = io_read_file(io_posix(), AT_FDCWD, path, (size_t)1 << 20, &text,
			 &len);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char *name = strsep(&line, " \t");

		a = stat_node(name, &no) < 0 ? NULL : find(g, no);
		if (a)
			a->is_claimed = true;
	}
	return 0;
}

/* ---- hidden users ---- */

/* Is there nothing to ask, since it is known who has it, or parts of it? A disk
 * that somebody has is had with all its partitions. */
static bool is_explained(struct gather *g, const struct above *a)
{
	struct blkdev_range range;
	const struct above *disk;

	if (a->is_claimed || a->is_divided || a->is_around)
		return true;
	if (blkdev_get_range(g->roots, a->no, &range) < 0)
		return false;
	disk = find(g, range.disk);
	return disk && disk->is_claimed;
}

/* The kernel is asked: may somebody have it for himself alone? */
static int look_hidden(struct gather *g, const struct above *a)
{
	_cleanup_close_ int fd = -1;

	fd = blkdev_open_node(g->roots, a->no, a->name, O_RDONLY | O_EXCL);
	if (fd >= 0 || fd == -ENOMEDIUM)
		return 0;
	if (fd == -EBUSY)
		(void)snprintf(g->out->hidden, sizeof(g->out->hidden),
			       "/dev/%s is in use, by a mount elsewhere or "
			       "another program", a->name);
	else
		(void)snprintf(g->out->hidden, sizeof(g->out->hidden),
			       "/dev/%s cannot be looked at: %s", a->name,
			       strerrordesc_np(-fd));
	return 0;
}

static int gather_fs(struct gather *g, struct devno volume)
{
	unsigned int i;
	int r = gather_all(g, volume);

	if (!r)
		r = mounts_each(g->roots, take_mount, g);
	if (!r)
		r = account_swaps(g);
	for (i = 0; i < g->n && !r && !g->out->hidden[0]; i++)
		if (!is_explained(g, &g->all[i]))
			r = look_hidden(g, &g->all[i]);
	return r;
}

int blkdev_fs_find(const struct blkdev_roots *roots, struct devno volume,
		   struct blkdev_fs *out)
{
	_cleanup_free_ struct gather *g = calloc(1, sizeof(*g));
	int r;

	memset(out, 0, sizeof(*out));
	if (!g)
		return -ENOMEM;
	g->roots = roots;
	g->out = out;
	r = gather_fs(g, volume);
	if (r < 0)
		blkdev_fs_free(out);
	return r;
}

void blkdev_fs_free(struct blkdev_fs *fs)
{
	while (fs->n_mounts)
		free(fs->mounts[--fs->n_mounts].point);
	fs->n_fs = 0;
}

int blkdev_fs_copy(struct blkdev_fs *to, const struct blkdev_fs *from)
{
	uint32_t i;

	*to = *from;
	for (to->n_mounts = 0; to->n_mounts < from->n_mounts; to->n_mounts++) {
		i = to->n_mounts;
		to->mounts[i].point = strdup(from->mounts[i].point);
		if (!to->mounts[i].point) {
			blkdev_fs_free(to);
			return -ENOMEM;
		}
	}
	return 0;
}

static bool has_fs(const struct blkdev_fs *in, struct devno no)
{
	uint32_t i;

	for (i = 0; i < in->n_mounts; i++)
		if (devno_equal(in->mounts[i].no, no))
			return true;
	return false;
}

bool blkdev_fs_same(const struct blkdev_fs *a, const struct blkdev_fs *b)
{
	uint32_t i;

	if (a->n_fs != b->n_fs || !a->hidden[0] != !b->hidden[0])
		return false;
	for (i = 0; i < a->n_mounts; i++)
		if (!has_fs(b, a->mounts[i].no))
			return false;
	return true;
}
