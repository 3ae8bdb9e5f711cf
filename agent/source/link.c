// SPDX-License-Identifier: Apache-2.0
/*
 * Session with a replica over a connection.
 *
 * Invariants:
 * - Reading never waits for writing: a replica that answers while we send must
 *   find a reader, or both would wait for each other for ever.
 * - The first failure ends the link; every later call gives -ENOTCONN.
 * - An answer that is waited for has a time limit (ANSWER_MS without any byte
 *   from the replica); silence is a failure, never a state.
 *
 * One thread. Nothing survives the process.
 */
#include "source/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define DIAL_MS 10000
#define ANSWER_MS 30000
#define ROOM_MS 200			/* how soon a cancellation is seen */
#define PING_AFTER_NS (10 * NSEC_PER_SEC)
#define READ_CHUNK (256U << 10)
#define SOFTWARE "understudy 0.1"

struct link {
	struct link_config config;
	struct link_handler handler;
	struct conn *conn;
	struct dial *dial;
	struct wire_accept accept;
	bool accepted, dead;
	/* Answers that a call of ours waits for. */
	bool got_volume, got_done;
	enum wire_request done;
	struct wire_volume_state volume;
	uint64_t bytes_sent;
	size_t offered;			/* by a write that could not go on */
	uint64_t heard_ns, sent_ns;	/* mono; last byte either way */
	bool ping_out;
	/* Rate limit: bytes that may be sent until the next refill. */
	uint64_t budget, budget_ns;
	uint8_t *chunk;
	char object[VOLUME_NAME_MAX + 16];
};

static uint64_t now_ns(const struct link *l)
{
	return clock_mono_ns(l->config.env->clock);
}

static bool cancelled(const struct link *l)
{
	return l->handler.cancelled && l->handler.cancelled(l->handler.arg);
}

static int over(struct link *l, int r)
{
	l->dead = true;
	return r;
}

/* ---- events ---- */

static int take_event(struct link *l, const struct dial_event *ev,
		      struct err *err)
{
	switch (ev->type) {
	case DIAL_ACCEPTED:
		l->accept = ev->accept;
		l->accepted = true;
		return 0;
	case DIAL_VOLUME:
		l->volume = ev->volume;
		l->got_volume = true;
		return 0;
	case DIAL_FPS:
		if (l->handler.on_fps)
			l->handler.on_fps(l->handler.arg, ev->first, ev->count,
					  ev->fps);
		return 0;
	case DIAL_VERIFIED:
		if (l->handler.on_held)
			l->handler.on_held(l->handler.arg, ev->epoch, ev->seq,
					   ev->count, ev->held);
		return 0;
	case DIAL_ACK:
		if (l->handler.on_ack)
			l->handler.on_ack(l->handler.arg, &ev->ack);
		return 0;
	case DIAL_DONE:
		l->got_done = true;
		l->done = ev->request;
		return 0;
	case DIAL_PONG:
		l->ping_out = false;
		return 0;
	case DIAL_REJECTED:
	case DIAL_REFUSED:
	case DIAL_ERROR:
	case DIAL_BYE:
		if (ev->type == DIAL_BYE && !ev->error.num)
			return over(l, err_set(err, -ECONNRESET,
					       "replica-closed", l->object,
					       "the replica ended the session"));
		if (l->config.refused)
			*l->config.refused = ev->type == DIAL_REJECTED ||
					     ev->type == DIAL_REFUSED;
		return over(l, wire_error_to_err(&ev->error, l->object, err));
	default:
		return over(l, err_set(err, -EPROTO, "protocol", l->object,
				       "an answer nobody asked for"));
	}
}

static int take_events(struct link *l, struct err *err)
{
	struct dial_event ev;
	int r;

	while (!(r = dial_next(l->dial, &ev, err))) {
		r = take_event(l, &ev, err);
		if (r)
			return r;
	}
	return r < 0 ? over(l, r) : 0;
}

/* ---- moving bytes ---- */

/* The connection knows best: a replica that refuses our certificate says so
 * only after the handshake. */
static int broken(struct link *l, int r, const char *what, struct err *err)
{
	if (l->conn->failure.num && err && !err->num)
		err_copy(err, &l->conn->failure);
	return over(l, err_sys(err, r, "link-down", l->object, "%s", what));
}

static int read_some(struct link *l, bool *moved, struct err *err)
{
	int64_t n = conn_read(l->conn, l->chunk, READ_CHUNK, 0);
	int r;

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n == 0)
		return over(l, err_set(err, -ECONNRESET, "replica-closed",
				       l->object, "connection ended"));
	if (n < 0)
		return broken(l, (int)n, "receive", err);
	*moved = true;
	l->heard_ns = now_ns(l);
	r = dial_feed(l->dial, l->chunk, (size_t)n, err);
	if (r) {
		/* Tell the replica why, if it still listens. */
		struct buf *out = dial_out(l->dial);

		(void)conn_write(l->conn, out->data, out->len, 0);
		return over(l, r);
	}
	return take_events(l, err);
}

/* How much the rate limit lets go now. */
static size_t allowance(struct link *l, size_t want)
{
	uint64_t rate = l->config.replica->rate_limit_bytes;
	uint64_t now, add;

	if (!rate)
		return want;
	now = now_ns(l);
	add = (uint64_t)((double)rate * (double)(now - l->budget_ns) /
			 (double)NSEC_PER_SEC);
	if (add) {
		/* At most a tenth of a second's worth is saved up. */
		l->budget = MIN(l->budget + add, MAX(rate / 10, 65536ULL));
		l->budget_ns = now;
	}
	return (size_t)MIN((uint64_t)want, l->budget);
}

static int write_some(struct link *l, bool *moved, struct err *err)
{
	struct buf *out = dial_out(l->dial);
	size_t n;
	int64_t r;

	if (out->failed)
		return over(l, err_sys(err, -ENOMEM, "no-memory", l->object,
				       "send"));
	/* TLS wants a write that could not be finished offered again whole. */
	n = MAX(allowance(l, out->len), l->offered);
	if (!n)
		return 0;
	r = conn_write(l->conn, out->data, n, 0);
	l->offered = r == -EAGAIN ? n : 0;
	if (r == -EAGAIN || r == -EINTR)
		return 0;
	if (r < 0)
		return broken(l, (int)r, "send", err);
	*moved = r > 0;
	buf_consume(out, (size_t)r);
	l->bytes_sent += (uint64_t)r;
	l->sent_ns = now_ns(l);
	if (l->config.replica->rate_limit_bytes)
		l->budget -= MIN(l->budget, (uint64_t)r);
	return 0;
}

/* A silent link is asked; one that stays silent is dead. */
static int keep_alive(struct link *l, struct err *err)
{
	uint64_t now = now_ns(l);

	if (!l->accepted)
		return 0;
	if (l->ping_out && now - l->heard_ns > ANSWER_MS * NSEC_PER_MSEC)
		return over(l, err_set(err, -ETIMEDOUT, "link-timeout",
				       l->object, "no answer for %d s",
				       ANSWER_MS / 1000));
	if (!l->ping_out && now - l->heard_ns > PING_AFTER_NS &&
	    !dial_ping(l->dial))
		l->ping_out = true;
	return 0;
}

/* wake: a command for the worker ends the wait too. */
static void wait_ready(struct link *l, int timeout_ms, bool wake)
{
	struct pollfd p[2] = {
		{ .fd = conn_poll_fd(l->conn), .events = POLLIN },
		{ .fd = wake ? l->config.wake_fd : -1, .events = POLLIN },
	};
	int cap = (int)(PING_AFTER_NS / NSEC_PER_MSEC);

	if (dial_out(l->dial)->len) {
		if (allowance(l, 1))
			p[0].events |= POLLOUT;
		else
			cap = 5;	/* until the rate limit lets more go */
	}
	if (timeout_ms < 0 || timeout_ms > cap)
		timeout_ms = cap;
	(void)poll(p, 2, timeout_ms);
}

/* One turn: 1 when something moved, 0 when nothing could. */
static int turn(struct link *l, struct err *err)
{
	bool moved = false;
	int r;

	if (l->dead)
		return -ENOTCONN;
	r = read_some(l, &moved, err);
	if (!r)
		r = write_some(l, &moved, err);
	if (!r)
		r = keep_alive(l, err);
	if (r)
		return r;
	return moved || conn_pending(l->conn);
}

static int pump(struct link *l, int timeout_ms, bool wake, struct err *err)
{
	bool moved = false;
	int r;

	while ((r = turn(l, err)) > 0)
		moved = true;
	/* What moved may be what the caller waits for: let it look first. */
	if (r || moved || !timeout_ms)
		return r;
	wait_ready(l, timeout_ms, wake);
	do {
		r = turn(l, err);
	} while (r > 0);
	return r;
}

int link_pump(struct link *l, int timeout_ms, struct err *err)
{
	return pump(l, timeout_ms, true, err);
}

int link_wait(struct link *l, struct err *err)
{
	return cancelled(l) ? -ECANCELED : pump(l, ROOM_MS, false, err);
}

int link_room(struct link *l, size_t low_bytes, struct err *err)
{
	int r;

	while (dial_out(l->dial)->len > low_bytes) {
		if (cancelled(l))
			return -ECANCELED;
		r = pump(l, ROOM_MS, false, err);
		if (r)
			return r;
	}
	return 0;
}

/* Pump until *flag, or the replica has been silent for too long. */
static int wait_for(struct link *l, const bool *flag, struct err *err)
{
	uint64_t deadline = now_ns(l) + ANSWER_MS * NSEC_PER_MSEC;
	int r;

	while (!*flag) {
		if (cancelled(l))
			return -ECANCELED;
		if (now_ns(l) > deadline)
			return over(l, err_set(err, -ETIMEDOUT, "link-timeout",
					       l->object,
					       "no answer for %d s",
					       ANSWER_MS / 1000));
		r = pump(l, ROOM_MS, false, err);
		if (r)
			return r;
	}
	return 0;
}

/* ---- opening and closing ---- */

static void fill_hello(const struct link_config *cfg, struct wire_hello *h)
{
	memset(h, 0, sizeof(*h));
	h->role = cfg->role;
	h->node = cfg->env->node;
	h->boot = cfg->env->boot;
	h->wall_ns = clock_wall_ns(cfg->env->clock);
	memcpy(h->software, SOFTWARE, sizeof(SOFTWARE));
}

int link_open_conn(const struct link_config *cfg, struct conn *c,
		   struct link **out, struct err *err)
{
	struct link *l = calloc(1, sizeof(*l));
	struct wire_hello hello;
	int r;

	if (!l) {
		conn_close(c, false);
		return err_sys(err, -ENOMEM, "no-memory", "link", "open");
	}
	l->config = *cfg;
	if (cfg->handler)
		l->handler = *cfg->handler;
	l->conn = c;
	(void)snprintf(l->object, sizeof(l->object), "replica %s",
		       cfg->replica->name);
	fill_hello(cfg, &hello);
	l->heard_ns = l->sent_ns = l->budget_ns = now_ns(l);
	l->chunk = malloc(READ_CHUNK);
	l->dial = dial_new(&hello);
	if (!l->chunk || !l->dial)
		r = err_sys(err, -ENOMEM, "no-memory", l->object, "open");
	else
		r = wait_for(l, &l->accepted, err);
	if (r) {
		link_close(l, false);
		return r;
	}
	*out = l;
	return 0;
}

int link_open(const struct link_config *cfg, struct link **out,
	      struct err *err)
{
	struct tls_identity *id = NULL;
	struct conn *c = NULL;
	int i, r;

	r = tls_identity_load(cfg->replica->identity, &id, err);
	if (r)
		return r;
	r = -EINVAL;
	for (i = 0; i < cfg->replica->n_addresses && !c; i++) {
		const struct replica_address *a = &cfg->replica->addresses[i];
		const struct tls_dial_spec spec = {
			.host = a->host,
			.port = a->port,
			.timeout_ms = DIAL_MS,
			.wake_fd = cfg->stop_fd,
		};

		err_clear(err);
		r = tls_dial_to(id, &spec, &c, err);
		if (r == -EINTR)
			break;
	}
	tls_identity_free(id);
	return r ? r : link_open_conn(cfg, c, out, err);
}

void link_close(struct link *l, bool orderly)
{
	struct err ignored = ERR_INIT;

	if (!l)
		return;
	if (orderly && !l->dead && l->dial && !dial_bye(l->dial))
		(void)link_room(l, 0, &ignored);
	conn_close(l->conn, orderly && !l->dead);
	dial_free(l->dial);
	free(l->chunk);
	free(l);
}

const struct wire_accept *link_accept(const struct link *l)
{
	return &l->accept;
}

struct dial *link_dial(struct link *l)
{
	return l->dial;
}

int link_ask_alive(struct link *l)
{
	int r;

	/* One at a time: an older one still out answers for less. */
	if (l->ping_out)
		return -EBUSY;
	r = dial_ping(l->dial);
	if (!r)
		l->ping_out = true;
	return r;
}

bool link_answered(const struct link *l)
{
	return !l->ping_out;
}

uint64_t link_bytes_sent(const struct link *l)
{
	return l->bytes_sent;
}

int link_volume_open(struct link *l, const struct wire_volume_open *v,
		     struct wire_volume_state *out, struct err *err)
{
	int r;

	l->got_volume = false;
	r = dial_volume_open(l->dial, v);
	if (r)
		return over(l, err_sys(err, r, "protocol", l->object,
				       "open volume %s", v->name));
	r = wait_for(l, &l->got_volume, err);
	if (!r)
		*out = l->volume;
	return r;
}

int link_wait_done(struct link *l, enum wire_request what, struct err *err)
{
	int r;

	do {
		l->got_done = false;
		r = wait_for(l, &l->got_done, err);
	} while (!r && l->done != what);
	return r;
}
