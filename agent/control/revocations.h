/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_REVOCATIONS_H
#define CONTROL_REVOCATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/event.h"
#include "control/eventlog.h"
#include "replica/replica.h"

/*
 * Which certificates of this replica's authority are known to be revoked, so
 * that each revocation is told of once: `pki revoke` works on files, and the
 * daemon learns of it when it reads them. Main thread.
 */
struct revocations {
	char (*serials)[41];
	size_t n;
	struct stat list;		/* as last looked at; zeros: none */
};

/*
 * Is the list that the listener goes by another one than at the last call? To
 * be asked before it is read: what comes meanwhile is then seen the next time.
 */
bool revocations_changed(struct revocations *r, const char *state_dir);

/*
 * Tells of those that are new. since_s: older ones are known already, though
 * not here; seconds since 1970. A daemon without an authority has none.
 */
void revocations_look(struct revocations *r, const char *state_dir,
		      int64_t since_s, struct event_sink *events);
/* Those revoked since the last event of log, while no daemon ran, are news. */
void revocations_start(struct revocations *r, const char *state_dir,
		       struct eventlog *log, int64_t now_wall_ns);
/*
 * When the list is another one: has the replica read its certificates anew,
 * and tells of those that are revoked now.
 */
void revocations_tick(struct revocations *r, const char *state_dir,
		      struct replica *replica, struct event_sink *events);
void revocations_free(struct revocations *r);

#endif
