// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog made again: from whatever is where the old one should be, with
 * the old one kept under another name; what fails, dies or is cut off on the
 * way leaves the old one in its place or a store that makes a new one.
 */
#define TEST_TIMEOUT_S 120
#include "store/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "lib/cutstates.h"
#include "nth_io.h"
#include "store/scrub.h"

#include "unit/store_ok.h"

#define BLOCKS 24U
#define POINTS 4U

struct scene {
	struct lab lab;
	struct lab_image points[POINTS + 2];
};

/* A point in a segment of its own: each process begins a new one. */
static void add_point(struct scene *s)
{
	struct lab *l = &s->lab;

	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
	OK(lab_begin(l, &err));
	lab_data(l, l->seq * 4, 6);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
	s->points[l->seq] = lab_image_copy(&l->now);
	lab_close(l);
}

static void scene_make(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	lab_init(&s->lab, tap_seed(), BLOCKS);
	while (s->lab.seq < POINTS)
		add_point(s);
}

static void scene_free(struct scene *s)
{
	size_t i;

	for (i = 0; i <= POINTS + 1; i++)
		lab_image_free(&s->points[i]);
	lab_free(&s->lab);
}

static int rebuild_at(struct lab *l, const char *path,
		      struct rebuild_report *out)
{
	const struct store_config cfg = {
		.path = path,
		.segment_bytes = l->segment_bytes,
		.reserve_bytes = l->other_io ? 4096 : 1 << 20,
		.io = l->other_io ? l->other_io : &l->io.io,
		.clock = l->clock ? l->clock : clock_real(),
		.rnd = &l->rnd.rnd,
	};

	err_clear(&err);
	return store_rebuild_catalog(&cfg, out, &err);
}

static int rebuild(struct lab *l, struct rebuild_report *out)
{
	return rebuild_at(l, l->dir, out);
}

static char *path_of(const struct lab *l, const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	return path;
}

/* Of a file in the store; the caller frees. */
static char *content(const struct lab *l, const char *name, size_t *n)
{
	FILE *f = fopen(path_of(l, name), "r");
	struct stat st;
	char *p;

	ASSERT_MSG(f && !fstat(fileno(f), &st), "  no %s", name);
	p = malloc((size_t)st.st_size + 1);
	ASSERT_TRUE(p && S_ISREG(st.st_mode));
	*n = fread(p, 1, (size_t)st.st_size, f);
	(void)fclose(f);
	return p;
}

static void write_file(const struct lab *l, const char *name, const char *text)
{
	FILE *f = fopen(path_of(l, name), "w");

	ASSERT_NOT_NULL(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void points_are_right(struct scene *s, uint64_t from, uint64_t to)
{
	uint64_t seq, block = 0;
	int r;

	err_clear(&err);
	for (seq = from; seq <= to; seq++) {
		r = lab_compare(&s->lab, seq, &s->points[seq], &block, &err);
		ASSERT_MSG(r == 0, "  point %" PRIu64 ": %d %s", seq, r,
			   err.message);
	}
}

static void all_is_there(struct scene *s)
{
	OK(lab_open(&s->lab, false, &err));
	points_are_right(s, 1, POINTS);
	lab_close(&s->lab);
}

/* ---- whatever is there ---- */

TEST(a_sound_catalog_is_put_aside_and_a_new_one_says_the_same)
{
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct rebuild_report rep;
	struct scene s;
	size_t n, m;

	scene_make(&s);
	before = content(&s.lab, "catalog.db", &n);
	OK(rebuild(&s.lab, &rep));
	EXPECT_STR(rep.aside, "catalog.db.old-1");
	EXPECT_TRUE(rep.old_was_read);
	ASSERT_INT(rep.n, 1);
	EXPECT_U64(rep.v[0].points_before, POINTS);
	EXPECT_U64(rep.v[0].points_now, POINTS);
	EXPECT_STR(rep.v[0].name, "db1");
	rebuild_report_free(&rep);
	after = content(&s.lab, "catalog.db.old-1", &m);
	ASSERT_U64(n, m);
	EXPECT_TRUE(!memcmp(before, after, n));
	all_is_there(&s);
	/* The next one has the next name. */
	OK(rebuild(&s.lab, &rep));
	EXPECT_STR(rep.aside, "catalog.db.old-2");
	rebuild_report_free(&rep);
	add_point(&s);
	scene_free(&s);
}

static void made_again(struct scene *s, bool is_aside)
{
	struct rebuild_report rep;

	OK(rebuild(&s->lab, &rep));
	EXPECT_INT(rep.aside[0] != 0, is_aside);
	EXPECT_FALSE(rep.old_was_read);
	EXPECT_TRUE(rep.why_not.num != 0);
	ASSERT_INT(rep.n, 1);
	EXPECT_FALSE(rep.v[0].was_known);
	EXPECT_U64(rep.v[0].points_now, POINTS);
	rebuild_report_free(&rep);
	all_is_there(s);
}

TEST(a_catalog_that_is_missing_empty_garbage_or_no_file_is_made_again)
{
	struct rebuild_report rep;
	struct scene s;
	size_t n;

	scene_make(&s);
	ASSERT_OK(unlink(path_of(&s.lab, "catalog.db")));
	made_again(&s, false);
	write_file(&s.lab, "catalog.db", "this is not what SQLite would write");
	made_again(&s, true);
	ASSERT_OK(unlink(path_of(&s.lab, "catalog.db")));
	ASSERT_OK(mkdir(path_of(&s.lab, "catalog.db"), 0700));
	made_again(&s, true);
	/* As good as a catalog without a row. */
	write_file(&s.lab, "catalog.db", "");
	OK(rebuild(&s.lab, &rep));
	EXPECT_STR(rep.aside, "catalog.db.old-3");
	EXPECT_U64(rep.v[0].points_now, POINTS);
	rebuild_report_free(&rep);
	all_is_there(&s);
	ASSERT_OK(unlink(path_of(&s.lab, "catalog.db")));
	ASSERT_OK(symlink("nowhere", path_of(&s.lab, "catalog.db")));
	OK(rebuild(&s.lab, &rep));
	EXPECT_STR(rep.aside, "catalog.db.old-4");
	rebuild_report_free(&rep);
	all_is_there(&s);
	free(content(&s.lab, "catalog.db.old-1", &n));
	EXPECT_U64(n, 35);
	scene_free(&s);
}

TEST(what_belonged_to_a_catalog_that_is_gone_is_put_aside_at_the_next_start)
{
	struct scene s;
	size_t n;

	scene_make(&s);
	ASSERT_OK(unlink(path_of(&s.lab, "catalog.db")));
	write_file(&s.lab, "catalog.db-wal", "a log");
	write_file(&s.lab, "catalog.db.old-7", "");
	write_file(&s.lab, "catalog.db.old-3-wal", "another");
	all_is_there(&s);
	free(content(&s.lab, "catalog.db.old-7-wal", &n));
	EXPECT_U64(n, 5);
	/* That name is taken now. */
	ASSERT_OK(unlink(path_of(&s.lab, "catalog.db")));
	write_file(&s.lab, "catalog.db-wal", "a newer log");
	all_is_there(&s);
	free(content(&s.lab, "catalog.db.old-7-wal", &n));
	EXPECT_U64(n, 5);
	free(content(&s.lab, "catalog.db.old-8-wal", &n));
	EXPECT_U64(n, 11);
	scene_free(&s);
}

TEST(what_is_in_use_and_what_is_no_store_is_left_alone)
{
	struct rebuild_report rep;
	struct scene s;
	char path[256];

	scene_make(&s);
	OK(lab_open(&s.lab, false, &err));
	EXPECT_INT(rebuild(&s.lab, &rep), -EBUSY);
	EXPECT_STR(err.code, "store-busy");
	EXPECT_STR_HAS(err.remedy, "stop the daemon");
	EXPECT_STR(rep.aside, "");
	rebuild_report_free(&rep);
	EXPECT_INT(access(path_of(&s.lab, "catalog.db.old-1"), F_OK), -1);
	lab_close(&s.lab);
	(void)snprintf(path, sizeof(path), "%s/volumes", s.lab.dir);
	EXPECT_INT(rebuild_at(&s.lab, path, &rep), -ENOENT);
	EXPECT_STR(err.code, "not-a-store");
	EXPECT_INT(access(path_of(&s.lab, "volumes/store.meta"), F_OK), -1);
	scene_free(&s);
}

/* ---- damage ---- */

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t b;

	ASSERT_TRUE(fd >= 0 && pread(fd, &b, 1, at) == 1);
	b ^= 0x10;
	ASSERT_TRUE(pwrite(fd, &b, 1, at) == 1);
	(void)close(fd);
}

TEST(fewer_points_than_before_are_told_and_the_old_catalog_has_them)
{
	struct rebuild_report rep;
	struct scene s;
	char path[256];
	uint64_t size;

	scene_make(&s);
	/* The footer of the newest but one. */
	size = lab_segment(s.lab.dir, 1, path);
	flip(path, (off_t)size - 40);
	EXPECT_INT(rebuild(&s.lab, &rep), -ENODATA);
	EXPECT_STR(err.code, "points-missing");
	EXPECT_STR_HAS(err.message, "4 points before, 2 now");
	EXPECT_STR_HAS(err.message, "catalog.db.old-1");
	ASSERT_INT(rep.n, 1);
	EXPECT_U64(rep.v[0].points_before, POINTS);
	EXPECT_U64(rep.v[0].points_now, 2);
	EXPECT_FALSE(rep.v[0].taken_up);
	EXPECT_STR_HAS(rep.v[0].why.message, "segment ");
	rebuild_report_free(&rep);
	OK(lab_open(&s.lab, true, &err));
	points_are_right(&s, 1, 2);
	lab_close(&s.lab);
	/* The way back. */
	(void)snprintf(path, sizeof(path), "%s/catalog.db.old-1", s.lab.dir);
	ASSERT_OK(rename(path, path_of(&s.lab, "catalog.db")));
	OK(lab_open(&s.lab, true, &err));
	points_are_right(&s, 1, 2);
	points_are_right(&s, 4, 4);
	lab_close(&s.lab);
	scene_free(&s);
}

TEST(a_volume_without_segments_is_told_by_what_the_old_catalog_had_of_it)
{
	struct rebuild_report rep;
	struct scene s;
	char path[256];
	unsigned int i;

	scene_make(&s);
	for (i = 0; i < POINTS; i++) {
		(void)lab_segment(s.lab.dir, 0, path);
		ASSERT_OK(unlink(path));
	}
	EXPECT_INT(rebuild(&s.lab, &rep), -ENODATA);
	EXPECT_STR_HAS(err.message, "4 points before, 0 now");
	ASSERT_INT(rep.n, 1);
	EXPECT_FALSE(rep.v[0].taken_up);
	EXPECT_STR_HAS(rep.v[0].why.message, "no segment");
	rebuild_report_free(&rep);
	scene_free(&s);
}

TEST(damage_that_was_known_is_known_to_the_new_catalog)
{
	static struct scrub_report scrub;
	const struct scrub_order order = { 0 };
	struct rebuild_report rep;
	struct point_info p;
	struct scene s;
	char path[256];

	scene_make(&s);
	(void)lab_segment(s.lab.dir, POINTS - 1, path);
	/* In the one unit of the first point. */
	flip(path, 2000);
	OK(lab_open(&s.lab, false, &err));
	OK(store_scrub(s.lab.store, &s.lab.spec.uuid, &order, &scrub, &err));
	EXPECT_U64(scrub.n_findings, 1);
	lab_close(&s.lab);
	OK(rebuild(&s.lab, &rep));
	rebuild_report_free(&rep);
	OK(lab_open(&s.lab, false, &err));
	ASSERT_OK(store_point_find(s.lab.store, &s.lab.spec.uuid, 0, 1, &p));
	EXPECT_TRUE(p.damaged);
	lab_close(&s.lab);
	scene_free(&s);
}

/* ---- failures ---- */

/* The old one, whole, in its place or under its new name. */
static void old_is_kept(struct scene *s, const char *bytes, size_t n)
{
	_cleanup_free_ char *now = NULL;
	bool aside = !access(path_of(&s->lab, "catalog.db.old-1"), F_OK);
	size_t m;

	now = content(&s->lab, aside ? "catalog.db.old-1" : "catalog.db", &m);
	ASSERT_U64(m, n);
	ASSERT_TRUE(!memcmp(now, bytes, n));
}

/* False: all went well. */
static bool one_failure(uint64_t at)
{
	_cleanup_free_ char *before = NULL;
	struct rebuild_report rep;
	struct scene s;
	bool hit, aside;
	size_t n;
	int r;

	scene_make(&s);
	before = content(&s.lab, "catalog.db", &n);
	nth_over(&s.lab.io.io);
	nth.at = at;
	nth.error = -EIO;
	r = rebuild(&s.lab, &rep);
	hit = nth.has_hit;
	nth.at = 0;
	rebuild_report_free(&rep);
	EXPECT_TRUE(hit || r == 0);
	EXPECT_TRUE(r == 0 || err.num);
	old_is_kept(&s, before, n);
	aside = !access(path_of(&s.lab, "catalog.db.old-1"), F_OK);
	all_is_there(&s);
	r = rebuild(&s.lab, &rep);
	EXPECT_MSG(r == 0, "  failure %" PRIu64 ", again: %s", at,
		   err.message);
	rebuild_report_free(&rep);
	if (aside)
		old_is_kept(&s, before, n);
	scene_free(&s);
	return hit;
}

TEST(whichever_file_operation_fails_nothing_is_lost_and_it_can_be_repeated)
{
	uint64_t at = 1, step = getenv("TEST_LONG") ? 1 : CUT_SLOW ? 11 : 5;

	while (one_failure(at))
		at += step;
	tap_note("up to operation %" PRIu64, at);
}

/* ---- power cuts ---- */

static struct cut_tally tally;
static const struct cut_plan plan = { .brief = true, .n_random = 2 };
static struct old {
	char *db, *wal;			/* as they were */
	size_t n_db, n_wal;
} old;
static bool broken;
static char how[512];

static char *sim_content(struct simfs *fs, const char *name, size_t *n)
{
	char path[64], *p = NULL;

	(void)snprintf(path, sizeof(path), "/store/%s", name);
	if (io_read_file(&fs->io, AT_FDCWD, path, 1 << 20, &p, n) < 0)
		return NULL;
	return p;
}

static bool is_old(struct simfs *fs, const char *name, const char *want,
		   size_t n_want)
{
	_cleanup_free_ char *p = NULL;
	size_t n = 0;

	p = sim_content(fs, name, &n);
	return p && n == n_want && !memcmp(p, want, n);
}

static bool exists(struct simfs *fs, const char *name)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/store/%s", name);
	fd = fs->io.ops->open(&fs->io, AT_FDCWD, path, O_RDONLY, 0);
	if (fd >= 0)
		(void)fs->io.ops->close(&fs->io, fd);
	return fd >= 0;
}

/* In its place with its log, or elsewhere, and its log with it or on the way:
 * never a catalog without its log. */
static const char *fate(struct simfs *fs)
{
	static const struct {
		const char *from, *to;
	} renamed[] = {
		{ "catalog.db", "catalog.db.old-1" },
		{ "catalog.db-wal", "catalog.db.old-1-wal" },
	};
	size_t i;
	bool here = is_old(fs, "catalog.db", old.db, old.n_db);
	bool log_here = is_old(fs, "catalog.db-wal", old.wal, old.n_wal);
	bool there = is_old(fs, "catalog.db.old-1", old.db, old.n_db);
	bool log_there = is_old(fs, "catalog.db.old-1-wal", old.wal,
				old.n_wal);

	/* Each name by itself is more than a journal of names does: what is
	 * renamed within a directory has the one or the other. */
	for (i = 0; i < ARRAY_SIZE(renamed); i++)
		if (!exists(fs, renamed[i].from) && !exists(fs, renamed[i].to))
			return NULL;
	if (!here && !there)
		return "the old catalog is lost";
	if (!log_here && !log_there)
		return "its log is lost";
	if (here && !log_here)
		return "it is in its place without its log";
	return NULL;
}

static void note_break(struct cutlab *c, const struct sim_event *e,
		       const char *what)
{
	broken = true;
	(void)snprintf(how, sizeof(how), "%s: before %s: %s: %.200s", c->doing,
		       e ? e->what : "the end", tally.last, what);
	c->fs.dead = true;
}

static bool next_picks(const struct sim_choices *all, uint32_t *picks)
{
	size_t i;

	for (i = 0; i < all->n; i++) {
		/* Of files' contents only the two extremes. */
		picks[i] = all->v[i].op == SIM_NAME || !picks[i] ?
				   picks[i] + 1 : all->v[i].n;
		if (picks[i] < all->v[i].n)
			return true;
		picks[i] = 0;
	}
	return false;
}

/* Every combination of what names a cut may leave. */
static void names_stand(struct cutlab *c, const struct sim_event *e)
{
	struct sim_choices all, names;
	const char *lost = NULL;
	struct simfs state;
	uint32_t *picks;
	size_t i;

	simfs_choices(&c->fs, &all);
	names = (struct sim_choices){ calloc(all.n + 1, sizeof(*all.v)), 0 };
	ASSERT_NOT_NULL(names.v);
	for (i = 0; i < all.n; i++)
		if (all.v[i].op == SIM_NAME)
			names.v[names.n++] = all.v[i];
	picks = calloc(names.n + 1, sizeof(*picks));
	ASSERT_NOT_NULL(picks);
	(void)snprintf(tally.last, sizeof(tally.last), "names");
	ASSERT_LT(names.n, 12);
	do {
		simfs_crash(&state, &c->fs, &names, picks, 0);
		lost = fate(&state);
		simfs_free(&state);
		tally.states++;
	} while (!lost && next_picks(&names, picks));
	if (lost)
		note_break(c, e, lost);
	free(picks);
	free(names.v);
	free(all.v);
}

/* A kill here, and a new process that goes on. */
static void kill_stands(struct cutlab *c, const struct sim_event *e)
{
	bool in_place = is_old(&c->fs, "catalog.db", old.db, old.n_db);
	struct cut_promise p = c->promise;
	struct simfs fs;

	simfs_copy(&fs, &c->fs);
	(void)snprintf(tally.last, sizeof(tally.last), "a new process");
	if (!cut_judge(c, &fs, &p, CUT_KILL))
		note_break(c, e, c->why);
	/* In its place it is in use again. */
	else if (!in_place && fate(&fs))
		note_break(c, e, fate(&fs));
	simfs_free(&fs);
}

static void on_event(struct cutlab *c, const struct sim_event *e)
{
	if (broken)
		return;
	names_stand(c, e);
	if (!broken && e->is_sync &&
	    !cut_states(c, &c->fs, &c->promise, &plan, &tally))
		note_break(c, e, c->why);
	if (!broken && !(CUT_SLOW && c->fs.calls % 8))
		kill_stands(c, e);
}

static void sync_path(struct cutlab *c, const char *path)
{
	struct io *io = &c->fs.io;
	int fd = io->ops->open(io, AT_FDCWD, path, O_RDONLY, 0);

	ASSERT_TRUE(fd >= 0);
	ASSERT_OK(io->ops->fsync(io, fd));
	(void)io->ops->close(io, fd);
}

/* The store of a process that was killed, its catalog's log not empty; what it
 * had not synced has become durable since. */
static void cut_scene(struct cutlab *c, const char *left_out)
{
	broken = false;
	how[0] = 0;
	cut_tally_init(&tally, 11);
	cutlab_init(c, 11, CUT_HISTORY_SEGMENT);
	ASSERT_MSG(cut_history(c), "  %s", c->why);
	cut_close(c, CUT_KILL);
	sync_path(c, "/store/catalog.db");
	sync_path(c, "/store/catalog.db-wal");
	sync_path(c, "/store");
	old.db = sim_content(&c->fs, "catalog.db", &old.n_db);
	old.wal = sim_content(&c->fs, "catalog.db-wal", &old.n_wal);
	ASSERT_TRUE(old.db && old.wal && old.n_wal);
	(void)snprintf(c->left_out, sizeof(c->left_out), "%s", left_out);
	c->doing = "rebuild";
	c->on_event = on_event;
}

static void cut_scene_free(struct cutlab *c)
{
	free(TAKE_PTR(old.db));
	free(TAKE_PTR(old.wal));
	cutlab_free(c);
	cut_tally_free(&tally);
}

TEST(a_cut_or_a_kill_leaves_the_old_catalog_or_a_store_that_makes_a_new_one)
{
	struct rebuild_report rep;
	struct cutlab c;
	uint64_t before;
	int r;

	cut_scene(&c, "");
	before = c.fs.calls;
	r = rebuild(&c.lab, &rep);
	ASSERT_MSG(!broken, "  %s", how);
	ASSERT_MSG(r == 0, "  %s", err.message);
	EXPECT_TRUE(rep.old_was_read);
	ASSERT_INT(rep.n, 1);
	EXPECT_U64(rep.v[0].points_before, c.promise.seq);
	EXPECT_U64(rep.v[0].points_now, c.promise.seq);
	rebuild_report_free(&rep);
	names_stand(&c, NULL);
	ASSERT_MSG(!broken && cut_states(&c, &c.fs, &c.promise, &plan, &tally),
		   "  %s %s", how, c.why);
	EXPECT_LT(10, c.fs.calls - before);
	tap_note("%" PRIu64 " steps, %" PRIu64 " states, %" PRIu64 " judged",
		 c.fs.calls - before, tally.states, tally.judged);
	cut_scene_free(&c);
}

TEST(a_sync_that_putting_aside_leaves_out_is_noticed)
{
	struct rebuild_report rep;
	struct cutlab c;

	cut_scene(&c, "rebuild: fsync directory store");
	(void)rebuild(&c.lab, &rep);
	rebuild_report_free(&rep);
	EXPECT_TRUE(c.n_left_out > 0);
	EXPECT_TRUE(broken);
	tap_note("%s", how);
	cut_scene_free(&c);
}
