// SPDX-License-Identifier: Apache-2.0
/*
 * The state directory: made, locked, named. Main thread, before others start.
 *
 * The node's UUID is durable before it is used: pins in the BPF file system
 * are named by it, so a daemon that forgot it would orphan them. The lock goes
 * with its process, however that ends.
 */
#include "control/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"

#define NODE_FILE "node"
#define LOCK_FILE "lock"

static int path_in(const char *dir, const char *name, char out[600])
{
	int n = snprintf(out, 600, "%s/%s", dir, name);

	return n < 0 || n >= 600 ? -ENAMETOOLONG : 0;
}

int state_make_dir(const char *dir, struct err *err)
{
	char path[512];
	size_t i, n = strlen(dir);
	int ret;

	if (!n || n >= sizeof(path))
		return err_set(err, -ENAMETOOLONG, "bad-path", dir,
			       "no path of a directory");
	for (i = 1; i <= n; i++) {
		if (dir[i] && dir[i] != '/')
			continue;
		memcpy(path, dir, i);
		path[i] = 0;
		if (access(path, F_OK) == 0)
			continue;
		/* What lies above the state is nobody's secret. */
		ret = io_make_dir(io_posix(), path, dir[i] ? 0755 : 0700, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_sys(err, -errno, "bad-state", dir,
			       "look at the state directory");
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "bad-state", dir,
			       "is no directory");
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		err_set(err, -EPERM, "bad-state", dir,
			"others may write into the state directory");
		err_remedy(err, "chmod 700 %s", dir);
		return -EPERM;
	}
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		log_warn("%s: others may read the state directory; chmod 700",
			 dir);
	return 0;
}

static int take_lock(struct state *st, struct err *err)
{
	_cleanup_close_ int fd = -1;
	char path[600], pid[32] = "";
	ssize_t n;

	if (path_in(st->dir, LOCK_FILE, path) < 0)
		return err_set(err, -ENAMETOOLONG, "bad-state", st->dir,
			       "too long");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, -errno, "bad-state", path, "open");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? n : 0] = 0;
		pid[strspn(pid, "0123456789")] = 0;
		err_set(err, -EBUSY, "daemon-runs", st->dir,
			"understudyd (process %s) works on this state already",
			*pid ? pid : "unknown");
		err_remedy(err, "stop it, or give this one a state of its own");
		return -EBUSY;
	}
	/* For that message only; a full file system is no reason to stop. */
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n)
		log_warn("%s: the process id cannot be noted", path);
	st->lock_fd = TAKE_FD(fd);
	return 0;
}

static int read_uuid(const char *path, struct uuid *out, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	int ret;

	ret = io_read_file(io_posix(), AT_FDCWD, path, 128, &text, &n);
	if (ret < 0)
		return ret == -ENOENT ? ret :
					err_sys(err, ret, "bad-state", path,
						"read");
	text[strcspn(text, "\n")] = 0;
	if (uuid_parse(text, out) < 0 || uuid_is_zero(out))
		return err_set(err, -EBADMSG, "bad-state", path,
			       "holds no UUID");
	return 0;
}

int state_read_node(const char *dir, struct uuid *out, struct err *err)
{
	char path[600];

	if (path_in(dir, NODE_FILE, path) < 0)
		return -ENOENT;
	return read_uuid(path, out, err);
}

static int make_node(struct state *st, struct err *err)
{
	char path[600], text[UUID_TEXT_SIZE + 1];
	int ret;

	ret = path_in(st->dir, NODE_FILE, path);
	if (!ret)
		ret = uuid_new(rnd_system(), &st->node);
	if (!ret) {
		uuid_format(&st->node, text);
		strcat(text, "\n");
		ret = io_replace_file(io_posix(), AT_FDCWD, path, text,
				      strlen(text), 0600);
	}
	return ret < 0 ? err_sys(err, ret, "bad-state", path, "write") : 0;
}

int state_open(const char *dir, struct state *out, struct err *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	out->lock_fd = -1;
	ret = state_make_dir(dir, err);
	if (ret < 0)
		return ret;
	(void)snprintf(out->dir, sizeof(out->dir), "%s", dir);
	ret = check_dir(dir, err);
	if (!ret)
		ret = take_lock(out, err);
	if (!ret)
		ret = state_read_node(dir, &out->node, err);
	if (ret == -ENOENT)
		ret = make_node(out, err);
	if (!ret) {
		ret = read_uuid("/proc/sys/kernel/random/boot_id", &out->boot,
				err);
		if (ret == -ENOENT)
			ret = err_sys(err, ret, "no-proc",
				      "/proc/sys/kernel/random/boot_id",
				      "read");
	}
	if (ret < 0)
		state_close(out);
	return ret;
}

void state_close(struct state *st)
{
	if (st->lock_fd >= 0)
		(void)close(st->lock_fd);
	st->lock_fd = -1;
}
