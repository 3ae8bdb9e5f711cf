// SPDX-License-Identifier: Apache-2.0
/*
 * What the store asks of libraries fails, one place after the other: memory,
 * SQLite, OpenSSL, checksums. Whoever was called says so; asked again, it
 * works, in the same process or a new one; no acknowledged point is lost and
 * nothing wrong is read.
 *
 * test-timeout: 900
 */
#include "lib/tap.h"

#include "storelab.h"

#include "store/restore.h"
#include "unit/nth_site.h"

#define BLOCKS 64U
#define POINTS 6U
#define WIDE_BLOCKS 4200U

struct life {
	struct lab lab;
	struct lab_image points[POINTS + 1];
	uint64_t epochs[POINTS + 1];
	bool quiet;			/* the failure may be swallowed */
};

static struct err err;

/* What is called here counts, and may fail. */
#define PRODUCT(call) \
	({ \
		__typeof__(call) r_; \
		err_clear(&err); \
		site_begin(); \
		r_ = (call); \
		site_end(); \
		r_; \
	})

static void life_init(struct life *l, uint64_t n_blocks, uint64_t segment_bytes)
{
	memset(l, 0, sizeof(*l));
	lab_init(&l->lab, 7, n_blocks);
	l->lab.segment_bytes = segment_bytes;
}

static void life_free(struct life *l)
{
	size_t i;

	for (i = 0; i <= POINTS; i++)
		lab_image_free(&l->points[i]);
	lab_free(&l->lab);
}

static int be_open(struct life *l, bool read_only)
{
	int r = 0;

	if (!l->lab.store)
		r = PRODUCT(lab_open(&l->lab, read_only, &err));
	if (r == 0 && !read_only && !l->lab.writer)
		r = PRODUCT(lab_writer(&l->lab, &err));
	return r;
}

/* The newest point, if it is one whose acknowledgement did not come. */
static int adopt(struct life *l)
{
	struct lab *b = &l->lab;
	struct point_info p;
	int r = PRODUCT(store_point_at(b->store, &b->spec.uuid, INT64_MAX, &p));

	if (r == -ENOENT && !b->seq)
		return 0;
	if (r < 0)
		return r;
	ASSERT_MSG(p.meta.seq >= b->seq && p.meta.seq <= b->seq + 1,
		   "  %s: newest %" PRIu64 ", acknowledged %" PRIu64,
		   sites.hit ? sites.hit : "", p.meta.seq, b->seq);
	if (p.meta.seq == b->seq)
		ASSERT_MEM(p.head.b, b->head.b, HEAD_BYTES);
	b->seq = p.meta.seq;
	b->head = p.head;
	return 0;
}

static int begin(struct lab *b)
{
	static const struct comp_config comp = { .mode = COMP_NONE };

	sealer_free(b->sealer);
	b->sealer = sealer_new(&b->key, &b->spec.uuid, b->spec.epoch,
			       b->seq + 1, &comp, &b->rnd.rnd);
	ASSERT_NOT_NULL(b->sealer);
	buf_reset(&b->units);
	return PRODUCT(store_writer_begin(b->writer, sealer_delta(b->sealer),
					  &b->delta, &err));
}

static int stage(struct lab *b)
{
	return b->units.len ? PRODUCT(lab_stage(b, &err)) : 0;
}

/* As a source does: by what the replica says that it holds. */
static int stage_what_differs(struct lab *b)
{
	static struct fp fps[BLOCKS], want;
	uint64_t i;
	int r;

	r = PRODUCT(store_writer_fps(b->writer, 0, (uint32_t)b->now.n_blocks,
				     fps, &err));
	if (r == 0)
		r = begin(b);
	for (i = 0; r == 0 && i < b->now.n_blocks; i++) {
		want = lab_fp(b, i, b->now.versions[i]);
		if (!fp_equal(&fps[i], &want))
			lab_again(b, i, 1);
		if (b->units.len > 8000)
			r = stage(b);
	}
	return r == 0 ? stage(b) : r;
}

/* step again and again, until it works: once is failing, at most. */
static void until_done(struct life *l, int (*step)(struct life *, uint64_t),
		       uint64_t seq)
{
	unsigned int tries;
	int r;

	for (tries = 0; (r = step(l, seq)) < 0; tries++) {
		ASSERT_MSG(sites.hit != NULL, "  by itself: %s: %s", err.code,
			   err.message);
		ASSERT_MSG(tries < 4, "  %s failed: again and again: %s",
			   sites.hit, err.message);
		store_writer_close(l->lab.writer);
		l->lab.writer = NULL;
		if (tries & 1)
			lab_close(&l->lab);
	}
}

static int point_step(struct life *l, uint64_t seq)
{
	int r = be_open(l, false);

	if (r == 0)
		r = adopt(l);
	if (r < 0 || l->lab.seq >= seq)
		return r;
	r = stage_what_differs(&l->lab);
	return r == 0 ? PRODUCT(lab_commit(&l->lab, NULL, &err)) : r;
}

static void make_point(struct life *l, uint64_t seq)
{
	struct lab *b = &l->lab;
	uint32_t i;

	for (i = 0; i < 6; i++)
		b->now.versions[(seq * 7 + i) % BLOCKS] = b->next_version++;
	for (i = 0; i < 2; i++)
		b->now.versions[(seq * 5 + i) % BLOCKS] = 0;
	l->points[seq] = lab_image_copy(&b->now);
	l->epochs[seq] = b->spec.epoch;
	until_done(l, point_step, seq);
	ASSERT_U64(b->seq, seq);
}

/* Staged, and no point of it. */
static int stage_step(struct life *l, uint64_t seq)
{
	int r = be_open(l, false);

	(void)seq;
	return r == 0 ? stage_what_differs(&l->lab) : r;
}

static int discard_step(struct life *l, uint64_t seq)
{
	int r = be_open(l, false);

	(void)seq;
	return r == 0 ? PRODUCT(store_writer_discard(l->lab.writer, &err)) : r;
}

static int open_step(struct life *l, uint64_t seq)
{
	(void)seq;
	return be_open(l, false);
}

static int open_to_read_step(struct life *l, uint64_t seq)
{
	(void)seq;
	return be_open(l, true);
}

static int no_volume(void *arg, const struct volume_info *v)
{
	(void)arg, (void)v;
	return 0;
}

static int count_point(void *arg, const struct point_info *p)
{
	(void)p;
	++*(uint64_t *)arg;
	return 0;
}

static int query_step(struct life *l, uint64_t seq)
{
	const struct uuid *id = &l->lab.spec.uuid;
	struct volume_info v;
	struct point_info p;
	uint64_t n = 0;
	int r = PRODUCT(store_volumes(l->lab.store, no_volume, NULL));

	if (r == 0)
		r = PRODUCT(store_volume_by_name(l->lab.store, NULL, "db1",
						 &v));
	if (r == 0)
		r = PRODUCT(store_volume_by_uuid(l->lab.store, id, &v));
	if (r == 0)
		r = PRODUCT(store_points(l->lab.store, id, true, count_point,
					 &n));
	if (r < 0)
		return r;
	ASSERT_U64(n, seq);
	r = PRODUCT(store_point_labelled(l->lab.store, id, "none", &p));
	if (r != -ENOENT)
		return r < 0 ? r : -EIO;
	r = PRODUCT(store_point_find(l->lab.store, id, l->epochs[seq - 1],
				     seq - 1, &p));
	return r == 0 ? PRODUCT(store_point_at(l->lab.store, id, 2000, &p)) :
			r;
}

static int one_piece(void *arg, const struct view_piece *piece)
{
	(void)arg, (void)piece;
	return 0;
}

static void image_is(struct life *l, uint64_t seq, const uint8_t *got)
{
	const struct lab_image *im = &l->points[seq];
	uint8_t want[US_BLOCK_BYTES];
	uint64_t i;

	for (i = 0; i < im->n_blocks; i++) {
		lab_fill(im->versions[i], want);
		ASSERT_MSG(!memcmp(got + i * US_BLOCK_BYTES, want,
				   sizeof(want)),
			   "  %s failed: point %" PRIu64 " block %" PRIu64,
			   sites.hit ? sites.hit : "nothing", seq, i);
	}
}

static int walk(struct view *v)
{
	uint64_t at = 0, count = 0;
	bool zero;
	int r;

	r = PRODUCT(view_walk(v, 0, BLOCKS, one_piece, NULL, &err));
	while (r == 0 && at < 4 * BLOCKS) {
		r = PRODUCT(view_next(v, at, &at, &count, &zero, &err));
		at += count;
	}
	return r < 0 ? r : 0;
}

static int read_step(struct life *l, uint64_t seq)
{
	static uint8_t got[BLOCKS * US_BLOCK_BYTES];
	struct view *v;
	int r;

	if (!l->lab.store)
		r = be_open(l, false);
	else
		r = 0;
	if (r == 0)
		r = PRODUCT(view_open(l->lab.store, &l->lab.spec.uuid,
				      l->epochs[seq], seq, &v, &err));
	if (r < 0)
		return r;
	r = PRODUCT(view_read(v, l->lab.opener, 0, BLOCKS, got, &err));
	if (r == 0)
		image_is(l, seq, got);
	if (r == 0)
		r = walk(v);
	view_close(v);
	return r;
}

static int restore_into(struct life *l, uint64_t seq, int fd, bool in_place)
{
	const struct restore_options o = { .verify = true,
					   .in_place = in_place,
					   .target = "target" };
	static uint8_t got[BLOCKS * US_BLOCK_BYTES];
	struct restore_result res;
	struct image *im = NULL;
	struct view *v;
	int r;

	r = PRODUCT(view_open(l->lab.store, &l->lab.spec.uuid, l->epochs[seq],
			      seq, &v, &err));
	if (r < 0)
		return r;
	r = PRODUCT(image_from_view(v, &l->lab.spec.uuid, &l->lab.key, &im,
				    &err));
	if (r == 0)
		r = PRODUCT(restore_run(im, fd, &o, &res, &err));
	image_close(im);
	if (r == 0) {
		ASSERT_INT(pread(fd, got, sizeof(got), 0), sizeof(got));
		image_is(l, seq, got);
	}
	return r;
}

static int restore_step(struct life *l, uint64_t seq)
{
	int fd, r = l->lab.store ? 0 : be_open(l, false);

	if (r < 0)
		return r;
	fd = open(l->lab.dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	r = restore_into(l, seq, fd, false);
	if (r == 0)
		r = restore_into(l, seq - 1, fd, true);
	(void)close(fd);
	return r;
}

static void look_at_all(struct life *l)
{
	uint64_t seq;

	for (seq = 1; seq <= l->lab.seq; seq++)
		until_done(l, read_step, seq);
}

/* A point with a missing segment: read, or refused by name, never wrong. */
static void lose_a_segment(struct life *l)
{
	char path[256];
	uint64_t seq;
	int r;

	lab_close(&l->lab);
	until_done(l, open_step, 0);
	lab_close(&l->lab);
	(void)lab_segment(l->lab.dir, 2, path);
	ASSERT_OK(unlink(path));
	until_done(l, open_step, 0);
	for (seq = 1; seq <= l->lab.seq; seq++) {
		r = read_step(l, seq);
		ASSERT_MSG(r <= 0, "  point %" PRIu64, seq);
	}
}

static void many_segments(void *arg)
{
	struct life l;

	(void)arg;
	life_init(&l, BLOCKS, 20000);
	make_point(&l, 1);
	make_point(&l, 2);
	l.lab.now.versions[3] = l.lab.next_version++;
	until_done(&l, stage_step, 0);
	lab_close(&l.lab);
	make_point(&l, 3);
	l.lab.now.versions[4] = l.lab.next_version++;
	until_done(&l, stage_step, 0);
	until_done(&l, discard_step, 0);
	store_writer_close(l.lab.writer);
	l.lab.writer = NULL;
	l.lab.spec.epoch = 2;
	make_point(&l, 4);
	make_point(&l, 5);
	until_done(&l, query_step, 5);
	until_done(&l, restore_step, 3);
	look_at_all(&l);
	lab_close(&l.lab);
	lab_drop_catalog(l.lab.dir);
	until_done(&l, open_step, 0);
	look_at_all(&l);
	lab_close(&l.lab);
	until_done(&l, open_to_read_step, 0);
	look_at_all(&l);
	lab_close(&l.lab);
	lab_drop_catalog(l.lab.dir);
	until_done(&l, open_to_read_step, 0);
	look_at_all(&l);
	lose_a_segment(&l);
	life_free(&l);
}

TEST_WITH_TIMEOUT(each_library_call_of_a_life_of_small_segments_fails, 600)
{
	EXPECT_GT(sites_fail_each(many_segments, NULL, 6), 20);
}

TEST_WITH_TIMEOUT(a_catalog_that_is_full_or_damaged_is_got_over, 600)
{
	sites.sqlite_error = SQLITE_FULL;
	EXPECT_GT(sites_fail_each(many_segments, NULL, 12), 10);
}

/* Entries enough that a part stays on the disk. */
static int wide_read_step(struct life *l, uint64_t seq)
{
	static uint8_t got[8 * US_BLOCK_BYTES];
	uint8_t want[US_BLOCK_BYTES];
	uint64_t first, i;
	struct view *v;
	int r = l->lab.store ? 0 : be_open(l, false);

	if (r == 0)
		r = PRODUCT(view_open(l->lab.store, &l->lab.spec.uuid, 1, seq,
				      &v, &err));
	if (r < 0)
		return r;
	for (first = 896; r == 0 && first < WIDE_BLOCKS; first += 900) {
		r = PRODUCT(view_read(v, l->lab.opener, first, 8, got, &err));
		for (i = 0; r == 0 && i < 8; i++) {
			lab_fill(l->points[seq].versions[first + i], want);
			ASSERT_MEM(got + i * US_BLOCK_BYTES, want,
				   sizeof(want));
		}
	}
	if (r == 0)
		r = walk(v);
	view_close(v);
	return r;
}

static int wide_point_step(struct life *l, uint64_t seq)
{
	struct lab *b = &l->lab;
	int r = be_open(l, false);
	uint64_t i;

	if (r == 0)
		r = adopt(l);
	if (r < 0 || b->seq >= seq)
		return r;
	r = begin(b);
	for (i = 0; r == 0 && i < WIDE_BLOCKS; i += seq == 2 ? 900 : 2) {
		lab_again(b, i, 1);
		if (b->units.len > 30000)
			r = stage(b);
	}
	if (r == 0)
		r = stage(b);
	return r == 0 ? PRODUCT(lab_commit(b, NULL, &err)) : r;
}

static int fps_step(struct life *l, uint64_t first)
{
	struct fp fps[16];
	int r = be_open(l, false);

	return r == 0 ? PRODUCT(store_writer_fps(l->lab.writer, first, 16, fps,
						 &err)) : r;
}

static void a_wide_part(void *arg)
{
	struct life l;
	uint64_t seq, i;

	(void)arg;
	life_init(&l, WIDE_BLOCKS, 0);
	for (seq = 1; seq <= 3; seq++) {
		for (i = 0; i < WIDE_BLOCKS; i += 900)
			l.lab.now.versions[i] = l.lab.next_version++;
		l.points[seq] = lab_image_copy(&l.lab.now);
		/* A writer that was asked keeps an index, which follows. */
		if (seq == 3)
			until_done(&l, fps_step, 0);
		until_done(&l, wide_point_step, seq);
	}
	until_done(&l, wide_read_step, 1);
	until_done(&l, fps_step, 1000);
	lab_close(&l.lab);
	until_done(&l, wide_read_step, 3);
	life_free(&l);
}

TEST_WITH_TIMEOUT(each_library_call_of_a_life_of_wide_parts_fails, 600)
{
	EXPECT_GT(sites_fail_each(a_wide_part, NULL, 24), 2);
}

/* Where nothing fails nothing is found; and it would be. */
TEST(the_judge_sees_another_image)
{
	uint64_t block = 0;
	struct life l;

	life_init(&l, BLOCKS, 20000);
	make_point(&l, 1);
	make_point(&l, 2);
	EXPECT_INT(lab_compare(&l.lab, 1, &l.points[2], &block, &err), 1);
	EXPECT_TRUE(sites.n > 20);
	life_free(&l);
}
