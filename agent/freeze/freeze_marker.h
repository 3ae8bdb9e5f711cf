/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZE_MARKER_H
#define FREEZE_FREEZE_MARKER_H

#include <stdint.h>
#include <sys/types.h>

#include "freeze/freeze_abi.h"

/*
 * What may be frozen, written down where it is found after everybody who knew
 * of it was killed at once. Whoever holds keeps the file locked: one that can
 * be locked has been left behind.
 */
#define FREEZE_MARKER_DIR "/run/understudy/holds"

/*
 * Made before anything is frozen; devs: of each filesystem, as stat has it. A
 * locked descriptor, and the file's name in name; negative errno, and there is
 * none.
 */
int freeze_marker_make(const char *dir, const struct freeze_request *q,
		       const dev_t *devs, char name[64]);
/* When its time will be up: whoever keeps it locked may have been stopped. */
int freeze_marker_until(int fd, uint64_t until_ns);
/* Nothing is frozen any more. */
void freeze_marker_remove(const char *dir, const char *name);

/*
 * Undoes what was left behind: thaws, then calls the hooks with "thaw", all at
 * the same time and for no longer than FREEZE_HOOK_THAW_NS. Of a holder whose
 * time has been up for long the filesystems are thawed, and the marker is left
 * to it. tell is called with each thing that was found and what came of it, 0
 * or a negative errno (-EINVAL: it was not frozen); a marker with a filesystem
 * that cannot be thawed stays. With dry nothing is done, and the result is 1.
 * Returns how many markers were left behind; an absent directory has none; or
 * negative errno.
 */
struct freeze_left {
	const char *what;		/* "/srv/db", "/etc/hook" */
	const char *volume;
	int result;
};
int freeze_marker_sweep(const char *dir, bool dry,
			void (*tell)(void *arg, const struct freeze_left *l),
			void *arg);

#endif
