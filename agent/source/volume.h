/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_VOLUME_H
#define SOURCE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/event.h"
#include "base/io.h"
#include "base/rnd.h"
#include "base/uuid.h"
#include "source/group.h"
#include "tracker/tracker.h"
#include "wire/seal.h"

/*
 * A protected volume of this host: tracker, cuts, shipping. One worker thread
 * each; every function below may be called from any thread.
 */
#define VOLUME_NAME_MAX 64
#define REPLICA_ADDRESSES_MAX 8

struct replica_address {
	char host[256];
	uint16_t port;
	uint32_t weight;
};

struct replica_config {			/* [replica NAME] */
	char name[VOLUME_NAME_MAX + 1];
	struct replica_address addresses[REPLICA_ADDRESSES_MAX];
	int n_addresses;
	char identity[512];
	uint64_t rate_limit_bytes;	/* per second; 0 = none */
};

/* How writers are held when a point is to be more than `crash`. */
enum quiesce_mode { QUIESCE_NONE, QUIESCE_FREEZE, QUIESCE_HOOK };
#define QUIESCE_LIMIT_MIN_NS (10 * NSEC_PER_MSEC)
#define QUIESCE_LIMIT_MAX_NS (30 * NSEC_PER_SEC)

#define GROUP_MEMBERS_TEXT (GROUP_MEMBERS_MAX * (VOLUME_NAME_MAX + 1))
struct group_config {			/* [group NAME]; "": of none */
	char name[VOLUME_NAME_MAX + 1];
	uint32_t n_members;
	char members[GROUP_MEMBERS_TEXT];	/* names, a blank between two */
};

struct volume_config {			/* [volume NAME] */
	char name[VOLUME_NAME_MAX + 1];
	char device[512];
	struct replica_config replica;
	uint64_t interval_ns;
	uint64_t rpo_ns;		/* 0 = no objective */
	uint64_t block_bytes;		/* granularity; 0 = auto */
	uint64_t tracker_memory_bytes;
	struct comp_config compression;
	bool key_escrow;
	uint64_t read_limit_bytes;	/* per second; 0 = none */
	uint64_t audit_ns;		/* of a lap; 0 = no audit */
	enum quiesce_mode quiesce;
	char quiesce_hook[256];
	uint64_t quiesce_limit_ns;
	bool quiesce_contention;	/* also when rounds do not converge */
	struct group_config group;
};

/* What the daemon gives every volume. */
struct source_env {
	const char *state_dir;
	struct uuid node;		/* of this state directory */
	struct uuid boot;
	struct clock *clock;
	struct rnd *rnd;
	struct io *io;
	struct event_sink *events;	/* NULL: nobody wants to know */
};

enum volume_state {
	VOLUME_INITIALIZING, VOLUME_PROTECTED, VOLUME_LAGGING,
	VOLUME_COMPARING, VOLUME_PAUSED, VOLUME_REFUSED, VOLUME_FAILED,
};
const char *volume_state_name(enum volume_state s);

struct volume_status {
	char name[VOLUME_NAME_MAX + 1];
	char source[VOLUME_NAME_MAX + 1];	/* our name at the replica; empty
						 * until it has told us */
	char group[VOLUME_NAME_MAX + 1];	/* empty: of none */
	struct uuid uuid;
	enum volume_state state;
	char reason[40];		/* slug or empty */
	char message[384];
	char remedy[256];
	int64_t since_wall_ns;		/* of this state */
	char device[512];
	uint64_t size_bytes, block_bytes, interval_ns, rpo_ns;
	bool has_lag;
	uint64_t lag_ns;
	uint64_t dirty_bytes;		/* not yet in an acknowledged point */
	uint64_t backlog_bytes;		/* of those, not yet staged */
	int64_t proven_wall_ns;		/* each block has been compared with
					 * the replica since; 0: not known */
	char limited_by[24];		/* "", contention, link, read, paused ... */
	bool has_point;
	uint64_t seq, epoch;
	int64_t flip_wall_ns;
	char kind[8];
	char replica[VOLUME_NAME_MAX + 1];
	char replica_state[24];		/* connected, connecting, refused ... */
	char replica_reason[40];
	/* counters since the daemon started */
	uint64_t points, cuts, cuts_converged, rounds;
	uint64_t audit_bytes, audit_laps;	/* laps that left nothing out */
	uint64_t audit_differing_bytes;	/* found by it */
	uint64_t bytes_read, bytes_shipped, bytes_unchanged, bytes_staged;
	/* Holds that were in force; attempts that came to none, or to no cut. */
	uint64_t holds, holds_failed;
	uint64_t held_ns, last_held_ns;	/* all together; the last one */
	char reader_kind[16];
	struct tracker_losses losses;	/* all of them; detached: as of now */
};

struct sync_order {
	const char *label;		/* may be NULL */
	bool quiesce;			/* a held one or none */
	uint64_t timeout_ns;
	/* Every now and then while it waits: how much is staged, of how much
	 * seen so far. Negative: wait no longer. May be NULL. */
	int (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	void *arg;
};

struct sync_result {
	uint64_t seq, epoch;
	int64_t flip_wall_ns;
	char kind[8];
};

struct volume;

/*
 * Ends the tracking of volumes of this state that are not among keep[n] (they
 * left the configuration while no daemon ran). Volumes that were started go on.
 */
int volume_forget_others(const struct source_env *env,
			 struct volume *const *keep, int n, struct err *err);

/*
 * Starts the worker; a device that is absent, changed or refused is a state,
 * not an error here. Errors: the state directory cannot be used, out of memory.
 */
int volume_start(const struct volume_config *cfg, const struct source_env *env,
		 struct volume **out, struct err *err);
/*
 * Before volume_stop, by an owner whose other threads may be inside a call:
 * volume_sync returns -ECANCELED soon, now and later.
 */
void volume_cancel(struct volume *v);
/* Drains what is in flight within a bound; tracking goes on unless untrack. */
void volume_stop(struct volume *v, bool untrack);
void volume_get_status(struct volume *v, struct volume_status *out);
const struct volume_config *volume_get_config(const struct volume *v);
/* Is it said how its writers are held? 0; -EOPNOTSUPP "no-quiesce". */
int volume_quiesces(const struct volume *v, struct err *err);
/* May two configurations be swapped without a restart of the worker? */
bool volume_config_equal(const struct volume_config *a,
			 const struct volume_config *b);
/*
 * A point now. Returns when it is durable at the replica, or -ETIMEDOUT with
 * err naming the replica that lacks it, or what progress returned. Quiesced: or
 * why that came to nothing; the point's kind says what it has become.
 */
int volume_sync(struct volume *v, const struct sync_order *order,
		struct sync_result *out, struct err *err);
/*
 * Compares the device with the replica's newest point while writes go on, see
 * source/verify.h. 0 when it came to its end, whatever it found; else negative
 * errno: nothing could be compared, it was interrupted, or what progress
 * returned. Differences, also those found until then, are in the status.
 */
struct verify_report;
struct verify_order {
	/* Every now and then. Negative: wait no longer. May be NULL. */
	int (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	void *arg;
};
int volume_verify(struct volume *v, const struct verify_order *order,
		  struct verify_report *out, struct err *err);
/* Survive a restart (kept in state). */
int volume_pause(struct volume *v, struct err *err);
int volume_resume(struct volume *v, struct err *err);
/* The way out of every refusal: everything is compared again. */
int volume_resync(struct volume *v, struct err *err);
/* The volume key, for `key export`; -ENOKEY when there is none yet. */
int volume_get_key(struct volume *v, struct volume_key *out);
/*
 * The key has been exported up to generation id (kept in state): a volume
 * without key escrow shows the reason `key-unsaved` until the newest one has
 * been, when it has no other.
 */
int volume_key_exported(struct volume *v, uint32_t id, struct err *err);
/*
 * A new generation of the key, durable on return; what is sealed from the next
 * session on (which begins at once) is sealed with it, after the replica has
 * it when it is to keep it. -ENOSPC "key-limit".
 */
int volume_rotate_key(struct volume *v, uint32_t *id, struct err *err);
/*
 * An exported key comes home. Of this volume: generations that are lacking are
 * added. Of another identity: this volume becomes that one, if it never made a
 * point of its own; everything is compared then. *changed: something did.
 * -EPERM "key-conflict", "has-history", "key-generation": refused, nothing
 * changed; -ETIMEDOUT: the worker did not come to it.
 */
int volume_import_key(struct volume *v, const struct uuid *uuid,
		      const struct volume_key *key, bool *changed,
		      struct err *err);

/*
 * The state of a volume of this host that no volume_start holds. discard_key:
 * although nobody else is known to have the key of its points. -ENOENT
 * "no-volume"; -EPERM "key-unsaved".
 */
struct volume_removed {
	struct uuid uuid;
	uint32_t key_id;
	bool has_point, key_saved;
};
int volume_remove(const struct source_env *env, const char *name,
		  bool discard_key, struct volume_removed *out,
		  struct err *err);
/* The key of such a volume, and its UUID. -ENOENT, err not told. */
int volume_departed_key(const struct source_env *env, const char *name,
			struct volume_key *out, struct uuid *uuid,
			struct err *err);
/* The same note as volume_key_exported. */
int volume_departed_exported(const struct source_env *env, const char *name,
			     uint32_t id, struct err *err);

#endif
