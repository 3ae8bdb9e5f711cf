// SPDX-License-Identifier: Apache-2.0
/*
 * What a replica says of its volumes: their state, and a lag that is true
 * whatever the clocks say.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

static void wait_until(bool (*cond)(void *arg), void *arg)
{
	int i;

	for (i = 0; i < 1000; i++) {
		if (cond(arg))
			return;
		(void)poll(NULL, 0, 10);
	}
	ASSERT_MSG(false, "what was waited for did not happen");
}

static bool is_disconnected(void *arg)
{
	return !strcmp(status_of(arg).state, "disconnected");
}

TEST(status_tells_the_states_of_a_volume)
{
	struct replica_volume_status row;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	row = status_of(&f);
	EXPECT_STR(row.state, "initializing");
	EXPECT_STR(row.info.source, "web1");
	EXPECT_STR(row.info.name, "db1");
	EXPECT_TRUE(row.connected && !row.has_lag && !row.has_key);
	EXPECT_TRUE(row.since_wall_ns > 0);
	ASSERT_INT(history_point(&h, &s), 0);
	row = status_of(&f);
	EXPECT_STR(row.state, "following");
	EXPECT_TRUE(row.has_lag && row.lag_ns < 20 * NSEC_PER_SEC);
	sender_close(&s);
	wait_until(is_disconnected, &f);
	row = status_of(&f);
	EXPECT_FALSE(row.connected);
	EXPECT_TRUE(row.has_lag);
	EXPECT_STR(row.reason, "no-session");
	/* after a restart lag goes on from what the store knows */
	fx_restart(&f);
	row = status_of(&f);
	EXPECT_STR(row.state, "disconnected");
	EXPECT_TRUE(row.has_lag && row.lag_ns < 20 * NSEC_PER_SEC);
	replica_stop(f.replica);
	history_free(&h);
}

/* A point that flipped ago_ns ago, by a clock that is off by skew_ns. */
static void skewed_point(struct fixture *f, struct history *h, int64_t skew_ns,
			 int64_t ago_ns)
{
	struct wire_hello hello = a_hello(WIRE_ROLE_SENDER);
	struct dial_event ev;
	struct wire_commit c;
	struct sender s;

	hello.wall_ns += skew_ns;
	sender_hello(&s, fx_connect(f), &hello);
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACCEPTED);
	s.accept = ev.accept;
	ASSERT_INT(history_open(h, &s), 0);
	ASSERT_INT(history_stage(h, &s, false), 0);
	c = history_commit_of(h);
	c.flip_wall_ns += skew_ns - ago_ns;
	snapshot_take(h, h->next_seq);
	ASSERT_OK(dial_commit(s.dial, &c));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACK);
	history_acked(h, ev.ack.seq, &ev.ack.head);
	sender_close(&s);
}

TEST(skewed_clocks_make_lag_neither_negative_nor_wrong)
{
	static const int64_t skews[] = { 0, 3600, -3600, 86400 * 365 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(skews); i++) {
		struct replica_volume_status row;
		struct rnd_seeded r;
		struct fixture f;
		struct history h;

		fx_init(&f);
		a_history(&h, &r);
		skewed_point(&f, &h, skews[i] * (int64_t)NSEC_PER_SEC,
			     40 * (int64_t)NSEC_PER_SEC);
		row = status_of(&f);
		EXPECT_TRUE(row.has_lag);
		EXPECT_GE(row.lag_ns, 39 * NSEC_PER_SEC);
		EXPECT_LE(row.lag_ns, 60 * NSEC_PER_SEC);
		replica_stop(f.replica);
		history_free(&h);
		own_dir_remove();
	}
}

TEST(a_confirmation_keeps_the_lag_true_without_a_point)
{
	struct replica_volume_status row;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	skewed_point(&f, &h, 0, 50 * (int64_t)NSEC_PER_SEC);
	open_session(&f, &h, &s);
	EXPECT_GE(status_of(&f).lag_ns, 49 * NSEC_PER_SEC);
	ASSERT_OK(dial_confirm(s.dial, h.epoch, h.acked_seq,
			       clock_wall_ns(clock_real())));
	ASSERT_OK(dial_ping(s.dial));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_PONG);
	row = status_of(&f);
	EXPECT_LT(row.lag_ns, 20 * NSEC_PER_SEC);
	EXPECT_INT(count_points(&f, &h), 1);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}
