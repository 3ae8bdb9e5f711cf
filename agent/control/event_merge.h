/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_EVENT_MERGE_H
#define CONTROL_EVENT_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/event.h"

/* An event as it is kept. Texts end in a NUL; "" is none. */
struct event_record {
	uint64_t id;			/* rises by one; goes on over restarts */
	int64_t time_wall_ns;
	int64_t since_wall_ns;		/* 0: none */
	uint64_t count;			/* how many it stands for */
	char slug[32];
	char role[12];
	char object[136];
	char reason[40];
	char message[EVENT_MESSAGE_MAX];
};

/*
 * Keeps what happens over and over from filling the log. Of events that are
 * alike (slug, role, object and reason) the first MERGE_BURST within a window
 * pass; later ones are held, and told of by one event with their count at the
 * end of the window. While it goes on the window doubles, up to a limit. What
 * is over MERGE_TOTAL_BURST and MERGE_TOTAL_PER_S in all, or over the number of
 * kinds that are told apart, is counted together.
 *
 * Calculates only; its owner has the lock and the clock.
 */
#define MERGE_KINDS 128
#define MERGE_BURST 5
#define MERGE_WINDOW_NS (60 * NSEC_PER_SEC)
#define MERGE_WINDOW_MAX_NS (960 * NSEC_PER_SEC)
#define MERGE_TOTAL_BURST 256
#define MERGE_TOTAL_PER_S 1

struct merge_kind {
	bool used;
	uint64_t start_ns, window_ns;
	unsigned int passed;		/* in this window */
	uint64_t held;
	int64_t first_held_wall_ns;
	struct event_record last;	/* names the kind; the newest of it */
};

struct event_merge {
	struct merge_kind kinds[MERGE_KINDS];
	uint64_t tokens, filled_ns;	/* of the bound on all */
	struct merge_kind rest;		/* what is counted together */
};

void event_merge_init(struct event_merge *m, uint64_t now_ns);
/* Does it pass? If not, it is held. */
bool event_merge_take(struct event_merge *m, const struct event_record *r,
		      uint64_t now_ns);
/* A held one whose window is over, or any held one when all is set. False
 * when there is none. */
bool event_merge_due(struct event_merge *m, uint64_t now_ns, bool all,
		     struct event_record *out);
/* When the next may be due; UINT64_MAX: nothing is held. */
uint64_t event_merge_next_ns(const struct event_merge *m);

#endif
