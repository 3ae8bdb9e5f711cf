// SPDX-License-Identifier: Apache-2.0
/*
 * What each key of understudy.conf may say. Memory only; one thread at a time.
 *
 * Every key that the manual names is in a table here, also those that this
 * build does not do: they are refused in words of their own, so that nobody
 * believes in a quota that is not kept.
 */
#include "control/config_keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "control/ctlproto.h"

#define DEFAULT_PORT 7420
#define DEFAULT_RPO_NS (10 * NSEC_PER_SEC)
#define DEFAULT_AUDIT_NS (7 * 24 * 3600 * NSEC_PER_SEC)
#define DEFAULT_QUIESCE_LIMIT_NS (500 * NSEC_PER_MSEC)
#define MIN_TRACKER_MEMORY_BYTES (1ULL << 20)

int config_bad_value(const struct key_context *kc, const struct conf_item *it,
	       const char *want, struct err *err)
{
	return conf_error(kc->conf, it->line, err, "%s: \"%.64s\" is not %s",
			  it->key, it->value, want);
}

/* The key is known, this value of it not yet. */
int config_unsupported(const struct key_context *kc,
		       const struct conf_item *it, struct err *err)
{
	conf_error(kc->conf, it->line, err, "%s = %.64s: " CONFIG_UNSUPPORTED,
		   it->key, it->value);
	err_remedy(err, "take the line out");
	return -EINVAL;
}

int config_path_value(const struct key_context *kc, struct conf_item *it,
		   char *out, size_t cap, struct err *err)
{
	const char *path;
	int ret = conf_path(kc->conf, it, &path, err);

	if (ret < 0)
		return ret;
	if (strlen(path) >= cap)
		return conf_error(kc->conf, it->line, err,
				  "%s: a path here has at most %zu bytes",
				  it->key, cap - 1);
	memcpy(out, path, strlen(path) + 1);
	return 0;
}

int config_choice_value(const struct key_context *kc, struct conf_item *it,
		  const char *const *names, struct err *err)
{
	int i, ret = conf_choice(kc->conf, it, names, &i, err);

	if (ret < 0)
		return ret;
	/* The first one is the default and the one this build does. */
	return i ? config_unsupported(kc, it, err) : 0;
}

/* ---- [daemon] ---- */

static int daemon_state(const struct key_context *kc, struct conf_item *it,
			struct err *err)
{
	struct daemon_config *d = kc->target;

	return config_path_value(kc, it, d->state, sizeof(d->state), err);
}

static int daemon_control(const struct key_context *kc, struct conf_item *it,
			  struct err *err)
{
	struct daemon_config *d = kc->target;

	return config_path_value(kc, it, d->control, sizeof(d->control), err);
}

static int daemon_tracker_memory(const struct key_context *kc,
				 struct conf_item *it, struct err *err)
{
	struct daemon_config *d = kc->target;
	int ret = conf_size(kc->conf, it, &d->tracker_memory_bytes, err);

	if (ret < 0)
		return ret;
	if (d->tracker_memory_bytes < MIN_TRACKER_MEMORY_BYTES)
		return config_bad_value(kc, it, "1MiB or more", err);
	return 0;
}

static int daemon_metrics(const struct key_context *kc, struct conf_item *it,
			  struct err *err);

static const struct key daemon_keys[] = {
	{ "state", daemon_state, false, false },
	{ "control", daemon_control, false, false },
	{ "metrics", daemon_metrics, false, false },
	{ "tracker-memory", daemon_tracker_memory, false, false },
	{ 0 },
};

/* ---- addresses ---- */

/* 0 to 65535, digits only. */
bool config_port_parse(const char *s, uint16_t *out)
{
	char *end;
	unsigned long v;

	if (!isdigit((unsigned char)*s) || strlen(s) > 5)
		return false;
	v = strtoul(s, &end, 10);
	if (*end || v > UINT16_MAX)
		return false;
	*out = (uint16_t)v;
	return true;
}

/*
 * host, host:port, [v6], [v6]:port or a bare v6 into host and port (kept when
 * none is given).
 */
static bool address_parse(const char *s, char host[256], uint16_t *port)
{
	const char *colon, *end;
	size_t n;

	if (*s == '[') {
		end = strchr(++s, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		colon = end[1] ? end + 1 : NULL;
		n = (size_t)(end - s);
	} else {
		colon = strchr(s, ':');
		if (colon && strchr(colon + 1, ':'))
			colon = NULL;
		n = colon ? (size_t)(colon - s) : strlen(s);
	}
	if (!n || n >= 256 || memchr(s, '/', n))
		return false;
	memcpy(host, s, n);
	host[n] = 0;
	return !colon || config_port_parse(colon + 1, port);
}

/* ---- [store] ---- */

static int listen_value(const struct key_context *kc, struct conf_item *it,
			char out[128], const char *want, struct err *err)
{
	const char *colon = strrchr(it->value, ':');
	uint16_t port = 0;
	char host[256];

	it->used = true;
	/* The port must be said, so a bare v6 address will not do. */
	if (strlen(it->value) >= 128 || !colon ||
	    strchr(it->value, ' ') || !config_port_parse(colon + 1, &port) ||
	    (it->value[0] != '[' && strchr(it->value, ':') != colon) ||
	    !address_parse(it->value, host, &port))
		return config_bad_value(kc, it, want, err);
	strcpy(out, it->value);
	return 0;
}

static int daemon_metrics(const struct key_context *kc, struct conf_item *it,
			  struct err *err)
{
	struct daemon_config *d = kc->target;

	return listen_value(kc, it, d->metrics,
			    "an address and port such as 127.0.0.1:7421 or "
			    "[::1]:7421", err);
}

static int store_listen(const struct key_context *kc, struct conf_item *it,
			struct err *err)
{
	struct replica_role_config *s = kc->target;

	return listen_value(kc, it, s->listen,
			    "an address and port such as 0.0.0.0:7420 or "
			    "[::]:7420", err);
}

static int store_path(const struct key_context *kc, struct conf_item *it,
		      struct err *err)
{
	struct replica_role_config *s = kc->target;

	return config_path_value(kc, it, s->store_path, sizeof(s->store_path), err);
}

static const struct key store_keys[] = {
	{ "listen", store_listen, false, false },
	{ "path", store_path, false, false },
	{ 0 },
};

/* ---- [accept PATTERN] ---- */

static const struct key accept_keys[] = {
	{ "retain", NULL, false, false },
	{ "quota", NULL, false, false },
	{ "standby", NULL, false, false },
	{ 0 },
};

/* ---- [replica NAME] ---- */

static int replica_address(const struct key_context *kc, struct conf_item *it,
			   struct err *err)
{
	struct replica_config *r = kc->target;
	struct replica_address *a;
	char word[300], host[256];
	uint16_t port = DEFAULT_PORT;
	size_t pos = 0;
	int i, ret;

	ret = conf_word(kc->conf, it, &pos, word, sizeof(word), err);
	if (ret < 0)
		return ret;
	if (ret || !address_parse(word, host, &port) || !port)
		return config_bad_value(kc, it, "an address such as dr1.example, "
			   "192.0.2.1:7420 or [2001:db8::1]:7420", err);
	ret = conf_word(kc->conf, it, &pos, word, sizeof(word), err);
	if (ret < 0)
		return ret;
	if (!ret)
		return strncmp(word, "weight=", 7) ?
			       config_bad_value(kc, it, "an address with, at most, a weight",
				   err) :
			       config_unsupported(kc, it, err);
	for (i = 0; i < r->n_addresses; i++)
		if (!strcmp(r->addresses[i].host, host) &&
		    r->addresses[i].port == port)
			return conf_error(kc->conf, it->line, err,
					  "%s: %.64s is given twice", it->key,
					  it->value);
	if (r->n_addresses == REPLICA_ADDRESSES_MAX)
		return conf_error(kc->conf, it->line, err,
				  "%s: at most %d addresses a replica", it->key,
				  REPLICA_ADDRESSES_MAX);
	a = &r->addresses[r->n_addresses++];
	strcpy(a->host, host);
	a->port = port;
	a->weight = 1;
	return 0;
}

static int replica_identity(const struct key_context *kc, struct conf_item *it,
			    struct err *err)
{
	struct replica_config *r = kc->target;

	return config_path_value(kc, it, r->identity, sizeof(r->identity), err);
}

static int replica_balance(const struct key_context *kc, struct conf_item *it,
			   struct err *err)
{
	static const char *const names[] = { "least-outstanding", "round-robin",
					     "weighted", NULL };

	return config_choice_value(kc, it, names, err);
}

static int replica_streams(const struct key_context *kc, struct conf_item *it,
			   struct err *err)
{
	uint64_t n;
	int ret = conf_u64(kc->conf, it, 1, 64, &n, err);

	if (ret < 0)
		return ret;
	return n == 1 ? 0 : config_unsupported(kc, it, err);
}

/* "0MiB/s" would read as a limit and mean none. */
int config_rate_value(const struct key_context *kc, struct conf_item *it,
		uint64_t *out, struct err *err)
{
	int ret = conf_rate(kc->conf, it, out, err);

	if (ret < 0)
		return ret;
	return *out ? 0 : config_bad_value(kc, it, "more than nothing", err);
}

static int replica_rate_limit(const struct key_context *kc,
			      struct conf_item *it, struct err *err)
{
	struct replica_config *r = kc->target;

	return config_rate_value(kc, it, &r->rate_limit_bytes, err);
}

static const struct key replica_keys[] = {
	{ "address", replica_address, true, true },
	{ "identity", replica_identity, true, false },
	{ "balance", replica_balance, false, false },
	{ "streams", replica_streams, false, false },
	{ "rate-limit", replica_rate_limit, false, false },
	{ 0 },
};

static const struct key *const section_keys[N_SECTION_TYPES] = {
	[SECTION_DAEMON] = daemon_keys,
	[SECTION_STORE] = store_keys,
	[SECTION_ACCEPT] = accept_keys,
	[SECTION_REPLICA] = replica_keys,
	[SECTION_VOLUME] = config_volume_keys,
	[SECTION_GROUP] = config_group_keys,
};

/* ---- tables at work ---- */

static const struct key *find_key(const struct key *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

static bool seen_before(const struct conf_section *s, size_t i)
{
	size_t j;

	for (j = 0; j < i; j++)
		if (!strcmp(s->items[i].key, s->items[j].key))
			return true;
	return false;
}

static int read_item(const struct key_context *kc, const struct key *table,
		     size_t i, struct err *err)
{
	struct conf_item *it = &kc->section->items[i];
	const struct key *key = find_key(table, it->key);

	if (!key)
		return conf_error(kc->conf, it->line, err,
				  "%.64s: unknown key in [%s]", it->key,
				  kc->section->type);
	if (!key->repeats && seen_before(kc->section, i))
		return conf_error(kc->conf, it->line, err, "%s: given twice",
				  it->key);
	if (!key->read) {
		conf_error(kc->conf, it->line, err, "%s: " CONFIG_UNSUPPORTED,
			   it->key);
		err_remedy(err, "take the line out");
		return -EINVAL;
	}
	return key->read(kc, it, err);
}

int config_read_section(enum section_type type, const struct key_context *kc,
			struct err *err)
{
	const struct key *table = section_keys[type];
	const struct key *key;
	size_t i;
	int ret;

	for (i = 0; i < kc->section->n_items; i++) {
		ret = read_item(kc, table, i, err);
		if (ret < 0)
			return ret;
	}
	for (key = table; key->name; key++)
		if (key->required && !conf_item_find(kc->section, key->name) &&
		    !(kc->group && !strcmp(key->name, "replicas")))
			return conf_error(kc->conf, kc->section->line, err,
					  "[%s %s]: %s is missing",
					  kc->section->type, kc->section->name,
					  key->name);
	return 0;
}

void config_daemon_defaults(struct daemon_config *out)
{
	memset(out, 0, sizeof(*out));
	strcpy(out->state, CTL_DEFAULT_STATE);
	strcpy(out->control, CTL_DEFAULT_SOCKET);
	out->tracker_memory_bytes = 128ULL << 20;
}

void config_replica_defaults(struct replica_config *r)
{
	memset(r, 0, sizeof(*r));
}

void config_volume_defaults(struct volume_config *v,
			    const struct daemon_config *d)
{
	memset(v, 0, sizeof(*v));
	v->interval_ns = NSEC_PER_SEC;
	v->rpo_ns = DEFAULT_RPO_NS;
	v->tracker_memory_bytes = d->tracker_memory_bytes;
	v->compression.mode = COMP_AUTO;
	v->key_escrow = true;
	v->audit_ns = DEFAULT_AUDIT_NS;
	v->quiesce_limit_ns = DEFAULT_QUIESCE_LIMIT_NS;
}
