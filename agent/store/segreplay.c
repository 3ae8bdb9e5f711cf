// SPDX-License-Identifier: Apache-2.0
/*
 * Applying the records of a segment to a volume's state, as they were written:
 * what recovery does with what the catalog has not seen. Called with the
 * volume's lock held or before anybody else can have it.
 *
 * Whoever wrote a segment had taken up, or given up, the unfinished ends of
 * those before it: its first records say which (PART records about another
 * segment). An older end that they do not name was not readable then, the
 * source was told so, and it must not come back now. Hence: with the first
 * record of a segment that is about the segment itself, older ends are void.
 *
 * A record whose frame is valid and whose meaning is not (a point that does
 * not follow the newest one, parts that were not seen) is damage, or a segment
 * of another history: -EBADMSG, and the volume takes no writer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/segscan.h"
#include "store/storevol.h"

struct replay {
	struct volume *v;
	struct segscan *scan;
	uint64_t *seen;
	bool uncovered;			/* units were stepped over */
	uint32_t parts_before;		/* parts there were at *seen */
	struct err *err;
};

static int wrong(const struct replay *rp, const struct scan_rec *rec,
		 const char *what)
{
	char object[SEGMENT_OBJECT_BYTES];

	segment_object(&rp->scan->header.segment, object);
	return err_set(rp->err, -EBADMSG, "segment-damaged", object,
		       "record at offset=%llu: %s",
		       (unsigned long long)rec->off, what);
}

static bool same_volume(const struct replay *rp, const struct uuid *uuid)
{
	return uuid_equal(uuid, &rp->v->row.uuid);
}

static int replay_volume(struct replay *rp, const struct scan_rec *rec)
{
	struct cat_volume *row = &rp->v->row;
	struct rec_volume b;

	if (rec_volume_get(rec->body, rec->h.body_bytes, &b) < 0 ||
	    !same_volume(rp, &b.volume))
		return wrong(rp, rec, "not this volume");
	if (row->id)
		return 0;
	memcpy(row->source, b.source, sizeof(row->source));
	memcpy(row->name, b.name, sizeof(row->name));
	row->size_bytes = b.size_bytes;
	row->epoch = b.epoch;
	return catalog_volume_add(rp->v->store->catalog, row, rp->err);
}

static int replay_delta(struct replay *rp, const struct scan_rec *rec)
{
	struct stage *stage = &rp->v->op.cur;
	struct seg_delta d;
	struct rec_delta b;
	int r;

	if (rec_delta_get(rec->body, rec->h.body_bytes, &b) < 0 ||
	    !same_volume(rp, &b.delta.volume))
		return wrong(rp, rec, "bad delta");
	d = (struct seg_delta){ .index = b.index, .delta = b.delta };
	r = stage_add_delta(stage, &d);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return wrong(rp, rec, "delta index used twice");
	stage->bytes += rec_total_bytes(&rec->h);
	rp->v->op.seq = b.delta.seq;
	return 0;
}

static int replay_units(struct replay *rp, const struct scan_rec *rec)
{
	struct stage *stage = &rp->v->op.cur;
	uint64_t off = rec->off + REC_HEADER_BYTES;
	const uint8_t *p = rec->body;
	size_t left = rec->h.body_bytes;
	struct unit_view u;
	int r;

	open_point_drop_tails(&rp->v->op);
	stage->bytes += rec_total_bytes(&rec->h);
	if (!p) {
		rp->uncovered = true;
		return 0;
	}
	while (left) {
		if (unit_parse(p, left, &u) < 0)
			return wrong(rp, rec, "bad unit");
		r = stage_add_unit(stage, p, &u, off);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			return wrong(rp, rec, "unit of an unknown delta");
		p += u.total_bytes;
		off += u.total_bytes;
		left -= u.total_bytes;
	}
	return 0;
}

static int replay_part(struct replay *rp, const struct scan_rec *rec)
{
	struct open_point *op = &rp->v->op;
	struct part_ref ref = {
		.segment = rp->scan->header.segment,
		.off = rec->off,
		.bytes = (uint32_t)rec_total_bytes(&rec->h),
	};
	struct part_head head;

	if (part_head_get(rec->body, rec->h.body_bytes, rec->h.body_bytes,
			  &head) < 0)
		return wrong(rp, rec, "bad part");
	if (head.ord != volume_next_ord(rp->v))
		return wrong(rp, rec, "part of another point");
	part_ref_describe(&ref, &head);
	if (uuid_equal(&head.data_segment, &ref.segment)) {
		open_point_drop_tails(op);
		stage_forget_entries(&op->cur);
		rp->uncovered = false;
	} else {
		open_point_drop_tail(op, &head.data_segment);
	}
	return open_point_add_part(op, &ref);
}

/* Nothing that lies before is needed by what comes. */
static void passed(struct replay *rp)
{
	open_point_clear(&rp->v->op);
	stage_forget_deltas(&rp->v->op.cur);
	rp->uncovered = false;
	rp->parts_before = 0;
	*rp->seen = rp->scan->off;
}

static bool follows(const struct replay *rp, const struct point_foot *f)
{
	const struct volume *v = rp->v;
	const struct open_point *op = &v->op;
	static const struct head none;
	uint32_t i;

	if (!same_volume(rp, &f->volume) || f->ord != volume_next_ord(v) ||
	    memcmp(&f->info.prev_head,
		   v->has_point ? &v->newest.info.head : &none, HEAD_BYTES) ||
	    f->n_parts != op->n_parts)
		return false;
	for (i = 0; i < f->n_parts; i++)
		if (!uuid_equal(&f->parts[i].segment, &op->parts[i].segment) ||
		    f->parts[i].off != op->parts[i].off ||
		    memcmp(f->parts[i].hash.b, op->parts[i].hash.b,
			   DIGEST_BYTES))
			return false;
	return true;
}

static int replay_point(struct replay *rp, const struct scan_rec *rec)
{
	_cleanup_free_ struct part_ref *parts = NULL;
	struct volume *v = rp->v;
	struct point_foot f;
	struct cat_point p;
	struct volume_mark mark = {
		.point = &p,
		.keep_last = true,
		.seen_bytes = rp->scan->off,
	};
	int r;

	r = point_get((enum rec_type)rec->h.type, rec->body,
		      rec->h.body_bytes, &f);
	if (r == -EBADMSG)
		return wrong(rp, rec, "bad point");
	if (r < 0)
		return r;
	parts = f.parts;
	if (!follows(rp, &f))
		return wrong(rp, rec, "point does not follow the newest");
	p = (struct cat_point){
		.ord = f.ord,
		.info = f.info,
		.segment = rp->scan->header.segment,
		.off = rec->off,
		.bytes = (uint32_t)rec_total_bytes(&rec->h),
		.n_parts = f.n_parts,
	};
	r = volume_list(v, &mark, rp->err);
	if (r < 0)
		return r;
	v->newest = p;
	v->has_point = true;
	passed(rp);
	return 0;
}

/* Catalog and memory forget what was staged. */
static int drop_open(struct replay *rp)
{
	struct volume_mark mark = {
		.keep_last = true,
		.seen_bytes = rp->scan->off,
		.drop_open = true,
	};
	int r = volume_list(rp->v, &mark, rp->err);

	if (r == 0)
		passed(rp);
	return r;
}

static int replay_epoch(struct replay *rp, const struct scan_rec *rec)
{
	struct volume *v = rp->v;
	struct rec_epoch b;
	struct cat_epoch e;
	int r;

	if (rec_epoch_get(rec->body, rec->h.body_bytes, &b) < 0 ||
	    !same_volume(rp, &b.volume))
		return wrong(rp, rec, "bad epoch");
	e = (struct cat_epoch){
		.epoch = b.epoch,
		.parent_epoch = b.parent_epoch,
		.parent_seq = b.parent_seq,
		.since_wall_ns = b.wall_ns,
	};
	memcpy(e.parent_head.b, b.parent_head, HEAD_BYTES);
	r = catalog_epoch_put(v->store->catalog, v->row.id, &e, rp->err);
	if (r < 0)
		return r;
	if (b.epoch > v->row.epoch)
		v->row.epoch = b.epoch;
	return drop_open(rp);
}

static int replay_discard(struct replay *rp, const struct scan_rec *rec)
{
	struct rec_discard b;

	if (rec_discard_get(rec->body, rec->h.body_bytes, &b) < 0 ||
	    !same_volume(rp, &b.volume) || b.ord != volume_next_ord(rp->v))
		return wrong(rp, rec, "bad discard");
	return drop_open(rp);
}

static int replay_record(struct replay *rp, const struct scan_rec *rec)
{
	char object[SEGMENT_OBJECT_BYTES];

	if (!rp->v->row.id && rec->h.type != REC_VOLUME)
		return wrong(rp, rec, "no volume record before it");
	switch (rec->h.type) {
	case REC_VOLUME:
		return replay_volume(rp, rec);
	case REC_DELTA:
		return replay_delta(rp, rec);
	case REC_UNITS:
		return replay_units(rp, rec);
	case REC_PART:
		return replay_part(rp, rec);
	case REC_POINT:
	case REC_GROUP_POINT:
		return replay_point(rp, rec);
	case REC_EPOCH:
		return replay_epoch(rp, rec);
	case REC_DISCARD:
		return replay_discard(rp, rec);
	default:
		break;
	}
	if (rec->h.flags & REC_SKIPPABLE)
		return 0;
	segment_object(&rp->scan->header.segment, object);
	return err_set(rp->err, -EPROTONOSUPPORT, "segment-newer", object,
		       "record at offset=%llu: type %u is not known here",
		       (unsigned long long)rec->off, rec->h.type);
}

static int replay_all(struct replay *rp)
{
	struct scan_rec rec;
	int r;

	while ((r = segscan_next(rp->scan, &rec, rp->err)) == 0) {
		r = replay_record(rp, &rec);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

int replay_segment(struct volume *v, struct segscan *scan, uint64_t *seen,
		   struct err *err)
{
	struct replay rp = {
		.v = v,
		.scan = scan,
		.seen = seen,
		.parts_before = v->op.n_parts,
		.err = err,
	};
	int r;

	r = replay_all(&rp);
	if (r < 0 || !rp.uncovered)
		return r;
	/* Units at the end that no part lists are wanted after all. What lies
	 * between was applied and says the same again. */
	scan->units_from = 0;
	segscan_seek(scan, *seen);
	v->op.n_parts = rp.parts_before;
	stage_forget_entries(&v->op.cur);
	return replay_all(&rp);
}
