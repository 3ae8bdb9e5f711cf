// SPDX-License-Identifier: Apache-2.0
/*
 * Bitmap with a summary level. Single-threaded; memory only.
 *
 * Invariants between calls:
 *  - bits at or beyond n_bits are clear in every word;
 *  - summary bit w is set exactly when word w is non-zero;
 *  - n_set is the number of set bits.
 *
 * A range costs one step per word, a walk one step per non-empty word plus
 * one per 4096 bits of bitmap.
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

static inline void summary_update(struct bitmap *bm, uint64_t w)
{
	if (bm->words[w])
		bm->summary[word_of(w)] |= mask_of(w);
	else
		bm->summary[word_of(w)] &= ~mask_of(w);
}

static inline uint64_t summary_words(const struct bitmap *bm)
{
	return word_of(bm->n_words - 1) + 1;
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
	if (!bm->words || !bm->summary) {
		bitmap_free(bm);
		return -ENOMEM;
	}
	return 0;
}

void bitmap_free(struct bitmap *bm)
{
	free(bm->words);
	free(bm->summary);
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
	bm->summary[word_of(w)] |= mask_of(w);
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
	summary_update(bm, w);
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

void bitmap_set_all(struct bitmap *bm)
{
	uint64_t w;

	memset(bm->words, 0xff, bm->n_words * sizeof(uint64_t));
	bm->words[bm->n_words - 1] = valid_mask(bm, bm->n_words - 1);
	memset(bm->summary, 0, summary_words(bm) * sizeof(uint64_t));
	for (w = 0; w + WORD_BITS <= bm->n_words; w += WORD_BITS)
		bm->summary[word_of(w)] = ALL_BITS;
	for (; w < bm->n_words; w++)
		bm->summary[word_of(w)] |= mask_of(w);
	bm->n_set = bm->n_bits;
}

void bitmap_clear_all(struct bitmap *bm)
{
	uint64_t s, bits;

	for (s = 0; s < summary_words(bm); s++) {
		for (bits = bm->summary[s]; bits; bits &= bits - 1) {
			uint64_t w = s * WORD_BITS +
				     (uint64_t)__builtin_ctzll(bits);

			bm->words[w] = 0;
		}
		bm->summary[s] = 0;
	}
	bm->n_set = 0;
}

int bitmap_next_word(const struct bitmap *bm, uint64_t w, uint64_t *out)
{
	uint64_t s, bits;

	if (w >= bm->n_words)
		return 1;
	s = word_of(w);
	bits = bm->summary[s] & (ALL_BITS << (w % WORD_BITS));
	while (!bits) {
		if (++s >= summary_words(bm))
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
