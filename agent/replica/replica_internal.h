/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICA_REPLICA_INTERNAL_H
#define REPLICA_REPLICA_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "net/conn.h"
#include "replica/replica.h"
#include "wire/session.h"

/*
 * What the files of the replica share. Locks, in order:
 *
 *	opening		one VOLUME_OPEN at a time, so that the newest writer
 *			and the newest session are the same; held over the
 *			store's opening calls
 *	lock		everything below marked (lock); never held over I/O
 *	keys_lock	one writer of a key file at a time
 */
enum stop_reason {
	STOP_NONE,
	STOP_SHUTDOWN,			/* the daemon ends */
	STOP_SUPERSEDED,		/* a newer session has the volume */
	STOP_NOT_ACCEPTED,		/* new [accept] rules */
	STOP_CROWDED_OUT,		/* too many strangers */
};

/* One peer and its thread. */
struct peer {
	struct peer *next;		/* (lock) */
	struct replica *r;
	pthread_t thread;
	char address[64];
	bool stranger;			/* (lock) not accepted yet */
	bool done;			/* (lock) the thread is at its end */
	int raw_fd;			/* (lock) to cut a TLS handshake, or -1 */
	struct conn *conn;		/* (lock) once there is one, to wake */
	int fd;				/* thread: accepted, before TLS */
	struct tls_identity *identity;	/* thread */
	atomic_int stop;		/* enum stop_reason; first one stays */
	atomic_bool recheck;		/* certificates were read anew */
	char full_name[132];		/* (lock) of the volume it pushes, or "" */
};

/*
 * What is known of a volume since the replica started, beside what the store
 * says. Never freed before the replica is.
 */
struct volume_record {
	struct volume_record *next;
	struct uuid uuid;
	struct peer *sender;		/* the session that may write, or NULL */
	/* our monotonic time minus the source's wall clock */
	bool has_offset;
	int64_t offset_ns;
	uint64_t confirmed_epoch, confirmed_seq;	/* seq 0: none */
	int64_t confirmed_wall_ns;
	/* why the last session ended or was refused; "" when all is well */
	char code[40];
	char message[384];
	bool full;			/* until the next commit succeeds */
	/* Who staged what lies in the open point; not known after a start. */
	bool has_author;
	struct uuid author_node, author_boot;
	int64_t since_wall_ns;		/* of the state */
	char state[16];			/* as last told; "": not since */
	char event_state[16];		/* of which an event has told */
	int64_t event_wall_ns;		/* when that was */
};

struct replica {
	struct replica_env env;		/* state_dir is ours */
	struct replica_limits limits;
	char *state_dir;
	char *keys_dir;
	char store_path[512];
	char listen[128];
	struct store *store;
	struct listener *listener;
	pthread_t thread;
	bool has_thread;
	int wake_fd;			/* of the listener's thread */

	pthread_mutex_t opening;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* a peer is done */
	struct peer *peers;		/* (lock) */
	unsigned int n_peers, n_strangers;	/* (lock) */
	struct tls_identity *identity;	/* (lock) NULL without listener */
	struct accept_rule *accept;	/* (lock) */
	int n_accept;			/* (lock) */
	struct volume_record *records;	/* (lock) the list and what is in it */
	bool stopping;			/* (lock) */
	uint64_t refusal_log_ns[8];	/* (lock) by reason, more or less */
	unsigned int refusals_unlogged;	/* (lock) */
	int64_t started_wall_ns;
	pthread_mutex_t keys_lock;
};

/* ---- replica.c ---- */

/* "SOURCE/NAME" against the [accept] rules. */
bool replica_accepts(struct replica *r, const char *full_name);
/* A reference to the present identity, or NULL. */
struct tls_identity *replica_identity(struct replica *r);

/* ---- replica_peers.c ---- */

/* A thread for an accepted descriptor or a finished connection (the other is
 * -1 or NULL). Takes both. 0, -EMFILE when a limit is reached, -ESHUTDOWN. */
int peer_start(struct replica *r, int fd, struct conn *conn,
	       const char *address);
/* The peer is known now: it no longer counts among the strangers. */
void peer_accepted(struct peer *p);
/* Under the bound on sessions of one certificate? */
bool peer_may_join(struct peer *p);
void peer_stop(struct peer *p, enum stop_reason why);	/* under lock */
/* Join threads that are done; all of them when wait is set. */
void peers_reap(struct replica *r, bool wait);
/* One line, at most a few per second in all; a rare reason shows in a flood. */
void replica_log_refusal(struct replica *r, const char *address,
			 const struct err *err);

/* ---- replica_session.c ---- */

/*
 * Times of a peer's clock are taken only from 1970 to 2116, so that sums and
 * differences with them cannot overflow.
 */
static inline bool wall_is_sane(int64_t wall_ns)
{
	return wall_ns >= 0 && wall_ns < INT64_C(1) << 62;
}

/* The whole conversation; returns when it is over. conn stays the caller's. */
void session_run(struct peer *p, struct conn *conn);

/* ---- replica_status.c ---- */

/* Under lock. NULL: out of memory. */
struct volume_record *record_get(struct replica *r, const struct uuid *uuid);
/* As an event of a volume, or of what else; reason may be NULL. */
void replica_tell(struct replica *r, const char *slug, const char *object,
		  const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* Has the state of a volume changed? Looks it up in the store: no lock. */
void replica_tell_state(struct replica *r, const struct uuid *uuid);
/* Of all of them. */
void replica_tell_states(struct replica *r);
/* The session of p may write the volume now; the older one is stopped. */
int record_begin(struct replica *r, const struct uuid *uuid, struct peer *p,
		 const char *full_name, int64_t offset_ns);
/*
 * This source is the author of the open point from here on. Was it before?
 */
bool record_author(struct replica *r, const struct uuid *uuid,
		   const struct wire_hello *hello);
/* Is p still the one that may write? Notes the end and why (may be NULL). */
void record_end(struct replica *r, const struct uuid *uuid, struct peer *p,
		const struct err *why);
/* The volume was removed: one that comes with its UUID is another. */
void record_forget(struct replica *r, const struct uuid *uuid);
/* A volume was refused before a session for it began. */
void record_refused(struct replica *r, const struct uuid *uuid,
		    const struct err *why);
/* first: the volume had no point before. May the state be another one now? */
bool record_committed(struct replica *r, const struct uuid *uuid, bool first,
		      int64_t flip_wall_ns);
void record_confirmed(struct replica *r, const struct uuid *uuid,
		      uint64_t epoch, uint64_t seq, int64_t wall_ns);

/* ---- replica_keys.c ---- */

int keys_open(struct replica *r, struct err *err);
/* Keeps the key in text if it is volume's. Joins it with what is kept; another
 * key of a generation is never replaced: -EEXIST "key-conflict". */
int keys_save(struct replica *r, const struct uuid *volume, const char *text,
	      size_t len, struct err *err);
/* For a volume that is no more. Durable. */
int keys_forget(struct replica *r, const struct uuid *volume);
bool keys_has(struct replica *r, const struct uuid *volume);

#endif
