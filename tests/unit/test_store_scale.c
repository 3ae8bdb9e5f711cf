// SPDX-License-Identifier: Apache-2.0
/*
 * What must not grow: the cost of a commit with the number of points, and the
 * memory of an open point with what is overwritten in it. Times are printed;
 * only shapes are judged, and generously.
 */
#include "storelab.h"

#include "base/cleanup.h"
#include "store/storevol.h"

#include "unit/store_ok.h"

static void tiny_point(struct lab *l)
{
	OK(lab_begin(l, &err));
	lab_zero(l, l->seq * 37 % (l->now.n_blocks - 4), 1);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
}

/* Best of several, so that a busy machine does not count. */
static double commit_us(struct lab *l, unsigned int n)
{
	double best = 1e9, start;
	unsigned int i;

	for (i = 0; i < n; i++) {
		start = tap_ms_now();
		tiny_point(l);
		if (tap_ms_now() - start < best)
			best = tap_ms_now() - start;
	}
	return best * 1e3;
}

TEST(a_commit_costs_the_same_after_two_thousand_points)
{
	double early, late, ms;
	struct fp fps[64];
	struct view *v;
	struct lab l;

	lab_init(&l, tap_seed(), 4096);
	OK(lab_open(&l, false, &err));
	OK(lab_writer(&l, &err));
	/* With the index of the newest view kept up, which costs more. */
	tiny_point(&l);
	OK(store_writer_fps(l.writer, 0, 64, fps, &err));
	early = commit_us(&l, 100);
	(void)commit_us(&l, 1800);
	late = commit_us(&l, 100);
	tap_note("commit without syncs: %.0f us early, %.0f us late, ratio "
		 "%.2f", early, late, late / early);
	ms = tap_ms_now();
	OK(view_open(l.store, &l.spec.uuid, 0, l.seq, &v, &err));
	tap_note("view over %llu points opened in %.1f ms",
		 (unsigned long long)l.seq, tap_ms_now() - ms);
	view_close(v);
	ms = tap_ms_now();
	lab_close(&l);
	OK(lab_open(&l, false, &err));
	tap_note("reopened in %.1f ms", tap_ms_now() - ms);
	EXPECT_LT(late, 20 * early);
	lab_free(&l);
}

TEST(overwriting_in_an_open_point_does_not_grow_its_memory)
{
	struct volume *v;
	struct lab l;
	unsigned int i, k;

	lab_init(&l, tap_seed(), 256);
	OK(lab_open(&l, false, &err));
	OK(lab_writer(&l, &err));
	OK(lab_begin(&l, &err));
	for (i = 0; i < 400; i++) {
		for (k = 0; k < 100; k++)
			lab_zero(&l, rnd_seeded_below(&l.rnd, 250), 3);
		OK(lab_stage(&l, &err));
	}
	v = store_volume(l.store, &l.spec.uuid);
	tap_note("%zu entries kept of %u units", v->op.cur.log.e.n, i * k);
	EXPECT_LE(v->op.cur.log.e.n, 5000);
	OK(lab_commit(&l, NULL, &err));
	lab_free(&l);
}

TEST(many_parts_of_one_point_read_back)
{
	struct lab l;
	uint64_t block = 0;
	unsigned int i;

	lab_init(&l, tap_seed(), 2048);
	l.segment_bytes = 16384;
	OK(lab_open(&l, false, &err));
	OK(lab_writer(&l, &err));
	OK(lab_begin(&l, &err));
	for (i = 0; i < 300; i++) {
		lab_data(&l, rnd_seeded_below(&l.rnd, 2032), 1 + i % 8);
		OK(lab_stage(&l, &err));
	}
	OK(lab_commit(&l, NULL, &err));
	ASSERT_INT(lab_compare(&l, 1, &l.now, &block, &err), 0);
	lab_free(&l);
}

/* A part beyond INDEX_SMALL_ENTRIES is searched on disk, page by page. */
TEST(large_parts_are_searched_where_they_lie)
{
	struct lab_image first;
	uint64_t block = 0, at, count, i;
	struct fp fps[8], want;
	struct view *v;
	struct lab l;
	bool zero;

	lab_init(&l, tap_seed(), 9000);
	OK(lab_open(&l, false, &err));
	OK(lab_writer(&l, &err));
	OK(lab_begin(&l, &err));
	/* Every third block its own unit; nothing from 6000 to 8990. */
	for (i = 0; i < 6000; i += 2)
		lab_data(&l, i, 1);
	lab_data(&l, 8990, 4);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, NULL, &err));
	first = lab_image_copy(&l.now);
	OK(lab_begin(&l, &err));
	lab_data(&l, 100, 3);
	lab_zero(&l, 5998, 4);
	OK(lab_stage(&l, &err));
	OK(store_writer_fps(l.writer, 98, 8, fps, &err));
	want = lab_fp(&l, 98, l.now.versions[98]);
	EXPECT_TRUE(fp_equal(&fps[0], &want));
	EXPECT_TRUE(fp_equal(&fps[1], &fp_unknown));
	want = lab_fp(&l, 101, l.now.versions[101]);
	EXPECT_TRUE(fp_equal(&fps[3], &want));
	OK(lab_commit(&l, NULL, &err));
	ASSERT_INT(lab_compare(&l, 1, &first, &block, &err), 0);
	ASSERT_INT(lab_compare(&l, 2, &l.now, &block, &err), 0);
	OK(view_open(l.store, &l.spec.uuid, 0, 2, &v, &err));
	OK(view_next(v, 6002, &at, &count, &zero, &err));
	EXPECT_U64(at, 8990);
	EXPECT_U64(count, 4);
	OK(view_next(v, 3001, &at, &count, &zero, &err));
	EXPECT_U64(at, 3002);
	EXPECT_U64(count, 1);
	EXPECT_INT(view_next(v, 8994, &at, &count, &zero, &err), 1);
	view_close(v);
	lab_image_free(&first);
	lab_free(&l);
}
