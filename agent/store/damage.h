/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DAMAGE_H
#define STORE_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

/*
 * Damage that is known: which bytes of which segment cannot be used, and which
 * points that concerns. An extent concerns every point from the one that
 * brought it up to the first by which all of its blocks have been stored anew.
 *
 * Kept in memory and, so that it outlives the process, in the catalog. Reading
 * never relies on it: whoever reads verifies. It is for telling.
 */
enum damage_kind {
	DAMAGE_POINT = 1,		/* the footer: this point alone */
	DAMAGE_PART = 2,		/* the index of some blocks */
	DAMAGE_UNIT = 3,		/* what some blocks hold */
};

struct damage {
	enum damage_kind kind;
	bool seal;			/* only a look with the key finds it */
	struct uuid segment;
	uint64_t off, bytes;		/* in it */
	uint64_t ord;			/* of the point that brought it */
	uint32_t part;			/* which of the point's parts */
	uint64_t end_ord;		/* the first point that it does not
					 * concern any more; 0: not yet */
	uint64_t first, count;		/* blocks; none of a footer */
	int64_t found_wall_ns;
};

struct block_range {
	uint64_t first, end;
};

struct known_damage {
	struct damage d;
	struct block_range *left;	/* not stored anew yet */
	size_t n_left;
	bool met;			/* by the scrub that is under way */
};

struct damages {
	struct known_damage *v;
	size_t n;
	uint64_t followed_ord;		/* points after it were not looked at */
};

struct volume;
void damages_free(struct damages *ds);
/* Does any of it concern the point? */
bool damages_concern(const struct damages *ds, uint64_t ord);

/*
 * From the catalog, for a volume that has just been recovered. What has been
 * stored anew since is found by reading parts. Trouble is logged: points then
 * are called damaged for longer than they are.
 */
void damage_load(struct volume *v);
/* With v->lock held, after points were committed. */
void damage_follow(struct volume *v);
/*
 * New findings, or known ones again. Works out whom they concern: d[i].end_ord
 * is set, and is d[i].ord when no point needs them (such are not kept). Takes
 * v->lock for moments. 0, -ENOMEM, or what the catalog gave.
 */
int damage_add(struct volume *v, struct damage *d, size_t n, struct err *err);
/* As damage_add with v->lock held, or before anybody else has the volume. */
int damage_add_locked(struct volume *v, struct damage *d, size_t n,
		      struct err *err);
/*
 * A walk over everything begins, and has come to its end: what it did not
 * meet again is sound, and forgotten. What only the key can find stays unless
 * with_key.
 */
void damage_walk_begins(struct volume *v);
int damage_walk_ended(struct volume *v, bool with_key, struct err *err);

#endif
