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
#include <sys/utsname.h>
#include <unistd.h>

#include "chainseries.h"
#include "cutrig.h"
#include "devload.h"
#include "passthru.h"
#include "private_bpffs.h"
#include "testpart.h"

#define MIB (1ULL << 20)
#define MAX_OP_BYTES (4U << 20)
/* Of a cut of a device at rest. */
#define ROUNDS 20U
#define TRIES 5

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
	uint64_t missed_cuts;		/* given up: the tracker missed a write */
	uint64_t unknown_ends;
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

/* Since 7.0 a task may interrupt a tracing program, and a second one on that
 * processor is then not run; which is counted, and acted upon. */
static bool programs_may_be_interrupted(void)
{
	struct utsname u;

	return uname(&u) == 0 && atoi(u.release) >= 7;
}

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
	if (!g->tracker->ops->stats(g->tracker, &lost) && lost.caught)
		printf("# %" PRIu64 " begins caught by another program\n",
		       lost.caught);
	res->missed_cuts += g->missed_cuts;
	res->unknown_ends += g->unknown_ends;
	if (g->missed_cuts)
		printf("# %" PRIu64 " cuts given up for %" PRIu64
		       " missed writes, %" PRIu64 " ends nobody saw begin\n",
		       g->missed_cuts, g->missed_writes, g->unknown_ends);
	if (g->missed_writes && !programs_may_be_interrupted())
		object(res, "%" PRIu64 " writes missed", g->missed_writes);
	/* A device of which that is so every time would be compared for ever. */
	if (g->unknown_ends && !g->missed_writes)
		object(res, "%" PRIu64 " ends nobody saw begin, though nothing "
		       "was missed", g->unknown_ends);
	if (lost.slot_overflows || lost.map_errors || lost.other_disk ||
	    lost.detached)
		object(res, "losses: %" PRIu64 " slots, %" PRIu64 " maps, %"
		       PRIu64 " other disk%s", lost.slot_overflows,
		       lost.map_errors, lost.other_disk,
		       lost.detached ? ", detached" : "");
}

/* ---- the causal chains ---- */

static void judge_series(struct cutrig *g, struct chainseries *s,
			 struct result *res)
{
	unsigned int rounds = 0;
	struct err err = ERR_INIT;

	if (!object_err(res, chainseries_run(g, s, &err), &err)) {
		res->points += s->judged;
		res->failed_cuts += s->failed;
		res->writes += s->writes;
		if (s->objections)
			object(res, "%" PRIu64 " points: %s", s->objections,
			       s->wrong);
		if (s->judged * 2 < s->points)
			object(res, "only %" PRIu64 " points of %u in time",
			       s->judged, s->points);
		else if (cutrig_cut(g, ROUNDS, &rounds, &err) != 1)
			object(res, "no cut of a device at rest: %s",
			       err.message);
		else if (chainseries_takes_stitched(g, s))
			object(res, "the oracle takes a stitched image");
	}
	chainseries_free(s);
}

/* points of them with slots of so many bytes. */
static void judge_chains(const struct job *j, struct cutrig *g,
			 uint32_t slot_bytes, uint32_t points,
			 struct result *res)
{
	struct chainseries s = {
		.path = g->dev.path,
		.layout = chainseries_layout(slot_bytes),
		.points = points,
		.seconds = j->seconds,
	};

	if (points)
		judge_series(g, &s, res);
}

/* Reads that are slow, or come when something has just landed, and a wide
 * window between flip and mark: what else would take days to meet. A program
 * that can be interrupted would be, in that window. */
static struct cutrig_options hard(void)
{
	return (struct cutrig_options){
		.read_delay_ns = 100000,
		.window_turns = programs_may_be_interrupted() ? 100 : 2000,
		.landing_one_in = 8,
	};
}

static void judge_hard(const struct job *j, uint32_t points,
		       struct result *res)
{
	const struct cutrig_options options = hard();
	struct err err = ERR_INIT;
	struct cutrig g;

	if (object_err(res, cutrig_open(&g, j->device, &options, &err), &err))
		return;
	judge_chains(j, &g, CHAINSERIES_SMALL_BYTES, points, res);
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
	struct chainseries s = {
		.path = j->device,
		.layout = chainseries_layout(CHAINSERIES_SMALL_BYTES),
		.points = 1000000,
		.seconds = j->seconds,
		.until_wrong = true,
	};
	struct err err = ERR_INIT;
	struct cutrig g;
	int r = cutrig_open(&g, j->device, &options, &err);

	if (object_err(res, r, &err))
		return;
	r = chainseries_run(&g, &s, &err);
	(void)object_err(res, r, &err);
	chainseries_free(&s);
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

/* When everything was read again in between, it was no test: another one. */
static bool compare_after_load(struct cutrig *g, struct devload_config *load,
			       struct result *res)
{
	uint64_t missed;
	int tries = 0;

	do {
		missed = g->missed_cuts;
		load->seed += 1000;
		if (run_load(g, load, res) ||
		    !cut_and_compare(g, "the workload", res))
			return false;
	} while (g->missed_cuts != missed && ++tries < TRIES);
	if (tries == TRIES)
		object(res, "writes are missed each time");
	return tries < TRIES;
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
	       compare_after_load(g, &load, res) &&
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

static void judge_partition_at(const struct job *j, const char *path,
			       struct result *res)
{
	const struct cutrig_options options = hard();
	struct err err = ERR_INIT;
	uint64_t before = res->violations;
	struct cutrig g;
	int fd, r;

	r = cutrig_open(&g, path, &options, &err);
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
	judge_chains(j, &g, CHAINSERIES_SMALL_BYTES,
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
	int r = testpart_add(j->device, start, size);

	if (r < 0) {
		printf("# no partition: %s\n", strerror(-r));
		res->partition = "none";
		return;
	}
	res->partition = "failed";
	r = testpart_node(j->device, path);
	if (r < 0)
		object(res, "no node of a partition: %s", strerror(-r));
	else
		judge_partition_at(j, path, res);
	r = testpart_remove(j->device);
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
	       ",\"merged_discards\":%" PRIu64 ",\"missed_cuts\":%" PRIu64
	       ",\"unknown_ends\":%" PRIu64 ",\"seed\":%" PRIu64 "}\n",
	       res->points, res->violations, res->compare, res->discard,
	       res->partition_refused[0] ? res->partition_refused :
	       res->partition,
	       res->passthrough, res->control, res->writes, res->failed_cuts,
	       res->merged_discards, res->missed_cuts, res->unknown_ends,
	       j->seed);
}

/* What needs no other programs than production's. */
static void judge_plain(const struct job *j, struct cutrig *g,
			struct result *res)
{
	judge_compare(j, g, res);
	judge_discard(j, g, res);
	judge_chains(j, g, CHAINSERIES_SMALL_BYTES, j->points * 2 / 5, res);
	judge_chains(j, g, CHAINSERIES_LARGE_BYTES,
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
