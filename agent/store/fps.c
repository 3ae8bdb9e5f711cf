// SPDX-License-Identifier: Apache-2.0
/*
 * Fingerprints of what the store holds, for a source that compares: the open
 * point over the newest committed one.
 *
 * An index of the newest view is made at the first question and then kept up
 * with every part that is written, so that a question costs what it asks for,
 * however many points there are. A volume that is never asked has none.
 *
 * Whatever cannot be read is unknown: the source then ships it again, which is
 * right, and heals. Called with the volume's lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/lineage.h"
#include "store/writer.h"
#include "wire/seal.h"

void index_follow(struct volume *v, const struct part_ref *ref,
		  const struct stage *stage)
{
	if (!v->newest_index)
		return;
	if (index_add_ents(v->newest_index, ref, volume_next_ord(v),
			   &stage->log.e) < 0)
		volume_drop_index(v);
}

static int add_committed(struct volume *v, struct index *ix, struct err *err)
{
	_cleanup_free_ struct cat_part *parts = NULL;
	struct cat_parts all;
	struct lineage l;
	size_t i;
	int r;

	if (!v->has_point)
		return 0;
	r = lineage_of(v->store->catalog, v->row.id, &v->newest, &l, err);
	if (r < 0)
		return r;
	r = lineage_parts(v, &l, &all, err);
	free(l.steps);
	if (r < 0)
		return r;
	parts = all.v;
	for (i = 0; r == 0 && i < all.n; i++)
		r = index_add(ix, &all.v[i].ref, all.v[i].ord);
	return r;
}

static int fill_index(struct volume *v, struct index *ix, struct err *err)
{
	uint32_t i;
	int r = add_committed(v, ix, err);

	for (i = 0; r == 0 && i < v->op.n_parts; i++)
		r = index_add(ix, &v->op.parts[i], volume_next_ord(v));
	return r == 0 ? index_settle(ix) : r;
}

static int need_index(struct volume *v, struct err *err)
{
	struct store *s = v->store;
	int r;

	if (v->newest_index)
		return 0;
	r = segreader_init(&v->reader, s->cfg.io, s->volumes_fd, &s->uuid,
			   &v->row.uuid, err);
	if (r < 0)
		return r;
	v->newest_index = calloc(1, sizeof(*v->newest_index));
	r = v->newest_index ? index_init(v->newest_index, &v->reader) :
			      -ENOMEM;
	if (r == 0)
		r = fill_index(v, v->newest_index, err);
	if (r < 0)
		volume_drop_index(v);
	return r;
}

/* Entries of a stage are newer than all parts: order goes on after theirs. */
static int add_stage(struct stage *stage, uint64_t first, uint64_t end,
		     uint32_t order, struct entvec *out)
{
	struct entvec some = { 0 };
	size_t i;
	int r;

	r = entlog_find(&stage->log, first, end, &some);
	if (r == 0)
		r = entvec_resolve(&some);
	for (i = 0; r == 0 && i < some.n; i++) {
		some.v[i].order = order;
		r = entvec_add(out, &some.v[i]);
	}
	entvec_free(&some);
	return r;
}

static int find(struct volume *v, uint64_t first, uint64_t end,
		struct entvec *out)
{
	struct open_point *op = &v->op;
	uint32_t order = (uint32_t)v->newest_index->n_parts;
	size_t i;
	int r;

	r = index_find(v->newest_index, first, end, out);
	for (i = 0; r == 0 && i < op->n_tails; i++)
		r = add_stage(&op->tails[i], first, end, order + (uint32_t)i,
			      out);
	if (r == 0)
		r = add_stage(&op->cur, first, end,
			      order + (uint32_t)op->n_tails, out);
	return r == 0 ? entvec_resolve(out) : r;
}

static const struct uuid *segment_of(const struct volume *v,
				     const struct ent *e)
{
	size_t n = v->newest_index->n_parts, i = e->order - n;

	if (e->order < n)
		return &v->newest_index->parts[e->order].ref.data_segment;
	return i < v->op.n_tails ? &v->op.tails[i].segment :
				   &v->op.cur.segment;
}

/* out has e->count elements. */
static int read_fps(struct volume *v, const struct ent *e, struct buf *unit,
		    struct fp *out)
{
	struct unit_view u;
	uint32_t i;
	int r;

	for (i = 0; i < e->count; i++)
		out[i] = e->codec == UNIT_ZERO ? fp_zero_block : fp_unknown;
	if (e->codec == ENT_UNREADABLE)
		return 0;
	r = segreader_unit(&v->reader, segment_of(v, e), e, UINT32_MAX, unit,
			   NULL);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || unit_parse(unit->data, unit->len, &u) < 0) {
		for (i = 0; i < e->count; i++)
			out[i] = fp_unknown;
		return 0;
	}
	if (u.fps)
		memcpy(out, u.fps + (size_t)e->skip * UNIT_FP_BYTES,
		       (size_t)e->count * UNIT_FP_BYTES);
	return 0;
}

static int answer(struct volume *v, uint64_t first, uint32_t count,
		  struct fp *out)
{
	_cleanup_(entvec_free) struct entvec ents = { 0 };
	_cleanup_buf_ struct buf unit = { 0 };
	size_t i;
	int r;

	for (i = 0; i < count; i++)
		out[i] = fp_unknown;
	r = find(v, first, first + count, &ents);
	for (i = 0; r == 0 && i < ents.n; i++)
		r = read_fps(v, &ents.v[i], &unit,
			     out + (ents.v[i].first - first));
	return r;
}

int store_writer_fps(struct store_writer *w, uint64_t first, uint32_t count,
		     struct fp *out, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct volume *v = w->v;
	char object[VOLUME_OBJECT_BYTES];
	int r = writer_check(w, err);

	if (r < 0)
		return r;
	volume_object(v, object);
	if (count > INDEX_MAX_BLOCKS || !range_inside(first, count,
						      US_MAX_BLOCKS))
		return err_set(err, -EINVAL, "bad-range", object,
			       "look up fingerprints: block=%llu count=%u",
			       (unsigned long long)first, count);
	/* Without a directory there is nothing, and nothing to open. */
	if (v->dirfd < 0) {
		memset(out, 0, count * sizeof(*out));
		return 0;
	}
	r = need_index(v, err);
	if (r == 0)
		r = answer(v, first, count, out);
	return r < 0 ? err_sys(err, r, "cannot-read", object,
			       "look up fingerprints") : 0;
}
