// SPDX-License-Identifier: Apache-2.0
/*
 * Cuts of a real loop device under ordered, dependent writers, judged by the
 * causal-chain oracle; and the same with one guard switched off at a time,
 * where the oracle must object. Needs root, BPF and loop devices.
 */
#include "tap.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/rnd.h"
#include "causal.h"
#include "loopdev.h"
#include "private_bpffs.h"
#include "zramdev.h"
#include "device/blkdev.h"
#include "source/cut.h"
#include "tracker/tracker_host.h"
#include "wire/unit.h"

#define SIZE_BYTES (64ULL << 20)

/* A sink that keeps the staged image in memory. */
struct memory_sink {
	struct cut_sink sink;
	uint8_t *image;
	uint64_t staged_blocks;
};

static int sink_expect(struct cut_sink *s, uint64_t first, uint64_t count)
{
	(void)s;
	(void)first;
	(void)count;
	return 0;
}

static int sink_stage(struct cut_sink *s, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	struct memory_sink *m = (struct memory_sink *)(void *)s;

	memcpy(m->image + (first << US_BLOCK_SHIFT), data,
	       (size_t)count << US_BLOCK_SHIFT);
	m->staged_blocks += count;
	return 0;
}

static int image_read(void *arg, uint64_t off, uint32_t len, uint8_t *out)
{
	memcpy(out, ((struct memory_sink *)arg)->image + off, len);
	return 0;
}

/*
 * A reader that is slow, so that conflicts happen; and that now and then waits
 * until a write has just landed where it is about to read, of which its writer
 * does not know yet.
 */
struct slow_reader {
	struct reader r;
	struct reader *real;
	struct rnd_seeded rnd;
	uint64_t max_delay_ns;
	uint32_t landing_one_in;	/* of the reads; 0: none */
	int fd;				/* of the device, O_DIRECT */
	uint8_t *sector;
};

static struct slow_reader *slow(struct reader *r)
{
	return (struct slow_reader *)(void *)r;
}

static struct read_req *slow_get(struct reader *r)
{
	return slow(r)->real->ops->get(slow(r)->real);
}

static void slow_put(struct reader *r, struct read_req *req)
{
	slow(r)->real->ops->put(slow(r)->real, req);
}

/* Until what the sector begins with changes; 20 ms at most. */
static void wait_for_landing(const struct slow_reader *s, uint64_t off)
{
	uint64_t end_ns = clock_mono_ns(clock_real()) + 20 * NSEC_PER_MSEC;
	uint64_t first = 0, now;
	bool have_first = false;

	while (clock_mono_ns(clock_real()) < end_ns) {
		if (pread(s->fd, s->sector, 512, (off_t)off) != 512)
			return;
		memcpy(&now, s->sector, sizeof(now));
		if (have_first && now != first)
			return;
		first = now;
		have_first = true;
	}
}

static int slow_submit(struct reader *r, struct read_req *req)
{
	struct timespec ts = { 0 };

	if (slow(r)->landing_one_in &&
	    !rnd_seeded_below(&slow(r)->rnd, slow(r)->landing_one_in)) {
		wait_for_landing(slow(r), req->off_bytes);
		return slow(r)->real->ops->submit(slow(r)->real, req);
	}
	ts.tv_nsec = (long)rnd_seeded_below(&slow(r)->rnd,
					    slow(r)->max_delay_ns);
	nanosleep(&ts, NULL);
	return slow(r)->real->ops->submit(slow(r)->real, req);
}

static int slow_next(struct reader *r, bool wait, struct read_req **out)
{
	return slow(r)->real->ops->next(slow(r)->real, wait, out);
}

static const struct reader_ops slow_ops = {
	.get = slow_get,
	.put = slow_put,
	.submit = slow_submit,
	.next = slow_next,
};

struct rig {
	struct loopdev loop;
	struct zramdev zram;
	bool takes_bios;
	const char *path;
	struct blkdev dev;
	struct tracker_host *host;
	struct tracker *tracker;
	struct reader *reader;
	struct slow_reader slow;
	struct memory_sink sink;
	struct cut *cut;
	struct causal_layout layout;
	uint32_t pause_us;
};

struct options {
	bool without_reread, without_issue_mark, without_check;
	uint32_t window_turns;
	uint64_t read_delay_ns;
	uint32_t landing_one_in;
	uint32_t block_shift;
	uint32_t chains, slots;		/* 0: as usual */
	uint32_t pause_us;		/* of the writers; 0: look for it */
	bool takes_bios;		/* the device; else requests */
	bool twice;
};

static void rig_open_engine(struct rig *g, const struct options *o)
{
	struct reader_config rc = {
		.fd = g->dev.fd,
		.start_bytes = g->dev.start_sector << 9,
		.size_bytes = g->dev.n_sectors << 9,
		.lbs_bytes = g->dev.lbs_bytes,
		.clock = clock_real(),
	};
	struct cut_config cc = {
		.tracker = g->tracker,
		.reader = &g->slow.r,
		.sink = &g->sink.sink,
		.clock = clock_real(),
		.without_check = o->without_check,
	};
	struct err err = ERR_INIT;

	ASSERT_MSG(!reader_open(&rc, &g->reader, &err), "%s", err.message);
	rnd_seeded_init(&g->slow.rnd, 1);
	g->slow.real = g->reader;
	g->slow.max_delay_ns = o->read_delay_ns ? o->read_delay_ns : 1;
	g->slow.landing_one_in = o->landing_one_in;
	g->slow.fd = g->dev.fd;
	ASSERT_OK(posix_memalign((void **)&g->slow.sector, 4096, 4096));
	g->slow.r = *g->reader;
	if (o->read_delay_ns)
		g->slow.r.ops = &slow_ops;
	else
		cc.reader = g->reader;
	g->sink.sink.expect = sink_expect;
	g->sink.sink.stage = sink_stage;
	g->sink.image = calloc(1, SIZE_BYTES);
	ASSERT_NOT_NULL(g->sink.image);
	ASSERT_OK(cut_new(&cc, &g->cut, &err));
}

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
	struct tracker_host_config hc = {
		.state_dir = "/nonexistent/test",
		.without_reread = o->without_reread,
		.without_issue_mark = o->without_issue_mark,
		.window_turns = o->window_turns,
		.twice = o->twice,
	};
	struct err err = ERR_INIT;
	struct uuid volume;

	memset(g, 0, sizeof(*g));
	ASSERT_OK(private_bpffs());
	ASSERT_OK(uuid_new(rnd_system(), &hc.node));
	ASSERT_OK(uuid_new(rnd_system(), &volume));
	rig_open_device(g, o);
	ASSERT_MSG(!blkdev_open(g->path, &g->dev, &err), "%s", err.message);
	ASSERT_INT(g->dev.request_based, !o->takes_bios);
	ASSERT_MSG(!tracker_host_open(&hc, &g->host, &err), "%s", err.message);
	ASSERT_MSG(!tracker_host_add(g->host, &volume, &g->dev,
				     o->block_shift ? o->block_shift : 12,
				     &g->tracker, &err),
		   "%s", err.message);
	ASSERT_FALSE(g->tracker->adopted);
	rig_open_engine(g, o);
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
	cut_free(g->cut);
	g->reader->ops->close(g->reader);
	g->tracker->ops->close(g->tracker, true);
	tracker_host_close(g->host, true);
	blkdev_close(&g->dev);
	if (g->takes_bios)
		EXPECT_OK(zramdev_close(&g->zram));
	else
		loopdev_close(&g->loop);
	free(g->sink.image);
	free(g->slow.sector);
}

/* One cut attempt; true when it converged and was committed. */
static bool cut_once(struct rig *g, unsigned int max_rounds,
		     unsigned int *rounds)
{
	struct cut_round round;
	struct err err = ERR_INIT;
	unsigned int i;

	for (i = 0; i < max_rounds; i++) {
		ASSERT_MSG(!cut_round(g->cut, &round, &err), "%s",
			   err.message);
		ASSERT_U64(round.read_errors, 0);
		++*rounds;
		if (!round.converged)
			continue;
		cut_committed(g->cut);
		cut_acked(g->cut);
		return true;
	}
	return false;
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
	ASSERT_OK(cut_all_dirty(g->cut, &err));
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
		wrong = causal_judge(&g->layout, image_read, &g->sink);
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
	uint8_t *dev = NULL;
	unsigned int rounds = 0;
	uint64_t off;

	ASSERT_TRUE(cut_once(g, 20, &rounds));
	ASSERT_OK(posix_memalign((void **)&dev, 4096, 1 << 20));
	for (off = 0; off < SIZE_BYTES; off += 1 << 20) {
		ASSERT_INT(pread(g->dev.fd, dev, 1 << 20, (off_t)off),
			   1 << 20);
		ASSERT_MSG(!memcmp(dev, g->sink.image + off, 1 << 20),
			   "image differs from device within MiB %" PRIu64,
			   off >> 20);
	}
	free(dev);
}

TEST_WITH_TIMEOUT(every_cut_of_a_busy_device_is_a_legal_crash_state, 120)
{
	struct options o = { 0 };
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
	struct options o = { .read_delay_ns = 200000, .window_turns = 2000 };
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
	struct options o = { .read_delay_ns = 100000,
			     .window_turns = 2000,
			     .landing_one_in = 8 };
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
	struct options o = { .block_shift = 16 };
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
	struct options o = { .twice = true };
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
	ASSERT_OK(tracker_host_detach_complete(g.host));
	run_cuts(&g, 100, false, &v);
	EXPECT_U64(v.bad, 0);
	image_equals_device(&g);
	ASSERT_OK(tracker_host_attach_complete(g.host, &err));
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
	struct options o = { .without_check = true, .read_delay_ns = 200000 };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 500, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_reread, 120)
{
	struct options o = { .without_reread = true, .window_turns = 2000 };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_reread_of_bios, 120)
{
	struct options o = { .without_reread = true, .window_turns = 2000,
			     .takes_bios = true };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

TEST_WITH_TIMEOUT(the_oracle_objects_without_the_mark_at_issue, 120)
{
	struct options o = { .without_issue_mark = true,
			     .window_turns = 100000,
			     .read_delay_ns = 1,
			     .landing_one_in = 3,
			     .chains = 1,
			     .slots = 2,
			     .pause_us = 1000 };
	struct verdict v;
	struct rig g;

	rig_open(&g, &o);
	run_cuts(&g, 5000000, true, &v);
	EXPECT_GT(v.bad, 0);
	rig_close(&g);
}

