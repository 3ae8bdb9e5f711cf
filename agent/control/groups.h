/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_GROUPS_H
#define CONTROL_GROUPS_H

#include <jansson.h>

#include "base/err.h"
#include "control/selector.h"
#include "store/grouppoints.h"
#include "wire/session.h"

/*
 * Points of groups in the words of the control protocol, and choosing one: the
 * same in the daemon and in `restore --store`. Pure but for the store.
 */

/* The documented JSON of one. NULL: out of memory. */
json_t *group_point_json(const struct wire_group_point *p);

/* The newest of those shown, oldest first, that a selector means. */
struct group_choice {
	struct selector sel;
	bool found;
	struct wire_group_point point;
	uint8_t members[GROUP_MEMBERS_BYTES];
};

/* 0; -EINVAL "usage": points of groups have no epoch. */
int group_choice_check(const struct selector *sel, const char *group,
		       struct err *err);
void group_choice_show(struct group_choice *c,
		       const struct wire_group_point *p);
/*
 * {"group","seq","time","kind","label","state","members":[{"volume",
 * "uuid","epoch","seq","flip_ns","size_bytes"}]}, volumes in full. NULL with
 * err told: -ENOENT "no-point", or out of memory.
 */
json_t *group_choice_json(const struct group_choice *c, const char *source,
			  const char *name, struct err *err);

/*
 * A group of a store as a person calls it. 0; -ENOENT "no-group"; -ENOTUNIQ
 * "ambiguous", the message lists what else it may be.
 */
int stored_find_group(struct store *s, const struct volume_name *name,
		      struct group_info *out, struct err *err);
/* Its points, as store_group_points. */
int stored_group_points(struct store *s, const struct group_info *g,
			int (*cb)(void *arg, const struct wire_group_point *p),
			void *arg);

#endif
