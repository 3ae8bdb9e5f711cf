// SPDX-License-Identifier: Apache-2.0
/*
 * Markers: text, one thing a line, in the order in which it is undone.
 *
 *	understudy-hold 2 <until> <boot id>
 *	volume <name>
 *	fs <n> <device> <mount id> <path>	a place of the n-th filesystem;
 *					any of them will do
 *	hook <path>
 *
 * until is when the hold's time is up, in nanoseconds of CLOCK_BOOTTIME and 20
 * digits; 0 as long as nothing is held. A path leads to the filesystem when the
 * mount is the same, or the device (a daemon in a mount namespace of its own
 * had other mounts). Of another boot a marker says nothing: a frozen filesystem
 * does not outlive the kernel.
 *
 * Invariants:
 * - A marker is complete before anything is frozen, and is removed when nothing
 *   is; killed in between, it is here. It stays while a filesystem of it can
 *   neither be thawed nor be found not to be frozen.
 * - All filesystems of all markers are thawed before any program is run, and
 *   the programs run at the same time: one that hangs holds up nobody.
 *
 * One thread.
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
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "freeze/freeze_hook.h"
#include "freeze/freeze_target.h"

#define HEAD "understudy-hold 2 "
#define UNTIL_DIGITS 20
/* Paths and numbers of all lines; a mark is never longer than what was asked. */
#define TEXT_MAX (2 * FREEZE_PATHS_BYTES)
#define CREATE_TRIES 1000
/* A holder whose time was up so long ago does not come to its end any more. */
#define OVERDUE_NS (FREEZE_HOOK_THAW_NS + UINT64_C(1000000000))
/* Programs that run at the same time; what is more waits for the next time. */
#define HOOKS_MAX 64U

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

/* -EINVAL: something has no name that a line can hold. */
static int print_request(FILE *f, const struct freeze_request *q,
			 const dev_t *devs)
{
	bool is_named[FREEZE_FS_MAX] = { false };
	char boot[40];
	uint32_t i;

	boot_id(boot);
	(void)fprintf(f, HEAD "%0*d %s\nvolume %s\n", UNTIL_DIGITS, 0, boot,
		      q->volume);
	for (i = 0; i < q->n_mounts; i++) {
		const struct freeze_mount *m = &q->mounts[i];
		const char *path = q->paths + m->path;

		if (strchr(path, '\n'))
			continue;
		is_named[m->fs] = true;
		(void)fprintf(f, "fs %" PRIu32 " %" PRIu64 " %" PRIu64 " %s\n",
			      m->fs, (uint64_t)devs[m->fs], m->mount_id, path);
	}
	if (q->hook[0])
		(void)fprintf(f, "hook %s\n", q->hook);
	for (i = 0; i < q->n_fs; i++)
		if (!is_named[i])
			return -EINVAL;
	return strchr(q->hook, '\n') ? -EINVAL : 0;
}

static int write_request(int fd, const struct freeze_request *q,
			 const dev_t *devs)
{
	_cleanup_fclose_ FILE *f = NULL;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

	f = copy < 0 ? NULL : fdopen(copy, "w");
	if (!f)
		return -errno;
	errno = 0;
	r = print_request(f, q, devs);
	if (!r && (fflush(f) || ferror(f)))
		r = errno ? -errno : -EIO;
	return r;
}

/* What is there already was left behind, and is needed. */
static int create(const char *dir, char name[64], char *path, size_t cap)
{
	static uint32_t n;
	int fd, i;

	for (i = 0; i < CREATE_TRIES; i++) {
		(void)snprintf(name, 64, "%d-%" PRIu32, (int)getpid(), n++);
		(void)snprintf(path, cap, "%s/%s", dir, name);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0 || errno != EEXIST)
			return fd < 0 ? -errno : fd;
	}
	return -EEXIST;
}

int freeze_marker_make(const char *dir, const struct freeze_request *q,
		       const dev_t *devs, char name[64])
{
	_cleanup_close_ int fd = -1;
	char path[320];
	int r = make_dirs(dir);

	if (r < 0)
		return r;
	r = fd = create(dir, name, path, sizeof(path));
	if (r < 0)
		return r;
	r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno :
					       write_request(fd, q, devs);
	if (r < 0) {
		(void)unlink(path);
		return r;
	}
	return TAKE_FD(fd);
}

int freeze_marker_until(int fd, uint64_t until_ns)
{
	char digits[UNTIL_DIGITS + 1];
	ssize_t n;

	(void)snprintf(digits, sizeof(digits), "%0*" PRIu64, UNTIL_DIGITS,
		       until_ns);
	n = pwrite(fd, digits, UNTIL_DIGITS, (off_t)strlen(HEAD));
	return n == UNTIL_DIGITS ? 0 : n < 0 ? -errno : -EIO;
}

void freeze_marker_remove(const char *dir, const char *name)
{
	char path[320];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
}

/* ---- what was left behind ---- */

struct left_fs {
	const char *path;		/* the first one; NULL: there is none */
	int result;
	bool is_undone;
};

/* Its text, taken apart; strings point into it. */
struct marker {
	uint64_t until_ns;
	const char *volume, *hook;
	struct left_fs fs[FREEZE_FS_MAX];
};

/* A program under way, and what it is run for. */
struct running {
	pid_t pid;
	char hook[FREEZE_HOOK_BYTES], volume[FREEZE_NAME_BYTES];
};

struct sweep {
	bool dry;
	void (*tell)(void *arg, const struct freeze_left *l);
	void *arg;
	uint32_t n_running;
	struct running running[HOOKS_MAX];
	char text[TEXT_MAX];
};

static void told(const struct sweep *s, const char *volume, const char *what,
		 int result)
{
	const struct freeze_left l = {
		.what = what, .volume = volume,
		.result = s->dry ? 1 : result,
	};

	s->tell(s->arg, &l);
}

static int thaw_at(const char *path, uint64_t dev, uint64_t mount_id)
{
	int fd = freeze_open_mount(path, mount_id, (dev_t)dev), r;

	if (fd < 0)
		return fd;
	r = ioctl(fd, FITHAW, 0) < 0 ? -errno : 0;
	(void)close(fd);
	return r;
}

static void undo_fs(struct marker *m, const char *rest, bool dry)
{
	uint64_t dev, id;
	struct left_fs *fs;
	uint32_t i;
	int n = 0, r;

	if (sscanf(rest, "%" SCNu32 " %" SCNu64 " %" SCNu64 " %n", &i, &dev,
		   &id, &n) != 3 || !n || i >= FREEZE_FS_MAX)
		return;
	fs = &m->fs[i];
	if (fs->is_undone)
		return;
	r = dry ? 0 : thaw_at(rest + n, dev, id);
	if (!fs->path)
		fs->result = r;
	fs->path = fs->path ? fs->path : rest + n;
	/* It has been thawed by somebody meanwhile: done as well. */
	if (r == 0 || r == -EINVAL) {
		fs->is_undone = true;
		fs->result = r;
		fs->path = rest + n;
	}
}

/* False: it is of another boot, or none of ours. */
static bool read_marker(char *text, struct marker *m, bool dry)
{
	char *line, *end, boot[40];

	memset(m, 0, sizeof(*m));
	m->volume = "";
	boot_id(boot);
	line = strsep(&text, "\n");
	if (strncmp(line, HEAD, strlen(HEAD)) != 0)
		return false;
	m->until_ns = strtoull(line + strlen(HEAD), &end, 10);
	if (*end != ' ' || strcmp(end + 1, boot) != 0)
		return false;
	while ((line = strsep(&text, "\n"))) {
		if (!strncmp(line, "volume ", 7))
			m->volume = line + 7;
		else if (!strncmp(line, "fs ", 3))
			undo_fs(m, line + 3, dry);
		else if (!strncmp(line, "hook /", 6))
			m->hook = line + 5;
	}
	return true;
}

static ssize_t read_text(int fd, char text[TEXT_MAX])
{
	ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = 0;
	return n;
}

/* Its holder lives, and its time has been up for long: it was stopped, or it
 * waits for a disk. */
static bool is_overdue(int fd, char text[TEXT_MAX])
{
	uint64_t until;

	if (read_text(fd, text) < 0 || strncmp(text, HEAD, strlen(HEAD)) != 0)
		return false;
	until = strtoull(text + strlen(HEAD), NULL, 10);
	return until && freeze_now_ns() > until + OVERDUE_NS;
}

static bool all_undone(const struct marker *m)
{
	uint32_t i;

	for (i = 0; i < FREEZE_FS_MAX; i++)
		if (m->fs[i].path && !m->fs[i].is_undone)
			return false;
	return true;
}

static void tell_filesystems(const struct sweep *s, const struct marker *m)
{
	uint32_t i;

	for (i = 0; i < FREEZE_FS_MAX; i++)
		if (m->fs[i].path)
			told(s, m->volume, m->fs[i].path, m->fs[i].result);
}

/* In a process of its own, which exits with what came of it. */
static int start_hook(struct sweep *s, const struct marker *m)
{
	struct running *u = &s->running[s->n_running];
	const struct freeze_hook h = {
		.path = m->hook, .word = "thaw", .volume = m->volume,
		.deadline_ns = freeze_now_ns() + FREEZE_HOOK_THAW_NS,
		.stop_fds = { -1, -1 },
	};
	int status = 0, r;

	if (s->n_running == HOOKS_MAX)
		return -EBUSY;
	(void)snprintf(u->hook, sizeof(u->hook), "%s", m->hook);
	(void)snprintf(u->volume, sizeof(u->volume), "%s", m->volume);
	u->pid = fork();
	if (u->pid < 0)
		return -errno;
	s->n_running += u->pid > 0;
	if (u->pid)
		return 0;
	r = freeze_hook_run(&h, &status);
	_exit(r == HOOK_LATE ? ETIMEDOUT : r < 0 ? -r : status ? EIO : 0);
}

static void await_hooks(struct sweep *s)
{
	uint32_t i;

	for (i = 0; i < s->n_running; i++) {
		const struct running *u = &s->running[i];
		int status = -1;

		while (waitpid(u->pid, &status, 0) < 0 && errno == EINTR)
			;
		told(s, u->volume, u->hook,
		     WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO);
	}
	s->n_running = 0;
}

enum pass { PASS_FILESYSTEMS, PASS_HOOKS };

/* 1: it was left behind. */
static int sweep_one(struct sweep *s, int dir_fd, const char *name,
		     enum pass pass)
{
	_cleanup_close_ int fd = openat(dir_fd, name,
					O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct marker m;
	bool is_known, is_mine;
	ssize_t n;

	if (fd < 0)
		return 0;
	is_mine = flock(fd, LOCK_EX | LOCK_NB) == 0;
	if (!is_mine && (pass == PASS_HOOKS || !is_overdue(fd, s->text)))
		return 0;
	n = read_text(fd, s->text);
	if (n < 0)
		return (int)n;
	is_known = read_marker(s->text, &m, s->dry);
	if (pass == PASS_FILESYSTEMS)
		tell_filesystems(s, &m);
	if (s->dry && pass == PASS_HOOKS && m.hook)
		told(s, m.volume, m.hook, 1);
	if (!is_mine || s->dry || !all_undone(&m) ||
	    (m.hook && (pass == PASS_FILESYSTEMS || start_hook(s, &m) < 0)))
		return is_known || is_mine;
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 1;
}

static int walk(struct sweep *s, const char *dir, enum pass pass)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0, failed = 0, r;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		r = sweep_one(s, dirfd(d), e->d_name, pass);
		/* One that cannot be read does not keep the others frozen. */
		if (r < 0)
			failed = r;
		else
			n += r;
	}
	return failed ? failed : n;
}

int freeze_marker_sweep(const char *dir, bool dry,
			void (*tell)(void *arg, const struct freeze_left *l),
			void *arg)
{
	_cleanup_free_ struct sweep *s = calloc(1, sizeof(*s));
	int n, r;

	if (!s)
		return -ENOMEM;
	s->dry = dry;
	s->tell = tell;
	s->arg = arg;
	n = walk(s, dir, PASS_FILESYSTEMS);
	r = walk(s, dir, PASS_HOOKS);
	await_hooks(s);
	return n < 0 ? n : r < 0 ? r : n;
}
