/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_DAEMON_H
#define CONTROL_DAEMON_H

#include <pthread.h>
#include <stdbool.h>

#include "control/config.h"
#include "control/ctlserver.h"
#include "control/eventlog.h"
#include "control/selector.h"
#include "control/state.h"
#include "replica/replica.h"
#include "source/volume.h"

/*
 * What a running daemon consists of: its configuration, its volumes, its
 * replica role. The main thread starts, reloads and stops it; the threads of
 * the control socket look things up and hold on to what they found.
 */
struct daemon;
struct daemon_volume;		/* one protected volume, held by its users */

/*
 * Starts the replica role (its listener is open on return) and every volume.
 * st is borrowed; c is taken on success.
 */
int daemon_start(const struct state *st, struct config *c, struct daemon **out,
		 struct err *err);
/* Starts to serve the control socket, and metrics where they are wanted. */
int daemon_listen(struct daemon *d, struct err *err);
/*
 * Another configuration: adds, changes and removes volumes; takes c on
 * success. On error everything is as it was, but for volumes that could not be
 * started, which are logged.
 */
int daemon_reload(struct daemon *d, struct config *c, struct err *err);
/*
 * A volume that was slow to stop is started anew, as the configuration has it,
 * only when it has ended: then this is readable, and daemon_catch_up is due.
 */
int daemon_event_fd(const struct daemon *d);
/*
 * Every DAEMON_TICK_MS: takes up certificates that were revoked or renewed on
 * disk, so that `pki revoke` ends sessions at once, whoever runs it.
 */
#define DAEMON_TICK_MS 500
void daemon_tick(struct daemon *d);
void daemon_catch_up(struct daemon *d);
/*
 * Drains and frees. False when something did not end in time: then the process
 * is to end without more ado, which loses nothing.
 */
bool daemon_stop(struct daemon *d);

/* ---- for the threads of the control socket ---- */

/*
 * A volume of this host by NAME: 0, and daemon_volume_put when done; -ENOENT.
 */
int daemon_volume_get(struct daemon *d, const char *name,
		      struct daemon_volume **out);
void daemon_volume_put(struct daemon *d, struct daemon_volume *dv);
struct volume *daemon_volume(const struct daemon_volume *dv);
/*
 * All of them, held, in the order of the file: *out is an array that
 * daemon_volumes_put gives back. 0, -ENOMEM.
 */
int daemon_volumes_get(struct daemon *d, struct daemon_volume ***out,
		       size_t *n);
void daemon_volumes_put(struct daemon *d, struct daemon_volume **all,
			size_t n);
/* NULL when this daemon is no replica. Lives as long as the daemon. */
struct replica *daemon_replica(const struct daemon *d);
/* A configured [replica NAME], copied; "" finds the only one. -ENOENT. */
int daemon_replica_config(struct daemon *d, const char *name,
			  struct replica_config *out);
/* Is there a [volume NAME], started or not? */
bool daemon_is_configured(struct daemon *d, const char *name);
const struct source_env *daemon_source_env(const struct daemon *d);
/* What happened. Lives as long as the daemon. */
struct eventlog *daemon_eventlog(const struct daemon *d);
int64_t daemon_started_wall_ns(const struct daemon *d);
/* Of the replica role, "" without it. Lives as long as the daemon. */
const char *daemon_store_path(const struct daemon *d);
/* As an event; reason may be NULL. */
void daemon_tell(struct daemon *d, const char *slug, const char *object,
		 const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#endif
