// SPDX-License-Identifier: Apache-2.0
/*
 * Opening the target of a restore. Refuses what is in use: a device that is
 * mounted, is part of something else or carries partitions that are, and a
 * file under a loop device of which the same is true. One thread per target.
 */
#include "control/target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev.h"

static int tell_in_use(const char *path, const char *reason, struct err *err)
{
	err_set(err, -EBUSY, "target-in-use", path, "%s", reason);
	err_remedy(err, "unmount it or take it out of use, or restore to "
			"another target");
	return -EBUSY;
}

static int refuse_used(const char *device, const char *path, struct err *err)
{
	char reason[256] = "";
	int ret = blkdev_in_use(device, reason, sizeof(reason));

	if (ret < 0)
		return err_sys(err, ret, "bad-target", path,
			       "find out whether it is in use");
	return ret ? tell_in_use(path, *reason ? reason : "is in use", err) : 0;
}

static int open_device(struct target *t, struct err *err)
{
	int ret = refuse_used(t->path, t->path, err);

	if (ret < 0)
		return ret;
	t->is_device = true;
	t->fd = open(t->path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (t->fd >= 0)
		return 0;
	if (errno == EBUSY)
		return tell_in_use(t->path, "is in use (the kernel refuses to "
				   "open it exclusively)", err);
	return err_sys(err, -errno, "bad-target", t->path, "open for writing");
}

struct loop_search {
	const char *file;		/* real path */
	const char *path;		/* as told */
	struct err *err;
};

static int check_loop(void *arg, const char *name)
{
	const struct loop_search *ls = arg;
	_cleanup_free_ char *backing = NULL;
	char path[320];
	size_t n;

	if (strncmp(name, "loop", 4) != 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
		       name);
	if (io_read_file(io_posix(), AT_FDCWD, path, PATH_MAX, &backing, &n))
		return 0;
	backing[strcspn(backing, "\n")] = 0;
	if (strcmp(backing, ls->file) != 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	return refuse_used(path, ls->path, ls->err);
}

static int refuse_loop_users(const char *path, struct err *err)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct loop_search ls = { .file = real, .path = path, .err = err };

	if (!real)
		return err_sys(err, -errno, "bad-target", path, "resolve");
	return io_posix()->ops->listdir(io_posix(), AT_FDCWD, "/sys/block",
					check_loop, &ls);
}

static int open_file(struct target *t, struct err *err)
{
	int ret = refuse_loop_users(t->path, err);

	if (ret < 0)
		return ret;
	t->fd = open(t->path, O_RDWR | O_CLOEXEC);
	if (t->fd < 0)
		return err_sys(err, -errno, "bad-target", t->path,
			       "open for writing");
	return 0;
}

static int create_file(struct target *t, struct err *err)
{
	t->fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return err_sys(err, -errno, "bad-target", t->path, "create");
	t->created = true;
	return 0;
}

int target_open(const char *path, struct target *out, struct err *err)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	if (strlen(path) >= sizeof(out->path))
		return err_set(err, -ENAMETOOLONG, "bad-target", path,
			       "the path is too long");
	strcpy(out->path, path);
	if (stat(path, &st) < 0)
		return errno == ENOENT ? create_file(out, err) :
					 err_sys(err, -errno, "bad-target",
						 path, "look at it");
	if (S_ISBLK(st.st_mode))
		return open_device(out, err);
	if (S_ISREG(st.st_mode))
		return open_file(out, err);
	err_set(err, -EINVAL, "bad-target", path,
		"is neither a block device nor a regular file");
	err_remedy(err, "name a device, a file, or a file that does not exist");
	return -EINVAL;
}

void target_close(struct target *t)
{
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = -1;
}

void target_discard(struct target *t)
{
	target_close(t);
	if (t->created)
		(void)unlink(t->path);
	t->created = false;
}
