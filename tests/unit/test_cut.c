// SPDX-License-Identifier: Apache-2.0
/*
 * The cut engine over the in-memory tracker: writers, collector, reads and
 * death of the process interleaved step by step from a seed. A failing seed is
 * printed and repeats: CUT_SEED=n test_cut.
 */
#include "tap.h"

#include <setjmp.h>
#include <string.h>

#include "source/cut.h"
#include "source/reader_mem.h"
#include "unit/step_writers.h"

#define N_BLOCKS 200U			/* several leaf words */
#define APART 67U			/* places in different words */

struct sim {
	struct writers ws;		/* with the device and the lot */
	uint8_t *image;			/* what a sink was given */
	struct tracker *tracker;
	struct reader *reader;
	struct cut *cut;
	struct cut_sink sink;
	bool without_check;
	bool kill;			/* die at a random step */
	bool fail_reads;		/* the device gives EIO */
	jmp_buf death;
	uint64_t deaths, points;
};

static struct sim *the;			/* hooks have no other way to it */

/* Between any two steps of the engine: others move, or it dies. */
static void world_moves(void)
{
	writers_move(&the->ws, 2);
	if (the->kill && writers_chance(&the->ws, 400))
		longjmp(the->death, 1);
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

static int fault(void *arg, const struct read_req *req)
{
	(void)arg;
	return the->fail_reads && req->off_bytes <= 70 * BLOCK &&
			       req->off_bytes + req->len_bytes > 70 * BLOCK
		       ? -EIO : 0;
}

static int sink_expect(struct cut_sink *s, uint64_t first, uint64_t count)
{
	(void)s;
	(void)first;
	(void)count;
	world_moves();
	return 0;
}

static int sink_stage(struct cut_sink *s, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	(void)s;
	world_moves();
	memcpy(the->image + first * BLOCK, data, (size_t)count * BLOCK);
	return 0;
}

static void open_engine(struct sim *s, bool adopted)
{
	struct reader_mem_config rc = {
		.data = s->ws.device,
		.size_bytes = N_BLOCKS * BLOCK,
		.seed = rnd_seeded_next(&s->ws.rnd),
		.slice_bytes = 2048,
		.before_copy = before_copy,
		.fault = fault,
	};
	struct cut_config cc = { 0 };
	struct err err = ERR_INIT;

	ASSERT_OK(tracker_mem_open(s->ws.words, US_BLOCK_SHIFT, adopted,
				   &s->tracker));
	ASSERT_OK(reader_open_mem(&rc, &s->reader));
	cc.tracker = s->tracker;
	cc.reader = s->reader;
	cc.sink = &s->sink;
	cc.clock = clock_real();
	cc.without_check = s->without_check;
	ASSERT_OK(cut_new(&cc, &s->cut, &err));
	if (adopted)
		ASSERT_OK(cut_adopt(s->cut, &err));
	else
		ASSERT_OK(cut_all_dirty(s->cut, &err));
}

static void close_engine(struct sim *s)
{
	bool kill = s->kill;

	s->kill = false;
	cut_free(s->cut);
	s->reader->ops->close(s->reader);
	s->tracker->ops->close(s->tracker, false);
	s->kill = kill;
}

static void sim_open(struct sim *s, uint64_t seed)
{
	the = s;
	rnd_seeded_init(&s->ws.rnd, seed);
	s->ws.apart = APART;
	s->ws.shift = US_BLOCK_SHIFT;
	s->ws.device = calloc(N_BLOCKS, BLOCK);
	s->image = calloc(N_BLOCKS, BLOCK);
	s->ws.words = tracker_mem_words_new(N_BLOCKS, TAGS);
	ASSERT_TRUE(s->ws.device && s->image && s->ws.words);
	s->ws.words->w.step = on_step;
	s->sink.expect = sink_expect;
	s->sink.stage = sink_stage;
	open_engine(s, false);
}

static void sim_close(struct sim *s)
{
	close_engine(s);
	tracker_mem_words_free(s->ws.words);
	free(s->ws.device);
	free(s->image);
}

/* Is the image one that a power cut could have left? */
static bool image_is_legal(const struct sim *s)
{
	unsigned int c, p, i;

	for (c = 0; c < WRITERS; c++) {
		uint64_t lo[PLACES], hi[PLACES];

		for (p = 0; p < PLACES; p++) {
			const uint8_t *b =
				s->image + writer_block(&s->ws, c, p) * BLOCK;

			lo[p] = UINT64_MAX;
			hi[p] = 0;
			for (i = 0; i < BLOCK; i += 512) {
				uint64_t n;

				memcpy(&n, b + i, sizeof(n));
				lo[p] = n < lo[p] ? n : lo[p];
				hi[p] = n > hi[p] ? n : hi[p];
			}
			if (p && hi[p] > lo[p - 1])
				return false;
		}
		if (hi[0] > lo[PLACES - 1] + 1)
			return false;
	}
	return true;
}

/* Up to this many rounds; true when a point was committed and is legal. */
static bool cut_once(struct sim *s, bool *legal)
{
	struct cut_round round;
	struct err err = ERR_INIT;
	int i;

	for (i = 0; i < 30; i++) {
		/* Nobody to read for, for a while. */
		while (writers_chance(&the->ws, 8)) {
			ASSERT_OK(cut_collect(s->cut, &err));
			world_moves();
		}
		ASSERT_OK(cut_round(s->cut, &round, &err));
		if (!round.converged)
			continue;
		*legal = image_is_legal(s);
		s->points++;
		cut_committed(s->cut);
		world_moves();
		/* The acknowledgement comes, or the session is lost. */
		if (writers_chance(&the->ws, 4))
			cut_session_lost(s->cut);
		else
			cut_acked(s->cut);
		return true;
	}
	return false;
}

static bool settles_equal(struct sim *s)
{
	bool legal = false;
	unsigned int c, i;

	s->ws.rest = true;
	s->kill = false;
	for (i = 0; i < 2000; i++)
		for (c = 0; c < WRITERS; c++)
			if (s->ws.w[c].at != W_IDLE || s->ws.w[c].place)
				writer_step(&s->ws, c);
	if (!cut_once(s, &legal) || !legal)
		return false;
	return !memcmp(s->image, s->ws.device, (size_t)N_BLOCKS * BLOCK);
}

/* A whole life from one seed: false when a point is illegal or data is lost. */
static bool live(struct sim *s, uint64_t seed, unsigned int cuts)
{
	volatile unsigned int i;
	bool legal = true, equal;

	sim_open(s, seed);
	for (i = 0; i < cuts && legal; i++) {
		if (setjmp(s->death)) {
			s->deaths++;
			close_engine(s);
			open_engine(s, true);
			continue;
		}
		(void)cut_once(s, &legal);
	}
	equal = legal && settles_equal(s);
	sim_close(s);
	return equal;
}

static uint64_t first_seed(void)
{
	const char *s = getenv("CUT_SEED");

	return s ? strtoull(s, NULL, 10) : 1;
}

static void lives_are_legal(const struct sim *options, unsigned int seeds,
			    unsigned int cuts)
{
	uint64_t seed = first_seed(), points = 0, deaths = 0, i;

	for (i = 0; i < seeds; i++) {
		struct sim s = *options;

		ASSERT_MSG(live(&s, seed + i, cuts),
			   "seed %" PRIu64 ": illegal image or lost write",
			   seed + i);
		points += s.points;
		deaths += s.deaths;
	}
	printf("# seeds %" PRIu64 "..%" PRIu64 ": points=%" PRIu64
	       " deaths=%" PRIu64 "\n", seed, seed + seeds - 1, points,
	       deaths);
	ASSERT_GT(points, 0);
}

static bool some_life_is_refuted(const struct sim *options,
				 unsigned int seeds, unsigned int cuts)
{
	uint64_t i;

	for (i = 0; i < seeds; i++) {
		struct sim s = *options;

		if (!live(&s, 1 + i, cuts)) {
			printf("# refuted by seed %" PRIu64 "\n", 1 + i);
			return true;
		}
	}
	return false;
}

TEST(every_point_is_a_legal_crash_state_and_nothing_is_lost)
{
	struct sim o = { 0 };

	lives_are_legal(&o, 30, 30);
}

TEST(death_at_any_step_loses_nothing)
{
	struct sim o = { .kill = true };

	lives_are_legal(&o, 40, 60);
}

TEST(lost_completions_lose_nothing)
{
	struct sim o = { .kill = true, .ws.missed_one_in = 2 };

	lives_are_legal(&o, 40, 60);
}

TEST(without_the_reread_a_seed_refutes_the_cut)
{
	struct sim o = { .ws.without_reread = true };

	ASSERT_TRUE(some_life_is_refuted(&o, 400, 60));
}

TEST(without_the_per_read_check_a_seed_refutes_the_cut)
{
	struct sim o = { .without_check = true };

	ASSERT_TRUE(some_life_is_refuted(&o, 400, 60));
}

TEST(an_error_of_the_device_makes_no_point_and_stays_dirty)
{
	struct sim s = { .ws.rest = true, .fail_reads = true };
	struct cut_round round;
	struct err err = ERR_INIT;

	sim_open(&s, 7);
	ASSERT_OK(cut_round(s.cut, &round, &err));
	EXPECT_FALSE(round.converged);
	EXPECT_U64(round.read_errors, 1);
	EXPECT_INT(round.error_num, -EIO);
	EXPECT_LE(round.error_off_bytes, 70 * BLOCK);
	EXPECT_U64(cut_pending_blocks(s.cut), N_BLOCKS);
	EXPECT_GT(cut_need_blocks(s.cut), 0);
	EXPECT_LT(cut_need_blocks(s.cut), N_BLOCKS);
	s.fail_reads = false;
	ASSERT_OK(cut_round(s.cut, &round, &err));
	EXPECT_TRUE(round.converged);
	cut_committed(s.cut);
	EXPECT_U64(cut_pending_blocks(s.cut), N_BLOCKS);
	cut_acked(s.cut);
	EXPECT_U64(cut_pending_blocks(s.cut), 0);
	sim_close(&s);
}

TEST(a_lost_session_leaves_everything_pending_to_be_read_again)
{
	struct sim s = { .ws.rest = true };
	struct cut_round round;
	struct err err = ERR_INIT;

	sim_open(&s, 8);
	ASSERT_OK(cut_round(s.cut, &round, &err));
	ASSERT_TRUE(round.converged);
	cut_committed(s.cut);
	EXPECT_U64(cut_need_blocks(s.cut), 0);
	cut_session_lost(s.cut);
	EXPECT_U64(cut_need_blocks(s.cut), N_BLOCKS);
	cut_acked(s.cut);
	EXPECT_U64(cut_pending_blocks(s.cut), N_BLOCKS);
	sim_close(&s);
}
