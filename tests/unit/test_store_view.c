// SPDX-License-Identifier: Apache-2.0
/*
 * Points looked up, by sequence, time and label, and views of them: stretches,
 * walks, blocks; with another key, and of what is not there.
 */
#include "unit/store_steps.h"

/* ---- points ---- */

static int collect(void *arg, const struct point_info *p)
{
	char *out = arg, one[32];

	(void)snprintf(one, sizeof(one), "%llu ",
		       (unsigned long long)p->meta.seq);
	strcat(out, one);
	return p->meta.seq == 100 ? 77 : 0;
}

TEST(points_are_listed_both_ways_and_found)
{
	char text[4096] = "";
	struct point_info p;
	struct lab l;
	int i;

	start(&l, 16);
	EXPECT_OK(store_points(l.store, &l.spec.uuid, false, collect, text));
	EXPECT_STR(text, "");
	EXPECT_INT(store_point_at(l.store, &l.spec.uuid, 1, &p), -ENOENT);
	for (i = 0; i < 5; i++)
		OK(lab_commit(&l, NULL, &err));
	EXPECT_OK(store_points(l.store, &l.spec.uuid, false, collect, text));
	EXPECT_STR(text, "1 2 3 4 5 ");
	text[0] = 0;
	EXPECT_OK(store_points(l.store, &l.spec.uuid, true, collect, text));
	EXPECT_STR(text, "5 4 3 2 1 ");
	EXPECT_OK(store_point_at(l.store, &l.spec.uuid, 3999, &p));
	EXPECT_U64(p.meta.seq, 3);
	EXPECT_OK(store_point_at(l.store, &l.spec.uuid, INT64_MAX, &p));
	EXPECT_U64(p.meta.seq, 5);
	EXPECT_INT(store_point_at(l.store, &l.spec.uuid, 999, &p), -ENOENT);
	EXPECT_INT(store_point_find(l.store, &l.spec.uuid, 0, 6, &p), -ENOENT);
	lab_free(&l);
}

TEST(a_walk_of_points_stops_at_the_callbacks_word)
{
	char text[4096] = "";
	struct lab l;
	int i;

	start(&l, 16);
	for (i = 0; i < 300; i++)
		OK(lab_commit(&l, NULL, &err));
	EXPECT_INT(store_points(l.store, &l.spec.uuid, true, collect, text),
		   77);
	EXPECT_STR_HAS(text, "300 299 ");
	EXPECT_STR_HAS(text, " 101 100 ");
	lab_free(&l);
}

TEST(labels_name_their_newest_point)
{
	struct point_meta meta = { .epoch = 1, .seq = 1, .kind = POINT_APP };
	struct point_info p;
	struct lab l;

	start(&l, 16);
	strcpy(meta.label, "nightly");
	OK(store_writer_commit(l.writer, &meta, &l.head, &p, &err));
	meta.seq = 2;
	OK(store_writer_commit(l.writer, &meta, &p.head, &p, &err));
	meta.seq = 3;
	meta.label[0] = 0;
	OK(store_writer_commit(l.writer, &meta, &p.head, &p, &err));
	EXPECT_OK(store_point_labelled(l.store, &l.spec.uuid, "nightly", &p));
	EXPECT_U64(p.meta.seq, 2);
	EXPECT_STR(p.meta.label, "nightly");
	EXPECT_INT(p.meta.kind, POINT_APP);
	EXPECT_INT(store_point_labelled(l.store, &l.spec.uuid, "", &p),
		   -ENOENT);
	EXPECT_INT(store_point_labelled(l.store, &l.spec.uuid, "x", &p),
		   -ENOENT);
	lab_free(&l);
}

TEST(what_is_not_there_is_said_so)
{
	const struct uuid nobody = { { 1 } };
	struct volume_info info;
	struct point_info p;
	struct view *v;
	struct lab l;

	start(&l, 16);
	REFUSED(view_open(l.store, &nobody, 0, 1, &v, &err), -ENOENT,
		"no-volume");
	REFUSED(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err), -ENOENT,
		"no-point");
	EXPECT_INT(store_volume_by_uuid(l.store, &nobody, &info), -ENOENT);
	EXPECT_INT(store_point_find(l.store, &nobody, 0, 1, &p), -ENOENT);
	lab_free(&l);
}

/* ---- views ---- */

TEST(next_tells_stretches_and_their_kind)
{
	uint64_t first, count;
	struct view *v;
	struct lab l;
	bool zero;

	start(&l, 200);
	OK(lab_begin(&l, &err));
	lab_data(&l, 10, 16);
	lab_data(&l, 26, 4);
	lab_zero(&l, 30, 70);
	lab_data(&l, 150, 1);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, NULL, &err));
	OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	EXPECT_OK(view_next(v, 0, &first, &count, &zero, NULL));
	EXPECT_U64(first, 10);
	EXPECT_U64(count, 20);
	EXPECT_FALSE(zero);
	EXPECT_OK(view_next(v, 30, &first, &count, &zero, NULL));
	EXPECT_U64(first, 30);
	EXPECT_U64(count, 70);
	EXPECT_TRUE(zero);
	EXPECT_OK(view_next(v, 100, &first, &count, &zero, NULL));
	EXPECT_U64(first, 150);
	EXPECT_U64(count, 1);
	EXPECT_INT(view_next(v, 151, &first, &count, &zero, NULL), 1);
	view_close(v);
	lab_free(&l);
}

struct pieces {
	uint64_t next;
	unsigned int n, absent;
};

static int on_piece(void *arg, const struct view_piece *p)
{
	struct pieces *c = arg;
	struct unit_view u;

	ASSERT_U64(p->first, c->next);
	ASSERT_GT(p->count, 0);
	c->next += p->count;
	c->n++;
	c->absent += p->absent;
	if (p->absent)
		return 0;
	ASSERT_OK(unit_parse(p->unit, p->unit_bytes, &u));
	ASSERT_U64(u.first + p->skip, p->first);
	return 0;
}

TEST(a_walk_covers_its_range_without_hole_or_overlap)
{
	struct pieces c = { .next = 5 };
	struct view *v;
	struct lab l;

	start(&l, 200);
	OK(lab_begin(&l, &err));
	lab_data(&l, 10, 16);
	lab_data(&l, 14, 2);
	lab_data(&l, 100, 4);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, NULL, &err));
	OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	OK(view_walk(v, 5, 1ULL << 40, on_piece, &c, &err));
	EXPECT_U64(c.next, 5 + (1ULL << 40));
	EXPECT_U64(c.absent, 3);
	EXPECT_U64(c.n, 7);
	view_close(v);
	lab_free(&l);
}

TEST(a_zero_unit_of_a_terabyte_is_cheap)
{
	uint64_t first, count;
	struct view *v;
	struct lab l;
	bool zero;
	uint8_t block[US_BLOCK_BYTES];

	start(&l, 16);
	OK(lab_begin(&l, &err));
	ASSERT_OK(sealer_zero(l.sealer, 0, UNIT_MAX_ZERO_BLOCKS, &l.units));
	lab_data(&l, 8, 1);
	OK(lab_stage(&l, &err));
	OK(lab_commit(&l, NULL, &err));
	OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	OK(view_next(v, 9, &first, &count, &zero, &err));
	EXPECT_U64(first, 9);
	EXPECT_TRUE(zero);
	EXPECT_GE(count, 1 << 20);
	memset(block, 1, sizeof(block));
	OK(view_read(v, l.opener, UNIT_MAX_ZERO_BLOCKS - 1, 1, block, &err));
	EXPECT_U64(block[4095], 0);
	view_close(v);
	lab_free(&l);
}

TEST(another_key_is_told_from_damage)
{
	uint8_t block[US_BLOCK_BYTES];
	struct volume_key other;
	struct opener *o;
	struct view *v;
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	ASSERT_OK(volume_key_new(&l.rnd.rnd, 1, &other));
	o = opener_new(&other);
	OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	OK(view_read(v, l.opener, 0, 1, block, &err));
	/* Also right after the right one has seen the same unit. */
	REFUSED(view_read(v, o, 0, 1, block, &err), -ENOKEY, "wrong-key");
	view_close(v);
	opener_free(o);
	lab_free(&l);
}
