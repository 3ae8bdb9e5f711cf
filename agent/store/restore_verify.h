/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RESTORE_VERIFY_H
#define STORE_RESTORE_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"

/*
 * What a restore meant to write, remembered as one checksum per span of the
 * target, and the pass that reads the target back and compares. Memory is
 * bounded whatever the volume's size: spans grow so that there are at most
 * SUMS_MAX of them.
 */
#define SUMS_SPAN_MIN_BYTES (1U << 20)
#define SUMS_MAX (1U << 20)

struct sums;

/* Of the bytes [from, to) of the target. NULL: out of memory. */
struct sums *sums_new(uint64_t from, uint64_t to);
void sums_free(struct sums *s);
DEFINE_CLEANUP(struct sums, sums_free)
/*
 * The next n bytes of the range, in order and without a gap; p NULL means
 * zeros.
 */
void sums_add(struct sums *s, const uint8_t *p, uint64_t n);

struct verify_target {
	struct io *io;
	int fd;
	const char *name;
	/* verified: so far. Non-zero stops with -ECANCELED. */
	int (*progress)(void *arg, uint64_t verified_bytes);
	void *arg;
};

/*
 * Reads the range back, past the page cache where the target allows it, and
 * compares. 0; -EBADMSG "verify-failed" with the offset of the span; read
 * errors. *verified counts what was compared (holes of a file are known to be
 * zeros and count as well).
 */
int sums_verify(struct sums *s, const struct verify_target *t,
		uint64_t *verified, struct err *err);

#endif
