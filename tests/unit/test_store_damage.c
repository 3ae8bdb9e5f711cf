// SPDX-License-Identifier: Apache-2.0
/*
 * Files cut, flipped, missing, swapped. Whatever happens to the bytes: what is
 * read is right or an error, never something else.
 */
#include <dirent.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "storelab.h"

#include "base/cleanup.h"
#include "store/segfmt.h"

#include "unit/store_ok.h"

#define BLOCKS 24U

struct scene {
	struct lab lab;
	struct lab_image points[8];
	char segment[256];
	uint64_t size;
	uint64_t ends[8];		/* of the segment after each point */
};

/* All with TEST_LONG, else one of eight, chosen by the seed. */
static bool wanted(struct lab *l)
{
	return getenv("TEST_LONG") || rnd_seeded_below(&l->rnd, 8) == 0;
}

/* Points 1..n in one small segment, and the store closed. */
static void scene_make(struct scene *s, unsigned int n)
{
	struct lab *l = &s->lab;

	memset(s, 0, sizeof(*s));
	lab_init(l, tap_seed(), BLOCKS);
	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
	while (l->seq < n) {
		OK(lab_begin(l, &err));
		/* Zero units keep it small; some are overwritten later. */
		lab_zero(l, rnd_seeded_below(&l->rnd, BLOCKS - 4), 4);
		if (l->seq == 1)
			lab_data(l, 3, 1);
		OK(lab_stage(l, &err));
		OK(lab_commit(l, NULL, &err));
		s->points[l->seq] = lab_image_copy(&l->now);
		s->ends[l->seq] = lab_segment(l->dir, 0, s->segment);
	}
	s->size = s->ends[n];
	lab_close(l);
}

static void scene_free(struct scene *s)
{
	size_t i;

	for (i = 0; i < 8; i++)
		lab_image_free(&s->points[i]);
	lab_free(&s->lab);
}

/*
 * Every point that the store lists reads right or fails; returns how many read
 * right, and notes the newest of them.
 */
static unsigned int count_good(struct scene *s, uint64_t *newest)
{
	unsigned int good = 0;
	uint64_t seq, block = 0;
	int r;

	err_clear(&err);
	*newest = 0;
	for (seq = 1; seq < 8 && s->points[seq].versions; seq++) {
		r = lab_compare(&s->lab, seq, &s->points[seq], &block, NULL);
		ASSERT_MSG(r <= 0, "  point %" PRIu64 ": wrong bytes", seq);
		if (r == 0) {
			good++;
			*newest = seq;
		}
	}
	return good;
}

static void cut_everywhere(struct scene *s)
{
	uint64_t len, newest, want;

	for (len = s->size; len > 0; len--) {
		if (!wanted(&s->lab))
			continue;
		ASSERT_OK(truncate(s->segment, (off_t)(len - 1)));
		OK(lab_open(&s->lab, true, &err));
		for (want = 0; want < 3 && s->ends[want + 1] <= len - 1;)
			want++;
		ASSERT_MSG(count_good(s, &newest) == want && newest == want,
			   "  cut at %" PRIu64 ": %" PRIu64 " is the newest "
			   "good point, not %" PRIu64, len - 1, newest, want);
		lab_close(&s->lab);
	}
}

TEST_WITH_TIMEOUT(points_before_a_cut_stay_readable_at_every_length, 300)
{
	struct scene s;

	scene_make(&s, 3);
	tap_note("segment of %" PRIu64 " bytes", s.size);
	cut_everywhere(&s);
	scene_free(&s);
}

TEST_WITH_TIMEOUT(points_before_a_cut_are_found_again_without_a_catalog, 300)
{
	struct scene s;

	scene_make(&s, 3);
	lab_drop_catalog(s.lab.dir);
	cut_everywhere(&s);
	scene_free(&s);
}

TEST_WITH_TIMEOUT(no_flipped_byte_yields_wrong_bytes, 300)
{
	struct scene s;
	uint64_t i, newest;
	unsigned int detected = 0, tried = 0;
	uint8_t byte, flipped;
	int fd;

	scene_make(&s, 3);
	fd = open(s.segment, O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	for (i = 0; i < s.size; i++) {
		if (!wanted(&s.lab))
			continue;
		ASSERT_INT(pread(fd, &byte, 1, (off_t)i), 1);
		flipped = byte ^ (uint8_t)(1 << i % 8);
		ASSERT_INT(pwrite(fd, &flipped, 1, (off_t)i), 1);
		OK(lab_open(&s.lab, true, &err));
		detected += count_good(&s, &newest) < 3;
		tried++;
		lab_close(&s.lab);
		ASSERT_INT(pwrite(fd, &byte, 1, (off_t)i), 1);
	}
	tap_note("%u of %u flips made a point unreadable", detected, tried);
	EXPECT_GT(detected, tried / 2);
	close(fd);
	scene_free(&s);
}

TEST(a_commit_goes_on_after_every_kind_of_torn_end)
{
	uint64_t len, newest;
	struct scene s;
	char copy[64], old[64];

	scene_make(&s, 3);
	memcpy(old, s.lab.dir, sizeof(old));
	/* The catalog too is as of a crash before the last rows. */
	lab_drop_catalog(old);
	for (len = s.ends[2]; len <= s.size; len += 1 + len % 40) {
		char path[256];

		lab_make_dir(copy);
		lab_copy(old, copy);
		memcpy(s.lab.dir, copy, sizeof(copy));
		(void)lab_segment(copy, 0, path);
		ASSERT_OK(truncate(path, (off_t)len));
		OK(lab_open(&s.lab, false, &err));
		OK(lab_writer(&s.lab, &err));
		s.lab.seq = len == s.size ? 3 : 2;
		{
			struct point_info p;

			ASSERT_OK(store_point_at(s.lab.store,
						 &s.lab.spec.uuid, INT64_MAX,
						 &p));
			ASSERT_U64(p.meta.seq, s.lab.seq);
			s.lab.head = p.head;
		}
		OK(lab_begin(&s.lab, &err));
		lab_again(&s.lab, 0, 12);
		lab_again(&s.lab, 12, 12);
		OK(lab_stage(&s.lab, &err));
		OK(lab_commit(&s.lab, NULL, &err));
		{
			uint64_t block = 0;

			ASSERT_INT(lab_compare(&s.lab, s.lab.seq, &s.lab.now,
					       &block, NULL), 0);
		}
		lab_close(&s.lab);
		OK(lab_open(&s.lab, true, &err));
		ASSERT_GE(count_good(&s, &newest), 2);
		lab_close(&s.lab);
		lab_remove(copy);
	}
	memcpy(s.lab.dir, old, sizeof(old));
	scene_free(&s);
}

static void sql(struct lab *l, const char *text)
{
	char path[128], *why = NULL;
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/catalog.db", l->dir);
	ASSERT_INT(sqlite3_open(path, &db), SQLITE_OK);
	ASSERT_MSG(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK,
		   "  %s: %s", text, why);
	sqlite3_close(db);
}

static void rows_are_made_again(const char *text)
{
	struct volume_info v;
	struct scene s;
	uint64_t newest;

	tap_note("%s", text);
	scene_make(&s, 4);
	sql(&s.lab, text);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_U64(count_good(&s, &newest), 4);
	ASSERT_OK(store_volume_by_uuid(s.lab.store, &s.lab.spec.uuid, &v));
	EXPECT_U64(v.n_points, 4);
	EXPECT_FALSE(v.damaged);
	lab_close(&s.lab);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_U64(count_good(&s, &newest), 4);
	scene_free(&s);
}

TEST(rows_that_the_catalog_lost_are_made_again)
{
	rows_are_made_again("DELETE FROM points WHERE ord=4");
	rows_are_made_again("DELETE FROM points WHERE ord<3");
	rows_are_made_again("DELETE FROM points");
	rows_are_made_again("DELETE FROM segments");
	rows_are_made_again("DELETE FROM volumes");
	rows_are_made_again("UPDATE points SET seq=9 WHERE ord=4");
	rows_are_made_again("DELETE FROM points; DELETE FROM parts; "
			    "DELETE FROM segments; DELETE FROM volumes");
}

TEST(a_row_that_does_not_match_its_hash_is_not_used)
{
	struct scene s;
	uint64_t newest;

	scene_make(&s, 4);
	sql(&s.lab, "UPDATE parts SET lo=lo+1 WHERE ord=2");
	OK(lab_open(&s.lab, true, &err));
	/* Point 1 does not need it. */
	EXPECT_U64(count_good(&s, &newest), 1);
	EXPECT_U64(newest, 1);
	scene_free(&s);
}

/* Points 1 and 2 of one epoch, 3 and 4 of the next. */
static void two_epochs(struct scene *s)
{
	struct lab *l = &s->lab;

	memset(s, 0, sizeof(*s));
	lab_init(l, tap_seed(), BLOCKS);
	while (l->seq < 4) {
		l->spec.epoch = 1 + l->seq / 2;
		OK(lab_open(l, false, &err));
		OK(lab_writer(l, &err));
		OK(lab_begin(l, &err));
		lab_data(l, l->seq * 4, 8);
		OK(lab_stage(l, &err));
		OK(lab_commit(l, NULL, &err));
		s->points[l->seq] = lab_image_copy(&l->now);
		lab_close(l);
	}
}

static void rows_are_missed(const char *text, unsigned int good)
{
	struct scene s;
	uint64_t newest;

	tap_note("%s", text);
	two_epochs(&s);
	OK(lab_open(&s.lab, true, &err));
	EXPECT_U64(count_good(&s, &newest), 4);
	lab_close(&s.lab);
	sql(&s.lab, text);
	OK(lab_open(&s.lab, true, &err));
	EXPECT_U64(count_good(&s, &newest), good);
	scene_free(&s);
}

TEST(a_row_that_is_not_there_is_missed_by_the_points_that_need_it)
{
	rows_are_missed("DELETE FROM parts WHERE ord=2", 1);
	rows_are_missed("DELETE FROM parts WHERE ord=4", 3);
	/* Noticed at the start, and made again. */
	rows_are_missed("DELETE FROM epochs", 4);
	rows_are_missed("DELETE FROM parts", 0);
}

TEST(a_catalog_that_is_none_says_what_to_do)
{
	struct scene s;
	char path[128];
	FILE *f;

	scene_make(&s, 2);
	(void)snprintf(path, sizeof(path), "%s/catalog.db", s.lab.dir);
	f = fopen(path, "w");
	ASSERT_NOT_NULL(f);
	fputs("this is not what SQLite would write, by any stretch", f);
	fclose(f);
	EXPECT_INT(lab_open(&s.lab, false, &err), -EBADMSG);
	EXPECT_STR(err.code, "catalog-damaged");
	EXPECT_STR_HAS(err.remedy, "rebuild-catalog");
	scene_free(&s);
}

/* Three segments, one point each. */
static void three_segments(struct scene *s)
{
	struct lab *l = &s->lab;

	memset(s, 0, sizeof(*s));
	lab_init(l, tap_seed(), BLOCKS);
	while (l->seq < 3) {
		OK(lab_open(l, false, &err));
		OK(lab_writer(l, &err));
		OK(lab_begin(l, &err));
		lab_data(l, l->seq * 4, 8);
		OK(lab_stage(l, &err));
		OK(lab_commit(l, NULL, &err));
		s->points[l->seq] = lab_image_copy(&l->now);
		lab_close(l);
	}
}

TEST(a_missing_segment_is_damage_and_later_writes_heal)
{
	struct volume_info v;
	struct point_info p;
	struct scene s;
	struct fp fps[BLOCKS];
	char path[256];
	uint64_t newest, block = 0;

	three_segments(&s);
	(void)lab_segment(s.lab.dir, 1, path);
	ASSERT_OK(unlink(path));
	OK(lab_open(&s.lab, false, &err));
	ASSERT_OK(store_volume_by_uuid(s.lab.store, &s.lab.spec.uuid, &v));
	EXPECT_TRUE(v.damaged);
	ASSERT_OK(store_point_find(s.lab.store, &s.lab.spec.uuid, 0, 1, &p));
	EXPECT_FALSE(p.damaged);
	ASSERT_OK(store_point_find(s.lab.store, &s.lab.spec.uuid, 0, 2, &p));
	EXPECT_TRUE(p.damaged);
	ASSERT_OK(store_point_find(s.lab.store, &s.lab.spec.uuid, 0, 3, &p));
	EXPECT_TRUE(p.damaged);
	EXPECT_U64(count_good(&s, &newest), 1);
	/* What fell through would be the content of point 1. */
	err_clear(&err);
	EXPECT_INT(lab_compare(&s.lab, 3, &s.points[3], &block, &err),
		   -EBADMSG);
	EXPECT_STR_HAS(err.message, "segment ");
	EXPECT_STR_HAS(err.message, "point 1:3");
	/* The source is asked for what cannot be told. */
	OK(lab_writer(&s.lab, &err));
	OK(store_writer_fps(s.lab.writer, 0, BLOCKS, fps, &err));
	EXPECT_FALSE(fp_equal(&fps[0], &fp_unknown));
	EXPECT_TRUE(fp_equal(&fps[4], &fp_unknown));
	EXPECT_TRUE(fp_equal(&fps[7], &fp_unknown));
	EXPECT_FALSE(fp_equal(&fps[8], &fp_unknown));
	OK(lab_begin(&s.lab, &err));
	lab_again(&s.lab, 4, 4);
	OK(lab_stage(&s.lab, &err));
	OK(lab_commit(&s.lab, NULL, &err));
	EXPECT_INT(lab_compare(&s.lab, 4, &s.lab.now, &block, NULL), 0);
	scene_free(&s);
}

TEST(a_damaged_unit_is_named_and_never_replaced_by_an_older_one)
{
	uint64_t newest, block = 0, size;
	struct fp fps[BLOCKS];
	struct scene s;
	char path[256];
	uint8_t byte;
	int fd;

	three_segments(&s);
	size = lab_segment(s.lab.dir, 0, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	/* Somewhere in the payload. */
	ASSERT_INT(pread(fd, &byte, 1, (off_t)size / 2), 1);
	byte ^= 4;
	ASSERT_INT(pwrite(fd, &byte, 1, (off_t)size / 2), 1);
	close(fd);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_U64(count_good(&s, &newest), 2);
	err_clear(&err);
	EXPECT_INT(lab_compare(&s.lab, 3, &s.points[3], &block, &err),
		   -EBADMSG);
	EXPECT_STR(err.code, "unit-damaged");
	EXPECT_STR_HAS(err.message, "offset=");
	EXPECT_STR_HAS(err.message, "point 1:3");
	OK(lab_writer(&s.lab, &err));
	OK(store_writer_fps(s.lab.writer, 0, BLOCKS, fps, &err));
	EXPECT_FALSE(fp_equal(&fps[0], &fp_unknown));
	EXPECT_TRUE(fp_equal(&fps[8], &fp_unknown));
	scene_free(&s);
}

TEST(swapped_segments_are_noticed)
{
	char a[256], b[256], tmp[300];
	struct scene s;
	uint64_t newest;

	three_segments(&s);
	(void)lab_segment(s.lab.dir, 0, a);
	(void)lab_segment(s.lab.dir, 1, b);
	(void)snprintf(tmp, sizeof(tmp), "%s.x", a);
	ASSERT_OK(rename(a, tmp));
	ASSERT_OK(rename(b, a));
	ASSERT_OK(rename(tmp, b));
	OK(lab_open(&s.lab, false, &err));
	EXPECT_U64(count_good(&s, &newest), 1);
	scene_free(&s);
}

TEST(garbage_is_left_alone)
{
	char path[256], garbage[300], foreign[300];
	struct scene s;
	uint64_t newest;
	struct stat st;
	FILE *f;

	three_segments(&s);
	(void)lab_segment(s.lab.dir, 0, path);
	(void)snprintf(garbage, sizeof(garbage), "%s", path);
	strcpy(strrchr(garbage, '/'),
	       "/00000000-0000-4000-8000-000000000000.seg");
	f = fopen(garbage, "w");
	ASSERT_NOT_NULL(f);
	fputs("nothing", f);
	fclose(f);
	(void)snprintf(foreign, sizeof(foreign), "%s/volumes/readme",
		       s.lab.dir);
	ASSERT_OK(mkdir(foreign, 0700));
	OK(lab_open(&s.lab, false, &err));
	EXPECT_U64(count_good(&s, &newest), 3);
	EXPECT_OK(stat(garbage, &st));
	EXPECT_OK(stat(foreign, &st));
	scene_free(&s);
}

TEST(a_lost_middle_is_not_bridged)
{
	struct store_writer *w;
	struct volume_info v;
	struct scene s;
	uint64_t newest;
	char path[256];

	three_segments(&s);
	(void)lab_segment(s.lab.dir, 1, path);
	ASSERT_OK(unlink(path));
	lab_drop_catalog(s.lab.dir);
	OK(lab_open(&s.lab, false, &err));
	/* Point 3 cannot be shown to follow: it is not offered. */
	EXPECT_U64(count_good(&s, &newest), 1);
	ASSERT_OK(store_volume_by_uuid(s.lab.store, &s.lab.spec.uuid, &v));
	EXPECT_U64(v.newest.meta.seq, 1);
	EXPECT_INT(store_writer_open(s.lab.store, &s.lab.spec, &w, &err),
		   -EBADMSG);
	EXPECT_STR_HAS(err.message, "another point");
	scene_free(&s);
}

TEST(damage_in_an_earlier_point_does_not_end_a_log_without_a_catalog)
{
	struct volume_info v;
	struct scene s;
	uint64_t newest;
	uint8_t byte;
	off_t at;
	int fd;

	scene_make(&s, 4);
	/* In the data that point 2 brought. */
	at = (off_t)(s.ends[1] + s.ends[2]) / 2;
	fd = open(s.segment, O_RDWR | O_CLOEXEC);
	ASSERT_INT(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	ASSERT_INT(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	lab_drop_catalog(s.lab.dir);
	OK(lab_open(&s.lab, false, &err));
	ASSERT_OK(store_volume_by_uuid(s.lab.store, &s.lab.spec.uuid, &v));
	EXPECT_U64(v.n_points, 4);
	EXPECT_U64(v.newest.meta.seq, 4);
	/* Those that need it fail when they are read, and healing goes on. */
	EXPECT_GT(count_good(&s, &newest), 0);
	OK(lab_writer(&s.lab, &err));
	OK(lab_begin(&s.lab, &err));
	lab_again(&s.lab, 3, 1);
	OK(lab_stage(&s.lab, &err));
	OK(lab_commit(&s.lab, NULL, &err));
	s.points[5] = lab_image_copy(&s.lab.now);
	(void)count_good(&s, &newest);
	EXPECT_U64(newest, 5);
	scene_free(&s);
}
