/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RND_H
#define BASE_RND_H

#include <stddef.h>
#include <stdint.h>

/* Randomness, replaceable. 0 or negative errno; never partly filled. */
struct rnd {
	int (*fill)(struct rnd *r, void *p, size_t n);
};

struct rnd *rnd_system(void);		/* getrandom(2) */

static inline int rnd_fill(struct rnd *r, void *p, size_t n)
{
	return r->fill(r, p, n);
}

/* Seeded xoshiro256**, for tests and jitter only. */
struct rnd_seeded {
	struct rnd rnd;
	uint64_t s[4];
};

void rnd_seeded_init(struct rnd_seeded *r, uint64_t seed);
uint64_t rnd_seeded_next(struct rnd_seeded *r);
/* Uniform in [0, n), n > 0. */
uint64_t rnd_seeded_below(struct rnd_seeded *r, uint64_t n);

#endif
