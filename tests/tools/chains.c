// SPDX-License-Identifier: Apache-2.0
/*
 * The causal-chain oracle as a program (see tests/lib/causal.h):
 *
 *	chains write DEVICE [PAUSE]
 *		ordered, dependent writers, until SIGTERM; then the number of
 *		writes is printed. Goes on where an earlier run ended. PAUSE:
 *		microseconds after each write
 *	chains image FILE [FILE2]
 *		judges an image; with FILE2, one whose odd slots come from it
 *	chains points STORE VOLUME KEY [FROM]
 *		judges every point with a sequence number of FROM or more, and
 *		prints "judged N, bad N, distinct N"
 *	chains stitched STORE VOLUME KEY
 *		judges mixtures of neighbouring points, as `points` does
 *
 * Exit: 0 legal, 1 the oracle objects, 2 it could not look.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "causal.h"
#include "pointview.h"

#define BAD_SHOWN 5U

static const struct causal_layout layout = {
	.chains = 3,
	.slots = 4,
	.slot_bytes = 12288,
	/* Slots of one chain lie in different words and summary bits. */
	.stride_bytes = (3 << 20) + 8192,
};

/* ---- writing ---- */

/* One number is whole in a chain at rest: that of its first slot. */
static int find_next(const char *device, struct causal_layout *l)
{
	int fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint8_t *buf = NULL;
	uint32_t c;

	if (fd < 0 || posix_memalign((void **)&buf, 4096, 4096))
		return -1;
	for (c = 0; c < l->chains; c++) {
		uint64_t n;

		if (pread(fd, buf, 4096, (off_t)causal_slot_off(l, c, 0)) !=
		    4096)
			return -1;
		memcpy(&n, buf, sizeof(n));
		l->next[c] = n + 1;
	}
	free(buf);
	(void)close(fd);
	return 0;
}

static int run_writers(const char *device, const char *pause)
{
	struct causal_layout l = layout;
	struct causal_writers *w;
	sigset_t end;
	int64_t n;
	int sig;

	(void)sigemptyset(&end);
	(void)sigaddset(&end, SIGTERM);
	(void)sigaddset(&end, SIGINT);
	l.pause_us = pause ? (uint32_t)strtoul(pause, NULL, 10) : 0;
	if (find_next(device, &l) || sigprocmask(SIG_BLOCK, &end, NULL)) {
		perror(device);
		return 2;
	}
	w = causal_start(device, &l);
	if (!w) {
		perror(device);
		return 2;
	}
	(void)sigwait(&end, &sig);
	n = causal_stop(w, &l);
	(void)printf("%" PRId64 "\n", n);
	return n > 0 ? 0 : 2;
}

/* ---- judging files ---- */

struct files {
	int fd[2];
};

static int read_files(void *arg, uint64_t off, uint32_t len, uint8_t *out)
{
	const struct files *f = arg;
	uint64_t slot = off / layout.stride_bytes;
	int fd = f->fd[slot & 1];

	return pread(fd, out, len, (off_t)off) == (ssize_t)len ? 0 : -1;
}

static int judge_files(char **paths, int n)
{
	struct files f;
	const char *wrong;
	int i;

	for (i = 0; i < 2; i++) {
		f.fd[i] = open(paths[i % n], O_RDONLY | O_CLOEXEC);
		if (f.fd[i] < 0) {
			perror(paths[i % n]);
			return 2;
		}
	}
	wrong = causal_judge(&layout, read_files, &f);
	if (wrong)
		(void)printf("%s\n", wrong);
	return wrong != NULL;
}

/* ---- judging points ---- */

/* The slots of one point, or odd ones of one and even ones of another. */
struct slots {
	struct pointview *pv;
	uint8_t *bytes;			/* [slot][chain] */
};

static size_t slot_index(uint64_t off)
{
	return off / layout.stride_bytes * layout.chains +
	       off % layout.stride_bytes / layout.slot_bytes;
}

static int read_slots(void *arg, uint64_t off, uint32_t len, uint8_t *out)
{
	const struct slots *s = arg;

	memcpy(out, s->bytes + slot_index(off) * layout.slot_bytes, len);
	return 0;
}

/* parity 0 or 1: only the slots of that parity; 2: all. */
static void fetch_slots(struct slots *s, unsigned int parity)
{
	uint32_t c, i;

	for (i = 0; i < layout.slots; i++) {
		if (parity < 2 && (i & 1) != parity)
			continue;
		for (c = 0; c < layout.chains; c++) {
			uint64_t off = causal_slot_off(&layout, c, i);

			(void)pointview_read(s->pv, off, layout.slot_bytes,
					     s->bytes + slot_index(off) *
							layout.slot_bytes);
		}
	}
}

struct verdict {
	unsigned int judged, bad, distinct;
	uint64_t last;
};

static void judge(const struct slots *s, const struct point_meta *m,
		  struct verdict *v)
{
	const char *wrong = causal_judge(&layout, read_slots, (void *)s);
	uint64_t first;

	memcpy(&first, s->bytes, sizeof(first));
	v->distinct += first != v->last;
	v->last = first;
	v->judged++;
	if (wrong && v->bad++ < BAD_SHOWN)
		(void)printf("# point %" PRIu64 ":%" PRIu64 ": %s\n",
			     m->epoch, m->seq, wrong);
}

static int judge_points(char **args, uint64_t from, bool stitched)
{
	struct slots s = {
		.pv = pointview_open(args[0], args[1], args[2]),
		.bytes = calloc((size_t)layout.slots * layout.chains,
				layout.slot_bytes),
	};
	struct verdict v = { 0 };
	size_t i;

	if (!s.bytes)
		abort();
	for (i = stitched; i < pointview_count(s.pv); i++) {
		const struct point_meta *m = &pointview_point(s.pv, i)->meta;

		if (m->seq < from)
			continue;
		if (stitched) {
			pointview_select(s.pv, i - 1);
			fetch_slots(&s, 0);
		}
		pointview_select(s.pv, i);
		fetch_slots(&s, stitched ? 1 : 2);
		judge(&s, m, &v);
	}
	(void)printf("judged %u, bad %u, distinct %u\n", v.judged, v.bad,
		     v.distinct);
	free(s.bytes);
	pointview_close(s.pv);
	return v.bad ? 1 : v.judged ? 0 : 2;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "write") && (argc == 3 || argc == 4))
		return run_writers(argv[2], argc == 4 ? argv[3] : NULL);
	if (!strcmp(verb, "image") && (argc == 3 || argc == 4))
		return judge_files(argv + 2, argc - 2);
	if (!strcmp(verb, "points") && (argc == 5 || argc == 6))
		return judge_points(argv + 2,
				    argc == 6 ? strtoull(argv[5], NULL, 10) : 0,
				    false);
	if (!strcmp(verb, "stitched") && argc == 5)
		return judge_points(argv + 2, 0, true);
	(void)fprintf(stderr, "chains: see its source for the usage\n");
	return 2;
}
