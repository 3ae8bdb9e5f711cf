/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICA_REPLICA_H
#define REPLICA_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/event.h"
#include "base/io.h"
#include "base/rnd.h"
#include "base/uuid.h"
#include "store/store.h"

/*
 * The replica role: listens, authenticates, stores points, serves readers.
 * One thread accepts, one per connection. Every function may be called from
 * any thread.
 */
struct accept_rule {			/* [accept PATTERN], first match wins */
	char pattern[130];		/* on SOURCE/NAME */
};

struct replica_role_config {		/* [store] and [accept ...] */
	char listen[128];
	char store_path[512];
	struct accept_rule *accept;	/* n_accept = 0: all the certificates allow */
	int n_accept;
};

/* What one replica bears; 0 = the default. */
struct replica_limits {
	unsigned int connections;	/* in all: 1024 */
	unsigned int strangers;		/* not yet accepted, in all: 128 */
	unsigned int strangers_per_address;	/* 64 */
	unsigned int per_name;		/* accepted, of one certificate: 512 */
	unsigned int handshake_ms;	/* TLS, and then HELLO: 10 s each */
	unsigned int idle_ms;		/* a sender that says nothing: 60 s */
	unsigned int reader_idle_ms;	/* a reader that asks nothing: 10 m */
	/* a peer that takes nothing, or does not end what it began to say: 5 m */
	unsigned int stall_ms;
};

/* The replica keeps no pointer of it but clock, rnd, io and holds_path. */
struct replica_env {
	const char *state_dir;		/* pki/server identity, keys/<uuid>.key */
	struct uuid node, boot;
	struct clock *clock;
	struct rnd *rnd;
	struct io *io;
	/*
	 * blkdev_holds_path of the source: does dir lie on this disk or
	 * partition of this host? NULL: the check is left out.
	 */
	int (*holds_path)(uint32_t disk_major, uint32_t disk_minor,
			  uint32_t part_major, uint32_t part_minor,
			  const char *dir);
	struct replica_limits limits;
	struct event_sink *events;	/* NULL: nobody wants to know */
};

struct replica_volume_status {
	struct volume_info info;
	const char *state;		/* initializing following disconnected
					 * full damaged */
	char reason[40];
	char message[384];
	int64_t since_wall_ns;
	bool connected;
	bool was_heard;			/* a session was, since the start */
	bool has_lag;
	uint64_t lag_ns;		/* now - newest of (flip, confirmed) */
	bool has_key;			/* escrowed here */
};

struct replica;

/*
 * -EINVAL "keys-in-store" when <state>/keys would lie inside the store's
 * directory. An empty cfg->listen: no listener, no identity (tests).
 */
int replica_start(const struct replica_role_config *cfg,
		  const struct replica_env *env, struct replica **out,
		  struct err *err);
/* Tells every peer, waits for their threads, closes the store. */
void replica_stop(struct replica *r);
uint16_t replica_port(const struct replica *r);
struct replica_sessions {
	unsigned int connections;	/* in all */
	unsigned int strangers;		/* of them not accepted yet */
	unsigned int senders;		/* that have a volume open */
};
void replica_get_sessions(struct replica *r, struct replica_sessions *out);
struct store *replica_store(struct replica *r);
/* One row per volume; a non-zero result of cb ends it and is returned. */
int replica_status(struct replica *r,
		   int (*cb)(void *arg, const struct replica_volume_status *s),
		   void *arg);
/*
 * Reload certificates and accept rules (SIGHUP). Old state kept on error.
 * Sessions that the new rules or certificates do not allow are ended. -EINVAL
 * "needs-restart" when listen or path changed.
 */
int replica_reload(struct replica *r, const struct replica_role_config *cfg,
		   struct err *err);
/* Escrowed key of a volume: 0, -ENOKEY. */
struct volume_key;
int replica_key(struct replica *r, const struct uuid *volume,
		struct volume_key *out, struct err *err);
/*
 * Keep a volume's key as if its source had sent it: 0; 1 when it was kept
 * already; -EEXIST "key-conflict", nothing changed.
 */
int replica_keep_key(struct replica *r, const struct uuid *volume,
		     const char *name, const struct volume_key *key,
		     struct err *err);

/*
 * Forgets a volume, its points and its key; durable on return. A failure after
 * the volume was gone is told, and what is left is deleted at the next start.
 * -EBUSY "volume-busy": it is pushed to, or read.
 */
int replica_remove(struct replica *r, const struct uuid *volume,
		   struct err *err);
/*
 * Certificates were changed on disk: reads them anew, and ends the sessions
 * that they no longer allow. The old ones stay in force on error.
 */
int replica_reload_identity(struct replica *r, struct err *err);

/*
 * Serve a connection that exists already, in a thread of its own; takes it,
 * also on failure. Who the peer is stands in it (peer_name, peer_rights,
 * peer_volumes). For tests, and for a listener that is elsewhere.
 */
struct conn;
int replica_serve(struct replica *r, struct conn *c);

#endif
