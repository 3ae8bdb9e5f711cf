// SPDX-License-Identifier: Apache-2.0
/*
 * SHA-256 over pieces. Any thread. The algorithm is looked up in the library
 * once: a view opens ten thousand parts, and the look-up costs more than the
 * hash of a small one.
 */
#include "store/digest.h"

#include <errno.h>
#include <pthread.h>

#include <openssl/evp.h>

static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static int run(EVP_MD_CTX *ctx, const struct iovec *iov, int n_iov,
	       struct digest *out)
{
	unsigned int len = 0;
	int i;

	if (EVP_DigestInit_ex2(ctx, sha256, NULL) != 1)
		return -EIO;
	for (i = 0; i < n_iov; i++)
		if (EVP_DigestUpdate(ctx, iov[i].iov_base,
				     iov[i].iov_len) != 1)
			return -EIO;
	if (EVP_DigestFinal_ex(ctx, out->b, &len) != 1 || len != DIGEST_BYTES)
		return -EIO;
	return 0;
}

int digest_of(const struct iovec *iov, int n_iov, struct digest *out)
{
	EVP_MD_CTX *ctx;
	int r;

	pthread_once(&sha256_once, fetch_sha256);
	if (!sha256)
		return -EIO;
	ctx = EVP_MD_CTX_new();
	if (!ctx)
		return -ENOMEM;
	r = run(ctx, iov, n_iov, out);
	EVP_MD_CTX_free(ctx);
	return r;
}
