// SPDX-License-Identifier: Apache-2.0
/*
 * Finding a group by what a person, or a reader far away, calls it. What the
 * asker may not see does not count, and is not named among the candidates.
 * Any thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/grouppoints.h"

struct search {
	struct store *store;
	struct group_search *gs;
	bool by_uuid;
	struct uuid uuid;
	unsigned int groups, volumes;
};

static bool may(const struct group_search *gs, const char *source,
		const char *name)
{
	return !gs->may || gs->may(gs->arg, source, name);
}

static bool is_called(const struct group_search *gs, const char *source,
		      const char *name)
{
	return !strcmp(name, gs->name) &&
	       (!gs->source || !*gs->source || !strcmp(source, gs->source));
}

static void add_candidate(struct group_search *gs, const char *source,
			  const char *name, const char *what,
			  const struct uuid *uuid)
{
	size_t n = strlen(gs->candidates);
	char text[UUID_TEXT_SIZE];

	uuid_format(uuid, text);
	(void)snprintf(gs->candidates + n, sizeof(gs->candidates) - n,
		       "%s%s/%s (%s %s)", n ? ", " : "", source, name, what,
		       text);
}

static int hidden(void *arg, const struct volume_info *v)
{
	const struct search *se = arg;

	return !may(se->gs, v->source, v->name);
}

static int on_group(void *arg, const struct group_info *g)
{
	struct search *se = arg;
	int r;

	if (se->by_uuid ? !uuid_equal(&g->uuid, &se->uuid) :
			  !is_called(se->gs, g->source, g->name))
		return 0;
	r = store_group_volumes(se->store, g, hidden, se);
	if (r)
		return r < 0 ? r : 0;
	if (!se->groups++)
		se->gs->found = *g;
	add_candidate(se->gs, g->source, g->name, "group", &g->uuid);
	return 0;
}

static int on_volume(void *arg, const struct volume_info *v)
{
	struct search *se = arg;

	if (!is_called(se->gs, v->source, v->name) ||
	    !may(se->gs, v->source, v->name))
		return 0;
	se->volumes++;
	add_candidate(se->gs, v->source, v->name, "volume", &v->uuid);
	return 0;
}

int store_group_find(struct store *s, struct group_search *gs)
{
	struct search se = { .store = s, .gs = gs };
	int r;

	gs->candidates[0] = 0;
	r = store_groups(s, on_group, &se);
	if (r == 0 && !se.groups) {
		/* What is no name here may be a UUID, which is one for ever. */
		se.by_uuid = (!gs->source || !*gs->source) &&
			     uuid_parse(gs->name, &se.uuid) == 0;
		if (se.by_uuid)
			r = store_groups(s, on_group, &se);
	}
	if (r < 0)
		return r;
	if (!se.groups)
		return -ENOENT;
	if (!se.by_uuid)
		r = store_volumes(s, on_volume, &se);
	if (r < 0)
		return r;
	return se.groups + se.volumes == 1 ? 0 : -ENOTUNIQ;
}
