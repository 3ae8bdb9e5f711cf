// SPDX-License-Identifier: Apache-2.0
/*
 * Buffers and bookkeeping of a reader, and the meaning of a result.
 *
 * A request is in exactly one state; each function moves it one step. A
 * request that lies partly behind the end of the volume is read as far as the
 * volume goes and filled up with zeros; a device that ends before its volume
 * does is an error, never zeros. Reads are of whole logical blocks: where a
 * volume does not end on one, what belongs to its neighbour is read too and
 * overwritten with zeros.
 *
 * The thread that owns the reader.
 */
#include "source/reader_pool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"

/* Answers that mean "ask again" are not believed for ever. */
#define RETRIES_MAX 256U

int reader_pool_init(struct reader_pool *p, uint64_t start_bytes,
		     uint64_t size_bytes, uint32_t lbs_bytes)
{
	uint64_t end;
	uint32_t i;
	void *mem;

	if (!is_pow2_u64(lbs_bytes) || lbs_bytes < 512 ||
	    lbs_bytes > READER_BUF_BYTES || !size_bytes ||
	    start_bytes % lbs_bytes)
		return -EINVAL;
	if (!add_u64(start_bytes, size_bytes, &end) ||
	    end > INT64_MAX - READER_BUF_BYTES)
		return -EINVAL;
	mem = mmap(NULL, READER_POOL_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	p->mem = mem;
	p->start_bytes = start_bytes;
	p->size_bytes = size_bytes;
	p->lbs_bytes = lbs_bytes;
	for (i = 0; i < READER_DEPTH; i++) {
		p->slots[i].req.index = i;
		p->slots[i].req.buf = p->mem + (size_t)i * READER_BUF_BYTES;
		/* Lowest first: little use touches little memory. */
		p->free[i] = READER_DEPTH - 1 - i;
	}
	p->n_free = READER_DEPTH;
	return 0;
}

void reader_pool_fini(struct reader_pool *p)
{
	if (p->mem)
		(void)munmap(p->mem, READER_POOL_BYTES);
	p->mem = NULL;
}

struct read_req *reader_pool_get(struct reader_pool *p)
{
	struct read_slot *s;

	if (!p->n_free)
		return NULL;
	s = &p->slots[p->free[--p->n_free]];
	assert(s->state == READ_FREE);
	s->state = READ_HELD;
	s->req.off_bytes = 0;
	s->req.len_bytes = 0;
	s->req.res = 0;
	return &s->req;
}

void reader_pool_put(struct reader_pool *p, struct read_req *req)
{
	struct read_slot *s = (struct read_slot *)req;

	assert(s->state == READ_HELD);
	s->state = READ_FREE;
	p->free[p->n_free++] = s->req.index;
}

int reader_pool_submit(struct reader_pool *p, struct read_req *req)
{
	struct read_slot *s = (struct read_slot *)req;
	uint64_t ask;

	assert(s->state == READ_HELD);
	if (!req->len_bytes || req->len_bytes > READER_BUF_BYTES ||
	    req->len_bytes % 512 || req->off_bytes % p->lbs_bytes ||
	    req->off_bytes >= p->size_bytes)
		return -EINVAL;
	s->want_bytes = (uint32_t)MIN((uint64_t)req->len_bytes,
				      p->size_bytes - req->off_bytes);
	if (!align_up_u64(s->want_bytes, p->lbs_bytes, &ask))
		return -EINVAL;
	s->ask_bytes = (uint32_t)ask;
	s->done_bytes = 0;
	s->n_retries = 0;
	req->res = -EINPROGRESS;
	s->state = READ_QUEUED;
	p->queue[(p->queue_first + p->n_queued++) % READER_DEPTH] = req->index;
	return 0;
}

struct read_slot *reader_pool_peek(struct reader_pool *p)
{
	return p->n_queued ? &p->slots[p->queue[p->queue_first]] : NULL;
}

struct read_slot *reader_pool_begin(struct reader_pool *p)
{
	struct read_slot *s = reader_pool_peek(p);

	if (!s)
		return NULL;
	p->queue_first = (p->queue_first + 1) % READER_DEPTH;
	p->n_queued--;
	p->n_begun++;
	s->state = READ_BEGUN;
	return s;
}

void reader_pool_finish(struct reader_pool *p, struct read_slot *s, int res)
{
	assert(s->state == READ_BEGUN);
	if (res == 0)
		memset(s->req.buf + s->want_bytes, 0,
		       s->req.len_bytes - s->want_bytes);
	s->req.res = res;
	s->state = READ_HELD;
	p->n_begun--;
}

bool reader_pool_result(struct reader_pool *p, struct read_slot *s, int res)
{
	if (res == -EINTR || res == -EAGAIN) {
		if (++s->n_retries <= RETRIES_MAX)
			return false;
	} else if (res > 0 && (uint32_t)res <= read_slot_left(s)) {
		s->done_bytes += (uint32_t)res;
		if (s->done_bytes >= s->want_bytes) {
			reader_pool_finish(p, s, 0);
			return true;
		}
		/*
		 * Going on needs a whole block's border, which a device
		 * always stops at; a file that ends does not.
		 */
		if (s->done_bytes % p->lbs_bytes == 0)
			return false;
		res = -EIO;
	} else if (res >= 0) {
		res = -EIO;	/* the device ends before its volume */
	}
	reader_pool_finish(p, s, res);
	return true;
}
