/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_MEM_H
#define TRACKER_TRACKER_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "tracker/tracker.h"
#include "tracker/tracker_words.h"

/*
 * The tracker in memory, for tests: the collector is the real one, the marking
 * side is what the BPF programs do, cut into the steps between which anything
 * else may happen. The words outlive the tracker, as pinned maps do.
 */
struct tracker_mem_words {
	struct tracker_words w;
	uint64_t flips;
	uint64_t n_slots;
	struct tracker_losses losses;	/* what a test wants reported */
};

struct tracker_mem_words *tracker_mem_words_new(uint64_t n_blocks,
						uint64_t n_slots);
void tracker_mem_words_free(struct tracker_mem_words *m);

/* A tracker over words that may have had one before (then adopted is set). */
int tracker_mem_open(struct tracker_mem_words *m, uint32_t block_shift,
		     bool adopted, struct tracker **out);

/*
 * One request on its way through the issue program. Call mark_step until it
 * gives false; only then may its data begin to reach the medium.
 */
struct mark {
	uint64_t slot, first, count;
	uint64_t old, flips;
	int step;
	uint64_t block;
	/* A guard switched off, for tests that must fail then. */
	bool without_reread;
};

bool mark_step(struct tracker_mem_words *m, struct mark *k);
void mark_complete(struct tracker_mem_words *m, uint64_t slot);

#endif
