// SPDX-License-Identifier: Apache-2.0
/*
 * Whether points are what they have to be:
 *
 *	pointcmp STORE VOLUME KEY
 *
 * reads lines "SEQ FILE" and compares each point, from the store's files, with
 * that image of it. A point that is missing, or is not of the image's size, or
 * differs, is named; the status is 1 then, and 0 when all are the same.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pointview.h"

#define PIECE (64U << 10)

static bool select_point(struct pointview *p, uint64_t seq, uint64_t size)
{
	size_t i;

	for (i = 0; i < pointview_count(p); i++)
		if (pointview_point(p, i)->meta.seq == seq)
			break;
	if (i == pointview_count(p)) {
		printf("point %" PRIu64 ": missing\n", seq);
		return false;
	}
	if (pointview_point(p, i)->meta.size_bytes != size) {
		printf("point %" PRIu64 ": has another size\n", seq);
		return false;
	}
	pointview_select(p, i);
	return true;
}

static bool same(struct pointview *p, uint64_t seq, const char *path)
{
	static uint8_t want[PIECE], got[PIECE];
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	uint64_t off;

	if (fd < 0 || fstat(fd, &st)) {
		perror(path);
		exit(2);
	}
	if (!select_point(p, seq, (uint64_t)st.st_size))
		return false;
	for (off = 0; off < (uint64_t)st.st_size; off += PIECE) {
		uint64_t left = (uint64_t)st.st_size - off;
		uint32_t n = left < PIECE ? (uint32_t)left : PIECE;

		if (pread(fd, want, n, (off_t)off) != (ssize_t)n) {
			perror(path);
			exit(2);
		}
		(void)pointview_read(p, off, n, got);
		if (!memcmp(want, got, n))
			continue;
		printf("point %" PRIu64 ": differs from %s within 64 KiB of "
		       "offset %" PRIu64 "\n", seq, path, off);
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct pointview *p;
	char path[512];
	uint64_t seq;
	int bad = 0;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: pointcmp STORE VOLUME KEY\n");
		return 2;
	}
	p = pointview_open(argv[1], argv[2], argv[3]);
	while (scanf("%" SCNu64 " %511s", &seq, path) == 2)
		bad |= !same(p, seq, path);
	pointview_close(p);
	return bad;
}
