// SPDX-License-Identifier: Apache-2.0
/*
 * The end of a point: commit, and discard. Called by the holder of the newest
 * writer; the volume's lock is held over it.
 *
 * Order of a commit: records and footers written, one fdatasync, and it is a
 * point; then the catalog. A catalog that has no room does not undo that: the
 * row waits in memory and must go in before anything else is written, and a
 * crash meanwhile finds the footer in the segment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/writer.h"

static int check_meta(const struct volume *v, const struct point_meta *meta,
		      const struct head *prev_head, struct err *err)
{
	static const struct head none;
	const struct head *head = v->has_point ? &v->newest.info.head : &none;
	char object[VOLUME_OBJECT_BYTES];

	volume_object(v, object);
	if (meta->epoch != v->row.epoch)
		return err_set(err, -ESTALE, "old-epoch", object,
			       "commit: epoch=%llu: the volume is in epoch "
			       "%llu", (unsigned long long)meta->epoch,
			       (unsigned long long)v->row.epoch);
	if (memcmp(head, prev_head, HEAD_BYTES))
		return err_set(err, -ESTALE, "head-mismatch", object,
			       "commit: the store's newest point is not the "
			       "one that this point follows");
	if (!meta->seq || meta->seq > INT64_MAX ||
	    (v->has_point && meta->seq <= v->newest.info.meta.seq))
		return err_set(err, -EINVAL, "bad-sequence", object,
			       "commit: sequence=%llu: the newest point has "
			       "%llu", (unsigned long long)meta->seq,
			       (unsigned long long)v->newest.info.meta.seq);
	if (meta->kind > POINT_FINAL || meta->size_bytes > INT64_MAX ||
	    !memchr(meta->label, 0, sizeof(meta->label)))
		return err_set(err, -EINVAL, "bad-point", object,
			       "commit: kind, size or label out of range");
	if (point_has_group(meta) && !point_group_is_sound(&meta->group))
		return err_set(err, -EINVAL, "bad-point", object,
			       "commit: group out of range");
	return 0;
}

static uint32_t point_record_bytes(const struct point_foot *f)
{
	uint64_t n = REC_HEADER_BYTES +
		     point_body_bytes(point_record_type(&f->info.meta),
				      f->n_parts);

	return (uint32_t)((n + SEG_ALIGN_BYTES - 1) & ~7ULL);
}

static void sum_up(struct point_foot *f)
{
	uint32_t i;

	f->info.stored_bytes = point_record_bytes(f);
	for (i = 0; i < f->n_parts; i++) {
		f->info.changed_bytes += f->parts[i].blocks * US_BLOCK_BYTES;
		f->info.stored_bytes += f->parts[i].staged_bytes +
					f->parts[i].bytes;
	}
}

/* The last part and the point's footer into v->out; p describes the point. */
static int put_footers(struct volume *v, const struct point_meta *meta,
		       struct cat_point *p)
{
	const struct rec_place base = segfile_place(&v->seg, 0);
	struct open_point *op = &v->op;
	struct point_foot f = {
		.volume = v->row.uuid,
		.ord = volume_next_ord(v),
		.info.meta = *meta,
		.info.received_wall_ns = clock_wall_ns(v->store->cfg.clock),
	};
	struct part_ref ref;
	struct rec_place at;
	size_t start;
	int r = 0;

	buf_reset(&v->out);
	if (!stage_is_empty(&op->cur)) {
		r = stage_put_part(&op->cur, f.ord, &v->out, &v->seg.id, &base,
				   &ref);
		if (r == 0)
			r = open_point_add_part(op, &ref);
		if (r < 0)
			return r;
	}
	if (v->has_point)
		f.info.prev_head = v->newest.info.head;
	f.parts = op->parts;
	f.n_parts = op->n_parts;
	sum_up(&f);
	at = segfile_place(&v->seg, v->out.len);
	start = rec_begin(&v->out);
	r = point_put(&v->out, &f);
	rec_end(&v->out, start, &at, point_record_type(meta), 0);
	*p = (struct cat_point){
		.ord = f.ord,
		.info = f.info,
		.segment = v->seg.id,
		.off = at.off,
		.bytes = (uint32_t)(v->out.len - start),
		.n_parts = f.n_parts,
	};
	return v->out.failed ? -ENOMEM : r;
}

static int make_durable(struct volume *v, const struct point_meta *meta,
			struct cat_point *p, struct err *err)
{
	uint32_t n_parts;
	int r;

	r = log_open_segment(v, err);
	if (r < 0)
		return r;
	n_parts = v->op.n_parts;
	r = put_footers(v, meta, p);
	if (r == 0)
		r = log_write(v, true, err);
	if (r < 0) {
		v->op.n_parts = n_parts;
		return r;
	}
	r = FAULT("store.commit.sync");
	return r == 0 ? log_sync(v, err) : r;
}

/* The catalog could not take it: keep what it needs to, for later. */
static int keep_unlisted(struct volume *v, uint64_t seen_bytes)
{
	struct unlisted *u = &v->unlisted;
	size_t n = v->op.n_parts * sizeof(*u->parts);

	u->parts = malloc(n + 1);
	if (!u->parts)
		return -ENOMEM;
	if (n)
		memcpy(u->parts, v->op.parts, n);
	u->from_part = v->op.n_listed;
	u->n_parts = v->op.n_parts;
	u->seen_bytes = seen_bytes;
	u->set = true;
	return 0;
}

static void list_point(struct volume *v, const struct cat_point *p)
{
	struct volume_mark mark = {
		.point = p,
		.keep_last = true,
		.seen_bytes = v->seg.off,
	};
	char object[VOLUME_OBJECT_BYTES];
	struct err why = ERR_INIT;
	int r = volume_list(v, &mark, &why);

	if (r == 0)
		return;
	volume_object(v, object);
	err_sys(&why, r, "catalog-failed", object, "list a point");
	err_done(&why, "the point is durable and will be listed later");
	log_failure(LOG_LEVEL_ERR, &why);
	if (keep_unlisted(v, v->seg.off) < 0) {
		/* Looking at the segment again will list it. */
		v->failed = true;
		err_copy(&v->why, &why);
	}
}

int store_writer_commit(struct store_writer *w, const struct point_meta *meta,
			const struct head *prev_head, struct point_info *out,
			struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct volume *v = w->v;
	bool has_own_part;
	struct cat_point p;
	int r = writer_check(w, err);

	if (r == 0)
		r = check_meta(v, meta, prev_head, err);
	if (r == 0)
		r = volume_list_again(v, err);
	if (r < 0)
		return r;
	has_own_part = !stage_is_empty(&v->op.cur);
	r = make_durable(v, meta, &p, err);
	if (r < 0)
		return volume_write_failed(v, r, err);
	if (has_own_part)
		index_follow(v, &v->op.parts[v->op.n_parts - 1], &v->op.cur);
	list_point(v, &p);
	v->newest = p;
	v->has_point = true;
	v->row.size_bytes = meta->size_bytes;
	open_point_clear(&v->op);
	stage_forget_deltas(&v->op.cur);
	v->n_deltas = 0;
	if (v->damages.n)
		damage_follow(v);
	volume_point_info(v, &p, out);
	return 0;
}

static void put_discard(struct volume *v)
{
	const struct rec_discard b = {
		.volume = v->row.uuid,
		.ord = volume_next_ord(v),
		.wall_ns = clock_wall_ns(v->store->cfg.clock),
	};
	const struct rec_place at = segfile_place(&v->seg, 0);
	size_t start;

	buf_reset(&v->out);
	start = rec_begin(&v->out);
	rec_discard_put(&v->out, &b);
	rec_end(&v->out, start, &at, REC_DISCARD, 0);
}

/* Durable before it is done: what is void must not come back in a crash. */
int store_writer_discard(struct store_writer *w, struct err *err)
{
	LOCK_SCOPE(&w->v->lock);
	struct volume *v = w->v;
	int r = writer_check(w, err);

	if (r == 0)
		r = volume_list_again(v, err);
	if (r < 0)
		return r;
	v->n_deltas = 0;
	if (!v->op.n_parts && !v->op.n_tails && stage_is_empty(&v->op.cur)) {
		v->op.seq = 0;
		return 0;
	}
	r = log_open_segment(v, err);
	if (r == 0) {
		put_discard(v);
		r = log_write(v, true, err);
	}
	if (r == 0)
		r = log_sync(v, err);
	if (r < 0)
		return volume_write_failed(v, r, err);
	r = log_void_open_point(v, err);
	/* The record is durable: only a new look at it can go on. */
	return r < 0 ? volume_write_failed(v, -EIO, err) : 0;
}
