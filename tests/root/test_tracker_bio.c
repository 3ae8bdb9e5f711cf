// SPDX-License-Identifier: Apache-2.0
/*
 * The tracker on a device that takes bios, a zram: what an operation marks,
 * and what becomes of slots whose end nobody saw. Needs root and BPF.
 */
#include "tap.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/fs.h>

#include <bpf/bpf.h>

#include "base/bitmap.h"
#include "base/rnd.h"
#include "device/blkdev.h"
#include "private_bpffs.h"
#include "tracker/tracker_host.h"
#include "tracker_abi.h"
#include "zramdev.h"

#define MIB (1ULL << 20)
#define SIZE (64 * MIB)

struct rig {
	struct zramdev zram;
	struct blkdev dev;
	struct tracker_host_config hc;
	struct tracker_host *host;
	struct tracker *t;
	struct uuid volume;
	int fd;				/* for the test's writes */
};

static void rig_open(struct rig *g, const struct tracker_host_config *hc)
{
	struct err err = ERR_INIT;
	int r;

	memset(g, 0, sizeof(*g));
	if (hc)
		g->hc = *hc;
	g->hc.state_dir = "/nonexistent/test";
	ASSERT_OK(private_bpffs());
	ASSERT_OK(uuid_new(rnd_system(), &g->hc.node));
	ASSERT_OK(uuid_new(rnd_system(), &g->volume));
	r = zramdev_open(&g->zram, SIZE);
	if (r == -ENODEV)
		SKIP("no zram here");
	ASSERT_OK(r);
	ASSERT_MSG(!blkdev_open(g->zram.path, &g->dev, &err), "%s",
		   err.message);
	if (zramdev_is_by_pages()) {
		ASSERT_INT(tracker_admit(&g->dev, &err), -EOPNOTSUPP);
		SKIP(ZRAM_BY_PAGES);
	}
	ASSERT_MSG(!tracker_host_open(&g->hc, &g->host, &err), "%s",
		   err.message);
	ASSERT_MSG(!tracker_host_add(g->host, &g->volume, &g->dev, 12, &g->t,
				     &err), "%s", err.message);
	g->fd = open(g->zram.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(g->fd, 0);
}

static void rig_close(struct rig *g)
{
	close(g->fd);
	g->t->ops->close(g->t, true);
	tracker_host_close(g->host, true);
	blkdev_close(&g->dev);
	EXPECT_OK(zramdev_close(&g->zram));
}

static void write_at(struct rig *g, uint64_t off, uint64_t len)
{
	void *buf = NULL;

	ASSERT_OK(posix_memalign(&buf, 4096, len));
	memset(buf, 0x5a, len);
	ASSERT_INT(pwrite(g->fd, buf, len, (off_t)off), (ssize_t)len);
	free(buf);
}

static void collect(struct rig *g, struct bitmap *fresh,
		    struct bitmap *carried)
{
	struct err err = ERR_INIT;

	ASSERT_OK(bitmap_init(fresh, g->t->n_blocks));
	ASSERT_OK(bitmap_init(carried, g->t->n_blocks));
	ASSERT_OK(g->t->ops->flip(g->t, &err));
	ASSERT_OK(g->t->ops->collect(g->t, fresh, carried, &err));
}

/* Exactly blocks [first, first + count) were marked, and so many of them are
 * taken to be under way. */
static void expect_marked(struct rig *g, uint64_t first, uint64_t count,
			  uint64_t n_carried)
{
	struct bitmap fresh, carried;
	uint64_t b;

	collect(g, &fresh, &carried);
	for (b = first; b < first + count; b++)
		ASSERT_MSG(bitmap_test(&fresh, b), "block %" PRIu64
			   " not marked", b);
	EXPECT_U64(fresh.n_set, count);
	EXPECT_U64(carried.n_set, n_carried);
	bitmap_free(&fresh);
	bitmap_free(&carried);
}

static struct tracker_losses losses(struct rig *g)
{
	struct tracker_losses lost;
	struct err err = ERR_INIT;

	ASSERT_OK(g->t->ops->losses(g->t, &lost, &err));
	return lost;
}

TEST(a_write_marks_its_blocks_and_no_others)
{
	struct tracker_losses lost;
	struct rig g;

	rig_open(&g, NULL);
	expect_marked(&g, 0, 0, 0);
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1, 0);
	write_at(&g, 63 * 4096, 3 * 4096);	/* crosses a leaf word */
	expect_marked(&g, 63, 3, 0);
	write_at(&g, SIZE - 4096, 4096);	/* the last one */
	expect_marked(&g, SIZE / 4096 - 1, 1, 0);
	write_at(&g, 0, 4 * MIB);		/* several bios */
	expect_marked(&g, 0, 1024, 0);
	expect_marked(&g, 0, 0, 0);
	ASSERT_OK(fsync(g.fd));
	expect_marked(&g, 0, 0, 0);
	lost = losses(&g);
	EXPECT_U64(lost.lost_completions, 0);
	EXPECT_U64(lost.slot_overflows, 0);
	EXPECT_U64(lost.unknown_ends, 0);
	EXPECT_U64(lost.issue_misses, 0);
	EXPECT_FALSE(lost.detached);
	rig_close(&g);
}

TEST(discard_and_write_zeroes_mark_what_they_change)
{
	uint64_t range[2] = { 5 * MIB, 2 * MIB };
	struct rig g;

	rig_open(&g, NULL);
	ASSERT_OK(ioctl(g.fd, BLKDISCARD, range));
	expect_marked(&g, 5 * 256, 2 * 256, 0);
	ASSERT_OK(ioctl(g.fd, BLKZEROOUT, range));
	expect_marked(&g, 5 * 256, 2 * 256, 0);
	rig_close(&g);
}

TEST(what_ends_unseen_is_carried_until_its_address_is_used_again)
{
	struct bitmap fresh, carried;
	struct err err = ERR_INIT;
	struct rig g;
	int i;

	rig_open(&g, NULL);
	ASSERT_OK(tracker_host_detach_complete(g.host));
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1, 1);
	ASSERT_OK(tracker_host_attach_complete(g.host, &err));
	for (i = 0; i < 100000 && !losses(&g).lost_completions; i++)
		write_at(&g, 100 * 4096, 4096);
	/* Its range was marked when it was taken over, as a precaution. */
	collect(&g, &fresh, &carried);
	EXPECT_TRUE(bitmap_test(&fresh, 8));
	EXPECT_U64(carried.n_set, 0);
	bitmap_free(&fresh);
	bitmap_free(&carried);
	rig_close(&g);
}

/* Every slot is that of a bio which is none: nothing can be read there. */
static void fill_table(struct rig *g, uint64_t range)
{
	char node[UUID_TEXT_SIZE], volume[UUID_TEXT_SIZE], path[256];
	size_t bytes = US_BIO_SETS * sizeof(struct us_bio_set);
	struct us_bio_set *sets;
	unsigned int s, w;
	int fd;

	uuid_format(&g->hc.node, node);
	uuid_format(&g->volume, volume);
	(void)snprintf(path, sizeof(path),
		       "/sys/fs/bpf/understudy-%s/pages-%s", node, volume);
	fd = bpf_obj_get(path);
	ASSERT_GE(fd, 0);
	sets = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(sets != MAP_FAILED);
	for (s = 0; s < US_BIO_SETS; s++)
		for (w = 0; w < US_BIO_WAYS; w++) {
			sets[s].bio[w] = 64 + w;
			sets[s].range[w] = range;
		}
	munmap(sets, bytes);
	close(fd);
}

TEST(a_full_table_gives_way_where_a_bio_has_ended)
{
	struct bitmap fresh, carried;
	struct rig g;

	rig_open(&g, NULL);
	fill_table(&g, us_slot_pack(5, 1));
	write_at(&g, 100 * 4096, 4096);
	EXPECT_U64(losses(&g).slot_overflows, 0);
	EXPECT_U64(losses(&g).lost_completions, 1);
	collect(&g, &fresh, &carried);
	EXPECT_TRUE(bitmap_test(&fresh, 100));
	EXPECT_TRUE(bitmap_test(&fresh, 5));
	EXPECT_TRUE(bitmap_test(&carried, 5));
	EXPECT_FALSE(bitmap_test(&carried, 100));
	bitmap_free(&fresh);
	bitmap_free(&carried);
	rig_close(&g);
}

TEST(a_bio_without_a_slot_is_a_loss)
{
	struct tracker_host_config hc = { .without_trace_flag = true };
	struct rig g;

	rig_open(&g, &hc);
	fill_table(&g, us_slot_pack(5, 1));
	write_at(&g, 100 * 4096, 4096);
	/* Two, where a second program has looked for a slot as well. */
	EXPECT_GE(losses(&g).slot_overflows, 1);
	expect_marked(&g, 100, 1, 0);
	rig_close(&g);
}

TEST(a_second_program_marks_and_counts_nothing_twice)
{
	struct tracker_host_config hc = { .several = true };
	struct tracker_losses lost;
	struct rig g;

	rig_open(&g, &hc);
	write_at(&g, 8 * 4096, 4096);
	expect_marked(&g, 8, 1, 0);
	write_at(&g, 0, 4 * MIB);
	expect_marked(&g, 0, 1024, 0);
	lost = losses(&g);
	EXPECT_U64(lost.lost_completions, 0);
	memset(&lost, 0, sizeof(lost));
	ASSERT_OK(g.t->ops->stats(g.t, &lost));
	EXPECT_U64(lost.sectors, (4 * MIB + 4096) / 512);
	rig_close(&g);
}

TEST(programs_of_bios_are_attached_for_who_needs_them)
{
	char node[UUID_TEXT_SIZE], path[256];
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, NULL);
	uuid_format(&g.hc.node, node);
	(void)snprintf(path, sizeof(path),
		       "/sys/fs/bpf/understudy-%s/link_bio_queue", node);
	EXPECT_OK(access(path, F_OK));
	/* A process of its own adopts them, and what they saw meanwhile. */
	g.t->ops->close(g.t, false);
	tracker_host_close(g.host, false);
	write_at(&g, 8 * 4096, 4096);
	ASSERT_OK(tracker_host_open(&g.hc, &g.host, &err));
	ASSERT_OK(tracker_host_add(g.host, &g.volume, &g.dev, 12, &g.t, &err));
	EXPECT_TRUE(g.t->adopted);
	expect_marked(&g, 8, 1, 0);
	/* Without the volume they go with the next start. */
	g.t->ops->close(g.t, true);
	tracker_host_close(g.host, false);
	ASSERT_OK(tracker_host_open(&g.hc, &g.host, &err));
	EXPECT_NE(access(path, F_OK), 0);
	ASSERT_OK(tracker_host_add(g.host, &g.volume, &g.dev, 12, &g.t, &err));
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}

TEST(a_link_that_went_meanwhile_is_a_hole)
{
	char node[UUID_TEXT_SIZE], path[256];
	struct err err = ERR_INIT;
	struct rig g;

	rig_open(&g, NULL);
	uuid_format(&g.hc.node, node);
	(void)snprintf(path, sizeof(path),
		       "/sys/fs/bpf/understudy-%s/link_bio_queue", node);
	g.t->ops->close(g.t, false);
	tracker_host_close(g.host, false);
	ASSERT_OK(unlink(path));
	ASSERT_OK(tracker_host_open(&g.hc, &g.host, &err));
	ASSERT_OK(tracker_host_add(g.host, &g.volume, &g.dev, 12, &g.t, &err));
	EXPECT_FALSE(g.t->adopted);
	rig_close(&g);
}
