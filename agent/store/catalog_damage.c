// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's rows of known damage, and what it knows of one segment. Of
 * damage no segment tells: its rows are written with full syncs, and stand
 * under the volume's UUID, so that they outlive its other rows being made
 * again.
 *
 * Any thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/catalog_sql.h"
#include "store/damage.h"

/* ---- damage ---- */

static int get_damage(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		      void *row, struct err *err)
{
	const struct uuid *volume = of;
	struct damage *d = row;
	struct rower r;

	*d = (struct damage){ 0 };
	row_start(&r, stmt);
	row_known_blob(&r, volume->b, sizeof(volume->b));
	row_blob(&r, d->segment.b, sizeof(d->segment.b));
	d->off = row_u64(&r);
	d->kind = (enum damage_kind)row_u64(&r);
	d->first = row_u64(&r);
	d->ord = row_u64(&r);
	d->part = (uint32_t)row_u64(&r);
	d->seal = row_u64(&r) != 0;
	d->bytes = row_u64(&r);
	d->end_ord = row_u64(&r);
	d->count = row_u64(&r);
	d->found_wall_ns = (int64_t)row_u64(&r);
	return row_check(c, &r, CAT_TABLE_DAMAGE, "damage", err);
}

int catalog_damages(struct catalog *c, const struct uuid *volume,
		    struct damage **out, size_t *n, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(**out),
				 .get = get_damage, .of = volume };
	struct binder b;
	int r;

	bind_start(c, CAT_DAMAGES, &b);
	bind_blob(&b, volume->b, sizeof(volume->b));
	r = bind_rows(c, &b, "read damage", &rows, err);
	*out = rows.v;
	*n = rows.n;
	return r;
}

static void bind_place(struct binder *b, const struct uuid *volume,
		       const struct damage *d)
{
	bind_blob(b, volume->b, sizeof(volume->b));
	bind_blob(b, d->segment.b, sizeof(d->segment.b));
	bind_u64(b, d->off);
	bind_u64(b, d->kind);
	bind_u64(b, d->first);
	bind_u64(b, d->ord);
	bind_u64(b, d->part);
}

static int put_one(struct catalog *c, const struct uuid *volume,
		   const struct damage *d, struct err *err)
{
	struct binder b;

	bind_start(c, CAT_DAMAGE_PUT, &b);
	bind_place(&b, volume, d);
	bind_u64(&b, d->seal);
	bind_u64(&b, d->bytes);
	bind_u64(&b, d->end_ord);
	bind_u64(&b, d->count);
	bind_u64(&b, (uint64_t)d->found_wall_ns);
	bind_sum(&b, CAT_TABLE_DAMAGE);
	return bind_run(c, &b, "note damage", err);
}

int catalog_damage_put(struct catalog *c, const struct uuid *volume,
		       const struct damage *d, size_t n, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	size_t i;
	int r;

	if (sqlite3_exec(c->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL))
		return -EIO;
	r = catalog_plain(c, CAT_BEGIN, err);
	for (i = 0; r == 0 && i < n; i++)
		r = put_one(c, volume, &d[i], err);
	if (r == 0)
		r = catalog_plain(c, CAT_COMMIT, err);
	if (r < 0 && !sqlite3_get_autocommit(c->db))
		(void)catalog_plain(c, CAT_ROLLBACK, NULL);
	(void)sqlite3_exec(c->db, "PRAGMA synchronous=NORMAL", NULL, NULL,
			   NULL);
	return r;
}

int catalog_damage_drop(struct catalog *c, const struct uuid *volume,
			const struct damage *d, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;

	bind_start(c, CAT_DAMAGE_DROP, &b);
	bind_place(&b, volume, d);
	return bind_run(c, &b, "forget damage", err);
}

/* ---- what lies in one segment ---- */

static int get_point(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		     void *row, struct err *err)
{
	return catalog_get_point(c, stmt, *(const int64_t *)of, row, err);
}

int catalog_segment_points(struct catalog *c, int64_t volume,
			   const struct uuid *segment, struct cat_points *out,
			   struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v),
				 .get = get_point, .of = &volume };
	struct binder b;
	int r;

	bind_start(c, CAT_SEGMENT_POINTS, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, segment->b, sizeof(segment->b));
	r = bind_rows(c, &b, "read points", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}

int catalog_segment_parts(struct catalog *c, int64_t volume,
			  const struct uuid *segment, struct cat_parts *out,
			  struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v),
				 .get = catalog_part_row, .of = &volume };
	struct binder b;
	int r;

	bind_start(c, CAT_SEGMENT_PARTS, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, segment->b, sizeof(segment->b));
	r = bind_rows(c, &b, "read parts", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}
