// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's file, and its rows of volumes, segments and epochs.
 *
 * Durability: WAL with synchronous=NORMAL. A power cut may take a suffix of
 * the transactions along, never a part of one; what it takes is found again
 * in the segments, which were durable before. Only the removal of a volume is
 * synced here.
 *
 * A reader's catalog (read_only) is a private temporary copy: the store's
 * file is opened read-only, copied and closed, and nothing is repaired in it.
 *
 * Any thread. c->lock covers the connection and all that hangs on it.
 */
#include "store/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/catalog_sql.h"

#define CATALOG_VERSION 1
#define CATALOG_APPLICATION_ID 0x55537479	/* "USty" */
#define BUSY_TIMEOUT_MS 5000

static const char schema[] =
	"CREATE TABLE volumes(id INTEGER PRIMARY KEY, uuid BLOB UNIQUE, "
	"source TEXT, name TEXT, size INTEGER, epoch INTEGER, points INTEGER, "
	"sum INTEGER, UNIQUE(source, name));"
	"CREATE TABLE segments(volume INTEGER, segment BLOB, number INTEGER, "
	"sealed INTEGER, seen INTEGER, sum INTEGER, "
	"PRIMARY KEY(volume, segment)) WITHOUT ROWID;"
	"CREATE TABLE epochs(volume INTEGER, epoch INTEGER, "
	"parent_epoch INTEGER, parent_seq INTEGER, parent_head BLOB, "
	"since INTEGER, sum INTEGER, PRIMARY KEY(volume, epoch)) "
	"WITHOUT ROWID;"
	"CREATE TABLE points(volume INTEGER, ord INTEGER, epoch INTEGER, "
	"seq INTEGER, flip INTEGER, received INTEGER, kind INTEGER, "
	"label TEXT, size INTEGER, changed INTEGER, stored INTEGER, "
	"prev_head BLOB, head BLOB, segment BLOB, off INTEGER, bytes INTEGER, "
	"parts INTEGER, sum INTEGER, PRIMARY KEY(volume, ord)) WITHOUT ROWID;"
	"CREATE UNIQUE INDEX points_seq ON points(volume, epoch, seq);"
	"CREATE INDEX points_label ON points(volume, label) "
	"WHERE label<>'';"
	"CREATE TABLE parts(volume INTEGER, ord INTEGER, n INTEGER, "
	"segment BLOB, off INTEGER, bytes INTEGER, hash BLOB, "
	"data_segment BLOB, lo INTEGER, hi INTEGER, blocks INTEGER, "
	"staged INTEGER, entries INTEGER, sum INTEGER, PRIMARY KEY(volume, ord, n)) WITHOUT ROWID;";

/* Came later: a catalog without it is as good, and gets it when opened. */
static const char damage_table[] =
	"CREATE TABLE IF NOT EXISTS damage(volume BLOB, segment BLOB, "
	"off INTEGER, kind INTEGER, first INTEGER, ord INTEGER, part INTEGER, "
	"seal INTEGER, bytes INTEGER, end_ord INTEGER, count INTEGER, "
	"found INTEGER, sum INTEGER, "
	"PRIMARY KEY(volume, segment, off, kind, first, ord, part)) "
	"WITHOUT ROWID;";

static int sql_failed(struct catalog *c, int result, const char *what,
		      struct err *err)
{
	int r = (result & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO;
	bool damaged = (result & 0xff) == SQLITE_CORRUPT ||
		       (result & 0xff) == SQLITE_NOTADB;

	if (damaged)
		r = -EBADMSG;
	err_set(err, r, damaged ? "catalog-damaged" : "catalog-failed",
		c->path, "%s: %s", what,
		c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(result));
	if (damaged)
		err_remedy(err, "stop the daemon and run `understudyctl store "
				"rebuild-catalog`: it is made again from the "
				"segments");
	return r;
}

static int run_text(struct catalog *c, const char *text, struct err *err)
{
	int result = sqlite3_exec(c->db, text, NULL, NULL, NULL);

	return result == SQLITE_OK ? 0 :
				     sql_failed(c, result, "set up", err);
}

static int read_version(struct catalog *c, int *version, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int result;

	result = sqlite3_prepare_v2(c->db, "PRAGMA user_version", -1, &stmt,
				    NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(stmt);
	*version = result == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : 0;
	(void)sqlite3_finalize(stmt);
	return result == SQLITE_ROW ? 0 : sql_failed(c, result, "open", err);
}

/* Makes the tables in a new file; refuses a later version's. */
static int set_up(struct catalog *c, struct err *err)
{
	char text[128];
	int version, r;

	r = read_version(c, &version, err);
	if (r < 0)
		return r;
	if (version > CATALOG_VERSION)
		return err_set(err, -EPROTONOSUPPORT, "catalog-newer", c->path,
			       "open: version %d: this program knows %d",
			       version, CATALOG_VERSION);
	if (version)
		return run_text(c, damage_table, err);
	r = run_text(c, "BEGIN IMMEDIATE", err);
	if (r == 0)
		r = run_text(c, schema, err);
	if (r == 0)
		r = run_text(c, damage_table, err);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text),
		       "PRAGMA application_id=%d; PRAGMA user_version=%d; "
		       "COMMIT", CATALOG_APPLICATION_ID, CATALOG_VERSION);
	return run_text(c, text, err);
}

static int open_db(struct catalog *c, const char *name, int flags,
		   struct err *err)
{
	int result;

	result = sqlite3_open_v2(name, &c->db,
				 flags | SQLITE_OPEN_NOMUTEX, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	return result == SQLITE_OK ? 0 : sql_failed(c, result, "open", err);
}

static int open_writable(struct catalog *c, const struct catalog_config *cfg,
			 struct err *err)
{
	int fd, r;

	/* SQLite would create it readable by all. */
	fd = cfg->io->ops->open(cfg->io, AT_FDCWD, c->path,
				O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, fd, "catalog-failed", c->path, "create");
	(void)cfg->io->ops->close(cfg->io, fd);
	r = open_db(c, c->path, SQLITE_OPEN_READWRITE, err);
	if (r == 0)
		r = run_text(c,
			     "PRAGMA journal_mode=WAL;"
			     "PRAGMA synchronous=NORMAL;"
			     "PRAGMA cell_size_check=ON;"
			     "PRAGMA journal_size_limit=8388608;", err);
	return r == 0 ? set_up(c, err) : r;
}

/* from is the store's own file, opened read-only. */
static int copy_from(struct catalog *c, sqlite3 *from, struct err *err)
{
	sqlite3_backup *b = sqlite3_backup_init(c->db, "main", from, "main");
	int result;

	if (!b)
		return sql_failed(c, sqlite3_errcode(c->db), "copy", err);
	do {
		result = sqlite3_backup_step(b, -1);
	} while (result == SQLITE_OK);
	(void)sqlite3_backup_finish(b);
	return result == SQLITE_DONE ? 0 : sql_failed(c, result, "copy", err);
}

static bool wal_is_empty(const struct catalog *c,
			 const struct catalog_config *cfg)
{
	_cleanup_free_ char *wal = NULL;
	uint64_t size = 0;
	int fd;

	if (asprintf(&wal, "%s-wal", c->path) < 0)
		return false;
	fd = cfg->io->ops->open(cfg->io, AT_FDCWD, wal, O_RDONLY, 0);
	if (fd < 0)
		return fd == -ENOENT;
	if (cfg->io->ops->size(cfg->io, fd, &size) < 0)
		size = 1;
	(void)cfg->io->ops->close(cfg->io, fd);
	return !size;
}

static sqlite3 *open_readable(const char *path, const char *query)
{
	_cleanup_free_ char *uri = NULL;
	sqlite3 *db = NULL;
	int result;

	/* Paths with ? # or % in them would need escaping in a URI. */
	if (asprintf(&uri, query ? "file:%s?%s" : "%s", path, query) < 0)
		return NULL;
	result = sqlite3_open_v2(uri, &db,
				 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX |
					 (query ? SQLITE_OPEN_URI : 0), NULL);
	if (result == SQLITE_OK)
		result = sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	if (result == SQLITE_OK)
		result = sqlite3_exec(db, "SELECT count(*) FROM sqlite_master",
				      NULL, NULL, NULL);
	if (result == SQLITE_OK)
		return db;
	(void)sqlite3_close(db);
	return NULL;
}

/*
 * On read-only media a file in WAL mode opens only as "immutable", which is
 * right while nothing lies in the WAL.
 */
static int open_private(struct catalog *c, const struct catalog_config *cfg,
			struct err *err)
{
	sqlite3 *from = NULL;
	int fd, r;

	r = open_db(c, "", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
	if (r == 0)
		r = run_text(c, "PRAGMA cell_size_check=ON", err);
	if (r < 0)
		return r;
	fd = cfg->io->ops->open(cfg->io, AT_FDCWD, c->path, O_RDONLY, 0);
	if (fd >= 0) {
		(void)cfg->io->ops->close(cfg->io, fd);
		from = open_readable(c->path, NULL);
		if (!from && wal_is_empty(c, cfg))
			from = open_readable(c->path, "immutable=1");
		if (!from)
			return err_set(err, -EIO, "catalog-failed", c->path,
				       "open read-only: not possible here: "
				       "copy the store to where it can be "
				       "written");
		r = copy_from(c, from, err);
		(void)sqlite3_close(from);
	} else if (fd != -ENOENT) {
		return err_sys(err, fd, "catalog-failed", c->path, "open");
	}
	return r == 0 ? set_up(c, err) : r;
}

int catalog_open(const struct catalog_config *cfg, struct catalog **out,
		 struct err *err)
{
	struct catalog *c = calloc(1, sizeof(*c));
	int r, n;

	if (!c)
		return err_sys(err, -ENOMEM, "no-memory", "catalog", "open");
	pthread_mutex_init(&c->lock, NULL);
	n = snprintf(c->path, sizeof(c->path), "%s/catalog.db", cfg->path);
	if (n < 0 || (size_t)n >= sizeof(c->path))
		r = err_set(err, -ENAMETOOLONG, "path-too-long", cfg->path,
			    "open: longer than %zu bytes", sizeof(c->path));
	else if (cfg->read_only)
		r = open_private(c, cfg, err);
	else
		r = open_writable(c, cfg, err);
	if (r < 0) {
		catalog_close(c);
		return r;
	}
	*out = c;
	return 0;
}

void catalog_close(struct catalog *c)
{
	size_t i;

	if (!c)
		return;
	for (i = 0; i < CAT_N_STATEMENTS; i++)
		(void)sqlite3_finalize(c->stmts[i]);
	(void)sqlite3_close(c->db);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- volumes ---- */

static int get_volume(struct catalog *c, sqlite3_stmt *stmt,
		      struct cat_volume *v, struct err *err)
{
	struct rower r;

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

/* Grows an array of elements of size bytes by one; NULL when memory is out. */
static void *grow(void *p, size_t n, size_t size)
{
	/* Doubling at powers of two keeps the copies few. */
	if (n & (n - 1))
		return p;
	return realloc(p, (n ? 2 * n : 1) * size);
}

int catalog_volumes(struct catalog *c, struct cat_volumes *out,
		    struct err *err)
{
	LOCK_SCOPE(&c->lock);
	struct binder b;
	int r;

	*out = (struct cat_volumes){ 0 };
	bind_start(c, CAT_VOLUMES, &b);
	while ((r = bind_step(c, &b, "read volumes", err)) == 0) {
		void *p = grow(out->v, out->n, sizeof(*out->v));

		if (!p) {
			r = -ENOMEM;
			break;
		}
		out->v = p;
		r = get_volume(c, b.stmt, &out->v[out->n++], err);
		if (r < 0)
			break;
	}
	bind_end(&b);
	if (r < 0)
		free(TAKE_PTR(out->v));
	return r < 0 ? r : 0;
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
		CAT_FORGET_POINTS, CAT_FORGET_PARTS, CAT_FORGET_SEGMENTS,
		CAT_FORGET_EPOCHS,
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
	int r = run_text(c, "PRAGMA synchronous=FULL", err);

	if (r == 0)
		r = remove_rows(c, volume, err);
	(void)run_text(c, "PRAGMA synchronous=NORMAL", NULL);
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

static int get_segment(struct catalog *c, sqlite3_stmt *stmt, int64_t volume,
		       struct cat_segment *s, struct err *err)
{
	struct rower r;

	row_start(&r, stmt);
	row_known(&r, (uint64_t)volume);
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
	struct binder b;
	int r;

	*out = (struct cat_segments){ 0 };
	bind_start(c, CAT_SEGMENTS, &b);
	bind_u64(&b, (uint64_t)volume);
	while ((r = bind_step(c, &b, "read segments", err)) == 0) {
		void *p = grow(out->v, out->n, sizeof(*out->v));

		if (!p) {
			r = -ENOMEM;
			break;
		}
		out->v = p;
		r = get_segment(c, b.stmt, volume, &out->v[out->n++], err);
		if (r < 0)
			break;
	}
	bind_end(&b);
	if (r < 0)
		free(TAKE_PTR(out->v));
	return r < 0 ? r : 0;
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
