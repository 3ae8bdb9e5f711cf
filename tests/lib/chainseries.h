/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CHAINSERIES_H
#define TESTS_LIB_CHAINSERIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "causal.h"
#include "cutrig.h"

/*
 * Points made beside writers of causal chains, each judged. The pace of the
 * writers is looked for at which some cuts fail and most do not.
 */
#define CHAINSERIES_SMALL_BYTES (8U << 10)
/* Several requests on anything that splits, and no multiple of a chunk. */
#define CHAINSERIES_LARGE_BYTES ((1U << 20) + (20U << 10))

struct chainseries {
	const char *path;
	struct causal_layout layout;
	uint32_t points;		/* wanted */
	uint32_t seconds;		/* at most */
	bool until_wrong;		/* a control: an objection ends it */
	/* What came of it. */
	uint64_t judged, failed, objections, writes;
	char wrong[256];		/* the first objection */
	uint8_t *older;			/* the first slot of the first point */
};

/* Where chains of slots of that size (either of the two) lie. */
struct causal_layout chainseries_layout(uint32_t slot_bytes);

/* 0; or negative errno with err filled, and nothing is known of the points. */
int chainseries_run(struct cutrig *g, struct chainseries *s, struct err *err);

/*
 * After a run: does the oracle take the first slot of an older point with the
 * rest of a newer one, a state that never was once the chain has moved on?
 */
bool chainseries_takes_stitched(struct cutrig *g,
				const struct chainseries *s);
void chainseries_free(struct chainseries *s);

#endif
