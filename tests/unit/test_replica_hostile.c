// SPDX-License-Identifier: Apache-2.0
/*
 * Peers that send what no source sends: their session ends, they are told when
 * that can still be done, and nobody else notices.
 */
#include "replica_fixture.h"
#include "replica_steps.h"

/* Bytes that a session would send, with some of them changed. */
static void hostile_session(struct fixture *f, struct rnd_seeded *r)
{
	struct history h;
	struct sender s;
	struct buf *out;
	uint64_t flips;
	char name[40];
	int res;

	snprintf(name, sizeof(name), "evil%" PRIu64, rnd_seeded_next(r));
	history_init(&h, name, 16 * (uint64_t)B);
	history_write(&h, r, 2);
	sender_connect(&s, f);
	if (rnd_seeded_below(r, 4) && history_open(&h, &s) == 0) {
		const struct comp_config comp = { .mode = COMP_NONE };
		struct sealer *sealer = sealer_new(&h.key, &h.volume, 1, 1,
						   &comp, rnd_system());
		struct wire_commit c = history_commit_of(&h);

		ASSERT_NOT_NULL(sealer);
		ASSERT_OK(dial_point_begin(s.dial, sealer_delta(sealer)));
		if (!rnd_seeded_below(r, 2)) {
			struct buf units = { 0 };

			(void)seal_run(&h, sealer, NULL, 0, &units);
			ASSERT_OK(dial_units(s.dial, units.data, units.len));
			buf_free(&units);
		}
		if (!rnd_seeded_below(r, 2))
			ASSERT_OK(dial_fp_query(s.dial, 0, 16));
		ASSERT_OK(dial_commit(s.dial, &c));
		sealer_free(sealer);
	} else {
		ASSERT_OK(dial_ping(s.dial));
	}
	out = dial_out(s.dial);
	for (flips = 1 + rnd_seeded_below(r, 4); flips && out->len; flips--)
		out->data[rnd_seeded_below(r, out->len)] ^=
			(uint8_t)(1 + rnd_seeded_below(r, 255));
	if (!rnd_seeded_below(r, 4)) {
		uint64_t i;

		for (i = 0; i < out->len; i++)
			out->data[i] = (uint8_t)rnd_seeded_next(r);
	}
	res = sender_flush(&s);
	if (res == 0 && !rnd_seeded_below(r, 2))
		(void)poll(NULL, 0, 2);
	sender_cut(&s);
	sender_close(&s);
	history_free(&h);
}

TEST(hostile_bytes_end_their_session_and_nothing_else)
{
	struct rnd_seeded r, quiet;
	struct fixture f;
	struct history h;
	struct sender s;
	int i;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	a_history(&h, &quiet);
	open_session(&f, &h, &s);
	ASSERT_INT(history_point(&h, &s), 0);
	for (i = 0; i < 60; i++)
		hostile_session(&f, &r);
	history_write(&h, &quiet, 2);
	ASSERT_INT(history_point(&h, &s), 0);
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[0]));
	EXPECT_TRUE(local_point_is(&f, &h, &h.snaps[1]));
	sender_close(&s);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(a_broken_protocol_is_told_before_the_end)
{
	struct dial_event ev;
	struct fixture f;
	struct sender s;
	struct buf *out;

	fx_init(&f);
	sender_connect(&s, &f);
	ASSERT_OK(dial_ping(s.dial));
	out = dial_out(s.dial);
	out->data[out->len - 1] ^= 0xff;
	ASSERT_OK(sender_flush(&s));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	EXPECT_INT(s.why.num, -EPROTO);
	sender_close(&s);
	replica_stop(f.replica);
}
