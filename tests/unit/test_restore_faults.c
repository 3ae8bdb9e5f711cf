// SPDX-License-Identifier: Apache-2.0
/*
 * A target that fails: each of its operations in turn, with each error that
 * means something to the engine, and each call that does not go through
 * base/io.h. Success means the image, byte for byte; a failure has its reason.
 */
#include "lib/tap.h"

#include "unit/model_image.h"
#include "unit/nth_io.h"
#include "unit/nth_site.h"

#define SIZE (13U * B + 1024)

struct way {
	bool in_place, device, fresh, range;
};

static const struct way ways[] = {
	{ 0 },
	{ .in_place = true },
	{ .device = true },
	{ .device = true, .in_place = true },
	{ .fresh = true },
	{ .range = true },
};

static struct model model;
static struct io io;
static uint8_t have[SIZE + B];

static void begin(void)
{
	model_init(&model, SIZE);
	model_set(&model, 0, 3, DATA, 1);
	model_set(&model, 3, 3, ZERO, 0);
	model_set(&model, 8, 2, DATA, 2);
	model_set(&model, 10, 2, ZERO, 0);
	model_set(&model, 12, 2, DATA, 3);
	io.ops = io_posix()->ops;
	nth_over(&io);
}

/* Full of something else, and longer than the image. */
static int target(const struct way *w)
{
	const char *dir = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	static int fd = -1;		/* always the same file */
	size_t n = sizeof(have);

	if (fd < 0)
		fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_OK(ftruncate(fd, 0));
	memset(have, 0xa5, n);
	/* In place, part of it is there already, zeros and holes among it. */
	if (w->in_place) {
		memcpy(have, model.bytes, 2 * B);
		memset(have + 4 * B, 0, B);
	}
	if (!w->fresh)
		ASSERT_OK(io_pwrite_all(io_posix(), fd, have, n, 0));
	if (w->in_place && fallocate(fd, FALLOC_FL_PUNCH_HOLE |
					 FALLOC_FL_KEEP_SIZE, 10 * B, B))
		tap_note("no holes here");
	return fd;
}

static void is_the_image(int fd, const struct way *w)
{
	uint64_t off = w->range ? 2 * B : 0;
	uint64_t len = w->range ? 7 * B : SIZE;

	ASSERT_OK(io_pread_all(io_posix(), fd, have, len, off));
	ASSERT_MEM(have, model.bytes + off, len);
}

/* 0 or what it failed with; the target is judged either way. */
static int run(const struct way *w)
{
	const struct restore_options o = {
		.in_place = w->in_place,
		.target_is_device = w->device,
		.target_is_fresh = w->fresh,
		.off_bytes = w->range ? 2 * B : 0,
		.len_bytes = w->range ? 7 * B : 0,
		.verify = true,
		.io = &io,
	};
	struct restore_result res = { 0 };
	struct err err = ERR_INIT;
	int fd = target(w), r;

	nth.calls = 0;
	site_begin();
	r = restore_run(&model.image, fd, &o, &res, &err);
	site_end();
	if (r == 0)
		is_the_image(fd, w);
	else
		EXPECT_MSG(err.num && err.message[0], "  %d without a reason",
			   r);
	return r;
}

static const int errors[] = { -EIO, -EINVAL, -EOPNOTSUPP, -ENOSYS, -ENODEV,
			      -EPERM, -ENOSPC, -EDQUOT, -EFBIG };

TEST(each_operation_of_the_target_failing_is_told_or_got_over)
{
	unsigned int failed = 0, got_over = 0;
	size_t i, k;

	begin();
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
			nth.error = errors[k];
			for (nth.at = 1;; nth.at++) {
				nth.has_hit = false;
				if (run(&ways[i]) < 0)
					failed++;
				else if (nth.has_hit)
					got_over++;
				if (!nth.has_hit)
					break;
			}
		}
	tap_note("%u failed, %u got over", failed, got_over);
	EXPECT_GT(failed, 100);
	EXPECT_GT(got_over, 10);
	model_free(&model);
}

TEST(an_error_that_stays_is_told_or_got_over)
{
	size_t i, k;

	begin();
	nth.onward = true;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
			nth.error = errors[k];
			for (nth.at = 1;; nth.at++) {
				nth.has_hit = false;
				(void)run(&ways[i]);
				if (!nth.has_hit)
					break;
			}
		}
	model_free(&model);
}

static void every_way(void *arg)
{
	size_t i;
	int r;

	(void)arg;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		r = run(&ways[i]);
		ASSERT_TRUE(r == 0 || sites.hit);
	}
}

TEST(each_call_of_a_library_failing_is_told_or_got_over)
{
	begin();
	io.ops = io_posix()->ops;
	EXPECT_GT(sites_fail_every(every_way, NULL), 10);
	model_free(&model);
}
