// SPDX-License-Identifier: Apache-2.0
/*
 * Connecting to a replica as a reader, and asking it for the points of a
 * volume. Everything waits, with a limit on silence; one thread.
 *
 * A TLS 1.3 handshake that has succeeded proves nothing yet: connected is who
 * got ACCEPT.
 */
#include "source/remote_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIAL_MS 10000
#define SILENCE_MS 60000
#define LAST_WORDS_MS 1000
#define IN_BYTES ((size_t)256 << 10)
#define SOFTWARE "understudyd"

static int lost(struct remote *r, int64_t n, struct err *err)
{
	if (r->conn->failure.num) {
		if (err && !err->num)
			err_copy(err, &r->conn->failure);
		return r->conn->failure.num;
	}
	if (n == -EAGAIN)
		return err_set(err, -ETIMEDOUT, "no-answer", r->object,
			       "nothing came for %d s", SILENCE_MS / 1000);
	return err_sys(err, n ? (int)n : -ECONNRESET, "connection-lost",
		       r->object, "connection");
}

static int send_all(struct remote *r, int timeout_ms, struct err *err)
{
	struct buf *out = dial_out(r->dial);

	if (out->failed)
		return err_set(err, -ENOMEM, "no-memory", r->object,
			       "out of memory");
	while (out->len) {
		int64_t n = conn_write(r->conn, out->data, out->len,
				       timeout_ms);

		if (n > 0)
			buf_consume(out, (size_t)n);
		else if (n != -EINTR)
			return lost(r, n, err);
	}
	return 0;
}

static int receive(struct remote *r, struct err *err)
{
	int64_t n;

	do {
		n = conn_read(r->conn, r->in, IN_BYTES, SILENCE_MS);
	} while (n == -EINTR);
	if (n <= 0)
		return lost(r, n, err);
	return dial_feed(r->dial, r->in, (size_t)n, err);
}

int remote_next(struct remote *r, struct dial_event *ev, struct err *err)
{
	int n;

	for (;;) {
		n = dial_next(r->dial, ev, err);
		if (n <= 0)
			break;
		n = send_all(r, SILENCE_MS, err);
		/* What it said before it cut us off may tell why. */
		if (n == 0 || n == -ECONNRESET || n == -EPIPE)
			n = receive(r, n ? NULL : err);
		if (n < 0)
			break;
	}
	if (n < 0) {
		(void)send_all(r, 0, NULL);	/* the BYE of a broken protocol */
		return err_sys(err, n, "protocol", r->object, "session");
	}
	if (ev->type != DIAL_BYE && ev->type != DIAL_REJECTED)
		return 0;
	if (!ev->error.num)
		return err_set(err, -ECONNRESET, "connection-lost", r->object,
			       "the replica ended the session");
	return wire_error_to_err(&ev->error, r->object, err);
}

int remote_asked(struct remote *r, int result, struct err *err)
{
	if (result >= 0)
		return 0;
	return err_sys(err, result, "internal", r->object, "ask");
}

int remote_unexpected(struct remote *r, const struct dial_event *ev,
		      struct err *err)
{
	return err_set(err, -EPROTO, "protocol", r->object,
		       "an answer that was not asked for: %d", (int)ev->type);
}

/* ---- connecting ---- */

void remote_close(struct remote *r)
{
	if (!r)
		return;
	if (r->conn && r->dial && dial_bye(r->dial) == 0)
		(void)send_all(r, LAST_WORDS_MS, NULL);
	conn_close(r->conn, true);
	dial_free(r->dial);
	free(r->in);
	free(r);
}

static int wait_accepted(struct remote *r, struct err *err)
{
	struct dial_event ev;
	int n = remote_next(r, &ev, err);

	if (n < 0)
		return n;
	return ev.type == DIAL_ACCEPTED ? 0 : remote_unexpected(r, &ev, err);
}

int remote_over(struct conn *conn, const char *replica_name,
		const struct source_env *env, struct remote **out,
		struct err *err)
{
	struct wire_hello hello = {
		.role = WIRE_ROLE_READER,
		.node = env->node,
		.boot = env->boot,
		.wall_ns = clock_wall_ns(env->clock),
		.software = SOFTWARE,
	};
	_cleanup_(remote_closep) struct remote *r = calloc(1, sizeof(*r));
	int n;

	if (r) {
		r->conn = conn;
		r->in = malloc(IN_BYTES);
		r->dial = dial_new(&hello);
	} else {
		conn_close(conn, false);
	}
	if (!r || !r->in || !r->dial)
		return err_set(err, -ENOMEM, "no-memory", replica_name,
			       "out of memory");
	snprintf(r->object, sizeof(r->object), "replica %s", replica_name);
	n = wait_accepted(r, err);
	if (n == 0)
		*out = TAKE_PTR(r);
	return n;
}

int remote_connect(const struct replica_config *replica,
		   const struct source_env *env, struct remote **out,
		   struct err *err)
{
	struct tls_identity *id = NULL;
	int i, n;

	n = tls_identity_load(replica->identity, &id, err);
	if (n < 0)
		return n;
	n = -EDESTADDRREQ;
	for (i = 0; i < replica->n_addresses; i++) {
		const struct replica_address *a = &replica->addresses[i];
		struct conn *conn = NULL;

		/* err keeps the first failure; a later success clears it. */
		n = tls_dial(id, a->host, a->port, DIAL_MS, &conn, err);
		if (n == 0)
			n = remote_over(conn, replica->name, env, out, err);
		if (n == 0) {
			err_clear(err);
			break;
		}
	}
	tls_identity_free(id);
	if (n < 0)
		return err_sys(err, n, "not-connected", replica->name,
			       "connect");
	return 0;
}

/* ---- points ---- */

/* "SOURCE/NAME" or "NAME" into two buffers of WIRE_NAME_MAX + 1. */
static int split_name(const char *full, char *source, char *name,
		      struct err *err)
{
	const char *slash = strchr(full, '/');
	size_t n = slash ? (size_t)(slash - full) : 0;

	if (n > WIRE_NAME_MAX || strlen(slash ? slash + 1 : full) >
				 WIRE_NAME_MAX)
		return err_set(err, -EINVAL, "bad-name", full,
			       "not a volume's name");
	memcpy(source, full, n);
	source[n] = 0;
	snprintf(name, WIRE_NAME_MAX + 1, "%s", slash ? slash + 1 : full);
	return 0;
}

/* 1: a row of this type; 0: the end of them has come; or negative errno. */
static int next_row(struct remote *r, enum dial_event_type row,
		    enum dial_event_type end, struct dial_event *ev,
		    struct err *err)
{
	int n = remote_next(r, ev, err);

	if (n < 0)
		return n;
	if (ev->type == end)
		return 0;
	if (ev->type == DIAL_ERROR)
		return wire_error_to_err(&ev->error, r->object, err);
	return ev->type == row ? 1 : remote_unexpected(r, ev, err);
}

int remote_points(struct remote *r, const char *name,
		  int (*cb)(void *arg, const struct wire_point *p), void *arg,
		  struct err *err)
{
	char source[WIRE_NAME_MAX + 1], short_name[WIRE_NAME_MAX + 1];
	struct dial_event ev;
	int n, result = 0;

	n = split_name(name, source, short_name, err);
	if (n < 0)
		return n;
	n = remote_asked(r, dial_points_query(r->dial, source, short_name),
			 err);
	if (n < 0)
		return n;
	while ((n = next_row(r, DIAL_POINT, DIAL_POINTS_END, &ev, err)) > 0)
		if (!result)
			result = cb(arg, &ev.point);
	return n < 0 ? n : result;
}

static int no_groups(struct remote *r, const char *name, struct err *err)
{
	return err_set(err, -ENOENT, "no-group", r->object,
		       "%s: the replica does not know groups", name);
}

int remote_group_points(struct remote *r, const char *name,
			int (*cb)(void *arg, const struct wire_group_point *p),
			void *arg, struct wire_group_name *out, struct err *err)
{
	char source[WIRE_NAME_MAX + 1], short_name[WIRE_NAME_MAX + 1];
	struct dial_event ev;
	int n, result = 0;

	n = split_name(name, source, short_name, err);
	if (n < 0)
		return n;
	n = dial_group_query(r->dial, source, short_name);
	if (n == -EOPNOTSUPP)
		return no_groups(r, name, err);
	n = remote_asked(r, n, err);
	if (n < 0)
		return n;
	while ((n = next_row(r, DIAL_GROUP_POINT, DIAL_GROUP_END, &ev, err)) >
	       0)
		if (!result)
			result = cb(arg, &ev.group_point);
	if (n == 0)
		*out = ev.group;
	return n < 0 ? n : result;
}
