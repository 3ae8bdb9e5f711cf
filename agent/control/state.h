/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_STATE_H
#define CONTROL_STATE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "base/uuid.h"

/*
 * The state directory of one daemon (0700): who it is, and that there is only
 * one of it.
 *
 *	lock	held (flock) by the daemon that runs; its process id
 *	node	UUID of this state directory, made once
 */
struct state {
	char dir[512];
	int lock_fd;
	struct uuid node;
	struct uuid boot;		/* of the running kernel */
};

/*
 * Makes the directory when it is absent (parents too), takes the lock, reads
 * or makes the node's UUID. -EBUSY "daemon-runs": another process has it.
 */
int state_open(const char *dir, struct state *out, struct err *err);
void state_close(struct state *st);
/* The directory and its parents; 0 when it is there. */
int state_make_dir(const char *dir, struct err *err);
/* UUID of a state directory. 0; -ENOENT; -EBADMSG. */
int state_read_node(const char *dir, struct uuid *out, struct err *err);

#endif
