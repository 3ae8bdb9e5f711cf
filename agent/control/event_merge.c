// SPDX-License-Identifier: Apache-2.0
/*
 * Events that are alike, made fewer. Pure functions on the owner's memory.
 *
 * Nothing is left out silently: what does not pass is in the count of an event
 * that does, at the latest when its window ends.
 */
#include "control/event_merge.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"

void event_merge_init(struct event_merge *m, uint64_t now_ns)
{
	memset(m, 0, sizeof(*m));
	m->tokens = MERGE_TOTAL_BURST;
	m->filled_ns = now_ns;
	m->rest.window_ns = MERGE_WINDOW_NS;
	(void)snprintf(m->rest.last.slug, sizeof(m->rest.last.slug),
		       "events-merged");
	(void)snprintf(m->rest.last.role, sizeof(m->rest.last.role), "daemon");
	(void)snprintf(m->rest.last.object, sizeof(m->rest.last.object),
		       "events");
	(void)snprintf(m->rest.last.message, sizeof(m->rest.last.message),
		       "too much happened at once: it is counted, and not "
		       "told one by one");
}

static bool is_alike(const struct event_record *a,
		     const struct event_record *b)
{
	return !strcmp(a->slug, b->slug) && !strcmp(a->object, b->object) &&
	       !strcmp(a->reason, b->reason) && !strcmp(a->role, b->role);
}

static bool is_over(const struct merge_kind *k, uint64_t now_ns)
{
	return now_ns - k->start_ns >= k->window_ns;
}

/* The kind of r, or a place for it: free, over, or the oldest of which nothing
 * is held. NULL: every kind has something held. */
static struct merge_kind *place_for(struct event_merge *m,
				    const struct event_record *r,
				    uint64_t now_ns)
{
	struct merge_kind *best = NULL, *k;

	for (k = m->kinds; k < m->kinds + MERGE_KINDS; k++) {
		if (k->used && is_alike(&k->last, r))
			return k;
		if (k->used && k->held)
			continue;
		if (k->used && is_over(k, now_ns))
			k->used = false;
		if (!best || (best->used &&
			      (!k->used || k->start_ns < best->start_ns)))
			best = k;
	}
	if (best)
		best->used = false;
	return best;
}

static void hold(struct merge_kind *k, const struct event_record *r)
{
	if (!k->held)
		k->first_held_wall_ns = r->time_wall_ns;
	k->held += r->count;
}

static bool take_token(struct event_merge *m, uint64_t now_ns)
{
	uint64_t more = (now_ns - m->filled_ns) / NSEC_PER_SEC *
			MERGE_TOTAL_PER_S;

	if (more) {
		m->tokens = MIN(m->tokens + more, (uint64_t)MERGE_TOTAL_BURST);
		m->filled_ns = now_ns;
	}
	if (!m->tokens)
		return false;
	m->tokens--;
	return true;
}

static void hold_with_rest(struct event_merge *m, const struct event_record *r,
			   uint64_t now_ns)
{
	if (!m->rest.held)
		m->rest.start_ns = now_ns;
	hold(&m->rest, r);
	m->rest.last.time_wall_ns = r->time_wall_ns;
}

bool event_merge_take(struct event_merge *m, const struct event_record *r,
		      uint64_t now_ns)
{
	struct merge_kind *k = place_for(m, r, now_ns);

	if (!k) {
		hold_with_rest(m, r, now_ns);
		return false;
	}
	if (!k->used || (!k->held && is_over(k, now_ns)))
		*k = (struct merge_kind){
			.used = true,
			.start_ns = now_ns,
			.window_ns = MERGE_WINDOW_NS,
		};
	k->last = *r;
	if (k->passed >= MERGE_BURST) {
		hold(k, r);
		return false;
	}
	if (!take_token(m, now_ns)) {
		hold_with_rest(m, r, now_ns);
		return false;
	}
	k->passed++;
	return true;
}

static void let_go(struct merge_kind *k, uint64_t now_ns,
		   struct event_record *out)
{
	*out = k->last;
	out->count = k->held;
	out->since_wall_ns = k->first_held_wall_ns;
	k->held = 0;
	k->start_ns = now_ns;
	k->window_ns = MIN(k->window_ns * 2, MERGE_WINDOW_MAX_NS);
}

bool event_merge_due(struct event_merge *m, uint64_t now_ns, bool all,
		     struct event_record *out)
{
	struct merge_kind *k;

	for (k = m->kinds; k < m->kinds + MERGE_KINDS; k++) {
		if (!k->used || !k->held || (!all && !is_over(k, now_ns)))
			continue;
		let_go(k, now_ns, out);
		return true;
	}
	if (!m->rest.held || (!all && !is_over(&m->rest, now_ns)))
		return false;
	let_go(&m->rest, now_ns, out);
	m->rest.window_ns = MERGE_WINDOW_NS;
	return true;
}

uint64_t event_merge_next_ns(const struct event_merge *m)
{
	const struct merge_kind *k;
	uint64_t next = UINT64_MAX;

	for (k = m->kinds; k < m->kinds + MERGE_KINDS; k++)
		if (k->used && k->held)
			next = MIN(next, k->start_ns + k->window_ns);
	if (m->rest.held)
		next = MIN(next, m->rest.start_ns + m->rest.window_ns);
	return next;
}
