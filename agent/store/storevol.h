/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STOREVOL_H
#define STORE_STOREVOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "store/catalog.h"
#include "store/damage.h"
#include "store/footfmt.h"
#include "store/index.h"
#include "store/reserve.h"
#include "store/segwrite.h"
#include "store/stage.h"
#include "store/store.h"

/*
 * Between the store's files: its state in memory. Locks, in this order:
 * store->lock (the list of volumes, which only grows: those that were removed
 * stay in it, marked), volume->lock (all of one volume), the catalog's own.
 */
struct store {
	struct store_config cfg;
	char *path;
	struct uuid uuid;
	int dirfd, volumes_fd, lock_fd;
	struct catalog *catalog;
	struct reserve reserve;
	pthread_mutex_t lock;
	struct volume **volumes;
	size_t n_volumes;
};

#define STORE_SEGMENT_BYTES (256ULL << 20)
#define STORE_RESERVE_BYTES (64ULL << 20)
/* A part is written at this many entries, whatever the segment's size. */
#define STORE_PART_ENTRIES (256U << 10)

/* What was staged since the newest committed point. */
struct open_point {
	struct part_ref *parts;		/* written, oldest first */
	uint32_t n_parts, cap_parts;
	uint32_t n_listed;		/* of them, those in the catalog */
	/* Ends of segments of earlier lives, not in a part yet, oldest first */
	struct stage *tails;
	size_t n_tails;
	struct stage cur;		/* of the segment being written */
	uint64_t seq;			/* as the last delta calls it; 0: none */
};

/* A point that is durable while the catalog has no room for its row. */
struct unlisted {
	bool set;
	struct part_ref *parts;
	uint32_t from_part, n_parts;
	uint64_t seen_bytes;
};

struct volume {
	struct store *store;
	pthread_mutex_t lock;
	/* id 0: not in the catalog yet. id and uuid never change and are read
	 * without the lock; names change with store->lock held as well. */
	struct cat_volume row;
	int dirfd;			/* -1: no directory yet */
	bool has_point;
	struct cat_point newest;
	struct unlisted unlisted;	/* concerns newest */
	struct open_point op;

	struct segfile seg;		/* fd -1: none is being written */
	uint64_t preamble_end;		/* of seg; 0: not written yet */
	struct cat_segment *unsealed;	/* by number; the last may be seg */
	size_t n_unsealed, cap_unsealed;
	uint64_t next_number;
	struct seg_delta *deltas;	/* of the open point, of this process */
	size_t n_deltas, cap_deltas;
	uint32_t next_delta;
	struct buf out;			/* records on their way */

	uint64_t writer;		/* the one that may write; 0: none yet */
	bool failed;			/* a write failed: nothing more until */
	struct err why;			/* the volume is recovered */
	bool broken;			/* recovery failed: no writer at all */
	struct damages damages;		/* that are known */
	/* Under store->lock too: it is no more, and nobody finds it. */
	bool removed;
	unsigned int n_writers, n_views;	/* open handles */

	struct segreader reader;	/* of the index; io NULL: not open */
	struct index *newest_index;	/* made when first asked for */
};

/* ---- storeremove.c ---- */

/* "UUID.removed", a directory that a volume has left; false: it is none. */
bool removed_name(const char *name, struct uuid *volume);
/* At start: what was removed is in the catalog no more. */
int store_forget_removed(struct store *s, struct err *err);

/* ---- storequery.c, store.c ---- */

/* The volume or NULL. Locks. */
struct volume *store_volume(struct store *s, const struct uuid *uuid);
/* These two with s->lock held, or before anybody else has the store. */
struct volume *store_find_volume(struct store *s, const struct uuid *uuid);
int store_add_volume(struct store *s, struct volume *v);
/* -ENOENT: it has no directory yet. */
int volume_open_dir(struct volume *v);

/*
 * As store_open; run is called when the directories are open and the lock is
 * held, and nothing of the catalog was touched yet. Its failure ends it.
 */
struct store_prelude {
	int (*run)(struct store *s, void *arg, struct err *err);
	void *arg;
};
int store_open_after(const struct store_config *cfg,
		     const struct store_prelude *prelude, struct store **out,
		     struct err *err);

/* ---- storevol.c ---- */

struct volume *volume_new(struct store *s, const struct uuid *uuid);
void volume_free(struct volume *v);
/* "volume SOURCE/NAME" */
#define VOLUME_OBJECT_BYTES (2 * STORE_NAME_MAX + 16)
void volume_object(const struct volume *v, char out[VOLUME_OBJECT_BYTES]);
void volume_info_get(const struct volume *v, struct volume_info *out);
/* With damage filled in; info is of this volume. */
void volume_point_info(const struct volume *v, const struct cat_point *p,
		       struct point_info *out);

/* view.c: the record that makes it a point, read back. -EBADMSG, or what
 * reading gave. */
int point_check_footer(struct segreader *reader, const struct cat_point *p,
		       struct buf *scratch, struct err *err);

static inline uint64_t volume_next_ord(const struct volume *v)
{
	return v->has_point ? v->newest.ord + 1 : 1;
}

static inline bool open_point_exists(const struct open_point *op)
{
	return op->seq || op->n_parts || op->n_tails ||
	       !stage_is_empty(&op->cur);
}

uint64_t open_point_bytes(const struct open_point *op);
int open_point_add_part(struct open_point *op, const struct part_ref *ref);
/* The tail of that segment is in a part now, or void. */
void open_point_drop_tail(struct open_point *op, const struct uuid *segment);
void open_point_drop_tails(struct open_point *op);
/* Nothing is staged any more; cur keeps its segment and deltas. */
void open_point_clear(struct open_point *op);

int volume_add_unsealed(struct volume *v, const struct cat_segment *s);
/* Forget the index of the newest view; it is made again when needed. */
void volume_drop_index(struct volume *v);

/*
 * Tell the catalog what became durable: parts not listed yet, point (or
 * NULL), the states of segments. All unsealed segments become sealed, except
 * that with keep_last the last one stays open, seen up to seen_bytes. With
 * drop_open the open point is void.
 */
struct volume_mark {
	const struct cat_point *point;
	bool keep_last;
	uint64_t seen_bytes;
	bool drop_open;
};
int volume_list(struct volume *v, const struct volume_mark *mark,
		struct err *err);
/* A commit whose listing failed: try again. 0 when nothing is left. */
int volume_list_again(struct volume *v, struct err *err);

/* ---- recover.c, segreplay.c ---- */

/*
 * Make the volume's state from catalog and segments: at start, and after a
 * failed write. Takes up what the catalog lacks, salvages the open point.
 * An error leaves the volume broken.
 */
int volume_recover(struct volume *v, struct err *err);

struct segscan;
/*
 * Apply the records of one segment, from where the scan stands. *seen becomes
 * the end of the last record after which nothing of before is needed.
 */
int replay_segment(struct volume *v, struct segscan *scan, uint64_t *seen,
		   struct err *err);

#endif
