// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF tracker on a real loop device: which blocks an operation marks, what
 * survives the process, what counts as a hole. Needs root and BPF.
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
#include "base/checked.h"
#include "base/clock.h"
#include "loopdev.h"
#include "private_bpffs.h"
#include "device/blkdev.h"
#include "tracker/tracker_host.h"

#include "tracker_abi.h"

#define MIB (1ULL << 20)

struct rig {
	struct loopdev loop;
	struct blkdev dev;
	struct tracker_host_config hc;
	struct tracker_host *host;
	struct tracker *t;
	struct uuid volume;
	uint32_t shift;
	int fd;				/* for the test's writes */
};

static void attach(struct rig *g)
{
	struct err err = ERR_INIT;

	ASSERT_MSG(!tracker_host_open(&g->hc, &g->host, &err), "%s",
		   err.message);
	ASSERT_MSG(!tracker_host_add(g->host, &g->volume, &g->dev, g->shift,
				     &g->t, &err), "%s", err.message);
}

static void detach(struct rig *g, bool untrack)
{
	g->t->ops->close(g->t, untrack);
	tracker_host_close(g->host, untrack);
}

static void rig_open(struct rig *g, uint64_t size, uint32_t shift)
{
	struct err err = ERR_INIT;

	memset(g, 0, sizeof(*g));
	g->shift = shift;
	g->hc.state_dir = "/nonexistent/test";
	ASSERT_OK(private_bpffs());
	ASSERT_OK(uuid_new(rnd_system(), &g->hc.node));
	ASSERT_OK(uuid_new(rnd_system(), &g->volume));
	ASSERT_OK(loopdev_open(&g->loop, size));
	ASSERT_MSG(!blkdev_open(g->loop.path, &g->dev, &err), "%s",
		   err.message);
	attach(g);
	g->fd = open(g->loop.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(g->fd, 0);
}

static void rig_close(struct rig *g)
{
	close(g->fd);
	detach(g, true);
	blkdev_close(&g->dev);
	loopdev_close(&g->loop);
}

static void write_at(struct rig *g, uint64_t off, uint64_t len)
{
	void *buf = NULL;

	ASSERT_OK(posix_memalign(&buf, 4096, len));
	memset(buf, 0x5a, len);
	ASSERT_INT(pwrite(g->fd, buf, len, (off_t)off), (ssize_t)len);
	free(buf);
}

/* Collects what was marked since the last time. */
static void collect(struct rig *g, struct bitmap *fresh)
{
	struct bitmap carried;
	struct err err = ERR_INIT;

	ASSERT_OK(bitmap_init(fresh, g->t->n_blocks));
	ASSERT_OK(bitmap_init(&carried, g->t->n_blocks));
	ASSERT_OK(g->t->ops->flip(g->t, &err));
	ASSERT_OK(g->t->ops->collect(g->t, fresh, &carried, &err));
	bitmap_free(&carried);
}

/* Exactly blocks [first, first + count) were marked. */
static void expect_marked(struct rig *g, uint64_t first, uint64_t count)
{
	struct bitmap fresh;
	uint64_t b;

	collect(g, &fresh);
	for (b = first; b < first + count; b++)
		ASSERT_MSG(bitmap_test(&fresh, b), "block %" PRIu64
			   " not marked", b);
	EXPECT_U64(fresh.n_set, count);
	bitmap_free(&fresh);
}

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
