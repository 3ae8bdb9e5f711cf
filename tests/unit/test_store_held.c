// SPDX-License-Identifier: Apache-2.0
/*
 * What the newest point holds, read back: what a verification believes. Above
 * all: nothing is called sound that a restore could not read.
 */
#include "storelab.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "lib/tap.h"

#define N_BLOCKS 48U

static struct store_held held[N_BLOCKS];

static void must(int r, const struct err *err)
{
	ASSERT_MSG(!r, "%d %s: %s", r, err->code, err->message);
}

static void start(struct lab *l)
{
	struct err err = ERR_INIT;

	lab_init(l, tap_seed(), N_BLOCKS);
	must(lab_open(l, false, &err), &err);
	must(lab_writer(l, &err), &err);
}

static void stage(struct lab *l)
{
	struct err err = ERR_INIT;

	must(lab_stage(l, &err), &err);
}

static void begin(struct lab *l)
{
	struct err err = ERR_INIT;

	must(lab_begin(l, &err), &err);
}

static void commit(struct lab *l)
{
	struct err err = ERR_INIT;

	must(lab_commit(l, NULL, &err), &err);
}

static void look(struct lab *l)
{
	struct err err = ERR_INIT;

	memset(held, 0xff, sizeof(held));
	must(store_writer_held(l->writer, 0, N_BLOCKS, held, &err), &err);
}

static bool is_sound(struct lab *l, uint64_t block)
{
	struct fp want = l->now.versions[block] ?
				 lab_fp(l, block, l->now.versions[block]) :
				 fp_zero_block;

	return held[block].kind == STORE_HELD_SOUND &&
	       fp_equal(&held[block].fp, &want);
}

TEST(a_new_volume_holds_nothing)
{
	struct lab l;

	start(&l);
	look(&l);
	EXPECT_INT(held[0].kind, STORE_HELD_ABSENT);
	EXPECT_INT(held[N_BLOCKS - 1].kind, STORE_HELD_ABSENT);
	lab_free(&l);
}

TEST(the_newest_point_is_told_and_the_open_one_only_named)
{
	struct err err = ERR_INIT;
	struct lab l;

	start(&l);
	begin(&l);
	lab_data(&l, 0, 16);
	lab_zero(&l, 16, 4);
	stage(&l);
	look(&l);
	EXPECT_INT(held[3].kind, STORE_HELD_STAGED);
	EXPECT_TRUE(fp_equal(&held[3].fp, &fp_unknown));
	commit(&l);
	look(&l);
	EXPECT_TRUE(is_sound(&l, 3));
	EXPECT_TRUE(is_sound(&l, 17));
	EXPECT_INT(held[20].kind, STORE_HELD_ABSENT);
	begin(&l);
	lab_data(&l, 3, 1);
	stage(&l);
	look(&l);
	EXPECT_TRUE(is_sound(&l, 2));
	EXPECT_INT(held[3].kind, STORE_HELD_STAGED);
	/* Also what another process finds staged, and after a forgetting. */
	lab_close(&l);
	must(lab_open(&l, false, &err), &err);
	must(lab_writer(&l, &err), &err);
	look(&l);
	EXPECT_TRUE(is_sound(&l, 2));
	EXPECT_INT(held[3].kind, STORE_HELD_STAGED);
	begin(&l);
	lab_data(&l, 4, 1);
	stage(&l);
	must(store_writer_forget(l.writer, &err), &err);
	look(&l);
	EXPECT_INT(held[3].kind, STORE_HELD_STAGED);
	EXPECT_INT(held[4].kind, STORE_HELD_STAGED);
	commit(&l);
	look(&l);
	EXPECT_TRUE(is_sound(&l, 3));
	EXPECT_TRUE(is_sound(&l, 4));
	lab_free(&l);
}

static void flip(const char *path, uint64_t off)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t b;

	ASSERT_GE(fd, 0);
	ASSERT_INT(pread(fd, &b, 1, (off_t)off), 1);
	b ^= 0x40;
	ASSERT_INT(pwrite(fd, &b, 1, (off_t)off), 1);
}

static bool all_sound(struct lab *l)
{
	bool sound = true;
	uint64_t b;

	for (b = 0; b < N_BLOCKS; b++)
		sound &= l->now.versions[b] ?
				 is_sound(l, b) :
				 held[b].kind == STORE_HELD_ABSENT ||
					 is_sound(l, b);
	return sound;
}

TEST(nothing_is_called_sound_that_a_restore_could_not_read)
{
	uint64_t off, size, step, found = 0, tried = 0, block;
	struct err err = ERR_INIT;
	char path[256];
	struct lab l;

	start(&l);
	begin(&l);
	lab_data(&l, 0, 2);
	lab_data(&l, 2, 1);
	lab_zero(&l, 8, 4);
	stage(&l);
	commit(&l);
	begin(&l);
	lab_data(&l, 1, 1);
	stage(&l);
	commit(&l);
	size = lab_segment(l.dir, 0, path);
	step = getenv("TEST_LONG") ? 1 : 11;
	for (off = 0; off < size; off += step) {
		bool sound, restores;

		flip(path, off);
		must(store_writer_forget(l.writer, &err), &err);
		look(&l);
		sound = all_sound(&l);
		restores = !lab_compare(&l, 2, &l.now, &block, &err);
		ASSERT_MSG(!sound || restores, "offset %" PRIu64 ": %s", off,
			   err.message);
		err_clear(&err);
		found += !sound;
		tried++;
		flip(path, off);
	}
	printf("# %" PRIu64 " of %" PRIu64 " flipped bytes concern what is "
	       "held\n", found, tried);
	EXPECT_GT(found, 0);
	must(store_writer_forget(l.writer, &err), &err);
	look(&l);
	EXPECT_TRUE(all_sound(&l));
	lab_free(&l);
}
