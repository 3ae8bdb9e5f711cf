// SPDX-License-Identifier: Apache-2.0
/*
 * A volume of 64 TiB, sparse and in memory, tracked and collected as with the
 * defaults of the daemon; nothing of it is read. The oracle is the list of what
 * was written. Needs root and BPF.
 */
#include "tap.h"

#include <glob.h>
#include <string.h>
#include <sys/ioctl.h>

#include <bpf/bpf.h>

#include <linux/fs.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/rnd.h"
#include "hugerig.h"
#include "private_bpffs.h"
#include "tracker/tracker_words.h"

#define TRACKER_MEMORY_BYTES (128 * HUGE_MIB)	/* the default */
#define SIZE_BYTES (64 * HUGE_TIB)
#define SCATTERED 1000U

static struct tracker_host *host;

/* Tracked as the daemon does it. */
static void track(struct hugerig *g)
{
	struct err err = ERR_INIT;
	uint32_t shift;

	ASSERT_MSG(!tracker_choose_shift(&g->dev, 0, TRACKER_MEMORY_BYTES,
					 &shift, &err), "%s", err.message);
	ASSERT_MSG(!hugerig_track(g, host, shift, &err), "%s", err.message);
}

static void huge_open(struct hugerig *g, uint64_t size_bytes)
{
	struct err err = ERR_INIT;

	ASSERT_OK(private_bpffs());
	ASSERT_MSG(!hugerig_host(&host, &err), "%s", err.message);
	ASSERT_MSG(!hugerig_open_device(g, size_bytes, &err), "%s",
		   err.message);
	ASSERT_U64(g->dev.n_sectors << 9, size_bytes);
}

static void huge_close(struct hugerig *g)
{
	hugerig_close(g);
	tracker_host_close(host, true);
}

/* As after an acknowledgement of everything. */
static void nothing_pending(struct hugerig *g)
{
	uint64_t w;

	for (w = 0; w < words_leaf_count(g->tracker->n_blocks); w++)
		g->tracker->ops->pending_clear(g->tracker, w, UINT64_MAX);
}

static void collect(struct hugerig *g, struct bitmap *fresh)
{
	struct bitmap carried;
	struct err err = ERR_INIT;

	ASSERT_OK(bitmap_init(fresh, g->tracker->n_blocks));
	ASSERT_OK(bitmap_init(&carried, g->tracker->n_blocks));
	ASSERT_OK(g->tracker->ops->flip(g->tracker, &err));
	ASSERT_OK(g->tracker->ops->collect(g->tracker, fresh, &carried, &err));
	bitmap_free(&carried);
}

/* Is what was collected what was written at these offsets, and nothing else? */
static bool is_exact(const struct hugerig *g, const struct bitmap *found,
		     const uint64_t *offsets, uint32_t n)
{
	struct bitmap want;
	bool same;
	uint64_t w;
	uint32_t i;

	ASSERT_OK(bitmap_init(&want, g->tracker->n_blocks));
	for (i = 0; i < n; i++)
		bitmap_set(&want, offsets[i] >> g->tracker->block_shift);
	same = want.n_set == found->n_set;
	for (w = 0; same && w < want.n_words; w++)
		same = bitmap_word(&want, w) == bitmap_word(found, w);
	bitmap_free(&want);
	return same;
}

/* Both ends, and places that lie anywhere. */
static void choose(uint64_t offsets[SCATTERED], uint64_t size_bytes)
{
	struct rnd_seeded rnd;
	uint32_t i;

	rnd_seeded_init(&rnd, tap_seed());
	offsets[0] = size_bytes - 4096;
	offsets[1] = 0;
	for (i = 2; i < SCATTERED; i++)
		offsets[i] = rnd_seeded_below(&rnd, size_bytes / 4096) * 4096;
}

/* ---- memory ---- */

/* A number after this name in a file of /proc, or 0. */
static uint64_t field(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	uint64_t value = 0;
	char line[256];

	ASSERT_NOT_NULL(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name), NULL, 10);
	(void)fclose(f);
	return value;
}

/* What the kernel charges for the maps of the volume, by their pins. */
static uint64_t maps_bytes(const struct hugerig *g)
{
	char pattern[128], path[64], volume[UUID_TEXT_SIZE];
	uint64_t bytes = 0;
	glob_t pins;
	size_t i;
	int fd;

	uuid_format(&g->volume, volume);
	(void)snprintf(pattern, sizeof(pattern), "/sys/fs/bpf/*/*-%s", volume);
	ASSERT_OK(glob(pattern, 0, NULL, &pins));
	ASSERT_U64(pins.gl_pathc, 2);
	for (i = 0; i < pins.gl_pathc; i++) {
		fd = bpf_obj_get(pins.gl_pathv[i]);
		ASSERT_GE(fd, 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		bytes += field(path, "memlock:");
		close(fd);
	}
	globfree(&pins);
	return bytes;
}

static uint64_t process_bytes(void)
{
	return field("/proc/self/status", "RssAnon:") << 10;
}

/* Every set of the engine full: as much as it can come to. */
static void fill_engine(struct hugerig *g)
{
	struct err err = ERR_INIT;

	ASSERT_OK(cut_all_dirty(g->cut, &err));
	ASSERT_OK(cut_collect(g->cut, &err));	/* what was carried is fresh */
	cut_committed(g->cut);
	ASSERT_OK(cut_all_dirty(g->cut, &err));
}

TEST(memory_of_64_tib_is_what_was_reckoned_and_below_the_limit)
{
	uint64_t before, used, maps;
	struct hugerig g;

	huge_open(&g, SIZE_BYTES);
	before = process_bytes();
	track(&g);
	EXPECT_U64(g.tracker->block_shift, 20);
	EXPECT_U64(g.tracker->n_blocks, 1ULL << 26);
	maps = maps_bytes(&g);
	fill_engine(&g);
	used = process_bytes() - before;
	tap_note("maps %" PRIu64 " KiB, process %" PRIu64 " KiB, reckoned %"
		 PRIu64 " KiB", maps >> 10, used >> 10,
		 tracker_memory_bytes(&g.dev, 20) >> 10);
	EXPECT_LE(maps + used, TRACKER_MEMORY_BYTES);
	/* What is not of the bitmaps: the heap's and the maps' own. */
	EXPECT_LE(maps + used, tracker_memory_bytes(&g.dev, 20) + HUGE_MIB);
	EXPECT_GE(maps + used + HUGE_MIB, tracker_memory_bytes(&g.dev, 20));
	huge_close(&g);
}

TEST(scattered_writes_are_collected_exactly)
{
	static uint64_t offsets[SCATTERED];
	struct bitmap found;
	struct hugerig g;

	huge_open(&g, SIZE_BYTES);
	track(&g);
	choose(offsets, SIZE_BYTES);
	ASSERT_OK(hugerig_write(&g, offsets, SCATTERED));
	collect(&g, &found);
	EXPECT_TRUE(bitmap_test(&found, g.tracker->n_blocks - 1));
	EXPECT_TRUE(is_exact(&g, &found, offsets, SCATTERED));
	/* The oracle objects to a write that was not found, and to one that
	 * nobody made. */
	EXPECT_FALSE(is_exact(&g, &found, offsets + 1, SCATTERED - 1));
	bitmap_clear(&found, g.tracker->n_blocks - 1);
	EXPECT_FALSE(is_exact(&g, &found, offsets, SCATTERED));
	bitmap_free(&found);
	collect(&g, &found);
	EXPECT_U64(found.n_set, 0);
	bitmap_free(&found);
	huge_close(&g);
}

/* Of the engine: what is staged is what was written, and is pending no more. */
TEST(a_cut_of_few_blocks_stages_these_and_no_others)
{
	static uint64_t offsets[SCATTERED];
	struct bitmap found, want;
	struct cut_round round;
	struct err err = ERR_INIT;
	struct hugerig g;
	uint32_t i;

	huge_open(&g, SIZE_BYTES);
	track(&g);
	nothing_pending(&g);
	choose(offsets, SIZE_BYTES);
	ASSERT_OK(hugerig_write(&g, offsets, SCATTERED));
	ASSERT_OK(bitmap_init(&want, g.tracker->n_blocks));
	for (i = 0; i < SCATTERED; i++)
		bitmap_set(&want, offsets[i] >> g.tracker->block_shift);
	ASSERT_OK(cut_round(g.cut, &round, &err));
	EXPECT_TRUE(round.converged);
	EXPECT_U64(round.collected, want.n_set);
	EXPECT_U64(g.staged_blocks, want.n_set * (HUGE_MIB / 4096));
	cut_committed(g.cut);
	cut_acked(g.cut);
	EXPECT_U64(cut_pending_blocks(g.cut), 0);
	/* A process after this one takes nothing up. */
	hugerig_leave(&g, false);
	track(&g);
	EXPECT_TRUE(g.tracker->adopted);
	ASSERT_OK(bitmap_init(&found, g.tracker->n_blocks));
	ASSERT_OK(g.tracker->ops->adopt(g.tracker, &found, &err));
	EXPECT_U64(found.n_set, 0);
	bitmap_free(&found);
	bitmap_free(&want);
	huge_close(&g);
}

/* One pass over as many words as each of its bitmaps has. */
static uint64_t pass_ns(const uint64_t *words, uint64_t n)
{
	uint64_t start = clock_mono_ns(clock_real()), i, sum = 0;

	for (i = 0; i < n; i++)
		sum += words[i];
	ASSERT_U64(sum, n);
	return clock_mono_ns(clock_real()) - start;
}

static uint64_t collect_ns(struct hugerig *g)
{
	uint64_t start = clock_mono_ns(clock_real());
	struct err err = ERR_INIT;

	ASSERT_OK(cut_collect(g->cut, &err));
	return clock_mono_ns(clock_real()) - start;
}

/* An idle volume must cost nothing at each interval, whatever its size. */
TEST(collecting_little_does_not_go_over_the_bitmaps)
{
	const uint64_t offset = 40 * HUGE_TIB;
	uint64_t pass = UINT64_MAX, nothing = UINT64_MAX, one = UINT64_MAX;
	uint64_t *words, n, i;
	struct hugerig g;

	huge_open(&g, SIZE_BYTES);
	track(&g);
	n = words_leaf_count(g.tracker->n_blocks);
	words = malloc(n * sizeof(*words));
	ASSERT_NOT_NULL(words);
	for (i = 0; i < n; i++)
		words[i] = 1;
	/* The least of several: others are on this machine. */
	for (i = 0; i < 50; i++) {
		pass = MIN(pass, pass_ns(words, n));
		nothing = MIN(nothing, collect_ns(&g));
		ASSERT_OK(hugerig_write(&g, &offset, 1));
		one = MIN(one, collect_ns(&g));
	}
	tap_note("a pass %" PRIu64 " ns, nothing %" PRIu64 " ns, one block %"
		 PRIu64 " ns", pass, nothing, one);
	EXPECT_LT(nothing, pass / 8);
	EXPECT_LT(one, pass / 8);
	free(words);
	huge_close(&g);
}

TEST_WITH_TIMEOUT(a_discard_of_the_whole_device_marks_all_of_it, 60)
{
	uint64_t range[2] = { 0, SIZE_BYTES };
	struct tracker_losses lost;
	struct bitmap found;
	struct err err = ERR_INIT;
	struct hugerig g;

	huge_open(&g, SIZE_BYTES);
	track(&g);
	ASSERT_OK(ioctl(g.fd, BLKDISCARD, range));
	collect(&g, &found);
	EXPECT_U64(found.n_set, g.tracker->n_blocks);
	bitmap_free(&found);
	ASSERT_OK(g.tracker->ops->losses(g.tracker, &lost, &err));
	EXPECT_U64(lost.map_errors, 0);
	EXPECT_U64(lost.walk_overflows, 0);
	huge_close(&g);
}

/* Its blocks become larger with it, since the memory does not. */
TEST(growth_from_32_to_64_tib_goes_on_with_what_was_marked)
{
	const uint64_t old = SIZE_BYTES / 2;
	uint64_t offsets[] = { 0, 5 * HUGE_TIB + 4096, old - 4096 }, b;
	struct bitmap pending;
	struct err err = ERR_INIT;
	struct hugerig g;
	uint32_t i;

	huge_open(&g, old);
	track(&g);
	EXPECT_U64(g.tracker->block_shift, 19);
	nothing_pending(&g);
	ASSERT_OK(hugerig_write(&g, offsets, 3));
	hugerig_leave(&g, false);
	ASSERT_MSG(!hugerig_grow(&g, SIZE_BYTES, &err), "%s", err.message);
	track(&g);
	EXPECT_TRUE(g.tracker->adopted);
	EXPECT_U64(g.tracker->block_shift, 20);
	ASSERT_OK(bitmap_init(&pending, g.tracker->n_blocks));
	ASSERT_OK(g.tracker->ops->adopt(g.tracker, &pending, &err));
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(bitmap_test(&pending, offsets[i] >> 20));
	for (b = old >> 20; b < g.tracker->n_blocks; b++)
		ASSERT_TRUE(bitmap_test(&pending, b));
	EXPECT_U64(pending.n_set, 3 + (old >> 20));
	bitmap_free(&pending);
	/* From now on also where it is new. */
	nothing_pending(&g);
	offsets[0] = SIZE_BYTES - 4096;
	ASSERT_OK(hugerig_write(&g, offsets, 3));
	collect(&g, &pending);
	EXPECT_TRUE(is_exact(&g, &pending, offsets, 3));
	bitmap_free(&pending);
	huge_close(&g);
}

TEST(with_too_little_memory_the_device_is_refused)
{
	struct err err = ERR_INIT;
	struct hugerig g;
	uint32_t shift;

	huge_open(&g, SIZE_BYTES);
	EXPECT_INT(tracker_choose_shift(&g.dev, 0, HUGE_MIB, &shift, &err),
		   -EOPNOTSUPP);
	EXPECT_STR(err.code, "tracker-memory");
	EXPECT_STR_HAS(err.message, "64 TiB");
	EXPECT_STR_HAS(err.remedy, "tracker-memory = ");
	err_clear(&err);
	EXPECT_INT(tracker_choose_shift(&g.dev, 4096, TRACKER_MEMORY_BYTES,
					&shift, &err), -EOPNOTSUPP);
	EXPECT_STR_HAS(err.remedy, "granularity = auto");
	huge_close(&g);
}
