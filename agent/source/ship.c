// SPDX-License-Identifier: Apache-2.0
/*
 * From valid blocks to frames.
 *
 * Invariants:
 * - A block is left out only when its fingerprint equals one that this session
 *   sent, or that the replica told in this session: both name what its open
 *   point over its newest committed one holds.
 * - An answer that never comes, or that was pushed out of the table, means
 *   "unknown", and unknown blocks are shipped.
 * - Every point begins with a delta of its own: fresh salt, counter from 0.
 * - Units leave in the order in which their content was staged, whatever
 *   thread has encoded them.
 * - Memory is bounded: the encoder's ring, one batch of units, the connection's
 *   buffer up to OUT_HIGH, a fixed number of questions.
 *
 * Runs of zeros are joined across calls into one unit; they are flushed before
 * anything that would supersede them.
 */
#include "source/ship.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "source/encode.h"
#include "source/fpcache.h"

#define CACHE_LOG2_SLOTS 18		/* 6 MiB, 1 GiB of hot blocks */
#define BATCH_BYTES (256U << 10)
#define OUT_HIGH (8U << 20)
#define OUT_LOW (2U << 20)
/*
 * Answers are kept until their read is staged. As many reads as the reader has
 * buffers may wait for that, and one that is slow is overtaken by others.
 */
#define QUESTIONS (4 * READER_DEPTH)
#define UNANSWERED_MAX (WIRE_MAX_PENDING - 8)
#define QUESTION_BLOCKS (READER_BUF_BYTES / US_BLOCK_BYTES)

/* What was asked of the replica for one read. */
struct question {
	uint64_t first;
	uint32_t count;
	bool used, answered;
	bool stale;			/* of an earlier round: do not believe */
	struct fp fps[QUESTION_BLOCKS];
};

struct ship {
	struct cut_sink sink;
	struct link *link;
	uint64_t seq;			/* of the open point */
	struct encoder *encoder;
	bool begun;			/* the open point has a delta */
	struct fp_ctx *fp;
	struct fpcache *cache;
	struct buf batch;
	bool compare, has_units, flush_before_ask;
	uint64_t zero_first, zero_count;	/* run that waits */
	uint32_t ask_next, n_unanswered;
	struct question asked[QUESTIONS];
	struct ship_totals totals;
	struct err err;
};

static struct ship *self(struct cut_sink *sink)
{
	return (struct ship *)(void *)sink;
}

/* ---- frames ---- */

static int send_batch(struct ship *s)
{
	struct dial *d = link_dial(s->link);
	int r;

	/* First: with nothing in it, it may be empty because it failed. */
	if (s->batch.failed)
		return err_sys(&s->err, -ENOMEM, "no-memory", "ship", "units");
	if (!s->batch.len)
		return 0;
	r = dial_units(d, s->batch.data, s->batch.len);
	if (r)
		return err_sys(&s->err, r, "protocol", "ship", "send units");
	s->totals.unit_bytes += s->batch.len;
	buf_reset(&s->batch);
	r = link_pump(s->link, 0, &s->err);
	if (!r && dial_out(d)->len > OUT_HIGH)
		r = link_room(s->link, OUT_LOW, &s->err);
	return r;
}

/* From the encoder, in order. */
static int take_units(void *arg, const uint8_t *units, size_t n)
{
	struct ship *s = arg;

	buf_put(&s->batch, units, n);
	return s->batch.len >= BATCH_BYTES ? send_batch(s) : 0;
}

/* Before the first unit of a point. */
static int begin_point(struct ship *s)
{
	const struct delta *d;
	int r;

	if (s->begun)
		return 0;
	d = encoder_begin(s->encoder, s->seq);
	if (!d)
		return err_sys(&s->err, -ENOMEM, "no-memory", "ship",
			       "begin point");
	s->begun = true;
	r = dial_point_begin(link_dial(s->link), d);
	return r ? err_sys(&s->err, r, "protocol", "ship", "begin point") : 0;
}

/* What the encoder says; that of take_units has been told already. */
static int encoded(struct ship *s, int r)
{
	if (r && !s->err.num && r != -ECANCELED)
		err_sys(&s->err, r, "seal", "ship", "seal units");
	return r;
}

static int flush_zeros(struct ship *s)
{
	int r = 0;

	while (s->zero_count && !r) {
		uint32_t n = (uint32_t)MIN(s->zero_count,
					   (uint64_t)UNIT_MAX_ZERO_BLOCKS);

		r = begin_point(s);
		if (!r)
			r = encoded(s, encoder_zero(s->encoder, s->zero_first,
						    n));
		s->has_units = true;
		s->zero_first += n;
		s->zero_count -= n;
	}
	return r;
}

/* Everything that was staged is with the connection afterwards. */
static int flush(struct ship *s)
{
	int r = flush_zeros(s);

	if (!r)
		r = encoded(s, encoder_flush(s->encoder));
	return r ? r : send_batch(s);
}

static int put_zeros(struct ship *s, uint64_t first, uint32_t count)
{
	int r = 0;

	if (s->zero_count && s->zero_first + s->zero_count != first)
		r = flush_zeros(s);
	if (!s->zero_count)
		s->zero_first = first;
	s->zero_count += count;
	s->totals.staged_bytes += (uint64_t)count << US_BLOCK_SHIFT;
	s->totals.zero_bytes += (uint64_t)count << US_BLOCK_SHIFT;
	return r;
}

static int put_data(struct ship *s, uint64_t first, uint32_t count,
		    const uint8_t *data, const struct fp *fps)
{
	int r = begin_point(s);

	if (!r)
		r = encoded(s, encoder_data(s->encoder, first, count, data,
					    fps));
	s->has_units = true;
	s->totals.staged_bytes += (uint64_t)count << US_BLOCK_SHIFT;
	return r;
}

/* ---- what the replica holds ---- */

static int ask(struct ship *s, uint64_t first, uint32_t count)
{
	struct question *q = &s->asked[s->ask_next];
	int r = 0;

	/* The answers of this round must know all units of the rounds before.
	 * (Within a round a block has one valid content only.) */
	if (s->flush_before_ask) {
		r = flush(s);
		if (r)
			return r;
		s->flush_before_ask = false;
	}
	/* Its answer must have come before its place is given away, or it
	 * would be taken for the answer of its successor. */
	while ((q->used && !q->answered) ||
	       s->n_unanswered >= UNANSWERED_MAX) {
		r = link_wait(s->link, &s->err);
		if (r)
			return r;
	}
	s->ask_next = (s->ask_next + 1) % QUESTIONS;
	s->n_unanswered++;
	q->first = first;
	q->count = count;
	q->used = true;
	q->answered = q->stale = false;
	r = dial_fp_query(link_dial(s->link), first, count);
	if (r)
		return err_sys(&s->err, r, "protocol", "ship", "ask");
	return link_pump(s->link, 0, &s->err);
}

static int sink_expect(struct cut_sink *sink, uint64_t first, uint64_t count)
{
	struct ship *s = self(sink);
	int r = 0;

	if (!s->compare)
		return 0;
	while (count && !r) {
		uint32_t n = (uint32_t)MIN(count, (uint64_t)QUESTION_BLOCKS);

		r = ask(s, first, n);
		first += n;
		count -= n;
	}
	return r;
}

void ship_on_fps(struct ship *s, uint64_t first, uint32_t count,
		 const uint8_t *fps)
{
	uint32_t i;

	/* Answers come in the order of the questions. */
	for (i = 0; i < QUESTIONS; i++) {
		struct question *q =
			&s->asked[(s->ask_next + i) % QUESTIONS];

		if (!q->used || q->answered || q->first != first ||
		    q->count != count)
			continue;
		memcpy(q->fps, fps, count * sizeof(q->fps[0]));
		q->answered = true;
		s->n_unanswered--;
		return;
	}
}

/* The newest question that covers these blocks, or NULL. */
static struct question *question_of(struct ship *s, uint64_t first,
				    uint32_t count)
{
	uint32_t i;

	for (i = 1; i <= QUESTIONS; i++) {
		struct question *q = &s->asked[(s->ask_next + QUESTIONS - i) %
					       QUESTIONS];

		if (q->used && !q->stale && q->first <= first &&
		    first + count <= q->first + q->count)
			return q;
	}
	return NULL;
}

/* Put what the replica told of these blocks into the cache. */
static int learn(struct ship *s, uint64_t first, uint32_t count)
{
	struct question *q = question_of(s, first, count);
	uint32_t i;
	int r;

	if (!q)
		return 0;
	while (!q->answered) {
		r = link_wait(s->link, &s->err);
		if (r)
			return r;
	}
	for (i = 0; i < count; i++) {
		const struct fp *fp = &q->fps[first + i - q->first];

		/* What this session sent since is newer than the answer. */
		if (fp_equal(fpcache_get(s->cache, first + i), &fp_unknown) &&
		    !fp_equal(fp, &fp_unknown))
			fpcache_put(s->cache, first + i, fp);
	}
	return 0;
}

/* ---- staging ---- */

static int fingerprint(struct ship *s, uint64_t block, const uint8_t *data,
		       struct fp *out)
{
	if (block_is_zero(data, US_BLOCK_BYTES)) {
		*out = fp_zero_block;
		return 0;
	}
	return fp_compute(s->fp, block, data, out);
}

enum fate { SAME, ZERO, DATA };

static enum fate fate_of(const struct ship *s, uint64_t block,
			 const struct fp *fp)
{
	if (fp_equal(fpcache_get(s->cache, block), fp))
		return SAME;
	return fp_equal(fp, &fp_zero_block) ? ZERO : DATA;
}

/* Up to UNIT_MAX_BLOCKS blocks with one fate become one piece of work. */
static int stage_run(struct ship *s, uint64_t first, uint32_t count,
		     const uint8_t *data, const struct fp *fps)
{
	enum fate fate = fate_of(s, first, &fps[0]);
	uint32_t i;
	int r = 0;

	if (fate == SAME) {
		s->totals.unchanged_bytes += (uint64_t)count << US_BLOCK_SHIFT;
		return 0;
	}
	if (fate == ZERO)
		r = put_zeros(s, first, count);
	else
		r = put_data(s, first, count, data, fps);
	for (i = 0; i < count && !r; i++)
		fpcache_put(s->cache, first + i, &fps[i]);
	return r;
}

static int sink_stage(struct cut_sink *sink, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	struct ship *s = self(sink);
	struct fp fps[QUESTION_BLOCKS];
	uint32_t i, n;
	int r = 0;

	if (count > QUESTION_BLOCKS)
		return err_set(&s->err, -EINVAL, "bug", "ship",
			       "run of %u blocks", count);
	if (s->compare)
		r = learn(s, first, count);
	for (i = 0; i < count && !r; i++)
		r = fingerprint(s, first + i,
				data + ((size_t)i << US_BLOCK_SHIFT), &fps[i]);
	for (i = 0; i < count && !r; i += n) {
		enum fate fate = fate_of(s, first + i, &fps[i]);

		for (n = 1; i + n < count && n < UNIT_MAX_BLOCKS &&
			    fate_of(s, first + i + n, &fps[i + n]) == fate; n++)
			;
		/* A later unit must not be overtaken by zeros that waited. */
		if (fate == DATA && s->zero_count)
			r = flush_zeros(s);
		if (!r)
			r = stage_run(s, first + i, n,
				      data + ((size_t)i << US_BLOCK_SHIFT),
				      &fps[i]);
	}
	return r;
}

/* ---- life ---- */

static struct encoder *new_encoder(struct ship *s,
				   const struct ship_config *cfg)
{
	const struct encoder_config ec = {
		.volume = cfg->volume,
		.epoch = cfg->epoch,
		.key = cfg->key,
		.compression = cfg->compression,
		.rnd = cfg->rnd,
		.n_threads = cfg->encode_threads,
		.take = take_units,
		.arg = s,
	};

	return encoder_new(&ec);
}

int ship_new(const struct ship_config *cfg, struct ship **out,
	     struct err *err)
{
	struct ship *s = calloc(1, sizeof(*s));

	if (!s)
		return err_sys(err, -ENOMEM, "no-memory", "ship", "start");
	s->sink.expect = sink_expect;
	s->sink.stage = sink_stage;
	s->link = cfg->link;
	s->fp = fp_ctx_new(cfg->key, &cfg->volume);
	s->cache = fpcache_new(cfg->cache_log2_slots ? cfg->cache_log2_slots
						     : CACHE_LOG2_SLOTS);
	s->encoder = new_encoder(s, cfg);
	if (!s->fp || !s->cache || !s->encoder) {
		ship_free(s);
		return err_sys(err, -ENOMEM, "no-memory", "ship", "start");
	}
	*out = s;
	return 0;
}

void ship_free(struct ship *s)
{
	if (!s)
		return;
	encoder_free(s->encoder);
	fp_ctx_free(s->fp);
	fpcache_free(s->cache);
	buf_free(&s->batch);
	free(s);
}

struct cut_sink *ship_sink(struct ship *s)
{
	return &s->sink;
}

const struct err *ship_error(const struct ship *s)
{
	return &s->err;
}

void ship_round(struct ship *s, uint64_t next_seq, bool compare)
{
	uint32_t i;

	s->seq = next_seq;
	s->compare = compare;
	s->flush_before_ask = true;
	/* Answers of a round before say nothing about what was sent since. */
	for (i = 0; i < QUESTIONS; i++)
		s->asked[i].stale = true;
}

int ship_pump(struct ship *s)
{
	return link_pump(s->link, 0, &s->err);
}

bool ship_point_has_units(const struct ship *s)
{
	return s->has_units || s->zero_count;
}

int ship_commit(struct ship *s, const struct wire_commit *c, struct err *err)
{
	int r = flush(s);

	if (!r) {
		r = dial_commit(link_dial(s->link), c);
		if (r)
			err_sys(&s->err, r, "protocol", "ship", "commit");
	}
	if (!r)
		r = link_pump(s->link, 0, &s->err);
	if (r) {
		if (err && !err->num)
			err_copy(err, &s->err);
		return r;
	}
	s->begun = false;
	s->has_units = false;
	return 0;
}

void ship_get_totals(const struct ship *s, struct ship_totals *out)
{
	*out = s->totals;
}
