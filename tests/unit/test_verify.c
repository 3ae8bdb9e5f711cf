// SPDX-License-Identifier: Apache-2.0
/*
 * Verification beside writers, cuts, lost sessions and losses of the tracker,
 * interleaved step by step from a seed: never a false alarm, and each planted
 * difference found. A failing seed is printed and repeats: VERIFY_SEED=n
 * test_verify. The replica is a model that answers as of the place in the
 * stream at which it was asked, at any moment later.
 *
 * test-timeout: 1200
 */
#include "tap.h"

#include <string.h>

#include "base/checked.h"
#include "source/cut.h"
#include "source/reader_mem.h"
#include "source/verify.h"
#include "unit/step_writers.h"

#define N_BLOCKS 90U
#define APART 41U
#define MAIL_MAX 64U

static struct volume_key key = { .id = 1, .bytes = { 7 } };
static const struct uuid volume = { { 9 } };

enum plant {
	PLANT_NOTHING, PLANT_ON_DEVICE, PLANT_CONTENT, PLANT_DAMAGE,
	PLANT_MISSING, PLANT_N,
};

/* An answer on its way back. */
struct mail {
	uint64_t seq;
	uint32_t count;
	uint8_t held[WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES];
};

struct sim {
	struct writers ws;		/* with the device and the lot */
	uint8_t *open, *point;		/* the replica's two images */
	uint8_t held[N_BLOCKS];		/* of point: an enum wire_held */
	bool staged[N_BLOCKS];
	uint64_t seq;			/* of the newest point */
	struct tracker *tracker;
	struct reader *reader;
	struct cut *cut;
	struct cut_sink sink;
	struct verify *verify;
	struct fp_ctx *fp;
	bool one_block;			/* one tracking block, of many cells */
	bool without_check, without_pending;
	bool unsound;			/* writes were missed, and it is known */
	bool is_sound_blind;		/* ... but nobody asks */
	struct mail mail[MAIL_MAX];
	unsigned int first_mail, n_mail;
	uint64_t points, lost;
};

static struct sim *the;

/* ---- the replica ---- */

static void hold(struct sim *s, uint64_t b, uint8_t *out)
{
	struct fp fp = fp_zero_block;

	memset(out, 0, WIRE_HELD_BYTES);
	out[0] = s->staged[b] ? WIRE_HELD_STAGED : s->held[b];
	if (out[0] != WIRE_HELD_SOUND)
		return;
	if (!block_is_zero(s->point + b * BLOCK, BLOCK))
		ASSERT_OK(fp_compute(s->fp, b, s->point + b * BLOCK, &fp));
	memcpy(out + 1, fp.b, sizeof(fp.b));
}

static int ask(void *arg, bool fresh, const struct wire_extent *e, uint32_t n,
	       struct err *err)
{
	struct sim *s = arg;
	struct mail *m = &s->mail[(s->first_mail + s->n_mail) % MAIL_MAX];
	uint32_t i;
	uint64_t b;

	(void)fresh;
	(void)err;
	ASSERT_LT(s->n_mail, MAIL_MAX);
	m->seq = s->seq;
	m->count = 0;
	for (i = 0; i < n; i++)
		for (b = e[i].first; b < e[i].first + e[i].count; b++)
			hold(s, b, m->held + m->count++ * WIRE_HELD_BYTES);
	s->n_mail++;
	return 0;
}

static void mail_comes(struct sim *s)
{
	const struct mail *m = &s->mail[s->first_mail];

	if (!s->n_mail || !s->verify)
		return;
	s->first_mail = (s->first_mail + 1) % MAIL_MAX;
	s->n_mail--;
	verify_on_held(s->verify, 1, m->seq, m->count, m->held);
}

static void make_point(struct sim *s)
{
	unsigned int b;

	s->seq++;
	for (b = 0; b < N_BLOCKS; b++) {
		if (!s->staged[b])
			continue;
		memcpy(s->point + b * BLOCK, s->open + b * BLOCK, BLOCK);
		s->held[b] = WIRE_HELD_SOUND;
		s->staged[b] = false;
	}
}

/* ---- between any two steps ---- */

static void world_moves(void)
{
	/* One block that all write to: cuts need a moment. */
	writers_move(&the->ws, the->one_block ? 64 : 2);
	if (writers_chance(&the->ws, 16))
		mail_comes(the);
}

static void on_step(void *arg, const char *where)
{
	(void)arg;
	(void)where;
	world_moves();
}

static void before_copy(void *arg, uint64_t off, uint32_t len)
{
	(void)arg;
	(void)off;
	(void)len;
	world_moves();
}

static int sink_expect(struct cut_sink *k, uint64_t first, uint64_t count)
{
	(void)k;
	(void)first;
	(void)count;
	world_moves();
	return 0;
}

static int sink_stage(struct cut_sink *k, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	uint32_t i;

	(void)k;
	world_moves();
	if (the->verify)
		verify_on_stage(the->verify, first, count, data);
	memcpy(the->open + first * BLOCK, data, (size_t)count * BLOCK);
	for (i = 0; i < count; i++)
		the->staged[first + i] = true;
	return 0;
}

static bool sound(void *arg)
{
	const struct sim *s = arg;

	return s->is_sound_blind || !s->unsound;
}

/* ---- a life ---- */

static void sim_open(struct sim *s, uint64_t seed)
{
	struct reader_mem_config rc = {
		.size_bytes = N_BLOCKS * BLOCK,
		.slice_bytes = 2048,
		.before_copy = before_copy,
	};
	struct cut_config cc = { .clock = clock_real() };
	struct err err = ERR_INIT;
	uint64_t n;

	the = s;
	rnd_seeded_init(&s->ws.rnd, seed);
	s->ws.apart = APART;
	s->ws.missed_one_in = 8;
	s->ws.shift = s->one_block ? 20 :
		   12 + 2 * (uint32_t)writers_below(&s->ws, 2);
	n = div_up_u64(N_BLOCKS * BLOCK, 1ULL << s->ws.shift);
	s->ws.device = calloc(N_BLOCKS, BLOCK);
	s->open = calloc(N_BLOCKS, BLOCK);
	s->point = calloc(N_BLOCKS, BLOCK);
	s->ws.words = tracker_mem_words_new(n, TAGS);
	s->fp = fp_ctx_new(&key, &volume);
	ASSERT_TRUE(s->ws.device && s->open && s->point && s->ws.words &&
		    s->fp);
	memset(s->held, WIRE_HELD_ABSENT, sizeof(s->held));
	memset(s->ws.device + 20 * BLOCK, 0x33, 3 * BLOCK);
	s->ws.words->w.step = on_step;
	s->sink = (struct cut_sink){ sink_expect, sink_stage };
	rc.data = s->ws.device;
	rc.seed = rnd_seeded_next(&s->ws.rnd);
	ASSERT_OK(tracker_mem_open(s->ws.words, s->ws.shift, false,
				   &s->tracker));
	ASSERT_OK(reader_open_mem(&rc, &s->reader));
	cc.tracker = s->tracker;
	cc.reader = s->reader;
	cc.sink = &s->sink;
	ASSERT_OK(cut_new(&cc, &s->cut, &err));
	ASSERT_OK(cut_all_dirty(s->cut, &err));
}

static void start_verify(struct sim *s)
{
	const struct verify_config c = {
		.tracker = s->tracker,
		.reader = s->reader,
		.cut = s->cut,
		.key = &key,
		.volume = &volume,
		.ask = ask,
		.sound = sound,
		.arg = s,
		.without_check = s->without_check,
		.without_pending = s->without_pending,
	};
	struct err err = ERR_INIT;

	ASSERT_OK(verify_new(&c, &s->verify, &err));
}

static void sim_close(struct sim *s)
{
	verify_free(s->verify);
	cut_free(s->cut);
	s->reader->ops->close(s->reader);
	s->tracker->ops->close(s->tracker, false);
	tracker_mem_words_free(s->ws.words);
	fp_ctx_free(s->fp);
	free(s->ws.device);
	free(s->open);
	free(s->point);
}

static void lose_session(struct sim *s)
{
	s->n_mail = 0;
	s->lost++;
	cut_session_lost(s->cut);
	if (s->verify)
		verify_on_session_lost(s->verify);
}

/* The commit is sent; it becomes a point, and its answer comes, or not. */
static void commit(struct sim *s)
{
	struct err err = ERR_INIT;

	cut_committed(s->cut);
	if (writers_chance(&the->ws, 16)) {	/* lost on the way there */
		lose_session(s);
		return;
	}
	make_point(s);
	if (s->verify)
		ASSERT_OK(verify_on_commit(s->verify, s->seq, &err));
	s->points++;
}

static void ack(struct sim *s)
{
	if (!cut_has_outstanding(s->cut))
		return;
	if (writers_chance(&the->ws, 16)) {	/* lost on the way back */
		lose_session(s);
		return;
	}
	cut_acked(s->cut);
	if (s->verify)
		verify_on_settled(s->verify);
}

/* A turn of the worker: something of all it does. False: the work is done. */
static bool turn(struct sim *s)
{
	struct cut_round round;
	struct err err = ERR_INIT;
	int r;

	if (writers_chance(&the->ws, 3)) {
		ASSERT_OK(cut_round(s->cut, &round, &err));
		if (round.converged && s->unsound) {
			/* As volume_device_verify() does. */
			s->unsound = false;
			ASSERT_OK(cut_all_dirty(s->cut, &err));
			if (s->verify)
				verify_on_all_dirty(s->verify);
		} else if (round.converged) {
			ack(s);		/* one is outstanding at most */
			if (!cut_need_blocks(s->cut))
				commit(s);
		}
	} else if (writers_chance(&the->ws, 3)) {
		ack(s);
	} else if (s->verify) {
		r = verify_slice(s->verify, 1 + (uint32_t)rnd_seeded_below(
							&s->ws.rnd, 32), &err);
		ASSERT_GE(r, 0);
		if (r == VERIFY_DONE)
			return false;
	}
	world_moves();
	return true;
}

static void make_first_point(struct sim *s)
{
	unsigned int i;

	for (i = 0; i < 10000 && (!s->points || cut_has_outstanding(s->cut) ||
				  (!s->one_block &&
				   cut_is_pending(s->cut, 0))); i++)
		(void)turn(s);
	ASSERT_GT(s->points, 0);
}

static bool verify_to_the_end(struct sim *s, struct verify_report *rep)
{
	unsigned int i;

	for (i = 0; i < 100000; i++)
		if (!turn(s))
			break;
	verify_get_report(s->verify, rep);
	return i < 100000;
}

/* A block that nobody writes to, also not through its tracking block. */
static uint64_t quiet_block(struct sim *s)
{
	uint64_t b, k = s->ws.shift - 12;
	unsigned int w, p;
	bool quiet;

	do {
		quiet = true;
		b = writers_below(&s->ws, N_BLOCKS);
		for (w = 0; w < WRITERS; w++)
			for (p = 0; p < PLACES; p++)
				quiet &= writer_block(&s->ws, w, p) >> k !=
					 b >> k;
	} while (!quiet);
	return b;
}

/* Its block, and what verify shall call it. */
static uint64_t plant(struct sim *s, enum plant what, enum verify_what *told)
{
	uint64_t b = quiet_block(s);

	*told = VERIFY_CONTENT;
	switch (what) {
	case PLANT_ON_DEVICE:
		s->ws.device[b * BLOCK + writers_below(&s->ws, BLOCK)] ^= 0x10;
		break;
	case PLANT_CONTENT:
		s->point[b * BLOCK + writers_below(&s->ws, BLOCK)] ^= 1;
		break;
	case PLANT_DAMAGE:
		s->held[b] = WIRE_HELD_DAMAGED;
		*told = VERIFY_DAMAGED;
		break;
	case PLANT_MISSING:
		b = 20;			/* not zeros */
		s->held[b] = WIRE_HELD_ABSENT;
		*told = VERIFY_MISSING;
		break;
	default:
		break;
	}
	return b;
}

static uint64_t first_seed(void)
{
	const char *s = getenv("VERIFY_SEED");

	return s ? strtoull(s, NULL, 10) : 1;
}

static uint64_t lives(uint64_t n)
{
	return getenv("TEST_LONG") ? 20 * n : n;
}

static void open_and_start(struct sim *s, uint64_t seed)
{
	sim_open(s, seed);
	make_first_point(s);
}

/* Several verifications in one life. */
static bool raises_alarm(struct sim *s, uint64_t seed,
			 struct verify_report *rep)
{
	unsigned int i;

	open_and_start(s, seed);
	for (i = 0; i < 4; i++) {
		verify_free(s->verify);
		s->n_mail = 0;
		start_verify(s);
		ASSERT_MSG(verify_to_the_end(s, rep), "seed %" PRIu64
			   ": no end", seed);
		if (rep->n_diffs || rep->skipped_bytes)
			break;
	}
	sim_close(s);
	return rep->n_diffs > 0;
}

static struct sim sim;
static struct verify_report rep;

TEST_WITH_TIMEOUT(beside_writers_it_never_raises_a_false_alarm_and_compares_everything,
		  1000)
{
	uint64_t seed = first_seed(), i, hot = 0, points = 0, lost = 0;

	for (i = 0; i < lives(500); i++) {
		sim = (struct sim){ .one_block = i % 8 == 7 };
		ASSERT_MSG(!raises_alarm(&sim, seed + i, &rep),
			   "seed %" PRIu64 ": block %" PRIu64 " is %s",
			   seed + i, rep.diffs[0].first,
			   verify_what_name(rep.diffs[0].what));
		ASSERT_MSG(!rep.skipped_bytes, "seed %" PRIu64, seed + i);
		ASSERT_U64(rep.compared_bytes, N_BLOCKS * BLOCK);
		ASSERT_GT(rep.first_seq, 0);
		hot += rep.in_points_bytes > 0;
		points += sim.points;
		lost += sim.lost;
	}
	printf("# seeds %" PRIu64 "..%" PRIu64 ": points=%" PRIu64
	       " sessions lost=%" PRIu64 ", as part of a point in %" PRIu64
	       "\n", seed, seed + i - 1, points, lost, hot);
	EXPECT_GT(hot, 0);
}

TEST(each_planted_difference_is_found_beside_writers_and_no_other)
{
	uint64_t seed = first_seed(), i;

	for (i = 0; i < lives(200); i++) {
		enum plant what = 1 + i % (PLANT_N - 1);
		enum verify_what told;
		uint64_t b;

		sim = (struct sim){ 0 };
		open_and_start(&sim, seed + i);
		b = plant(&sim, what, &told);
		start_verify(&sim);
		ASSERT_TRUE(verify_to_the_end(&sim, &rep));
		ASSERT_MSG(rep.n_diffs == 1 && rep.diffs[0].first == b &&
			   rep.diffs[0].count == 1 &&
			   rep.diffs[0].what == told,
			   "seed %" PRIu64 ": block %" PRIu64 ", %zu found",
			   seed + i, b, rep.n_diffs);
		ASSERT_U64(rep.differing_bytes, BLOCK);
		ASSERT_U64(rep.skipped_bytes, 0);
		sim_close(&sim);
	}
}

static bool some_seed_raises_alarm(const struct sim *options)
{
	uint64_t seed;

	for (seed = 1; seed <= 400; seed++) {
		sim = *options;
		if (raises_alarm(&sim, seed, &rep)) {
			printf("# refuted by seed %" PRIu64 "\n", seed);
			return true;
		}
	}
	return false;
}

TEST(without_the_look_at_the_active_generation_some_seed_raises_false_alarm)
{
	ASSERT_TRUE(some_seed_raises_alarm(&(struct sim){
		.without_check = true }));
}

TEST(without_the_look_at_what_is_pending_some_seed_raises_false_alarm)
{
	ASSERT_TRUE(some_seed_raises_alarm(&(struct sim){
		.without_pending = true }));
}

/* ---- writes that the tracker owns to have missed ---- */

static bool alarm_after_missed_write(uint64_t seed, bool blind)
{
	enum verify_what told;

	sim = (struct sim){ .is_sound_blind = blind };
	open_and_start(&sim, seed);
	start_verify(&sim);
	(void)turn(&sim);
	(void)plant(&sim, PLANT_ON_DEVICE, &told);
	sim.unsound = true;
	ASSERT_TRUE(verify_to_the_end(&sim, &rep));
	sim_close(&sim);
	return rep.n_diffs > 0;
}

TEST(writes_known_to_be_missed_are_compared_again_and_no_finding)
{
	uint64_t i, seed = first_seed();

	for (i = 0; i < lives(100); i++) {
		ASSERT_MSG(!alarm_after_missed_write(seed + i, false),
			   "seed %" PRIu64, seed + i);
		ASSERT_U64(rep.skipped_bytes, 0);
	}
}

TEST(without_asking_the_tracker_missed_writes_raise_false_alarm)
{
	uint64_t seed;

	for (seed = 1; seed <= 300; seed++)
		if (alarm_after_missed_write(seed, true))
			return;
	ASSERT_TRUE(false);
}

/* ---- what remains ---- */

TEST(what_never_comes_to_rest_while_no_point_is_made_counts_as_skipped)
{
	struct err err = ERR_INIT;
	unsigned int i;

	sim = (struct sim){ .ws.rest = true };
	open_and_start(&sim, 3);
	start_verify(&sim);
	/* A mark, and no cut that would look at it. */
	sim.ws.words->w.leaf[sim.ws.words->flips & 1][0] |= 1;
	for (i = 0; i < 1000; i++) {
		ASSERT_GE(verify_slice(sim.verify, 8, &err), 0);
		mail_comes(&sim);
	}
	ASSERT_INT(verify_slice(sim.verify, 8, &err), VERIFY_WAITS);
	verify_give_up(sim.verify);
	EXPECT_INT(verify_slice(sim.verify, 8, &err), VERIFY_DONE);
	verify_get_report(sim.verify, &rep);
	EXPECT_U64(rep.n_diffs, 0);
	EXPECT_U64(rep.skipped_bytes, 1ULL << sim.ws.shift);
	EXPECT_U64(rep.compared_bytes,
		   N_BLOCKS * BLOCK - (1ULL << sim.ws.shift));
	sim_close(&sim);
}

TEST(differences_are_all_counted_and_remembered_up_to_a_limit)
{
	unsigned int b;

	sim = (struct sim){ .ws.rest = true };
	open_and_start(&sim, 4);
	for (b = 0; b < N_BLOCKS; b++)
		sim.held[b] = b % 3 ? WIRE_HELD_DAMAGED : WIRE_HELD_SOUND;
	start_verify(&sim);
	ASSERT_TRUE(verify_to_the_end(&sim, &rep));
	EXPECT_U64(rep.differing_bytes, N_BLOCKS / 3 * 2 * BLOCK);
	EXPECT_U64(rep.n_diffs, N_BLOCKS / 3);
	EXPECT_U64(rep.diffs[0].first, 1);
	EXPECT_U64(rep.diffs[0].count, 2);
	EXPECT_U64(rep.diffs[1].first, 4);
	sim_close(&sim);
}
