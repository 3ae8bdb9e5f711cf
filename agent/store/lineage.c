// SPDX-License-Identifier: Apache-2.0
/*
 * Which points lie in the history of a point. Epochs form a tree: each names
 * the point from which it went on. Ordinals count commits at this store, and
 * an epoch's points follow each other without others between them, since with
 * a higher epoch known the lower ones are refused.
 *
 * Any thread; locks for a moment only.
 */
#include "store/lineage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/catalog_sql.h"

/* Epochs only ever go down along a line, so this ends; the cap is for memory
 * when somebody promotes in a loop. */
#define MAX_STEPS 65536U

static int add_step(struct lineage *l, const struct lineage_step *step)
{
	void *p;

	if (l->n == MAX_STEPS)
		return -E2BIG;
	if (!(l->n & (l->n - 1))) {
		p = realloc(l->steps, (l->n ? 2 * l->n : 1) * sizeof(*step));
		if (!p)
			return -ENOMEM;
		l->steps = p;
	}
	l->steps[l->n++] = *step;
	return 0;
}

static int broken(struct catalog *c, const char *what, struct err *err)
{
	return catalog_is_damaged(c, what, err);
}

/* p's stretch; then *p is the point from which its epoch went on: 0, or 1. */
static int climb(struct catalog *c, int64_t volume, struct cat_point *p,
		 struct lineage *l, struct err *err)
{
	struct lineage_step step = {
		.epoch = p->info.meta.epoch,
		.max_seq = p->info.meta.seq,
		.first_ord = p->ord,
		.last_ord = p->ord,
	};
	struct cat_point first;
	struct cat_epoch e;
	int r;

	r = catalog_point_first(c, volume, step.epoch, &first, err);
	if (r < 0)
		return r;
	if (r == 0 && first.ord < step.first_ord)
		step.first_ord = first.ord;
	r = add_step(l, &step);
	if (r < 0)
		return r;
	r = catalog_epoch_get(c, volume, step.epoch, &e, err);
	/* Only the volume's first epoch has no row. */
	if (r == 1)
		return step.first_ord == 1 ? 1 : broken(c, "epochs: a row is "
							"missing", err);
	if (r < 0)
		return r;
	if (!e.parent_epoch)
		return 1;
	r = e.parent_epoch < step.epoch ?
		    catalog_point_find(c, volume, e.parent_epoch,
				       e.parent_seq, p, err) : 1;
	if (r < 0)
		return r;
	if (r == 1 || memcmp(&p->info.head, &e.parent_head, HEAD_BYTES) ||
	    p->ord >= step.first_ord)
		return broken(c, "the point from which an epoch went on is "
			      "not there", err);
	return 0;
}

int lineage_of(struct catalog *c, int64_t volume, const struct cat_point *p,
	       struct lineage *out, struct err *err)
{
	struct cat_point at = *p;
	int r;

	*out = (struct lineage){ 0 };
	do {
		r = climb(c, volume, &at, out, err);
	} while (r == 0);
	if (r < 0)
		free(TAKE_PTR(out->steps));
	return r < 0 ? r : 0;
}

int volume_newest(struct volume *v, struct cat_point *out)
{
	LOCK_SCOPE(&v->lock);

	if (!v->has_point)
		return 1;
	*out = v->newest;
	return 0;
}

static bool is_point(const struct cat_point *p, uint64_t epoch, uint64_t seq)
{
	return p->info.meta.seq == seq && (!epoch ||
					   p->info.meta.epoch == epoch);
}

int volume_find_point(struct volume *v, uint64_t epoch, uint64_t seq,
		      struct cat_point *out, struct err *err)
{
	struct catalog *c = v->store->catalog;
	struct lineage l;
	size_t i;
	int r;

	r = volume_newest(v, out);
	if (r || is_point(out, epoch, seq))
		return r;
	if (epoch)
		return catalog_point_find(c, v->row.id, epoch, seq, out, err);
	r = lineage_of(c, v->row.id, out, &l, err);
	if (r < 0)
		return r;
	r = 1;
	for (i = 0; r == 1 && i < l.n; i++)
		if (seq <= l.steps[i].max_seq)
			r = catalog_point_find(c, v->row.id, l.steps[i].epoch,
					       seq, out, err);
	free(l.steps);
	return r;
}

static int append(struct cat_parts *to, const struct cat_part *parts, size_t n)
{
	void *p;

	if (!n)
		return 0;
	p = realloc(to->v, (to->n + n) * sizeof(*to->v));
	if (!p)
		return -ENOMEM;
	to->v = p;
	memcpy(to->v + to->n, parts, n * sizeof(*parts));
	to->n += n;
	return 0;
}

/* Parts of the newest point that the catalog has not got. */
static int append_unlisted(struct volume *v, uint64_t last_ord,
			   struct cat_parts *out)
{
	struct cat_part part = { .ord = v->newest.ord };
	uint32_t i;
	int r = 0;

	if (!v->unlisted.set || last_ord != v->newest.ord)
		return 0;
	for (i = v->unlisted.from_part; r == 0 && i < v->unlisted.n_parts;
	     i++) {
		part.ref = v->unlisted.parts[i];
		part.n = i;
		r = append(out, &part, 1);
	}
	return r;
}

/*
 * A row that is not there must not be missed: what an older point has would be
 * shown in its place. Points of a stretch have every ordinal, each follows the
 * head of the one before it, and each has all of its parts.
 */
struct step_check {
	const struct lineage_step *step;
	const struct cat_part *parts;
	size_t n_parts, at;
	uint64_t ord, seq;		/* of the last point looked at */
	struct head head;
	bool ok;
};

static int check_point(void *arg, const struct cat_point *p)
{
	struct step_check *sc = arg;
	static const struct head none;
	uint32_t n;

	if (p->ord < sc->step->first_ord) {
		sc->ok = p->info.meta.epoch != sc->step->epoch;
	} else {
		sc->ok = p->ord == sc->ord + 1 && p->info.meta.seq > sc->seq &&
			 p->info.meta.epoch == sc->step->epoch &&
			 !memcmp(&p->info.prev_head,
				 p->ord == 1 ? &none : &sc->head, HEAD_BYTES);
		sc->seq = p->info.meta.seq;
		for (n = 0; sc->ok && n < p->n_parts; n++, sc->at++)
			sc->ok = sc->at < sc->n_parts &&
				 sc->parts[sc->at].ord == p->ord &&
				 sc->parts[sc->at].n == n;
	}
	sc->ord = p->ord;
	sc->head = p->info.head;
	return sc->ok ? 0 : 1;
}

/* parts are those of the step, from the catalog and from memory. */
static int check_step(struct volume *v, const struct lineage_step *step,
		      const struct cat_part *parts, size_t n_parts,
		      struct err *err)
{
	struct step_check sc = { step, parts, n_parts, 0, 0, 0, { { 0 } },
				 true };
	int r;

	r = catalog_points_range(v->store->catalog, v->row.id,
				 step->first_ord > 1 ? step->first_ord - 1 : 1,
				 step->last_ord, check_point, &sc, err);
	if (r == 0 && v->unlisted.set && step->last_ord == v->newest.ord)
		r = check_point(&sc, &v->newest);
	if (r < 0)
		return r;
	if (r || sc.ord != step->last_ord || sc.at != n_parts)
		return broken(v->store->catalog, "rows of points or parts are "
			      "missing", err);
	return 0;
}

int lineage_parts(struct volume *v, const struct lineage *l,
		  struct cat_parts *out, struct err *err)
{
	struct cat_parts some;
	size_t i;
	int r = 0;

	*out = (struct cat_parts){ 0 };
	for (i = l->n; r == 0 && i > 0; i--) {
		const struct lineage_step *step = &l->steps[i - 1];
		size_t before = out->n;

		r = catalog_parts(v->store->catalog, v->row.id,
				  step->first_ord, step->last_ord, &some, err);
		if (r < 0)
			break;
		if (!out->n) {
			free(out->v);
			*out = some;
		} else {
			r = append(out, some.v, some.n);
			free(some.v);
		}
		if (r == 0)
			r = append_unlisted(v, step->last_ord, out);
		if (r == 0)
			/* Points without parts: there may be no array. */
			r = check_step(v, step,
				       out->v ? out->v + before : NULL,
				       out->n - before, err);
	}
	if (r < 0)
		free(TAKE_PTR(out->v));
	return r;
}

int volume_lineage_parts(struct volume *v, const struct lineage *l,
			 struct cat_parts *out, struct err *err)
{
	LOCK_SCOPE(&v->lock);

	return lineage_parts(v, l, out, err);
}
