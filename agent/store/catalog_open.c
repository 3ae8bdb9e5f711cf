// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog's file: made, opened, checked.
 *
 * Durability: WAL with synchronous=NORMAL. A power cut may take a suffix of
 * the transactions along, never a part of one; what it takes is found again
 * in the segments, which were durable before. Only the removal of a volume is
 * synced (catalog.c).
 *
 * A reader's catalog (read_only) is a private temporary copy: the store's
 * file is opened read-only, copied and closed, and nothing is repaired in it.
 */
#include "store/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/catalog_sql.h"

#define CATALOG_VERSION 2
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

/* From version 2 on: what group a point is of; most points have no row. */
static const char members_table[] =
	"CREATE TABLE IF NOT EXISTS members(volume INTEGER, ord INTEGER, grp BLOB, "
	"seq INTEGER, members INTEGER, name TEXT, sum INTEGER, "
	"PRIMARY KEY(volume, ord)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS members_group ON members(grp, seq);"
	"CREATE INDEX IF NOT EXISTS members_volume ON members(volume, grp, seq);";

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
		c->db && sqlite3_errcode(c->db) == (result & 0xff) ?
			sqlite3_errmsg(c->db) : sqlite3_errstr(result));
	if (damaged)
		err_remedy(err, "stop the daemon and run `understudyctl store "
				"rebuild-catalog`: it is made again from the "
				"segments");
	return r;
}

int catalog_run(struct catalog *c, const char *text, struct err *err)
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

/*
 * Pages that contradict each other, an index that lacks a row: SQLite would
 * find another row than the right one, or none, and say nothing. Row hashes
 * cannot tell of a row that is not found.
 */
static int check_structure(struct catalog *c, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	const unsigned char *text = NULL;
	int result;

	result = sqlite3_prepare_v2(c->db, "PRAGMA integrity_check(1)", -1,
				    &stmt, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(stmt);
	if (result == SQLITE_ROW)
		text = sqlite3_column_text(stmt, 0);
	if (result == SQLITE_ROW && (!text || strcmp((const char *)text, "ok")))
		result = SQLITE_CORRUPT;
	(void)sqlite3_finalize(stmt);
	return result == SQLITE_ROW ? 0 : sql_failed(c, result, "check", err);
}

/* All that defines the tables, as one text; the caller frees it with SQLite. */
static char *read_schema(sqlite3 *db)
{
	sqlite3_str *text = sqlite3_str_new(db);
	sqlite3_stmt *stmt = NULL;
	int result;

	result = sqlite3_prepare_v2(db, "SELECT type,name,tbl_name,sql FROM "
					"sqlite_master ORDER BY type,name",
				    -1, &stmt, NULL);
	while (result == SQLITE_OK || result == SQLITE_ROW) {
		result = sqlite3_step(stmt);
		if (result == SQLITE_ROW)
			sqlite3_str_appendf(text, "%s %s %s %s\n",
					    sqlite3_column_text(stmt, 0),
					    sqlite3_column_text(stmt, 1),
					    sqlite3_column_text(stmt, 2),
					    sqlite3_column_text(stmt, 3));
	}
	(void)sqlite3_finalize(stmt);
	if (result == SQLITE_DONE)
		return sqlite3_str_finish(text);
	sqlite3_free(sqlite3_str_finish(text));
	return NULL;
}

/* The tables are those that this program would have made: no byte of their
 * definitions is another. */
static int check_schema(struct catalog *c, struct err *err)
{
	char *want = NULL, *have = read_schema(c->db);
	sqlite3 *fresh = NULL;
	int result;

	result = sqlite3_open_v2(":memory:", &fresh,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
				 NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(fresh, schema, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(fresh, damage_table, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(fresh, members_table, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		want = read_schema(fresh);
	if (result == SQLITE_OK && !want)
		result = SQLITE_NOMEM;
	if (result == SQLITE_OK && (!have || strcmp(have, want)))
		result = SQLITE_CORRUPT;
	(void)sqlite3_close(fresh);
	sqlite3_free(want);
	sqlite3_free(have);
	return result == SQLITE_OK ? 0 : sql_failed(c, result, "check", err);
}

/* Makes the tables that this version lacks, 0 all of them, as one change. */
static int make_tables(struct catalog *c, int version, struct err *err)
{
	char text[128];
	int r;

	r = catalog_run(c, "BEGIN IMMEDIATE", err);
	if (r == 0 && !version)
		r = catalog_run(c, schema, err);
	if (r == 0)
		r = catalog_run(c, damage_table, err);
	if (r == 0)
		r = catalog_run(c, members_table, err);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text),
		       "PRAGMA application_id=%d; PRAGMA user_version=%d; "
		       "COMMIT", CATALOG_APPLICATION_ID, CATALOG_VERSION);
	return catalog_run(c, text, err);
}

/*
 * Makes the tables in a new file, and what an older version lacks; refuses a
 * later version's, and one that is damaged.
 */
static int set_up(struct catalog *c, struct err *err)
{
	int version, r;

	r = read_version(c, &version, err);
	if (r < 0)
		return r;
	if (version > CATALOG_VERSION)
		return err_set(err, -EPROTONOSUPPORT, "catalog-newer", c->path,
			       "open: version %d: this program knows %d",
			       version, CATALOG_VERSION);
	if (version)
		r = check_structure(c, err);
	if (r == 0 && version < CATALOG_VERSION)
		r = make_tables(c, version, err);
	/* Also of what was here before: all of it must be as it was made. */
	return r == 0 && version ? check_schema(c, err) : r;
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
		r = catalog_run(c,
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

static sqlite3 *open_readable(const char *path, const char *query, int *result)
{
	_cleanup_free_ char *uri = NULL;
	sqlite3 *db = NULL;

	/* Paths with ? # or % in them would need escaping in a URI. */
	*result = SQLITE_NOMEM;
	if (asprintf(&uri, query ? "file:%s?%s" : "%s", path, query) < 0)
		return NULL;
	*result = sqlite3_open_v2(uri, &db,
				 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX |
					 (query ? SQLITE_OPEN_URI : 0), NULL);
	if (*result == SQLITE_OK)
		*result = sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	/* Nor does closing it move anything from the log into the file. */
	if (*result == SQLITE_OK)
		*result = sqlite3_db_config(db,
					    SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
					    NULL);
	if (*result == SQLITE_OK)
		*result = sqlite3_exec(db, "SELECT count(*) FROM sqlite_master",
				      NULL, NULL, NULL);
	if (*result == SQLITE_OK)
		return db;
	(void)sqlite3_close(db);
	return NULL;
}

static int open_empty(struct catalog *c, struct err *err)
{
	int r = open_db(c, "", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

	return r == 0 ? catalog_run(c, "PRAGMA cell_size_check=ON", err) : r;
}

/*
 * On read-only media a file in WAL mode opens only as "immutable", which is
 * right while nothing lies in the WAL.
 */
static int open_copy(struct catalog *c, const struct catalog_config *cfg,
		     struct err *err)
{
	sqlite3 *from = NULL;
	int fd, result, r = open_empty(c, err);

	if (r < 0)
		return r;
	fd = cfg->io->ops->open(cfg->io, AT_FDCWD, c->path, O_RDONLY, 0);
	if (fd >= 0) {
		(void)cfg->io->ops->close(cfg->io, fd);
		from = open_readable(c->path, NULL, &result);
		if (!from && wal_is_empty(c, cfg))
			from = open_readable(c->path, "immutable=1",
					     &result);
		if (!from && (result & 0xff) == SQLITE_NOTADB)
			return sql_failed(c, result, "open", err);
		if (!from && (result & 0xff) == SQLITE_CORRUPT)
			return sql_failed(c, result, "open", err);
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

/*
 * Who only reads does without a catalog that is damaged: an empty one makes the
 * store read the segments, as after its loss.
 */
static int open_private(struct catalog *c, const struct catalog_config *cfg,
			struct err *err)
{
	struct err why = ERR_INIT;
	int r = open_copy(c, cfg, &why);

	if (r != -EBADMSG) {
		err_copy(err, &why);
		return r;
	}
	log_failure(LOG_LEVEL_WARN, &why);
	err_copy(&c->unusable, &why);
	(void)sqlite3_close(TAKE_PTR(c->db));
	r = open_empty(c, err);
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

const struct err *catalog_unusable(const struct catalog *c)
{
	return &c->unusable;
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
