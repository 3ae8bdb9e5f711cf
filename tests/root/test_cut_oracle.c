// SPDX-License-Identifier: Apache-2.0
/*
 * Cuts of a real loop device under ordered, dependent writers, judged by the
 * causal-chain oracle; and the same with one guard switched off at a time,
 * where the oracle must object. Needs root, BPF and loop devices.
 */
#include "tap.h"

#include <string.h>

#include "base/clock.h"
#include "causal.h"
#include "cutrig.h"
#include "loopdev.h"
#include "private_bpffs.h"
#include "zramdev.h"
#include "tracker/tracker_host.h"

#define SIZE_BYTES (64ULL << 20)

struct rig {
	struct loopdev loop;
	struct zramdev zram;
	bool takes_bios;
	const char *path;
	struct cutrig r;
	struct causal_layout layout;
	uint32_t pause_us;
};

struct options {
	struct cutrig_options r;
	uint32_t chains, slots;		/* 0: as usual */
	uint32_t pause_us;		/* of the writers; 0: look for it */
	bool takes_bios;		/* the device; else requests */
};

static void rig_open_device(struct rig *g, const struct options *o)
{
	int r;

	g->takes_bios = o->takes_bios;
	if (o->takes_bios) {
		r = zramdev_open(&g->zram, SIZE_BYTES);
		if (r == -ENODEV)
			SKIP("no zram here");
		ASSERT_OK(r);
		g->path = g->zram.path;
	} else {
		ASSERT_OK(loopdev_open(&g->loop, SIZE_BYTES));
		g->path = g->loop.path;
	}
}

static void rig_open(struct rig *g, const struct options *o)
{
	struct err err = ERR_INIT;
	int r;

	memset(g, 0, sizeof(*g));
	ASSERT_OK(private_bpffs());
	rig_open_device(g, o);
	r = cutrig_open(&g->r, g->path, &o->r, &err);
	if (o->takes_bios && zramdev_is_by_pages()) {
		ASSERT_INT(r, -EOPNOTSUPP);
		SKIP(ZRAM_BY_PAGES);
	}
	ASSERT_MSG(!r, "%s", err.message);
	ASSERT_INT(g->r.dev.request_based, !o->takes_bios);
	ASSERT_FALSE(g->r.tracker->adopted);
	g->layout = (struct causal_layout){
		.size_bytes = SIZE_BYTES,
		.chains = o->chains ? o->chains : 2,
		.slots = o->slots ? o->slots : 4,
		.slot_bytes = 8192,
		.stride_bytes = 1 << 20,
	};
	g->pause_us = o->pause_us;
}

static void rig_close(struct rig *g)
{
	cutrig_close(&g->r);
	if (g->takes_bios)
		EXPECT_OK(zramdev_close(&g->zram));
	else
		loopdev_close(&g->loop);
}

/* One cut attempt; true when it converged and was committed. */
static bool cut_once(struct rig *g, unsigned int max_rounds,
		     unsigned int *rounds)
{
	struct err err = ERR_INIT;
	int r = cutrig_cut(&g->r, max_rounds, rounds, &err);

	ASSERT_MSG(r >= 0, "%s", err.message);
	return r;
}

/* How long one run may look for more cuts, beside what else the machine does:
 * within the time that a test is given. */
#define RUN_NS (90 * NSEC_PER_SEC)

/*
 * How fast the writers are, next to the cuts, is the machine's affair; where
 * every cut fails and where none does, nothing is shown. So the pace is looked
 * for at which some do.
 */
static uint32_t pace_after(uint32_t pause_us, bool cut_failed)
{
	if (cut_failed)
		return pause_us < 20000 ? pause_us * 2 + 20 : pause_us;
	return pause_us * 7 / 8;
}

struct verdict {
	unsigned int points, failed, rounds, bad;
	int64_t writes;
	const char *first_wrong;
};

/* Cuts as fast as they can until points are made or, when bad is wanted, until
 * the oracle objects. */
static void run_cuts(struct rig *g, unsigned int points, bool until_bad,
		     struct verdict *v)
{
	uint64_t end_ns = clock_mono_ns(clock_real()) + RUN_NS;
	struct causal_writers *w;
	struct err err = ERR_INIT;
	uint32_t pause_us = g->pause_us;
	static char copy[256];
	bool made;

	memset(v, 0, sizeof(*v));
	ASSERT_OK(cut_all_dirty(g->r.cut, &err));
	w = causal_start(g->path, &g->layout);
	ASSERT_NOT_NULL(w);
	causal_pace(w, pause_us);
	/* A race is waited for longer than anything is proven to hold. */
	while ((v->points < points ||
		causal_writes(w) < (until_bad ? 40 : 4) * (int64_t)points) &&
	       v->failed < 4 * points &&
	       clock_mono_ns(clock_real()) < end_ns) {
		const char *wrong;

		made = cut_once(g, 20, &v->rounds);
		if (!g->pause_us)
			pause_us = pace_after(pause_us, !made);
		causal_pace(w, pause_us);
		if (!made) {
			v->failed++;
			continue;
		}
		v->points++;
		wrong = causal_judge(&g->layout, cutrig_read_image,
				     &g->r.sink);
		if (!wrong)
			continue;
		if (!v->bad++) {
			(void)snprintf(copy, sizeof(copy), "%s", wrong);
			v->first_wrong = copy;
		}
		if (until_bad)
			break;
	}
	v->writes = causal_stop(w, &g->layout);
	printf("# points=%u failed_cuts=%u rounds=%u writes=%" PRId64
	       " bad=%u %s\n", v->points, v->failed, v->rounds, v->writes,
	       v->bad, v->first_wrong ? v->first_wrong : "");
	ASSERT_GT(v->writes, 0);
}

static void image_equals_device(struct rig *g)
{
	unsigned int rounds = 0;
	uint64_t where = 0;

	ASSERT_TRUE(cut_once(g, 20, &rounds));
	ASSERT_MSG(!cutrig_compare(&g->r, &where),
		   "image differs from device at %" PRIu64, where);
}

TEST_WITH_TIMEOUT(every_cut_of_a_busy_device_is_a_legal_crash_state, 120)
{
	struct options o = { .r = { 0 } };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 1500, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 500);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(cuts_with_slow_reads_and_wide_windows_are_legal_too, 120)
{
	struct options o = {
		.r = { .read_delay_ns = 200000,
		       .window_turns = 2000 },
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 300, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 30);
	EXPECT_GT(v.rounds, v.points + 20);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(cuts_that_read_what_has_just_landed_are_legal_too, 120)
{
	struct options o = {
		.r = { .read_delay_ns = 100000,
		       .window_turns = 2000,
		       .landing_one_in = 8 },
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 200, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 30);
	EXPECT_GT(v.rounds, v.points + 20);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(large_tracking_blocks_are_legal_too, 120)
{
	struct options o = { .r = { .block_shift = 16 } };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 300, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 100);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(every_point_of_a_device_that_takes_bios_is_legal, 120)
{
	struct options o = { .takes_bios = true };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 300, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 100);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(a_second_program_beside_the_first_changes_nothing, 120)
{
	struct options o = { .r = { .several = true } };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 200, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 100);
	image_equals_device(&g);
	rig_close(&g);
	o.takes_bios = true;
	rig_open(&g, &o);
	run_cuts(&g, 200, false, &v);
	EXPECT_U64(v.bad, 0);
	EXPECT_GT(v.points, 100);
	image_equals_device(&g);
	rig_close(&g);
}

/* Of three copies the first is always left out, and then the second too. */
static void leave_copies_out(bool takes_bios)
{
	struct options o = { .r = { .several = true },
			     .takes_bios = takes_bios };
	struct tracker_losses before = { 0 }, seen = { 0 };
	struct verdict v;
	struct rig g;
	int copy;

	rig_open(&g, &o);
	run_cuts(&g, 50, false, &v);
	/* (On kernels that interrupt programs there is something to catch.) */
	ASSERT_OK(g.r.tracker->ops->stats(g.r.tracker, &before));
	for (copy = 0; copy < 2; copy++) {
		ASSERT_OK(tracker_host_detach_copy(g.r.host, copy));
		run_cuts(&g, 100, false, &v);
		EXPECT_U64(v.bad, 0);
		EXPECT_GT(v.points, 50);
		image_equals_device(&g);
	}
	ASSERT_OK(g.r.tracker->ops->stats(g.r.tracker, &seen));
	EXPECT_GT(seen.caught, before.caught + 100);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(another_copy_does_what_the_first_is_left_out_of, 300)
{
	leave_copies_out(false);
	leave_copies_out(true);
}

/* What completes unseen stays carried, on either kind of device. */
static void lose_the_completion_program(bool takes_bios)
{
	struct options o = { .takes_bios = takes_bios };
	struct err err = ERR_INIT;
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 100, false, &v);
	EXPECT_U64(v.bad, 0);
	ASSERT_OK(tracker_host_detach_complete(g.r.host));
	run_cuts(&g, 100, false, &v);
	EXPECT_U64(v.bad, 0);
	image_equals_device(&g);
	ASSERT_OK(tracker_host_attach_complete(g.r.host, &err));
	run_cuts(&g, 100, false, &v);
	EXPECT_U64(v.bad, 0);
	image_equals_device(&g);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(a_lost_completion_program_loses_nothing, 120)
{
	lose_the_completion_program(false);
}

TEST_WITH_TIMEOUT(a_lost_end_of_bios_program_loses_nothing, 120)
{
	lose_the_completion_program(true);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_per_read_check, 120)
{
	struct options o = {
		.r = { .without_check = true,
		       .read_delay_ns = 200000 },
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 500, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_reread, 120)
{
	struct options o = {
		.r = { .without_reread = true,
		       .window_turns = 2000 },
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_reread_of_bios, 120)
{
	struct options o = {
		.r = { .without_reread = true,
		       .window_turns = 2000 },
		.takes_bios = true,
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_mark_at_issue, 120)
{
	struct options o = {
		.r = { .without_issue_mark = true,
		       .window_turns = 100000,
		       .read_delay_ns = 1,
		       .landing_one_in = 3 },
		.chains = 1,
		.slots = 2,
		.pause_us = 1000,
	};
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

