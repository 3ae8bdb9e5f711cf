/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CATALOG_H
#define STORE_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "store/footfmt.h"
#include "store/store.h"

/*
 * What is in the store, for looking up: SQLite. It follows the footers in the
 * segments and never leads them: losing it, or a suffix of its transactions,
 * costs a scan. Every row carries a hash; a row that fails it is -EBADMSG
 * "catalog-damaged" and is never used.
 *
 * Any thread: each call locks. Callbacks run without the lock.
 */
struct catalog;

struct catalog_config {
	const char *path;		/* directory of the store */
	struct io *io;
	bool read_only;			/* works on a private copy */
};

int catalog_open(const struct catalog_config *cfg, struct catalog **out,
		 struct err *err);
void catalog_close(struct catalog *c);
/* Of a reader's: why it does without the store's own. num 0: it need not. */
const struct err *catalog_unusable(const struct catalog *c);

/* ---- volumes ---- */

struct cat_volume {
	int64_t id;			/* row */
	struct uuid uuid;
	char source[STORE_NAME_MAX + 1];
	char name[STORE_NAME_MAX + 1];
	uint64_t size_bytes;
	uint64_t epoch;
	uint64_t n_points;		/* rows of points that there must be */
};

struct cat_volumes {
	struct cat_volume *v;
	size_t n;
};

/* All of them; the caller frees v. */
int catalog_volumes(struct catalog *c, struct cat_volumes *out,
		    struct err *err);
/* Sets v->id. -EEXIST: UUID or full name is taken. */
int catalog_volume_add(struct catalog *c, struct cat_volume *v,
		       struct err *err);
int catalog_volume_update(struct catalog *c, const struct cat_volume *v,
			  struct err *err);
/* Drop everything that segments can tell again; the volume's row stays. */
int catalog_volume_forget(struct catalog *c, int64_t volume, struct err *err);

/* All that is told of a volume, durably on return. */
int catalog_volume_remove(struct catalog *c, int64_t volume, struct err *err);

/* ---- segments ---- */

struct cat_segment {
	struct uuid id;
	uint64_t number;
	bool sealed;			/* nothing in it is unseen */
	uint64_t seen_bytes;		/* the catalog knows what lies before */
};

struct cat_segments {
	struct cat_segment *v;
	size_t n;
};

/* By number; the caller frees v. */
int catalog_segments(struct catalog *c, int64_t volume,
		     struct cat_segments *out, struct err *err);
int catalog_segment_put(struct catalog *c, int64_t volume,
			const struct cat_segment *s, struct err *err);

/* ---- epochs ---- */

struct cat_epoch {
	uint64_t epoch;
	uint64_t parent_epoch, parent_seq;
	struct head parent_head;
	int64_t since_wall_ns;
};
int catalog_epoch_put(struct catalog *c, int64_t volume,
		      const struct cat_epoch *e, struct err *err);
/* 1 when there is no such row. */
int catalog_epoch_get(struct catalog *c, int64_t volume, uint64_t epoch,
		      struct cat_epoch *out, struct err *err);

/* ---- points and their parts ---- */

struct cat_point {
	uint64_t ord;
	struct point_info info;
	struct uuid segment;		/* of the footer */
	uint64_t off;
	uint32_t bytes;
	uint32_t n_parts;
};

/*
 * One transaction: parts [from_part, n_parts) of the point, the point when it
 * is given (else the parts are those of the open point), the states of
 * segments, the volume.
 */
struct cat_change {
	const struct cat_volume *volume;
	const struct cat_point *point;	/* or NULL */
	uint64_t ord;			/* of the parts */
	const struct part_ref *parts;
	uint32_t from_part, n_parts;
	const struct cat_segment *segments;
	size_t n_segments;
	bool drop_open;			/* forget parts at and above ord */
};
int catalog_apply(struct catalog *c, const struct cat_change *change,
		  struct err *err);

int catalog_count_points(struct catalog *c, int64_t volume, uint64_t *out,
			 struct err *err);
/* These: 0; 1 when there is none; negative errno. */
int catalog_point_newest(struct catalog *c, int64_t volume,
			 struct cat_point *out, struct err *err);
int catalog_point_ord(struct catalog *c, int64_t volume, uint64_t ord,
		      struct cat_point *out, struct err *err);
int catalog_point_find(struct catalog *c, int64_t volume, uint64_t epoch,
		       uint64_t seq, struct cat_point *out, struct err *err);
int catalog_point_labelled(struct catalog *c, int64_t volume,
			   const char *label, struct cat_point *out,
			   struct err *err);
/* The first of an epoch. */
int catalog_point_first(struct catalog *c, int64_t volume, uint64_t epoch,
			struct cat_point *out, struct err *err);
/* Newest of epoch, with sequence <= max_seq and flip <= wall_ns. */
int catalog_point_at(struct catalog *c, int64_t volume, uint64_t epoch,
		     uint64_t max_seq, int64_t wall_ns, struct cat_point *out,
		     struct err *err);
/* Of points [from, to], by ordinal; non-zero from cb ends the walk. */
int catalog_points_range(struct catalog *c, int64_t volume, uint64_t from,
			 uint64_t to,
			 int (*cb)(void *arg, const struct cat_point *p),
			 void *arg, struct err *err);
/* By ordinal; non-zero from cb ends the walk. */
int catalog_points(struct catalog *c, int64_t volume, bool backwards,
		   int (*cb)(void *arg, const struct cat_point *p), void *arg,
		   struct err *err);

/* ---- points of groups ---- */

/* The group after this one, by UUID, that the volume has points of. 0; 1. */
int catalog_group_next(struct catalog *c, int64_t volume,
		       const struct uuid *after, struct uuid *out,
		       struct err *err);
/* The volume's newest point of it, by the group's sequence. 0; 1. */
int catalog_group_newest(struct catalog *c, int64_t volume,
			 const struct uuid *group, struct cat_point *out,
			 struct err *err);
/* The first sequence after this one that any point says of the group. 0; 1. */
int catalog_group_seq(struct catalog *c, const struct uuid *group,
		      uint64_t after, uint64_t *out, struct err *err);
/*
 * All points that say they are of it, of any volume; the caller frees v. Of
 * very many, which no source makes, the newest.
 */
struct cat_members {
	struct cat_member {
		int64_t volume;
		uint64_t ord;
	} *v;
	size_t n;
};
int catalog_group_rows(struct catalog *c, const struct uuid *group,
		       uint64_t seq, struct cat_members *out, struct err *err);

struct cat_parts {
	struct cat_part {
		uint64_t ord;
		uint32_t n;		/* among the point's parts, from 0 */
		struct part_ref ref;
	} *v;
	size_t n;
};
/* Parts of points [from, to], oldest first; the caller frees v. */
int catalog_parts(struct catalog *c, int64_t volume, uint64_t from,
		  uint64_t to, struct cat_parts *out, struct err *err);
/* All that is listed of one segment; the caller frees v. Reads every row. */
struct cat_points {
	struct cat_point *v;
	size_t n;
};
int catalog_segment_points(struct catalog *c, int64_t volume,
			   const struct uuid *segment, struct cat_points *out,
			   struct err *err);
/* Parts that lie in it or whose units do. */
int catalog_segment_parts(struct catalog *c, int64_t volume,
			  const struct uuid *segment, struct cat_parts *out,
			  struct err *err);

/* ---- known damage ---- */

struct damage;
/* The caller frees *out. */
int catalog_damages(struct catalog *c, const struct uuid *volume,
		    struct damage **out, size_t *n, struct err *err);
/* Durable when it returns 0. */
int catalog_damage_put(struct catalog *c, const struct uuid *volume,
		       const struct damage *d, size_t n, struct err *err);
int catalog_damage_drop(struct catalog *c, const struct uuid *volume,
			const struct damage *d, struct err *err);

/*
 * First point whose footer, or one of whose parts or their units, lies in the
 * segment at or beyond size. 1: none.
 */
int catalog_first_beyond(struct catalog *c, int64_t volume,
			 const struct uuid *segment, uint64_t size,
			 uint64_t *ord, struct err *err);

#endif
