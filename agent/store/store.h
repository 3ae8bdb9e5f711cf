/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/io.h"
#include "base/rnd.h"
#include "base/uuid.h"
#include "wire/unit.h"

/*
 * The store of a replica: volumes, each a chain of committed points and at
 * most one open point. A store handle may be used by any thread; a volume's
 * writing calls are serialised by the store, and only the holder of the
 * newest writer (see store_writer) can write.
 *
 * What is durable when: store_writer_commit returning 0 is the only promise.
 * A failed fsync or write poisons the writer: every later call fails, nothing
 * is retried on the same file; the volume must be opened anew.
 */
struct store;

struct store_config {
	const char *path;
	uint64_t segment_bytes;		/* roll at this size; 0 = default */
	uint64_t reserve_bytes;		/* kept free so that commits fit */
	struct io *io;
	struct clock *clock;
	struct rnd *rnd;
	bool read_only;			/* restore --store: no repair, no lock */
};

#define HEAD_BYTES 32U
struct head {
	uint8_t b[HEAD_BYTES];
};

#define STORE_NAME_MAX 64U
#define STORE_LABEL_MAX 64U

enum point_kind { POINT_CRASH, POINT_FROZEN, POINT_APP, POINT_FINAL };
const char *point_kind_name(enum point_kind kind);

/*
 * What the members of a group point have in common, besides the time of the
 * flip. A group is its UUID; its name is what it was called then.
 */
#define STORE_MAX_GROUP_MEMBERS 64U
struct point_group {
	struct uuid uuid;		/* zero: the point is of no group */
	uint64_t seq;			/* of the group point, from 1 */
	uint32_t n_members;
	char name[STORE_NAME_MAX + 1];
};

/* What the source says of a point when it commits it. */
struct point_meta {
	uint64_t epoch;
	uint64_t seq;
	int64_t flip_wall_ns;
	enum point_kind kind;
	uint64_t size_bytes;		/* of the volume */
	char label[STORE_LABEL_MAX + 1];	/* may be empty */
	struct point_group group;
};

static inline bool point_has_group(const struct point_meta *m)
{
	return !uuid_is_zero(&m->group.uuid);
}

struct point_info {
	struct point_meta meta;
	int64_t received_wall_ns;
	struct head prev_head;
	struct head head;
	uint64_t changed_bytes;		/* blocks covered by the point's entries */
	uint64_t stored_bytes;		/* of segment space it added */
	uint32_t pins;
	/*
	 * A segment that this point needs, or one before it, is missing or too
	 * short. Reading tells which blocks; later points may have them again.
	 */
	bool damaged;
};

struct volume_info {
	struct uuid uuid;
	char source[STORE_NAME_MAX + 1];
	char name[STORE_NAME_MAX + 1];
	uint64_t size_bytes;
	uint64_t epoch;
	bool has_point;
	struct point_info newest;
	uint64_t n_points;
	uint64_t open_seq;		/* 0: no open point */
	uint64_t open_bytes;		/* staged so far */
	/* A point is, see point_info; or the volume could not be read at all
	 * when the store was opened, and nothing is known of its newest. */
	bool damaged;
};

int store_open(const struct store_config *cfg, struct store **out,
	       struct err *err);
void store_close(struct store *s);

/* cb's non-zero result stops the walk and is returned. */
int store_volumes(struct store *s,
		  int (*cb)(void *arg, const struct volume_info *v), void *arg);
/*
 * A volume is no more, durably on return: whatever dies later, it does not
 * come back, and its name is free. Before that it is whole. What its points
 * took is given back by store_purge. -ENOENT; -EBUSY "volume-busy": somebody
 * writes or reads it.
 */
int store_remove(struct store *s, const struct uuid *volume, struct err *err);
/*
 * Deletes the files of volumes that were removed, after cb said 0 to each of
 * whose UUID there is no new volume. May be repeated. 0, or the last failure.
 */
int store_purge(struct store *s,
		int (*cb)(void *arg, const struct uuid *volume), void *arg,
		struct err *err);
int store_volume_by_uuid(struct store *s, const struct uuid *uuid,
			 struct volume_info *out);
/* source may be NULL: short form; -ENOENT, or -ENOTUNIQ. */
int store_volume_by_name(struct store *s, const char *source, const char *name,
			 struct volume_info *out);
/* Newest first when backwards. */
int store_points(struct store *s, const struct uuid *volume, bool backwards,
		 int (*cb)(void *arg, const struct point_info *p), void *arg);
/*
 * Looking for one point. A volume that could not be read before is read anew
 * first; when that fails again, a point that is not known gives the reason and
 * not -ENOENT. Exact (epoch, seq); epoch 0 = the current lineage.
 */
int store_point_find(struct store *s, const struct uuid *volume,
		     uint64_t epoch, uint64_t seq, struct point_info *out);
/* Newest with flip time <= wall_ns; INT64_MAX: the newest of all. */
int store_point_at(struct store *s, const struct uuid *volume,
		   int64_t wall_ns, struct point_info *out);
int store_point_labelled(struct store *s, const struct uuid *volume,
			 const char *label, struct point_info *out);

/* ---- writing ---- */

/*
 * The right to write a volume. Opening a new one fences the older: all its
 * later calls give -ESTALE. Creates the volume when it is unknown.
 */
struct store_writer;

struct store_volume_spec {
	struct uuid uuid;
	const char *source;
	const char *name;
	uint64_t size_bytes;
	uint64_t epoch;
};

/*
 * -EEXIST "name-taken": same full name with another UUID. -ESTALE
 * "old-epoch": the store knows a higher epoch.
 */
int store_writer_open(struct store *s, const struct store_volume_spec *spec,
		      struct store_writer **out, struct err *err);
void store_writer_close(struct store_writer *w);
/* State as of now: newest committed point and open point. */
int store_writer_info(struct store_writer *w, struct volume_info *out);

/*
 * Start, or go on with, the open point (epoch, seq); d is the delta of the
 * units that follow. Goes on when an open point exists (whatever its sequence
 * was called: an open point is what comes after the newest committed one; its
 * number is settled by the commit). *delta_index is to be set in the units.
 */
int store_writer_begin(struct store_writer *w, const struct delta *d,
		       uint32_t *delta_index, struct err *err);
/*
 * Append whole units (one after another in p/n; checksums are verified here).
 * Later ones supersede earlier ones. Not durable yet.
 */
int store_writer_units(struct store_writer *w, uint32_t delta_index,
		       const uint8_t *p, size_t n, struct err *err);
/* Throw the open point away (resync --yes; a lineage change). */
int store_writer_discard(struct store_writer *w, struct err *err);
/*
 * Fingerprints of [first, first + count) as the open point over the newest
 * committed one has them: fp_unknown where no entry exists.
 */
int store_writer_fps(struct store_writer *w, uint64_t first, uint32_t count,
		     struct fp *out, struct err *err);
/*
 * What the newest committed point has of each block, every stored unit being
 * read back and held against its checksum.
 */
enum store_held_kind {
	STORE_HELD_SOUND,		/* fp is the stored one */
	STORE_HELD_ABSENT,		/* never written: reads as zeros */
	STORE_HELD_DAMAGED,		/* cannot be read back as it was stored */
	STORE_HELD_STAGED,		/* the open point has it: nothing is said
					 * of the committed one */
};

struct store_held {
	enum store_held_kind kind;
	struct fp fp;			/* fp_unknown unless sound */
};

int store_writer_held(struct store_writer *w, uint64_t first, uint32_t count,
		      struct store_held *out, struct err *err);
/* What is kept in memory of the tables on disk is read anew when next used. */
int store_writer_forget(struct store_writer *w, struct err *err);
/*
 * Make the open point (or an empty one) the next committed point, durably.
 * prev_head must be the newest point's head (all zero for the first): else
 * -ESTALE "head-mismatch". seq must be greater than the newest's.
 */
int store_writer_commit(struct store_writer *w, const struct point_meta *meta,
			const struct head *prev_head, struct point_info *out,
			struct err *err);

/* ---- reading ---- */

/*
 * A volume as it was at one point. Immutable; keeps what it needs alive while
 * open. Reads by one thread at a time; open several for more.
 */
struct view;

int view_open(struct store *s, const struct uuid *volume, uint64_t epoch,
	      uint64_t seq, struct view **out, struct err *err);
void view_close(struct view *v);
const struct point_info *view_point(const struct view *v);
/* The highest generation of the volume's key that its units need; 0: none. */
uint32_t view_newest_key(struct view *v);

/* One piece of the answer: blocks [first, first + count) come from a unit. */
struct view_piece {
	uint64_t first;
	uint64_t count;
	bool absent;			/* never written: reads as zeros */
	struct delta delta;
	uint32_t skip;			/* blocks of the unit before first */
	const uint8_t *unit;		/* whole unit, valid until cb returns */
	size_t unit_bytes;
};

/*
 * Walk the pieces that cover [first, first + count), in order, without a key.
 * Each unit's checksum is verified; a bad one: -EBADMSG, err names segment,
 * offset and point.
 */
int view_walk(struct view *v, uint64_t first, uint64_t count,
	      int (*cb)(void *arg, const struct view_piece *piece), void *arg,
	      struct err *err);
/*
 * Plaintext of [first, first + count) into out. o opens the volume's units.
 */
struct opener;
int view_read(struct view *v, struct opener *o, uint64_t first, uint64_t count,
	      uint8_t *out, struct err *err);
/*
 * Next stretch at or after block that has entries (data or zero units):
 * 0 and (*first, *count, *zero), 1 at the end. For sparse restores.
 */
int view_next(struct view *v, uint64_t block, uint64_t *first, uint64_t *count,
	      bool *zero, struct err *err);

#endif
