/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEVICE_BLKDEV_SYSFS_H
#define DEVICE_BLKDEV_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/blkdev.h"

/*
 * Inside of blkdev*: attributes of sysfs, and the description of a device
 * made of them. The roots are a parameter so that a test can lay out a tree
 * of a machine that it does not have.
 */
struct blkdev_roots {
	const char *sys;		/* "/sys" */
	const char *proc;		/* "/proc" */
	const char *dev;		/* "/dev" */
	const char *udev;		/* "/run/udev" */
};

/* This machine's. */
extern const struct blkdev_roots blkdev_host;

struct devno {
	uint32_t major, minor;
};

static inline bool devno_equal(struct devno a, struct devno b)
{
	return a.major == b.major && a.minor == b.minor;
}

/*
 * Content of an attribute without trailing white space, cut to cap. 0 or
 * negative errno; out is a string in either case.
 */
int sysfs_text(int dirfd, const char *path, char *out, size_t cap);
int sysfs_u64(int dirfd, const char *path, uint64_t *out);
/* An attribute of the form "8:16". */
int sysfs_devno(int dirfd, const char *path, struct devno *out);
bool sysfs_has(int dirfd, const char *path);
/* Last component of what a link points to. */
int sysfs_link_name(int dirfd, const char *path, char *out, size_t cap);
/* KEY=value out of a file of such lines (uevent; udev's with prefix "E:"). */
int sysfs_env(int dirfd, const char *path, const char *key, char *out,
	      size_t cap);
/* The directory of a device (a descriptor, the caller's), or -ENODEV. */
int sysfs_open_dev(const struct blkdev_roots *roots, struct devno no);
/* The directory of its disk: its parent, or itself again. */
int sysfs_open_disk(int sys_fd);
/* Calls cb with the number of each device linked in sub ("slaves",
 * "holders"); stops at its non-zero. An absent directory holds none. */
int sysfs_each_dev(int dirfd, const char *sub,
		   int (*cb)(void *arg, const char *name, struct devno no),
		   void *arg);

/*
 * Everything that sysfs says of the device, identity included; path, real_path
 * and descriptors are left alone. -ENODEV "device-absent", other negative errno
 * "device-unreadable".
 */
int blkdev_describe(const struct blkdev_roots *roots, struct devno no,
		    struct blkdev *dev, struct err *err);

/* Where a device lies: a partition is a range of its disk, any other device
 * all of itself. */
struct blkdev_range {
	struct devno disk;
	uint64_t start_sector, n_sectors;
};

/* 0, -ENODEV, other negative errno. */
int blkdev_get_range(const struct blkdev_roots *roots, struct devno no,
		     struct blkdev_range *out);
bool blkdev_range_overlaps(const struct blkdev_range *a,
			   const struct blkdev_range *b);

/* Fills dev->id from sysfs and udev's database; absent fields stay empty. */
void blkdev_identify(const struct blkdev_roots *roots, int sys_fd, int disk_fd,
		     struct blkdev *dev);
/*
 * PARTUUID of partition number partno out of the partition table itself, for
 * kernels before 6.10 without udev. disk_fd: a buffered one of the disk. 0 or
 * negative errno.
 */
int blkdev_table_partuuid(int disk_fd, uint64_t partno, char *out, size_t cap);

/*
 * A node of block device no (kernel name name), opened and checked to be it;
 * makes a private node for the time of opening when /dev has none. Descriptor
 * or negative errno.
 */
int blkdev_open_node(const struct blkdev_roots *roots, struct devno no,
		     const char *name, int flags);
/*
 * Who opens a disk without a node for a process that may not make one: set
 * before any thread is started; NULL: nobody. The result is a descriptor or a
 * negative errno.
 */
typedef int (*blkdev_open_fn)(struct devno no, const char *name, int flags);
void blkdev_set_helper(blkdev_open_fn open_disk);

/* One line of mountinfo; strings live until the callback returns. */
struct mount_entry {
	uint64_t id;
	struct devno no;
	const char *point, *fstype, *source, *super_options;
};

/* Every mount of this namespace; stops at cb's non-zero and returns that. */
int mounts_each(const struct blkdev_roots *roots,
		int (*cb)(void *arg, const struct mount_entry *m), void *arg);

/* As the public functions, on any roots; the device is given by number. */
int blkdev_in_use_no(const struct blkdev_roots *roots, struct devno no,
		     char *reason, unsigned int cap);
int blkdev_range_holds(const struct blkdev_roots *roots,
		       const struct blkdev_range *range, const char *dir);

#endif
