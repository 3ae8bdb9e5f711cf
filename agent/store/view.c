// SPDX-License-Identifier: Apache-2.0
/*
 * A volume as it was at one point. Segments do not change once a point is
 * committed, so a view needs no lock after it was opened; it belongs to one
 * thread at a time.
 *
 * What it gives was verified on the way: the point's footer against its head,
 * each part against the hash that the catalog has of it, each unit against its
 * checksum and against the entry that led to it; view_read also opens the
 * seal. What does not verify is an error that names the place. An older unit
 * is never given in place of a newer one that cannot be read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/lineage.h"
#include "wire/seal.h"

/* Blocks looked up at once: 16 MiB of the volume. */
#define WINDOW_BLOCKS 4096U
/* Longest stretch that view_next tells at once. */
#define STRETCH_BLOCKS (1U << 20)

struct view {
	struct volume *v;
	char object[VOLUME_OBJECT_BYTES];	/* as failures name it */
	struct cat_point point;
	struct point_info info;
	struct segreader reader;
	struct index ix;
	struct entvec pieces;		/* of the window */
	struct buf unit;		/* the last one read: */
	uint32_t unit_part;
	uint64_t unit_off;		/* 0: none */
	uint8_t *plain;			/* of the last one opened: */
	uint32_t plain_part;
	uint64_t plain_off;		/* 0: none */
};

/* ---- opening ---- */

int point_check_footer(struct segreader *reader, const struct cat_point *p,
		       struct buf *scratch, struct err *err)
{
	const struct rec_place at = { seg_salt(&p->segment), p->off };
	char object[SEGMENT_OBJECT_BYTES];
	struct rec_header rec;
	struct point_foot f = { 0 };
	uint8_t *b;
	int r;

	buf_reset(scratch);
	b = p->bytes <= REC_HEADER_BYTES + REC_MAX_BODY_BYTES ?
		    buf_extend(scratch, p->bytes) : NULL;
	if (!b)
		return -ENOMEM;
	r = segreader_read(reader, &p->segment, p->off, b, p->bytes, err);
	if (r < 0)
		return r;
	if (p->bytes < REC_HEADER_BYTES ||
	    rec_header_decode(b, &at, &rec) < 0 || !rec_is_point(rec.type) ||
	    rec_total_bytes(&rec) != p->bytes)
		r = -EBADMSG;
	if (r == 0)
		r = point_get((enum rec_type)rec.type, b + REC_HEADER_BYTES,
			      rec.body_bytes, &f);
	free(f.parts);
	if (r == 0 && (memcmp(&f.info.head, &p->info.head, HEAD_BYTES) ||
		       f.n_parts != p->n_parts))
		r = -EBADMSG;
	segment_object(&p->segment, object);
	return r < 0 ? err_sys(err, r, "segment-damaged", object,
			       "footer of the point at offset=%llu",
			       (unsigned long long)p->off) : 0;
}

static int add_parts(struct view *v, struct err *err)
{
	_cleanup_free_ struct cat_part *parts = NULL;
	struct cat_parts all;
	struct lineage l;
	size_t i;
	int r;

	r = lineage_of(v->v->store->catalog, v->v->row.id, &v->point, &l,
		       err);
	if (r < 0)
		return r;
	r = volume_lineage_parts(v->v, &l, &all, err);
	free(l.steps);
	if (r < 0)
		return r;
	parts = all.v;
	for (i = 0; r == 0 && i < all.n; i++)
		r = index_add(&v->ix, &all.v[i].ref, all.v[i].ord);
	return r == 0 ? index_settle(&v->ix) : r;
}

/* From here on the volume is in use; false: it was just removed. */
static bool enter(struct view *v)
{
	LOCK_SCOPE(&v->v->lock);

	if (v->v->removed)
		return false;
	volume_object(v->v, v->object);
	v->v->n_views++;
	return true;
}

static void leave(struct view *v)
{
	LOCK_SCOPE(&v->v->lock);

	v->v->n_views--;
}

static int no_volume(const struct uuid *volume, struct err *err)
{
	char uuid[UUID_TEXT_SIZE];

	uuid_format(volume, uuid);
	return err_set(err, -ENOENT, "no-volume", uuid,
		       "open a point: the store has no such volume");
}

static void get_info(struct view *v)
{
	LOCK_SCOPE(&v->v->lock);

	volume_point_info(v->v, &v->point, &v->info);
}

static int open_view(struct view *v, struct err *err)
{
	struct store *s = v->v->store;
	int r;

	get_info(v);
	r = segreader_init(&v->reader, s->cfg.io, s->volumes_fd, &s->uuid,
			   &v->v->row.uuid, err);
	if (r == 0)
		r = index_init(&v->ix, &v->reader);
	if (r == 0)
		r = point_check_footer(&v->reader, &v->point, &v->unit, err);
	if (r == 0)
		r = add_parts(v, err);
	return r;
}

int view_open(struct store *s, const struct uuid *volume, uint64_t epoch,
	      uint64_t seq, struct view **out, struct err *err)
{
	struct volume *vol = store_volume(s, volume);
	struct view *v;
	int r;

	if (!vol)
		return no_volume(volume, err);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->v = vol;
	if (!enter(v)) {
		free(v);
		return no_volume(volume, err);
	}
	r = volume_find_point(vol, epoch, seq, &v->point, err);
	if (r == 1)
		r = err_set(err, -ENOENT, "no-point", v->object,
			    "open point %llu: there is none",
			    (unsigned long long)seq);
	if (r == 0)
		r = open_view(v, err);
	if (r < 0) {
		err_sys(err, r, "cannot-read", v->object, "open point %llu",
			(unsigned long long)seq);
		view_close(v);
		return r;
	}
	*out = v;
	return 0;
}

void view_close(struct view *v)
{
	if (!v)
		return;
	index_free(&v->ix);
	segreader_close(&v->reader);
	entvec_free(&v->pieces);
	buf_free(&v->unit);
	free(v->plain);
	leave(v);
	free(v);
}

const struct point_info *view_point(const struct view *v)
{
	return &v->info;
}

uint32_t view_newest_key(struct view *v)
{
	return index_newest_key(&v->ix);
}

/* ---- walking ---- */

struct walk {
	struct view *v;
	int (*cb)(void *arg, const struct view_piece *piece);
	void *arg;
	struct err *err;
	uint64_t done;			/* pieces were given up to here */
};

/* Adds which point is concerned to a failure that names the place. */
static int in_point(const struct walk *w, int r)
{
	const struct point_meta *m = &w->v->info.meta;

	err_sys(w->err, r, "cannot-read", w->v->object, "read");
	err_done(w->err, "%s, point %llu:%llu", w->v->object,
		 (unsigned long long)m->epoch, (unsigned long long)m->seq);
	return r;
}

static int give_absent(struct walk *w, uint64_t end)
{
	struct view_piece piece = {
		.first = w->done,
		.count = end - w->done,
		.absent = true,
	};

	if (end <= w->done)
		return 0;
	w->done = end;
	return w->cb(w->arg, &piece);
}

/* Looks once more at what could not be read, for the reason. */
static int unreadable(struct walk *w, const struct ent *e)
{
	const struct index_part *p = index_part(&w->v->ix, e);
	struct part_tables t;
	char object[SEGMENT_OBJECT_BYTES];
	int r;

	r = segreader_part(&w->v->reader, &p->ref, &w->v->ix.scratch, &t,
			   NULL, 0, w->err);
	if (r == 0)
		part_tables_free(&t);
	segment_object(&p->ref.segment, object);
	err_set(w->err, -EBADMSG, "part-damaged", object,
		"part at offset=%llu length=%u: block=%llu count=%u cannot be "
		"told", (unsigned long long)p->ref.off, p->ref.bytes,
		(unsigned long long)e->first, e->count);
	return in_point(w, -EBADMSG);
}

static int need_unit(struct walk *w, const struct ent *e,
		     const struct seg_delta *d)
{
	struct view *v = w->v;
	int r;

	if (v->unit_off == e->unit_off && v->unit_part == e->order)
		return 0;
	v->unit_off = 0;
	r = segreader_unit(&v->reader,
			   &index_part(&v->ix, e)->ref.data_segment, e,
			   d->index, &v->unit, w->err);
	if (r < 0) {
		if (r == -ENOENT || r == -ENODATA)
			r = -EBADMSG;
		return in_point(w, r);
	}
	v->unit_off = e->unit_off;
	v->unit_part = e->order;
	return 0;
}

static int give_piece(struct walk *w, const struct ent *e)
{
	const struct seg_delta *d;
	struct view_piece piece = {
		.first = e->first,
		.count = e->count,
		.skip = e->skip,
	};
	int r;

	r = give_absent(w, e->first);
	if (r)
		return r;
	if (e->codec == ENT_UNREADABLE)
		return unreadable(w, e);
	d = &index_part(&w->v->ix, e)->tables.deltas[e->delta];
	r = need_unit(w, e, d);
	if (r < 0)
		return r;
	piece.delta = d->delta;
	piece.unit = w->v->unit.data;
	piece.unit_bytes = w->v->unit.len;
	w->done = e->first + e->count;
	return w->cb(w->arg, &piece);
}

/* One window from pos on; *pos becomes where the next one begins. */
static int walk_window(struct walk *w, uint64_t *pos, uint64_t end)
{
	struct view *v = w->v;
	uint64_t to = MIN(end, *pos + WINDOW_BLOCKS);
	size_t i;
	int r;

	r = index_find(&v->ix, *pos, to, &v->pieces);
	if (r < 0)
		return in_point(w, r);
	for (i = 0; i < v->pieces.n; i++) {
		r = give_piece(w, &v->pieces.v[i]);
		if (r)
			return r;
	}
	*pos = to;
	if (v->pieces.n || to == end)
		return 0;
	/* Nothing here: step over all that was never written. */
	r = index_next(&v->ix, to, pos);
	if (r < 0)
		return in_point(w, r);
	if (r == 1 || *pos > end)
		*pos = end;
	return 0;
}

int view_walk(struct view *v, uint64_t first, uint64_t count,
	      int (*cb)(void *arg, const struct view_piece *piece), void *arg,
	      struct err *err)
{
	struct walk w = { v, cb, arg, err, first };
	uint64_t pos = first, end = first + count;
	int r = 0;

	if (!range_inside(first, count, US_MAX_BLOCKS))
		return in_point(&w, -EINVAL);
	while (r == 0 && pos < end)
		r = walk_window(&w, &pos, end);
	return r ? r : give_absent(&w, end);
}

/* ---- reading ---- */

struct reading {
	struct view *v;
	struct opener *o;
	uint64_t first;
	uint8_t *out;
	struct err *err;
};

static int cannot_open(const struct reading *rd,
		       const struct view_piece *piece, int r)
{
	const struct point_meta *m = &rd->v->info.meta;
	const struct index_part *p = &rd->v->ix.parts[rd->v->unit_part];
	char object[SEGMENT_OBJECT_BYTES];

	segment_object(&p->ref.data_segment, object);
	return err_sys(rd->err, r, r == -ENOKEY ? "wrong-key" : "unit-damaged",
		       object,
		       "unit at offset=%llu: open block=%llu count=%llu "
		       "point=%llu:%llu",
		       (unsigned long long)rd->v->unit_off,
		       (unsigned long long)piece->first,
		       (unsigned long long)piece->count,
		       (unsigned long long)m->epoch,
		       (unsigned long long)m->seq);
}

/* The whole unit into v->plain, unless it is there. */
static int need_plain(struct reading *rd, const struct view_piece *piece)
{
	struct view *v = rd->v;
	struct unit_view u;
	int r;

	if (v->plain_off == v->unit_off && v->plain_part == v->unit_part)
		return 0;
	if (!v->plain)
		v->plain = malloc(UNIT_MAX_PLAIN_BYTES);
	if (!v->plain)
		return -ENOMEM;
	v->plain_off = 0;
	r = opener_open(rd->o, &piece->delta, piece->unit, piece->unit_bytes,
			&u, v->plain, UNIT_MAX_PLAIN_BYTES);
	if (r < 0)
		return cannot_open(rd, piece, r);
	v->plain_off = v->unit_off;
	v->plain_part = v->unit_part;
	return 0;
}

static int read_piece(void *arg, const struct view_piece *piece)
{
	struct reading *rd = arg;
	uint8_t *out = rd->out + (piece->first - rd->first) * US_BLOCK_BYTES;
	size_t n = (size_t)piece->count * US_BLOCK_BYTES;
	struct unit_view u;
	int r;

	if (piece->absent) {
		memset(out, 0, n);
		return 0;
	}
	r = need_plain(rd, piece);
	if (r < 0)
		return r;
	if (unit_parse(piece->unit, piece->unit_bytes, &u) < 0)
		return -EBADMSG;
	if (u.codec == UNIT_ZERO)
		memset(out, 0, n);
	else
		memcpy(out, rd->v->plain + (size_t)piece->skip * US_BLOCK_BYTES,
		       n);
	return 0;
}

int view_read(struct view *v, struct opener *o, uint64_t first, uint64_t count,
	      uint8_t *out, struct err *err)
{
	struct reading rd = { v, o, first, out, err };

	if (count > SIZE_MAX / US_BLOCK_BYTES)
		return -EINVAL;
	/* What another opener was allowed to see is not this one's. */
	v->plain_off = 0;
	return view_walk(v, first, count, read_piece, &rd, err);
}

/* How far the entries from first on go without hole and change of kind. */
static int measure(struct view *v, uint64_t first, uint64_t *count,
		   bool *zero)
{
	uint64_t pos = first, to;
	size_t i;
	int r;

	*count = 0;
	while (*count < STRETCH_BLOCKS) {
		to = MIN(pos + WINDOW_BLOCKS, (uint64_t)US_MAX_BLOCKS);
		r = index_find(&v->ix, pos, to, &v->pieces);
		if (r < 0)
			return r;
		for (i = 0; i < v->pieces.n; i++) {
			const struct ent *e = &v->pieces.v[i];
			bool is_zero = e->codec == UNIT_ZERO;

			if (!*count)
				*zero = is_zero;
			if (e->first != first + *count || is_zero != *zero)
				return 0;
			*count += e->count;
		}
		if (first + *count != to || to == US_MAX_BLOCKS)
			return 0;
		pos = to;
	}
	return 0;
}

int view_next(struct view *v, uint64_t block, uint64_t *first, uint64_t *count,
	      bool *zero, struct err *err)
{
	struct walk w = { .v = v, .err = err };
	int r;

	if (block >= US_MAX_BLOCKS)
		return 1;
	r = index_next(&v->ix, block, first);
	if (r == 0)
		r = measure(v, *first, count, zero);
	return r < 0 ? in_point(&w, r) : r;
}
