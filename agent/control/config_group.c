// SPDX-License-Identifier: Apache-2.0
/*
 * The keys of [group NAME]. Memory only; one thread at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/config_keys.h"

static bool is_volume(const struct conf *conf, const char *name)
{
	size_t i;

	for (i = 0; i < conf->n_sections; i++)
		if (!strcmp(conf->sections[i].type, "volume") &&
		    !strcmp(conf->sections[i].name, name))
			return true;
	return false;
}

static bool has_member(const struct group_config *g, const char *name)
{
	const char *p = g->members;
	size_t n = strlen(name);

	while (*p) {
		size_t one = strcspn(p, " ");

		if (one == n && !strncmp(p, name, n))
			return true;
		p += one;
		p += *p == ' ';
	}
	return false;
}

static int check_member(const struct key_context *kc,
			const struct conf_item *it, const char *name,
			struct err *err)
{
	const struct group_section *s = kc->target, *other;

	if (!is_volume(kc->conf, name))
		return conf_error(kc->conf, it->line, err,
				  "volumes: there is no [volume %s]", name);
	if (has_member(&s->group, name))
		return conf_error(kc->conf, it->line, err,
				  "volumes: %s is given twice", name);
	other = config_group_of(kc->config, name);
	if (other)
		return conf_error(kc->conf, it->line, err,
				  "volumes: %s is of [group %s] already", name,
				  other->group.name);
	if (s->group.n_members == GROUP_MEMBERS_MAX)
		return conf_error(kc->conf, it->line, err,
				  "volumes: more than %d", GROUP_MEMBERS_MAX);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The members are a set: their order in the file means nothing. */
static void put_members(struct group_config *g,
			char names[][VOLUME_NAME_MAX + 1])
{
	uint32_t i;

	qsort(names, g->n_members, sizeof(names[0]), by_name);
	g->members[0] = 0;
	for (i = 0; i < g->n_members; i++) {
		if (i)
			strcat(g->members, " ");
		strcat(g->members, names[i]);
	}
}

static int group_volumes(const struct key_context *kc, struct conf_item *it,
			 struct err *err)
{
	struct group_section *s = kc->target;
	char names[GROUP_MEMBERS_MAX][VOLUME_NAME_MAX + 1];
	char name[VOLUME_NAME_MAX + 1];
	size_t pos = 0;
	int ret;

	while (!(ret = conf_word(kc->conf, it, &pos, name, sizeof(name),
				 err))) {
		ret = check_member(kc, it, name, err);
		if (ret < 0)
			return ret;
		strcpy(names[s->group.n_members++], name);
		put_members(&s->group, names);
	}
	if (ret < 0)
		return ret;
	return s->group.n_members
		       ? 0 : config_bad_value(kc, it, "names of volumes", err);
}

static int group_replicas(const struct key_context *kc, struct conf_item *it,
			  struct err *err)
{
	struct group_section *s = kc->target;

	return config_replicas_value(kc, it, &s->replica, err);
}

static int group_interval(const struct key_context *kc, struct conf_item *it,
			  struct err *err)
{
	struct group_section *s = kc->target;

	return config_interval_value(kc, it, &s->interval_ns, err);
}

static int group_rpo(const struct key_context *kc, struct conf_item *it,
		     struct err *err)
{
	struct group_section *s = kc->target;

	return config_rpo_value(kc, it, &s->rpo_ns, err);
}

static int group_quiesce(const struct key_context *kc, struct conf_item *it,
			 struct err *err)
{
	struct group_section *s = kc->target;

	return config_quiesce_value(kc, it, &s->quiesce, s->quiesce_hook, err);
}

static int group_quiesce_limit(const struct key_context *kc,
			       struct conf_item *it, struct err *err)
{
	struct group_section *s = kc->target;

	return config_quiesce_limit_value(kc, it, &s->quiesce_limit_ns, err);
}

static int group_contention(const struct key_context *kc,
			    struct conf_item *it, struct err *err)
{
	it->used = true;
	return strcmp(it->value, "retry") != 0
		       ? config_unsupported(kc, it, err) : 0;
}

const struct key config_group_keys[] = {
	{ "volumes", group_volumes, true, false },
	{ "replicas", group_replicas, true, false },
	{ "interval", group_interval, false, false },
	{ "rpo", group_rpo, false, false },
	{ "quiesce", group_quiesce, false, false },
	{ "quiesce-limit", group_quiesce_limit, false, false },
	{ "on-contention", group_contention, false, false },
	{ 0 },
};

const struct group_section *config_group(const struct config *c,
					 const char *name)
{
	size_t i;

	for (i = 0; i < c->n_groups; i++)
		if (!strcmp(c->groups[i].group.name, name))
			return &c->groups[i];
	return NULL;
}

const struct group_section *config_group_of(const struct config *c,
					    const char *volume)
{
	size_t i;

	for (i = 0; i < c->n_groups; i++)
		if (has_member(&c->groups[i].group, volume))
			return &c->groups[i];
	return NULL;
}
