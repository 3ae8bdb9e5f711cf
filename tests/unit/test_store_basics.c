// SPDX-License-Identifier: Apache-2.0
/*
 * Points as they are written, on real units: staged, begun anew, discarded,
 * committed, told by fingerprint; what does not fit to the newest is refused.
 */
#include "unit/store_steps.h"

TEST(committed_point_reads_as_it_was_staged)
{
	struct point_info p;
	uint64_t block = 0;
	struct lab l;

	start(&l, 64);
	OK(lab_begin(&l, &err));
	lab_data(&l, 0, 16);
	lab_data(&l, 20, 3);
	lab_zero(&l, 40, 10);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, &p, &err));
	EXPECT_U64(p.changed_bytes, 29 * 4096);
	EXPECT_GT(p.stored_bytes, 19 * 64);
	EXPECT_U64(p.meta.seq, 1);
	expect_image(&l, 1, &l.now);
	/* The comparison would notice. */
	l.now.versions[21]++;
	EXPECT_INT(lab_compare(&l, 1, &l.now, &block, NULL), 1);
	EXPECT_U64(block, 21);
	lab_free(&l);
}

TEST(empty_points_are_points)
{
	struct point_info p, q;
	struct lab l;

	start(&l, 16);
	OK(lab_commit(&l, &p, &err));
	EXPECT_U64(p.changed_bytes, 0);
	OK(lab_commit(&l, &q, &err));
	EXPECT_MEM(&q.prev_head, &p.head, HEAD_BYTES);
	EXPECT_TRUE(memcmp(&q.head, &p.head, HEAD_BYTES) != 0);
	expect_image(&l, 2, &l.now);
	EXPECT_U64(info_of(&l).n_points, 2);
	lab_free(&l);
}

TEST(later_units_of_an_open_point_supersede_earlier_ones)
{
	struct lab l;
	unsigned int i;

	start(&l, 64);
	OK(lab_begin(&l, &err));
	for (i = 0; i < 40; i++) {
		lab_data(&l, i % 7, 9);
		OK(lab_stage(&l, &err));
	}
	lab_zero(&l, 3, 2);
	lab_data(&l, 4, 1);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}

TEST(an_older_point_is_not_touched_by_newer_ones)
{
	struct lab_image first;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	first = lab_image_copy(&l.now);
	add_point(&l, 8, 16);
	add_point(&l, 0, 4);
	expect_image(&l, 1, &first);
	expect_image(&l, 3, &l.now);
	lab_image_free(&first);
	lab_free(&l);
}

TEST(points_and_open_point_survive_reopening)
{
	struct volume_info v;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 30, 10);
	OK(lab_stage(&l, &err));
	lab_close(&l);
	open_for_writing(&l);
	v = info_of(&l);
	EXPECT_U64(v.n_points, 1);
	EXPECT_TRUE(v.has_point);
	EXPECT_U64(v.open_seq, 2);
	EXPECT_GT(v.open_bytes, 0);
	EXPECT_MEM(&v.newest.head, &l.head, HEAD_BYTES);
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 2, &l.now);
	EXPECT_U64(info_of(&l).open_seq, 0);
	EXPECT_U64(info_of(&l).open_bytes, 0);
	lab_free(&l);
}

TEST(open_point_over_many_segments_goes_on_after_reopening)
{
	unsigned int i;
	struct lab l;

	lab_init(&l, tap_seed(), 256);
	l.segment_bytes = 30000;
	open_for_writing(&l);
	for (i = 0; i < 16; i++) {
		OK(lab_begin(&l, &err));
		lab_data(&l, i * 16, 16);
		if (i % 3 == 0)
			lab_data(&l, i * 15, 3);
		OK(lab_stage(&l, &err));
		if (i % 5 == 4) {
			lab_close(&l);
			open_for_writing(&l);
		}
	}
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 1, &l.now);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}

TEST(discarded_units_never_come_back)
{
	struct lab_image was;
	struct fp fps[64];
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	was = lab_image_copy(&l.now);
	OK(lab_begin(&l, &err));
	lab_data(&l, 8, 16);
	OK(lab_stage(&l, &err));
	OK(store_writer_discard(l.writer, &err));
	EXPECT_U64(info_of(&l).open_bytes, 0);
	/* The old delta is void with them. */
	lab_data(&l, 8, 1);
	REFUSED(lab_stage(&l, &err), -EINVAL, "no-point-begun");
	lab_close(&l);
	lab_drop_catalog(l.dir);
	open_for_writing(&l);
	EXPECT_U64(info_of(&l).open_seq, 0);
	OK(store_writer_fps(l.writer, 0, 64, fps, &err));
	EXPECT_TRUE(fp_equal(&fps[20], &fp_unknown));
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 2, &was);
	lab_image_free(&was);
	lab_free(&l);
}

TEST(fingerprints_are_of_the_open_point_over_the_newest)
{
	struct fp fps[64], want;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	OK(store_writer_fps(l.writer, 0, 64, fps, &err));
	want = lab_fp(&l, 3, l.now.versions[3]);
	EXPECT_TRUE(fp_equal(&fps[3], &want));
	EXPECT_TRUE(fp_equal(&fps[16], &fp_unknown));
	OK(lab_begin(&l, &err));
	lab_data(&l, 3, 1);
	lab_zero(&l, 4, 20);
	OK(lab_stage(&l, &err));
	OK(store_writer_fps(l.writer, 2, 30, fps, &err));
	want = lab_fp(&l, 2, l.now.versions[2]);
	EXPECT_TRUE(fp_equal(&fps[0], &want));
	want = lab_fp(&l, 3, l.now.versions[3]);
	EXPECT_TRUE(fp_equal(&fps[1], &want));
	EXPECT_TRUE(fp_equal(&fps[2], &fp_zero_block));
	EXPECT_TRUE(fp_equal(&fps[22], &fp_unknown));
	OK(lab_commit(&l, NULL, &err));
	OK(store_writer_fps(l.writer, 3, 1, fps, &err));
	EXPECT_TRUE(fp_equal(&fps[0], &want));
	REFUSED(store_writer_fps(l.writer, US_MAX_BLOCKS - 1, 2, fps, &err),
		-EINVAL, "bad-range");
	lab_free(&l);
}

TEST(fingerprints_of_a_new_volume_are_unknown)
{
	struct fp fps[4];
	struct lab l;

	start(&l, 16);
	memset(fps, 1, sizeof(fps));
	OK(store_writer_fps(l.writer, 0, 4, fps, &err));
	EXPECT_TRUE(fp_equal(&fps[3], &fp_unknown));
	lab_free(&l);
}

TEST(a_point_must_follow_the_newest)
{
	struct point_meta meta = { .epoch = 1, .seq = 2 };
	struct head zero = { { 0 } }, wrong;
	struct point_info p;
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	REFUSED(store_writer_commit(l.writer, &meta, &zero, &p, &err), -ESTALE,
		"head-mismatch");
	wrong = l.head;
	wrong.b[31] ^= 1;
	REFUSED(store_writer_commit(l.writer, &meta, &wrong, &p, &err),
		-ESTALE, "head-mismatch");
	meta.seq = 1;
	REFUSED(store_writer_commit(l.writer, &meta, &l.head, &p, &err),
		-EINVAL, "bad-sequence");
	meta.seq = 2;
	meta.epoch = 2;
	REFUSED(store_writer_commit(l.writer, &meta, &l.head, &p, &err),
		-ESTALE, "old-epoch");
	meta.epoch = 1;
	OK(store_writer_commit(l.writer, &meta, &l.head, &p, &err));
	lab_free(&l);
}

TEST(units_must_be_whole_and_of_a_begun_point)
{
	struct delta d;
	struct lab l;
	uint32_t index;

	start(&l, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 0, 4);
	l.units.len--;
	REFUSED(lab_stage(&l, &err), -EBADMSG, "unit-damaged");
	lab_data(&l, 0, 4);
	l.units.data[100] ^= 1;
	REFUSED(lab_stage(&l, &err), -EBADMSG, "unit-damaged");
	lab_data(&l, 0, 4);
	l.delta++;
	REFUSED(lab_stage(&l, &err), -EINVAL, "no-point-begun");
	EXPECT_U64(info_of(&l).open_bytes, 0);
	d = *sealer_delta(l.sealer);
	d.epoch = 7;
	REFUSED(store_writer_begin(l.writer, &d, &index, &err), -ESTALE,
		"old-epoch");
	d = *sealer_delta(l.sealer);
	d.volume.b[0] ^= 1;
	REFUSED(store_writer_begin(l.writer, &d, &index, &err), -EINVAL,
		"bad-delta");
	lab_free(&l);
}
