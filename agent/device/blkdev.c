// SPDX-License-Identifier: Apache-2.0
/*
 * Opening a volume's device and asking later whether it is still the same.
 *
 * Two descriptors are held: one of the whole disk, through which everything is
 * read (also a partition: whoever reads a partition's own node makes ext4
 * write back its metadata), and one of the device's directory in sysfs. The
 * first answers for the disk: its sequence number changes with its medium, and
 * its size becomes 0 when it goes. The second stays with this very partition
 * when another one takes its number. The partition's node is never opened.
 *
 * While the descriptor is held, a loop device that is detached stays until the
 * descriptor is closed; the kernel remembers the wish.
 *
 * blkdev_open fills the caller's struct; afterwards any one thread may use it.
 */
#include "device/blkdev.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "device/blkdev_sysfs.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

/* How often a device may change between describing and opening it. */
#define OPEN_ATTEMPTS 5

static int stat_device(const char *path, struct devno *no, struct err *err)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0) {
		r = -errno;
		if (r == -ENOENT || r == -ENOTDIR || r == -ENXIO) {
			(void)err_set(err, -ENODEV, "device-absent", path,
				      "there is no such device");
			(void)err_remedy(err, "connect the device, or correct "
					 "`device =` of the volume");
			return -ENODEV;
		}
		return err_sys(err, r, "device-unreadable", path, "look at it");
	}
	if (!S_ISBLK(st.st_mode)) {
		(void)err_set(err, -ENOTBLK, "not-a-block-device", path,
			      "this is no block device");
		(void)err_remedy(err, "name a disk or a partition; a file can "
				 "be used through a loop device: "
				 "losetup -f --show FILE");
		return -ENOTBLK;
	}
	no->major = major(st.st_rdev);
	no->minor = minor(st.st_rdev);
	return 0;
}

/* 0 on kernels that have no such number. */
static int get_diskseq(int fd, uint64_t *out)
{
	__u64 seq = 0;

	*out = 0;
	if (ioctl(fd, BLKGETDISKSEQ, &seq) < 0)
		return errno == ENOTTY || errno == EINVAL ? 0 : -errno;
	*out = seq;
	return 0;
}

static int open_disk(struct blkdev *dev)
{
	const struct devno disk = { dev->disk_major, dev->disk_minor };
	const struct devno self = { dev->major, dev->minor };
	_cleanup_close_ int fd = -1, sys_fd = -1;
	uint64_t seq;
	int r;

	fd = blkdev_open_node(&blkdev_host, disk, dev->disk_name,
			      O_RDONLY | O_DIRECT);
	if (fd < 0)
		return fd;
	sys_fd = sysfs_open_dev(&blkdev_host, self);
	if (sys_fd < 0)
		return sys_fd;
	r = get_diskseq(fd, &seq);
	if (r < 0)
		return r;
	if (seq != dev->diskseq)
		return -ESTALE;
	dev->fd = TAKE_FD(fd);
	dev->sys_fd = TAKE_FD(sys_fd);
	return 0;
}

/* Sysfs does not say the PARTUUID before 6.10: ask the table itself. */
static void complete_partuuid(struct blkdev *dev)
{
	const struct devno disk = { dev->disk_major, dev->disk_minor };
	_cleanup_close_ int fd = -1;
	uint64_t partno;

	if (!dev->is_partition || dev->id.partuuid[0])
		return;
	if (sysfs_u64(dev->sys_fd, "partition", &partno) < 0)
		return;
	fd = blkdev_open_node(&blkdev_host, disk, dev->disk_name, O_RDONLY);
	if (fd >= 0)
		(void)blkdev_table_partuuid(fd, partno, dev->id.partuuid,
					    sizeof(dev->id.partuuid));
}

/* /dev/NAME when that is the device, else where the path leads. */
static void set_real_path(const char *path, struct blkdev *dev)
{
	_cleanup_free_ char *real = NULL;
	struct stat st;
	char *c;

	(void)snprintf(dev->real_path, sizeof(dev->real_path), "/dev/%s",
		       dev->name);
	for (c = dev->real_path + 5; *c; c++)
		if (*c == '!')
			*c = '/';
	if (stat(dev->real_path, &st) == 0 && S_ISBLK(st.st_mode) &&
	    st.st_rdev == makedev(dev->major, dev->minor))
		return;
	real = realpath(path, NULL);
	(void)snprintf(dev->real_path, sizeof(dev->real_path), "%s",
		       real ? real : path);
}

static int open_once(const char *path, struct blkdev *dev, struct err *err)
{
	struct devno no;
	int r;

	r = stat_device(path, &no, err);
	if (r < 0)
		return r;
	r = blkdev_describe(&blkdev_host, no, dev, err);
	if (r < 0)
		return r;
	if (!dev->n_sectors) {
		(void)err_set(err, -ENODEV, "device-absent", path,
			      "the device is empty: its size is 0");
		(void)err_remedy(err, "insert the medium or set the device up");
		return -ENODEV;
	}
	r = open_disk(dev);
	if (r == -ESTALE)
		return r;	/* changed meanwhile; worth another look */
	if (r == -ENODEV || r == -ENXIO || r == -ENOMEDIUM)
		return err_set(err, -ENODEV, "device-absent", path,
			       "disk %s cannot be opened: it is gone",
			       dev->disk_name);
	if (r == -EACCES || r == -EPERM) {
		(void)err_sys(err, r, "device-unreadable", path,
			      "open disk %s", dev->disk_name);
		(void)err_remedy(err, geteuid() ? "run this as root" :
				 "let the device cgroup of this process read "
				 "the disk");
		return r;
	}
	if (r < 0)
		return err_sys(err, r, "device-unreadable", path,
			       "open disk %s", dev->disk_name);
	return 0;
}

int blkdev_open(const char *path, struct blkdev *dev, struct err *err)
{
	int attempt, r = -ESTALE;

	for (attempt = 0; r == -ESTALE && attempt < OPEN_ATTEMPTS; attempt++) {
		memset(dev, 0, sizeof(*dev));
		dev->fd = dev->sys_fd = -1;
		if (strlen(path) >= sizeof(dev->path))
			return err_set(err, -ENAMETOOLONG, "device-absent",
				       path, "the path is too long");
		strcpy(dev->path, path);
		r = open_once(path, dev, err);
	}
	if (r == -ESTALE)
		return err_set(err, r, "device-changed", path,
			       "the device changes all the time");
	if (r < 0)
		return r;
	complete_partuuid(dev);
	set_real_path(path, dev);
	return 0;
}

void blkdev_close(struct blkdev *dev)
{
	if (dev->fd >= 0) {
		(void)close(dev->fd);
		(void)close(dev->sys_fd);
	}
	dev->fd = dev->sys_fd = -1;
}

/* ---- is it still the same? ---- */

static int gone(const struct blkdev *dev, const char *how, struct err *err)
{
	(void)err_set(err, -ENODEV, "device-gone", dev->path, "%s", how);
	(void)err_remedy(err, "connect the device again");
	return -ENODEV;
}

static int changed(const struct blkdev *dev, const char *what, uint64_t was,
		   uint64_t is, struct err *err)
{
	(void)err_set(err, -ESTALE, "device-changed", dev->path,
		      "this is another device now: %s was %" PRIu64
		      ", is %" PRIu64, what, was, is);
	(void)err_remedy(err, "put the device back, or accept the new one "
			 "with `understudyctl resync VOLUME --yes VOLUME`");
	return -ESTALE;
}

static int resized(const struct blkdev *dev, uint64_t n_sectors,
		   struct err *err)
{
	int r = n_sectors > dev->n_sectors ? -EFBIG : -ESTALE;

	(void)err_set(err, r, "size-changed", dev->path,
		      "the size was %" PRIu64 " bytes, is %" PRIu64,
		      dev->n_sectors * 512, n_sectors * 512);
	(void)err_remedy(err, "accept the new size with "
			 "`understudyctl resync VOLUME --yes VOLUME`");
	return r;
}

static int check_range(const struct blkdev *dev, uint64_t start_sector,
		       uint64_t n_sectors, struct err *err)
{
	if (start_sector != dev->start_sector)
		return changed(dev, "start sector", dev->start_sector,
			       start_sector, err);
	if (n_sectors != dev->n_sectors)
		return resized(dev, n_sectors, err);
	return 0;
}

/* Start and size below dirfd; prefix is "" or "NAME/". */
static int read_range(int dirfd, const char *prefix, uint64_t *start_sector,
		      uint64_t *n_sectors)
{
	char path[96];
	int r;

	(void)snprintf(path, sizeof(path), "%sstart", prefix);
	r = sysfs_u64(dirfd, path, start_sector);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%ssize", prefix);
	return sysfs_u64(dirfd, path, n_sectors);
}

/*
 * Partitions are dropped and made anew whenever the table is read again. A new
 * one of the same name with the same range is as good as the old one: what is
 * tracked and read is a range of the disk.
 */
static int recheck_partition(const struct blkdev *dev, struct err *err)
{
	const struct devno disk = { dev->disk_major, dev->disk_minor };
	_cleanup_close_ int disk_fd = -1;
	uint64_t start, n;
	char prefix[72];

	if (read_range(dev->sys_fd, "", &start, &n) == 0)
		return check_range(dev, start, n, err);
	disk_fd = sysfs_open_dev(&blkdev_host, disk);
	if (disk_fd < 0)
		return gone(dev, "its disk is gone", err);
	(void)snprintf(prefix, sizeof(prefix), "%s/", dev->name);
	if (read_range(disk_fd, prefix, &start, &n) < 0)
		return gone(dev, "the partition is gone", err);
	return check_range(dev, start, n, err);
}

/* With it a filesystem is written without requests. A disk has it or not, but
 * a mapping may be given another table while it is in use. */
static bool has_dax(const struct blkdev *dev)
{
	_cleanup_close_ int disk = sysfs_open_disk(dev->sys_fd);
	uint64_t dax = 0;

	return disk >= 0 && !sysfs_u64(disk, "queue/dax", &dax) && dax;
}

int blkdev_recheck(const struct blkdev *dev, struct err *err)
{
	uint64_t seq, disk_bytes = 0;
	int r, lbs = 0;

	if (ioctl(dev->fd, BLKGETSIZE64, &disk_bytes) < 0 ||
	    ioctl(dev->fd, BLKSSZGET, &lbs) < 0)
		return gone(dev, "its disk does not answer", err);
	if (!disk_bytes)
		return gone(dev, "its disk is gone", err);
	r = get_diskseq(dev->fd, &seq);
	if (r < 0)
		return gone(dev, "its disk does not answer", err);
	if (seq != dev->diskseq)
		return changed(dev, "disk sequence number", dev->diskseq, seq,
			       err);
	if (lbs < 0 || (uint32_t)lbs != dev->lbs_bytes)
		return changed(dev, "logical block size", dev->lbs_bytes,
			       (uint64_t)lbs, err);
	if (!dev->dax && has_dax(dev))
		return err_set(err, -EOPNOTSUPP, "dax", dev->path,
			       "direct access (DAX) has become possible");
	if (!dev->is_partition)
		return check_range(dev, 0, disk_bytes / 512, err);
	r = recheck_partition(dev, err);
	if (r < 0)
		return r;
	if (disk_bytes / 512 < dev->start_sector + dev->n_sectors)
		return resized(dev, disk_bytes / 512 > dev->start_sector ?
				       disk_bytes / 512 - dev->start_sector : 0,
			       err);
	return 0;
}

int blkdev_written_sectors(const struct blkdev *dev, uint64_t *out)
{
	_cleanup_close_ int disk = sysfs_open_disk(dev->sys_fd);
	unsigned long long written, discarded = 0;
	char text[256];
	int r, n;

	if (disk < 0)
		return disk;
	r = sysfs_text(disk, "stat", text, sizeof(text));
	if (r < 0)
		return r;
	/* Fields 7 and 14; the latter since 4.18. */
	n = sscanf(text, "%*u %*u %*u %*u %*u %*u %llu %*u %*u %*u %*u %*u "
		   "%*u %llu", &written, &discarded);
	if (n < 1)
		return -EBADMSG;
	*out = written + discarded;
	return 0;
}

/* Others that take bios count them whatever that says, or end each before they
 * return. */
static bool counts_requests(const struct blkdev *dev, int disk)
{
	uint64_t on;

	if (!dev->request_based && strcmp(dev->id.kind, "dm") != 0 &&
	    strcmp(dev->id.kind, "md") != 0)
		return true;
	return sysfs_u64(disk, "queue/iostats", &on) < 0 || on;
}

bool blkdev_counts_requests(const struct blkdev *dev)
{
	_cleanup_close_ int disk = sysfs_open_disk(dev->sys_fd);

	return disk < 0 || counts_requests(dev, disk);
}

bool blkdev_writes_under_way(const struct blkdev *dev)
{
	_cleanup_close_ int disk = sysfs_open_disk(dev->sys_fd);
	unsigned long long reads, writes;
	char text[64];

	/* Reads and writes that the driver has; unreadable is not "none", and
	 * neither are those that the kernel does not count. */
	if (disk < 0 || !counts_requests(dev, disk) ||
	    sysfs_text(disk, "inflight", text, sizeof(text)) ||
	    sscanf(text, "%llu %llu", &reads, &writes) != 2)
		return true;
	return writes != 0;
}
