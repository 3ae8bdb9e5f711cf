// SPDX-License-Identifier: Apache-2.0
/* The shape of units: what parses, what cannot, checksums, deltas. */
#include "lib/tap.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/rnd.h"
#include "wire/unit.h"

#define RAW1_BYTES (40 + 16 + 4096 + 16)

/* A heap copy of exactly n bytes, so that a sanitizer sees an over-read. */
static int parse_exact(const uint8_t *p, size_t n, struct unit_view *v)
{
	uint8_t *copy = malloc(n ? n : 1);
	int r;

	ASSERT_NOT_NULL(copy);
	if (n)
		memcpy(copy, p, n);
	r = unit_parse(copy, n, v);
	free(copy);
	return r;
}

struct shape {
	uint32_t total;
	uint8_t codec;
	uint64_t first;
	uint32_t count;
};

static void put_shape(uint8_t *p, struct shape s)
{
	memset(p, 0, UNIT_HEADER_BYTES);
	put_le32(p, s.total);
	p[4] = s.codec;
	put_le64(p + 8, s.first);
	put_le32(p + 16, s.count);
	put_le32(p + 20, 77);
	put_le64(p + 24, 0x1122334455667788);
}

static int parse_shape(struct shape s)
{
	static uint8_t bytes[UNIT_MAX_BYTES + 64];
	struct unit_view v;

	put_shape(bytes, s);
	return unit_parse(bytes, sizeof(bytes), &v);
}

TEST(a_raw_unit_parses_into_its_parts)
{
	uint8_t u[RAW1_BYTES + 8] = { 0 };
	struct unit_view v;

	put_shape(u, (struct shape){ RAW1_BYTES, UNIT_RAW, 9, 1 });
	ASSERT_OK(unit_parse(u, sizeof(u), &v));
	EXPECT_INT(v.codec, UNIT_RAW);
	EXPECT_U64(v.first, 9);
	EXPECT_U64(v.count, 1);
	EXPECT_U64(v.delta_index, 77);
	EXPECT_U64(v.counter, 0x1122334455667788);
	EXPECT_U64(v.total_bytes, RAW1_BYTES);
	EXPECT_TRUE(v.fps == u + 40);
	EXPECT_TRUE(v.payload == u + 56);
	EXPECT_U64(v.payload_bytes, 4096);
	EXPECT_TRUE(v.tag == u + 56 + 4096);
}

TEST(a_zero_unit_has_no_fingerprints_and_no_payload)
{
	uint8_t u[56] = { 0 };
	struct unit_view v;

	put_shape(u, (struct shape){ 56, UNIT_ZERO, 9, UNIT_MAX_ZERO_BLOCKS });
	ASSERT_OK(unit_parse(u, sizeof(u), &v));
	EXPECT_NULL(v.fps);
	EXPECT_U64(v.payload_bytes, 0);
	EXPECT_TRUE(v.tag == u + 40);
}

TEST(fewer_bytes_than_the_unit_ask_for_more)
{
	uint8_t u[RAW1_BYTES] = { 0 };
	struct unit_view v;
	size_t n;

	put_shape(u, (struct shape){ RAW1_BYTES, UNIT_RAW, 9, 1 });
	for (n = 0; n < sizeof(u); n++)
		ASSERT_INT(parse_exact(u, n, &v), -EAGAIN);
	ASSERT_OK(parse_exact(u, n, &v));
}

TEST(lengths_that_do_not_fit_the_codec_are_refused)
{
	const uint32_t around1 = 40 + 16 + 16, around16 = 40 + 256 + 16;
	const struct {
		struct shape s;
		int r;
	} cases[] = {
		{ { 56, UNIT_ZERO, 0, 1 }, 0 },
		{ { 55, UNIT_ZERO, 0, 1 }, -EBADMSG },
		{ { 57, UNIT_ZERO, 0, 1 }, -EBADMSG },
		{ { 0, UNIT_ZERO, 0, 1 }, -EBADMSG },
		{ { UINT32_MAX, UNIT_ZERO, 0, 1 }, -EBADMSG },
		{ { RAW1_BYTES, UNIT_RAW, 0, 1 }, 0 },
		{ { RAW1_BYTES - 1, UNIT_RAW, 0, 1 }, -EBADMSG },
		{ { RAW1_BYTES + 1, UNIT_RAW, 0, 1 }, -EBADMSG },
		{ { UNIT_MAX_BYTES, UNIT_RAW, 0, 16 }, 0 },
		{ { UNIT_MAX_BYTES + 1, UNIT_RAW, 0, 16 }, -EBADMSG },
		{ { around1 + 1, UNIT_LZ4, 0, 1 }, 0 },
		{ { around1, UNIT_LZ4, 0, 1 }, -EBADMSG },
		{ { around1 - 1, UNIT_LZ4, 0, 1 }, -EBADMSG },
		{ { around1 + 4095, UNIT_ZSTD, 0, 1 }, 0 },
		{ { around1 + 4096, UNIT_ZSTD, 0, 1 }, -EBADMSG },
		{ { around16 + 65535, UNIT_ZSTD, 0, 16 }, 0 },
		{ { around16 + 65536, UNIT_ZSTD, 0, 16 }, -EBADMSG },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT_MSG(parse_shape(cases[i].s) == cases[i].r, "case %zu",
			   i);
}

TEST(ranges_beyond_the_limits_are_refused)
{
	const uint64_t end = US_MAX_BLOCKS;
	const struct {
		struct shape s;
		int r;
	} cases[] = {
		{ { 56, UNIT_ZERO, 0, 0 }, -EBADMSG },
		{ { 56, UNIT_ZERO, 0, UNIT_MAX_ZERO_BLOCKS + 1 }, -EBADMSG },
		{ { 56, UNIT_ZERO, 0, UINT32_MAX }, -EBADMSG },
		{ { 56, UNIT_ZERO, end - 1, 1 }, 0 },
		{ { 56, UNIT_ZERO, end - 1, 2 }, -EBADMSG },
		{ { 56, UNIT_ZERO, end, 1 }, -EBADMSG },
		{ { 56, UNIT_ZERO, UINT64_MAX, 1 }, -EBADMSG },
		{ { RAW1_BYTES, UNIT_RAW, 0, 0 }, -EBADMSG },
		{ { UNIT_MAX_BYTES, UNIT_RAW, 0, 17 }, -EBADMSG },
		{ { 200, UNIT_LZ4, 0, 1U << 28 }, -EBADMSG },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT_MSG(parse_shape(cases[i].s) == cases[i].r, "case %zu",
			   i);
}

TEST(unknown_codecs_and_reserved_bytes_are_refused)
{
	uint8_t u[56];
	struct unit_view v;
	int i;

	EXPECT_INT(parse_shape((struct shape){ 56, 4, 0, 1 }), -EBADMSG);
	EXPECT_INT(parse_shape((struct shape){ 56, 255, 0, 1 }), -EBADMSG);
	for (i = 5; i < 8; i++) {
		put_shape(u, (struct shape){ 56, UNIT_ZERO, 0, 1 });
		u[i] = 1;
		EXPECT_INT(unit_parse(u, sizeof(u), &v), -EBADMSG);
	}
}

TEST(the_checksum_is_one_shot_xxh3_with_two_fields_zeroed)
{
	uint8_t u[RAW1_BYTES], zeroed[RAW1_BYTES];
	struct rnd_seeded rnd;

	rnd_seeded_init(&rnd, 5);
	ASSERT_OK(rnd_fill(&rnd.rnd, u, sizeof(u)));
	memcpy(zeroed, u, sizeof(u));
	memset(zeroed + 20, 0, 4);
	memset(zeroed + 32, 0, 8);
	EXPECT_U64(unit_checksum(u, sizeof(u)),
		   XXH3_64bits(zeroed, sizeof(zeroed)));
}

TEST(every_flipped_bit_but_of_the_delta_index_breaks_the_checksum)
{
	uint8_t u[56 + 64];
	size_t n = sizeof(u), i;
	int bit;

	memset(u, 0xa5, n);
	put_shape(u, (struct shape){ (uint32_t)n, UNIT_LZ4, 9, 1 });
	put_le64(u + 32, unit_checksum(u, n));
	ASSERT_OK(unit_verify_checksum(u, n));
	for (i = 0; i < n; i++) {
		bool local = i >= 20 && i < 24;

		for (bit = 0; bit < 8; bit++) {
			u[i] ^= (uint8_t)(1 << bit);
			EXPECT_INT(unit_verify_checksum(u, n),
				   local ? 0 : -EBADMSG);
			u[i] ^= (uint8_t)(1 << bit);
		}
	}
	EXPECT_INT(unit_verify_checksum(u, n - 1), -EBADMSG);
	EXPECT_INT(unit_verify_checksum(u, 39), -EBADMSG);
	EXPECT_INT(unit_verify_checksum(u, 0), -EBADMSG);
}

TEST(setting_the_delta_index_changes_nothing_else)
{
	uint8_t u[120], before[120];
	struct unit_view v;

	memset(u, 0x5a, sizeof(u));
	put_shape(u, (struct shape){ sizeof(u), UNIT_LZ4, 9, 1 });
	put_le64(u + 32, unit_checksum(u, sizeof(u)));
	memcpy(before, u, sizeof(u));
	unit_set_delta_index(u, 0xfedcba98);
	ASSERT_OK(unit_parse(u, sizeof(u), &v));
	EXPECT_U64(v.delta_index, 0xfedcba98);
	EXPECT_OK(unit_verify_checksum(u, sizeof(u)));
	EXPECT_MEM(u, before, 20);
	EXPECT_MEM(u + 24, before + 24, sizeof(u) - 24);
}

TEST(random_bytes_never_read_past_their_end)
{
	struct rnd_seeded rnd;
	struct unit_view v;
	uint8_t u[256];
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 20000; i++) {
		size_t n = rnd_seeded_below(&rnd, sizeof(u) + 1);
		int r;

		ASSERT_OK(rnd_fill(&rnd.rnd, u, sizeof(u)));
		/* Mostly near what is valid, else all dies at once. */
		put_le32(u, (uint32_t)rnd_seeded_below(&rnd, 300));
		u[4] &= 3;
		memset(u + 5, 0, 3);
		put_le64(u + 8, rnd_seeded_below(&rnd, US_MAX_BLOCKS));
		put_le32(u + 16, (uint32_t)rnd_seeded_below(&rnd, 3));
		r = parse_exact(u, n, &v);
		if (!r)
			ASSERT_LE(v.total_bytes, n);
		else
			ASSERT_TRUE(r == -EAGAIN || r == -EBADMSG);
	}
}

TEST(a_delta_comes_back_as_it_was_encoded)
{
	struct delta d, back;
	uint8_t bytes[DELTA_BYTES], again[DELTA_BYTES];
	struct rnd_seeded rnd;

	memset(&d, 0, sizeof(d));
	memset(&back, 0, sizeof(back));
	rnd_seeded_init(&rnd, 9);
	ASSERT_OK(rnd_fill(&rnd.rnd, bytes, sizeof(bytes)));
	delta_decode(bytes, &d);
	delta_encode(&d, again);
	EXPECT_MEM(again, bytes, sizeof(bytes));
	delta_decode(again, &back);
	EXPECT_MEM(&back, &d, sizeof(d));
	EXPECT_U64(d.epoch, get_le64(bytes + 16));
	EXPECT_U64(d.seq, get_le64(bytes + 24));
	EXPECT_U64(d.key_id, get_le32(bytes + 32));
}
