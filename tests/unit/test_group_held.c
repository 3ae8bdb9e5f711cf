// SPDX-License-Identifier: Apache-2.0
/*
 * The steps of a point of a group for which all writers are held: whatever
 * fails at whom, all members come to the same end, whoever leads lets go, and
 * nobody flips as if all were held when they are not.
 */
#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rnd.h"
#include "source/group.h"
#include "source/group_held.h"

/* ---- one member: the order of the steps ---- */

struct script {
	char did[256];
	const char *fails;		/* the step that does */
	int fails_with;
	int small_in, converges_in;	/* rounds */
	int held_for;			/* looks that find it held */
	bool becomes_stale;
	char noted[40];
};

static int did(struct script *s, const char *step)
{
	strcat(s->did, step);
	strcat(s->did, " ");
	return s->fails && !strcmp(s->fails, step) ? s->fails_with : 0;
}

static int step(struct script *s, const char *name, struct err *why)
{
	int r = did(s, name);

	return r ? err_set(why, r, name, "vol", "fails") : 0;
}

static int s_look(void *arg, struct err *why)
{
	return step(arg, "look", why);
}

static int s_prepare(void *arg, struct err *why)
{
	return step(arg, "prepare", why);
}

static int s_again(void *arg, struct err *why)
{
	return step(arg, "again", why);
}

static int s_take(void *arg, struct err *why)
{
	return step(arg, "take", why);
}

static bool s_is_held(void *arg)
{
	struct script *s = arg;

	return s->held_for-- > 0;
}

static void s_end(void *arg)
{
	(void)did(arg, "end");
}

static int s_round(void *arg, bool held, bool *is_small)
{
	struct script *s = arg;
	int r = did(s, held ? "held" : "free");

	if (r)
		return r;
	if (!held) {
		*is_small = --s->small_in <= 0;
		return GROUP_AGAIN;
	}
	return --s->converges_in <= 0 ? GROUP_GO : GROUP_AGAIN;
}

static int s_vote(void *arg, enum group_vote vote)
{
	(void)arg;
	return (int)vote;
}

static bool s_is_stale(void *arg)
{
	return ((struct script *)arg)->becomes_stale;
}

static void s_note(void *arg, const struct err *why)
{
	struct script *s = arg;

	(void)snprintf(s->noted, sizeof(s->noted), "%s", why->code);
}

static const struct held_ops scripted = {
	s_look, s_prepare, s_again, s_take, s_is_held, s_end,
	s_round, s_vote, s_is_stale, s_note,
};

static int play(struct script *s, bool leads, bool *stale)
{
	struct held h = { .ops = &scripted, .arg = s, .leads = leads };
	int r = held_attempt(&h);

	*stale = h.is_stale;
	return r;
}

TEST(what_is_left_to_read_becomes_small_before_anybody_is_held)
{
	struct script s = { .small_in = 3, .converges_in = 2, .held_for = 9 };
	bool stale;

	EXPECT_INT(play(&s, true, &stale), GROUP_GO);
	EXPECT_STR(s.did, "look prepare free again free again free take held "
			  "held end ");
	EXPECT_FALSE(stale);
	/* Also when it never does. */
	s = (struct script){ .small_in = 1000, .converges_in = 1 };
	EXPECT_INT(play(&s, true, &stale), GROUP_GO);
	EXPECT_NOT_NULL(strstr(s.did, "take held end "));
}

TEST(who_does_not_lead_holds_nothing)
{
	struct script s = { .small_in = 2, .converges_in = 2 };
	bool stale;

	EXPECT_INT(play(&s, false, &stale), GROUP_GO);
	EXPECT_STR(s.did, "look free free held held ");
}

TEST(a_hold_that_runs_out_ends_the_rounds_and_a_new_filesystem_is_told)
{
	struct script s = { .small_in = 1, .converges_in = 9, .held_for = 1 };
	bool stale;

	EXPECT_INT(play(&s, true, &stale), HELD_LATE);
	EXPECT_STR(s.did, "look prepare free take held held end ");
	s = (struct script){ .small_in = 1, .converges_in = 1,
			     .becomes_stale = true };
	EXPECT_INT(play(&s, true, &stale), GROUP_GO);
	EXPECT_TRUE(stale);
}

TEST(whatever_step_fails_the_hold_ends_and_the_reason_is_noted)
{
	static const struct {
		const char *fails, *did;
	} table[] = {
		{ "look", "look end " },
		{ "prepare", "look prepare end " },
		{ "again", "look prepare free again end " },
		{ "take", "look prepare free again free take end " },
	};
	bool stale;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct script s = { .fails = table[i].fails, .small_in = 2,
				    .fails_with = -EBUSY };

		EXPECT_INT(play(&s, true, &stale), HELD_REFUSED);
		EXPECT_STR(s.did, table[i].did);
		EXPECT_STR(s.noted, table[i].fails);
		/* Told to wait no longer is no failure of anybody. */
		s = (struct script){ .fails = table[i].fails, .small_in = 2,
				     .fails_with = -ECANCELED };
		EXPECT_INT(play(&s, true, &stale), GROUP_GIVE_UP);
		EXPECT_STR(s.did, table[i].did);
		EXPECT_STR(s.noted, "");
	}
}

TEST(a_round_that_fails_ends_the_hold_too)
{
	struct script s = { .fails = "held", .fails_with = -EIO,
			    .small_in = 1 };
	bool stale;

	EXPECT_INT(play(&s, true, &stale), -EIO);
	EXPECT_STR(s.did, "look prepare free take held end ");
	s = (struct script){ .fails = "free", .fails_with = GROUP_GIVE_UP };
	EXPECT_INT(play(&s, true, &stale), GROUP_GIVE_UP);
	EXPECT_STR(s.did, "look prepare free end ");
}

/* ---- several members, by lot ---- */

#define MEMBERS 4
#define ATTEMPTS 600

struct world {
	struct group *g;
	_Atomic bool stop;
	_Atomic int begun;
	uint32_t fails_one_in;		/* of the steps; 0: never */
	/* Of the attempt; the one who leads writes, the others after they have
	 * met him. */
	_Atomic bool prepared, held;
	_Atomic int results[MEMBERS];
	_Atomic uint64_t flips, flip_held[MEMBERS];
	_Atomic int ends[HELD_LATE + 1];
};

struct worker {
	struct world *w;
	struct rnd_seeded rnd;
	pthread_t thread;
	int fd, member;
	bool wrong;
};

static bool by_lot(struct worker *me, uint32_t more)
{
	uint32_t n = me->w->fails_one_in;

	return n && !rnd_seeded_below(&me->rnd, (uint64_t)n * more);
}

static void wake(void *arg)
{
	const uint64_t one = 1;

	(void)!write(((struct worker *)arg)->fd, &one, sizeof(one));
}

static int rest(void *arg)
{
	struct worker *me = arg;
	struct pollfd p = { .fd = me->fd, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, 1000) > 0)
		(void)!read(me->fd, &n, sizeof(n));
	return atomic_load(&me->w->stop) ? -EINTR : by_lot(me, 20) ? -EIO : 0;
}

static int w_vote(void *arg, enum group_vote vote)
{
	struct worker *me = arg;
	const struct group_meeting m = { .vote = vote, .wait = rest,
					 .arg = me };
	struct group_attempt a;
	int r = group_meet(me->w->g, me->member, &m, &a);

	return r == GROUP_GO || r == GROUP_AGAIN ? r : GROUP_GIVE_UP;
}

static int w_fail(struct worker *me, struct err *why)
{
	return by_lot(me, 1) ? err_set(why, -EBUSY, "by-lot", "", "fails") : 0;
}

static int w_look(void *arg, struct err *why)
{
	return w_fail(arg, why);
}

static int w_prepare(void *arg, struct err *why)
{
	struct worker *me = arg;

	me->wrong |= atomic_exchange(&me->w->prepared, true);
	return w_fail(me, why);
}

static int w_again(void *arg, struct err *why)
{
	struct worker *me = arg;

	me->wrong |= atomic_load(&me->w->held);
	return w_fail(me, why);
}

static int w_take(void *arg, struct err *why)
{
	struct worker *me = arg;
	int r = w_fail(me, why);

	me->wrong |= !atomic_load(&me->w->prepared);
	atomic_store(&me->w->held, !r);
	return r;
}

static bool w_is_held(void *arg)
{
	return !by_lot(arg, 1);
}

static void w_end(void *arg)
{
	struct worker *me = arg;

	atomic_store(&me->w->prepared, false);
	atomic_store(&me->w->held, false);
}

static int w_flip(void *arg, struct group_attempt *a)
{
	struct worker *me = arg;

	a->flip_mono_ns = atomic_fetch_add(&me->w->flips, 1) + 1;
	a->flipped_mono_ns = atomic_load(&me->w->held);
	return 0;
}

static int w_round(void *arg, bool held, bool *is_small)
{
	struct worker *me = arg;
	const struct group_meeting m = { .vote = GROUP_GO, .action = w_flip,
					 .wait = rest, .arg = me };
	struct group_attempt a;

	/* Before the flip of a held round everybody is held, before that of a
	 * free one nobody. */
	me->wrong |= atomic_load(&me->w->held) != held;
	if (group_meet(me->w->g, me->member, &m, &a))
		return GROUP_GIVE_UP;
	me->wrong |= (a.flipped_mono_ns != 0) != held;
	atomic_store(&me->w->flip_held[me->member], a.flip_mono_ns);
	*is_small = rnd_seeded_below(&me->rnd, 2);
	if (by_lot(me, 4))
		return -EIO;
	return rnd_seeded_below(&me->rnd, 4) ? GROUP_GO : GROUP_AGAIN;
}

static bool w_is_stale(void *arg)
{
	return by_lot(arg, 1);
}

static void w_note(void *arg, const struct err *why)
{
	struct worker *me = arg;

	me->wrong |= !why->num;
}

static const struct held_ops by_lots = {
	w_look, w_prepare, w_again, w_take, w_is_held, w_end,
	w_round, w_vote, w_is_stale, w_note,
};

/* All have come to the same end, of the same flip, and nothing is held. */
static void compare(struct worker *me, int r, bool is_stale)
{
	struct world *w = me->w;
	int i, mine = (r < 0 ? GROUP_GIVE_UP : r) * 2 + is_stale;

	if (r != GROUP_GO && r != HELD_LATE)
		return;
	me->wrong |= atomic_load(&w->held) || atomic_load(&w->prepared);
	atomic_store(&w->results[me->member], mine);
	if (w_vote(me, GROUP_GO) != GROUP_GO)
		return;
	for (i = 0; i < MEMBERS; i++) {
		me->wrong |= atomic_load(&w->results[i]) != mine;
		me->wrong |= atomic_load(&w->flip_held[i]) !=
			     atomic_load(&w->flip_held[me->member]);
	}
	(void)w_vote(me, GROUP_GO);
}

static void *work(void *arg)
{
	struct worker *me = arg;

	while (!atomic_load(&me->w->stop)) {
		struct held h = { .ops = &by_lots, .arg = me,
				  .leads = !me->member };
		int r;

		if (!group_ready(me->w->g, me->member)) {
			(void)rest(me);
			continue;
		}
		r = held_attempt(&h);
		if (h.leads) {
			atomic_fetch_add(&me->w->begun, 1);
			atomic_fetch_add(&me->w->ends[r < 0 ? GROUP_GIVE_UP
							    : r], 1);
		}
		compare(me, r, h.is_stale);
		group_unready(me->w->g, me->member);
	}
	group_unready(me->w->g, me->member);
	return NULL;
}

static void run_world(struct world *w, struct worker all[MEMBERS])
{
	uint64_t seed = tap_seed();
	int i;

	w->g = group_new(MEMBERS, 0);
	ASSERT_NOT_NULL(w->g);
	for (i = 0; i < MEMBERS; i++) {
		all[i] = (struct worker){ .w = w, .member = i };
		all[i].fd = eventfd(0, EFD_CLOEXEC);
		rnd_seeded_init(&all[i].rnd, seed * MEMBERS + (uint64_t)i);
		ASSERT_OK(group_join(w->g, i, wake, &all[i]));
	}
	for (i = 0; i < MEMBERS; i++)
		ASSERT_OK(pthread_create(&all[i].thread, NULL, work, &all[i]));
	while (atomic_load(&w->begun) < ATTEMPTS)
		sched_yield();
	atomic_store(&w->stop, true);
	for (i = 0; i < MEMBERS; i++)
		wake(&all[i]);
	for (i = 0; i < MEMBERS; i++) {
		ASSERT_OK(pthread_join(all[i].thread, NULL));
		EXPECT_FALSE(all[i].wrong);
		close(all[i].fd);
	}
	EXPECT_FALSE(atomic_load(&w->held));
	group_free(w->g);
}

TEST_WITH_TIMEOUT(all_members_flip_while_all_are_held_and_know_the_same_end, 60)
{
	struct world w = { 0 };
	struct worker all[MEMBERS];

	run_world(&w, all);
	EXPECT_GE(atomic_load(&w.ends[GROUP_GO]), ATTEMPTS - 1);
}

TEST_WITH_TIMEOUT(whoever_fails_at_whatever_step_all_come_to_the_same_end, 60)
{
	struct world w = { .fails_one_in = 15 };
	struct worker all[MEMBERS];

	run_world(&w, all);
	EXPECT_GT(atomic_load(&w.ends[GROUP_GO]), 0);
	EXPECT_GT(atomic_load(&w.ends[GROUP_GIVE_UP]), 0);
	EXPECT_GT(atomic_load(&w.ends[HELD_REFUSED]), 0);
	EXPECT_GT(atomic_load(&w.ends[HELD_LATE]), 0);
}
