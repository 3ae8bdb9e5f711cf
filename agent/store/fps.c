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

/* Its entries name deltas by how the segment's units do: there are no tables
 * beside them, see delta_index(). */
static int follow(struct volume *v, const struct part_ref *ref,
		  const struct stage *stage)
{
	_cleanup_(entvec_free) struct entvec ents = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < stage->log.e.n; i++) {
		struct ent e = stage->log.e.v[i];

		e.delta = stage->deltas[e.delta].index;
		r = entvec_add(&ents, &e);
	}
	return r < 0 ? r : index_add_ents(v->newest_index, ref,
					  volume_next_ord(v), &ents);
}

void index_follow(struct volume *v, const struct part_ref *ref,
		  const struct stage *stage)
{
	if (v->newest_index && follow(v, ref, stage) < 0)
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

/* Of the open point, not of a committed one? */
static bool is_staged(const struct volume *v, const struct ent *e)
{
	const struct index *ix = v->newest_index;

	return e->order >= ix->n_parts ||
	       ix->parts[e->order].ord >= volume_next_ord(v);
}

/* How the unit of a committed entry must name its delta. */
static uint32_t delta_index(const struct volume *v, const struct ent *e)
{
	const struct part_tables *t =
		&v->newest_index->parts[e->order].tables;

	return t->deltas ? t->deltas[e->delta].index : e->delta;
}

static void say_all(struct store_held *out, uint32_t n,
		    enum store_held_kind kind, const struct fp *fp)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		out[i] = (struct store_held){ kind, *fp };
}

/* No fault of what is stored. */
static bool is_our_trouble(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

/*
 * The stored unit of an entry, read back, its delta being named so (UINT32_MAX:
 * whichever way); out has e->count elements.
 */
static int read_held(struct volume *v, const struct ent *e, uint32_t delta,
		     struct buf *unit, struct store_held *out)
{
	struct unit_view u;
	uint32_t i;
	int r;

	say_all(out, e->count, STORE_HELD_DAMAGED, &fp_unknown);
	if (e->codec == ENT_UNREADABLE)
		return 0;
	r = segreader_unit(&v->reader, segment_of(v, e), e, delta, unit, NULL);
	if (is_our_trouble(r))
		return r;
	if (r < 0 || unit_parse(unit->data, unit->len, &u) < 0)
		return 0;
	say_all(out, e->count, STORE_HELD_SOUND, &fp_zero_block);
	for (i = 0; u.fps && i < e->count; i++)
		memcpy(out[i].fp.b,
		       u.fps + (size_t)(e->skip + i) * UNIT_FP_BYTES,
		       UNIT_FP_BYTES);
	return 0;
}

/* The open point over the newest one. */
static int read_open(struct volume *v, const struct ent *e, struct buf *unit,
		     struct store_held *out)
{
	/* What a restore reads is read here, or a resync would not heal it. */
	if (e->codec != ENT_UNREADABLE && e->order < v->newest_index->n_parts)
		return read_held(v, e, delta_index(v, e), unit, out);
	if (e->codec != UNIT_ZERO)
		return read_held(v, e, UINT32_MAX, unit, out);
	say_all(out, e->count, STORE_HELD_SOUND, &fp_zero_block);
	return 0;
}

/* Without its footer a point cannot be opened, whatever else is sound. */
static int check_newest(struct volume *v, struct buf *scratch)
{
	return v->has_point ? point_check_footer(&v->reader, &v->newest,
						 scratch, NULL) : 0;
}

/* The newest point alone. */
static int read_committed(struct volume *v, const struct ent *e,
			  struct buf *unit, struct store_held *out)
{
	if (e->codec == ENT_UNREADABLE && !is_staged(v, e))
		return read_held(v, e, UINT32_MAX, unit, out);
	if (!is_staged(v, e))
		return read_held(v, e, delta_index(v, e), unit, out);
	say_all(out, e->count, STORE_HELD_STAGED, &fp_unknown);
	return 0;
}

typedef int (*held_reader)(struct volume *v, const struct ent *e,
			   struct buf *unit, struct store_held *out);

static int answer(struct volume *v, held_reader read, uint64_t first,
		  uint32_t count, struct store_held *out)
{
	_cleanup_(entvec_free) struct entvec ents = { 0 };
	_cleanup_buf_ struct buf unit = { 0 };
	size_t i;
	int r;

	say_all(out, count, STORE_HELD_ABSENT, &fp_unknown);
	r = read == read_committed ? check_newest(v, &unit) : 0;
	if (r < 0) {
		say_all(out, count, STORE_HELD_DAMAGED, &fp_unknown);
		return is_our_trouble(r) ? r : 0;
	}
	r = find(v, first, first + count, &ents);
	for (i = 0; r == 0 && i < ents.n; i++)
		r = read(v, &ents.v[i], &unit,
			 out + (ents.v[i].first - first));
	return r;
}

static int look_up(struct store_writer *w, held_reader read, uint64_t first,
		   uint32_t count, struct store_held *out, struct err *err)
{
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
		say_all(out, count, STORE_HELD_ABSENT, &fp_unknown);
		return 0;
	}
	r = need_index(v, err);
	if (r == 0)
		r = answer(v, read, first, count, out);
	return r < 0 ? err_sys(err, r, "cannot-read", object,
			       "look up fingerprints") : 0;
}

/* What cannot be read is unknown, like what is not there. */
int store_writer_fps(struct store_writer *w, uint64_t first, uint32_t count,
		     struct fp *out, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct store_held some[64];
	uint32_t i, n, k;
	int r = 0;

	for (i = 0; r == 0 && i < count; i += n) {
		n = MIN(count - i, (uint32_t)ARRAY_SIZE(some));
		r = look_up(w, read_open, first + i, n, some, err);
		for (k = 0; r == 0 && k < n; k++)
			out[i + k] = some[k].fp;
	}
	return r;
}

int store_writer_held(struct store_writer *w, uint64_t first, uint32_t count,
		      struct store_held *out, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);

	return look_up(w, read_committed, first, count, out, err);
}

int store_writer_forget(struct store_writer *w, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	int r = writer_check(w, err);

	if (r == 0)
		volume_drop_index(w->v);
	return r;
}
