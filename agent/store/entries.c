// SPDX-License-Identifier: Apache-2.0
/*
 * Entries: sorting, settling overlaps, and the log that does so a little at a
 * time. In memory only; one thread per object.
 *
 * Settling is a sweep over the entries in order of their first block. Those
 * that have begun and not ended lie in a heap by order; its top owns the
 * stretch up to where the next entry begins. A stretch that goes on the one
 * before it, in the same unit, is joined to it: an entry is split only where
 * a newer one really cuts it.
 */
#include "store/entries.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define VEC_MIN_CAP 16U
/* A tail shorter than this is not worth a compaction. */
#define LOG_MIN_TAIL 4096U

void entvec_free(struct entvec *ev)
{
	free(ev->v);
	memset(ev, 0, sizeof(*ev));
}

static int entvec_reserve(struct entvec *ev, size_t n)
{
	size_t cap = ev->cap ? ev->cap : VEC_MIN_CAP, bytes;
	struct ent *v;

	if (n <= ev->cap)
		return 0;
	while (cap < n)
		if (!mul_size(cap, 2, &cap))
			return -ENOMEM;
	if (!mul_size(cap, sizeof(*v), &bytes))
		return -ENOMEM;
	v = realloc(ev->v, bytes);
	if (!v)
		return -ENOMEM;
	ev->v = v;
	ev->cap = cap;
	return 0;
}

int entvec_add(struct entvec *ev, const struct ent *e)
{
	int r = entvec_reserve(ev, ev->n + 1);

	if (r < 0)
		return r;
	ev->v[ev->n++] = *e;
	return 0;
}

static struct ent clipped(const struct ent *e, uint64_t first, uint64_t end)
{
	uint64_t from = MAX(e->first, first), to = MIN(ent_end(e), end);
	struct ent c = *e;

	c.skip += (uint32_t)(from - e->first);
	c.first = from;
	c.count = (uint32_t)(to - from);
	return c;
}

int entvec_add_clipped(struct entvec *ev, const struct ent *e, uint64_t first,
		       uint64_t end)
{
	struct ent c;

	if (e->first >= end || ent_end(e) <= first)
		return 0;
	c = clipped(e, first, end);
	return entvec_add(ev, &c);
}

static bool is_settled(const struct ent *v, size_t n)
{
	size_t i;

	for (i = 1; i < n; i++)
		if (v[i].first < ent_end(&v[i - 1]))
			return false;
	return true;
}

/* What is sorted: 16 bytes in place of the whole entry. */
struct key {
	uint64_t first;
	uint32_t index;
};

struct sweep {
	const struct ent *v;		/* as given */
	const struct key *keys;		/* by first block */
	size_t n;
	size_t next;			/* key to come */
	uint32_t *heap;			/* indices into v, highest order on top */
	size_t n_heap;
	struct entvec out;
};

static bool is_above(const struct sweep *s, uint32_t a, uint32_t b)
{
	return s->v[a].order > s->v[b].order;
}

static void heap_push(struct sweep *s, uint32_t index)
{
	size_t i = s->n_heap++;

	while (i && is_above(s, index, s->heap[(i - 1) / 2])) {
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = index;
}

static void heap_pop(struct sweep *s)
{
	uint32_t last = s->heap[--s->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < s->n_heap) {
		if (child + 1 < s->n_heap &&
		    is_above(s, s->heap[child + 1], s->heap[child]))
			child++;
		if (!is_above(s, s->heap[child], last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
}

static bool goes_on(const struct ent *a, const struct ent *b)
{
	return ent_end(a) == b->first && a->unit_off == b->unit_off &&
	       a->order == b->order && a->skip + a->count == b->skip &&
	       a->unit_sum == b->unit_sum;
}

static int sweep_emit(struct sweep *s, const struct ent *e, uint64_t from,
		      uint64_t to)
{
	struct ent c = clipped(e, from, to);
	struct ent *last = s->out.n ? &s->out.v[s->out.n - 1] : NULL;

	if (last && goes_on(last, &c)) {
		last->count += c.count;
		return 0;
	}
	return entvec_add(&s->out, &c);
}

static int sweep_run(struct sweep *s)
{
	uint64_t pos = 0, to;
	int r;

	while (s->n_heap || s->next < s->n) {
		if (!s->n_heap)
			pos = s->keys[s->next].first;
		while (s->next < s->n && s->keys[s->next].first == pos)
			heap_push(s, s->keys[s->next++].index);
		while (s->n_heap && ent_end(&s->v[s->heap[0]]) <= pos)
			heap_pop(s);
		if (!s->n_heap)
			continue;
		to = ent_end(&s->v[s->heap[0]]);
		if (s->next < s->n)
			to = MIN(to, s->keys[s->next].first);
		r = sweep_emit(s, &s->v[s->heap[0]], pos, to);
		if (r < 0)
			return r;
		pos = to;
	}
	return 0;
}

#define RADIX_BITS 8U
#define RADIX (1U << RADIX_BITS)
#define SHORT_RUN 64U

static void sort_short(struct key *keys, size_t n)
{
	size_t i, k;

	for (i = 1; i < n; i++) {
		struct key x = keys[i];

		for (k = i; k && keys[k - 1].first > x.first; k--)
			keys[k] = keys[k - 1];
		keys[k] = x;
	}
}

static void sort_by_digit(const struct key *in, size_t n, unsigned int shift,
			  struct key *out)
{
	size_t at[RADIX] = { 0 }, sum = 0, i;

	for (i = 0; i < n; i++)
		at[in[i].first >> shift & (RADIX - 1)]++;
	for (i = 0; i < RADIX; i++) {
		size_t count = at[i];

		at[i] = sum;
		sum += count;
	}
	for (i = 0; i < n; i++)
		out[at[in[i].first >> shift & (RADIX - 1)]++] = in[i];
}

/*
 * By first block, digit by digit: ten thousand points make one view, and
 * comparing was half of the time it took to open. tmp has room for n.
 */
static void sort_keys(struct key *keys, size_t n, struct key *tmp)
{
	struct key *in = keys, *out = tmp, *swap;
	uint64_t max = 0;
	unsigned int shift;
	size_t i;

	if (n <= SHORT_RUN) {
		sort_short(keys, n);
		return;
	}
	for (i = 0; i < n; i++)
		max |= keys[i].first;
	for (shift = 0; shift < 64 && max >> shift; shift += RADIX_BITS) {
		sort_by_digit(in, n, shift, out);
		swap = in;
		in = out;
		out = swap;
	}
	if (in != keys)
		memcpy(keys, in, n * sizeof(*keys));
}

/* Two sorted runs [0, mid) and [mid, n) of in become one in out. */
static void merge_keys(const struct key *in, size_t mid, size_t n,
		       struct key *out)
{
	size_t a = 0, b = mid, i;

	for (i = 0; i < n; i++)
		if (b == n || (a < mid && in[a].first <= in[b].first))
			out[i] = in[a++];
		else
			out[i] = in[b++];
}

/* The first n_front entries are settled already and need no sorting. */
static int resolve(struct entvec *ev, size_t n_front)
{
	_cleanup_free_ struct key *keys = NULL, *merged = NULL;
	_cleanup_free_ uint32_t *heap = NULL;
	struct sweep s = { .v = ev->v, .n = ev->n };
	size_t i;
	int r;

	if (is_settled(ev->v, ev->n))
		return 0;
	if (ev->n > UINT32_MAX)
		return -ENOMEM;
	keys = calloc(ev->n, sizeof(*keys));
	merged = calloc(ev->n, sizeof(*merged));
	heap = calloc(ev->n, sizeof(*heap));
	if (!keys || !merged || !heap)
		return -ENOMEM;
	for (i = 0; i < ev->n; i++)
		keys[i] = (struct key){ ev->v[i].first, (uint32_t)i };
	sort_keys(keys + n_front, ev->n - n_front, merged);
	merge_keys(keys, n_front, ev->n, merged);
	s.keys = merged;
	s.heap = heap;
	r = entvec_reserve(&s.out, ev->n);
	if (r == 0)
		r = sweep_run(&s);
	if (r < 0) {
		entvec_free(&s.out);
		return r;
	}
	free(ev->v);
	*ev = s.out;
	return 0;
}

int entvec_resolve(struct entvec *ev)
{
	return resolve(ev, 0);
}

void entlog_free(struct entlog *l)
{
	entvec_free(&l->e);
	l->n_resolved = 0;
}

void entlog_clear(struct entlog *l)
{
	l->e.n = 0;
	l->n_resolved = 0;
}

int entlog_compact(struct entlog *l)
{
	int r;

	if (l->n_resolved == l->e.n)
		return 0;
	r = resolve(&l->e, l->n_resolved);
	if (r == 0)
		l->n_resolved = l->e.n;
	return r;
}

int entlog_add(struct entlog *l, const struct ent *e)
{
	bool in_order;
	size_t tail;
	int r;

	/* Ascending arrivals, as an initial copy is, never need sorting. */
	in_order = l->n_resolved == l->e.n &&
		   (!l->e.n || ent_end(&l->e.v[l->e.n - 1]) <= e->first);
	r = entvec_add(&l->e, e);
	if (r < 0)
		return r;
	if (in_order) {
		l->n_resolved++;
		return 0;
	}
	/* By doubling, so that filling costs little; see entlog_find. */
	tail = l->e.n - l->n_resolved;
	if (tail < LOG_MIN_TAIL || tail < l->n_resolved)
		return 0;
	return entlog_compact(l);
}

/* Index of the first resolved entry that ends after block. */
static size_t lower_bound(const struct entlog *l, uint64_t block)
{
	size_t lo = 0, hi = l->n_resolved;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ent_end(&l->e.v[mid]) <= block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int entlog_find(struct entlog *l, uint64_t first, uint64_t end,
		struct entvec *out)
{
	size_t i, tail = l->e.n - l->n_resolved;
	int r;

	/* The tail is looked through from end to end. */
	if (tail > LOG_MIN_TAIL && tail > l->n_resolved / 8) {
		r = entlog_compact(l);
		if (r < 0)
			return r;
	}
	for (i = lower_bound(l, first);
	     i < l->n_resolved && l->e.v[i].first < end; i++) {
		r = entvec_add_clipped(out, &l->e.v[i], first, end);
		if (r < 0)
			return r;
	}
	for (i = l->n_resolved; i < l->e.n; i++) {
		r = entvec_add_clipped(out, &l->e.v[i], first, end);
		if (r < 0)
			return r;
	}
	return 0;
}

bool entlog_next(const struct entlog *l, uint64_t block, uint64_t *out)
{
	size_t i = lower_bound(l, block);

	if (i == l->n_resolved)
		return false;
	*out = MAX(l->e.v[i].first, block);
	return true;
}
