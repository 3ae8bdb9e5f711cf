// SPDX-License-Identifier: Apache-2.0
/*
 * Readers of devices: what io_uring and pread hand back is what the file holds,
 * at the ends of volumes too; what cannot be read is an error.
 */
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/rnd.h"
#include "source/reader.h"
#include "tap.h"

/* A file of random bytes, open with O_DIRECT, and what it holds. */
struct file {
	int fd;				/* O_DIRECT */
	int plain_fd;
	uint8_t *bytes;
	uint64_t size_bytes;
};

#define FILE_NONE { .fd = -1, .plain_fd = -1 }

static void free_file(struct file *f)
{
	cleanup_closep(&f->fd);
	cleanup_closep(&f->plain_fd);
	free(f->bytes);
}

static int open_direct_file(int *plain_fd)
{
	static const char *const dirs[] = { "/var/tmp", "/tmp", "." };
	char path[64];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/us-reader-XXXXXX",
			       dirs[i]);
		*plain_fd = mkostemp(path, O_CLOEXEC);
		if (*plain_fd < 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
		(void)unlink(path);
		if (fd >= 0)
			return fd;
		(void)close(*plain_fd);
	}
	SKIP("no file system here takes O_DIRECT");
}

static void make_file(struct file *f, uint64_t size_bytes, uint64_t seed)
{
	struct rnd_seeded rnd;

	rnd_seeded_init(&rnd, seed);
	f->size_bytes = size_bytes;
	f->bytes = malloc(size_bytes);
	ASSERT_NOT_NULL(f->bytes);
	ASSERT_OK(rnd_fill(&rnd.rnd, f->bytes, size_bytes));
	f->fd = open_direct_file(&f->plain_fd);
	ASSERT_INT(pwrite(f->plain_fd, f->bytes, size_bytes, 0), size_bytes);
	ASSERT_OK(fdatasync(f->plain_fd));
}

static struct reader *open_kind(const struct reader_config *cfg, bool uring)
{
	struct err err = ERR_INIT;
	struct reader *r = NULL;
	int res;

	if (!uring) {
		ASSERT_OK(reader_open_pread(cfg, &r, &err));
		return r;
	}
	res = reader_open_uring(cfg, &r, &err);
	if (res == -ENOSYS || res == -EPERM || res == -ENOMEM)
		SKIP(err.message);
	ASSERT_MSG(res == 0, "%s", err.message);
	return r;
}

static struct reader_config config_of(const struct file *f)
{
	return (struct reader_config){
		.fd = f->fd,
		.size_bytes = f->size_bytes,
		.lbs_bytes = 512,
		.clock = clock_real(),
	};
}

/* What a request over this file must hold: the bytes, then zeros. */
static void expect_request(const struct file *f, uint64_t start_bytes,
			   const struct read_req *q, uint64_t size_bytes)
{
	static const uint8_t zeros[READER_BUF_BYTES];
	uint64_t in = MIN((uint64_t)q->len_bytes, size_bytes - q->off_bytes);

	ASSERT_OK(q->res);
	ASSERT_MEM(q->buf, f->bytes + start_bytes + q->off_bytes, in);
	ASSERT_MEM(q->buf + in, zeros, q->len_bytes - in);
}

struct traffic {
	struct reader_config cfg;
	uint64_t n_requests;
	uint32_t align_bytes;
};

static void run_traffic(const struct file *f, const struct traffic *t,
			bool uring, uint64_t seed)
{
	struct reader *r = open_kind(&t->cfg, uring);
	uint64_t submitted = 0, finished = 0, in_volume = 0;
	const uint64_t size = t->cfg.size_bytes;
	struct rnd_seeded rnd;
	struct read_req *q;
	int res;

	rnd_seeded_init(&rnd, seed);
	while (finished < t->n_requests) {
		while (submitted < t->n_requests && (q = r->ops->get(r))) {
			q->off_bytes = rnd_seeded_below(&rnd, size) /
				       t->align_bytes * t->align_bytes;
			q->len_bytes = (uint32_t)(1 + rnd_seeded_below(
				&rnd, READER_BUF_BYTES / t->align_bytes)) *
				t->align_bytes;
			in_volume += MIN((uint64_t)q->len_bytes,
					 size - q->off_bytes);
			memset(q->buf, 0xee, q->len_bytes);
			ASSERT_OK(r->ops->submit(r, q));
			submitted++;
		}
		res = r->ops->next(r, rnd_seeded_below(&rnd, 2), &q);
		if (res == -EAGAIN)
			continue;
		ASSERT_OK(res);
		expect_request(f, t->cfg.start_bytes, q, size);
		finished++;
		r->ops->put(r, q);
	}
	ASSERT_INT(r->ops->next(r, true, &q), 1);
	EXPECT_U64(r->bytes_read, in_volume);
	r->ops->close(r);
}

static void random_extents(bool uring)
{
	const uint64_t seed = tap_seed();
	struct traffic t = { .n_requests = 400, .align_bytes = 4096 };
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 6 << 20, seed);
	t.cfg = config_of(&f);
	run_traffic(&f, &t, uring, seed);
}

TEST(uring_reads_what_the_file_holds)
{
	random_extents(true);
}

TEST(pread_reads_what_the_file_holds)
{
	random_extents(false);
}

/* A partition: starts and ends anywhere on the disk, in logical blocks. */
static void a_range_of_the_disk(bool uring)
{
	const uint64_t seed = tap_seed();
	struct traffic t = { .n_requests = 300, .align_bytes = 512 };
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 3 << 20, seed);
	t.cfg = config_of(&f);
	t.cfg.start_bytes = 63 * 512;
	t.cfg.size_bytes = (1 << 20) + 3 * 512;
	run_traffic(&f, &t, uring, seed);
}

TEST(uring_reads_a_range_of_the_disk)
{
	a_range_of_the_disk(true);
}

TEST(pread_reads_a_range_of_the_disk)
{
	a_range_of_the_disk(false);
}

static struct read_req *read_one(struct reader *r, uint64_t off, uint32_t len)
{
	struct read_req *q = r->ops->get(r), *got = NULL;

	ASSERT_NOT_NULL(q);
	q->off_bytes = off;
	q->len_bytes = len;
	memset(q->buf, 0xee, READER_BUF_BYTES);
	ASSERT_OK(r->ops->submit(r, q));
	ASSERT_OK(r->ops->next(r, true, &got));
	ASSERT_TRUE(got == q);
	return q;
}

/* The last request of volumes that end inside a 4096-byte block. */
static void tails(bool uring)
{
	static const uint64_t sizes[] = {
		512, 4096, 4096 + 512, 8192 - 512, 65536 + 3584, 100000,
	};
	static const uint32_t blocks[] = { 512, 4096 };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(free_file) struct file f = FILE_NONE;

		make_file(&f, sizes[i], 7);
		for (j = 0; j < ARRAY_SIZE(blocks); j++) {
			struct reader_config cfg = config_of(&f);
			uint64_t last = (sizes[i] - 1) / 4096 * 4096;
			struct read_req *q;
			struct reader *r;

			cfg.lbs_bytes = blocks[j];
			r = open_kind(&cfg, uring);
			q = read_one(r, last, 4096);
			expect_request(&f, 0, q, sizes[i]);
			r->ops->put(r, q);
			q = read_one(r, last, READER_BUF_BYTES);
			expect_request(&f, 0, q, sizes[i]);
			r->ops->put(r, q);
			EXPECT_U64(r->bytes_read, 2 * (sizes[i] - last));
			r->ops->close(r);
		}
	}
}

TEST(uring_pads_the_tail_with_zeros)
{
	tails(true);
}

TEST(pread_pads_the_tail_with_zeros)
{
	tails(false);
}

/* What lies behind the volume on the same disk never shows. */
static void neighbour_stays_hidden(bool uring)
{
	struct reader_config cfg;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 1 << 20, 11);
	cfg = config_of(&f);
	cfg.start_bytes = 8192;
	cfg.size_bytes = 10000;	/* ends inside a sector */
	r = open_kind(&cfg, uring);
	q = read_one(r, 8192, 65536);
	expect_request(&f, cfg.start_bytes, q, cfg.size_bytes);
	r->ops->close(r);
}

TEST(uring_does_not_show_the_neighbour)
{
	neighbour_stays_hidden(true);
}

TEST(pread_does_not_show_the_neighbour)
{
	neighbour_stays_hidden(false);
}

/* The volume says 1 MiB, the device ends earlier: an error, never zeros. */
static void device_too_short(bool uring)
{
	struct reader_config cfg;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 1 << 20, 3);
	cfg = config_of(&f);
	ASSERT_OK(ftruncate(f.plain_fd, 600 << 10));
	r = open_kind(&cfg, uring);
	q = read_one(r, 500 << 10, 256 << 10);	/* part of it is there */
	EXPECT_INT(q->res, -EIO);
	r->ops->put(r, q);
	q = read_one(r, 700 << 10, 4096);	/* nothing of it is */
	EXPECT_INT(q->res, -EIO);
	r->ops->put(r, q);
	ASSERT_OK(ftruncate(f.plain_fd, (600 << 10) + 100));
	q = read_one(r, 600 << 10, 4096);	/* ends inside a sector */
	EXPECT_INT(q->res, -EIO);
	r->ops->put(r, q);
	q = read_one(r, 100 << 10, 4096);	/* and what is there is read */
	EXPECT_OK(q->res);
	EXPECT_MEM(q->buf, f.bytes + (100 << 10), 4096);
	EXPECT_U64(r->bytes_read, 4096);
	r->ops->close(r);
}

TEST(uring_does_not_make_up_a_lost_end)
{
	device_too_short(true);
}

TEST(pread_does_not_make_up_a_lost_end)
{
	device_too_short(false);
}

static void refusals(bool uring)
{
	struct reader_config cfg;
	struct read_req *q, *none;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;
	unsigned int i;

	make_file(&f, 1 << 20, 5);
	cfg = config_of(&f);
	cfg.lbs_bytes = 4096;
	r = open_kind(&cfg, uring);
	q = r->ops->get(r);
	ASSERT_NOT_NULL(q);
	EXPECT_U64((uintptr_t)q->buf % 4096, 0);
	EXPECT_INT(r->ops->submit(r, q), -EINVAL);	/* length 0 */
	q->len_bytes = READER_BUF_BYTES + 512;
	EXPECT_INT(r->ops->submit(r, q), -EINVAL);
	q->len_bytes = 100;
	EXPECT_INT(r->ops->submit(r, q), -EINVAL);
	q->len_bytes = 4096;
	q->off_bytes = 512;			/* not on a logical block */
	EXPECT_INT(r->ops->submit(r, q), -EINVAL);
	q->off_bytes = 1 << 20;			/* behind the end */
	EXPECT_INT(r->ops->submit(r, q), -EINVAL);
	EXPECT_INT(r->ops->next(r, true, &none), 1);
	for (i = 1; i < READER_DEPTH; i++)
		ASSERT_NOT_NULL(r->ops->get(r));
	EXPECT_NULL(r->ops->get(r));
	r->ops->put(r, q);
	EXPECT_TRUE(r->ops->get(r) == q);
	r->ops->close(r);
}

TEST(uring_refuses_what_it_cannot_read)
{
	refusals(true);
}

TEST(pread_refuses_what_it_cannot_read)
{
	refusals(false);
}

/* Closing with reads under way neither hangs nor crashes. */
static void close_early(bool uring)
{
	struct reader_config cfg;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;
	unsigned int i, round;

	make_file(&f, 4 << 20, 13);
	cfg = config_of(&f);
	for (round = 0; round < 8; round++) {
		r = open_kind(&cfg, uring);
		for (i = 0; i < READER_DEPTH; i++) {
			q = r->ops->get(r);
			q->off_bytes = i * 65536ULL;
			q->len_bytes = 65536;
			ASSERT_OK(r->ops->submit(r, q));
		}
		if (round & 1)
			(void)r->ops->next(r, false, &q);
		r->ops->close(r);
	}
}

TEST(uring_closes_with_reads_in_flight)
{
	close_early(true);
}

TEST(pread_closes_with_reads_queued)
{
	close_early(false);
}

/* 4 MiB at 20 MiB/s take 200 ms less the 1 MiB that the bucket holds. */
static void limited(bool uring)
{
	struct reader_config cfg;
	unsigned int done = 0, i;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;
	double ms;
	int res;

	make_file(&f, 4 << 20, 17);
	cfg = config_of(&f);
	cfg.limit_bytes_per_s = 20 << 20;
	r = open_kind(&cfg, uring);
	for (i = 0; i < 32; i++) {
		q = r->ops->get(r);
		q->off_bytes = i * (128ULL << 10);
		q->len_bytes = 128 << 10;
		ASSERT_OK(r->ops->submit(r, q));
	}
	ms = tap_ms_now();
	while ((res = r->ops->next(r, true, &q)) == 0) {
		expect_request(&f, 0, q, f.size_bytes);
		r->ops->put(r, q);
		done++;
	}
	ms = tap_ms_now() - ms;
	EXPECT_INT(res, 1);
	EXPECT_INT(done, 32);
	tap_note("%.1f ms", ms);
	EXPECT_MSG(ms > 130, "faster than the limit: %.1f ms", ms);
	EXPECT_MSG(ms < 2000, "far slower than the limit: %.1f ms", ms);
	r->ops->close(r);
}

TEST(uring_keeps_to_its_limit)
{
	limited(true);
}

TEST(pread_keeps_to_its_limit)
{
	limited(false);
}

TEST(without_wait_a_limited_reader_does_not_sleep)
{
	struct reader_config cfg;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;
	double ms;
	int i;

	make_file(&f, 1 << 20, 19);
	cfg = config_of(&f);
	cfg.limit_bytes_per_s = 1;
	r = open_kind(&cfg, false);
	for (i = 0; i < 2; i++) {
		q = r->ops->get(r);
		q->len_bytes = 65536;
		ASSERT_OK(r->ops->submit(r, q));
	}
	ms = tap_ms_now();
	ASSERT_OK(r->ops->next(r, false, &q));
	EXPECT_INT(r->ops->next(r, false, &q), -EAGAIN);
	EXPECT_MSG(tap_ms_now() - ms < 1000, "it slept");
	r->ops->close(r);
}

TEST(open_falls_back_to_pread_when_told)
{
	struct reader_config cfg;
	struct err err = ERR_INIT;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 65536, 23);
	cfg = config_of(&f);
	ASSERT_OK(setenv("UNDERSTUDY_NO_URING", "1", 1));
	ASSERT_OK(reader_open(&cfg, &r, &err));
	EXPECT_STR(r->kind, "pread");
	r->ops->close(r);
	ASSERT_OK(unsetenv("UNDERSTUDY_NO_URING"));
	cfg.force_pread = true;
	ASSERT_OK(reader_open(&cfg, &r, &err));
	EXPECT_STR(r->kind, "pread");
	r->ops->close(r);
}

/* From here on this process has no io_uring. */
static void forbid_uring(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { ARRAY_SIZE(code), code };

	ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
		SKIP("no seccomp filters here");
}

static void fall_back_on(int error)
{
	struct reader_config cfg;
	struct err err = ERR_INIT;
	struct read_req *q;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 65536, 31);
	cfg = config_of(&f);
	forbid_uring(error);
	ASSERT_OK(reader_open(&cfg, &r, &err));
	EXPECT_STR(r->kind, "pread");
	EXPECT_INT(err.num, 0);
	q = read_one(r, 4096, 8192);
	expect_request(&f, 0, q, f.size_bytes);
	r->ops->close(r);
}

TEST(open_falls_back_to_pread_on_an_old_kernel)
{
	fall_back_on(ENOSYS);
}

TEST(open_falls_back_to_pread_where_rings_are_forbidden)
{
	fall_back_on(EPERM);
}

TEST(lack_of_descriptors_is_told_not_worked_around)
{
	struct rlimit was, none;
	struct reader_config cfg;
	struct err err = ERR_INIT;
	struct reader *r;
	_cleanup_(free_file) struct file f = FILE_NONE;

	make_file(&f, 65536, 29);
	cfg = config_of(&f);
	ASSERT_OK(getrlimit(RLIMIT_NOFILE, &was));
	none = was;
	none.rlim_cur = 0;
	ASSERT_OK(setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_INT(reader_open(&cfg, &r, &err), -EMFILE);
	ASSERT_OK(setrlimit(RLIMIT_NOFILE, &was));
	EXPECT_STR(err.code, "no-io-uring");
}

TEST(open_refuses_an_impossible_range)
{
	struct reader_config cfg = { .fd = -1, .clock = clock_real() };
	struct err err = ERR_INIT;
	struct reader *r;

	cfg.lbs_bytes = 512;
	EXPECT_INT(reader_open(&cfg, &r, &err), -EINVAL);	/* size 0 */
	EXPECT_STR(err.code, "bad-range");
	cfg.size_bytes = 4096;
	cfg.lbs_bytes = 100;
	EXPECT_INT(reader_open_pread(&cfg, &r, NULL), -EINVAL);
	cfg.lbs_bytes = 4096;
	cfg.start_bytes = 512;
	EXPECT_INT(reader_open_pread(&cfg, &r, NULL), -EINVAL);
	cfg.start_bytes = UINT64_MAX - 4095;
	EXPECT_INT(reader_open_pread(&cfg, &r, NULL), -EINVAL);
}
