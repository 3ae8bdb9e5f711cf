/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SEGFMT_H
#define STORE_SEGFMT_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/uuid.h"
#include "wire/unit.h"

/*
 * The bytes of store.meta, of a segment's header and of the frame around its
 * records. Pure: no I/O, every length checked. Normative description:
 * docs/store-format.md.
 */
#define STORE_FORMAT 1U
#define STORE_META_BYTES 64U

#define SEG_HEADER_BYTES 128U
#define SEG_ALIGN_BYTES 8U
#define REC_HEADER_BYTES 32U
#define REC_MAX_BODY_BYTES (64U << 20)
/* Units of one record; a single unit always fits. */
#define REC_MAX_UNITS_BYTES (1U << 20)

enum rec_type {
	REC_VOLUME = 1,
	REC_DELTA = 2,
	REC_UNITS = 3,
	REC_PART = 4,
	REC_POINT = 5,
	REC_EPOCH = 6,
	REC_DISCARD = 7,
	REC_LABEL = 8,		/* kept free for labels given later */
	REC_GROUP_POINT = 9,	/* a POINT that is a member of a group's */
};

/* A reader that does not know the type may step over the record. */
#define REC_SKIPPABLE 1U

struct store_meta {
	struct uuid store;
	int64_t created_wall_ns;
};

void store_meta_encode(const struct store_meta *m,
		       uint8_t out[STORE_META_BYTES]);
/* 0; -EBADMSG; -EPROTONOSUPPORT (a later format). */
int store_meta_decode(const uint8_t in[STORE_META_BYTES],
		      struct store_meta *out);

struct seg_header {
	struct uuid store;
	struct uuid volume;
	struct uuid segment;
	uint64_t number;		/* among the volume's segments, from 1 */
	int64_t created_wall_ns;
};

void seg_header_encode(const struct seg_header *h,
		       uint8_t out[SEG_HEADER_BYTES]);
/* As store_meta_decode. */
int seg_header_decode(const uint8_t in[SEG_HEADER_BYTES],
		      struct seg_header *out);

#define SEGMENT_NAME_BYTES (UUID_TEXT_SIZE + 4)
/* "<segment id>.seg" */
void segment_file_name(const struct uuid *id, char out[SEGMENT_NAME_BYTES]);
/* 0, or -EINVAL when it is not such a name. */
int segment_file_parse(const char *name, struct uuid *id);
/* "segment <id>", as failures name it. */
#define SEGMENT_OBJECT_BYTES (UUID_TEXT_SIZE + 8)
void segment_object(const struct uuid *id, char out[SEGMENT_OBJECT_BYTES]);

/* What makes a segment's records valid in no other file. */
uint64_t seg_salt(const struct uuid *segment);

/* Where a record lies: it validates nowhere else. */
struct rec_place {
	uint64_t salt;
	uint64_t off;
};

struct rec_header {
	uint16_t type;			/* enum rec_type, or unknown */
	uint16_t flags;
	uint32_t body_bytes;		/* without padding */
	uint32_t padded_bytes;		/* of the body */
	uint64_t body_sum;
};

static inline uint64_t rec_total_bytes(const struct rec_header *h)
{
	return REC_HEADER_BYTES + (uint64_t)h->padded_bytes;
}

/* 0, or -EBADMSG: no record of this segment begins here. */
int rec_header_decode(const uint8_t in[REC_HEADER_BYTES],
		      const struct rec_place *at, struct rec_header *out);
/* body is padded_bytes long. 0 or -EBADMSG. */
int rec_body_check(const struct rec_header *h, const struct rec_place *at,
		   const uint8_t *body);

/*
 * Encoding: start = rec_begin(b); put the body; rec_end(b, start, ...). A
 * body over the limit, or memory running out, sets b->failed.
 */
size_t rec_begin(struct buf *b);
void rec_end(struct buf *b, size_t start, const struct rec_place *at,
	     enum rec_type type, uint16_t flags);

/* ---- the small bodies ---- */

#define SEG_NAME_BYTES 64U

struct rec_volume {
	struct uuid volume;
	uint64_t size_bytes;
	uint64_t epoch;
	char source[SEG_NAME_BYTES + 1];
	char name[SEG_NAME_BYTES + 1];
};
#define REC_VOLUME_BYTES (32U + 2 * SEG_NAME_BYTES)

struct rec_delta {
	uint32_t index;			/* as the units of the segment name it */
	struct delta delta;
};
#define REC_DELTA_BYTES (8U + DELTA_BYTES)

/* The row of points goes on from parent under a new epoch. */
struct rec_epoch {
	struct uuid volume;
	uint64_t epoch;
	uint64_t parent_epoch, parent_seq;	/* 0: nothing before */
	int64_t wall_ns;
	uint8_t parent_head[32];
};
#define REC_EPOCH_BYTES 80U

/* What was staged for the point with this number is void. */
struct rec_discard {
	struct uuid volume;
	uint64_t ord;
	int64_t wall_ns;
};
#define REC_DISCARD_BYTES 32U

void rec_volume_put(struct buf *b, const struct rec_volume *v);
void rec_delta_put(struct buf *b, const struct rec_delta *d);
void rec_epoch_put(struct buf *b, const struct rec_epoch *e);
void rec_discard_put(struct buf *b, const struct rec_discard *d);
/* n is the body without padding. 0 or -EBADMSG. */
int rec_volume_get(const uint8_t *p, size_t n, struct rec_volume *out);
int rec_delta_get(const uint8_t *p, size_t n, struct rec_delta *out);
int rec_epoch_get(const uint8_t *p, size_t n, struct rec_epoch *out);
int rec_discard_get(const uint8_t *p, size_t n, struct rec_discard *out);

/* A unit's checksum as its header has it. */
static inline uint64_t unit_sum_field(const uint8_t *unit)
{
	return get_le64(unit + 32);
}

/* Fixed-size text, zero padded. get: 0, or -EBADMSG when bytes follow a 0. */
void text_put(struct buf *b, const char *s, size_t size);
int text_get(const uint8_t *p, size_t size, char *out);

#endif
