/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_COMPRESS_H
#define WIRE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "wire/seal.h"
#include "wire/unit.h"

/*
 * Packs the plaintext of units. Remembers how the last ones did, so one packer
 * per stream of units. One thread. NULL when memory is out.
 */
struct packer;
struct packer *packer_new(const struct comp_config *cfg);
void packer_free(struct packer *p);
/*
 * Pack n bytes (1..UNIT_MAX_PLAIN_BYTES) into out, which has room for n.
 * The codec, with *out_n the length; UNIT_RAW: nothing worth it was gained,
 * out holds nothing of use. Or -ENOMEM.
 */
int packer_pack(struct packer *p, const void *plain, size_t n, uint8_t *out,
		size_t *out_n);

struct unpacker;
struct unpacker *unpacker_new(void);
void unpacker_free(struct unpacker *u);
/*
 * Unpack n bytes of in (UNIT_LZ4 or UNIT_ZSTD) into exactly out_n bytes. 0;
 * -EBADMSG when it is not that codec's output for exactly so many bytes.
 */
int unpacker_unpack(struct unpacker *u, enum unit_codec codec,
		    const uint8_t *in, size_t n, uint8_t *out, size_t out_n);

#endif
