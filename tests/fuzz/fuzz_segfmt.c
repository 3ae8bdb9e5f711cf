// SPDX-License-Identifier: Apache-2.0
/*
 * What lies in a store's files, from a hostile disk. The first byte chooses
 * the decoder. Records that pass as framed are framed properly first, and
 * parts get right hashes, so that what is behind the checksums is reached;
 * what decodes must hold its promises.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/footfmt.h"
#include "store/segfmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void fixed_headers(const uint8_t *p, size_t n)
{
	uint8_t seg[SEG_HEADER_BYTES] = { 0 }, meta[STORE_META_BYTES] = { 0 };
	struct seg_header h;
	struct store_meta m;

	memcpy(seg, p, n < sizeof(seg) ? n : sizeof(seg));
	memcpy(meta, p, n < sizeof(meta) ? n : sizeof(meta));
	(void)seg_header_decode(seg, &h);
	(void)store_meta_decode(meta, &m);
}

static void small_bodies(const uint8_t *p, size_t n)
{
	struct rec_volume v;
	struct rec_epoch e;
	struct rec_delta d;
	struct rec_discard x;

	if (rec_volume_get(p, n, &v) == 0)
		must(strlen(v.source) <= SEG_NAME_BYTES &&
		     strlen(v.name) <= SEG_NAME_BYTES && !strchr(v.name, '/'));
	if (rec_epoch_get(p, n, &e) == 0)
		must(e.parent_epoch < e.epoch);
	(void)rec_delta_get(p, n, &d);
	(void)rec_discard_get(p, n, &x);
}

static void framed(const uint8_t *p, size_t n)
{
	struct rec_place at = { 0, 0 };
	struct rec_header h;

	if (n < 16 + REC_HEADER_BYTES)
		return;
	at.salt = get_le64(p);
	at.off = get_le64(p + 8);
	p += 16;
	n -= 16;
	if (rec_header_decode(p, &at, &h))
		return;
	must(h.body_bytes <= REC_MAX_BODY_BYTES &&
	     h.padded_bytes >= h.body_bytes &&
	     h.padded_bytes % SEG_ALIGN_BYTES == 0);
	if (h.padded_bytes <= n - REC_HEADER_BYTES)
		(void)rec_body_check(&h, &at, p + REC_HEADER_BYTES);
}

static void check_page(const struct part_head *h, const struct ent *e,
		       uint32_t n)
{
	uint64_t at = h->lo;
	uint32_t i;

	for (i = 0; i < n; i++) {
		must(e[i].count && e[i].first >= at && ent_end(&e[i]) <= h->hi);
		must(e[i].delta < h->n_deltas);
		must(e[i].unit_bytes <= UNIT_MAX_BYTES);
		at = ent_end(&e[i]);
	}
}

/* SHA-256 stands in the way: set the hashes as the content wants them. */
static void put_hashes(uint8_t *p, const struct part_head *h)
{
	static const char domain[16] = "understudy-part\1";
	uint8_t *refs = p + PART_HEAD_BYTES +
			(size_t)h->n_deltas * PART_DELTA_BYTES;
	const uint8_t *pages = p + part_pages_off(h);
	struct iovec iov[3] = { { (void *)domain, 16 },
				{ p, 72 },
				{ p + PART_HEAD_BYTES,
				  (size_t)part_pages_off(h) -
					  PART_HEAD_BYTES } };
	struct digest d;
	uint32_t i;

	for (i = 0; i < h->n_pages; i++) {
		struct iovec page = { (void *)(pages +
					       (size_t)i * PART_PAGE_BYTES),
				      part_page_entries(h, i) *
					      PART_ENTRY_BYTES };

		must(!digest_of(&page, 1, &d));
		memcpy(refs + (size_t)i * PART_PAGE_REF_BYTES + 8, d.b, 16);
	}
	must(!digest_of(iov, 3, &d));
	memcpy(p + 72, d.b, DIGEST_BYTES);
}

static void part(uint8_t *p, size_t n)
{
	struct ent ents[PART_PAGE_ENTRIES];
	struct seg_delta *deltas;
	struct part_page *pages;
	struct part_head h;
	uint32_t i;

	if (part_head_get(p, n, n, &h))
		return;
	put_hashes(p, &h);
	must(!part_head_get(p, n, n, &h));
	deltas = calloc(h.n_deltas, sizeof(*deltas));
	pages = calloc(h.n_pages, sizeof(*pages));
	must(deltas && pages);
	if (!part_tables_get(p, (size_t)part_pages_off(&h), &h, deltas,
			     pages))
		for (i = 0; i < h.n_pages; i++)
			if (!part_page_get(p + part_pages_off(&h) +
						   (size_t)i * PART_PAGE_BYTES,
					   &h, i, &pages[i], ents))
				check_page(&h, ents,
					   part_page_entries(&h, i));
	free(deltas);
	free(pages);
}

/* Its head is set right first. Encoded again it must be the same bytes. */
static void point(enum rec_type type, uint8_t *p, size_t n)
{
	const char *domain = type == REC_POINT ? "understudy-head\1" :
						 "understudy-head\2";
	const size_t refs = (size_t)point_body_bytes(type, 0);
	struct point_foot f = { 0 };
	struct buf b = { 0 };
	struct digest d;
	uint8_t *hashes;
	size_t i, parts;

	if (n < refs)
		return;
	parts = (n - refs) / POINT_PART_BYTES;
	hashes = malloc(parts * DIGEST_BYTES + 1);
	must(hashes != NULL);
	for (i = 0; i < parts; i++)
		memcpy(hashes + i * DIGEST_BYTES,
		       p + refs + i * POINT_PART_BYTES + 32,
		       DIGEST_BYTES);
	must(!digest_of((struct iovec[]){ { (void *)domain, 16 },
					  { p, 184 },
					  { p + POINT_HEAD_BYTES,
					    refs - POINT_HEAD_BYTES },
					  { hashes, parts * DIGEST_BYTES } },
			4, &d));
	memcpy(p + 184, d.b, HEAD_BYTES);
	free(hashes);
	if (point_get(type, p, n, &f) == 0) {
		must(f.n_parts == parts);
		must(point_put(&b, &f) == 0 && b.len == n);
		must(!memcmp(b.data + 184, p + 184, HEAD_BYTES));
	}
	free(f.parts);
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	size_t n;

	if (!size)
		return 0;
	n = size - 1;
	copy = malloc(n ? n : 1);
	must(copy != NULL);
	memcpy(copy, data + 1, n);
	switch (data[0] % 5) {
	case 0:
		fixed_headers(copy, n);
		break;
	case 1:
		small_bodies(copy, n);
		break;
	case 2:
		framed(copy, n);
		break;
	case 3:
		part(copy, n);
		break;
	case 4:
		point(data[0] / 5 % 2 ? REC_GROUP_POINT : REC_POINT, copy, n);
		break;
	}
	free(copy);
	return 0;
}
