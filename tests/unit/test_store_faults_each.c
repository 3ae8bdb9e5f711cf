// SPDX-License-Identifier: Apache-2.0
/*
 * The n-th file operation of a store's whole life fails, whatever it is, for
 * every n: opening it, a writer, points over several segments, going on after
 * a start, reading. Nothing acknowledged is lost, nothing wrong is read, what
 * failed goes on when it is asked for again, in the same process and in a new
 * one. A sync that fails loses what it was for, and later ones succeed: the
 * acknowledgement must not come from that file.
 *
 * test-timeout: 900
 */
#include "lib/tap.h"

#include "storelab.h"

#include "unit/nth_io.h"

#define BLOCKS 48U
#define POINTS 6U
#define HALF (POINTS / 2)

struct life {
	struct lab lab;
	struct lab_image points[POINTS + 3];
	struct lab_image now;		/* what the device has */
	unsigned int failures;		/* calls of the store that failed */
	bool again;			/* a new process after each failure */
};

static struct err err;

static void life_init(struct life *l, bool again)
{
	memset(l, 0, sizeof(*l));
	lab_init(&l->lab, 7, BLOCKS);
	l->lab.segment_bytes = 20000;
	l->again = again;
	nth_over(&l->lab.io.io);
}

static void life_free(struct life *l)
{
	size_t i;

	for (i = 0; i < POINTS + 3; i++)
		lab_image_free(&l->points[i]);
	lab_free(&l->lab);
}

/* A store and a writer, whatever it takes within a few tries. */
static int be_open(struct life *l)
{
	int r = 0;

	err_clear(&err);
	if (!l->lab.store)
		r = lab_open(&l->lab, false, &err);
	if (r == 0 && !l->lab.writer)
		r = lab_writer(&l->lab, &err);
	return r;
}

/* As a source does: by what the replica says that it holds. */
static int stage_what_differs(struct life *l)
{
	struct fp fps[BLOCKS], want;
	struct lab *b = &l->lab;
	uint32_t i;
	int r;

	r = store_writer_fps(b->writer, 0, BLOCKS, fps, &err);
	if (r == 0)
		r = lab_begin(b, &err);
	for (i = 0; r == 0 && i < BLOCKS; i++) {
		want = lab_fp(b, i, b->now.versions[i]);
		if (!fp_equal(&fps[i], &want))
			lab_again(b, i, 1);
		if (b->units.len > 8000)
			r = lab_stage(b, &err);
	}
	return r == 0 ? lab_stage(b, &err) : r;
}

/* The newest point, if it is one whose acknowledgement did not come. */
static int adopt(struct life *l)
{
	struct lab *b = &l->lab;
	struct point_info p;
	int r;

	r = store_point_at(b->store, &b->spec.uuid, INT64_MAX, &p);
	if (r == -ENOENT) {
		ASSERT_U64(b->seq, 0);
		return 0;
	}
	if (r < 0)
		return r;
	ASSERT_MSG(p.meta.seq >= b->seq && p.meta.seq <= b->seq + 1,
		   "  call %" PRIu64 " (%s): newest %" PRIu64
		   ", acknowledged %" PRIu64, nth.at, nth_names[nth.hit],
		   p.meta.seq, b->seq);
	if (p.meta.seq == b->seq) {
		ASSERT_MEM(p.head.b, b->head.b, HEAD_BYTES);
		return 0;
	}
	b->seq = p.meta.seq;
	b->head = p.head;
	return 0;
}

static int try_point(struct life *l, uint64_t seq)
{
	int r = be_open(l);

	if (r == 0)
		r = adopt(l);
	if (r < 0 || l->lab.seq >= seq)
		return r;
	r = stage_what_differs(l);
	return r == 0 ? lab_commit(&l->lab, NULL, &err) : r;
}

static void change(struct life *l, uint64_t seq)
{
	struct lab *b = &l->lab;
	uint32_t i;

	for (i = 0; i < 16; i++)
		b->now.versions[(seq * 7 + i) % BLOCKS] = b->next_version++;
	for (i = 0; i < 3; i++)
		b->now.versions[(seq * 5 + i) % BLOCKS] = 0;
}

static void after_failure(struct life *l)
{
	l->failures++;
	ASSERT_MSG(nth.has_hit, "  by itself: %s: %s", err.code, err.message);
	if (l->again) {
		lab_close(&l->lab);
		return;
	}
	store_writer_close(l->lab.writer);
	l->lab.writer = NULL;
}

/* Until it is there; a failure that stays is the test's to end. */
static void make_point(struct life *l, uint64_t seq)
{
	unsigned int tries;

	change(l, seq);
	l->points[seq] = lab_image_copy(&l->lab.now);
	for (tries = 0; try_point(l, seq) < 0; tries++) {
		after_failure(l);
		ASSERT_MSG(tries < 4, "  call %" PRIu64 " (%s): point %" PRIu64
			   ": again and again: %s", nth.at, nth_names[nth.hit],
			   seq, err.message);
	}
	ASSERT_U64(l->lab.seq, seq);
}

static void look(struct life *l, uint64_t seq)
{
	uint64_t block = 0;
	unsigned int tries;
	int r;

	for (tries = 0; tries < 3; tries++) {
		err_clear(&err);
		r = be_open(l);
		if (r == 0)
			r = lab_compare(&l->lab, seq, &l->points[seq], &block,
					&err);
		if (r >= 0)
			break;
		after_failure(l);
	}
	ASSERT_MSG(r == 0, "  call %" PRIu64 " (%s): point %" PRIu64
		   ": %d block %" PRIu64 " %s", nth.at, nth_names[nth.hit],
		   seq, r, block, err.message);
}

static void live(struct life *l)
{
	uint64_t seq;

	for (seq = 1; seq <= POINTS; seq++) {
		/* A start in between. */
		if (seq == HALF + 1)
			lab_close(&l->lab);
		make_point(l, seq);
	}
	for (seq = 1; seq <= POINTS; seq++)
		look(l, seq);
	lab_close(&l->lab);
}

static bool fail_at(uint64_t n, bool again, int error)
{
	struct life l;
	uint64_t seq;
	bool hit;

	life_init(&l, again);
	nth.at = n;
	nth.error = error;
	live(&l);
	hit = nth.has_hit;
	ASSERT_MSG(!nth.wrote_lost, "  call %" PRIu64 ": written on", n);
	nth_heal();
	for (seq = 1; seq <= POINTS; seq++)
		look(&l, seq);
	life_free(&l);
	return hit;
}

/* All of them when there is time; else one of so many, another set each time. */
static void fail_each(bool again, int error, uint64_t one_of)
{
	const char *seed = getenv("TEST_SEED");
	uint64_t n = 1, done = 0;

	if (getenv("TEST_LONG"))
		one_of = 1;
	n += (seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL)) % one_of;
	tap_note("seed %" PRIu64, n - 1);
	for (; fail_at(n, again, error); n += one_of)
		done++;
	tap_note("%" PRIu64 " of %" PRIu64 " calls failed in turn", done, n);
	EXPECT_GT(done * one_of, 500);
}

TEST_WITH_TIMEOUT(each_call_failing_once_is_got_over_in_the_same_process, 300)
{
	fail_each(false, -EIO, 5);
}

TEST_WITH_TIMEOUT(each_call_failing_once_is_got_over_by_a_new_process, 300)
{
	fail_each(true, -EIO, 10);
}

TEST_WITH_TIMEOUT(a_quota_reached_at_any_call_is_got_over, 300)
{
	fail_each(false, -EDQUOT, 10);
}

TEST(short_reads_and_writes_change_nothing)
{
	struct life l;

	life_init(&l, false);
	nth.halves = true;
	live(&l);
	EXPECT_U64(l.failures, 0);
	life_free(&l);
}

/* Where nothing fails, nothing is found: and it would be. */
TEST(the_judge_sees_a_lost_point_and_a_write_to_a_lost_file)
{
	struct life l;
	uint64_t block = 0;
	int fd;

	life_init(&l, false);
	live(&l);
	EXPECT_U64(l.failures, 0);
	ASSERT_OK(lab_open(&l.lab, false, &err));
	EXPECT_INT(lab_compare(&l.lab, 2, &l.points[3], &block, &err), 1);
	fd = l.lab.io.io.ops->open(&l.lab.io.io, AT_FDCWD, "/dev/shm",
				   O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0) {
		ASSERT_OK(io_pwrite_all(&l.lab.io.io, fd, "abcd", 4, 0));
		nth.at = nth.calls + 1;
		EXPECT_INT(l.lab.io.io.ops->fdatasync(&l.lab.io.io, fd), -EIO);
		ASSERT_OK(io_pwrite_all(&l.lab.io.io, fd, "efgh", 4, 4));
		EXPECT_U64(nth.wrote_lost, 1);
		(void)close(fd);
	}
	life_free(&l);
}
