// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog of a store that was somewhere else meanwhile. The first byte
 * chooses: even, the rest is rows, with values of any type, most of them with
 * the right hash; odd, it is changes of single bytes of a catalog's file.
 * Whatever lies there: an answer within its bounds, or an error that is told.
 */
#include "fuzz_input.h"

#include <xxhash.h>

#include "base/io.h"
#include "store/catalog_sql.h"

SCRATCH_DIR_HERE

static struct catalog *rows_in;
static uint8_t *file_bytes;
static size_t file_size;

/* u: number, i: UUID, h: hash, t: text; as the INSERT has them. */
static const struct table {
	enum catalog_statement insert;
	const char *columns;
	unsigned int id;
} tables[] = {
	{ CAT_VOLUME_ADD, "ittuuu", CAT_TABLE_VOLUMES },
	{ CAT_SEGMENT_PUT, "uiuuu", CAT_TABLE_SEGMENTS },
	{ CAT_EPOCH_PUT, "uuuuhu", CAT_TABLE_EPOCHS },
	{ CAT_POINT_ADD, "uuuuuuutuuuhhiuuu", CAT_TABLE_POINTS },
	{ CAT_PART_ADD, "uuuiuuhiuuuuu", CAT_TABLE_PARTS },
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static void put_column(struct binder *b, char kind, struct input *in)
{
	uint8_t bytes[300], how = in_u8(in);
	size_t n = 16;

	if (how >= 0xf8) {		/* not what it should be */
		kind = "uitN"[how & 3];
		n = in_u8(in);
	} else if (kind == 'h') {
		n = 32;
	} else if (kind == 't') {
		n = how & 63;
	}
	if (kind == 'u') {
		bind_u64(b, how < 0x40 ? how : in_number(in));
	} else if (kind == 'N') {
		b->next++;		/* null */
	} else if (kind == 't') {
		(void)in_bytes(in, bytes, n);
		bytes[n] = 0;
		bind_text(b, (const char *)bytes);
	} else {
		(void)in_bytes(in, bytes, n);
		bind_blob(b, bytes, n);
	}
}

static void put_row(struct catalog *c, struct input *in)
{
	const struct table *t = &tables[in_u8(in) % N_TABLES];
	const char *column;
	struct binder b;

	bind_start(c, t->insert, &b);
	for (column = t->columns; *column; column++)
		put_column(&b, *column, in);
	if (in_u8(in) == 0xff)
		b.n = b.n / 2;		/* a wrong hash */
	bind_sum(&b, t->id);
	(void)bind_run(c, &b, "fuzz", NULL);
}

static int see_point(void *arg, const struct cat_point *p)
{
	must(strnlen(p->info.meta.label, STORE_LABEL_MAX + 1) <=
	     STORE_LABEL_MAX);
	must(point_kind_name(p->info.meta.kind) != NULL);
	++*(unsigned int *)arg;
	return 0;
}

static void ask_of_volume(struct catalog *c, int64_t id)
{
	unsigned int up = 0, down = 0;
	struct cat_segments segments = { 0 };
	struct cat_parts parts = { 0 };
	struct cat_epoch e;
	struct cat_point p;
	struct uuid none = { { 0 } };
	uint64_t ord, n;
	size_t i;
	int r1, r2;

	(void)catalog_count_points(c, id, &n, NULL);
	(void)catalog_point_newest(c, id, &p, NULL);
	(void)catalog_point_find(c, id, 1, 1, &p, NULL);
	(void)catalog_point_labelled(c, id, "a", &p, NULL);
	(void)catalog_point_first(c, id, 1, &p, NULL);
	(void)catalog_point_at(c, id, 1, UINT64_MAX, INT64_MAX, &p, NULL);
	(void)catalog_epoch_get(c, id, 1, &e, NULL);
	(void)catalog_first_beyond(c, id, &none, 0, &ord, NULL);
	r1 = catalog_points(c, id, false, see_point, &up, NULL);
	r2 = catalog_points(c, id, true, see_point, &down, NULL);
	/* Ordinals that are negative as SQLite sees them are not walked up,
	 * and the walk down begins below the highest there can be. */
	must(r1 || r2 || up <= down + 1);
	if (catalog_parts(c, id, 1, 5, &parts, NULL) == 0)
		for (i = 0; i < parts.n; i++)
			must(parts.v[i].ord >= 1 && parts.v[i].ord <= 5);
	(void)catalog_segments(c, id, &segments, NULL);
	free(parts.v);
	free(segments.v);
}

static void ask_all(struct catalog *c)
{
	struct cat_volumes volumes = { 0 };
	struct err err = ERR_INIT;
	size_t i;
	int r = catalog_volumes(c, &volumes, &err);

	must(r >= 0 || err.message[0]);
	for (i = 0; r == 0 && i < volumes.n && i < 4; i++) {
		struct cat_volume *v = &volumes.v[i];

		must(strnlen(v->source, sizeof(v->source)) <= STORE_NAME_MAX &&
		     strnlen(v->name, sizeof(v->name)) <= STORE_NAME_MAX);
		ask_of_volume(c, v->id);
	}
	free(volumes.v);
	ask_of_volume(c, 1);
}

static void run_sql(struct catalog *c, const char *text)
{
	must(sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK);
}

static void rows(struct input *in)
{
	run_sql(rows_in, "SAVEPOINT input");
	while (in->n)
		put_row(rows_in, in);
	ask_all(rows_in);
	run_sql(rows_in, "ROLLBACK TO input; RELEASE input");
}

static void changed_file(struct input *in)
{
	struct catalog_config cfg = { .path = scratch_dir(), .io = io_posix(),
				      .read_only = in_u8(in) & 1 };
	struct catalog *c = NULL;
	struct err err = ERR_INIT;
	uint8_t *copy = malloc(file_size);
	char path[PATH_MAX];

	must(copy != NULL);
	memcpy(copy, file_bytes, file_size);
	while (in->n) {
		size_t at = in_u16(in);

		copy[at % file_size] = in_u8(in);
	}
	(void)snprintf(path, sizeof(path), "%s/catalog.db", cfg.path);
	scratch_write(path, copy, file_size);
	free(copy);
	if (catalog_open(&cfg, &c, &err) == 0)
		ask_all(c);
	else
		must(err.message[0]);
	catalog_close(c);
	(void)snprintf(path, sizeof(path), "%s/catalog.db-wal", cfg.path);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/catalog.db-shm", cfg.path);
	(void)unlink(path);
}

static void end(void)
{
	catalog_close(rows_in);
	free(file_bytes);
}

/* One of each table, then the file's bytes. */
static void make_file(void)
{
	static const uint8_t some[] = {
		0, 1, 'i', 1, 'a', 1, 'b', 9, 1, 2, 0,
		1, 1, 2, 'j', 1, 0, 5, 0,
		3, 1, 1, 1, 1, 1, 1, 0, 1, 'l', 1, 1, 1, 1, 1, 1, 1, 1, 1, 0,
	};
	struct catalog_config cfg = { .path = scratch_dir(), .io = io_posix() };
	struct input in = { some, sizeof(some) };
	struct catalog *c = NULL;
	char path[PATH_MAX];
	char *text = NULL;

	must(!catalog_open(&cfg, &c, NULL));
	while (in.n)
		put_row(c, &in);
	run_sql(c, "PRAGMA wal_checkpoint(TRUNCATE)");
	catalog_close(c);
	(void)snprintf(path, sizeof(path), "%s/catalog.db", cfg.path);
	must(!io_read_file(io_posix(), AT_FDCWD, path, 1 << 20, &text,
			   &file_size));
	file_bytes = (uint8_t *)text;
}

static void prepare(void)
{
	struct catalog_config cfg = { .io = io_posix() };
	char path[PATH_MAX];

	if (rows_in)
		return;
	make_file();
	(void)snprintf(path, sizeof(path), "%s/rows", scratch_dir());
	must(!mkdir(path, 0700));
	cfg.path = path;
	must(!catalog_open(&cfg, &rows_in, NULL));
	must(!atexit(end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data + 1, size - 1 };

	prepare();
	if (!size)
		return 0;
	if (data[0] & 1)
		changed_file(&in);
	else
		rows(&in);
	return 0;
}
