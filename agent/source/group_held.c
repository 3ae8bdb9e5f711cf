// SPDX-License-Identifier: Apache-2.0
/*
 * The steps of an attempt that is held, see source/group_held.h:
 *
 *	all look -> prepare -> rounds, writing back in between, until each
 *	member's was small -> take -> rounds until none conflicts -> end
 *
 * Invariants:
 * - Who leads does a step while the others wait at the meeting after it: so
 *   nobody makes a held round before all are held, and nobody says what his
 *   point is before it is known how long the hold was in force.
 * - Whatever way the one who leads goes out, he ends the hold before he does
 *   anything else.
 * - Once it is taken, nobody waits for a peer, but for the other members.
 *
 * Each member's own thread.
 */
#include "source/group_held.h"

#include <errno.h>

#define SMALL_ROUNDS_MAX 20U

/* After something that may have failed for one: goes it on for all? */
static int settle(struct held *h, bool failed)
{
	int r = h->ops->vote(h->arg, failed ? GROUP_AGAIN : GROUP_GO);

	return r == GROUP_AGAIN ? HELD_REFUSED : r;
}

static int one_step(struct held *h, bool mine,
		    int (*step)(void *arg, struct err *why))
{
	struct err why = ERR_INIT;
	int r = mine ? step(h->arg, &why) : 0;

	if (r == -ECANCELED)
		return GROUP_GIVE_UP;
	if (r)
		h->ops->note(h->arg, &why);
	return settle(h, r != 0);
}

static int rounds_until_small(struct held *h)
{
	bool is_small = false;
	unsigned int n;
	int r;

	for (n = 1;; n++) {
		r = h->ops->round(h->arg, false, &is_small);
		if (r != GROUP_GO && r != GROUP_AGAIN)
			return r;
		r = h->ops->vote(h->arg, is_small || n >= SMALL_ROUNDS_MAX
						 ? GROUP_GO : GROUP_AGAIN);
		if (r != GROUP_AGAIN)
			return r;
		r = one_step(h, h->leads, h->ops->again);
		if (r)
			return r;
	}
}

static int held_rounds(struct held *h)
{
	bool is_small;
	int r;

	for (;;) {
		r = h->ops->round(h->arg, true, &is_small);
		if (r != GROUP_GO && r != GROUP_AGAIN)
			return r;
		r = h->ops->vote(h->arg, (enum group_vote)r);
		if (r != GROUP_AGAIN)
			return r;
		/* The limit may run out during a round: what counts is where
		 * its flip was. */
		r = h->ops->vote(h->arg, h->leads && !h->ops->is_held(h->arg)
						 ? GROUP_AGAIN : GROUP_GO);
		if (r != GROUP_GO)
			return r == GROUP_AGAIN ? HELD_LATE : r;
	}
}

static int until_end(struct held *h)
{
	int r = one_step(h, true, h->ops->look);

	if (!r)
		r = one_step(h, h->leads, h->ops->prepare);
	if (!r)
		r = rounds_until_small(h);
	if (!r)
		r = one_step(h, h->leads, h->ops->take);
	return r ? r : held_rounds(h);
}

int held_attempt(struct held *h)
{
	int all, r = until_end(h);

	if (h->leads)
		h->ops->end(h->arg);
	if (r != GROUP_GO && r != HELD_LATE)
		return r;
	all = h->ops->vote(h->arg, h->ops->is_stale(h->arg) ? GROUP_AGAIN
							    : GROUP_GO);
	if (all != GROUP_GO && all != GROUP_AGAIN)
		return all;
	h->is_stale = all == GROUP_AGAIN;
	return r;
}
