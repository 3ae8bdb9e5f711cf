/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_DEPARTURES_H
#define CONTROL_DEPARTURES_H

#include <stdbool.h>

#include "base/err.h"

/*
 * What is being ended, each in a thread of its own: a worker may hang on a
 * device that never answers, and must hold up neither the others nor who ended
 * it. One thread uses it, the owner.
 */
struct departures;

/* NULL when memory or descriptors are out. */
struct departures *departures_new(void);
/* When none is left; else it stays, for threads that still run use it. */
void departures_free(struct departures *d);
/*
 * Runs end(arg) in a thread; here and now when there is no thread to be had.
 * name (copied) is for departures_has. -ENOMEM: end has not been called.
 */
int departures_add(struct departures *d, const char *name,
		   void (*end)(void *arg), void *arg);
/* Is one of this name still on its way out? */
bool departures_has(const struct departures *d, const char *name);
/* Until none is left, or time is out; 0 only looks. True when none is left. */
bool departures_wait(struct departures *d, int timeout_ms);
/* Readable when one has ended since the last departures_wait. */
int departures_fd(const struct departures *d);

#endif
