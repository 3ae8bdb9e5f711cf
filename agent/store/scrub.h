/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SCRUB_H
#define STORE_SCRUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "store/damage.h"
#include "store/store.h"

/*
 * Reading everything that is stored of a volume: every record of its segments
 * from the disk against its checksum, every point's footer and every part
 * against the catalog, every point's head against the one before. With the
 * key every unit that a point names is opened too, which is the only way to
 * find bytes that were changed together with their checksums.
 *
 * What is found damaged is kept (see damage.h) and shown with the points it
 * concerns; what was damaged and reads well again is forgotten. Writing and
 * reading go on meanwhile; points committed after the beginning are not
 * looked at.
 */
struct scrub_progress {
	uint64_t done_bytes, total_bytes;	/* of segments, to be read */
};

struct scrub_order {
	struct opener *opener;		/* NULL: without the key */
	uint64_t bytes_per_s;		/* 0: as fast as it goes */
	/* Now and then, also while it waits. Not 0: -ECANCELED. May be NULL. */
	int (*progress)(void *arg, const struct scrub_progress *p);
	void *arg;
};

#define SCRUB_FINDINGS_MAX 100U

struct scrub_finding {
	struct damage d;
	uint64_t first_seq, last_seq;	/* points that it concerns; of one or
					 * more epochs */
};

struct scrub_report {
	uint64_t points, damaged_points;
	uint64_t segments, read_bytes;
	uint64_t units;			/* that were opened with the key */
	uint64_t unopened_units;	/* they need another key */
	/*
	 * Bytes of segments that are no records any more and that no point
	 * needs: restores are as good as ever; a catalog made again from the
	 * segments would lack the points after them.
	 */
	uint64_t loose_bytes;
	uint64_t n_findings;		/* there may be more than kept here */
	struct scrub_finding findings[SCRUB_FINDINGS_MAX];
};

/*
 * 0: all was looked at, *out says what was found, damage or none. -ENOENT: no
 * such volume. -ENOKEY "key-too-old" or "wrong-key": all was read, *out says
 * what was found, but not all was opened: the key lacks a generation that
 * units need, or is another. -ECANCELED, -ENOMEM, or what the catalog gave.
 */
int store_scrub(struct store *s, const struct uuid *volume,
		const struct scrub_order *o, struct scrub_report *out,
		struct err *err);

#endif
