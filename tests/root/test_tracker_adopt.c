// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF tracker over the end of a process and over growth: what the next one
 * goes on with, and what counts as a hole. Needs root and BPF.
 */
#include "tap.h"

#include <string.h>
#include <sys/ioctl.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "device/blkdev.h"
#include "tracker/tracker_host.h"

#include "trackrig.h"

/* As after an acknowledgement of everything. */
static void nothing_pending(struct rig *g)
{
	uint64_t w;

	for (w = 0; w < (g->t->n_blocks + 63) / 64; w++)
		g->t->ops->pending_clear(g->t, w, UINT64_MAX);
}

/* Whatever became of the process that made it: nothing was shipped by it. */
TEST(a_new_tracker_is_adopted_with_everything_pending)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	detach(&g, false);
	attach(&g);
	ASSERT_TRUE(g.t->adopted);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	EXPECT_U64(pending.n_set, g.t->n_blocks);
	bitmap_free(&pending);
	rig_close(&g);
}

TEST(tracking_goes_on_without_the_process_and_is_adopted)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	nothing_pending(&g);
	write_at(&g, 10 * 4096, 4096);
	expect_marked(&g, 10, 1);	/* collected, never acknowledged */
	detach(&g, false);
	write_at(&g, 20 * 4096, 4096);	/* nobody is there */
	attach(&g);
	ASSERT_TRUE(g.t->adopted);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	EXPECT_TRUE(bitmap_test(&pending, 10));
	EXPECT_U64(pending.n_set, 1);
	expect_marked(&g, 20, 1);
	bitmap_free(&pending);
	rig_close(&g);
}

TEST(acknowledged_blocks_leave_pending)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	nothing_pending(&g);
	write_at(&g, 64 * 4096, 2 * 4096);
	expect_marked(&g, 64, 2);
	g.t->ops->pending_clear(g.t, 1, 1);	/* block 64 */
	detach(&g, false);
	attach(&g);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	EXPECT_U64(pending.n_set, 1);
	EXPECT_TRUE(bitmap_test(&pending, 65));
	bitmap_free(&pending);
	rig_close(&g);
}

TEST(an_upgrade_exchanges_the_programs_and_loses_nothing)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	write_at(&g, 10 * 4096, 4096);
	detach(&g, false);
	write_at(&g, 11 * 4096, 4096);
	g.hc.window_turns = 3;		/* another program by its tag */
	attach(&g);
	ASSERT_TRUE(g.t->adopted);
	write_at(&g, 12 * 4096, 4096);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	expect_marked(&g, 10, 3);
	bitmap_free(&pending);
	rig_close(&g);
}

TEST(pins_removed_behind_our_back_are_a_hole)
{
	char cmd[256], node[UUID_TEXT_SIZE];
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	uuid_format(&g.hc.node, node);
	detach(&g, false);
	(void)snprintf(cmd, sizeof(cmd),
		       "rm /sys/fs/bpf/understudy-%s/link_issue", node);
	ASSERT_OK(system(cmd));
	attach(&g);
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}

/* Pins taken away; a process attaches anew and dies before it comes to the
 * volume, whose device was absent, say. */
TEST(a_hole_is_not_forgotten_by_a_process_that_did_not_act_upon_it)
{
	char cmd[256], node[UUID_TEXT_SIZE];
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	uuid_format(&g.hc.node, node);
	detach(&g, false);
	(void)snprintf(cmd, sizeof(cmd),
		       "rm /sys/fs/bpf/understudy-%s/link_issue", node);
	ASSERT_OK(system(cmd));
	write_at(&g, 20 * 4096, 4096);	/* seen by nobody */
	ASSERT_OK(tracker_host_open(&g.hc, &g.host, &err));
	tracker_host_close(g.host, false);
	attach(&g);
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}

/* The host stays while other volumes use it. */
TEST(a_volume_that_leaves_and_returns_to_a_host_is_adopted)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	nothing_pending(&g);
	g.t->ops->close(g.t, false);
	write_at(&g, 30 * 4096, 4096);
	ASSERT_OK(tracker_host_add(g.host, &g.volume, &g.dev, g.shift, &g.t,
				   &err));
	EXPECT_TRUE(g.t->adopted);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	EXPECT_U64(pending.n_set, 0);
	expect_marked(&g, 30, 1);
	bitmap_free(&pending);
	rig_close(&g);
}

/* The file below it, the device, and what we know of it. */
static void grow(struct rig *g, uint64_t size)
{
	struct err err = ERR_INIT;

	ASSERT_OK(ftruncate(g->loop.backing_fd, (off_t)size));
	ASSERT_OK(ioctl(g->loop.fd, LOOP_SET_CAPACITY, 0));
	blkdev_close(&g->dev);
	ASSERT_MSG(!blkdev_open(g->loop.path, &g->dev, &err), "%s",
		   err.message);
	ASSERT_U64(g->dev.n_sectors, size / 512);
}

/* Exactly these: of [0, 64 MiB) three, and all that has come. */
static void expect_grown(struct rig *g, const struct bitmap *pending)
{
	const uint64_t old = 64 * MIB / 4096, now = 96 * MIB / 4096;
	uint64_t b;

	EXPECT_TRUE(g->t->adopted);
	EXPECT_U64(g->t->n_blocks, now);
	EXPECT_TRUE(bitmap_test(pending, 10));
	EXPECT_TRUE(bitmap_test(pending, 20));
	EXPECT_TRUE(bitmap_test(pending, 30));
	for (b = old; b < now; b++)
		ASSERT_TRUE(bitmap_test(pending, b));
	EXPECT_U64(pending->n_set, 3 + now - old);
}

TEST(a_volume_that_has_grown_goes_on_with_what_was_marked)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;
	int i;

	rig_open(&g, 64 * MIB, 12);
	nothing_pending(&g);
	write_at(&g, 10 * 4096, 4096);
	expect_marked(&g, 10, 1);	/* collected: pending */
	write_at(&g, 20 * 4096, 4096);
	ASSERT_OK(g.t->ops->flip(g.t, &err));
	write_at(&g, 30 * 4096, 4096);	/* in the other generation */
	detach(&g, false);
	grow(&g, 96 * MIB);
	attach(&g);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	expect_grown(&g, &pending);
	bitmap_free(&pending);
	/* Marked from now on in its new words, also where it is new. */
	expect_marked(&g, 0, 0);
	write_at(&g, 80 * MIB, 4096);
	expect_marked(&g, 80 * MIB / 4096, 1);
	/* And adopted again as it is now; it leaves nothing of the old. */
	nothing_pending(&g);
	detach(&g, false);
	attach(&g);
	EXPECT_TRUE(g.t->adopted);
	for (i = 2; i < 6; i++) {
		detach(&g, false);
		grow(&g, (96 + (uint64_t)i) * MIB);
		attach(&g);
		EXPECT_TRUE(g.t->adopted);
	}
	rig_close(&g);
}

/* As when its bitmaps would not fit the memory any more. */
TEST(a_volume_that_has_grown_may_become_coarser)
{
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	nothing_pending(&g);
	write_at(&g, 10 * 4096, 4096);
	write_at(&g, 33 * 4096, 4096);
	detach(&g, false);
	grow(&g, 65 * MIB);
	g.shift = 14;
	attach(&g);
	EXPECT_TRUE(g.t->adopted);
	ASSERT_OK(bitmap_init(&pending, g.t->n_blocks));
	ASSERT_OK(g.t->ops->adopt(g.t, &pending, &err));
	EXPECT_TRUE(bitmap_test(&pending, 2));
	EXPECT_TRUE(bitmap_test(&pending, 8));
	EXPECT_U64(pending.n_set, 2 + MIB / 16384);
	bitmap_free(&pending);
	rig_close(&g);
}

TEST(a_smaller_volume_is_not_adopted)
{
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	detach(&g, false);
	grow(&g, 32 * MIB);
	attach(&g);
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}

TEST(another_shape_is_not_adopted)
{
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	detach(&g, false);
	g.shift = 13;
	attach(&g);
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}

/* Somebody has removed one of its maps' pins: what the programs go on marking
 * in, and count by, is not what a later process opens. */
TEST(programs_that_mark_in_other_maps_are_not_adopted)
{
	static const char *const maps[] = { "groups", "volumes", "counters" };
	char path[256], node[UUID_TEXT_SIZE];
	struct rig g;
	size_t i;

	rig_open(&g, 64 * MIB, 12);
	uuid_format(&g.hc.node, node);
	for (i = 0; i < ARRAY_SIZE(maps); i++) {
		detach(&g, false);
		(void)snprintf(path, sizeof(path),
			       "/sys/fs/bpf/understudy-%s/%s", node, maps[i]);
		ASSERT_OK(unlink(path));
		attach(&g);
		EXPECT_FALSE(g.t->adopted);
		expect_marked(&g, 0, 0);
		write_at(&g, 8 * 4096, 4096);
		expect_marked(&g, 8, 1);
	}
	detach(&g, false);
	attach(&g);
	EXPECT_TRUE(g.t->adopted);
	rig_close(&g);
}

TEST(untracking_leaves_no_pin)
{
	char dir[256], node[UUID_TEXT_SIZE];
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	uuid_format(&g.hc.node, node);
	(void)snprintf(dir, sizeof(dir), "/sys/fs/bpf/understudy-%s", node);
	EXPECT_OK(access(dir, F_OK));
	rig_close(&g);
	EXPECT_NE(access(dir, F_OK), 0);
}
