// SPDX-License-Identifier: Apache-2.0
/*
 * A user's program that holds an application. It runs before anything is
 * frozen, and again after everything is thawed: starting a process wants
 * memory, and memory may have to be got from a frozen filesystem.
 *
 * One thread. Killed with its runner, as far as it has not left its group.
 */
#include "freeze/freeze_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NSEC 1000000000U
#define MSEC 1000000U
/* A process that waits for a disk cannot be killed, and is not waited for. */
#define KILLED_MS 1000

uint64_t freeze_now_ns(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

int freeze_ms_until(uint64_t deadline_ns)
{
	uint64_t now = freeze_now_ns(), ms;

	if (now >= deadline_ns)
		return 0;
	ms = (deadline_ns - now + MSEC - 1) / MSEC;
	return ms > 60000 ? 60000 : (int)ms;
}

static void adjust_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1);
	(void)close(fd);
}

__attribute__((noreturn)) static void be_hook(const struct freeze_hook *h)
{
	const struct sched_param normal = { 0 };
	char volume[128], *env[3], *args[4];
	sigset_t none;
	int null;

	(void)snprintf(volume, sizeof(volume), "UNDERSTUDY_VOLUME=%s",
		       h->volume);
	args[0] = (char *)(uintptr_t)h->path;
	args[1] = (char *)(uintptr_t)h->word;
	args[2] = (char *)(uintptr_t)h->volume;
	args[3] = NULL;
	env[0] = (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	env[1] = volume;
	env[2] = NULL;
	(void)setsid();
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sched_setscheduler(0, SCHED_OTHER, &normal);
	/* It may be killed when memory is short, unlike its runner. */
	adjust_oom();
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    close_range(3, ~0U, 0) < 0)
		_exit(126);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(h->path, args, env);
	_exit(127);
}

static int wait_for(const struct freeze_hook *h, int pid_fd)
{
	struct pollfd p[3] = {
		{ .fd = pid_fd, .events = POLLIN },
		{ .fd = h->stop_fds[0], .events = POLLIN },
		{ .fd = h->stop_fds[1], .events = POLLIN },
	};
	int ms;

	for (;;) {
		ms = freeze_ms_until(h->deadline_ns);
		if (poll(p, 3, ms) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents)
			return HOOK_ENDED;
		if (p[1].revents || p[2].revents)
			return HOOK_STOPPED;
		if (!ms)
			return HOOK_LATE;
	}
}

static pid_t reap(pid_t pid, int *status, int flags)
{
	pid_t r;

	do
		r = waitpid(pid, status, flags);
	while (r < 0 && errno == EINTR);
	return r;
}

/* Until it is no more, or that time has passed. */
static void wait_end(pid_t pid, int ms)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)poll(&p, 1, ms);
	if (fd >= 0)
		(void)close(fd);
}

int freeze_hook_run(const struct freeze_hook *h, int *status)
{
	pid_t pid = fork();
	int pid_fd, r;

	if (pid < 0)
		return -errno;
	if (!pid)
		be_hook(h);
	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = pid_fd < 0 ? -errno : wait_for(h, pid_fd);
	if (pid_fd >= 0)
		(void)close(pid_fd);
	if (r == HOOK_ENDED)
		return reap(pid, status, 0) < 0 ? -errno : r;
	/* Maybe it is in no group of its own yet. */
	(void)kill(pid, SIGKILL);
	(void)kill(-pid, SIGKILL);
	*status = SIGKILL;
	wait_end(pid, KILLED_MS);
	return reap(pid, status, WNOHANG) < 0 ? -errno : r;
}
