/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SESSION_DIAL_H
#define WIRE_SESSION_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/msg.h"
#include "wire/session.h"
#include "wire/session_core.h"

/* The end that dialled, for its two files. Internal to wire. */
struct dial {
	struct session_core core;
	bool accepted;
	enum wire_role role;
	uint64_t features;		/* both understand */
	uint64_t hello_request;
	struct uuid session;
	struct req_queue pings;
	bool secret_in_out;
};

/* 0, -ESHUTDOWN, or -ENOTCONN: not accepted, or not in this role. */
int dial_check_ready(const struct dial *d, enum wire_role role);
/* A message that is not answered. */
int dial_tell(struct dial *d, struct msg *m);
/* One that is: numbered, and remembered with what it asks for. */
int dial_ask(struct dial *d, struct msg *m, const struct req *about);

#endif
