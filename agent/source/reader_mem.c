// SPDX-License-Identifier: Apache-2.0
/*
 * The reader of tests: memory instead of a device, one seed instead of luck.
 *
 * A request is queued, then copied, then handed out. Each call of reader_next
 * throws dice: copy one of the queued, or hand out one of the copied; so other
 * requests are copied, and their hooks run, between one's copy and the moment
 * its caller learns of it. Without wait it may also say that nothing is done
 * yet.
 *
 * The thread that owns the reader.
 */
#include "source/reader_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/rnd.h"
#include "source/reader_pool.h"

/* Of memory: what real readers need of alignment is checked here too. */
#define MEM_LBS_BYTES 512U

struct reader_mem {
	struct reader base;		/* first */
	struct reader_mem_config cfg;
	struct reader_pool pool;
	struct rnd_seeded rnd;
	uint32_t copied[READER_DEPTH];	/* in the order of copying */
	uint32_t n_copied;
};

static struct read_req *mem_get(struct reader *r)
{
	return reader_pool_get(&((struct reader_mem *)r)->pool);
}

static void mem_put(struct reader *r, struct read_req *req)
{
	reader_pool_put(&((struct reader_mem *)r)->pool, req);
}

static int mem_submit(struct reader *r, struct read_req *req)
{
	struct reader_mem *m = (struct reader_mem *)r;
	struct reader_pool *p = &m->pool;
	uint32_t other, *last, *chosen;
	int res;

	res = reader_pool_submit(p, req);
	if (res < 0 || m->cfg.in_order)
		return res;
	/* To any place of the queue. */
	other = (uint32_t)rnd_seeded_below(&m->rnd, p->n_queued);
	last = &p->queue[(p->queue_first + p->n_queued - 1) % READER_DEPTH];
	chosen = &p->queue[(p->queue_first + other) % READER_DEPTH];
	*last = *chosen;
	*chosen = req->index;
	return 0;
}

static void copy_one(struct reader_mem *m)
{
	struct read_slot *s = reader_pool_begin(&m->pool);
	uint32_t slice = m->cfg.slice_bytes ? m->cfg.slice_bytes :
					      s->want_bytes;
	uint32_t done, n;

	for (done = 0; done < s->want_bytes; done += n) {
		n = MIN(slice, s->want_bytes - done);
		if (m->cfg.before_copy)
			m->cfg.before_copy(m->cfg.arg, s->req.off_bytes + done,
					   n);
		memcpy(s->req.buf + done,
		       m->cfg.data + s->req.off_bytes + done, n);
	}
	m->copied[m->n_copied++] = s->req.index;
}

static struct read_req *hand_out_one(struct reader_mem *m)
{
	uint32_t i = m->cfg.in_order ? 0 :
		     (uint32_t)rnd_seeded_below(&m->rnd, m->n_copied);
	struct read_slot *s = &m->pool.slots[m->copied[i]];
	int res = m->cfg.fault ? m->cfg.fault(m->cfg.arg, &s->req) : 0;

	memmove(m->copied + i, m->copied + i + 1,
		(--m->n_copied - i) * sizeof(m->copied[0]));
	if (res < 0)
		memset(s->req.buf, 0xa5, s->req.len_bytes);
	else
		m->base.bytes_read += s->want_bytes;
	reader_pool_finish(&m->pool, s, res < 0 ? res : 0);
	return &s->req;
}

static int mem_next(struct reader *r, bool wait, struct read_req **out)
{
	struct reader_mem *m = (struct reader_mem *)r;
	uint64_t dice;

	for (;;) {
		if (!m->pool.n_queued && !m->n_copied)
			return 1;
		dice = rnd_seeded_below(&m->rnd, 4);
		if (!wait && dice == 0)
			return -EAGAIN;
		if (m->pool.n_queued && (dice < 2 || !m->n_copied)) {
			copy_one(m);
		} else if (m->n_copied) {
			*out = hand_out_one(m);
			return 0;
		}
	}
}

static void mem_close(struct reader *r)
{
	struct reader_mem *m = (struct reader_mem *)r;

	reader_pool_fini(&m->pool);
	free(m);
}

static const struct reader_ops mem_ops = {
	.get = mem_get,
	.put = mem_put,
	.submit = mem_submit,
	.next = mem_next,
	.close = mem_close,
};

int reader_open_mem(const struct reader_mem_config *cfg, struct reader **out)
{
	_cleanup_free_ struct reader_mem *m = NULL;
	int r;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = reader_pool_init(&m->pool, 0, cfg->size_bytes, MEM_LBS_BYTES);
	if (r < 0)
		return r;
	m->cfg = *cfg;
	m->base.ops = &mem_ops;
	m->base.size_bytes = cfg->size_bytes;
	m->base.kind = "memory";
	rnd_seeded_init(&m->rnd, cfg->seed);
	*out = &TAKE_PTR(m)->base;
	return 0;
}
