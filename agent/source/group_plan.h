/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_GROUP_PLAN_H
#define SOURCE_GROUP_PLAN_H

#include "base/err.h"
#include "device/blkdev_fs.h"
#include "freeze/freezer.h"
#include "source/group.h"

/*
 * What is to be held for a point of a group, and what came of it: written by
 * one member, read by others after they have met. Any thread.
 */
struct group_plan;

struct group_plan *group_plan_new(void);
void group_plan_free(struct group_plan *p);

/* A member's part in the attempt of this number; copied. -ENOMEM. */
struct plan_part {
	int member;
	const char *name;
	struct devno volume;		/* where the filesystems lie */
	const struct blkdev_fs *fs;
	const char *hook;		/* "": none */
	uint64_t limit_ns;
};
int group_plan_add(struct group_plan *p, uint64_t attempt,
		   const struct plan_part *part);

/*
 * Everything of all parts, in the order in which it can be frozen: what lies
 * in a file on another's filesystem before that one. A filesystem that
 * several members have is in it once. For at most the smallest limit, with the
 * hook of all.
 *
 * lies_on(volume, path): 1 when the filesystem at path lies on that device in
 * the end, 0, or negative errno; as blkdev_holds_path.
 *
 * 0, or negative errno with err told: "quiesce-refused" when there is no such
 * order, "quiesce-failed"; so also when not all parts have the same hook.
 */
typedef int (*plan_lies_on)(struct devno volume, const char *path);
int group_plan_order(struct group_plan *p, const char *group,
		     plan_lies_on lies_on, struct freeze_order *out,
		     struct err *err);

/* Why it comes to nothing; the first of an attempt is kept. */
void group_plan_note(struct group_plan *p, uint64_t attempt,
		     const struct err *why);
void group_plan_why(struct group_plan *p, struct err *out);
/* How it was: by who held, and for all. */
void group_plan_set_result(struct group_plan *p,
			   const struct freeze_result *res);
void group_plan_result(struct group_plan *p, struct freeze_result *out);
/* The smallest of all parts. */
uint64_t group_plan_limit(struct group_plan *p);

#endif
