// SPDX-License-Identifier: Apache-2.0
/*
 * In-memory tracker for tests. One thread: what runs at the same moment in
 * production is interleaved here step by step, so that a seed repeats it.
 */
#include "tracker/tracker_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tracker_abi.h"

struct mem_tracker {
	struct tracker t;
	struct tracker_mem_words *m;
};

struct tracker_mem_words *tracker_mem_words_new(uint64_t n_blocks,
						uint64_t n_slots)
{
	struct tracker_mem_words *m = calloc(1, sizeof(*m));
	unsigned int g;

	if (!m)
		return NULL;
	m->n_slots = n_slots;
	m->w.n_blocks = n_blocks;
	m->w.n_leaf_words = words_leaf_count(n_blocks);
	m->w.n_summary_words = words_summary_count(n_blocks);
	m->w.n_slots = n_slots;
	m->w.flips = &m->flips;
	for (g = 0; g < 2; g++) {
		m->w.leaf[g] = calloc(m->w.n_leaf_words, sizeof(uint64_t));
		m->w.summary[g] = calloc(m->w.n_summary_words,
					 sizeof(uint64_t));
	}
	m->w.slots = calloc(n_slots, sizeof(uint64_t));
	m->w.pending = calloc(m->w.n_leaf_words, sizeof(uint64_t));
	if (m->w.leaf[0] && m->w.leaf[1] && m->w.summary[0] &&
	    m->w.summary[1] && m->w.slots && m->w.pending)
		return m;
	tracker_mem_words_free(m);
	return NULL;
}

void tracker_mem_words_free(struct tracker_mem_words *m)
{
	unsigned int g;

	if (!m)
		return;
	for (g = 0; g < 2; g++) {
		free(m->w.leaf[g]);
		free(m->w.summary[g]);
	}
	free(m->w.slots);
	free(m->w.pending);
	free(m);
}

static struct tracker_words *words(struct tracker *t)
{
	return &((struct mem_tracker *)(void *)t)->m->w;
}

static int mem_flip(struct tracker *t, struct err *err)
{
	(void)err;
	words_flip(words(t));
	return 0;
}

static int mem_collect(struct tracker *t, struct bitmap *fresh,
		       struct bitmap *carried, struct err *err)
{
	(void)err;
	words_collect(words(t), fresh, carried);
	return 0;
}

static bool mem_is_redirtied(struct tracker *t, uint64_t block)
{
	return words_is_redirtied(words(t), block);
}

static int mem_adopt(struct tracker *t, struct bitmap *out, struct err *err)
{
	(void)err;
	words_adopt(words(t), out);
	return 0;
}

static void mem_pending_clear(struct tracker *t, uint64_t w, uint64_t bits)
{
	words_pending_clear(words(t), w, bits);
}

static int mem_pending_set_all(struct tracker *t, struct err *err)
{
	(void)err;
	words_pending_set_all(words(t));
	memset(&((struct mem_tracker *)(void *)t)->m->losses, 0,
	       sizeof(struct tracker_losses));
	return 0;
}

static int mem_losses(struct tracker *t, struct tracker_losses *out,
		      struct err *err)
{
	(void)err;
	*out = ((struct mem_tracker *)(void *)t)->m->losses;
	return 0;
}

static void mem_close(struct tracker *t, bool untrack)
{
	(void)untrack;
	free(t);
}

static const struct tracker_ops mem_ops = {
	.flip = mem_flip,
	.collect = mem_collect,
	.is_redirtied = mem_is_redirtied,
	.adopt = mem_adopt,
	.pending_clear = mem_pending_clear,
	.pending_set_all = mem_pending_set_all,
	.losses = mem_losses,
	.close = mem_close,
};

int tracker_mem_open(struct tracker_mem_words *m, uint32_t block_shift,
		     bool adopted, struct tracker **out)
{
	struct mem_tracker *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->m = m;
	t->t.ops = &mem_ops;
	t->t.n_blocks = m->w.n_blocks;
	t->t.block_shift = block_shift;
	t->t.adopted = adopted;
	*out = &t->t;
	return 0;
}

/* ---- the marking side ---- */

static void set_leaf(struct tracker_mem_words *m, const struct mark *k,
		     uint64_t b)
{
	m->w.leaf[k->flips & 1][b / 64] |= 1ULL << (b % 64);
}

static void set_summary(struct tracker_mem_words *m, const struct mark *k,
			uint64_t b)
{
	uint64_t word = b / 64;

	m->w.summary[k->flips & 1][word / 64] |= 1ULL << (word % 64);
}

enum { AT_SLOT, AT_FLIPS, AT_LEAF, AT_SUMMARY, AT_REREAD, AT_END };

bool mark_step(struct tracker_mem_words *m, struct mark *k)
{
	switch (k->step) {
	case AT_SLOT:
		k->old = m->w.slots[k->slot];
		m->w.slots[k->slot] = us_slot_pack(k->first, k->count);
		/* Its completion was lost: mark what it covered as well. The
		 * tests' requests are all of one size. */
		if (k->old & US_SLOT_LIVE) {
			struct mark again = { .slot = k->slot,
					      .first = us_slot_first(k->old),
					      .count = us_slot_count(k->old),
					      .step = AT_FLIPS };

			while (mark_step(m, &again))
				;
		}
		k->step = AT_FLIPS;
		return true;
	case AT_FLIPS:
		k->flips = m->flips;
		k->block = k->first;
		k->step = AT_LEAF;
		return true;
	case AT_LEAF:
		k->step = AT_SUMMARY;
		set_leaf(m, k, k->block);
		return true;
	case AT_SUMMARY:
		set_summary(m, k, k->block);
		k->block++;
		k->step = k->block < k->first + k->count ? AT_LEAF : AT_REREAD;
		return true;
	case AT_REREAD:
		k->step = AT_END;
		if (k->without_reread || m->flips == k->flips)
			return false;
		k->flips = m->flips;
		for (k->block = k->first; k->block < k->first + k->count;
		     k->block++) {
			set_leaf(m, k, k->block);
			set_summary(m, k, k->block);
		}
		return false;
	default:
		return false;
	}
}

void mark_complete(struct tracker_mem_words *m, uint64_t slot)
{
	m->w.slots[slot] = 0;
}
