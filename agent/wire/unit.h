/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_UNIT_H
#define WIRE_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

/*
 * A unit is the sealed thing that travels and is stored: the content of a run
 * of 4096-byte blocks of one volume, compressed, then sealed. The same bytes
 * are on the wire and on disk; only holders of the volume key can open them.
 *
 * Layout (little endian), UNIT_HEADER_BYTES then fingerprints then payload:
 *
 *   off size field
 *     0    4 total length of the unit in bytes, header included
 *     4    1 codec (enum unit_codec)
 *     5    1 reserved, 0
 *     6    2 reserved, 0
 *     8    8 first block
 *    16    4 block count
 *    20    4 delta index (local to its container, not part of the seal)
 *    24    8 nonce counter within the delta
 *    32    8 XXH3-64 of the unit's bytes with this field and the delta
 *            index taken as zero (scrub without a key)
 *    40      16 bytes of fingerprint per block (none for UNIT_ZERO)
 *            ciphertext (none for UNIT_ZERO), as long as the codec's output
 *            16 bytes AES-256-GCM tag
 *
 * AAD = volume UUID, epoch, sequence (all three from the delta), header bytes
 * [4, 20) and the fingerprints. Nonce = le64 counter, 4 zero bytes.
 */
#define US_BLOCK_BYTES 4096U
#define US_BLOCK_SHIFT 12
#define UNIT_HEADER_BYTES 40U
#define UNIT_TAG_BYTES 16U
#define UNIT_FP_BYTES 16U
#define UNIT_MAX_BLOCKS 16U			/* data units */
#define UNIT_MAX_ZERO_BLOCKS (1U << 28)		/* zero units: 1 TiB */
#define UNIT_MAX_PLAIN_BYTES (UNIT_MAX_BLOCKS * US_BLOCK_BYTES)
#define UNIT_MAX_BYTES                                             \
	(UNIT_HEADER_BYTES + UNIT_MAX_BLOCKS * UNIT_FP_BYTES +     \
	 UNIT_MAX_PLAIN_BYTES + UNIT_TAG_BYTES)
/* Keeps first + count far from overflow: 2^51 blocks = 8 EiB. */
#define US_MAX_BLOCKS (1ULL << 51)

enum unit_codec {
	UNIT_ZERO = 0,
	UNIT_RAW = 1,
	UNIT_LZ4 = 2,
	UNIT_ZSTD = 3,
};

/* A block's fingerprint; see seal.h for the two reserved values. */
struct fp {
	uint8_t b[UNIT_FP_BYTES];
};

/* The context of a unit's key: one per (process, point) that writes. */
#define DELTA_SALT_BYTES 32U
struct delta {
	struct uuid volume;
	uint64_t epoch;
	uint64_t seq;
	uint32_t key_id;		/* generation of the volume key */
	uint8_t salt[DELTA_SALT_BYTES];
	uint8_t commitment[16];		/* names the derived key, see seal.h */
};
#define DELTA_BYTES 84U			/* encoded */

void delta_encode(const struct delta *d, uint8_t out[DELTA_BYTES]);
void delta_decode(const uint8_t in[DELTA_BYTES], struct delta *d);

/* A unit's header and where its parts lie in the caller's bytes. */
struct unit_view {
	enum unit_codec codec;
	uint64_t first;			/* block */
	uint32_t count;			/* blocks */
	uint32_t delta_index;
	uint64_t counter;
	uint32_t total_bytes;
	const uint8_t *fps;		/* count x 16, NULL for UNIT_ZERO */
	const uint8_t *payload;		/* ciphertext, payload_bytes long */
	uint32_t payload_bytes;
	const uint8_t *tag;
};

/*
 * Bounds-checked look at the unit that starts at p (n bytes are there).
 * 0; -EAGAIN when more bytes are needed; -EBADMSG when it cannot be a unit.
 * Verifies neither checksum nor seal: what it says of a stranger's bytes is
 * only that they have the shape of a unit.
 */
int unit_parse(const uint8_t *p, size_t n, struct unit_view *out);
/* XXH3-64 as in the layout above; n >= UNIT_HEADER_BYTES. */
uint64_t unit_checksum(const uint8_t *p, size_t n);
/* 0 or -EBADMSG; p/n is exactly one unit. */
int unit_verify_checksum(const uint8_t *p, size_t n);
/* Change the container-local delta index in place. */
void unit_set_delta_index(uint8_t *p, uint32_t index);

#endif
