// SPDX-License-Identifier: Apache-2.0
/*
 * Groups between both ends of a session: only where they were agreed upon, a
 * commit like any other otherwise, and listed in answer to a question.
 */
#include "lib/tap.h"

#include "session_abuse.h"

static const struct wire_group group = {
	.uuid = { { 9 } }, .seq = 4, .n_members = 2, .name = "shop",
};

/* With these features at the accepting end. */
static void ready_with(struct pair *p, enum wire_role role, uint64_t features)
{
	struct wire_accept a = pair_accept();

	a.features = features;
	pair_new(p, role);
	SERVE_GETS(p, SERVE_HELLO);
	EXPECT_FALSE(dial_knows(p->d, WIRE_FEATURE_GROUPS));
	ASSERT_OK(serve_accept(p->s, &a));
	DIAL_GETS(p, DIAL_ACCEPTED);
}

static void open_with(struct pair *p, uint64_t features)
{
	struct wire_volume_open open = pair_open();
	struct wire_volume_state state = pair_state();

	ready_with(p, WIRE_ROLE_SENDER, features);
	ASSERT_OK(dial_volume_open(p->d, &open));
	SERVE_GETS(p, SERVE_VOLUME_OPEN);
	ASSERT_OK(serve_volume(p->s, &state));
	DIAL_GETS(p, DIAL_VOLUME);
}

TEST(a_commit_brings_its_group_along)
{
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	open_with(&p, WIRE_FEATURES);
	EXPECT_TRUE(dial_knows(p.d, WIRE_FEATURE_GROUPS));
	EXPECT_TRUE(serve_knows(p.s, WIRE_FEATURE_GROUPS));
	c.group = group;
	ASSERT_OK(dial_commit(p.d, &c));
	EXPECT_INT(dial_commit(p.d, &c), -EBUSY);
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_U64(p.se.commit.seq, 11);
	EXPECT_TRUE(uuid_equal(&p.se.commit.group.uuid, &group.uuid));
	EXPECT_U64(p.se.commit.group.seq, 4);
	EXPECT_U64(p.se.commit.group.n_members, 2);
	EXPECT_STR(p.se.commit.group.name, "shop");
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_ACK);
	c = pair_commit(12);
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_TRUE(uuid_is_zero(&p.se.commit.group.uuid));
	pair_free(&p);
}

TEST(a_replica_that_does_not_know_groups_is_sent_none)
{
	struct wire_commit c = pair_commit(11);
	struct pair p;

	open_with(&p, WIRE_FEATURE_VERIFY);
	EXPECT_FALSE(dial_knows(p.d, WIRE_FEATURE_GROUPS));
	c.group = group;
	EXPECT_INT(dial_commit(p.d, &c), -EOPNOTSUPP);
	SERVE_GETS_NOTHING(&p);
	memset(&c.group, 0, sizeof(c.group));
	EXPECT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_COMMIT);
	pair_free(&p);
}

TEST(a_group_that_cannot_be_is_not_sent)
{
	struct wire_commit c = pair_commit(11);
	struct pair p;

	open_with(&p, WIRE_FEATURES);
	c.group = group;
	c.group.seq = 0;
	EXPECT_INT(dial_commit(p.d, &c), -EINVAL);
	c.group = group;
	c.group.n_members = WIRE_MAX_GROUP_MEMBERS + 1;
	EXPECT_INT(dial_commit(p.d, &c), -EINVAL);
	SERVE_GETS_NOTHING(&p);
	c.group = group;
	EXPECT_OK(dial_commit(p.d, &c));
	pair_free(&p);
}

TEST(a_sender_that_sends_one_all_the_same_is_refused)
{
	struct wire_commit c = pair_commit(11);
	struct msg m = { .type = MSG_GROUP_COMMIT, .handle = 7, .request = 3 };
	struct pair p;

	c.group = group;
	m.u.commit = c;
	open_with(&p, WIRE_FEATURE_VERIFY);
	EXPECT_INT(serve_gets(&p, &m), -EPROTO);
	pair_free(&p);
	open_with(&p, WIRE_FEATURES);
	EXPECT_OK(serve_gets(&p, &m));
	pair_free(&p);
}

TEST(points_of_a_group_are_listed)
{
	static uint8_t members[WIRE_MEMBER_BYTES];
	const struct wire_member m = { .volume = { { 1 } }, .epoch = 1,
				       .seq = 6, .size_bytes = 4096,
				       .name = "db1" };
	struct wire_group_point row = { .seq = 4, .n_members = 1,
					.members = members };
	const struct wire_group_name name = { group.uuid, "web1", "shop" };
	struct wire_member got;
	struct pair p;

	wire_member_put(members, 0, &m);
	ready_with(&p, WIRE_ROLE_READER, WIRE_FEATURES);
	EXPECT_INT(serve_group_point(p.s, &row), -EINVAL);
	ASSERT_OK(dial_group_query(p.d, NULL, "shop"));
	SERVE_GETS(&p, SERVE_GROUP_QUERY);
	EXPECT_STR(p.se.name, "shop");
	EXPECT_INT(serve_points_end(p.s), -EINVAL);
	ASSERT_OK(serve_group_point(p.s, &row));
	ASSERT_OK(serve_group_end(p.s, &name));
	EXPECT_INT(serve_group_end(p.s, &name), -EINVAL);
	DIAL_GETS(&p, DIAL_GROUP_POINT);
	EXPECT_U64(p.de.group_point.seq, 4);
	ASSERT_TRUE(wire_member_get(p.de.group_point.members, 0, &got));
	EXPECT_STR(got.name, "db1");
	EXPECT_U64(got.seq, 6);
	DIAL_GETS(&p, DIAL_GROUP_END);
	EXPECT_STR(p.de.group.source, "web1");
	pair_free(&p);
}

TEST(who_does_not_know_groups_is_not_asked_and_gets_plain_points)
{
	struct wire_point row = { .epoch = 1, .seq = 6, .size_bytes = 4096,
				  .group = group, .group_complete = true };
	const uint64_t features[] = { WIRE_FEATURE_VERIFY, WIRE_FEATURES };
	struct pair p;
	size_t i;

	for (i = 0; i < COUNT(features); i++) {
		bool knows = features[i] & WIRE_FEATURE_GROUPS;

		ready_with(&p, WIRE_ROLE_READER, features[i]);
		if (!knows)
			EXPECT_INT(dial_group_query(p.d, NULL, "shop"),
				   -EOPNOTSUPP);
		ASSERT_OK(dial_points_query(p.d, NULL, "db1"));
		SERVE_GETS(&p, SERVE_POINTS_QUERY);
		ASSERT_OK(serve_point(p.s, &row));
		DIAL_GETS(&p, DIAL_POINT);
		EXPECT_U64(p.de.point.group.seq, knows ? 4 : 0);
		EXPECT_INT(p.de.point.group_complete, knows);
		pair_free(&p);
	}
}
