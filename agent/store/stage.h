/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STAGE_H
#define STORE_STAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/entries.h"
#include "store/footfmt.h"
#include "store/segfmt.h"
#include "wire/unit.h"

/*
 * The units of one segment that no part has listed yet: what will become the
 * next part of the open point.
 */
struct stage {
	struct uuid segment;
	struct entlog log;
	struct seg_delta *deltas;	/* as DELTA records of the segment say */
	size_t n_deltas, cap_deltas;
	uint32_t arrivals;
	uint64_t bytes;			/* of records since the last part */
};

void stage_free(struct stage *s);
/* Empty, for another segment. */
void stage_reset(struct stage *s, const struct uuid *segment);
/* A part has listed them. */
void stage_forget_entries(struct stage *s);
/* Forget the deltas: those of a committed point name no unit any more. */
void stage_forget_deltas(struct stage *s);

static inline bool stage_is_empty(const struct stage *s)
{
	return !s->log.e.n;
}

bool stage_knows(const struct stage *s, uint32_t delta_index);
/* 0; -EEXIST (the index means another delta); -E2BIG; -ENOMEM. */
int stage_add_delta(struct stage *s, const struct seg_delta *d);
/*
 * The unit u lies at p, which is offset off of the segment. 0; -EBADMSG when
 * its delta is not known; -ENOMEM.
 */
int stage_add_unit(struct stage *s, const uint8_t *p,
		   const struct unit_view *u, uint64_t off);
/*
 * Append a PART record with the entries (there are some) to b, whose first
 * byte will lie at base in the segment into; ref describes it. The stage is
 * unchanged but for compaction. 0, -ENOMEM, -EIO.
 */
int stage_put_part(struct stage *s, uint64_t ord, struct buf *b,
		   const struct uuid *into, const struct rec_place *base,
		   struct part_ref *ref);

#endif
