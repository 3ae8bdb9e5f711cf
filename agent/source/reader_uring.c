// SPDX-License-Identifier: Apache-2.0
/*
 * A reader on io_uring: one registered buffer for all requests, one registered
 * file, and a ring that can do nothing but read it.
 *
 * Every completion is consumed and looked at; a short one is continued with
 * what is left. n_begun counts requests with an entry in the submission queue
 * or in the kernel; both queues hold READER_DEPTH entries at least, so neither
 * can overflow.
 *
 * Closing waits for what the kernel still has, within a bound: a disk that
 * never answers must not hold up the daemon's end. The buffer's pages are held
 * by the ring, so an answer that comes after that does no harm.
 *
 * The thread that owns the reader.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/reader.h"
#include "source/reader_pool.h"

struct reader_uring {
	struct reader base;		/* first */
	struct reader_pool pool;
	struct read_limit limit;
	struct clock *clock;
	struct io_uring ring;
	int broken;			/* negative errno: no use any more */
	unsigned int n_refused;		/* submissions in a row */
};

/* One wait; clock and limit are asked again after it. */
#define WAIT_MAX_NS (100 * NSEC_PER_MSEC)
#define CLOSE_WAITS_MAX 300U		/* 30 s without any completion */
#define REFUSALS_MAX 1000U		/* of 1 ms */

static struct read_req *uring_get(struct reader *r)
{
	return reader_pool_get(&((struct reader_uring *)r)->pool);
}

static void uring_put(struct reader *r, struct read_req *req)
{
	reader_pool_put(&((struct reader_uring *)r)->pool, req);
}

static int uring_submit(struct reader *r, struct read_req *req)
{
	struct reader_uring *u = (struct reader_uring *)r;

	if (u->broken)
		return u->broken;
	return reader_pool_submit(&u->pool, req);
}

/* False when the submission queue is full. */
static bool prepare(struct reader_uring *u, struct read_slot *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe)
		return false;
	io_uring_prep_read_fixed(sqe, 0, read_slot_buf(s), read_slot_left(s),
				 read_slot_off(&u->pool, s), 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, s->req.index);
	return true;
}

/*
 * Entries for what is queued, as far as the limit allows. Returns how long
 * until it allows the next one, 0 when none waits for that.
 */
static uint64_t begin_queued(struct reader_uring *u)
{
	struct read_slot *s;
	uint64_t delay_ns;

	while ((s = reader_pool_peek(&u->pool))) {
		delay_ns = read_limit_delay_ns(&u->limit,
					       clock_mono_ns(u->clock));
		if (delay_ns)
			return delay_ns;
		if (!prepare(u, s))
			return 0;
		(void)reader_pool_begin(&u->pool);
		read_limit_charge(&u->limit, s->want_bytes);
	}
	return 0;
}

/* The kernel would not take entries: it lacks memory, or completions wait. */
static int submission_refused(struct reader_uring *u, int r)
{
	const struct timespec pause = { .tv_nsec = NSEC_PER_MSEC };

	if (r != -EAGAIN && r != -EBUSY && r != -ENOMEM)
		return r;
	if (u->pool.n_begun > io_uring_sq_ready(&u->ring))
		return 0;	/* a completion will make room */
	if (++u->n_refused > REFUSALS_MAX)
		return -ENOMEM;
	(void)nanosleep(&pause, NULL);
	return 0;
}

/*
 * Hands entries to the kernel; with wait also waits for a completion, no
 * longer than delay_ns (0: a bounded while). 0 or what broke the ring.
 */
static int enter(struct reader_uring *u, bool wait, uint64_t delay_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts;
	int r;

	if (!wait) {
		if (!io_uring_sq_ready(&u->ring))
			return 0;
		r = io_uring_submit(&u->ring);
	} else {
		delay_ns = delay_ns ? MIN(delay_ns, (uint64_t)WAIT_MAX_NS) :
				      WAIT_MAX_NS;
		ts = (struct __kernel_timespec){ .tv_nsec = (long)delay_ns };
		r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts,
						     NULL);
	}
	if (r == -EINTR || r == -ETIME)
		return 0;
	if (r < 0)
		return submission_refused(u, r);
	u->n_refused = 0;
	return 0;
}

/*
 * Consumes completions up to one that finishes its request. 0 and *out, 1 when
 * there are no more, negative errno when the ring makes no sense.
 */
static int reap(struct reader_uring *u, struct read_req **out)
{
	struct io_uring_cqe *cqe;
	struct read_slot *s;
	uint64_t index;
	int res;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		index = io_uring_cqe_get_data64(cqe);
		res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		if (index >= READER_DEPTH ||
		    u->pool.slots[index].state != READ_BEGUN)
			return -EPROTO;
		s = &u->pool.slots[index];
		if (!reader_pool_result(&u->pool, s, res)) {
			/* Its old entry is used up, so there is room. */
			if (!prepare(u, s))
				return -EPROTO;
			continue;
		}
		if (s->req.res == 0)
			u->base.bytes_read += s->want_bytes;
		*out = &s->req;
		return 0;
	}
	return 1;
}

static int uring_next(struct reader *r, bool wait, struct read_req **out)
{
	struct reader_uring *u = (struct reader_uring *)r;
	uint64_t delay_ns;
	int res;

	if (u->broken)
		return u->broken;
	for (;;) {
		delay_ns = begin_queued(u);
		/* Where nothing is done yet, one call submits and waits. */
		res = 0;
		if (!wait || io_uring_cq_ready(&u->ring))
			res = enter(u, false, 0);
		if (res == 0)
			res = reap(u, out);
		if (res <= 0)
			break;
		if (!u->pool.n_begun && !u->pool.n_queued)
			return 1;
		if (!wait)
			return -EAGAIN;
		res = enter(u, true, delay_ns);
		if (res < 0)
			break;
	}
	if (res < 0) {
		u->broken = res;
		log_err("reader: io_uring failed: %s", strerrordesc_np(-res));
	}
	return res;
}

static void uring_close(struct reader *r)
{
	struct reader_uring *u = (struct reader_uring *)r;
	unsigned int idle = 0;
	struct io_uring_cqe *cqe;
	uint32_t pending;

	pending = u->pool.n_begun - MIN(u->pool.n_begun,
					io_uring_sq_ready(&u->ring));
	while (pending && idle < CLOSE_WAITS_MAX) {
		struct __kernel_timespec ts = { .tv_nsec = WAIT_MAX_NS };

		if (io_uring_wait_cqe_timeout(&u->ring, &cqe, &ts) < 0) {
			idle++;
			continue;
		}
		io_uring_cqe_seen(&u->ring, cqe);
		pending--;
		idle = 0;
	}
	if (pending)
		log_warn("reader: %u reads without an answer after 30 s: "
			 "closing without them", pending);
	io_uring_queue_exit(&u->ring);
	reader_pool_fini(&u->pool);
	free(u);
}

static const struct reader_ops uring_ops = {
	.get = uring_get,
	.put = uring_put,
	.submit = uring_submit,
	.next = uring_next,
	.close = uring_close,
};

/* liburing exports its functions for these two only from 2.4 on. */
static int ring_register(const struct io_uring *ring, unsigned int opcode,
			 const void *arg, unsigned int n)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, opcode, arg,
		       n) < 0 ? -errno : 0;
}

/* Nothing but reads of the registered file into the registered buffer. */
static void restrict_ring(const struct io_uring *ring)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP,
		  .sqe_op = IORING_OP_READ_FIXED },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
		  .sqe_flags = IOSQE_FIXED_FILE },
	};
	int r;

	r = ring_register(ring, IORING_REGISTER_RESTRICTIONS, only,
			  ARRAY_SIZE(only));
	if (r < 0)
		log_debug("reader: the ring is not restricted: %s",
			  strerrordesc_np(-r));
}

static int set_up_ring(struct reader_uring *u, int fd)
{
	struct io_uring_params params = { .flags = IORING_SETUP_R_DISABLED };
	const struct iovec iov = {
		.iov_base = u->pool.mem, .iov_len = READER_POOL_BYTES,
	};
	int r;

	r = io_uring_queue_init_params(READER_DEPTH, &u->ring, &params);
	if (r < 0)
		return r;
	/* A wait with a time-out that needs no entry of its own (5.11). */
	r = params.features & IORING_FEAT_EXT_ARG ? 0 : -EOPNOTSUPP;
	if (r == 0)
		r = io_uring_register_buffers(&u->ring, &iov, 1);
	if (r == 0)
		r = io_uring_register_files(&u->ring, &fd, 1);
	if (r == 0) {
		restrict_ring(&u->ring);
		r = ring_register(&u->ring, IORING_REGISTER_ENABLE_RINGS, NULL,
				  0);
	}
	if (r < 0) {
		io_uring_queue_exit(&u->ring);
		return r;
	}
	return 0;
}

int reader_open_uring(const struct reader_config *cfg, struct reader **out,
		      struct err *err)
{
	_cleanup_free_ struct reader_uring *u = NULL;
	int r;

	u = calloc(1, sizeof(*u));
	if (!u)
		return err_sys(err, -ENOMEM, "no-memory", "reader", "open");
	r = reader_pool_init(&u->pool, cfg->start_bytes, cfg->size_bytes,
			     cfg->lbs_bytes);
	if (r < 0)
		return err_sys(err, r, r == -ENOMEM ? "no-memory" : "bad-range",
			       "reader", "set up buffers");
	r = set_up_ring(u, cfg->fd);
	if (r < 0) {
		reader_pool_fini(&u->pool);
		return err_sys(err, r, "no-io-uring", "reader",
			       "set up io_uring");
	}
	u->base.ops = &uring_ops;
	u->base.size_bytes = cfg->size_bytes;
	u->base.kind = "io_uring";
	u->clock = cfg->clock;
	read_limit_init(&u->limit, cfg->limit_bytes_per_s,
			clock_mono_ns(cfg->clock));
	*out = &TAKE_PTR(u)->base;
	return 0;
}
