/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "store/entries.h"
#include "store/footfmt.h"
#include "store/segread.h"

/*
 * Where each block of a volume is, over a row of parts of which later ones
 * supersede earlier ones. Entries of small parts are merged in memory; large
 * parts are searched where they lie, a page at a time. One thread.
 */

/* Up to this many entries a part is merged in memory. */
#define INDEX_SMALL_ENTRIES 2048U
/* codec of an entry that stands for blocks whose part cannot be read. */
#define ENT_UNREADABLE 0xffU
/* Longest range of one index_find. */
#define INDEX_MAX_BLOCKS (1U << 20)

enum index_part_kind { INDEX_MERGED, INDEX_PAGED, INDEX_UNREADABLE };

struct index_part {
	struct part_ref ref;
	uint64_t ord;
	enum index_part_kind kind;
	bool loaded;			/* of a paged part: tables are there */
	struct part_tables tables;
};

struct index_page {
	uint32_t part, page;
	uint32_t n;			/* 0: empty slot */
	struct ent ents[PART_PAGE_ENTRIES];
};

struct index {
	struct segreader *reader;	/* not own */
	struct index_part *parts;	/* an entry's order is its part's place */
	size_t n_parts, cap_parts;
	uint32_t *paged;		/* those that are not merged */
	size_t n_paged, cap_paged;
	struct entlog mem;
	struct index_page *pages;	/* cache */
	struct buf scratch;
	struct entvec loading;
};

int index_init(struct index *ix, struct segreader *reader);
void index_free(struct index *ix);
/*
 * Add the next part. A part that cannot be read does not fail: all blocks
 * between its first and last are ENT_UNREADABLE until a later part covers
 * them. 0, -ENOMEM.
 */
int index_add(struct index *ix, const struct part_ref *ref, uint64_t ord);
/* As index_add, of a part whose entries the caller has. Copies them. */
int index_add_ents(struct index *ix, const struct part_ref *ref, uint64_t ord,
		   const struct entvec *ents);
/* After many index_add: makes the first look-ups as cheap as later ones. */
int index_settle(struct index *ix);

/*
 * Entries over [first, end), at most INDEX_MAX_BLOCKS, settled, clipped, into
 * out (replaced). Blocks not in them were never written. 0, -ENOMEM.
 */
int index_find(struct index *ix, uint64_t first, uint64_t end,
	       struct entvec *out);
/* Start of the first covered block at or after block: 0 and *out; 1: none. */
int index_next(struct index *ix, uint64_t block, uint64_t *out);

/*
 * The highest generation of the volume's key that a unit of these parts names;
 * 0 when there is none, or none that can be read.
 */
uint32_t index_newest_key(struct index *ix);

static inline const struct index_part *index_part(const struct index *ix,
						  const struct ent *e)
{
	return &ix->parts[e->order];
}

#endif
