/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_VERIFY_H
#define SOURCE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "source/cut.h"
#include "source/reader.h"
#include "tracker/tracker.h"
#include "wire/seal.h"
#include "wire/session.h"

/*
 * Compares a volume's device with its replica's newest point while writes go
 * on (docs/consistency.md, section 10). One thread, the one that makes the
 * cuts, and between rounds only. It knows no network: questions go out through
 * a function, answers come in through a call.
 */
#define VERIFY_DIFFS_MAX 256U		/* stretches remembered; all are counted */

enum verify_what {
	VERIFY_CONTENT,			/* the point has another content */
	VERIFY_MISSING,			/* the point has nothing there */
	VERIFY_DAMAGED,			/* what is stored cannot be read back */
};
const char *verify_what_name(enum verify_what what);

struct verify_diff {			/* blocks of 4096 bytes */
	enum verify_what what;
	uint64_t first, count;
	uint64_t seq;			/* of the point compared with */
};

struct verify_report {
	uint64_t first_seq, last_seq;	/* points compared with; 0: none yet */
	uint64_t epoch;
	uint64_t size_bytes;		/* of what is to be compared */
	uint64_t compared_bytes;	/* in_points_bytes included */
	uint64_t in_points_bytes;	/* never found at rest: compared as what a
					 * point has of them */
	uint64_t skipped_bytes;		/* not compared (yet) */
	uint64_t differing_bytes;
	uint32_t passes;
	size_t n_diffs;
	struct verify_diff diffs[VERIFY_DIFFS_MAX];
};

struct verify_config {
	struct tracker *tracker;	/* borrowed, as all */
	struct reader *reader;
	const struct cut *cut;
	const struct volume_key *key;	/* used by verify_new only */
	const struct uuid *volume;
	/*
	 * Asks what the replica's newest committed point has; the answer comes
	 * as verify_on_held, in the order of the questions. It must reach the
	 * replica after every commit, and before every unit, that is sent later.
	 */
	int (*ask)(void *arg, bool fresh, const struct wire_extent *e,
		   uint32_t n, struct err *err);
	/* Has the tracker missed nothing since everything was dirty last? Only
	 * looks; called before a difference is believed. */
	bool (*sound)(void *arg);
	void *arg;
	/* A part of the device, in blocks of 4096 bytes: from a multiple of
	 * the tracking block on; 0 blocks: to the end. */
	uint64_t first_block, count_blocks;
	/* The replica need not forget what it has in memory. */
	bool not_fresh;
	/* For tests, which must then see false alarms: no look at the active
	 * generation; no look at what is pending. */
	bool without_check, without_pending;
};

struct verify;

int verify_new(const struct verify_config *cfg, struct verify **out,
	       struct err *err);
void verify_free(struct verify *v);

enum verify_step { VERIFY_WORKED, VERIFY_WAITS, VERIFY_DONE };
/*
 * One slice: up to max_blocks (of 4096 bytes; at least one cell, which is at
 * most 64 of them) read, looked at and asked for. An enum verify_step;
 * VERIFY_WAITS: for answers, or for an acknowledgement. Negative errno:
 * "read-error" in err when the device cannot be read, anything else with an
 * empty err when the reader is of no use any more, or what ask gave.
 */
int verify_slice(struct verify *v, uint32_t max_blocks, struct err *err);

/* held has count records, see enum wire_held. */
void verify_on_held(struct verify *v, uint64_t epoch, uint64_t seq,
		    uint32_t count, const uint8_t *held);
/* What the sink is given, each time. */
void verify_on_stage(struct verify *v, uint64_t first, uint32_t count,
		     const uint8_t *data);
/* A commit of this point has just been queued, nothing after it; or that this
 * point, the newest, still is the volume. */
int verify_on_commit(struct verify *v, uint64_t seq, struct err *err);
/* Blocks have left pending: acknowledged, or confirmed. */
void verify_on_settled(struct verify *v);
/* No answer will come any more, nothing staged counts. */
void verify_on_session_lost(struct verify *v);

/* Everything was made dirty, since writes may have been missed until now. */
void verify_on_all_dirty(struct verify *v);

/* No use to go on: what is left counts as skipped. */
void verify_give_up(struct verify *v);
/* Questions whose answers have not come. */
uint32_t verify_unanswered(const struct verify *v);
/* Of the report, for who looks often. */
uint64_t verify_differing_bytes(const struct verify *v);
/* Changes whenever something was achieved. */
uint64_t verify_progress(const struct verify *v);
void verify_get_report(const struct verify *v, struct verify_report *out);

#endif
