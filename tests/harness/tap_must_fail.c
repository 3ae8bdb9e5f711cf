// SPDX-License-Identifier: Apache-2.0
/*
 * Not a test of the product: each way in which a test can fail, for
 * tests/harness/run to see that none is taken for a success.
 */
#include <signal.h>
#include <stdlib.h>

#include "lib/tap.h"

TEST(passes)
{
	EXPECT_INT(1, 1);
}

TEST(expect_fails_and_goes_on)
{
	EXPECT_STR("one", "two");
	tap_note("went on");
}

TEST(assert_fails_and_ends)
{
	ASSERT_MEM("abc", "abd", 3);
	tap_note("must not be seen");
}

TEST(crashes)
{
	(void)raise(SIGSEGV);
}

TEST(exits)
{
	exit(7);
}

TEST_WITH_TIMEOUT(hangs, 1)
{
	for (;;)
		(void)pause();
}

TEST(skips)
{
	SKIP("the machine has no such thing");
}

TEST(fails_before_it_skips)
{
	EXPECT_U64(1, 2);
	SKIP("too late");
}
