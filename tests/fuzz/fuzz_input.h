/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

/*
 * For fuzz targets whose input says what to build: values taken from it one by
 * one (zeros when it is used up), a directory of the target's own, and the
 * assertion.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t n;
};

static inline void must(int ok)
{
	if (!ok)
		abort();
}

/* Up to n bytes; how many there were. */
static inline size_t in_bytes(struct input *in, void *out, size_t n)
{
	size_t got = n < in->n ? n : in->n;

	memset(out, 0, n);
	if (got)
		memcpy(out, in->p, got);
	in->p += got;
	in->n -= got;
	return got;
}

static inline uint8_t in_u8(struct input *in)
{
	uint8_t v;

	(void)in_bytes(in, &v, 1);
	return v;
}

static inline uint16_t in_u16(struct input *in)
{
	uint8_t b[2];

	(void)in_bytes(in, b, sizeof(b));
	return get_le16(b);
}

static inline uint64_t in_u64(struct input *in)
{
	uint8_t b[8];

	(void)in_bytes(in, b, sizeof(b));
	return get_le64(b);
}

/* A number that is small, near a power of two, or anything. */
static inline uint64_t in_number(struct input *in)
{
	uint8_t how = in_u8(in);

	if (how < 0xc0)
		return how;
	if (how < 0xf0)
		return (1ULL << (in_u8(in) & 63)) + (how & 3) - 1;
	return in_u64(in);
}

/* ---- files ---- */

static inline void scratch_write(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, p, n) == (ssize_t)n && !close(fd));
}

static inline int scratch_remove_one(const char *path, const struct stat *st,
				     int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static inline void scratch_remove(const char *path)
{
	(void)nftw(path, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Made once, in memory where there is such a place; removed at the end. */
const char *scratch_dir(void);

#define SCRATCH_DIR_HERE                                                   \
	static char scratch_path[200];                                     \
	static void scratch_end(void)                                      \
	{                                                                  \
		scratch_remove(scratch_path);                              \
	}                                                                  \
	const char *scratch_dir(void)                                      \
	{                                                                  \
		const char *in = getenv("TMPDIR");                         \
                                                                           \
		if (*scratch_path)                                         \
			return scratch_path;                               \
		(void)snprintf(scratch_path, sizeof(scratch_path),         \
			       "%s/fuzz-XXXXXX", in ? in : "/dev/shm");    \
		must(mkdtemp(scratch_path) != NULL);                       \
		must(!atexit(scratch_end));                                \
		return scratch_path;                                       \
	}

#endif
