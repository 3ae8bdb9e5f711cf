// SPDX-License-Identifier: Apache-2.0
/*
 * When writes from before the tracking are through: not at the first quiet
 * look.
 */
#include "source/settle.h"
#include "tap.h"

TEST(one_quiet_look_is_not_enough)
{
	struct settle s = { 0 };

	EXPECT_FALSE(settle_look(&s, true, 5));
	EXPECT_FALSE(settle_look(&s, true, 5));
	EXPECT_FALSE(settle_look(&s, true, 5 + SETTLE_NS - 1));
	EXPECT_TRUE(settle_look(&s, true, 5 + SETTLE_NS));
}

TEST(a_look_that_is_not_quiet_never_settles)
{
	struct settle s = { 0 };

	EXPECT_FALSE(settle_look(&s, false, 0));
	EXPECT_FALSE(settle_look(&s, false, 10 * SETTLE_NS));
	EXPECT_FALSE(settle_look(&s, true, 20 * SETTLE_NS));
	EXPECT_FALSE(settle_look(&s, false, 30 * SETTLE_NS));
}

/* Beside other writers each look may see some. */
TEST(looks_in_between_may_see_writes)
{
	struct settle s = { 0 };
	int i;

	EXPECT_FALSE(settle_look(&s, true, 0));
	for (i = 1; i < 30; i++)
		EXPECT_FALSE(settle_look(&s, false, i * SETTLE_NS / 20));
	EXPECT_TRUE(settle_look(&s, true, 2 * SETTLE_NS));
}
