/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Time, replaceable. Time-outs and lag use mono; points are stamped by wall. */
struct clock {
	uint64_t (*mono_ns)(struct clock *c);	/* CLOCK_BOOTTIME */
	int64_t (*wall_ns)(struct clock *c);	/* since 1970, UTC */
};

struct clock *clock_real(void);

static inline uint64_t clock_mono_ns(struct clock *c)
{
	return c->mono_ns(c);
}

static inline int64_t clock_wall_ns(struct clock *c)
{
	return c->wall_ns(c);
}

/*
 * The instant ns from now on CLOCK_MONOTONIC, for pthread_cond_timedwait with
 * a condition of that clock. Real time also in tests: threads that wait do.
 */
void clock_deadline(uint64_t ns, struct timespec *out);

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)

/* "2026-11-21T13:00:05.123Z" into out[32]. */
void time_format_utc(int64_t wall_ns, char out[32]);
/*
 * RFC 3339, local "2026-11-21 13:00[:05]", or "-10m" (before now_ns).
 * 0 or -EINVAL.
 */
int time_parse(const char *s, int64_t now_ns, int64_t *out_ns);

#endif
