// SPDX-License-Identifier: Apache-2.0
#include "cutstates.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

void cut_tally_init(struct cut_tally *t, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	rnd_seeded_init(&t->rnd, seed);
}

void cut_tally_free(struct cut_tally *t)
{
	free(TAKE_PTR(t->seen));
}

static bool insert(uint64_t *set, uint64_t cap, uint64_t h)
{
	uint64_t i = h & (cap - 1);

	h |= 1;			/* 0 is: free */
	for (; set[i]; i = (i + 1) & (cap - 1))
		if (set[i] == h)
			return false;
	set[i] = h;
	return true;
}

/* False: it was there before. */
static bool first_time(struct cut_tally *t, uint64_t h)
{
	uint64_t cap = t->seen_cap ? 2 * t->seen_cap : 1024, i, *set;

	if (2 * t->n_seen >= t->seen_cap) {
		set = calloc(cap, sizeof(*set));
		if (!set)
			abort();
		for (i = 0; i < t->seen_cap; i++)
			if (t->seen[i])
				(void)insert(set, cap, t->seen[i]);
		free(t->seen);
		t->seen = set;
		t->seen_cap = cap;
	}
	if (!insert(t->seen, t->seen_cap, h))
		return false;
	t->n_seen++;
	return true;
}

struct moment {
	struct cutlab *c;
	const struct simfs *fs;
	const struct cut_promise *p;
	const struct cut_plan *plan;
	struct cut_tally *t;
	struct sim_choices all;
	uint32_t *picks;
	uint64_t promise_hash;
};

static bool judge_state(struct moment *m, struct simfs *s)
{
	struct cut_promise p = *m->p;

	m->t->states++;
	if (!first_time(m->t, simfs_hash(s) ^ m->promise_hash))
		return true;
	m->t->judged++;
	/* Without writing, too, now and then. */
	if (m->t->judged % 16 == 0 && p.seq && !cut_look(m->c, s, m->p))
		return false;
	return cut_judge(m->c, s, &p, CUT_CLOSE);
}

static bool judge_picks(struct moment *m, uint64_t noise, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool judge_picks(struct moment *m, uint64_t noise, const char *fmt, ...)
{
	struct simfs s;
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	(void)vsnprintf(m->t->last, sizeof(m->t->last), fmt, ap);
	va_end(ap);
	simfs_crash(&s, m->fs, &m->all, m->picks, noise);
	ok = judge_state(m, &s);
	simfs_free(&s);
	return ok;
}

/* Sets the choices of SQLite's files or the others. */
static void pick_all(struct moment *m, bool catalog, bool newest)
{
	size_t i;

	for (i = 0; i < m->all.n; i++)
		if (m->all.v[i].catalog == catalog)
			m->picks[i] = newest ? m->all.v[i].n - 1 : 0;
}

static void pick_random(struct moment *m, bool catalog_too)
{
	/* Mostly kept, mostly lost, or half of it. */
	uint64_t bias = rnd_seeded_below(&m->t->rnd, 3), r;
	size_t i;

	for (i = 0; i < m->all.n; i++) {
		if (m->all.v[i].catalog && !catalog_too)
			continue;
		r = rnd_seeded_below(&m->t->rnd, 8);
		if (bias == 0 && r)
			m->picks[i] = m->all.v[i].n - 1;
		else if (bias == 1 && r)
			m->picks[i] = 0;
		else
			m->picks[i] = (uint32_t)rnd_seeded_below(
				&m->t->rnd, m->all.v[i].n);
	}
}

static uint64_t combinations(const struct moment *m, uint64_t max)
{
	uint64_t n = 1;
	size_t i;

	for (i = 0; i < m->all.n && n <= max; i++)
		if (!m->all.v[i].catalog)
			n *= m->all.v[i].n;
	return n;
}

/* The next combination of what is not SQLite's; false after the last. */
static bool next_combination(struct moment *m)
{
	size_t i;

	for (i = 0; i < m->all.n; i++) {
		if (m->all.v[i].catalog)
			continue;
		if (++m->picks[i] < m->all.v[i].n)
			return true;
		m->picks[i] = 0;
	}
	return false;
}

static bool exhaust(struct moment *m, uint64_t n)
{
	uint64_t i = 0;

	m->t->exhausted++;
	m->t->largest = MAX(m->t->largest, n);
	do {
		pick_all(m, true, i % 2);
		if (!judge_picks(m, 0, "combination %llu of %llu, catalog %s",
				 (unsigned long long)i, (unsigned long long)n,
				 i % 2 ? "kept" : "as synced"))
			return false;
		pick_all(m, true, !(i % 2));
		if (!judge_picks(m, i, "combination %llu with noise",
				 (unsigned long long)i))
			return false;
		i++;
	} while (next_combination(m));
	return true;
}

/* All or nothing of either kind. */
static bool corners(struct moment *m)
{
	unsigned int k;

	for (k = 0; k < 4; k++) {
		pick_all(m, false, k & 1);
		pick_all(m, true, k & 2);
		if (!judge_picks(m, 0, "%s, catalog %s",
				 k & 1 ? "everything kept" : "nothing kept",
				 k & 2 ? "kept" : "as synced"))
			return false;
	}
	return true;
}

/* Names without contents, and contents without names. */
static bool names_or_contents(struct moment *m)
{
	unsigned int k;
	size_t i;

	for (k = 0; k < 2; k++) {
		pick_all(m, true, true);
		for (i = 0; i < m->all.n; i++)
			if (!m->all.v[i].catalog)
				m->picks[i] = (m->all.v[i].op == SIM_NAME) ==
							      (k == 0) ?
						      m->all.v[i].n - 1 : 0;
		if (!judge_picks(m, 0, k ? "no name kept" : "only names kept"))
			return false;
	}
	return true;
}

/* Of each of the others only that one lost, and only that one kept. */
static bool one_by_one(struct moment *m)
{
	size_t i;

	for (i = 0; i < m->all.n; i++) {
		char what[96];

		if (m->all.v[i].catalog)
			continue;
		simfs_describe(&m->all.v[i], what, sizeof(what));
		pick_all(m, false, true);
		pick_all(m, true, true);
		m->picks[i] = 0;
		if (!judge_picks(m, 0, "without %s", what))
			return false;
		pick_all(m, false, false);
		pick_all(m, true, false);
		m->picks[i] = m->all.v[i].n - 1;
		if (!judge_picks(m, 0, "only %s", what))
			return false;
	}
	return true;
}

/* SQLite's files as of each time, and with each single gap. */
static bool catalog_states(struct moment *m)
{
	_cleanup_free_ uint64_t *times = NULL;
	size_t n, i, k;

	times = simfs_times(m->fs, true, &n);
	pick_all(m, false, true);
	for (k = 0; k < n; k++) {
		for (i = 0; i < m->all.n; i++)
			if (m->all.v[i].catalog)
				m->picks[i] = simfs_pick_until(
					m->fs, &m->all.v[i], times[k]);
		if (!judge_picks(m, 0, "catalog as of %zu of %zu changes", k,
				 n))
			return false;
	}
	for (k = 0; k < m->all.n; k++) {
		if (!m->all.v[k].catalog)
			continue;
		pick_all(m, true, true);
		m->picks[k] = 0;
		if (!judge_picks(m, 0, "catalog without choice %zu", k))
			return false;
	}
	return true;
}

/* The catalog's files gone, with all else kept or as synced. */
static bool catalog_lost(struct moment *m)
{
	static const char *const names[] = { "/store/catalog.db",
					     "/store/catalog.db-wal" };
	struct simfs s;
	unsigned int k;
	bool ok = true;
	size_t i;

	for (k = 0; ok && k < 2; k++) {
		pick_all(m, false, k);
		pick_all(m, true, true);
		simfs_crash(&s, m->fs, &m->all, m->picks, 0);
		for (i = 0; i < 2; i++)
			if (simfs_lookup(&s, names[i]))
				(void)simfs_unlink(&s, names[i]);
		(void)snprintf(m->t->last, sizeof(m->t->last),
			       "catalog gone, %s", k ? "all else kept" :
						      "nothing else kept");
		ok = judge_state(m, &s);
		simfs_free(&s);
	}
	return ok;
}

static bool at_random(struct moment *m, uint64_t n, bool catalog_too)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		pick_all(m, true, i & 1);
		pick_random(m, catalog_too);
		if (!judge_picks(m, i % 3 == 0 ? i + 1 : 0, "random %llu",
				 (unsigned long long)i))
			return false;
	}
	return true;
}

static bool moment_states(struct moment *m)
{
	uint64_t n = combinations(m, m->plan->max_states);
	bool ok = corners(m) && names_or_contents(m);

	if (m->plan->brief)
		return ok && at_random(m, m->plan->n_random, true);
	ok = ok && catalog_lost(m) && one_by_one(m);
	if (ok && n <= m->plan->max_states)
		ok = exhaust(m, n);
	else if (ok)
		ok = at_random(m, m->plan->max_states, false);
	if (ok && m->plan->catalog_too)
		ok = catalog_states(m);
	return ok && at_random(m, m->plan->n_random, true);
}

bool cut_states(struct cutlab *c, const struct simfs *fs,
		const struct cut_promise *p, const struct cut_plan *plan,
		struct cut_tally *t)
{
	struct moment m = { c, fs, p, plan, t, { 0 }, NULL,
			    cut_promise_hash(p) };
	bool ok;

	t->moments++;
	simfs_choices(fs, &m.all);
	m.picks = calloc(m.all.n + 1, sizeof(*m.picks));
	if (!m.picks)
		abort();
	ok = moment_states(&m);
	free(m.picks);
	free(m.all.v);
	return ok;
}

void cut_random_state(struct simfs *to, const struct simfs *fs,
		      struct rnd_seeded *rnd)
{
	struct cut_tally t = { .rnd = *rnd };
	struct moment m = { .fs = fs, .t = &t };

	simfs_choices(fs, &m.all);
	m.picks = calloc(m.all.n + 1, sizeof(*m.picks));
	if (!m.picks)
		abort();
	pick_random(&m, true);
	simfs_crash(to, fs, &m.all, m.picks,
		    rnd_seeded_below(&t.rnd, 3) ? 0 :
						  rnd_seeded_next(&t.rnd) | 1);
	*rnd = t.rnd;
	free(m.picks);
	free(m.all.v);
}
