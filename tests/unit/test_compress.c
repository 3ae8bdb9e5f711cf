// SPDX-License-Identifier: Apache-2.0
/* Packing of units: round trips, what `auto` chooses, hostile input. */
#include "lib/tap.h"

#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <zstd.h>

#include "base/rnd.h"
#include "wire/compress.h"

#define MAX UNIT_MAX_PLAIN_BYTES

static uint8_t plain[MAX], packed[2 * MAX], back[MAX];

static void fill_random(struct rnd_seeded *rnd)
{
	ASSERT_OK(rnd_fill(&rnd->rnd, plain, sizeof(plain)));
}

/* Shrinks to less than half. */
static void fill_text(void)
{
	size_t i;

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)("the quick brown fox "[i % 20] +
				     (i / 997) % 3);
}

/* Shrinks by about a fifth: four of five pages random, the fifth zero. */
static void fill_poor(struct rnd_seeded *rnd)
{
	size_t i;

	fill_random(rnd);
	for (i = 0; i + 1000 <= sizeof(plain); i += 5000)
		memset(plain + i, 0, 1000);
}

static struct packer *packer(enum comp_mode mode, int level)
{
	struct packer *p =
		packer_new(&(struct comp_config){ .mode = mode,
						  .level = level });

	ASSERT_NOT_NULL(p);
	return p;
}

static int pack(struct packer *p, size_t *n)
{
	return packer_pack(p, plain, sizeof(plain), packed, n);
}

TEST(random_round_trips_in_every_mode_and_size)
{
	static const enum comp_mode modes[] = { COMP_AUTO, COMP_NONE, COMP_LZ4,
						COMP_ZSTD };
	struct unpacker *u = unpacker_new();
	struct rnd_seeded rnd;
	int i;

	ASSERT_NOT_NULL(u);
	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 200; i++) {
		struct packer *p = packer(modes[i % 4], i % 3);
		size_t n = (1 + rnd_seeded_below(&rnd, 16)) * 4096, out_n;
		uint64_t kind = rnd_seeded_below(&rnd, 3);
		int codec;

		if (kind == 0)
			fill_random(&rnd);
		else if (kind == 1)
			fill_poor(&rnd);
		else
			fill_text();
		codec = packer_pack(p, plain, n, packed, &out_n);
		ASSERT_GE(codec, UNIT_RAW);
		if (codec != UNIT_RAW) {
			ASSERT_LE(out_n, n - n / 16);
			ASSERT_OK(unpacker_unpack(u, (enum unit_codec)codec,
						  packed, out_n, back, n));
			ASSERT_MEM(back, plain, n);
		} else {
			ASSERT_TRUE(kind == 0 || modes[i % 4] == COMP_NONE);
		}
		packer_free(p);
	}
	unpacker_free(u);
}

TEST(a_named_mode_uses_its_codec_only)
{
	struct packer *lz4 = packer(COMP_LZ4, 0), *zstd = packer(COMP_ZSTD, 0);
	struct packer *none = packer(COMP_NONE, 0);
	size_t n;
	int i;

	fill_text();
	for (i = 0; i < 3; i++) {
		EXPECT_INT(pack(lz4, &n), UNIT_LZ4);
		EXPECT_INT(pack(zstd, &n), UNIT_ZSTD);
		EXPECT_INT(pack(none, &n), UNIT_RAW);
	}
	packer_free(lz4);
	packer_free(zstd);
	packer_free(none);
}

TEST(auto_goes_over_to_zstd_where_units_shrink_well)
{
	struct packer *p = packer(COMP_AUTO, 0);
	struct rnd_seeded rnd;
	size_t n;

	rnd_seeded_init(&rnd, 1);
	fill_text();
	EXPECT_INT(pack(p, &n), UNIT_LZ4);
	EXPECT_INT(pack(p, &n), UNIT_ZSTD);
	EXPECT_INT(pack(p, &n), UNIT_ZSTD);
	fill_poor(&rnd);
	EXPECT_INT(pack(p, &n), UNIT_ZSTD);
	EXPECT_INT(pack(p, &n), UNIT_LZ4);
	EXPECT_INT(pack(p, &n), UNIT_LZ4);
	packer_free(p);
}

TEST(auto_stops_trying_what_does_not_shrink_but_not_for_ever)
{
	struct packer *p = packer(COMP_AUTO, 0);
	struct rnd_seeded rnd;
	int i, raw = 0;
	size_t n;

	rnd_seeded_init(&rnd, 2);
	fill_random(&rnd);
	for (i = 0; i < 100; i++)
		EXPECT_INT(pack(p, &n), UNIT_RAW);
	fill_text();
	while (pack(p, &n) == UNIT_RAW && raw < 100)
		raw++;
	EXPECT_LE(raw, 1);
	/* Once it shrinks again, nothing is skipped any more. */
	EXPECT_INT(pack(p, &n), UNIT_ZSTD);
	packer_free(p);
}

TEST(auto_skips_more_small_units_than_large_ones)
{
	struct packer *p = packer(COMP_AUTO, 0);
	struct rnd_seeded rnd;
	int i, raw = 0;
	size_t n;

	rnd_seeded_init(&rnd, 2);
	fill_random(&rnd);
	for (i = 0; i < 1 + 1 + 1 + 2 + 1 + 4 + 1; i++)
		EXPECT_INT(packer_pack(p, plain, 4096, packed, &n), UNIT_RAW);
	fill_text();
	while (packer_pack(p, plain, 4096, packed, &n) == UNIT_RAW && raw < 99)
		raw++;
	EXPECT_INT(raw, 8);
	packer_free(p);
}

TEST(a_shorter_or_longer_result_than_declared_is_refused)
{
	static const enum comp_mode modes[] = { COMP_LZ4, COMP_ZSTD };
	struct unpacker *u = unpacker_new();
	int i;

	fill_text();
	for (i = 0; i < 2; i++) {
		struct packer *p = packer(modes[i], 0);
		size_t n;
		enum unit_codec c =
			(enum unit_codec)packer_pack(p, plain, 8192, packed,
						     &n);

		EXPECT_OK(unpacker_unpack(u, c, packed, n, back, 8192));
		EXPECT_INT(unpacker_unpack(u, c, packed, n, back, 4096),
			   -EBADMSG);
		EXPECT_INT(unpacker_unpack(u, c, packed, n, back, 8191),
			   -EBADMSG);
		EXPECT_INT(unpacker_unpack(u, c, packed, n, back, 12288),
			   -EBADMSG);
		EXPECT_INT(unpacker_unpack(u, c, packed, n - 1, back, 8192),
			   -EBADMSG);
		packed[n] = 0;
		EXPECT_INT(unpacker_unpack(u, c, packed, n + 1, back, 8192),
			   -EBADMSG);
		packer_free(p);
	}
	EXPECT_INT(unpacker_unpack(u, UNIT_RAW, packed, 10, back, 10), -EBADMSG);
	EXPECT_INT(unpacker_unpack(u, UNIT_ZERO, packed, 0, back, 0), -EBADMSG);
	unpacker_free(u);
}

/* 64 MiB of zeros in a few kilobytes, opened as one block. */
TEST(a_decompression_bomb_is_refused_without_writing_past_the_block)
{
	size_t big = 64U << 20, cap = ZSTD_compressBound(64U << 20), n;
	uint8_t *zeros = calloc(1, big), *bomb = malloc(cap);
	struct unpacker *u = unpacker_new();
	uint8_t *block = malloc(4096);
	int r;

	ASSERT_TRUE(zeros && bomb && block && u);
	n = ZSTD_compress(bomb, cap, zeros, big, 3);
	ASSERT_FALSE(ZSTD_isError(n));
	ASSERT_LT(n, MAX);
	EXPECT_INT(unpacker_unpack(u, UNIT_ZSTD, bomb, n, block, 4096),
		   -EBADMSG);
	r = LZ4_compress_default((char *)zeros, (char *)bomb, 8 << 20,
				 (int)cap);
	ASSERT_GT(r, 0);
	ASSERT_LT(r, MAX);
	EXPECT_INT(unpacker_unpack(u, UNIT_LZ4, bomb, (size_t)r, block, 4096),
		   -EBADMSG);
	free(zeros);
	free(bomb);
	free(block);
	unpacker_free(u);
}

TEST(two_zstd_frames_or_a_skippable_one_are_not_a_unit)
{
	struct unpacker *u = unpacker_new();
	uint8_t skippable[12] = { 0x50, 0x2a, 0x4d, 0x18, 4 };
	size_t a, b;

	fill_text();
	a = ZSTD_compress(packed, sizeof(packed), plain, 4096, 1);
	b = ZSTD_compress(packed + a, sizeof(packed) - a, plain, 4096, 1);
	ASSERT_FALSE(ZSTD_isError(a) || ZSTD_isError(b));
	/* Control: the library itself takes the two as 8192 bytes. */
	ASSERT_U64(ZSTD_decompress(back, 8192, packed, a + b), 8192);
	EXPECT_INT(unpacker_unpack(u, UNIT_ZSTD, packed, a + b, back, 8192),
		   -EBADMSG);
	EXPECT_INT(unpacker_unpack(u, UNIT_ZSTD, skippable, sizeof(skippable),
				   back, 4096),
		   -EBADMSG);
	unpacker_free(u);
}

TEST(damaged_input_never_crashes_the_unpacker)
{
	struct unpacker *u = unpacker_new();
	struct rnd_seeded rnd;
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	fill_text();
	for (i = 0; i < 3000; i++) {
		struct packer *p = packer(i % 2 ? COMP_LZ4 : COMP_ZSTD, 1);
		uint8_t *exact;
		size_t n;
		int c = packer_pack(p, plain, 4096, packed, &n);

		n -= rnd_seeded_below(&rnd, n / 2);
		exact = malloc(n);
		ASSERT_TRUE(exact && c > UNIT_RAW);
		memcpy(exact, packed, n);
		exact[rnd_seeded_below(&rnd, n)] ^=
			(uint8_t)(1 + rnd_seeded_below(&rnd, 255));
		(void)unpacker_unpack(u, (enum unit_codec)c, exact, n, back,
				      4096);
		free(exact);
		packer_free(p);
	}
	unpacker_free(u);
}
