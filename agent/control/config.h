/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CONFIG_H
#define CONTROL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "replica/replica.h"
#include "source/volume.h"

/*
 * understudy.conf as the daemon understands it. Everything in it is checked:
 * an unknown key, a bad value, a name that refers to nothing, and a documented
 * key that this build does not do yet are errors with file and line.
 */
#define CONFIG_PATH_MAX 512
#define CONFIG_CONTROL_MAX 108		/* a socket's name, with the NUL */
#define CONFIG_VOLUMES_MAX 256		/* what the tracker has room for */

struct daemon_config {			/* [daemon] */
	char state[CONFIG_PATH_MAX];
	char control[CONFIG_CONTROL_MAX];
	char metrics[128];		/* ADDRESS:PORT; "": none */
	uint64_t tracker_memory_bytes;
};

/* [group NAME]: what its members have from it. */
struct group_section {
	struct group_config group;
	struct replica_config replica;
	uint64_t interval_ns, rpo_ns;
	enum quiesce_mode quiesce;
	char quiesce_hook[256];
	uint64_t quiesce_limit_ns;
	unsigned int line;
};

struct config {
	struct daemon_config daemon;
	bool has_store;			/* this daemon is a replica */
	struct replica_role_config store;
	struct replica_config *replicas;
	size_t n_replicas;
	struct volume_config *volumes;
	size_t n_volumes;
	struct group_section *groups;
	size_t n_groups;
};

/*
 * Read and check a file. 0 and *out, to be freed with config_free; or a
 * negative errno with err told ("FILE:LINE: key: reason"). One thread at a
 * time (base/conf.h).
 */
int config_load(const char *path, struct config **out, struct err *err);
int config_load_text(const char *path, const char *text, size_t len,
		     struct config **out, struct err *err);
void config_free(struct config *c);
DEFINE_CLEANUP(struct config, config_free)

void config_daemon_defaults(struct daemon_config *out);

/* Does any volume want its writers held at times? */
bool config_quiesces(const struct config *c);
const struct volume_config *config_volume(const struct config *c,
					  const char *name);
const struct group_section *config_group(const struct config *c,
					 const char *name);
/* The group that names this volume, or NULL. */
const struct group_section *config_group_of(const struct config *c,
					    const char *volume);
const struct replica_config *config_replica(const struct config *c,
					    const char *name);

#endif
