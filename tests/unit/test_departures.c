// SPDX-License-Identifier: Apache-2.0
#include "tap.h"

#include <poll.h>
#include <unistd.h>

#include "control/departures.h"

struct slow {
	int pipe[2];
	bool ended;
};

/* Until somebody writes into the pipe. */
static void end_slowly(void *arg)
{
	struct slow *s = arg;
	char c;

	s->ended = read(s->pipe[0], &c, 1) == 1;
}

static void end_at_once(void *arg)
{
	*(bool *)arg = true;
}

static struct slow slow_open(void)
{
	struct slow s = { .ended = false };

	ASSERT_OK(pipe(s.pipe));
	return s;
}

static void slow_release(struct slow *s)
{
	ASSERT_INT(write(s->pipe[1], "x", 1), 1);
}

TEST(what_ends_at_once_is_gone_after_the_wait)
{
	struct departures *d = departures_new();
	bool a = false, b = false;

	ASSERT_NOT_NULL(d);
	ASSERT_OK(departures_add(d, "a", end_at_once, &a));
	ASSERT_OK(departures_add(d, "b", end_at_once, &b));
	ASSERT_TRUE(departures_wait(d, 10000));
	EXPECT_TRUE(a && b);
	EXPECT_FALSE(departures_has(d, "a"));
	departures_free(d);
}

TEST(one_that_hangs_holds_up_nobody_and_is_known_by_name)
{
	struct departures *d = departures_new();
	struct slow s = slow_open();
	bool other = false;

	ASSERT_OK(departures_add(d, "hung", end_slowly, &s));
	ASSERT_OK(departures_add(d, "other", end_at_once, &other));
	EXPECT_FALSE(departures_wait(d, 50));
	EXPECT_TRUE(departures_has(d, "hung"));
	slow_release(&s);
	EXPECT_TRUE(departures_wait(d, 10000));
	EXPECT_TRUE(s.ended);
	EXPECT_TRUE(other);
	EXPECT_FALSE(departures_has(d, "hung"));
	departures_free(d);
}

TEST(the_descriptor_tells_that_one_has_ended)
{
	struct departures *d = departures_new();
	struct slow s = slow_open();
	struct pollfd p = { .fd = departures_fd(d), .events = POLLIN };

	ASSERT_OK(departures_add(d, "hung", end_slowly, &s));
	EXPECT_FALSE(departures_wait(d, 0));
	EXPECT_INT(poll(&p, 1, 0), 0);
	slow_release(&s);
	EXPECT_INT(poll(&p, 1, 10000), 1);
	EXPECT_TRUE(departures_wait(d, 10000));
	EXPECT_INT(poll(&p, 1, 0), 0);
	departures_free(d);
}
