/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FOOTFMT_H
#define STORE_FOOTFMT_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/digest.h"
#include "store/entries.h"
#include "store/segfmt.h"
#include "store/store.h"

/*
 * The bodies of the two footers. Pure; every length checked. Normative
 * description: docs/store-format.md.
 *
 * A part is the index of the units of one point in one segment: a head (with
 * the deltas that the units name and the hash of each page) and pages of
 * entries sorted by block. Its hash covers the head, and so the pages: a large
 * part is verified page by page as it is used.
 */
#define PART_HEAD_BYTES 104U		/* before the deltas */
#define PART_DELTA_BYTES (4U + DELTA_BYTES)
#define PART_PAGE_REF_BYTES 24U
#define PART_PAGE_ENTRIES 128U
#define PART_ENTRY_BYTES 40U
#define PART_PAGE_BYTES (PART_PAGE_ENTRIES * PART_ENTRY_BYTES)
#define PART_MAX_ENTRIES (1U << 20)
#define PART_MAX_DELTAS (1U << 16)

/* A delta, and the index by which units of the data segment name it. */
struct seg_delta {
	uint32_t index;
	struct delta delta;
};

struct part_page {
	uint64_t first;			/* block of its first entry */
	uint8_t hash[16];		/* SHA-256 of the page, cut */
};

struct part_head {
	struct uuid data_segment;	/* where the units are */
	uint64_t ord;			/* of the point, see point_foot */
	uint64_t lo, hi;		/* entries lie in [lo, hi) */
	uint64_t blocks;		/* covered */
	uint64_t staged_bytes;		/* of records, to bring these entries */
	uint32_t n_entries;
	uint32_t n_deltas;
	uint32_t n_pages;
	struct digest hash;
};

static inline uint64_t part_pages_off(const struct part_head *h)
{
	return PART_HEAD_BYTES + (uint64_t)h->n_deltas * PART_DELTA_BYTES +
	       (uint64_t)h->n_pages * PART_PAGE_REF_BYTES;
}

static inline uint64_t part_body_bytes(const struct part_head *h)
{
	return part_pages_off(h) + (uint64_t)h->n_entries * PART_ENTRY_BYTES;
}

/*
 * Append the body of a part: n settled entries (1..PART_MAX_ENTRIES) whose
 * delta, taken through delta_map when there is one, is a position in deltas.
 * out: what was written; data_segment, ord and staged_bytes are taken from it.
 * 0, -EINVAL, -ENOMEM or -EIO (library).
 */
struct part_content {
	const struct ent *ents;
	size_t n_ents;
	const struct seg_delta *deltas;
	size_t n_deltas;
	const uint32_t *delta_map;
};
int part_put(struct buf *b, const struct part_content *c,
	     struct part_head *out);

/*
 * The fixed beginning of a part; p/n is at least PART_HEAD_BYTES of it.
 * body_bytes is the whole body's length. 0 or -EBADMSG. The hash is taken
 * over, not verified.
 */
int part_head_get(const uint8_t *p, size_t n, uint64_t body_bytes,
		  struct part_head *out);
/*
 * Verify p/n, which is all before the pages, against h->hash, and decode the
 * deltas and pages (arrays of h->n_deltas and h->n_pages). 0, -EBADMSG, -EIO.
 */
int part_tables_get(const uint8_t *p, size_t n, const struct part_head *h,
		    struct seg_delta *deltas, struct part_page *pages);
/* Entries in page i. */
uint32_t part_page_entries(const struct part_head *h, uint32_t i);
/* Verify and decode one page into out[PART_PAGE_ENTRIES]. 0, -EBADMSG, -EIO. */
int part_page_get(const uint8_t *p, const struct part_head *h, uint32_t i,
		  const struct part_page *page, struct ent *out);

/* Where a part lies, as the point footer and the catalog have it. */
struct part_ref {
	struct uuid segment;
	uint64_t off;			/* of the record */
	uint32_t bytes;			/* of the record */
	struct digest hash;
	/* from the part's head: */
	struct uuid data_segment;
	uint64_t lo, hi;
	uint64_t blocks;
	uint64_t staged_bytes;
	uint32_t n_entries;
};

/* Everything of a ref that the head of the part tells. */
void part_ref_describe(struct part_ref *ref, const struct part_head *h);

#define POINT_HEAD_BYTES 216U		/* before the parts */
#define POINT_PART_BYTES 64U
#define POINT_GROUP_BYTES 96U		/* between them, of a GROUP_POINT */
#define POINT_MAX_PARTS                                             \
	((REC_MAX_BODY_BYTES - POINT_HEAD_BYTES - POINT_GROUP_BYTES) / \
	 POINT_PART_BYTES)

/* A committed point as its footer tells it. */
struct point_foot {
	struct uuid volume;
	uint64_t ord;			/* among the volume's points, from 1 */
	struct point_info info;		/* without pins and damaged */
	struct part_ref *parts;		/* oldest first; later ones supersede */
	uint32_t n_parts;
};

/* Can a group be this? */
bool point_group_is_sound(const struct point_group *g);
/*
 * Computes info.head and appends the body. 0, -ENOMEM, -EINVAL, -EIO. Its
 * record is of point_record_type.
 */
int point_put(struct buf *b, struct point_foot *f);
/*
 * Decode and verify the head. f->parts is allocated (only segment, off, bytes
 * and hash are known); the caller frees it. 0, -EBADMSG, -ENOMEM, -EIO.
 */
int point_get(enum rec_type type, const uint8_t *p, size_t n,
	      struct point_foot *f);

static inline enum rec_type point_record_type(const struct point_meta *m)
{
	return point_has_group(m) ? REC_GROUP_POINT : REC_POINT;
}

static inline bool rec_is_point(unsigned int type)
{
	return type == REC_POINT || type == REC_GROUP_POINT;
}

/* Body length of a point with so many parts. */
static inline uint64_t point_body_bytes(enum rec_type type, uint32_t n_parts)
{
	return POINT_HEAD_BYTES +
	       (type == REC_GROUP_POINT ? POINT_GROUP_BYTES : 0) +
	       (uint64_t)n_parts * POINT_PART_BYTES;
}

#endif
