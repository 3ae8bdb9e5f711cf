// SPDX-License-Identifier: Apache-2.0
/*
 * Power cuts. Before every sync of a random history the directory is copied,
 * and of what was not synced the copy loses a part: sectors, in any order, or
 * an end. The store must open; every point acknowledged before the cut reads
 * right; at most the one point under way is there too, and then it is right;
 * and work goes on.
 */
#include <sys/stat.h>

#include "storelab.h"

#include "base/cleanup.h"

#include "lib/tap.h"

#define BLOCKS 96U
#define MAX_POINTS 24U
#define SECTOR 512U

struct cut {
	struct lab lab;
	struct lab_image points[MAX_POINTS + 1];
	struct lab_image coming;	/* the point under way */
	bool skip;			/* no cut now */
	unsigned int cuts, with_coming, losses;
	unsigned int one_in;		/* syncs of so many are cut */
	struct rnd_seeded rnd;
	bool lose_synced;		/* what must not happen: the control */
	unsigned int lost_points;	/* seen by the control */
};

static struct err err;

static void ok_(int r, int line)
{
	if (r < 0)
		tap_note("line %d: %d %s: %s", line, r, err.code, err.message);
	ASSERT_INT(r, 0);
}
#define OK(call) (err_clear(&err), ok_((call), __LINE__))

static uint64_t below(struct cut *c, uint64_t n)
{
	return rnd_seeded_below(&c->rnd, n);
}

static void lose_sectors(struct cut *c, int fd, uint64_t from, uint64_t size)
{
	static const uint8_t zeros[SECTOR];
	uint64_t off = from / SECTOR * SECTOR, at, end;

	/* None, few or most of them. */
	uint64_t one_in = 1 + below(c, 40);

	for (; off < size; off += SECTOR) {
		at = off < from ? from : off;
		end = off + SECTOR < size ? off + SECTOR : size;
		if (below(c, one_in))
			continue;
		ASSERT_INT(pwrite(fd, zeros, end - at, (off_t)at),
			   (ssize_t)(end - at));
		c->losses++;
	}
}

static void mutilate(void *arg, const char *path, const char *name)
{
	struct cut *c = arg;
	uint64_t synced = labio_synced(&c->lab.io, name), size;
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	ASSERT_OK(fstat(fd, &st));
	size = (uint64_t)st.st_size;
	if (c->lose_synced && synced > 128)
		synced = 128;
	if (synced >= size)
		return;
	if (!synced && below(c, 4) == 0) {
		/* Its name was never made durable. */
		ASSERT_OK(unlink(path));
		return;
	}
	if (below(c, 2)) {
		size = synced + below(c, size - synced + 1);
		ASSERT_OK(ftruncate(fd, (off_t)size));
		c->losses++;
	}
	lose_sectors(c, fd, synced, size);
}

/* A lab on the copy that shares what does not change. */
static void look(struct cut *c, struct lab *l)
{
	struct point_info p = { 0 };
	uint64_t seq, block = 0;
	int r;

	OK(lab_open(l, false, &err));
	r = store_point_at(l->store, &l->spec.uuid, INT64_MAX, &p);
	ASSERT_TRUE(r == 0 || r == -ENOENT);
	if (c->lose_synced) {
		for (seq = 1; seq <= l->seq; seq++)
			c->lost_points +=
				lab_compare(l, seq, &c->points[seq], &block,
					    NULL) != 0;
		return;
	}
	ASSERT_MSG(p.meta.seq >= l->seq && p.meta.seq <= l->seq + 1,
		   "  newest is %" PRIu64 ", acknowledged %" PRIu64,
		   p.meta.seq, l->seq);
	for (seq = 1; seq <= p.meta.seq; seq++) {
		bool coming = seq > l->seq;

		err_clear(&err);
		r = lab_compare(l, seq,
				coming ? &c->coming : &c->points[seq], &block,
				&err);
		ASSERT_MSG(r == 0,
			   "  point %" PRIu64 "%s: %d at block %" PRIu64 ": %s",
			   seq, coming ? " (under way)" : "", r, block,
			   err.message);
		c->with_coming += coming;
	}
	l->seq = p.meta.seq;
	l->head = p.head;
}

static void go_on(struct lab *l)
{
	struct fp fps[BLOCKS], want;
	uint64_t block = 0;
	uint32_t i;

	OK(lab_writer(l, &err));
	OK(store_writer_fps(l->writer, 0, BLOCKS, fps, &err));
	OK(lab_begin(l, &err));
	for (i = 0; i < BLOCKS; i++) {
		want = lab_fp(l, i, l->now.versions[i]);
		if (!fp_equal(&fps[i], &want))
			lab_again(l, i, 1);
	}
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
	ASSERT_INT(lab_compare(l, l->seq, &l->now, &block, &err), 0);
}

static void on_sync(struct labio *io, void *arg)
{
	struct cut *c = arg;
	struct lab l;

	(void)io;
	if (c->skip || below(c, c->one_in))
		return;
	c->skip = true;
	c->cuts++;
	l = c->lab;
	lab_make_dir(l.dir);
	lab_copy(c->lab.dir, l.dir);
	lab_each_segment(l.dir, mutilate, c);
	if (below(c, 3) == 0)
		lab_drop_catalog(l.dir);
	labio_init(&l.io);
	l.store = NULL;
	l.writer = NULL;
	l.sealer = NULL;
	l.units = (struct buf){ 0 };
	look(c, &l);
	if (!c->lose_synced)
		go_on(&l);
	lab_close(&l);
	sealer_free(l.sealer);
	buf_free(&l.units);
	lab_remove(l.dir);
	c->skip = false;
}

static void stage_some(struct cut *c)
{
	struct lab *l = &c->lab;
	uint64_t n = 1 + below(c, 8);

	while (n--) {
		uint64_t first = below(c, BLOCKS);
		uint32_t count = 1 + (uint32_t)below(c, 16);

		if (first + count > BLOCKS)
			count = (uint32_t)(BLOCKS - first);
		if (below(c, 5) == 0)
			lab_zero(l, first, count);
		else
			lab_data(l, first, count);
	}
	OK(lab_stage(l, &err));
}

static void one_point(struct cut *c)
{
	struct lab *l = &c->lab;
	uint64_t n = 1 + below(c, 4);

	OK(lab_begin(l, &err));
	while (n--)
		stage_some(c);
	lab_image_free(&c->coming);
	c->coming = lab_image_copy(&l->now);
	OK(lab_commit(l, NULL, &err));
	c->points[l->seq] = lab_image_copy(&l->now);
}

static void cut_init(struct cut *c, uint64_t seed)
{
	static const uint64_t sizes[] = { 8192, 60000, 1 << 20 };

	memset(c, 0, sizeof(*c));
	rnd_seeded_init(&c->rnd, seed);
	lab_init(&c->lab, seed, BLOCKS);
	c->one_in = 6;
	c->lab.segment_bytes = sizes[below(c, 3)];
	c->coming = lab_image_new(BLOCKS);
	OK(lab_open(&c->lab, false, &err));
	OK(lab_writer(&c->lab, &err));
	c->lab.io.on_sync = on_sync;
	c->lab.io.arg = c;
}

static void cut_free(struct cut *c)
{
	uint64_t i;

	tap_note("points=%" PRIu64 " cuts=%u with_the_point_under_way=%u "
		 "losses=%u segment_bytes=%" PRIu64, c->lab.seq, c->cuts,
		 c->with_coming, c->losses, c->lab.segment_bytes);
	c->skip = true;
	for (i = 1; i <= c->lab.seq; i++)
		lab_image_free(&c->points[i]);
	lab_image_free(&c->coming);
	lab_free(&c->lab);
}

static void history(uint64_t seed)
{
	struct cut c;

	tap_note("history from seed %" PRIu64, seed);
	cut_init(&c, seed);
	while (c.lab.seq < MAX_POINTS) {
		one_point(&c);
		if (below(&c, 8) == 0) {
			c.skip = true;
			lab_close(&c.lab);
			OK(lab_open(&c.lab, false, &err));
			OK(lab_writer(&c.lab, &err));
			c.skip = false;
		}
	}
	cut_free(&c);
}

TEST_WITH_TIMEOUT(a_power_cut_loses_nothing_acknowledged, 600)
{
	const char *n = getenv("TEST_ROUNDS");
	uint64_t seed = tap_seed(), i;

	for (i = 0; i < (n ? strtoull(n, NULL, 0) : 3); i++)
		history(seed + i);
}

TEST(losing_what_was_synced_is_noticed_by_this_test)
{
	struct cut c;

	cut_init(&c, tap_seed());
	c.lose_synced = true;
	while (c.lab.seq < 12)
		one_point(&c);
	EXPECT_GT(c.lost_points, 0);
	cut_free(&c);
}
