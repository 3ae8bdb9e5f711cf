// SPDX-License-Identifier: Apache-2.0
/*
 * Judges the tracking of one block device, whose content is lost:
 *
 *	devjudge [OPTION...] DEVICE
 *		--kind NAME	what it is called in the result
 *		--points N	causal-chain points to judge (200)
 *		--ops N		of the workload, by each of two threads (60)
 *		--seed N
 *		--seconds N	at most for each series of points (120)
 *		--extra COMMAND	a workload more, of a shell, $DEVICE
 *		--passthrough scsi|nvme
 *				commands past the block layer's operations
 *		--no-control	leave out the cut without its check
 *
 * The last line on standard output is the result, an object of JSON: what was
 * tracked, or the slug of the refusal; the points judged, and what the oracle
 * objected to; whether an image fed by collected blocks alone was the device,
 * byte for byte. Exit status 0 when nothing objected, a refusal included.
 *
 * The oracles are shown to be able to object, each time: on an image stitched
 * of two points, on one that a run of blocks was kept from, and on cuts made
 * without the check of each read.
 *
 * Wants root and BPF; everything pinned is in a bpffs of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/blkpg.h>

#include "base/clock.h"
#include "causal.h"
#include "cutrig.h"
#include "devload.h"
#include "passthru.h"
#include "private_bpffs.h"

#define MIB (1ULL << 20)
#define SMALL_SLOT_BYTES (8U << 10)
/* Several requests on anything that splits, and no multiple of a chunk. */
#define LARGE_SLOT_BYTES ((1U << 20) + (20U << 10))
#define MAX_OP_BYTES (4U << 20)
/* Of a cut of a device at rest, and of one beside writers. */
#define ROUNDS 20U
#define ROUNDS_BUSY 6U
#define PAUSE_US_MAX 400000U
#define WRITES_PER_POINT 3

struct job {
	const char *device, *kind, *extra, *passthrough;
	uint32_t points, ops, seconds;
	uint64_t seed;
	bool control;
};

struct result {
	const char *kind;
	char refused[40];		/* slug; empty: tracked */
	char partition_refused[40];
	uint64_t points, failed_cuts, violations, writes, merged_discards;
	char wrong[256];		/* the first objection */
	const char *control, *compare, *discard, *partition, *passthrough;
};

__attribute__((format(printf, 2, 3))) static void
object(struct result *res, const char *fmt, ...)
{
	char text[sizeof(res->wrong)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("# wrong: %s\n", text);
	if (!res->violations++)
		memcpy(res->wrong, text, sizeof(text));
}

static bool object_err(struct result *res, int r, const struct err *err)
{
	if (r >= 0)
		return false;
	object(res, "%s (%d)", err->message, r);
	return true;
}

/* ---- losses: none of them belongs to a healthy tracker ---- */

static void judge_losses(struct cutrig *g, struct result *res)
{
	struct tracker_losses lost;
	struct err err = ERR_INIT;

	memset(&lost, 0, sizeof(lost));
	if (object_err(res, g->tracker->ops->losses(g->tracker, &lost, &err),
		       &err))
		return;
	if (lost.complete_misses || lost.lost_completions ||
	    lost.walk_overflows || lost.passthrough)
		printf("# harmless: %" PRIu64 " completions missed, %" PRIu64
		       " lost, %" PRIu64 " long discards, %" PRIu64
		       " commands\n", lost.complete_misses,
		       lost.lost_completions, lost.walk_overflows,
		       lost.passthrough);
	if (lost.issue_misses || lost.slot_overflows || lost.map_errors ||
	    lost.other_disk || lost.detached)
		object(res, "losses: %" PRIu64 " issues, %" PRIu64 " slots, %"
		       PRIu64 " maps, %" PRIu64 " other disk%s",
		       lost.issue_misses, lost.slot_overflows,
		       lost.map_errors, lost.other_disk,
		       lost.detached ? ", detached" : "");
}

/* ---- the causal chains ---- */

static struct causal_layout layout_of(uint32_t slot_bytes)
{
	const bool small = slot_bytes == SMALL_SLOT_BYTES;
	struct causal_layout l = {
		.chains = small ? 2 : 1,
		.slots = small ? 4 : 3,
		.slot_bytes = slot_bytes,
		/* An odd number of blocks: slots lie anywhere in a chunk. */
		.stride_bytes = small ? MIB + 4096 : slot_bytes + 12288ULL,
		.pause_us = small ? 0 : 4000,
	};

	return l;
}

/* Chains begin on zeros, and so does the image; what else is there nobody
 * looks at, so that it need not be read. */
static int wipe(const struct cutrig *g, const char *path,
		const struct causal_layout *l)
{
	uint64_t len = l->stride_bytes * l->slots, off;
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC), r = 0;
	uint8_t *buf = NULL;

	if (fd < 0)
		return -errno;
	if (posix_memalign((void **)&buf, 4096, MIB))
		abort();
	memset(buf, 0, MIB);
	for (off = 0; r == 0 && off < len && off < g->size_bytes; off += MIB) {
		uint64_t n = g->size_bytes - off < MIB ?
			g->size_bytes - off : MIB;

		if (pwrite(fd, buf, n, (off_t)off) != (ssize_t)n)
			r = errno ? -errno : -EIO;
	}
	free(buf);
	(void)close(fd);
	return r;
}

/* How fast writers may be, next to cuts, is the machine's affair: the pace is
 * looked for at which some cuts fail and most do not. */
static uint32_t pace_after(uint32_t pause_us, bool cut_failed)
{
	if (cut_failed)
		return pause_us < PAUSE_US_MAX ? pause_us * 2 + 20 : pause_us;
	return pause_us * 7 / 8;
}

struct series {
	const char *path;
	struct causal_layout layout;
	uint32_t points, seconds;
	bool until_wrong;		/* a control: the first objection ends it */
	uint64_t objections;
	uint64_t judged, failed;
	char wrong[256];
	uint8_t *older;			/* slots of an earlier point */
};

/* Does the oracle take the first slot of an older point with the rest of a
 * newer one: a state that never was, once the chain has moved on? */
static bool takes_stitched(struct cutrig *g, struct series *s)
{
	const struct causal_layout *l = &s->layout;
	uint64_t off = causal_slot_off(l, 0, 0), then = 0, now = 0;
	uint8_t *newer = malloc(l->slot_bytes);
	const char *wrong;

	if (!newer)
		abort();
	memcpy(&then, s->older, sizeof(then));
	memcpy(&now, g->sink.image + off, sizeof(now));
	if (now < then + 2) {
		printf("# chain 0 stood still, nothing to be stitched\n");
		free(newer);
		return false;
	}
	memcpy(newer, g->sink.image + off, l->slot_bytes);
	memcpy(g->sink.image + off, s->older, l->slot_bytes);
	wrong = causal_judge(l, cutrig_read_image, &g->sink);
	memcpy(g->sink.image + off, newer, l->slot_bytes);
	free(newer);
	return !wrong;
}

static void judge_point(struct cutrig *g, struct series *s)
{
	const char *wrong = causal_judge(&s->layout, cutrig_read_image,
					 &g->sink);

	s->judged++;
	if (!wrong)
		return;
	if (!s->objections++)
		(void)snprintf(s->wrong, sizeof(s->wrong), "%s", wrong);
}

/* A point of what an earlier one has shown would show nothing. */
static void wait_for_writes(struct causal_writers *w, int64_t writes,
			    uint64_t end_ns)
{
	while (causal_writes(w) < writes &&
	       clock_mono_ns(clock_real()) < end_ns)
		(void)usleep(100);
}

static int make_points(struct cutrig *g, struct series *s,
		       struct causal_writers *w, struct err *err)
{
	uint64_t end_ns = clock_mono_ns(clock_real()) +
			  s->seconds * NSEC_PER_SEC;
	uint32_t pause_us = s->layout.pause_us;
	unsigned int rounds = 0;
	int64_t at_older = -1, next = 0;
	int r;

	while (s->judged < s->points && clock_mono_ns(clock_real()) < end_ns) {
		wait_for_writes(w, next, end_ns);
		next = causal_writes(w) + WRITES_PER_POINT;
		r = cutrig_cut(g, ROUNDS_BUSY, &rounds, err);
		if (r < 0)
			return r;
		pause_us = pace_after(pause_us, r == 0);
		causal_pace(w, pause_us);
		if (r == 0) {
			s->failed++;
			continue;
		}
		judge_point(g, s);
		if (s->until_wrong && s->objections)
			return 0;
		if (at_older < 0 && s->older) {
			memcpy(s->older, g->sink.image +
			       causal_slot_off(&s->layout, 0, 0),
			       s->layout.slot_bytes);
			at_older = causal_writes(w);
		}
	}
	/* So that the older one is of another time. */
	if (at_older >= 0)
		wait_for_writes(w, at_older + 6 * (int64_t)(s->layout.slots *
							    s->layout.chains),
				end_ns);
	return 0;
}

/* A series of points beside writers; r < 0 with err, or 0. */
static int run_series(struct cutrig *g, struct series *s, struct result *res)
{
	struct causal_writers *w;
	struct err err = ERR_INIT;
	int64_t writes;
	int r = wipe(g, s->path, &s->layout);

	if (r < 0) {
		object(res, "%s cannot be zeroed: %s", s->path, strerror(-r));
		return r;
	}
	s->layout.size_bytes = g->size_bytes;
	w = causal_start(s->path, &s->layout);
	if (!w) {
		object(res, "no writers on %s", s->path);
		return -EIO;
	}
	r = make_points(g, s, w, &err);
	writes = causal_stop(w, &s->layout);
	(void)object_err(res, r, &err);
	if (writes < 0)
		object(res, "a writer failed: %s", strerror((int)-writes));
	else
		res->writes += (uint64_t)writes;
	printf("# %s slots of %u: %" PRIu64 " points, %" PRIu64
	       " cuts failed, %" PRId64 " writes, %" PRIu64 " objections %s\n",
	       s->path, s->layout.slot_bytes, s->judged, s->failed, writes,
	       s->objections, s->wrong);
	return r;
}

static void judge_series(struct cutrig *g, struct series *s,
			 struct result *res)
{
	unsigned int rounds = 0;
	struct err err = ERR_INIT;

	s->older = malloc(s->layout.slot_bytes);
	if (!s->older)
		abort();
	if (run_series(g, s, res) == 0) {
		res->points += s->judged;
		res->failed_cuts += s->failed;
		if (s->objections)
			object(res, "%" PRIu64 " points: %s", s->objections,
			       s->wrong);
		if (s->judged * 2 < s->points)
			object(res, "only %" PRIu64 " points of %u in time",
			       s->judged, s->points);
		else if (cutrig_cut(g, ROUNDS, &rounds, &err) != 1)
			object(res, "no cut of a device at rest: %s",
			       err.message);
		else if (takes_stitched(g, s))
			object(res, "the oracle takes a stitched image");
	}
	free(s->older);
}

/* points of them with slots of so many bytes. */
static void judge_chains(const struct job *j, struct cutrig *g,
			 uint32_t slot_bytes, uint32_t points,
			 struct result *res)
{
	struct series s = {
		.path = g->dev.path,
		.layout = layout_of(slot_bytes),
		.points = points,
		.seconds = j->seconds,
	};

	if (points)
		judge_series(g, &s, res);
}

/* Reads that are slow, or come when something has just landed, and a wide
 * window between flip and mark: what else would take days to meet. */
static const struct cutrig_options hard = {
	.read_delay_ns = 100000,
	.window_turns = 2000,
	.landing_one_in = 8,
};

static void judge_hard(const struct job *j, uint32_t points,
		       struct result *res)
{
	struct err err = ERR_INIT;
	struct cutrig g;

	if (object_err(res, cutrig_open(&g, j->device, &hard, &err), &err))
		return;
	judge_chains(j, &g, SMALL_SLOT_BYTES, points, res);
	judge_losses(&g, res);
	cutrig_close(&g);
}

/* Without the check of each read the oracle must object. */
static void judge_control(const struct job *j, struct result *res)
{
	const struct cutrig_options options = {
		.without_check = true,
		.read_delay_ns = 300000,
		.landing_one_in = 4,
	};
	struct series s = {
		.path = j->device,
		.layout = layout_of(SMALL_SLOT_BYTES),
		.points = 1000000,
		.seconds = j->seconds,
		.until_wrong = true,
	};
	struct err err = ERR_INIT;
	struct cutrig g;
	int r = cutrig_open(&g, j->device, &options, &err);

	if (object_err(res, r, &err))
		return;
	r = run_series(&g, &s, res);
	cutrig_close(&g);
	res->control = s.objections ? "ok" : "failed";
	if (r == 0 && !s.objections)
		object(res, "the oracle takes %" PRIu64
		       " cuts without a check", s.judged);
}

/* ---- byte for byte ---- */

/* One cut of a device at rest, and the comparison; false: objected. */
static bool cut_and_compare(struct cutrig *g, const char *after,
			    struct result *res)
{
	unsigned int rounds = 0;
	struct err err = ERR_INIT;
	uint64_t where = 0;
	int r = cutrig_cut(g, ROUNDS, &rounds, &err);

	if (r != 1) {
		object(res, "no cut after %s: %s", after, err.message);
		return false;
	}
	r = cutrig_compare(g, &where);
	if (r < 0)
		object(res, "not compared after %s: %s", after, strerror(-r));
	else if (r)
		object(res, "image and device differ at %" PRIu64 " after %s",
		       where, after);
	return r == 0;
}

/* A run of blocks that is not taken over must be noticed. */
static bool comparison_objects(struct cutrig *g, const char *path,
			       struct result *res)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC), r;
	struct err err = ERR_INIT;
	unsigned int rounds = 0;
	uint64_t where = 0;

	r = fd < 0 ? -errno : devload_write(fd, 7, MIB, 8192);
	(void)close(fd);
	g->sink.forget = 1;
	if (r == 0 && cutrig_cut(g, ROUNDS, &rounds, &err) == 1)
		r = cutrig_compare(g, &where);
	g->sink.forget = 0;
	if (r == 1 && where >= MIB && where < MIB + 8192)
		return true;
	object(res, "a lost block is not noticed (%d)", r);
	return false;
}

static int run_load(struct cutrig *g, const struct devload_config *c,
		    struct result *res)
{
	struct devload *l = devload_start(c);
	struct devload_done done;
	struct err err = ERR_INIT;
	unsigned int rounds = 0, cuts = 0;
	int r = 0;

	if (!l)
		abort();
	/* Points are made beside it: what they collect is gone from the
	 * tracker, so that what is lost between two of them stays lost. */
	while (r >= 0 && devload_running(l)) {
		r = cutrig_cut(g, 3, &rounds, &err);
		cuts += r == 1;
	}
	devload_join(l, &done);
	printf("# %s: %" PRIu64 " writes, %" PRIu64 " buffered, %" PRIu64
	       " discards, %" PRIu64 " zeroes, %" PRIu64 " holes, %" PRIu64
	       " MiB, %" PRIu64 " unsupported; %u cuts in %u rounds\n",
	       c->path, done.writes, done.buffered, done.discards,
	       done.zeroes, done.holes, done.bytes >> 20, done.unsupported,
	       cuts, rounds);
	if (done.error)
		object(res, "the workload failed: %s", strerror(-done.error));
	(void)object_err(res, r, &err);
	return r < 0 ? r : done.error;
}

static bool run_extra(const struct job *j, struct result *res)
{
	int r;

	if (!j->extra)
		return true;
	(void)setenv("DEVICE", j->device, 1);
	(void)fflush(stdout);
	r = system(j->extra);
	if (r)
		object(res, "the extra workload failed: %d", r);
	return r == 0;
}

/* Field 13 of a disk's statistics: discards that were merged into others. */
static uint64_t merged_discards(const struct blkdev *dev)
{
	char path[128];
	unsigned long long v[13] = { 0 };
	FILE *f;
	int i;

	(void)snprintf(path, sizeof(path), "/sys/block/%s/stat",
		       dev->disk_name);
	f = fopen(path, "re");
	for (i = 0; f && i < 13; i++)
		if (fscanf(f, "%llu", &v[i]) != 1)
			break;
	if (f)
		(void)fclose(f);
	return v[12];
}

static void judge_compare(const struct job *j, struct cutrig *g,
			  struct result *res)
{
	struct err err = ERR_INIT;
	struct devload_config load = {
		.path = j->device,
		.size_bytes = g->size_bytes,
		.lbs_bytes = g->dev.lbs_bytes,
		.seed = j->seed,
		.threads = 2,
		.ops = j->ops,
		.max_bytes = MAX_OP_BYTES,
	};
	uint64_t merged = merged_discards(&g->dev);
	bool same;

	same = !object_err(res, cut_all_dirty(g->cut, &err), &err) &&
	       cut_and_compare(g, "the first copy", res) &&
	       run_load(g, &load, res) == 0 &&
	       cut_and_compare(g, "the workload", res) &&
	       (!j->extra || (run_extra(j, res) &&
			      cut_and_compare(g, "the extra workload", res))) &&
	       comparison_objects(g, j->device, res);
	res->compare = same ? "ok" : "failed";
	res->merged_discards = merged_discards(&g->dev) - merged;
}

/* ---- discards ---- */

/* Content, then one kind of operation here and there, then the comparison.
 * 0, -EOPNOTSUPP, or another negative errno (objected). */
static int discard_by(struct cutrig *g, const struct job *j,
		      int (*op)(int fd, uint64_t off, uint64_t len),
		      struct result *res)
{
	const uint32_t lbs = g->dev.lbs_bytes;
	/* Whole blocks, parts of blocks, a leaf word and more, the end. */
	const uint64_t ranges[][2] = {
		{ 4096, 8192 },
		{ 65536 + lbs, 3 * 4096 },
		{ 131072, lbs },
		{ MIB, 2 * MIB },
		{ 4 * MIB - lbs, MIB + 2 * lbs },
		{ g->size_bytes - 4096, 4096 },
	};
	int fd = open(j->device, O_RDWR | O_DIRECT | O_CLOEXEC), r;
	size_t i;

	r = fd < 0 ? -errno : devload_write(fd, j->seed, 0, 8 * MIB);
	if (r == 0)
		r = devload_write(fd, j->seed + 1, g->size_bytes - MIB, MIB);
	if (r == 0 && !cut_and_compare(g, "filling", res))
		r = -EIO;
	for (i = 0; r == 0 && i < sizeof(ranges) / sizeof(ranges[0]); i++)
		r = op(fd, ranges[i][0], ranges[i][1]);
	if (r == 0 && !cut_and_compare(g, "discarding", res))
		r = -EIO;
	(void)close(fd);
	return r;
}

static void judge_discard(const struct job *j, struct cutrig *g,
			  struct result *res)
{
	int d = discard_by(g, j, devload_discard, res);
	int z = discard_by(g, j, devload_zero, res);
	int p = discard_by(g, j, devload_punch, res);

	printf("# discard %d, zeroes %d, holes %d\n", d, z, p);
	res->discard = "failed";
	if (z == 0 && (p == 0 || p == -EOPNOTSUPP))
		res->discard = d == 0 ? "ok" :
			       d == -EOPNOTSUPP ? "none" : "failed";
	if (!strcmp(res->discard, "failed"))
		object(res, "discards: %d %d %d", d, z, p);
}

/* ---- a partition ---- */

static int partition_op(const char *disk, int op, uint64_t start,
			uint64_t size)
{
	struct blkpg_partition part = {
		.start = (long long)start,
		.length = (long long)size,
		.pno = 1,
	};
	struct blkpg_ioctl_arg arg = {
		.op = op, .datalen = sizeof(part), .data = &part,
	};
	int fd = open(disk, O_RDONLY | O_CLOEXEC), tries, r = -EBUSY;

	if (fd < 0)
		return -errno;
	/* Something that looks at a new one holds it for a moment. */
	for (tries = 0; r == -EBUSY && tries < 500; tries++) {
		r = ioctl(fd, BLKPG, &arg) < 0 ? -errno : 0;
		if (r == -EBUSY)
			(void)usleep(10000);
	}
	(void)close(fd);
	return r;
}

/* The node of the partition that starts there; made when nobody else does. */
static int partition_node(const char *disk, char path[80])
{
	const char *name = strrchr(disk, '/') + 1;
	size_t len = strlen(name);
	unsigned int major, minor;
	char sys[256];
	struct stat st;
	FILE *f;
	int n;

	(void)snprintf(path, 80, "/dev/%s%s1", name,
		       len && name[len - 1] >= '0' && name[len - 1] <= '9' ?
		       "p" : "");
	(void)snprintf(sys, sizeof(sys), "/sys/class/block/%s/dev", path + 5);
	f = fopen(sys, "re");
	if (!f)
		return -errno;
	n = fscanf(f, "%u:%u", &major, &minor);
	(void)fclose(f);
	if (n != 2)
		return -EIO;
	if (stat(path, &st) == 0 && st.st_rdev == makedev(major, minor))
		return 0;
	(void)unlink(path);
	return mknod(path, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 0;
}

static void judge_partition_at(const struct job *j, const char *path,
			       struct result *res)
{
	struct err err = ERR_INIT;
	uint64_t before = res->violations;
	struct cutrig g;
	int fd, r;

	r = cutrig_open(&g, path, &hard, &err);
	if (r == -EOPNOTSUPP) {
		res->partition = "refused";
		memcpy(res->partition_refused, err.code, sizeof(err.code));
		return;
	}
	if (object_err(res, r, &err))
		return;
	if (!object_err(res, cut_all_dirty(g.cut, &err), &err) &&
	    cut_and_compare(&g, "the first copy", res)) {
		/* By the partition; by the disk, in it and across its ends. */
		struct devload_config load = {
			.path = path,
			.seed = j->seed,
			.size_bytes = g.size_bytes,
			.lbs_bytes = g.dev.lbs_bytes,
			.threads = 2,
			.ops = j->ops / 2,
			.max_bytes = MAX_OP_BYTES / 4,
		};
		uint64_t start = g.dev.start_sector << 9;

		(void)run_load(&g, &load, res);
		fd = open(j->device, O_RDWR | O_DIRECT | O_CLOEXEC);
		r = devload_write(fd, 1, start - 8192, 16384);
		if (r == 0)
			r = devload_write(fd, 2, start + g.size_bytes - 4096,
					  8192);
		if (r == 0)
			r = devload_write(fd, 3, start + MIB, 2 * MIB);
		(void)close(fd);
		if (r < 0)
			object(res, "writes to the disk: %s", strerror(-r));
		(void)cut_and_compare(&g, "the partition's workload", res);
	}
	judge_chains(j, &g, SMALL_SLOT_BYTES,
		     j->points < 60 ? 6 : j->points / 10, res);
	judge_losses(&g, res);
	cutrig_close(&g);
	if (res->violations == before)
		res->partition = "ok";
}

static void judge_partition(const struct job *j, uint64_t size_bytes,
			    struct result *res)
{
	uint64_t start = 3 * MIB, size = size_bytes / 2 / MIB * MIB - 4096;
	char path[80];
	int r = partition_op(j->device, BLKPG_ADD_PARTITION, start, size);

	if (r < 0) {
		printf("# no partition: %s\n", strerror(-r));
		res->partition = "none";
		return;
	}
	res->partition = "failed";
	r = partition_node(j->device, path);
	if (r < 0)
		object(res, "no node of a partition: %s", strerror(-r));
	else
		judge_partition_at(j, path, res);
	r = partition_op(j->device, BLKPG_DEL_PARTITION, start, size);
	if (r < 0)
		object(res, "the partition stays: %s", strerror(-r));
}

/* ---- commands past the block layer's operations ---- */

/* Each must be counted: what it wrote is known to nobody. */
static void judge_passthrough(const struct job *j, struct cutrig *g,
			      struct result *res)
{
	const struct passthru *p = passthru_of(j->passthrough);
	struct tracker_losses before, after;
	struct err err = ERR_INIT;
	uint64_t was = res->violations;
	int r;

	for (; p->name; p++) {
		memset(&before, 0, sizeof(before));
		memset(&after, 0, sizeof(after));
		(void)g->tracker->ops->losses(g->tracker, &before, &err);
		r = p->run(j->device, g->dev.lbs_bytes, p);
		(void)g->tracker->ops->losses(g->tracker, &after, &err);
		printf("# %s: %d, %" PRIu64 " counted\n", p->name, r,
		       after.passthrough - before.passthrough);
		if (p->writes && after.passthrough == before.passthrough)
			object(res, "%s is not counted", p->name);
		if (r < 0 && p->must_work)
			object(res, "%s fails: %s", p->name, strerror(-r));
	}
	res->passthrough = res->violations == was ? "ok" : "failed";
}

/* ---- all of it ---- */

static void print_result(const struct job *j, const struct result *res)
{
	struct utsname u;

	(void)uname(&u);
	printf("{\"kernel\":\"%s\",\"device\":\"%s\",\"tracked\":%s,"
	       "\"refused\":", u.release, j->kind,
	       res->refused[0] ? "false" : "true");
	if (res->refused[0])
		printf("\"%s\"", res->refused);
	else
		printf("null");
	printf(",\"points\":%" PRIu64 ",\"violations\":%" PRIu64
	       ",\"compare\":\"%s\",\"discard\":\"%s\",\"partition\":\"%s\""
	       ",\"passthrough\":\"%s\",\"control\":\"%s\""
	       ",\"writes\":%" PRIu64 ",\"failed_cuts\":%" PRIu64
	       ",\"merged_discards\":%" PRIu64 ",\"seed\":%" PRIu64 "}\n",
	       res->points, res->violations, res->compare, res->discard,
	       res->partition_refused[0] ? res->partition_refused :
	       res->partition,
	       res->passthrough, res->control, res->writes, res->failed_cuts,
	       res->merged_discards, j->seed);
}

/* What needs no other programs than production's. */
static void judge_plain(const struct job *j, struct cutrig *g,
			struct result *res)
{
	judge_compare(j, g, res);
	judge_discard(j, g, res);
	judge_chains(j, g, SMALL_SLOT_BYTES, j->points * 2 / 5, res);
	judge_chains(j, g, LARGE_SLOT_BYTES,
		     j->points - j->points * 2 / 5 * 2, res);
	judge_losses(g, res);
	if (j->passthrough)
		judge_passthrough(j, g, res);
}

static void judge(const struct job *j, struct result *res)
{
	struct cutrig_options options = { 0 };
	struct err err = ERR_INIT;
	struct cutrig g;
	uint64_t size;
	int r = cutrig_open(&g, j->device, &options, &err);

	if (r < 0) {
		printf("# %s\n# remedy: %s\n", err.message, err.remedy);
		memcpy(res->refused, err.code, sizeof(err.code));
		if (r != -EOPNOTSUPP)
			object(res, "%s (%d)", err.message, r);
		return;
	}
	size = g.size_bytes;
	if (size < 16 * MIB)
		object(res, "%s is too small", j->device);
	else
		judge_plain(j, &g, res);
	cutrig_close(&g);
	if (size < 16 * MIB)
		return;
	judge_hard(j, j->points * 2 / 5, res);
	if (j->control)
		judge_control(j, res);
	judge_partition(j, size, res);
}

static int usage(void)
{
	(void)fprintf(stderr, "usage: see the opening comment\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kind", required_argument, NULL, 'k' },
		{ "points", required_argument, NULL, 'p' },
		{ "ops", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "extra", required_argument, NULL, 'x' },
		{ "passthrough", required_argument, NULL, 'c' },
		{ "no-control", no_argument, NULL, 'n' },
		{ 0 },
	};
	struct result res = {
		.control = "none", .compare = "none", .discard = "none",
		.partition = "none", .passthrough = "none",
	};
	struct job j = {
		.kind = "device", .points = 200, .ops = 60, .seconds = 120,
		.control = true,
	};
	int c;

	if (rnd_fill(rnd_system(), &j.seed, sizeof(j.seed)))
		return 2;
	j.seed >>= 32;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 'k': j.kind = optarg; break;
		case 'p': j.points = (uint32_t)atoi(optarg); break;
		case 'o': j.ops = (uint32_t)atoi(optarg); break;
		case 's': j.seed = strtoull(optarg, NULL, 0); break;
		case 't': j.seconds = (uint32_t)atoi(optarg); break;
		case 'x': j.extra = optarg; break;
		case 'c': j.passthrough = optarg; break;
		case 'n': j.control = false; break;
		default: return usage();
		}
	if (optind + 1 != argc || !strchr(argv[optind], '/') ||
	    (j.passthrough && !passthru_of(j.passthrough)))
		return usage();
	j.device = argv[optind];
	if (private_bpffs())
		return 2;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	judge(&j, &res);
	print_result(&j, &res);
	return res.violations ? 1 : 0;
}
