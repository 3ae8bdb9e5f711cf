// SPDX-License-Identifier: Apache-2.0
/*
 * Volumes too large to be copied. One thread.
 */
#include "hugerig.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rnd.h"
#include "wire/unit.h"

/* All reads have the same content, which nobody looks at. */
static uint8_t nothing[READER_BUF_BYTES];

/* ---- reads that are ready at once ---- */

static struct hugerig *of_reader(struct reader *r)
{
	return (struct hugerig *)(void *)((char *)r -
					  offsetof(struct hugerig, reader));
}

static struct read_req *ready_get(struct reader *r)
{
	struct hugerig *g = of_reader(r);

	return g->n_free ? &g->reqs[g->free[--g->n_free]] : NULL;
}

static void ready_put(struct reader *r, struct read_req *req)
{
	struct hugerig *g = of_reader(r);

	g->free[g->n_free++] = req->index;
}

static int ready_submit(struct reader *r, struct read_req *req)
{
	struct hugerig *g = of_reader(r);

	req->res = 0;
	g->done[(g->first_done + g->n_done++) % READER_DEPTH] = req->index;
	return 0;
}

static int ready_next(struct reader *r, bool wait, struct read_req **out)
{
	struct hugerig *g = of_reader(r);

	(void)wait;
	if (!g->n_done)
		return 1;
	*out = &g->reqs[g->done[g->first_done]];
	g->first_done = (g->first_done + 1) % READER_DEPTH;
	g->n_done--;
	return 0;
}

static const struct reader_ops ready_ops = {
	.get = ready_get,
	.put = ready_put,
	.submit = ready_submit,
	.next = ready_next,
};

static void ready_init(struct hugerig *g)
{
	uint32_t i;

	g->reader.ops = &ready_ops;
	g->reader.size_bytes = g->dev.n_sectors << 9;
	g->reader.kind = "nothing";
	g->n_free = g->first_done = g->n_done = 0;
	for (i = 0; i < READER_DEPTH; i++) {
		g->reqs[i].buf = nothing;
		g->reqs[i].index = i;
		g->free[g->n_free++] = i;
	}
}

/* ---- a sink that counts ---- */

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
	struct hugerig *g = (struct hugerig *)(void *)
		((char *)s - offsetof(struct hugerig, sink));

	(void)first;
	(void)data;
	g->staged_blocks += count;
	return 0;
}

/* ---- all of it ---- */

int hugerig_host(struct tracker_host **out, struct err *err)
{
	struct tracker_host_config hc = { .state_dir = "/nonexistent/huge" };

	if (uuid_new(rnd_system(), &hc.node))
		return -EIO;
	return tracker_host_open(&hc, out, err);
}

int hugerig_open_device(struct hugerig *g, uint64_t size_bytes,
			struct err *err)
{
	memset(g, 0, sizeof(*g));
	if (loopdev_open_memory(&g->loop, size_bytes))
		return err_set(err, -ENODEV, "no-loop", "loop", "attach");
	g->fd = open(g->loop.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (g->fd < 0 || uuid_new(rnd_system(), &g->volume))
		return err_sys(err, -errno, "no-loop", g->loop.path, "open");
	return blkdev_open(g->loop.path, &g->dev, err);
}

int hugerig_track(struct hugerig *g, struct tracker_host *host, uint32_t shift,
		  struct err *err)
{
	struct cut_config cc = {
		.reader = &g->reader,
		.sink = &g->sink,
		.clock = clock_real(),
	};
	int r;

	g->host = host;
	r = tracker_host_add(host, &g->volume, &g->dev, shift, &g->tracker,
			     err);
	if (r)
		return r;
	ready_init(g);
	g->sink.expect = sink_expect;
	g->sink.stage = sink_stage;
	cc.tracker = g->tracker;
	return cut_new(&cc, &g->cut, err);
}

int hugerig_open(struct hugerig *g, struct tracker_host *host,
		 uint64_t size_bytes, uint32_t shift, struct err *err)
{
	int r = hugerig_open_device(g, size_bytes, err);

	return r ? r : hugerig_track(g, host, shift, err);
}

void hugerig_leave(struct hugerig *g, bool untrack)
{
	cut_free(g->cut);
	g->cut = NULL;
	if (g->tracker)
		g->tracker->ops->close(g->tracker, untrack);
	g->tracker = NULL;
}

void hugerig_close(struct hugerig *g)
{
	hugerig_leave(g, true);
	close(g->fd);
	blkdev_close(&g->dev);
	loopdev_close(&g->loop);
}

int hugerig_grow(struct hugerig *g, uint64_t size_bytes, struct err *err)
{
	if (ftruncate(g->loop.backing_fd, (off_t)size_bytes) ||
	    ioctl(g->loop.fd, LOOP_SET_CAPACITY, 0))
		return err_sys(err, -errno, "no-loop", g->loop.path, "grow");
	blkdev_close(&g->dev);
	return blkdev_open(g->loop.path, &g->dev, err);
}

int hugerig_write(struct hugerig *g, const uint64_t *offsets, uint32_t n)
{
	static _Alignas(4096) uint8_t block[4096];
	uint32_t i;

	memset(block, 0x5a, sizeof(block));
	for (i = 0; i < n; i++)
		if (pwrite(g->fd, block, sizeof(block), (off_t)offsets[i]) !=
		    (ssize_t)sizeof(block))
			return -errno;
	return 0;
}
