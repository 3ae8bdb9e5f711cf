/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Plain (not atomic) bitmap with two summary levels: summary bit w is set when
 * word w is non-zero, top bit s when summary word s is, so that walking costs
 * time in proportion to what is set. One thread at a time.
 */
struct bitmap {
	uint64_t *words;
	uint64_t *summary;
	uint64_t *top;
	uint64_t n_bits;
	uint64_t n_words;
	uint64_t n_set;
};

/* All bits clear. -ENOMEM; -EINVAL when n_bits is 0. */
int bitmap_init(struct bitmap *bm, uint64_t n_bits);
void bitmap_free(struct bitmap *bm);
/* What one of so many bits takes, once all of it has been touched. */
uint64_t bitmap_memory_bytes(uint64_t n_bits);
bool bitmap_test(const struct bitmap *bm, uint64_t bit);
void bitmap_set(struct bitmap *bm, uint64_t bit);
void bitmap_clear(struct bitmap *bm, uint64_t bit);
/* Range must lie inside. */
void bitmap_set_range(struct bitmap *bm, uint64_t first, uint64_t count);
void bitmap_clear_range(struct bitmap *bm, uint64_t first, uint64_t count);
void bitmap_set_all(struct bitmap *bm);
void bitmap_clear_all(struct bitmap *bm);	/* cost: what is set */
/* OR bits of a 64-bit word (index w) in; returns how many were new. */
unsigned int bitmap_or_word(struct bitmap *bm, uint64_t w, uint64_t bits);
/* Clear these bits of word w. */
void bitmap_andnot_word(struct bitmap *bm, uint64_t w, uint64_t bits);
static inline uint64_t bitmap_word(const struct bitmap *bm, uint64_t w)
{
	return bm->words[w];
}
/* First non-zero word at or after w: 0 and *out, or 1 when there is none. */
int bitmap_next_word(const struct bitmap *bm, uint64_t w, uint64_t *out);
/*
 * First run of set bits at or after from, at most max_count long.
 * 0 and (*first, *count), or 1 when there is none.
 */
int bitmap_next_run(const struct bitmap *bm, uint64_t from, uint64_t max_count,
		    uint64_t *first, uint64_t *count);

#endif
