// SPDX-License-Identifier: Apache-2.0
/*
 * VERIFY between both ends: only where it was agreed upon, inside the volume,
 * answered in order and in full.
 */
#include "lib/tap.h"

#include "session_abuse.h"

static uint8_t held[WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES];

/* With these features at the accepting end. */
static void open_with(struct pair *p, uint64_t features)
{
	struct wire_volume_open open = pair_open();
	struct wire_volume_state state = pair_state();
	struct wire_accept a = pair_accept();

	a.features = features;
	pair_new(p, WIRE_ROLE_SENDER);
	SERVE_GETS(p, SERVE_HELLO);
	ASSERT_OK(serve_accept(p->s, &a));
	DIAL_GETS(p, DIAL_ACCEPTED);
	ASSERT_OK(dial_volume_open(p->d, &open));
	SERVE_GETS(p, SERVE_VOLUME_OPEN);
	ASSERT_OK(serve_volume(p->s, &state));
	DIAL_GETS(p, DIAL_VOLUME);
}

TEST(extents_are_asked_for_and_answered_together)
{
	const struct wire_extent e[] = { { 7, 2 }, { 100, 1 } };
	struct wire_extent got;
	struct pair p;

	open_with(&p, WIRE_FEATURES);
	ASSERT_OK(dial_verify(p.d, true, e, 2));
	SERVE_GETS(&p, SERVE_VERIFY);
	EXPECT_TRUE(p.se.fresh);
	EXPECT_U64(p.se.count, 3);
	ASSERT_U64(p.se.n_bytes, 2 * WIRE_EXTENT_BYTES);
	got = wire_extent_get(p.se.bytes, 1);
	EXPECT_U64(got.first, 100);
	EXPECT_U64(got.count, 1);
	EXPECT_INT(serve_verified(p.s, 3, 10, 2, held), -EINVAL);
	held[0] = WIRE_HELD_DAMAGED;
	ASSERT_OK(serve_verified(p.s, 3, 10, 3, held));
	EXPECT_INT(serve_verified(p.s, 3, 10, 3, held), -EINVAL);
	DIAL_GETS(&p, DIAL_VERIFIED);
	EXPECT_U64(p.de.epoch, 3);
	EXPECT_U64(p.de.seq, 10);
	EXPECT_U64(p.de.count, 3);
	EXPECT_MEM(p.de.held, held, 3 * WIRE_HELD_BYTES);
	held[0] = 0;
	pair_free(&p);
}

TEST(it_keeps_its_place_among_other_requests)
{
	static const uint8_t fps[4 * UNIT_FP_BYTES];
	const struct wire_extent e = { PAIR_BLOCKS - 4, 4 };
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	open_with(&p, WIRE_FEATURES);
	ASSERT_OK(dial_fp_query(p.d, 0, 4));
	ASSERT_OK(dial_commit(p.d, &c));
	ASSERT_OK(dial_verify(p.d, false, &e, 1));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	SERVE_GETS(&p, SERVE_COMMIT);
	SERVE_GETS(&p, SERVE_VERIFY);
	EXPECT_FALSE(p.se.fresh);
	EXPECT_INT(serve_verified(p.s, 3, 11, 4, held), -EINVAL);
	ASSERT_OK(serve_fps(p.s, 0, 4, fps));
	ASSERT_OK(serve_verified(p.s, 3, 11, 4, held));
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_FPS);
	DIAL_GETS(&p, DIAL_VERIFIED);
	DIAL_GETS(&p, DIAL_ACK);
	pair_free(&p);
}

TEST(a_replica_that_does_not_know_it_is_not_asked)
{
	const struct wire_extent e = { 0, 1 };
	struct pair p;

	open_with(&p, 0);
	EXPECT_INT(dial_verify(p.d, false, &e, 1), -EOPNOTSUPP);
	SERVE_GETS_NOTHING(&p);
	pair_free(&p);
}

TEST(extents_outside_the_volume_are_not_asked_for)
{
	const struct wire_extent bad[] = { { PAIR_BLOCKS, 1 },
					   { PAIR_BLOCKS - 1, 2 },
					   { 0, 0 },
					   { 0, WIRE_MAX_VERIFY_BLOCKS + 1 } };
	struct pair p;
	size_t i;

	open_with(&p, WIRE_FEATURES);
	for (i = 0; i < COUNT(bad); i++)
		EXPECT_INT(dial_verify(p.d, false, &bad[i], 1), -EINVAL);
	EXPECT_INT(dial_verify(p.d, false, bad, 0), -EINVAL);
	SERVE_GETS_NOTHING(&p);
	pair_free(&p);
}

static struct msg verify_with(const uint8_t *extents)
{
	return (struct msg){ .type = MSG_VERIFY, .handle = 7,
			     .request = 3,
			     .u.verify = { .n_extents = 1,
					   .extents = extents } };
}

TEST(a_sender_that_asks_for_what_it_may_not_is_refused)
{
	uint8_t in[WIRE_EXTENT_BYTES], out[WIRE_EXTENT_BYTES];
	struct msg m;
	struct pair p;

	wire_extent_put(in, 0, &(struct wire_extent){ 0, 1 });
	wire_extent_put(out, 0, &(struct wire_extent){ PAIR_BLOCKS, 1 });
	open_with(&p, 0);
	m = verify_with(in);
	EXPECT_INT(serve_gets(&p, &m), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "not agreed upon");
	pair_free(&p);
	open_with(&p, WIRE_FEATURES);
	m = verify_with(out);
	EXPECT_INT(serve_gets(&p, &m), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "outside the volume");
	pair_free(&p);
	open_with(&p, WIRE_FEATURES);
	m = verify_with(in);
	m.handle = 8;
	EXPECT_INT(serve_gets(&p, &m), -EPROTO);
	pair_free(&p);
}

TEST(a_replica_that_answers_something_else_is_refused)
{
	const struct wire_extent e = { 0, 2 };
	struct msg m = { .type = MSG_VERIFIED, .handle = 7,
			 .request = 3,
			 .u.verified = { 3, 10, 2, held } };
	struct pair p;

	open_with(&p, WIRE_FEATURES);
	EXPECT_INT(dial_gets(&p, &m), -EPROTO);	/* to nothing */
	pair_free(&p);
	open_with(&p, WIRE_FEATURES);
	ASSERT_OK(dial_verify(p.d, false, &e, 1));
	m.u.verified.count = 1;
	EXPECT_INT(dial_gets(&p, &m), -EPROTO);
	pair_free(&p);
	open_with(&p, WIRE_FEATURES);
	ASSERT_OK(dial_verify(p.d, false, &e, 1));
	m.u.verified.count = 2;
	EXPECT_OK(dial_gets(&p, &m));
	EXPECT_INT(p.de.type, DIAL_VERIFIED);
	pair_free(&p);
}
