// SPDX-License-Identifier: Apache-2.0
/*
 * Every sync of the store is there for a reason: the same history with one of
 * them left out, each in turn, must break a promise in some state that a
 * power cut leaves (or a kill and then a power cut). A sync whose absence
 * nobody notices is superfluous, or the judge is blind.
 *
 * A site is what was being done, the call, and the kind of file; all its calls
 * are left out together. SQLite's own are told and not demanded: without them
 * the catalog may be damaged, and it is made again from the segments.
 *
 * test-timeout: 600
 */
#define TEST_TIMEOUT_S 600
#include "lib/cutstates.h"

#include "lib/tap.h"

static struct cut_tally tally;
static const struct cut_plan plan = { .brief = true, .n_random = 2 };
static bool broken;
static char noticed_how[512];

/*
 * Sites that nothing that was promised hangs on, and why they are there.
 */
static const struct spared {
	const char *site, *why;
} spared[] = {
	{ "open: fdatasync segment (new)",
	  "the call that \"open: fdatasync segment\" is, before any sync" },
	{ NULL, NULL },
};

static const char *why_spared(const char *site)
{
	size_t i;

	if (strstr(site, ": sqlite "))
		return "SQLite's own, left in (TEST_LONG=1 leaves it out)";
	for (i = 0; spared[i].site; i++)
		if (!strcmp(spared[i].site, site))
			return spared[i].why;
	return NULL;
}

static void note_break(struct cutlab *c, const char *when,
		       const struct sim_event *e)
{
	broken = true;
	(void)snprintf(noticed_how, sizeof(noticed_how), "%s %s (%s): %.80s: %.200s", when,
		       c->doing, e ? e->what : "the end", tally.last, c->why);
	/* Nobody needs the rest. */
	c->fs.dead = true;
}

/* A kill here, a new process that comes so far, and a cut. */
static bool kill_stands(struct cutlab *c, enum cut_death how)
{
	struct cut_promise p = c->promise;
	struct simfs fs;
	bool ok;

	simfs_copy(&fs, &c->fs);
	(void)snprintf(tally.last, sizeof(tally.last), "a new process");
	ok = cut_judge(c, &fs, &p, how);
	if (ok && c->n_left_out)
		ok = cut_states(c, &fs, &p, &plan, &tally);
	simfs_free(&fs);
	return ok;
}

/* While nothing was left out yet, all is as it is in the other tests. */
static void on_event(struct cutlab *c, const struct sim_event *e)
{
	if (broken || (!c->n_left_out && !e->is_sync && c->fs.calls % 8))
		return;
	if (e->is_sync && c->n_left_out &&
	    !cut_states(c, &c->fs, &c->promise, &plan, &tally))
		note_break(c, "cut in", e);
	else if (!kill_stands(c, CUT_KILL_OPENED))
		note_break(c, "kill and look in", e);
	else if (!kill_stands(c, CUT_KILL))
		note_break(c, "kill in", e);
}

/* False: nobody noticed. */
static bool noticed(struct cutlab *c, const char *site)
{
	bool ok;

	broken = false;
	noticed_how[0] = 0;
	cut_tally_init(&tally, 5);
	cutlab_init(c, 5, CUT_HISTORY_SEGMENT);
	c->on_event = on_event;
	(void)snprintf(c->left_out, sizeof(c->left_out), "%s", site);
	ok = cut_history(c);
	if (!broken && !ok) {
		broken = true;
		(void)snprintf(noticed_how, sizeof(noticed_how), "%s fails: %.300s", c->doing,
			       c->why);
	}
	if (!broken && !cut_states(c, &c->fs, &c->promise, &plan, &tally))
		note_break(c, "cut after", NULL);
	cut_tally_free(&tally);
	return broken;
}

TEST(each_sync_that_is_left_out_breaks_a_promise)
{
	struct cutlab all, c;
	size_t i;

	ASSERT_MSG(!noticed(&all, "none"), "  with all syncs: %s", noticed_how);
	tap_note("%zu sites, %" PRIu64 " steps", all.n_sites, all.fs.calls);
	for (i = 0; i < all.n_sites; i++) {
		const char *site = all.sites[i].name;
		const char *why = why_spared(site);
		bool yes = false;

		if (CUT_SLOW && i % 4)
			continue;
		/* What nobody is expected to notice takes the longest. */
		if (!why || getenv("TEST_LONG")) {
			yes = noticed(&c, site);
			cutlab_free(&c);
		}
		tap_note("%-42s %s", site, yes ? noticed_how : why ? why :
							     "NOT NOTICED");
		EXPECT_MSG(yes || why, "  %s: nobody noticed", site);
	}
	cutlab_free(&all);
}
