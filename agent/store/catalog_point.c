// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's rows of points and parts. What one commit adds goes in as one
 * transaction, so that after a crash the catalog is as of some commit and
 * never half of one. Walks fetch a page of rows at a time and call back
 * without the lock: a slow reader must not hold up commits.
 *
 * Any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/catalog.h"
#include "store/catalog_sql.h"

#define POINTS_PER_PAGE 256U

int catalog_get_point(struct catalog *c, sqlite3_stmt *stmt, int64_t volume,
		      struct cat_point *p, struct err *err)
{
	struct point_info *i = &p->info;
	struct rower r;
	uint64_t kind;

	memset(p, 0, sizeof(*p));
	row_start(&r, stmt);
	row_known(&r, (uint64_t)volume);
	p->ord = row_u64(&r);
	i->meta.epoch = row_u64(&r);
	i->meta.seq = row_u64(&r);
	i->meta.flip_wall_ns = (int64_t)row_u64(&r);
	i->received_wall_ns = (int64_t)row_u64(&r);
	kind = row_u64(&r);
	row_text(&r, i->meta.label, sizeof(i->meta.label));
	i->meta.size_bytes = row_u64(&r);
	i->changed_bytes = row_u64(&r);
	i->stored_bytes = row_u64(&r);
	row_blob(&r, i->prev_head.b, HEAD_BYTES);
	row_blob(&r, i->head.b, HEAD_BYTES);
	row_blob(&r, p->segment.b, sizeof(p->segment.b));
	p->off = row_u64(&r);
	p->bytes = (uint32_t)row_u64(&r);
	p->n_parts = (uint32_t)row_u64(&r);
	i->meta.kind = kind <= POINT_FINAL ? (enum point_kind)kind :
					     POINT_CRASH;
	if (row_check(c, &r, CAT_TABLE_POINTS, "points", err) < 0)
		return -EBADMSG;
	return catalog_get_member(c, volume, p, err);
}

static int write_point(struct catalog *c, int64_t volume,
		       const struct cat_point *p, struct err *err)
{
	const struct point_info *i = &p->info;
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_ADD, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, p->ord);
	bind_u64(&b, i->meta.epoch);
	bind_u64(&b, i->meta.seq);
	bind_u64(&b, (uint64_t)i->meta.flip_wall_ns);
	bind_u64(&b, (uint64_t)i->received_wall_ns);
	bind_u64(&b, (uint64_t)i->meta.kind);
	bind_text(&b, i->meta.label);
	bind_u64(&b, i->meta.size_bytes);
	bind_u64(&b, i->changed_bytes);
	bind_u64(&b, i->stored_bytes);
	bind_blob(&b, i->prev_head.b, HEAD_BYTES);
	bind_blob(&b, i->head.b, HEAD_BYTES);
	bind_blob(&b, p->segment.b, sizeof(p->segment.b));
	bind_u64(&b, p->off);
	bind_u64(&b, p->bytes);
	bind_u64(&b, p->n_parts);
	bind_sum(&b, CAT_TABLE_POINTS);
	r = bind_run(c, &b, "add a point", err);
	return r == 0 ? catalog_write_member(c, volume, p, err) : r;
}

static int write_part(struct catalog *c, const struct cat_change *change,
		      uint32_t n, struct err *err)
{
	const struct part_ref *p = &change->parts[n];
	struct binder b;

	bind_start(c, CAT_PART_ADD, &b);
	bind_u64(&b, (uint64_t)change->volume->id);
	bind_u64(&b, change->ord);
	bind_u64(&b, n);
	bind_blob(&b, p->segment.b, sizeof(p->segment.b));
	bind_u64(&b, p->off);
	bind_u64(&b, p->bytes);
	bind_blob(&b, p->hash.b, DIGEST_BYTES);
	bind_blob(&b, p->data_segment.b, sizeof(p->data_segment.b));
	bind_u64(&b, p->lo);
	bind_u64(&b, p->hi);
	bind_u64(&b, p->blocks);
	bind_u64(&b, p->staged_bytes);
	bind_u64(&b, p->n_entries);
	bind_sum(&b, CAT_TABLE_PARTS);
	return bind_run(c, &b, "add a part", err);
}

static int write_parts(struct catalog *c, const struct cat_change *change,
		       struct err *err)
{
	uint32_t n;
	int r = 0;

	for (n = change->from_part; r == 0 && n < change->n_parts; n++)
		r = write_part(c, change, n, err);
	return r;
}

static int drop_open(struct catalog *c, const struct cat_change *change,
		     struct err *err)
{
	struct binder b;

	bind_start(c, CAT_PART_DROP, &b);
	bind_u64(&b, (uint64_t)change->volume->id);
	bind_u64(&b, change->ord);
	return bind_run(c, &b, "forget parts", err);
}

static int apply(struct catalog *c, const struct cat_change *change,
		 struct err *err)
{
	size_t i;
	int r = 0;

	if (change->drop_open)
		r = drop_open(c, change, err);
	if (r == 0)
		r = write_parts(c, change, err);
	if (r == 0 && change->point)
		r = write_point(c, change->volume->id, change->point, err);
	for (i = 0; r == 0 && i < change->n_segments; i++)
		r = catalog_write_segment(c, change->volume->id,
					  &change->segments[i], err);
	if (r == 0)
		r = catalog_write_volume(c, change->volume, err);
	return r;
}

int catalog_apply(struct catalog *c, const struct cat_change *change,
		  struct err *err)
{
	LOCK_SCOPE(&c->lock);
	int r;

	r = catalog_plain(c, CAT_BEGIN, err);
	if (r == 0)
		r = apply(c, change, err);
	if (r == 0)
		r = catalog_plain(c, CAT_COMMIT, err);
	if (r < 0 && !sqlite3_get_autocommit(c->db))
		(void)catalog_plain(c, CAT_ROLLBACK, NULL);
	return r;
}

int catalog_count_points(struct catalog *c, int64_t volume, uint64_t *out,
			 struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_COUNT, &b);
	bind_u64(&b, (uint64_t)volume);
	r = bind_step(c, &b, "count points", err);
	*out = r == 0 ? (uint64_t)sqlite3_column_int64(b.stmt, 0) : 0;
	bind_end(&b);
	return r < 0 ? r : 0;
}

/*
 * What SQLite gives for a question went through an index or a tree whose pages
 * have no hash of ours: the row is sound, and may be another one than asked
 * for. r is what reading it gave.
 */
static int as_asked(struct catalog *c, int r, bool is_it, struct err *err)
{
	return r || is_it ? r : catalog_is_damaged(c, "points: another row "
						   "than was asked for", err);
}

/* The statement is bound; takes its first row. */
static int one_point(struct catalog *c, struct binder *b, int64_t volume,
		     struct cat_point *out, struct err *err)
{
	int r = bind_step(c, b, "read a point", err);

	memset(out, 0, sizeof(*out));
	if (r == 0)
		r = catalog_get_point(c, b->stmt, volume, out, err);
	bind_end(b);
	return r;
}

int catalog_point_newest(struct catalog *c, int64_t volume,
			 struct cat_point *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;

	bind_start(c, CAT_POINT_NEWEST, &b);
	bind_u64(&b, (uint64_t)volume);
	return one_point(c, &b, volume, out, err);
}

int catalog_point_ord(struct catalog *c, int64_t volume, uint64_t ord,
		      struct cat_point *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_ORD, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, ord);
	r = one_point(c, &b, volume, out, err);
	return as_asked(c, r, out->ord == ord, err);
}

int catalog_point_find(struct catalog *c, int64_t volume, uint64_t epoch,
		       uint64_t seq, struct cat_point *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_FIND, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, epoch);
	bind_u64(&b, seq);
	r = one_point(c, &b, volume, out, err);
	return as_asked(c, r, out->info.meta.epoch == epoch &&
				      out->info.meta.seq == seq, err);
}

int catalog_point_first(struct catalog *c, int64_t volume, uint64_t epoch,
			struct cat_point *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_FIRST, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, epoch);
	r = one_point(c, &b, volume, out, err);
	return as_asked(c, r, out->info.meta.epoch == epoch, err);
}

int catalog_point_labelled(struct catalog *c, int64_t volume,
			   const char *label, struct cat_point *out,
			   struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_LABEL, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_text(&b, label);
	r = one_point(c, &b, volume, out, err);
	return as_asked(c, r, !strcmp(out->info.meta.label, label), err);
}

int catalog_point_at(struct catalog *c, int64_t volume, uint64_t epoch,
		     uint64_t max_seq, int64_t wall_ns, struct cat_point *out,
		     struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_POINT_AT, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, epoch);
	bind_u64(&b, MIN(max_seq, (uint64_t)INT64_MAX));
	bind_u64(&b, (uint64_t)wall_ns);
	r = one_point(c, &b, volume, out, err);
	return as_asked(c, r, out->info.meta.epoch == epoch &&
				      out->info.meta.seq <= max_seq &&
				      out->info.meta.flip_wall_ns <= wall_ns,
			err);
}

/* Rows after the given ordinal; n is how many were had. */
static int fetch_page(struct catalog *c, int64_t volume, bool backwards,
		      uint64_t after, struct cat_point *page, size_t *n,
		      struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	*n = 0;
	bind_start(c, backwards ? CAT_POINTS_DOWN : CAT_POINTS_UP, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, after);
	bind_u64(&b, POINTS_PER_PAGE);
	while ((r = bind_step(c, &b, "read points", err)) == 0) {
		r = catalog_get_point(c, b.stmt, volume, &page[*n], err);
		if (r < 0)
			break;
		(*n)++;
	}
	bind_end(&b);
	return r < 0 ? r : 0;
}

int catalog_points_range(struct catalog *c, int64_t volume, uint64_t from,
			 uint64_t to,
			 int (*cb)(void *arg, const struct cat_point *p),
			 void *arg, struct err *err)
{
	_cleanup_free_ struct cat_point *page = NULL;
	uint64_t after = from - 1;
	size_t n, i;
	int r;

	page = calloc(POINTS_PER_PAGE, sizeof(*page));
	if (!page)
		return -ENOMEM;
	do {
		r = fetch_page(c, volume, false, after, page, &n, err);
		for (i = 0; r == 0 && i < n; i++) {
			/* Each further than the one before: so it ends. */
			if (page[i].ord <= after)
				return catalog_is_damaged(
					c, "points: not in order", err);
			if (page[i].ord > to)
				return 0;
			after = page[i].ord;
			r = cb(arg, &page[i]);
		}
	} while (r == 0 && n == POINTS_PER_PAGE);
	return r;
}

int catalog_points(struct catalog *c, int64_t volume, bool backwards,
		   int (*cb)(void *arg, const struct cat_point *p), void *arg,
		   struct err *err)
{
	_cleanup_free_ struct cat_point *page = NULL;
	uint64_t after = backwards ? INT64_MAX : 0;
	size_t n, i;
	int r;

	page = calloc(POINTS_PER_PAGE, sizeof(*page));
	if (!page)
		return -ENOMEM;
	do {
		r = fetch_page(c, volume, backwards, after, page, &n, err);
		if (r < 0)
			return r;
		for (i = 0; i < n; i++) {
			/* Each further than the one before: so it ends. */
			if (backwards ? page[i].ord >= after :
					page[i].ord <= after)
				return catalog_is_damaged(
					c, "points: not in order", err);
			after = page[i].ord;
			r = cb(arg, &page[i]);
			if (r)
				return r;
		}
	} while (n == POINTS_PER_PAGE);
	return 0;
}

int catalog_part_row(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		     void *row, struct err *err)
{
	const int64_t *volume = of;
	struct cat_part *p = row;
	struct part_ref *ref = &p->ref;
	struct rower r;

	row_start(&r, stmt);
	row_known(&r, (uint64_t)*volume);
	p->ord = row_u64(&r);
	p->n = (uint32_t)row_u64(&r);
	row_blob(&r, ref->segment.b, sizeof(ref->segment.b));
	ref->off = row_u64(&r);
	ref->bytes = (uint32_t)row_u64(&r);
	row_blob(&r, ref->hash.b, DIGEST_BYTES);
	row_blob(&r, ref->data_segment.b, sizeof(ref->data_segment.b));
	ref->lo = row_u64(&r);
	ref->hi = row_u64(&r);
	ref->blocks = row_u64(&r);
	ref->staged_bytes = row_u64(&r);
	ref->n_entries = (uint32_t)row_u64(&r);
	return row_check(c, &r, CAT_TABLE_PARTS, "parts", err);
}

int catalog_parts(struct catalog *c, int64_t volume, uint64_t from,
		  uint64_t to, struct cat_parts *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v),
				 .get = catalog_part_row, .of = &volume };
	struct binder b;
	int r;

	bind_start(c, CAT_PARTS, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, from);
	bind_u64(&b, MIN(to, (uint64_t)INT64_MAX));
	r = bind_rows(c, &b, "read parts", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}

int catalog_first_beyond(struct catalog *c, int64_t volume,
			 const struct uuid *segment, uint64_t size,
			 uint64_t *ord, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_BEYOND, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, segment->b, sizeof(segment->b));
	bind_u64(&b, size);
	r = bind_step(c, &b, "look for damage", err);
	if (r == 0 && sqlite3_column_type(b.stmt, 0) == SQLITE_NULL)
		r = 1;
	if (r == 0)
		*ord = (uint64_t)sqlite3_column_int64(b.stmt, 0);
	bind_end(&b);
	return r;
}
