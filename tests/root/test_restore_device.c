// SPDX-License-Identifier: Apache-2.0
/*
 * Restores to a real block device: what was there before must be gone, zeros
 * must be zeros on the medium, and the last block ends where the device does.
 */
#include "tap.h"

#include "loopdev.h"
#include "unit/faulty_io.h"
#include "unit/model_image.h"

#define SIZE_BYTES ((16ULL << 20) + 512)

static void a_model(struct model *m)
{
	model_init(m, SIZE_BYTES);
	model_set(m, 0, 5, DATA, 1);
	model_set(m, 5, 300, ZERO, 0);
	model_set(m, 400, 700, DATA, 9);
	model_set(m, 2000, 1, DATA, 3);
	model_set(m, m->n_blocks - 1, 1, DATA, 4);
}

static void spoil(const char *path)
{
	static uint8_t junk[1U << 20];
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	uint64_t off;

	ASSERT_TRUE(fd >= 0);
	memset(junk, 0xa5, sizeof(junk));
	for (off = 0; off < SIZE_BYTES; off += sizeof(junk))
		ASSERT_OK(io_pwrite_all(io_posix(), fd, junk,
					MIN((uint64_t)sizeof(junk),
					    SIZE_BYTES - off), off));
	ASSERT_OK(fsync(fd));
	close(fd);
}

/* What the medium holds: read past the cache. */
static bool device_is(const char *path, const uint8_t *want)
{
	uint8_t *have = NULL;
	uint64_t off = 0;
	bool same;
	int fd;

	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_TRUE(fd >= 0);
	ASSERT_OK(posix_memalign((void **)&have, 4096, SIZE_BYTES + 4096));
	while (off < SIZE_BYTES) {
		ssize_t n = pread(fd, have + off, SIZE_BYTES - off, (off_t)off);

		ASSERT_GT(n, 0);
		off += (uint64_t)n;
	}
	same = !memcmp(have, want, SIZE_BYTES);
	free(have);
	close(fd);
	return same;
}

static void restore_to(struct loopdev *l, struct model *m,
		       struct restore_options *o, struct restore_result *res)
{
	struct err err = ERR_INIT;
	int fd = open(l->path, O_RDWR | O_CLOEXEC), r;

	ASSERT_TRUE(fd >= 0);
	o->target = l->path;
	r = restore_run(&m->image, fd, o, res, &err);
	ASSERT_MSG(r == 0, "%s", err.message);
	close(fd);
}

static void a_device(struct loopdev *l)
{
	if (access("/dev/loop-control", R_OK | W_OK))
		SKIP("no loop devices");
	ASSERT_OK(loopdev_open(l, SIZE_BYTES));
	spoil(l->path);
}

TEST(a_device_becomes_the_image_to_its_last_sector)
{
	struct restore_options o = { .verify = true, .target_is_device = true };
	struct restore_result res;
	struct loopdev l;
	struct model m;

	a_device(&l);
	a_model(&m);
	EXPECT_FALSE(device_is(l.path, m.bytes));
	restore_to(&l, &m, &o, &res);
	EXPECT_TRUE(device_is(l.path, m.bytes));
	EXPECT_U64(res.verified_bytes, SIZE_BYTES);
	EXPECT_U64(res.written_bytes, (5 + 700 + 1) * (uint64_t)B + 512);
	loopdev_close(&l);
}

TEST(zeros_reach_the_medium_also_without_a_zeroing_call)
{
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct faulty_io f;
	struct loopdev l;
	struct model m;

	a_device(&l);
	a_model(&m);
	o.io = faulty_io_init(&f);
	f.no_fallocate = true;
	restore_to(&l, &m, &o, &res);
	EXPECT_TRUE(device_is(l.path, m.bytes));
	EXPECT_U64(res.written_bytes, SIZE_BYTES);
	loopdev_close(&l);
}

TEST(in_place_on_a_device_writes_only_what_differs)
{
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct loopdev l;
	struct model m;

	a_device(&l);
	a_model(&m);
	restore_to(&l, &m, &o, &res);
	o.in_place = true;
	restore_to(&l, &m, &o, &res);
	EXPECT_U64(res.written_bytes, 0);
	model_set(&m, 410, 3, DATA, 77);
	model_set(&m, 700, 2, ZERO, 0);
	restore_to(&l, &m, &o, &res);
	EXPECT_U64(res.written_bytes, 3 * (uint64_t)B);
	EXPECT_TRUE(device_is(l.path, m.bytes));
	loopdev_close(&l);
}

TEST(a_range_of_a_device_leaves_the_rest)
{
	struct restore_options o = { .verify = true, .off_bytes = 402 * B + 512,
				     .len_bytes = 90 * B };
	struct restore_result res;
	struct loopdev l;
	struct model m;

	a_device(&l);
	a_model(&m);
	restore_to(&l, &m, &o, &res);
	memset(m.bytes, 0xa5, o.off_bytes);
	memset(m.bytes + o.off_bytes + o.len_bytes, 0xa5,
	       SIZE_BYTES - o.off_bytes - o.len_bytes);
	EXPECT_TRUE(device_is(l.path, m.bytes));
	loopdev_close(&l);
}
