// SPDX-License-Identifier: Apache-2.0
/*
 * A session's life: HELLO, accept or reject, then requests in the order in
 * which they come, until one side ends it.
 *
 * Memory is bounded: what is read is a piece of IN_BYTES and at most one frame
 * that is not whole; while more than OUT_HIGH_BYTES wait to be sent, nothing
 * is read and nothing answered. Time is bounded: a stranger has handshake_ms,
 * a silent peer its idle limit, a peer that takes nothing, or does not end what
 * it began to say, stall_ms.
 *
 * Runs in the peer's own thread. Others reach it through the peer's stop
 * reason and a wake-up. Nothing here survives a crash; what was acknowledged
 * is the store's.
 */
#include "replica/replica_session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "base/units.h"

#define IN_BYTES ((size_t)256 << 10)
#define OUT_HIGH_BYTES ((size_t)1 << 20)
#define LAST_WORDS_MS 1000
#define SOFTWARE "understudyd"

/* ---- when it has to end ---- */

static int stopped(struct session *s)
{
	const char *who = s->peer->full_name[0] ? s->peer->full_name :
						  s->conn->peer_name;

	switch ((enum stop_reason)atomic_load(&s->peer->stop)) {
	case STOP_NONE:
		return 0;
	case STOP_SHUTDOWN:
		return err_set(&s->err, -ESHUTDOWN, "shutdown", who,
			       "the replica is shutting down");
	case STOP_SUPERSEDED:
		return err_set(&s->err, -ESTALE, "superseded", who,
			       "a newer session has taken over this volume");
	case STOP_NOT_ACCEPTED:
		err_set(&s->err, -EACCES, "not-accepted", who,
			"the replica's [accept] rules no longer cover it");
		err_remedy(&s->err, "add an [accept] section for it at the "
				    "replica");
		return -EACCES;
	case STOP_CROWDED_OUT:
		return err_set(&s->err, -EMFILE, "too-many", who,
			       "too many connections that are not accepted "
			       "yet");
	}
	return 0;
}

/* New certificates or a new revocation list: is the peer still welcome? */
static int recheck(struct session *s)
{
	struct tls_identity *id;
	int r;

	if (!atomic_exchange(&s->peer->recheck, false))
		return 0;
	id = replica_identity(s->r);
	if (!id)
		return 0;
	r = tls_peer_check(s->conn, id, &s->err);
	tls_identity_free(id);
	return r;
}

static int expired(struct session *s)
{
	int64_t end_s = s->conn->peer_not_after_s;

	if (!end_s || clock_wall_ns(s->r->env.clock) / (int64_t)NSEC_PER_SEC <=
		      end_s)
		return 0;
	err_set(&s->err, -EKEYEXPIRED, "certificate-expired",
		s->conn->peer_name, "its certificate has expired");
	err_remedy(&s->err, "issue a new one with `understudyctl pki issue`");
	return -EKEYEXPIRED;
}

/* When the present silence becomes an error. */
static uint64_t silence_deadline_ns(const struct session *s)
{
	const struct replica_limits *l = &s->r->limits;
	uint64_t idle_ms = l->idle_ms;

	if (!s->accepted)
		return s->started_ns + l->handshake_ms * NSEC_PER_MSEC;
	if (serve_out(s->serve)->len)
		return s->last_tx_ns + l->stall_ms * NSEC_PER_MSEC;
	if (s->hello.role == WIRE_ROLE_READER)
		idle_ms = l->reader_idle_ms;
	return MAX(s->last_rx_ns, s->last_tx_ns) + idle_ms * NSEC_PER_MSEC;
}

/* A byte now and then is no silence, and still must come to an end. */
static uint64_t deadline_ns(const struct session *s)
{
	uint64_t end = silence_deadline_ns(s);

	if (!s->began_ns)
		return end;
	return MIN(end, s->began_ns + s->r->limits.stall_ms * NSEC_PER_MSEC);
}

static int timed_out(struct session *s)
{
	const char *who = s->conn->peer_name;

	if (!s->accepted)
		return err_set(&s->err, -ETIMEDOUT, "handshake-timeout",
			       s->peer->address,
			       "no HELLO within the time allowed");
	if (serve_out(s->serve)->len) {
		s->dead = true;
		return err_set(&s->err, -ETIMEDOUT, "stalled", who,
			       "the peer takes nothing any more");
	}
	if (clock_mono_ns(s->r->env.clock) < silence_deadline_ns(s))
		return err_set(&s->err, -ETIMEDOUT, "stalled", who,
			       "a message of the peer does not come to its "
			       "end");
	return err_set(&s->err, -ETIMEDOUT, "idle", who,
		       "nothing came from the peer within the time allowed");
}

/* 0 when the session may go on. */
static int check(struct session *s)
{
	int r = stopped(s);

	if (r == 0)
		r = recheck(s);
	if (r == 0)
		r = expired(s);
	return r;
}

/* ---- moving bytes ---- */

static int conn_gone(struct session *s, int r)
{
	s->dead = true;
	if (s->conn->failure.num)
		err_copy(&s->err, &s->conn->failure);
	return err_sys(&s->err, r, "connection-lost", s->peer->address,
		       "connection");
}

/* What the peer takes without a wait. */
static int send_some(struct session *s)
{
	struct buf *out = serve_out(s->serve);
	size_t done = 0;
	int64_t n = 0;

	if (out->failed)
		return err_set(&s->err, -ENOMEM, "no-memory",
			       s->conn->peer_name, "out of memory");
	while (done < out->len) {
		n = conn_write(s->conn, out->data + done, out->len - done, 0);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (done) {
		buf_consume(out, done);
		s->last_tx_ns = clock_mono_ns(s->r->env.clock);
	}
	if (n < 0 && n != -EAGAIN && n != -EINTR)
		return conn_gone(s, (int)n);
	return 0;
}

/* 0; 1 at the peer's orderly end. */
static int receive_some(struct session *s)
{
	int64_t n = conn_read(s->conn, s->in, IN_BYTES, 0);
	int r;

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return conn_gone(s, (int)n);
	if (n == 0) {
		s->over = s->dead = true;
		return 0;
	}
	s->last_rx_ns = clock_mono_ns(s->r->env.clock);
	if (!s->began_ns)
		s->began_ns = s->last_rx_ns;
	r = serve_feed(s->serve, s->in, (size_t)n, &s->err);
	s->told = r < 0;
	return r;
}

/* Wait for events on the connection, a wake-up, or the deadline. */
static int wait_for(struct session *s, short events)
{
	struct pollfd fds[2] = {
		{ .fd = conn_poll_fd(s->conn), .events = events },
		{ .fd = s->conn->wake_fd, .events = POLLIN },
	};
	uint64_t now = clock_mono_ns(s->r->env.clock);
	uint64_t end = deadline_ns(s);
	int ms, n;

	if (now >= end)
		return timed_out(s);
	ms = (int)MIN((end - now) / NSEC_PER_MSEC + 1, (uint64_t)60000);
	n = poll(fds, ARRAY_SIZE(fds), ms);
	if (n < 0 && errno != EINTR)
		return err_sys(&s->err, -errno, "internal", s->conn->peer_name,
			       "poll");
	if (n > 0 && fds[1].revents)
		conn_wake_clear(s->conn);
	return 0;
}

int session_flush(struct session *s, size_t down_to)
{
	int r;

	for (;;) {
		r = send_some(s);
		if (r < 0 || serve_out(s->serve)->len <= down_to)
			return r;
		r = wait_for(s, POLLOUT);
		if (r == 0)
			r = check(s);
		if (r < 0)
			return r;
	}
}

static int wait_and_receive(struct session *s)
{
	size_t waiting = serve_out(s->serve)->len;
	bool may_read = waiting < OUT_HIGH_BYTES;
	int r;

	if (!may_read || !conn_pending(s->conn)) {
		r = wait_for(s, (short)((may_read ? POLLIN : 0) |
					(waiting ? POLLOUT : 0)));
		if (r < 0)
			return r;
	}
	return may_read ? receive_some(s) : 0;
}

/* ---- answers ---- */

int session_answered(struct session *s, int r)
{
	if (r >= 0)
		return 0;
	return err_sys(&s->err, r, "internal", s->conn->peer_name, "answer");
}

int session_answer_error(struct session *s, const struct err *err)
{
	struct wire_error e;

	wire_error_from_err(err, &e);
	return session_answered(s, serve_error(s->serve, &e));
}

static int reject(struct session *s, const struct err *err)
{
	struct wire_error e;

	wire_error_from_err(err, &e);
	s->told = true;
	err_copy(&s->err, err);
	if (serve_reject(s->serve, &e) < 0)
		s->dead = true;
	return err->num;
}

static const char *right_needed(const struct session *s)
{
	uint32_t rights = s->conn->peer_rights;

	if (s->hello.role == WIRE_ROLE_SENDER && !(rights & WIRE_RIGHT_PUSH))
		return "push";
	if (s->hello.role == WIRE_ROLE_READER && !(rights & WIRE_RIGHT_READ))
		return "read";
	return NULL;
}

static int admit(struct session *s, struct err *err)
{
	const char *who = s->conn->peer_name, *right = right_needed(s);

	if (!name_is_valid(who))
		return err_set(err, -EACCES, "bad-name", s->peer->address,
			       "the certificate's name cannot be a source's: "
			       "\"%s\"", who);
	if (s->hello.role != WIRE_ROLE_SENDER &&
	    s->hello.role != WIRE_ROLE_READER)
		return err_set(err, -EOPNOTSUPP, "unsupported", who,
			       "this replica does not send points to peers "
			       "that dial");
	if (!wall_is_sane(s->hello.wall_ns))
		return err_set(err, -EINVAL, "bad-clock", who,
			       "its clock cannot be: %" PRId64,
			       s->hello.wall_ns);
	if (!right && !peer_may_join(s->peer))
		return err_set(err, -EMFILE, "too-many", who,
			       "too many sessions with this certificate");
	if (!right)
		return 0;
	err_set(err, -EACCES, "not-permitted", who,
		"the certificate lacks the right `%s`", right);
	err_remedy(err, "issue one that has it: understudyctl pki issue %s "
			"--rights %s,... --out DIR", who, right);
	return -EACCES;
}

static int on_hello(struct session *s, const struct wire_hello *hello)
{
	const struct replica_env *env = &s->r->env;
	struct wire_accept a = {
		.features = WIRE_FEATURES,
		.node = env->node,
		.boot = env->boot,
		.wall_ns = clock_wall_ns(env->clock),
		.rights = s->conn->peer_rights,
		.software = SOFTWARE,
	};
	struct err err = ERR_INIT;
	int r;

	s->hello = *hello;
	r = admit(s, &err);
	if (r == 0)
		s->offset_ns = (int64_t)clock_mono_ns(env->clock) -
			       hello->wall_ns;
	if (r == 0)
		r = uuid_new(env->rnd, &a.session);
	if (r == 0) {
		snprintf(a.peer_name, sizeof(a.peer_name), "%s",
			 s->conn->peer_name);
		r = serve_accept(s->serve, &a);
	}
	if (r < 0) {
		err_sys(&err, r, "internal", s->conn->peer_name, "accept");
		return reject(s, &err);
	}
	s->accepted = true;
	peer_accepted(s->peer);
	return 0;
}

static int on_event(struct session *s, const struct serve_event *ev)
{
	switch (ev->type) {
	case SERVE_HELLO:
		return on_hello(s, &ev->hello);
	case SERVE_VOLUME_OPEN:
		return push_volume_open(s, &ev->volume_open);
	case SERVE_POINT_BEGIN:
		return push_point_begin(s, &ev->delta);
	case SERVE_UNITS:
		return push_units(s, ev->bytes, ev->n_bytes);
	case SERVE_FP_QUERY:
		return push_fp_query(s, ev->first, ev->count);
	case SERVE_VERIFY:
		return push_verify(s, ev);
	case SERVE_COMMIT:
		return push_commit(s, &ev->commit);
	case SERVE_CONFIRM:
		return push_confirm(s, ev);
	case SERVE_DISCARD:
		return push_discard(s);
	case SERVE_ESCROW:
		return push_escrow(s, ev->bytes, ev->n_bytes);
	case SERVE_POINTS_QUERY:
		return read_points(s, ev->source, ev->name);
	case SERVE_GROUP_QUERY:
		return read_group_points(s, ev->source, ev->name);
	case SERVE_VIEW_OPEN:
		return read_view_open(s, &ev->view_open);
	case SERVE_VIEW_READ:
		return read_view_read(s, ev->handle, ev->first, ev->count);
	case SERVE_VIEW_CLOSE:
		return read_view_close(s, ev->handle);
	case SERVE_PING:
		return 0;
	case SERVE_BYE:
		s->over = true;
		return 0;
	}
	return err_set(&s->err, -EPROTO, "internal", s->conn->peer_name,
		       "an event nobody knows: %d", (int)ev->type);
}

/* ---- the loop ---- */

/* 0; 1 when there is none. */
static int take_event(struct session *s)
{
	struct serve_event ev;
	int r;

	r = serve_next(s->serve, &ev, &s->err);
	if (r < 0)
		s->told = true;
	if (!serve_is_midway(s->serve))
		s->began_ns = 0;
	else if (r == 0)
		s->began_ns = clock_mono_ns(s->r->env.clock);
	return r ? r : on_event(s, &ev);
}

/* Take an event and answer it: 0; 1 when there is none or no room. */
static int one_event(struct session *s)
{
	size_t waiting = serve_out(s->serve)->len;
	int r;

	if (waiting >= OUT_HIGH_BYTES)
		return 1;
	r = take_event(s);
	/* From now on the peer has something to take. */
	if (!waiting && serve_out(s->serve)->len)
		s->last_tx_ns = clock_mono_ns(s->r->env.clock);
	return r;
}

static int loop(struct session *s)
{
	int r = 0;

	while (r == 0 && !s->over) {
		r = check(s);
		if (r == 0)
			r = send_some(s);
		if (r == 0)
			r = one_event(s);
		if (r == 1)
			r = wait_and_receive(s);
	}
	return r;
}

/* The peer should learn why, but not for ever. */
static void last_words(struct session *s)
{
	struct buf *out = serve_out(s->serve);
	uint64_t now, end = clock_mono_ns(s->r->env.clock) +
			    LAST_WORDS_MS * NSEC_PER_MSEC;
	struct wire_error e;

	if (s->dead)
		return;
	if (!s->told) {
		wire_error_from_err(&s->err, &e);
		if (!s->accepted)
			(void)serve_reject(s->serve, &e);
		else
			(void)serve_bye(s->serve, s->err.num ? &e : NULL);
	}
	while (out->len) {
		int64_t n;

		now = clock_mono_ns(s->r->env.clock);
		if (now >= end)
			return;
		n = conn_write(s->conn, out->data, out->len,
			       (int)((end - now) / NSEC_PER_MSEC) + 1);
		if (n > 0)
			buf_consume(out, (size_t)n);
		else if (n != -EINTR)
			return;
	}
}

static void log_end(struct session *s)
{
	const char *what = s->push.full_name[0] ? s->push.full_name :
						  s->conn->peer_name;
	enum log_level level = s->err.num ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;

	if (!s->accepted) {
		if (s->err.num)
			replica_log_refusal(s->r, s->peer->address, &s->err);
		return;
	}
	if (s->err.num == -ESHUTDOWN)
		level = LOG_LEVEL_INFO;
	log_at(level, "%s from %s: session ended%s%s", what, s->peer->address,
	       s->err.num ? ": " : "", s->err.message);
}

void session_run(struct peer *p, struct conn *conn)
{
	struct session s = {
		.peer = p, .r = p->r, .conn = conn,
		.serve = serve_new(), .in = malloc(IN_BYTES),
	};
	int r;

	s.started_ns = clock_mono_ns(p->r->env.clock);
	s.last_rx_ns = s.last_tx_ns = s.started_ns;
	if (s.serve && s.in) {
		r = loop(&s);
		if (r < 0)
			err_sys(&s.err, r, "internal", conn->peer_name,
				"session");
		push_close(&s, s.err.num ? &s.err : NULL);
		read_close(&s);
		last_words(&s);
		log_end(&s);
	} else {
		log_err("%s: session: out of memory", p->address);
	}
	free(s.push.fps);
	free(s.push.verify);
	serve_free(s.serve);
	free(s.in);
}
