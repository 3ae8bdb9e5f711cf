/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TRACKRIG_H
#define TESTS_TRACKRIG_H

/*
 * A loop device of the test's own that takes requests, and a tracker on it: of
 * this process, which may give it back and take it again as the next one would.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/rnd.h"
#include "device/blkdev.h"
#include "loopdev.h"
#include "private_bpffs.h"
#include "tap.h"
#include "tracker/tracker_host.h"

#define MIB (1ULL << 20)

struct rig {
	struct loopdev loop;
	struct blkdev dev;
	struct tracker_host_config hc;
	struct tracker_host *host;
	struct tracker *t;
	struct uuid volume;
	uint32_t shift;
	int fd;				/* for the test's writes */
};

static inline void attach(struct rig *g)
{
	struct err err = ERR_INIT;

	ASSERT_MSG(!tracker_host_open(&g->hc, &g->host, &err), "%s",
		   err.message);
	ASSERT_MSG(!tracker_host_add(g->host, &g->volume, &g->dev, g->shift,
				     &g->t, &err), "%s", err.message);
}

static inline void detach(struct rig *g, bool untrack)
{
	g->t->ops->close(g->t, untrack);
	tracker_host_close(g->host, untrack);
}

static inline void rig_open(struct rig *g, uint64_t size, uint32_t shift)
{
	struct err err = ERR_INIT;

	memset(g, 0, sizeof(*g));
	g->shift = shift;
	g->hc.state_dir = "/nonexistent/test";
	ASSERT_OK(private_bpffs());
	ASSERT_OK(uuid_new(rnd_system(), &g->hc.node));
	ASSERT_OK(uuid_new(rnd_system(), &g->volume));
	ASSERT_OK(loopdev_open(&g->loop, size));
	ASSERT_MSG(!blkdev_open(g->loop.path, &g->dev, &err), "%s",
		   err.message);
	attach(g);
	g->fd = open(g->loop.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(g->fd, 0);
}

static inline void rig_close(struct rig *g)
{
	close(g->fd);
	detach(g, true);
	blkdev_close(&g->dev);
	loopdev_close(&g->loop);
}

static inline void write_at(struct rig *g, uint64_t off, uint64_t len)
{
	void *buf = NULL;

	ASSERT_OK(posix_memalign(&buf, 4096, len));
	memset(buf, 0x5a, len);
	ASSERT_INT(pwrite(g->fd, buf, len, (off_t)off), (ssize_t)len);
	free(buf);
}

/* Collects what was marked since the last time. */
static inline void collect(struct rig *g, struct bitmap *fresh)
{
	struct bitmap carried;
	struct err err = ERR_INIT;

	ASSERT_OK(bitmap_init(fresh, g->t->n_blocks));
	ASSERT_OK(bitmap_init(&carried, g->t->n_blocks));
	ASSERT_OK(g->t->ops->flip(g->t, &err));
	ASSERT_OK(g->t->ops->collect(g->t, fresh, &carried, &err));
	bitmap_free(&carried);
}

/* Exactly blocks [first, first + count) were marked. */
static inline void expect_marked(struct rig *g, uint64_t first, uint64_t count)
{
	struct bitmap fresh;
	uint64_t b;

	collect(g, &fresh);
	for (b = first; b < first + count; b++)
		ASSERT_MSG(bitmap_test(&fresh, b), "block %" PRIu64
			   " not marked", b);
	EXPECT_U64(fresh.n_set, count);
	bitmap_free(&fresh);
}

#endif
