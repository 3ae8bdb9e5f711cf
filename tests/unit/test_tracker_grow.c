// SPDX-License-Identifier: Apache-2.0
/* What of a volume's words reaches those of its larger self. */
#include "tap.h"

#include <string.h>

#include "base/rnd.h"
#include "tracker/tracker_grow.h"

#define OLD_BLOCKS 200U
#define NEW_BLOCKS 333U
#define SLOTS 8U

struct lab {
	uint64_t flips;
	uint64_t leaf[2][8], summary[2][1], pending[8], slots[SLOTS];
	struct tracker_words w;
};

static void lab_init(struct lab *l, uint64_t n_blocks)
{
	memset(l, 0, sizeof(*l));
	l->w = (struct tracker_words){
		.flips = &l->flips,
		.leaf = { l->leaf[0], l->leaf[1] },
		.summary = { l->summary[0], l->summary[1] },
		.slots = l->slots,
		.pending = l->pending,
		.n_blocks = n_blocks,
		.n_leaf_words = words_leaf_count(n_blocks),
		.n_summary_words = words_summary_count(n_blocks),
		.n_slots = SLOTS,
	};
}

static bool is_set(const uint64_t *words, uint64_t bit)
{
	return words[bit / 64] >> bit % 64 & 1;
}

static void put(uint64_t *words, uint64_t bit)
{
	words[bit / 64] |= 1ULL << bit % 64;
}

TEST(marks_and_pending_of_both_generations_become_pending)
{
	struct lab a, b;
	uint64_t i;

	lab_init(&a, OLD_BLOCKS);
	lab_init(&b, NEW_BLOCKS);
	put(a.leaf[0], 0);
	put(a.leaf[1], 65);
	put(a.pending, 199);
	put(b.pending, 7);
	words_widen(&a.w, &b.w, 0, OLD_BLOCKS);
	for (i = 0; i < NEW_BLOCKS; i++)
		EXPECT_INT(is_set(b.pending, i), i == 0 || i == 65 ||
			   i == 199 || i == 7 || i >= OLD_BLOCKS);
	/* Nothing past the end, nothing taken from the old ones. */
	EXPECT_U64(b.pending[NEW_BLOCKS / 64] >> NEW_BLOCKS % 64, 0);
	EXPECT_TRUE(is_set(a.leaf[0], 0));
	EXPECT_TRUE(is_set(a.pending, 199));
}

TEST(coarser_blocks_hold_every_finer_one)
{
	struct lab a, b;
	uint64_t i;

	lab_init(&a, OLD_BLOCKS);
	lab_init(&b, NEW_BLOCKS / 4);
	put(a.leaf[1], 3);
	put(a.pending, 64);
	put(a.pending, 131);
	a.slots[1] = us_slot_pack(6, 3);	/* of 1 and 2 */
	words_widen(&a.w, &b.w, 2, OLD_BLOCKS / 4);
	for (i = 0; i < NEW_BLOCKS / 4; i++)
		EXPECT_INT(is_set(b.pending, i), i == 0 || i == 16 ||
			   i == 32 || i >= OLD_BLOCKS / 4);
	EXPECT_U64(us_slot_first(b.slots[1]), 1);
	EXPECT_U64(us_slot_count(b.slots[1]), 2);
}

TEST(requests_in_flight_stay_so_unless_their_tag_was_used_again)
{
	struct lab a, b;

	lab_init(&a, OLD_BLOCKS);
	lab_init(&b, NEW_BLOCKS);
	a.slots[0] = us_slot_pack(5, 2);
	a.slots[3] = us_slot_pack(9, 1);
	a.slots[4] = us_slot_pack(0, US_SLOT_COUNT_MAX);
	b.slots[3] = us_slot_pack(300, 1);
	words_widen(&a.w, &b.w, 0, OLD_BLOCKS);
	EXPECT_U64(b.slots[0], us_slot_pack(5, 2));
	EXPECT_U64(b.slots[1], 0);
	EXPECT_U64(b.slots[3], us_slot_pack(300, 1));
	EXPECT_U64(b.slots[4], us_slot_pack(0, US_SLOT_COUNT_MAX));
}

/* Of these the old entry has seen a part, or nothing: their end must not be
 * taken for that of a write that was marked, nor the new part be read for good
 * while they are under way. */
TEST(what_reaches_or_lies_past_the_old_end_is_carried_to_the_new_one)
{
	struct lab a, b;

	lab_init(&a, OLD_BLOCKS);
	lab_init(&b, NEW_BLOCKS);
	a.slots[0] = us_slot_pack(OLD_BLOCKS - 2, 2);
	a.slots[1] = us_slot_pack(0, 0);
	a.slots[2] = us_slot_pack(OLD_BLOCKS - 3, 2);
	words_widen(&a.w, &b.w, 0, OLD_BLOCKS);
	EXPECT_U64(b.slots[0], us_slot_pack(OLD_BLOCKS - 2, US_SLOT_COUNT_MAX));
	EXPECT_U64(b.slots[1], us_slot_pack(OLD_BLOCKS - 1, US_SLOT_COUNT_MAX));
	EXPECT_U64(b.slots[2], us_slot_pack(OLD_BLOCKS - 3, 2));
	lab_init(&b, NEW_BLOCKS / 4);
	words_widen(&a.w, &b.w, 2, OLD_BLOCKS / 4);
	EXPECT_U64(b.slots[0], us_slot_pack((OLD_BLOCKS - 2) / 4,
					    US_SLOT_COUNT_MAX));
	EXPECT_U64(b.slots[1], us_slot_pack((OLD_BLOCKS - 1) / 4,
					    US_SLOT_COUNT_MAX));
}

TEST(only_the_same_range_made_longer_has_grown)
{
	struct us_volume a = { .disk_key = 1, .diskseq = 2, .n_sectors = 100,
			       .block_shift = 3, .n_queues = 1, .n_tags = 8 };
	struct us_volume b = a;

	EXPECT_FALSE(grow_is_possible(&a, &b));
	b.n_sectors = 101;
	EXPECT_TRUE(grow_is_possible(&a, &b));
	EXPECT_FALSE(grow_is_possible(&b, &a));
	b.block_shift = 4;
	EXPECT_TRUE(grow_is_possible(&a, &b));
	b.block_shift = 2;
	EXPECT_FALSE(grow_is_possible(&a, &b));
	b.block_shift = 3;
	b.start_sector = 8;
	EXPECT_FALSE(grow_is_possible(&a, &b));
	b.start_sector = 0;
	b.diskseq = 3;
	EXPECT_FALSE(grow_is_possible(&a, &b));
}

TEST(losses_without_a_consequence_are_carried)
{
	struct us_counters from = { .map_errors = 7, .passthrough = 3 };
	struct us_counters to = { .map_errors = 1 };
	struct us_seen seen = { .unseen = { 4, 5 } };
	struct us_seen to_seen = { 0 };

	seen.counters.map_errors = 5;
	seen.counters.passthrough = 3;
	grow_carry_losses(&from, &seen, &to, &to_seen);
	EXPECT_U64(to.map_errors, 3);
	EXPECT_U64(to.passthrough, 0);
	EXPECT_U64(to_seen.unseen[0], 4);
	EXPECT_U64(to_seen.unseen[1], 5);
}
