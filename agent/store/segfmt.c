// SPDX-License-Identifier: Apache-2.0
/*
 * Encoding and decoding of store.meta, segment headers, record frames and the
 * small record bodies. Pure functions, any thread; input may be hostile.
 *
 * store.meta (64 bytes)
 *   0  8 "UStdySto"      16 16 store UUID       40 16 zero
 *   8  4 format          32  8 created, wall ns 56  8 XXH3-64 of [0, 56)
 *  12  4 zero
 * segment header (128 bytes)
 *   0  8 "UStdySeg"      32 16 volume UUID      72  8 created, wall ns
 *   8  4 format          48 16 segment id       80 40 zero
 *  12  4 header bytes    64  8 number          120  8 XXH3-64 of [0, 120)
 *  16 16 store UUID
 * record
 *   0  4 "URec"           8  4 body bytes       16  8 XXH3-64 of padded body
 *   4  2 type            12  4 zero             24  8 XXH3-64 of [0, 24)
 *   6  2 flags           32    body, zero padded to 8
 *
 * Both checksums of a record are seeded with seg_salt(id) + its offset: bytes
 * of another file, of an earlier life of the disk, or written to the wrong
 * place do not validate. The header's sum is apart from the body's so that a
 * length can be trusted where a body cannot.
 */
#include "store/segfmt.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "base/checked.h"
#include "base/units.h"

#define META_MAGIC "UStdySto"
#define SEG_MAGIC "UStdySeg"
#define REC_MAGIC 0x63655255U		/* "URec" */
#define MAGIC_BYTES 8U

static uint64_t sum_of(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

void store_meta_encode(const struct store_meta *m,
		       uint8_t out[STORE_META_BYTES])
{
	memset(out, 0, STORE_META_BYTES);
	memcpy(out, META_MAGIC, MAGIC_BYTES);
	put_le32(out + 8, STORE_FORMAT);
	memcpy(out + 16, m->store.b, 16);
	put_le64(out + 32, (uint64_t)m->created_wall_ns);
	put_le64(out + 56, sum_of(out, 56));
}

int store_meta_decode(const uint8_t in[STORE_META_BYTES],
		      struct store_meta *out)
{
	if (memcmp(in, META_MAGIC, MAGIC_BYTES) ||
	    get_le64(in + 56) != sum_of(in, 56))
		return -EBADMSG;
	if (get_le32(in + 8) != STORE_FORMAT)
		return -EPROTONOSUPPORT;
	memcpy(out->store.b, in + 16, 16);
	out->created_wall_ns = (int64_t)get_le64(in + 32);
	return 0;
}

void seg_header_encode(const struct seg_header *h,
		       uint8_t out[SEG_HEADER_BYTES])
{
	memset(out, 0, SEG_HEADER_BYTES);
	memcpy(out, SEG_MAGIC, MAGIC_BYTES);
	put_le32(out + 8, STORE_FORMAT);
	put_le32(out + 12, SEG_HEADER_BYTES);
	memcpy(out + 16, h->store.b, 16);
	memcpy(out + 32, h->volume.b, 16);
	memcpy(out + 48, h->segment.b, 16);
	put_le64(out + 64, h->number);
	put_le64(out + 72, (uint64_t)h->created_wall_ns);
	put_le64(out + 120, sum_of(out, 120));
}

int seg_header_decode(const uint8_t in[SEG_HEADER_BYTES],
		      struct seg_header *out)
{
	if (memcmp(in, SEG_MAGIC, MAGIC_BYTES) ||
	    get_le64(in + 120) != sum_of(in, 120))
		return -EBADMSG;
	if (get_le32(in + 8) != STORE_FORMAT ||
	    get_le32(in + 12) != SEG_HEADER_BYTES)
		return -EPROTONOSUPPORT;
	memcpy(out->store.b, in + 16, 16);
	memcpy(out->volume.b, in + 32, 16);
	memcpy(out->segment.b, in + 48, 16);
	out->number = get_le64(in + 64);
	out->created_wall_ns = (int64_t)get_le64(in + 72);
	return out->number ? 0 : -EBADMSG;
}

void segment_file_name(const struct uuid *id, char out[SEGMENT_NAME_BYTES])
{
	uuid_format(id, out);
	memcpy(out + UUID_TEXT_SIZE - 1, ".seg", sizeof(".seg"));
}

int segment_file_parse(const char *name, struct uuid *id)
{
	char text[SEGMENT_NAME_BYTES], again[SEGMENT_NAME_BYTES];
	size_t n = strlen(name);

	if (n != SEGMENT_NAME_BYTES - 1)
		return -EINVAL;
	memcpy(text, name, n + 1);
	text[UUID_TEXT_SIZE - 1] = 0;
	if (uuid_parse(text, id) < 0)
		return -EINVAL;
	segment_file_name(id, again);
	return strcmp(again, name) ? -EINVAL : 0;
}

void segment_object(const struct uuid *id, char out[SEGMENT_OBJECT_BYTES])
{
	memcpy(out, "segment ", 8);
	uuid_format(id, out + 8);
}

uint64_t seg_salt(const struct uuid *segment)
{
	return sum_of(segment->b, sizeof(segment->b));
}

static uint64_t placed_sum(const struct rec_place *at, const void *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, at->salt + at->off);
}

static uint32_t padded(uint32_t n)
{
	return (n + SEG_ALIGN_BYTES - 1) & ~(SEG_ALIGN_BYTES - 1);
}

int rec_header_decode(const uint8_t in[REC_HEADER_BYTES],
		      const struct rec_place *at, struct rec_header *out)
{
	if (get_le32(in) != REC_MAGIC ||
	    get_le64(in + 24) != placed_sum(at, in, 24))
		return -EBADMSG;
	out->type = get_le16(in + 4);
	out->flags = get_le16(in + 6);
	out->body_bytes = get_le32(in + 8);
	out->body_sum = get_le64(in + 16);
	if (out->body_bytes > REC_MAX_BODY_BYTES)
		return -EBADMSG;
	out->padded_bytes = padded(out->body_bytes);
	return 0;
}

int rec_body_check(const struct rec_header *h, const struct rec_place *at,
		   const uint8_t *body)
{
	return placed_sum(at, body, h->padded_bytes) == h->body_sum ? 0 :
								      -EBADMSG;
}

size_t rec_begin(struct buf *b)
{
	size_t start = b->len;
	uint8_t *p = buf_extend(b, REC_HEADER_BYTES);

	if (p)
		memset(p, 0, REC_HEADER_BYTES);
	return start;
}

void rec_end(struct buf *b, size_t start, const struct rec_place *at,
	     enum rec_type type, uint16_t flags)
{
	size_t body, pad;
	uint8_t *p;

	if (b->failed)
		return;
	body = b->len - start - REC_HEADER_BYTES;
	if (body > REC_MAX_BODY_BYTES) {
		b->failed = true;
		return;
	}
	pad = padded((uint32_t)body) - body;
	if (pad) {
		p = buf_extend(b, pad);
		if (!p)
			return;
		memset(p, 0, pad);
	}
	p = b->data + start;
	put_le32(p, REC_MAGIC);
	put_le16(p + 4, (uint16_t)type);
	put_le16(p + 6, flags);
	put_le32(p + 8, (uint32_t)body);
	put_le32(p + 12, 0);
	put_le64(p + 16, placed_sum(at, p + REC_HEADER_BYTES, body + pad));
	put_le64(p + 24, placed_sum(at, p, 24));
}

void text_put(struct buf *b, const char *s, size_t size)
{
	size_t n = strnlen(s, size);
	uint8_t *p = buf_extend(b, size);

	if (!p)
		return;
	memcpy(p, s, n);
	memset(p + n, 0, size - n);
}

int text_get(const uint8_t *p, size_t size, char *out)
{
	size_t n = strnlen((const char *)p, size);

	memcpy(out, p, n);
	out[n] = 0;
	return all_zero(p + n, size - n) ? 0 : -EBADMSG;
}

void rec_volume_put(struct buf *b, const struct rec_volume *v)
{
	buf_put(b, v->volume.b, 16);
	buf_put_u64(b, v->size_bytes);
	buf_put_u64(b, v->epoch);
	text_put(b, v->source, SEG_NAME_BYTES);
	text_put(b, v->name, SEG_NAME_BYTES);
}

int rec_volume_get(const uint8_t *p, size_t n, struct rec_volume *out)
{
	if (n != REC_VOLUME_BYTES)
		return -EBADMSG;
	memcpy(out->volume.b, p, 16);
	out->size_bytes = get_le64(p + 16);
	out->epoch = get_le64(p + 24);
	if (text_get(p + 32, SEG_NAME_BYTES, out->source) < 0 ||
	    text_get(p + 32 + SEG_NAME_BYTES, SEG_NAME_BYTES, out->name) < 0)
		return -EBADMSG;
	return name_is_valid(out->source) && name_is_valid(out->name) ?
		       0 : -EBADMSG;
}

void rec_delta_put(struct buf *b, const struct rec_delta *d)
{
	uint8_t *p;

	buf_put_u32(b, d->index);
	buf_put_u32(b, 0);
	p = buf_extend(b, DELTA_BYTES);
	if (p)
		delta_encode(&d->delta, p);
}

int rec_delta_get(const uint8_t *p, size_t n, struct rec_delta *out)
{
	if (n != REC_DELTA_BYTES || get_le32(p + 4))
		return -EBADMSG;
	out->index = get_le32(p);
	delta_decode(p + 8, &out->delta);
	return 0;
}

void rec_epoch_put(struct buf *b, const struct rec_epoch *e)
{
	buf_put(b, e->volume.b, 16);
	buf_put_u64(b, e->epoch);
	buf_put_u64(b, e->parent_epoch);
	buf_put_u64(b, e->parent_seq);
	buf_put_u64(b, (uint64_t)e->wall_ns);
	buf_put(b, e->parent_head, sizeof(e->parent_head));
}

int rec_epoch_get(const uint8_t *p, size_t n, struct rec_epoch *out)
{
	if (n != REC_EPOCH_BYTES)
		return -EBADMSG;
	memcpy(out->volume.b, p, 16);
	out->epoch = get_le64(p + 16);
	out->parent_epoch = get_le64(p + 24);
	out->parent_seq = get_le64(p + 32);
	out->wall_ns = (int64_t)get_le64(p + 40);
	memcpy(out->parent_head, p + 48, sizeof(out->parent_head));
	/* A parent in the future would make a walk up the line endless. */
	return out->epoch > out->parent_epoch ? 0 : -EBADMSG;
}

void rec_discard_put(struct buf *b, const struct rec_discard *d)
{
	buf_put(b, d->volume.b, 16);
	buf_put_u64(b, d->ord);
	buf_put_u64(b, (uint64_t)d->wall_ns);
}

int rec_discard_get(const uint8_t *p, size_t n, struct rec_discard *out)
{
	if (n != REC_DISCARD_BYTES)
		return -EBADMSG;
	memcpy(out->volume.b, p, 16);
	out->ord = get_le64(p + 16);
	out->wall_ns = (int64_t)get_le64(p + 24);
	return 0;
}
