/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_REMOTE_SESSION_H
#define SOURCE_REMOTE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/conn.h"
#include "source/remote_image.h"
#include "wire/session.h"

/*
 * A reader's session with a replica, driven by one thread that waits. Shared
 * by remote_session.c and remote_image.c.
 */
struct remote {
	struct conn *conn;
	struct dial *dial;
	char object[100];		/* "replica dr1", for messages */
	uint8_t *in;
};

/*
 * The next event, sending and receiving as needed. DIAL_BYE and DIAL_REJECTED
 * come back as the error they tell.
 */
int remote_next(struct remote *r, struct dial_event *ev, struct err *err);
/* A request the dial machine would not take. */
int remote_asked(struct remote *r, int result, struct err *err);
/* An event nobody asked for. */
int remote_unexpected(struct remote *r, const struct dial_event *ev,
		      struct err *err);

#endif
