// SPDX-License-Identifier: Apache-2.0
/*
 * Power cuts, on a file system that keeps nothing it was not asked to sync
 * (lib/simfs.h). The store, its catalog included, runs on it; every state that
 * a cut may leave is opened, judged and gone on with (lib/cutlab.h).
 *
 * Short histories with all states of each moment; each step killed and then
 * the power cut; long histories in which one cut follows another.
 *
 * test-timeout: 3600
 */
#define TEST_TIMEOUT_S 1200
#include "lib/cutstates.h"

#include "base/checked.h"

#include "lib/tap.h"

static struct cut_tally tally;
static struct cut_plan plan;
static bool failed;

static bool is_long(void)
{
	return getenv("TEST_LONG") != NULL;
}

static void tell(const struct cutlab *c)
{
	tap_note("moments=%" PRIu64 " in_full=%" PRIu64 " largest=%" PRIu64
		 " states=%" PRIu64 " different=%" PRIu64 " steps=%" PRIu64,
		 tally.moments, tally.exhausted, tally.largest, tally.states,
		 tally.judged, c->fs.calls);
}

static void fail_at(struct cutlab *c, const char *what)
{
	if (failed)
		return;
	failed = true;
	tap_note("%s, before step %" PRIu64 " (%s): %s: %s", c->doing,
		 c->fs.calls, what, tally.last, c->why);
}

/* The cut comes just before this sync. */
static void cut_before_sync(struct cutlab *c, const struct sim_event *e)
{
	if (failed || !e->is_sync)
		return;
	if (!cut_states(c, &c->fs, &c->promise, &plan, &tally))
		fail_at(c, e->what);
}

static void must(struct cutlab *c, bool ok)
{
	ASSERT_MSG(ok, "  %s", c->why);
	ASSERT_FALSE(failed);
}

static void last_cut(struct cutlab *c)
{
	if (!failed && !cut_states(c, &c->fs, &c->promise, &plan, &tally))
		fail_at(c, "the end");
	ASSERT_FALSE(failed);
	tell(c);
}

/* A first start, two small points, a start after a proper end. */
TEST(every_state_of_a_short_history_keeps_what_was_promised)
{
	struct cutlab c;

	plan = (struct cut_plan){ .max_states = is_long() ? 20000 :
						CUT_SLOW ? 20 : 600,
				  .catalog_too = !CUT_SLOW };
	cut_tally_init(&tally, 1);
	cutlab_init(&c, 1, 1 << 20);
	c.on_event = cut_before_sync;
	must(&c, cut_open(&c) && cut_writer(&c));
	must(&c, cut_stage(&c, 0, 4, true) && cut_commit(&c));
	must(&c, cut_stage(&c, 2, 1, false) && cut_commit(&c));
	cut_close(&c, CUT_CLOSE);
	must(&c, cut_open(&c) && cut_writer(&c));
	must(&c, cut_stage(&c, 1, 1, false) && cut_commit(&c));
	last_cut(&c);
	cutlab_free(&c);
	cut_tally_free(&tally);
}

TEST(every_state_of_an_eventful_history_keeps_what_was_promised)
{
	struct cutlab c;

	plan = (struct cut_plan){ .brief = CUT_SLOW,
				  .max_states = is_long() ? 2000 : 20,
				  .n_random = is_long() ? 500 : 5 };
	cut_tally_init(&tally, 2);
	cutlab_init(&c, 2, CUT_HISTORY_SEGMENT);
	c.on_event = cut_before_sync;
	must(&c, cut_history(&c));
	last_cut(&c);
	cutlab_free(&c);
	cut_tally_free(&tally);
}

/* A kill at this step, a new process that commits a point (or comes not so
 * far), and a cut. */
static void kill_here(struct cutlab *c, const struct sim_event *e)
{
	struct cut_promise p = c->promise;
	enum cut_death how = tally.moments % 4 ? CUT_KILL : CUT_KILL_OPENED;
	struct simfs fs;

	if (failed || (!is_long() && c->fs.calls % (CUT_SLOW ? 20 : 2)))
		return;
	simfs_copy(&fs, &c->fs);
	(void)snprintf(tally.last, sizeof(tally.last), "a new process");
	if (!cut_judge(c, &fs, &p, how) ||
	    !cut_states(c, &fs, &p, &plan, &tally))
		fail_at(c, e->what);
	simfs_free(&fs);
}

TEST(a_kill_at_any_step_and_then_a_power_cut_keep_what_was_promised)
{
	struct cutlab c;

	plan = (struct cut_plan){ .brief = !is_long(), .max_states = 20,
				  .n_random = is_long() ? 20 : 1 };
	cut_tally_init(&tally, 3);
	cutlab_init(&c, 3, CUT_HISTORY_SEGMENT);
	c.on_event = kill_here;
	must(&c, cut_history(&c));
	last_cut(&c);
	cutlab_free(&c);
	cut_tally_free(&tally);
}

/* ---- one cut after another ---- */

struct chain {
	struct cutlab c;
	struct rnd_seeded rnd;
	uint64_t left;			/* steps until it happens */
	struct simfs next;		/* what is left then */
	unsigned int cuts, kills, points;
};

static uint64_t below(struct chain *ch, uint64_t n)
{
	return rnd_seeded_below(&ch->rnd, n);
}

static void count_down(struct cutlab *c, const struct sim_event *e)
{
	struct chain *ch = c->arg;

	(void)e;
	if (--ch->left)
		return;
	/* One in four kills the process only. */
	if (below(ch, 4) == 0) {
		simfs_copy(&ch->next, &c->fs);
		ch->kills++;
	} else {
		cut_random_state(&ch->next, &c->fs, &ch->rnd);
		ch->cuts++;
	}
	c->fs.dead = true;
}

static bool some_step(struct chain *ch)
{
	struct cutlab *c = &ch->c;
	uint64_t first = below(ch, CUT_BLOCKS);
	uint32_t count = 1 + (uint32_t)below(ch, CUT_BLOCKS - first);

	/* Each block is staged a few times between two points at most. */
	if (c->promise.n_staged[first] > 4 || below(ch, 4) == 0)
		return cut_commit(c);
	switch (below(ch, 20)) {
	case 0:
		return cut_discard(c);
	case 1:
		return cut_epoch(c);
	case 2:
		return cut_rename(c, below(ch, 2) ? "db1" : "db2");
	case 3:
		cut_close(c, below(ch, 2) ? CUT_CLOSE : CUT_KILL);
		return !c->fs.dead && cut_open(c) && cut_writer(c);
	default:
		return cut_stage(c, first, MIN(count, 4U), below(ch, 3) == 0);
	}
}

/* Until it happens, or enough points are there. */
static void one_life(struct chain *ch)
{
	struct cutlab *c = &ch->c;
	bool ok = cut_recover(c);

	while (ok && !c->fs.dead && c->promise.seq < CUT_POINTS)
		ok = some_step(ch);
	ASSERT_MSG(ok || c->fs.dead, "  %s, life %u: %s", c->doing,
		   ch->cuts + ch->kills, c->why);
}

static void chain(uint64_t seed)
{
	static const uint64_t sizes[] = { 3000, 8192, 40000 };
	struct chain ch = { 0 };
	struct cutlab *c = &ch.c;

	rnd_seeded_init(&ch.rnd, seed);
	cutlab_init(c, seed, sizes[below(&ch, 3)]);
	c->on_event = count_down;
	c->arg = &ch;
	while (c->promise.seq < CUT_POINTS && ch.cuts + ch.kills < 60) {
		ch.left = 1 + below(&ch, below(&ch, 2) ? 40 : 250);
		one_life(&ch);
		if (!c->fs.dead)
			break;
		/* What was read as right does not tell of a dead end. */
		c->why[0] = 0;
		cut_close(c, CUT_KILL);
		cutlab_move(c, &ch.next);
	}
	tap_note("seed %" PRIu64 ": points=%" PRIu64 " cuts=%u kills=%u "
		 "steps=%" PRIu64, seed, c->promise.seq, ch.cuts, ch.kills,
		 c->fs.calls);
	/* No cut in what closing still writes: nobody would look at it. */
	c->on_event = NULL;
	cutlab_free(c);
}

TEST_WITH_TIMEOUT(one_cut_after_another_keeps_what_was_promised, 1200)
{
	const char *n = getenv("TEST_ROUNDS");
	uint64_t seed = tap_seed(), i;

	for (i = 0; i < (n ? strtoull(n, NULL, 0) : is_long() ? 300 : 4); i++)
		chain(seed + i);
}
