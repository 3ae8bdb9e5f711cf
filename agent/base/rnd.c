// SPDX-License-Identifier: Apache-2.0
/*
 * Random bytes from the kernel, and a seeded generator for tests and jitter.
 * The system source: any thread. A seeded one: one thread at a time, and
 * never for keys, salts or UUIDs of a real volume.
 */
#include "base/rnd.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/bytes.h"

static int system_fill(struct rnd *r, void *p, size_t n)
{
	uint8_t *to = p;
	size_t left = n;

	(void)r;
	while (left) {
		ssize_t got = getrandom(to, left, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			int num = got < 0 ? -errno : -EIO;

			explicit_bzero(p, n);
			return num;
		}
		to += got;
		left -= (size_t)got;
	}
	return 0;
}

struct rnd *rnd_system(void)
{
	static struct rnd rnd = { .fill = system_fill };

	return &rnd;
}

static uint64_t rotl(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

/* xoshiro256** by Blackman and Vigna. */
uint64_t rnd_seeded_next(struct rnd_seeded *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

static int seeded_fill(struct rnd *rnd, void *p, size_t n)
{
	struct rnd_seeded *r = (struct rnd_seeded *)rnd;
	uint8_t *to = p;
	uint8_t eight[8];

	while (n) {
		size_t step = n < sizeof(eight) ? n : sizeof(eight);

		put_le64(eight, rnd_seeded_next(r));
		memcpy(to, eight, step);
		to += step;
		n -= step;
	}
	return 0;
}

/* splitmix64 spreads the seed, so that small seeds differ at once. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

void rnd_seeded_init(struct rnd_seeded *r, uint64_t seed)
{
	size_t i;

	r->rnd.fill = seeded_fill;
	for (i = 0; i < 4; i++)
		r->s[i] = splitmix(&seed);
}

uint64_t rnd_seeded_below(struct rnd_seeded *r, uint64_t n)
{
	/* Values under this one would make small results likelier. */
	uint64_t skip = -n % n;
	uint64_t v;

	do {
		v = rnd_seeded_next(r);
	} while (v < skip);
	return v % n;
}
