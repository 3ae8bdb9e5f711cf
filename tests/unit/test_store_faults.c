// SPDX-License-Identifier: Apache-2.0
/*
 * The n-th write, sync or creation fails, for n from 1 until a run has no
 * failure left: what was acknowledged reads back, what failed may be there or
 * not, and the store opens again. And the same for want of room.
 */
#include <sqlite3.h>

#include "storelab.h"

#include "base/cleanup.h"

#include "lib/tap.h"

#define BLOCKS 48U
#define POINTS 5U

struct run {
	struct lab lab;
	struct lab_image points[POINTS + 2];
	bool tried[POINTS + 2];		/* its commit was asked for */
	unsigned int refused;
};

static struct err err;

static int step_point(struct run *r)
{
	struct lab *l = &r->lab;
	int ret;

	ret = lab_begin(l, &err);
	if (ret < 0)
		return ret;
	lab_data(l, l->seq * 7 % 30, 16);
	lab_zero(l, 2, 3);
	ret = lab_stage(l, &err);
	if (ret < 0)
		return ret;
	lab_data(l, 5, 1);
	ret = lab_stage(l, &err);
	if (ret < 0)
		return ret;
	r->points[l->seq + 1] = lab_image_copy(&l->now);
	r->tried[l->seq + 1] = true;
	return lab_commit(l, NULL, &err);
}

/* Until something fails, or all is done. */
static int scenario(struct run *r)
{
	int ret = lab_writer(&r->lab, &err);

	while (ret == 0 && r->lab.seq < POINTS)
		ret = step_point(r);
	return ret;
}

static void check_after(struct run *r, uint64_t n)
{
	struct point_info p = { 0 };
	uint64_t seq, block = 0;
	int ret;

	err_clear(&err);
	ret = store_point_at(r->lab.store, &r->lab.spec.uuid, INT64_MAX, &p);
	if (ret == -ENOENT)
		p.meta.seq = 0;
	ASSERT_MSG(p.meta.seq >= r->lab.seq,
		   "  failure %" PRIu64 ": point %" PRIu64 " was acknowledged, "
		   "the newest is %" PRIu64, n, r->lab.seq, p.meta.seq);
	/* One more at most: the one whose acknowledgement failed. */
	ASSERT_LE(p.meta.seq, r->lab.seq + 1);
	for (seq = 1; seq <= p.meta.seq; seq++) {
		ASSERT_TRUE(r->tried[seq]);
		ret = lab_compare(&r->lab, seq, &r->points[seq], &block, &err);
		ASSERT_MSG(ret == 0,
			   "  failure %" PRIu64 ": point %" PRIu64 ": %d block "
			   "%" PRIu64 " %s", n, seq, ret, block, err.message);
	}
	r->lab.seq = p.meta.seq;
	r->lab.head = p.head;
}

static void run_init(struct run *r)
{
	memset(r, 0, sizeof(*r));
	lab_init(&r->lab, 7, BLOCKS);
	r->lab.segment_bytes = 20000;
	ASSERT_OK(lab_open(&r->lab, false, &err));
}

static void run_free(struct run *r)
{
	size_t i;

	for (i = 0; i < POINTS + 2; i++)
		lab_image_free(&r->points[i]);
	lab_free(&r->lab);
}

/* As a source does after a break. */
static void resync_and_commit(struct run *r)
{
	struct fp fps[BLOCKS], want;
	struct lab *l = &r->lab;
	uint64_t block = 0;
	uint32_t i;

	ASSERT_OK(store_writer_fps(l->writer, 0, BLOCKS, fps, &err));
	ASSERT_OK(lab_begin(l, &err));
	for (i = 0; i < BLOCKS; i++) {
		want = lab_fp(l, i, l->now.versions[i]);
		if (!fp_equal(&fps[i], &want))
			lab_again(l, i, 1);
	}
	ASSERT_OK(lab_stage(l, &err));
	ASSERT_OK(lab_commit(l, NULL, &err));
	ASSERT_INT(lab_compare(l, l->seq, &l->now, &block, &err), 0);
}

/* The n-th call of the kind fails; false when there was no such call. */
static bool fail_nth(enum lab_op op, uint64_t n, bool same_process)
{
	struct run r;
	bool failed;
	int ret;

	run_init(&r);
	r.lab.io.fail_in[op] = n;
	ret = scenario(&r);
	failed = ret < 0;
	r.lab.io.fail_in[op] = 0;
	if (failed && r.lab.writer) {
		struct fp fp;

		/* Nothing is retried on the same file. */
		EXPECT_INT(lab_commit(&r.lab, NULL, &err), -EIO);
		EXPECT_INT(store_writer_fps(r.lab.writer, 0, 1, &fp, &err),
			   -EIO);
	}
	err_clear(&err);
	if (!same_process) {
		lab_close(&r.lab);
		ASSERT_OK(lab_open(&r.lab, false, &err));
	}
	ret = lab_writer(&r.lab, &err);
	ASSERT_MSG(ret == 0, "  failure %" PRIu64 ": %s", n, err.message);
	check_after(&r, n);
	resync_and_commit(&r);
	run_free(&r);
	return failed;
}

static void fail_each(enum lab_op op, bool same_process)
{
	uint64_t n = 1;

	while (fail_nth(op, n, same_process))
		n++;
	tap_note("%" PRIu64 " calls failed in turn", n - 1);
	EXPECT_GT(n, 3);
}

TEST(each_write_failing_loses_nothing_acknowledged)
{
	fail_each(LAB_WRITE, false);
	fail_each(LAB_WRITE, true);
}

TEST(each_sync_failing_loses_nothing_acknowledged)
{
	fail_each(LAB_SYNC, false);
	fail_each(LAB_SYNC, true);
}

TEST(each_creation_failing_loses_nothing_acknowledged)
{
	fail_each(LAB_CREATE, false);
	fail_each(LAB_CREATE, true);
}

TEST(a_failed_writer_keeps_telling_the_first_reason)
{
	struct run r;

	run_init(&r);
	ASSERT_OK(lab_writer(&r.lab, &err));
	ASSERT_OK(step_point(&r));
	r.lab.io.fail_in[LAB_SYNC] = 1;
	EXPECT_INT(step_point(&r), -EIO);
	EXPECT_STR_HAS(err.message, "fdatasync");
	err_clear(&err);
	EXPECT_INT(lab_commit(&r.lab, NULL, &err), -EIO);
	EXPECT_STR_HAS(err.message, "fdatasync");
	EXPECT_STR(err.code, "write-failed");
	run_free(&r);
}

/* With so much room and no more, then with room again. */
static bool fill_up(uint64_t room)
{
	struct run r;
	bool full;
	int ret;

	run_init(&r);
	r.lab.io.room_bytes = room;
	ret = scenario(&r);
	full = ret < 0;
	if (full) {
		ASSERT_MSG(ret == -ENOSPC, "  room %" PRIu64 ": %d %s", room,
			   ret, err.message);
		EXPECT_STR(err.code, "store-full");
	}
	/* Full is not broken: what is there is read. */
	check_after(&r, room);
	r.lab.io.room_bytes = UINT64_MAX;
	err_clear(&err);
	/* The same writer goes on where there is one. */
	if (!r.lab.writer)
		ASSERT_OK(lab_writer(&r.lab, &err));
	resync_and_commit(&r);
	err_clear(&err);
	lab_close(&r.lab);
	ASSERT_OK(lab_open(&r.lab, false, &err));
	{
		uint64_t block = 0;

		ASSERT_INT(lab_compare(&r.lab, r.lab.seq, &r.lab.now, &block,
				       &err), 0);
	}
	run_free(&r);
	return full;
}

TEST(a_full_file_system_stops_intake_and_nothing_else)
{
	uint64_t room = 1, rounds = 0;

	while (fill_up(room)) {
		room += 1 + room / 9;
		rounds++;
	}
	tap_note("%" PRIu64 " sizes up to %" PRIu64 " bytes", rounds, room);
	EXPECT_GT(rounds, 20);
}

TEST(the_reserve_lets_a_commit_through)
{
	struct volume_info v;
	struct run r;
	uint64_t block = 0;
	unsigned int n = 0;

	run_init(&r);
	ASSERT_OK(lab_writer(&r.lab, &err));
	ASSERT_OK(lab_begin(&r.lab, &err));
	lab_data(&r.lab, 0, 10);
	ASSERT_OK(lab_stage(&r.lab, &err));
	r.lab.io.room_bytes = 0;
	ASSERT_OK(lab_commit(&r.lab, NULL, &err));
	EXPECT_INT(lab_compare(&r.lab, 1, &r.lab.now, &block, &err), 0);
	/* And then takes no more data until it is back. */
	r.lab.io.room_bytes = 300000;
	ASSERT_OK(lab_begin(&r.lab, &err));
	lab_data(&r.lab, 0, 1);
	EXPECT_INT(lab_stage(&r.lab, &err), -ENOSPC);
	EXPECT_STR(err.code, "store-full");
	r.lab.io.room_bytes = UINT64_MAX;
	err_clear(&err);
	lab_data(&r.lab, 0, 1);
	while (lab_stage(&r.lab, &err) < 0 && n++ < 3)
		err_clear(&err);
	EXPECT_U64(n, 0);
	ASSERT_OK(store_writer_info(r.lab.writer, &v));
	EXPECT_U64(v.n_points, 1);
	run_free(&r);
}

static void sql(const char *dir, const char *text)
{
	char path[128];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/catalog.db", dir);
	ASSERT_INT(sqlite3_open(path, &db), SQLITE_OK);
	ASSERT_INT(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static int count_point(void *arg, const struct point_info *p)
{
	(void)p;
	(*(unsigned int *)arg)++;
	return 0;
}

static unsigned int listed(struct lab *l, bool backwards)
{
	unsigned int n = 0;

	EXPECT_OK(store_points(l->store, &l->spec.uuid, backwards, count_point,
			       &n));
	return n;
}

TEST(a_commit_stands_when_the_catalog_cannot_take_it)
{
	struct volume_info v;
	struct point_info p;
	char old[64], copy[64];
	uint64_t block = 0;
	struct run r;

	run_init(&r);
	ASSERT_OK(lab_writer(&r.lab, &err));
	ASSERT_OK(step_point(&r));
	sql(r.lab.dir, "CREATE TRIGGER no BEFORE INSERT ON points "
		       "BEGIN SELECT RAISE(ABORT, 'no'); END");
	ASSERT_OK(step_point(&r));
	/* It is there in every way. */
	EXPECT_INT(lab_compare(&r.lab, 2, &r.lab.now, &block, &err), 0);
	EXPECT_INT(lab_compare(&r.lab, 1, &r.points[1], &block, &err), 0);
	EXPECT_U64(listed(&r.lab, false), 2);
	EXPECT_U64(listed(&r.lab, true), 2);
	ASSERT_OK(store_volume_by_uuid(r.lab.store, &r.lab.spec.uuid, &v));
	EXPECT_U64(v.n_points, 2);
	EXPECT_OK(store_point_find(r.lab.store, &r.lab.spec.uuid, 1, 2, &p));
	/* But nothing goes on before the catalog has it. */
	EXPECT_LT(lab_commit(&r.lab, NULL, &err), 0);
	err_clear(&err);
	lab_make_dir(copy);
	lab_copy(r.lab.dir, copy);
	sql(r.lab.dir, "DROP TRIGGER no");
	ASSERT_OK(step_point(&r));
	EXPECT_INT(lab_compare(&r.lab, 3, &r.lab.now, &block, &err), 0);
	EXPECT_U64(listed(&r.lab, false), 3);
	/* After a crash instead, the footer is found. */
	lab_close(&r.lab);
	memcpy(old, r.lab.dir, sizeof(old));
	memcpy(r.lab.dir, copy, sizeof(copy));
	sql(copy, "DROP TRIGGER no");
	ASSERT_OK(lab_open(&r.lab, false, &err));
	EXPECT_INT(lab_compare(&r.lab, 2, &r.points[2], &block, &err), 0);
	EXPECT_U64(listed(&r.lab, false), 2);
	lab_remove(old);
	run_free(&r);
}
