// SPDX-License-Identifier: Apache-2.0
/*
 * How long it takes to collect the same number of scattered dirty blocks on
 * volumes of different sizes: sparse, in memory, all tracked by one set of
 * programs, nothing read or shipped. The sizes take turns.
 *
 *	bench_collect SAMPLES SHIFT|0 far|near DIRTY SIZE-GIB...
 *
 * SHIFT: log2 of the tracking block's bytes, the same for all; 0: for each size
 * what the default of tracker-memory gives. far: over the whole volume, so that
 * on a large one hardly two of them have a word in common; near: among its first
 * NEAR_BLOCKS blocks, so that the words are the same on each. Prints one JSON
 * object a sample and size: microseconds of the collect (flip, collect, and the
 * engine's sets), and of the acknowledgement of all of it.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rnd.h"
#include "hugerig.h"
#include "private_bpffs.h"

#define SIZES_MAX 8
#define TRACKER_MEMORY_BYTES (128 * HUGE_MIB)
#define GIB_SHIFT 30
#define NEAR_BLOCKS (1U << 14)		/* 1 GiB in blocks of 64 KiB */

struct order {
	int samples;
	uint32_t shift;
	uint32_t dirty;
	bool near;
};

struct volume {
	uint64_t gib;
	struct hugerig rig;
	uint64_t *offsets;
};

static double us_since(uint64_t start_ns)
{
	return (double)(clock_mono_ns(clock_real()) - start_ns) / 1e3;
}

/* Distinct blocks, one 4096-byte piece of each: an odd factor permutes what is
 * a power of two. */
static void choose(struct volume *v, const struct order *o)
{
	const struct tracker *t = v->rig.tracker;
	uint64_t among = o->near ? NEAR_BLOCKS : t->n_blocks;
	uint64_t start, step;
	struct rnd_seeded rnd;
	uint32_t i;

	rnd_seeded_init(&rnd, 1);
	start = rnd_seeded_below(&rnd, among);
	step = rnd_seeded_below(&rnd, among) | 1;
	for (i = 0; i < o->dirty; i++)
		v->offsets[i] = (start + i * step) % among << t->block_shift;
}

/* Everything collected leaves pending. */
static int settle(struct volume *v, double *us, struct err *err)
{
	struct cut_round round;
	uint64_t start;
	int r = cut_round(v->rig.cut, &round, err);

	if (!r && !round.converged)
		r = -1;
	start = clock_mono_ns(clock_real());
	if (!r) {
		cut_committed(v->rig.cut);
		cut_acked(v->rig.cut);
	}
	*us = us_since(start);
	return r;
}

static int sample(struct volume *v, const struct order *o, bool print,
		  struct err *err)
{
	uint32_t dirty = o->dirty;
	double collect_us, ack_us;
	uint64_t start;
	int r = hugerig_write(&v->rig, v->offsets, dirty);

	if (r)
		return r;
	start = clock_mono_ns(clock_real());
	r = cut_collect(v->rig.cut, err);
	collect_us = us_since(start);
	if (r)
		return r;
	if (cut_pending_blocks(v->rig.cut) != dirty) {
		(void)fprintf(stderr, "%" PRIu64 " blocks collected of %u\n",
			      cut_pending_blocks(v->rig.cut), dirty);
		return -1;
	}
	r = settle(v, &ack_us, err);
	if (!r && print)
		(void)printf("{\"gib\":%" PRIu64 ",\"dirty\":%u,"
			     "\"block_bytes\":%u,\"collect_us\":%.2f,"
			     "\"ack_us\":%.2f}\n", v->gib, dirty,
			     1U << v->rig.tracker->block_shift, collect_us,
			     ack_us);
	return r;
}

static int open_volume(struct volume *v, struct tracker_host *host,
		       const struct order *o, struct err *err)
{
	uint64_t bytes = v->gib << GIB_SHIFT;
	uint32_t shift = o->shift;
	int r = hugerig_open_device(&v->rig, bytes, err);

	if (!r && !shift)
		r = tracker_choose_shift(&v->rig.dev, 0, TRACKER_MEMORY_BYTES,
					 &shift, err);
	if (!r)
		r = hugerig_track(&v->rig, host, shift, err);
	if (r)
		return r;
	v->offsets = calloc((size_t)o->dirty + 1, sizeof(*v->offsets));
	if (!v->offsets || v->rig.tracker->n_blocks < o->dirty ||
	    (o->near && (v->rig.tracker->n_blocks < NEAR_BLOCKS ||
			 NEAR_BLOCKS < o->dirty)))
		return -1;
	choose(v, o);
	return 0;
}

static int run(struct volume *v, int n, char **sizes, const struct order *o,
	       struct err *err)
{
	struct tracker_host *host;
	int i, s, r;

	r = private_bpffs() ? -1 : hugerig_host(&host, err);
	for (i = 0; i < n && !r; i++) {
		v[i].gib = strtoull(sizes[i], NULL, 10);
		r = open_volume(&v[i], host, o, err);
	}
	/* The first one makes pages and maps present, and is not counted. */
	for (s = 0; s <= o->samples && !r; s++)
		for (i = 0; i < n && !r; i++)
			r = sample(&v[(i + s) % n], o, s > 0, err);
	return r;
}

int main(int argc, char **argv)
{
	static struct volume volumes[SIZES_MAX];
	struct order o = { 0 };
	struct err err = ERR_INIT;
	int n = argc - 5, i, r;

	if (n < 1 || n > SIZES_MAX) {
		(void)fprintf(stderr, "usage: bench_collect SAMPLES SHIFT "
				      "far|near DIRTY SIZE-GIB...\n");
		return 2;
	}
	o.samples = atoi(argv[1]);
	o.shift = (uint32_t)strtoul(argv[2], NULL, 10);
	o.near = !strcmp(argv[3], "near");
	o.dirty = (uint32_t)strtoul(argv[4], NULL, 10);
	r = run(volumes, n, argv + 5, &o, &err);
	if (r)
		(void)fprintf(stderr, "bench_collect: %s\n",
			      err.num ? err.message : "failed");
	for (i = 0; i < n; i++)
		if (volumes[i].rig.tracker)
			hugerig_close(&volumes[i].rig);
	return r != 0;
}
