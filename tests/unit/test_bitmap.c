// SPDX-License-Identifier: Apache-2.0
#include "base/bitmap.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/rnd.h"

#include "lib/tap.h"

#define _cleanup_bitmap_ _cleanup_(bitmap_free)

/* What bitmap.c promises between calls, found out the slow way. */
static void assert_invariants(const struct bitmap *bm)
{
	uint64_t w, set = 0;

	for (w = 0; w < bm->n_words; w++) {
		bool told = bm->summary[w / 64] >> (w % 64) & 1;

		set += (uint64_t)__builtin_popcountll(bm->words[w]);
		ASSERT_INT(told, bm->words[w] != 0);
	}
	for (w = 0; w < (bm->n_words + 63) / 64; w++)
		ASSERT_INT(bm->top[w / 64] >> (w % 64) & 1,
			   bm->summary[w] != 0);
	ASSERT_U64(bm->n_set, set);
	if (bm->n_bits % 64)
		ASSERT_U64(bm->words[bm->n_words - 1] >> (bm->n_bits % 64), 0);
}

TEST(a_new_bitmap_is_clear)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	uint64_t first, count;

	ASSERT_OK(bitmap_init(&bm, 65));
	EXPECT_U64(bm.n_words, 2);
	EXPECT_U64(bm.n_set, 0);
	EXPECT_FALSE(bitmap_test(&bm, 64));
	EXPECT_INT(bitmap_next_run(&bm, 0, UINT64_MAX, &first, &count), 1);
	EXPECT_INT(bitmap_next_word(&bm, 0, &first), 1);
}

TEST(no_bits_is_an_error)
{
	struct bitmap bm;

	EXPECT_INT(bitmap_init(&bm, 0), -EINVAL);
	EXPECT_INT(bitmap_init(&bm, UINT64_MAX), -ENOMEM);
	bitmap_free(&bm);
}

TEST(set_and_clear_count_once)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };

	ASSERT_OK(bitmap_init(&bm, 100));
	bitmap_set(&bm, 99);
	bitmap_set(&bm, 99);
	EXPECT_U64(bm.n_set, 1);
	EXPECT_TRUE(bitmap_test(&bm, 99));
	bitmap_clear(&bm, 99);
	bitmap_clear(&bm, 99);
	EXPECT_U64(bm.n_set, 0);
	assert_invariants(&bm);
}

TEST(bits_beyond_the_end_stay_clear)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };

	ASSERT_OK(bitmap_init(&bm, 70));
	EXPECT_U64(bitmap_or_word(&bm, 1, UINT64_MAX), 6);
	EXPECT_U64(bm.n_set, 6);
	bitmap_set_all(&bm);
	EXPECT_U64(bm.n_set, 70);
	assert_invariants(&bm);
	bitmap_clear_all(&bm);
	EXPECT_U64(bm.n_set, 0);
	assert_invariants(&bm);
}

TEST(or_word_counts_what_is_new)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };

	ASSERT_OK(bitmap_init(&bm, 256));
	EXPECT_U64(bitmap_or_word(&bm, 2, 0xf0), 4);
	EXPECT_U64(bitmap_or_word(&bm, 2, 0xff), 4);
	EXPECT_U64(bitmap_or_word(&bm, 2, 0xff), 0);
	bitmap_andnot_word(&bm, 2, 0x0f);
	EXPECT_U64(bitmap_word(&bm, 2), 0xf0);
	EXPECT_U64(bm.n_set, 4);
	assert_invariants(&bm);
}

TEST(a_range_may_touch_both_ends_of_words)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	uint64_t first, count;

	ASSERT_OK(bitmap_init(&bm, 320));
	bitmap_set_range(&bm, 63, 194);		/* [63, 257) */
	EXPECT_U64(bm.n_set, 194);
	bitmap_set_range(&bm, 320, 0);
	bitmap_clear_range(&bm, 0, 0);
	assert_invariants(&bm);
	ASSERT_OK(bitmap_next_run(&bm, 0, UINT64_MAX, &first, &count));
	EXPECT_U64(first, 63);
	EXPECT_U64(count, 194);
	bitmap_clear_range(&bm, 64, 128);
	EXPECT_U64(bm.n_set, 66);
	ASSERT_OK(bitmap_next_run(&bm, 64, UINT64_MAX, &first, &count));
	EXPECT_U64(first, 192);
	EXPECT_U64(count, 65);
}

TEST(a_run_is_cut_at_its_maximum)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	uint64_t first, count;

	ASSERT_OK(bitmap_init(&bm, 1000));
	bitmap_set_all(&bm);
	ASSERT_OK(bitmap_next_run(&bm, 10, 16, &first, &count));
	EXPECT_U64(first, 10);
	EXPECT_U64(count, 16);
	ASSERT_OK(bitmap_next_run(&bm, 990, 16, &first, &count));
	EXPECT_U64(count, 10);
	ASSERT_OK(bitmap_next_run(&bm, 0, UINT64_MAX, &first, &count));
	EXPECT_U64(count, 1000);
	EXPECT_INT(bitmap_next_run(&bm, 1000, 1, &first, &count), 1);
}

/* 16 TiB at 4 KiB: memory only for what is touched, and no slow walk. */
TEST_WITH_TIMEOUT(a_huge_sparse_bitmap_is_cheap, 10)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	const uint64_t n = 1ULL << 32;
	uint64_t first, count;

	ASSERT_OK(bitmap_init(&bm, n));
	bitmap_set(&bm, n - 1);
	bitmap_set_range(&bm, n / 2, 3);
	ASSERT_OK(bitmap_next_run(&bm, 0, 100, &first, &count));
	EXPECT_U64(first, n / 2);
	EXPECT_U64(count, 3);
	ASSERT_OK(bitmap_next_run(&bm, first + count, 100, &first, &count));
	EXPECT_U64(first, n - 1);
	EXPECT_U64(count, 1);
	bitmap_clear_all(&bm);
	EXPECT_U64(bm.n_set, 0);
}

static uint64_t now_ns(void)
{
	return clock_mono_ns(clock_real());
}

/* One bit is set, found, is the only one, and goes. */
static uint64_t one_bit_ns(struct bitmap *bm, uint64_t bit)
{
	uint64_t start = now_ns(), w;

	bitmap_set(bm, bit);
	ASSERT_OK(bitmap_next_word(bm, 0, &w));
	ASSERT_U64(w, bit / 64);
	ASSERT_INT(bitmap_next_word(bm, w + 1, &w), 1);
	bitmap_clear_all(bm);
	return now_ns() - start;
}

/* One pass over as much as the first summary level has. */
static uint64_t pass_ns(const struct bitmap *bm)
{
	uint64_t start = now_ns(), sum = 0, i;

	for (i = 0; i < bm->n_words / 64; i++)
		sum |= bm->summary[i];
	ASSERT_U64(sum, 0);
	return now_ns() - start;
}

/* 16 TiB at 4 KiB again: what is not set costs hardly anything. */
TEST(little_in_a_huge_bitmap_is_found_and_cleared_quickly)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	const uint64_t n = 1ULL << 32;
	uint64_t one = UINT64_MAX, pass = UINT64_MAX, i;

	ASSERT_OK(bitmap_init(&bm, n));
	/* The least of many: others are on this machine. */
	for (i = 0; i < 50; i++) {
		one = MIN(one, one_bit_ns(&bm, n / 50 * i));
		pass = MIN(pass, pass_ns(&bm));
	}
	tap_note("one bit %" PRIu64 " ns, a pass %" PRIu64 " ns", one, pass);
	EXPECT_LT(one, pass);
}

TEST(a_walk_crosses_every_level)
{
	_cleanup_bitmap_ struct bitmap bm = { 0 };
	const uint64_t top = 64 * 64 * 64;	/* bits of one word up there */
	const uint64_t n = 70 * top + 5;
	const uint64_t bits[] = { 0, 63, 64, 4095, 4096, top - 1, top, top + 1,
				  64 * top - 1, 64 * top, 70 * top, n - 1 };
	uint64_t first = 0, count, i;

	ASSERT_OK(bitmap_init(&bm, n));
	for (i = 0; i < ARRAY_SIZE(bits); i++)
		bitmap_set(&bm, bits[i]);
	assert_invariants(&bm);
	for (i = 0; i < ARRAY_SIZE(bits); i++) {
		ASSERT_OK(bitmap_next_run(&bm, first, 1, &first, &count));
		ASSERT_U64(first++, bits[i]);
	}
	ASSERT_INT(bitmap_next_run(&bm, first, 1, &first, &count), 1);
	bitmap_clear_range(&bm, 1, 64 * top - 1);
	assert_invariants(&bm);
	EXPECT_U64(bm.n_set, 4);
	bitmap_set_all(&bm);
	assert_invariants(&bm);
	bitmap_clear_all(&bm);
	assert_invariants(&bm);
}

/* ---- against a model of one byte a bit ---- */

#define MODEL_BITS 5000

struct model {
	uint8_t bit[MODEL_BITS];
	uint64_t n_bits;
};

static void model_fill(struct model *m, uint64_t first, uint64_t count,
		       uint8_t v)
{
	memset(m->bit + first, v, count);
}

static int model_next_run(const struct model *m, uint64_t from, uint64_t max,
			  uint64_t *first, uint64_t *count)
{
	while (from < m->n_bits && !m->bit[from])
		from++;
	if (from >= m->n_bits)
		return 1;
	*first = from;
	for (*count = 0; *count < max && from < m->n_bits && m->bit[from]; from++)
		(*count)++;
	return 0;
}

static void assert_same(const struct bitmap *bm, const struct model *m)
{
	uint64_t i;

	assert_invariants(bm);
	for (i = 0; i < m->n_bits; i++)
		ASSERT_MSG(bitmap_test(bm, i) == m->bit[i],
			   "  bit %" PRIu64 " differs", i);
}

static void assert_same_walk(const struct bitmap *bm, const struct model *m,
			     uint64_t max)
{
	uint64_t at = 0, f1, c1, f2, c2;

	for (;;) {
		int r = bitmap_next_run(bm, at, max, &f1, &c1);

		ASSERT_INT(r, model_next_run(m, at, max, &f2, &c2));
		if (r)
			return;
		ASSERT_U64(f1, f2);
		ASSERT_U64(c1, c2);
		at = f1 + c1;
	}
}

static void random_word(struct bitmap *bm, struct model *m,
			struct rnd_seeded *r)
{
	uint64_t w = rnd_seeded_below(r, bm->n_words);
	uint64_t bits = rnd_seeded_next(r) & rnd_seeded_next(r);
	bool set = rnd_seeded_below(r, 2);
	unsigned int fresh = 0;
	uint64_t i;

	for (i = 0; i < 64 && w * 64 + i < m->n_bits; i++) {
		if (!(bits >> i & 1))
			continue;
		fresh += !m->bit[w * 64 + i];
		m->bit[w * 64 + i] = set;
	}
	if (set)
		ASSERT_U64(bitmap_or_word(bm, w, bits), fresh);
	else
		bitmap_andnot_word(bm, w, bits);
}

static void random_step(struct bitmap *bm, struct model *m,
			struct rnd_seeded *r)
{
	uint64_t first = rnd_seeded_below(r, m->n_bits);
	uint64_t count = rnd_seeded_below(r, m->n_bits - first + 1);

	if (rnd_seeded_below(r, 2))
		count = MIN(count, rnd_seeded_below(r, 130));
	switch (rnd_seeded_below(r, 12)) {
	case 0:
		bitmap_set_all(bm);
		model_fill(m, 0, m->n_bits, 1);
		break;
	case 1:
		bitmap_clear_all(bm);
		model_fill(m, 0, m->n_bits, 0);
		break;
	case 2:
	case 3:
		random_word(bm, m, r);
		break;
	case 4:
		bitmap_set(bm, first);
		m->bit[first] = 1;
		break;
	case 5:
		bitmap_clear(bm, first);
		m->bit[first] = 0;
		break;
	case 6:
	case 7:
	case 8:
		bitmap_set_range(bm, first, count);
		model_fill(m, first, count, 1);
		break;
	default:
		bitmap_clear_range(bm, first, count);
		model_fill(m, first, count, 0);
		break;
	}
}

TEST(random_operations_agree_with_a_model)
{
	static struct model m;
	struct rnd_seeded r;
	int round, step;

	rnd_seeded_init(&r, tap_seed());
	for (round = 0; round < 20; round++) {
		_cleanup_bitmap_ struct bitmap bm = { 0 };

		memset(&m, 0, sizeof(m));
		m.n_bits = 1 + rnd_seeded_below(&r, round % 2 ? MODEL_BITS : 200);
		ASSERT_OK(bitmap_init(&bm, m.n_bits));
		for (step = 0; step < 60; step++) {
			random_step(&bm, &m, &r);
			assert_same(&bm, &m);
			assert_same_walk(&bm, &m,
					 1 + rnd_seeded_below(&r, 200));
			assert_same_walk(&bm, &m, UINT64_MAX);
		}
	}
}
