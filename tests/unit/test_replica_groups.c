// SPDX-License-Identifier: Apache-2.0
/*
 * Points of groups at a replica: what its readers are told of them, while they
 * are being made and when they may not see every member.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

static const char *const names[] = { "db1", "wal1" };

struct members {
	struct history h[2];
	struct sender s[2];
	struct rnd_seeded r;
};

static void members_open(struct members *m, struct fixture *f)
{
	size_t i;

	rnd_seeded_init(&m->r, 7);
	for (i = 0; i < 2; i++) {
		history_init(&m->h[i], names[i], SMALL);
		open_session(f, &m->h[i], &m->s[i]);
	}
}

static void members_free(struct members *m)
{
	size_t i;

	for (i = 0; i < 2; i++) {
		sender_close(&m->s[i]);
		history_free(&m->h[i]);
	}
}

/* The member's part of the group point. */
static void commit(struct members *m, size_t i, uint64_t seq,
		   int64_t flip_wall_ns)
{
	struct history *h = &m->h[i];

	h->group = (struct wire_group){ .uuid = { { 8 } }, .seq = seq,
					.n_members = 2, .name = "shop" };
	h->group_wall_ns = flip_wall_ns;
	history_write(h, &m->r, 1);
	ASSERT_INT(history_stage(h, &m->s[i], false), 0);
	ASSERT_INT(history_commit(h, &m->s[i], "l"), 0);
}

static int a_reader(struct sender *s, struct fixture *f, const char *volumes)
{
	return sender_begin(s, fx_connect_as(f, "web1", WIRE_RIGHT_READ,
					     volumes), WIRE_ROLE_READER);
}

TEST(a_group_point_is_there_once_its_last_member_is_acknowledged)
{
	const int64_t now = clock_wall_ns(clock_real());
	struct wire_member got;
	struct dial_event ev;
	struct members m;
	struct fixture f;
	struct sender s;

	fx_init(&f);
	members_open(&m, &f);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	commit(&m, 0, 1, now);
	ASSERT_OK(dial_group_query(s.dial, "", "shop"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_GROUP_END);
	EXPECT_STR(ev.group.source, "web1");
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_POINT);
	EXPECT_U64(ev.point.group.seq, 1);
	EXPECT_FALSE(ev.point.group_complete);
	ASSERT_INT(sender_wait(&s, &ev), DIAL_POINTS_END);
	commit(&m, 1, 1, now);
	ASSERT_OK(dial_group_query(s.dial, "web1", "shop"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_GROUP_POINT);
	EXPECT_U64(ev.group_point.seq, 1);
	EXPECT_INT(ev.group_point.flip_wall_ns, now);
	EXPECT_STR(ev.group_point.label, "l");
	ASSERT_INT(ev.group_point.n_members, 2);
	ASSERT_TRUE(wire_member_get(ev.group_point.members, 1, &got));
	EXPECT_STR(got.name, "wal1");
	EXPECT_TRUE(uuid_equal(&got.volume, &m.h[1].volume));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_GROUP_END);
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_POINT);
	EXPECT_TRUE(ev.point.group_complete);
	EXPECT_STR(ev.point.group.name, "shop");
	sender_close(&s);
	members_free(&m);
	replica_stop(f.replica);
}

TEST(a_reader_that_may_not_see_a_member_is_told_of_no_group)
{
	const int64_t now = clock_wall_ns(clock_real());
	struct dial_event ev;
	struct members m;
	struct fixture f;
	struct sender s;

	fx_init(&f);
	members_open(&m, &f);
	commit(&m, 0, 1, now);
	commit(&m, 1, 1, now);
	ASSERT_INT(a_reader(&s, &f, "db1"), DIAL_ACCEPTED);
	ASSERT_OK(dial_group_query(s.dial, "web1", "shop"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-group");
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_group_query(s.dial, "", "nosuch"));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-group");
	ASSERT_OK(dial_group_query(s.dial, "", "shop"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_GROUP_POINT);
	sender_close(&s);
	members_free(&m);
	replica_stop(f.replica);
}

TEST(many_group_points_come_in_order_and_all)
{
	const int64_t now = clock_wall_ns(clock_real());
	struct dial_event ev;
	struct members m;
	struct fixture f;
	struct sender s;
	uint64_t seq;

	fx_init(&f);
	members_open(&m, &f);
	for (seq = 1; seq <= 40; seq++) {
		commit(&m, 0, seq, now + (int64_t)seq);
		if (seq % 10)
			commit(&m, 1, seq, now + (int64_t)seq);
	}
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_group_query(s.dial, "", "shop"));
	for (seq = 1; seq <= 40; seq++) {
		if (seq % 10 == 0)
			continue;
		ASSERT_INT(sender_wait(&s, &ev), DIAL_GROUP_POINT);
		EXPECT_U64(ev.group_point.seq, seq);
	}
	ASSERT_INT(sender_wait(&s, &ev), DIAL_GROUP_END);
	sender_close(&s);
	members_free(&m);
	replica_stop(f.replica);
}
