/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SIMFS_H
#define TESTS_LIB_SIMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"
#include "base/rnd.h"

/*
 * A file system in memory that promises as little as one may: the data and
 * the size of a file are durable after fsync or fdatasync of the file, its
 * name after fsync of its directory, and nothing else is. After a power cut
 * each sector that was written since the last sync holds any of the contents
 * it had since then, whatever became of its neighbours; so does each size and
 * each name; what lies between an old size and a new one may be anything.
 *
 * The store's file operations and SQLite's (simfs_vfs.c) both end here. One
 * thread. Whatever happens in it is decided by its caller: nothing is random.
 */
#define SIM_SECTOR 512U
#define SIM_NAME_MAX 56U
#define SIM_MAX_FDS 64U

struct sim_node;
struct simfs;

enum sim_op { SIM_WRITE, SIM_SIZE, SIM_NAME, SIM_SYNC };

/* What is about to be done. */
struct sim_event {
	enum sim_op op;
	bool is_sync;
	/* "fsync store", "fdatasync segment (new)", "sqlite catalog.db-wal" */
	char what[96];
};

struct simfs {
	struct io io;
	struct sim_node **nodes;	/* [0] is the root directory */
	size_t n_nodes;
	struct sim_fd {
		struct sim_node *node;
		char path[128];
	} fds[SIM_MAX_FDS];
	uint64_t time;			/* of changes */
	/*
	 * Before each change and each sync. True: a sync is passed over, as if
	 * the program had none there; a change is done all the same.
	 */
	bool (*before)(struct simfs *fs, const struct sim_event *e, void *arg);
	void *arg;
	bool in_hook;
	bool dead;			/* every call fails from now on */
	uint64_t calls;			/* of before, also when there is none */
};

void simfs_init(struct simfs *fs);
void simfs_free(struct simfs *fs);
/* As it is for the programs that run: what a killed one leaves behind. */
void simfs_copy(struct simfs *to, const struct simfs *from);
/* Hash of all names and contents as programs see them. */
uint64_t simfs_hash(const struct simfs *fs);

/*
 * SQLite's files are in this one from now on (NULL: nowhere). Open
 * connections stay where they are. Returns the former.
 */
struct simfs *simfs_for_sqlite(struct simfs *fs);

/* ---- power cuts ---- */

/* Something that a power cut may leave in more than one way. */
struct sim_choice {
	struct sim_node *node;
	enum sim_op op;			/* SIM_WRITE: a sector */
	uint64_t sector;
	uint32_t name;			/* first pending change of that name */
	uint32_t n;			/* ways; 0 is: as last synced */
	bool catalog;			/* one of SQLite's */
};

struct sim_choices {
	struct sim_choice *v;
	size_t n;
};

/* All of them at this moment; the caller frees v. */
void simfs_choices(const struct simfs *fs, struct sim_choices *out);
/* picks[i] < choices->v[i].n. With noise, what was never written is noise. */
void simfs_crash(struct simfs *to, const struct simfs *from,
		 const struct sim_choices *choices, const uint32_t *picks,
		 uint64_t noise);
/* The pick of choice i when what happened after this time is lost. */
uint32_t simfs_pick_until(const struct simfs *fs,
			  const struct sim_choice *choice, uint64_t time);
/* The times at which something pending happened, rising; caller frees. */
uint64_t *simfs_times(const struct simfs *fs, bool catalog, size_t *n);
void simfs_describe(const struct sim_choice *c, char *out, size_t size);

/* ---- between simfs.c and simfs_vfs.c ---- */

struct sim_node *simfs_lookup(struct simfs *fs, const char *path);
/* NULL: no such directory, or dead. */
struct sim_node *simfs_create(struct simfs *fs, const char *path);
int simfs_read(const struct sim_node *n, void *p, size_t len, uint64_t off);
int simfs_write(struct simfs *fs, struct sim_node *n, const void *p,
		size_t len, uint64_t off);
int simfs_resize(struct simfs *fs, struct sim_node *n, uint64_t size);
uint64_t simfs_size(const struct sim_node *n);
int simfs_sync(struct simfs *fs, struct sim_node *n, const char *call,
	       const char *path);
int simfs_sync_parent(struct simfs *fs, const char *path, const char *call);
int simfs_unlink(struct simfs *fs, const char *path);

#endif
