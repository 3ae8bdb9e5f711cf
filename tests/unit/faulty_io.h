/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_FAULTY_IO_H
#define TESTS_UNIT_FAULTY_IO_H

/*
 * The real file operations with faults on demand: the n-th write or sync from
 * now on fails, writes come out short, one write lands flipped, zeroing calls
 * are refused. Include it in a test; one thread arms it, any may use it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

struct faulty_io {
	struct io io;
	struct io_ops ops;
	atomic_int write_in;		/* 1: the next fails; 0: never */
	atomic_int write_errno;		/* positive */
	atomic_int sync_in;
	atomic_int sync_errno;
	atomic_bool short_writes;
	atomic_int flip_in;		/* that write stores one bit wrong */
	atomic_bool no_fallocate;
	atomic_ullong written;		/* bytes that reached a file */
	atomic_int syncs;
};

static inline struct faulty_io *faulty_of(struct io *io)
{
	return (struct faulty_io *)((char *)io -
				    offsetof(struct faulty_io, io));
}

/* Counts down; once at the end it stays there: true from then on. */
static inline bool faulty_due(atomic_int *n)
{
	int v = atomic_load(n);

	while (v > 1)
		if (atomic_compare_exchange_weak(n, &v, v - 1))
			return false;
	return v == 1;
}

static inline ssize_t faulty_pwritev(struct io *io, int fd,
				     const struct iovec *iov, int n_iov,
				     uint64_t off)
{
	struct faulty_io *f = faulty_of(io);
	struct iovec one = iov[0];
	uint8_t *copy = NULL;
	ssize_t r;

	if (faulty_due(&f->write_in))
		return -atomic_load(&f->write_errno);
	if (atomic_load(&f->short_writes) && one.iov_len > 1) {
		one.iov_len = one.iov_len / 2;
		iov = &one;
		n_iov = 1;
	}
	if (atomic_load(&f->flip_in) && faulty_due(&f->flip_in)) {
		atomic_store(&f->flip_in, 0);
		one = iov[0];
		copy = malloc(one.iov_len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, one.iov_base, one.iov_len);
		copy[one.iov_len / 2] ^= 1;
		one.iov_base = copy;
		iov = &one;
		n_iov = 1;
	}
	r = io_posix()->ops->pwritev(io_posix(), fd, iov, n_iov, off);
	free(copy);
	if (r > 0)
		atomic_fetch_add(&f->written, (unsigned long long)r);
	return r;
}

static inline int faulty_sync(struct faulty_io *f)
{
	atomic_fetch_add(&f->syncs, 1);
	return faulty_due(&f->sync_in) ? -atomic_load(&f->sync_errno) : 0;
}

static inline int faulty_fdatasync(struct io *io, int fd)
{
	int r = faulty_sync(faulty_of(io));

	return r ? r : io_posix()->ops->fdatasync(io_posix(), fd);
}

static inline int faulty_fsync(struct io *io, int fd)
{
	int r = faulty_sync(faulty_of(io));

	return r ? r : io_posix()->ops->fsync(io_posix(), fd);
}

static inline int faulty_fallocate(struct io *io, int fd, int mode,
				   uint64_t off, uint64_t len)
{
	if (atomic_load(&faulty_of(io)->no_fallocate))
		return -EOPNOTSUPP;
	return io_posix()->ops->fallocate(io_posix(), fd, mode, off, len);
}

static inline struct io *faulty_io_init(struct faulty_io *f)
{
	memset(f, 0, sizeof(*f));
	f->ops = *io_posix()->ops;
	f->ops.pwritev = faulty_pwritev;
	f->ops.fdatasync = faulty_fdatasync;
	f->ops.fsync = faulty_fsync;
	f->ops.fallocate = faulty_fallocate;
	f->io.ops = &f->ops;
	return &f->io;
}

#endif
