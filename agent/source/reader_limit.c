// SPDX-License-Identifier: Apache-2.0
/*
 * The token bucket of a reader: plain arithmetic on the caller's time.
 *
 * Invariant: credit never exceeds full, and refilled_ns advances by the time
 * that whole bytes of credit stand for, so that a fraction of a byte goes on
 * earning at low rates. A clock that goes back adds nothing.
 *
 * The thread that owns the reader.
 */
#include "source/reader_limit.h"

#include "base/checked.h"
#include "base/clock.h"

#define LIMIT_FULL_FRACTION 20		/* of a second's bytes: 50 ms */
#define LIMIT_FULL_MIN_BYTES 4096

void read_limit_init(struct read_limit *l, uint64_t bytes_per_s,
		     uint64_t now_ns)
{
	l->bytes_per_s = MIN(bytes_per_s, (uint64_t)INT64_MAX);
	l->full_bytes = (int64_t)MAX(l->bytes_per_s / LIMIT_FULL_FRACTION,
				     (uint64_t)LIMIT_FULL_MIN_BYTES);
	l->credit_bytes = l->full_bytes;
	l->refilled_ns = now_ns;
}

static void refill(struct read_limit *l, uint64_t now_ns)
{
	const unsigned __int128 second = NSEC_PER_SEC;
	unsigned __int128 earned;

	if (now_ns <= l->refilled_ns)
		return;
	earned = (unsigned __int128)(now_ns - l->refilled_ns) *
		 l->bytes_per_s / second;
	if (earned >= (unsigned __int128)((__int128)l->full_bytes -
					  l->credit_bytes)) {
		l->credit_bytes = l->full_bytes;
		l->refilled_ns = now_ns;
		return;
	}
	l->credit_bytes += (int64_t)earned;
	/* Rounded up: the rate is never exceeded. */
	l->refilled_ns += (uint64_t)((earned * second + l->bytes_per_s - 1) /
				     l->bytes_per_s);
}

uint64_t read_limit_delay_ns(struct read_limit *l, uint64_t now_ns)
{
	unsigned __int128 lacking, due_ns;
	uint64_t waited;

	if (!l->bytes_per_s)
		return 0;
	refill(l, now_ns);
	if (l->credit_bytes > 0)
		return 0;
	lacking = (unsigned __int128)(1 - (__int128)l->credit_bytes);
	due_ns = (lacking * NSEC_PER_SEC + l->bytes_per_s - 1) /
		 l->bytes_per_s;
	waited = now_ns > l->refilled_ns ? now_ns - l->refilled_ns : 0;
	if (due_ns <= waited)
		return 1;
	due_ns -= waited;
	return due_ns > UINT64_MAX ? UINT64_MAX : (uint64_t)due_ns;
}

void read_limit_charge(struct read_limit *l, uint64_t bytes)
{
	int64_t rest;

	if (!l->bytes_per_s)
		return;
	if (__builtin_sub_overflow(l->credit_bytes, bytes, &rest))
		rest = INT64_MIN;
	l->credit_bytes = rest;
}
