// SPDX-License-Identifier: Apache-2.0
/*
 * The audit among writers, cuts, lost sessions, restarts and losses of the
 * tracker, interleaved step by step from a seed. The oracle knows when a write
 * was missed: nothing later than that may be called proven before it was found,
 * and after it was found the newest point must have it. A failing seed is
 * printed and repeats: VERIFY_SEED=n test_audit.
 *
 * test-timeout: 1200
 */
#include "unit/verify_world.h"

#define LAP_NS (2 * NSEC_PER_SEC)
#define TURNS_MAX 100000U

static struct sim sim;

static uint64_t first_seed(void)
{
	const char *s = getenv("VERIFY_SEED");

	return s ? strtoull(s, NULL, 10) : 1;
}

static uint64_t lives(uint64_t n)
{
	return getenv("TEST_LONG") ? 20 * n : n;
}

static void open_audited(uint64_t seed)
{
	sim_open(&sim, seed);
	make_first_point(&sim);
	if (!sim.audit_lap_ns)
		sim.audit_lap_ns = LAP_NS;
}

/* Sometimes the process is another one, with the mark that was kept. */
static void audited_turn(void)
{
	if (sim.audit && writers_chance(&sim.ws, 60)) {
		lose_session(&sim);
		audit_drop(&sim);
		sim.laps_here = 0;
	}
	(void)turn(&sim);
}

static void laps(uint64_t n)
{
	uint64_t i, want = sim.laps + n;

	for (i = 0; i < TURNS_MAX && sim.laps < want && !sim.n_found; i++)
		audited_turn();
	ASSERT_LT(i, TURNS_MAX);
}

static int64_t wall_now(void)
{
	return sim_wall_ns(&sim.clock);
}

/* ---- no false alarm, and laps end ---- */

TEST_WITH_TIMEOUT(beside_writers_laps_come_to_their_end_without_a_false_alarm,
		  1000)
{
	uint64_t seed = first_seed(), i, n = 0, lost = 0, points = 0;

	for (i = 0; i < lives(150); i++) {
		int64_t before;

		sim = (struct sim){ .one_block = i % 8 == 7,
				    .ws.same = i % 3 == 2 };
		open_audited(seed + i);
		before = wall_now();
		EXPECT_INT(sim.mark.proven_wall_ns, 0);
		laps(3);
		ASSERT_MSG(!sim.n_found, "seed %" PRIu64 ": block %" PRIu64
			   " is %s", seed + i, sim.found.diffs[0].first,
			   verify_what_name(sim.found.diffs[0].what));
		ASSERT_MSG(sim.mark.proven_wall_ns >= before &&
			   sim.mark.proven_wall_ns < wall_now(),
			   "seed %" PRIu64, seed + i);
		n += sim.laps;
		points += sim.points;
		lost += sim.lost;
		sim_close(&sim);
	}
	printf("# seeds %" PRIu64 "..%" PRIu64 ": laps=%" PRIu64 " points=%"
	       PRIu64 " sessions lost=%" PRIu64 "\n", seed, seed + i - 1, n,
	       points, lost);
}

static bool some_seed_raises_alarm(const struct sim *options)
{
	uint64_t seed;
	bool found;

	for (seed = 1; seed <= 400; seed++) {
		sim = *options;
		open_audited(seed);
		laps(3);
		found = sim.n_found;
		sim_close(&sim);
		if (found)
			return true;
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

/* Blocks that are written for ever as they are already come to no rest, and are
 * in no commit. */
TEST(without_the_question_after_a_confirmation_some_lap_leaves_something_out)
{
	uint64_t seed, i;

	for (seed = 1; seed <= 100; seed++) {
		bool partial = false;

		sim = (struct sim){ .ws.same = true,
				    .without_confirmed = true };
		open_audited(seed);
		for (i = 0; i < 20000 && sim.laps < 2 && !partial; i++) {
			audited_turn();
			partial = sim.mark.is_partial;
		}
		sim_close(&sim);
		if (partial)
			return;
	}
	ASSERT_TRUE(false);
}

/* ---- what was missed ---- */

/*
 * Until it was found; the oracle objects when something later is proven first.
 * True: it had to.
 */
static bool is_called_proven(int64_t missed)
{
	uint64_t i;

	for (i = 0; i < TURNS_MAX && !sim.n_found; i++) {
		audited_turn();
		if (sim.mark.proven_wall_ns > missed)
			return true;
	}
	ASSERT_LT(i, TURNS_MAX);
	return false;
}

/* All is compared: the point of then is the device as it was at its flip. */
static void heals(uint64_t b, uint64_t seed)
{
	uint64_t i, points = sim.points;

	for (i = 0; i < TURNS_MAX && sim.points < points + 2; i++)
		audited_turn();
	ASSERT_MSG(!memcmp(sim.point + b * BLOCK, sim.ws.device + b * BLOCK,
			   BLOCK) && sim.held[b] == WIRE_HELD_SOUND,
		   "seed %" PRIu64 ": block %" PRIu64 " is not healed", seed,
		   b);
	ASSERT_INT(sim.n_found, 1);
	laps(1);
	ASSERT_INT(sim.n_found, 1);
}

TEST(what_was_missed_is_found_before_it_is_called_proven_and_healed)
{
	uint64_t seed = first_seed(), i, k;

	for (i = 0; i < lives(100); i++) {
		enum plant what = 1 + i % (PLANT_N - 1);
		enum verify_what told;
		int64_t missed;
		uint64_t b;

		sim = (struct sim){ 0 };
		open_audited(seed + i);
		for (k = writers_below(&sim.ws, 2000); k; k--)
			audited_turn();
		b = plant(&sim, what, &told);
		missed = wall_now();
		ASSERT_MSG(!is_called_proven(missed), "seed %" PRIu64,
			   seed + i);
		ASSERT_MSG(sim.found.n_diffs == 1 &&
			   sim.found.diffs[0].first == b &&
			   sim.found.diffs[0].what == told,
			   "seed %" PRIu64 ": block %" PRIu64, seed + i, b);
		ASSERT_INT(sim.mark.proven_wall_ns, 0);
		heals(b, seed + i);
		sim_close(&sim);
	}
}

/* What the oracle is good for: a mark that claims what nobody has compared. */
TEST(a_mark_that_claims_too_much_is_seen_by_the_oracle)
{
	enum verify_what told;

	sim = (struct sim){ 0 };
	open_audited(3);
	(void)plant(&sim, PLANT_MISSING, &told);	/* block 20 */
	sim.mark.lap_wall_ns = wall_now() + 1;
	sim.mark.next_block = 64;
	ASSERT_TRUE(is_called_proven(wall_now()));
	sim_close(&sim);
}

TEST(writes_known_to_be_missed_take_back_what_was_proven_and_are_no_finding)
{
	uint64_t seed = first_seed(), i;

	for (i = 0; i < lives(60); i++) {
		enum verify_what told;
		int64_t missed;
		uint64_t k;

		sim = (struct sim){ 0 };
		open_audited(seed + i);
		laps(1);
		(void)plant(&sim, PLANT_ON_DEVICE, &told);
		sim.unsound = true;
		missed = wall_now();
		for (k = 0; k < TURNS_MAX && sim.unsound; k++) {
			audited_turn();
			ASSERT_MSG(sim.mark.proven_wall_ns <= missed,
				   "seed %" PRIu64, seed + i);
		}
		ASSERT_MSG(!sim.n_found, "seed %" PRIu64, seed + i);
		laps(2);
		ASSERT_GT(sim.mark.proven_wall_ns, missed);
		sim_close(&sim);
	}
}

/* ---- its pace ---- */

/* Turns until so many bytes have been read; what it took. */
static uint64_t ns_for(uint64_t bytes)
{
	uint64_t from = sim.now_ns, i;

	if (!sim.audit)
		start_audit(&sim);
	bytes += audit_bytes_read(sim.audit);
	for (i = 0; i < TURNS_MAX && audit_bytes_read(sim.audit) < bytes; i++)
		(void)turn(&sim);
	ASSERT_LT(i, TURNS_MAX);
	return sim.now_ns - from;
}

TEST(a_lap_takes_its_time_and_the_next_one_waits)
{
	int64_t first;

	sim = (struct sim){ .audit_lap_ns = 60 * NSEC_PER_SEC,
			    .ws.rest = true };
	open_audited(5);
	/* The least rate: 1 MiB/s, of which this is about a third. */
	(void)ns_for(N_BLOCKS * BLOCK);
	while (!sim.laps)
		(void)turn(&sim);
	EXPECT_LT(sim.now_ns, 10 * NSEC_PER_SEC);
	first = sim.mark.lap_wall_ns;
	EXPECT_INT(first, sim.mark.proven_wall_ns);
	while (sim.laps < 2)
		(void)turn(&sim);
	EXPECT_GE(sim.mark.lap_wall_ns - first, 60 * (int64_t)NSEC_PER_SEC);
	sim_close(&sim);
}

TEST(of_a_read_limit_it_takes_a_quarter)
{
	uint64_t ns;

	sim = (struct sim){ .audit_limit = 400 << 10, .ws.rest = true };
	open_audited(6);
	ns = ns_for(N_BLOCKS * BLOCK);	/* 360 KiB of 100 KiB/s */
	EXPECT_GE(ns, 2 * NSEC_PER_SEC);
	sim_close(&sim);
}

TEST(a_mark_beyond_a_device_that_shrank_begins_anew)
{
	sim = (struct sim){ .ws.rest = true };
	open_audited(7);
	sim.mark = (struct audit_mark){ .lap_wall_ns = 1,
					.next_block = 1 << 20 };
	laps(1);
	EXPECT_GT(sim.mark.proven_wall_ns, 1);
	sim_close(&sim);
}

TEST(a_clock_set_back_does_not_hold_up_laps_nor_prove_the_future)
{
	sim = (struct sim){ .ws.rest = true };
	open_audited(8);
	sim.mark.lap_wall_ns = wall_now() + 3600 * (int64_t)NSEC_PER_SEC;
	laps(1);
	EXPECT_LT(sim.mark.proven_wall_ns, wall_now());
	EXPECT_GT(sim.mark.proven_wall_ns, 0);
	sim_close(&sim);
}
