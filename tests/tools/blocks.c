// SPDX-License-Identifier: Apache-2.0
/*
 * Blocks with a known content, written past the page cache:
 *
 *	blocks fill FILE OFF LEN SEED
 *		noise in every block
 *	blocks mixed FILE OFF LEN SEED
 *		noise, text and zeros in turn
 *	blocks scatter FILE OFF LEN SEED COUNT
 *		noise in COUNT blocks anywhere in the range
 *	blocks number FILE OFF N
 *		one block that says N, durable on return
 *	blocks read FILE OFF
 *		prints that N
 *	blocks points STORE VOLUME KEY OFF [FROM]
 *		of every point from sequence number FROM on:
 *		"EPOCH SEQ HEAD SIZE N", N as of that block
 *
 * FILE is a device or a file; OFF and LEN are bytes, multiples of 4096.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rnd.h"
#include "pointview.h"

#define BLOCK 4096U
#define CHUNK (256U * BLOCK)

enum content { NOISE, MIXED };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static void make_noise(struct rnd_seeded *r, uint8_t *out)
{
	size_t i;

	for (i = 0; i < BLOCK; i += 8) {
		uint64_t v = rnd_seeded_next(r);

		memcpy(out + i, &v, sizeof(v));
	}
}

static void make_text(uint64_t n, uint8_t *out)
{
	size_t i;

	for (i = 0; i + 32 <= BLOCK; i += 32)
		(void)snprintf((char *)out + i, 32, "block %016" PRIx64 " %5zu",
			       n, i);
}

static void make_block(struct rnd_seeded *r, enum content c, uint64_t n,
		       uint8_t *out)
{
	uint64_t kind = c == MIXED ? rnd_seeded_below(r, 3) : 0;

	memset(out, 0, BLOCK);
	if (kind == 0)
		make_noise(r, out);
	else if (kind == 1)
		make_text(n, out);
}

static int write_whole(int fd, const uint8_t *buf, size_t len, uint64_t off)
{
	return pwrite(fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -1;
}

struct range {
	uint64_t off, len;
};

static int fill(int fd, const struct range *g, struct rnd_seeded *r,
		enum content c, uint8_t *buf)
{
	uint64_t done = 0;

	while (done < g->len) {
		size_t n = 0;

		while (n < CHUNK && done + n < g->len) {
			make_block(r, c, (g->off + done + n) / BLOCK, buf + n);
			n += BLOCK;
		}
		if (write_whole(fd, buf, n, g->off + done))
			return fail("write");
		done += n;
	}
	return 0;
}

static int scatter(int fd, const struct range *g, struct rnd_seeded *r,
		   uint64_t count, uint8_t *buf)
{
	while (count--) {
		uint64_t block = rnd_seeded_below(r, g->len / BLOCK);

		make_noise(r, buf);
		if (write_whole(fd, buf, BLOCK, g->off + block * BLOCK))
			return fail("write");
	}
	return 0;
}

static int number(int fd, uint64_t off, uint64_t n, uint8_t *buf)
{
	memset(buf, 0x5a, BLOCK);
	memcpy(buf, &n, sizeof(n));
	return write_whole(fd, buf, BLOCK, off) || fdatasync(fd) ?
		       fail("write") :
		       0;
}

static int read_number(int fd, uint64_t off, uint8_t *buf)
{
	uint64_t n;

	if (pread(fd, buf, BLOCK, (off_t)off) != (ssize_t)BLOCK)
		return fail("read");
	memcpy(&n, buf, sizeof(n));
	(void)printf("%" PRIu64 "\n", n);
	return 0;
}

static void print_point(const struct point_info *p, const uint8_t *block)
{
	uint64_t n;
	size_t i;

	memcpy(&n, block, sizeof(n));
	(void)printf("%" PRIu64 " %" PRIu64 " ", p->meta.epoch, p->meta.seq);
	for (i = 0; i < sizeof(p->head.b); i++)
		(void)printf("%02x", p->head.b[i]);
	(void)printf(" %" PRIu64 " %" PRIu64 "\n", p->meta.size_bytes, n);
}

static int list_points(char **args, uint64_t from)
{
	struct pointview *pv = pointview_open(args[0], args[1], args[2]);
	uint64_t off = strtoull(args[3], NULL, 10);
	uint8_t block[BLOCK];
	size_t i;

	for (i = 0; i < pointview_count(pv); i++) {
		if (pointview_point(pv, i)->meta.seq < from)
			continue;
		pointview_select(pv, i);
		(void)pointview_read(pv, off, BLOCK, block);
		print_point(pointview_point(pv, i), block);
	}
	pointview_close(pv);
	return 0;
}

static bool is(const char *verb, const char *name, int argc, int want)
{
	return !strcmp(verb, name) && argc == want;
}

static int on_file(int argc, char **argv, uint8_t *buf)
{
	const char *verb = argv[1];
	uint64_t arg[6] = { 0 };
	struct rnd_seeded rnd;
	struct range g;
	int fd, i;

	for (i = 3; i < argc && i < 8; i++)
		arg[i - 3] = strtoull(argv[i], NULL, 10);
	fd = open(argv[2], (is(verb, "read", argc, 4) ? O_RDONLY : O_RDWR) |
				   O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return fail(argv[2]);
	g = (struct range){ arg[0], arg[1] };
	rnd_seeded_init(&rnd, arg[2]);
	if (is(verb, "fill", argc, 6))
		return fill(fd, &g, &rnd, NOISE, buf);
	if (is(verb, "mixed", argc, 6))
		return fill(fd, &g, &rnd, MIXED, buf);
	if (is(verb, "scatter", argc, 7))
		return scatter(fd, &g, &rnd, arg[3], buf);
	if (is(verb, "number", argc, 5))
		return number(fd, arg[0], arg[1], buf);
	if (is(verb, "read", argc, 4))
		return read_number(fd, arg[0], buf);
	(void)fprintf(stderr, "blocks: see its source for the usage\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint8_t *buf = NULL;
	int ret;

	if (argc < 4) {
		(void)fprintf(stderr, "blocks: see its source for the usage\n");
		return 2;
	}
	if (is(argv[1], "points", argc, 6) || is(argv[1], "points", argc, 7))
		return list_points(argv + 2, argc == 7 ?
				   strtoull(argv[6], NULL, 10) : 0);
	if (posix_memalign((void **)&buf, BLOCK, CHUNK))
		return fail("memory");
	ret = on_file(argc, argv, buf);
	free(buf);
	return ret;
}
