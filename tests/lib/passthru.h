/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_PASSTHRU_H
#define TESTS_LIB_PASSTHRU_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Commands that a program hands to a device past the block layer's operations:
 * SCSI by SG_IO, NVMe by its ioctl. Those that write do so in the device's
 * second MiB.
 */
struct passthru {
	const char *name;		/* NULL ends a list */
	bool writes;
	bool must_work;			/* on what the tests make */
	uint8_t opcode;
	/* 0 when the device did it; negative errno. */
	int (*run)(const char *path, uint32_t lbs_bytes,
		   const struct passthru *p);
};

/* "scsi", "nvme"; NULL otherwise. */
const struct passthru *passthru_of(const char *family);

#endif
