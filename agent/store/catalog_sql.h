/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CATALOG_SQL_H
#define STORE_CATALOG_SQL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/err.h"
#include "store/catalog.h"

/*
 * Between the catalog's files: the connection, prepared statements, and row
 * hashes. Whoever calls these holds c->lock.
 */
#define CATALOG_STATEMENTS(X)                                                 \
	X(VOLUMES, "SELECT id,uuid,source,name,size,epoch,points,sum "        \
		   "FROM volumes ORDER BY id")                                \
	X(VOLUME_ADD, "INSERT INTO volumes"                                   \
		      "(uuid,source,name,size,epoch,points,sum) "             \
		      "VALUES(?,?,?,?,?,?,?)")                                \
	X(VOLUME_SET, "UPDATE volumes SET uuid=?,source=?,name=?,size=?,"     \
		      "epoch=?,points=?,sum=? WHERE id=?")                    \
	X(FORGET_POINTS, "DELETE FROM points WHERE volume=?")                 \
	X(FORGET_MEMBERS, "DELETE FROM members WHERE volume=?")               \
	X(FORGET_PARTS, "DELETE FROM parts WHERE volume=?")                   \
	X(FORGET_SEGMENTS, "DELETE FROM segments WHERE volume=?")             \
	X(FORGET_EPOCHS, "DELETE FROM epochs WHERE volume=?")                 \
	X(VOLUME_DROP, "DELETE FROM volumes WHERE id=?")                      \
	X(SEGMENTS, "SELECT segment,number,sealed,seen,sum FROM segments "    \
		    "WHERE volume=? ORDER BY number")                         \
	X(SEGMENT_PUT, "INSERT OR REPLACE INTO segments"                      \
		       "(volume,segment,number,sealed,seen,sum) "             \
		       "VALUES(?,?,?,?,?,?)")                                 \
	X(EPOCH_PUT, "INSERT OR REPLACE INTO epochs"                          \
		     "(volume,epoch,parent_epoch,parent_seq,parent_head,"     \
		     "since,sum) VALUES(?,?,?,?,?,?,?)")                      \
	X(EPOCH_GET, "SELECT epoch,parent_epoch,parent_seq,parent_head,"      \
		     "since,sum FROM epochs WHERE volume=? AND epoch=?")      \
	X(POINT_ADD, "INSERT INTO points(volume,ord,epoch,seq,flip,"          \
		     "received,kind,label,size,changed,stored,prev_head,"     \
		     "head,segment,off,bytes,parts,sum) "                     \
		     "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")           \
	X(POINT_COUNT, "SELECT count(*) FROM points WHERE volume=?")          \
	X(POINT_NEWEST, CATALOG_POINT_COLUMNS                                 \
	  "ORDER BY ord DESC LIMIT 1")                                        \
	X(POINT_FIND, CATALOG_POINT_COLUMNS "AND epoch=? AND seq=?")          \
	X(POINT_LABEL, CATALOG_POINT_COLUMNS                                  \
	  "AND label=? AND label<>'' ORDER BY ord DESC LIMIT 1")              \
	X(POINT_AT, CATALOG_POINT_COLUMNS                                     \
	  "AND epoch=? AND seq<=? AND flip<=? ORDER BY ord DESC LIMIT 1")     \
	X(POINT_FIRST, CATALOG_POINT_COLUMNS                                  \
	  "AND epoch=? ORDER BY seq LIMIT 1")                                 \
	X(POINT_ORD, CATALOG_POINT_COLUMNS "AND ord=?")                       \
	X(MEMBER_ADD, "INSERT INTO members(volume,ord,grp,seq,members,name,"  \
		      "sum) VALUES(?,?,?,?,?,?,?)")                           \
	X(MEMBER_GET, "SELECT grp,seq,members,name,sum FROM members WHERE "   \
		      "volume=? AND ord=?")                                   \
	X(GROUP_NEXT, "SELECT min(grp) FROM members WHERE volume=? AND "      \
		      "grp>?")                                                \
	X(GROUP_NEWEST, "SELECT ord FROM members WHERE volume=? AND grp=? "   \
			"ORDER BY seq DESC, ord DESC LIMIT 1")                \
	X(GROUP_SEQ, "SELECT min(seq) FROM members WHERE grp=? AND seq>?")    \
	X(GROUP_ROWS, "SELECT volume,ord FROM members WHERE grp=? AND seq=? " \
		      "ORDER BY ord DESC LIMIT ?")                            \
	X(POINTS_UP, CATALOG_POINT_COLUMNS                                    \
	  "AND ord>? ORDER BY ord LIMIT ?")                                   \
	X(POINTS_DOWN, CATALOG_POINT_COLUMNS                                  \
	  "AND ord<? ORDER BY ord DESC LIMIT ?")                              \
	X(PART_ADD, "INSERT INTO parts(volume,ord,n,segment,off,bytes,hash,"  \
		    "data_segment,lo,hi,blocks,staged,entries,sum) "          \
		    "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)")                    \
	X(PART_DROP, "DELETE FROM parts WHERE volume=? AND ord>=?")           \
	X(PARTS, "SELECT ord,n,segment,off,bytes,hash,data_segment,lo,hi,"    \
		 "blocks,staged,entries,sum FROM parts WHERE volume=? AND "   \
		 "ord>=? AND ord<=? ORDER BY ord,n")                          \
	X(BEYOND, "SELECT min(ord) FROM ("                                    \
		  "SELECT ord FROM points WHERE volume=?1 AND segment=?2 "    \
		  "AND off+bytes>?3 UNION ALL SELECT ord FROM parts "         \
		  "WHERE volume=?1 AND ((segment=?2 AND off+bytes>?3) "       \
		  "OR (data_segment=?2 AND segment<>?2)))")                          \
	X(SEGMENT_POINTS, CATALOG_POINT_COLUMNS "AND segment=? ORDER BY ord") \
	X(SEGMENT_PARTS, "SELECT ord,n,segment,off,bytes,hash,data_segment,"  \
			 "lo,hi,blocks,staged,entries,sum FROM parts WHERE "  \
			 "volume=?1 AND (segment=?2 OR data_segment=?2) "     \
			 "ORDER BY ord,n")                                    \
	X(DAMAGES, "SELECT segment,off,kind,first,ord,part,seal,bytes,"       \
		   "end_ord,count,found,sum FROM damage WHERE volume=? "      \
		   "ORDER BY ord,part,off")                                   \
	X(DAMAGE_PUT, "INSERT OR REPLACE INTO damage(volume,segment,off,"     \
		      "kind,first,ord,part,seal,bytes,end_ord,count,found,"   \
		      "sum) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)")               \
	X(DAMAGE_DROP, "DELETE FROM damage WHERE volume=? AND segment=? AND " \
		       "off=? AND kind=? AND first=? AND ord=? AND part=?")   \
	X(FORGET_DAMAGE, "DELETE FROM damage WHERE volume="                   \
			 "(SELECT uuid FROM volumes WHERE id=?)")             \
	X(BEGIN, "BEGIN IMMEDIATE")                                           \
	X(COMMIT, "COMMIT")                                                   \
	X(ROLLBACK, "ROLLBACK")

#define CATALOG_POINT_COLUMNS                                          \
	"SELECT ord,epoch,seq,flip,received,kind,label,size,changed,"  \
	"stored,prev_head,head,segment,off,bytes,parts,sum "           \
	"FROM points WHERE volume=? "

enum catalog_statement {
#define X(name, text) CAT_##name,
	CATALOG_STATEMENTS(X)
#undef X
	CAT_N_STATEMENTS
};

struct catalog {
	pthread_mutex_t lock;
	sqlite3 *db;
	sqlite3_stmt *stmts[CAT_N_STATEMENTS];
	char path[256];			/* for failures */
	struct err unusable;		/* see catalog_unusable */
};

/*
 * A statement to bind and step, reset; NULL when it cannot be prepared (the
 * reason is then in c->db). Columns are bound in order by the bind_ calls.
 */
struct binder {
	sqlite3_stmt *stmt;
	int next;
	int failed;			/* first SQLite error */
	uint8_t bytes[768];		/* what the row's hash covers */
	size_t n;
};

void bind_start(struct catalog *c, enum catalog_statement which,
		struct binder *b);
/* Part of the row: hashed. */
void bind_u64(struct binder *b, uint64_t v);
void bind_blob(struct binder *b, const void *p, size_t n);
void bind_text(struct binder *b, const char *s);
/* The hash over what was bound so far, seeded with the table. */
void bind_sum(struct binder *b, uint64_t table);
/* Run to the end, reset. 0 or negative errno with err told. */
int bind_run(struct catalog *c, struct binder *b, const char *what,
	     struct err *err);
/* Step: 0 a row, 1 the end, negative errno with err told. */
int bind_step(struct catalog *c, struct binder *b, const char *what,
	      struct err *err);
void bind_end(struct binder *b);
/*
 * Every row of a statement that is bound, into an array of elements of
 * row_bytes that the caller frees; get reads one row of what belongs to `of`.
 * 0, or negative errno with v NULL. Ends the statement.
 */
struct row_list {
	size_t row_bytes;
	int (*get)(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		   void *row, struct err *err);
	const void *of;
	void *v;			/* in, out: NULL, 0 */
	size_t n;
};
int bind_rows(struct catalog *c, struct binder *b, const char *what,
	      struct row_list *rows, struct err *err);

/* Reading a row: columns in order, hashed as they are read. */
struct rower {
	sqlite3_stmt *stmt;
	int next;
	bool bad;
	uint8_t bytes[768];
	size_t n;
};
void row_start(struct rower *r, sqlite3_stmt *stmt);
/* What the hash covers although it is no column of the answer. */
void row_known(struct rower *r, uint64_t v);
void row_known_blob(struct rower *r, const void *p, size_t n);
uint64_t row_u64(struct rower *r);
void row_blob(struct rower *r, void *out, size_t n);
void row_text(struct rower *r, char *out, size_t cap);
/* Reads the sum. 0, or -EBADMSG "catalog-damaged" with err told. */
int row_check(struct catalog *c, struct rower *r, uint64_t table,
	      const char *what, struct err *err);

/* -EBADMSG "catalog-damaged", with the remedy. Needs no lock. */
int catalog_is_damaged(const struct catalog *c, const char *what,
		       struct err *err);

#define CAT_TABLE_VOLUMES 1U
#define CAT_TABLE_SEGMENTS 2U
#define CAT_TABLE_EPOCHS 3U
#define CAT_TABLE_POINTS 4U
#define CAT_TABLE_PARTS 5U
#define CAT_TABLE_DAMAGE 6U
#define CAT_TABLE_MEMBERS 7U

/* A row of points, of parts: columns as the statements have them. */
int catalog_get_point(struct catalog *c, sqlite3_stmt *stmt, int64_t volume,
		      struct cat_point *p, struct err *err);
/* For bind_rows: of an int64_t, the volume; a struct cat_part. */
int catalog_part_row(struct catalog *c, sqlite3_stmt *stmt, const void *of,
		     void *row, struct err *err);

/* What group the point is of, which has the rest already: catalog_group.c. */
int catalog_get_member(struct catalog *c, int64_t volume, struct cat_point *p,
		       struct err *err);
int catalog_write_member(struct catalog *c, int64_t volume,
			 const struct cat_point *p, struct err *err);

/* Write statements without a transaction of their own. */
int catalog_write_segment(struct catalog *c, int64_t volume,
			  const struct cat_segment *s, struct err *err);
int catalog_write_volume(struct catalog *c, const struct cat_volume *v,
			 struct err *err);
int catalog_plain(struct catalog *c, enum catalog_statement which,
		  struct err *err);

/* Statements without parameters. */
int catalog_run(struct catalog *c, const char *text, struct err *err);

#endif
