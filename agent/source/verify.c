// SPDX-License-Identifier: Apache-2.0
/*
 * Device against replica, beside the cuts.
 *
 * The rule (docs/consistency.md, section 10, has the argument): between two
 * rounds, a block that is not pending, and whose mark in the active generation
 * is clear when its read has ended, is on the device what the newest point has,
 * and what every point has until the block is staged again. So its fingerprint
 * is asked for in the same breath: the question reaches the replica before any
 * unit that is made later.
 *
 * A block that is never found so is compared as part of a point: the content
 * that was staged last before a commit, against what the replica answers to a
 * question that follows the commit at once.
 *
 * Cells are what is kept account of: tracking blocks, or pieces of them of the
 * size of a read. Sets of cells:
 *
 *   left	not compared yet
 *   todo	of left: to be looked at in this pass
 *
 * Invariants: a cell leaves left only when an answer has been held against it
 * in full; nothing is in flight at the reader between two calls; everything
 * here is bounded but for the two sets. Nothing survives the process.
 */
#include "source/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "source/verify_internal.h"

const char *verify_what_name(enum verify_what what)
{
	static const char *const names[] = {
		[VERIFY_CONTENT] = "content",
		[VERIFY_MISSING] = "missing",
		[VERIFY_DAMAGED] = "damaged",
	};

	return names[what];
}

/* ---- cells ---- */

/* The last cell may be a short one. */
static uint64_t left_blocks(const struct verify *v)
{
	uint64_t n = v->left.n_set << (v->cell_shift - US_BLOCK_SHIFT);

	if (bitmap_test(&v->left, v->n_cells - 1))
		n -= cell_first(v, v->n_cells) - v->n_blocks;
	return n;
}

static uint64_t tracking_block(const struct verify *v, uint64_t cell)
{
	return (v->first_cell + cell) >> v->tracking_shift;
}

static bool is_pending(const struct verify *v, uint64_t cell)
{
	return !v->cfg.without_pending &&
	       cut_is_pending(v->cfg.cut, tracking_block(v, cell));
}

static bool is_redirtied(const struct verify *v, uint64_t cell)
{
	struct tracker *t = v->cfg.tracker;

	return !v->cfg.without_check &&
	       t->ops->is_redirtied(t, tracking_block(v, cell));
}

/* ---- life ---- */

/* The cells of what is to be compared. */
static void lay_out(struct verify *v)
{
	const struct verify_config *c = &v->cfg;
	uint64_t first = c->first_block;

	v->cell_shift = MIN(c->tracker->block_shift, CELL_SHIFT_MAX);
	v->tracking_shift = c->tracker->block_shift - v->cell_shift;
	v->device_bytes = c->reader->size_bytes;
	v->n_blocks = div_up_u64(v->device_bytes, US_BLOCK_BYTES);
	if (c->count_blocks)
		v->n_blocks = MIN(v->n_blocks, first + c->count_blocks);
	v->first_cell = first >> (v->cell_shift - US_BLOCK_SHIFT);
	v->n_cells = div_up_u64(v->n_blocks << US_BLOCK_SHIFT,
				1ULL << v->cell_shift) - v->first_cell;
	v->report.size_bytes = verify_blocks_bytes(v, first, v->n_blocks);
}

int verify_new(const struct verify_config *cfg, struct verify **out,
	       struct err *err)
{
	struct verify *v = calloc(1, sizeof(*v));

	if (!v)
		return err_sys(err, -ENOMEM, "no-memory", "verify", "start");
	v->cfg = *cfg;
	v->cfg.key = NULL;
	lay_out(v);
	v->asked_fresh = cfg->not_fresh;
	v->fp = fp_ctx_new(cfg->key, cfg->volume);
	if (!v->fp || bitmap_init(&v->left, v->n_cells) ||
	    bitmap_init(&v->todo, v->n_cells)) {
		verify_free(v);
		return err_sys(err, -ENOMEM, "no-memory", "verify", "start");
	}
	bitmap_set_all(&v->left);
	bitmap_set_all(&v->todo);
	v->left_at_begin = v->left.n_set;
	v->report.passes = 1;
	*out = v;
	return 0;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	fp_ctx_free(v->fp);
	bitmap_free(&v->left);
	bitmap_free(&v->todo);
	free(v);
}

static int fingerprint(struct verify *v, uint64_t block, const uint8_t *data,
		       struct fp *out)
{
	if (block_is_zero(data, US_BLOCK_BYTES)) {
		*out = fp_zero_block;
		return 0;
	}
	return fp_compute(v->fp, block, data, out);
}

/* ---- questions ---- */

static struct question *next_question(struct verify *v)
{
	struct question *q;

	if (v->n_questions == QUESTIONS)
		return NULL;
	q = &v->questions[(v->first_question + v->n_questions) % QUESTIONS];
	q->n = 0;
	q->seq = 0;
	q->is_void = false;
	return q;
}

/* Its blocks, which rise, as extents. */
static uint32_t to_extents(const struct question *q, struct wire_extent *out)
{
	uint32_t i, n = 0;

	for (i = 0; i < q->n; i++) {
		uint64_t block = q->blocks[i].block;

		if (n && out[n - 1].first + out[n - 1].count == block)
			out[n - 1].count++;
		else
			out[n++] = (struct wire_extent){ block, 1 };
	}
	return n;
}

static int send(struct verify *v, const struct question *q, struct err *err)
{
	struct wire_extent extents[HOT_BLOCKS];
	bool fresh = !v->asked_fresh;

	v->n_questions++;
	v->asked_fresh = true;
	return v->cfg.ask(v->cfg.arg, fresh, extents, to_extents(q, extents),
			  err);
}

/* ---- at rest ---- */

/*
 * The next cells of this pass that may be at rest: in one stretch, and no more
 * blocks than asked for. Those that are pending wait for a later pass.
 */
static bool next_stretch(struct verify *v, uint32_t max_blocks,
			 uint64_t *first, uint64_t *end)
{
	uint64_t max = MAX(max_blocks >> (v->cell_shift - US_BLOCK_SHIFT), 1U);
	uint64_t cell, count;

	while (!bitmap_next_run(&v->todo, v->scan, max, &cell, &count)) {
		uint64_t n = 0;

		while (n < count && !is_pending(v, cell + n))
			n++;
		v->scan = cell + MAX(n, 1ULL);
		bitmap_clear_range(&v->todo, cell, MAX(n, 1ULL));
		if (!n)
			continue;
		*first = cell_first(v, cell);
		*end = cells_end(v, cell + n - 1);
		return true;
	}
	return false;
}

static int submit(struct verify *v, uint64_t first, uint64_t end)
{
	struct reader *r = v->cfg.reader;
	struct read_req *req;
	int ret;

	for (; first < end; first += READ_BLOCKS) {
		req = r->ops->get(r);
		if (!req)
			return -ENOBUFS;
		req->off_bytes = first << US_BLOCK_SHIFT;
		req->len_bytes = (uint32_t)(MIN(end - first, READ_BLOCKS)
					    << US_BLOCK_SHIFT);
		ret = r->ops->submit(r, req);
		if (ret) {
			r->ops->put(r, req);
			return ret;
		}
	}
	return 0;
}

/*
 * A read has ended: what of it is at rest? This comes before anything slow,
 * since a later look would only see more marks. clean: a bit for each block.
 */
static uint64_t look(struct verify *v, const struct read_req *req)
{
	uint64_t first = req->off_bytes >> US_BLOCK_SHIFT;
	uint64_t n = req->len_bytes >> US_BLOCK_SHIFT;
	uint64_t b, cell, end, clean = 0;

	for (b = first; b < first + n; b = end) {
		cell = cell_of(v, b);
		end = MIN(cells_end(v, cell), first + n);
		if (is_redirtied(v, cell))
			continue;
		for (; b < end; b++)
			clean |= 1ULL << (b - first);
	}
	return clean;
}

static int take(struct verify *v, const struct read_req *req, uint64_t clean,
		struct question *q)
{
	uint64_t first = req->off_bytes >> US_BLOCK_SHIFT;
	uint32_t i, n = req->len_bytes >> US_BLOCK_SHIFT;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		struct asked *a = &q->blocks[q->n];

		if (!(clean >> i & 1))
			continue;
		a->block = first + i;
		r = fingerprint(v, a->block,
				req->buf + ((size_t)i << US_BLOCK_SHIFT),
				&a->fp);
		q->n++;
	}
	return r;
}

static int read_failed(const struct read_req *req, struct err *err)
{
	return err_sys(err, req->res, "read-error", "verify",
		       "read offset=%llu",
		       (unsigned long long)req->off_bytes);
}

/* Every read is taken back, whatever became of one. */
static int reap(struct verify *v, struct question *q, struct err *err)
{
	struct reader *rd = v->cfg.reader;
	struct read_req *req;
	int r, ret = 0;

	while (!(r = rd->ops->next(rd, true, &req))) {
		uint64_t clean = look(v, req);

		if (!ret && req->res < 0)
			ret = read_failed(req, err);
		if (!ret)
			ret = take(v, req, clean, q);
		rd->ops->put(rd, req);
	}
	return r < 0 ? r : ret;
}

static int by_block(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

static int compare_at_rest(struct verify *v, uint64_t first, uint64_t end,
			   struct err *err)
{
	struct question *q = next_question(v);
	int r = submit(v, first, end);
	int ended = reap(v, q, err);

	if (ended || r)
		return ended ? ended : r;
	if (!q->n)
		return 0;
	/* Reads end in any order. */
	qsort(q->blocks, q->n, sizeof(q->blocks[0]), by_block);
	return send(v, q, err);
}

/* ---- passes ---- */

static void choose_hot(struct verify *v);

/* What was put aside is looked at again: it may have come to rest. */
static void begin_pass(struct verify *v)
{
	uint64_t w = 0;

	v->idle_passes = v->left.n_set < v->left_at_begin ?
				 0 : v->idle_passes + 1;
	v->left_at_begin = v->left.n_set;
	bitmap_clear_all(&v->todo);
	while (!bitmap_next_word(&v->left, w, &w)) {
		bitmap_or_word(&v->todo, w, bitmap_word(&v->left, w));
		w++;
	}
	v->scan = 0;
	v->settled = false;
	v->report.passes++;
	/* A window that stands keeps what it has seen staged. */
	if (!v->n_hot)
		choose_hot(v);
}

/* Nothing is to do in this pass any more. */
static int end_of_pass(struct verify *v)
{
	if (v->n_questions)
		return VERIFY_WAITS;
	if (!v->left.n_set)
		return VERIFY_DONE;
	if (v->idle_passes >= IDLE_PASSES_MAX) {
		v->gave_up = true;
		return VERIFY_DONE;
	}
	if (!v->settled)
		return VERIFY_WAITS;
	begin_pass(v);
	return VERIFY_WORKED;
}

int verify_slice(struct verify *v, uint32_t max_blocks, struct err *err)
{
	uint64_t first, end;
	int r;

	if (v->gave_up)
		return VERIFY_DONE;
	/* One place is kept for the next commit's. */
	if (v->n_questions >= QUESTIONS - 1)
		return VERIFY_WAITS;
	if (!next_stretch(v, MIN(max_blocks, SLICE_BLOCKS), &first, &end))
		return end_of_pass(v);
	r = compare_at_rest(v, first, end, err);
	if (!r)
		v->progress++;
	return r ? r : VERIFY_WORKED;
}

/* ---- as part of a point ---- */

static void add_hot_cell(struct verify *v, uint64_t cell)
{
	uint64_t b;

	for (b = cell_first(v, cell); b < cells_end(v, cell); b++)
		v->hot[v->n_hot++] = (struct hot){ .block = b };
}

static uint32_t cell_blocks_max(const struct verify *v)
{
	return 1U << (v->cell_shift - US_BLOCK_SHIFT);
}

static int by_hot_block(const void *a, const void *b)
{
	const struct hot *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/* A window over what is left; it moves on, so that each has its turn. */
static void choose_hot(struct verify *v)
{
	uint64_t cell, count, from = v->hot_scan;
	bool wrapped = false;

	v->n_hot = 0;
	while (v->n_hot + cell_blocks_max(v) <= HOT_BLOCKS) {
		if (bitmap_next_run(&v->left, v->hot_scan, 1, &cell, &count)) {
			if (wrapped || !from)
				break;
			wrapped = true;
			v->hot_scan = 0;
			continue;
		}
		if (wrapped && cell >= from)
			break;
		add_hot_cell(v, cell);
		v->hot_scan = cell + 1;
	}
	if (!v->n_hot)
		v->hot_scan = 0;
	qsort(v->hot, v->n_hot, sizeof(v->hot[0]), by_hot_block);
}

/* The first of the window at or after block; n_hot when there is none. */
static uint32_t find_hot(const struct verify *v, uint64_t block)
{
	uint32_t lo = 0, hi = v->n_hot;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (v->hot[mid].block < block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void verify_on_stage(struct verify *v, uint64_t first, uint32_t count,
		     const uint8_t *data)
{
	uint32_t i;

	for (i = find_hot(v, first);
	     i < v->n_hot && v->hot[i].block < first + count; i++) {
		struct hot *h = &v->hot[i];
		size_t off = (size_t)(h->block - first) << US_BLOCK_SHIFT;

		h->known = !fingerprint(v, h->block, data + off, &h->fp);
	}
}

/* The cells of the window that are known in full. */
static void ask_known(struct verify *v, struct question *q)
{
	uint32_t i, k, n;

	for (i = 0; i < v->n_hot; i += n) {
		uint64_t cell = cell_of(v, v->hot[i].block);
		bool known = true;

		n = (uint32_t)(cells_end(v, cell) - cell_first(v, cell));
		for (k = i; k < i + n; k++)
			known &= v->hot[k].known;
		for (k = i; known && k < i + n; k++)
			q->blocks[q->n++] = (struct asked){ v->hot[k].block,
							    v->hot[k].fp };
	}
}

int verify_on_commit(struct verify *v, uint64_t seq, struct err *err)
{
	struct question *q = next_question(v);

	/* What is not at rest waits for this. */
	v->progress++;
	if (!v->n_hot)
		return 0;
	if (q) {
		ask_known(v, q);
		q->seq = seq;
	}
	/* The next point is another matter: what is staged for it counts. */
	choose_hot(v);
	return q && q->n ? send(v, q, err) : 0;
}

/* ---- answers ---- */

static void note_point(struct verify *v, uint64_t epoch, uint64_t seq)
{
	struct verify_report *r = &v->report;

	r->epoch = epoch;
	if (!r->first_seq || seq < r->first_seq)
		r->first_seq = seq;
	if (seq > r->last_seq)
		r->last_seq = seq;
}

void verify_on_held(struct verify *v, uint64_t epoch, uint64_t seq,
		    uint32_t count, const uint8_t *held)
{
	struct question *q = &v->questions[v->first_question];

	if (!v->n_questions)
		return;
	v->first_question = (v->first_question + 1) % QUESTIONS;
	v->n_questions--;
	if (q->is_void || q->n != count || !seq || (q->seq && q->seq != seq))
		return;
	note_point(v, epoch, seq);
	verify_judge(v, q, seq, held);
}

void verify_on_settled(struct verify *v)
{
	v->settled = true;
}

void verify_on_all_dirty(struct verify *v)
{
	uint32_t i;

	for (i = 0; i < QUESTIONS; i++)
		v->questions[i].is_void = true;
}

/* What was asked for is still left, and has its turn in another pass. */
void verify_on_session_lost(struct verify *v)
{
	uint32_t i;

	v->n_questions = 0;
	for (i = 0; i < v->n_hot; i++)
		v->hot[i].known = false;
	v->settled = true;
}

/* ---- the result ---- */

void verify_give_up(struct verify *v)
{
	v->gave_up = true;
}

uint32_t verify_unanswered(const struct verify *v)
{
	return v->n_questions;
}

uint64_t verify_differing_bytes(const struct verify *v)
{
	return v->report.differing_bytes;
}

uint64_t verify_progress(const struct verify *v)
{
	return v->progress;
}

static int by_diff_block(const void *a, const void *b)
{
	const struct verify_diff *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

void verify_get_report(const struct verify *v, struct verify_report *out)
{
	*out = v->report;
	out->skipped_bytes = MIN(left_blocks(v) << US_BLOCK_SHIFT,
				 out->size_bytes);
	out->compared_bytes = out->size_bytes - out->skipped_bytes;
	qsort(out->diffs, out->n_diffs, sizeof(out->diffs[0]), by_diff_block);
}
