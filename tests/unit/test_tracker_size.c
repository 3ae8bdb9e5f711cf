// SPDX-License-Identifier: Apache-2.0
#include "tracker/tracker_host.h"

#include "lib/tap.h"

#define KIB (1ULL << 10)
#define MIB (1ULL << 20)
#define TIB (1ULL << 40)

static struct blkdev disk(uint64_t size_bytes)
{
	return (struct blkdev){ .path = "/dev/huge",
				.n_sectors = size_bytes >> 9,
				.n_queues = 4,
				.n_tags = 256,
				.request_based = true };
}

static void expect_shift(uint64_t size_bytes, uint64_t memory, uint32_t want)
{
	const struct blkdev d = disk(size_bytes);
	struct err err = ERR_INIT;
	uint32_t shift = 0;

	ASSERT_MSG(!tracker_choose_shift(&d, 0, memory, &shift, &err), "%s",
		   err.message);
	EXPECT_U64(shift, want);
	EXPECT_LE(tracker_memory_bytes(&d, shift), memory);
	if (shift > 12)
		EXPECT_GT(tracker_memory_bytes(&d, shift - 1), memory);
}

TEST(granularity_grows_until_all_of_it_fits)
{
	expect_shift(MIB, MIB, 12);
	expect_shift(1ULL << 30, 128 * MIB, 12);
	expect_shift(500ULL << 30, 128 * MIB, 12);
	expect_shift(512ULL << 30, 128 * MIB, 13);	/* 129.8 MiB at 4 KiB */
	expect_shift(512ULL << 30, 130 * MIB, 12);
	expect_shift(TIB, 128 * MIB, 14);
	expect_shift(32 * TIB, 128 * MIB, 19);
	expect_shift(64 * TIB, 128 * MIB, 20);
	expect_shift(64 * TIB, 130 * MIB, 19);
	expect_shift(64 * TIB, 3 * MIB, 25);
}

TEST(what_is_in_flight_counts_as_well)
{
	struct blkdev d = disk(MIB);
	uint64_t requests = tracker_memory_bytes(&d, 12);

	d.n_tags = 64 * 1024;
	EXPECT_U64(tracker_memory_bytes(&d, 12),
		   requests + 2 * MIB - 4 * 256 * 8);
	d.request_based = false;		/* 131,072 bios */
	EXPECT_GE(tracker_memory_bytes(&d, 12), 2 * MIB);
	EXPECT_LE(tracker_memory_bytes(&d, 12), 2 * MIB + 64 * KIB);
}

TEST(too_little_memory_is_refused_with_what_would_be_enough)
{
	struct blkdev d = disk(64 * TIB);
	struct err err = ERR_INIT;
	uint32_t shift;

	EXPECT_INT(tracker_choose_shift(&d, 0, MIB, &shift, &err),
		   -EOPNOTSUPP);
	EXPECT_STR(err.code, "tracker-memory");
	EXPECT_STR_HAS(err.message, "64 TiB in blocks of 64 MiB");
	EXPECT_STR_HAS(err.message, "tracker-memory is 1 MiB");
	EXPECT_STR(err.remedy, "set tracker-memory = 2MiB or more");
	expect_shift(64 * TIB, 2 * MIB, 26);
	err_clear(&err);
	d = disk(MIB);
	d.request_based = false;
	EXPECT_INT(tracker_choose_shift(&d, 0, MIB, &shift, &err),
		   -EOPNOTSUPP);
	EXPECT_STR(err.remedy, "set tracker-memory = 3MiB or more");
}

TEST(a_granularity_that_was_asked_for_must_fit_too)
{
	const struct blkdev d = disk(64 * TIB);
	struct err err = ERR_INIT;
	uint32_t shift = 0;

	EXPECT_OK(tracker_choose_shift(&d, 4 * MIB, 128 * MIB, &shift, &err));
	EXPECT_U64(shift, 22);
	EXPECT_INT(tracker_choose_shift(&d, 4 * KIB, 128 * MIB, &shift, &err),
		   -EOPNOTSUPP);
	EXPECT_STR_HAS(err.message, "in blocks of 4 KiB take 16.2 GiB");
	EXPECT_STR_HAS(err.remedy, "or granularity = auto");
}
