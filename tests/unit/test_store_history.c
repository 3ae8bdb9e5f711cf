// SPDX-License-Identifier: Apache-2.0
/*
 * Random histories: units of all kinds, overlapping, over several segments and
 * parts; points, discards, reopening, and crashes (the directory as it is at
 * some moment, sometimes with a torn end). After each of them every committed
 * point must read as an image kept beside says.
 */
#include <sys/stat.h>

#include "storelab.h"

#include "base/cleanup.h"

#include "lib/tap.h"

#define BLOCKS 160U
#define MAX_POINTS 64U

struct history {
	struct lab lab;
	struct lab_image points[MAX_POINTS + 1];	/* by sequence */
	bool begun;
	char segment[256];		/* newest one at the last commit */
	uint64_t durable_bytes;		/* of it */
	unsigned int crashes, torn, reopened, discards, parts_seen;
};

static uint64_t below(struct history *h, uint64_t n)
{
	return rnd_seeded_below(&h->lab.rnd, n);
}

static void ok(struct history *h, int r, const struct err *err,
	       const char *what)
{
	(void)h;
	if (r < 0)
		tap_note("%s: %d: %s", what, r, err->message);
	ASSERT_TRUE(r == 0);
}

static void open_store(struct history *h)
{
	struct err err = ERR_INIT;

	ok(h, lab_open(&h->lab, false, &err), &err, "open");
	ok(h, lab_writer(&h->lab, &err), &err, "writer");
	h->begun = false;
}

static void check_points(struct history *h)
{
	struct err err = ERR_INIT;
	uint64_t seq, block = 0;
	int r;

	for (seq = 1; seq <= h->lab.seq; seq++) {
		r = lab_compare(&h->lab, seq, &h->points[seq], &block, &err);
		ASSERT_MSG(r == 0,
			   "  point %" PRIu64 ": %d at block %" PRIu64 ": %s",
			   seq, r, block, err.message);
	}
}

/* What the store says it holds is what the image says. */
static void check_open_point(struct history *h)
{
	struct fp fps[BLOCKS], want;
	struct err err = ERR_INIT;
	uint64_t i;

	ok(h, store_writer_fps(h->lab.writer, 0, BLOCKS, fps, &err), &err,
	   "fps");
	for (i = 0; i < BLOCKS; i++) {
		want = lab_fp(&h->lab, i, h->lab.now.versions[i]);
		/* Never written reads as zeros, and is unknown. */
		if (!h->lab.now.versions[i] && fp_equal(&fps[i], &fp_unknown))
			continue;
		ASSERT_MSG(fp_equal(&fps[i], &want),
			   "  block %" PRIu64 " has another fingerprint", i);
	}
}

static void begin(struct history *h)
{
	struct err err = ERR_INIT;

	if (h->begun && below(h, 8))
		return;
	ok(h, lab_begin(&h->lab, &err), &err, "begin");
	h->begun = true;
}

static void stage(struct history *h)
{
	struct err err = ERR_INIT;
	uint64_t n = 1 + below(h, 12);

	begin(h);
	while (n--) {
		uint64_t first = below(h, BLOCKS);
		uint32_t count = 1 + (uint32_t)below(h, UNIT_MAX_BLOCKS);

		/* A hot spot, so that much is superseded. */
		if (below(h, 3) == 0)
			first = below(h, 8);
		if (first + count > BLOCKS)
			count = (uint32_t)(BLOCKS - first);
		if (below(h, 6) == 0)
			lab_zero(&h->lab, first, count);
		else
			lab_data(&h->lab, first, count);
	}
	ok(h, lab_stage(&h->lab, &err), &err, "stage");
}

static void commit(struct history *h)
{
	struct err err = ERR_INIT;

	ok(h, lab_commit(&h->lab, NULL, &err), &err, "commit");
	h->points[h->lab.seq] = lab_image_copy(&h->lab.now);
	h->begun = false;
	h->durable_bytes = lab_segment(h->lab.dir, 0, h->segment);
}

static void discard(struct history *h)
{
	struct err err = ERR_INIT;
	const struct lab_image *was = &h->points[h->lab.seq];

	ok(h, store_writer_discard(h->lab.writer, &err), &err, "discard");
	memcpy(h->lab.now.versions, was->versions, BLOCKS * sizeof(uint64_t));
	h->begun = false;
	h->discards++;
	h->durable_bytes = lab_segment(h->lab.dir, 0, h->segment);
}

/* As a source does after a break: ask, and ship what differs. */
static void resync(struct history *h)
{
	struct fp fps[BLOCKS], want;
	struct err err = ERR_INIT;
	uint32_t i;

	ok(h, store_writer_fps(h->lab.writer, 0, BLOCKS, fps, &err), &err,
	   "fps");
	ok(h, lab_begin(&h->lab, &err), &err, "begin");
	h->begun = true;
	for (i = 0; i < BLOCKS; i++) {
		want = lab_fp(&h->lab, i, h->lab.now.versions[i]);
		if (!fp_equal(&fps[i], &want))
			lab_again(&h->lab, i, 1);
	}
	ok(h, lab_stage(&h->lab, &err), &err, "stage");
}

/* Cut the newest segment anywhere behind what was durable. */
static bool tear(struct history *h, const char *dir)
{
	char path[256];
	uint64_t size = lab_segment(dir, 0, path), from = 0;

	if (!size)
		return false;
	/* The same file as at the last commit? Directory names differ. */
	if (h->segment[0] && !strcmp(strrchr(path, '/'),
				     strrchr(h->segment, '/')))
		from = h->durable_bytes;
	if (from >= size)
		return false;
	ASSERT_OK(truncate(path, (off_t)(from + below(h, size - from))));
	h->torn++;
	return true;
}

static void crash(struct history *h)
{
	char copy[64], old[64];
	bool torn = false;

	lab_make_dir(copy);
	lab_copy(h->lab.dir, copy);
	lab_close(&h->lab);
	memcpy(old, h->lab.dir, sizeof(old));
	memcpy(h->lab.dir, copy, sizeof(copy));
	lab_remove(old);
	if (below(h, 4) == 0)
		lab_drop_catalog(h->lab.dir);
	if (below(h, 2) == 0)
		torn = tear(h, h->lab.dir);
	h->crashes++;
	open_store(h);
	if (torn)
		resync(h);
	check_open_point(h);
}

static void step(struct history *h)
{
	switch (below(h, 16)) {
	default:
		stage(h);
		break;
	case 9 ... 11:
		if (h->lab.seq < MAX_POINTS)
			commit(h);
		break;
	case 12:
		discard(h);
		break;
	case 13:
		lab_close(&h->lab);
		open_store(h);
		h->reopened++;
		check_open_point(h);
		break;
	case 14:
		crash(h);
		break;
	case 15:
		check_open_point(h);
		break;
	}
}

static void history_init(struct history *h, uint64_t seed)
{
	static const uint64_t sizes[] = { 4096, 20000, 150000, 1 << 20 };

	memset(h, 0, sizeof(*h));
	lab_init(&h->lab, seed, BLOCKS);
	h->lab.segment_bytes = sizes[below(h, 4)];
	h->points[0] = lab_image_new(BLOCKS);
	open_store(h);
}

static void history_free(struct history *h)
{
	uint64_t i;

	for (i = 0; i <= h->lab.seq; i++)
		lab_image_free(&h->points[i]);
	lab_free(&h->lab);
}

static void run(uint64_t seed, unsigned int steps)
{
	struct history h;
	unsigned int i;

	tap_note("history from seed %" PRIu64, seed);
	history_init(&h, seed);
	for (i = 0; i < steps; i++)
		step(&h);
	commit(&h);
	check_points(&h);
	lab_close(&h.lab);
	lab_drop_catalog(h.lab.dir);
	open_store(&h);
	check_points(&h);
	tap_note("points=%" PRIu64 " crashes=%u torn=%u reopened=%u "
		 "discards=%u segment_bytes=%" PRIu64, h.lab.seq, h.crashes,
		 h.torn, h.reopened, h.discards, h.lab.segment_bytes);
	history_free(&h);
}

TEST_WITH_TIMEOUT(random_histories_read_back_byte_for_byte, 600)
{
	const char *n = getenv("TEST_ROUNDS");
	uint64_t seed = tap_seed(), i;

	for (i = 0; i < (n ? strtoull(n, NULL, 0) : 4); i++)
		run(seed + i, 60);
}

TEST(a_disturbed_image_is_noticed)
{
	struct err err = ERR_INIT;
	uint64_t block = 0, where;
	struct history h;

	history_init(&h, tap_seed());
	stage(&h);
	stage(&h);
	commit(&h);
	where = below(&h, BLOCKS);
	EXPECT_INT(lab_compare(&h.lab, 1, &h.points[1], &block, &err), 0);
	h.points[1].versions[where] += 1000000;
	EXPECT_INT(lab_compare(&h.lab, 1, &h.points[1], &block, &err), 1);
	EXPECT_U64(block, where);
	history_free(&h);
}
