/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CONFIG_KEYS_H
#define CONTROL_CONFIG_KEYS_H

#include "base/conf.h"
#include "control/config.h"

/*
 * The keys of each section, by table: what a key's value must be and where it
 * goes. Used by config.c only.
 */
enum section_type {
	SECTION_DAEMON,
	SECTION_STORE,
	SECTION_ACCEPT,
	SECTION_REPLICA,
	SECTION_VOLUME,
	SECTION_GROUP,
	N_SECTION_TYPES,
};

/* What a key's reader may look at. */
struct key_context {
	const struct conf *conf;
	struct conf_section *section;
	const struct config *config;	/* replicas are known for volumes */
	void *target;			/* struct of the section */
	/* Of a volume: where some of its keys are set instead, or NULL. */
	const struct group_section *group;
};

typedef int (*key_reader)(const struct key_context *kc, struct conf_item *it,
			  struct err *err);

struct key {
	const char *name;		/* NULL ends a table */
	key_reader read;		/* NULL: not done by this build */
	bool required;
	bool repeats;
};

extern const struct key config_volume_keys[];
extern const struct key config_group_keys[];

/* For volumes and groups. */
int config_replicas_value(const struct key_context *kc, struct conf_item *it,
			  struct replica_config *out, struct err *err);
int config_interval_value(const struct key_context *kc, struct conf_item *it,
			  uint64_t *out, struct err *err);
int config_rpo_value(const struct key_context *kc, struct conf_item *it,
		     uint64_t *out, struct err *err);

int config_quiesce_value(const struct key_context *kc, struct conf_item *it,
			 enum quiesce_mode *mode, char hook[256],
			 struct err *err);
int config_quiesce_limit_value(const struct key_context *kc,
			       struct conf_item *it, uint64_t *out,
			       struct err *err);

/* For readers. All return 0 or -EINVAL with err told. */
int config_bad_value(const struct key_context *kc, const struct conf_item *it,
		     const char *want, struct err *err);
/* The key is known, this value of it not yet. */
int config_unsupported(const struct key_context *kc,
		       const struct conf_item *it, struct err *err);
int config_path_value(const struct key_context *kc, struct conf_item *it,
		      char *out, size_t cap, struct err *err);
/* names[0] is the default and the only one this build does. */
int config_choice_value(const struct key_context *kc, struct conf_item *it,
			const char *const *names, struct err *err);
/* Bytes per second, more than none. */
int config_rate_value(const struct key_context *kc, struct conf_item *it,
		      uint64_t *out, struct err *err);
/* 0 to 65535, digits only. */
bool config_port_parse(const char *s, uint16_t *out);

/* The struct that target points to is preset with the defaults. 0, -EINVAL. */
int config_read_section(enum section_type type, const struct key_context *kc,
			struct err *err);
void config_replica_defaults(struct replica_config *r);
void config_volume_defaults(struct volume_config *v,
			    const struct daemon_config *d);

#define CONFIG_UNSUPPORTED "not supported by this build yet"

#endif
