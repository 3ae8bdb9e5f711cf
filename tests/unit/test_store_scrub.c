// SPDX-License-Identifier: Apache-2.0
/*
 * The scrub against what restores give: after it exactly the points that
 * cannot be read back are called damaged, whatever was done to the files.
 */
#include "storelab.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "store/scrub.h"

#include "unit/store_ok.h"

#define BLOCKS 24U
#define POINTS 6U

struct scene {
	struct lab lab;
	struct lab_image points[POINTS + 2];
	char path[256];			/* of the newest segment */
	uint64_t size;
};

static struct scrub_report rep;

/* One point; each overwrites some of what those before wrote. */
static void add_point(struct scene *s, bool in_new_segment)
{
	struct lab *l = &s->lab;

	if (in_new_segment) {
		lab_close(l);
		OK(lab_open(l, false, &err));
	}
	if (!l->writer)
		OK(lab_writer(l, &err));
	OK(lab_begin(l, &err));
	lab_zero(l, rnd_seeded_below(&l->rnd, BLOCKS - 4), 3);
	if (l->seq % 2 == 0)
		lab_data(l, rnd_seeded_below(&l->rnd, BLOCKS - 2), 1);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
	s->points[l->seq] = lab_image_copy(&l->now);
}

/* The store is closed at the end. */
static void scene_make(struct scene *s, unsigned int n, bool in_one_segment)
{
	memset(s, 0, sizeof(*s));
	lab_init(&s->lab, tap_seed(), BLOCKS);
	OK(lab_open(&s->lab, false, &err));
	while (s->lab.seq < n)
		add_point(s, !in_one_segment && s->lab.seq);
	lab_close(&s->lab);
	s->size = lab_segment(s->lab.dir, 0, s->path);
}

static void scene_free(struct scene *s)
{
	size_t i;

	for (i = 0; i < POINTS + 2; i++)
		lab_image_free(&s->points[i]);
	lab_free(&s->lab);
}

static int scrub(struct scene *s, bool with_key)
{
	const struct scrub_order o = {
		.opener = with_key ? s->lab.opener : NULL,
	};

	err_clear(&err);
	return store_scrub(s->lab.store, &s->lab.spec.uuid, &o, &rep, &err);
}

static bool is_damaged(struct scene *s, uint64_t seq)
{
	struct point_info p;

	ASSERT_OK(store_point_find(s->lab.store, &s->lab.spec.uuid, 0, seq,
				   &p));
	return p.damaged;
}

static bool reads_well(struct scene *s, uint64_t seq)
{
	uint64_t block = 0;
	int r = lab_compare(&s->lab, seq, &s->points[seq], &block, NULL);

	ASSERT_MSG(r <= 0, "  point %" PRIu64 ": wrong bytes", seq);
	return r == 0;
}

/*
 * The oracle: called damaged if and only if a restore fails. Returns how many
 * are damaged.
 */
static unsigned int judge(struct scene *s, uint64_t where)
{
	unsigned int bad = 0;
	uint64_t seq;

	for (seq = 1; seq <= POINTS + 1 && s->points[seq].versions; seq++) {
		bool damaged = is_damaged(s, seq);

		ASSERT_MSG(damaged == !reads_well(s, seq),
			   "  at %" PRIu64 ": point %" PRIu64 " is %s", where,
			   seq, damaged ? "called damaged, and reads well" :
					  "not called damaged, and cannot be "
					  "read");
		bad += damaged;
	}
	EXPECT_U64(rep.damaged_points, bad);
	return bad;
}

static void flip(const struct scene *s, uint64_t off)
{
	uint8_t byte;
	int fd = open(s->path, O_RDWR | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	ASSERT_INT(pread(fd, &byte, 1, (off_t)off), 1);
	byte ^= (uint8_t)(1U << off % 8);
	ASSERT_INT(pwrite(fd, &byte, 1, (off_t)off), 1);
	close(fd);
}

TEST(what_is_sound_is_called_sound)
{
	struct scene s;
	int key;

	scene_make(&s, POINTS, false);
	OK(lab_open(&s.lab, false, &err));
	for (key = 0; key < 2; key++) {
		OK(scrub(&s, key));
		EXPECT_U64(rep.points, POINTS);
		EXPECT_U64(rep.damaged_points, 0);
		EXPECT_U64(rep.n_findings, 0);
		EXPECT_U64(rep.loose_bytes, 0);
		EXPECT_U64(rep.segments, POINTS);
		EXPECT_GT(rep.read_bytes, POINTS * 500);
		EXPECT_INT(rep.units > POINTS, key);
		EXPECT_U64(judge(&s, 0), 0);
	}
	scene_free(&s);
}

static void flip_everywhere(bool with_key)
{
	unsigned int damaging = 0, loose = 0, tried = 0;
	bool all = getenv("TEST_LONG") != NULL;
	struct scene s;
	uint64_t off;

	scene_make(&s, POINTS, true);
	EXPECT_LE(s.size, 16384 * 2);
	for (off = 0; off < s.size; off++) {
		if (!all && rnd_seeded_below(&s.lab.rnd, 16))
			continue;
		flip(&s, off);
		OK(lab_open(&s.lab, true, &err));
		OK(scrub(&s, with_key));
		damaging += judge(&s, off) > 0;
		loose += rep.loose_bytes > 0;
		EXPECT_INT(rep.n_findings > 0, rep.damaged_points > 0);
		lab_close(&s.lab);
		flip(&s, off);
		tried++;
	}
	tap_note("%u of %" PRIu64 " bytes: %u damage points, %u are loose",
		 tried, s.size, damaging, loose);
	EXPECT_GT(damaging, tried / 2);
	/* What no point needs and no padding is: units stored anew, deltas. */
	EXPECT_GT(damaging + loose, tried * 8 / 10);
	scene_free(&s);
}

TEST_WITH_TIMEOUT(a_flipped_byte_concerns_the_points_that_need_it, 600)
{
	flip_everywhere(false);
}

TEST_WITH_TIMEOUT(a_flipped_byte_is_the_same_with_the_key, 600)
{
	flip_everywhere(true);
}

TEST_WITH_TIMEOUT(a_segment_cut_at_any_length_concerns_what_lay_beyond, 300)
{
	struct scene s;
	uint64_t len;

	scene_make(&s, POINTS, true);
	for (len = s.size; len > 0; len--) {
		if (!getenv("TEST_LONG") && rnd_seeded_below(&s.lab.rnd, 16))
			continue;
		ASSERT_OK(truncate(s.path, (off_t)(len - 1)));
		OK(lab_open(&s.lab, true, &err));
		OK(scrub(&s, false));
		EXPECT_GT(judge(&s, len - 1), 0);
		lab_close(&s.lab);
	}
	scene_free(&s);
}

TEST(a_lost_and_a_swapped_segment_concern_what_they_held)
{
	char other[256];
	struct scene s;

	scene_make(&s, POINTS, false);
	(void)lab_segment(s.lab.dir, 2, other);
	ASSERT_OK(rename(s.path, other));
	OK(lab_open(&s.lab, true, &err));
	OK(scrub(&s, false));
	EXPECT_GT(judge(&s, 0), 1);
	EXPECT_TRUE(is_damaged(&s, POINTS));
	EXPECT_TRUE(is_damaged(&s, POINTS - 2));
	EXPECT_FALSE(is_damaged(&s, POINTS - 3));
	EXPECT_GT(rep.n_findings, 1);
	scene_free(&s);
}

TEST(damage_is_remembered_until_it_reads_well_again)
{
	struct scene s;
	uint64_t off;
	unsigned int bad;

	scene_make(&s, POINTS, false);
	off = s.size / 2;
	flip(&s, off);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_FALSE(is_damaged(&s, POINTS));
	OK(scrub(&s, false));
	bad = judge(&s, off);
	EXPECT_GT(bad, 0);
	lab_close(&s.lab);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_TRUE(is_damaged(&s, POINTS));
	lab_close(&s.lab);
	flip(&s, off);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_TRUE(is_damaged(&s, POINTS));
	OK(scrub(&s, false));
	EXPECT_U64(judge(&s, off), 0);
	lab_close(&s.lab);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_FALSE(is_damaged(&s, POINTS));
	scene_free(&s);
}

TEST(a_point_that_has_everything_anew_is_sound)
{
	struct scene s;

	scene_make(&s, 2, false);
	flip(&s, s.size / 2);
	OK(lab_open(&s.lab, false, &err));
	OK(scrub(&s, false));
	EXPECT_TRUE(is_damaged(&s, 2));
	OK(lab_writer(&s.lab, &err));
	OK(lab_begin(&s.lab, &err));
	lab_again(&s.lab, 0, 12);
	lab_again(&s.lab, 12, 12);
	OK(lab_stage(&s.lab, &err));
	OK(lab_commit(&s.lab, NULL, &err));
	s.points[3] = lab_image_copy(&s.lab.now);
	EXPECT_TRUE(is_damaged(&s, 2));
	EXPECT_FALSE(is_damaged(&s, 3));
	OK(scrub(&s, true));
	EXPECT_GT(judge(&s, 0), 0);
	EXPECT_FALSE(is_damaged(&s, 3));
	scene_free(&s);
}

/* What a resync does: all that is not held as it should be, anew. */
static void resync(struct scene *s)
{
	struct lab *l = &s->lab;
	struct fp fps[BLOCKS];
	uint64_t b;

	OK(lab_writer(l, &err));
	OK(store_writer_fps(l->writer, 0, BLOCKS, fps, &err));
	OK(lab_begin(l, &err));
	for (b = 0; b < BLOCKS; b++) {
		struct fp want = l->now.versions[b] ?
					 lab_fp(l, b, l->now.versions[b]) :
					 fp_zero_block;

		if (!fp_equal(&fps[b], &want))
			lab_again(l, b, 1);
	}
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
	lab_image_free(&s->points[l->seq]);
	s->points[l->seq] = lab_image_copy(&l->now);
}

TEST_WITH_TIMEOUT(a_resync_heals_the_newest_point_of_any_damage, 300)
{
	unsigned int i, damaged = 0, n = getenv("TEST_LONG") ? 2000 : 60;
	struct head head;
	char whole[64];
	struct scene s;
	uint64_t seq;

	scene_make(&s, POINTS, true);
	lab_make_dir(whole);
	lab_copy(s.lab.dir, whole);
	head = s.lab.head;
	seq = s.lab.seq;
	for (i = 0; i < n; i++) {
		uint64_t off = rnd_seeded_below(&s.lab.rnd, s.size);

		flip(&s, off);
		OK(lab_open(&s.lab, false, &err));
		OK(scrub(&s, false));
		if (is_damaged(&s, POINTS)) {
			damaged++;
			resync(&s);
			EXPECT_FALSE(is_damaged(&s, POINTS + 1));
			OK(scrub(&s, true));
			EXPECT_GT(judge(&s, off), 0);
			ASSERT_TRUE(reads_well(&s, POINTS + 1));
		}
		lab_close(&s.lab);
		lab_remove(s.lab.dir);
		lab_copy(whole, s.lab.dir);
		s.lab.head = head;
		s.lab.seq = seq;
		lab_image_free(&s.points[POINTS + 1]);
		s.points[POINTS + 1] = (struct lab_image){ 0 };
	}
	tap_note("%u of %u flips damaged the newest point", damaged, n);
	EXPECT_GT(damaged, 0);
	lab_remove(whole);
	scene_free(&s);
}

/* What a lying sender, or whoever can write checksums, puts there. */
static void spoil_seal(struct buf *units)
{
	uint8_t *p = units->data;

	p[units->len - 1] ^= 1;
	put_le64(p + 32, unit_checksum(p, units->len));
}

TEST(a_broken_seal_is_found_with_the_key_and_only_so)
{
	struct scene s;

	scene_make(&s, 2, false);
	OK(lab_open(&s.lab, false, &err));
	OK(lab_writer(&s.lab, &err));
	OK(lab_begin(&s.lab, &err));
	lab_data(&s.lab, 5, 2);
	spoil_seal(&s.lab.units);
	OK(lab_stage(&s.lab, &err));
	OK(lab_commit(&s.lab, NULL, &err));
	s.points[3] = lab_image_copy(&s.lab.now);
	OK(scrub(&s, false));
	EXPECT_U64(rep.damaged_points, 0);
	OK(scrub(&s, true));
	EXPECT_U64(judge(&s, 0), 1);
	EXPECT_TRUE(is_damaged(&s, 3));
	EXPECT_TRUE(rep.findings[0].d.seal);
	EXPECT_U64(rep.findings[0].d.first, 5);
	EXPECT_U64(rep.findings[0].d.count, 2);
	EXPECT_U64(rep.findings[0].first_seq, 3);
	/* Without the key nothing speaks against what the key has found. */
	OK(scrub(&s, false));
	EXPECT_TRUE(is_damaged(&s, 3));
	scene_free(&s);
}

TEST(a_key_that_does_not_fit_is_no_damage)
{
	struct scrub_order o = { 0 };
	struct volume_key other;
	struct scene s;
	int id;

	scene_make(&s, 3, false);
	OK(lab_open(&s.lab, false, &err));
	for (id = 1; id < 3; id++) {
		ASSERT_OK(volume_key_new(&s.lab.rnd.rnd, (uint32_t)id,
					 &other));
		o.opener = opener_new(&other);
		ASSERT_NOT_NULL(o.opener);
		err_clear(&err);
		EXPECT_INT(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep,
				       &err), -ENOKEY);
		EXPECT_STR(err.code, id == 1 ? "wrong-key" : "key-too-old");
		EXPECT_U64(rep.damaged_points, 0);
		EXPECT_U64(rep.units, 0);
		EXPECT_GT(rep.unopened_units, 2);
		opener_free(o.opener);
	}
	EXPECT_FALSE(is_damaged(&s, 3));
	scene_free(&s);
}

static int no_more(void *arg, const struct scrub_progress *p)
{
	++*(int *)arg;
	return p->total_bytes > 0;
}

static int no_more_after(void *arg, const struct scrub_progress *p)
{
	(void)p;
	return ++*(int *)arg > 0;
}

TEST(it_ends_when_told_and_keeps_its_pace)
{
	int calls = 0;
	struct scrub_order o = { .progress = no_more, .arg = &calls };
	uint64_t start_ns;
	struct scene s;

	scene_make(&s, POINTS, true);
	OK(lab_open(&s.lab, false, &err));
	err_clear(&err);
	EXPECT_INT(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep, &err),
		   -ECANCELED);
	EXPECT_INT(calls, 1);
	/* Also where it waits, in the middle of a segment. */
	calls = -1;
	o.progress = no_more_after;
	o.bytes_per_s = 1000;
	EXPECT_INT(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep, &err),
		   -ECANCELED);
	EXPECT_INT(calls, 1);
	o = (struct scrub_order){ .bytes_per_s = s.size * 5 };
	start_ns = clock_mono_ns(clock_real());
	OK(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep, &err));
	EXPECT_GT(clock_mono_ns(clock_real()) - start_ns, 190 * NSEC_PER_MSEC);
	scene_free(&s);
}

/* A point is made while the scrub is under way, once. */
static int add_meanwhile(void *arg, const struct scrub_progress *p)
{
	struct scene *s = arg;

	(void)p;
	if (s->lab.seq == POINTS)
		add_point(s, false);
	return 0;
}

TEST(points_made_meanwhile_are_not_looked_at)
{
	struct scrub_order o = { .progress = add_meanwhile };
	struct scene s;

	scene_make(&s, POINTS, false);
	flip(&s, s.size - 30);
	OK(lab_open(&s.lab, false, &err));
	o.arg = &s;
	OK(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep, &err));
	EXPECT_U64(s.lab.seq, POINTS + 1);
	EXPECT_U64(rep.points, POINTS);
	EXPECT_U64(rep.damaged_points, 1);
	EXPECT_U64(rep.findings[0].last_seq, POINTS);
	EXPECT_FALSE(is_damaged(&s, POINTS + 1));
	OK(scrub(&s, true));
	EXPECT_U64(rep.points, POINTS + 1);
	EXPECT_U64(judge(&s, 0), 1);
	scene_free(&s);
}

TEST(a_volume_that_is_none_is_told)
{
	struct scrub_order o = { 0 };
	struct uuid none = { { 1 } };
	struct point_info p;
	struct scene s;

	scene_make(&s, 1, true);
	OK(lab_open(&s.lab, false, &err));
	err_clear(&err);
	EXPECT_INT(store_scrub(s.lab.store, &none, &o, &rep, &err), -ENOENT);
	EXPECT_STR(err.code, "no-volume");
	EXPECT_INT(store_point_at(s.lab.store, &none, INT64_MAX, &p), -ENOENT);
	EXPECT_INT(store_point_labelled(s.lab.store, &none, "x", &p), -ENOENT);
	scene_free(&s);
}

static int count_volume(void *arg, const struct volume_info *v)
{
	(void)v;
	++*(int *)arg;
	return 0;
}

TEST(a_volume_without_points_is_sound_and_one_that_was_removed_is_none)
{
	struct scrub_order o = { 0 };
	struct scene s;
	int n = 0;

	memset(&s, 0, sizeof(s));
	lab_init(&s.lab, tap_seed(), BLOCKS);
	OK(lab_open(&s.lab, false, &err));
	OK(lab_writer(&s.lab, &err));
	OK(scrub(&s, true));
	EXPECT_U64(rep.points, 0);
	EXPECT_U64(rep.n_findings, 0);
	store_writer_close(s.lab.writer);
	s.lab.writer = NULL;
	OK(store_remove(s.lab.store, &s.lab.spec.uuid, &err));
	OK(store_volumes(s.lab.store, count_volume, &n));
	EXPECT_INT(n, 0);
	err_clear(&err);
	EXPECT_INT(store_scrub(s.lab.store, &s.lab.spec.uuid, &o, &rep, &err),
		   -ENOENT);
	scene_free(&s);
}
