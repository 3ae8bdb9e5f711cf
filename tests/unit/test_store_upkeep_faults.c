// SPDX-License-Identifier: Apache-2.0
/*
 * A scrub and a removal of which any one call fails: of a library, of the file
 * system. It says so, or it is done; the next one, with nothing failing, finds
 * exactly what it should.
 *
 * test-timeout: 300
 */
#include "unit/store_ok.h"

#include "storelab.h"

#include "store/rebuild.h"
#include "store/scrub.h"
#include "unit/nth_io.h"
#include "unit/nth_site.h"

#define BLOCKS 24U
#define POINTS 4U

struct scene {
	struct lab lab;
	struct lab_image points[POINTS + 1];
	struct io io;
	bool damaged[POINTS + 1];	/* as a sound scrub has it */
};

static struct scrub_report rep;

static void open_store(struct scene *s)
{
	OK(lab_open(&s->lab, false, &err));
}

/* Part of what the second point brought, and of the third's tables. */
static void spoil(const struct scene *s)
{
	char path[256], junk[600];
	uint64_t size;
	int fd;

	memset(junk, 0x5a, sizeof(junk));
	size = lab_segment(s->lab.dir, 2, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	/* Several units that follow each other, and a part of another. */
	ASSERT_INT(pwrite(fd, junk, sizeof(junk), 500), sizeof(junk));
	ASSERT_INT(pwrite(fd, junk, 100, (off_t)size / 2), 100);
	close(fd);
	size = lab_segment(s->lab.dir, 1, path);
	ASSERT_OK(truncate(path, (off_t)size - 300));
}

static void scene_make(struct scene *s, bool spoilt)
{
	struct lab *l = &s->lab;
	uint64_t b;

	memset(s, 0, sizeof(*s));
	lab_init(l, 11, BLOCKS);
	s->io = *io_posix();
	while (l->seq < POINTS) {
		open_store(s);
		OK(lab_writer(l, &err));
		OK(lab_begin(l, &err));
		for (b = 0; b < 12; b++)
			lab_zero(l, (l->seq * 4 + b) % BLOCKS, 1);
		lab_data(l, l->seq * 4, 2);
		OK(lab_stage(l, &err));
		OK(lab_commit(l, NULL, &err));
		s->points[l->seq] = lab_image_copy(&l->now);
		lab_close(l);
	}
	if (spoilt)
		spoil(s);
	nth_over(&s->io);
	l->other_io = &s->io;
}

static void scene_free(struct scene *s)
{
	size_t i;

	nth.at = 0;
	for (i = 0; i <= POINTS; i++)
		lab_image_free(&s->points[i]);
	lab_free(&s->lab);
}

static int scrub(struct scene *s)
{
	const struct scrub_order o = { .opener = s->lab.opener };

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

/* Nothing fails now. */
static void judge(struct scene *s)
{
	uint64_t seq, block;

	OK(scrub(s));
	for (seq = 1; seq <= POINTS; seq++) {
		int r = lab_compare(&s->lab, seq, &s->points[seq], &block,
				    NULL);

		ASSERT_TRUE(r <= 0);
		ASSERT_MSG(is_damaged(s, seq) == (r < 0),
			   "  point %" PRIu64 ": %d", seq, r);
	}
}

static void one_scrub(void *arg)
{
	struct scene *s = arg;
	int r;

	site_begin();
	r = scrub(s);
	site_end();
	ASSERT_TRUE(r == 0 || (sites.hit && err.message[0]));
	if (sites.hit)
		judge(s);
}

TEST_WITH_TIMEOUT(a_scrub_with_a_failing_library_says_so_or_is_right, 250)
{
	struct scene s;
	uint64_t hits;

	scene_make(&s, true);
	open_store(&s);
	judge(&s);
	EXPECT_GT(rep.damaged_points, 1);
	hits = sites_fail_each(one_scrub, &s, 2);
	EXPECT_GT(hits, 20);
	scene_free(&s);
}

TEST_WITH_TIMEOUT(a_scrub_with_failing_files_says_so_or_is_right, 250)
{
	static const int errors[] = { -EIO, -EMFILE, -ENFILE, -EINTR,
					-ENOMEM };
	unsigned int told = 0, done = 0, step, i;
	struct scene s;

	scene_make(&s, true);
	open_store(&s);
	step = getenv("TEST_LONG") || getenv("TEST_SITES") ? 1 : 3;
	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		nth.error = errors[i];
		nth.at = 1 + tap_seed() % step;
		for (;; nth.at += step) {
			uint64_t at = nth.at;
			int r;

			nth.calls = 0;
			nth.has_hit = false;
			r = scrub(&s);
			nth.at = 0;
			ASSERT_TRUE(r == 0 || err.message[0]);
			told += r < 0;
			done += r == 0;
			if (!nth.has_hit)
				break;
			judge(&s);
			nth.at = at;
		}
	}
	tap_note("%u told, %u done", told, done);
	EXPECT_GT(told, 3);
	EXPECT_GT(done, 10);
	scene_free(&s);
}

/* ---- removal ---- */

static int nothing_to_do(void *arg, const struct uuid *volume)
{
	(void)arg, (void)volume;
	return 0;
}

static int remove_all(struct scene *s)
{
	struct volume_info v;
	int r = 0;

	err_clear(&err);
	if (!s->lab.store)
		r = lab_open(&s->lab, false, &err);
	if (r == 0 && store_volume_by_uuid(s->lab.store, &s->lab.spec.uuid,
					   &v) == 0)
		r = store_remove(s->lab.store, &s->lab.spec.uuid, &err);
	if (r == 0)
		r = store_purge(s->lab.store, nothing_to_do, NULL, &err);
	return r;
}

static bool is_gone(struct scene *s)
{
	char path[256];

	return lab_segment(s->lab.dir, 0, path) == 0;
}

static void forget_files(void)
{
	while (nth.n_files)
		free(nth.files[--nth.n_files].kept);
}

static void one_removal(void *arg)
{
	const char *whole = arg;
	struct scene s = { 0 };
	int r;

	forget_files();
	lab_init(&s.lab, 11, BLOCKS);
	lab_remove(s.lab.dir);
	lab_copy(whole, s.lab.dir);
	/* Its own memory is not to fail. */
	if (nth.at) {
		s.io = *io_posix();
		nth_over(&s.io);
		s.lab.other_io = &s.io;
	}
	nth.calls = 0;
	nth.has_hit = false;
	site_begin();
	r = remove_all(&s);
	site_end();
	ASSERT_MSG(r == 0 || err.message[0], "  %d without a reason: %s", r,
		   sites.hit ? sites.hit : "");
	ASSERT_TRUE(r == 0 || sites.hit || nth.has_hit);
	if (r < 0) {
		uint64_t at = nth.at;

		nth.at = 0;
		/* In this process or in the next one it works. */
		r = remove_all(&s);
		if (r < 0) {
			lab_close(&s.lab);
			r = remove_all(&s);
		}
		ASSERT_MSG(r == 0, "  %s", err.message);
		nth.at = at;
	}
	EXPECT_TRUE(is_gone(&s));
	lab_free(&s.lab);
}

TEST_WITH_TIMEOUT(a_removal_of_which_a_call_fails_can_be_repeated, 250)
{
	struct scene s;
	char whole[64];
	unsigned int step;

	scene_make(&s, false);
	lab_make_dir(whole);
	lab_copy(s.lab.dir, whole);
	EXPECT_GT(sites_fail_each(one_removal, whole, 4), 5);
	step = getenv("TEST_LONG") || getenv("TEST_SITES") ? 1 : 4;
	nth.error = -EIO;
	nth.at = 1 + tap_seed() % step;
	do {
		one_removal(whole);
		nth.at += step;
	} while (nth.has_hit);
	lab_remove(whole);
	scene_free(&s);
}

/* ---- the catalog made again ---- */

static void one_rebuild(void *arg)
{
	struct rebuild_report made = { 0 };
	const char *whole = arg;
	struct scene s = { 0 };
	struct store_config cfg;
	struct point_info p;
	int r;

	lab_init(&s.lab, 11, BLOCKS);
	lab_remove(s.lab.dir);
	lab_copy(whole, s.lab.dir);
	cfg = (struct store_config){
		.path = s.lab.dir,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = &s.lab.rnd.rnd,
		.reserve_bytes = 4096,
	};
	err_clear(&err);
	site_begin();
	r = store_rebuild_catalog(&cfg, &made, &err);
	site_end();
	ASSERT_TRUE(r == 0 || (sites.hit && err.message[0]));
	rebuild_report_free(&made);
	/* Whatever failed: a start has all points. */
	open_store(&s);
	ASSERT_OK(store_point_find(s.lab.store, &s.lab.spec.uuid, 0, POINTS,
				   &p));
	lab_free(&s.lab);
}

TEST_WITH_TIMEOUT(a_catalog_made_again_with_a_failing_library_loses_nothing,
		  250)
{
	struct scene s;
	char whole[64];

	scene_make(&s, false);
	lab_make_dir(whole);
	lab_copy(s.lab.dir, whole);
	EXPECT_GT(sites_fail_each(one_rebuild, whole, 4), 5);
	lab_remove(whole);
	scene_free(&s);
}
