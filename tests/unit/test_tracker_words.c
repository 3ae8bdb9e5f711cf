// SPDX-License-Identifier: Apache-2.0
/* What a collect makes of slots: of requests, and of bios with their keys. */
#include "tap.h"

#include <string.h>

#include "base/bitmap.h"
#include "tracker/tracker_words.h"

#include "tracker_abi.h"

#define BLOCKS 1000U
/* As the kernel's addresses are: bit 63 is that of a live slot, too. */
#define BIO 0xffff888112345600ULL

struct lab {
	uint64_t flips;
	uint64_t leaf[2][16], summary[2][1], pending[16];
	uint64_t slots[2 * US_BIO_SET_WORDS];
	struct tracker_words w;
	struct bitmap fresh, carried;
};

static void lab_init(struct lab *l, bool bio_sets)
{
	memset(l, 0, sizeof(*l));
	l->w = (struct tracker_words){
		.flips = &l->flips,
		.leaf = { l->leaf[0], l->leaf[1] },
		.summary = { l->summary[0], l->summary[1] },
		.slots = l->slots,
		.pending = l->pending,
		.n_blocks = BLOCKS,
		.n_leaf_words = words_leaf_count(BLOCKS),
		.n_summary_words = words_summary_count(BLOCKS),
		.n_slots = 2 * US_BIO_SET_WORDS,
		.bio_sets = bio_sets,
	};
	ASSERT_OK(bitmap_init(&l->fresh, BLOCKS));
	ASSERT_OK(bitmap_init(&l->carried, BLOCKS));
}

static void lab_free(struct lab *l)
{
	bitmap_free(&l->fresh);
	bitmap_free(&l->carried);
}

/* As a program marks, in the generation that the flip to come retires. */
static void mark(struct lab *l, uint64_t first, uint64_t count)
{
	uint64_t b;

	for (b = first; b < first + count; b++) {
		l->leaf[0][b / 64] |= 1ULL << b % 64;
		l->summary[0][0] |= 1ULL << b / 64;
	}
}

static struct us_bio_set *set(struct lab *l, int i)
{
	return (void *)&l->slots[i * US_BIO_SET_WORDS];
}

TEST(the_address_of_a_bio_is_no_range)
{
	struct lab l;
	int i;

	lab_init(&l, true);
	mark(&l, 0, BLOCKS);
	/* All of it as a slot's word: blocks from its low bits on. */
	for (i = 0; i < US_BIO_WAYS; i++)
		set(&l, 0)->bio[i] = BIO & ~US_SLOT_FIRST_MASK;
	set(&l, 1)->bio[0] = BIO;
	words_flip(&l.w);
	words_collect(&l.w, &l.fresh, &l.carried);
	EXPECT_U64(l.fresh.n_set, BLOCKS);
	EXPECT_U64(l.carried.n_set, 0);
	/* Those very words, of requests, are ranges. */
	mark(&l, 0, BLOCKS);
	l.w.bio_sets = false;
	l.flips = 1;
	words_collect(&l.w, &l.fresh, &l.carried);
	EXPECT_GT(l.carried.n_set, 0);
	lab_free(&l);
}

TEST(what_a_bio_has_in_flight_is_carried_in_every_way_of_every_set)
{
	struct lab l;
	int s, i;

	lab_init(&l, true);
	mark(&l, 0, BLOCKS);
	for (s = 0; s < 2; s++)
		for (i = 0; i < US_BIO_WAYS; i++) {
			set(&l, s)->bio[i] = BIO + (uint64_t)i * 256;
			set(&l, s)->range[i] = us_slot_pack(
				(uint64_t)(s * US_BIO_WAYS + i) * 20, 3);
		}
	words_flip(&l.w);
	words_collect(&l.w, &l.fresh, &l.carried);
	EXPECT_U64(l.carried.n_set, 2 * US_BIO_WAYS * 3);
	for (i = 0; i < 2 * US_BIO_WAYS; i++) {
		EXPECT_TRUE(bitmap_test(&l.carried, (uint64_t)i * 20));
		EXPECT_TRUE(bitmap_test(&l.carried, (uint64_t)i * 20 + 2));
		EXPECT_FALSE(bitmap_test(&l.carried, (uint64_t)i * 20 + 3));
	}
	lab_free(&l);
}

TEST(what_is_in_flight_and_was_not_marked_is_not_carried)
{
	struct lab l;

	lab_init(&l, false);
	mark(&l, 10, 5);
	l.slots[3] = us_slot_pack(8, 4);
	l.slots[4] = us_slot_pack(990, US_SLOT_COUNT_MAX);
	words_flip(&l.w);
	words_collect(&l.w, &l.fresh, &l.carried);
	EXPECT_U64(l.fresh.n_set, 5);
	EXPECT_U64(l.carried.n_set, 2);
	EXPECT_TRUE(bitmap_test(&l.carried, 10));
	EXPECT_TRUE(bitmap_test(&l.carried, 11));
	lab_free(&l);
}

TEST(a_range_to_the_end_is_carried_to_the_end_and_no_further)
{
	struct lab l;

	lab_init(&l, false);
	mark(&l, 0, BLOCKS);
	l.slots[0] = us_slot_pack(BLOCKS - 7, US_SLOT_COUNT_MAX);
	l.slots[1] = us_slot_pack(BLOCKS + 7, 9);
	words_flip(&l.w);
	words_collect(&l.w, &l.fresh, &l.carried);
	EXPECT_U64(l.carried.n_set, 7);
	lab_free(&l);
}
