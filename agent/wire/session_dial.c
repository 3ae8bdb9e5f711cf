// SPDX-License-Identifier: Apache-2.0
/*
 * The end that dialled, as a step machine:
 *	HELLO queued -> ACCEPT -> ready -> BYE, REJECT or a failure: over
 *
 * Requests carry rising numbers; an answer must carry that of the oldest
 * request of its queue and fit what was asked. An acknowledgement must be of
 * this session and of the one commit that is outstanding: one that comes late
 * from elsewhere, or for another point, ends the session and clears nothing.
 *
 * No I/O; one thread. Nothing of it survives a crash, nor should it: a new
 * session asks anew where the replica stands.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "wire/msg.h"
#include "wire/session.h"
#include "wire/session_core.h"
#include "wire/session_dial.h"

DEFINE_CLEANUP(struct dial, dial_free)

struct dial *dial_new(const struct wire_hello *hello)
{
	_cleanup_(dial_freep) struct dial *d = calloc(1, sizeof(*d));
	struct msg m = { .type = MSG_HELLO, .request = 1 };

	if (!d)
		return NULL;
	splitter_init(&d->core.in, WIRE_MAX_PRE_ACCEPT_BYTES,
		      msg_limit_at_dialler);
	d->role = hello->role;
	d->hello_request = d->core.last_request = m.request;
	m.u.hello = *hello;
	m.u.hello.version_min = WIRE_VERSION_MIN;
	m.u.hello.version_max = WIRE_VERSION_MAX;
	m.u.hello.features = WIRE_FEATURES;
	return msg_encode(&d->core.out, &m) ? NULL : TAKE_PTR(d);
}

/* What is left of a key once everything queued is sent. */
static void wipe_out(struct dial *d)
{
	struct buf *out = &d->core.out;

	if (!d->secret_in_out || out->len || !out->data)
		return;
	OPENSSL_cleanse(out->data, out->cap);
	d->secret_in_out = false;
}

void dial_free(struct dial *d)
{
	if (!d)
		return;
	buf_reset(&d->core.out);
	wipe_out(d);
	buf_free(&d->core.out);
	splitter_free(&d->core.in);
	free(d);
}

struct buf *dial_out(struct dial *d)
{
	wipe_out(d);
	return &d->core.out;
}

bool dial_knows(const struct dial *d, uint64_t feature)
{
	return d->features & feature;
}

/* ---- what the owner asks for ---- */

int dial_check_ready(const struct dial *d, enum wire_role role)
{
	if (d->core.over || d->core.closing)
		return -ESHUTDOWN;
	return d->accepted && d->role == role ? 0 : -ENOTCONN;
}

static int check_volume(const struct dial *d)
{
	int r = dial_check_ready(d, WIRE_ROLE_SENDER);

	if (!r && d->core.volume.state != VOLUME_OPEN)
		r = -ENOTCONN;
	return r;
}

int dial_tell(struct dial *d, struct msg *m)
{
	m->request = 0;
	return msg_encode(&d->core.out, m);
}

int dial_ask(struct dial *d, struct msg *m, const struct req *about)
{
	struct session_core *s = &d->core;
	struct req *req;
	int r;

	if (s->pending.n == WIRE_MAX_PENDING)
		return -EBUSY;
	m->request = s->last_request + 1;
	r = msg_encode(&s->out, m);
	if (r < 0)
		return r;
	s->last_request++;
	req = req_push(&s->pending, about->what, m->request);
	req->handle = about->handle;
	req->first = req->next = about->first;
	req->count = about->count;
	return 0;
}

int dial_volume_open(struct dial *d, const struct wire_volume_open *v)
{
	struct msg m = { .type = MSG_VOLUME_OPEN, .u.volume_open = *v };
	int r = dial_check_ready(d, WIRE_ROLE_SENDER);

	if (r < 0)
		return r;
	if (d->core.volume.state != VOLUME_NONE)
		return -EBUSY;
	r = dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_VOLUME });
	if (!r)
		volume_ask(&d->core.volume, v);
	return r;
}

int dial_point_begin(struct dial *d, const struct delta *delta)
{
	struct session_volume *v = &d->core.volume;
	struct msg m = { .type = MSG_POINT_BEGIN, .handle = v->handle,
			 .u.delta = *delta };
	int r = check_volume(d);

	if (r < 0)
		return r;
	if (volume_judge_begin(v, delta))
		return -EINVAL;
	r = dial_tell(d, &m);
	if (!r)
		volume_begin(v, delta);
	return r;
}

int dial_units(struct dial *d, const uint8_t *p, size_t n)
{
	struct session_volume *v = &d->core.volume;
	struct msg m = { .type = MSG_UNITS, .handle = v->handle,
			 .u.bytes = { p, n } };
	uint64_t n_units;
	int r = check_volume(d);

	if (r < 0)
		return r;
	if (volume_judge_units(v, p, n, &n_units))
		return -EINVAL;
	r = dial_tell(d, &m);
	if (!r)
		v->units += n_units;
	return r;
}

int dial_fp_query(struct dial *d, uint64_t first, uint32_t count)
{
	struct session_volume *v = &d->core.volume;
	struct msg m = { .type = MSG_FP_QUERY, .handle = v->handle,
			 .u.range = { first, count } };
	int r = check_volume(d);

	if (r < 0)
		return r;
	if (count > WIRE_MAX_FP_BLOCKS ||
	    !range_inside(first, count, v->n_blocks))
		return -EINVAL;
	return dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_FPS,
					 .first = first, .count = count });
}

int dial_verify(struct dial *d, bool fresh, const struct wire_extent *e,
		uint32_t n)
{
	struct session_volume *v = &d->core.volume;
	uint8_t extents[WIRE_MAX_VERIFY_BLOCKS * WIRE_EXTENT_BYTES];
	struct msg m = { .type = MSG_VERIFY, .handle = v->handle,
			 .u.verify = { fresh, 0, n, extents } };
	struct req about = { .what = WIRE_REQ_VERIFY };
	int r = check_volume(d);

	if (!r)
		r = dial_knows(d, WIRE_FEATURE_VERIFY) ? 0 : -EOPNOTSUPP;
	if (!r)
		r = volume_put_extents(v, e, n, extents, &about.count);
	return r ? r : dial_ask(d, &m, &about);
}

int dial_commit(struct dial *d, const struct wire_commit *c)
{
	struct session_core *s = &d->core;
	struct msg m = { .type = MSG_COMMIT, .handle = s->volume.handle,
			 .request = s->last_request + 1, .u.commit = *c };
	int r = check_volume(d);

	if (r < 0)
		return r;
	if (s->volume.commit.outstanding)
		return -EBUSY;
	if (!uuid_is_zero(&c->group.uuid))
		m.type = MSG_GROUP_COMMIT;
	if (m.type == MSG_GROUP_COMMIT && !dial_knows(d, WIRE_FEATURE_GROUPS))
		return -EOPNOTSUPP;
	m.u.commit.units = s->volume.units;
	if (volume_judge_commit(&s->volume, &m.u.commit))
		return -EINVAL;
	r = msg_encode(&s->out, &m);
	if (r < 0)
		return r;
	s->last_request++;
	volume_commit(&s->volume, c, m.request);
	return 0;
}

int dial_confirm(struct dial *d, uint64_t epoch, uint64_t seq,
		 int64_t wall_ns)
{
	struct session_volume *v = &d->core.volume;
	struct msg m = { .type = MSG_CONFIRM, .handle = v->handle,
			 .u.confirm = { epoch, seq, wall_ns } };
	int r = check_volume(d);

	if (r < 0)
		return r;
	if (v->commit.outstanding)
		return -EBUSY;
	return volume_judge_confirm(v, seq) ? -EINVAL : dial_tell(d, &m);
}

int dial_discard(struct dial *d)
{
	struct session_volume *v = &d->core.volume;
	struct msg m = { .type = MSG_DISCARD, .handle = v->handle };
	int r = check_volume(d);

	if (!r)
		r = dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_DISCARD });
	if (!r)
		volume_discard(v);
	return r;
}

int dial_escrow(struct dial *d, const char *text, size_t len)
{
	struct msg m = { .type = MSG_ESCROW,
			 .handle = d->core.volume.handle,
			 .u.bytes = { (const uint8_t *)text, len } };
	int r = check_volume(d);

	if (!r)
		r = dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_ESCROW });
	if (!r)
		d->secret_in_out = true;
	return r;
}

int dial_ping(struct dial *d)
{
	struct session_core *s = &d->core;
	struct msg m = { .type = MSG_PING, .request = s->last_request + 1 };
	int r = dial_check_ready(d, d->role);

	if (r < 0)
		return r;
	if (d->pings.n == WIRE_MAX_PENDING)
		return -EBUSY;
	r = msg_encode(&s->out, &m);
	if (r < 0)
		return r;
	s->last_request++;
	(void)req_push(&d->pings, WIRE_REQ_NONE, m.request);
	return 0;
}

int dial_bye(struct dial *d)
{
	int r;

	if (d->core.over || d->core.closing)
		return -ESHUTDOWN;
	r = session_queue_error(&d->core, MSG_BYE, 0, NULL);
	if (!r)
		d->core.closing = true;
	return r;
}

/* ---- what comes back ---- */

static int refuse(struct dial *d, const struct msg *m, const char *why,
		  struct err *err)
{
	return session_fail(&d->core, MSG_BYE, err, "%s: %s",
			    msg_name(m->type), why);
}

/* The request that m answers when it is of this kind, else NULL. */
static struct req *answered(struct dial *d, const struct msg *m,
			    enum wire_request what)
{
	struct req *req = req_first(&d->core.pending);

	return req && req->what == what && req->id == m->request ? req : NULL;
}

static int take_accept(struct dial *d, const struct msg *m,
		       struct dial_event *ev, struct err *err)
{
	const struct wire_accept *a = &m->u.accept;

	if (d->accepted || m->request != d->hello_request)
		return refuse(d, m, "out of place", err);
	if (a->version < WIRE_VERSION_MIN || a->version > WIRE_VERSION_MAX ||
	    (a->features & ~WIRE_FEATURES))
		return refuse(d, m, "version or features not offered", err);
	d->accepted = true;
	d->session = a->session;
	d->features = a->features;
	splitter_lift(&d->core.in);
	ev->type = DIAL_ACCEPTED;
	ev->accept = *a;
	return 0;
}

static int take_end(struct dial *d, const struct msg *m,
		    struct dial_event *ev, struct err *err)
{
	if (m->type == MSG_REJECT && d->accepted)
		return refuse(d, m, "after acceptance", err);
	d->core.over = true;
	ev->type = m->type == MSG_REJECT ? DIAL_REJECTED : DIAL_BYE;
	ev->error = m->u.error;
	return 0;
}

static int take_volume(struct dial *d, const struct msg *m,
		       struct dial_event *ev, struct err *err)
{
	if (!answered(d, m, WIRE_REQ_VOLUME))
		return refuse(d, m, "not asked for", err);
	req_pop(&d->core.pending);
	if (m->type == MSG_REFUSE) {
		d->core.volume.state = VOLUME_NONE;
		ev->type = DIAL_REFUSED;
		ev->error = m->u.error;
		return 0;
	}
	ev->type = DIAL_VOLUME;
	ev->volume = m->u.volume;
	ev->volume.handle = m->handle;
	volume_opened(&d->core.volume, &ev->volume);
	return 0;
}

static int take_fps(struct dial *d, const struct msg *m, struct dial_event *ev,
		    struct err *err)
{
	struct req *req = answered(d, m, WIRE_REQ_FPS);

	if (!req || m->handle != d->core.volume.handle)
		return refuse(d, m, "not asked for", err);
	if (m->u.fps.first != req->first || m->u.fps.count != req->count)
		return refuse(d, m, "of another range than asked for", err);
	req_pop(&d->core.pending);
	ev->type = DIAL_FPS;
	ev->first = m->u.fps.first;
	ev->count = m->u.fps.count;
	ev->fps = m->u.fps.fps;
	return 0;
}

static int take_verified(struct dial *d, const struct msg *m,
			 struct dial_event *ev, struct err *err)
{
	struct req *req = answered(d, m, WIRE_REQ_VERIFY);
	const struct msg_verified *v = &m->u.verified;

	if (!req || m->handle != d->core.volume.handle ||
	    v->count != req->count)
		return refuse(d, m, "not asked for", err);
	req_pop(&d->core.pending);
	ev->type = DIAL_VERIFIED;
	ev->epoch = v->epoch;
	ev->seq = v->seq;
	ev->count = v->count;
	ev->held = v->held;
	return 0;
}

static int take_ack(struct dial *d, const struct msg *m, struct dial_event *ev,
		    struct err *err)
{
	struct session_volume *v = &d->core.volume;
	const struct wire_ack *a = &m->u.ack;

	if (!v->commit.outstanding || m->request != v->commit.id ||
	    m->handle != v->handle)
		return refuse(d, m, "no such commit is outstanding", err);
	if (!uuid_equal(&a->session, &d->session))
		return refuse(d, m, "of another session", err);
	if (a->epoch != v->commit.epoch || a->seq != v->commit.seq)
		return refuse(d, m, "of another point", err);
	v->commit.outstanding = false;
	ev->type = DIAL_ACK;
	ev->ack = *a;
	return 0;
}

static int take_point(struct dial *d, const struct msg *m,
		      struct dial_event *ev, struct err *err)
{
	if (!answered(d, m, WIRE_REQ_POINTS))
		return refuse(d, m, "not asked for", err);
	ev->type = DIAL_POINT;
	if (m->type != MSG_POINTS_END) {
		ev->point = m->u.point;
		return 0;
	}
	req_pop(&d->core.pending);
	ev->type = DIAL_POINTS_END;
	return 0;
}

static int take_group(struct dial *d, const struct msg *m,
		      struct dial_event *ev, struct err *err)
{
	if (!answered(d, m, WIRE_REQ_GROUP))
		return refuse(d, m, "not asked for", err);
	if (m->type == MSG_GROUP_POINT) {
		ev->type = DIAL_GROUP_POINT;
		ev->group_point = m->u.group_point;
		return 0;
	}
	req_pop(&d->core.pending);
	ev->type = DIAL_GROUP_END;
	ev->group = m->u.group_end;
	return 0;
}

static int take_view(struct dial *d, const struct msg *m,
		     struct dial_event *ev, struct err *err)
{
	if (!answered(d, m, WIRE_REQ_VIEW))
		return refuse(d, m, "not asked for", err);
	ev->type = DIAL_VIEW;
	ev->view = m->u.view;
	ev->view.handle = m->handle;
	if (!view_add(&d->core.views, &ev->view))
		return refuse(d, m, "its handle is in use", err);
	req_pop(&d->core.pending);
	return 0;
}

static int take_piece(struct dial *d, const struct msg *m,
		      struct dial_event *ev, struct err *err)
{
	struct req *req = answered(d, m, WIRE_REQ_READ);
	const char *why;

	if (!req || req->handle != m->handle)
		return refuse(d, m, "not asked for", err);
	/* No view is closed while a read of it is unanswered. */
	why = piece_judge(&m->u.piece, req,
			  view_find(&d->core.views, m->handle));
	if (why)
		return refuse(d, m, why, err);
	req->next += m->u.piece.count;
	ev->type = DIAL_PIECE;
	ev->piece = m->u.piece;
	return 0;
}

static int take_read_end(struct dial *d, const struct msg *m,
			 struct dial_event *ev, struct err *err)
{
	struct req *req = answered(d, m, WIRE_REQ_READ);

	if (!req || req->handle != m->handle ||
	    m->u.range.first != req->first || m->u.range.count != req->count)
		return refuse(d, m, "not asked for", err);
	if (req->next != req->first + req->count)
		return refuse(d, m, "pieces are missing", err);
	ev->type = DIAL_READ_END;
	ev->first = req->first;
	ev->count = req->count;
	req_pop(&d->core.pending);
	return 0;
}

static int take_error(struct dial *d, const struct msg *m,
		      struct dial_event *ev, struct err *err)
{
	struct req *req = req_first(&d->core.pending);

	/* A volume is refused with REFUSE. */
	if (!req || req->id != m->request || req->what == WIRE_REQ_VOLUME)
		return refuse(d, m, "not asked for", err);
	ev->type = DIAL_ERROR;
	ev->error = m->u.error;
	ev->request = req->what;
	ev->first = req->first;
	ev->count = req->count;
	req_pop(&d->core.pending);
	return 0;
}

static int take_done(struct dial *d, const struct msg *m,
		     struct dial_event *ev, struct err *err)
{
	struct req *req = req_first(&d->core.pending);

	if (!req || req->id != m->request ||
	    (req->what != WIRE_REQ_DISCARD && req->what != WIRE_REQ_ESCROW))
		return refuse(d, m, "not asked for", err);
	ev->type = DIAL_DONE;
	ev->request = req->what;
	req_pop(&d->core.pending);
	return 0;
}

static int take_pong(struct dial *d, const struct msg *m,
		     struct dial_event *ev, struct err *err)
{
	struct req *ping = req_first(&d->pings);

	if (!ping || ping->id != m->request)
		return refuse(d, m, "not asked for", err);
	req_pop(&d->pings);
	ev->type = DIAL_PONG;
	return 0;
}

static int take(struct dial *d, const struct msg *m, struct dial_event *ev,
		struct err *err)
{
	if (!d->accepted && m->type != MSG_ACCEPT && m->type != MSG_REJECT &&
	    m->type != MSG_BYE)
		return refuse(d, m, "before acceptance", err);
	switch ((int)m->type) {
	case MSG_ACCEPT:
		return take_accept(d, m, ev, err);
	case MSG_REJECT:
	case MSG_BYE:
		return take_end(d, m, ev, err);
	case MSG_VOLUME:
	case MSG_REFUSE:
		return take_volume(d, m, ev, err);
	case MSG_FPS:
		return take_fps(d, m, ev, err);
	case MSG_VERIFIED:
		return take_verified(d, m, ev, err);
	case MSG_ACK:
		return take_ack(d, m, ev, err);
	case MSG_POINT:
	case MSG_MEMBER_POINT:
	case MSG_POINTS_END:
		return take_point(d, m, ev, err);
	case MSG_GROUP_POINT:
	case MSG_GROUP_END:
		return take_group(d, m, ev, err);
	case MSG_VIEW:
		return take_view(d, m, ev, err);
	case MSG_PIECE:
		return take_piece(d, m, ev, err);
	case MSG_READ_END:
		return take_read_end(d, m, ev, err);
	case MSG_ERROR:
		return take_error(d, m, ev, err);
	case MSG_DONE:
		return take_done(d, m, ev, err);
	case MSG_PONG:
		return take_pong(d, m, ev, err);
	}
	return refuse(d, m, "not for this end", err);
}

/* The next message: 0, 1 for none yet, or the session is over. */
static int next_msg(struct dial *d, struct msg *m, struct err *err)
{
	struct frame f;
	int r;

	do {
		r = splitter_next(&d->core.in, &f, err);
		if (r > 0)
			return 1;
		if (r < 0) {
			err_copy(&d->core.err, &d->core.in.err);
			return session_fail(&d->core, MSG_BYE, err, "%s", "");
		}
		if (!d->accepted && !msg_is_known(f.h.type))
			return session_fail(&d->core, MSG_BYE, err,
					    "unknown message before "
					    "acceptance: type=%u", f.h.type);
	} while (!msg_is_known(f.h.type));
	if (msg_decode(&f, m) < 0)
		return session_fail(&d->core, MSG_BYE, err, "%s: malformed",
				    msg_name((enum msg_type)f.h.type));
	return 0;
}

int dial_feed(struct dial *d, const uint8_t *p, size_t n, struct err *err)
{
	if (d->core.err.num)
		return session_broken(&d->core, err);
	if (d->core.over)
		return 0;
	if (splitter_feed(&d->core.in, p, n, err) < 0) {
		err_copy(&d->core.err, &d->core.in.err);
		return session_fail(&d->core, MSG_BYE, err, "%s", "");
	}
	return 0;
}

int dial_next(struct dial *d, struct dial_event *ev, struct err *err)
{
	struct msg m;
	int r;

	memset(ev, 0, sizeof(*ev));
	if (d->core.err.num)
		return session_broken(&d->core, err);
	if (d->core.over)
		return 1;
	r = next_msg(d, &m, err);
	return r ? r : take(d, &m, ev, err);
}
