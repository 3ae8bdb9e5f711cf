// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's state from its catalog rows and its segments.
 *
 * The catalog is believed as far as it goes; what it cannot have seen is read
 * from the segments: those that it does not call sealed, and those that it
 * does not list. When it contradicts itself or the directory (rows missing,
 * a segment unlisted among listed ones), its rows about the volume are
 * dropped and all segments are read.
 *
 * Nothing that has a byte in it is ever deleted or changed in the volume's
 * directory here. What a crash leaves: an unlisted segment (created, not yet
 * listed), an unfinished tail, a commit that the catalog lacks. Each is taken
 * up; doing it again after another crash gives the same. A segment that was
 * created and never written goes.
 *
 * Called with the volume's lock held, or before anybody else can have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "store/lineage.h"
#include "store/probe.h"
#include "store/segscan.h"
#include "store/storevol.h"

struct found {
	struct cat_segment seg;
	bool listed;
	bool present;
};

struct recovery {
	struct volume *v;
	struct found *v_found;		/* sorted by number when complete */
	size_t n;
	/* Units are read from there on: in the segments after this number, and
	 * in it at and after the offset. */
	uint64_t whole_from, whole_off;
	struct lost {
		struct uuid segment;
		uint64_t size;		/* it has only these bytes */
	} *lost;
	size_t n_lost;
	char object[VOLUME_OBJECT_BYTES];
	struct err *err;
};

static int add_found(struct recovery *rc, const struct found *f)
{
	/* Doubling at powers of two keeps the copies few. */
	if (!(rc->n & (rc->n - 1))) {
		size_t cap = rc->n ? 2 * rc->n : 1;
		void *p = realloc(rc->v_found, cap * sizeof(*rc->v_found));

		if (!p)
			return -ENOMEM;
		rc->v_found = p;
	}
	rc->v_found[rc->n++] = *f;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct cat_segment *x = &((const struct found *)a)->seg;
	const struct cat_segment *y = &((const struct found *)b)->seg;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

static int by_id(const void *a, const void *b)
{
	const struct cat_segment *x = &((const struct found *)a)->seg;
	const struct cat_segment *y = &((const struct found *)b)->seg;

	return memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

static int load_listed(struct recovery *rc)
{
	struct cat_segments all;
	size_t i;
	int r;

	r = catalog_segments(rc->v->store->catalog, rc->v->row.id, &all,
			     rc->err);
	for (i = 0; r == 0 && i < all.n; i++) {
		struct found f = { .seg = all.v[i], .listed = true };

		r = add_found(rc, &f);
	}
	free(all.v);
	return r;
}

/* Its maker died before the first byte: nobody will ever write to it. */
static bool drop_empty(struct recovery *rc, const char *name)
{
	struct store *s = rc->v->store;

	if (s->cfg.read_only ||
	    s->cfg.io->ops->unlinkat(s->cfg.io, rc->v->dirfd, name, 0) < 0)
		return false;
	log_info("%s: %s was created and never written: removed", rc->object,
		 name);
	return true;
}

/* The header of a file that the catalog does not list: ours, or garbage? */
static int examine(struct recovery *rc, const struct uuid *id, const char *name)
{
	struct volume *v = rc->v;
	struct found f = { .present = true };
	struct segscan scan;
	struct err why = ERR_INIT;
	int r;

	r = segscan_open(&scan, v->store->cfg.io, v->dirfd, id, false, &why);
	if (r < 0 && r != -EBADMSG)
		return err_sys(rc->err, r, "segment-damaged", rc->object,
			       "%s: examine", name);
	if (r == 0)
		segscan_close(&scan);
	if (r < 0 && !scan.size && drop_empty(rc, name))
		return 0;
	if (r < 0 || !uuid_equal(&scan.header.store, &v->store->uuid) ||
	    !uuid_equal(&scan.header.volume, &v->row.uuid)) {
		log_warn("%s: %s is no segment of this volume: left alone",
			 rc->object, name);
		return 0;
	}
	f.seg = (struct cat_segment){
		.id = *id,
		.number = scan.header.number,
		.seen_bytes = SEG_HEADER_BYTES,
	};
	return add_found(rc, &f);
}

/* rc->v_found[0, listed) is sorted by id meanwhile. */
struct listing {
	struct recovery *rc;
	size_t listed;
};

static int on_name(void *arg, const char *name)
{
	struct listing *l = arg;
	struct recovery *rc = l->rc;
	struct found key = { 0 }, *f;

	if (segment_file_parse(name, &key.seg.id) < 0) {
		log_warn("%s: %s is no segment: left alone", rc->object, name);
		return 0;
	}
	f = l->listed ? bsearch(&key, rc->v_found, l->listed, sizeof(key),
				by_id) : NULL;
	if (!f)
		return examine(rc, &key.seg.id, name);
	f->present = true;
	return 0;
}

static int scan_directory(struct recovery *rc)
{
	struct volume *v = rc->v;
	struct listing l = { rc, rc->n };
	int r;

	if (v->dirfd < 0)
		return 0;
	if (rc->n)
		qsort(rc->v_found, rc->n, sizeof(*rc->v_found), by_id);
	r = v->store->cfg.io->ops->listdir(v->store->cfg.io, v->dirfd, ".",
					   on_name, &l);
	if (r < 0)
		return err_sys(rc->err, r, "volume-missing", rc->object,
			       "list its directory");
	if (rc->n)
		qsort(rc->v_found, rc->n, sizeof(*rc->v_found), by_number);
	return r;
}

/* The epochs before that of the newest point, and where they went on. */
static int check_line(const struct volume *v, const struct cat_point *newest,
		      struct err *err)
{
	struct lineage l;
	int r;

	r = lineage_of(v->store->catalog, v->row.id, newest, &l, err);
	if (r == 0)
		free(l.steps);
	return r;
}

static bool is_listed(const struct recovery *rc, const struct uuid *segment)
{
	size_t i;

	for (i = 0; i < rc->n; i++)
		if (rc->v_found[i].listed &&
		    uuid_equal(&rc->v_found[i].seg.id, segment))
			return true;
	return false;
}

/*
 * The rows of points, parts and their segments come in one transaction. That
 * of the last segment missing, its records would be taken for later ones.
 */
static int check_segments(const struct recovery *rc,
			  const struct cat_point *newest, struct err *err)
{
	struct catalog *c = rc->v->store->catalog;
	struct cat_parts parts;
	bool all = !newest || is_listed(rc, &newest->segment);
	size_t i;
	int r;

	r = catalog_parts(c, rc->v->row.id, newest ? newest->ord : 0,
			  UINT64_MAX, &parts, err);
	for (i = 0; r == 0 && all && i < parts.n; i++)
		all = is_listed(rc, &parts.v[i].ref.segment);
	free(parts.v);
	return r == 0 && !all ? -EBADMSG : r;
}

/* A segment that the catalog does not know among those that it does. */
static bool has_gaps(const struct recovery *rc)
{
	bool unlisted = false;
	size_t i;

	for (i = 0; i < rc->n; i++) {
		if (unlisted && rc->v_found[i].listed)
			return true;
		unlisted |= !rc->v_found[i].listed;
	}
	return false;
}

/*
 * Does the catalog contradict itself or the directory? 0, or -EBADMSG; any
 * other error says nothing of the rows: they are to be kept. With a segment
 * lost, they cannot be made again as they were.
 */
static int check_rows(const struct recovery *rc, struct err *err)
{
	const struct volume *v = rc->v;
	struct catalog *c = v->store->catalog;
	struct cat_point p;
	uint64_t n;
	int r;

	if (has_gaps(rc))
		return -EBADMSG;
	r = catalog_count_points(c, v->row.id, &n, err);
	if (r < 0)
		return r;
	if (n != v->row.n_points)
		return -EBADMSG;
	r = catalog_point_newest(c, v->row.id, &p, err);
	if (r < 0)
		return r;
	if (r != (n ? 0 : 1))
		return -EBADMSG;
	r = n ? check_line(v, &p, err) : 0;
	return r == 0 ? check_segments(rc, n ? &p : NULL, err) : r;
}

static int forget_rows(struct recovery *rc)
{
	struct volume *v = rc->v;
	size_t i, kept = 0;
	int r;

	log_info("%s: the catalog's rows are made again from %zu segments",
		 rc->object, rc->n);
	r = catalog_volume_forget(v->store->catalog, v->row.id, rc->err);
	if (r < 0)
		return r;
	v->row.n_points = 0;
	for (i = 0; i < rc->n; i++) {
		struct found *f = &rc->v_found[i];

		if (!f->present) {
			log_err("%s: segment number=%llu is missing",
				rc->object, (unsigned long long)f->seg.number);
			continue;
		}
		f->listed = false;
		f->seg.sealed = false;
		f->seg.seen_bytes = SEG_HEADER_BYTES;
		rc->v_found[kept++] = *f;
	}
	rc->n = kept;
	return catalog_volume_update(v->store->catalog, &v->row, rc->err);
}

/* What the catalog says of points: the newest, and the open one's parts. */
static int load_points(struct recovery *rc)
{
	struct volume *v = rc->v;
	struct cat_parts parts;
	size_t i;
	int r;

	r = catalog_point_newest(v->store->catalog, v->row.id, &v->newest,
				 rc->err);
	if (r < 0)
		return r;
	v->has_point = r == 0;
	r = catalog_parts(v->store->catalog, v->row.id, volume_next_ord(v),
			  UINT64_MAX, &parts, rc->err);
	for (i = 0; r == 0 && i < parts.n; i++)
		r = open_point_add_part(&v->op, &parts.v[i].ref);
	v->op.n_listed = v->op.n_parts;
	free(parts.v);
	return r;
}

static int add_lost(struct recovery *rc, const struct uuid *segment,
		    uint64_t size)
{
	void *p = realloc(rc->lost, (rc->n_lost + 1) * sizeof(*rc->lost));

	if (!p)
		return -ENOMEM;
	rc->lost = p;
	rc->lost[rc->n_lost++] = (struct lost){ *segment, size };
	return 0;
}

/*
 * What lay in a segment at or beyond size is gone. Points that need it are
 * damaged; an open point that does cannot become one.
 */
static int note_damage(struct recovery *rc, const struct cat_segment *s,
		       uint64_t size)
{
	struct volume *v = rc->v;
	char text[UUID_TEXT_SIZE];
	uint64_t ord;
	int r;

	uuid_format(&s->id, text);
	log_err("%s: segment %s: listed with %llu bytes, has %llu",
		rc->object, text, (unsigned long long)s->seen_bytes,
		(unsigned long long)size);
	r = catalog_first_beyond(v->store->catalog, v->row.id, &s->id, size,
				 &ord, rc->err);
	if (r < 0)
		return r;
	if (r == 1)
		return 0;
	if (ord >= volume_next_ord(v)) {
		log_err("%s: the open point is lost with it", rc->object);
		open_point_clear(&v->op);
		return 0;
	}
	return add_lost(rc, &s->id, size);
}

/* The units that no part lists become a tail of the open point. */
static int keep_tail(struct volume *v)
{
	struct open_point *op = &v->op;
	void *p;

	if (stage_is_empty(&op->cur))
		return 0;
	p = realloc(op->tails, (op->n_tails + 1) * sizeof(*op->tails));
	if (!p)
		return -ENOMEM;
	op->tails = p;
	op->tails[op->n_tails++] = op->cur;
	op->cur = (struct stage){ 0 };
	return 0;
}

static int replay_scan(struct recovery *rc, struct found *f,
		       struct segscan *scan)
{
	struct volume *v = rc->v;
	struct cat_segment *s;
	int r;

	r = volume_add_unsealed(v, &f->seg);
	if (r < 0)
		return r;
	stage_reset(&v->op.cur, &f->seg.id);
	if (f->seg.number < rc->whole_from)
		scan->units_from = UINT64_MAX;
	else if (f->seg.number == rc->whole_from)
		scan->units_from = rc->whole_off;
	segscan_seek(scan, f->seg.seen_bytes);
	r = replay_segment(v, scan, &f->seg.seen_bytes, rc->err);
	if (r < 0)
		return r;
	if (scan->off < scan->size)
		log_info("%s: segment number=%llu: %llu bytes after offset="
			 "%llu are no records: an unfinished end",
			 rc->object, (unsigned long long)f->seg.number,
			 (unsigned long long)(scan->size - scan->off),
			 (unsigned long long)scan->off);
	s = &v->unsealed[v->n_unsealed - 1];
	s->seen_bytes = f->seg.seen_bytes;
	/* Nothing may have been marked: list the segment as it is. */
	r = v->row.id ? catalog_segment_put(v->store->catalog, v->row.id, s,
					    rc->err) : 0;
	return r == 0 ? keep_tail(v) : r;
}

static int replay_one(struct recovery *rc, struct found *f)
{
	struct volume *v = rc->v;
	struct err why = ERR_INIT;
	struct segscan scan;
	int r;

	r = segscan_open(&scan, v->store->cfg.io, v->dirfd, &f->seg.id,
			 !v->store->cfg.read_only, &why);
	if (r == -EBADMSG && f->listed)
		return note_damage(rc, &f->seg, 0);
	if (r < 0) {
		err_copy(rc->err, &why);
		return r;
	}
	if (scan.size < f->seg.seen_bytes)
		r = note_damage(rc, &f->seg, scan.size);
	else
		r = replay_scan(rc, f, &scan);
	segscan_close(&scan);
	return r;
}

static int replay_unseen(struct recovery *rc)
{
	struct volume *v = rc->v;
	struct volume_mark all_sealed = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < rc->n; i++) {
		struct found *f = &rc->v_found[i];

		v->next_number = MAX(v->next_number, f->seg.number + 1);
		if (!f->present)
			r = note_damage(rc, &f->seg, 0);
		else if (!f->seg.sealed)
			r = replay_one(rc, f);
	}
	/* With a tail pending, the segments will be read again next time. */
	if (r < 0 || v->op.n_tails || !v->n_unsealed || !v->row.id)
		return r;
	return volume_list(v, &all_sealed, rc->err);
}

/* A file that was found may not have been made durable yet. */
static int sync_directory(struct recovery *rc)
{
	struct store *s = rc->v->store;
	size_t i;
	int r = 0;

	for (i = 0; i < rc->n; i++)
		if (!rc->v_found[i].listed)
			break;
	if (i < rc->n && !s->cfg.read_only)
		r = s->cfg.io->ops->fsync(s->cfg.io, rc->v->dirfd);
	return r < 0 ? err_sys(rc->err, r, "write-failed", rc->object,
			       "fsync of its directory") : 0;
}

static void start_over(struct volume *v)
{
	volume_drop_index(v);
	(void)segfile_close(&v->seg);
	open_point_clear(&v->op);
	stage_forget_deltas(&v->op.cur);
	free(TAKE_PTR(v->unlisted.parts));
	v->unlisted = (struct unlisted){ 0 };
	v->n_unsealed = 0;
	v->n_deltas = 0;
	v->has_point = false;
	damages_free(&v->damages);
	v->failed = false;
	v->broken = true;
	err_clear(&v->why);
}

static int gather(struct recovery *rc)
{
	struct volume *v = rc->v;
	int r = 0;

	free(TAKE_PTR(rc->v_found));
	rc->n = 0;
	if (v->row.id)
		r = load_listed(rc);
	if (r == 0)
		r = scan_directory(rc);
	if (r == 0)
		r = sync_directory(rc);
	return r;
}

static int replay_rows(struct recovery *rc)
{
	int r = rc->v->row.id ? load_points(rc) : 0;

	return r == 0 ? replay_unseen(rc) : r;
}

static int keep_one(void *arg, const struct cat_point *p)
{
	*(struct cat_point *)arg = *p;
	return 0;
}

/*
 * Where the newest point's own units begin. Those of the point before it were
 * on the disk before anything was written after it: what is wrong with them is
 * damage, and no reason to give up what follows.
 */
static void find_whole_from(struct recovery *rc)
{
	struct volume *v = rc->v;
	struct cat_point before = { 0 };
	size_t i;

	rc->whole_from = rc->whole_off = 0;
	for (i = 0; v->has_point && i < rc->n; i++)
		if (uuid_equal(&rc->v_found[i].seg.id, &v->newest.segment))
			rc->whole_from = rc->v_found[i].seg.number;
	if (v->has_point && v->newest.ord > 1 &&
	    catalog_points_range(v->store->catalog, v->row.id,
				 v->newest.ord - 1, v->newest.ord - 1, keep_one,
				 &before, NULL) >= 0 &&
	    uuid_equal(&before.segment, &v->newest.segment))
		rc->whole_off = before.off + before.bytes;
}

/*
 * Everything from the segments. To read all units of a volume takes long, and
 * they were verified when the points that list them were taken up; only the
 * units of the newest point are to be verified now, as after any crash.
 * So footers first, to find the newest point, and once more from there.
 *
 * A point that never was one (its footer on the disk, some of its units not)
 * was passed over by whoever wrote on; the first look takes it for a point
 * and stumbles over what follows. Then everything is read.
 */
static int rescan(struct recovery *rc)
{
	struct volume *v = rc->v;
	int r;

	rc->whole_from = UINT64_MAX;
	r = replay_rows(rc);
	if (r < 0 && r != -EBADMSG)
		return r;
	if (r == 0)
		find_whole_from(rc);
	else
		rc->whole_from = 0;
	err_clear(rc->err);
	start_over(v);
	if (!v->row.id)
		return 0;
	r = gather(rc);
	if (r == 0)
		r = forget_rows(rc);
	return r == 0 ? replay_rows(rc) : r;
}

static int recover(struct recovery *rc)
{
	int r = gather(rc);

	if (r < 0)
		return r;
	if (!rc->v->row.id)
		return rescan(rc);
	r = check_rows(rc, rc->err);
	if (r == 0)
		return replay_rows(rc);
	if (r != -EBADMSG)
		return r;
	err_clear(rc->err);
	r = forget_rows(rc);
	return r == 0 ? rescan(rc) : r;
}

/* Which points what was known before, and what is missing now, concern. */
static void tell_damage(struct recovery *rc)
{
	struct err why = ERR_INIT;
	size_t i;
	int r;

	damage_load(rc->v);
	for (i = 0; i < rc->n_lost; i++) {
		r = probe_lost(rc->v, &rc->lost[i].segment, rc->lost[i].size,
			       &why);
		if (r < 0) {
			err_sys(&why, r, "volume-damaged", rc->object,
				"find the points that a lost segment concerns");
			log_failure(LOG_LEVEL_ERR, &why);
		}
		err_clear(&why);
	}
}

int volume_recover(struct volume *v, struct err *err)
{
	struct err why = ERR_INIT;
	struct recovery rc = { .v = v, .err = &why };
	int r;

	start_over(v);
	volume_object(v, rc.object);
	r = recover(&rc);
	free(rc.v_found);
	if (v->row.id)
		tell_damage(&rc);
	free(rc.lost);
	if (r < 0) {
		err_sys(&why, r, "volume-damaged", rc.object, "recover");
		err_copy(&v->why, &why);
		err_copy(err, &why);
		return r;
	}
	v->broken = false;
	return 0;
}
