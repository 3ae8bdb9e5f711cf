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
#include "unit/verify_world.h"

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
