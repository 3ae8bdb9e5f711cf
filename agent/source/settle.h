/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_SETTLE_H
#define SOURCE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/*
 * Is any write from before the tracking still under way? The kernel is asked
 * whether a write is under way at all; one that says no may be wrong: it adds
 * up counters of each processor one after the other, and a driver has had a
 * request for a moment before it is counted. So it must have said no twice,
 * this long apart. What it says in between does not matter: a write from
 * before would have had to be overlooked both times.
 */
#define SETTLE_NS NSEC_PER_SEC

struct settle {
	bool has_first;
	uint64_t first_ns;		/* when it said no for the first time */
};

/* quiet: what it said at now. True: they are through. */
static inline bool settle_look(struct settle *s, bool quiet, uint64_t now_ns)
{
	if (!quiet)
		return false;
	if (!s->has_first)
		*s = (struct settle){ .has_first = true, .first_ns = now_ns };
	return now_ns - s->first_ns >= SETTLE_NS;
}

#endif
