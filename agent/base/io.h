/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

/*
 * Every file operation of the store and of persistent state goes through a
 * table, so that a test can lose unsynced data, fail the n-th call, or keep
 * everything in memory. Each function returns >= 0 or a negative errno and
 * deals with EINTR; pread_all/pwrite_all deal with short counts.
 */
struct io_ops;

struct io {
	const struct io_ops *ops;
};

struct io_ops {
	/* flags as open(2), O_CLOEXEC added; dirfd AT_FDCWD or a directory. */
	int (*open)(struct io *io, int dirfd, const char *path, int flags,
		    mode_t mode);
	int (*close)(struct io *io, int fd);
	ssize_t (*pread)(struct io *io, int fd, void *p, size_t n,
			 uint64_t off);
	ssize_t (*pwritev)(struct io *io, int fd, const struct iovec *iov,
			   int n_iov, uint64_t off);
	int (*fdatasync)(struct io *io, int fd);
	int (*fsync)(struct io *io, int fd);
	int (*ftruncate)(struct io *io, int fd, uint64_t size);
	int (*fallocate)(struct io *io, int fd, int mode, uint64_t off,
			 uint64_t len);
	int (*size)(struct io *io, int fd, uint64_t *size);
	int (*mkdirat)(struct io *io, int dirfd, const char *path, mode_t mode);
	int (*renameat)(struct io *io, int fromfd, const char *from, int tofd,
			const char *to);
	int (*unlinkat)(struct io *io, int dirfd, const char *path, int flags);
	/* Calls cb for each name (not . and ..); stops at its non-zero. */
	int (*listdir)(struct io *io, int dirfd, const char *path,
		       int (*cb)(void *arg, const char *name), void *arg);
	/* Exclusive lock of the open file, not waited for: -EWOULDBLOCK. */
	int (*lock)(struct io *io, int fd);
	/* Later reads come from the disk. Advice, for synced files. */
	int (*drop_cache)(struct io *io, int fd);
};

/* The real thing; never freed. */
struct io *io_posix(void);

/* Exactly n bytes or an error: -ENODATA at end of file. */
int io_pread_all(struct io *io, int fd, void *p, size_t n, uint64_t off);
int io_pwrite_all(struct io *io, int fd, const void *p, size_t n, uint64_t off);
int io_pwritev_all(struct io *io, int fd, struct iovec *iov, int n_iov,
		   uint64_t off);
/*
 * Replace path (relative to dirfd) durably: temporary file, fdatasync, rename,
 * fsync of the directory. After an error the old content is still there, or,
 * when only the last step failed, the new one; never a mix. Two writers of one
 * path at the same time are the caller's to prevent.
 */
int io_replace_file(struct io *io, int dirfd, const char *path, const void *p,
		    size_t n, mode_t mode);
/* fsync of a directory: the names in it are durable then. */
int io_sync_dir(struct io *io, int dirfd, const char *path);
/*
 * Whole file into a fresh NUL-terminated buffer that the caller frees; larger
 * than cap is -EFBIG.
 */
int io_read_file(struct io *io, int dirfd, const char *path, size_t cap,
		 char **out, size_t *out_len);
/* mkdir of one level with mode, and fsync of its parent; a directory that is
 * there already is 0, something else of that name an error. */
int io_make_dir(struct io *io, const char *path, mode_t mode, struct err *err);

#endif
