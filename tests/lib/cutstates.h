/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CUTSTATES_H
#define TESTS_LIB_CUTSTATES_H

#include "cutlab.h"

/*
 * The states that a power cut at this moment may leave, each judged once.
 *
 * A moment just before a sync stands for all moments since the sync before
 * it: until a sync, what may be found only grows.
 */
struct cut_plan {
	/* All combinations of what is not SQLite's, up to so many a moment;
	 * beyond that as many at random. */
	uint64_t max_states;
	unsigned int n_random;		/* and so many of everything */
	bool catalog_too;		/* each prefix and gap of SQLite's writes */
	bool brief;			/* only all, nothing, names; the random */
};

struct cut_tally {
	uint64_t moments, exhausted;	/* of them, those in full */
	uint64_t states;		/* made */
	uint64_t judged;		/* that were not there before */
	uint64_t largest;		/* combinations in one exhausted moment */
	uint64_t *seen;			/* open hash set */
	uint64_t n_seen, seen_cap;
	struct rnd_seeded rnd;
	char last[160];			/* the state judged last, in words */
};

void cut_tally_init(struct cut_tally *t, uint64_t seed);
void cut_tally_free(struct cut_tally *t);

/* False: a state broke a promise; c->why, t->last. */
bool cut_states(struct cutlab *c, const struct simfs *fs,
		const struct cut_promise *p, const struct cut_plan *plan,
		struct cut_tally *t);
/* One at random, into *to. */
void cut_random_state(struct simfs *to, const struct simfs *fs,
		      struct rnd_seeded *rnd);

#endif
