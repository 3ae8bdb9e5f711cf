// SPDX-License-Identifier: Apache-2.0
/*
 * What is derived from volume keys. Every derived key has a label of
 * its own, ended by a zero byte, and binds what it is for:
 *
 *   delta key        HKDF-SHA256(volume key, salt = delta salt,
 *                    "understudy 1 delta key\0" volume le64 epoch le64 seq
 *                    le32 key id)
 *   fingerprint key  HKDF-SHA256(volume key of the first generation, no salt,
 *                    "understudy 1 fingerprint key\0" volume)
 *   commitment       HMAC-SHA256(delta key,
 *                    "understudy 1 delta commitment\0"), first 16 bytes
 *
 * Any thread. Derived keys pass through the caller's memory only.
 */
#include "wire/kdf.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define LABEL_DELTA "understudy 1 delta key"
#define LABEL_FP "understudy 1 fingerprint key"
#define LABEL_COMMITMENT "understudy 1 delta commitment"
#define INFO_MAX 96

DEFINE_CLEANUP(EVP_KDF_CTX, EVP_KDF_CTX_free)
DEFINE_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)

static struct kdf_algs algs;
static pthread_once_t algs_once = PTHREAD_ONCE_INIT;

static void fetch_algs(void)
{
	algs.aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	algs.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	algs.hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ERR_clear_error();
}

const struct kdf_algs *kdf_algs(void)
{
	if (pthread_once(&algs_once, fetch_algs))
		return NULL;
	return algs.aes_256_gcm && algs.hmac && algs.hkdf ? &algs : NULL;
}

struct hkdf_input {
	const uint8_t *key;		/* VOLUME_KEY_BYTES */
	const uint8_t *salt;		/* NULL: none */
	size_t salt_bytes;
	const uint8_t *info;
	size_t info_bytes;
};

/* The library's interface wants pointers to non-const, and writes nothing. */
static OSSL_PARAM octets(const char *name, const void *p, size_t n)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)p, n);
}

static OSSL_PARAM digest_sha256(void)
{
	static char sha256[] = "SHA256";

	return OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha256,
						0);
}

static int hkdf(const struct hkdf_input *in, uint8_t out[KDF_KEY_BYTES])
{
	_cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *ctx = NULL;
	const struct kdf_algs *a = kdf_algs();
	OSSL_PARAM params[5], *p = params;

	if (!a)
		return -EIO;
	ctx = EVP_KDF_CTX_new(a->hkdf);
	*p++ = digest_sha256();
	*p++ = octets(OSSL_KDF_PARAM_KEY, in->key, VOLUME_KEY_BYTES);
	*p++ = octets(OSSL_KDF_PARAM_INFO, in->info, in->info_bytes);
	if (in->salt)
		*p++ = octets(OSSL_KDF_PARAM_SALT, in->salt, in->salt_bytes);
	*p = OSSL_PARAM_construct_end();
	if (!ctx || EVP_KDF_derive(ctx, out, KDF_KEY_BYTES, params) <= 0) {
		ERR_clear_error();
		OPENSSL_cleanse(out, KDF_KEY_BYTES);
		return -EIO;
	}
	return 0;
}

int kdf_delta_key(const struct volume_key *key, const struct delta *d,
		  uint8_t out[KDF_KEY_BYTES])
{
	const uint8_t *bytes = volume_key_find(key, d->key_id);
	uint8_t info[INFO_MAX], *p = info;

	if (!bytes)
		return -ENOKEY;
	memcpy(p, LABEL_DELTA, sizeof(LABEL_DELTA));
	p += sizeof(LABEL_DELTA);
	memcpy(p, d->volume.b, 16);
	put_le64(p + 16, d->epoch);
	put_le64(p + 24, d->seq);
	put_le32(p + 32, d->key_id);
	p += 36;
	return hkdf(&(struct hkdf_input){ .key = bytes,
					  .salt = d->salt,
					  .salt_bytes = sizeof(d->salt),
					  .info = info,
					  .info_bytes = (size_t)(p - info) },
		    out);
}

int kdf_fp_key(const struct volume_key *key, const struct uuid *volume,
	       uint8_t out[KDF_KEY_BYTES])
{
	const uint8_t *bytes = volume_key_find(key, volume_key_lowest(key));
	uint8_t info[INFO_MAX];

	if (!bytes)
		return -EIO;
	memcpy(info, LABEL_FP, sizeof(LABEL_FP));
	memcpy(info + sizeof(LABEL_FP), volume->b, 16);
	return hkdf(&(struct hkdf_input){ .key = bytes,
					  .info = info,
					  .info_bytes = sizeof(LABEL_FP) + 16 },
		    out);
}

EVP_MAC_CTX *kdf_hmac_sha256(const uint8_t *key, size_t n)
{
	OSSL_PARAM params[] = { digest_sha256(), OSSL_PARAM_construct_end() };
	_cleanup_(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = NULL;
	const struct kdf_algs *a = kdf_algs();

	if (!a)
		return NULL;
	ctx = EVP_MAC_CTX_new(a->hmac);
	if (!ctx || !EVP_MAC_init(ctx, key, n, params)) {
		ERR_clear_error();
		return NULL;
	}
	return TAKE_PTR(ctx);
}

int kdf_commitment(const uint8_t delta_key[KDF_KEY_BYTES], uint8_t out[16])
{
	_cleanup_(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = NULL;
	uint8_t mac[32];
	size_t n = 0;

	ctx = kdf_hmac_sha256(delta_key, KDF_KEY_BYTES);
	if (!ctx ||
	    !EVP_MAC_update(ctx, (const uint8_t *)LABEL_COMMITMENT,
			    sizeof(LABEL_COMMITMENT)) ||
	    !EVP_MAC_final(ctx, mac, &n, sizeof(mac)) || n != sizeof(mac)) {
		ERR_clear_error();
		return -EIO;
	}
	memcpy(out, mac, 16);
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}
