// SPDX-License-Identifier: Apache-2.0
/*
 * What one core does to blocks on their way out, stage by stage and together:
 *
 *	zero    block_is_zero of every block
 *	fp      fingerprint of every block
 *	pack    compression alone, per mode
 *	seal    sealing and checksum alone (no compression)
 *	all     the three in a row, as a source does it, per mode
 *	open    the way back of what `all` made
 *
 * Measured in processor time of the thread, so that neighbours on the machine
 * count little. Prints one JSON line per figure; out_bytes_per_byte is what is
 * shipped for each byte read.
 *
 *	bench_pipeline [MS [STAGE [CONTENT]]]	MS per figure; only those
 *	bench_pipeline content CONTENT		writes that content: 8 MiB
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/rnd.h"
#include "wire/compress.h"
#include "wire/seal.h"

#define DATA_BYTES (8U << 20)

enum content { RANDOM, TEXT, MIXED, ZERO, N_CONTENTS };
static const char *const content_names[] = { "random", "text", "mixed",
					     "zero" };
static const char *const mode_names[] = { "auto", "none", "lz4", "zstd" };

struct bench {
	uint8_t *data;
	struct fp *fps;			/* one per block of data */
	struct fp_ctx *fp;
	struct sealer *sealer;
	struct packer *packer;
	struct opener *opener;
	struct buf sealed;
	uint8_t scratch[UNIT_MAX_PLAIN_BYTES];
	uint32_t unit_blocks;
	uint64_t ms;
	const char *stage, *content;	/* only this; NULL: all */
	uint64_t out_bytes;		/* sealed since the figure began */
	volatile uint64_t sink;
};

/* One unit at byte offset off; 0 or negative errno. */
typedef int (*stage_fn)(struct bench *b, size_t off);

static int stage_zero(struct bench *b, size_t off)
{
	uint32_t i;

	for (i = 0; i < b->unit_blocks; i++)
		b->sink += block_is_zero(b->data + off +
						 (size_t)i * US_BLOCK_BYTES,
					 US_BLOCK_BYTES);
	return 0;
}

static int stage_fp(struct bench *b, size_t off)
{
	uint64_t first = off / US_BLOCK_BYTES, i;
	int r = 0;

	for (i = first; i < first + b->unit_blocks && !r; i++)
		r = fp_compute(b->fp, i, b->data + i * US_BLOCK_BYTES,
			       &b->fps[i]);
	return r;
}

static int stage_pack(struct bench *b, size_t off)
{
	size_t n;
	int r;

	r = packer_pack(b->packer, b->data + off,
			(size_t)b->unit_blocks * US_BLOCK_BYTES, b->scratch,
			&n);
	return r < 0 ? r : 0;
}

static int stage_seal(struct bench *b, size_t off)
{
	uint64_t first = off / US_BLOCK_BYTES;
	size_t before;
	int r;

	if (b->sealed.len > (1U << 20))
		buf_reset(&b->sealed);
	before = b->sealed.len;
	r = sealer_data(b->sealer, first, b->unit_blocks, b->data + off,
			b->fps + first, &b->sealed);
	b->out_bytes += b->sealed.len - before;
	return r;
}

static int stage_all(struct bench *b, size_t off)
{
	int r;

	r = stage_zero(b, off);
	if (!r)
		r = stage_fp(b, off);
	return r ? r : stage_seal(b, off);
}

static int stage_open(struct bench *b, size_t off)
{
	struct unit_view v;
	int r;

	(void)off;
	r = unit_parse(b->sealed.data, b->sealed.len, &v);
	if (!r)
		r = unit_verify_checksum(b->sealed.data, v.total_bytes);
	return r ? r :
		   opener_open(b->opener, sealer_delta(b->sealer),
			       b->sealed.data, v.total_bytes, &v, b->scratch,
			       sizeof(b->scratch));
}

static uint64_t cpu_ns(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int run(struct bench *b, const char *stage, const char *mode,
	       enum content content, stage_fn fn)
{
	const uint64_t span = b->ms * NSEC_PER_MSEC;
	size_t unit_bytes = (size_t)b->unit_blocks * US_BLOCK_BYTES;
	uint64_t start = cpu_ns(), now = start, bytes = 0;
	size_t off = 0;
	int r;

	if (b->stage && strcmp(stage, b->stage) != 0 &&
	    !(fn == stage_all && !strcmp(b->stage, "open")))
		return 0;
	b->out_bytes = 0;
	while (now - start < span) {
		for (off = 0; off < DATA_BYTES / 4; off += unit_bytes) {
			size_t at = (bytes + off) % DATA_BYTES;

			r = fn(b, at);
			if (r < 0) {
				(void)fprintf(stderr, "%s: %s\n", stage,
					      strerror(-r));
				return r;
			}
		}
		bytes += off;
		now = cpu_ns();
	}
	(void)printf("{\"bench\":\"pipeline\",\"stage\":\"%s\",\"mode\":\"%s\","
		     "\"data\":\"%s\",\"unit_bytes\":%zu,\"mb_per_s\":%.0f,"
		     "\"ns_per_block\":%.0f,\"out_bytes_per_byte\":%.3f}\n",
		     stage, mode, content_names[content], unit_bytes,
		     (double)bytes * 1e3 / (double)(now - start),
		     (double)(now - start) * US_BLOCK_BYTES / (double)bytes,
		     (double)b->out_bytes / (double)bytes);
	return 0;
}

/* Words of a small vocabulary, common ones often: lz4 2.0, zstd 2.9 or so. */
static void fill_text(struct rnd_seeded *rnd, uint8_t *p, size_t n)
{
	char words[1024][12];
	size_t i, at = 0;

	for (i = 0; i < 1024; i++) {
		size_t len = 2 + rnd_seeded_below(rnd, 9), j;

		for (j = 0; j < len; j++)
			words[i][j] = (char)('a' + rnd_seeded_below(rnd, 26));
		words[i][len] = ' ';
		words[i][len + 1] = 0;
	}
	while (at < n) {
		uint64_t a = rnd_seeded_below(rnd, 1024);
		const char *w = words[a * rnd_seeded_below(rnd, 1024) / 1024];

		while (*w && at < n)
			p[at++] = (uint8_t)*w++;
	}
}

static void fill(uint8_t *p, enum content content)
{
	struct rnd_seeded rnd;
	size_t i;

	rnd_seeded_init(&rnd, 42);
	memset(p, 0, DATA_BYTES);
	if (content == RANDOM || content == MIXED)
		(void)rnd_fill(&rnd.rnd, p, DATA_BYTES);
	if (content == TEXT)
		fill_text(&rnd, p, DATA_BYTES);
	/* by quarter megabytes, as files lie on a disk */
	for (i = 0; content == MIXED && i < DATA_BYTES; i += 512U << 10)
		fill_text(&rnd, p + i, 256U << 10);
}

/* A sealer, packer and fingerprint context anew, so that auto learns. */
static int renew(struct bench *b, const struct comp_config *comp)
{
	static const struct volume_key key = { .id = 1, .bytes = { 1 } };
	static const struct uuid volume = { { 1 } };

	sealer_free(b->sealer);
	packer_free(b->packer);
	fp_ctx_free(b->fp);
	opener_free(b->opener);
	buf_reset(&b->sealed);
	b->sealer = sealer_new(&key, &volume, 1, 1, comp, rnd_system());
	b->packer = packer_new(comp);
	b->fp = fp_ctx_new(&key, &volume);
	b->opener = opener_new(&key);
	return b->sealer && b->packer && b->fp && b->opener ? 0 : -ENOMEM;
}

static int bench_mode(struct bench *b, enum content content,
		      enum comp_mode mode)
{
	const char *name = mode_names[mode];
	struct comp_config comp = { .mode = mode,
				    .level = mode == COMP_ZSTD ? 1 : 0 };
	int r;

	r = renew(b, &comp);
	if (!r && mode != COMP_NONE)
		r = run(b, "pack", name, content, stage_pack);
	if (!r && mode == COMP_NONE)
		r = run(b, "seal", name, content, stage_seal);
	if (!r)
		r = renew(b, &comp);
	if (!r)
		r = run(b, "all", name, content, stage_all);
	return r ? r : run(b, "open", name, content, stage_open);
}

static int bench_content(struct bench *b, enum content content)
{
	static const struct comp_config none = { .mode = COMP_NONE };
	int r, mode;

	if (b->content && strcmp(b->content, content_names[content]) != 0)
		return 0;
	fill(b->data, content);
	r = renew(b, &none);
	if (!r)
		r = run(b, "zero", "none", content, stage_zero);
	if (!r && content == RANDOM)
		r = run(b, "fp", "none", content, stage_fp);
	for (mode = COMP_AUTO; mode <= COMP_ZSTD && !r && content != ZERO;
	     mode++)
		r = bench_mode(b, content, (enum comp_mode)mode);
	return r;
}

static int write_content(struct bench *b, const char *name)
{
	int content;

	for (content = RANDOM; content < N_CONTENTS; content++) {
		if (strcmp(name, content_names[content]) != 0)
			continue;
		fill(b->data, (enum content)content);
		return fwrite(b->data, DATA_BYTES, 1, stdout) == 1 ? 0 : -EIO;
	}
	return -EINVAL;
}

static int bench_all(struct bench *b)
{
	static const uint32_t unit_blocks[] = { 16, 1 };
	int r = 0, content;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unit_blocks) && !r; i++) {
		b->unit_blocks = unit_blocks[i];
		for (content = RANDOM; content < N_CONTENTS && !r; content++)
			r = bench_content(b, (enum content)content);
	}
	return r;
}

int main(int argc, char **argv)
{
	static struct bench b;
	int r;

	b.data = aligned_alloc(US_BLOCK_BYTES, DATA_BYTES);
	b.fps = calloc(DATA_BYTES / US_BLOCK_BYTES, sizeof(*b.fps));
	if (!b.data || !b.fps)
		return 1;
	b.ms = argc > 1 ? strtoull(argv[1], NULL, 10) : 200;
	b.stage = argc > 2 ? argv[2] : NULL;
	b.content = argc > 3 ? argv[3] : NULL;
	if (argc > 2 && !strcmp(argv[1], "content"))
		r = write_content(&b, argv[2]);
	else
		r = bench_all(&b);
	sealer_free(b.sealer);
	packer_free(b.packer);
	fp_ctx_free(b.fp);
	opener_free(b.opener);
	buf_free(&b.sealed);
	free(b.data);
	free(b.fps);
	return r < 0;
}
