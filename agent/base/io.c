// SPDX-License-Identifier: Apache-2.0
/*
 * File operations behind a table, and what is built from them. Any thread;
 * no state of its own.
 *
 * EINTR and short counts end here. What survives a crash: io_replace_file
 * leaves the old or the new content, never a mix; a left-over "<path>.tmp" is
 * replaced by the next call.
 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/checked.h"
#include "base/cleanup.h"

/* Repeats a call that a signal interrupted; yields >= 0 or -errno. */
#define RETRY(call)                                          \
	({                                                   \
		long retry_r_;                               \
		do {                                         \
			retry_r_ = (long)(call);             \
		} while (retry_r_ < 0 && errno == EINTR);    \
		retry_r_ < 0 ? -(long)errno : retry_r_;      \
	})

static int posix_open(struct io *io, int dirfd, const char *path, int flags,
		      mode_t mode)
{
	(void)io;
	return (int)RETRY(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

static int posix_close(struct io *io, int fd)
{
	(void)io;
	/* Linux frees the descriptor even when it says EINTR. */
	if (close(fd) == 0 || errno == EINTR)
		return 0;
	return -errno;
}

static ssize_t posix_pread(struct io *io, int fd, void *p, size_t n,
			   uint64_t off)
{
	(void)io;
	if (off > INT64_MAX)
		return -EOVERFLOW;
	return RETRY(pread(fd, p, n, (off_t)off));
}

static ssize_t posix_pwritev(struct io *io, int fd, const struct iovec *iov,
			     int n_iov, uint64_t off)
{
	(void)io;
	if (off > INT64_MAX)
		return -EOVERFLOW;
	return RETRY(pwritev(fd, iov, n_iov, (off_t)off));
}

static int posix_fdatasync(struct io *io, int fd)
{
	(void)io;
	return (int)RETRY(fdatasync(fd));
}

static int posix_fsync(struct io *io, int fd)
{
	(void)io;
	return (int)RETRY(fsync(fd));
}

static int posix_ftruncate(struct io *io, int fd, uint64_t size)
{
	(void)io;
	if (size > INT64_MAX)
		return -EFBIG;
	return (int)RETRY(ftruncate(fd, (off_t)size));
}

static int posix_fallocate_(struct io *io, int fd, int mode, uint64_t off,
			    uint64_t len)
{
	(void)io;
	if (off > INT64_MAX || len > INT64_MAX)
		return -EFBIG;
	return (int)RETRY(fallocate(fd, mode, (off_t)off, (off_t)len));
}

/* Of a regular file or of a block device. */
static int posix_size(struct io *io, int fd, uint64_t *size)
{
	struct stat st;

	(void)io;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode)) {
		*size = (uint64_t)st.st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
}

static int posix_mkdirat(struct io *io, int dirfd, const char *path,
			 mode_t mode)
{
	(void)io;
	return mkdirat(dirfd, path, mode) < 0 ? -errno : 0;
}

static int posix_renameat(struct io *io, int fromfd, const char *from,
			  int tofd, const char *to)
{
	(void)io;
	return renameat(fromfd, from, tofd, to) < 0 ? -errno : 0;
}

static int posix_unlinkat(struct io *io, int dirfd, const char *path,
			  int flags)
{
	(void)io;
	return unlinkat(dirfd, path, flags) < 0 ? -errno : 0;
}

static int posix_listdir(struct io *io, int dirfd, const char *path,
			 int (*cb)(void *arg, const char *name), void *arg)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *de;
	int fd, r;

	fd = posix_open(io, dirfd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		(void)posix_close(io, fd);
		return r;
	}
	for (;;) {
		errno = 0;
		de = readdir(dir);
		if (!de)
			return -errno;
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		r = cb(arg, de->d_name);
		if (r)
			return r;
	}
}

static int posix_lock(struct io *io, int fd)
{
	(void)io;
	return (int)RETRY(flock(fd, LOCK_EX | LOCK_NB));
}

static int posix_drop_cache(struct io *io, int fd)
{
	(void)io;
	return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static const struct io_ops posix_ops = {
	.open = posix_open,
	.close = posix_close,
	.pread = posix_pread,
	.pwritev = posix_pwritev,
	.fdatasync = posix_fdatasync,
	.fsync = posix_fsync,
	.ftruncate = posix_ftruncate,
	.fallocate = posix_fallocate_,
	.size = posix_size,
	.mkdirat = posix_mkdirat,
	.renameat = posix_renameat,
	.unlinkat = posix_unlinkat,
	.listdir = posix_listdir,
	.lock = posix_lock,
	.drop_cache = posix_drop_cache,
};

struct io *io_posix(void)
{
	static struct io io = { .ops = &posix_ops };

	return &io;
}

int io_pread_all(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
	uint8_t *to = p;

	while (n) {
		ssize_t r = io->ops->pread(io, fd, to, n, off);

		if (r < 0)
			return (int)r;
		if (!r)
			return -ENODATA;
		to += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

/* Step over n written bytes. */
static void iov_advance(struct iovec **iov, int *n_iov, size_t n)
{
	while (*n_iov && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*n_iov)--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

int io_pwritev_all(struct io *io, int fd, struct iovec *iov, int n_iov,
		   uint64_t off)
{
	iov_advance(&iov, &n_iov, 0);
	while (n_iov) {
		ssize_t r = io->ops->pwritev(io, fd, iov, MIN(n_iov, IOV_MAX),
					     off);

		if (r < 0)
			return (int)r;
		if (!r)
			return -EIO;	/* no progress and no reason given */
		off += (uint64_t)r;
		iov_advance(&iov, &n_iov, (size_t)r);
	}
	return 0;
}

int io_pwrite_all(struct io *io, int fd, const void *p, size_t n, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)p, .iov_len = n };

	return io_pwritev_all(io, fd, &iov, 1, off);
}

int io_sync_dir(struct io *io, int dirfd, const char *path)
{
	int fd, r, c;

	fd = io->ops->open(io, dirfd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = io->ops->fsync(io, fd);
	c = io->ops->close(io, fd);
	return r < 0 ? r : c;
}

/* fsync of the directory that holds path. */
static int sync_parent(struct io *io, int dirfd, const char *path)
{
	_cleanup_free_ char *dir = NULL;
	const char *slash = strrchr(path, '/');

	if (!slash)
		dir = strdup(".");
	else if (slash == path)
		dir = strdup("/");
	else
		dir = strndup(path, (size_t)(slash - path));
	return dir ? io_sync_dir(io, dirfd, dir) : -ENOMEM;
}

static int write_new_file(struct io *io, int dirfd, const char *path,
			  const struct iovec *content, mode_t mode)
{
	int fd, r, c;

	fd = io->ops->open(io, dirfd, path, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return fd;
	r = io_pwrite_all(io, fd, content->iov_base, content->iov_len, 0);
	if (r == 0)
		r = io->ops->fdatasync(io, fd);
	c = io->ops->close(io, fd);
	return r < 0 ? r : c;
}

int io_replace_file(struct io *io, int dirfd, const char *path, const void *p,
		    size_t n, mode_t mode)
{
	const struct iovec content = { .iov_base = (void *)p, .iov_len = n };
	_cleanup_free_ char *tmp = NULL;
	int r;

	if (asprintf(&tmp, "%s.tmp", path) < 0) {
		tmp = NULL;
		return -ENOMEM;
	}
	/* What a crash left there may have another owner or mode. */
	r = io->ops->unlinkat(io, dirfd, tmp, 0);
	if (r < 0 && r != -ENOENT)
		return r;
	r = write_new_file(io, dirfd, tmp, &content, mode);
	if (r == 0)
		r = io->ops->renameat(io, dirfd, tmp, dirfd, path);
	if (r < 0) {
		(void)io->ops->unlinkat(io, dirfd, tmp, 0);
		return r;
	}
	return sync_parent(io, dirfd, path);
}

#define READ_FIRST_BYTES ((size_t)4096)

/* Reads until the end of the file: /proc and /sys files say size 0. */
static int read_to_end(struct io *io, int fd, size_t cap, char **out,
		       size_t *out_len)
{
	_cleanup_free_ char *p = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		ssize_t r;

		if (len + 1 >= room) {
			char *q;

			room = MIN(room ? room * 2 : READ_FIRST_BYTES, cap + 2);
			q = realloc(p, room);
			if (!q)
				return -ENOMEM;
			p = q;
		}
		r = io->ops->pread(io, fd, p + len, room - len - 1, len);
		if (r < 0)
			return (int)r;
		if (!r)
			break;
		len += (size_t)r;
		if (len > cap)
			return -EFBIG;
	}
	p[len] = 0;
	*out = TAKE_PTR(p);
	*out_len = len;
	return 0;
}

int io_read_file(struct io *io, int dirfd, const char *path, size_t cap,
		 char **out, size_t *out_len)
{
	int fd, r, c;

	if (cap > SIZE_MAX - 2)
		return -EINVAL;
	fd = io->ops->open(io, dirfd, path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	r = read_to_end(io, fd, cap, out, out_len);
	c = io->ops->close(io, fd);
	if (r == 0 && c < 0) {
		free(TAKE_PTR(*out));
		return c;
	}
	return r;
}

int io_make_dir(struct io *io, const char *path, mode_t mode, struct err *err)
{
	bool existed;
	int fd, r;

	r = io->ops->mkdirat(io, AT_FDCWD, path, mode);
	existed = r == -EEXIST;
	if (r < 0 && !existed)
		return err_sys(err, r, "cannot-create", path,
			       "create the directory");
	fd = io->ops->open(io, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return err_sys(err, fd, "cannot-create", path,
			       "open the directory");
	(void)io->ops->close(io, fd);
	r = sync_parent(io, AT_FDCWD, path);
	/* An existing one below a directory that we cannot read is fine. */
	if (r < 0 && !(existed && r == -EACCES))
		return err_sys(err, r, "cannot-create", path,
			       "make the directory durable");
	return 0;
}
