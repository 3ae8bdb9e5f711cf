/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICA_REPLICA_H
#define REPLICA_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
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

struct replica_env {
	const char *state_dir;		/* pki/server identity, keys/<uuid>.key */
	struct uuid node, boot;
	struct clock *clock;
	struct rnd *rnd;
	struct io *io;
};

struct replica_volume_status {
	struct volume_info info;
	const char *state;		/* initializing following disconnected
					 * full damaged */
	char reason[40];
	char message[384];
	int64_t since_wall_ns;
	bool connected;
	bool has_lag;
	uint64_t lag_ns;		/* now - newest of (flip, confirmed) */
	bool has_key;			/* escrowed here */
};

struct replica;

int replica_start(const struct replica_role_config *cfg,
		  const struct replica_env *env, struct replica **out,
		  struct err *err);
void replica_stop(struct replica *r);
uint16_t replica_port(const struct replica *r);
struct store *replica_store(struct replica *r);
int replica_status(struct replica *r,
		   int (*cb)(void *arg, const struct replica_volume_status *s),
		   void *arg);
/* Reload certificates and accept rules (SIGHUP). Old state kept on error. */
int replica_reload(struct replica *r, const struct replica_role_config *cfg,
		   struct err *err);
/* Escrowed key of a volume: 0, -ENOKEY. */
struct volume_key;
int replica_key(struct replica *r, const struct uuid *volume,
		struct volume_key *out, struct err *err);

#endif
