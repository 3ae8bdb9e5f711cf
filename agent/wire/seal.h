/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SEAL_H
#define WIRE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/rnd.h"
#include "wire/unit.h"

/*
 * Keys and the sealing of units.
 *
 * volume key (32 random bytes, one per volume and key generation)
 *   -> HKDF-SHA256 -> delta key   (salt = delta salt, info = label, volume,
 *                                  epoch, seq, key id)
 * that of the first generation
 *   -> HKDF-SHA256 -> fingerprint key (info = label, volume)
 * The labels name the version of this scheme: "understudy 1 ...".
 * commitment = first 16 bytes of HMAC-SHA256(delta key, label): checked before
 * a delta key is used, since GCM itself would accept under several keys.
 */
#define VOLUME_KEY_BYTES 32U
#define VOLUME_KEY_GENERATIONS 64U	/* of one volume, at most */

struct key_generation {
	uint32_t id;			/* from 1 */
	uint8_t bytes[VOLUME_KEY_BYTES];
};

/*
 * A volume's key: the newest generation, which seals, and the former ones,
 * which older points need. Fingerprints go by the lowest generation for ever,
 * so that what was stored before a rotation is recognised after it. Copied as
 * a whole, wiped as a whole.
 */
struct volume_key {
	uint32_t id;			/* generation, from 1 */
	uint8_t bytes[VOLUME_KEY_BYTES];
	uint32_t n_former;
	struct key_generation former[VOLUME_KEY_GENERATIONS - 1];
					/* by id, falling, all below id */
};

int volume_key_new(struct rnd *rnd, uint32_t id, struct volume_key *out);
void volume_key_wipe(struct volume_key *key);
/* Another generation. -ENOSPC: there are too many; -EIO: no random bytes. The
 * key is as it was after an error. */
int volume_key_rotate(struct volume_key *key, struct rnd *rnd);
/* The 32 bytes of a generation; NULL: the key lacks it. */
const uint8_t *volume_key_find(const struct volume_key *key, uint32_t id);
uint32_t volume_key_lowest(const struct volume_key *key);
/* A generation of which the two say different things; 0: none. */
uint32_t volume_key_conflict(const struct volume_key *a,
			     const struct volume_key *b);
/*
 * Adds what from has and into lacks: 1 when that was anything, else 0. -EEXIST
 * when they conflict, -ENOSPC when there are too many; then into is as it was.
 */
int volume_key_merge(struct volume_key *into, const struct volume_key *from);

/*
 * Exported key: one small printable text (name, UUID, key, check). Encoder
 * writes at most cap bytes with NUL, returns length, -ENOSPC, or -EINVAL (not
 * a valid name). Decoder: 0, -EBADMSG with err told; forgives white space and
 * letter case, nothing else. Both texts are secrets: the caller wipes them.
 */
#define KEY_TEXT_MAX 8192U
int volume_key_to_text(const struct volume_key *key, const char *name,
		       const struct uuid *volume, char *out, size_t cap);
int volume_key_from_text(const char *text, size_t len, struct volume_key *key,
			 char name[65], struct uuid *volume, struct err *err);

/* Fingerprints. One thread per context. */
struct fp_ctx;
struct fp_ctx *fp_ctx_new(const struct volume_key *key,
			  const struct uuid *volume);
void fp_ctx_free(struct fp_ctx *ctx);
/* data is one block (4096 bytes), known not to be all zero. */
int fp_compute(struct fp_ctx *ctx, uint64_t block, const void *data,
	       struct fp *out);
extern const struct fp fp_unknown;	/* all zero */
extern const struct fp fp_zero_block;	/* {1, 0, ...} */
bool fp_equal(const struct fp *a, const struct fp *b);
bool block_is_zero(const void *data, size_t n);

/* Compression choice of a volume: `compression =`. */
enum comp_mode { COMP_AUTO, COMP_NONE, COMP_LZ4, COMP_ZSTD };

struct comp_config {
	enum comp_mode mode;
	int level;			/* zstd; 0 = default */
};

/*
 * Encodes and seals units of one delta. The nonce counter starts at 0 and the
 * salt is fresh, so a sealer is never recreated from saved state.
 */
struct sealer;
struct sealer *sealer_new(const struct volume_key *key,
			  const struct uuid *volume, uint64_t epoch,
			  uint64_t seq, const struct comp_config *comp,
			  struct rnd *rnd);
void sealer_free(struct sealer *s);
const struct delta *sealer_delta(const struct sealer *s);
/*
 * For several threads that seal one delta: twin has its own cipher and
 * compressor, follow turns one to another delta (after an error it is only good
 * to be freed). Which counters each uses is then the caller's to say with
 * seek, before the first unit and wherever it goes on: one that is used twice
 * breaks the seal of both units.
 */
struct sealer *sealer_twin(const struct sealer *of,
			   const struct volume_key *key,
			   const struct comp_config *comp);
int sealer_follow(struct sealer *s, const struct sealer *of,
		  const struct volume_key *key);
void sealer_seek(struct sealer *s, uint64_t counter);
/*
 * Append one unit to out: count blocks (1..UNIT_MAX_BLOCKS) of plain from
 * first, with their fingerprints; delta index 0. 0; -EINVAL (range); -ENOMEM;
 * -EOVERFLOW after 2^32 units (begin a new delta); -EIO (the library failed).
 * After an error out is as it was.
 */
int sealer_data(struct sealer *s, uint64_t first, uint32_t count,
		const void *plain, const struct fp *fps, struct buf *out);
int sealer_zero(struct sealer *s, uint64_t first, uint32_t count,
		struct buf *out);

/*
 * Opens units; caches the keys of a bounded number of deltas. One thread.
 * NULL when memory is out.
 */
struct opener;
struct opener *opener_new(const struct volume_key *key);
void opener_free(struct opener *o);
/*
 * Verify and decode the unit at p (exactly n bytes) written under d. out gets
 * count * 4096 bytes (nothing for UNIT_ZERO: view->codec tells). The seal is
 * verified before anything is decompressed. 0; -EBADMSG (damaged, forged or
 * not of this volume); -ENOKEY (the key is not the one that sealed it);
 * -EINVAL (out_cap too small); -ENOMEM; -EIO (the library failed). After an
 * error out holds no plaintext.
 */
int opener_open(struct opener *o, const struct delta *d, const uint8_t *p,
		size_t n, struct unit_view *view, uint8_t *out, size_t out_cap);
/*
 * Does the key fit what was sealed under d? 0, -ENOKEY, -ENOMEM, -EIO. No unit
 * is needed.
 */
int opener_try(struct opener *o, const struct delta *d);
/*
 * After -ENOKEY: the generation that the key lacks; 0 when it has one of that
 * number, but another.
 */
uint32_t opener_lacks(const struct opener *o);

#endif
