// SPDX-License-Identifier: Apache-2.0
/*
 * Members of a group meet: all see a flip or nobody does, all commit or nobody,
 * whoever gives up and whenever.
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

#define MEMBERS 4
#define ATTEMPTS 400

struct shared {
	struct group *g;
	uint64_t flips;			/* by the action of a meeting only */
	_Atomic bool stop;
	_Atomic int begun, committed;
	int max_rounds;
	uint32_t give_up_one_in;	/* of the meetings; 0: never */
};

struct worker {
	struct shared *s;
	struct rnd_seeded rnd;
	pthread_t thread;
	int fd, member;
	uint64_t collected;		/* flips, each of which it must see */
	uint64_t points, last_seq;
	bool wrong;
};

static void wake(void *arg)
{
	const uint64_t one = 1;

	(void)!write(((struct worker *)arg)->fd, &one, sizeof(one));
}

static void rest(struct worker *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, 1000) > 0)
		(void)!read(w->fd, &n, sizeof(n));
}

static int wait_some(void *arg)
{
	struct worker *w = arg;

	rest(w);
	if (atomic_load(&w->s->stop))
		return -EINTR;
	if (w->s->give_up_one_in &&
	    !rnd_seeded_below(&w->rnd, 20ULL * w->s->give_up_one_in))
		return -EIO;
	return 0;
}

static int flip(void *arg, struct group_attempt *a)
{
	struct worker *w = arg;

	a->flip_wall_ns = (int64_t)++w->s->flips;
	return 0;
}

static int meet(struct worker *w, enum group_vote vote, bool flips,
		struct group_attempt *a)
{
	struct group_meeting m = { .vote = vote, .wait = wait_some, .arg = w,
				   .action = flips ? flip : NULL };

	if (w->s->give_up_one_in &&
	    !rnd_seeded_below(&w->rnd, w->s->give_up_one_in))
		m.vote = GROUP_GIVE_UP;
	return group_meet(w->s->g, w->member, &m, a);
}

/* As a volume's worker does: rounds, then a commit. */
static void attempt(struct worker *w)
{
	struct group_attempt a;
	int i, r;

	for (i = 0; i < w->s->max_rounds; i++) {
		r = meet(w, GROUP_GO, true, &a);
		if (r)
			return;
		if (++w->collected != (uint64_t)a.flip_wall_ns)
			w->wrong = true;
		r = meet(w, rnd_seeded_below(&w->rnd, 4) ? GROUP_GO
							 : GROUP_AGAIN,
			 false, &a);
		if (r == GROUP_GO)
			break;
		if (r != GROUP_AGAIN)
			return;
	}
	if (i == w->s->max_rounds)
		return;
	if (a.seq <= w->last_seq)
		w->wrong = true;
	w->last_seq = a.seq;
	w->points++;
	group_durable(w->s->g, w->member);
	if (!meet(w, GROUP_GO, false, &a) && !w->member)
		atomic_fetch_add(&w->s->committed, 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->s->stop)) {
		if (!group_ready(w->s->g, w->member)) {
			rest(w);
			continue;
		}
		if (!w->member)
			atomic_fetch_add(&w->s->begun, 1);
		attempt(w);
		group_leave(w->s->g, w->member);
	}
	group_unready(w->s->g, w->member);
	return NULL;
}

static void start(struct shared *s, struct worker w[MEMBERS], uint64_t seed)
{
	int i;

	s->g = group_new(MEMBERS, 7);
	ASSERT_NOT_NULL(s->g);
	for (i = 0; i < MEMBERS; i++) {
		memset(&w[i], 0, sizeof(w[i]));
		w[i].s = s;
		w[i].fd = eventfd(0, EFD_CLOEXEC);
		ASSERT_GE(w[i].fd, 0);
		rnd_seeded_init(&w[i].rnd, seed * MEMBERS + (uint64_t)i);
		w[i].member = i;
		ASSERT_OK(group_join(s->g, i, wake, &w[i]));
	}
	for (i = 0; i < MEMBERS; i++)
		ASSERT_OK(pthread_create(&w[i].thread, NULL, work, &w[i]));
}

static void finish(struct shared *s, struct worker w[MEMBERS])
{
	int i;

	atomic_store(&s->stop, true);
	for (i = 0; i < MEMBERS; i++)
		wake(&w[i]);
	for (i = 0; i < MEMBERS; i++) {
		ASSERT_OK(pthread_join(w[i].thread, NULL));
		EXPECT_FALSE(w[i].wrong);
	}
	for (i = 0; i < MEMBERS; i++)
		group_part(s->g, i);
	for (i = 0; i < MEMBERS; i++)
		close(w[i].fd);
	group_free(s->g);
}

static void wait_for(_Atomic int *count, int n)
{
	uint64_t end = clock_mono_ns(clock_real()) + 60 * NSEC_PER_SEC;

	while (atomic_load(count) < n &&
	       clock_mono_ns(clock_real()) < end)
		sched_yield();
	ASSERT_GE(atomic_load(count), n);
}

TEST_WITH_TIMEOUT(every_member_sees_every_flip, 120)
{
	struct shared s = { .max_rounds = 20 };
	struct worker w[MEMBERS];
	int i;

	start(&s, w, tap_seed());
	wait_for(&s.committed, ATTEMPTS);
	finish(&s, w);
	for (i = 0; i < MEMBERS; i++)
		EXPECT_GE(w[i].points, ATTEMPTS);
}

TEST_WITH_TIMEOUT(whoever_gives_up_no_flip_is_seen_by_some_only, 120)
{
	struct shared s = { .max_rounds = 5, .give_up_one_in = 12 };
	struct worker w[MEMBERS];

	start(&s, w, tap_seed());
	wait_for(&s.begun, 4 * ATTEMPTS);
	EXPECT_GT(atomic_load(&s.committed), 0);
	finish(&s, w);
}

TEST_WITH_TIMEOUT(a_point_is_waited_for_until_every_member_has_it, 60)
{
	struct group_order o = { .label = "nightly",
				 .timeout_ns = 30 * NSEC_PER_SEC };
	struct shared s = { .max_rounds = 20 };
	struct worker w[MEMBERS];
	struct group_attempt a;

	start(&s, w, tap_seed());
	ASSERT_OK(group_sync(s.g, &o, &a, NULL));
	EXPECT_STR(a.label, "nightly");
	EXPECT_TRUE(a.wanted);
	EXPECT_GT(a.seq, 7);
	EXPECT_GT(a.flip_wall_ns, 0);
	finish(&s, w);
}

/* ---- in one thread: a group of one meets as soon as he comes ---- */

static void no_wake(void *arg)
{
	(void)arg;
}

static int number(void *arg, struct group_attempt *a)
{
	(void)arg;
	a->numbered = true;
	return 0;
}

/* Begins one; what it is to be. */
static struct group_attempt begun(struct group *g, int members)
{
	struct group_attempt a;
	int i;

	for (i = 0; i < members; i++)
		EXPECT_INT(group_ready(g, i), i == members - 1);
	group_look(g, &a);
	return a;
}

TEST(after_a_point_that_some_may_lack_the_next_attempt_commits)
{
	const struct group_meeting numbered = { .action = number };
	struct group *g = group_new(1, 0), *two;
	struct group_attempt a;

	ASSERT_NOT_NULL(g);
	ASSERT_OK(group_join(g, 0, no_wake, NULL));
	/* What an earlier process left is not known; until a point is whole. */
	EXPECT_TRUE(begun(g, 1).wanted);
	group_leave(g, 0);
	EXPECT_TRUE(begun(g, 1).wanted);
	ASSERT_OK(group_meet(g, 0, &numbered, &a));
	group_durable(g, 0);
	group_leave(g, 0);
	EXPECT_FALSE(begun(g, 1).wanted);
	/* One that got no number has left nothing, whoever gave up. */
	group_unready(g, 0);
	EXPECT_FALSE(begun(g, 1).wanted);
	/* One that got it has, when its member never had it durable. */
	ASSERT_OK(group_meet(g, 0, &numbered, &a));
	group_unready(g, 0);
	EXPECT_TRUE(begun(g, 1).wanted);
	group_part(g, 0);
	group_free(g);
	/* And when one has, and another has not. */
	two = group_new(2, 0);
	ASSERT_NOT_NULL(two);
	ASSERT_OK(group_join(two, 0, no_wake, NULL));
	ASSERT_OK(group_join(two, 1, no_wake, NULL));
	EXPECT_TRUE(begun(two, 2).wanted);
	group_durable(two, 0);
	group_leave(two, 0);
	group_leave(two, 1);
	EXPECT_TRUE(begun(two, 2).wanted);
	group_free(two);
}

TEST(a_wish_stays_until_an_attempt_begins_and_says_whether_it_is_for_a_held_point)
{
	struct group *g = group_new(2, 0);
	struct group_attempt a;

	ASSERT_NOT_NULL(g);
	ASSERT_OK(group_join(g, 0, no_wake, NULL));
	ASSERT_OK(group_join(g, 1, no_wake, NULL));
	EXPECT_FALSE(group_is_wanted(g));
	group_want(g, 0, false);
	EXPECT_FALSE(group_ready(g, 0));
	group_unready(g, 0);
	EXPECT_TRUE(group_is_wanted(g));
	/* The stronger wish counts, whichever came first. */
	group_want(g, 0, true);
	group_want(g, 0, false);
	a = begun(g, 2);
	EXPECT_TRUE(a.quiesce);
	EXPECT_FALSE(group_is_wanted(g));
	/* In an attempt it is for that one; of who has left it, the next. */
	group_want(g, 0, true);
	EXPECT_FALSE(group_is_wanted(g));
	group_leave(g, 0);
	group_want(g, 0, true);
	group_unready(g, 1);
	EXPECT_TRUE(group_is_wanted(g));
	EXPECT_TRUE(begun(g, 2).quiesce);
	EXPECT_FALSE(group_is_wanted(g));
	EXPECT_FALSE(group_is_off(g));
	group_unready(g, 1);
	EXPECT_TRUE(group_is_off(g));
	group_leave(g, 0);
	EXPECT_FALSE(begun(g, 2).quiesce);
	group_free(g);
}

struct orderer {
	struct group *g;
	bool quiesce;
	pthread_t thread;
	struct group_attempt a;
	struct err err;
	int r;
};

static void *order(void *arg)
{
	struct orderer *o = arg;
	const struct group_order order = { .quiesce = o->quiesce,
					   .timeout_ns = 30 * NSEC_PER_SEC };

	o->r = group_sync(o->g, &order, &o->a, &o->err);
	return NULL;
}

static void let_order(struct orderer *o)
{
	ASSERT_OK(pthread_create(&o->thread, NULL, order, o));
	while (!group_is_wanted(o->g))
		sched_yield();
}

TEST(who_wants_a_held_point_is_told_why_there_is_none_and_others_get_theirs)
{
	struct group *g = group_new(1, 0);
	struct orderer held = { .g = g, .quiesce = true }, any = { .g = g };
	struct err why = ERR_INIT;

	ASSERT_NOT_NULL(g);
	ASSERT_OK(group_join(g, 0, no_wake, NULL));
	let_order(&held);
	EXPECT_TRUE(begun(g, 1).quiesce);
	/* Refused, and the attempt is given up. */
	err_set(&why, -EBUSY, "already-frozen", "shop", "no");
	group_refuse(g, &why);
	group_unready(g, 0);
	ASSERT_OK(pthread_join(held.thread, NULL));
	EXPECT_INT(held.r, -EBUSY);
	EXPECT_STR(held.err.code, "already-frozen");
	/* A refusal does not concern who wanted any. */
	let_order(&any);
	EXPECT_FALSE(begun(g, 1).quiesce);
	group_refuse(g, &why);
	group_durable(g, 0);
	group_leave(g, 0);
	ASSERT_OK(pthread_join(any.thread, NULL));
	EXPECT_OK(any.r);
	/* Refused although a point was made: it is of another kind. */
	held.err = (struct err)ERR_INIT;
	let_order(&held);
	EXPECT_TRUE(begun(g, 1).quiesce);
	group_refuse(g, &why);
	group_durable(g, 0);
	group_leave(g, 0);
	ASSERT_OK(pthread_join(held.thread, NULL));
	EXPECT_INT(held.r, -EBUSY);
	group_free(g);
}

TEST_WITH_TIMEOUT(without_a_member_there_is_no_attempt, 60)
{
	struct group_order o = { .timeout_ns = 50 * NSEC_PER_MSEC };
	struct worker w[2] = { { .fd = -1 }, { .fd = -1 } };
	struct group *g = group_new(2, 0);
	struct group_attempt a;

	ASSERT_NOT_NULL(g);
	/* The number is the member's, whoever comes first. */
	ASSERT_OK(group_join(g, 1, wake, &w[1]));
	EXPECT_FALSE(group_ready(g, 1));
	EXPECT_U64(group_missing(g), 1);
	EXPECT_INT(group_sync(g, &o, &a, NULL), -ETIMEDOUT);
	ASSERT_OK(group_join(g, 0, wake, &w[0]));
	EXPECT_INT(group_join(g, 0, wake, &w[0]), -EBUSY);
	EXPECT_FALSE(group_is_wanted(g));
	EXPECT_TRUE(group_ready(g, 0));
	EXPECT_TRUE(group_ready(g, 1));
	/* Those that have not come to the meeting, or are not durable. */
	EXPECT_U64(group_missing(g), 3);
	group_durable(g, 0);
	EXPECT_U64(group_missing(g), 2);
	/* One goes; the other cannot meet anybody any more. */
	group_unready(g, 1);
	EXPECT_INT(group_meet(g, 0, &(struct group_meeting){ 0 }, &a),
		   -ECANCELED);
	/* And nothing begins until it has left. */
	EXPECT_FALSE(group_ready(g, 1));
	group_leave(g, 0);
	EXPECT_TRUE(group_ready(g, 0));
	group_cancel(g);
	EXPECT_INT(group_sync(g, &o, &a, NULL), -ESHUTDOWN);
	group_free(g);
}
