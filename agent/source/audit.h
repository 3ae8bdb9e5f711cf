/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_AUDIT_H
#define SOURCE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "source/verify.h"

/*
 * The background comparison of a volume with its replica: laps over the whole
 * device, at a pace, a window of it at a time (docs/consistency.md, section
 * 11). What a window does is a verification's, see source/verify.h; here is
 * when and where. One thread, the one that makes the cuts.
 */

/* Where it is, and what it has shown; worth keeping over a restart. */
struct audit_mark {
	/* Each block has been found equal at this time or later; 0: not yet */
	int64_t proven_wall_ns;
	int64_t lap_wall_ns;		/* when the latest lap began; 0: none */
	uint64_t next_block;		/* compared in it, of 4096 bytes; 0: the
					 * lap has ended */
	uint64_t size_bytes;		/* of the device that this speaks of */
	bool is_partial;		/* something was left out in this lap */
};

struct audit_config {
	/* Borrowed as there; the part of the device is chosen here. */
	struct verify_config verify;
	struct clock *clock;
	uint64_t lap_ns;		/* a lap shall take this long */
	uint64_t read_limit_bytes;	/* of the volume; 0: none */
	uint64_t window_bytes;		/* tests; 0: AUDIT_WINDOW_BYTES */
};

#define AUDIT_WINDOW_BYTES (4ULL << 30)
/* Never slower: a small volume is done sooner, and then rests. */
#define AUDIT_LEAST_RATE (1ULL << 20)	/* bytes per second */

struct audit;

/* key is used until it is freed. */
int audit_new(const struct audit_config *cfg, const struct audit_mark *mark,
	      struct audit **out, struct err *err);
void audit_free(struct audit *a);

enum audit_said {
	AUDIT_RESTS,			/* until audit_when, or for answers */
	AUDIT_WORKED,			/* there is more to do */
	AUDIT_FURTHER,			/* the mark has moved on */
	AUDIT_DIFFERS,			/* something is not as the point has it:
					 * to be done with, after the report */
};
/* One slice. Errors: as verify_slice; a "read-error" leaves out what cannot be
 * read, and the audit can go on. */
int audit_step(struct audit *a, struct err *err);
/* When there is something to do next, on the monotonic clock. */
uint64_t audit_when(const struct audit *a);
void audit_get_mark(const struct audit *a, struct audit_mark *out);
void audit_get_report(const struct audit *a, struct verify_report *out);
/* Of the device, in all. */
uint64_t audit_bytes_read(const struct audit *a);
/* Laps that left nothing out. */
uint64_t audit_laps(const struct audit *a);
/* What the cuts' events are to be told to, and answers; NULL between two. */
struct verify *audit_window(const struct audit *a);

#endif
