// SPDX-License-Identifier: Apache-2.0
/*
 * Histories: random writes become points at a replica while connections are
 * cut at any byte, sessions take over from each other and the replica is
 * stopped and started. Every point that was acknowledged, or that the replica
 * itself claims to have committed, must come back byte for byte, from the
 * store and over a session.
 */
#define TEST_TIMEOUT_S 120
#include "replica_fixture.h"

#include "source/remote_image.h"

static struct source_env reader_env(struct fixture *f)
{
	return (struct source_env){
		.node = f->env.node, .clock = clock_real(),
		.rnd = rnd_system(), .io = io_posix(),
	};
}

static bool remote_point_is(struct fixture *f, const struct history *h,
			    const struct snapshot *snap)
{
	const struct source_env env = reader_env(f);
	struct wire_view_open sel = { .select = WIRE_SELECT_SEQ };
	struct remote *remote = NULL;
	struct err err = ERR_INIT;
	struct image *im = NULL;
	int r;

	sel.seq = snap->seq;
	snprintf(sel.name, sizeof(sel.name), "%s", h->name);
	r = remote_over(fx_connect(f), "dr1", &env, &remote, &err);
	ASSERT_MSG(r == 0, "remote_over: %s", err.message);
	r = remote_image(remote, &sel, &h->key, &im, &err);
	ASSERT_MSG(r == 0, "remote_image: %s", err.message);
	EXPECT_STR(im->name, "web1/db1");
	EXPECT_U64(im->point.meta.seq, snap->seq);
	return image_is(im, snap->bytes, h->size_bytes);
}

static void judge_all(struct fixture *f, const struct history *h)
{
	size_t i;

	for (i = 0; i < h->n_snaps; i++) {
		ASSERT_TRUE(local_point_is(f, h, &h->snaps[i]));
		ASSERT_TRUE(remote_point_is(f, h, &h->snaps[i]));
	}
}

/* More of everything with TEST_LONG. */
static int rounds(int n)
{
	return getenv("TEST_LONG") ? 5 * n : n;
}

TEST(every_point_of_a_history_comes_back_on_both_paths)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	int i;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	history_init(&h, "db1", 300 * (uint64_t)B + 1536);
	sender_connect(&s, &f);
	ASSERT_INT(history_open(&h, &s), 0);
	for (i = 0; i < rounds(13); i++) {
		history_write(&h, &r, (unsigned int)rnd_seeded_below(&r, 8));
		if (!rnd_seeded_below(&r, 3))	/* a round that lost */
			ASSERT_INT(history_stage(&h, &s, false), 0);
		history_write(&h, &r, (unsigned int)rnd_seeded_below(&r, 3));
		ASSERT_INT(history_stage(&h, &s, rnd_seeded_below(&r, 2)), 0);
		ASSERT_INT(history_commit(&h, &s, NULL), 0);
	}
	sender_close(&s);
	judge_all(&f, &h);
	fx_restart(&f);
	judge_all(&f, &h);
	/* the judges object when they should */
	h.snaps[12].bytes[rnd_seeded_below(&r, h.size_bytes)] ^= 0x10;
	EXPECT_FALSE(local_point_is(&f, &h, &h.snaps[12]));
	EXPECT_FALSE(remote_point_is(&f, &h, &h.snaps[12]));
	replica_stop(f.replica);
	history_free(&h);
}

/*
 * One try at a point over a connection that may be cut. True when the point
 * was acknowledged, or turned out to have been committed.
 */
static bool try_point(struct fixture *f, struct history *h, struct sender *s,
		      struct rnd_seeded *r, uint64_t budget)
{
	size_t before = h->n_snaps;
	struct conn *conn = fx_connect(f);
	bool out = rnd_seeded_below(r, 3);
	int res;

	res = sender_begin(s, conn, WIRE_ROLE_SENDER);
	if (res != DIAL_ACCEPTED)
		return false;
	if (budget && out)
		s->cut_sent = s->sent + 1 + rnd_seeded_below(r, budget);
	else if (budget)
		s->cut_received = s->received + 1 + rnd_seeded_below(r, 2000);
	res = history_open(h, s);
	if (res || h->n_snaps > before)
		return !res;
	return history_stage(h, s, true) == 0 && history_commit(h, s, NULL) == 0;
}

TEST(cut_at_any_byte_a_point_is_resumed_and_none_is_lost)
{
	uint64_t once = 0, cuts = 0, points = 0;
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	int i;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	history_init(&h, "db1", 400 * (uint64_t)B);
	for (i = 0; i < rounds(12); i++) {
		uint64_t before = h.n_snaps, b;
		int tries = 0;

		history_write(&h, &r, 6);
		for (b = 0; b < h.n_blocks; b++)
			once += h.dirty[b];
		/* no write between the tries: what is committed is known */
		while (h.n_snaps == before) {
			uint64_t budget = ++tries > 8 ? 0 : 150000;
			bool ok = try_point(&f, &h, &s, &r, budget);

			cuts += !ok;
			sender_close(&s);
			if (!rnd_seeded_below(&r, 10))
				fx_restart(&f);
		}
		points++;
	}
	tap_note("points=%" PRIu64 " cuts=%" PRIu64 " dirty=%" PRIu64
		 " shipped=%" PRIu64 " unchanged=%" PRIu64, points, cuts, once,
		 h.shipped_blocks, h.unchanged_blocks);
	EXPECT_GT(cuts, 3);
	judge_all(&f, &h);
	fx_restart(&f);
	judge_all(&f, &h);
	replica_stop(f.replica);
	history_free(&h);
}

TEST(what_was_staged_before_a_cut_is_not_sent_again)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	uint64_t i, first;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	history_init(&h, "db1", 1536 * (uint64_t)B);
	for (i = 0; i < h.n_blocks * B; i++)
		h.now[i] = (uint8_t)rnd_seeded_next(&r);
	/* the initial copy, cut at about every megabyte */
	for (i = 0; !h.n_snaps; i++) {
		struct conn *conn = fx_connect(&f);

		ASSERT_LT(i, 40);
		ASSERT_INT(sender_begin(&s, conn, WIRE_ROLE_SENDER),
			   DIAL_ACCEPTED);
		s.cut_sent = s.sent + (1U << 20) + rnd_seeded_below(&r, 65536);
		if (history_open(&h, &s) == 0 &&
		    history_stage(&h, &s, true) == 0)
			(void)history_commit(&h, &s, NULL);
		sender_close(&s);
	}
	first = h.shipped_blocks;
	tap_note("sessions=%" PRIu64 " blocks=%" PRIu64 " shipped=%" PRIu64, i,
		 h.n_blocks, first);
	/* what lies in the cut connection's buffers is lost, and no more:
	 * at most one frame of units each time */
	EXPECT_LE(first, h.n_blocks + i * 96);
	judge_all(&f, &h);
	replica_stop(f.replica);
	history_free(&h);
}

/* Two senders of one volume take it from each other at random moments. */
TEST(sessions_that_take_over_from_each_other_lose_nothing)
{
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender *s[2];
	int i, won = 0;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	history_init(&h, "db1", 200 * (uint64_t)B);
	s[0] = calloc(1, sizeof(*s[0]));
	s[1] = calloc(1, sizeof(*s[1]));
	ASSERT_TRUE(s[0] && s[1]);
	for (i = 0; i < rounds(24); i++) {
		struct sender *now = s[i & 1], *old = s[!(i & 1)];
		struct dial_event ev;
		size_t before = h.n_snaps;

		sender_connect(now, &f);
		ASSERT_INT(history_open(&h, now), 0);
		if (old->dial) {
			int type;

			do {
				type = sender_wait(old, &ev);
				ASSERT_NE(type, DIAL_ACK);
			} while (type >= 0);
			sender_close(old);
		}
		if (h.n_snaps == before)
			history_write(&h, &r, 2);
		ASSERT_INT(history_stage(&h, now, true), 0);
		if (rnd_seeded_below(&r, 2)) {
			ASSERT_INT(history_commit(&h, now, NULL), 0);
			won++;
		}
	}
	sender_close(s[1]);
	EXPECT_GT(won, 2);
	judge_all(&f, &h);
	replica_stop(f.replica);
	history_free(&h);
	free(s[0]);
	free(s[1]);
}

/* Readers restore while a sender goes on. */
struct reading {
	struct fixture *f;
	struct history *h;		/* snaps [0, 5) do not change any more */
	pthread_t thread;
	int bad;
};

static void *read_points(void *arg)
{
	struct reading *rd = arg;
	int i;

	for (i = 0; i < 5; i++)
		rd->bad += !remote_point_is(rd->f, rd->h, &rd->h->snaps[i]);
	return NULL;
}

TEST(readers_and_a_sender_do_not_disturb_each_other)
{
	struct reading rd[3];
	struct rnd_seeded r;
	struct fixture f;
	struct history h;
	struct sender s;
	size_t i;

	rnd_seeded_init(&r, tap_seed());
	fx_init(&f);
	history_init(&h, "db1", 256 * (uint64_t)B);
	sender_connect(&s, &f);
	ASSERT_INT(history_open(&h, &s), 0);
	for (i = 0; i < 5; i++) {
		history_write(&h, &r, 10);
		ASSERT_INT(history_point(&h, &s), 0);
	}
	fx_dir();
	for (i = 0; i < ARRAY_SIZE(rd); i++) {
		rd[i] = (struct reading){ .f = &f, .h = &h };
		ASSERT_OK(pthread_create(&rd[i].thread, NULL, read_points,
					 &rd[i]));
	}
	for (i = 0; i < 20; i++) {
		history_write(&h, &r, 10);
		ASSERT_INT(history_point(&h, &s), 0);
	}
	for (i = 0; i < ARRAY_SIZE(rd); i++) {
		ASSERT_OK(pthread_join(rd[i].thread, NULL));
		EXPECT_INT(rd[i].bad, 0);
	}
	sender_close(&s);
	judge_all(&f, &h);
	replica_stop(f.replica);
	history_free(&h);
}
