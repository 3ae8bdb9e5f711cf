// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite as the catalog uses it: statements prepared once, columns bound and
 * read in order, and a hash over each row's columns in that same order, so
 * that a page damaged below SQLite is noticed. Called with the catalog's lock
 * held.
 */
#include "store/catalog_sql.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/bytes.h"

static const char *const texts[CAT_N_STATEMENTS] = {
#define X(name, text) [CAT_##name] = text,
	CATALOG_STATEMENTS(X)
#undef X
};

static int errno_of(int sqlite_result)
{
	switch (sqlite_result & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

int catalog_is_damaged(const struct catalog *c, const char *what,
		       struct err *err)
{
	err_set(err, -EBADMSG, "catalog-damaged", c->path, "%s", what);
	err_remedy(err, "stop the daemon and run `understudyctl store "
			"rebuild-catalog`: it is made again from the segments");
	return -EBADMSG;
}

static int told(struct catalog *c, int result, const char *what,
		struct err *err)
{
	int r = errno_of(result);
	char text[160];

	if (r == -EBADMSG) {
		(void)snprintf(text, sizeof(text), "%s: %s", what,
			       sqlite3_errmsg(c->db));
		return catalog_is_damaged(c, text, err);
	}
	return err_set(err, r, r == -ENOSPC ? "store-full" : "catalog-failed",
		       c->path, "%s: %s", what, sqlite3_errmsg(c->db));
}

void bind_start(struct catalog *c, enum catalog_statement which,
		struct binder *b)
{
	*b = (struct binder){ .next = 1 };
	if (!c->stmts[which])
		b->failed = sqlite3_prepare_v3(c->db, texts[which], -1,
					       SQLITE_PREPARE_PERSISTENT,
					       &c->stmts[which], NULL);
	b->stmt = c->stmts[which];
}

static void note(struct binder *b, int result)
{
	if (!b->failed)
		b->failed = result;
}

static void cover(uint8_t *bytes, size_t room, size_t *n, const void *p,
		  size_t len)
{
	/* Rows have a bounded size; what would not fit is not covered. */
	if (len > room - *n)
		len = room - *n;
	memcpy(bytes + *n, p, len);
	*n += len;
}

void bind_u64(struct binder *b, uint64_t v)
{
	uint8_t le[8];

	put_le64(le, v);
	cover(b->bytes, sizeof(b->bytes), &b->n, le, sizeof(le));
	note(b, sqlite3_bind_int64(b->stmt, b->next++, (int64_t)v));
}

void bind_blob(struct binder *b, const void *p, size_t n)
{
	cover(b->bytes, sizeof(b->bytes), &b->n, p, n);
	note(b, sqlite3_bind_blob(b->stmt, b->next++, p, (int)n,
				  SQLITE_TRANSIENT));
}

void bind_text(struct binder *b, const char *s)
{
	cover(b->bytes, sizeof(b->bytes), &b->n, s, strlen(s) + 1);
	note(b, sqlite3_bind_text(b->stmt, b->next++, s, -1,
				  SQLITE_TRANSIENT));
}

void bind_sum(struct binder *b, uint64_t table)
{
	uint64_t sum = XXH3_64bits_withSeed(b->bytes, b->n, table);

	note(b, sqlite3_bind_int64(b->stmt, b->next++, (int64_t)sum));
}

void bind_end(struct binder *b)
{
	if (!b->stmt)
		return;
	(void)sqlite3_reset(b->stmt);
	(void)sqlite3_clear_bindings(b->stmt);
}

int bind_step(struct catalog *c, struct binder *b, const char *what,
	      struct err *err)
{
	int result = b->failed;

	if (!result)
		result = sqlite3_step(b->stmt);
	if (result == SQLITE_ROW)
		return 0;
	if (result == SQLITE_DONE)
		return 1;
	return told(c, result, what, err);
}

int bind_run(struct catalog *c, struct binder *b, const char *what,
	     struct err *err)
{
	int r;

	do {
		r = bind_step(c, b, what, err);
	} while (r == 0);
	bind_end(b);
	return r < 0 ? r : 0;
}

/* Room for one more. Doubling at powers of two keeps the copies few. */
static void *next_row(struct row_list *rows)
{
	size_t n = rows->n;
	void *p = rows->v;

	if (!(n & (n - 1))) {
		p = realloc(rows->v, (n ? 2 * n : 1) * rows->row_bytes);
		if (!p)
			return NULL;
		rows->v = p;
	}
	rows->n++;
	return (uint8_t *)p + n * rows->row_bytes;
}

int bind_rows(struct catalog *c, struct binder *b, const char *what,
	      struct row_list *rows, struct err *err)
{
	int r;

	while ((r = bind_step(c, b, what, err)) == 0) {
		void *row = next_row(rows);

		r = row ? rows->get(c, b->stmt, rows->of, row, err) : -ENOMEM;
		if (r < 0)
			break;
	}
	bind_end(b);
	if (r >= 0)
		return 0;
	free(TAKE_PTR(rows->v));
	rows->n = 0;
	return r;
}

int catalog_plain(struct catalog *c, enum catalog_statement which,
		  struct err *err)
{
	struct binder b;

	bind_start(c, which, &b);
	return bind_run(c, &b, texts[which], err);
}

void row_start(struct rower *r, sqlite3_stmt *stmt)
{
	*r = (struct rower){ .stmt = stmt };
}

void row_known(struct rower *r, uint64_t v)
{
	uint8_t le[8];

	put_le64(le, v);
	cover(r->bytes, sizeof(r->bytes), &r->n, le, sizeof(le));
}

void row_known_blob(struct rower *r, const void *p, size_t n)
{
	cover(r->bytes, sizeof(r->bytes), &r->n, p, n);
}

uint64_t row_u64(struct rower *r)
{
	uint64_t v;

	if (sqlite3_column_type(r->stmt, r->next) != SQLITE_INTEGER)
		r->bad = true;
	v = (uint64_t)sqlite3_column_int64(r->stmt, r->next++);
	row_known(r, v);
	return v;
}

void row_blob(struct rower *r, void *out, size_t n)
{
	const void *p = sqlite3_column_blob(r->stmt, r->next);

	if (!p || (size_t)sqlite3_column_bytes(r->stmt, r->next) != n) {
		r->bad = true;
		memset(out, 0, n);
	} else {
		memcpy(out, p, n);
	}
	r->next++;
	cover(r->bytes, sizeof(r->bytes), &r->n, out, n);
}

void row_text(struct rower *r, char *out, size_t cap)
{
	const unsigned char *p = sqlite3_column_text(r->stmt, r->next);
	size_t n = p ? (size_t)sqlite3_column_bytes(r->stmt, r->next) : 0;

	if (!p || n >= cap) {
		r->bad = true;
		n = 0;
	}
	if (n)
		memcpy(out, p, n);
	out[n] = 0;
	r->next++;
	cover(r->bytes, sizeof(r->bytes), &r->n, out, strlen(out) + 1);
}

int row_check(struct catalog *c, struct rower *r, uint64_t table,
	      const char *what, struct err *err)
{
	uint64_t want = XXH3_64bits_withSeed(r->bytes, r->n, table);
	uint64_t sum = (uint64_t)sqlite3_column_int64(r->stmt, r->next++);
	char text[80];

	if (!r->bad && sum == want)
		return 0;
	(void)snprintf(text, sizeof(text), "%s: a row does not match its hash",
		       what);
	return catalog_is_damaged(c, text, err);
}
