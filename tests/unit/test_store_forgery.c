// SPDX-License-Identifier: Apache-2.0
/*
 * Records that lie and whose checksums are right: every byte of every record
 * changed, records left out, doubled, of another type. The catalog being gone,
 * the store is made again from them: whatever is offered then is what was
 * stored, or reading it is refused; nothing is made up, nobody falls over.
 *
 * test-timeout: 600
 */
#include "lib/tap.h"

#include "storelab.h"

#include "store/segfmt.h"

#define BLOCKS 24U
#define POINTS 3U
#define RECORDS_MAX 64U

struct record {
	enum rec_type type;
	uint16_t flags;
	const uint8_t *body;
	uint32_t n;
};

struct forge {
	struct lab lab;
	struct lab_image points[POINTS + 1];
	char path[256];			/* of the segment */
	uint8_t *bytes;
	size_t n_bytes;
	uint64_t salt;
	struct record records[RECORDS_MAX];
	size_t n;
	bool keep_catalog;
	unsigned int kept, refused;	/* points, over all lies */
};

static struct err err;

static void point(struct forge *f, uint64_t seq)
{
	struct lab *b = &f->lab;

	ASSERT_OK(lab_begin(b, &err));
	lab_data(b, seq, 2);
	lab_zero(b, 10 + seq, 2);
	ASSERT_OK(lab_stage(b, &err));
	lab_data(b, 1, 1);
	ASSERT_OK(lab_stage(b, &err));
	f->points[seq] = lab_image_copy(&b->now);
	ASSERT_OK(lab_commit(b, NULL, &err));
}

/* Records of every sort, the last ones of a point that is not there. */
static void make_store(struct forge *f)
{
	struct lab *b = &f->lab;

	ASSERT_OK(lab_open(b, false, &err));
	ASSERT_OK(lab_writer(b, &err));
	point(f, 1);
	ASSERT_OK(lab_begin(b, &err));
	lab_again(b, 5, 1);
	ASSERT_OK(lab_stage(b, &err));
	ASSERT_OK(store_writer_discard(b->writer, &err));
	point(f, 2);
	b->spec.epoch = 2;
	ASSERT_OK(lab_writer(b, &err));
	point(f, 3);
	ASSERT_OK(lab_begin(b, &err));
	lab_again(b, 6, 1);
	ASSERT_OK(lab_stage(b, &err));
	lab_close(b);
}

static void read_records(struct forge *f)
{
	struct seg_header h;
	uint64_t off = SEG_HEADER_BYTES;
	int fd;

	f->n_bytes = lab_segment(f->lab.dir, 0, f->path);
	f->bytes = malloc(f->n_bytes);
	ASSERT_NOT_NULL(f->bytes);
	fd = open(f->path, O_RDONLY | O_CLOEXEC);
	ASSERT_OK(io_pread_all(io_posix(), fd, f->bytes, f->n_bytes, 0));
	(void)close(fd);
	ASSERT_OK(seg_header_decode(f->bytes, &h));
	f->salt = seg_salt(&h.segment);
	for (f->n = 0; off < f->n_bytes; f->n++) {
		const struct rec_place at = { f->salt, off };
		struct rec_header rec;

		ASSERT_TRUE(f->n < RECORDS_MAX);
		ASSERT_OK(rec_header_decode(f->bytes + off, &at, &rec));
		f->records[f->n] = (struct record){
			(enum rec_type)rec.type, rec.flags,
			f->bytes + off + REC_HEADER_BYTES, rec.body_bytes };
		off += rec_total_bytes(&rec);
	}
}

static void forge_init(struct forge *f)
{
	memset(f, 0, sizeof(*f));
	lab_init(&f->lab, 11, BLOCKS);
	make_store(f);
	read_records(f);
	ASSERT_GT(f->n, 12);
}

static void forge_free(struct forge *f)
{
	size_t i;

	for (i = 0; i <= POINTS; i++)
		lab_image_free(&f->points[i]);
	free(f->bytes);
	lab_free(&f->lab);
}

static void append(struct forge *f, struct buf *b, const struct record *r)
{
	const struct rec_place at = { f->salt, SEG_HEADER_BYTES + b->len };
	size_t start = rec_begin(b);

	buf_put(b, r->body, r->n);
	rec_end(b, start, &at, r->type, r->flags);
	ASSERT_TRUE(!b->failed);
}

/* The segment with these records, and no catalog, or that of before. */
static void write_segment(struct forge *f, const struct buf *b)
{
	int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	ASSERT_OK(io_pwrite_all(io_posix(), fd, f->bytes, SEG_HEADER_BYTES,
				0));
	ASSERT_OK(io_pwrite_all(io_posix(), fd, b->data, b->len,
				SEG_HEADER_BYTES));
	(void)close(fd);
	if (!f->keep_catalog)
		lab_drop_catalog(f->lab.dir);
}

/*
 * What the store says now. Which points an epoch goes on from is not covered
 * by heads: with other_line, points of the second are not looked at.
 */
static void judge(struct forge *f, bool other_line, const char *what)
{
	uint64_t seq, block = 0;
	int r;

	err_clear(&err);
	r = lab_open(&f->lab, true, &err);
	if (r < 0) {
		ASSERT_MSG(err.num, "  %s: refused without a reason", what);
		f->refused += POINTS;
		return;
	}
	for (seq = 1; seq <= POINTS; seq++) {
		if (other_line && seq == POINTS)
			continue;
		r = lab_compare(&f->lab, seq, &f->points[seq], &block, &err);
		ASSERT_MSG(r <= 0, "  %s: point %" PRIu64 " block %" PRIu64
			   " is another", what, seq, block);
		f->kept += r == 0;
		f->refused += r < 0;
	}
	lab_close(&f->lab);
}

/* All records, the i-th being r; twice, or not at all, as n says. */
static void with(struct forge *f, size_t i, const struct record *r,
		 unsigned int n, const char *what)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t k;

	for (k = 0; k < f->n; k++) {
		unsigned int times = k == i ? n : 1;

		while (times--)
			append(f, &b, k == i ? r : &f->records[k]);
	}
	write_segment(f, &b);
	judge(f, r->type == REC_EPOCH || f->records[i].type == REC_EPOCH,
	      what);
}

static void flip_each_byte(struct forge *f, unsigned int stride,
			   unsigned int from)
{
	char what[64];
	size_t i, at;

	for (i = 0; i < f->n; i++) {
		struct record r = f->records[i];
		uint8_t *body = malloc(r.n);

		ASSERT_NOT_NULL(body);
		/* Of units a few are enough: their own checksum holds them. */
		for (at = from % stride; at < r.n;
		     at += r.type == REC_UNITS ? 8 * stride : stride) {
			memcpy(body, r.body, r.n);
			body[at] ^= (uint8_t)(1U << (at + from) % 8);
			r.body = body;
			(void)snprintf(what, sizeof(what),
				       "record %zu type %d byte %zu", i,
				       (int)r.type, at);
			with(f, i, &r, 1, what);
			r.body = f->records[i].body;
		}
		free(body);
	}
}

static unsigned int lot(void)
{
	const char *seed = getenv("TEST_SEED");
	unsigned int n = seed ? (unsigned int)strtoul(seed, NULL, 10) :
				(unsigned int)time(NULL);

	tap_note("seed %u", n);
	return n % 1000;
}

TEST_WITH_TIMEOUT(a_lie_in_any_byte_of_a_record_makes_nothing_up, 300)
{
	bool all = getenv("TEST_LONG") || getenv("TEST_SITES");
	struct forge f;

	forge_init(&f);
	flip_each_byte(&f, all ? 1 : 13, lot());
	tap_note("%u points kept, %u refused", f.kept, f.refused);
	EXPECT_GT(f.kept, 50);
	EXPECT_GT(f.refused, 50);
	forge_free(&f);
}

/* The catalog knows better: heads and hashes of what there should be. */
TEST_WITH_TIMEOUT(a_lie_that_the_catalog_knows_better_makes_nothing_up, 300)
{
	bool all = getenv("TEST_LONG") || getenv("TEST_SITES");
	struct forge f;

	forge_init(&f);
	f.keep_catalog = true;
	flip_each_byte(&f, all ? 1 : 13, lot());
	tap_note("%u points kept, %u refused", f.kept, f.refused);
	EXPECT_GT(f.kept, 50);
	EXPECT_GT(f.refused, 50);
	forge_free(&f);
}

static void change_row(struct forge *f)
{
	char what[64];
	size_t i;

	for (i = 0; i < f->n; i++) {
		struct record r = f->records[i];
		unsigned int type;

		(void)snprintf(what, sizeof(what), "record %zu left out", i);
		with(f, i, &r, 0, what);
		(void)snprintf(what, sizeof(what), "record %zu doubled", i);
		with(f, i, &r, 2, what);
		for (type = 0; type < 12; type++) {
			r.type = (enum rec_type)type;
			r.flags = 0;
			(void)snprintf(what, sizeof(what),
				       "record %zu of type %u", i, type);
			with(f, i, &r, 1, what);
			r.flags = REC_SKIPPABLE;
			with(f, i, &r, 1, what);
		}
		/* Too short for what it says that it is. */
		r = f->records[i];
		r.n /= 2;
		(void)snprintf(what, sizeof(what), "record %zu cut", i);
		with(f, i, &r, 1, what);
	}
}

TEST(records_left_out_doubled_or_of_another_type_make_nothing_up)
{
	struct forge f;

	forge_init(&f);
	change_row(&f);
	f.keep_catalog = true;
	change_row(&f);
	tap_note("%u points kept, %u refused", f.kept, f.refused);
	EXPECT_GT(f.kept, 50);
	EXPECT_GT(f.refused, 50);
	forge_free(&f);
}

/*
 * After the first point, a record of a type that is not known. Does a writer
 * take the volume up? It is read as far as it is understood.
 */
static int with_later(struct forge *f, uint16_t flags)
{
	static const uint8_t body[24] = "of a later version";
	const struct record later = { (enum rec_type)77, flags, body,
				      sizeof(body) };
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t block = 0;
	size_t i;
	int r;

	for (i = 0; i < f->n; i++) {
		append(f, &b, &f->records[i]);
		if (f->records[i].type == REC_POINT) {
			append(f, &b, &later);
			break;
		}
	}
	write_segment(f, &b);
	err_clear(&err);
	r = lab_open(&f->lab, false, &err);
	if (r == 0)
		r = lab_writer(&f->lab, &err);
	if (r == 0) {
		ASSERT_OK(lab_compare(&f->lab, 1, &f->points[1], &block, &err));
		EXPECT_U64(block, 0);
	}
	lab_close(&f->lab);
	return r;
}

TEST(a_record_of_a_later_version_is_stepped_over_or_refused_as_it_says)
{
	struct forge f;

	forge_init(&f);
	EXPECT_INT(with_later(&f, 0), -EPROTONOSUPPORT);
	EXPECT_STR(err.code, "segment-newer");
	EXPECT_OK(with_later(&f, REC_SKIPPABLE));
	forge_free(&f);
}

TEST(the_judge_sees_what_was_not_changed_and_what_was)
{
	struct forge f;
	uint64_t block = 0;

	forge_init(&f);
	with(&f, 0, &f.records[0], 1, "nothing");
	EXPECT_U64(f.kept, POINTS);
	ASSERT_OK(lab_open(&f.lab, true, &err));
	EXPECT_INT(lab_compare(&f.lab, 1, &f.points[2], &block, &err), 1);
	forge_free(&f);
}
