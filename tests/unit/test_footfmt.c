// SPDX-License-Identifier: Apache-2.0
/* Part and point footers: round trips, limits, and bytes that are wrong. */
#include "store/footfmt.h"

#include "base/cleanup.h"
#include "base/rnd.h"

#include "lib/tap.h"

struct sample {
	struct ent ents[700];
	struct seg_delta deltas[3];
	struct part_content c;
	struct part_head head;
	struct buf b;
};

static void sample_make(struct sample *s, size_t n)
{
	size_t i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < n; i++)
		s->ents[i] = (struct ent){
			.first = 10 + i * 5,
			.unit_off = 1000 + i * 4200,
			.unit_sum = i * 0x123456789ULL,
			.count = 1 + (uint32_t)i % 5,
			.skip = (uint32_t)i % 3,
			.unit_bytes = 4200,
			.delta = (uint32_t)i % 3,
			.codec = UNIT_ZSTD,
		};
	for (i = 0; i < 3; i++)
		s->deltas[i] = (struct seg_delta){
			.index = 10 + (uint32_t)i,
			.delta = { .epoch = 1, .seq = 2 + i, .salt = { 3 } },
		};
	s->c = (struct part_content){ s->ents, n, s->deltas, 3, NULL };
	s->head = (struct part_head){ .data_segment = { { 1, 2 } },
				      .ord = 9,
				      .staged_bytes = 12345 };
	ASSERT_OK(part_put(&s->b, &s->c, &s->head));
}

/* Decode all of it into out; 0 or the first error. */
static int decode(const uint8_t *p, size_t n, struct part_head *h,
		  struct ent *out)
{
	_cleanup_free_ struct seg_delta *deltas = NULL;
	_cleanup_free_ struct part_page *pages = NULL;
	uint32_t i;
	int r = part_head_get(p, n, n, h);

	if (r < 0)
		return r;
	deltas = calloc(h->n_deltas, sizeof(*deltas));
	pages = calloc(h->n_pages, sizeof(*pages));
	r = part_tables_get(p, (size_t)part_pages_off(h), h, deltas, pages);
	for (i = 0; r == 0 && i < h->n_pages; i++)
		r = part_page_get(p + part_pages_off(h) +
					  (size_t)i * PART_PAGE_BYTES,
				  h, i, &pages[i],
				  out + (size_t)i * PART_PAGE_ENTRIES);
	return r;
}

static void round_trip(size_t n)
{
	static struct ent got[1024];
	struct part_head h;
	struct sample s;
	size_t i;

	sample_make(&s, n);
	ASSERT_U64(s.b.len, part_body_bytes(&s.head));
	ASSERT_OK(decode(s.b.data, s.b.len, &h, got));
	EXPECT_U64(h.n_entries, n);
	EXPECT_U64(h.ord, 9);
	EXPECT_U64(h.staged_bytes, 12345);
	EXPECT_U64(h.lo, 10);
	EXPECT_U64(h.hi, ent_end(&s.ents[n - 1]));
	for (i = 0; i < n; i++) {
		ASSERT_U64(got[i].first, s.ents[i].first);
		ASSERT_U64(got[i].count, s.ents[i].count);
		ASSERT_U64(got[i].skip, s.ents[i].skip);
		ASSERT_U64(got[i].unit_off, s.ents[i].unit_off);
		ASSERT_U64(got[i].unit_sum, s.ents[i].unit_sum);
		ASSERT_U64(got[i].unit_bytes, s.ents[i].unit_bytes);
		ASSERT_U64(got[i].delta, s.ents[i].delta);
		ASSERT_U64(got[i].codec, s.ents[i].codec);
	}
	buf_free(&s.b);
}

TEST(part_round_trip_around_page_limits)
{
	static const size_t sizes[] = { 1, 2, 127, 128, 129, 256, 257, 700 };
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		round_trip(sizes[i]);
}

TEST(part_any_flipped_bit_is_noticed)
{
	struct part_head h;
	struct sample s;
	struct ent got[256];
	size_t bit, unnoticed = 0;

	sample_make(&s, 3);
	for (bit = 0; bit < s.b.len * 8; bit++) {
		s.b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		/* Its own hash is compared with the one that a point has. */
		if (decode(s.b.data, s.b.len, &h, got) == 0 &&
		    !memcmp(h.hash.b, s.head.hash.b, DIGEST_BYTES))
			unnoticed++;
		s.b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	EXPECT_U64(unnoticed, 0);
	buf_free(&s.b);
}

TEST(part_cut_short_is_refused_at_every_length)
{
	struct part_head h;
	struct sample s;
	struct ent got[256];
	size_t n;

	sample_make(&s, 2);
	for (n = 0; n < s.b.len; n++) {
		/* Exactly so long, so that an over-read is seen. */
		_cleanup_free_ uint8_t *p = malloc(n + 1);

		memcpy(p, s.b.data, n);
		p = realloc(p, n ? n : 1);
		ASSERT_INT(decode(p, n, &h, got), -EBADMSG);
	}
	buf_free(&s.b);
}

static int put_one(const struct ent *e, size_t n)
{
	const struct seg_delta d = { 0 };
	const struct part_content c = { e, n, &d, 1, NULL };
	struct part_head h = { .ord = 1 };
	struct buf b = { 0 };
	int r = part_put(&b, &c, &h);

	buf_free(&b);
	return r;
}

TEST(entries_that_cannot_be_are_not_encoded)
{
	const struct ent good = { .first = 5, .unit_off = 200, .count = 4,
				  .unit_bytes = 500, .codec = UNIT_LZ4 };
	struct ent e = good, two[2] = { good, good };

	ASSERT_OK(put_one(&e, 1));
	EXPECT_INT(put_one(&e, 0), -EINVAL);
	e.count = 0;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e.count = 17;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e = good;
	e.skip = 13;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e = good;
	e.delta = 1;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e = good;
	e.unit_bytes = 20;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e = good;
	e.unit_off = 100;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	e = good;
	e.first = US_MAX_BLOCKS - 1;
	EXPECT_INT(put_one(&e, 1), -EINVAL);
	two[1].first = 8;
	EXPECT_INT(put_one(two, 2), -EINVAL);
	two[1].first = 9;
	EXPECT_OK(put_one(two, 2));
}

static struct point_foot some_point(struct part_ref *parts, uint32_t n)
{
	struct point_foot f = {
		.volume = { { 1, 2, 3 } },
		.ord = 44,
		.info = {
			.meta = { .epoch = 2, .seq = 50,
				  .flip_wall_ns = -7, .kind = POINT_APP,
				  .size_bytes = 1ULL << 33,
				  .label = "before the upgrade" },
			.received_wall_ns = 99,
			.prev_head = { { 9, 9 } },
			.changed_bytes = 4096,
			.stored_bytes = 5000,
		},
		.parts = parts,
		.n_parts = n,
	};
	uint32_t i;

	for (i = 0; i < n; i++)
		parts[i] = (struct part_ref){
			.segment = { { (uint8_t)i, 1 } },
			.off = 4096 + i,
			.bytes = 300 + i,
			.hash = { { (uint8_t)i, 2 } },
		};
	return f;
}

TEST(point_round_trip_with_no_one_and_many_parts)
{
	static const uint32_t counts[] = { 0, 1, 1000 };
	struct part_ref parts[1000];
	size_t i;

	for (i = 0; i < 3; i++) {
		struct point_foot f = some_point(parts, counts[i]), back;
		_cleanup_buf_ struct buf b = { 0 };

		ASSERT_OK(point_put(&b, &f));
		ASSERT_U64(b.len, point_body_bytes(REC_POINT, counts[i]));
		ASSERT_OK(point_get(REC_POINT, b.data, b.len, &back));
		EXPECT_MEM(&back.info.head, &f.info.head, HEAD_BYTES);
		EXPECT_MEM(&back.info.prev_head, &f.info.prev_head,
			   HEAD_BYTES);
		EXPECT_STR(back.info.meta.label, "before the upgrade");
		EXPECT_INT(back.info.meta.flip_wall_ns, -7);
		EXPECT_INT(back.info.meta.kind, POINT_APP);
		EXPECT_U64(back.ord, 44);
		ASSERT_U64(back.n_parts, counts[i]);
		if (counts[i])
			EXPECT_U64(back.parts[counts[i] - 1].off,
				   4096 + counts[i] - 1);
		free(back.parts);
	}
}

TEST(point_head_covers_all_but_where_parts_lie)
{
	struct part_ref parts[2];
	struct point_foot f = some_point(parts, 2), back;
	_cleanup_buf_ struct buf b = { 0 };
	size_t i, unnoticed = 0;

	ASSERT_OK(point_put(&b, &f));
	for (i = 0; i < b.len; i++) {
		bool place = i >= POINT_HEAD_BYTES &&
			     (i - POINT_HEAD_BYTES) % POINT_PART_BYTES < 32;

		b.data[i] ^= 0x10;
		back.parts = NULL;
		if (point_get(REC_POINT, b.data, b.len, &back) == 0) {
			free(back.parts);
			unnoticed += !place;
		}
		b.data[i] ^= 0x10;
	}
	EXPECT_U64(unnoticed, 0);
}

TEST(point_cut_short_is_refused_at_every_length)
{
	struct part_ref parts[2];
	struct point_foot f = some_point(parts, 2), back;
	_cleanup_buf_ struct buf b = { 0 };
	size_t n;

	ASSERT_OK(point_put(&b, &f));
	for (n = 0; n < b.len; n++)
		ASSERT_INT(point_get(REC_POINT, b.data, n, &back), -EBADMSG);
}

TEST(heads_differ_when_anything_said_differs)
{
	struct part_ref parts[1];
	struct point_foot a = some_point(parts, 1), b = a;
	_cleanup_buf_ struct buf x = { 0 };

	b.info.meta.seq++;
	ASSERT_OK(point_put(&x, &a));
	ASSERT_OK(point_put(&x, &b));
	EXPECT_TRUE(memcmp(&a.info.head, &b.info.head, HEAD_BYTES) != 0);
	b = a;
	b.info.prev_head.b[31] ^= 1;
	ASSERT_OK(point_put(&x, &b));
	EXPECT_TRUE(memcmp(&a.info.head, &b.info.head, HEAD_BYTES) != 0);
	b = a;
	parts[0].hash.b[0] ^= 1;
	ASSERT_OK(point_put(&x, &b));
	EXPECT_TRUE(memcmp(&a.info.head, &b.info.head, HEAD_BYTES) != 0);
}

static const struct point_group some_group = {
	.uuid = { { 0x66, 6 } }, .seq = 12, .n_members = 3, .name = "shop",
};

TEST(a_group_comes_back_and_the_head_covers_every_byte_of_it)
{
	struct part_ref parts[2];
	struct point_foot f = some_point(parts, 2), back;
	_cleanup_buf_ struct buf b = { 0 };
	size_t i;

	f.info.meta.group = some_group;
	ASSERT_OK(point_put(&b, &f));
	ASSERT_U64(b.len, point_body_bytes(REC_GROUP_POINT, 2));
	ASSERT_OK(point_get(REC_GROUP_POINT, b.data, b.len, &back));
	EXPECT_TRUE(uuid_equal(&back.info.meta.group.uuid, &some_group.uuid));
	EXPECT_U64(back.info.meta.group.seq, 12);
	EXPECT_U64(back.info.meta.group.n_members, 3);
	EXPECT_STR(back.info.meta.group.name, "shop");
	EXPECT_MEM(&back.info.head, &f.info.head, HEAD_BYTES);
	EXPECT_MEM(&back.parts[1].hash, &parts[1].hash, DIGEST_BYTES);
	free(back.parts);
	for (i = 0; i < POINT_HEAD_BYTES + POINT_GROUP_BYTES; i++) {
		b.data[i] ^= 1;
		EXPECT_INT(point_get(REC_GROUP_POINT, b.data, b.len, &back),
			   -EBADMSG);
		b.data[i] ^= 1;
	}
}

TEST(a_group_point_is_no_point_and_the_other_way_round)
{
	struct part_ref parts[3];
	struct point_foot f = some_point(parts, 3), back;
	_cleanup_buf_ struct buf b = { 0 }, g = { 0 };

	ASSERT_OK(point_put(&b, &f));
	EXPECT_INT(point_get(REC_GROUP_POINT, b.data, b.len, &back), -EBADMSG);
	f.info.meta.group = some_group;
	ASSERT_OK(point_put(&g, &f));
	EXPECT_INT(point_get(REC_POINT, g.data, g.len, &back), -EBADMSG);
	EXPECT_TRUE(memcmp(b.data + 184, g.data + 184, HEAD_BYTES) != 0);
}

TEST(groups_that_cannot_be_are_not_written)
{
	struct part_ref parts[1];
	struct point_foot f = some_point(parts, 1);
	_cleanup_buf_ struct buf b = { 0 };

	f.info.meta.group = some_group;
	f.info.meta.group.seq = 0;
	EXPECT_INT(point_put(&b, &f), -EINVAL);
	f.info.meta.group = some_group;
	f.info.meta.group.n_members = 65;
	EXPECT_INT(point_put(&b, &f), -EINVAL);
	f.info.meta.group = some_group;
	f.info.meta.group.name[0] = 0;
	EXPECT_INT(point_put(&b, &f), -EINVAL);
	EXPECT_U64(b.len, 0);
}
