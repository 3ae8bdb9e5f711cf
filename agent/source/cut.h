/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_CUT_H
#define SOURCE_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "source/reader.h"
#include "tracker/tracker.h"

/*
 * The cut engine: turns marks and reads into images that are consistent as of
 * a flip. It knows nothing of networks or stores; what it read validly goes to
 * a sink. One thread; see docs/consistency.md for why each step is there.
 */

/* Where valid blocks go. Blocks here are US_BLOCK_BYTES (4096) each. */
struct cut_sink {
	/*
	 * A read of these blocks is about to start: the sink may ask its peer
	 * what it holds there. 0, or negative errno: the round ends.
	 */
	int (*expect)(struct cut_sink *s, uint64_t first, uint64_t count);
	/*
	 * Content of these blocks, valid as of the current flip. Later calls
	 * supersede earlier ones. 0, or negative errno: the round ends.
	 */
	int (*stage)(struct cut_sink *s, uint64_t first, uint32_t count,
		     const uint8_t *data);
};

struct cut;
struct cut_round;

struct cut_config {
	struct tracker *tracker;	/* borrowed, as the others */
	struct reader *reader;
	struct cut_sink *sink;
	struct clock *clock;
	/*
	 * Flips together with others, in place of the tracker's own: fills in
	 * the times of the flip. -EAGAIN: nobody flipped, nothing has changed,
	 * and the round ends. NULL: alone.
	 */
	int (*flip)(void *arg, struct cut_round *out, struct err *err);
	void *flip_arg;
	/* The per-read check switched off: an oracle must refute the result. */
	bool without_check;
};

struct cut_round {
	int64_t flip_wall_ns;		/* read before the flip: never too new */
	uint64_t flip_mono_ns;
	uint64_t flipped_mono_ns;	/* read after it */
	uint64_t collected;		/* tracking blocks new in this round */
	uint64_t read;			/* tracking blocks read */
	uint64_t conflicts;		/* of those rewritten since the flip */
	uint64_t read_errors;
	uint64_t error_off_bytes;	/* first one */
	int error_num;
	bool converged;			/* everything pending is staged */
};

int cut_new(const struct cut_config *cfg, struct cut **out, struct err *err);
void cut_free(struct cut *c);
/* Another session's sink, between rounds. Implies cut_session_lost. */
void cut_set_sink(struct cut *c, struct cut_sink *sink);

/* What an earlier process left pending; everything in it is to be read. */
int cut_adopt(struct cut *c, struct err *err);
/* Everything is pending: first copy, hole, resync. */
int cut_all_dirty(struct cut *c, struct err *err);

/*
 * Flip, collect, read, check, stage. 0 (look at out), or the sink's error, or
 * the tracker's. After an error everything pending is to be read again
 * (cut_session_lost has been done).
 */
int cut_round(struct cut *c, struct cut_round *out, struct err *err);

/*
 * After a converged round: its image becomes the outstanding point. Not while
 * another is outstanding.
 */
void cut_committed(struct cut *c);
/* The outstanding point is durable: what it covers leaves pending. */
void cut_acked(struct cut *c);
/* Nothing staged or outstanding can be relied upon any more. */
void cut_session_lost(struct cut *c);
/*
 * What a round begins with, alone: what was written becomes pending, and is
 * counted. For when there is nobody to read for; nothing, of a cut that flips
 * together with others.
 */
int cut_collect(struct cut *c, struct err *err);

bool cut_has_outstanding(const struct cut *c);
uint64_t cut_pending_blocks(const struct cut *c);	/* not acknowledged */
bool cut_is_pending(const struct cut *c, uint64_t block);
uint64_t cut_need_blocks(const struct cut *c);		/* not staged either */

#endif
