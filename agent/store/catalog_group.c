// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's rows of points that are of a group. Such a point has a row here
 * besides its own, written in the same transaction; that it must have one shows
 * in the length of its footer, so that a row that is not found is noticed.
 *
 * Which points make a group point is not for the catalog to say: grouppoints.c.
 * Any thread.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/catalog.h"
#include "store/catalog_sql.h"

/* Points of one number of a group that are looked at. */
#define MAX_ROWS 4096U

/* By the length of its footer, which the row's hash covers. */
static bool has_member_row(const struct cat_point *p)
{
	return p->bytes == REC_HEADER_BYTES +
				   point_body_bytes(REC_GROUP_POINT, p->n_parts);
}

int catalog_write_member(struct catalog *c, int64_t volume,
			 const struct cat_point *p, struct err *err)
{
	const struct point_group *g = &p->info.meta.group;
	struct binder b;

	if (!point_has_group(&p->info.meta))
		return 0;
	bind_start(c, CAT_MEMBER_ADD, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, p->ord);
	bind_blob(&b, g->uuid.b, sizeof(g->uuid.b));
	bind_u64(&b, g->seq);
	bind_u64(&b, g->n_members);
	bind_text(&b, g->name);
	bind_sum(&b, CAT_TABLE_MEMBERS);
	return bind_run(c, &b, "add a member of a group point", err);
}

static int read_member(struct catalog *c, sqlite3_stmt *stmt, int64_t volume,
		       struct cat_point *p, struct err *err)
{
	struct point_group *g = &p->info.meta.group;
	struct rower r;

	row_start(&r, stmt);
	row_known(&r, (uint64_t)volume);
	row_known(&r, p->ord);
	row_blob(&r, g->uuid.b, sizeof(g->uuid.b));
	g->seq = row_u64(&r);
	g->n_members = (uint32_t)row_u64(&r);
	row_text(&r, g->name, sizeof(g->name));
	return row_check(c, &r, CAT_TABLE_MEMBERS, "members", err);
}

int catalog_get_member(struct catalog *c, int64_t volume, struct cat_point *p,
		       struct err *err)
{
	struct binder b;
	int r;

	if (!has_member_row(p))
		return 0;
	bind_start(c, CAT_MEMBER_GET, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, p->ord);
	r = bind_step(c, &b, "read a member of a group point", err);
	if (r == 0)
		r = read_member(c, b.stmt, volume, p, err);
	else if (r == 1)
		r = catalog_is_damaged(c, "members: a row is missing", err);
	bind_end(&b);
	return r;
}

/* The first row of a statement that is bound: 0; 1, no row or NULL in it. */
static int first_row(struct catalog *c, struct binder *b, struct err *err)
{
	int r = bind_step(c, b, "look for points of a group", err);

	return r == 0 && sqlite3_column_type(b->stmt, 0) == SQLITE_NULL ? 1 : r;
}

int catalog_group_next(struct catalog *c, int64_t volume,
		       const struct uuid *after, struct uuid *out,
		       struct err *err)
{
	LOCK_SCOPE(&c->lock);
	const struct uuid from = *after;	/* out may be the same */
	struct binder b;
	int r;

	bind_start(c, CAT_GROUP_NEXT, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, from.b, sizeof(from.b));
	r = first_row(c, &b, err);
	if (r == 0 && sqlite3_column_bytes(b.stmt, 0) != sizeof(out->b))
		r = catalog_is_damaged(c, "members: no UUID", err);
	if (r == 0)
		memcpy(out->b, sqlite3_column_blob(b.stmt, 0), sizeof(out->b));
	bind_end(&b);
	/* Each further than the one before: so a walk ends. */
	if (r == 0 && memcmp(out->b, from.b, sizeof(out->b)) <= 0)
		r = catalog_is_damaged(c, "members: not in order", err);
	return r;
}

static int newest_ord(struct catalog *c, int64_t volume,
		      const struct uuid *group, uint64_t *ord, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_GROUP_NEWEST, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, group->b, sizeof(group->b));
	r = first_row(c, &b, err);
	if (r == 0)
		*ord = (uint64_t)sqlite3_column_int64(b.stmt, 0);
	bind_end(&b);
	return r;
}

int catalog_group_newest(struct catalog *c, int64_t volume,
			 const struct uuid *group, struct cat_point *out,
			 struct err *err)
{
	uint64_t ord;
	int r = newest_ord(c, volume, group, &ord, err);

	return r == 0 ? catalog_point_ord(c, volume, ord, out, err) : r;
}

int catalog_group_seq(struct catalog *c, const struct uuid *group,
		      uint64_t after, uint64_t *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	bind_start(c, CAT_GROUP_SEQ, &b);
	bind_blob(&b, group->b, sizeof(group->b));
	bind_u64(&b, after);
	r = first_row(c, &b, err);
	if (r == 0)
		*out = (uint64_t)sqlite3_column_int64(b.stmt, 0);
	bind_end(&b);
	if (r == 0 && *out <= after)
		r = catalog_is_damaged(c, "members: not in order", err);
	return r;
}

static int member_row(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		      void *row, struct err *err)
{
	struct cat_member *m = row;

	(void)c;
	(void)of;
	(void)err;
	m->volume = sqlite3_column_int64(stmt, 0);
	m->ord = (uint64_t)sqlite3_column_int64(stmt, 1);
	return 0;
}

int catalog_group_rows(struct catalog *c, const struct uuid *group,
		       uint64_t seq, struct cat_members *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v),
				 .get = member_row };
	struct binder b;
	int r;

	bind_start(c, CAT_GROUP_ROWS, &b);
	bind_blob(&b, group->b, sizeof(group->b));
	bind_u64(&b, seq);
	bind_u64(&b, MAX_ROWS);
	r = bind_rows(c, &b, "read points of a group", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}
