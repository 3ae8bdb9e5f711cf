// SPDX-License-Identifier: Apache-2.0
/*
 * What of a group outlives the process: its UUID and its numbers, whatever
 * becomes of the file, and the numbers of its members.
 */
#include "lib/own_dir.h"
#include "lib/tap.h"

#include "base/cleanup.h"
#include "source/source_group.h"

#include "unit/faulty_io.h"

static struct faulty_io faulty;
static struct err err;

static struct source_env an_env(void)
{
	err_clear(&err);
	if (!own_dir[0])
		own_dir_in_memory("source_group");
	return (struct source_env){
		.state_dir = own_dir, .rnd = rnd_system(),
		.clock = clock_real(), .io = faulty_io_init(&faulty),
	};
}

static struct group_config of(const char *members, uint32_t n)
{
	struct group_config c = { .name = "shop", .n_members = n };

	(void)snprintf(c.members, sizeof(c.members), "%s", members);
	return c;
}

static void path_of(char out[256])
{
	(void)snprintf(out, 256, "%s/groups/shop.group", own_dir);
}

static void put_file(const char *text)
{
	char path[256];
	FILE *f;

	path_of(path);
	f = fopen(path, "we");
	ASSERT_NOT_NULL(f);
	ASSERT_GE(fputs(text, f), 0);
	ASSERT_OK(fclose(f));
}

static void no_wake(void *arg)
{
	(void)arg;
}

/* The number that the next attempt of a group of one would have. */
static uint64_t number_of(struct source_group *g)
{
	static const struct group_meeting m = { .vote = GROUP_GO };
	struct group_attempt a = { 0 };

	ASSERT_OK(group_join(g->meetings, 0, no_wake, NULL));
	ASSERT_TRUE(group_ready(g->meetings, 0));
	ASSERT_OK(group_meet(g->meetings, 0, &m, &a));
	group_part(g->meetings, 0);
	return a.seq;
}

TEST(members_have_their_numbers_by_name)
{
	const struct group_config c = of("db1 log1 wal1", 3);
	struct source_env env = an_env();
	char name[VOLUME_NAME_MAX + 1], names[64];
	struct source_group *g;

	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	EXPECT_INT(source_group_number(g, "db1"), 0);
	EXPECT_INT(source_group_number(g, "log1"), 1);
	EXPECT_INT(source_group_number(g, "wal1"), 2);
	EXPECT_INT(source_group_number(g, "wal"), -ENOENT);
	source_group_member(g, 2, name);
	EXPECT_STR(name, "wal1");
	ASSERT_OK(group_join(g->meetings, 1, no_wake, NULL));
	EXPECT_FALSE(group_ready(g->meetings, 1));
	source_group_missing(g, names, sizeof(names));
	EXPECT_STR(names, "db1 wal1");
	source_group_missing(g, names, 18);
	EXPECT_STR(names, "db1 and 1 more");
	group_part(g->meetings, 1);
	source_group_put(g);
}

TEST(a_group_is_the_same_with_the_next_number_after_a_restart)
{
	const struct group_config c = of("a", 1);
	struct source_env env = an_env();
	struct source_group *g;
	struct uuid was;

	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	was = g->uuid;
	ASSERT_OK(source_group_save_seq(g, 41, &err));
	source_group_put(g);
	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	EXPECT_TRUE(uuid_equal(&was, &g->uuid));
	EXPECT_U64(number_of(g), 42);
	source_group_put(g);
}

TEST(a_damaged_file_is_refused_and_never_made_anew)
{
	static const char *const bad[] = {
		"", "\n", "x", "nonsense 3\n",
		"00000000-0000-0000-0000-000000000000 3\n",
		"6a1f0e52-4c0b-4b7e-9d56-0a8f3a3c2b11 3",
		"6a1f0e52-4c0b-4b7e-9d56-0a8f3a3c2b11 x\n",
		"6a1f0e52-4c0b-4b7e-9d56-0a8f3a3c2b11 3\nmore\n",
		"6a1f0e52-4c0b-4b7e-9d56-0a8f3a3c2b11 99999999999999999999\n",
	};
	const struct group_config c = of("a", 1);
	struct source_env env = an_env();
	struct source_group *g = NULL;
	size_t i;

	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	source_group_put(g);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put_file(bad[i]);
		err_clear(&err);
		EXPECT_LT(source_group_get(&env, &c, &g, &err), 0);
		EXPECT_STR(err.code, "group-state-damaged");
		EXPECT_NOT_NULL(strstr(err.remedy, "put the file back"));
		/* Also for who does not want to know why. */
		EXPECT_LT(source_group_get(&env, &c, &g, NULL), 0);
		EXPECT_NULL(source_group_find("shop"));
	}
	put_file("6a1f0e52-4c0b-4b7e-9d56-0a8f3a3c2b11 7\n");
	err_clear(&err);
	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	EXPECT_U64(number_of(g), 8);
	source_group_put(g);
}

TEST(a_number_that_cannot_be_written_is_not_used_and_the_file_stays)
{
	static const int errors[] = { ENOSPC, EIO };
	const struct group_config c = of("a", 1);
	struct source_env env = an_env();
	struct source_group *g;
	size_t i;

	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	ASSERT_OK(source_group_save_seq(g, 5, &err));
	for (i = 0; i < 2; i++) {
		atomic_store(&faulty.write_errno, errors[i]);
		atomic_store(&faulty.write_in, 1);
		EXPECT_INT(source_group_save_seq(g, 6, &err), -errors[i]);
		EXPECT_STR(err.code, "state-unwritable");
		EXPECT_NOT_NULL(strstr(err.message, "no member commits"));
		EXPECT_NOT_NULL(strstr(err.remedy, "make room"));
		err_clear(&err);
		atomic_store(&faulty.write_in, 0);
		atomic_store(&faulty.sync_errno, errors[i]);
		atomic_store(&faulty.sync_in, 1);
		EXPECT_INT(source_group_save_seq(g, 6, &err), -errors[i]);
		err_clear(&err);
		atomic_store(&faulty.sync_in, 0);
	}
	source_group_put(g);
	ASSERT_OK(source_group_get(&env, &c, &g, &err));
	EXPECT_U64(number_of(g), 6);
	ASSERT_OK(source_group_save_seq(g, 6, &err));
	source_group_put(g);
}

TEST(of_two_with_one_name_only_the_newer_gets_numbers)
{
	const struct group_config before = of("a b", 2), after = of("a", 1);
	struct source_env env = an_env();
	struct source_group *old, *new;

	ASSERT_OK(source_group_get(&env, &before, &old, &err));
	ASSERT_OK(source_group_save_seq(old, 10, &err));
	/* A member of before hangs on its device, and is still there. */
	ASSERT_OK(source_group_get(&env, &after, &new, &err));
	EXPECT_TRUE(uuid_equal(&old->uuid, &new->uuid));
	EXPECT_FALSE(uuid_equal(&old->tracked_as, &new->tracked_as));
	EXPECT_INT(source_group_save_seq(old, 11, &err), -ESTALE);
	EXPECT_STR(err.code, "group-changed");
	err_clear(&err);
	EXPECT_U64(number_of(new), 11);
	ASSERT_OK(source_group_save_seq(new, 11, &err));
	source_group_put(old);
	source_group_put(new);
}
