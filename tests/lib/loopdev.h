/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_LOOPDEV_H
#define TESTS_LIB_LOOPDEV_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/loop.h>

/*
 * A scratch loop device over a sparse file that has no name any more, so that
 * nothing is left of it however the test ends (LO_FLAGS_AUTOCLEAR detaches it
 * with its last user).
 */
struct loopdev {
	char path[32];
	int fd;				/* holds it */
	int backing_fd;
};

static inline int loopdev_configure(struct loopdev *l, int number,
				    uint32_t flags)
{
	struct loop_config cfg;

	memset(&cfg, 0, sizeof(cfg));
	cfg.fd = (uint32_t)l->backing_fd;
	cfg.block_size = 512;
	cfg.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags;
	(void)snprintf(l->path, sizeof(l->path), "/dev/loop%d", number);
	l->fd = open(l->path, O_RDWR | O_CLOEXEC);
	if (l->fd < 0)
		return -1;
	if (!ioctl(l->fd, LOOP_CONFIGURE, &cfg))
		return 0;
	close(l->fd);
	return -1;
}

/* Over l->backing_fd, which it closes when it fails. */
static inline int loopdev_attach(struct loopdev *l, uint64_t size_bytes,
				 uint32_t flags)
{
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int i, n;

	if (ctl < 0 || l->backing_fd < 0 ||
	    ftruncate(l->backing_fd, (off_t)size_bytes)) {
		perror("loopdev");
		return -1;
	}
	/* Another test may take the free number first. */
	for (i = 0; i < 16; i++) {
		n = ioctl(ctl, LOOP_CTL_GET_FREE);
		if (n >= 0 && !loopdev_configure(l, n, flags)) {
			close(ctl);
			return 0;
		}
	}
	perror("loop configure");
	close(ctl);
	close(l->backing_fd);
	return -1;
}

/* 0, or -1 with what failed on standard error. */
static inline int loopdev_open(struct loopdev *l, uint64_t size_bytes)
{
	char name[] = "/tmp/understudy-loop-XXXXXX";

	l->backing_fd = mkostemp(name, O_CLOEXEC);
	if (l->backing_fd >= 0)
		(void)unlink(name);
	return loopdev_attach(l, size_bytes, LO_FLAGS_DIRECT_IO);
}

/* The same in memory (tmpfs), where a sparse file may be of any size. */
static inline int loopdev_open_memory(struct loopdev *l, uint64_t size_bytes)
{
	l->backing_fd = memfd_create("understudy-loop", MFD_CLOEXEC);
	return loopdev_attach(l, size_bytes, 0);
}

static inline void loopdev_close(struct loopdev *l)
{
	close(l->fd);
	close(l->backing_fd);
}

#endif
