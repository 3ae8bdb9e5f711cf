/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_H
#define TRACKER_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bitmap.h"
#include "base/err.h"

/*
 * What a volume wrote, seen through a table of functions: the BPF programs in
 * production, an in-memory model in tests. Blocks here are tracking blocks.
 *
 * The order of a collect is the tracker's duty and is the heart of its
 * correctness (docs/consistency.md): flip; exchange the summary; per leaf word
 * load, OR what was seen into pending, clear exactly the bits seen; then look
 * at the in-flight registry. All calls come from the one thread that owns the
 * volume's cuts.
 */
struct tracker;

/* Since the last pending_set_all, whose consequence covers all before it. */
struct tracker_losses {
	uint64_t issue_misses;		/* no program ran at a begin: fatal to a cut */
	uint64_t complete_misses;	/* harmless, registry carries */
	uint64_t lost_completions;	/* slots found live at reuse: harmless */
	uint64_t slot_overflows;	/* request without a slot: fatal */
	uint64_t walk_overflows;	/* marked conservatively: harmless */
	uint64_t passthrough;		/* commands not known to be harmless */
	uint64_t other_disk;		/* events of another disk under our number */
	uint64_t map_errors;		/* a look-up failed: fatal */
	uint64_t error_completions;	/* marked again: harmless */
	uint64_t unknown_ends;		/* bios nobody saw begin: fatal */
	uint64_t issues;		/* ops->stats: requests marked */
	uint64_t sectors;		/* ops->stats: of the disk (512 bytes) */
	uint64_t failed_sectors;	/* ops->stats: at failed completions */
	uint64_t caught;		/* ops->stats: begins that the first program
					 * was left out of, and another one not */
	uint64_t skipped;		/* runs, ever, of what counts those */
	uint64_t pins_restored;		/* of the links, since the host began */
	uint64_t unseen_sectors;	/* written past us, by the disk's count;
					 * set by who compares: fatal */
	bool detached;			/* a program or link is not ours any more,
					 * or is not told of the volume */
};

struct tracker_ops {
	/* The one store that makes the other generation the active one. */
	int (*flip)(struct tracker *t, struct err *err);
	/*
	 * Collect the whole retired generation: into the persistent pending
	 * map first, then into fresh (in-process). Then set in carried (cleared
	 * by the caller) those bits of fresh that are still in flight.
	 */
	int (*collect)(struct tracker *t, struct bitmap *fresh,
		       struct bitmap *carried, struct err *err);
	/* Was block marked in the now-active generation? */
	bool (*is_redirtied)(struct tracker *t, uint64_t block);
	/*
	 * A new process: drain every leaf of both generations' retired state
	 * into pending and load pending into out.
	 */
	int (*adopt)(struct tracker *t, struct bitmap *out, struct err *err);
	/* Durable acknowledgement: these bits of word w leave pending. */
	void (*pending_clear)(struct tracker *t, uint64_t w, uint64_t bits);
	/* Everything is pending (first start, hole, resync). */
	int (*pending_set_all)(struct tracker *t, struct err *err);
	int (*losses)(struct tracker *t, struct tracker_losses *out,
		      struct err *err);
	/* issues and sectors since tracking began; for status, may be NULL. */
	int (*stats)(struct tracker *t, struct tracker_losses *out);
	/* Stop using it; what is pinned stays pinned unless untrack. */
	void (*close)(struct tracker *t, bool untrack);
};

struct tracker {
	const struct tracker_ops *ops;
	uint64_t n_blocks;
	uint32_t block_shift;		/* log2 of the tracking block's bytes */
	bool adopted;			/* pins of an earlier process were found */
	bool regrouped;			/* ... but its marks went by the flips
					 * of other volumes than now */
};

#endif
