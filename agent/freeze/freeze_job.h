/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZE_JOB_H
#define FREEZE_FREEZE_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "freeze/freeze_abi.h"
#include "freeze/freeze_target.h"

/*
 * Inside of the helper: one hold, as the process that holds and the one that
 * guards it know it. Everything in it is there before the holder is forked.
 */
struct freeze_job {
	pid_t pid;			/* the holder; 0: none */
	bool is_undoing;		/* it has died; pid calls the hook */
	struct freeze_slot *slot;
	struct freeze_targets targets;
	uint64_t limit_ns;
	int life_fd;			/* the daemon's pipe */
	int event_fd;
	int marker_fd;			/* locked */
	char marker[64];
	char volume[FREEZE_NAME_BYTES];
	char hook[FREEZE_HOOK_BYTES];
};

/* The holder's life, in a process of its own. */
__attribute__((noreturn)) void freeze_hold(struct freeze_job *j, pid_t keeper);

/* Thaws what may be frozen; what cannot be thawed is in thaw_error, and is
 * marked still. True: all of it was frozen until now. */
bool freeze_job_thaw(struct freeze_job *j);
/* The thawing half of the hook, if its freezing half may have run. */
void freeze_job_thaw_hook(struct freeze_job *j);
/* The early part of the above: what is frozen for certain, while its holder
 * waits for the kernel to freeze another one. */
void freeze_job_thaw_frozen(struct freeze_job *j);
/* Nothing is held any more: the daemon may look. */
void freeze_job_done(struct freeze_job *j);

/* Serves one daemon until its end of the socket is closed and nothing is held;
 * the helper's exit status. */
int freeze_keep(int socket_fd, const struct freeze_hello *hello);

/* Keeps CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH, if they are there, and nothing
 * else; memory locked. What is lacking is in hello. 0 or negative errno. */
int freeze_confine(struct freeze_hello *hello);

#endif
