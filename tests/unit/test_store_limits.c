// SPDX-License-Identifier: Apache-2.0
/*
 * The edges of the store's calls and formats: arguments that cannot be, counts
 * past a page or a window, a file system without direct reads, a catalog of a
 * later version. Each is refused with its reason, or makes no difference.
 */
#include "lib/tap.h"

#include "storelab.h"

#include <sqlite3.h>

#include "base/cleanup.h"
#include "store/entries.h"
#include "store/footfmt.h"

#define BLOCKS 64U

static struct err err;

static void begin(struct lab *l, uint64_t n_blocks)
{
	lab_init(l, 5, n_blocks);
	ASSERT_OK(lab_open(l, false, &err));
	ASSERT_OK(lab_writer(l, &err));
}

static void point(struct lab *l)
{
	ASSERT_OK(lab_begin(l, &err));
	lab_data(l, l->seq % 8, 2);
	ASSERT_OK(lab_stage(l, &err));
	ASSERT_OK(lab_commit(l, NULL, &err));
}

/* ---- arguments ---- */

static int open_with(struct lab *l, const struct store_volume_spec *spec)
{
	struct store_writer *w = NULL;
	int r;

	err_clear(&err);
	r = store_writer_open(l->store, spec, &w, &err);
	store_writer_close(w);
	EXPECT_TRUE(r == 0 || err.message[0]);
	return r;
}

TEST(volumes_that_cannot_be_are_not_opened)
{
	struct store_volume_spec good, s;
	struct lab l;

	begin(&l, BLOCKS);
	good = l.spec;
	s = good, s.source = "../x";
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.name = "";
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.epoch = 0;
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.epoch = (uint64_t)INT64_MAX + 1;
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.size_bytes = (uint64_t)INT64_MAX + 1;
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.uuid = (struct uuid){ { 0 } };
	EXPECT_INT(open_with(&l, &s), -EINVAL);
	s = good, s.uuid.b[3] ^= 1;
	EXPECT_INT(open_with(&l, &s), -EEXIST);
	EXPECT_OK(open_with(&l, &good));
	lab_free(&l);
}

TEST(deltas_that_do_not_fit_begin_nothing)
{
	struct delta d = { .epoch = 1, .seq = 1, .key_id = 1 };
	uint32_t index;
	struct lab l;

	begin(&l, BLOCKS);
	EXPECT_LT(store_writer_begin(l.writer, &d, &index, &err), 0);
	d.volume = l.spec.uuid;
	d.seq = 0;
	EXPECT_LT(store_writer_begin(l.writer, &d, &index, &err), 0);
	d.seq = (uint64_t)INT64_MAX + 1;
	EXPECT_LT(store_writer_begin(l.writer, &d, &index, &err), 0);
	d.seq = 1;
	d.epoch = 2;
	EXPECT_INT(store_writer_begin(l.writer, &d, &index, &err), -ESTALE);
	d.epoch = 1;
	EXPECT_OK(store_writer_begin(l.writer, &d, &index, &err));
	EXPECT_LT(store_writer_units(l.writer, index + 7, NULL, 0, &err), 1);
	lab_free(&l);
}

static int commit_with(struct lab *l, const struct point_meta *m)
{
	struct point_info info;

	err_clear(&err);
	return store_writer_commit(l->writer, m, &l->head, &info, &err);
}

TEST(points_that_cannot_be_are_not_committed)
{
	struct point_meta good = { .epoch = 1, .seq = 2, .flip_wall_ns = 1,
				   .size_bytes = BLOCKS * US_BLOCK_BYTES }, m;
	struct lab l;

	begin(&l, BLOCKS);
	point(&l);
	m = good, m.seq = 0;
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	m = good, m.seq = (uint64_t)INT64_MAX + 1;
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	m = good, m.seq = 1;
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	m = good, m.epoch = 9;
	EXPECT_INT(commit_with(&l, &m), -ESTALE);
	m = good, m.kind = (enum point_kind)9;
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	m = good, m.size_bytes = UINT64_MAX;
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	m = good, memset(m.label, 'x', sizeof(m.label));
	EXPECT_INT(commit_with(&l, &m), -EINVAL);
	EXPECT_OK(commit_with(&l, &good));
	EXPECT_STR(point_kind_name((enum point_kind)9), "unknown");
	lab_free(&l);
}

static int any_piece(void *arg, const struct view_piece *piece)
{
	(void)arg, (void)piece;
	return 0;
}

static int stop_here(void *arg, const struct view_piece *piece)
{
	(void)arg, (void)piece;
	return 17;
}

TEST(ranges_past_every_volume_are_refused)
{
	static struct fp fps[4];
	uint64_t first, count;
	struct view *v;
	struct lab l;
	bool zero;

	begin(&l, BLOCKS);
	point(&l);
	ASSERT_OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	EXPECT_LT(view_walk(v, US_MAX_BLOCKS, 1, any_piece, NULL, &err), 0);
	EXPECT_LT(view_walk(v, 1, US_MAX_BLOCKS, any_piece, NULL, &err), 0);
	EXPECT_INT(view_walk(v, 0, 8, stop_here, NULL, &err), 17);
	EXPECT_INT(view_next(v, US_MAX_BLOCKS, &first, &count, &zero, &err), 1);
	EXPECT_INT(view_next(v, BLOCKS, &first, &count, &zero, &err), 1);
	view_close(v);
	EXPECT_LT(view_open(l.store, &l.spec.uuid, 0, 2, &v, &err), 0);
	EXPECT_LT(store_writer_fps(l.writer, US_MAX_BLOCKS, 4, fps, &err), 0);
	lab_free(&l);
}

/* ---- more than a page, a window ---- */

struct counted {
	uint64_t n, last;
	bool backwards, rose;
};

static int count_point(void *arg, const struct point_info *p)
{
	struct counted *c = arg;

	if (c->n && (p->meta.seq > c->last) == c->backwards)
		c->rose = true;
	c->last = p->meta.seq;
	c->n++;
	return 0;
}

static int stop_at_once(void *arg, const struct point_info *p)
{
	(void)arg, (void)p;
	return 23;
}

TEST(more_points_than_a_page_are_listed_in_either_order)
{
	struct counted up = { 0 }, down = { .backwards = true };
	struct point_meta m = { .epoch = 1, .size_bytes = 4096 };
	const struct uuid *id;
	struct point_info p;
	struct lab l;

	begin(&l, BLOCKS);
	id = &l.spec.uuid;
	for (m.seq = 1; m.seq <= 600; m.seq++) {
		m.flip_wall_ns = (int64_t)m.seq * 10;
		(void)snprintf(m.label, sizeof(m.label), "%s",
			       m.seq == 300 ? "a-label" : "");
		ASSERT_OK(store_writer_commit(l.writer, &m, &l.head, &p, &err));
		l.head = p.head;
	}
	EXPECT_OK(store_points(l.store, id, false, count_point, &up));
	EXPECT_OK(store_points(l.store, id, true, count_point, &down));
	EXPECT_U64(up.n, 600);
	EXPECT_U64(down.n, 600);
	EXPECT_U64(down.last, 1);
	EXPECT_TRUE(!up.rose && !down.rose);
	EXPECT_INT(store_points(l.store, id, true, stop_at_once, NULL), 23);
	EXPECT_OK(store_point_labelled(l.store, id, "a-label", &p));
	EXPECT_U64(p.meta.seq, 300);
	EXPECT_INT(store_point_labelled(l.store, id, "", &p), -ENOENT);
	EXPECT_OK(store_point_at(l.store, id, 1234, &p));
	EXPECT_U64(p.meta.seq, 123);
	EXPECT_INT(store_point_at(l.store, id, 9, &p), -ENOENT);
	lab_free(&l);
}

/* A part longer than what is read at a time. */
static void wide_store(struct lab *l, uint64_t n)
{
	uint64_t i;

	begin(l, 2 * n);
	ASSERT_OK(lab_begin(l, &err));
	for (i = 0; i < n; i++)
		ASSERT_OK(sealer_zero(l->sealer, 2 * i, 1, &l->units));
	ASSERT_OK(lab_stage(l, &err));
	ASSERT_OK(lab_commit(l, NULL, &err));
	ASSERT_OK(lab_begin(l, &err));
	lab_data(l, 6, 1);
	ASSERT_OK(lab_stage(l, &err));
	ASSERT_OK(lab_commit(l, NULL, &err));
	lab_close(l);
}

TEST(a_part_longer_than_a_window_is_found_again)
{
	uint64_t first, count;
	struct view *v;
	struct lab l;
	bool zero;

	wide_store(&l, 30000);
	lab_drop_catalog(l.dir);
	ASSERT_OK(lab_open(&l, false, &err));
	ASSERT_OK(view_open(l.store, &l.spec.uuid, 0, 2, &v, &err));
	EXPECT_OK(view_next(v, 59990, &first, &count, &zero, &err));
	EXPECT_U64(first, 59990);
	EXPECT_TRUE(zero);
	EXPECT_OK(view_next(v, 6, &first, &count, &zero, &err));
	EXPECT_TRUE(first == 6 && count == 1 && !zero);
	EXPECT_OK(view_next(v, 59991, &first, &count, &zero, &err));
	EXPECT_U64(first, 59992);
	EXPECT_INT(view_next(v, 59999, &first, &count, &zero, &err), 1);
	view_close(v);
	lab_free(&l);
}

/* ---- file systems ---- */

static const struct io_ops *under;
static bool refuses_open, refuses_read;
static int drop_error;

static int no_direct_open(struct io *io, int dirfd, const char *path,
			  int flags, mode_t mode)
{
	if (refuses_open && flags & O_DIRECT)
		return -EINVAL;
	return under->open(io, dirfd, path, flags, mode);
}

static ssize_t no_direct_pread(struct io *io, int fd, void *p, size_t n,
			       uint64_t off)
{
	if (refuses_read && fcntl(fd, F_GETFL) & O_DIRECT)
		return -EINVAL;
	return under->pread(io, fd, p, n, off);
}

static int failing_drop(struct io *io, int fd)
{
	(void)io, (void)fd;
	return drop_error;
}

static void read_again(struct lab *l, struct io_ops *ops, int want)
{
	uint64_t block = 0;
	int r;

	l->io.io.ops = ops;
	lab_drop_catalog(l->dir);
	err_clear(&err);
	r = lab_open(l, false, &err);
	if (r == 0)
		r = lab_writer(l, &err);
	EXPECT_MSG(r == want, "  %d: %s", r, err.message);
	if (r == 0)
		EXPECT_OK(lab_compare(l, l->seq, &l->now, &block, &err));
	lab_close(l);
	l->io.io.ops = under;
}

TEST(a_file_system_without_direct_reads_makes_no_difference)
{
	struct io_ops ops;
	struct lab l;

	begin(&l, BLOCKS);
	point(&l);
	point(&l);
	lab_close(&l);
	under = l.io.io.ops;
	ops = *under;
	ops.open = no_direct_open;
	ops.pread = no_direct_pread;
	refuses_open = true;
	read_again(&l, &ops, 0);
	refuses_open = false;
	refuses_read = true;
	read_again(&l, &ops, 0);
	ops.drop_cache = NULL;
	read_again(&l, &ops, 0);
	ops.drop_cache = failing_drop;
	read_again(&l, &ops, 0);
	/* What the disk does not give is not known to be there: nor may the
	 * volume begin anew, until the disk says more. */
	drop_error = -EIO;
	read_again(&l, &ops, -EIO);
	drop_error = 0;
	read_again(&l, &ops, 0);
	lab_free(&l);
}

static int count_volume(void *arg, const struct volume_info *v)
{
	(void)v;
	++*(unsigned int *)arg;
	return 0;
}

TEST(a_volume_that_cannot_be_read_now_comes_back_with_the_disk)
{
	unsigned int volumes = 0;
	uint64_t block = 0;
	struct io_ops ops;
	struct lab l;

	begin(&l, BLOCKS);
	point(&l);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	under = l.io.io.ops;
	ops = *under;
	ops.drop_cache = failing_drop;
	drop_error = -EIO;
	l.io.io.ops = &ops;
	ASSERT_OK(lab_open(&l, false, &err));
	EXPECT_INT(lab_writer(&l, &err), -EIO);
	EXPECT_OK(store_volumes(l.store, count_volume, &volumes));
	EXPECT_U64(volumes, 0);
	/* In the same process: the next who asks gets it. */
	drop_error = 0;
	ASSERT_OK(lab_writer(&l, &err));
	EXPECT_OK(store_volumes(l.store, count_volume, &volumes));
	EXPECT_U64(volumes, 1);
	EXPECT_OK(lab_compare(&l, 1, &l.now, &block, &err));
	point(&l);
	lab_free(&l);
}

static int look(void *arg, const struct volume_info *v)
{
	*(struct volume_info *)arg = *v;
	return 0;
}

static unsigned int lists_to_fail;

static int failing_list(struct io *io, int dirfd, const char *path,
			int (*cb)(void *arg, const char *name), void *arg)
{
	/* Those of the volume's directory, not of the store's. */
	if (!lists_to_fail || faccessat(dirfd, "../../volumes", F_OK, 0))
		return under->listdir(io, dirfd, path, cb, arg);
	lists_to_fail--;
	return -EIO;
}

TEST(a_look_for_a_point_reads_a_volume_again_that_could_not_be_read)
{
	const struct uuid *uuid;
	struct volume_info v;
	struct point_info p;
	uint64_t block = 0;
	struct io_ops ops;
	struct lab l;

	begin(&l, BLOCKS);
	uuid = &l.spec.uuid;
	point(&l);
	lab_close(&l);
	under = l.io.io.ops;
	ops = *under;
	ops.listdir = failing_list;
	l.io.io.ops = &ops;
	lists_to_fail = 1;
	ASSERT_OK(lab_open(&l, false, &err));
	EXPECT_OK(store_volumes(l.store, look, &v));
	EXPECT_TRUE(v.damaged);
	/* Nobody knows yet whether there is one. */
	lists_to_fail = 3;
	EXPECT_INT(store_point_find(l.store, uuid, 1, 99, &p), -EIO);
	EXPECT_INT(store_point_at(l.store, uuid, 0, &p), -EIO);
	EXPECT_INT(store_point_labelled(l.store, uuid, "none", &p), -EIO);
	EXPECT_U64(lists_to_fail, 0);
	EXPECT_INT(store_point_find(l.store, uuid, 1, 99, &p), -ENOENT);
	EXPECT_OK(store_point_at(l.store, uuid, INT64_MAX, &p));
	EXPECT_U64(p.meta.seq, 1);
	EXPECT_OK(store_volumes(l.store, look, &v));
	EXPECT_FALSE(v.damaged);
	EXPECT_OK(lab_compare(&l, 1, &l.now, &block, &err));
	/* A look at what can be read fences nobody. */
	ASSERT_OK(lab_writer(&l, &err));
	EXPECT_OK(store_point_at(l.store, uuid, INT64_MAX, &p));
	point(&l);
	lab_free(&l);
}

/* name in the volume's directory, with n bytes of nothing in it. */
static void put_file(const struct lab *l, const char *name, size_t n,
		     char path[256])
{
	char uuid[UUID_TEXT_SIZE];
	int fd;

	uuid_format(&l->spec.uuid, uuid);
	(void)snprintf(path, 256, "%s/volumes/%s/%s", l->dir, uuid, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_OK(ftruncate(fd, (off_t)n));
	(void)close(fd);
}

/* As a kill between the making of a segment and its first byte leaves it. */
TEST(a_segment_that_was_never_written_is_cleared_away_and_no_other_file)
{
	char empty[256], zeros[256], other[256];
	uint64_t block = 0;
	struct lab l;

	begin(&l, BLOCKS);
	point(&l);
	lab_close(&l);
	put_file(&l, "9a0b5f4e-1111-4222-8333-444455556666.seg", 0, empty);
	put_file(&l, "9a0b5f4e-1111-4222-8333-444455556667.seg", 128, zeros);
	put_file(&l, "notes", 0, other);
	/* Who only reads touches nothing. */
	ASSERT_OK(lab_open(&l, true, &err));
	lab_close(&l);
	EXPECT_OK(access(empty, F_OK));
	ASSERT_OK(lab_open(&l, false, &err));
	EXPECT_INT(access(empty, F_OK), -1);
	EXPECT_OK(access(zeros, F_OK));
	EXPECT_OK(access(other, F_OK));
	EXPECT_OK(lab_compare(&l, 1, &l.now, &block, &err));
	ASSERT_OK(lab_writer(&l, &err));
	point(&l);
	lab_free(&l);
}

/* ---- the catalog ---- */

static void sql(const struct lab *l, const char *text)
{
	char path[128];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%s/catalog.db", l->dir);
	ASSERT_OK(sqlite3_open(path, &db));
	ASSERT_OK(sqlite3_exec(db, text, NULL, NULL, NULL));
	(void)sqlite3_close(db);
}

TEST(a_catalog_of_a_later_version_is_refused_and_kept)
{
	struct lab l;

	begin(&l, BLOCKS);
	point(&l);
	lab_close(&l);
	sql(&l, "PRAGMA user_version = 99");
	EXPECT_INT(lab_open(&l, false, &err), -EPROTONOSUPPORT);
	EXPECT_STR(err.code, "catalog-newer");
	EXPECT_INT(lab_open(&l, true, &err), -EPROTONOSUPPORT);
	sql(&l, "PRAGMA user_version = 1");
	EXPECT_OK(lab_open(&l, false, &err));
	lab_free(&l);
}

TEST(a_path_that_is_too_long_is_told)
{
	char path[5000];
	struct store_config cfg = { .path = path, .io = io_posix(),
				    .clock = clock_real(),
				    .rnd = rnd_system() };
	struct store *s = NULL;

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	EXPECT_LT(store_open(&cfg, &s, &err), 0);
	cfg.read_only = true;
	EXPECT_LT(store_open(&cfg, &s, &err), 0);
}

/* ---- footers ---- */

static struct ent good_ent(uint64_t first)
{
	return (struct ent){ .first = first, .unit_off = 1000, .count = 2,
			     .skip = 1, .unit_bytes = 4200, .delta = 0,
			     .codec = UNIT_LZ4 };
}

static int put(const struct ent *ents, size_t n, size_t n_deltas)
{
	static const struct seg_delta deltas[1];
	const struct part_content c = { ents, n, deltas, n_deltas, NULL };
	struct part_head h = { .ord = 1 };
	_cleanup_buf_ struct buf b = { 0 };

	return part_put(&b, &c, &h);
}

TEST(entries_that_cannot_be_make_no_part)
{
	struct ent e[2] = { good_ent(10), good_ent(12) };

	EXPECT_OK(put(e, 2, 1));
	EXPECT_INT(put(e, 0, 1), -EINVAL);
	EXPECT_INT(put(e, 2, 0), -EINVAL);
	EXPECT_INT(put(e, (size_t)PART_MAX_ENTRIES + 1, 1), -EINVAL);
	EXPECT_INT(put(e, 2, (size_t)PART_MAX_DELTAS + 1), -EINVAL);
#define BAD(change) \
	e[1] = good_ent(12), change; \
	EXPECT_INT(put(e, 2, 1), -EINVAL)
	BAD(e[1].first = 11);
	BAD(e[1].count = 0);
	BAD(e[1].codec = 9);
	BAD(e[1].delta = 1);
	BAD(e[1].skip = UNIT_MAX_BLOCKS);
	BAD(e[1].first = UINT64_MAX);
	BAD(e[1].first = US_MAX_BLOCKS - 1);
	BAD(e[1].unit_bytes = 55);
	BAD(e[1].unit_bytes = UNIT_MAX_BYTES + 1);
	BAD(e[1].unit_off = 8);
	BAD(e[1].unit_off = INT64_MAX);
}

static int head_with(size_t off, uint64_t value, size_t n)
{
	uint8_t p[PART_HEAD_BYTES] = { 0 };
	struct part_head h;
	size_t i;

	put_le64(p + 16, 5);		/* lo */
	put_le64(p + 24, 9);		/* hi */
	put_le32(p + 56, 1);
	put_le32(p + 60, 1);
	put_le32(p + 64, 1);
	for (i = 0; i < n; i++)
		p[off + i] = (uint8_t)(value >> 8 * i);
	return part_head_get(p, sizeof(p), PART_HEAD_BYTES + PART_DELTA_BYTES +
			     PART_PAGE_REF_BYTES + PART_ENTRY_BYTES, &h);
}

TEST(counts_of_a_part_that_cannot_be_are_refused)
{
	EXPECT_OK(head_with(0, 0, 0));
	EXPECT_INT(head_with(56, 0, 4), -EBADMSG);
	EXPECT_INT(head_with(56, PART_MAX_ENTRIES + 1, 4), -EBADMSG);
	EXPECT_INT(head_with(60, 0, 4), -EBADMSG);
	EXPECT_INT(head_with(60, PART_MAX_DELTAS + 1, 4), -EBADMSG);
	EXPECT_INT(head_with(64, 2, 4), -EBADMSG);
	EXPECT_INT(head_with(16, 9, 8), -EBADMSG);
	EXPECT_INT(head_with(24, US_MAX_BLOCKS + 1, 8), -EBADMSG);
	EXPECT_INT(head_with(60, 2, 4), -EBADMSG);
}

/* A page whose hash is right and whose entries cannot be. */
static int page_with(size_t off, uint64_t value, size_t n)
{
	struct ent e[2] = { good_ent(10), good_ent(12) }, got[2];
	static const struct seg_delta deltas[1];
	const struct part_content c = { e, 2, deltas, 1, NULL };
	struct part_head h = { .ord = 1 };
	_cleanup_buf_ struct buf b = { 0 };
	struct part_page page = { .first = 10 };
	struct digest d;
	struct iovec all;
	uint8_t *p;
	size_t i;

	ASSERT_OK(part_put(&b, &c, &h));
	p = b.data + part_pages_off(&h);
	for (i = 0; i < n; i++)
		p[off + i] = (uint8_t)(value >> 8 * i);
	all = (struct iovec){ p, 2 * PART_ENTRY_BYTES };
	ASSERT_OK(digest_of(&all, 1, &d));
	memcpy(page.hash, d.b, sizeof(page.hash));
	return part_page_get(p, &h, 0, &page, got);
}

TEST(entries_that_cannot_be_are_refused_whatever_their_hash)
{
	EXPECT_OK(page_with(0, 0, 0));
	EXPECT_INT(page_with(0, 9, 8), -EBADMSG);	/* not the page's */
	EXPECT_INT(page_with(40, 11, 8), -EBADMSG);	/* overlap */
	EXPECT_INT(page_with(40, 13, 8), -EBADMSG);	/* past hi */
	EXPECT_INT(page_with(24, 0, 4), -EBADMSG);
	EXPECT_INT(page_with(76, 1, 4), -EBADMSG);	/* delta */
	EXPECT_INT(page_with(48, UINT64_MAX, 8), -EBADMSG);
}

/* ---- entries ---- */

TEST(a_long_tail_is_put_in_order_when_it_is_asked)
{
	struct entlog log = { 0 };
	struct entvec out = { 0 };
	uint64_t at;
	size_t i;

	/* A long row in order first, so that adding does not do it. */
	for (i = 0; i < 40000; i++) {
		struct ent e = good_ent(2 * i);

		ASSERT_OK(entlog_add(&log, &e));
	}
	for (i = 0; i < 12000; i++) {
		struct ent e = good_ent(2 * (12000 - i));

		e.order = 1;
		ASSERT_OK(entlog_add(&log, &e));
	}
	ASSERT_OK(entlog_find(&log, 100, 104, &out));
	ASSERT_OK(entvec_resolve(&out));
	EXPECT_U64(out.n, 2);
	EXPECT_U64(out.v[0].order, 1);
	EXPECT_TRUE(entlog_next(&log, 79999, &at));
	EXPECT_TRUE(!entlog_next(&log, 80000, &at));
	entvec_free(&out);
	entlog_free(&log);
}

/* Neighbours of one unit that do not go on are two. */
TEST(pieces_of_units_are_joined_only_where_they_go_on)
{
	static const struct {
		uint32_t skip;
		uint64_t sum, off;
	} of[] = { { 1, 0, 1000 }, { 3, 0, 1000 }, { 9, 0, 1000 },
		   { 11, 1, 1000 }, { 13, 1, 2000 } };
	struct entvec ev = { 0 };
	struct ent e = good_ent(9);
	size_t i;

	e.count = 12;			/* below all of them */
	ASSERT_OK(entvec_add(&ev, &e));
	for (i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		e = good_ent(10 + 2 * i);
		e.order = 1;
		e.skip = of[i].skip;
		e.unit_sum = of[i].sum;
		e.unit_off = of[i].off;
		ASSERT_OK(entvec_add(&ev, &e));
	}
	ASSERT_OK(entvec_resolve(&ev));
	/* Its two ends, and the second goes on from the first. */
	EXPECT_U64(ev.n, 2 + 4);
	EXPECT_U64(ev.v[1].count, 4);
	entvec_free(&ev);
}
