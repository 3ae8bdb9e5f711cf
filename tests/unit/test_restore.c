// SPDX-License-Identifier: Apache-2.0
/*
 * The restore engine against a model: an image held in memory whose bytes the
 * test knows. Targets are files in TMPDIR; a device is played by a file with
 * target_is_device, which takes the paths a device would. What the kernel does
 * for a real one is shown in tests/root.
 */
#include <sys/stat.h>

#include "tap.h"

#include "base/rnd.h"
#include "unit/faulty_io.h"
#include "unit/model_image.h"

/* ---- a target ---- */

struct target {
	char path[200];
	int fd;
};

static void target_open(struct target *t, uint64_t garbage_bytes)
{
	const char *dir = getenv("TMPDIR");
	uint8_t junk[B];
	uint64_t off;

	snprintf(t->path, sizeof(t->path), "%s/restore.XXXXXX",
		 dir ? dir : "/tmp");
	t->fd = mkostemp(t->path, O_CLOEXEC);
	ASSERT_TRUE(t->fd >= 0);
	unlink(t->path);
	memset(junk, 0xa5, sizeof(junk));
	for (off = 0; off < garbage_bytes; off += B)
		ASSERT_OK(io_pwrite_all(io_posix(), t->fd, junk,
					MIN((uint64_t)B, garbage_bytes - off),
					off));
}

static uint64_t target_size(const struct target *t)
{
	struct stat st;

	ASSERT_OK(fstat(t->fd, &st));
	return (uint64_t)st.st_size;
}

static bool target_is(const struct target *t, uint64_t off, const uint8_t *p,
		      uint64_t n)
{
	uint8_t *have = malloc(n ? n : 1);
	bool same;

	ASSERT_TRUE(have);
	ASSERT_OK(io_pread_all(io_posix(), t->fd, have, n, off));
	same = !memcmp(have, p, n);
	free(have);
	return same;
}

static bool target_all(const struct target *t, uint64_t off, uint64_t n,
		       uint8_t v)
{
	uint8_t *p = malloc(n ? n : 1);
	bool same;

	ASSERT_TRUE(p);
	memset(p, v, n);
	same = target_is(t, off, p, n);
	free(p);
	return same;
}

static void a_model(struct model *m)
{
	model_init(m, 3 * 1024 * B);
	model_set(m, 0, 5, DATA, 1);
	model_set(m, 5, 300, ZERO, 0);
	model_set(m, 400, 700, DATA, 9);
	model_set(m, 2000, 1, DATA, 3);
}

#define N_DATA_BYTES ((5 + 700 + 1) * (uint64_t)B)

TEST(a_fresh_file_gets_the_image_and_stays_sparse)
{
	struct restore_options o = { .target_is_fresh = true, .verify = true };
	struct restore_result res;
	struct err err = ERR_INIT;
	struct target t;
	struct model m;
	struct stat st;

	a_model(&m);
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, &err), 0);
	EXPECT_U64(target_size(&t), 3 * 1024 * B);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, target_size(&t)));
	EXPECT_U64(res.written_bytes, N_DATA_BYTES);
	EXPECT_U64(res.image_bytes, 3 * 1024 * B);
	EXPECT_U64(res.zero_bytes, 3 * 1024 * B - N_DATA_BYTES);
	EXPECT_U64(res.verified_bytes, 3 * 1024 * B);
	ASSERT_OK(fstat(t.fd, &st));
	EXPECT_TRUE((uint64_t)st.st_blocks * 512 < N_DATA_BYTES + (1 << 20));
	/* the judge itself: one byte off and it must object */
	m.bytes[1000 * B + 17] ^= 1;
	EXPECT_FALSE(target_is(&t, 0, m.bytes, target_size(&t)));
	model_free(&m);
}

TEST(a_longer_file_with_other_content_becomes_exactly_the_volume)
{
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	target_open(&t, 4 * 1024 * B);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(target_size(&t), 3 * 1024 * B);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, target_size(&t)));
	model_free(&m);
}

TEST(an_old_device_gets_real_zeros_and_keeps_what_lies_behind)
{
	struct restore_options o = { .verify = true, .target_is_device = true,
				     .target_is_fresh = true };
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	target_open(&t, 3 * 1024 * B + 8192);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, 3 * 1024 * B));
	EXPECT_TRUE(target_all(&t, 3 * 1024 * B, 8192, 0xa5));
	model_free(&m);
}

TEST(zeros_are_written_where_the_target_cannot_zero)
{
	struct restore_options o = { .verify = true, .target_is_device = true };
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	a_model(&m);
	o.io = faulty_io_init(&f);
	f.no_fallocate = true;
	target_open(&t, 3 * 1024 * B);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, 3 * 1024 * B));
	EXPECT_U64(res.written_bytes, 3 * 1024 * B);
	EXPECT_U64(f.written, 3 * 1024 * B);
	model_free(&m);
}

TEST(in_place_writes_only_what_differs)
{
	struct restore_options o = { .in_place = true, .verify = true };
	struct restore_result res;
	struct target t;
	uint8_t junk[B];
	struct model m;

	a_model(&m);
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(res.written_bytes, N_DATA_BYTES);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(res.written_bytes, 0);
	EXPECT_FALSE(res.touched);
	memset(junk, 0x77, sizeof(junk));
	/* two blocks of data, and one byte where zeros belong */
	ASSERT_OK(io_pwrite_all(io_posix(), t.fd, junk, B, 3 * B));
	ASSERT_OK(io_pwrite_all(io_posix(), t.fd, junk, 1, 500 * B + 9));
	ASSERT_OK(io_pwrite_all(io_posix(), t.fd, junk, 1, 100 * B + 9));
	ASSERT_OK(io_pwrite_all(io_posix(), t.fd, junk, 1, 3 * 1024 * B - 1));
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(res.written_bytes, 2 * B);	/* zeros: punched */
	EXPECT_TRUE(target_is(&t, 0, m.bytes, 3 * 1024 * B));
	o.target_is_device = true;
	ASSERT_OK(io_pwrite_all(io_posix(), t.fd, junk, 1, 100 * B + 9));
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, 3 * 1024 * B));
	model_free(&m);
}

TEST(a_range_keeps_its_place_and_touches_nothing_else)
{
	struct restore_options o = { .verify = true };
	uint64_t from = 3 * B + 512, len = 600 * B + 1024;
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	o.off_bytes = from;
	o.len_bytes = len;
	target_open(&t, 3 * 1024 * B);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_all(&t, 0, from, 0xa5));
	EXPECT_TRUE(target_is(&t, from, m.bytes + from, len));
	EXPECT_TRUE(target_all(&t, from + len, 3 * 1024 * B - from - len,
			       0xa5));
	EXPECT_U64(res.image_bytes, len);
	EXPECT_U64(target_size(&t), 3 * 1024 * B);
	model_free(&m);
}

TEST(a_range_extends_a_short_file_only_to_its_end)
{
	struct restore_options o = { .verify = true, .off_bytes = 401 * B,
				     .len_bytes = 2 * B };
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(target_size(&t), 403 * B);
	EXPECT_TRUE(target_is(&t, 401 * B, m.bytes + 401 * B, 2 * B));
	model_free(&m);
}

TEST(the_last_block_ends_where_the_volume_does)
{
	uint64_t size = 9 * B + 1536;
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct target t;
	struct model m;

	model_init(&m, size);
	model_set(&m, 8, 2, DATA, 5);
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(target_size(&t), size);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, size));
	o.in_place = true;
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_U64(res.written_bytes, 0);
	o.in_place = false;
	o.target_is_device = true;
	ASSERT_OK(ftruncate(t.fd, 10 * B));
	ASSERT_OK(pwrite(t.fd, "behind", 6, size) - 6);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_is(&t, size, (const uint8_t *)"behind", 6));
	model_free(&m);
}

TEST(an_empty_image_is_all_zeros)
{
	struct restore_options o = { .verify = true, .target_is_device = true };
	struct restore_result res;
	struct target t;
	struct model m;

	model_init(&m, 100 * B);
	target_open(&t, 100 * B);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_all(&t, 0, 100 * B, 0));
	EXPECT_U64(res.verified_bytes, 100 * B);
	model_free(&m);
}

TEST(a_device_that_is_too_small_is_refused_untouched)
{
	struct restore_options o = { .target_is_device = true };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	target_open(&t, 100 * B);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -ENOSPC);
	EXPECT_STR(err.code, "target-too-small");
	EXPECT_TRUE(err.remedy[0]);
	EXPECT_TRUE(target_all(&t, 0, 100 * B, 0xa5));
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), -ENOSPC);
	model_free(&m);
}

TEST(a_wrong_key_leaves_the_target_as_it_was)
{
	struct restore_options o = { 0 };
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	m.read_error = -ENOKEY;
	target_open(&t, 50 * B);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), -ENOKEY);
	EXPECT_FALSE(res.touched);
	EXPECT_U64(target_size(&t), 50 * B);
	EXPECT_TRUE(target_all(&t, 0, 50 * B, 0xa5));
	model_free(&m);
}

TEST(a_full_target_is_told_with_its_offset)
{
	struct restore_options o = { .target = "/srv/out.img" };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	a_model(&m);
	o.io = faulty_io_init(&f);
	f.write_errno = ENOSPC;
	f.write_in = 3;
	target_open(&t, 0);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -ENOSPC);
	EXPECT_STR(err.code, "target-full");
	EXPECT_STR_HAS(err.message, "web1/db1 to /srv/out.img");
	EXPECT_STR_HAS(err.message, "offset=2097152");
	EXPECT_TRUE(err.remedy[0]);
	model_free(&m);
}

TEST(a_failed_sync_is_never_success)
{
	struct restore_options o = { 0 };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	a_model(&m);
	o.io = faulty_io_init(&f);
	f.sync_errno = EIO;
	f.sync_in = 1;
	target_open(&t, 0);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -EIO);
	EXPECT_STR(err.code, "target-io");
	EXPECT_STR_HAS(err.message, "fdatasync");
	EXPECT_INT(f.syncs, 1);
	model_free(&m);
}

TEST(short_writes_are_finished)
{
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	model_init(&m, 20 * B);
	model_set(&m, 3, 7, DATA, 1);
	o.io = faulty_io_init(&f);
	f.short_writes = true;
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), 0);
	EXPECT_TRUE(target_is(&t, 0, m.bytes, 20 * B));
	model_free(&m);
}

TEST(verify_finds_one_flipped_bit)
{
	struct restore_options o = { 0 };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	a_model(&m);
	o.io = faulty_io_init(&f);
	f.flip_in = 2;
	target_open(&t, 0);
	/* without it nobody notices: the fault is real and silent */
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), 0);
	EXPECT_FALSE(target_is(&t, 0, m.bytes, 3 * 1024 * B));
	f.flip_in = 2;
	o.verify = true;
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -EBADMSG);
	EXPECT_STR(err.code, "verify-failed");
	EXPECT_STR_HAS(err.message, "offset=1048576");
	/* nor does it depend on somebody listening */
	f.flip_in = 2;
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), -EBADMSG);
	model_free(&m);
}

/* Zeroing calls that claim success and do nothing. */
static int lying_fallocate(struct io *io, int fd, int mode, uint64_t off,
			   uint64_t len)
{
	(void)io, (void)fd, (void)mode, (void)off, (void)len;
	return 0;
}

TEST(verify_finds_zeros_that_were_only_promised)
{
	struct restore_options o = { .verify = true, .target_is_device = true };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct faulty_io f;
	struct target t;
	struct model m;

	a_model(&m);
	o.io = faulty_io_init(&f);
	f.ops.fallocate = lying_fallocate;
	target_open(&t, 3 * 1024 * B);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -EBADMSG);
	EXPECT_STR(err.code, "verify-failed");
	model_free(&m);
}

struct stopper {
	uint64_t at, last;
	bool monotone;
};

static int stop_at(void *arg, const struct restore_progress *p)
{
	struct stopper *s = arg;

	s->monotone &= p->done_bytes >= s->last;
	s->last = p->done_bytes;
	return p->done_bytes >= s->at;
}

TEST(progress_moves_and_can_stop_the_run)
{
	struct stopper s = { .at = UINT64_MAX, .monotone = true };
	struct restore_options o = { .progress = stop_at, .arg = &s,
				     .verify = true };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	target_open(&t, 0);
	ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, &err), 0);
	EXPECT_TRUE(s.monotone);
	EXPECT_U64(s.last, 3 * 1024 * B);
	s.at = 1 << 20;
	s.last = 0;
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -ECANCELED);
	EXPECT_STR(err.code, "canceled");
	EXPECT_TRUE(res.image_bytes < 3 * 1024 * B);
	model_free(&m);
}

TEST(ranges_that_cannot_be_are_refused)
{
	static const uint64_t bad[][2] = {
		{ 511, 512 }, { 512, 511 }, { 0, 3 * 1024 * B + 512 },
		{ 3 * 1024 * B + 512, 0 }, { 512, UINT64_MAX - 511 },
		{ UINT64_MAX - 511, 512 },
	};
	struct restore_options o = { 0 };
	struct restore_result res;
	struct target t;
	struct model m;
	size_t i;

	a_model(&m);
	target_open(&t, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;

		o.off_bytes = bad[i][0];
		o.len_bytes = bad[i][1];
		EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err),
			   -EINVAL);
		EXPECT_STR(err.code, "bad-range");
	}
	EXPECT_U64(target_size(&t), 0);
	model_free(&m);
}

TEST(a_target_open_the_wrong_way_is_refused)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR | O_APPEND };
	struct restore_options o = { 0 };
	struct restore_result res;
	int pair[2];
	struct model m;
	size_t i;

	a_model(&m);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		char path[64];
		struct target t;
		int fd;

		target_open(&t, B);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", t.fd);
		fd = open(path, flags[i] | O_CLOEXEC);
		ASSERT_TRUE(fd >= 0);
		EXPECT_INT(restore_run(&m.image, fd, &o, &res, NULL), -EINVAL);
		EXPECT_TRUE(target_all(&t, 0, B, 0xa5));
	}
	ASSERT_OK(pipe(pair));
	EXPECT_INT(restore_run(&m.image, pair[0], &o, &res, NULL), -EINVAL);
	model_free(&m);
}

TEST(an_image_that_goes_backwards_ends_the_run)
{
	struct restore_options o = { 0 };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	m.backwards = true;
	target_open(&t, 0);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, &err), -EBADMSG);
	EXPECT_STR(err.code, "bad-image");
	model_free(&m);
}

TEST(an_unreadable_block_in_the_middle_fails_the_restore)
{
	struct restore_options o = { 0 };
	struct restore_result res;
	struct target t;
	struct model m;

	a_model(&m);
	m.read_error = -EBADMSG;
	m.read_error_block = 900;
	target_open(&t, 0);
	EXPECT_INT(restore_run(&m.image, t.fd, &o, &res, NULL), -EBADMSG);
	EXPECT_TRUE(res.touched);
	EXPECT_TRUE(res.image_bytes < 901 * B);
	model_free(&m);
}

static void random_model(struct rnd_seeded *r, struct model *m)
{
	uint64_t size = (1 + rnd_seeded_below(r, 1200 * 8)) * 512, b, n;

	model_init(m, size);
	m->max_stretch = 1 + rnd_seeded_below(r, 600);
	for (b = 0; b < m->n_blocks; b += n) {
		n = MIN(1 + rnd_seeded_below(r, 300), m->n_blocks - b);
		model_set(m, b, n, (int)rnd_seeded_below(r, 3),
			  (uint8_t)rnd_seeded_next(r));
	}
}

static void random_options(struct rnd_seeded *r, uint64_t size,
			   struct restore_options *o)
{
	memset(o, 0, sizeof(*o));
	o->in_place = rnd_seeded_below(r, 2);
	o->verify = rnd_seeded_below(r, 2);
	o->target_is_device = rnd_seeded_below(r, 2);
	if (rnd_seeded_below(r, 2)) {
		o->off_bytes = rnd_seeded_below(r, size / 512) * 512;
		o->len_bytes = rnd_seeded_below(
			r, (size - o->off_bytes) / 512 + 1) * 512;
	}
}

TEST(random_images_options_and_targets_agree_with_the_model)
{
	struct rnd_seeded r;
	int i;

	rnd_seeded_init(&r, tap_seed());
	for (i = 0; i < 40; i++) {
		struct restore_options o;
		struct restore_result res;
		struct err err = ERR_INIT;
		uint64_t size, from, to, had;
		struct target t;
		struct model m;

		random_model(&r, &m);
		size = m.image.point.meta.size_bytes;
		random_options(&r, size, &o);
		had = o.target_is_device ? size + 4096 :
		      rnd_seeded_below(&r, size / 512 + 9) * 512;
		target_open(&t, had);
		from = o.off_bytes;
		to = o.len_bytes ? from + o.len_bytes : size;
		ASSERT_INT(restore_run(&m.image, t.fd, &o, &res, &err), 0);
		ASSERT_TRUE(target_is(&t, from, m.bytes + from, to - from));
		ASSERT_U64(res.image_bytes, to - from);
		ASSERT_TRUE(target_all(&t, 0, MIN(from, had), 0xa5));
		if (had > to && (o.target_is_device || o.len_bytes ||
				 o.off_bytes))
			ASSERT_TRUE(target_all(&t, to, had - to, 0xa5));
		close(t.fd);
		model_free(&m);
	}
}
