/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_TARGET_H
#define CONTROL_TARGET_H

#include <stdbool.h>

#include "base/err.h"

/*
 * The target of a restore, opened by whoever was told its name: understudyctl,
 * which passes the descriptor to the daemon. A device is claimed (O_EXCL), and
 * stays so while any copy of the descriptor is open.
 */
struct target {
	int fd;
	bool is_device;
	bool created;			/* by target_open */
	char path[512];
};

/*
 * A block device, or a regular file, which is made when it is absent.
 * -EBUSY "target-in-use": mounted, or used in another way.
 */
int target_open(const char *path, struct target *out, struct err *err);
void target_close(struct target *t);
/* Nothing was written: a file that target_open made goes away again. */
void target_discard(struct target *t);

#endif
