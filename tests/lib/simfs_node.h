/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SIMFS_NODE_H
#define TESTS_LIB_SIMFS_NODE_H

#include "simfs.h"

/* Between the files of simfs. */
struct sim_bytes {
	uint8_t *p;
	uint64_t size, cap;
};

struct sim_names {
	struct sim_name {
		char name[SIM_NAME_MAX];
		uint32_t node;
	} *v;
	size_t n;
};

struct sim_node {
	uint32_t id;			/* its place in fs->nodes */
	bool is_dir;
	bool ever_synced;
	struct sim_bytes now, synced;
	struct sim_version {
		uint64_t sector, time;
		uint8_t bytes[SIM_SECTOR];
	} *versions;			/* since the last sync, oldest first */
	size_t n_versions;
	struct sim_size {
		uint64_t size, time;
	} *sizes;
	size_t n_sizes;
	struct sim_names names, synced_names;
	struct sim_change {
		char name[SIM_NAME_MAX];
		uint32_t node;		/* 0: gone */
		uint64_t time;
	} *changes;
	size_t n_changes;
};

void sim_must(bool ok, const char *what);
/* Room for one more after n. */
void *sim_grow(void *p, size_t n, size_t size);
struct sim_node *sim_node_add(struct simfs *fs, bool is_dir);
void sim_bytes_resize(struct sim_bytes *b, uint64_t size);
void sim_bytes_copy(struct sim_bytes *to, const struct sim_bytes *from);
struct sim_name *sim_name_find(const struct sim_names *names,
			       const char *name);
/* node 0: take it away. */
void sim_name_set(struct sim_names *names, const char *name, uint32_t node);

#endif
