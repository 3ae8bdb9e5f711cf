// SPDX-License-Identifier: Apache-2.0
/*
 * Rules and bookkeeping that the two ends of a session share: requests in
 * order, views, where a volume being sent stands, the end of a session.
 *
 * The judging functions exist once, so that a message one end may queue is a
 * message the other end takes, and the reverse. No I/O; a session belongs to
 * one thread.
 */
#include "wire/session_core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "wire/wiretext.h"

/* ---- requests ---- */

struct req *req_push(struct req_queue *q, enum wire_request what, uint64_t id)
{
	struct req *r;

	if (q->n == WIRE_MAX_PENDING)
		return NULL;
	r = &q->slots[(q->head + q->n++) % WIRE_MAX_PENDING];
	*r = (struct req){ .what = what, .id = id };
	return r;
}

struct req *req_first(struct req_queue *q)
{
	return q->n ? &q->slots[q->head] : NULL;
}

struct req *req_last(struct req_queue *q)
{
	return q->n ? &q->slots[(q->head + q->n - 1) % WIRE_MAX_PENDING] :
		      NULL;
}

void req_pop(struct req_queue *q)
{
	q->head = (q->head + 1) % WIRE_MAX_PENDING;
	q->n--;
}

static const struct req *req_at(const struct req_queue *q, unsigned int i)
{
	return &q->slots[(q->head + i) % WIRE_MAX_PENDING];
}

unsigned int req_count(const struct req_queue *q, enum wire_request what)
{
	unsigned int i, n = 0;

	for (i = 0; i < q->n; i++)
		n += req_at(q, i)->what == what;
	return n;
}

bool req_has_reads(const struct req_queue *q, uint32_t handle)
{
	unsigned int i;

	for (i = 0; i < q->n; i++)
		if (req_at(q, i)->what == WIRE_REQ_READ &&
		    req_at(q, i)->handle == handle)
			return true;
	return false;
}

/* ---- views ---- */

struct session_view *view_find(struct view_table *t, uint32_t handle)
{
	unsigned int i;

	for (i = 0; i < WIRE_MAX_VIEWS; i++)
		if (t->slots[i].used && t->slots[i].handle == handle)
			return &t->slots[i];
	return NULL;
}

struct session_view *view_add(struct view_table *t,
			      const struct wire_view_state *v)
{
	unsigned int i;

	if (view_find(t, v->handle))
		return NULL;
	for (i = 0; i < WIRE_MAX_VIEWS; i++) {
		if (t->slots[i].used)
			continue;
		t->slots[i] = (struct session_view){
			.used = true,
			.handle = v->handle,
			.volume = v->volume,
			.n_blocks = div_up_u64(v->point.size_bytes,
					       US_BLOCK_BYTES),
		};
		return &t->slots[i];
	}
	return NULL;
}

unsigned int view_count(const struct view_table *t)
{
	unsigned int i, n = 0;

	for (i = 0; i < WIRE_MAX_VIEWS; i++)
		n += t->slots[i].used;
	return n;
}

/* ---- a volume being sent ---- */

void volume_ask(struct session_volume *v, const struct wire_volume_open *open)
{
	*v = (struct session_volume){
		.state = VOLUME_ASKED,
		.uuid = open->uuid,
		.epoch = open->epoch,
		.size_bytes = open->size_bytes,
		.n_blocks = div_up_u64(open->size_bytes, US_BLOCK_BYTES),
	};
}

void volume_opened(struct session_volume *v,
		   const struct wire_volume_state *state)
{
	v->state = VOLUME_OPEN;
	v->handle = state->handle;
	v->has_point = state->has_point;
	/* A sequence of another lineage says nothing about ours. */
	if (state->has_point && state->epoch == v->epoch)
		v->newest_seq = state->seq;
}

const char *volume_judge_begin(const struct session_volume *v,
			       const struct delta *d)
{
	if (!uuid_equal(&d->volume, &v->uuid))
		return "of another volume";
	if (d->epoch != v->epoch)
		return "of another epoch";
	if (d->seq <= v->newest_seq)
		return "not after the newest point";
	if (v->begun && d->seq != v->seq)
		return "another point is begun";
	return NULL;
}

int volume_put_extents(const struct session_volume *v,
		       const struct wire_extent *e, uint32_t n, uint8_t *out,
		       uint32_t *total)
{
	uint32_t i;

	*total = 0;
	if (!n || n > WIRE_MAX_VERIFY_BLOCKS)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		if (e[i].count > WIRE_MAX_VERIFY_BLOCKS - *total ||
		    !range_inside(e[i].first, e[i].count, v->n_blocks))
			return -EINVAL;
		*total += e[i].count;
		wire_extent_put(out, i, &e[i]);
	}
	return 0;
}

void volume_begin(struct session_volume *v, const struct delta *d)
{
	v->begun = true;
	v->seq = d->seq;
}

const char *volume_judge_units(const struct session_volume *v,
			       const uint8_t *p, size_t n, uint64_t *n_units)
{
	struct unit_view unit;

	*n_units = 0;
	if (!v->begun)
		return "no point is begun";
	if (!n || n > WIRE_MAX_UNITS_BYTES)
		return "none, or too many";
	while (n) {
		if (unit_parse(p, n, &unit) < 0)
			return "not whole units";
		if (!range_inside(unit.first, unit.count, v->n_blocks))
			return "outside the volume";
		p += unit.total_bytes;
		n -= unit.total_bytes;
		(*n_units)++;
	}
	return NULL;
}

const char *volume_judge_commit(const struct session_volume *v,
				const struct wire_commit *c)
{
	if (v->commit.outstanding)
		return "another one is outstanding";
	if (c->epoch != v->epoch)
		return "of another epoch";
	if (v->begun ? c->seq != v->seq : c->seq <= v->newest_seq)
		return "not the point that is begun";
	if (c->size_bytes != v->size_bytes)
		return "of another size";
	if (c->units != v->units)
		return "units are missing";
	return NULL;
}

void volume_commit(struct session_volume *v, const struct wire_commit *c,
		   uint64_t id)
{
	v->commit.outstanding = true;
	v->commit.id = id;
	v->commit.epoch = c->epoch;
	v->commit.seq = c->seq;
	v->has_point = true;
	v->newest_seq = c->seq;
	v->begun = false;
	v->units = 0;
}

const char *volume_judge_confirm(const struct session_volume *v, uint64_t seq)
{
	if (v->commit.outstanding)
		return "a commit is outstanding";
	/* newest_seq is 0 while the newest point is of another lineage */
	if (!v->has_point || (v->newest_seq && seq != v->newest_seq))
		return "not the newest point";
	return NULL;
}

void volume_discard(struct session_volume *v)
{
	v->begun = false;
	v->units = 0;
}

/* ---- a view being read ---- */

const char *piece_judge(const struct wire_piece *p, const struct req *read,
			const struct session_view *view)
{
	struct unit_view unit;

	if (p->first != read->next || !p->count ||
	    !range_inside(p->first, p->count, read->first + read->count))
		return "not the next one";
	if (p->absent)
		return NULL;
	if (unit_parse(p->unit, p->unit_bytes, &unit) < 0 ||
	    unit.total_bytes != p->unit_bytes)
		return "not a unit";
	if (p->skip >= unit.count || p->count > unit.count - p->skip ||
	    unit.first + p->skip != p->first)
		return "unit of other blocks";
	if (!uuid_equal(&p->delta.volume, &view->volume))
		return "of another volume";
	return NULL;
}

/* ---- the end ---- */

int session_broken(struct session_core *s, struct err *err)
{
	s->over = true;
	if (!s->err.num)
		err_copy(&s->err, &s->in.err);
	if (err && !err->num)
		err_copy(err, &s->err);
	return s->err.num;
}

int session_queue_error(struct session_core *s, enum msg_type type,
			uint64_t request, const struct wire_error *e)
{
	struct msg m = { .type = type, .request = request };

	if (e)
		m.u.error = *e;
	return msg_encode(&s->out, &m);
}

int session_fail(struct session_core *s, enum msg_type last_words,
		 struct err *err, const char *fmt, ...)
{
	char text[256];
	struct wire_error e;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!s->err.num)
		(void)err_set(&s->err, -EPROTO, "protocol", "session", "%s",
			      text);
	wire_error_from_err(&s->err, &e);
	/* Best effort: the session is over whether it can be told or not. */
	if (!s->closing)
		(void)session_queue_error(s, last_words, 0, &e);
	s->closing = true;
	return session_broken(s, err);
}

void wire_error_from_err(const struct err *err, struct wire_error *out)
{
	memset(out, 0, sizeof(*out));
	out->num = err->num > -4096 && err->num < 0 ? err->num : -EIO;
	memcpy(out->code, err->code, sizeof(out->code) - 1);
	if (!wiretext_is_slug(out->code))
		(void)snprintf(out->code, sizeof(out->code), "failed");
	memcpy(out->message, err->message, sizeof(out->message) - 1);
	memcpy(out->remedy, err->remedy, sizeof(out->remedy) - 1);
	wiretext_clean(out->message);
	wiretext_clean(out->remedy);
}

int wire_error_to_err(const struct wire_error *e, const char *object,
		      struct err *err)
{
	int num = e->num < 0 ? e->num : -ESHUTDOWN;
	bool told = err && err->num;

	(void)err_set(err, num, *e->code ? e->code : "closed", object, "%s",
		      *e->message ? e->message : "the peer ended the session");
	if (*e->remedy && !told)
		(void)err_remedy(err, "%s", e->remedy);
	return num;
}
