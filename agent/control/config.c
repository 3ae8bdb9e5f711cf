// SPDX-License-Identifier: Apache-2.0
/*
 * understudy.conf: sections, names and what refers to what; the keys are in
 * config_keys.c and config_volume.c. One thread at a time (base/conf.h has
 * globals). Nothing is kept between calls: a failed load leaves the
 * configuration that its caller holds as it was.
 *
 * Order: all headings first (types, names, duplicates), then [daemon], the
 * replicas, the volumes that refer to them, and the rest.
 */
#include "control/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/config_keys.h"

struct section_rule {
	const char *type;
	bool has_name;
};

static const struct section_rule section_rules[N_SECTION_TYPES] = {
	[SECTION_DAEMON] = { "daemon", false },
	[SECTION_STORE] = { "store", false },
	[SECTION_ACCEPT] = { "accept", true },
	[SECTION_REPLICA] = { "replica", true },
	[SECTION_VOLUME] = { "volume", true },
	[SECTION_GROUP] = { "group", true },
};

void config_free(struct config *c)
{
	if (!c)
		return;
	free(c->store.accept);
	free(c->replicas);
	free(c->volumes);
	free(c->groups);
	free(c);
}

bool config_quiesces(const struct config *c)
{
	size_t i;

	for (i = 0; i < c->n_volumes; i++)
		if (c->volumes[i].quiesce != QUIESCE_NONE)
			return true;
	return false;
}

const struct volume_config *config_volume(const struct config *c,
					  const char *name)
{
	size_t i;

	for (i = 0; i < c->n_volumes; i++)
		if (!strcmp(c->volumes[i].name, name))
			return &c->volumes[i];
	return NULL;
}

const struct replica_config *config_replica(const struct config *c,
					    const char *name)
{
	size_t i;

	for (i = 0; i < c->n_replicas; i++)
		if (!strcmp(c->replicas[i].name, name))
			return &c->replicas[i];
	return NULL;
}

/* ---- headings ---- */

/* On SOURCE/NAME, with '*' and '?'. */
static bool pattern_is_valid(const char *s)
{
	size_t n = strlen(s);

	return n && n < sizeof(((struct accept_rule *)0)->pattern) &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz"
			 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/*?") == n;
}

static int check_name(const struct conf *conf, enum section_type type,
		      const struct conf_section *s, struct err *err)
{
	const struct section_rule *rule = &section_rules[type];

	if (!rule->has_name)
		return *s->name ? conf_error(conf, s->line, err,
					     "[%s] takes no name", s->type) :
				  0;
	if (!*s->name)
		return conf_error(conf, s->line, err, "[%s] needs a name",
				  s->type);
	if (type == SECTION_ACCEPT) {
		if (pattern_is_valid(s->name))
			return 0;
		return conf_error(conf, s->line, err,
				  "[accept %.64s]: no pattern on SOURCE/NAME",
				  s->name);
	}
	if (name_is_valid(s->name))
		return 0;
	return conf_error(conf, s->line, err,
			  "[%s %.64s]: a name is 1 to 64 of A-Z a-z 0-9 . _ -,"
			  " and does not start with . or -",
			  s->type, s->name);
}

static bool is_member(const struct conf_section *s)
{
	return !strcmp(s->type, "volume") || !strcmp(s->type, "group");
}

/* Volumes and groups share one namespace. */
static int check_unique(const struct conf *conf, size_t i, struct err *err)
{
	const struct conf_section *s = &conf->sections[i];
	size_t j;

	for (j = 0; j < i; j++) {
		const struct conf_section *o = &conf->sections[j];

		if (strcmp(s->name, o->name) != 0)
			continue;
		if (!strcmp(s->type, o->type))
			return conf_error(conf, s->line, err,
					  "[%s%s%s]: given twice, first in "
					  "line %u", s->type,
					  *s->name ? " " : "", s->name,
					  o->line);
		if (is_member(s) && is_member(o))
			return conf_error(conf, s->line, err,
					  "[%s %s]: line %u has a %s of that "
					  "name", s->type, s->name, o->line,
					  o->type);
	}
	return 0;
}

static int section_type_of(const struct conf_section *s)
{
	int i;

	for (i = 0; i < N_SECTION_TYPES; i++)
		if (!strcmp(s->type, section_rules[i].type))
			return i;
	return -ENOENT;
}

static int check_headings(const struct conf *conf, struct err *err)
{
	size_t i;
	int type, ret;

	for (i = 0; i < conf->n_sections; i++) {
		const struct conf_section *s = &conf->sections[i];

		type = section_type_of(s);
		if (type < 0)
			return conf_error(conf, s->line, err,
					  "[%.64s]: unknown section", s->type);
		ret = check_name(conf, (enum section_type)type, s, err);
		if (ret < 0)
			return ret;
		ret = check_unique(conf, i, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- sections ---- */

static int read_daemon(const struct conf *conf, struct daemon_config *out,
		       struct err *err)
{
	struct key_context kc = {
		.conf = conf,
		.section = conf_section_find(conf, "daemon", NULL),
		.target = out,
	};

	config_daemon_defaults(out);
	return kc.section ? config_read_section(SECTION_DAEMON, &kc, err) : 0;
}

static int read_store(const struct conf *conf, struct config *c,
		      struct err *err)
{
	struct key_context kc = {
		.conf = conf,
		.section = conf_section_find(conf, "store", NULL),
		.target = &c->store,
	};
	struct conf_section *accept = conf_section_find(conf, "accept", NULL);
	int n;

	if (!kc.section)
		return accept ? conf_error(conf, accept->line, err,
					   "[accept %s] without [store]: this "
					   "daemon is no replica",
					   accept->name) :
				0;
	c->has_store = true;
	strcpy(c->store.listen, "0.0.0.0:7420");
	n = snprintf(c->store.store_path, sizeof(c->store.store_path),
		     "%s/store", c->daemon.state);
	if (n < 0 || (size_t)n >= sizeof(c->store.store_path))
		return conf_error(conf, kc.section->line, err,
				  "path: %s/store is too long",
				  c->daemon.state);
	return config_read_section(SECTION_STORE, &kc, err);
}

static int read_accept(const struct conf *conf, struct conf_section *s,
		       struct config *c, struct err *err)
{
	struct accept_rule *rule = &c->store.accept[c->store.n_accept];
	struct key_context kc = {
		.conf = conf, .section = s, .config = c, .target = rule,
	};

	strcpy(rule->pattern, s->name);
	c->store.n_accept++;
	return config_read_section(SECTION_ACCEPT, &kc, err);
}

static int read_replica(const struct conf *conf, struct conf_section *s,
			struct config *c, struct err *err)
{
	struct replica_config *r = &c->replicas[c->n_replicas];
	struct key_context kc = {
		.conf = conf, .section = s, .config = c, .target = r,
	};

	config_replica_defaults(r);
	strcpy(r->name, s->name);
	c->n_replicas++;
	return config_read_section(SECTION_REPLICA, &kc, err);
}

/* What the keys of a volume must be to each other, and to other volumes. */
static int check_volume(const struct conf *conf, struct conf_section *s,
			struct config *c, struct err *err)
{
	struct volume_config *v = &c->volumes[c->n_volumes];
	struct conf_item *rpo = conf_item_find(s, "rpo");
	struct conf_item *contention = conf_item_find(s, "on-contention");
	size_t i;

	if (rpo && v->rpo_ns < v->interval_ns)
		return conf_error(conf, rpo->line, err,
				  "rpo: %s is shorter than the interval",
				  rpo->value);
	if (v->quiesce_contention && v->quiesce == QUIESCE_NONE)
		return conf_error(conf, contention->line, err,
				  "on-contention: quiesce needs a `quiesce` "
				  "that is not none");
	/* With one cut a minute a lag of 10 s is no news. */
	if (!rpo && !v->group.name[0] && v->rpo_ns / 2 < v->interval_ns)
		v->rpo_ns = v->interval_ns * 2;
	for (i = 0; i < c->n_volumes; i++)
		if (!strcmp(c->volumes[i].device, v->device))
			return conf_error(conf,
					  conf_item_find(s, "device")->line,
					  err, "device: %.64s is protected as "
					  "volume %s already", v->device,
					  c->volumes[i].name);
	return 0;
}

static int read_group(const struct conf *conf, struct conf_section *s,
		      struct config *c, struct err *err)
{
	struct group_section *g = &c->groups[c->n_groups];
	struct key_context kc = {
		.conf = conf, .section = s, .config = c, .target = g,
	};
	struct conf_item *rpo = conf_item_find(s, "rpo");
	struct volume_config defaults;
	int ret;

	config_volume_defaults(&defaults, &c->daemon);
	g->interval_ns = defaults.interval_ns;
	g->rpo_ns = defaults.rpo_ns;
	g->quiesce_limit_ns = defaults.quiesce_limit_ns;
	strcpy(g->group.name, s->name);
	ret = config_read_section(SECTION_GROUP, &kc, err);
	if (ret < 0)
		return ret;
	if (rpo && g->rpo_ns < g->interval_ns)
		return conf_error(conf, rpo->line, err,
				  "rpo: %s is shorter than the interval",
				  rpo->value);
	if (!rpo && g->rpo_ns / 2 < g->interval_ns)
		g->rpo_ns = g->interval_ns * 2;
	c->n_groups++;
	return 0;
}

static int read_volume(const struct conf *conf, struct conf_section *s,
		       struct config *c, struct err *err)
{
	struct volume_config *v = &c->volumes[c->n_volumes];
	struct key_context kc = {
		.conf = conf, .section = s, .config = c, .target = v,
	};
	int ret;

	if (c->n_volumes >= CONFIG_VOLUMES_MAX)
		return conf_error(conf, s->line, err,
				  "[volume %s]: a daemon protects %d volumes at "
				  "most", s->name, CONFIG_VOLUMES_MAX);
	config_volume_defaults(v, &c->daemon);
	strcpy(v->name, s->name);
	kc.group = config_group_of(c, v->name);
	if (kc.group) {
		v->group = kc.group->group;
		v->replica = kc.group->replica;
		v->interval_ns = kc.group->interval_ns;
		v->rpo_ns = kc.group->rpo_ns;
		v->quiesce = kc.group->quiesce;
		strcpy(v->quiesce_hook, kc.group->quiesce_hook);
		v->quiesce_limit_ns = kc.group->quiesce_limit_ns;
	}
	ret = config_read_section(SECTION_VOLUME, &kc, err);
	if (ret < 0)
		return ret;
	ret = check_volume(conf, s, c, err);
	if (ret < 0)
		return ret;
	c->n_volumes++;
	return 0;
}

typedef int (*section_reader)(const struct conf *conf, struct conf_section *s,
			      struct config *c, struct err *err);

static int read_each(const struct conf *conf, const char *type,
		     section_reader read_one, struct config *c,
		     struct err *err)
{
	size_t i;
	int ret;

	for (i = 0; i < conf->n_sections; i++) {
		if (strcmp(conf->sections[i].type, type) != 0)
			continue;
		ret = read_one(conf, &conf->sections[i], c, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int read_all(const struct conf *conf, struct config *c, struct err *err)
{
	int ret;

	ret = read_daemon(conf, &c->daemon, err);
	if (ret < 0)
		return ret;
	ret = read_store(conf, c, err);
	if (ret < 0)
		return ret;
	ret = read_each(conf, "accept", read_accept, c, err);
	if (ret < 0)
		return ret;
	ret = read_each(conf, "replica", read_replica, c, err);
	if (ret < 0)
		return ret;
	ret = read_each(conf, "group", read_group, c, err);
	if (ret < 0)
		return ret;
	return read_each(conf, "volume", read_volume, c, err);
}

static int build(const struct conf *conf, struct config **out,
		 struct err *err)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	size_t n = conf->n_sections + 1;
	int ret;

	/* Room for every section to be of any type. */
	if (c) {
		c->store.accept = calloc(n, sizeof(*c->store.accept));
		c->replicas = calloc(n, sizeof(*c->replicas));
		c->volumes = calloc(n, sizeof(*c->volumes));
		c->groups = calloc(n, sizeof(*c->groups));
	}
	if (!c || !c->store.accept || !c->replicas || !c->volumes ||
	    !c->groups)
		return err_sys(err, -ENOMEM, "no-memory", conf->path,
			       "read the configuration");
	ret = check_headings(conf, err);
	if (ret < 0)
		return ret;
	ret = read_all(conf, c, err);
	if (ret < 0)
		return ret;
	*out = TAKE_PTR(c);
	return 0;
}

int config_load(const char *path, struct config **out, struct err *err)
{
	_cleanup_(conf_freep) struct conf *conf = NULL;
	int ret = conf_parse_file(path, &conf, err);

	return ret < 0 ? ret : build(conf, out, err);
}

int config_load_text(const char *path, const char *text, size_t len,
		     struct config **out, struct err *err)
{
	_cleanup_(conf_freep) struct conf *conf = NULL;
	int ret = conf_parse_text(path, text, len, &conf, err);

	return ret < 0 ? ret : build(conf, out, err);
}
