// SPDX-License-Identifier: Apache-2.0
/*
 * Markers: text, one thing a line, in the order in which it is undone.
 *
 *	understudy-hold 1 <boot id>
 *	volume <name>
 *	fs <mount id> <path>		any of these undoes filesystem n; the
 *					others of it are then not frozen
 *	hook <path>
 *
 * Of another boot it says nothing: a frozen filesystem does not outlive the
 * kernel. A path with a line break in it is left out.
 *
 * One thread. A marker is complete before anything is frozen, and is removed
 * when nothing is; killed in between, it is here.
 */
#include "freeze/freeze_marker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "freeze/freeze_hook.h"
#include "freeze/freeze_target.h"

#define HEAD "understudy-hold 1 "

static void boot_id(char out[40])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id",
				      O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 36);

	out[n == 36 ? 36 : 0] = 0;
}

static int make_dirs(const char *dir)
{
	char path[256], *slash;

	if ((size_t)snprintf(path, sizeof(path), "%s", dir) >= sizeof(path))
		return -ENAMETOOLONG;
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return -EINVAL;
	*slash = 0;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static void print_request(FILE *f, const struct freeze_request *q)
{
	char boot[40];
	uint32_t i;

	boot_id(boot);
	(void)fprintf(f, HEAD "%s\nvolume %s\n", boot, q->volume);
	for (i = 0; i < q->n_mounts; i++) {
		const char *path = q->paths + q->mounts[i].path;

		if (!strchr(path, '\n'))
			(void)fprintf(f, "fs %" PRIu64 " %s\n",
				      q->mounts[i].mount_id, path);
	}
	if (q->hook[0])
		(void)fprintf(f, "hook %s\n", q->hook);
}

int freeze_marker_make(const char *dir, const struct freeze_request *q,
		       char name[64])
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_close_ int fd = -1;
	char path[320];
	int r = make_dirs(dir), copy;

	if (r < 0)
		return r;
	(void)snprintf(name, 64, "%d-%" PRIu32, (int)getpid(), q->slot);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	f = copy < 0 ? NULL : fdopen(copy, "w");
	if (!f)
		return -errno;
	print_request(f, q);
	if (fflush(f) || ferror(f)) {
		r = errno ? -errno : -EIO;
		(void)unlink(path);
		return r;
	}
	return TAKE_FD(fd);
}

void freeze_marker_remove(const char *dir, const char *name)
{
	char path[320];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
}

/* ---- what was left behind ---- */

struct sweep {
	bool dry;
	void (*tell)(void *arg, const struct freeze_left *l);
	void *arg;
	char volume[FREEZE_NAME_BYTES];
};

static void told(const struct sweep *s, const char *what, int result)
{
	const struct freeze_left l = {
		.what = what, .volume = s->volume,
		.result = s->dry ? 1 : result,
	};

	s->tell(s->arg, &l);
}

static void undo_fs(const struct sweep *s, char *rest)
{
	char *end;
	uint64_t id = strtoull(rest, &end, 10);
	int fd, r;

	if (*end != ' ')
		return;
	if (s->dry) {
		told(s, end + 1, 1);
		return;
	}
	fd = freeze_open_mount(end + 1, id);
	r = fd < 0 ? fd : ioctl(fd, FITHAW, 0) < 0 ? -errno : 0;
	if (fd >= 0)
		(void)close(fd);
	told(s, end + 1, r);
}

static void undo_hook(const struct sweep *s, const char *path)
{
	const struct freeze_hook h = {
		.path = path, .word = "thaw", .volume = s->volume,
		.deadline_ns = freeze_now_ns() + FREEZE_HOOK_THAW_NS,
		.stop_fds = { -1, -1 },
	};
	int status = 0, r = 0;

	if (*path != '/')
		return;
	if (!s->dry)
		r = freeze_hook_run(&h, &status);
	if (r == HOOK_LATE)
		r = -ETIMEDOUT;
	else if (r >= 0)
		r = status ? -EIO : 0;
	told(s, path, r);
}

static void undo_lines(struct sweep *s, char *text)
{
	char *line, boot[40];

	boot_id(boot);
	line = strsep(&text, "\n");
	if (strncmp(line, HEAD, strlen(HEAD)) != 0 ||
	    strcmp(line + strlen(HEAD), boot) != 0)
		return;
	while ((line = strsep(&text, "\n"))) {
		if (!strncmp(line, "volume ", 7))
			(void)snprintf(s->volume, sizeof(s->volume), "%s",
				       line + 7);
		else if (!strncmp(line, "fs ", 3))
			undo_fs(s, line + 3);
		else if (!strncmp(line, "hook ", 5))
			undo_hook(s, line + 5);
	}
}

/* 1: it was left behind. */
static int sweep_one(struct sweep *s, int dir_fd, const char *name)
{
	static char text[2 * FREEZE_PATHS_BYTES];
	_cleanup_close_ int fd = openat(dir_fd, name,
					O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	s->volume[0] = 0;
	undo_lines(s, text);
	if (!s->dry && unlinkat(dir_fd, name, 0) < 0)
		return -errno;
	return 1;
}

int freeze_marker_sweep(const char *dir, bool dry,
			void (*tell)(void *arg, const struct freeze_left *l),
			void *arg)
{
	struct sweep s = { .dry = dry, .tell = tell, .arg = arg };
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0, r;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		r = sweep_one(&s, dirfd(d), e->d_name);
		if (r < 0)
			return r;
		n += r;
	}
	return n;
}
