/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "ctl.h"

/*
 * One request to the daemon.
 */
struct client_request {
	const char *verb;
	json_t *args;			/* taken; may be NULL */
	const int *fds;			/* borrowed */
	int n_fds;
	int patience_ms;		/* without a line from the daemon */
	/* Ctrl-C ends the request in words instead of the process. */
	bool catch_signals;
	void (*progress)(void *arg, const json_t *body);
	int (*part)(void *arg, const json_t *body, struct err *err);
	void *arg;
};

#define CLIENT_PATIENCE_MS 60000
#define CLIENT_LONG_PATIENCE_MS 600000

struct client_reply {
	json_t *result;			/* owned; NULL after a failure */
	struct err err;
	json_t *error;			/* owned; as --json prints it */
	bool from_daemon;		/* it is the daemon's own answer */
	int exit;
};

/* 0 and reply->result, or negative with the rest of reply. */
int client_call(const struct ctl *ctl, const struct client_request *rq,
		struct client_reply *reply);
void client_reply_free(struct client_reply *reply);
/* Tells of a failed call; returns the exit code. */
int client_failure(const struct ctl *ctl, const struct client_reply *reply);
/* The simple case: call, tell of a failure. NULL then, and *exit. */
json_t *client_result(const struct ctl *ctl, const char *verb, json_t *args,
		      int *exit);

#endif
