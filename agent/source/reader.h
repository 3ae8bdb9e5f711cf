/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_READER_H
#define SOURCE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

/*
 * Asynchronous O_DIRECT reads of a volume into a fixed set of aligned buffers.
 * One thread. The table lets tests read from memory, reorder completions and
 * fail; production uses io_uring with registered buffers, or pread where
 * io_uring is not to be had (said in the log and in status, never silent).
 *
 * Life of a request: reader_get -> fill in off, len -> reader_submit ->
 * reader_next hands it back with res -> reader_put. A completion is never
 * dropped: whoever gets it reads res.
 */
#define READER_BUF_BYTES (256U << 10)
#define READER_DEPTH 64U

struct read_req {
	uint64_t off_bytes;		/* within the volume */
	uint32_t len_bytes;		/* <= READER_BUF_BYTES, 512-aligned */
	int32_t res;			/* 0, or negative errno; a short read at
					 * the end of the device is zero-padded
					 * to len only past the volume's size,
					 * any other short read is -EIO */
	uint8_t *buf;			/* 4096-aligned */
	uint32_t index;
};

struct reader;

struct reader_ops {
	/* NULL when all are out. */
	struct read_req *(*get)(struct reader *r);
	void (*put)(struct reader *r, struct read_req *req);
	/* 0 or negative errno; on error the request was not taken. */
	int (*submit)(struct reader *r, struct read_req *req);
	/*
	 * One finished request. 0; 1 when none is in flight; -EAGAIN when
	 * !wait and none is finished (or the limit holds them back). Flushes
	 * what is queued. Any other error: the reader is of no use any more,
	 * and what is in flight ends with close.
	 */
	int (*next)(struct reader *r, bool wait, struct read_req **out);
	/* Waits for everything in flight (at most 30 s without an answer),
	 * then frees; requests still held become invalid. */
	void (*close)(struct reader *r);
};

struct reader {
	const struct reader_ops *ops;
	uint64_t size_bytes;		/* of the volume */
	uint64_t bytes_read;		/* so far, for status and tests */
	const char *kind;		/* "io_uring", "pread", "memory" */
};

struct reader_config {
	int fd;				/* O_DIRECT, of the whole disk; borrowed */
	uint64_t start_bytes;		/* of the volume on that disk */
	uint64_t size_bytes;
	uint32_t lbs_bytes;		/* logical block size */
	uint64_t limit_bytes_per_s;	/* 0 = none */
	bool force_pread;		/* tests, UNDERSTUDY_NO_URING=1 */
	struct clock *clock;
};

/*
 * io_uring, or pread when a ring cannot be had (ENOSYS, EPERM, ENOMEM and the
 * like). A ring keeps its 16 MiB of buffers in memory. Errors: "bad-range",
 * "no-memory", "no-io-uring".
 */
int reader_open(const struct reader_config *cfg, struct reader **out,
		struct err *err);
/* The two, by name. */
int reader_open_uring(const struct reader_config *cfg, struct reader **out,
		      struct err *err);
int reader_open_pread(const struct reader_config *cfg, struct reader **out,
		      struct err *err);

#endif
