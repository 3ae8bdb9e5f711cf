/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_GROUPPOINTS_H
#define STORE_GROUPPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "store/store.h"
#include "wire/session.h"

/*
 * Points that several volumes of one source have in common. A group point is
 * there when as many different volumes of the source as its footers say have a
 * committed point of the same group, group sequence and time of the flip. One
 * of which a member is missing does not exist: nobody is told of it.
 *
 * Any thread; callbacks run without a lock.
 */
struct group_info {
	struct uuid uuid;
	char source[STORE_NAME_MAX + 1];
	char name[STORE_NAME_MAX + 1];	/* as its newest footer has it */
};

struct group_member {
	struct uuid volume;
	char name[STORE_NAME_MAX + 1];	/* of the volume, today */
	struct point_info point;
};

struct group_point {
	uint64_t seq;
	int64_t flip_wall_ns;
	int64_t received_wall_ns;	/* of the last member */
	enum point_kind kind;		/* the weakest */
	char label[STORE_LABEL_MAX + 1];	/* empty unless all have it */
	bool damaged;			/* a member is */
	uint64_t size_bytes, changed_bytes, stored_bytes;	/* of all */
	uint32_t n_members;
	struct group_member *members;	/* by name */
};

/*
 * Every group that a stored point names, also when none of its points is
 * complete. cb's non-zero result ends the walk and is returned.
 */
int store_groups(struct store *s,
		 int (*cb)(void *arg, const struct group_info *g), void *arg);
/* Oldest first: by sequence, of one sequence by time. As store_points. */
int store_group_points(struct store *s, const struct group_info *g,
		       int (*cb)(void *arg, const struct group_point *p),
		       void *arg);
/* Is the group point complete that this point of the source is of? 1, 0 or
 * negative. */
int store_group_is_complete(struct store *s, const char *source,
			    const struct point_meta *m);
/* The volumes that have points of it, complete or not. */
int store_group_volumes(struct store *s, const struct group_info *g,
			int (*cb)(void *arg, const struct volume_info *v),
			void *arg);

/*
 * A group by SOURCE/NAME, NAME or UUID. Volumes and groups share one
 * namespace: a volume of the name found makes it ambiguous. Only groups of
 * which may says yes to every volume are looked at, and such volumes; NULL:
 * all. 0; -ENOENT, no group; -ENOTUNIQ, and candidates says of what.
 */
struct group_search {
	const char *source;		/* NULL or empty: the short form */
	const char *name;
	bool (*may)(void *arg, const char *source, const char *name);
	void *arg;
	struct group_info found;
	char candidates[256];
};
int store_group_find(struct store *s, struct group_search *search);

/* A copy that outlives the callback; out was zeroed, or is freed. -ENOMEM. */
int group_point_copy(const struct group_point *p, struct group_point *out);
void group_point_free(struct group_point *p);

/* As readers far away get it; its members are put into the bytes given. */
#define GROUP_MEMBERS_BYTES (STORE_MAX_GROUP_MEMBERS * WIRE_MEMBER_BYTES)
void group_point_to_wire(const struct group_point *p,
			 uint8_t members[GROUP_MEMBERS_BYTES],
			 struct wire_group_point *out);

#endif
