/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ROOT_SCRATCH_LOOP_H
#define TESTS_ROOT_SCRATCH_LOOP_H

/*
 * Loop devices and partitions of them for one test. It runs in a mount name
 * space of its own, with a tmpfs on /mnt for its files, and the loop devices
 * detach with their last user: nothing is left however the test ends.
 */
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/blkpg.h>
#include <linux/loop.h>

#include "device/blkdev_sysfs.h"
#include "tap.h"

#define MIB ((uint64_t)1 << 20)

__attribute__((format(printf, 1, 2))) static inline void
run(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ASSERT_MSG(system(cmd) == 0, "failed: %s", cmd);
}

static inline void enter_scratch(void)
{
	if (geteuid())
		SKIP("needs root");
	if (access("/dev/loop-control", R_OK | W_OK))
		SKIP("no loop devices here");
	ASSERT_OK(unshare(CLONE_NEWNS));
	ASSERT_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_OK(mount("tmpfs", "/mnt", "tmpfs", 0, "size=256m"));
}

static inline int make_image(const char *path, uint64_t size_bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ASSERT_GE(fd, 0);
	ASSERT_OK(ftruncate(fd, (off_t)size_bytes));
	return fd;
}

struct loop {
	char path[32];
	int fd;
	uint32_t major, minor;
};

static inline void loop_bind(struct loop *l, const char *image, uint32_t flags)
{
	const int mode = flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR;
	int file = open(image, mode | O_CLOEXEC);
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, i;
	struct loop_config cfg = { .fd = (uint32_t)file, .block_size = 512 };
	struct stat st;

	ASSERT_GE(file, 0);
	/* PARTSCAN: partitions go when the device does. */
	cfg.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN | flags;
	for (i = 0; i < 16; i++) {
		n = ioctl(ctl, LOOP_CTL_GET_FREE);
		ASSERT_GE(n, 0);
		(void)snprintf(l->path, sizeof(l->path), "/dev/loop%d", n);
		l->fd = open(l->path, O_RDWR | O_CLOEXEC);
		if (l->fd < 0)
			continue;
		if (!ioctl(l->fd, LOOP_CONFIGURE, &cfg))
			break;
		(void)close(l->fd);	/* another test was faster */
	}
	ASSERT_LT(i, 16);
	ASSERT_OK(fstat(l->fd, &st));
	l->major = major(st.st_rdev);
	l->minor = minor(st.st_rdev);
	(void)close(file);
	(void)close(ctl);
}

static inline void loop_new(struct loop *l, const char *image,
			    uint64_t size_bytes)
{
	(void)close(make_image(image, size_bytes));
	loop_bind(l, image, 0);
}

static inline void loop_free(struct loop *l)
{
	(void)close(l->fd);
}

/* A udev that looks at a new partition holds it for a moment. */
static inline int partition_op(const struct loop *l, int op, int number,
			       uint64_t start_bytes, uint64_t size_bytes)
{
	struct blkpg_partition part = {
		.start = (long long)start_bytes,
		.length = (long long)size_bytes,
		.pno = number,
	};
	struct blkpg_ioctl_arg arg = {
		.op = op, .datalen = sizeof(part), .data = &part,
	};
	int tries, r = -EBUSY;

	for (tries = 0; r == -EBUSY && tries < 500; tries++) {
		r = ioctl(l->fd, BLKPG, &arg) < 0 ? -errno : 0;
		if (r == -EBUSY)
			(void)usleep(10000);
	}
	return r;
}

/* Path of partition number of l; made without the help of udev. */
static inline void partition_path(const struct loop *l, int number,
				  char path[48])
{
	char attr[64];
	struct devno no;
	struct stat st;

	(void)snprintf(path, 48, "%sp%d", l->path, number);
	(void)snprintf(attr, sizeof(attr), "/sys/class/block/%s/dev", path + 5);
	ASSERT_OK(sysfs_devno(AT_FDCWD, attr, &no));
	if (stat(path, &st) == 0 && st.st_rdev == makedev(no.major, no.minor))
		return;
	(void)snprintf(path, 48, "/mnt/%sp%d", l->path + 5, number);
	ASSERT_OK(mknod(path, S_IFBLK | 0600, makedev(no.major, no.minor)));
}

static inline void add_partition(const struct loop *l, int number,
				 uint64_t start, uint64_t size, char path[48])
{
	ASSERT_OK(partition_op(l, BLKPG_ADD_PARTITION, number, start, size));
	partition_path(l, number, path);
}

#endif
