// SPDX-License-Identifier: Apache-2.0
/* Entries against a model that paints blocks one by one. */
#include "store/entries.h"

#include "base/cleanup.h"
#include "base/rnd.h"

#include "lib/tap.h"

#define BLOCKS 512U

/* Which unit and which block of it owns a block; 0 in order+1: nobody. */
struct owner {
	uint64_t unit_off;
	uint32_t block;
	uint32_t order1;
};

static void paint(struct owner *o, const struct ent *e)
{
	uint32_t i;

	for (i = 0; i < e->count; i++)
		if (e->order + 1 > o[e->first + i].order1)
			o[e->first + i] = (struct owner){
				e->unit_off, e->skip + i, e->order + 1 };
}

static void expect_same(const struct owner *want, const struct entvec *ev)
{
	static struct owner got[BLOCKS];
	size_t i;

	memset(got, 0, sizeof(got));
	for (i = 0; i < ev->n; i++) {
		ASSERT_GT(ev->v[i].count, 0);
		if (i)
			ASSERT_LE(ent_end(&ev->v[i - 1]), ev->v[i].first);
		paint(got, &ev->v[i]);
	}
	for (i = 0; i < BLOCKS; i++)
		ASSERT_MSG(got[i].unit_off == want[i].unit_off &&
				   got[i].block == want[i].block &&
				   got[i].order1 == want[i].order1,
			   "  block %zu has another owner", i);
}

static struct ent random_ent(struct rnd_seeded *rnd, uint32_t order)
{
	struct ent e = {
		.first = rnd_seeded_below(rnd, BLOCKS),
		.unit_off = 1 + rnd_seeded_next(rnd) % 1000000,
		.count = 1 + (uint32_t)rnd_seeded_below(rnd, 16),
		.skip = (uint32_t)rnd_seeded_below(rnd, 4),
		.order = order,
	};

	/* Some are long, as zero units are. */
	if (rnd_seeded_below(rnd, 10) == 0)
		e.count *= 13;
	if (e.first + e.count > BLOCKS)
		e.count = (uint32_t)(BLOCKS - e.first);
	return e;
}

TEST(resolve_agrees_with_painting)
{
	struct rnd_seeded rnd;
	unsigned int round;

	rnd_seeded_init(&rnd, tap_seed());
	for (round = 0; round < 3000; round++) {
		static struct owner want[BLOCKS];
		struct entvec ev = { 0 };
		uint32_t n = 1 + (uint32_t)rnd_seeded_below(&rnd, 60), i;

		memset(want, 0, sizeof(want));
		for (i = 0; i < n; i++) {
			/* In any order, but each once: parts are looked up so. */
			struct ent e = random_ent(&rnd, round % 2 ?
							(i + round) % n :
							n - 1 - i);

			paint(want, &e);
			ASSERT_OK(entvec_add(&ev, &e));
		}
		ASSERT_OK(entvec_resolve(&ev));
		expect_same(want, &ev);
		entvec_free(&ev);
	}
}

TEST(log_agrees_with_painting_whenever_it_compacts)
{
	struct rnd_seeded rnd;
	unsigned int round;

	rnd_seeded_init(&rnd, tap_seed());
	for (round = 0; round < 300; round++) {
		static struct owner want[BLOCKS];
		struct entlog l = { 0 };
		struct entvec found = { 0 };
		uint32_t i;

		memset(want, 0, sizeof(want));
		for (i = 0; i < 300; i++) {
			struct ent e = random_ent(&rnd, i);

			paint(want, &e);
			ASSERT_OK(entlog_add(&l, &e));
			if (rnd_seeded_below(&rnd, 40) == 0)
				ASSERT_OK(entlog_compact(&l));
		}
		ASSERT_OK(entlog_find(&l, 0, BLOCKS, &found));
		ASSERT_OK(entvec_resolve(&found));
		expect_same(want, &found);
		entvec_free(&found);
		entlog_free(&l);
	}
}

TEST(found_entries_are_clipped_to_what_was_asked)
{
	struct ent e = { .first = 10, .count = 20, .skip = 3, .unit_off = 1 };
	struct entvec out = { 0 };
	struct entlog l = { 0 };

	ASSERT_OK(entlog_add(&l, &e));
	ASSERT_OK(entlog_find(&l, 15, 18, &out));
	ASSERT_U64(out.n, 1);
	EXPECT_U64(out.v[0].first, 15);
	EXPECT_U64(out.v[0].count, 3);
	EXPECT_U64(out.v[0].skip, 8);
	out.n = 0;
	ASSERT_OK(entlog_find(&l, 30, 40, &out));
	EXPECT_U64(out.n, 0);
	ASSERT_OK(entlog_find(&l, 0, 10, &out));
	EXPECT_U64(out.n, 0);
	entvec_free(&out);
	entlog_free(&l);
}

TEST(next_names_the_first_covered_block)
{
	struct ent a = { .first = 10, .count = 5 }, b = { .first = 40,
							  .count = 2 };
	struct entlog l = { 0 };
	uint64_t at = 0;

	ASSERT_OK(entlog_add(&l, &a));
	ASSERT_OK(entlog_add(&l, &b));
	EXPECT_TRUE(entlog_next(&l, 0, &at));
	EXPECT_U64(at, 10);
	EXPECT_TRUE(entlog_next(&l, 12, &at));
	EXPECT_U64(at, 12);
	EXPECT_TRUE(entlog_next(&l, 15, &at));
	EXPECT_U64(at, 40);
	EXPECT_FALSE(entlog_next(&l, 42, &at));
	entlog_free(&l);
}

TEST(a_unit_cut_by_nothing_stays_one_entry)
{
	struct ent e = { .first = 0, .count = 16, .unit_off = 500 };
	struct ent newer = { .first = 6, .count = 2, .unit_off = 900,
			     .order = 1 };
	struct ent again = { .first = 0, .count = 16, .unit_off = 1300,
			     .order = 2 };
	struct entvec ev = { 0 };

	ASSERT_OK(entvec_add(&ev, &e));
	ASSERT_OK(entvec_add(&ev, &newer));
	ASSERT_OK(entvec_resolve(&ev));
	ASSERT_U64(ev.n, 3);
	EXPECT_U64(ev.v[2].skip, 8);
	ASSERT_OK(entvec_add(&ev, &again));
	ASSERT_OK(entvec_resolve(&ev));
	ASSERT_U64(ev.n, 1);
	EXPECT_U64(ev.v[0].count, 16);
	EXPECT_U64(ev.v[0].skip, 0);
	entvec_free(&ev);
}

TEST(ascending_arrivals_are_never_sorted)
{
	struct entlog l = { 0 };
	uint32_t i;

	for (i = 0; i < 50000; i++) {
		struct ent e = { .first = i * 16, .count = 16, .order = i };

		ASSERT_OK(entlog_add(&l, &e));
		ASSERT_U64(l.n_resolved, l.e.n);
	}
	entlog_free(&l);
}

TEST(overwriting_the_same_blocks_does_not_grow)
{
	struct rnd_seeded rnd;
	struct entlog l = { 0 };
	size_t most = 0;
	uint32_t i;

	rnd_seeded_init(&rnd, 1);
	for (i = 0; i < 200000; i++) {
		struct ent e = random_ent(&rnd, i);

		ASSERT_OK(entlog_add(&l, &e));
		if (l.e.n > most)
			most = l.e.n;
	}
	EXPECT_LE(most, 2 * 4096 + 2 * BLOCKS);
	entlog_free(&l);
}
