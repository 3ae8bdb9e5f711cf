// SPDX-License-Identifier: Apache-2.0
/*
 * What is known of damage, and whom it concerns.
 *
 * The points of a volume follow each other in one line (an epoch goes on from
 * the newest point), so that the points an extent concerns are a run of
 * ordinals: from the one that brought it to the one before the first by which
 * all its blocks were stored anew. The run is found by going through the later
 * points' parts and taking their entries off what is left of the extent. A
 * later part that cannot be read takes nothing off.
 *
 * v->lock covers v->damages. Finding the end of a run for new damage happens
 * without it; what was committed meanwhile is looked at with it held.
 */
#include "store/damage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "store/segread.h"
#include "store/storevol.h"

static void known_free(struct known_damage *k)
{
	free(TAKE_PTR(k->left));
	k->n_left = 0;
}

void damages_free(struct damages *ds)
{
	size_t i;

	for (i = 0; i < ds->n; i++)
		known_free(&ds->v[i]);
	free(ds->v);
	memset(ds, 0, sizeof(*ds));
}

static bool concerns(const struct damage *d, uint64_t ord)
{
	return ord >= d->ord && (!d->end_ord || ord < d->end_ord);
}

bool damages_concern(const struct damages *ds, uint64_t ord)
{
	size_t i;

	for (i = 0; i < ds->n; i++)
		if (concerns(&ds->v[i].d, ord))
			return true;
	return false;
}

/* ---- what is left of an extent ---- */

static int known_init(struct known_damage *k, const struct damage *d)
{
	*k = (struct known_damage){ .d = *d, .met = true };
	if (d->kind == DAMAGE_POINT) {
		k->d.end_ord = d->ord + 1;
		return 0;
	}
	k->d.end_ord = 0;
	k->left = malloc(sizeof(*k->left));
	if (!k->left)
		return -ENOMEM;
	k->left[0] = (struct block_range){ d->first, d->first + d->count };
	k->n_left = 1;
	return 0;
}

/* [first, end) was stored anew by point ord. 0 or -ENOMEM. */
static int take_off(struct known_damage *k, uint64_t first, uint64_t end,
		    uint64_t ord)
{
	struct block_range rest;
	size_t i;
	void *p;

	for (i = 0; i < k->n_left; i++) {
		struct block_range *r = &k->left[i];

		if (r->end <= first || r->first >= end)
			continue;
		rest = (struct block_range){ end, r->end };
		if (r->first < first && rest.first < rest.end) {
			p = realloc(k->left, (k->n_left + 1) * sizeof(*r));
			if (!p)
				return -ENOMEM;
			k->left = p;
			k->left[i].end = first;
			k->left[k->n_left++] = rest;
		} else if (r->first < first) {
			r->end = first;
		} else if (rest.first < rest.end) {
			*r = rest;
		} else {
			*r = k->left[--k->n_left];
			i--;
		}
	}
	if (!k->n_left && !k->d.end_ord)
		k->d.end_ord = ord;
	return 0;
}

/* ---- going through later points ---- */

struct follow {
	struct volume *v;
	struct known_damage *list;
	size_t n;
	struct segreader reader;
	struct buf scratch;
	struct entvec ents;
};

static bool may_take(const struct known_damage *k, const struct cat_part *p)
{
	size_t i;

	if (k->d.end_ord || p->ord < k->d.ord ||
	    (p->ord == k->d.ord && p->n <= k->d.part))
		return false;
	for (i = 0; i < k->n_left; i++)
		if (k->left[i].first < p->ref.hi && k->left[i].end > p->ref.lo)
			return true;
	return false;
}

static int take_part(struct follow *f, const struct cat_part *p)
{
	struct part_tables t;
	size_t i, k;
	int r = 0;

	for (i = 0; i < f->n && !may_take(&f->list[i], p); i++)
		;
	if (i == f->n)
		return 0;
	f->ents.n = 0;
	r = segreader_part(&f->reader, &p->ref, &f->scratch, &t, &f->ents, 0,
			   NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	part_tables_free(&t);
	for (; r == 0 && i < f->n; i++) {
		if (!may_take(&f->list[i], p))
			continue;
		for (k = 0; r == 0 && k < f->ents.n; k++)
			r = take_off(&f->list[i], f->ents.v[k].first,
				     ent_end(&f->ents.v[k]), p->ord);
	}
	return r;
}

/* Points [from, to], as far as the catalog has them. */
static int go_through(struct follow *f, uint64_t from, uint64_t to)
{
	struct volume *v = f->v;
	struct store *s = v->store;
	struct cat_parts all;
	size_t i;
	int r;

	if (from > to)
		return 0;
	r = catalog_parts(s->catalog, v->row.id, from, to, &all, NULL);
	if (r < 0)
		return r;
	r = segreader_init(&f->reader, s->cfg.io, s->volumes_fd, &s->uuid,
			   &v->row.uuid, NULL);
	for (i = 0; r == 0 && i < all.n; i++)
		r = take_part(f, &all.v[i]);
	segreader_close(&f->reader);
	buf_free(&f->scratch);
	entvec_free(&f->ents);
	free(all.v);
	return r;
}

/* The newest point whose parts the catalog has. */
static uint64_t newest_listed(const struct volume *v)
{
	return v->has_point ? v->newest.ord - v->unlisted.set : 0;
}

static uint64_t oldest_open(const struct known_damage *list, size_t n)
{
	uint64_t ord = UINT64_MAX;
	size_t i;

	for (i = 0; i < n; i++)
		if (!list[i].d.end_ord)
			ord = MIN(ord, list[i].d.ord);
	return ord;
}

static int write_row(struct volume *v, const struct damage *d, struct err *err)
{
	return v->store->cfg.read_only ? 0 :
		       catalog_damage_put(v->store->catalog, &v->row.uuid, d, 1,
					  err);
}

void damage_follow(struct volume *v)
{
	struct damages *ds = &v->damages;
	struct follow f = { .v = v, .list = ds->v, .n = ds->n };
	uint64_t to = newest_listed(v);
	size_t i;
	int r;

	if (oldest_open(ds->v, ds->n) > to || ds->followed_ord >= to)
		return;
	r = go_through(&f, ds->followed_ord + 1, to);
	if (r < 0)
		return;			/* again with the next point */
	for (i = 0; i < ds->n; i++)
		if (ds->v[i].d.end_ord > ds->followed_ord)
			(void)write_row(v, &ds->v[i].d, NULL);
	ds->followed_ord = to;
}

/* ---- new ones ---- */

static bool same_place(const struct damage *a, const struct damage *b)
{
	return uuid_equal(&a->segment, &b->segment) && a->kind == b->kind &&
	       a->off == b->off && a->first == b->first && a->ord == b->ord &&
	       a->part == b->part;
}

/* Takes what k holds. */
static int keep(struct volume *v, struct known_damage *k)
{
	struct damages *ds = &v->damages;
	size_t i;
	void *p;

	for (i = 0; i < ds->n; i++)
		if (same_place(&ds->v[i].d, &k->d))
			break;
	if (i == ds->n) {
		p = realloc(ds->v, (ds->n + 1) * sizeof(*ds->v));
		if (!p)
			return -ENOMEM;
		ds->v = p;
		ds->v[ds->n++] = (struct known_damage){ 0 };
	} else if (ds->v[i].met) {
		/* Without the key and with it: the former is the worse. */
		k->d.seal &= ds->v[i].d.seal;
	}
	known_free(&ds->v[i]);
	ds->v[i] = *k;
	*k = (struct known_damage){ 0 };
	return 0;
}

static int keep_all(struct volume *v, struct follow *f, struct damage *d,
		    uint64_t followed, struct err *err)
{
	uint64_t to = newest_listed(v);
	size_t i;
	int r = 0;

	if (to > followed)
		r = go_through(f, followed + 1, to);
	/* Those that are known go on from the same place. */
	damage_follow(v);
	if (v->damages.followed_ord < to)
		v->damages.followed_ord = to;
	for (i = 0; r == 0 && i < f->n; i++) {
		d[i].end_ord = f->list[i].d.end_ord;
		if (d[i].end_ord == d[i].ord)
			continue;
		r = write_row(v, &f->list[i].d, err);
		if (r == 0)
			r = keep(v, &f->list[i]);
	}
	return r;
}

static int add(struct volume *v, struct damage *d, size_t n, bool is_locked,
	       struct err *err)
{
	struct follow f = { .v = v };
	uint64_t to;
	size_t i;
	int r = 0;

	f.list = calloc(n + 1, sizeof(*f.list));
	if (!f.list)
		return -ENOMEM;
	for (i = 0; r == 0 && i < n; i++, f.n++)
		r = known_init(&f.list[i], &d[i]);
	if (!is_locked)
		pthread_mutex_lock(&v->lock);
	to = newest_listed(v);
	if (!is_locked)
		pthread_mutex_unlock(&v->lock);
	if (r == 0)
		r = go_through(&f, oldest_open(f.list, f.n), to);
	if (!is_locked)
		pthread_mutex_lock(&v->lock);
	if (r == 0)
		r = keep_all(v, &f, d, to, err);
	if (!is_locked)
		pthread_mutex_unlock(&v->lock);
	for (i = 0; i < f.n; i++)
		known_free(&f.list[i]);
	free(f.list);
	return r;
}

int damage_add(struct volume *v, struct damage *d, size_t n, struct err *err)
{
	return add(v, d, n, false, err);
}

int damage_add_locked(struct volume *v, struct damage *d, size_t n,
		      struct err *err)
{
	return add(v, d, n, true, err);
}

/* ---- from one life to the next, from one walk to the next ---- */

static int load(struct volume *v, struct damage *all, size_t n)
{
	struct damages *ds = &v->damages;
	struct follow f = { .v = v };
	uint64_t to = newest_listed(v);
	size_t i;

	ds->v = calloc(n + 1, sizeof(*ds->v));
	if (!ds->v)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		uint64_t end_ord = all[i].end_ord;

		if (known_init(&ds->v[i], &all[i]) < 0)
			return -ENOMEM;
		ds->n++;
		ds->v[i].met = false;
		if (end_ord)
			ds->v[i].d.end_ord = end_ord;
	}
	f.list = ds->v;
	f.n = ds->n;
	ds->followed_ord = to;
	return go_through(&f, oldest_open(f.list, f.n), to);
}

void damage_load(struct volume *v)
{
	_cleanup_free_ struct damage *all = NULL;
	char object[VOLUME_OBJECT_BYTES];
	struct err why = ERR_INIT;
	size_t n = 0;
	int r;

	volume_object(v, object);
	r = catalog_damages(v->store->catalog, &v->row.uuid, &all, &n, &why);
	if (r == 0 && n)
		r = load(v, all, n);
	if (r < 0) {
		err_sys(&why, r, "catalog-damaged", object,
			"look up what damage is known");
		err_remedy(&why, "understudyctl scrub finds it again");
		log_failure(LOG_LEVEL_ERR, &why);
	}
}

void damage_walk_begins(struct volume *v)
{
	LOCK_SCOPE(&v->lock);
	size_t i;

	for (i = 0; i < v->damages.n; i++)
		v->damages.v[i].met = false;
}

int damage_walk_ended(struct volume *v, bool with_key, struct err *err)
{
	LOCK_SCOPE(&v->lock);
	struct damages *ds = &v->damages;
	size_t i, kept = 0;
	int r = 0;

	for (i = 0; i < ds->n; i++) {
		struct known_damage *k = &ds->v[i];
		bool gone = r == 0 && !k->met && (with_key || !k->d.seal);

		if (gone && !v->store->cfg.read_only)
			r = catalog_damage_drop(v->store->catalog,
						&v->row.uuid, &k->d, err);
		if (gone && r == 0)
			known_free(k);
		else
			ds->v[kept++] = *k;
	}
	ds->n = kept;
	return r;
}
