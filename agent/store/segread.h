/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SEGREAD_H
#define STORE_SEGREAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "store/entries.h"
#include "store/footfmt.h"
#include "store/segfmt.h"

/*
 * Reading the segments of one volume: a few descriptors at a time, each
 * segment's header checked when it is opened. One thread.
 */
#define SEGREADER_FDS 32U

struct segreader {
	struct io *io;
	int dirfd;			/* of the volume; own */
	struct uuid store, volume;
	struct {
		struct uuid id;
		int fd;			/* -1: free */
		uint64_t used;
	} slots[SEGREADER_FDS];
	uint64_t tick;
};

/* dirfd is the directory of volumes. */
int segreader_init(struct segreader *r, struct io *io, int dirfd,
		   const struct uuid *store, const struct uuid *volume,
		   struct err *err);
void segreader_close(struct segreader *r);

/*
 * Exactly n bytes of a segment. -ENOENT (no such file), -EBADMSG (its header
 * is not that of this segment), -ENODATA (it ends before), or what reading
 * gave; err names segment and offset.
 */
int segreader_read(struct segreader *r, const struct uuid *id, uint64_t off,
		   void *p, size_t n, struct err *err);

/* What must be known of a part before its entries can be used. */
struct part_tables {
	struct part_head head;
	struct seg_delta *deltas;
	struct part_page *pages;
	uint64_t pages_off;		/* in the segment */
};
void part_tables_free(struct part_tables *t);

/*
 * Read and verify a part's head against ref (what the catalog says of it).
 * -EBADMSG when it is not that. scratch is any buffer; with entries not NULL
 * all of them are appended, their order being set to order.
 */
int segreader_part(struct segreader *r, const struct part_ref *ref,
		   struct buf *scratch, struct part_tables *out,
		   struct entvec *entries, uint32_t order, struct err *err);
/* One page into out[PART_PAGE_ENTRIES]. */
int segreader_page(struct segreader *r, const struct part_ref *ref,
		   const struct part_tables *t, uint32_t page, struct ent *out,
		   struct err *err);
/*
 * The unit that e names, into out (replaced), verified: it is whole, it is
 * the one that the entry meant, and it holds the entry's blocks. delta_index
 * is how units of that segment name the entry's delta (UINT32_MAX: not
 * checked). -EBADMSG "unit-damaged".
 */
int segreader_unit(struct segreader *r, const struct uuid *segment,
		   const struct ent *e, uint32_t delta_index, struct buf *out,
		   struct err *err);

#endif
