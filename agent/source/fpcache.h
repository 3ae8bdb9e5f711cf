/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_FPCACHE_H
#define SOURCE_FPCACHE_H

#include <stdint.h>

#include "wire/seal.h"

/*
 * What the replica holds, as far as this session knows: fingerprints of blocks
 * sent in it or learnt from it. Bounded: a newer block takes the place of an
 * older one that shares its slot. Unknown is always a safe answer. One thread.
 */
struct fpcache;

struct fpcache *fpcache_new(uint32_t log2_slots);
void fpcache_free(struct fpcache *c);
/* &fp_unknown when it is not there. */
const struct fp *fpcache_get(const struct fpcache *c, uint64_t block);
void fpcache_put(struct fpcache *c, uint64_t block, const struct fp *fp);
/* At any doubt: a stale entry would drop a write. */
void fpcache_clear(struct fpcache *c);

#endif
