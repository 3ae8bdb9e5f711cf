// SPDX-License-Identifier: Apache-2.0
/*
 * What every kind of connection shares, and the pair of ends in one process.
 *
 * A pair tells an orderly end from a cut one, as TLS does: the end that closes
 * in order leaves a mark in the memory both share before it closes. Each end
 * belongs to one thread; the shared part is atomic.
 */
#include "net/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/conn_internal.h"
#include "net/sock.h"

void conn_wake(struct conn *c)
{
	const uint64_t one = 1;

	/* Fails only when the counter is full: then it is awake already. */
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void conn_wake_clear(struct conn *c)
{
	uint64_t n;

	/* Non-blocking: nothing there is as good. */
	if (read(c->wake_fd, &n, sizeof(n)) < 0)
		return;
}

int conn_wait(struct conn *c, int fd, short events, uint64_t deadline_ns)
{
	int r = sock_wait(fd, events, c->wake_fd, deadline_ns);

	if (r == -EINTR)
		conn_wake_clear(c);
	return r;
}

int conn_wake_open(struct conn *c)
{
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return c->wake_fd < 0 ? -errno : 0;
}

void conn_close(struct conn *c, bool orderly)
{
	if (c)
		c->ops->close(c, orderly);
}

/* ---- pair ---- */

struct pair_shared {
	atomic_int refs;
	atomic_bool orderly[2];		/* that end closed in order */
};

struct pair {
	struct conn c;
	int fd;
	int side;
	struct pair_shared *shared;
};

static struct pair *pair_of(struct conn *c)
{
	return (struct pair *)c;	/* its first member */
}

static int pair_ended(struct pair *p)
{
	if (atomic_load(&p->shared->orderly[!p->side]))
		return 0;
	return err_set(&p->c.failure, -ECONNRESET, "connection-lost", "pair",
		       "read: the other end is gone");
}

static int64_t pair_read(struct conn *c, void *buf, size_t n, int timeout_ms)
{
	struct pair *p = pair_of(c);
	uint64_t deadline = sock_deadline(timeout_ms);

	for (;;) {
		ssize_t got = recv(p->fd, buf, n, MSG_DONTWAIT);
		int r;

		if (got > 0)
			return got;
		if (!got || errno == ECONNRESET)
			return pair_ended(p);
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(&c->failure, -errno, "connection-lost",
				       "pair", "read");
		r = timeout_ms ? conn_wait(c, p->fd, POLLIN, deadline) :
				 -EAGAIN;
		if (r < 0)
			return r;
	}
}

static int64_t pair_write(struct conn *c, const void *buf, size_t n,
			  int timeout_ms)
{
	struct pair *p = pair_of(c);
	uint64_t deadline = sock_deadline(timeout_ms);

	for (;;) {
		ssize_t put = send(p->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (put >= 0)
			return put;
		if (errno == EINTR)
			continue;
		if (errno == EPIPE || errno == ECONNRESET)
			return err_set(&c->failure, -ECONNRESET,
				       "connection-lost", "pair",
				       "write: the other end is gone");
		if (errno != EAGAIN)
			return err_sys(&c->failure, -errno, "connection-lost",
				       "pair", "write");
		r = timeout_ms ? conn_wait(c, p->fd, POLLOUT, deadline) :
				 -EAGAIN;
		if (r < 0)
			return r;
	}
}

static void pair_free(struct pair *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	if (p->c.wake_fd >= 0)
		(void)close(p->c.wake_fd);
	if (p->shared && atomic_fetch_sub(&p->shared->refs, 1) == 1)
		free(p->shared);
	free(p);
}

static void pair_close(struct conn *c, bool orderly)
{
	struct pair *p = pair_of(c);

	if (orderly)
		atomic_store(&p->shared->orderly[p->side], true);
	pair_free(p);
}

static int pair_poll_fd(struct conn *c)
{
	return pair_of(c)->fd;
}

static bool pair_pending(struct conn *c)
{
	(void)c;
	return false;
}

static const struct conn_ops pair_ops = {
	.read = pair_read,
	.write = pair_write,
	.close = pair_close,
	.poll_fd = pair_poll_fd,
	.pending = pair_pending,
};

/* Takes fd and a reference of shared, also when it fails. */
static struct pair *pair_new(int fd, int side, struct pair_shared *shared)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (!p) {
		(void)close(fd);
		return NULL;
	}
	*p = (struct pair){
		.c = { .ops = &pair_ops, .wake_fd = -1 },
		.fd = fd, .side = side, .shared = shared,
	};
	if (conn_wake_open(&p->c) == 0)
		return p;
	pair_free(p);
	return NULL;
}

int conn_pair(struct conn **a, struct conn **b)
{
	_cleanup_free_ struct pair_shared *shared = calloc(1, sizeof(*shared));
	struct pair *ends[2];
	int fds[2];

	if (!shared)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fds) < 0)
		return -errno;
	atomic_store(&shared->refs, 3);	/* one is ours until both are there */
	ends[0] = pair_new(fds[0], 0, shared);
	ends[1] = pair_new(fds[1], 1, shared);
	if (!ends[0] || !ends[1]) {
		if (ends[0])
			pair_free(ends[0]);
		if (ends[1])
			pair_free(ends[1]);
		return -ENOMEM;
	}
	atomic_store(&shared->refs, 2);
	shared = NULL;
	*a = &ends[0]->c;
	*b = &ends[1]->c;
	return 0;
}
