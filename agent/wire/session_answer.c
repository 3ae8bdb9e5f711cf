// SPDX-License-Identifier: Apache-2.0
/*
 * What the owner of the accepting end answers. Each answer is held against the
 * oldest request: of its kind, its range, its view. A mistake is refused here
 * and leaves no byte, so that the peer never has to end a session for it.
 *
 * No I/O; the session's thread.
 */
#include <errno.h>

#include "base/checked.h"
#include "wire/msg.h"
#include "wire/session_end.h"

static int answer(struct serve *s, struct msg *m, uint64_t request)
{
	m->request = request;
	return msg_encode(&s->core.out, m);
}

/* The oldest request when it is of this kind, else NULL. */
static struct req *asked(struct serve *s, enum wire_request what)
{
	struct req *req = req_first(&s->core.pending);

	return !s->core.over && req && req->what == what ? req : NULL;
}

int serve_flush_done(struct serve *s)
{
	struct req *req;
	int r;

	while ((req = req_first(&s->core.pending)) && req->done) {
		r = answer(s, &(struct msg){ .type = MSG_DONE }, req->id);
		if (r < 0)
			return r;
		req_pop(&s->core.pending);
	}
	return 0;
}

static int answered(struct serve *s)
{
	req_pop(&s->core.pending);
	return serve_flush_done(s);
}

static int check_rights(const struct serve *s, uint32_t rights)
{
	switch (s->hello.role) {
	case WIRE_ROLE_SENDER:
		return rights & WIRE_RIGHT_PUSH ? 0 : -EACCES;
	case WIRE_ROLE_READER:
		return rights & WIRE_RIGHT_READ ? 0 : -EACCES;
	case WIRE_ROLE_RECEIVER:
		break;
	}
	return -EOPNOTSUPP;
}

int serve_accept(struct serve *s, const struct wire_accept *a)
{
	struct msg m = { .type = MSG_ACCEPT, .u.accept = *a };
	uint16_t best = MIN(s->hello.version_max, (uint16_t)WIRE_VERSION_MAX);
	int r;

	if (s->core.over || s->phase != WAIT_OWNER)
		return -EINVAL;
	r = check_rights(s, a->rights);
	if (r < 0)
		return r;
	if (!m.u.accept.version)
		m.u.accept.version = best;
	if (m.u.accept.version > best ||
	    m.u.accept.version < MAX(s->hello.version_min,
				     (uint16_t)WIRE_VERSION_MIN))
		return -EINVAL;
	m.u.accept.features &= s->hello.features & WIRE_FEATURES;
	r = answer(s, &m, s->hello_request);
	if (r < 0)
		return r;
	s->session = a->session;
	s->features = m.u.accept.features;
	s->phase = READY;
	splitter_lift(&s->core.in);
	return 0;
}

static int last_words(struct serve *s, enum msg_type type, uint64_t request,
		      const struct wire_error *e)
{
	int r;

	if (s->core.over)
		return -ESHUTDOWN;
	r = session_queue_error(&s->core, type, request, e);
	if (!r)
		s->core.over = s->core.closing = true;
	return r;
}

int serve_reject(struct serve *s, const struct wire_error *e)
{
	return s->phase == WAIT_OWNER ?
		       last_words(s, MSG_REJECT, s->hello_request, e) :
		       -EINVAL;
}

int serve_bye(struct serve *s, const struct wire_error *e)
{
	return last_words(s, s->phase == READY ? MSG_BYE : MSG_REJECT, 0, e);
}

int serve_volume(struct serve *s, const struct wire_volume_state *v)
{
	struct msg m = { .type = MSG_VOLUME, .handle = v->handle,
			 .u.volume = *v };
	struct req *req = asked(s, WIRE_REQ_VOLUME);
	int r;

	if (!req)
		return -EINVAL;
	r = answer(s, &m, req->id);
	if (r < 0)
		return r;
	volume_opened(&s->core.volume, v);
	return answered(s);
}

int serve_refuse(struct serve *s, const struct wire_error *e)
{
	struct req *req = asked(s, WIRE_REQ_VOLUME);
	int r;

	if (!req)
		return -EINVAL;
	r = session_queue_error(&s->core, MSG_REFUSE, req->id, e);
	if (r < 0)
		return r;
	s->core.volume.state = VOLUME_NONE;
	return answered(s);
}

int serve_fps(struct serve *s, uint64_t first, uint32_t count,
	      const uint8_t *fps)
{
	struct msg m = { .type = MSG_FPS, .handle = s->core.volume.handle,
			 .u.fps = { first, count, fps } };
	struct req *req = asked(s, WIRE_REQ_FPS);
	int r;

	if (!req || req->first != first || req->count != count)
		return -EINVAL;
	r = answer(s, &m, req->id);
	return r < 0 ? r : answered(s);
}

int serve_verified(struct serve *s, uint64_t epoch, uint64_t seq,
		   uint32_t count, const uint8_t *held)
{
	struct msg m = { .type = MSG_VERIFIED,
			 .handle = s->core.volume.handle,
			 .u.verified = { epoch, seq, count, held } };
	struct req *req = asked(s, WIRE_REQ_VERIFY);
	int r;

	if (!req || req->count != count)
		return -EINVAL;
	r = answer(s, &m, req->id);
	return r < 0 ? r : answered(s);
}

int serve_ack(struct serve *s, const struct wire_ack *a)
{
	struct session_volume *v = &s->core.volume;
	struct msg m = { .type = MSG_ACK, .handle = v->handle, .u.ack = *a };
	int r;

	if (s->core.over || !v->commit.outstanding ||
	    a->epoch != v->commit.epoch || a->seq != v->commit.seq)
		return -EINVAL;
	m.u.ack.session = s->session;
	r = answer(s, &m, v->commit.id);
	if (!r)
		v->commit.outstanding = false;
	return r;
}

int serve_point(struct serve *s, const struct wire_point *p)
{
	struct msg m = { .type = MSG_POINT, .u.point = *p };
	struct req *req = asked(s, WIRE_REQ_POINTS);

	/* To a peer that does not know groups it is a point like any other. */
	if (!uuid_is_zero(&p->group.uuid) &&
	    serve_knows(s, WIRE_FEATURE_GROUPS))
		m.type = MSG_MEMBER_POINT;
	return req ? answer(s, &m, req->id) : -EINVAL;
}

int serve_points_end(struct serve *s)
{
	struct msg m = { .type = MSG_POINTS_END };
	struct req *req = asked(s, WIRE_REQ_POINTS);
	int r;

	if (!req)
		return -EINVAL;
	r = answer(s, &m, req->id);
	return r < 0 ? r : answered(s);
}

int serve_group_point(struct serve *s, const struct wire_group_point *p)
{
	struct msg m = { .type = MSG_GROUP_POINT, .u.group_point = *p };
	struct req *req = asked(s, WIRE_REQ_GROUP);

	return req ? answer(s, &m, req->id) : -EINVAL;
}

int serve_group_end(struct serve *s, const struct wire_group_name *g)
{
	struct msg m = { .type = MSG_GROUP_END, .u.group_end = *g };
	struct req *req = asked(s, WIRE_REQ_GROUP);
	int r;

	if (!req)
		return -EINVAL;
	r = answer(s, &m, req->id);
	return r < 0 ? r : answered(s);
}

int serve_view(struct serve *s, const struct wire_view_state *v)
{
	struct msg m = { .type = MSG_VIEW, .handle = v->handle, .u.view = *v };
	struct req *req = asked(s, WIRE_REQ_VIEW);
	int r;

	if (!req || view_find(&s->core.views, v->handle))
		return -EINVAL;
	r = answer(s, &m, req->id);
	if (r < 0)
		return r;
	/* There is room: VIEW_OPEN was held against the limit. */
	(void)view_add(&s->core.views, v);
	return answered(s);
}

int serve_piece(struct serve *s, const struct wire_piece *p)
{
	struct req *req = asked(s, WIRE_REQ_READ);
	struct msg m = { .type = MSG_PIECE, .u.piece = *p };
	int r;

	if (!req ||
	    piece_judge(p, req, view_find(&s->core.views, req->handle)))
		return -EINVAL;
	m.handle = req->handle;
	r = answer(s, &m, req->id);
	if (!r)
		req->next += p->count;
	return r;
}

int serve_read_end(struct serve *s, uint64_t first, uint32_t count)
{
	struct req *req = asked(s, WIRE_REQ_READ);
	struct msg m = { .type = MSG_READ_END, .u.range = { first, count } };
	int r;

	if (!req || req->first != first || req->count != count ||
	    req->next != first + count)
		return -EINVAL;
	m.handle = req->handle;
	r = answer(s, &m, req->id);
	return r < 0 ? r : answered(s);
}

int serve_error(struct serve *s, const struct wire_error *e)
{
	struct req *req = req_first(&s->core.pending);
	int r;

	if (s->core.over || !req || req->what == WIRE_REQ_VOLUME)
		return -EINVAL;
	r = session_queue_error(&s->core, MSG_ERROR, req->id, e);
	if (r < 0)
		return r;
	if (s->implied == req->id)
		s->implied = 0;
	return answered(s);
}
