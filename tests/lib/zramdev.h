/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_ZRAMDEV_H
#define TESTS_LIB_ZRAMDEV_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A zram device of the test's own: one that takes bios. A child removes it
 * when the test has ended, however it did.
 */
#define ZRAM_CONTROL "/sys/class/zram-control/"
#define ZRAM_BY_PAGES "this kernel writes pages to zram without a bio"

struct zramdev {
	char path[32];
	int n;
	int hold_fd;			/* closed by the end of the test */
	pid_t keeper;
};

/* Then it must be refused. */
static inline bool zramdev_is_by_pages(void)
{
	int major = 0, minor = 0;
	struct utsname u;

	return !uname(&u) && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 3));
}

static inline int zramdev_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text);
	int r;

	if (fd < 0)
		return -errno;
	r = write(fd, text, (size_t)len) == len ? 0 : -errno;
	close(fd);
	return r;
}

static inline void zramdev_keep(const struct zramdev *z, int fd)
{
	char path[64], number[16], byte;
	int i;

	while (read(fd, &byte, 1) > 0)
		;
	(void)snprintf(path, sizeof(path), "/sys/block/zram%d/reset", z->n);
	(void)snprintf(number, sizeof(number), "%d", z->n);
	/* Whoever probes new devices may have it open for a moment. */
	for (i = 0; i < 200; i++) {
		if (!zramdev_write(path, "1") &&
		    !zramdev_write(ZRAM_CONTROL "hot_remove", number))
			_exit(0);
		usleep(20000);
	}
	_exit(1);
}

/* 0; -ENODEV when there is no zram here. */
static inline int zramdev_open(struct zramdev *z, uint64_t size_bytes)
{
	char text[32], path[64];
	int fd, fds[2];
	ssize_t n;

	fd = open(ZRAM_CONTROL "hot_add", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENODEV;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0 || pipe2(fds, O_CLOEXEC))
		return -EIO;
	text[n] = 0;
	if (sscanf(text, "%d", &z->n) != 1)
		return -EIO;
	z->keeper = fork();
	if (!z->keeper) {
		close(fds[1]);
		zramdev_keep(z, fds[0]);
	}
	close(fds[0]);
	z->hold_fd = fds[1];
	(void)snprintf(z->path, sizeof(z->path), "/dev/zram%d", z->n);
	(void)snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", z->n);
	(void)snprintf(text, sizeof(text), "%llu",
		       (unsigned long long)size_bytes);
	return z->keeper < 0 ? -EAGAIN : zramdev_write(path, text);
}

static inline int zramdev_close(struct zramdev *z)
{
	int status;

	close(z->hold_fd);
	return waitpid(z->keeper, &status, 0) == z->keeper && !status
		       ? 0 : -EBUSY;
}

#endif
