// SPDX-License-Identifier: Apache-2.0
/*
 * The keys of [volume NAME]. Memory only; one thread at a time.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "control/config_keys.h"

#define MIN_INTERVAL_NS (50 * NSEC_PER_MSEC)
#define MIN_AUDIT_NS NSEC_PER_SEC
#define MIN_BLOCK_BYTES 4096ULL
#define MAX_BLOCK_BYTES (64ULL << 20)
#define MAX_ZSTD_LEVEL 22

static int volume_device(const struct key_context *kc, struct conf_item *it,
			 struct err *err)
{
	struct volume_config *v = kc->target;

	return config_path_value(kc, it, v->device, sizeof(v->device), err);
}

int config_replicas_value(const struct key_context *kc, struct conf_item *it,
			  struct replica_config *out, struct err *err)
{
	const struct replica_config *r = NULL;
	char name[VOLUME_NAME_MAX + 1];
	size_t pos = 0;
	int n = 0, ret;

	while (!(ret = conf_word(kc->conf, it, &pos, name, sizeof(name),
				 err))) {
		const struct replica_config *found =
			config_replica(kc->config, name);

		if (!found)
			return conf_error(kc->conf, it->line, err,
					  "%s: there is no [replica %s]",
					  it->key, name);
		if (r == found)
			return conf_error(kc->conf, it->line, err,
					  "%s: %s is given twice", it->key,
					  name);
		r = found;
		n++;
	}
	if (ret < 0)
		return ret;
	if (!n)
		return config_bad_value(kc, it, "the name of a replica", err);
	if (n > 1) {
		conf_error(kc->conf, it->line, err,
			   "%s: several replicas of one volume: "
			   CONFIG_UNSUPPORTED, it->key);
		err_remedy(err, "name one replica");
		return -EINVAL;
	}
	*out = *r;
	return 0;
}

int config_interval_value(const struct key_context *kc, struct conf_item *it,
			  uint64_t *out, struct err *err)
{
	int ret = conf_duration(kc->conf, it, out, err);

	if (ret < 0)
		return ret;
	return *out >= MIN_INTERVAL_NS
		       ? 0 : config_bad_value(kc, it, "50ms or more", err);
}

int config_rpo_value(const struct key_context *kc, struct conf_item *it,
		     uint64_t *out, struct err *err)
{
	int ret = conf_duration(kc->conf, it, out, err);

	if (ret < 0)
		return ret;
	return *out ? 0 : config_bad_value(kc, it, "more than nothing", err);
}

/* What a group sets for its members, they do not set themselves. */
static int set_in_group(const struct key_context *kc,
			const struct conf_item *it, struct err *err)
{
	return kc->group ? conf_error(kc->conf, it->line, err,
				      "%s: is set in [group %s]", it->key,
				      kc->group->group.name)
			 : 0;
}

static int volume_replicas(const struct key_context *kc, struct conf_item *it,
			   struct err *err)
{
	struct volume_config *v = kc->target;
	int ret = set_in_group(kc, it, err);

	return ret ? ret : config_replicas_value(kc, it, &v->replica, err);
}

static int volume_interval(const struct key_context *kc, struct conf_item *it,
			   struct err *err)
{
	struct volume_config *v = kc->target;
	int ret = set_in_group(kc, it, err);

	return ret ? ret : config_interval_value(kc, it, &v->interval_ns, err);
}

static int volume_rpo(const struct key_context *kc, struct conf_item *it,
		      struct err *err)
{
	struct volume_config *v = kc->target;
	int ret = set_in_group(kc, it, err);

	return ret ? ret : config_rpo_value(kc, it, &v->rpo_ns, err);
}

/* Contention of one would have to hold the writers of all. */
static int not_in_group(const struct key_context *kc,
			const struct conf_item *it, struct err *err)
{
	return kc->group ? conf_error(kc->conf, it->line, err,
				      "%s: of a member of [group %s]: "
				      CONFIG_UNSUPPORTED, it->key,
				      kc->group->group.name)
			 : 0;
}

static int volume_granularity(const struct key_context *kc,
			      struct conf_item *it, struct err *err)
{
	struct volume_config *v = kc->target;
	int ret;

	it->used = true;
	if (!strcmp(it->value, "auto"))
		return 0;
	ret = conf_size(kc->conf, it, &v->block_bytes, err);
	if (ret < 0)
		return ret;
	if (!is_pow2_u64(v->block_bytes) || v->block_bytes < MIN_BLOCK_BYTES ||
	    v->block_bytes > MAX_BLOCK_BYTES)
		return config_bad_value(kc, it, "auto or a power of two from 4KiB to 64MiB",
			   err);
	return 0;
}

static int volume_compression(const struct key_context *kc,
			      struct conf_item *it, struct err *err)
{
	static const struct {
		const char *name;
		enum comp_mode mode;
	} modes[] = {
		{ "auto", COMP_AUTO },
		{ "none", COMP_NONE },
		{ "lz4", COMP_LZ4 },
		{ "zstd", COMP_ZSTD },
	};
	struct volume_config *v = kc->target;
	uint16_t level;
	size_t i;

	it->used = true;
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(it->value, modes[i].name) != 0)
			continue;
		v->compression.mode = modes[i].mode;
		return 0;
	}
	if (strncmp(it->value, "zstd:", 5) != 0 ||
	    !config_port_parse(it->value + 5, &level) || !level ||
	    level > MAX_ZSTD_LEVEL)
		return config_bad_value(kc, it, "one of auto none lz4 zstd zstd:1..22", err);
	v->compression.mode = COMP_ZSTD;
	v->compression.level = level;
	return 0;
}

static int volume_contention(const struct key_context *kc,
			     struct conf_item *it, struct err *err)
{
	static const char *const names[] = { "retry", "quiesce", NULL };
	struct volume_config *v = kc->target;
	int i, ret = conf_choice(kc->conf, it, names, &i, err);

	if (!ret && i == 1)
		ret = not_in_group(kc, it, err);
	if (!ret)
		v->quiesce_contention = i == 1;
	return ret;
}

int config_quiesce_value(const struct key_context *kc, struct conf_item *it,
			 enum quiesce_mode *mode, char hook[256],
			 struct err *err)
{
	const char *path = it->value + strlen("hook:");

	it->used = true;
	if (!strcmp(it->value, "none"))
		return 0;
	if (!strcmp(it->value, "freeze")) {
		*mode = QUIESCE_FREEZE;
		return 0;
	}
	if (strncmp(it->value, "hook:/", strlen("hook:/")) != 0)
		return config_bad_value(kc, it, "one of none freeze hook:/path",
					err);
	if (strlen(path) >= 256)
		return config_bad_value(kc, it, "a path of that length", err);
	strcpy(hook, path);
	*mode = QUIESCE_HOOK;
	return 0;
}

static int volume_quiesce(const struct key_context *kc, struct conf_item *it,
			  struct err *err)
{
	struct volume_config *v = kc->target;
	int ret = set_in_group(kc, it, err);

	return ret ? ret : config_quiesce_value(kc, it, &v->quiesce,
						v->quiesce_hook, err);
}

int config_quiesce_limit_value(const struct key_context *kc,
			       struct conf_item *it, uint64_t *out,
			       struct err *err)
{
	int ret = conf_duration(kc->conf, it, out, err);

	if (ret < 0)
		return ret;
	return *out >= QUIESCE_LIMIT_MIN_NS && *out <= QUIESCE_LIMIT_MAX_NS ?
		       0 : config_bad_value(kc, it, "from 10ms to 30s", err);
}

static int volume_quiesce_limit(const struct key_context *kc,
				struct conf_item *it, struct err *err)
{
	struct volume_config *v = kc->target;

	return config_quiesce_limit_value(kc, it, &v->quiesce_limit_ns, err);
}

static int volume_key_escrow(const struct key_context *kc,
			     struct conf_item *it, struct err *err)
{
	struct volume_config *v = kc->target;

	return conf_bool(kc->conf, it, &v->key_escrow, err);
}

/* How long a lap takes; a device of no use to anybody is done in a second. */
static int volume_audit(const struct key_context *kc, struct conf_item *it,
			struct err *err)
{
	struct volume_config *v = kc->target;
	int ret;

	it->used = true;
	v->audit_ns = 0;
	if (!strcmp(it->value, "off"))
		return 0;
	ret = conf_duration(kc->conf, it, &v->audit_ns, err);
	if (ret < 0)
		return ret;
	return v->audit_ns >= MIN_AUDIT_NS ? 0 :
		       config_bad_value(kc, it, "off, or 1s or more", err);
}

static int volume_read_limit(const struct key_context *kc,
			     struct conf_item *it, struct err *err)
{
	struct volume_config *v = kc->target;

	return config_rate_value(kc, it, &v->read_limit_bytes, err);
}

const struct key config_volume_keys[] = {
	{ "device", volume_device, true, false },
	{ "replicas", volume_replicas, true, false },
	{ "interval", volume_interval, false, false },
	{ "rpo", volume_rpo, false, false },
	{ "granularity", volume_granularity, false, false },
	{ "compression", volume_compression, false, false },
	{ "on-contention", volume_contention, false, false },
	{ "quiesce", volume_quiesce, false, false },
	{ "quiesce-limit", volume_quiesce_limit, false, false },
	{ "key-escrow", volume_key_escrow, false, false },
	{ "read-limit", volume_read_limit, false, false },
	{ "audit", volume_audit, false, false },
	{ 0 },
};
