// SPDX-License-Identifier: Apache-2.0
/*
 * Too many peers, ones that say nothing or never come to an end of what they
 * say, and the end of all of them at once.
 */
#include "replica_fixture.h"

#include "wire/msg.h"

static bool closed_by_now(struct conn *c)
{
	uint8_t b[256];
	int64_t n;

	do {
		n = conn_read(c, b, sizeof(b), PEER_MS);
	} while (n > 0);
	return n != -EAGAIN;
}

static bool still_open(struct conn *c)
{
	uint8_t b;

	return conn_read(c, &b, 1, 0) == -EAGAIN;
}

TEST(a_newcomer_gets_the_place_of_a_stranger_who_says_nothing)
{
	struct conn *conns[4];
	struct fixture f;
	struct sender s;
	size_t i;

	fx_prepare(&f);
	f.env.limits.strangers = ARRAY_SIZE(conns);
	f.env.limits.handshake_ms = PEER_MS;
	fx_start(&f);
	for (i = 0; i < ARRAY_SIZE(conns); i++)
		conns[i] = fx_connect(&f);
	sender_connect(&s, &f);
	/* The one that was there longest had to go, and no other. */
	EXPECT_TRUE(closed_by_now(conns[0]));
	for (i = 1; i < ARRAY_SIZE(conns); i++)
		EXPECT_TRUE(still_open(conns[i]));
	sender_close(&s);
	for (i = 0; i < ARRAY_SIZE(conns); i++)
		conn_close(conns[i], false);
	replica_stop(f.replica);
}

TEST(one_certificate_does_not_take_all_places)
{
	struct sender s[3], other;
	struct fixture f;
	size_t i;

	fx_prepare(&f);
	f.env.limits.per_name = 2;
	fx_start(&f);
	sender_connect(&s[0], &f);
	sender_connect(&s[1], &f);
	EXPECT_INT(sender_begin(&s[2], fx_connect(&f), WIRE_ROLE_SENDER),
		   DIAL_REJECTED);
	EXPECT_STR(s[2].why.code, "too-many");
	EXPECT_INT(sender_begin(&other, fx_connect_as(&f, "web2", ALL_RIGHTS,
						      "*"),
				WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	sender_close(&other);
	for (i = 0; i < 3; i++)
		sender_close(&s[i]);
	replica_stop(f.replica);
}

TEST(a_message_that_never_ends_ends_the_session)
{
	struct frame_header h = { .body_bytes = 1 << 20, .type = MSG_UNITS,
				  .handle = 1 };
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	double start;
	size_t i;

	fx_prepare(&f);
	f.env.limits.idle_ms = 200;
	f.env.limits.stall_ms = 600;
	fx_start(&f);
	sender_connect(&s, &f);
	frame_put_header(&h, bytes);
	start = tap_ms_now();
	/* Never silent, and never done. */
	for (i = 0; i < sizeof(bytes) - 1; i++) {
		if (conn_write(s.conn, &bytes[i], 1, 0) != 1)
			break;
		(void)poll(NULL, 0, 50);
	}
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_STR(s.why.code, "stalled");
	EXPECT_GE(tap_ms_now() - start, 590);
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(a_slow_message_after_a_long_silence_has_its_own_time)
{
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	size_t n;

	fx_prepare(&f);
	f.env.limits.idle_ms = 2000;
	f.env.limits.stall_ms = 300;
	fx_start(&f);
	sender_connect(&s, &f);
	(void)poll(NULL, 0, 500);
	ASSERT_OK(dial_ping(s.dial));
	n = dial_out(s.dial)->len;
	ASSERT_INT(conn_write(s.conn, dial_out(s.dial)->data, n - 1, 0), n - 1);
	(void)poll(NULL, 0, 50);
	ASSERT_INT(conn_write(s.conn, dial_out(s.dial)->data + n - 1, 1, 0), 1);
	buf_consume(dial_out(s.dial), n);
	EXPECT_INT(sender_wait(&s, &ev), DIAL_PONG);
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(strangers_are_bounded_in_number_and_time)
{
	struct conn *conns[5], *ours, *theirs;
	struct fixture f;
	struct sender s;
	size_t i;

	fx_prepare(&f);
	f.env.limits.strangers_per_address = 4;
	f.env.limits.handshake_ms = 300;
	fx_start(&f);
	for (i = 0; i < 4; i++)
		conns[i] = fx_connect(&f);
	ASSERT_OK(conn_pair(&ours, &theirs));
	snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		 "test:web1");
	EXPECT_INT(replica_serve(f.replica, theirs), -EMFILE);
	EXPECT_TRUE(closed_by_now(ours));
	conn_close(ours, false);
	/* another address is let in meanwhile */
	ASSERT_OK(conn_pair(&ours, &theirs));
	snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		 "other:web1");
	EXPECT_OK(replica_serve(f.replica, theirs));
	conn_close(ours, false);
	/* those who say nothing are out after the time allowed */
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(closed_by_now(conns[i]));
		conn_close(conns[i], false);
	}
	sender_connect(&s, &f);
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(a_silent_session_ends_and_pings_keep_it)
{
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	int i;

	fx_prepare(&f);
	f.env.limits.idle_ms = 400;
	fx_start(&f);
	sender_connect(&s, &f);
	for (i = 0; i < 6; i++) {
		(void)poll(NULL, 0, 100);
		ASSERT_OK(dial_ping(s.dial));
		ASSERT_INT(sender_wait(&s, &ev), DIAL_PONG);
	}
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_STR(s.why.code, "idle");
	sender_close(&s);
	replica_stop(f.replica);
}

TEST(stop_tells_every_session_and_waits_for_it)
{
	struct sender s[8], silent;
	struct dial_event ev;
	struct fixture f;
	size_t i;

	fx_init(&f);
	for (i = 0; i < ARRAY_SIZE(s); i++)
		sender_connect(&s[i], &f);
	memset(&silent, 0, sizeof(silent));
	silent.conn = fx_connect(&f);
	replica_stop(f.replica);
	for (i = 0; i < ARRAY_SIZE(s); i++) {
		EXPECT_INT(sender_wait(&s[i], &ev), DIAL_BYE);
		EXPECT_STR(s[i].why.code, "shutdown");
		sender_close(&s[i]);
	}
	EXPECT_TRUE(closed_by_now(silent.conn));
	conn_close(silent.conn, false);
}
