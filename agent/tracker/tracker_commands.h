/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_COMMANDS_H
#define TRACKER_TRACKER_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "tracker_abi.h"

/*
 * Where this kernel's drivers keep a passthrough command, as its BTF says it.
 * What is not known (the driver is a module that is not loaded, the kernel has
 * no BTF of modules) is zero: each such command then counts as one that may
 * have written. Reads /sys/kernel/btf; takes no capability.
 */
void commands_locate(struct us_commands *out);
/* Which drivers it would find now, as a mask: as long as this does not change,
 * neither does what it says. (It parses the kernel's BTF, some megabytes.) */
uint32_t commands_drivers(void);

/* Does this kernel write pages to some devices without a bio? */
bool commands_writes_pages(void);

#endif
