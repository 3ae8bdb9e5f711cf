/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Named places where a test build can be made to fail, wait or die. Without
 * -DUS_FAULT a place is the constant 0 and costs nothing.
 *
 *	r = FAULT("store.commit.sync");
 *	if (r < 0)
 *		return r;
 *
 * UNDERSTUDY_FAULT="place=action[:argument][@n],..." chooses what happens:
 *
 *	error[:EIO]	the place yields -EIO (or the errno named)
 *	delay:50ms	it waits
 *	kill		SIGKILL to the process itself
 *	stop		SIGSTOP, until somebody continues it
 *
 * @n: only at the n-th time the place is passed, from 1; @n+: from then on;
 * without it, every time. Several entries may name one place. A setting that
 * cannot be read ends the program at the first place: a test that believes in
 * a fault must not run without it.
 */
#ifdef US_FAULT
#define FAULT(place) fault_hit(place)
#else
#define FAULT(place) (0)
#endif

/* 0 or the negative errno asked for. Any thread. */
int fault_hit(const char *place);

/*
 * Replace what the environment said; "" for nothing. Counting starts anew.
 * 0, -EINVAL or -ENOMEM. For tests.
 */
int fault_configure(const char *text);

#endif
