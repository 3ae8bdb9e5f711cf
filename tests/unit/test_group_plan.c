// SPDX-License-Identifier: Apache-2.0
/* What is frozen for a point of a group, once each, and in which order. */
#include "tap.h"

#include <string.h>

#include "base/clock.h"
#include "source/group_plan.h"

static struct group_plan *plan;
static struct freeze_order order;
static struct err err;
/* "INNER DEVICE": what lies in a file on it. */
static const char *nested[8];
static int fails_with;
static const char *hook;

static void begin(void)
{
	group_plan_free(plan);
	plan = group_plan_new();
	ASSERT_NOT_NULL(plan);
	memset(nested, 0, sizeof(nested));
	fails_with = 0;
	hook = "";
	err_clear(&err);
}

/* Filesystems "/a" (device 7:97) and so on, mounted there. */
static void add_of(uint64_t attempt, int member, const char *fs,
		   uint64_t limit_ms)
{
	struct blkdev_fs f = { 0 };
	char name[16], points[16][4];
	struct plan_part p = {
		.member = member, .name = name, .fs = &f, .hook = hook,
		.volume = { 8, (uint32_t)member },
		.limit_ns = limit_ms * NSEC_PER_MSEC,
	};

	(void)snprintf(name, sizeof(name), "v%d", member);
	for (; fs[f.n_fs]; f.n_fs++) {
		(void)snprintf(points[f.n_fs], 4, "/%c", fs[f.n_fs]);
		f.mounts[f.n_mounts++] = (struct blkdev_fs_mount){
			.fs = f.n_fs, .no = { 7, (uint32_t)fs[f.n_fs] },
			.id = (uint64_t)fs[f.n_fs],
			.point = points[f.n_fs],
		};
	}
	ASSERT_OK(group_plan_add(plan, attempt, &p));
}

static void add(int member, const char *fs)
{
	add_of(1, member, fs, 500);
}

static int lies_on(struct devno volume, const char *path)
{
	char is[16];
	int i;

	(void)snprintf(is, sizeof(is), "%s v%u", path, volume.minor);
	for (i = 0; i < 8 && nested[i]; i++)
		if (!strcmp(nested[i], is))
			return 1;
	return fails_with;
}

static int make(void)
{
	return group_plan_order(plan, "shop", lies_on, &order, &err);
}

static void is_order(const char *want)
{
	char got[64] = "";
	uint32_t i;

	ASSERT_MSG(!make(), "%s", err.message);
	for (i = 0; i < order.q.n_fs; i++)
		strcat(got, freeze_order_path(&order, i) + 1);
	EXPECT_STR(got, want);
	EXPECT_TRUE(freeze_request_is_sound(&order.q));
}

TEST(all_members_filesystems_are_frozen_in_the_order_of_the_members)
{
	begin();
	add(2, "e");
	add(0, "ba");
	add(1, "");
	is_order("bae");
	EXPECT_STR(order.owners[0], "v0");
	EXPECT_STR(order.owners[2], "v2");
	EXPECT_STR(order.q.volume, "shop");
	EXPECT_STR(order.q.hook, "");
}

TEST(a_filesystem_of_several_members_is_frozen_once)
{
	begin();
	add(0, "ab");
	add(1, "bc");
	add(2, "b");
	is_order("abc");
	EXPECT_U64(order.q.n_mounts, 3);
}

TEST(what_lies_in_a_file_of_another_is_frozen_before_it)
{
	begin();
	add(0, "ab");
	add(1, "c");
	add(2, "d");
	/* d in a file of c, c in one of a or b. */
	nested[0] = "/c v0";
	nested[1] = "/d v1";
	nested[2] = "/d v0";
	is_order("dcab");
}

TEST(filesystems_that_lie_on_each_other_are_refused)
{
	begin();
	add(0, "a");
	add(1, "b");
	nested[0] = "/a v1";
	nested[1] = "/b v0";
	EXPECT_INT(make(), -EPERM);
	EXPECT_STR(err.code, "quiesce-refused");
}

TEST(one_that_does_not_say_where_it_lies_is_no_obstacle_but_an_error_is)
{
	begin();
	add(0, "a");
	add(1, "b");
	fails_with = -EOPNOTSUPP;
	is_order("ab");
	fails_with = -EIO;
	EXPECT_INT(make(), -EIO);
	EXPECT_STR(err.code, "quiesce-failed");
}

TEST(the_smallest_limit_is_that_of_all)
{
	begin();
	add_of(1, 0, "a", 700);
	add_of(1, 1, "b", 300);
	add_of(1, 2, "", 900);
	is_order("ab");
	EXPECT_U64(order.q.limit_ns, 300 * NSEC_PER_MSEC);
	EXPECT_U64(group_plan_limit(plan), 300 * NSEC_PER_MSEC);
}

TEST(the_hook_is_that_of_all_members_or_nothing_is_held)
{
	begin();
	hook = "/hold";
	add(0, "a");
	add(1, "");
	is_order("a");
	EXPECT_STR(order.q.hook, "/hold");
	hook = "";
	add(2, "b");
	EXPECT_INT(make(), -EAGAIN);
	EXPECT_STR(err.code, "quiesce-failed");
	begin();
	EXPECT_INT(make(), -EAGAIN);
}

TEST(an_attempt_knows_nothing_of_the_one_before)
{
	struct freeze_result res = { .is_whole = true };
	struct err why = ERR_INIT, out;

	begin();
	add_of(1, 0, "a", 100);
	add_of(1, 1, "b", 100);
	err_set(&why, -EBUSY, "first", "v1", "no");
	group_plan_note(plan, 1, &why);
	err_clear(&why);
	err_set(&why, -EBUSY, "second", "v0", "no");
	group_plan_note(plan, 1, &why);
	group_plan_set_result(plan, &res);
	group_plan_why(plan, &out);
	EXPECT_STR(out.code, "first");
	add_of(2, 1, "c", 500);
	group_plan_why(plan, &out);
	EXPECT_INT(out.num, 0);
	group_plan_result(plan, &res);
	EXPECT_FALSE(res.is_whole);
	is_order("c");
	EXPECT_U64(order.q.limit_ns, 500 * NSEC_PER_MSEC);
}

TEST(more_than_can_be_frozen_at_once_is_refused)
{
	char many[16];
	int m, i;

	begin();
	for (m = 0; m < 6; m++) {
		for (i = 0; i < 12; i++)
			many[i] = (char)(32 + 12 * m + i + (m > 0));
		many[12] = 0;
		add(m, many);
	}
	EXPECT_INT(make(), -E2BIG);
	EXPECT_STR(err.code, "quiesce-failed");
}
