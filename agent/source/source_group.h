/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_SOURCE_GROUP_H
#define SOURCE_SOURCE_GROUP_H

#include "base/err.h"
#include "base/uuid.h"
#include "source/group.h"
#include "source/volume.h"

/*
 * The groups of a process: one for each name and set of members, shared by the
 * members' volumes. A group's UUID and the last number it has used are in
 * <state>/groups/NAME.group. Any thread.
 */
struct source_group {
	struct group *meetings;
	struct uuid uuid;		/* of the group, for ever */
	/* Of the group with these members: what flips together. With other
	 * members it is another one, so that the old ones, while they are
	 * being stopped, flip for nobody else. */
	struct uuid tracked_as;
	char name[VOLUME_NAME_MAX + 1];
	uint32_t n_members;
};

int source_group_get(const struct source_env *env,
		     const struct group_config *cfg, struct source_group **out,
		     struct err *err);
/* One that is there, by its name; NULL. */
struct source_group *source_group_find(const char *name);
void source_group_put(struct source_group *g);
/* The number is used, durably: it is not given out again. */
int source_group_save_seq(struct source_group *g, uint64_t seq,
			  struct err *err);

#endif
