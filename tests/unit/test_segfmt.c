// SPDX-License-Identifier: Apache-2.0
/* store.meta, segment headers, record frames and small bodies. */
#include "store/segfmt.h"

#include "base/rnd.h"

#include "lib/tap.h"

static const struct rec_place here = { 0x1122334455667788ULL, 4096 };

static struct seg_header some_header(void)
{
	return (struct seg_header){
		.store = { { 1, 2, 3 } },
		.volume = { { 4, 5, 6 } },
		.segment = { { 7, 8, 9 } },
		.number = 12,
		.created_wall_ns = -5,
	};
}

TEST(store_meta_round_trip)
{
	const struct store_meta m = { { { 9, 8, 7 } }, 1234567 };
	uint8_t bytes[STORE_META_BYTES];
	struct store_meta back;

	store_meta_encode(&m, bytes);
	ASSERT_OK(store_meta_decode(bytes, &back));
	EXPECT_MEM(&back, &m, sizeof(m));
}

TEST(store_meta_any_flipped_bit_is_noticed)
{
	const struct store_meta m = { { { 9, 8, 7 } }, 1234567 };
	uint8_t bytes[STORE_META_BYTES];
	struct store_meta back;
	unsigned int bit;

	store_meta_encode(&m, bytes);
	for (bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ASSERT_INT(store_meta_decode(bytes, &back), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

TEST(segment_header_round_trip)
{
	const struct seg_header h = some_header();
	uint8_t bytes[SEG_HEADER_BYTES];
	struct seg_header back;

	seg_header_encode(&h, bytes);
	ASSERT_OK(seg_header_decode(bytes, &back));
	EXPECT_TRUE(uuid_equal(&back.store, &h.store));
	EXPECT_TRUE(uuid_equal(&back.volume, &h.volume));
	EXPECT_TRUE(uuid_equal(&back.segment, &h.segment));
	EXPECT_U64(back.number, 12);
	EXPECT_INT(back.created_wall_ns, -5);
}

TEST(segment_header_any_flipped_bit_is_noticed)
{
	const struct seg_header h = some_header();
	uint8_t bytes[SEG_HEADER_BYTES];
	struct seg_header back;
	unsigned int bit;

	seg_header_encode(&h, bytes);
	for (bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ASSERT_INT(seg_header_decode(bytes, &back), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

TEST(segment_names_are_exact)
{
	const struct uuid id = some_header().segment;
	char name[SEGMENT_NAME_BYTES];
	struct uuid back;

	segment_file_name(&id, name);
	ASSERT_OK(segment_file_parse(name, &back));
	EXPECT_TRUE(uuid_equal(&back, &id));
	EXPECT_INT(segment_file_parse("x.seg", &back), -EINVAL);
	EXPECT_INT(segment_file_parse("", &back), -EINVAL);
	name[0] = '/';
	EXPECT_INT(segment_file_parse(name, &back), -EINVAL);
	segment_file_name(&id, name);
	name[strlen(name) - 1] = 'x';
	EXPECT_INT(segment_file_parse(name, &back), -EINVAL);
}

static void make_record(struct buf *b, const void *body, size_t n)
{
	size_t start = rec_begin(b);

	buf_put(b, body, n);
	rec_end(b, start, &here, REC_DISCARD, REC_SKIPPABLE);
	ASSERT_FALSE(b->failed);
}

TEST(record_round_trip_at_every_small_length)
{
	uint8_t body[40];
	size_t n;

	memset(body, 0xa5, sizeof(body));
	for (n = 0; n <= sizeof(body); n++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct rec_header h;

		make_record(&b, body, n);
		ASSERT_OK(rec_header_decode(b.data, &here, &h));
		EXPECT_INT(h.type, REC_DISCARD);
		EXPECT_INT(h.flags, REC_SKIPPABLE);
		EXPECT_U64(h.body_bytes, n);
		EXPECT_U64(rec_total_bytes(&h), b.len);
		EXPECT_U64(b.len % SEG_ALIGN_BYTES, 0);
		EXPECT_OK(rec_body_check(&h, &here, b.data + 32));
		EXPECT_MEM(b.data + 32, body, n);
	}
}

TEST(record_any_flipped_bit_is_noticed)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct rec_header h;
	size_t bit;
	int r;

	make_record(&b, "thirteen byte", 13);
	for (bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		r = rec_header_decode(b.data, &here, &h);
		if (r == 0)
			r = rec_body_check(&h, &here, b.data + 32);
		ASSERT_INT(r, -EBADMSG);
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

TEST(record_validates_nowhere_else)
{
	struct rec_place moved = here, foreign = here;
	_cleanup_buf_ struct buf b = { 0 };
	struct rec_header h;

	make_record(&b, "x", 1);
	moved.off += 8;
	EXPECT_INT(rec_header_decode(b.data, &moved, &h), -EBADMSG);
	foreign.salt++;
	EXPECT_INT(rec_header_decode(b.data, &foreign, &h), -EBADMSG);
}

TEST(record_body_over_the_limit_is_not_encoded)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t start = rec_begin(&b);

	ASSERT_NOT_NULL(buf_extend(&b, REC_MAX_BODY_BYTES + 1));
	rec_end(&b, start, &here, REC_UNITS, 0);
	EXPECT_TRUE(b.failed);
}

TEST(random_bytes_are_no_record)
{
	struct rnd_seeded rnd;
	uint8_t bytes[REC_HEADER_BYTES];
	struct rec_header h;
	unsigned int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 100000; i++) {
		(void)rnd_fill(&rnd.rnd, bytes, sizeof(bytes));
		memcpy(bytes, "URec", 4);
		ASSERT_INT(rec_header_decode(bytes, &here, &h), -EBADMSG);
	}
}

TEST(volume_body_round_trip)
{
	const struct rec_volume v = {
		.volume = { { 1 } },
		.size_bytes = 1ULL << 40,
		.epoch = 3,
		.source = "web1",
		.name = "0123456789012345678901234567890123456789"
			"012345678901234567890123",
	};
	_cleanup_buf_ struct buf b = { 0 };
	struct rec_volume back;

	rec_volume_put(&b, &v);
	ASSERT_U64(b.len, REC_VOLUME_BYTES);
	ASSERT_OK(rec_volume_get(b.data, b.len, &back));
	EXPECT_STR(back.source, v.source);
	EXPECT_STR(back.name, v.name);
	EXPECT_U64(back.size_bytes, v.size_bytes);
	EXPECT_U64(back.epoch, 3);
}

TEST(volume_body_with_a_name_that_is_none_is_refused)
{
	struct rec_volume v = { .source = "web1", .name = "a/b" }, back;
	_cleanup_buf_ struct buf b = { 0 };

	rec_volume_put(&b, &v);
	EXPECT_INT(rec_volume_get(b.data, b.len, &back), -EBADMSG);
	buf_reset(&b);
	memcpy(v.name, "ok", 3);
	rec_volume_put(&b, &v);
	b.data[32 + 64 + 5] = 'x';	/* behind the end of the name */
	EXPECT_INT(rec_volume_get(b.data, b.len, &back), -EBADMSG);
}

TEST(delta_epoch_and_discard_bodies_round_trip)
{
	const struct rec_delta d = { 7, { .volume = { { 1 } }, .epoch = 2,
					  .seq = 3, .key_id = 4,
					  .salt = { 5 } } };
	const struct rec_epoch e = { { { 1 } }, 5, 4, 99, -1, { 6 } };
	const struct rec_discard x = { { { 1 } }, 17, 18 };
	_cleanup_buf_ struct buf b = { 0 };
	struct rec_delta d2;
	struct rec_epoch e2;
	struct rec_discard x2;

	rec_delta_put(&b, &d);
	ASSERT_OK(rec_delta_get(b.data, b.len, &d2));
	EXPECT_U64(d2.index, 7);
	EXPECT_U64(d2.delta.seq, 3);
	EXPECT_INT(rec_delta_get(b.data, b.len - 1, &d2), -EBADMSG);
	buf_reset(&b);
	rec_epoch_put(&b, &e);
	ASSERT_OK(rec_epoch_get(b.data, b.len, &e2));
	EXPECT_U64(e2.parent_seq, 99);
	EXPECT_INT(e2.wall_ns, -1);
	buf_reset(&b);
	rec_discard_put(&b, &x);
	ASSERT_OK(rec_discard_get(b.data, b.len, &x2));
	EXPECT_U64(x2.ord, 17);
	EXPECT_INT(rec_discard_get(b.data, 0, &x2), -EBADMSG);
}

TEST(epoch_that_is_not_above_its_parent_is_refused)
{
	const struct rec_epoch e = { { { 1 } }, 4, 4, 99, -1, { 6 } };
	_cleanup_buf_ struct buf b = { 0 };
	struct rec_epoch back;

	rec_epoch_put(&b, &e);
	EXPECT_INT(rec_epoch_get(b.data, b.len, &back), -EBADMSG);
}
