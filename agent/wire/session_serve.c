// SPDX-License-Identifier: Apache-2.0
/*
 * The end that accepted, as a step machine.
 *
 *	(nothing) -> HELLO -> the owner accepts -> ready -> BYE or a failure
 *
 * Before the owner has accepted, a peer may send one HELLO and nothing else.
 * After that each message is held against the role of the session, the handle
 * given out, the rising number of requests, and the state of the volume: units
 * only inside a begun point of this volume and epoch, whole and inside its
 * size; one commit at a time, of the point that is begun, with as many units
 * as came. Whether an epoch is too old is for the store to say.
 *
 * No I/O; one thread; nothing of it survives a crash.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "wire/msg.h"
#include "wire/session.h"
#include "wire/session_core.h"
#include "wire/session_end.h"

struct serve *serve_new(void)
{
	struct serve *s = calloc(1, sizeof(*s));

	if (s)
		splitter_init(&s->core.in, WIRE_MAX_PRE_ACCEPT_BYTES,
			      msg_limit_at_acceptor);
	return s;
}

static void wipe_secret(struct serve *s)
{
	if (s->wipe)
		splitter_wipe_taken(&s->core.in);
	s->wipe = false;
}

void serve_free(struct serve *s)
{
	if (!s)
		return;
	wipe_secret(s);
	buf_free(&s->core.out);
	splitter_free(&s->core.in);
	free(s);
}

struct buf *serve_out(struct serve *s)
{
	return &s->core.out;
}

static int fail(struct serve *s, struct err *err, const char *what,
		const char *why)
{
	return session_fail(&s->core, s->phase == READY ? MSG_BYE : MSG_REJECT,
			    err, "%s%s%s", what, *why ? ": " : "", why);
}

/* ---- what comes in ---- */

static int refuse(struct serve *s, const struct msg *m, const char *why,
		  struct err *err)
{
	return fail(s, err, msg_name(m->type), why);
}

/* Remembers a request until it is answered. */
static struct req *expect(struct serve *s, const struct msg *m,
			  enum wire_request what)
{
	return req_push(&s->core.pending, what, m->request);
}

static const char too_many[] = "too many requests are unanswered";
static const char not_agreed[] = "a feature that was not agreed upon";

bool serve_knows(const struct serve *s, uint64_t feature)
{
	return s->features & feature;
}

static int take_hello(struct serve *s, const struct msg *m,
		      struct serve_event *ev, struct err *err)
{
	const struct wire_hello *h = &m->u.hello;

	if (s->phase != WAIT_HELLO)
		return refuse(s, m, "a second one", err);
	if (h->version_min > WIRE_VERSION_MAX ||
	    h->version_max < WIRE_VERSION_MIN) {
		(void)err_set(&s->core.err, -EPROTONOSUPPORT, "version",
			      "session",
			      "no common version: theirs=%u..%u ours=%u..%u",
			      h->version_min, h->version_max, WIRE_VERSION_MIN,
			      WIRE_VERSION_MAX);
		(void)err_remedy(&s->core.err, "upgrade the older end");
		return fail(s, err, "", "");
	}
	s->hello = *h;
	s->hello_request = m->request;
	s->phase = WAIT_OWNER;
	ev->type = SERVE_HELLO;
	ev->hello = *h;
	return 0;
}

static int take_volume_open(struct serve *s, const struct msg *m,
			    struct serve_event *ev, struct err *err)
{
	if (s->core.volume.state != VOLUME_NONE)
		return refuse(s, m, "one is open in this session", err);
	if (!expect(s, m, WIRE_REQ_VOLUME))
		return refuse(s, m, too_many, err);
	volume_ask(&s->core.volume, &m->u.volume_open);
	ev->type = SERVE_VOLUME_OPEN;
	ev->volume_open = m->u.volume_open;
	return 0;
}

static int take_begin(struct serve *s, const struct msg *m,
		      struct serve_event *ev, struct err *err)
{
	const char *why = volume_judge_begin(&s->core.volume, &m->u.delta);

	if (why)
		return refuse(s, m, why, err);
	volume_begin(&s->core.volume, &m->u.delta);
	ev->type = SERVE_POINT_BEGIN;
	ev->delta = m->u.delta;
	return 0;
}

static int take_units(struct serve *s, const struct msg *m,
		      struct serve_event *ev, struct err *err)
{
	uint64_t n_units;
	const char *why = volume_judge_units(&s->core.volume, m->u.bytes.p,
					     m->u.bytes.n, &n_units);

	if (why)
		return refuse(s, m, why, err);
	s->core.volume.units += n_units;
	ev->type = SERVE_UNITS;
	ev->bytes = m->u.bytes.p;
	ev->n_bytes = m->u.bytes.n;
	return 0;
}

static int take_fp_query(struct serve *s, const struct msg *m,
			 struct serve_event *ev, struct err *err)
{
	struct req *req;

	if (m->u.range.count > WIRE_MAX_FP_BLOCKS ||
	    !range_inside(m->u.range.first, m->u.range.count,
			  s->core.volume.n_blocks))
		return refuse(s, m, "outside the volume, or too many", err);
	req = expect(s, m, WIRE_REQ_FPS);
	if (!req)
		return refuse(s, m, too_many, err);
	ev->type = SERVE_FP_QUERY;
	ev->first = req->first = m->u.range.first;
	ev->count = req->count = m->u.range.count;
	return 0;
}

static int take_verify(struct serve *s, const struct msg *m,
		       struct serve_event *ev, struct err *err)
{
	const struct msg_verify *v = &m->u.verify;
	struct req *req;
	uint32_t i;

	if (!serve_knows(s, WIRE_FEATURE_VERIFY))
		return refuse(s, m, not_agreed, err);
	for (i = 0; i < v->n_extents; i++) {
		struct wire_extent e = wire_extent_get(v->extents, i);

		if (!range_inside(e.first, e.count, s->core.volume.n_blocks))
			return refuse(s, m, "outside the volume", err);
	}
	req = expect(s, m, WIRE_REQ_VERIFY);
	if (!req)
		return refuse(s, m, too_many, err);
	ev->type = SERVE_VERIFY;
	ev->fresh = v->fresh;
	ev->bytes = v->extents;
	ev->n_bytes = (size_t)v->n_extents * WIRE_EXTENT_BYTES;
	ev->count = req->count = v->n_blocks;
	return 0;
}

/* COMMIT, and the same of a group's member. */
static int take_commit(struct serve *s, const struct msg *m,
		       struct serve_event *ev, struct err *err)
{
	const char *why = volume_judge_commit(&s->core.volume, &m->u.commit);

	if (m->type == MSG_GROUP_COMMIT && !serve_knows(s, WIRE_FEATURE_GROUPS))
		why = not_agreed;
	if (why)
		return refuse(s, m, why, err);
	volume_commit(&s->core.volume, &m->u.commit, m->request);
	ev->type = SERVE_COMMIT;
	ev->commit = m->u.commit;
	return 0;
}

static int take_confirm(struct serve *s, const struct msg *m,
			struct serve_event *ev, struct err *err)
{
	const char *why = volume_judge_confirm(&s->core.volume,
					       m->u.confirm.seq);

	if (why)
		return refuse(s, m, why, err);
	ev->type = SERVE_CONFIRM;
	ev->epoch = m->u.confirm.epoch;
	ev->seq = m->u.confirm.seq;
	ev->wall_ns = m->u.confirm.wall_ns;
	return 0;
}

/* DISCARD and ESCROW. */
static int take_implied(struct serve *s, const struct msg *m,
			struct serve_event *ev, struct err *err)
{
	bool escrow = m->type == MSG_ESCROW;

	if (!expect(s, m, escrow ? WIRE_REQ_ESCROW : WIRE_REQ_DISCARD))
		return refuse(s, m, too_many, err);
	s->implied = m->request;
	ev->type = escrow ? SERVE_ESCROW : SERVE_DISCARD;
	if (escrow) {
		s->wipe = true;
		ev->bytes = m->u.bytes.p;
		ev->n_bytes = m->u.bytes.n;
	} else {
		volume_discard(&s->core.volume);
	}
	return 0;
}

/* POINTS_QUERY, and of a group. */
static int take_points_query(struct serve *s, const struct msg *m,
			     struct serve_event *ev, struct err *err)
{
	bool group = m->type == MSG_GROUP_QUERY;

	if (group && !serve_knows(s, WIRE_FEATURE_GROUPS))
		return refuse(s, m, not_agreed, err);
	if (!expect(s, m, group ? WIRE_REQ_GROUP : WIRE_REQ_POINTS))
		return refuse(s, m, too_many, err);
	ev->type = group ? SERVE_GROUP_QUERY : SERVE_POINTS_QUERY;
	memcpy(ev->source, m->u.points_query.source, sizeof(ev->source));
	memcpy(ev->name, m->u.points_query.name, sizeof(ev->name));
	return 0;
}

static int take_view_open(struct serve *s, const struct msg *m,
			  struct serve_event *ev, struct err *err)
{
	if (view_count(&s->core.views) +
		    req_count(&s->core.pending, WIRE_REQ_VIEW) >=
	    WIRE_MAX_VIEWS)
		return refuse(s, m, "too many views", err);
	if (!expect(s, m, WIRE_REQ_VIEW))
		return refuse(s, m, too_many, err);
	ev->type = SERVE_VIEW_OPEN;
	ev->view_open = m->u.view_open;
	return 0;
}

static int take_view_read(struct serve *s, const struct msg *m,
			  struct serve_event *ev, struct err *err)
{
	struct session_view *view = view_find(&s->core.views, m->handle);
	struct req *req;

	if (!view)
		return refuse(s, m, "no such view", err);
	if (m->u.range.count > WIRE_MAX_READ_BLOCKS ||
	    !range_inside(m->u.range.first, m->u.range.count, view->n_blocks))
		return refuse(s, m, "outside the view, or too many", err);
	req = expect(s, m, WIRE_REQ_READ);
	if (!req)
		return refuse(s, m, too_many, err);
	ev->type = SERVE_VIEW_READ;
	ev->handle = req->handle = m->handle;
	ev->first = req->first = req->next = m->u.range.first;
	ev->count = req->count = m->u.range.count;
	return 0;
}

static int take_view_close(struct serve *s, const struct msg *m,
			   struct serve_event *ev, struct err *err)
{
	struct session_view *view = view_find(&s->core.views, m->handle);

	if (!view || req_has_reads(&s->core.pending, m->handle))
		return refuse(s, m, "no such view, or reads unanswered", err);
	view->used = false;
	ev->type = SERVE_VIEW_CLOSE;
	ev->handle = m->handle;
	return 0;
}

static int take_bye(struct serve *s, const struct msg *m,
		    struct serve_event *ev)
{
	s->core.over = true;
	ev->type = SERVE_BYE;
	ev->error = m->u.error;
	return 0;
}

/* Answered inside: 1, there is no event. */
static int take_ping(struct serve *s, const struct msg *m, struct err *err)
{
	int r = msg_encode(&s->core.out, &(struct msg){ .type = MSG_PONG,
							.request = m->request });

	return r < 0 ? refuse(s, m, "out of memory", err) : 1;
}

/* ---- what every message is held against ---- */

enum about { ABOUT_SESSION, ABOUT_VOLUME, ABOUT_VIEWS, ABOUT_VIEW };

static const struct place {
	enum msg_type type;
	enum about about;
	bool is_request;
} places[] = {
	{ MSG_HELLO, ABOUT_SESSION, true },
	{ MSG_BYE, ABOUT_SESSION, false },
	{ MSG_PING, ABOUT_SESSION, true },
	{ MSG_VOLUME_OPEN, ABOUT_SESSION, true },
	{ MSG_POINT_BEGIN, ABOUT_VOLUME, false },
	{ MSG_UNITS, ABOUT_VOLUME, false },
	{ MSG_FP_QUERY, ABOUT_VOLUME, true },
	{ MSG_VERIFY, ABOUT_VOLUME, true },
	{ MSG_COMMIT, ABOUT_VOLUME, true },
	{ MSG_GROUP_COMMIT, ABOUT_VOLUME, true },
	{ MSG_CONFIRM, ABOUT_VOLUME, false },
	{ MSG_DISCARD, ABOUT_VOLUME, true },
	{ MSG_ESCROW, ABOUT_VOLUME, true },
	{ MSG_POINTS_QUERY, ABOUT_VIEWS, true },
	{ MSG_GROUP_QUERY, ABOUT_VIEWS, true },
	{ MSG_VIEW_OPEN, ABOUT_VIEWS, true },
	{ MSG_VIEW_READ, ABOUT_VIEW, true },
	{ MSG_VIEW_CLOSE, ABOUT_VIEW, false },
};

static const struct place *place_of(enum msg_type type)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		if (places[i].type == type)
			return &places[i];
	return NULL;
}

static const char *judge_role(const struct serve *s, const struct msg *m,
			      enum about about)
{
	bool reader = s->hello.role == WIRE_ROLE_READER;

	switch (about) {
	case ABOUT_SESSION:
		if (m->type == MSG_VOLUME_OPEN && reader)
			return "a reader does not send";
		return m->handle ? "with a handle" : NULL;
	case ABOUT_VOLUME:
		if (s->core.volume.state != VOLUME_OPEN ||
		    m->handle != s->core.volume.handle)
			return "no such volume is open";
		return NULL;
	case ABOUT_VIEWS:
		if (!reader)
			return "a sender does not read";
		return m->handle ? "with a handle" : NULL;
	case ABOUT_VIEW:
		return reader ? NULL : "a sender does not read";
	}
	return "out of place";
}

/* NULL, or what is wrong before the content is looked at. */
static const char *judge(struct serve *s, const struct msg *m)
{
	const struct place *place = place_of(m->type);

	if (!place)
		return "not for this end";
	if (s->phase == WAIT_HELLO && m->type != MSG_HELLO)
		return "before HELLO";
	if (m->request != (place->is_request ? s->core.last_request + 1 : 0))
		return "request out of order";
	if (place->is_request)
		s->core.last_request++;
	return judge_role(s, m, place->about);
}

static int take(struct serve *s, const struct msg *m, struct serve_event *ev,
		struct err *err)
{
	const char *why = judge(s, m);

	if (why)
		return refuse(s, m, why, err);
	switch ((int)m->type) {
	case MSG_HELLO:
		return take_hello(s, m, ev, err);
	case MSG_BYE:
		return take_bye(s, m, ev);
	case MSG_PING:
		return take_ping(s, m, err);
	case MSG_VOLUME_OPEN:
		return take_volume_open(s, m, ev, err);
	case MSG_POINT_BEGIN:
		return take_begin(s, m, ev, err);
	case MSG_UNITS:
		return take_units(s, m, ev, err);
	case MSG_FP_QUERY:
		return take_fp_query(s, m, ev, err);
	case MSG_VERIFY:
		return take_verify(s, m, ev, err);
	case MSG_COMMIT:
	case MSG_GROUP_COMMIT:
		return take_commit(s, m, ev, err);
	case MSG_CONFIRM:
		return take_confirm(s, m, ev, err);
	case MSG_DISCARD:
	case MSG_ESCROW:
		return take_implied(s, m, ev, err);
	case MSG_POINTS_QUERY:
	case MSG_GROUP_QUERY:
		return take_points_query(s, m, ev, err);
	case MSG_VIEW_OPEN:
		return take_view_open(s, m, ev, err);
	case MSG_VIEW_READ:
		return take_view_read(s, m, ev, err);
	case MSG_VIEW_CLOSE:
		return take_view_close(s, m, ev, err);
	}
	return refuse(s, m, "not for this end", err);
}

/* 0 a message, 1 none yet; negative: the session is over. */
static int next_msg(struct serve *s, struct msg *m, struct err *err)
{
	struct frame f;
	int r;

	do {
		r = splitter_next(&s->core.in, &f, err);
		if (r > 0)
			return 1;
		if (r < 0) {
			err_copy(&s->core.err, &s->core.in.err);
			return fail(s, err, "", "");
		}
		if (s->phase != READY && !msg_is_known(f.h.type))
			return fail(s, err, "unknown message",
				    "before acceptance");
	} while (!msg_is_known(f.h.type));
	if (msg_decode(&f, m) < 0)
		return fail(s, err, msg_name((enum msg_type)f.h.type),
			    "malformed");
	return 0;
}

/* The owner came back without an error: what it was given is carried out. */
static int settle(struct serve *s, struct err *err)
{
	struct req *req = req_last(&s->core.pending);

	wipe_secret(s);
	if (!s->implied || s->core.over)
		return 0;
	if (req && req->id == s->implied)
		req->done = true;
	s->implied = 0;
	return serve_flush_done(s) < 0 ? fail(s, err, "DONE", "out of memory") : 0;
}

int serve_feed(struct serve *s, const uint8_t *p, size_t n, struct err *err)
{
	if (s->core.err.num)
		return session_broken(&s->core, err);
	if (s->core.over)
		return 0;
	wipe_secret(s);
	if (splitter_feed(&s->core.in, p, n, err) < 0) {
		err_copy(&s->core.err, &s->core.in.err);
		return fail(s, err, "", "");
	}
	return 0;
}

bool serve_is_midway(const struct serve *s)
{
	return !splitter_is_empty(&s->core.in);
}

int serve_next(struct serve *s, struct serve_event *ev, struct err *err)
{
	struct msg m;
	int r;

	memset(ev, 0, sizeof(*ev));
	if (s->core.err.num)
		return session_broken(&s->core, err);
	r = settle(s, err);
	if (r < 0)
		return r;
	do {
		if (s->core.over)
			return 1;
		if (s->phase == WAIT_OWNER)
			return splitter_is_empty(&s->core.in) ?
				       1 :
				       fail(s, err, "bytes after HELLO",
					    "before acceptance");
		r = next_msg(s, &m, err);
		if (!r)
			r = take(s, &m, ev, err);
		else
			break;
	} while (r > 0);
	return r;
}
