/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_WORDS_H
#define TRACKER_TRACKER_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"

/*
 * The collector's half of the marking protocol, on words that somebody else
 * sets at the same moment (BPF programs through shared memory, or a model in a
 * test). Every access to shared words is sequentially consistent.
 */
struct tracker_words {
	uint64_t *flips;		/* of the group; bit 0 = active one */
	uint64_t *leaf[2];
	uint64_t *summary[2];
	uint64_t *slots;
	uint64_t *pending;		/* outlives the process; no summary */
	uint64_t n_blocks;
	uint64_t n_leaf_words;
	uint64_t n_summary_words;
	uint64_t n_slots;		/* words of them */
	bool bio_sets;			/* slots are sets of bios: us_bio_set */
	/* Test builds only: called between the steps of a collect. */
	void (*step)(void *arg, const char *where);
	void *step_arg;
};

void words_flip(struct tracker_words *w);
/* The retired generation into pending and fresh; then what of fresh is still
 * in flight into carried. */
void words_collect(struct tracker_words *w, struct bitmap *fresh,
		   struct bitmap *carried);
bool words_is_redirtied(const struct tracker_words *w, uint64_t block);
/* As a new process: retired generation into pending whatever its summary
 * says, then pending into out. */
void words_adopt(struct tracker_words *w, struct bitmap *out);
void words_pending_clear(struct tracker_words *w, uint64_t word,
			 uint64_t bits);
void words_pending_set_all(struct tracker_words *w);

/* Sizes in words for a volume of n_blocks. */
uint64_t words_leaf_count(uint64_t n_blocks);
uint64_t words_summary_count(uint64_t n_blocks);

#endif
