/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_GROUP_H
#define SOURCE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Volumes whose points are of one moment. Each member has a worker of its own,
 * and they meet: nobody flips before all have come, nobody reads on before the
 * flip, nobody commits before every cut has converged.
 *
 * A meeting waits without a bound, since a member may have a terabyte to read;
 * who waits goes on serving his session. Any thread.
 */
struct group;

#define GROUP_MEMBERS_MAX 32
#define GROUP_LABEL_MAX 64

enum group_vote {			/* the worst one counts for all */
	GROUP_GO = 0,
	GROUP_AGAIN = 1,
	GROUP_GIVE_UP = 2,
};

/* What the members of one attempt have in common. */
struct group_attempt {
	uint64_t seq;			/* of the group point it may become */
	bool wanted;			/* somebody waits for it, or owed */
	bool numbered;			/* by a member: commits may have left */
	bool quiesce;			/* all members' writers are to be held */
	int kind;			/* of the point, as its members call it;
					 * of one that is numbered */
	char label[GROUP_LABEL_MAX + 1];
	int64_t flip_wall_ns;		/* of the latest flip */
	uint64_t flip_mono_ns, flipped_mono_ns;	/* before and after it */
};

struct group *group_new(int n_members, uint64_t last_seq);
void group_free(struct group *g);
/*
 * The member of this number comes, to be woken through wake, by any thread. 0;
 * -EBUSY: it is there already. There is no attempt before all have joined.
 */
int group_join(struct group *g, int member, void (*wake)(void *arg),
	       void *arg);
/* An attempt under way comes to nothing; nobody waits for it any more. */
void group_part(struct group *g, int member);

/*
 * The member could take part. True when an attempt has begun that it is to
 * take part in: then it must come to the end of it with group_leave.
 */
bool group_ready(struct group *g, int member);
/* Not any more; an attempt under way comes to nothing. */
void group_unready(struct group *g, int member);
void group_leave(struct group *g, int member);
/* Members for whom the others wait: a bit each. Those that are not ready; in an
 * attempt, those that have not come to the meeting, or whose part of the point
 * is not durable. */
uint32_t group_missing(struct group *g);
/* Is an attempt wanted at once? */
bool group_is_wanted(struct group *g);
/*
 * It is, by somebody who waits for this member: until one begins. Of a member
 * in an attempt nothing: that is the one, or what comes after it is wanted then.
 */
void group_want(struct group *g, int member, bool quiesce);
/* What the members have in common so far. By a member, in its attempt. */
void group_look(struct group *g, struct group_attempt *a);
/* Has somebody given up the attempt? It is no use to go on. */
bool group_is_off(struct group *g);
/* By a member, in its attempt: who wants a held point is told why there is
 * none. */
void group_refuse(struct group *g, const struct err *why);

struct group_meeting {
	enum group_vote vote;
	/* By the last one to come, before the others go on; may be NULL. 0, or
	 * negative errno: all give up. */
	int (*action)(void *arg, struct group_attempt *a);
	/* Some waiting, and what must not be left undone meanwhile. 0, or
	 * negative errno: this member gives up, and so do all. */
	int (*wait)(void *arg);
	void *arg;
};

/* What all have voted, with a set to what they have in common; -ECANCELED when
 * another gave up; what wait or action returned. */
int group_meet(struct group *g, int member, const struct group_meeting *m,
	       struct group_attempt *a);

/*
 * A point of the group now. Returns when every member's is durable: then *out
 * is its attempt. -ETIMEDOUT; -ESHUTDOWN (see group_cancel); what progress
 * returned; what group_refuse was given, which alone is in err.
 */
struct group_order {
	const char *label;		/* may be NULL */
	bool quiesce;			/* a held one or none */
	uint64_t timeout_ns;
	int (*progress)(void *arg);	/* every now and then; may be NULL */
	void *arg;
};
int group_sync(struct group *g, const struct group_order *order,
	       struct group_attempt *out, struct err *err);
/* Whoever waits in group_sync returns soon, now and until somebody joins. */
void group_cancel(struct group *g);
/* By a member, in its attempt: its part of the point is durable. */
void group_durable(struct group *g, int member);

#endif
