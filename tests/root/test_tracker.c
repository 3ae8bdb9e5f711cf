// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF tracker on a real loop device: which blocks an operation marks, what
 * is counted, what is refused. What survives a process is in
 * test_tracker_adopt.c. Needs root and BPF.
 */
#include "tap.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <bpf/bpf.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "device/blkdev.h"
#include "tracker/tracker_host.h"

#include "tracker_abi.h"
#include "trackrig.h"

TEST(a_write_marks_its_blocks_and_no_others)
{
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	expect_marked(&g, 0, 0);
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1);
	write_at(&g, 63 * 4096, 3 * 4096);	/* crosses a leaf word */
	expect_marked(&g, 63, 3);
	write_at(&g, 100 * 4096 + 512, 512);	/* a part of a block */
	expect_marked(&g, 100, 1);
	write_at(&g, 200 * 4096 - 512, 1024);	/* parts of two */
	expect_marked(&g, 199, 2);
	write_at(&g, 64 * MIB - 4096, 4096);	/* the last one */
	expect_marked(&g, 64 * MIB / 4096 - 1, 1);
	write_at(&g, 0, 4 * MIB);		/* several requests */
	expect_marked(&g, 0, 1024);
	expect_marked(&g, 0, 0);
	rig_close(&g);
}

TEST(discard_and_write_zeroes_mark_what_they_change)
{
	uint64_t range[2] = { 5 * MIB, 2 * MIB };
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	ASSERT_OK(ioctl(g.fd, BLKDISCARD, range));
	expect_marked(&g, 5 * 256, 2 * 256);
	ASSERT_OK(ioctl(g.fd, BLKZEROOUT, range));
	expect_marked(&g, 5 * 256, 2 * 256);
	ASSERT_OK(fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    9 * MIB, MIB));
	expect_marked(&g, 9 * 256, 256);
	rig_close(&g);
}

TEST(a_request_of_gigabytes_marks_every_block)
{
	uint64_t range[2] = { 0, 8ULL << 30 };
	struct rig g;

	rig_open(&g, 8ULL << 30, 12);
	ASSERT_OK(ioctl(g.fd, BLKDISCARD, range));
	expect_marked(&g, 0, (8ULL << 30) / 4096);
	rig_close(&g);
}

TEST(a_large_granularity_marks_whole_blocks)
{
	struct rig g;

	rig_open(&g, 64 * MIB, 20);
	write_at(&g, 3 * MIB + 4096, 4096);
	expect_marked(&g, 3, 1);
	write_at(&g, 5 * MIB - 4096, 8192);
	expect_marked(&g, 4, 2);
	rig_close(&g);
}

TEST(reads_mark_nothing)
{
	void *buf = NULL;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	ASSERT_OK(posix_memalign(&buf, 4096, MIB));
	ASSERT_INT(pread(g.fd, buf, MIB, 0), (ssize_t)MIB);
	expect_marked(&g, 0, 0);
	free(buf);
	rig_close(&g);
}

TEST(a_generation_keeps_what_is_written_after_the_flip)
{
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	ASSERT_OK(g.t->ops->flip(g.t, &err));
	EXPECT_FALSE(g.t->ops->is_redirtied(g.t, 7));
	write_at(&g, 7 * 4096, 4096);
	EXPECT_TRUE(g.t->ops->is_redirtied(g.t, 7));
	EXPECT_FALSE(g.t->ops->is_redirtied(g.t, 8));
	expect_marked(&g, 7, 1);
	rig_close(&g);
}

/* Of one program for two tracepoints the kernel skips the inner run, and says
 * so. Ours are two, and skip none in the same time. */
static int spin_program(int turns)
{
	const struct bpf_insn insns[] = {
		{ .code = 0xb7, .dst_reg = 1, .imm = turns },
		{ .code = 0x07, .dst_reg = 1, .imm = -1 },
		{ .code = 0x55, .dst_reg = 1, .off = -2 },
		{ .code = 0xb7, .dst_reg = 0, .imm = 0 },
		{ .code = 0x95 },
	};

	return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "us_shared", "GPL",
			     insns, 5, NULL);
}

static uint64_t misses_of(int fd)
{
	struct bpf_prog_info info;
	uint32_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	ASSERT_OK(bpf_obj_get_info_by_fd(fd, &info, &len));
	return info.recursion_misses;
}

TEST_WITH_TIMEOUT(one_program_for_both_tracepoints_is_skipped_and_counted, 60)
{
	uint64_t end = clock_mono_ns(clock_real()) + 20 * NSEC_PER_SEC;
	struct tracker_losses lost;
	struct err err = ERR_INIT;
	struct rig g;
	pid_t writers[4];
	int prog, a, b, i;

	rig_open(&g, 64 * MIB, 12);
	prog = spin_program(60000);
	ASSERT_GE(prog, 0);
	a = bpf_raw_tracepoint_open("block_rq_issue", prog);
	b = bpf_raw_tracepoint_open("block_rq_complete", prog);
	ASSERT_TRUE(a >= 0 && b >= 0);
	/* Several writers, so that one's end interrupts another's issue. */
	for (i = 0; i < 4; i++) {
		writers[i] = fork();
		ASSERT_GE(writers[i], 0);
		while (!writers[i])
			write_at(&g, (uint64_t)i * MIB, 4096);
	}
	while (!misses_of(prog))
		ASSERT_MSG(clock_mono_ns(clock_real()) < end,
			   "no run was skipped");
	for (i = 0; i < 4; i++) {
		(void)kill(writers[i], SIGKILL);
		(void)waitpid(writers[i], NULL, 0);
	}
	close(a);
	close(b);
	ASSERT_OK(g.t->ops->losses(g.t, &lost, &err));
	EXPECT_U64(lost.issue_misses, 0);
	close(prog);
	rig_close(&g);
}

/* A disk has room for so many volumes; the next is told. */
TEST(a_disk_with_too_many_volumes_refuses_the_next)
{
	struct tracker *more[US_VOLUMES_PER_DISK] = { 0 }, *no;
	struct err err = ERR_INIT;
	struct uuid id;
	struct rig g;
	int i;

	rig_open(&g, 64 * MIB, 12);
	for (i = 1; i < US_VOLUMES_PER_DISK; i++) {
		ASSERT_OK(uuid_new(rnd_system(), &id));
		ASSERT_OK(tracker_host_add(g.host, &id, &g.dev, g.shift,
					   &more[i], &err));
	}
	ASSERT_OK(uuid_new(rnd_system(), &id));
	EXPECT_INT(tracker_host_add(g.host, &id, &g.dev, g.shift, &no, &err),
		   -ENOSPC);
	EXPECT_STR(err.code, "too-many-volumes");
	EXPECT_STR_HAS(err.message, "16 volumes on disk loop");
	EXPECT_STR_HAS(err.remedy, "fewer parts of it");
	for (i = 1; i < US_VOLUMES_PER_DISK; i++)
		more[i]->ops->close(more[i], true);
	expect_marked(&g, 0, 0);
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1);
	rig_close(&g);
}

/* As many as one daemon can have, on as many disks as that takes. */
TEST_WITH_TIMEOUT(a_host_with_too_many_volumes_refuses_the_next, 120)
{
	enum { DISKS = US_MAX_VOLUMES / US_VOLUMES_PER_DISK };
	static struct tracker *all[US_MAX_VOLUMES];
	struct loopdev loops[DISKS];
	struct blkdev devs[DISKS];
	struct err err = ERR_INIT;
	struct tracker *no;
	struct uuid id;
	struct rig g;
	int i;

	rig_open(&g, MIB, 12);
	for (i = 0; i < DISKS; i++) {
		ASSERT_OK(loopdev_open(&loops[i], MIB));
		ASSERT_OK(blkdev_open(loops[i].path, &devs[i], &err));
	}
	for (i = 1; i < US_MAX_VOLUMES; i++) {
		ASSERT_OK(uuid_new(rnd_system(), &id));
		ASSERT_MSG(!tracker_host_add(g.host, &id, &devs[i % DISKS], 12,
					     &all[i], &err), "%d: %s", i,
			   err.message);
	}
	ASSERT_OK(uuid_new(rnd_system(), &id));
	EXPECT_INT(tracker_host_add(g.host, &id, &devs[0], 12, &no, &err),
		   -ENOSPC);
	EXPECT_STR(err.code, "too-many-volumes");
	EXPECT_STR_HAS(err.message, "256 volumes are, as many as one daemon");
	EXPECT_STR_HAS(err.remedy, "as one");
	/* One goes, another one comes; the first goes on all the time. */
	all[1]->ops->close(all[1], true);
	err_clear(&err);
	EXPECT_OK(tracker_host_add(g.host, &id, &devs[0], 12, &all[1], &err));
	expect_marked(&g, 0, 0);
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1);
	for (i = 1; i < US_MAX_VOLUMES; i++)
		all[i]->ops->close(all[i], true);
	for (i = 0; i < DISKS; i++) {
		blkdev_close(&devs[i]);
		loopdev_close(&loops[i]);
	}
	rig_close(&g);
}

TEST(a_healthy_tracker_reports_no_loss)
{
	struct tracker_losses lost;
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, 64 * MIB, 12);
	write_at(&g, 0, MIB);
	ASSERT_OK(g.t->ops->losses(g.t, &lost, &err));
	EXPECT_U64(lost.issue_misses, 0);
	EXPECT_U64(lost.slot_overflows, 0);
	EXPECT_U64(lost.map_errors, 0);
	EXPECT_U64(lost.other_disk, 0);
	EXPECT_FALSE(lost.detached);
	memset(&lost, 0, sizeof(lost));
	ASSERT_OK(g.t->ops->stats(g.t, &lost));
	EXPECT_U64(lost.sectors, MIB / 512);
	rig_close(&g);
}

/* Exactly this block, in the generation that the last flip retired. */
static void expect_collected(struct tracker *t, uint64_t block)
{
	struct bitmap fresh, carried;
	struct err err = ERR_INIT;

	ASSERT_OK(bitmap_init(&fresh, t->n_blocks));
	ASSERT_OK(bitmap_init(&carried, t->n_blocks));
	ASSERT_OK(t->ops->collect(t, &fresh, &carried, &err));
	EXPECT_U64(fresh.n_set, 1);
	EXPECT_TRUE(bitmap_test(&fresh, block));
	bitmap_free(&fresh);
	bitmap_free(&carried);
}

static struct tracker *enter(struct rig *g, const struct uuid *group)
{
	const struct tracker_want w = { .volume = &g->volume, .dev = &g->dev,
					.block_shift = 12, .group = group };
	struct err err = ERR_INIT;
	struct tracker *t = NULL;

	ASSERT_MSG(!tracker_host_enter(g->host, &w, &t, &err), "%s",
		   err.message);
	return t;
}

TEST(volumes_of_a_group_are_flipped_by_one_store)
{
	struct err err = ERR_INIT;
	struct uuid group;
	struct rig a, b;

	rig_open(&a, 64 * MIB, 12);
	a.t->ops->close(a.t, false);
	memset(&b, 0, sizeof(b));
	b.host = a.host;
	ASSERT_OK(uuid_new(rnd_system(), &group));
	ASSERT_OK(uuid_new(rnd_system(), &b.volume));
	ASSERT_OK(loopdev_open(&b.loop, 32 * MIB));
	ASSERT_OK(blkdev_open(b.loop.path, &b.dev, &err));
	b.fd = open(b.loop.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(b.fd, 0);
	a.t = enter(&a, &group);
	b.t = enter(&b, &group);
	/* It was tracked alone: nobody knows in which generation. */
	EXPECT_FALSE(a.t->adopted);
	write_at(&a, 3 * 4096, 4096);
	write_at(&b, 5 * 4096, 4096);
	EXPECT_TRUE(a.t->ops->is_redirtied(a.t, 3));
	EXPECT_TRUE(b.t->ops->is_redirtied(b.t, 5));
	ASSERT_OK(a.t->ops->flip(a.t, &err));
	EXPECT_FALSE(a.t->ops->is_redirtied(a.t, 3));
	EXPECT_FALSE(b.t->ops->is_redirtied(b.t, 5));
	write_at(&b, 6 * 4096, 4096);
	EXPECT_TRUE(b.t->ops->is_redirtied(b.t, 6));
	expect_collected(a.t, 3);
	expect_collected(b.t, 5);
	/* The same group again is the same; alone again is not. */
	b.t->ops->close(b.t, false);
	b.t = enter(&b, &group);
	EXPECT_TRUE(b.t->adopted);
	b.t->ops->close(b.t, false);
	b.t = enter(&b, NULL);
	EXPECT_FALSE(b.t->adopted);
	b.t->ops->close(b.t, true);
	close(b.fd);
	blkdev_close(&b.dev);
	loopdev_close(&b.loop);
	rig_close(&a);
}
