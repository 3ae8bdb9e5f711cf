/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ENTRIES_H
#define STORE_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which blocks come from which unit. An entry says: blocks [first, first +
 * count) are blocks [skip, skip + count) of the unit at unit_off.
 *
 * order settles overlaps: the higher one wins. In a point that is being
 * staged it is the order of arrival, in an index the number of the part, by
 * which unit_off is also understood.
 */
struct ent {
	uint64_t first;
	uint64_t unit_off;		/* in the part's data segment */
	uint64_t unit_sum;		/* the unit's own checksum */
	uint32_t count;
	uint32_t skip;
	uint32_t unit_bytes;
	uint32_t delta;
	uint32_t order;
	uint8_t codec;			/* enum unit_codec */
};

static inline uint64_t ent_end(const struct ent *e)
{
	return e->first + e->count;
}

struct entvec {
	struct ent *v;
	size_t n;
	size_t cap;
};

void entvec_free(struct entvec *ev);
int entvec_add(struct entvec *ev, const struct ent *e);	/* 0 or -ENOMEM */
/* Adds the part of e inside [first, end), if there is one. */
int entvec_add_clipped(struct entvec *ev, const struct ent *e, uint64_t first,
		       uint64_t end);
/*
 * Sort by block and settle every overlap, splitting as needed: afterwards
 * sorted, free of overlaps. O(n log n). 0 or -ENOMEM (unchanged).
 */
int entvec_resolve(struct entvec *ev);

/*
 * Entries that keep coming: the front is resolved, the tail lies as it
 * arrived, and compaction is amortised. An added entry's order must not be
 * below those that are there.
 */
struct entlog {
	struct entvec e;
	size_t n_resolved;
};

void entlog_free(struct entlog *l);
void entlog_clear(struct entlog *l);	/* keeps the memory */
/* 0 or -ENOMEM. */
int entlog_add(struct entlog *l, const struct ent *e);
int entlog_compact(struct entlog *l);
/* Adds what overlaps [first, end) to out, clipped, overlaps not settled. */
int entlog_find(struct entlog *l, uint64_t first, uint64_t end,
		struct entvec *out);
/*
 * Start of the first covered block at or after block: true and *out. The log
 * must be compact.
 */
bool entlog_next(const struct entlog *l, uint64_t block, uint64_t *out);

#endif
