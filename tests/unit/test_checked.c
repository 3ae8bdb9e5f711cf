// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"

#include "base/bytes.h"

#include "lib/tap.h"

TEST(sums_and_products_that_overflow_are_refused)
{
	uint64_t v;
	size_t z;

	ASSERT_TRUE(add_u64(UINT64_MAX - 1, 1, &v));
	EXPECT_U64(v, UINT64_MAX);
	EXPECT_FALSE(add_u64(UINT64_MAX, 1, &v));
	ASSERT_TRUE(mul_u64(1ULL << 32, (1ULL << 32) - 1, &v));
	EXPECT_FALSE(mul_u64(1ULL << 32, 1ULL << 32, &v));
	EXPECT_FALSE(mul_size(SIZE_MAX / 2 + 1, 2, &z));
}

TEST(aligning_up_stops_at_the_top)
{
	uint64_t v;

	ASSERT_TRUE(align_up_u64(0, 4096, &v));
	EXPECT_U64(v, 0);
	ASSERT_TRUE(align_up_u64(1, 4096, &v));
	EXPECT_U64(v, 4096);
	ASSERT_TRUE(align_up_u64(4096, 4096, &v));
	EXPECT_U64(v, 4096);
	ASSERT_TRUE(align_up_u64(UINT64_MAX - 4095, 4096, &v));
	EXPECT_U64(v, UINT64_MAX - 4095);
	EXPECT_FALSE(align_up_u64(UINT64_MAX - 4094, 4096, &v));
}

TEST(a_range_inside_never_wraps)
{
	EXPECT_TRUE(range_inside(0, 0, 0));
	EXPECT_TRUE(range_inside(10, 0, 10));
	EXPECT_TRUE(range_inside(4, 6, 10));
	EXPECT_FALSE(range_inside(4, 7, 10));
	EXPECT_FALSE(range_inside(11, 0, 10));
	EXPECT_FALSE(range_inside(UINT64_MAX, 2, 10));
	EXPECT_FALSE(range_inside(5, UINT64_MAX, 10));
	EXPECT_TRUE(range_inside(0, UINT64_MAX, UINT64_MAX));
}

TEST(division_rounds_up_without_overflow)
{
	EXPECT_U64(div_up_u64(0, 5), 0);
	EXPECT_U64(div_up_u64(5, 5), 1);
	EXPECT_U64(div_up_u64(6, 5), 2);
	EXPECT_U64(div_up_u64(UINT64_MAX, 4096), 1ULL << 52);
}

TEST(powers_of_two_are_known)
{
	EXPECT_FALSE(is_pow2_u64(0));
	EXPECT_TRUE(is_pow2_u64(1));
	EXPECT_FALSE(is_pow2_u64(3));
	EXPECT_TRUE(is_pow2_u64(1ULL << 63));
}

TEST(min_and_max_look_at_each_side_once)
{
	int calls = 0;

	EXPECT_INT(MIN(++calls, 5), 1);
	EXPECT_INT(MAX(++calls, 1), 2);
	EXPECT_INT(calls, 2);
}

TEST(fields_meet_their_bytes_at_any_offset)
{
	uint8_t p[16] = { 0 };

	put_le64(p + 3, 0x1122334455667788ULL);
	EXPECT_U64(p[3], 0x88);
	EXPECT_U64(get_le64(p + 3), 0x1122334455667788ULL);
	EXPECT_U64(get_le32(p + 3), 0x55667788);
	EXPECT_U64(get_le16(p + 5), 0x5566);
}
