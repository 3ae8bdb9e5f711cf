/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_ENCODE_H
#define SOURCE_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/rnd.h"
#include "wire/seal.h"

/*
 * Compresses and seals units in threads of its own, and gives them back in the
 * order in which they were put: a later unit of a block supersedes an earlier
 * one. One owner thread calls everything here, and take() is called in it.
 *
 * Memory is bounded: 32 pieces of 64 KiB and what comes of them.
 */
struct encoder;

struct encoder_config {
	struct uuid volume;
	uint64_t epoch;
	const struct volume_key *key;	/* borrowed */
	struct comp_config compression;
	struct rnd *rnd;
	/* 0: everything is done in the call that puts it. */
	unsigned int n_threads;
	/* Sealed units, whole and in order. Negative errno ends the call that
	 * led to it with that. */
	int (*take)(void *arg, const uint8_t *units, size_t n);
	void *arg;
};

#define ENCODE_THREADS_MAX 4U
/* As many as leave a processor to the owner; at least one. */
unsigned int encoder_threads(void);

/* NULL when memory or threads are out. */
struct encoder *encoder_new(const struct encoder_config *cfg);
/* What has not been taken is dropped. */
void encoder_free(struct encoder *e);
/*
 * Units of another delta from here on; all earlier ones have been flushed. The
 * delta is valid until the next call. NULL: memory is out.
 */
const struct delta *encoder_begin(struct encoder *e, uint64_t seq);
/*
 * Content of 1..UNIT_MAX_BLOCKS blocks, copied; zeros of
 * 1..UNIT_MAX_ZERO_BLOCKS. 0; an error of sealer_data for these or for earlier
 * units, or of take: then the encoder is of no more use.
 */
int encoder_data(struct encoder *e, uint64_t first, uint32_t count,
		 const void *plain, const struct fp *fps);
int encoder_zero(struct encoder *e, uint64_t first, uint32_t count);
/* Until everything that was put has been taken. */
int encoder_flush(struct encoder *e);

#endif
