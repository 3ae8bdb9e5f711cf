// SPDX-License-Identifier: Apache-2.0
/*
 * A reader that asks for one extent at a time, for machines where io_uring is
 * not to be had. Reads happen inside reader_next, in the order of submission,
 * so a block is checked right after it was read.
 *
 * The thread that owns the reader.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "source/reader.h"
#include "source/reader_pool.h"

struct reader_pread {
	struct reader base;		/* first */
	struct reader_pool pool;
	struct read_limit limit;
	struct clock *clock;
	int fd;
};

/* One sleep; the clock is asked again after it. */
#define SLEEP_MAX_NS (100 * NSEC_PER_MSEC)

static struct read_req *pread_get(struct reader *r)
{
	return reader_pool_get(&((struct reader_pread *)r)->pool);
}

static void pread_put(struct reader *r, struct read_req *req)
{
	reader_pool_put(&((struct reader_pread *)r)->pool, req);
}

static int pread_submit(struct reader *r, struct read_req *req)
{
	return reader_pool_submit(&((struct reader_pread *)r)->pool, req);
}

static void sleep_ns(uint64_t ns)
{
	const struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};

	/* Woken early is fine: the caller looks at the clock. */
	(void)nanosleep(&ts, NULL);
}

static int pread_next(struct reader *r, bool wait, struct read_req **out)
{
	struct reader_pread *p = (struct reader_pread *)r;
	struct read_slot *s;
	uint64_t delay_ns;
	ssize_t n;

	if (!p->pool.n_queued)
		return 1;
	while ((delay_ns = read_limit_delay_ns(&p->limit,
					       clock_mono_ns(p->clock)))) {
		if (!wait)
			return -EAGAIN;
		sleep_ns(MIN(delay_ns, (uint64_t)SLEEP_MAX_NS));
	}
	s = reader_pool_begin(&p->pool);
	read_limit_charge(&p->limit, s->want_bytes);
	do {
		n = pread(p->fd, read_slot_buf(s), read_slot_left(s),
			  (off_t)read_slot_off(&p->pool, s));
	} while (!reader_pool_result(&p->pool, s, n < 0 ? -errno : (int)n));
	if (s->req.res == 0)
		r->bytes_read += s->want_bytes;
	*out = &s->req;
	return 0;
}

static void pread_close(struct reader *r)
{
	struct reader_pread *p = (struct reader_pread *)r;

	reader_pool_fini(&p->pool);
	free(p);
}

static const struct reader_ops pread_ops = {
	.get = pread_get,
	.put = pread_put,
	.submit = pread_submit,
	.next = pread_next,
	.close = pread_close,
};

int reader_open_pread(const struct reader_config *cfg, struct reader **out,
		      struct err *err)
{
	_cleanup_free_ struct reader_pread *p = NULL;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p)
		return err_sys(err, -ENOMEM, "no-memory", "reader", "open");
	r = reader_pool_init(&p->pool, cfg->start_bytes, cfg->size_bytes,
			     cfg->lbs_bytes);
	if (r < 0)
		return err_sys(err, r, r == -ENOMEM ? "no-memory" : "bad-range",
			       "reader", "set up buffers");
	p->base.ops = &pread_ops;
	p->base.size_bytes = cfg->size_bytes;
	p->base.kind = "pread";
	p->clock = cfg->clock;
	p->fd = cfg->fd;
	read_limit_init(&p->limit, cfg->limit_bytes_per_s,
			clock_mono_ns(cfg->clock));
	*out = &TAKE_PTR(p)->base;
	return 0;
}
