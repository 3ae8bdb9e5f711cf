// SPDX-License-Identifier: Apache-2.0
/*
 * Bitmap with two summary levels. Single-threaded; memory only.
 *
 * Invariants between calls:
 *  - bits at or beyond n_bits are clear in every word;
 *  - summary bit w is set exactly when word w is non-zero;
 *  - top bit s is set exactly when summary word s is non-zero;
 *  - n_set is the number of set bits.
 *
 * A range costs one step per word, a walk one step per non-empty word plus
 * one per 262,144 bits of bitmap.
 */
#include "base/bitmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64U
#define ALL_BITS UINT64_MAX

static inline uint64_t word_of(uint64_t bit)
{
	return bit / WORD_BITS;
}

static inline uint64_t mask_of(uint64_t bit)
{
	return 1ULL << (bit % WORD_BITS);
}

/* Bits of word w that exist. */
static inline uint64_t valid_mask(const struct bitmap *bm, uint64_t w)
{
	uint64_t tail = bm->n_bits % WORD_BITS;

	return tail && w == bm->n_words - 1 ? (1ULL << tail) - 1 : ALL_BITS;
}

/* The part of word w that [first, last] covers; w is inside that range. */
static inline uint64_t range_mask(uint64_t w, uint64_t first, uint64_t last)
{
	uint64_t mask = ALL_BITS;

	if (w == word_of(first))
		mask <<= first % WORD_BITS;
	if (w == word_of(last))
		mask &= ALL_BITS >> (WORD_BITS - 1 - last % WORD_BITS);
	return mask;
}

/* Word w is not empty any more. */
static inline void summary_set(struct bitmap *bm, uint64_t w)
{
	uint64_t s = word_of(w);

	bm->summary[s] |= mask_of(w);
	bm->top[word_of(s)] |= mask_of(s);
}

static inline void summary_clear(struct bitmap *bm, uint64_t w)
{
	uint64_t s = word_of(w);

	bm->summary[s] &= ~mask_of(w);
	if (!bm->summary[s])
		bm->top[word_of(s)] &= ~mask_of(s);
}

static inline uint64_t summary_words(const struct bitmap *bm)
{
	return word_of(bm->n_words - 1) + 1;
}

static inline uint64_t top_words(const struct bitmap *bm)
{
	return word_of(summary_words(bm) - 1) + 1;
}

int bitmap_init(struct bitmap *bm, uint64_t n_bits)
{
	memset(bm, 0, sizeof(*bm));
	if (!n_bits)
		return -EINVAL;
	if (n_bits > SIZE_MAX - WORD_BITS)
		return -ENOMEM;
	bm->n_bits = n_bits;
	bm->n_words = word_of(n_bits - 1) + 1;
	/* calloc: untouched parts of a huge map cost no memory. */
	bm->words = calloc(bm->n_words, sizeof(uint64_t));
	bm->summary = calloc(summary_words(bm), sizeof(uint64_t));
	bm->top = calloc(top_words(bm), sizeof(uint64_t));
	if (!bm->words || !bm->summary || !bm->top) {
		bitmap_free(bm);
		return -ENOMEM;
	}
	return 0;
}

uint64_t bitmap_memory_bytes(uint64_t n_bits)
{
	struct bitmap bm = { .n_bits = n_bits };

	if (!n_bits)
		return 0;
	bm.n_words = word_of(n_bits - 1) + 1;
	return (bm.n_words + summary_words(&bm) + top_words(&bm)) *
	       sizeof(uint64_t);
}

void bitmap_free(struct bitmap *bm)
{
	free(bm->words);
	free(bm->summary);
	free(bm->top);
	memset(bm, 0, sizeof(*bm));
}

bool bitmap_test(const struct bitmap *bm, uint64_t bit)
{
	assert(bit < bm->n_bits);
	return bm->words[word_of(bit)] & mask_of(bit);
}

unsigned int bitmap_or_word(struct bitmap *bm, uint64_t w, uint64_t bits)
{
	uint64_t fresh;
	unsigned int n;

	assert(w < bm->n_words);
	fresh = bits & valid_mask(bm, w) & ~bm->words[w];
	if (!fresh)
		return 0;
	n = (unsigned int)__builtin_popcountll(fresh);
	bm->words[w] |= fresh;
	summary_set(bm, w);
	bm->n_set += n;
	return n;
}

void bitmap_andnot_word(struct bitmap *bm, uint64_t w, uint64_t bits)
{
	uint64_t gone;

	assert(w < bm->n_words);
	gone = bits & bm->words[w];
	if (!gone)
		return;
	bm->words[w] &= ~gone;
	bm->n_set -= (unsigned int)__builtin_popcountll(gone);
	if (!bm->words[w])
		summary_clear(bm, w);
}

void bitmap_set(struct bitmap *bm, uint64_t bit)
{
	assert(bit < bm->n_bits);
	bitmap_or_word(bm, word_of(bit), mask_of(bit));
}

void bitmap_clear(struct bitmap *bm, uint64_t bit)
{
	assert(bit < bm->n_bits);
	bitmap_andnot_word(bm, word_of(bit), mask_of(bit));
}

static void assert_inside(const struct bitmap *bm, uint64_t first,
			  uint64_t count)
{
	assert(first <= bm->n_bits && count <= bm->n_bits - first);
	(void)bm;
	(void)first;
	(void)count;
}

void bitmap_set_range(struct bitmap *bm, uint64_t first, uint64_t count)
{
	uint64_t last = first + count - 1;
	uint64_t w;

	assert_inside(bm, first, count);
	if (!count)
		return;
	for (w = word_of(first); w <= word_of(last); w++)
		bitmap_or_word(bm, w, range_mask(w, first, last));
}

void bitmap_clear_range(struct bitmap *bm, uint64_t first, uint64_t count)
{
	uint64_t last = first + count - 1;
	uint64_t w = word_of(first);

	assert_inside(bm, first, count);
	if (!count)
		return;
	/* Through the summary: clearing what is empty already is cheap. */
	while (bitmap_next_word(bm, w, &w) == 0 && w <= word_of(last)) {
		bitmap_andnot_word(bm, w, range_mask(w, first, last));
		w++;
	}
}

static void fill(uint64_t *words, uint64_t n_bits)
{
	memset(words, 0xff, n_bits / WORD_BITS * sizeof(uint64_t));
	if (n_bits % WORD_BITS)
		words[word_of(n_bits)] = mask_of(n_bits) - 1;
}

void bitmap_set_all(struct bitmap *bm)
{
	fill(bm->words, bm->n_bits);
	fill(bm->summary, bm->n_words);
	fill(bm->top, summary_words(bm));
	bm->n_set = bm->n_bits;
}

void bitmap_clear_all(struct bitmap *bm)
{
	uint64_t w = 0, s;

	while (!bitmap_next_word(bm, w, &w)) {
		s = word_of(w);
		for (; bm->summary[s]; bm->summary[s] &= bm->summary[s] - 1)
			bm->words[s * WORD_BITS + (uint64_t)
				  __builtin_ctzll(bm->summary[s])] = 0;
		bm->top[word_of(s)] &= ~mask_of(s);
		w = (s + 1) * WORD_BITS;
	}
	bm->n_set = 0;
}

/* First non-empty summary word at or after s: 0 and *out, or 1. */
static int next_summary(const struct bitmap *bm, uint64_t s, uint64_t *out)
{
	uint64_t t = word_of(s), bits;

	if (s >= summary_words(bm))
		return 1;
	bits = bm->top[t] & (ALL_BITS << (s % WORD_BITS));
	while (!bits) {
		if (++t >= top_words(bm))
			return 1;
		bits = bm->top[t];
	}
	*out = t * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	return 0;
}

int bitmap_next_word(const struct bitmap *bm, uint64_t w, uint64_t *out)
{
	uint64_t s, bits;

	if (w >= bm->n_words)
		return 1;
	s = word_of(w);
	bits = bm->summary[s] & (ALL_BITS << (w % WORD_BITS));
	if (!bits) {
		if (next_summary(bm, s + 1, &s))
			return 1;
		bits = bm->summary[s];
	}
	*out = s * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	return 0;
}

/* First clear bit in [from, limit), or limit. */
static uint64_t next_clear(const struct bitmap *bm, uint64_t from,
			   uint64_t limit)
{
	uint64_t w = word_of(from);
	uint64_t holes;

	if (from >= limit)
		return limit;
	holes = ~bm->words[w] & (ALL_BITS << (from % WORD_BITS));
	while (!holes) {
		if (++w > word_of(limit - 1))
			return limit;
		holes = ~bm->words[w];
	}
	from = w * WORD_BITS + (uint64_t)__builtin_ctzll(holes);
	return from < limit ? from : limit;
}

int bitmap_next_run(const struct bitmap *bm, uint64_t from, uint64_t max_count,
		    uint64_t *first, uint64_t *count)
{
	uint64_t w, bits, start, limit;

	if (from >= bm->n_bits || !max_count)
		return 1;
	w = word_of(from);
	bits = bm->words[w] & (ALL_BITS << (from % WORD_BITS));
	if (!bits) {
		if (bitmap_next_word(bm, w + 1, &w) != 0)
			return 1;
		bits = bm->words[w];
	}
	start = w * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	limit = max_count < bm->n_bits - start ? start + max_count : bm->n_bits;
	*first = start;
	*count = next_clear(bm, start + 1, limit) - start;
	return 0;
}
