/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_PRIVILEGES_H
#define CONTROL_PRIVILEGES_H

#include <stdbool.h>

#include "base/err.h"

/*
 * What the process may do. Called by the main thread before there is another,
 * so that all threads are born with what is left. Nothing comes back: no new
 * privileges, no ambient capabilities, an empty bounding set.
 */

/* Limits that only a privileged process can raise, once, for the rest. */
void privileges_raise_limits(void);
/*
 * The freeze helper starts, a program of its own that keeps what it needs.
 * Without it no volume is held: that is told here, and by each that should be.
 */
void privileges_start_freezer(void);
/*
 * The source's helper starts, if this daemon is to have one, and this process
 * gives up every capability, or, a source, all but those that it says.
 */
int privileges_drop(bool with_helper, struct err *err);
/* Has this daemon a helper? Without one no volume can be added. */
bool privileges_can_track(void);

#endif
