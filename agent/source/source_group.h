/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_SOURCE_GROUP_H
#define SOURCE_SOURCE_GROUP_H

#include "base/err.h"
#include "base/uuid.h"
#include "source/group.h"
#include "source/group_plan.h"
#include "source/volume.h"

/*
 * The groups of a process: one for each name and set of members, shared by the
 * members' volumes. A group's UUID and the last number it has used are in
 * <state>/groups/NAME.group. A member's number is its place among the names.
 * Any thread.
 */
struct source_group {
	struct group *meetings;
	struct group_plan *plan;	/* of a hold of all */
	struct uuid uuid;		/* of the group, for ever */
	/* Of the group with these members: what flips together. With other
	 * members it is another one, so that the old ones, while they are
	 * being stopped, flip for nobody else. */
	struct uuid tracked_as;
	char name[VOLUME_NAME_MAX + 1];
	uint32_t n_members;
};

/* 0; the file cannot be read or is none: "group-state-damaged"; it cannot be
 * made: "state-unwritable". */
int source_group_get(const struct source_env *env,
		     const struct group_config *cfg, struct source_group **out,
		     struct err *err);
/* One that is there, by its name; NULL. */
struct source_group *source_group_find(const char *name);
void source_group_put(struct source_group *g);
/* The name of a member, and its number by the name; -ENOENT. */
void source_group_member(const struct source_group *g, int member,
			 char out[VOLUME_NAME_MAX + 1]);
int source_group_number(const struct source_group *g, const char *name);
/* The names of those for whom the others wait, see group_missing; "" of none. */
void source_group_missing(const struct source_group *g, char *out, size_t cap);
/*
 * The number is used, durably: it is not given out again. "state-unwritable";
 * -ESTALE "group-changed": the group of that name has other members by now.
 */
int source_group_save_seq(struct source_group *g, uint64_t seq,
			  struct err *err);

#endif
