/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_DEVLOAD_H
#define TESTS_LIB_DEVLOAD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whatever a block device can be told to do to its content, at random: direct
 * and buffered writes of 512 bytes (or its logical block) to 4 MiB, discards,
 * zeroes written and holes punched, mostly not on the boundaries of blocks.
 */
struct devload_config {
	const char *path;
	uint64_t size_bytes;
	uint32_t lbs_bytes;
	uint64_t seed;
	uint32_t threads;
	uint32_t ops;			/* of each thread */
	uint32_t max_bytes;		/* of one operation */
};

struct devload_done {
	uint64_t writes, buffered, discards, zeroes, holes;
	uint64_t bytes;
	uint64_t unsupported;		/* operations that the device has not */
	int error;			/* negative errno of the first that failed */
};

struct devload;
/* Threads that end by themselves; NULL when they cannot be started. */
struct devload *devload_start(const struct devload_config *cfg);
bool devload_running(struct devload *l);
/* Waits for them; what was done, added up. */
void devload_join(struct devload *l, struct devload_done *out);

/* Of one kind, one range each; 0, -EOPNOTSUPP or another negative errno. */
int devload_discard(int fd, uint64_t off, uint64_t len);
int devload_zero(int fd, uint64_t off, uint64_t len);
int devload_punch(int fd, uint64_t off, uint64_t len);
/* Noise from off on; direct when fd is. */
int devload_write(int fd, uint64_t seed, uint64_t off, uint64_t len);

#endif
