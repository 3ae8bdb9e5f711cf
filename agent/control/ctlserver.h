/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CTLSERVER_H
#define CONTROL_CTLSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "control/ctlproto.h"

/*
 * The daemon's end of the control socket. One thread listens and collects
 * requests; each whole request runs in a thread of its own, so that a client
 * that says nothing costs a slot in a poll set, and one that does not read its
 * answer costs a thread that gives up after a time.
 */
#define CTLSERVER_MAX_WAITING 64	/* connected, no whole request yet */
#define CTLSERVER_MAX_QUICK 16		/* requests at work, of either sort */
#define CTLSERVER_MAX_LONG 256		/* one a volume that there may be */

struct ctlserver;
struct ctl_call;			/* one request at work */

/*
 * Runs in a thread of its own. 0 and *result (NULL: an empty object), or
 * negative errno with err told; call_details adds to what the error says.
 */
typedef int (*ctl_handler)(void *arg, struct ctl_call *call, json_t **result,
			   struct err *err);

struct ctl_verb {
	const char *name;		/* NULL ends a table */
	ctl_handler run;
	bool is_long;			/* may take longer than a moment */
};

const struct ctl_request *ctl_call_request(const struct ctl_call *call);
/* A descriptor of the request becomes the caller's; -1 when there is none. */
int ctl_call_take_fd(struct ctl_call *call, int index);
/* Has the client gone away, or is the server stopping? */
bool ctl_call_is_cancelled(struct ctl_call *call);
/*
 * A progress line; takes body. Dropped when the client reads too slowly.
 */
void ctl_call_progress(struct ctl_call *call, json_t *body);
/* A piece of the result; takes body. -EPIPE: nobody reads it any more. */
int ctl_call_part(struct ctl_call *call, json_t *body);
/* Keys that an error reply shall carry besides its texts; takes details. */
void ctl_call_details(struct ctl_call *call, json_t *details);

/* A failure of this request is a refusal for safety, whatever its slug. */
void ctl_call_refuses(struct ctl_call *call);

/* 0, or negative errno with err told. verbs and arg outlive the server. */
int ctlserver_start(const char *path, const struct ctl_verb *verbs, void *arg,
		    struct ctlserver **out, struct err *err);
/* No new requests from here on, and those at work are told to end. */
void ctlserver_cancel(struct ctlserver *s);
/*
 * After ctlserver_cancel: waits for what is at work, and frees. False when
 * something still ran after timeout_ns; s is then left as it is.
 */
bool ctlserver_stop(struct ctlserver *s, uint64_t timeout_ns);

#endif
