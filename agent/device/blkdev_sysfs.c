// SPDX-License-Identifier: Apache-2.0
/*
 * Attributes of sysfs as text, numbers, device numbers and links.
 *
 * Everything goes through directory descriptors: a descriptor of a device's
 * directory stays with that very device, while its name or number may pass to
 * another one between two looks.
 *
 * Any thread; no state.
 */
#include "device/blkdev_sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define ATTR_BYTES_MAX ((size_t)64 << 10)

const struct blkdev_roots blkdev_host = {
	.sys = "/sys",
	.proc = "/proc",
	.dev = "/dev",
	.udev = "/run/udev",
};

int sysfs_text(int dirfd, const char *path, char *out, size_t cap)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	out[0] = 0;
	r = io_read_file(io_posix(), dirfd, path, ATTR_BYTES_MAX, &text, &len);
	if (r < 0)
		return r;
	while (len && isspace((unsigned char)text[len - 1]))
		text[--len] = 0;
	(void)snprintf(out, cap, "%s", text);
	return 0;
}

int sysfs_u64(int dirfd, const char *path, uint64_t *out)
{
	char text[32], *end;
	int r;

	r = sysfs_text(dirfd, path, text, sizeof(text));
	if (r < 0)
		return r;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno || end == text || *end)
		return -EBADMSG;
	return 0;
}

int sysfs_devno(int dirfd, const char *path, struct devno *out)
{
	char text[32];
	int r, used = 0;

	r = sysfs_text(dirfd, path, text, sizeof(text));
	if (r < 0)
		return r;
	if (sscanf(text, "%" SCNu32 ":%" SCNu32 "%n", &out->major, &out->minor,
		   &used) != 2 || text[used])
		return -EBADMSG;
	return 0;
}

bool sysfs_has(int dirfd, const char *path)
{
	return faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int sysfs_link_name(int dirfd, const char *path, char *out, size_t cap)
{
	char target[512], *slash;
	ssize_t n;

	out[0] = 0;
	n = readlinkat(dirfd, path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	slash = strrchr(target, '/');
	(void)snprintf(out, cap, "%s", slash ? slash + 1 : target);
	return 0;
}

int sysfs_env(int dirfd, const char *path, const char *key, char *out,
	      size_t cap)
{
	_cleanup_free_ char *text = NULL;
	size_t len, key_len = strlen(key);
	char *line, *rest;
	int r;

	out[0] = 0;
	r = io_read_file(io_posix(), dirfd, path, ATTR_BYTES_MAX, &text, &len);
	if (r < 0)
		return r;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, key, key_len) || line[key_len] != '=')
			continue;
		(void)snprintf(out, cap, "%s", line + key_len + 1);
		return 0;
	}
	return -ENOENT;
}

int sysfs_open_dev(const struct blkdev_roots *roots, struct devno no)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/dev/block/%" PRIu32 ":%" PRIu32,
		       roots->sys, no.major, no.minor);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	return fd;
}

int sysfs_open_disk(int sys_fd)
{
	const char *up = sysfs_has(sys_fd, "partition") ? ".." : ".";
	int fd;

	fd = openat(sys_fd, up, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

struct each_dev {
	int dirfd;
	const char *sub;
	int (*cb)(void *arg, const char *name, struct devno no);
	void *arg;
};

static int each_dev_entry(void *arg, const char *name)
{
	struct each_dev *each = arg;
	struct devno no;
	char path[512];
	int r;

	(void)snprintf(path, sizeof(path), "%s/%s/dev", each->sub, name);
	r = sysfs_devno(each->dirfd, path, &no);
	/* Gone since it was listed, or no block device. */
	if (r == -ENOENT || r == -ENODEV || r == -ENOTDIR)
		return 0;
	return r < 0 ? r : each->cb(each->arg, name, no);
}

int sysfs_each_dev(int dirfd, const char *sub,
		   int (*cb)(void *arg, const char *name, struct devno no),
		   void *arg)
{
	struct each_dev each = {
		.dirfd = dirfd, .sub = sub, .cb = cb, .arg = arg,
	};
	struct io *io = io_posix();
	int r;

	r = io->ops->listdir(io, dirfd, sub, each_dev_entry, &each);
	return r == -ENOENT ? 0 : r;
}

int blkdev_get_range(const struct blkdev_roots *roots, struct devno no,
		     struct blkdev_range *out)
{
	_cleanup_close_ int sys_fd = -1, disk_fd = -1;
	int r;

	sys_fd = sysfs_open_dev(roots, no);
	if (sys_fd < 0)
		return sys_fd;
	disk_fd = sysfs_open_disk(sys_fd);
	if (disk_fd < 0)
		return disk_fd;
	r = sysfs_devno(disk_fd, "dev", &out->disk);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	out->start_sector = 0;
	if (!devno_equal(no, out->disk))
		r = sysfs_u64(sys_fd, "start", &out->start_sector);
	if (r == 0)
		r = sysfs_u64(sys_fd, "size", &out->n_sectors);
	return r == -ENOENT ? -ENODEV : r;
}

bool blkdev_range_overlaps(const struct blkdev_range *a,
			   const struct blkdev_range *b)
{
	if (!devno_equal(a->disk, b->disk))
		return false;
	return a->start_sector < b->start_sector + b->n_sectors &&
	       b->start_sector < a->start_sector + a->n_sectors;
}
