// SPDX-License-Identifier: Apache-2.0
/*
 * A causal chain that hops between devices: n goes to the first slot of the
 * first device, when that is complete to the first slot of the second, and so
 * on over the devices and then over their slots; then n + 1.
 *
 *	hop write PAUSE DEVICE...
 *		until SIGTERM; then the number of writes is printed. PAUSE:
 *		microseconds after each
 *	hop points STORE KEYS VOLUME...
 *		judges every point that all these volumes have in common, with
 *		KEYS/VOLUME.key; prints "judged N, bad N, distinct N"
 *	hop stitched STORE KEYS VOLUME...
 *		judges mixtures: the first volume as of one common point, the
 *		others as of the one before
 *
 * Of whatever moment all devices are shown, no slot is behind the one after it
 * in the chain, and the first is at most one ahead of the last.
 *
 * Exit: 0 legal, 1 the oracle objects, 2 it could not look.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pointview.h"

#define DEVICES_MAX 8
#define SLOTS 4
#define SLOT_BYTES 8192U
/* In different words and summary bits. */
#define STRIDE_BYTES ((3ULL << 20) + 8192)
#define SECTOR 512U
#define BAD_SHOWN 5U

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* ---- writing ---- */

static int write_slot(int fd, int slot, uint64_t n, uint8_t *buf)
{
	uint32_t i;

	for (i = 0; i < SLOT_BYTES; i += SECTOR)
		memcpy(buf + i, &n, sizeof(n));
	return pwrite(fd, buf, SLOT_BYTES,
		      (off_t)((uint64_t)slot * STRIDE_BYTES)) ==
		       (ssize_t)SLOT_BYTES ? 0 : -1;
}

static int run_writer(char **args, int n_devices, unsigned int pause_us)
{
	struct sigaction sa = { .sa_handler = on_signal };
	int fds[DEVICES_MAX], i, slot;
	uint64_t n, writes = 0;
	uint8_t *buf;

	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGINT, &sa, NULL);
	if (posix_memalign((void **)&buf, 4096, SLOT_BYTES))
		return 2;
	memset(buf, 0, SLOT_BYTES);
	for (i = 0; i < n_devices; i++) {
		fds[i] = open(args[i], O_WRONLY | O_DIRECT | O_CLOEXEC);
		if (fds[i] < 0) {
			perror(args[i]);
			return 2;
		}
	}
	for (n = 1; !stop; n++)
		for (slot = 0; slot < SLOTS; slot++)
			for (i = 0; i < n_devices && !stop; i++) {
				if (write_slot(fds[i], slot, n, buf)) {
					perror(args[i]);
					return 2;
				}
				writes++;
				if (pause_us)
					(void)usleep(pause_us);
			}
	(void)printf("%" PRIu64 "\n", writes);
	free(buf);
	return writes ? 0 : 2;
}

/* ---- judging ---- */

struct volumes {
	struct pointview *pv[DEVICES_MAX];
	int n;
};

struct slot {
	uint64_t lo, hi;		/* of its sectors */
};

static struct slot look(struct pointview *pv, int at)
{
	static uint8_t buf[SLOT_BYTES];
	struct slot s = { UINT64_MAX, 0 };
	uint64_t n;
	uint32_t i;

	(void)pointview_read(pv, (uint64_t)at * STRIDE_BYTES, SLOT_BYTES, buf);
	for (i = 0; i < SLOT_BYTES; i += SECTOR) {
		memcpy(&n, buf + i, sizeof(n));
		s.lo = n < s.lo ? n : s.lo;
		s.hi = n > s.hi ? n : s.hi;
	}
	return s;
}

/* True when legal; *first gets what the first slot has. */
static bool judge(const struct volumes *v, uint64_t *first, char why[128])
{
	struct slot before = { 0, 0 }, zeroth = { 0, 0 }, s;
	int slot, i, at;

	for (at = 0; at < SLOTS * v->n; at++) {
		slot = at / v->n;
		i = at % v->n;
		s = look(v->pv[i], slot);
		if (!at) {
			zeroth = s;
		} else if (before.lo < s.hi) {
			(void)snprintf(why, 128, "place %d has %" PRIu64
				       ", the one before it only %" PRIu64,
				       at, s.hi, before.lo);
			return false;
		}
		before = s;
	}
	*first = zeroth.lo;
	if (zeroth.hi <= before.lo + 1)
		return true;
	(void)snprintf(why, 128, "the first, %" PRIu64 ", runs ahead of the "
		       "last, %" PRIu64, zeroth.hi, before.lo);
	return false;
}

/* The point of volume i that has the group's number and moment, or -1. */
static ssize_t same_moment(const struct volumes *v, int i,
			   const struct point_meta *m)
{
	size_t k;

	for (k = pointview_count(v->pv[i]); k-- > 0;) {
		const struct point_meta *o =
			&pointview_point(v->pv[i], k)->meta;

		if (o->group.seq == m->group.seq &&
		    o->flip_wall_ns == m->flip_wall_ns)
			return (ssize_t)k;
	}
	return -1;
}

/* Selects the k-th point of the first volume, and the others' of its moment. */
static bool select_all(const struct volumes *v, size_t k)
{
	const struct point_meta *m = &pointview_point(v->pv[0], k)->meta;
	ssize_t at;
	int i;

	if (!point_has_group(m))
		return false;
	for (i = 1; i < v->n; i++) {
		at = same_moment(v, i, m);
		if (at < 0)
			return false;
		pointview_select(v->pv[i], (size_t)at);
	}
	pointview_select(v->pv[0], k);
	return true;
}

static int judge_points(const struct volumes *v, bool stitched)
{
	unsigned int judged = 0, bad = 0, distinct = 0;
	uint64_t first, last = UINT64_MAX;
	char why[128];
	size_t k;

	for (k = stitched; k < pointview_count(v->pv[0]); k++) {
		if (!select_all(v, stitched ? k - 1 : k))
			continue;
		if (stitched)
			pointview_select(v->pv[0], k);
		first = last;
		judged++;
		if (!judge(v, &first, why) && bad++ < BAD_SHOWN)
			(void)printf("# point %zu: %s\n", k, why);
		distinct += first != last;
		last = first;
	}
	(void)printf("judged %u, bad %u, distinct %u\n", judged, bad, distinct);
	return bad ? 1 : judged ? 0 : 2;
}

static int run_judge(char **args, int n, bool stitched)
{
	struct volumes v = { .n = n - 2 };
	char key[512];
	int i;

	for (i = 0; i < v.n; i++) {
		(void)snprintf(key, sizeof(key), "%s/%s.key", args[1],
			       args[2 + i]);
		v.pv[i] = pointview_open(args[0], args[2 + i], key);
	}
	return judge_points(&v, stitched);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "write") && argc > 3 && argc - 3 <= DEVICES_MAX)
		return run_writer(argv + 3, argc - 3,
				  (unsigned int)strtoul(argv[2], NULL, 10));
	if (argc > 5 && argc - 4 <= DEVICES_MAX &&
	    (!strcmp(verb, "points") || !strcmp(verb, "stitched")))
		return run_judge(argv + 2, argc - 2,
				 !strcmp(verb, "stitched"));
	(void)fprintf(stderr, "hop: see its source for the usage\n");
	return 2;
}
