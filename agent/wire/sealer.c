// SPDX-License-Identifier: Apache-2.0
/*
 * Makes the units of one delta: pack, seal, checksum, straight into the
 * caller's buffer.
 *
 * A nonce is never used twice under a key: the key comes from a salt drawn
 * here, the counter only rises, and nothing of a sealer is ever saved or
 * restored. One thread per sealer. The cipher's context is the only copy of
 * the delta key, and the library wipes it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "wire/aead.h"
#include "wire/compress.h"
#include "wire/kdf.h"
#include "wire/seal.h"

/* Far below what GCM bears under one key; 256 TiB of full units. */
#define SEALER_MAX_UNITS (1ULL << 32)

struct sealer {
	struct delta delta;
	EVP_CIPHER_CTX *cipher;
	struct packer *packer;
	uint64_t counter;		/* of the next unit */
	uint8_t packed[UNIT_MAX_PLAIN_BYTES];
};

DEFINE_CLEANUP(struct sealer, sealer_free)

static int set_key(struct sealer *s, const struct volume_key *key)
{
	uint8_t delta_key[KDF_KEY_BYTES];
	int r;

	r = kdf_delta_key(key, &s->delta, delta_key);
	if (r < 0)
		return r;
	r = kdf_commitment(delta_key, s->delta.commitment);
	if (!r)
		s->cipher = aead_new(delta_key, true);
	OPENSSL_cleanse(delta_key, sizeof(delta_key));
	return r < 0 || s->cipher ? r : -ENOMEM;
}

struct sealer *sealer_new(const struct volume_key *key,
			  const struct uuid *volume, uint64_t epoch,
			  uint64_t seq, const struct comp_config *comp,
			  struct rnd *rnd)
{
	_cleanup_(sealer_freep) struct sealer *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->delta = (struct delta){ .volume = *volume,
				   .epoch = epoch,
				   .seq = seq,
				   .key_id = key->id };
	if (rnd_fill(rnd, s->delta.salt, sizeof(s->delta.salt)) < 0 ||
	    set_key(s, key) < 0)
		return NULL;
	s->packer = packer_new(comp);
	return s->packer ? TAKE_PTR(s) : NULL;
}

struct sealer *sealer_twin(const struct sealer *of,
			   const struct volume_key *key,
			   const struct comp_config *comp)
{
	_cleanup_(sealer_freep) struct sealer *s = calloc(1, sizeof(*s));

	if (!s || sealer_follow(s, of, key))
		return NULL;
	s->packer = packer_new(comp);
	return s->packer ? TAKE_PTR(s) : NULL;
}

int sealer_follow(struct sealer *s, const struct sealer *of,
		  const struct volume_key *key)
{
	EVP_CIPHER_CTX_free(s->cipher);
	s->cipher = NULL;
	s->delta = of->delta;
	s->counter = SEALER_MAX_UNITS;	/* until it is told where to go on */
	return set_key(s, key);
}

void sealer_seek(struct sealer *s, uint64_t counter)
{
	s->counter = counter;
}

void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->cipher);
	packer_free(s->packer);
	free(s);
}

const struct delta *sealer_delta(const struct sealer *s)
{
	return &s->delta;
}

struct unit_parts {
	enum unit_codec codec;
	uint64_t first;
	uint32_t count;
	const struct fp *fps;		/* count of them, or NULL for ZERO */
	const uint8_t *payload;		/* to be enciphered */
	size_t payload_bytes;
};

static void put_header(uint8_t *p, const struct unit_parts *u, uint32_t total,
		       uint64_t counter)
{
	memset(p, 0, UNIT_HEADER_BYTES);
	put_le32(p, total);
	p[4] = (uint8_t)u->codec;
	put_le64(p + 8, u->first);
	put_le32(p + 16, u->count);
	put_le64(p + 24, counter);
}

/* p has room for the whole unit. */
static int write_unit(struct sealer *s, const struct unit_parts *u, uint8_t *p,
		      uint32_t total)
{
	struct unit_view view;
	int r;

	put_header(p, u, total, s->counter);
	if (u->fps)
		memcpy(p + UNIT_HEADER_BYTES, u->fps,
		       (size_t)u->count * UNIT_FP_BYTES);
	r = unit_parse(p, total, &view);
	if (r < 0)
		return -EINVAL;
	/* Spent also when the seal fails: half a message may have left it. */
	s->counter++;
	r = aead_seal(s->cipher, &s->delta, p, &view, u->payload);
	if (r < 0)
		return r;
	put_le64(p + 32, unit_checksum(p, total));
	return 0;
}

static int append(struct sealer *s, const struct unit_parts *u,
		  struct buf *out)
{
	size_t total = UNIT_HEADER_BYTES + UNIT_TAG_BYTES + u->payload_bytes +
		       (u->fps ? u->count * UNIT_FP_BYTES : 0);
	size_t before = out->len;
	uint8_t *p;
	int r;

	if (s->counter >= SEALER_MAX_UNITS)
		return -EOVERFLOW;
	if (out->failed)
		return -ENOMEM;
	p = buf_extend(out, total);
	if (!p) {
		out->failed = false;	/* what it held is still good */
		return -ENOMEM;
	}
	r = write_unit(s, u, p, (uint32_t)total);
	if (r < 0) {
		OPENSSL_cleanse(p, total);
		out->len = before;
	}
	return r;
}

int sealer_data(struct sealer *s, uint64_t first, uint32_t count,
		const void *plain, const struct fp *fps, struct buf *out)
{
	struct unit_parts u = { .first = first, .count = count, .fps = fps };
	size_t plain_bytes = (size_t)count * US_BLOCK_BYTES;
	int codec;

	if (!count || count > UNIT_MAX_BLOCKS ||
	    !range_inside(first, count, US_MAX_BLOCKS))
		return -EINVAL;
	codec = packer_pack(s->packer, plain, plain_bytes, s->packed,
			    &u.payload_bytes);
	if (codec < 0)
		return codec;
	u.codec = (enum unit_codec)codec;
	u.payload = s->packed;
	if (u.codec == UNIT_RAW) {
		u.payload = plain;
		u.payload_bytes = plain_bytes;
	}
	return append(s, &u, out);
}

int sealer_zero(struct sealer *s, uint64_t first, uint32_t count,
		struct buf *out)
{
	struct unit_parts u = { .codec = UNIT_ZERO,
				.first = first,
				.count = count };

	if (!count || count > UNIT_MAX_ZERO_BLOCKS ||
	    !range_inside(first, count, US_MAX_BLOCKS))
		return -EINVAL;
	return append(s, &u, out);
}
