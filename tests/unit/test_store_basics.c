// SPDX-License-Identifier: Apache-2.0
/* The store's interface, one behaviour each, on real units. */
#include "storelab.h"

#include <sys/stat.h>

#include "base/cleanup.h"

#include "lib/tap.h"

static void ok_(int r, const struct err *err, int line)
{
	if (r < 0)
		tap_note("line %d: %d %s: %s", line, r, err->code,
			 err->message);
	ASSERT_INT(r, 0);
}

#define OK(call)                                \
	do {                                    \
		struct err err = ERR_INIT;      \
		ok_((call), &err, __LINE__);    \
	} while (0)

/* The call fails with this number and this code. */
#define REFUSED(call, number, slug)             \
	do {                                    \
		struct err err = ERR_INIT;      \
		EXPECT_INT((call), number);     \
		EXPECT_STR(err.code, slug);     \
	} while (0)

static void open_for_writing(struct lab *l)
{
	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
}

static void start(struct lab *l, uint64_t n_blocks)
{
	lab_init(l, tap_seed(), n_blocks);
	open_for_writing(l);
}

/* One point with new content in [first, first + count). */
static void add_point(struct lab *l, uint64_t first, uint32_t count)
{
	OK(lab_begin(l, &err));
	lab_data(l, first, count);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
}

static void expect_image(struct lab *l, uint64_t seq,
			 const struct lab_image *want)
{
	uint64_t block = 0;

	OK(lab_compare(l, seq, want, &block, &err));
}

static struct volume_info info_of(struct lab *l)
{
	struct volume_info v;

	ASSERT_OK(store_volume_by_uuid(l->store, &l->spec.uuid, &v));
	return v;
}

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

TEST(a_newer_writer_fences_the_older)
{
	struct store_writer *old;
	struct point_meta meta = { .epoch = 1, .seq = 1 };
	struct point_info p;
	struct volume_info v;
	struct fp fp;
	struct lab l;
	uint32_t index;

	start(&l, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 0, 4);
	OK(lab_stage(&l, &err));
	old = TAKE_PTR(l.writer);
	OK(lab_writer(&l, &err));
	REFUSED(store_writer_begin(old, sealer_delta(l.sealer), &index, &err),
		-ESTALE, "fenced");
	REFUSED(store_writer_units(old, l.delta, NULL, 0, &err), -ESTALE,
		"fenced");
	REFUSED(store_writer_commit(old, &meta, &l.head, &p, &err), -ESTALE,
		"fenced");
	REFUSED(store_writer_discard(old, &err), -ESTALE, "fenced");
	REFUSED(store_writer_fps(old, 0, 1, &fp, &err), -ESTALE, "fenced");
	EXPECT_INT(store_writer_info(old, &v), -ESTALE);
	store_writer_close(old);
	/* What the old one staged is still the open point. */
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}

TEST(a_name_belongs_to_one_volume)
{
	struct store_volume_spec other;
	struct store_writer *w;
	struct volume_info v;
	struct lab l;

	start(&l, 16);
	other = l.spec;
	ASSERT_OK(uuid_new(&l.rnd.rnd, &other.uuid));
	REFUSED(store_writer_open(l.store, &other, &w, &err), -EEXIST,
		"name-taken");
	other.source = "web2";
	OK(store_writer_open(l.store, &other, &w, &err));
	store_writer_close(w);
	EXPECT_INT(store_volume_by_name(l.store, NULL, "db1", &v), -ENOTUNIQ);
	EXPECT_INT(store_volume_by_name(l.store, "", "db1", &v), -ENOTUNIQ);
	EXPECT_OK(store_volume_by_name(l.store, "web2", "db1", &v));
	EXPECT_TRUE(uuid_equal(&v.uuid, &other.uuid));
	EXPECT_INT(store_volume_by_name(l.store, "web2", "db", &v), -ENOENT);
	lab_close(&l);
	OK(lab_open(&l, false, &err));
	REFUSED(store_writer_open(l.store,
				  &(struct store_volume_spec){
					  .uuid = { { 1 } },
					  .source = "web2",
					  .name = "db1",
					  .epoch = 1 }, &w, &err),
		-EEXIST, "name-taken");
	lab_free(&l);
}

TEST(a_volume_may_be_renamed_at_its_source)
{
	struct volume_info v;
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	l.spec.name = "db1-old";
	OK(lab_writer(&l, &err));
	EXPECT_STR(info_of(&l).name, "db1-old");
	add_point(&l, 4, 4);
	/* SOURCE is that of the first push. */
	l.spec.source = "web9";
	OK(lab_writer(&l, &err));
	EXPECT_STR(info_of(&l).source, "web1");
	lab_close(&l);
	open_for_writing(&l);
	EXPECT_OK(store_volume_by_name(l.store, NULL, "db1-old", &v));
	EXPECT_INT(store_volume_by_name(l.store, NULL, "db1", &v), -ENOENT);
	expect_image(&l, 2, &l.now);
	lab_free(&l);
}

TEST(names_that_could_be_paths_are_refused)
{
	static const char *const bad[] = { "", ".", "..", "a/b", ".x", "-x",
					   "a b", "\xc3\xa4" };
	struct store_writer *w;
	struct lab l;
	size_t i;

	lab_init(&l, 1, 16);
	OK(lab_open(&l, false, &err));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		l.spec.name = bad[i];
		REFUSED(store_writer_open(l.store, &l.spec, &w, &err), -EINVAL,
			"bad-name");
	}
	lab_free(&l);
}

TEST(a_lower_epoch_is_refused_also_after_reopening)
{
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	l.spec.epoch = 3;
	OK(lab_writer(&l, &err));
	EXPECT_U64(info_of(&l).epoch, 3);
	l.spec.epoch = 2;
	REFUSED(lab_writer(&l, &err), -ESTALE, "old-epoch");
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	REFUSED(lab_writer(&l, &err), -ESTALE, "old-epoch");
	EXPECT_U64(info_of(&l).epoch, 3);
	lab_free(&l);
}

TEST(a_new_epoch_goes_on_from_the_newest_point)
{
	struct point_info p;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	add_point(&l, 8, 16);
	/* What the old source staged is not the new one's. */
	OK(lab_begin(&l, &err));
	lab_data(&l, 40, 4);
	OK(lab_stage(&l, &err));
	memset(l.now.versions + 40, 0, 4 * sizeof(uint64_t));
	l.spec.epoch = 2;
	OK(lab_writer(&l, &err));
	EXPECT_U64(info_of(&l).open_bytes, 0);
	add_point(&l, 0, 2);
	expect_image(&l, 3, &l.now);
	/* Sequences of the line so far, and by their epoch. */
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 0, 2, &p));
	EXPECT_U64(p.meta.epoch, 1);
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 0, 3, &p));
	EXPECT_U64(p.meta.epoch, 2);
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 1, 1, &p));
	EXPECT_INT(store_point_find(l.store, &l.spec.uuid, 2, 1, &p), -ENOENT);
	EXPECT_OK(store_point_at(l.store, &l.spec.uuid, 2500, &p));
	EXPECT_U64(p.meta.seq, 2);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	expect_image(&l, 3, &l.now);
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

TEST(one_process_writes_a_store)
{
	struct lab second;
	struct lab l;

	start(&l, 16);
	second = l;
	REFUSED(lab_open(&second, false, &err), -EWOULDBLOCK, "store-busy");
	lab_free(&l);
}

TEST(a_reader_takes_no_lock_and_changes_nothing)
{
	struct lab reader;
	struct lab l;
	struct store_writer *w;
	char path[256];
	uint64_t size;

	start(&l, 64);
	add_point(&l, 0, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 4, 4);
	OK(lab_stage(&l, &err));
	size = lab_segment(l.dir, 0, path);
	reader = l;
	reader.writer = NULL;
	OK(lab_open(&reader, true, &err));
	EXPECT_U64(info_of(&reader).n_points, 1);
	REFUSED(store_writer_open(reader.store, &l.spec, &w, &err), -EROFS,
		"read-only");
	store_close(reader.store);
	EXPECT_U64(lab_segment(l.dir, 0, path), size);
	EXPECT_U64(lab_segment(l.dir, 1, path), 0);
	/* The writer has not noticed. */
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 2, &l.now);
	lab_free(&l);
}

TEST(a_reader_needs_no_catalog)
{
	struct stat st;
	char path[128];
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	add_point(&l, 2, 3);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, true, &err));
	expect_image(&l, 2, &l.now);
	(void)snprintf(path, sizeof(path), "%s/catalog.db", l.dir);
	EXPECT_INT(stat(path, &st), -1);
	lab_free(&l);
}

TEST(a_directory_with_other_things_does_not_become_a_store)
{
	char path[128];
	struct lab l;
	FILE *f;

	lab_init(&l, 1, 16);
	(void)snprintf(path, sizeof(path), "%s/precious", l.dir);
	f = fopen(path, "w");
	ASSERT_NOT_NULL(f);
	fclose(f);
	REFUSED(lab_open(&l, false, &err), -ENOTEMPTY, "not-a-store");
	REFUSED(lab_open(&l, true, &err), -ENOENT, "not-a-store");
	lab_free(&l);
}

TEST(files_are_private_whatever_the_umask)
{
	static const char *const names[] = { "store.meta", "lock",
					     "catalog.db", "reserve" };
	struct stat st;
	char path[256];
	struct lab l;
	size_t i;

	umask(0);
	start(&l, 16);
	add_point(&l, 0, 1);
	for (i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", l.dir, names[i]);
		ASSERT_OK(stat(path, &st));
		EXPECT_U64(st.st_mode & 0777, 0600);
	}
	(void)lab_segment(l.dir, 0, path);
	ASSERT_OK(stat(path, &st));
	EXPECT_U64(st.st_mode & 0777, 0600);
	*strrchr(path, '/') = 0;
	ASSERT_OK(stat(path, &st));
	EXPECT_U64(st.st_mode & 0777, 0700);
	lab_free(&l);
}

TEST(volumes_of_one_store_do_not_mix)
{
	struct lab_image first;
	struct uuid uuid;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	first = l.now;
	uuid = l.spec.uuid;
	l.now = lab_image_new(64);
	ASSERT_OK(uuid_new(&l.rnd.rnd, &l.spec.uuid));
	l.spec.name = "wal1";
	memset(&l.head, 0, sizeof(l.head));
	l.seq = 0;
	fp_ctx_free(l.fps);
	l.fps = fp_ctx_new(&l.key, &l.spec.uuid);
	OK(lab_writer(&l, &err));
	add_point(&l, 5, 9);
	expect_image(&l, 1, &l.now);
	lab_image_free(&l.now);
	l.now = first;
	l.spec.uuid = uuid;
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}
