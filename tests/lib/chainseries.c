// SPDX-License-Identifier: Apache-2.0
/* See chainseries.h. */
#include "chainseries.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MIB (1ULL << 20)
/* Of a cut beside writers. */
#define ROUNDS 6U
#define PAUSE_US_MAX 400000U
#define WRITES_PER_POINT 3

struct causal_layout chainseries_layout(uint32_t slot_bytes)
{
	const bool small = slot_bytes == CHAINSERIES_SMALL_BYTES;
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

bool chainseries_takes_stitched(struct cutrig *g,
				const struct chainseries *s)
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

static void judge_point(struct cutrig *g, struct chainseries *s)
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

static int make_points(struct cutrig *g, struct chainseries *s,
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
		r = cutrig_cut(g, ROUNDS, &rounds, err);
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

int chainseries_run(struct cutrig *g, struct chainseries *s, struct err *err)
{
	struct causal_writers *w;
	int64_t writes;
	int r = wipe(g, s->path, &s->layout);

	if (r < 0)
		return err_sys(err, r, "test", s->path, "cannot be zeroed");
	s->layout.size_bytes = g->size_bytes;
	s->older = malloc(s->layout.slot_bytes);
	w = s->older ? causal_start(s->path, &s->layout) : NULL;
	if (!w)
		return err_set(err, -EIO, "test", s->path, "no writers");
	r = make_points(g, s, w, err);
	writes = causal_stop(w, &s->layout);
	if (writes < 0 && r == 0)
		r = err_sys(err, (int)writes, "test", s->path,
			    "a writer failed");
	s->writes = writes > 0 ? (uint64_t)writes : 0;
	printf("# %s slots of %u: %" PRIu64 " points, %" PRIu64
	       " cuts failed, %" PRIu64 " writes, %" PRIu64 " objections %s\n",
	       s->path, s->layout.slot_bytes, s->judged, s->failed, s->writes,
	       s->objections, s->wrong);
	return r;
}

void chainseries_free(struct chainseries *s)
{
	free(s->older);
	s->older = NULL;
}
