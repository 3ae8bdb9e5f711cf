// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's rows of volumes, segments and epochs. Points: catalog_point.c;
 * the file: catalog_open.c.
 *
 * Any thread. c->lock covers the connection and all that hangs on it.
 */
#include "store/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/catalog_sql.h"

/* ---- volumes ---- */

static int get_volume(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		      void *row, struct err *err)
{
	struct cat_volume *v = row;
	struct rower r;

	(void)of;
	memset(v, 0, sizeof(*v));
	row_start(&r, stmt);
	v->id = sqlite3_column_int64(stmt, r.next++);
	row_blob(&r, v->uuid.b, sizeof(v->uuid.b));
	row_text(&r, v->source, sizeof(v->source));
	row_text(&r, v->name, sizeof(v->name));
	v->size_bytes = row_u64(&r);
	v->epoch = row_u64(&r);
	v->n_points = row_u64(&r);
	return row_check(c, &r, CAT_TABLE_VOLUMES, "volumes", err);
}

int catalog_volumes(struct catalog *c, struct cat_volumes *out,
		    struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v), .get = get_volume };
	struct binder b;
	int r;

	bind_start(c, CAT_VOLUMES, &b);
	r = bind_rows(c, &b, "read volumes", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}

static void bind_volume(struct binder *b, const struct cat_volume *v)
{
	bind_blob(b, v->uuid.b, sizeof(v->uuid.b));
	bind_text(b, v->source);
	bind_text(b, v->name);
	bind_u64(b, v->size_bytes);
	bind_u64(b, v->epoch);
	bind_u64(b, v->n_points);
	bind_sum(b, CAT_TABLE_VOLUMES);
}

int catalog_write_volume(struct catalog *c, const struct cat_volume *v,
			 struct err *err)
{
	struct binder b;

	bind_start(c, CAT_VOLUME_SET, &b);
	bind_volume(&b, v);
	bind_u64(&b, (uint64_t)v->id);
	return bind_run(c, &b, "update a volume", err);
}

int catalog_volume_update(struct catalog *c, const struct cat_volume *v,
			  struct err *err)
{
	LOCK_SCOPE(&c->lock);

	return catalog_write_volume(c, v, err);
}

static int forget_rows(struct catalog *c, int64_t volume, struct err *err)
{
	static const enum catalog_statement each[] = {
		CAT_FORGET_POINTS, CAT_FORGET_MEMBERS, CAT_FORGET_PARTS,
		CAT_FORGET_SEGMENTS, CAT_FORGET_EPOCHS,
	};
	struct binder b;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < sizeof(each) / sizeof(each[0]); i++) {
		bind_start(c, each[i], &b);
		bind_u64(&b, (uint64_t)volume);
		r = bind_run(c, &b, "forget rows", err);
	}
	return r;
}

/* r is what the statements since BEGIN gave. */
static int finish(struct catalog *c, int r, struct err *err)
{
	if (r == 0)
		r = catalog_plain(c, CAT_COMMIT, err);
	if (r < 0 && !sqlite3_get_autocommit(c->db))
		(void)catalog_plain(c, CAT_ROLLBACK, NULL);
	return r;
}

int catalog_volume_forget(struct catalog *c, int64_t volume, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	int r = catalog_plain(c, CAT_BEGIN, err);

	if (r == 0)
		r = forget_rows(c, volume, err);
	return finish(c, r, err);
}

static int remove_rows(struct catalog *c, int64_t volume, struct err *err)
{
	struct binder b;
	int r = catalog_plain(c, CAT_BEGIN, err);

	if (r == 0)
		r = forget_rows(c, volume, err);
	if (r == 0) {
		bind_start(c, CAT_FORGET_DAMAGE, &b);
		bind_u64(&b, (uint64_t)volume);
		r = bind_run(c, &b, "forget damage", err);
	}
	if (r == 0) {
		bind_start(c, CAT_VOLUME_DROP, &b);
		bind_u64(&b, (uint64_t)volume);
		r = bind_run(c, &b, "remove a volume", err);
	}
	return finish(c, r, err);
}

/*
 * No segment tells this again: it is the one change that must not be among
 * those that a power cut may take along.
 */
int catalog_volume_remove(struct catalog *c, int64_t volume, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	int r = catalog_run(c, "PRAGMA synchronous=FULL", err);

	if (r == 0)
		r = remove_rows(c, volume, err);
	(void)catalog_run(c, "PRAGMA synchronous=NORMAL", NULL);
	return r;
}

int catalog_volume_add(struct catalog *c, struct cat_volume *v,
		       struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int64_t id = 0;
	int r;

	r = catalog_plain(c, CAT_BEGIN, err);
	if (r == 0) {
		bind_start(c, CAT_VOLUME_ADD, &b);
		bind_volume(&b, v);
		r = bind_run(c, &b, "add a volume", err);
		id = sqlite3_last_insert_rowid(c->db);
	}
	/* Rows that a lost row of the same number has left behind. */
	if (r == 0)
		r = forget_rows(c, id, err);
	r = finish(c, r, err);
	if (r == 0)
		v->id = id;
	return r;
}

/* ---- segments ---- */

static int get_segment(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		       void *row, struct err *err)
{
	const int64_t *volume = of;
	struct cat_segment *s = row;
	struct rower r;

	row_start(&r, stmt);
	row_known(&r, (uint64_t)*volume);
	row_blob(&r, s->id.b, sizeof(s->id.b));
	s->number = row_u64(&r);
	s->sealed = row_u64(&r) != 0;
	s->seen_bytes = row_u64(&r);
	return row_check(c, &r, CAT_TABLE_SEGMENTS, "segments", err);
}

int catalog_segments(struct catalog *c, int64_t volume,
		     struct cat_segments *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct row_list rows = { .row_bytes = sizeof(*out->v),
				 .get = get_segment, .of = &volume };
	struct binder b;
	int r;

	bind_start(c, CAT_SEGMENTS, &b);
	bind_u64(&b, (uint64_t)volume);
	r = bind_rows(c, &b, "read segments", &rows, err);
	out->v = rows.v;
	out->n = rows.n;
	return r;
}

int catalog_write_segment(struct catalog *c, int64_t volume,
			  const struct cat_segment *s, struct err *err)
{
	struct binder b;

	bind_start(c, CAT_SEGMENT_PUT, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_blob(&b, s->id.b, sizeof(s->id.b));
	bind_u64(&b, s->number);
	bind_u64(&b, s->sealed);
	bind_u64(&b, s->seen_bytes);
	bind_sum(&b, CAT_TABLE_SEGMENTS);
	return bind_run(c, &b, "write a segment", err);
}

int catalog_segment_put(struct catalog *c, int64_t volume,
			const struct cat_segment *s, struct err *err)
{
	LOCK_SCOPE(&c->lock);

	return catalog_write_segment(c, volume, s, err);
}

/* ---- epochs ---- */

int catalog_epoch_put(struct catalog *c, int64_t volume,
		      const struct cat_epoch *e, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;

	bind_start(c, CAT_EPOCH_PUT, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, e->epoch);
	bind_u64(&b, e->parent_epoch);
	bind_u64(&b, e->parent_seq);
	bind_blob(&b, e->parent_head.b, HEAD_BYTES);
	bind_u64(&b, (uint64_t)e->since_wall_ns);
	bind_sum(&b, CAT_TABLE_EPOCHS);
	return bind_run(c, &b, "write an epoch", err);
}

int catalog_epoch_get(struct catalog *c, int64_t volume, uint64_t epoch,
		      struct cat_epoch *out, struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	struct rower row;
	int r;

	bind_start(c, CAT_EPOCH_GET, &b);
	bind_u64(&b, (uint64_t)volume);
	bind_u64(&b, epoch);
	r = bind_step(c, &b, "read an epoch", err);
	if (r == 0) {
		row_start(&row, b.stmt);
		row_known(&row, (uint64_t)volume);
		out->epoch = row_u64(&row);
		out->parent_epoch = row_u64(&row);
		out->parent_seq = row_u64(&row);
		row_blob(&row, out->parent_head.b, HEAD_BYTES);
		out->since_wall_ns = (int64_t)row_u64(&row);
		r = row_check(c, &row, CAT_TABLE_EPOCHS, "epochs", err);
		if (r == 0 && out->epoch != epoch)
			r = catalog_is_damaged(c, "epochs: another row than "
					       "was asked for", err);
	}
	bind_end(&b);
	return r;
}
