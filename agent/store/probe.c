// SPDX-License-Identifier: Apache-2.0
/*
 * Reading what is listed of a segment, item by item, with the very calls that
 * a view uses: what fails here fails there, and nothing else is called damage.
 *
 * Neighbours are joined, so that a lost segment is some extents and not one
 * for each unit; what joins them are blocks that follow each other in one
 * part. Past FOUND_PER_PART extents in one part all between the first and the
 * last counts as one: points may then be called damaged that are not.
 *
 * Any thread; no lock is held over reading.
 */
#include "store/probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "wire/seal.h"

#define FOUND_PER_PART 256U

int probe_open(struct probe *p, struct volume *v, const struct uuid *segment,
	       uint64_t max_ord, struct err *err)
{
	struct store *s = v->store;
	int r;

	*p = (struct probe){ .v = v, .segment = *segment,
			     .max_ord = max_ord };
	r = segreader_init(&p->reader, s->cfg.io, s->volumes_fd, &s->uuid,
			   &v->row.uuid, err);
	if (r == 0)
		r = catalog_segment_points(s->catalog, v->row.id, segment,
					   &p->points, err);
	if (r == 0)
		r = catalog_segment_parts(s->catalog, v->row.id, segment,
					  &p->parts, err);
	if (r < 0)
		probe_close(p);
	return r;
}

void probe_close(struct probe *p)
{
	segreader_close(&p->reader);
	free(TAKE_PTR(p->points.v));
	free(TAKE_PTR(p->parts.v));
	free(TAKE_PTR(p->found));
	buf_free(&p->scratch);
	entvec_free(&p->ents);
	p->points.n = p->parts.n = p->n_found = p->cap_found = 0;
}

void probe_reset(struct probe *p)
{
	p->n_found = 0;
}

static int add_found(struct probe *p, const struct damage *d)
{
	void *grown;
	size_t cap;

	if (p->n_found == p->cap_found) {
		cap = p->cap_found ? 2 * p->cap_found : 8;
		grown = realloc(p->found, cap * sizeof(*p->found));
		if (!grown)
			return -ENOMEM;
		p->found = grown;
		p->cap_found = cap;
	}
	p->found[p->n_found] = *d;
	p->found[p->n_found++].found_wall_ns =
		clock_wall_ns(p->v->store->cfg.clock);
	return 0;
}

/* ---- footers ---- */

static int look_at_point(struct probe *p, const struct cat_point *pt)
{
	const struct damage d = {
		.kind = DAMAGE_POINT,
		.segment = p->segment,
		.off = pt->off,
		.bytes = pt->bytes,
		.ord = pt->ord,
	};
	int r = point_check_footer(&p->reader, pt, &p->scratch, NULL);

	return r == 0 || r == -ENOMEM ? r : add_found(p, &d);
}

static int look_at_part(struct probe *p, const struct cat_part *pt)
{
	const struct damage d = {
		.kind = DAMAGE_PART,
		.segment = p->segment,
		.off = pt->ref.off,
		.bytes = pt->ref.bytes,
		.ord = pt->ord,
		.part = pt->n,
		.first = pt->ref.lo,
		.count = pt->ref.hi - pt->ref.lo,
	};
	struct part_tables t;
	int r;

	p->ents.n = 0;
	r = segreader_part(&p->reader, &pt->ref, &p->scratch, &t, &p->ents, 0,
			   NULL);
	if (r == 0)
		part_tables_free(&t);
	return r == 0 || r == -ENOMEM ? r : add_found(p, &d);
}

int probe_footers(struct probe *p, uint64_t from)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < p->points.n; i++) {
		const struct cat_point *pt = &p->points.v[i];

		if (pt->ord <= p->max_ord && pt->off + pt->bytes > from)
			r = look_at_point(p, pt);
	}
	for (i = 0; r == 0 && i < p->parts.n; i++) {
		const struct cat_part *pt = &p->parts.v[i];

		if (pt->ord <= p->max_ord &&
		    uuid_equal(&pt->ref.segment, &p->segment) &&
		    pt->ref.off + pt->ref.bytes > from)
			r = look_at_part(p, pt);
	}
	return r;
}

/* ---- units ---- */

/* Goes on the last one, or on all of the part's when there are too many. */
static bool join(struct probe *p, size_t before, const struct damage *d)
{
	struct damage *last;

	if (p->n_found == before)
		return false;
	last = &p->found[p->n_found - 1];
	if (last->first + last->count != d->first &&
	    p->n_found - before < FOUND_PER_PART)
		return false;
	last->count = d->first + d->count - last->first;
	last->bytes = MAX(last->off + last->bytes, d->off + d->bytes) -
		      MIN(last->off, d->off);
	last->off = MIN(last->off, d->off);
	return true;
}

/*
 * The seal of the unit in p->scratch. 0; -EBADMSG; a key that does not fit
 * says nothing about the unit, and is remembered.
 */
static int look_at_seal(struct probe *p, const struct delta *d)
{
	struct unit_view u;
	int r = opener_open(p->opener, d, p->scratch.data, p->scratch.len, &u,
			    p->plain, UNIT_MAX_PLAIN_BYTES);

	if (r != -ENOKEY)
		return r;
	p->misfits++;
	p->lacks = opener_lacks(p->opener);
	return 0;
}

/* Entries of a part are sorted by block. */
static int look_at_entry(struct probe *p, const struct cat_part *pt,
			 const struct ent *e, const struct seg_delta *delta)
{
	struct damage d = {
		.kind = DAMAGE_UNIT,
		.segment = p->segment,
		.off = e->unit_off,
		.bytes = e->unit_bytes,
		.ord = pt->ord,
		.part = pt->n,
		.first = e->first,
		.count = e->count,
	};
	int r = segreader_unit(&p->reader, &p->segment, e, delta->index,
			       &p->scratch, NULL);

	p->n_units++;
	if (r == 0 && p->opener) {
		r = look_at_seal(p, &delta->delta);
		if (r < 0 && r != -EBADMSG)
			return r;	/* a failure of ours */
		d.seal = r < 0;
	}
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		r = add_found(p, &d);
	return r == 0 && p->tick ? p->tick(p->arg, e->unit_bytes) : r;
}

/* Joins the newest found, which look_at_entry has added, to those before. */
static void join_newest(struct probe *p, size_t before)
{
	struct damage d = p->found[p->n_found - 1];

	p->n_found--;
	if (!join(p, before, &d))
		p->n_found++;
}

static int look_at_units(struct probe *p, const struct cat_part *pt,
			 uint64_t from, uint64_t to)
{
	size_t i, before = p->n_found, n;
	struct part_tables t;
	int r;

	p->ents.n = 0;
	r = segreader_part(&p->reader, &pt->ref, &p->scratch, &t, &p->ents, 0,
			   NULL);
	/* A part that cannot be read is told of as that. */
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (i = 0; r == 0 && i < p->ents.n; i++) {
		const struct ent *e = &p->ents.v[i];

		if (e->unit_off >= to || e->unit_off + e->unit_bytes <= from)
			continue;
		n = p->n_found;
		r = look_at_entry(p, pt, e, &t.deltas[e->delta]);
		if (r == 0 && p->n_found > n)
			join_newest(p, before);
	}
	part_tables_free(&t);
	return r;
}

int probe_units(struct probe *p, uint64_t from, uint64_t to)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < p->parts.n; i++) {
		const struct cat_part *pt = &p->parts.v[i];

		if (pt->ord <= p->max_ord &&
		    uuid_equal(&pt->ref.data_segment, &p->segment))
			r = look_at_units(p, pt, from, to);
	}
	return r;
}

int probe_lost(struct volume *v, const struct uuid *segment, uint64_t size,
	       struct err *err)
{
	struct probe p;
	int r;

	r = probe_open(&p, v, segment, UINT64_MAX, err);
	if (r == 0)
		r = probe_footers(&p, size);
	if (r == 0)
		r = probe_units(&p, size, UINT64_MAX);
	if (r == 0 && p.n_found)
		r = damage_add_locked(v, p.found, p.n_found, err);
	probe_close(&p);
	return r;
}
