// SPDX-License-Identifier: Apache-2.0
/*
 * The store alone, in this process, with real syncs:
 *
 *	bench_store DIR [POINTS [BASE_UNITS]]
 *
 * A base of BASE_UNITS (1,000,000) units of one block each, then POINTS
 * (10,000) points of 20 blocks. Prints one JSON line per figure.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/store.h"
#include "wire/seal.h"

#define UNITS_A_CALL 2000U
#define BLOCKS_A_POINT 20U

static struct store *store;
static struct store_writer *writer;
static struct volume_key key;
static struct store_volume_spec spec = { .source = "bench", .name = "volume",
					 .epoch = 1 };
static struct rnd_seeded rnd;
static struct head head;
static uint64_t seq, n_blocks;
static uint32_t delta;
static struct sealer *sealer;
static struct err err;

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_store: %s: %d %s\n", what, r, err.message);
	exit(1);
}

static double now_ms(void)
{
	return (double)clock_mono_ns(clock_real()) / 1e6;
}

static void say(const char *name, double value, const char *unit)
{
	printf("{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\"}\n", name,
	       value, unit);
	fflush(stdout);
}

static void begin(void)
{
	static const struct comp_config comp = { .mode = COMP_LZ4 };

	sealer_free(sealer);
	sealer = sealer_new(&key, &spec.uuid, 1, seq + 1, &comp, &rnd.rnd);
	must(store_writer_begin(writer, sealer_delta(sealer), &delta, &err),
	     "begin");
}

static void put(uint64_t block, struct buf *units)
{
	static uint8_t data[US_BLOCK_BYTES];
	static struct fp fp;

	/* Compresses to little: the index is measured, not the disk. */
	memset(data, 0, 16);
	put_le64(data, block + 1);
	put_le64(data + 8, seq);
	must(sealer_data(sealer, block, 1, data, &fp, units), "seal");
}

static void commit(void)
{
	const struct point_meta meta = { .epoch = 1, .seq = seq + 1,
					 .size_bytes = spec.size_bytes };
	struct point_info p;

	must(store_writer_commit(writer, &meta, &head, &p, &err), "commit");
	head = p.head;
	seq = meta.seq;
}

static void make_base(uint64_t units)
{
	struct buf b = { 0 };
	double start = now_ms(), staging = 0, t;
	uint64_t i;

	begin();
	for (i = 0; i < units; i++) {
		put(i, &b);
		if ((i + 1) % UNITS_A_CALL && i + 1 < units)
			continue;
		t = now_ms();
		must(store_writer_units(writer, delta, b.data, b.len, &err),
		     "stage");
		staging += now_ms() - t;
		buf_reset(&b);
	}
	t = now_ms();
	commit();
	say("base.commit", now_ms() - t, "ms");
	say("base.stage", (double)units / staging * 1e3, "units/s");
	say("base.total", now_ms() - start, "ms");
	buf_free(&b);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double point(struct buf *b)
{
	unsigned int k;
	double t;

	begin();
	buf_reset(b);
	for (k = 0; k < BLOCKS_A_POINT; k++)
		put(rnd_seeded_below(&rnd, n_blocks), b);
	t = now_ms();
	must(store_writer_units(writer, delta, b->data, b->len, &err),
	     "stage");
	commit();
	return now_ms() - t;
}

static void percentile(const char *name, double *v, size_t n, double p)
{
	qsort(v, n, sizeof(*v), by_value);
	say(name, v[(size_t)((double)(n - 1) * p)], "ms");
}

static void make_points(uint64_t n)
{
	double *v = calloc(n, sizeof(*v));
	size_t tenth = n / 10 ? n / 10 : 1;
	struct buf b = { 0 };
	uint64_t i;

	must(v ? 0 : -1, "memory");
	for (i = 0; i < n; i++)
		v[i] = point(&b);
	percentile("commit.first_tenth.p50", v, tenth, 0.5);
	percentile("commit.last_tenth.p50", v + n - tenth, tenth, 0.5);
	percentile("commit.p50", v, n, 0.5);
	percentile("commit.p99", v, n, 0.99);
	percentile("commit.max", v, n, 1.0);
	free(v);
	buf_free(&b);
}

static void open_view(void)
{
	static uint8_t out[256 * US_BLOCK_BYTES];
	struct opener *o = opener_new(&key);
	struct view *v;
	double t = now_ms();
	uint64_t i;

	must(view_open(store, &spec.uuid, 0, seq, &v, &err), "view");
	say("view.open", now_ms() - t, "ms");
	t = now_ms();
	for (i = 0; i + 256 <= n_blocks; i += 256)
		must(view_read(v, o, i, 256, out, &err), "read");
	say("view.read", (double)n_blocks * US_BLOCK_BYTES / 1e3 /
				 (now_ms() - t), "MB/s");
	view_close(v);
	opener_free(o);
}

static void ask_fps(void)
{
	static struct fp fps[16384];
	double t = now_ms();
	uint64_t i;

	must(store_writer_fps(writer, 0, 1, fps, &err), "fps");
	say("fps.first", now_ms() - t, "ms");
	t = now_ms();
	for (i = 0; i + 16384 <= n_blocks; i += 16384)
		must(store_writer_fps(writer, i, 16384, fps, &err), "fps");
	say("fps", (double)n_blocks / (now_ms() - t) * 1e3, "blocks/s");
}

static void open_store(const char *dir)
{
	const struct store_config cfg = { .path = dir, .io = io_posix(),
					  .clock = clock_real(),
					  .rnd = rnd_system() };
	double t = now_ms();

	must(store_open(&cfg, &store, &err), "open");
	must(store_writer_open(store, &spec, &writer, &err), "writer");
	say("store.open", now_ms() - t, "ms");
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 10000;

	if (argc < 2) {
		fputs("usage: bench_store DIR [POINTS [BASE_UNITS]]\n",
		      stderr);
		return 2;
	}
	n_blocks = argc > 3 ? strtoull(argv[3], NULL, 0) : 1000000;
	rnd_seeded_init(&rnd, 1);
	must(uuid_new(&rnd.rnd, &spec.uuid), "uuid");
	must(volume_key_new(&rnd.rnd, 1, &key), "key");
	spec.size_bytes = n_blocks * US_BLOCK_BYTES;
	open_store(argv[1]);
	make_base(n_blocks);
	open_view();
	make_points(n);
	open_view();
	ask_fps();
	make_points(n / 10 ? n / 10 : 1);
	store_writer_close(writer);
	store_close(store);
	open_store(argv[1]);
	store_writer_close(writer);
	store_close(store);
	sealer_free(sealer);
	return 0;
}
