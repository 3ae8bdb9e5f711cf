// SPDX-License-Identifier: Apache-2.0
/*
 * Shape and checksum of units, and the encoding of a delta. The layout of a
 * unit is in unit.h.
 *
 * Delta, little endian, DELTA_BYTES:
 *
 *   off size field
 *     0   16 volume UUID
 *    16    8 epoch
 *    24    8 sequence of the point
 *    32    4 key id
 *    36   32 salt
 *    68   16 commitment to the derived key
 *
 * Pure functions over the caller's bytes; any thread. Every number is bounded
 * before it is used, so the parser is safe on anything.
 */
#include "wire/unit.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/checked.h"

#define OFF_TOTAL 0
#define OFF_CODEC 4
#define OFF_RESERVED 5			/* one byte, then two */
#define OFF_FIRST 8
#define OFF_COUNT 16
#define OFF_DELTA_INDEX 20
#define OFF_COUNTER 24
#define OFF_CHECKSUM 32

static_assert(OFF_CHECKSUM + 8 == UNIT_HEADER_BYTES, "unit header");
static_assert(16 + 8 + 8 + 4 + DELTA_SALT_BYTES + 16 == DELTA_BYTES, "delta");

void delta_encode(const struct delta *d, uint8_t out[DELTA_BYTES])
{
	memcpy(out, d->volume.b, 16);
	put_le64(out + 16, d->epoch);
	put_le64(out + 24, d->seq);
	put_le32(out + 32, d->key_id);
	memcpy(out + 36, d->salt, DELTA_SALT_BYTES);
	memcpy(out + 68, d->commitment, sizeof(d->commitment));
}

void delta_decode(const uint8_t in[DELTA_BYTES], struct delta *d)
{
	memcpy(d->volume.b, in, 16);
	d->epoch = get_le64(in + 16);
	d->seq = get_le64(in + 24);
	d->key_id = get_le32(in + 32);
	memcpy(d->salt, in + 36, DELTA_SALT_BYTES);
	memcpy(d->commitment, in + 68, sizeof(d->commitment));
}

static bool range_is_valid(const struct unit_view *v)
{
	uint32_t max = v->codec == UNIT_ZERO ? UNIT_MAX_ZERO_BLOCKS :
					       UNIT_MAX_BLOCKS;

	return v->count && v->count <= max &&
	       range_inside(v->first, v->count, US_MAX_BLOCKS);
}

/*
 * A codec that gained nothing stores raw, so there is one length for raw and
 * always fewer bytes than plaintext for the others.
 */
static bool payload_is_valid(const struct unit_view *v)
{
	uint32_t plain_bytes = v->count * US_BLOCK_BYTES;

	switch (v->codec) {
	case UNIT_ZERO:
		return v->payload_bytes == 0;
	case UNIT_RAW:
		return v->payload_bytes == plain_bytes;
	case UNIT_LZ4:
	case UNIT_ZSTD:
		return v->payload_bytes && v->payload_bytes < plain_bytes;
	}
	return false;
}

int unit_parse(const uint8_t *p, size_t n, struct unit_view *out)
{
	uint32_t fps_bytes, around;
	struct unit_view v = { 0 };

	if (n < UNIT_HEADER_BYTES)
		return -EAGAIN;
	v.total_bytes = get_le32(p + OFF_TOTAL);
	if (v.total_bytes < UNIT_HEADER_BYTES + UNIT_TAG_BYTES ||
	    v.total_bytes > UNIT_MAX_BYTES)
		return -EBADMSG;
	if (p[OFF_CODEC] > UNIT_ZSTD || p[OFF_RESERVED] ||
	    get_le16(p + OFF_RESERVED + 1))
		return -EBADMSG;
	v.codec = (enum unit_codec)p[OFF_CODEC];
	v.first = get_le64(p + OFF_FIRST);
	v.count = get_le32(p + OFF_COUNT);
	v.delta_index = get_le32(p + OFF_DELTA_INDEX);
	v.counter = get_le64(p + OFF_COUNTER);
	if (!range_is_valid(&v))
		return -EBADMSG;

	fps_bytes = v.codec == UNIT_ZERO ? 0 : v.count * UNIT_FP_BYTES;
	around = UNIT_HEADER_BYTES + fps_bytes + UNIT_TAG_BYTES;
	if (v.total_bytes < around)
		return -EBADMSG;
	v.payload_bytes = v.total_bytes - around;
	if (!payload_is_valid(&v))
		return -EBADMSG;
	if (n < v.total_bytes)
		return -EAGAIN;

	v.fps = fps_bytes ? p + UNIT_HEADER_BYTES : NULL;
	v.payload = p + UNIT_HEADER_BYTES + fps_bytes;
	v.tag = v.payload + v.payload_bytes;
	*out = v;
	return 0;
}

uint64_t unit_checksum(const uint8_t *p, size_t n)
{
	uint8_t header[UNIT_HEADER_BYTES];
	XXH3_state_t state;

	memcpy(header, p, sizeof(header));
	memset(header + OFF_DELTA_INDEX, 0, 4);
	memset(header + OFF_CHECKSUM, 0, 8);
	/* These fail on NULL arguments only. */
	(void)XXH3_64bits_reset(&state);
	(void)XXH3_64bits_update(&state, header, sizeof(header));
	(void)XXH3_64bits_update(&state, p + sizeof(header),
				 n - sizeof(header));
	return XXH3_64bits_digest(&state);
}

int unit_verify_checksum(const uint8_t *p, size_t n)
{
	if (n < UNIT_HEADER_BYTES || get_le32(p + OFF_TOTAL) != n)
		return -EBADMSG;
	return unit_checksum(p, n) == get_le64(p + OFF_CHECKSUM) ? 0 :
								   -EBADMSG;
}

void unit_set_delta_index(uint8_t *p, uint32_t index)
{
	put_le32(p + OFF_DELTA_INDEX, index);
}
