// SPDX-License-Identifier: Apache-2.0
/*
 * Readers at a replica: the points and views that there are for them, and the
 * end of one that does not take what it asked for.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

static int a_reader(struct sender *s, struct fixture *f, const char *volumes)
{
	return sender_begin(s, fx_connect_as(f, "web1", WIRE_RIGHT_READ,
					     volumes), WIRE_ROLE_READER);
}

TEST(a_reader_lists_the_points_it_may_see)
{
	struct history h, other;
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct sender s;
	uint64_t seq;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	for (seq = 1; seq <= 5; seq++) {
		history_write(&h, &r, 1);
		ASSERT_INT(history_stage(&h, &s, false), 0);
		ASSERT_INT(history_commit(&h, &s, seq == 3 ? "three" : NULL),
			   0);
	}
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "web1", "db1"));
	for (seq = 1; seq <= 5; seq++) {
		ASSERT_INT(sender_wait(&s, &ev), DIAL_POINT);
		EXPECT_U64(ev.point.seq, seq);
		EXPECT_STR(ev.point.label, seq == 3 ? "three" : "");
		EXPECT_U64(ev.point.size_bytes, SMALL);
	}
	ASSERT_INT(sender_wait(&s, &ev), DIAL_POINTS_END);
	ASSERT_OK(dial_points_query(s.dial, "", "nosuch"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-volume");
	ASSERT_OK(dial_points_query(s.dial, "web2", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "not-permitted");
	sender_close(&s);
	/* a second volume of that name: whoever may see both must choose */
	history_init(&other, "db1", SMALL);
	ASSERT_INT(sender_begin(&s, fx_connect_as(&f, "web2", ALL_RIGHTS, "*"),
				WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	ASSERT_INT(history_open(&other, &s), 0);
	ASSERT_INT(history_point(&other, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*/*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "ambiguous");
	EXPECT_STR_HAS(s.why.message, "web1/db1");
	EXPECT_STR_HAS(s.why.message, "web2/db1");
	sender_close(&s);
	/* whoever may see one only is not asked */
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_points_query(s.dial, "", "db1"));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_POINT);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
	history_free(&other);
}

TEST(a_view_that_does_not_exist_is_an_error_and_the_session_goes_on)
{
	struct wire_view_open o = { .source = "web1", .name = "db1",
				    .select = WIRE_SELECT_LATEST };
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;

	fx_init(&f);
	a_history(&h, &r);
	open_session(&f, &h, &s);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-point");
	sender_close(&s);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	o.select = WIRE_SELECT_SEQ;
	o.seq = 77;
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR(s.why.code, "no-point");
	o.select = WIRE_SELECT_LABEL;
	snprintf(o.label, sizeof(o.label), "before-upgrade");
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	EXPECT_STR_HAS(s.why.message, "before-upgrade");
	o.select = WIRE_SELECT_TIME;
	o.wall_ns = 1;
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_ERROR);
	o.wall_ns = clock_wall_ns(clock_real());
	ASSERT_OK(dial_view_open(s.dial, &o));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_VIEW);
	EXPECT_U64(ev.view.point.seq, 1);
	ASSERT_OK(dial_view_close(s.dial, ev.view.handle));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_reader_that_takes_nothing_is_cut_off)
{
	struct wire_view_open o = { .name = "db1" };
	struct dial_event ev;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	uint32_t handle;
	int i;

	fx_prepare(&f);
	f.env.limits.stall_ms = 300;
	fx_start(&f);
	rnd_seeded_init(&r, 3);
	history_init(&h, "db1", 2048 * (uint64_t)B);
	history_write(&h, &r, 300);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	sender_close(&s);
	ASSERT_INT(a_reader(&s, &f, "*"), DIAL_ACCEPTED);
	ASSERT_OK(dial_view_open(s.dial, &o));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_VIEW);
	handle = ev.view.handle;
	for (i = 0; i < 20; i++)
		ASSERT_OK(dial_view_read(s.dial, handle, 0, 2048));
	ASSERT_OK(sender_flush(&s));
	/* The replica gives up by itself: its end is closed while we read
	 * nothing, so that what can still be read ends. */
	(void)poll(NULL, 0, 1000);
	while (sender_wait(&s, &ev) >= 0)
		;
	EXPECT_TRUE(s.gone);
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}
