// SPDX-License-Identifier: Apache-2.0
/*
 * The growing end of a volume's row of segments: when a segment is begun, what
 * it begins with, when it is full, and what a failed write means. Called with
 * the volume's lock held.
 *
 * A segment is synced before its successor is created, so that of all the
 * segments of a point only the last can be torn by a crash.
 *
 * Full file system: what was accepted before is untouched, the end of the log
 * is where it was, and the same call may come again. Every other failure makes
 * the file's state unknown: the volume fails until its state has been made
 * again from what the disk really has.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "store/writer.h"

int volume_write_failed(struct volume *v, int r, struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];

	if (is_full(r)) {
		err_done(err, "nothing committed is affected");
		return -ENOSPC;
	}
	volume_object(v, object);
	err_sys(err, r, "write-failed", object, "write");
	err_done(err, "no more is written until the volume is opened anew");
	v->failed = true;
	if (err)
		err_copy(&v->why, err);
	else
		err_sys(&v->why, r, "write-failed", object, "write");
	(void)segfile_close(&v->seg);
	return r;
}

static int make_directory(struct volume *v, struct err *err)
{
	struct store *s = v->store;
	char name[UUID_TEXT_SIZE];
	int r;

	uuid_format(&v->row.uuid, name);
	r = s->cfg.io->ops->mkdirat(s->cfg.io, s->volumes_fd, name, 0700);
	if (r == 0 || r == -EEXIST)
		r = s->cfg.io->ops->fsync(s->cfg.io, s->volumes_fd);
	if (r == 0)
		r = volume_open_dir(v);
	if (r < 0)
		return err_sys(err, r, is_full(r) ? "store-full" :
						    "write-failed",
			       name, "create the volume's directory");
	return 0;
}

static int create_segment(struct volume *v, struct err *err)
{
	struct store *s = v->store;
	struct seg_header h = {
		.store = s->uuid,
		.volume = v->row.uuid,
		.number = v->next_number++,
		.created_wall_ns = clock_wall_ns(s->cfg.clock),
	};
	struct cat_segment row = { .number = h.number,
				   .seen_bytes = SEG_HEADER_BYTES };
	int r = 0;

	if (v->dirfd < 0)
		r = make_directory(v, err);
	if (r == 0)
		r = uuid_new(s->cfg.rnd, &h.segment);
	if (r == 0)
		r = segfile_create(&v->seg, s->cfg.io, v->dirfd, &h, err);
	if (r < 0)
		return r;
	row.id = h.segment;
	r = volume_add_unsealed(v, &row);
	if (r < 0)
		return r;
	/* Unlisted is not lost: a start looks at such segments. The next
	 * commit lists it. */
	(void)catalog_segment_put(s->catalog, v->row.id, &row, NULL);
	return 0;
}

static void put_volume(struct volume *v)
{
	struct rec_volume b = {
		.volume = v->row.uuid,
		.size_bytes = v->row.size_bytes,
		.epoch = v->row.epoch,
	};
	struct rec_place at = segfile_place(&v->seg, v->out.len);
	size_t start = rec_begin(&v->out);

	memcpy(b.source, v->row.source, sizeof(b.source));
	memcpy(b.name, v->row.name, sizeof(b.name));
	rec_volume_put(&v->out, &b);
	rec_end(&v->out, start, &at, REC_VOLUME, 0);
}

/* PART records for the tails of earlier segments. */
static int put_tails(struct volume *v)
{
	const struct rec_place base = segfile_place(&v->seg, 0);
	struct open_point *op = &v->op;
	struct part_ref ref;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < op->n_tails; i++) {
		r = stage_put_part(&op->tails[i], volume_next_ord(v), &v->out,
				   &v->seg.id, &base, &ref);
		if (r == 0)
			r = open_point_add_part(op, &ref);
	}
	return r;
}

/* What every segment begins with; it has only its header so far. */
static int write_preamble(struct volume *v, struct err *err)
{
	struct open_point *op = &v->op;
	uint32_t n_parts = op->n_parts;
	size_t i;
	int r;

	buf_reset(&v->out);
	put_volume(v);
	r = put_tails(v);
	if (r == 0)
		r = log_write(v, true, err);
	if (r < 0) {
		op->n_parts = n_parts;
		return r;
	}
	for (i = 0; i < op->n_tails; i++)
		index_follow(v, &op->parts[n_parts + i], &op->tails[i]);
	open_point_drop_tails(op);
	stage_reset(&op->cur, &v->seg.id);
	v->preamble_end = v->seg.off;
	return 0;
}

int log_open_segment(struct volume *v, struct err *err)
{
	struct err why = ERR_INIT;
	int r = 0;

	if (v->seg.fd >= 0 && v->preamble_end)
		return 0;
	if (v->seg.fd < 0) {
		v->preamble_end = 0;
		r = create_segment(v, &why);
		if (is_full(r) && reserve_give_up(&v->store->reserve)) {
			err_clear(&why);
			r = create_segment(v, &why);
		}
	}
	if (r == 0)
		r = write_preamble(v, &why);
	if (r < 0)
		err_copy(err, &why);
	return r;
}

int log_write(struct volume *v, bool footer, struct err *err)
{
	struct err why = ERR_INIT;
	int r = segfile_write(&v->seg, &v->out, &why);

	if (is_full(r) && footer && reserve_give_up(&v->store->reserve)) {
		log_warn("%s: the file system is full: the reserve is used",
			 v->store->path);
		err_clear(&why);
		r = segfile_write(&v->seg, &v->out, &why);
	}
	if (r < 0)
		err_copy(err, &why);
	return r;
}

int log_sync(struct volume *v, struct err *err)
{
	int r = segfile_sync(&v->seg, err);

	/* Whatever the reason: what is on the disk is not known any more. */
	return is_full(r) ? -EIO : r;
}

int log_flush_part(struct volume *v, struct err *err)
{
	const struct rec_place base = segfile_place(&v->seg, 0);
	struct open_point *op = &v->op;
	struct part_ref ref;
	int r;

	if (stage_is_empty(&op->cur))
		return 0;
	buf_reset(&v->out);
	r = stage_put_part(&op->cur, volume_next_ord(v), &v->out, &v->seg.id,
			   &base, &ref);
	if (r == 0)
		r = log_write(v, true, err);
	if (r < 0)
		return r;
	r = open_point_add_part(op, &ref);
	if (r < 0)
		return r;
	index_follow(v, &ref, &op->cur);
	stage_forget_entries(&op->cur);
	return 0;
}

int log_roll(struct volume *v, struct err *err)
{
	struct volume_mark mark = { 0 };
	int r;

	/* Without its preamble it lists no tails: what they are in must not
	 * be called sealed. */
	if (v->seg.fd < 0 || !v->preamble_end)
		return 0;
	r = log_flush_part(v, err);
	if (r == 0)
		r = log_sync(v, err);
	if (r < 0)
		return r;
	/* What cannot be listed now is listed with the commit, or found. */
	(void)volume_list(v, &mark, NULL);
	r = segfile_close(&v->seg);
	if (r < 0)
		return err_sys(err, r, "write-failed", v->store->path,
			       "close a segment");
	return 0;
}

bool log_has_room(const struct volume *v, uint64_t bytes)
{
	if (v->seg.off == v->preamble_end)
		return true;
	return v->seg.off + bytes +
		       v->op.cur.log.e.n * (uint64_t)PART_ENTRY_BYTES <=
	       v->store->cfg.segment_bytes;
}

int log_void_open_point(struct volume *v, struct err *err)
{
	struct volume_mark mark = {
		.keep_last = true,
		.seen_bytes = v->seg.off,
		.drop_open = true,
	};
	int r = volume_list(v, &mark, err);

	open_point_clear(&v->op);
	stage_forget_deltas(&v->op.cur);
	v->n_deltas = 0;
	volume_drop_index(v);
	return r;
}
