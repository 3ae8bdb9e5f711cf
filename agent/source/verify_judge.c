// SPDX-License-Identifier: Apache-2.0
/*
 * What an answer of the replica says of the cells it is about: equal, nothing
 * yet, or different.
 *
 * A cell is judged as a whole. A difference is believed only when the tracker
 * has missed nothing, and is counted once: its cell then is compared, like one
 * that is equal. The thread of the verification.
 */
#include <string.h>

#include "source/verify_internal.h"

enum finding { EQUAL, UNSAID, DIFFERS };

static enum finding compare(const struct asked *a, const uint8_t *held,
			    enum verify_what *what)
{
	struct fp fp;

	memcpy(fp.b, held + 1, sizeof(fp.b));
	switch ((enum wire_held)held[0]) {
	case WIRE_HELD_SOUND:
		*what = VERIFY_CONTENT;
		/* Stored without one: it takes the key to tell. */
		if (fp_equal(&fp, &fp_unknown))
			return UNSAID;
		return fp_equal(&fp, &a->fp) ? EQUAL : DIFFERS;
	case WIRE_HELD_ABSENT:
		*what = VERIFY_MISSING;
		return fp_equal(&a->fp, &fp_zero_block) ? EQUAL : DIFFERS;
	case WIRE_HELD_DAMAGED:
		*what = VERIFY_DAMAGED;
		return DIFFERS;
	case WIRE_HELD_STAGED:
		break;
	}
	return UNSAID;
}

uint64_t verify_blocks_bytes(const struct verify *v, uint64_t first,
			     uint64_t end)
{
	return MIN(end << US_BLOCK_SHIFT, v->device_bytes) -
	       (first << US_BLOCK_SHIFT);
}

/* Counted always, and remembered as long as there is room. */
static void note_difference(struct verify *v, uint64_t block,
			    enum verify_what what, uint64_t seq)
{
	struct verify_report *r = &v->report;
	struct verify_diff *last =
		r->n_diffs ? &r->diffs[r->n_diffs - 1] : NULL;

	r->differing_bytes += verify_blocks_bytes(v, block, block + 1);
	if (last && last->what == what && last->first + last->count == block)
		last->count++;
	else if (r->n_diffs < VERIFY_DIFFS_MAX)
		r->diffs[r->n_diffs++] =
			(struct verify_diff){ what, block, 1, seq };
}

/* Part of a question: the blocks of one cell. */
struct cell_answer {
	const struct asked *asked;
	const uint8_t *held;
	uint32_t n;
	uint64_t seq;
	bool in_point;
};

/* What there is to say of a cell is said at once, or not yet. */
static void judge_cell(struct verify *v, const struct cell_answer *a)
{
	uint64_t cell = cell_of(v, a->asked[0].block);
	uint64_t first = cell_first(v, cell), end = cells_end(v, cell);
	enum finding worst = a->n == end - first ? EQUAL : UNSAID;
	enum verify_what what;
	uint32_t i;

	for (i = 0; i < a->n && worst != UNSAID; i++) {
		enum finding f = compare(&a->asked[i],
					 a->held + (size_t)i * WIRE_HELD_BYTES,
					 &what);

		if (f != EQUAL)
			worst = f;
	}
	if (worst == UNSAID || !bitmap_test(&v->left, cell))
		return;
	/* Writes that the tracker owns to have missed are no finding: it is
	 * about to have everything compared. */
	if (worst == DIFFERS && !v->cfg.sound(v->cfg.arg))
		return;
	for (i = 0; i < a->n && worst == DIFFERS; i++)
		if (compare(&a->asked[i],
			    a->held + (size_t)i * WIRE_HELD_BYTES,
			    &what) == DIFFERS)
			note_difference(v, a->asked[i].block, what, a->seq);
	bitmap_clear(&v->left, cell);
	v->progress++;
	if (a->in_point)
		v->report.in_points_bytes += verify_blocks_bytes(v, first, end);
}

void verify_judge(struct verify *v, const struct question *q, uint64_t seq,
		  const uint8_t *held)
{
	uint32_t i, end;

	for (i = 0; i < q->n; i = end) {
		uint64_t cell = cell_of(v, q->blocks[i].block);
		struct cell_answer a = {
			.asked = &q->blocks[i],
			.held = held + (size_t)i * WIRE_HELD_BYTES,
			.seq = seq,
			.in_point = q->seq,
		};

		for (end = i + 1; end < q->n &&
		     cell_of(v, q->blocks[end].block) == cell; end++)
			;
		a.n = end - i;
		judge_cell(v, &a);
	}
}
