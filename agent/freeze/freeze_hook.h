/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZE_HOOK_H
#define FREEZE_FREEZE_HOOK_H

#include <stdint.h>

/*
 * Runs PATH WORD VOLUME and waits for its end: until the deadline (of
 * CLOCK_BOOTTIME), or until a descriptor of stop_fds[n] can be read or hangs
 * up; then it is killed with all of its process group.
 *
 * It has no capability and cannot get any, no descriptor but /dev/null and
 * our standard error, and an environment of PATH and UNDERSTUDY_VOLUME.
 */
enum freeze_hook_end {
	HOOK_ENDED,			/* look at the status */
	HOOK_LATE,
	HOOK_STOPPED,
};

struct freeze_hook {
	const char *path, *word, *volume;
	uint64_t deadline_ns;
	int stop_fds[2];		/* -1: none */
};

/* How it ended, and its status as of wait; or negative errno. */
int freeze_hook_run(const struct freeze_hook *h, int *status);

uint64_t freeze_now_ns(void);
/* For poll: milliseconds until then, rounded up, 0 when it is past. */
int freeze_ms_until(uint64_t deadline_ns);

#endif
