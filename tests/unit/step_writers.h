/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_STEP_WRITERS_H
#define TESTS_UNIT_STEP_WRITERS_H

/*
 * Writers of dependent writes that go on step by step, by lot from a seed,
 * between any two steps of what is tested: each marks in the in-memory tracker,
 * lands its block sector by sector, completes, and only then goes to its next
 * place. Writer w writes n to its first place, then to its second, ...; then
 * n + 1. Include after tap.h.
 */
#include <string.h>

#include "base/rnd.h"
#include "tracker/tracker_mem.h"
#include "wire/unit.h"

#define BLOCK US_BLOCK_BYTES
#define WRITERS 2U
#define PLACES 3U			/* of a writer, one block each */
#define TAGS 4U				/* two for each writer */

struct writer {
	uint64_t n;
	unsigned int place;
	enum { W_IDLE, W_MARKING, W_FLYING, W_LANDED } at;
	struct mark mark;
	unsigned int sectors;		/* of the block that have landed */
};

struct writers {
	struct rnd_seeded rnd;		/* of the whole world */
	uint8_t *device;
	struct tracker_mem_words *words;
	unsigned int apart;		/* blocks from place to place */
	uint32_t shift;			/* of the tracking block */
	struct writer w[WRITERS];
	bool rest;			/* they begin no new n */
	bool same;			/* ... and write the same for ever */
	unsigned int missed_one_in;	/* of the completions; 0: none is */
	bool without_reread;		/* of their marks */
};

static inline uint64_t writers_below(struct writers *ws, uint64_t n)
{
	return rnd_seeded_below(&ws->rnd, n);
}

static inline bool writers_chance(struct writers *ws, unsigned int one_in)
{
	return !writers_below(ws, one_in);
}

static inline uint64_t writer_block(const struct writers *ws, unsigned int w,
				    unsigned int place)
{
	return 5 + w + place * ws->apart;
}

static inline void writer_step(struct writers *ws, unsigned int i)
{
	struct writer *w = &ws->w[i];
	uint64_t block = writer_block(ws, i, w->place);

	switch (w->at) {
	case W_IDLE:
		if (ws->rest && w->place == 0)
			return;
		if (!ws->same || !w->n)
			w->n += w->place == 0;
		w->mark = (struct mark){
			.slot = i * 2 + writers_below(ws, 2),
			.first = block >> (ws->shift - US_BLOCK_SHIFT),
			.count = 1,
			.without_reread = ws->without_reread,
		};
		w->sectors = 0;
		w->at = W_MARKING;
		return;
	case W_MARKING:
		if (!mark_step(ws->words, &w->mark))
			w->at = W_FLYING;
		return;
	case W_FLYING:
		if (w->sectors == BLOCK / 512)
			w->at = W_LANDED;
		else
			memcpy(ws->device + block * BLOCK + w->sectors++ * 512,
			       &w->n, sizeof(w->n));
		return;
	case W_LANDED:
		if (!ws->missed_one_in ||
		    !writers_chance(ws, ws->missed_one_in))
			mark_complete(ws->words, w->mark.slot);
		w->place = (w->place + 1) % PLACES;
		w->at = W_IDLE;
		return;
	}
}

/* Up to three steps of whichever, one time in so many. */
static inline void writers_move(struct writers *ws, unsigned int one_in)
{
	uint64_t n = writers_chance(ws, one_in) ? writers_below(ws, 4) : 0;

	while (n--)
		writer_step(ws, (unsigned int)writers_below(ws, WRITERS));
}

#endif
