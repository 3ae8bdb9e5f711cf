// SPDX-License-Identifier: Apache-2.0
/*
 * Direct-mapped cache of fingerprints, valid for one session: an entry equals
 * what the replica's open point over its newest committed one holds, because
 * it was sent or told in this session. It is emptied when the session ends,
 * since nobody knows what of the last frames arrived. Lives in memory only.
 */
#include "source/fpcache.h"

#include <stdlib.h>
#include <string.h>

struct slot {
	uint64_t block_plus_1;		/* 0: empty */
	struct fp fp;
};

struct fpcache {
	uint64_t mask;
	struct slot slots[];
};

struct fpcache *fpcache_new(uint32_t log2_slots)
{
	uint64_t n = 1ULL << log2_slots;
	struct fpcache *c = calloc(1, sizeof(*c) + n * sizeof(c->slots[0]));

	if (c)
		c->mask = n - 1;
	return c;
}

void fpcache_free(struct fpcache *c)
{
	free(c);
}

const struct fp *fpcache_get(const struct fpcache *c, uint64_t block)
{
	const struct slot *s = &c->slots[block & c->mask];

	return s->block_plus_1 == block + 1 ? &s->fp : &fp_unknown;
}

void fpcache_put(struct fpcache *c, uint64_t block, const struct fp *fp)
{
	struct slot *s = &c->slots[block & c->mask];

	s->block_plus_1 = block + 1;
	s->fp = *fp;
}

void fpcache_clear(struct fpcache *c)
{
	memset(c->slots, 0, (size_t)(c->mask + 1) * sizeof(c->slots[0]));
}
