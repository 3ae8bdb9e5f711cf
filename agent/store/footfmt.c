// SPDX-License-Identifier: Apache-2.0
/*
 * Encoding and decoding of part and point footers. Pure functions, any
 * thread; input may be hostile.
 *
 * part body
 *   0 16 data segment id    40  8 blocks covered     64  4 pages
 *  16  8 lo                 48  8 staged bytes       68  4 zero
 *  24  8 hi                 56  4 entries            72 32 hash
 *  32  8 point's ordinal    60  4 deltas            104    deltas, page
 *                                                          refs, pages
 *   delta:    0 4 index, 4 84 delta
 *   page ref: 0 8 first block, 8 16 hash of the page
 *   entry:    0 8 first block       24 4 count
 *             8 8 unit offset       28 4 skip
 *            16 8 unit checksum     32 4 unit bytes | codec << 24
 *                                   36 4 delta (position in this part)
 *   hash = SHA-256("understudy-part", 1 || [0, 72) || deltas || page refs)
 *
 * point body
 *   0 16 volume UUID        56  8 volume bytes       84  4 parts
 *  16  8 ordinal            64  8 changed bytes      88 64 label
 *  24  8 epoch              72  8 stored bytes      152 32 previous head
 *  32  8 sequence           80  4 kind              184 32 head
 *  40  8 flip, wall ns                              216    part refs
 *  48  8 received, wall ns
 *   part ref: 0 16 segment, 16 8 offset, 24 4 bytes, 28 4 zero, 32 32 hash
 *   head = SHA-256("understudy-head", 1 || [0, 184) || hashes of the parts)
 *
 * group point body: as a point, with a group part from 216 on, and part refs
 * from 312 on
 *   0 16 group UUID         24  4 members     32 64 name
 *  16  8 group sequence     28  4 zero
 *   head = SHA-256("understudy-head", 2 || [0, 184) || group part ||
 *                  hashes of the parts)
 */
#include "store/footfmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"

static const char part_domain[16] = "understudy-part\1";
static const char head_domain[16] = "understudy-head\1";
static const char group_head_domain[16] = "understudy-head\2";

#define CODEC_SHIFT 24
#define UNIT_BYTES_MASK ((1U << CODEC_SHIFT) - 1)
#define PART_HASHED_HEAD 72U

_Static_assert(UNIT_MAX_BYTES <= UNIT_BYTES_MASK, "unit length fits its field");
_Static_assert(PART_DELTA_BYTES % 8 == 0, "tables stay aligned");

static int page_hash(const uint8_t *p, size_t n, uint8_t out[16])
{
	const struct iovec iov = { (void *)p, n };
	struct digest d;
	int r;

	r = digest_of(&iov, 1, &d);
	if (r == 0)
		memcpy(out, d.b, 16);
	return r;
}

/* p is the body; tables follow the fixed head. */
static int part_hash(const uint8_t *p, size_t pages_off, struct digest *out)
{
	const struct iovec iov[] = {
		{ (void *)part_domain, sizeof(part_domain) },
		{ (void *)p, PART_HASHED_HEAD },
		{ (void *)(p + PART_HEAD_BYTES), pages_off - PART_HEAD_BYTES },
	};

	return digest_of(iov, 3, out);
}

uint32_t part_page_entries(const struct part_head *h, uint32_t i)
{
	return MIN(h->n_entries - i * PART_PAGE_ENTRIES, PART_PAGE_ENTRIES);
}

static void put_entry(uint8_t *p, const struct ent *e)
{
	put_le64(p, e->first);
	put_le64(p + 8, e->unit_off);
	put_le64(p + 16, e->unit_sum);
	put_le32(p + 24, e->count);
	put_le32(p + 28, e->skip);
	put_le32(p + 32, e->unit_bytes | (uint32_t)e->codec << CODEC_SHIFT);
	put_le32(p + 36, e->delta);
}

/* Of one entry by itself; n_deltas bounds its delta. */
static bool entry_is_sound(const struct ent *e, uint32_t n_deltas)
{
	uint64_t most = e->codec == UNIT_ZERO ? UNIT_MAX_ZERO_BLOCKS :
						UNIT_MAX_BLOCKS;
	uint64_t end;

	if (!e->count || e->codec > UNIT_ZSTD || e->delta >= n_deltas)
		return false;
	if ((uint64_t)e->skip + e->count > most)
		return false;
	if (!add_u64(e->first, e->count, &end) || end > US_MAX_BLOCKS)
		return false;
	if (e->unit_bytes < UNIT_HEADER_BYTES + UNIT_TAG_BYTES ||
	    e->unit_bytes > UNIT_MAX_BYTES)
		return false;
	return e->unit_off >= SEG_HEADER_BYTES + REC_HEADER_BYTES &&
	       e->unit_off <= INT64_MAX - UNIT_MAX_BYTES;
}

static struct ent content_ent(const struct part_content *c, size_t i)
{
	struct ent e = c->ents[i];

	if (c->delta_map)
		e.delta = c->delta_map[e.delta];
	return e;
}

static bool content_is_sound(const struct part_content *c)
{
	struct ent e;
	size_t i;

	if (!c->n_ents || c->n_ents > PART_MAX_ENTRIES || !c->n_deltas ||
	    c->n_deltas > PART_MAX_DELTAS)
		return false;
	for (i = 0; i < c->n_ents; i++) {
		e = content_ent(c, i);
		if (!entry_is_sound(&e, (uint32_t)c->n_deltas))
			return false;
		if (i && c->ents[i].first < ent_end(&c->ents[i - 1]))
			return false;
	}
	return true;
}

static void describe(const struct part_content *c, struct part_head *h)
{
	size_t i;

	h->lo = c->ents[0].first;
	h->hi = ent_end(&c->ents[c->n_ents - 1]);
	h->n_entries = (uint32_t)c->n_ents;
	h->n_deltas = (uint32_t)c->n_deltas;
	h->n_pages = (uint32_t)div_up_u64(c->n_ents, PART_PAGE_ENTRIES);
	h->blocks = 0;
	for (i = 0; i < c->n_ents; i++)
		h->blocks += c->ents[i].count;
}

static void put_fixed(uint8_t *p, const struct part_head *h)
{
	memset(p, 0, PART_HEAD_BYTES);
	memcpy(p, h->data_segment.b, 16);
	put_le64(p + 16, h->lo);
	put_le64(p + 24, h->hi);
	put_le64(p + 32, h->ord);
	put_le64(p + 40, h->blocks);
	put_le64(p + 48, h->staged_bytes);
	put_le32(p + 56, h->n_entries);
	put_le32(p + 60, h->n_deltas);
	put_le32(p + 64, h->n_pages);
}

/* Entries and the page refs that name them. */
static int put_pages(uint8_t *refs, uint8_t *pages,
		     const struct part_content *c, const struct part_head *h)
{
	struct ent e;
	uint32_t i;
	size_t k;
	int r;

	for (k = 0; k < c->n_ents; k++) {
		e = content_ent(c, k);
		put_entry(pages + k * PART_ENTRY_BYTES, &e);
	}
	for (i = 0; i < h->n_pages; i++) {
		uint8_t *ref = refs + (size_t)i * PART_PAGE_REF_BYTES;

		put_le64(ref, c->ents[(size_t)i * PART_PAGE_ENTRIES].first);
		r = page_hash(pages + (size_t)i * PART_PAGE_BYTES,
			      part_page_entries(h, i) * PART_ENTRY_BYTES,
			      ref + 8);
		if (r < 0)
			return r;
	}
	return 0;
}

int part_put(struct buf *b, const struct part_content *c,
	     struct part_head *out)
{
	uint8_t *p, *q;
	size_t i;
	int r;

	if (!content_is_sound(c))
		return -EINVAL;
	describe(c, out);
	p = buf_extend(b, (size_t)part_body_bytes(out));
	if (!p)
		return -ENOMEM;
	put_fixed(p, out);
	q = p + PART_HEAD_BYTES;
	for (i = 0; i < c->n_deltas; i++, q += PART_DELTA_BYTES) {
		put_le32(q, c->deltas[i].index);
		delta_encode(&c->deltas[i].delta, q + 4);
	}
	r = put_pages(q, p + part_pages_off(out), c, out);
	if (r == 0)
		r = part_hash(p, (size_t)part_pages_off(out), &out->hash);
	if (r == 0)
		memcpy(p + PART_HASHED_HEAD, out->hash.b, DIGEST_BYTES);
	return r;
}

int part_head_get(const uint8_t *p, size_t n, uint64_t body_bytes,
		  struct part_head *out)
{
	if (n < PART_HEAD_BYTES)
		return -EBADMSG;
	memcpy(out->data_segment.b, p, 16);
	out->lo = get_le64(p + 16);
	out->hi = get_le64(p + 24);
	out->ord = get_le64(p + 32);
	out->blocks = get_le64(p + 40);
	out->staged_bytes = get_le64(p + 48);
	out->n_entries = get_le32(p + 56);
	out->n_deltas = get_le32(p + 60);
	out->n_pages = get_le32(p + 64);
	memcpy(out->hash.b, p + PART_HASHED_HEAD, DIGEST_BYTES);
	if (!out->n_entries || out->n_entries > PART_MAX_ENTRIES ||
	    !out->n_deltas || out->n_deltas > PART_MAX_DELTAS ||
	    out->n_pages != div_up_u64(out->n_entries, PART_PAGE_ENTRIES))
		return -EBADMSG;
	if (out->lo >= out->hi || out->hi > US_MAX_BLOCKS)
		return -EBADMSG;
	return part_body_bytes(out) == body_bytes ? 0 : -EBADMSG;
}

int part_tables_get(const uint8_t *p, size_t n, const struct part_head *h,
		    struct seg_delta *deltas, struct part_page *pages)
{
	const uint8_t *q = p + PART_HEAD_BYTES;
	struct digest d;
	uint32_t i;
	int r;

	if (n != part_pages_off(h))
		return -EBADMSG;
	r = part_hash(p, n, &d);
	if (r < 0)
		return r;
	if (memcmp(d.b, h->hash.b, DIGEST_BYTES))
		return -EBADMSG;
	for (i = 0; i < h->n_deltas; i++, q += PART_DELTA_BYTES) {
		deltas[i].index = get_le32(q);
		delta_decode(q + 4, &deltas[i].delta);
	}
	for (i = 0; i < h->n_pages; i++, q += PART_PAGE_REF_BYTES) {
		pages[i].first = get_le64(q);
		memcpy(pages[i].hash, q + 8, 16);
		if (i ? pages[i].first <= pages[i - 1].first :
			pages[i].first != h->lo)
			return -EBADMSG;
	}
	return 0;
}

static void get_entry(const uint8_t *p, struct ent *e)
{
	memset(e, 0, sizeof(*e));
	e->first = get_le64(p);
	e->unit_off = get_le64(p + 8);
	e->unit_sum = get_le64(p + 16);
	e->count = get_le32(p + 24);
	e->skip = get_le32(p + 28);
	e->unit_bytes = get_le32(p + 32) & UNIT_BYTES_MASK;
	e->codec = (uint8_t)(get_le32(p + 32) >> CODEC_SHIFT);
	e->delta = get_le32(p + 36);
}

int part_page_get(const uint8_t *p, const struct part_head *h, uint32_t i,
		  const struct part_page *page, struct ent *out)
{
	uint32_t n = part_page_entries(h, i), k;
	uint64_t at = page->first;
	uint8_t hash[16];
	int r;

	r = page_hash(p, (size_t)n * PART_ENTRY_BYTES, hash);
	if (r < 0)
		return r;
	if (memcmp(hash, page->hash, sizeof(hash)))
		return -EBADMSG;
	for (k = 0; k < n; k++) {
		get_entry(p + (size_t)k * PART_ENTRY_BYTES, &out[k]);
		if (!entry_is_sound(&out[k], h->n_deltas) ||
		    (k ? out[k].first < at : out[k].first != at))
			return -EBADMSG;
		at = ent_end(&out[k]);
	}
	return at <= h->hi ? 0 : -EBADMSG;
}

void part_ref_describe(struct part_ref *ref, const struct part_head *h)
{
	ref->hash = h->hash;
	ref->data_segment = h->data_segment;
	ref->lo = h->lo;
	ref->hi = h->hi;
	ref->blocks = h->blocks;
	ref->staged_bytes = h->staged_bytes;
	ref->n_entries = h->n_entries;
}

/* p is the body up to its parts; hashes are taken from them. */
static int head_hash(const uint8_t *p, const struct point_foot *f,
		     struct digest *out)
{
	const bool group = point_has_group(&f->info.meta);
	_cleanup_free_ uint8_t *hashes = NULL;
	struct iovec iov[] = {
		{ (void *)(group ? group_head_domain : head_domain),
		  sizeof(head_domain) },
		{ (void *)p, 184 },
		{ (void *)(p + POINT_HEAD_BYTES),
		  group ? POINT_GROUP_BYTES : 0 },
		{ NULL, (size_t)f->n_parts * DIGEST_BYTES },
	};
	uint32_t i;

	hashes = malloc((size_t)f->n_parts * DIGEST_BYTES + 1);
	if (!hashes)
		return -ENOMEM;
	for (i = 0; i < f->n_parts; i++)
		memcpy(hashes + (size_t)i * DIGEST_BYTES, f->parts[i].hash.b,
		       DIGEST_BYTES);
	iov[3].iov_base = hashes;
	return digest_of(iov, 4, out);
}

bool point_group_is_sound(const struct point_group *g)
{
	return !uuid_is_zero(&g->uuid) && g->seq && g->seq <= INT64_MAX &&
	       g->n_members && g->n_members <= STORE_MAX_GROUP_MEMBERS &&
	       name_is_valid(g->name);
}

static void put_group(uint8_t *p, const struct point_group *g)
{
	memset(p, 0, POINT_GROUP_BYTES);
	memcpy(p, g->uuid.b, 16);
	put_le64(p + 16, g->seq);
	put_le32(p + 24, g->n_members);
	memcpy(p + 32, g->name, strnlen(g->name, STORE_NAME_MAX));
}

static int get_group(const uint8_t *p, struct point_group *g)
{
	memcpy(g->uuid.b, p, 16);
	g->seq = get_le64(p + 16);
	g->n_members = get_le32(p + 24);
	if (text_get(p + 32, STORE_NAME_MAX, g->name) < 0)
		return -EBADMSG;
	return point_group_is_sound(g) && !get_le32(p + 28) ? 0 : -EBADMSG;
}

static void put_point_fixed(uint8_t *p, const struct point_foot *f)
{
	const struct point_info *i = &f->info;

	memset(p, 0, POINT_HEAD_BYTES);
	memcpy(p, f->volume.b, 16);
	put_le64(p + 16, f->ord);
	put_le64(p + 24, i->meta.epoch);
	put_le64(p + 32, i->meta.seq);
	put_le64(p + 40, (uint64_t)i->meta.flip_wall_ns);
	put_le64(p + 48, (uint64_t)i->received_wall_ns);
	put_le64(p + 56, i->meta.size_bytes);
	put_le64(p + 64, i->changed_bytes);
	put_le64(p + 72, i->stored_bytes);
	put_le32(p + 80, (uint32_t)i->meta.kind);
	put_le32(p + 84, f->n_parts);
	memcpy(p + 88, i->meta.label, strnlen(i->meta.label, STORE_LABEL_MAX));
	memcpy(p + 152, i->prev_head.b, HEAD_BYTES);
}

static void put_part_ref(uint8_t *p, const struct part_ref *r)
{
	memcpy(p, r->segment.b, 16);
	put_le64(p + 16, r->off);
	put_le32(p + 24, r->bytes);
	put_le32(p + 28, 0);
	memcpy(p + 32, r->hash.b, DIGEST_BYTES);
}

int point_put(struct buf *b, struct point_foot *f)
{
	const enum rec_type type = point_record_type(&f->info.meta);
	const size_t refs = (size_t)point_body_bytes(type, 0);
	struct digest d;
	uint32_t i;
	uint8_t *p;
	int r;

	if (f->n_parts > POINT_MAX_PARTS || !f->ord ||
	    (type == REC_GROUP_POINT && !point_group_is_sound(&f->info.meta.group)))
		return -EINVAL;
	p = buf_extend(b, (size_t)point_body_bytes(type, f->n_parts));
	if (!p)
		return -ENOMEM;
	put_point_fixed(p, f);
	if (type == REC_GROUP_POINT)
		put_group(p + POINT_HEAD_BYTES, &f->info.meta.group);
	for (i = 0; i < f->n_parts; i++)
		put_part_ref(p + refs + (size_t)i * POINT_PART_BYTES,
			     &f->parts[i]);
	r = head_hash(p, f, &d);
	if (r < 0)
		return r;
	memcpy(f->info.head.b, d.b, HEAD_BYTES);
	memcpy(p + 184, d.b, HEAD_BYTES);
	return 0;
}

static int get_point_fixed(const uint8_t *p, struct point_foot *f)
{
	struct point_info *i = &f->info;
	uint32_t kind = get_le32(p + 80);

	memset(f, 0, sizeof(*f));
	memcpy(f->volume.b, p, 16);
	f->ord = get_le64(p + 16);
	i->meta.epoch = get_le64(p + 24);
	i->meta.seq = get_le64(p + 32);
	i->meta.flip_wall_ns = (int64_t)get_le64(p + 40);
	i->received_wall_ns = (int64_t)get_le64(p + 48);
	i->meta.size_bytes = get_le64(p + 56);
	i->changed_bytes = get_le64(p + 64);
	i->stored_bytes = get_le64(p + 72);
	f->n_parts = get_le32(p + 84);
	memcpy(i->prev_head.b, p + 152, HEAD_BYTES);
	memcpy(i->head.b, p + 184, HEAD_BYTES);
	if (!f->ord || kind > POINT_FINAL)
		return -EBADMSG;
	i->meta.kind = (enum point_kind)kind;
	return text_get(p + 88, STORE_LABEL_MAX, i->meta.label);
}

static void get_part_ref(const uint8_t *p, struct part_ref *r)
{
	memcpy(r->segment.b, p, 16);
	r->off = get_le64(p + 16);
	r->bytes = get_le32(p + 24);
	memcpy(r->hash.b, p + 32, DIGEST_BYTES);
}

int point_get(enum rec_type type, const uint8_t *p, size_t n,
	      struct point_foot *f)
{
	const size_t refs = (size_t)point_body_bytes(type, 0);
	_cleanup_free_ struct part_ref *parts = NULL;
	struct digest d;
	uint32_t i;
	int r;

	if (n < refs || get_point_fixed(p, f) < 0 ||
	    f->n_parts > POINT_MAX_PARTS ||
	    n != point_body_bytes(type, f->n_parts))
		return -EBADMSG;
	if (type == REC_GROUP_POINT &&
	    get_group(p + POINT_HEAD_BYTES, &f->info.meta.group) < 0)
		return -EBADMSG;
	parts = calloc((size_t)f->n_parts + 1, sizeof(*parts));
	if (!parts)
		return -ENOMEM;
	f->parts = parts;
	for (i = 0; i < f->n_parts; i++)
		get_part_ref(p + refs + (size_t)i * POINT_PART_BYTES,
			     &parts[i]);
	r = head_hash(p, f, &d);
	f->parts = NULL;
	if (r < 0)
		return r;
	if (memcmp(d.b, f->info.head.b, HEAD_BYTES))
		return -EBADMSG;
	f->parts = TAKE_PTR(parts);
	return 0;
}
