/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SESSION_END_H
#define WIRE_SESSION_END_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/session.h"
#include "wire/session_core.h"

/* The accepting end, for its two files. Internal to wire. */
struct serve {
	struct session_core core;
	enum { WAIT_HELLO, WAIT_OWNER, READY } phase;
	struct wire_hello hello;
	uint64_t hello_request;
	struct uuid session;
	uint64_t features;		/* agreed upon */
	/* A DISCARD or ESCROW given out last: done once more is asked for. */
	uint64_t implied;
	bool wipe;			/* the event given out was a secret */
};

/* Answers DISCARDs and ESCROWs that only waited for their turn. */
int serve_flush_done(struct serve *s);

#endif
