/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_NTH_IO_H
#define TESTS_UNIT_NTH_IO_H

/*
 * File operations of which the n-th fails, whatever it is, over another table
 * of operations: nth_over() takes the place of the table that an io has. A
 * sync that fails does what a kernel does then: what was written to the file
 * since the last good sync is gone from the disk, later syncs succeed, and
 * whoever writes to a file of which that happened is found out.
 *
 * Any thread: one operation at a time. Include it once, in the test that is the
 * program.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/io.h"

#define NTH_FILES 256U
#define NTH_KEPT_BYTES (64U << 10)

enum nth_kind {
	NTH_OPEN, NTH_CLOSE, NTH_READ, NTH_WRITE, NTH_SYNC, NTH_SPACE,
	NTH_SIZE, NTH_NAMES, NTH_LIST, NTH_OTHER, NTH_KINDS
};

static const char *const nth_names[NTH_KINDS] = {
	"open", "close", "read", "write", "sync", "truncate or allocate",
	"size", "name", "list", "lock or drop cache"
};

static struct {
	const struct io_ops *under;
	struct io_ops ops;
	uint64_t calls, at;		/* the at-th fails; 0: none */
	bool onward;			/* and all of its kind after it */
	int error;
	enum nth_kind hit;		/* what failed, once it has */
	bool has_hit;
	bool only_writes;		/* count what takes space, nothing else */
	bool deadly;			/* the process dies instead */
	bool halves;			/* reads and writes are cut short */
	uint64_t wrote_lost;		/* writes to a file whose sync failed */
	struct nth_file {
		ino_t ino;
		uint8_t *kept;		/* what the last good sync covered */
		size_t n;
		bool unknown;		/* too large to be kept */
		bool lost;
	} files[NTH_FILES];
	size_t n_files;
} nth;

/* Names are looked at from within a list. */
static pthread_mutex_t nth_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static inline bool nth_takes_space(enum nth_kind k)
{
	return k == NTH_WRITE || k == NTH_SPACE || k == NTH_NAMES;
}

static inline int nth_hit(enum nth_kind k)
{
	if (nth.only_writes && !nth_takes_space(k))
		return 0;
	nth.calls++;
	if (nth.has_hit && nth.onward && nth.at &&
	    (k == nth.hit || nth.only_writes))
		return nth.error;
	if (!nth.at || nth.calls != nth.at)
		return 0;
	if (nth.deadly)
		(void)raise(SIGKILL);
	nth.has_hit = true;
	nth.hit = k;
	return nth.error;
}

/* The same file, whatever fd was opened for. */
static inline int nth_again(int fd, struct stat *st)
{
	char path[64];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0 || fstat(again, st))
		abort();
	return again;
}

static inline void nth_keep(struct nth_file *f, int fd)
{
	struct stat st;
	int again = nth_again(fd, &st);

	if (st.st_size > (off_t)NTH_KEPT_BYTES)
		abort();
	free(f->kept);
	f->n = (size_t)st.st_size;
	f->kept = malloc(f->n + 1);
	if (!f->kept || pread(again, f->kept, f->n, 0) != (ssize_t)f->n)
		abort();
	(void)close(again);
}

static inline struct nth_file *nth_file_of(int fd)
{
	struct nth_file *f;
	struct stat st;
	size_t i;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return NULL;
	for (i = 0; i < nth.n_files; i++)
		if (nth.files[i].ino == st.st_ino)
			return &nth.files[i];
	if (nth.n_files == NTH_FILES)
		abort();
	nth.files[nth.n_files] = (struct nth_file){ .ino = st.st_ino };
	/* What was there before is taken to be on the disk. */
	f = &nth.files[nth.n_files++];
	f->unknown = st.st_size > (off_t)NTH_KEPT_BYTES;
	if (!f->unknown)
		nth_keep(f, fd);
	return f;
}

/* A number that a removed file had belongs to another one now. */
static inline void nth_forget(int fd)
{
	struct nth_file *f = nth_file_of(fd);

	if (!f)
		return;
	free(f->kept);
	*f = (struct nth_file){ .ino = f->ino };
}

static inline int nth_open(struct io *io, int dirfd, const char *path,
			   int flags, mode_t mode)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(flags & O_CREAT ? NTH_NAMES : NTH_OPEN);

	r = r ? r : nth.under->open(io, dirfd, path, flags, mode);
	if (r >= 0 && flags & O_EXCL)
		nth_forget(r);
	else if (r >= 0)
		(void)nth_file_of(r);
	return r;
}

static inline int nth_close(struct io *io, int fd)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_CLOSE), c = nth.under->close(io, fd);

	return r ? r : c;
}

static inline ssize_t nth_pread(struct io *io, int fd, void *p, size_t n,
				uint64_t off)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_READ);

	/* As direct reads can be cut short: at a block. */
	if (nth.halves && n > 8192)
		n = n / 2 / 4096 * 4096;
	return r ? r : nth.under->pread(io, fd, p, n, off);
}

static inline ssize_t nth_pwritev(struct io *io, int fd,
				  const struct iovec *iov, int n_iov,
				  uint64_t off)
{
	LOCK_SCOPE(&nth_mutex);
	struct iovec one = iov[0];
	struct nth_file *f = nth_file_of(fd);
	int r = nth_hit(NTH_WRITE);

	nth.wrote_lost += f && f->lost;
	if (r) {
		one.iov_len /= 2;
		(void)nth.under->pwritev(io, fd, &one, 1, off);
		return r;
	}
	if (nth.halves && one.iov_len > 1) {
		one.iov_len /= 2;
		return nth.under->pwritev(io, fd, &one, 1, off);
	}
	return nth.under->pwritev(io, fd, iov, n_iov, off);
}

/* A file system has zeros where a file was extended and nothing came. */
static inline void nth_lose(struct nth_file *f, int fd)
{
	struct stat st;
	int again = nth_again(fd, &st);
	uint8_t *now;

	f->lost = true;
	now = calloc(1, (size_t)st.st_size + 1);
	if (!now)
		abort();
	if (f->unknown)
		abort();
	if (f->n)
		memcpy(now, f->kept, MIN(f->n, (size_t)st.st_size));
	if (pwrite(again, now, (size_t)st.st_size, 0) != (ssize_t)st.st_size)
		abort();
	free(now);
	(void)close(again);
}

static inline int nth_sync(struct io *io, int fd, bool data_only)
{
	LOCK_SCOPE(&nth_mutex);
	struct nth_file *f = nth_file_of(fd);
	int r = nth_hit(NTH_SYNC);

	if (r && f)
		nth_lose(f, fd);
	if (r)
		return r;
	r = data_only ? nth.under->fdatasync(io, fd) :
			nth.under->fsync(io, fd);
	if (f && !r)
		nth_keep(f, fd);
	return r;
}

static inline int nth_fdatasync(struct io *io, int fd)
{
	return nth_sync(io, fd, true);
}

static inline int nth_fsync(struct io *io, int fd)
{
	return nth_sync(io, fd, false);
}

static inline int nth_ftruncate(struct io *io, int fd, uint64_t size)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_SPACE);

	return r ? r : nth.under->ftruncate(io, fd, size);
}

static inline int nth_fallocate(struct io *io, int fd, int mode, uint64_t off,
				uint64_t len)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_SPACE);

	return r ? r : nth.under->fallocate(io, fd, mode, off, len);
}

static inline int nth_size(struct io *io, int fd, uint64_t *size)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_SIZE);

	return r ? r : nth.under->size(io, fd, size);
}

static inline int nth_mkdirat(struct io *io, int dirfd, const char *path,
			      mode_t mode)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_NAMES);

	return r ? r : nth.under->mkdirat(io, dirfd, path, mode);
}

static inline int nth_renameat(struct io *io, int fromfd, const char *from,
			       int tofd, const char *to)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_NAMES);

	return r ? r : nth.under->renameat(io, fromfd, from, tofd, to);
}

/* (It takes no space, but that is how a table of a full disc may look.) */
static inline int nth_unlinkat(struct io *io, int dirfd, const char *path,
			       int flags)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth.only_writes ? 0 : nth_hit(NTH_NAMES);

	return r ? r : nth.under->unlinkat(io, dirfd, path, flags);
}

static inline int nth_listdir(struct io *io, int dirfd, const char *path,
			      int (*cb)(void *arg, const char *name),
			      void *arg)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_LIST);

	return r ? r : nth.under->listdir(io, dirfd, path, cb, arg);
}

static inline int nth_lock(struct io *io, int fd)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_OTHER);

	return r ? r : nth.under->lock(io, fd);
}

static inline int nth_drop_cache(struct io *io, int fd)
{
	LOCK_SCOPE(&nth_mutex);
	int r = nth_hit(NTH_OTHER);

	return r ? r : nth.under->drop_cache(io, fd);
}

/* All counts from zero, no failure set. */
static inline void nth_over(struct io *io)
{
	const struct io_ops *under = io->ops == &nth.ops ? nth.under : io->ops;
	size_t i;

	for (i = 0; i < nth.n_files; i++)
		free(nth.files[i].kept);
	memset(&nth, 0, sizeof(nth));
	nth.under = under;
	nth.error = -EIO;
	nth.ops = (struct io_ops){
		.open = nth_open,
		.close = nth_close,
		.pread = nth_pread,
		.pwritev = nth_pwritev,
		.fdatasync = nth_fdatasync,
		.fsync = nth_fsync,
		.ftruncate = nth_ftruncate,
		.fallocate = nth_fallocate,
		.size = nth_size,
		.mkdirat = nth_mkdirat,
		.renameat = nth_renameat,
		.unlinkat = nth_unlinkat,
		.listdir = nth_listdir,
		.lock = nth_lock,
		.drop_cache = nth_drop_cache,
	};
	io->ops = &nth.ops;
}

static inline void nth_heal(void)
{
	nth.at = 0;
}

#endif
