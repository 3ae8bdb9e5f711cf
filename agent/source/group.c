// SPDX-License-Identifier: Apache-2.0
/*
 * The meetings of a group's members.
 *
 * Invariants:
 * - An attempt begins when all members are ready, and the next one not before
 *   all have left it.
 * - A meeting ends for all in the same way: its last comer decides, and who
 *   had come by then goes by that, whatever happens afterwards. So either
 *   every member sees a flip and collects what it has retired, or nobody does.
 * - Who gives up ends every later meeting of the attempt.
 * - A number is used for one attempt only.
 * - After an attempt whose point may be durable for some members only, the next
 *   one commits: nothing is confirmed that the group does not have.
 *
 * One lock; nobody waits for a device or a network under it, but for the
 * action of a meeting, which is a flip or the note of a number.
 */
#include "source/group.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define LOOK_NS (100 * NSEC_PER_MSEC)

struct member {
	void (*wake)(void *arg);
	void *arg;
};

struct waiter {
	struct waiter *next;
	const char *label;
	bool quiesce;
	bool taken, done;
	struct group_attempt point;
	struct err refused;		/* num is 0: it was not */
};

struct group {
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* waiters */
	int n;
	struct member members[GROUP_MEMBERS_MAX];
	uint32_t joined, ready, inside;	/* a bit for each member */
	uint32_t durable;
	bool given_up, cancelled;
	bool wished, wished_held;	/* ... one whose writers are held */
	bool owes;			/* the last number's point may lack members:
					 * to confirm it would say too much */
	/* The meeting that is being waited for. */
	uint64_t meeting;
	uint32_t come;
	enum group_vote worst;
	int outcome;			/* of the one before */
	struct group_attempt attempt;
	uint64_t last_seq;
	struct waiter *waiters;
};

static uint32_t bit(int member)
{
	return 1U << member;
}

static uint32_t everybody(const struct group *g)
{
	return g->n == 32 ? UINT32_MAX : bit(g->n) - 1;
}

struct group *group_new(int n_members, uint64_t last_seq)
{
	pthread_condattr_t attr;
	struct group *g;

	if (n_members < 1 || n_members > GROUP_MEMBERS_MAX)
		return NULL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->n = n_members;
	g->last_seq = last_seq;
	/* What an earlier process left is not known. */
	g->owes = true;
	pthread_mutex_init(&g->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->changed, &attr);
	pthread_condattr_destroy(&attr);
	return g;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static void wake_others(struct group *g, int but)
{
	int i;

	for (i = 0; i < g->n; i++)
		if (i != but && g->joined & bit(i))
			g->members[i].wake(g->members[i].arg);
}

int group_join(struct group *g, int member, void (*wake)(void *arg), void *arg)
{
	LOCK_SCOPE(&g->lock);

	if (g->joined & bit(member))
		return -EBUSY;
	g->members[member] = (struct member){ wake, arg };
	g->joined |= bit(member);
	g->cancelled = false;
	return 0;
}

/* Under the lock: those who wait for the rest of this attempt need not. */
static void give_up(struct group *g, int member)
{
	if (!g->inside || g->given_up)
		return;
	g->given_up = true;
	wake_others(g, member);
}

static void leave(struct group *g, int member)
{
	struct waiter *w;

	g->inside &= ~bit(member);
	if (g->inside)
		return;
	if (g->attempt.numbered)
		g->owes = g->durable != everybody(g);
	for (w = g->waiters; w; w = w->next) {
		if (!w->taken || w->done)
			continue;
		w->taken = false;
		w->done = g->durable == everybody(g);
		w->point = g->attempt;
	}
	pthread_cond_broadcast(&g->changed);
	wake_others(g, -1);
}

void group_unready(struct group *g, int member)
{
	LOCK_SCOPE(&g->lock);

	g->ready &= ~bit(member);
	if (!(g->inside & bit(member)))
		return;
	give_up(g, member);
	leave(g, member);
}

void group_part(struct group *g, int member)
{
	group_unready(g, member);
	LOCK_SCOPE(&g->lock);
	g->joined &= ~bit(member);
}

void group_leave(struct group *g, int member)
{
	LOCK_SCOPE(&g->lock);

	if (g->inside & bit(member))
		leave(g, member);
}

/* A point has one label: who wants another one waits for the next. */
static void take_waiters(struct group *g)
{
	struct group_attempt *a = &g->attempt;
	struct waiter *w;

	for (w = g->waiters; w; w = w->next) {
		if (w->done || (w->label && a->label[0] &&
				strcmp(w->label, a->label) != 0))
			continue;
		w->taken = a->wanted = true;
		a->quiesce |= w->quiesce;
		if (w->label)
			strncpy(a->label, w->label, GROUP_LABEL_MAX);
	}
}

static void begin(struct group *g)
{
	g->inside = everybody(g);
	g->ready = g->durable = g->come = 0;
	g->worst = GROUP_GO;
	g->given_up = false;
	memset(&g->attempt, 0, sizeof(g->attempt));
	g->attempt.seq = ++g->last_seq;
	g->attempt.wanted = g->owes;
	g->attempt.quiesce = g->wished_held;
	g->wished = g->wished_held = false;
	take_waiters(g);
}

bool group_ready(struct group *g, int member)
{
	LOCK_SCOPE(&g->lock);

	if (g->inside & bit(member))
		return true;
	g->ready |= bit(member);
	if (g->inside || g->ready != everybody(g) ||
	    g->joined != everybody(g))
		return false;
	begin(g);
	wake_others(g, member);
	return true;
}

uint32_t group_missing(struct group *g)
{
	LOCK_SCOPE(&g->lock);

	if (g->inside && !g->given_up)
		return g->inside & ~(g->come | g->durable);
	return everybody(g) & ~(g->ready | g->inside);
}

bool group_is_wanted(struct group *g)
{
	LOCK_SCOPE(&g->lock);
	const struct waiter *w;

	for (w = g->waiters; w; w = w->next)
		if (!w->taken && !w->done)
			return true;
	return g->wished;
}

void group_want(struct group *g, int member, bool quiesce)
{
	LOCK_SCOPE(&g->lock);

	if (g->inside & bit(member))
		return;
	g->wished_held |= quiesce;
	if (g->wished)
		return;
	g->wished = true;
	wake_others(g, -1);
}

void group_look(struct group *g, struct group_attempt *a)
{
	LOCK_SCOPE(&g->lock);

	*a = g->attempt;
}

bool group_is_off(struct group *g)
{
	LOCK_SCOPE(&g->lock);

	return g->given_up;
}

void group_refuse(struct group *g, const struct err *why)
{
	LOCK_SCOPE(&g->lock);
	struct waiter *w;

	for (w = g->waiters; w; w = w->next) {
		if (!w->taken || !w->quiesce || w->done)
			continue;
		err_copy(&w->refused, why);
		w->done = true;
	}
	pthread_cond_broadcast(&g->changed);
}

/* ---- meetings ---- */

/* The last one to come: what it says is how it ends for all. */
static int conclude(struct group *g, int member,
		    const struct group_meeting *m)
{
	int r = (int)g->worst;

	if (m->action && g->worst != GROUP_GIVE_UP) {
		int failed = m->action(m->arg, &g->attempt);

		if (failed)
			r = failed;
	}
	if (r < 0 || r == GROUP_GIVE_UP)
		g->given_up = true;
	g->outcome = r;
	g->come = 0;
	g->worst = GROUP_GO;
	g->meeting++;
	wake_others(g, member);
	return r;
}

/* Under the lock, which is let go while waiting. */
static int wait_for_others(struct group *g, int member, uint64_t meeting,
			   const struct group_meeting *m)
{
	int r;

	for (;;) {
		if (g->meeting != meeting)
			return g->outcome < 0 ? -ECANCELED : g->outcome;
		if (g->given_up)
			return -ECANCELED;
		pthread_mutex_unlock(&g->lock);
		r = m->wait(m->arg);
		pthread_mutex_lock(&g->lock);
		if (!r || g->meeting != meeting)
			continue;
		g->come &= ~bit(member);
		give_up(g, member);
		return r;
	}
}

int group_meet(struct group *g, int member, const struct group_meeting *m,
	       struct group_attempt *a)
{
	LOCK_SCOPE(&g->lock);
	int r;

	if (g->given_up || !(g->inside & bit(member)))
		return -ECANCELED;
	g->come |= bit(member);
	if (m->vote > g->worst)
		g->worst = m->vote;
	if (g->come == everybody(g))
		r = conclude(g, member, m);
	else
		r = wait_for_others(g, member, g->meeting, m);
	*a = g->attempt;
	return r;
}

void group_durable(struct group *g, int member)
{
	LOCK_SCOPE(&g->lock);

	if (g->inside & bit(member))
		g->durable |= bit(member);
}

/* ---- orders ---- */

static void remove_waiter(struct group *g, struct waiter *w)
{
	struct waiter **p;

	for (p = &g->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			return;
		}
}

static void wait_a_little(struct group *g, uint64_t now_ns)
{
	const uint64_t end_ns = now_ns + LOOK_NS;
	const struct timespec end = {
		.tv_sec = (time_t)(end_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(end_ns % NSEC_PER_SEC),
	};

	(void)pthread_cond_timedwait(&g->changed, &g->lock, &end);
}

int group_sync(struct group *g, const struct group_order *order,
	       struct group_attempt *out, struct err *err)
{
	uint64_t now = clock_mono_ns(clock_real());
	const uint64_t deadline = now + order->timeout_ns;
	struct waiter w = { .label = order->label,
			    .quiesce = order->quiesce };
	LOCK_SCOPE(&g->lock);
	int r = 0;

	w.next = g->waiters;
	g->waiters = &w;
	wake_others(g, -1);
	while (!w.done && !r) {
		if (g->cancelled) {
			r = -ESHUTDOWN;
		} else if (now >= deadline) {
			r = -ETIMEDOUT;
		} else {
			wait_a_little(g, now);
			pthread_mutex_unlock(&g->lock);
			if (order->progress)
				r = order->progress(order->arg);
			pthread_mutex_lock(&g->lock);
			now = clock_mono_ns(clock_real());
		}
	}
	remove_waiter(g, &w);
	if (!w.done)
		return r;
	*out = w.point;
	if (w.refused.num && err)
		err_copy(err, &w.refused);
	return w.refused.num;
}

void group_cancel(struct group *g)
{
	LOCK_SCOPE(&g->lock);

	g->cancelled = true;
	pthread_cond_broadcast(&g->changed);
}
