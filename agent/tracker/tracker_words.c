// SPDX-License-Identifier: Apache-2.0
/*
 * Flip and collect. The order of the steps is the protocol; each was needed by
 * a counterexample of the model (docs/consistency.md):
 *
 *   flip; per summary word: exchange it with 0; per leaf word it names: load,
 *   OR what was seen into pending, clear exactly what was seen; after all of
 *   them, look at the in-flight slots.
 *
 * - pending is written before the leaf is cleared: killed in between, the
 *   marks are in both, never in none.
 * - exactly the bits seen are cleared: a plain exchange would hold marks in a
 *   register of a process that may die.
 * - slots are looked at after the marks: a write whose mark was collected and
 *   whose slot is clear has landed before the block is read.
 *
 * One thread per volume calls this; the words are shared with the marker.
 */
#include "tracker/tracker_words.h"

#include <string.h>

#include "tracker_abi.h"

#define BITS_PER_WORD 64U

static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void step(struct tracker_words *w, const char *where)
{
	if (w->step)
		w->step(w->step_arg, where);
}

uint64_t words_leaf_count(uint64_t n_blocks)
{
	return n_blocks / BITS_PER_WORD + (n_blocks % BITS_PER_WORD != 0);
}

uint64_t words_summary_count(uint64_t n_blocks)
{
	return words_leaf_count(words_leaf_count(n_blocks));
}

void words_flip(struct tracker_words *w)
{
	__atomic_add_fetch(w->flips, 1, __ATOMIC_SEQ_CST);
}

static unsigned int retired(const struct tracker_words *w)
{
	return (unsigned int)((load(w->flips) + 1) & 1);
}

/* One leaf word: into pending, out of the leaf, in this order. */
static uint64_t take_leaf(struct tracker_words *w, unsigned int gen,
			  uint64_t word)
{
	uint64_t bits = load(&w->leaf[gen][word]);

	if (!bits)
		return 0;
	step(w, "leaf-loaded");
	__atomic_or_fetch(&w->pending[word], bits, __ATOMIC_SEQ_CST);
	step(w, "pending-set");
	__atomic_and_fetch(&w->leaf[gen][word], ~bits, __ATOMIC_SEQ_CST);
	step(w, "leaf-cleared");
	return bits;
}

static void carry_slot(const struct tracker_words *w, uint64_t slot,
		       const struct bitmap *fresh, struct bitmap *carried)
{
	uint64_t first = us_slot_first(slot);
	uint64_t count = us_slot_count(slot);
	uint64_t end, run, n;

	if (first >= w->n_blocks)
		return;
	end = w->n_blocks;
	if (count < US_SLOT_COUNT_MAX && count < end - first)
		end = first + count;
	while (!bitmap_next_run(fresh, first, end - first, &run, &n)) {
		if (run >= end)
			return;
		if (n > end - run)
			n = end - run;
		bitmap_set_range(carried, run, n);
		first = run + n;
		if (first >= end)
			return;
	}
}

static void carry_word(const struct tracker_words *w, uint64_t i,
		       const struct bitmap *fresh, struct bitmap *carried)
{
	uint64_t slot = load(&w->slots[i]);

	if (slot & US_SLOT_LIVE)
		carry_slot(w, slot, fresh, carried);
}

/* Of a set of bios only the ranges are slots; the keys before them are not. */
static void carry_slots(const struct tracker_words *w,
			const struct bitmap *fresh, struct bitmap *carried)
{
	uint64_t i, way;

	if (!w->bio_sets) {
		for (i = 0; i < w->n_slots; i++)
			carry_word(w, i, fresh, carried);
		return;
	}
	for (i = US_BIO_WAYS; i < w->n_slots; i += US_BIO_SET_WORDS)
		for (way = 0; way < US_BIO_WAYS; way++)
			carry_word(w, i + way, fresh, carried);
}

void words_collect(struct tracker_words *w, struct bitmap *fresh,
		   struct bitmap *carried)
{
	unsigned int gen = retired(w);
	uint64_t s;

	for (s = 0; s < w->n_summary_words; s++) {
		uint64_t names = load(&w->summary[gen][s]);

		if (!names)
			continue;
		names = __atomic_exchange_n(&w->summary[gen][s], 0,
					    __ATOMIC_SEQ_CST);
		step(w, "summary-taken");
		while (names) {
			uint64_t word = s * BITS_PER_WORD +
					(uint64_t)__builtin_ctzll(names);

			names &= names - 1;
			bitmap_or_word(fresh, word, take_leaf(w, gen, word));
		}
	}
	step(w, "collected");
	if (!fresh->n_set)
		return;
	carry_slots(w, fresh, carried);
}

bool words_is_redirtied(const struct tracker_words *w, uint64_t block)
{
	unsigned int active = (unsigned int)(load(w->flips) & 1);

	return load(&w->leaf[active][block / BITS_PER_WORD]) >>
	       (block % BITS_PER_WORD) & 1;
}

void words_adopt(struct tracker_words *w, struct bitmap *out)
{
	unsigned int gen = retired(w);
	uint64_t i;

	/* The process before may have died between a summary word and its
	 * leaves, so the summary cannot be believed. */
	for (i = 0; i < w->n_summary_words; i++)
		(void)__atomic_exchange_n(&w->summary[gen][i], 0,
					  __ATOMIC_SEQ_CST);
	for (i = 0; i < w->n_leaf_words; i++)
		(void)take_leaf(w, gen, i);
	for (i = 0; i < w->n_leaf_words; i++) {
		uint64_t bits = load(&w->pending[i]);

		if (bits)
			bitmap_or_word(out, i, bits);
	}
}

void words_pending_clear(struct tracker_words *w, uint64_t word, uint64_t bits)
{
	__atomic_and_fetch(&w->pending[word], ~bits, __ATOMIC_SEQ_CST);
}

void words_pending_set_all(struct tracker_words *w)
{
	uint64_t i, tail = w->n_blocks % BITS_PER_WORD;

	for (i = 0; i < w->n_leaf_words; i++)
		__atomic_store_n(&w->pending[i], UINT64_MAX, __ATOMIC_SEQ_CST);
	if (tail)
		__atomic_store_n(&w->pending[w->n_leaf_words - 1],
				 (1ULL << tail) - 1, __ATOMIC_SEQ_CST);
}
