/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_READER_POOL_H
#define SOURCE_READER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/reader.h"
#include "source/reader_limit.h"

/*
 * What every reader has in common: the buffers, who holds which, the queue of
 * reads not yet begun, and what the result of one read means.
 */
enum read_state {
	READ_FREE,			/* in the pool */
	READ_HELD,			/* the caller's */
	READ_QUEUED,			/* submitted, not begun */
	READ_BEGUN,			/* with the device */
};

struct read_slot {
	struct read_req req;		/* first: a request is its slot */
	enum read_state state;
	uint32_t want_bytes;		/* of the request, inside the volume */
	uint32_t ask_bytes;		/* the same, whole logical blocks */
	uint32_t done_bytes;		/* already in the buffer */
	uint32_t n_retries;
};

struct reader_pool {
	uint8_t *mem;
	struct read_slot slots[READER_DEPTH];
	uint32_t free[READER_DEPTH];
	uint32_t n_free;
	uint32_t queue[READER_DEPTH];	/* ring */
	uint32_t queue_first, n_queued;
	uint32_t n_begun;
	uint64_t start_bytes, size_bytes;
	uint32_t lbs_bytes;
};

#define READER_POOL_BYTES ((size_t)READER_BUF_BYTES * READER_DEPTH)

/* 0, -EINVAL (geometry), -ENOMEM. */
int reader_pool_init(struct reader_pool *p, uint64_t start_bytes,
		     uint64_t size_bytes, uint32_t lbs_bytes);
void reader_pool_fini(struct reader_pool *p);
struct read_req *reader_pool_get(struct reader_pool *p);
void reader_pool_put(struct reader_pool *p, struct read_req *req);
/* Checks the request and queues it. 0 or -EINVAL. */
int reader_pool_submit(struct reader_pool *p, struct read_req *req);
/* The oldest queued one, or NULL; begun from now on when taken. */
struct read_slot *reader_pool_peek(struct reader_pool *p);
struct read_slot *reader_pool_begin(struct reader_pool *p);
/* What is to be read next of a begun one. */
static inline uint64_t read_slot_off(const struct reader_pool *p,
				     const struct read_slot *s)
{
	return p->start_bytes + s->req.off_bytes + s->done_bytes;
}

static inline uint8_t *read_slot_buf(const struct read_slot *s)
{
	return s->req.buf + s->done_bytes;
}

static inline uint32_t read_slot_left(const struct read_slot *s)
{
	return s->ask_bytes - s->done_bytes;
}

/*
 * The device answered res (bytes, or negative errno) to a read of all that was
 * left. True: finished, req.res is set, the padding done, and the request is
 * the caller's again. False: read what is left now.
 */
bool reader_pool_result(struct reader_pool *p, struct read_slot *s, int res);
/* Finish with this result whatever is there. */
void reader_pool_finish(struct reader_pool *p, struct read_slot *s, int res);

#endif
