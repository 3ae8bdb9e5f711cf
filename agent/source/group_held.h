/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_GROUP_HELD_H
#define SOURCE_GROUP_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "source/group.h"

/*
 * One member's steps through an attempt whose point is made while the writers
 * of all members are held. One hold for all of them, by the member who leads;
 * the others meet him after each step of his.
 */
struct held_ops {
	/* What this member needs to be held; 0, or why it cannot be. */
	int (*look)(void *arg, struct err *why);
	/*
	 * Of who leads. 0, or why it came to nothing; -ECANCELED: told to wait
	 * no longer, which is nobody's failure.
	 */
	int (*prepare)(void *arg, struct err *why);	/* all have looked */
	int (*again)(void *arg, struct err *why);
	int (*take)(void *arg, struct err *why);
	bool (*is_held)(void *arg);
	/* Lets go, if anything was held; always, and once. */
	void (*end)(void *arg);
	/* Of everybody. A round: GROUP_GO when nothing is left to be read,
	 * GROUP_AGAIN; else as vote. *is_small: the next one would be short. */
	int (*round)(void *arg, bool is_held, bool *is_small);
	/* As volume_group_vote. */
	int (*vote)(void *arg, enum group_vote vote);
	/* After the last flip: is what it needed something else by now? */
	bool (*is_stale)(void *arg);
	/* Why one of them could not. */
	void (*note)(void *arg, const struct err *why);
};

struct held {
	const struct held_ops *ops;
	void *arg;
	bool leads;
	bool is_stale;			/* of any member, by the end */
};

/* Beside those of enum group_vote and negative errno. */
enum {
	HELD_REFUSED = 8,		/* noted why */
	HELD_LATE = 9,			/* with conflicts to the end */
};

/*
 * GROUP_GO: every member's last round, of one flip, has left nothing; the hold
 * has ended, is_stale is set, and what the hold was can be asked. HELD_LATE:
 * likewise, but there is no cut. HELD_REFUSED: nothing is held. All members
 * have the same of these. Else what round or vote returned: the attempt is
 * over for all, GROUP_GIVE_UP or negative errno.
 */
int held_attempt(struct held *h);

#endif
