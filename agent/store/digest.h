/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DIGEST_H
#define STORE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define DIGEST_BYTES 32U

struct digest {
	uint8_t b[DIGEST_BYTES];
};

/* SHA-256 of the pieces, one after another. 0, -ENOMEM or -EIO (library). */
int digest_of(const struct iovec *iov, int n_iov, struct digest *out);

#endif
