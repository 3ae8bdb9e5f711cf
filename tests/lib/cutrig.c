// SPDX-License-Identifier: Apache-2.0
/* See cutrig.h. One thread. */
#include "cutrig.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/unit.h"

#define COMPARE_BYTES (1U << 20)

/* ---- the image ---- */

static struct memory_sink *sink_of(struct cut_sink *s)
{
	return (struct memory_sink *)(void *)s;
}

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
	struct memory_sink *m = sink_of(s);
	uint64_t off = first << US_BLOCK_SHIFT;
	uint64_t len = (uint64_t)count << US_BLOCK_SHIFT;

	if (off >= m->image_bytes)
		return -ERANGE;
	/* The last block may reach past the end, as zeros. */
	if (len > m->image_bytes - off)
		len = m->image_bytes - off;
	m->staged_blocks += count;
	if (m->forget && memcmp(m->image + off, data, len) != 0) {
		m->forget--;
		return 0;
	}
	memcpy(m->image + off, data, len);
	return 0;
}

int cutrig_read_image(void *arg, uint64_t off, uint32_t len, uint8_t *out)
{
	const struct memory_sink *m = arg;

	if (off > m->image_bytes || len > m->image_bytes - off)
		return -ERANGE;
	memcpy(out, m->image + off, len);
	return 0;
}

/* ---- the reader ---- */

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
		if (pread(s->fd, s->sector, s->lbs_bytes,
			  (off_t)(s->start_bytes + off)) !=
		    (ssize_t)s->lbs_bytes)
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
	struct slow_reader *s = slow(r);
	struct timespec ts = { 0 };

	if (s->landing_one_in &&
	    !rnd_seeded_below(&s->rnd, s->landing_one_in)) {
		wait_for_landing(s, req->off_bytes);
		return s->real->ops->submit(s->real, req);
	}
	ts.tv_nsec = (long)rnd_seeded_below(&s->rnd, s->max_delay_ns);
	(void)nanosleep(&ts, NULL);
	return s->real->ops->submit(s->real, req);
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

/* ---- all of it ---- */

static int no_memory(const char *path, struct err *err)
{
	(void)err_set(err, -ENOMEM, "no-memory", path, "no memory for a test");
	return -ENOMEM;
}

static int open_engine(struct cutrig *g, const struct cutrig_options *o,
		       struct err *err)
{
	struct reader_config rc = {
		.fd = g->dev.fd,
		.start_bytes = g->dev.start_sector << 9,
		.size_bytes = g->size_bytes,
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
	int r = reader_open(&rc, &g->reader, err);

	if (r < 0)
		return r;
	rnd_seeded_init(&g->slow.rnd, 1);
	g->slow.real = g->reader;
	g->slow.max_delay_ns = o->read_delay_ns ? o->read_delay_ns : 1;
	g->slow.landing_one_in = o->landing_one_in;
	g->slow.fd = g->dev.fd;
	g->slow.start_bytes = rc.start_bytes;
	g->slow.lbs_bytes = g->dev.lbs_bytes;
	if (posix_memalign((void **)&g->slow.sector, 4096, 4096))
		return no_memory(g->dev.path, err);
	g->slow.r = *g->reader;
	if (o->read_delay_ns)
		g->slow.r.ops = &slow_ops;
	else
		cc.reader = g->reader;
	g->sink.sink.expect = sink_expect;
	g->sink.sink.stage = sink_stage;
	g->sink.image_bytes = g->size_bytes;
	g->sink.image = calloc(1, g->size_bytes);
	if (!g->sink.image)
		return no_memory(g->dev.path, err);
	return cut_new(&cc, &g->cut, err);
}

int cutrig_open(struct cutrig *g, const char *path,
		const struct cutrig_options *o, struct err *err)
{
	struct tracker_host_config hc = {
		.state_dir = "/nonexistent/test",
		.without_reread = o->without_reread,
		.without_issue_mark = o->without_issue_mark,
		.window_turns = o->window_turns,
		.several = o->several,
	};
	struct uuid volume;
	int r;

	memset(g, 0, sizeof(*g));
	g->dev.fd = -1;
	if (uuid_new(rnd_system(), &hc.node) ||
	    uuid_new(rnd_system(), &volume))
		abort();
	r = blkdev_open(path, &g->dev, err);
	if (r < 0)
		return r;
	g->size_bytes = g->dev.n_sectors << 9;
	r = blkdev_admit(&g->dev, err);
	if (r == 0)
		r = tracker_host_open(&hc, &g->host, err);
	if (r == 0)
		r = tracker_host_add(g->host, &volume, &g->dev,
				     o->block_shift ? o->block_shift : 12,
				     &g->tracker, err);
	if (r == 0)
		r = open_engine(g, o, err);
	if (r < 0)
		cutrig_close(g);
	return r;
}

void cutrig_close(struct cutrig *g)
{
	cut_free(g->cut);
	if (g->reader)
		g->reader->ops->close(g->reader);
	if (g->tracker)
		g->tracker->ops->close(g->tracker, true);
	if (g->host)
		tracker_host_close(g->host, true);
	blkdev_close(&g->dev);
	free(g->sink.image);
	free(g->slow.sector);
	memset(g, 0, sizeof(*g));
	g->dev.fd = -1;
}

/*
 * Were writes missed? Then all that is known is that everything may have
 * changed. 1, 0, or negative errno.
 */
static int writes_missed(struct cutrig *g, struct err *err)
{
	struct tracker_losses lost;
	int r;

	memset(&lost, 0, sizeof(lost));
	r = g->tracker->ops->losses(g->tracker, &lost, err);
	if (r < 0 || (!lost.issue_misses && !lost.unknown_ends))
		return r;
	g->missed_writes += lost.issue_misses;
	g->unknown_ends += lost.unknown_ends;
	g->missed_cuts++;
	r = cut_all_dirty(g->cut, err);
	return r < 0 ? r : 1;
}

int cutrig_cut(struct cutrig *g, unsigned int max_rounds,
	       unsigned int *rounds, struct err *err)
{
	struct cut_round round;
	unsigned int i;
	int r;

	for (i = 0; i < max_rounds; i++) {
		r = cut_round(g->cut, &round, err);
		if (r < 0)
			return r;
		if (round.read_errors) {
			(void)err_set(err, -EIO, "read-error", g->dev.path,
				      "%" PRIu64 " reads failed, the first at "
				      "%" PRIu64 ": %s", round.read_errors,
				      round.error_off_bytes,
				      strerror(round.error_num));
			return -EIO;
		}
		++*rounds;
		if (!round.converged)
			continue;
		r = writes_missed(g, err);
		if (r < 0)
			return r;
		if (r)
			continue;
		cut_committed(g->cut);
		cut_acked(g->cut);
		return 1;
	}
	return 0;
}

static uint64_t first_difference(const uint8_t *a, const uint8_t *b,
				 uint64_t len)
{
	uint64_t i;

	for (i = 0; i < len && a[i] == b[i]; i++)
		;
	return i;
}

int cutrig_compare(const struct cutrig *g, uint64_t *where)
{
	uint64_t start = g->dev.start_sector << 9, off, len;
	uint8_t *buf = NULL;
	int r = 0;

	if (posix_memalign((void **)&buf, 4096, COMPARE_BYTES))
		return -ENOMEM;
	for (off = 0; r == 0 && off < g->size_bytes; off += len) {
		len = g->size_bytes - off;
		if (len > COMPARE_BYTES)
			len = COMPARE_BYTES;
		if (pread(g->dev.fd, buf, len, (off_t)(start + off)) !=
		    (ssize_t)len) {
			r = errno ? -errno : -EIO;
		} else if (memcmp(buf, g->sink.image + off, len) != 0) {
			*where = off + first_difference(buf,
							g->sink.image + off,
							len);
			r = 1;
		}
	}
	free(buf);
	return r;
}
