/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_VERIFY_INTERNAL_H
#define SOURCE_VERIFY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "source/verify.h"
#include "wire/unit.h"

/* Shared by verify.c (what is looked at, and when) and verify_judge.c. */
#define CELL_SHIFT_MAX 18U		/* one read: 256 KiB */
#define READ_BLOCKS (READER_BUF_BYTES / US_BLOCK_BYTES)
#define SLICE_BLOCKS 256U
/* Unanswered ones; the ship leaves room for eight. */
#define QUESTIONS 6U
#define HOT_BLOCKS 1024U		/* compared as part of one point */
#define IDLE_PASSES_MAX 16U

_Static_assert(HOT_BLOCKS <= WIRE_MAX_VERIFY_BLOCKS, "one question");
_Static_assert(SLICE_BLOCKS <= HOT_BLOCKS, "room for both");
_Static_assert(1U << (CELL_SHIFT_MAX - US_BLOCK_SHIFT) <= READ_BLOCKS,
	       "a cell is one read");

/* A block whose content is known. */
struct asked {
	uint64_t block;
	struct fp fp;
};

struct question {
	bool is_void;			/* its answer says nothing any more */
	uint64_t seq;			/* this point only; 0: whichever */
	uint32_t n;
	struct asked blocks[HOT_BLOCKS];
};

/* A block of a cell that does not come to rest. */
struct hot {
	uint64_t block;
	bool known;
	struct fp fp;			/* as staged last */
};

struct verify {
	struct verify_config cfg;
	struct fp_ctx *fp;
	uint32_t cell_shift;		/* log2 of its bytes */
	uint32_t tracking_shift;	/* a tracking block's cells */
	uint64_t first_cell;		/* the number of cell 0, on the device */
	uint64_t n_blocks, n_cells;	/* blocks: of the device, to the end of
					 * what is compared */
	uint64_t device_bytes;
	struct bitmap left, todo;
	uint64_t scan;
	bool settled;			/* since this pass began */
	bool asked_fresh, gave_up;
	uint64_t left_at_begin;		/* of the pass */
	uint32_t idle_passes;
	struct question questions[QUESTIONS];	/* a ring, in order */
	uint32_t first_question, n_questions;
	struct hot hot[HOT_BLOCKS];	/* by block; whole cells */
	uint32_t n_hot;
	uint64_t hot_scan;
	uint64_t progress;
	struct verify_report report;
};

static inline uint64_t cell_first(const struct verify *v, uint64_t cell)
{
	return (v->first_cell + cell) << (v->cell_shift - US_BLOCK_SHIFT);
}

static inline uint64_t cell_of(const struct verify *v, uint64_t block)
{
	return (block >> (v->cell_shift - US_BLOCK_SHIFT)) - v->first_cell;
}

static inline uint64_t cells_end(const struct verify *v, uint64_t cell)
{
	return MIN(cell_first(v, cell + 1), v->n_blocks);
}

/* verify_judge.c: an answer to q about the point seq, q->n records. */
void verify_judge(struct verify *v, const struct question *q, uint64_t seq,
		  const uint8_t *held);
/* Bytes of blocks [first, end); the last block may reach past the device. */
uint64_t verify_blocks_bytes(const struct verify *v, uint64_t first,
			     uint64_t end);

#endif
