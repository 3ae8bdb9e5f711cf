// SPDX-License-Identifier: Apache-2.0
/*
 * The cut engine. Sets of tracking blocks, all of one thread:
 *
 *   pending      collected, not in an acknowledged point (mirrors the
 *                tracker's persistent map)
 *   need         of pending: not validly staged for the open point
 *   outstanding  of pending: covered by the point that awaits its
 *                acknowledgement, and not collected since
 *   carried      in flight when last looked at: collected again next round
 *   fresh        what this round's collect found (with the carried ones)
 *
 * Invariants between rounds:
 *   need, outstanding, carried are subsets of pending; need and outstanding
 *   are disjoint; pending \ need \ outstanding is staged and valid as of the
 *   latest flip.
 *
 * Within a round: a block's bit leaves need when its read is submitted and
 * returns when the read failed or conflicts. The check of a finished read
 * comes before anything slower (staging may wait for a network), since a late
 * check sees marks that are none of its business and loses a good read.
 *
 * Nothing here survives the process; the tracker's pending map does, and is a
 * superset of what must be read again.
 */
#include "source/cut.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "wire/unit.h"

#define HOT_MAX 512U
#define STAGE_SOME_BYTES (64U << 10)

struct checked {
	struct read_req *req;
	uint64_t valid;			/* bit i: its i-th tracking block */
};

_Static_assert(READER_BUF_BYTES / US_BLOCK_BYTES <= 64, "fits checked.valid");

struct cut {
	struct tracker *t;
	struct reader *r;
	struct cut_sink *sink;
	struct clock *clock;
	int (*flip)(void *arg, struct cut_round *out, struct err *err);
	void *flip_arg;
	bool without_check;
	bool has_outstanding;
	uint32_t block_shift;
	uint64_t end_bytes;		/* of the volume, up to 4096 */
	struct bitmap pending, need, outstanding, carried, fresh;
	/* Blocks that lost last time; read first while the window is short. */
	uint64_t hot[HOT_MAX];
	uint32_t n_hot;
	uint64_t hot_next[HOT_MAX];
	uint32_t n_hot_next;
	/* Reads of this round that are checked and wait to be staged: a ring,
	 * first come first staged. */
	struct checked checked[READER_DEPTH];
	uint32_t first_checked, n_checked;
	/* The run that is being submitted, in bytes of the volume. */
	uint64_t run_off, run_left;
	uint64_t scan_block;
	uint32_t hot_index;
};

static uint64_t block_bytes(const struct cut *c)
{
	return 1ULL << c->block_shift;
}

int cut_new(const struct cut_config *cfg, struct cut **out, struct err *err)
{
	struct cut *c = calloc(1, sizeof(*c));
	uint64_t n = cfg->tracker->n_blocks;

	if (!c)
		return err_sys(err, -ENOMEM, "no-memory", "cut", "start");
	c->t = cfg->tracker;
	c->r = cfg->reader;
	c->sink = cfg->sink;
	c->clock = cfg->clock;
	c->without_check = cfg->without_check;
	c->flip = cfg->flip;
	c->flip_arg = cfg->flip_arg;
	c->block_shift = cfg->tracker->block_shift;
	c->end_bytes = div_up_u64(cfg->reader->size_bytes, US_BLOCK_BYTES)
		       << US_BLOCK_SHIFT;
	if (bitmap_init(&c->pending, n) || bitmap_init(&c->need, n) ||
	    bitmap_init(&c->outstanding, n) || bitmap_init(&c->carried, n) ||
	    bitmap_init(&c->fresh, n)) {
		cut_free(c);
		return err_sys(err, -ENOMEM, "no-memory", "cut",
			       "bitmaps of %llu blocks",
			       (unsigned long long)n);
	}
	*out = c;
	return 0;
}

void cut_free(struct cut *c)
{
	if (!c)
		return;
	bitmap_free(&c->pending);
	bitmap_free(&c->need);
	bitmap_free(&c->outstanding);
	bitmap_free(&c->carried);
	bitmap_free(&c->fresh);
	free(c);
}

static void or_into(struct bitmap *to, const struct bitmap *from)
{
	uint64_t w = 0;

	while (!bitmap_next_word(from, w, &w)) {
		bitmap_or_word(to, w, bitmap_word(from, w));
		w++;
	}
}

int cut_adopt(struct cut *c, struct err *err)
{
	int r = c->t->ops->adopt(c->t, &c->pending, err);

	if (r)
		return r;
	/* A write of then may still be in flight: looked at once more. */
	or_into(&c->carried, &c->pending);
	or_into(&c->need, &c->pending);
	return 0;
}

int cut_all_dirty(struct cut *c, struct err *err)
{
	int r = c->t->ops->pending_set_all(c->t, err);

	if (r)
		return r;
	bitmap_set_all(&c->pending);
	bitmap_set_all(&c->need);
	bitmap_set_all(&c->carried);
	bitmap_clear_all(&c->outstanding);
	return 0;
}

static int flip(struct cut *c, struct cut_round *out, struct err *err)
{
	int r;

	if (c->flip) {
		r = c->flip(c->flip_arg, out, err);
	} else {
		out->flip_mono_ns = clock_mono_ns(c->clock);
		out->flip_wall_ns = clock_wall_ns(c->clock);
		r = c->t->ops->flip(c->t, err);
	}
	out->flipped_mono_ns = clock_mono_ns(c->clock);
	return r;
}

/* Flip and collect; every set takes notice of what is fresh. */
static int collect(struct cut *c, struct cut_round *out, struct err *err)
{
	uint64_t w = 0;
	int r;

	r = flip(c, out, err);
	if (r == -EAGAIN)
		return r;
	bitmap_clear_all(&c->fresh);
	or_into(&c->fresh, &c->carried);
	bitmap_clear_all(&c->carried);
	if (!r)
		r = c->t->ops->collect(c->t, &c->fresh, &c->carried, err);
	/* Even after a failure: what was found must not be forgotten. */
	while (!bitmap_next_word(&c->fresh, w, &w)) {
		uint64_t bits = bitmap_word(&c->fresh, w);

		bitmap_or_word(&c->pending, w, bits);
		bitmap_or_word(&c->need, w, bits);
		bitmap_andnot_word(&c->outstanding, w, bits);
		w++;
	}
	/* Whether what is pending was in flight has then not been looked at. */
	if (r)
		or_into(&c->carried, &c->pending);
	out->collected = c->fresh.n_set;
	return r;
}

static void block_lost(struct cut *c, uint64_t block)
{
	bitmap_set(&c->need, block);
	if (c->n_hot_next < HOT_MAX)
		c->hot_next[c->n_hot_next++] = block;
}

/* The tracking blocks that a read touches. */
static void req_blocks(const struct cut *c, const struct read_req *req,
		       uint64_t *first, uint64_t *last)
{
	*first = req->off_bytes >> c->block_shift;
	*last = (req->off_bytes + req->len_bytes - 1) >> c->block_shift;
}

/*
 * The check of a finished read. Blocks that were rewritten after the flip are
 * needed again; the others are valid for this flip whatever happens later.
 */
static void check(struct cut *c, struct read_req *req, struct cut_round *out)
{
	uint64_t first, last, b, valid = 0;

	req_blocks(c, req, &first, &last);
	if (req->res < 0) {
		if (!out->read_errors++) {
			out->error_num = req->res;
			out->error_off_bytes = req->off_bytes;
		}
		bitmap_set_range(&c->need, first, last - first + 1);
		c->r->ops->put(c->r, req);
		return;
	}
	for (b = first; b <= last; b++) {
		if (!c->without_check && c->t->ops->is_redirtied(c->t, b)) {
			out->conflicts++;
			block_lost(c, b);
		} else {
			valid |= 1ULL << (b - first);
		}
	}
	c->checked[(c->first_checked + c->n_checked++) % READER_DEPTH] =
		(struct checked){ req, valid };
}

static struct checked take_checked(struct cut *c)
{
	struct checked k = c->checked[c->first_checked];

	c->first_checked = (c->first_checked + 1) % READER_DEPTH;
	c->n_checked--;
	return k;
}

/* Hand the valid stretches of a checked read to the sink. */
static int stage_one(struct cut *c)
{
	struct checked k = take_checked(c);
	struct read_req *req = k.req;
	uint64_t end = req->off_bytes + req->len_bytes;
	uint64_t first, last, b, off;
	int r = 0;

	req_blocks(c, req, &first, &last);
	for (b = first; b <= last && !r; b++) {
		if (!(k.valid >> (b - first) & 1))
			continue;
		off = MAX(b << c->block_shift, req->off_bytes);
		while (b < last && k.valid >> (b + 1 - first) & 1)
			b++;
		r = c->sink->stage(
			c->sink, off >> US_BLOCK_SHIFT,
			(uint32_t)((MIN((b + 1) << c->block_shift, end) - off) >>
				   US_BLOCK_SHIFT),
			req->buf + (off - req->off_bytes));
	}
	c->r->ops->put(c->r, req);
	return r;
}

/* Choose the next run to read: hot blocks first, then in order. */
static bool next_run(struct cut *c)
{
	uint64_t max = MAX(1ULL, READER_BUF_BYTES >> c->block_shift);
	uint64_t first = 0, count = 0;

	while (c->hot_index < c->n_hot && !count) {
		first = c->hot[c->hot_index++];
		count = bitmap_test(&c->need, first);
	}
	if (!count) {
		if (bitmap_next_run(&c->need, c->scan_block, max, &first,
				    &count))
			return false;
		c->scan_block = first + count;
	}
	bitmap_clear_range(&c->need, first, count);
	c->run_off = first << c->block_shift;
	/* The last block may reach past the end of the device. */
	c->run_left = MIN(count << c->block_shift, c->end_bytes - c->run_off);
	return true;
}

enum { SUBMITTED = 0, EXHAUSTED = 1, NO_BUFFER = 2 };

/* One of the above, or a negative errno. */
static int submit_one(struct cut *c, struct cut_round *out)
{
	struct read_req *req;
	uint64_t len;
	int r;

	if (!c->run_left && !next_run(c))
		return EXHAUSTED;
	req = c->r->ops->get(c->r);
	if (!req)
		return NO_BUFFER;
	len = MIN(c->run_left, (uint64_t)READER_BUF_BYTES);
	req->off_bytes = c->run_off;
	req->len_bytes = (uint32_t)len;
	r = c->sink->expect(c->sink, c->run_off >> US_BLOCK_SHIFT,
			    len >> US_BLOCK_SHIFT);
	if (!r)
		r = c->r->ops->submit(c->r, req);
	if (r) {
		c->r->ops->put(c->r, req);
		return r;
	}
	out->read += div_up_u64(len, block_bytes(c));
	c->run_off += len;
	c->run_left -= len;
	return SUBMITTED;
}

/*
 * Check what is finished; when asked to, wait for at least one. 0, or 1 when
 * nothing is in flight, or a negative errno.
 */
static int reap(struct cut *c, bool wait, struct cut_round *out)
{
	struct read_req *req;
	bool any = false;
	int r;

	for (;;) {
		r = c->r->ops->next(c->r, wait && !any, &req);
		if (r == -EAGAIN || (r == 1 && any))
			return 0;
		if (r)
			return r;
		check(c, req, out);
		any = true;
	}
}

/*
 * Frees a few buffers, so that the next reads are handed over together: one by
 * one they cost a call and a wake-up of the device each. No more than what is
 * staged in well under a millisecond, since reads wait to be checked meanwhile.
 */
static int stage_some(struct cut *c)
{
	uint64_t bytes = 0;
	int r = 0;

	while (c->n_checked && bytes < STAGE_SOME_BYTES && !r) {
		bytes += c->checked[c->first_checked].req->len_bytes;
		r = stage_one(c);
	}
	return r;
}

/*
 * Order of preference: check what is finished, keep the device busy, and stage
 * only when buffers have run out or every read has been checked.
 */
static int read_and_stage(struct cut *c, struct cut_round *out)
{
	int r, idle;

	do {
		idle = reap(c, false, out);
		if (idle < 0)
			return idle;
		do {
			r = submit_one(c, out);
		} while (r == SUBMITTED);
		if (r < 0)
			return r;
		if (r == NO_BUFFER && c->n_checked) {
			r = stage_some(c);
			if (r)
				return r;
			idle = 0;
			continue;
		}
		idle = reap(c, true, out);
		if (idle < 0)
			return idle;
	} while (!idle);
	while (c->n_checked) {
		r = stage_one(c);
		if (r)
			return r;
	}
	return 0;
}

/* Give every buffer back, whatever state the round was left in. */
static void abandon_reads(struct cut *c)
{
	struct read_req *req;

	while (c->n_checked)
		c->r->ops->put(c->r, take_checked(c).req);
	while (!c->r->ops->next(c->r, true, &req))
		c->r->ops->put(c->r, req);
	c->run_left = 0;
}

static void begin_round(struct cut *c)
{
	memcpy(c->hot, c->hot_next, c->n_hot_next * sizeof(c->hot[0]));
	c->n_hot = c->n_hot_next;
	c->n_hot_next = 0;
	c->hot_index = 0;
	c->scan_block = 0;
	c->run_left = 0;
}

int cut_round(struct cut *c, struct cut_round *out, struct err *err)
{
	int r;

	memset(out, 0, sizeof(*out));
	begin_round(c);
	r = collect(c, out, err);
	if (r == -EAGAIN)
		return r;
	if (!r)
		r = read_and_stage(c, out);
	if (r) {
		abandon_reads(c);
		cut_session_lost(c);
		return r;
	}
	out->converged = !c->need.n_set && !out->read_errors;
	return 0;
}

int cut_collect(struct cut *c, struct err *err)
{
	struct cut_round unused = { 0 };

	if (c->flip)
		return 0;
	return collect(c, &unused, err);
}

void cut_committed(struct cut *c)
{
	uint64_t w = 0;

	bitmap_clear_all(&c->outstanding);
	while (!bitmap_next_word(&c->pending, w, &w)) {
		bitmap_or_word(&c->outstanding, w,
			       bitmap_word(&c->pending, w) &
				       ~bitmap_word(&c->carried, w));
		w++;
	}
	c->has_outstanding = true;
}

void cut_acked(struct cut *c)
{
	uint64_t w = 0;

	while (!bitmap_next_word(&c->outstanding, w, &w)) {
		uint64_t bits = bitmap_word(&c->outstanding, w);

		c->t->ops->pending_clear(c->t, w, bits);
		bitmap_andnot_word(&c->pending, w, bits);
		w++;
	}
	bitmap_clear_all(&c->outstanding);
	c->has_outstanding = false;
}

void cut_session_lost(struct cut *c)
{
	bitmap_clear_all(&c->outstanding);
	or_into(&c->need, &c->pending);
	c->has_outstanding = false;
}

void cut_set_sink(struct cut *c, struct cut_sink *sink)
{
	cut_session_lost(c);
	c->sink = sink;
}

bool cut_has_outstanding(const struct cut *c)
{
	return c->has_outstanding;
}

uint64_t cut_pending_blocks(const struct cut *c)
{
	return c->pending.n_set;
}

uint64_t cut_need_blocks(const struct cut *c)
{
	return c->need.n_set;
}

bool cut_is_pending(const struct cut *c, uint64_t block)
{
	return bitmap_test(&c->pending, block);
}
