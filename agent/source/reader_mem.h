/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_READER_MEM_H
#define SOURCE_READER_MEM_H

#include <stdint.h>

#include "source/reader.h"

/*
 * A reader of the caller's bytes, for tests. Each request is copied at a
 * random moment between its submission and its completion, and completions
 * come in random order, all from one seed. Before each slice of a request is
 * copied, a hook may run: it can write to the bytes (a read is then torn like
 * a real one), flip a tracker, or submit nothing: it must not call the reader.
 */
struct reader_mem_config {
	const uint8_t *data;		/* borrowed */
	uint64_t size_bytes;
	uint64_t seed;
	uint32_t slice_bytes;		/* copied at a time; 0 = a request */
	bool in_order;			/* completions as submitted */
	/* Before [off, off + len) of the volume is copied. May be NULL. */
	void (*before_copy)(void *arg, uint64_t off_bytes, uint32_t len_bytes);
	/*
	 * Result of a whole request: 0, or the negative errno to complete with
	 * (its buffer then holds rubbish). Asked once, after the copy. May be
	 * NULL.
	 */
	int (*fault)(void *arg, const struct read_req *req);
	void *arg;
};

int reader_open_mem(const struct reader_mem_config *cfg, struct reader **out);

#endif
