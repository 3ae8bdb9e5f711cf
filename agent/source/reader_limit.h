/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_READER_LIMIT_H
#define SOURCE_READER_LIMIT_H

#include <stdint.h>

/*
 * Bytes per second, as a bucket that may go into debt: a read may start while
 * the bucket holds anything at all, and is then charged in full. So a read
 * larger than the bucket starts too, and the long-term rate is exact. Full
 * means 50 ms worth. Time is the caller's; the bucket never sleeps.
 */
struct read_limit {
	uint64_t bytes_per_s;		/* 0 = no limit */
	int64_t credit_bytes;
	int64_t full_bytes;
	uint64_t refilled_ns;		/* time that the credit accounts for */
};

void read_limit_init(struct read_limit *l, uint64_t bytes_per_s,
		     uint64_t now_ns);
/* 0 when a read may start now, else how long until it may. */
uint64_t read_limit_delay_ns(struct read_limit *l, uint64_t now_ns);
void read_limit_charge(struct read_limit *l, uint64_t bytes);

#endif
