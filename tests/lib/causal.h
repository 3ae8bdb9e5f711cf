/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CAUSAL_H
#define TESTS_LIB_CAUSAL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The causal-chain oracle. A writer stores n in slot 1, waits until that write
 * is complete, stores n in slot 2, and so on to the last slot, then n + 1 in
 * slot 1. Whatever instant an image is of, slot i is never behind slot i + 1,
 * and slot 1 is never more than one ahead of the last. A slot is several
 * blocks in one write, every 512-byte sector carries n: at most one slot of a
 * chain may be torn, and its sectors are then n and n - 1.
 */
#define CAUSAL_SLOTS_MAX 16
#define CAUSAL_CHAINS_MAX 8

struct causal_layout {
	uint64_t size_bytes;		/* of the device */
	uint32_t chains;
	uint32_t slots;
	uint32_t slot_bytes;		/* multiple of 4096 */
	uint64_t stride_bytes;		/* between slots of one chain */
	uint32_t pause_us;		/* of a writer, after each write */
	/* Number to go on with, per chain; 0 on a device of zeros. */
	uint64_t next[CAUSAL_CHAINS_MAX];
};

uint64_t causal_slot_off(const struct causal_layout *l, uint32_t chain,
			 uint32_t slot);

/* Writers: one thread a chain, O_DIRECT, until stopped. */
struct causal_writers;
struct causal_writers *causal_start(const char *device,
				    const struct causal_layout *l);
/* Another pause after each write, from now on. */
void causal_pace(struct causal_writers *w, uint32_t pause_us);
/* Writes made so far. */
int64_t causal_writes(struct causal_writers *w);
/* Joins; the number of writes made; negative errno when one failed. Puts into
 * l what the next writers are to go on with. */
int64_t causal_stop(struct causal_writers *w, struct causal_layout *l);

/*
 * Judge an image: read fetches slot bytes. NULL when legal, else what is
 * wrong (static storage).
 */
const char *causal_judge(const struct causal_layout *l,
			 int (*read)(void *arg, uint64_t off, uint32_t len,
				     uint8_t *out),
			 void *arg);

#endif
