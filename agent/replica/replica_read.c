// SPDX-License-Identifier: Apache-2.0
/*
 * The reading half of a session: points of a volume, and views of them.
 *
 * Which volumes a certificate may read is asked before anything is looked up,
 * so that a refusal tells nothing about what exists. Long answers are sent
 * while they are made: never more than READ_HIGH_BYTES of one wait in memory,
 * however slowly the peer takes them. The store calls back without a lock, so
 * a slow reader holds up nobody.
 *
 * Units go out sealed as they are stored; no key is needed or used here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/units.h"
#include "pki/pki.h"
#include "replica/replica_session.h"
#include "store/grouppoints.h"

#define READ_HIGH_BYTES ((size_t)512 << 10)
#define READ_LOW_BYTES ((size_t)128 << 10)

bool read_may(const struct session *s, const char *source, const char *name)
{
	return pki_volume_allowed(s->conn->peer_volumes, s->conn->peer_name,
				  source, name);
}

/* ---- which volume ---- */

struct search {
	const struct session *s;
	const char *name;
	struct volume_info found;
	unsigned int n;
	char names[256];		/* of the candidates */
};

static int consider(void *arg, const struct volume_info *v)
{
	struct search *se = arg;
	size_t len = strlen(se->names);

	if (strcmp(v->name, se->name) || !read_may(se->s, v->source, v->name))
		return 0;
	if (!se->n++)
		se->found = *v;
	snprintf(se->names + len, sizeof(se->names) - len, "%s%s/%s",
		 len ? ", " : "", v->source, v->name);
	return 0;
}

static int no_such_volume(const char *name, struct err *err)
{
	err_set(err, -ENOENT, "no-volume", name,
		"no volume of this name at the replica");
	err_remedy(err, "see `understudyctl status` at the replica for the "
			"names it has");
	return -ENOENT;
}

static int find_short(struct session *s, const char *name,
		      struct volume_info *out, struct err *err)
{
	struct search se = { .s = s, .name = name };
	int r;

	r = store_volumes(s->r->store, consider, &se);
	if (r < 0)
		return err_sys(err, r, "store-failed", name,
			       "look up the volume");
	if (!se.n)
		return no_such_volume(name, err);
	if (se.n > 1) {
		err_set(err, -ENOTUNIQ, "ambiguous", name,
			"several volumes have this name: %s", se.names);
		err_remedy(err, "give the full name, SOURCE/NAME");
		return -ENOTUNIQ;
	}
	*out = se.found;
	return 0;
}

static int find_full(struct session *s, const char *source, const char *name,
		     struct volume_info *out, struct err *err)
{
	char full_name[132];
	int r;

	snprintf(full_name, sizeof(full_name), "%s/%s", source, name);
	if (!read_may(s, source, name)) {
		err_set(err, -EACCES, "not-permitted", full_name,
			"the certificate of %s may not read it: its volumes "
			"are \"%s\"", s->conn->peer_name,
			s->conn->peer_volumes);
		err_remedy(err, "issue a certificate whose --volumes pattern "
				"covers %s", full_name);
		return -EACCES;
	}
	r = store_volume_by_name(s->r->store, source, name, out);
	if (r == -ENOENT)
		return no_such_volume(full_name, err);
	if (r < 0)
		return err_sys(err, r, "store-failed", full_name,
			       "look up the volume");
	return 0;
}

int read_check(const struct session *s, const char *source, const char *name,
	       struct err *err)
{
	if (!(s->conn->peer_rights & WIRE_RIGHT_READ))
		return err_set(err, -EACCES, "not-permitted",
			       s->conn->peer_name,
			       "the certificate lacks the right `read`");
	if (!name_is_valid(name) || (source[0] && !name_is_valid(source)))
		return err_set(err, -EINVAL, "bad-name", "volume",
			       "not a valid name");
	return 0;
}

static int find_volume(struct session *s, const char *source, const char *name,
		       struct volume_info *out, struct err *err)
{
	int r = read_check(s, source, name, err);

	if (r < 0)
		return r;
	return source[0] ? find_full(s, source, name, out, err) :
			   find_short(s, name, out, err);
}

/* ---- points ---- */

static void point_to_wire(const struct point_info *p, struct wire_point *out)
{
	*out = (struct wire_point){
		.epoch = p->meta.epoch,
		.seq = p->meta.seq,
		.flip_wall_ns = p->meta.flip_wall_ns,
		.received_wall_ns = p->received_wall_ns,
		.kind = (uint8_t)p->meta.kind,
		.damaged = p->damaged,
		.size_bytes = p->meta.size_bytes,
		.changed_bytes = p->changed_bytes,
		.stored_bytes = p->stored_bytes,
		.pins = p->pins,
	};
	snprintf(out->label, sizeof(out->label), "%s", p->meta.label);
}

int read_make_room(struct session *s)
{
	if (serve_out(s->serve)->len < READ_HIGH_BYTES)
		return 0;
	return session_flush(s, READ_LOW_BYTES) < 0 ? WALK_SESSION_FAILED : 0;
}

static void group_to_wire(const struct point_group *g, struct wire_group *out)
{
	out->uuid = g->uuid;
	out->seq = g->seq;
	out->n_members = g->n_members;
	snprintf(out->name, sizeof(out->name), "%s", g->name);
}

struct points_walk {
	struct session *s;
	const struct volume_info *v;
};

static int send_point(void *arg, const struct point_info *p)
{
	const struct points_walk *w = arg;
	struct session *s = w->s;
	struct wire_point row;

	point_to_wire(p, &row);
	if (point_has_group(&p->meta) &&
	    serve_knows(s->serve, WIRE_FEATURE_GROUPS)) {
		group_to_wire(&p->meta.group, &row.group);
		row.group_complete = store_group_is_complete(
					     s->r->store, w->v->source,
					     &p->meta) == 1;
	}
	if (session_answered(s, serve_point(s->serve, &row)) < 0)
		return WALK_SESSION_FAILED;
	return read_make_room(s);
}

int read_points(struct session *s, const char *source, const char *name)
{
	struct err err = ERR_INIT;
	struct volume_info info;
	struct points_walk w = { .s = s, .v = &info };
	int r;

	r = find_volume(s, source, name, &info, &err);
	if (r < 0)
		return session_answer_error(s, &err);
	r = store_points(s->r->store, &info.uuid, false, send_point, &w);
	if (r == WALK_SESSION_FAILED)
		return s->err.num;
	if (r < 0) {
		err_sys(&err, r, "store-failed", info.name, "list the points");
		return session_answer_error(s, &err);
	}
	return session_answered(s, serve_points_end(s->serve));
}

/* ---- views ---- */

static int find_point(struct session *s, const struct volume_info *v,
		      const struct wire_view_open *o, struct point_info *out)
{
	struct store *store = s->r->store;

	switch (o->select) {
	case WIRE_SELECT_LATEST:
		return store_point_at(store, &v->uuid, INT64_MAX, out);
	case WIRE_SELECT_SEQ:
		return store_point_find(store, &v->uuid, o->epoch, o->seq, out);
	case WIRE_SELECT_LABEL:
		return store_point_labelled(store, &v->uuid, o->label, out);
	case WIRE_SELECT_TIME:
		return store_point_at(store, &v->uuid, o->wall_ns, out);
	}
	return -EINVAL;
}

static int tell_no_point(const struct volume_info *v,
			 const struct wire_view_open *o, int r, struct err *err)
{
	char full_name[132], what[120];

	snprintf(full_name, sizeof(full_name), "%s/%s", v->source, v->name);
	if (o->select == WIRE_SELECT_LABEL)
		snprintf(what, sizeof(what), "point labelled %s", o->label);
	else if (o->select == WIRE_SELECT_SEQ)
		snprintf(what, sizeof(what), "point %" PRIu64 ":%" PRIu64,
			 o->epoch, o->seq);
	else
		snprintf(what, sizeof(what), "%s",
			 o->select == WIRE_SELECT_TIME ?
			 "point of that time or before" : "point");
	if (r != -ENOENT)
		return err_sys(err, r, "store-failed", full_name, "look up %s",
			       what);
	err_set(err, r, "no-point", full_name, "it has no %s", what);
	err_remedy(err, "see `understudyctl points %s`", full_name);
	return r;
}

static int free_slot(const struct session *s)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(s->views); i++)
		if (!s->views[i])
			return (int)i;
	return -EMFILE;
}

static int open_view(struct session *s, const struct wire_view_open *o,
		     struct wire_view_state *state, struct err *err)
{
	int slot = free_slot(s), r;
	char full_name[132];
	struct point_info point;
	struct volume_info v;
	struct view *view;

	if (slot < 0)
		return err_set(err, slot, "too-many", "view",
			       "a session has at most %zu views open",
			       ARRAY_SIZE(s->views));
	r = find_volume(s, o->source, o->name, &v, err);
	if (r < 0)
		return r;
	r = find_point(s, &v, o, &point);
	if (r < 0)
		return tell_no_point(&v, o, r, err);
	r = view_open(s->r->store, &v.uuid, point.meta.epoch, point.meta.seq,
		      &view, err);
	if (r < 0)
		return err_sys(err, r, "store-failed", v.name, "open a view");
	s->views[slot] = view;
	*state = (struct wire_view_state){
		.handle = (uint32_t)slot + 1, .volume = v.uuid,
	};
	snprintf(state->source, sizeof(state->source), "%s", v.source);
	snprintf(state->name, sizeof(state->name), "%s", v.name);
	point_to_wire(view_point(view), &state->point);
	snprintf(full_name, sizeof(full_name), "%s/%s", v.source, v.name);
	replica_tell(s->r, "view-opened", full_name, NULL,
		     "point %" PRIu64 " by %s from %s", point.meta.seq,
		     s->conn->peer_name, s->peer->address);
	return 0;
}

int read_view_open(struct session *s, const struct wire_view_open *o)
{
	struct wire_view_state state;
	struct err err = ERR_INIT;

	if (open_view(s, o, &state, &err) < 0)
		return session_answer_error(s, &err);
	return session_answered(s, serve_view(s->serve, &state));
}

/* The slot of a handle; the serve machine knows those it gave out. */
static struct view **view_of(struct session *s, uint32_t handle)
{
	if (!handle || handle > ARRAY_SIZE(s->views) || !s->views[handle - 1])
		return NULL;
	return &s->views[handle - 1];
}

static int send_piece(void *arg, const struct view_piece *p)
{
	const struct wire_piece piece = {
		.first = p->first,
		.count = p->count,
		.absent = p->absent,
		.delta = p->delta,
		.skip = p->skip,
		.unit = p->unit,
		.unit_bytes = p->unit_bytes,
	};
	struct session *s = arg;

	if (session_answered(s, serve_piece(s->serve, &piece)) < 0)
		return WALK_SESSION_FAILED;
	return read_make_room(s);
}

int read_view_read(struct session *s, uint32_t handle, uint64_t first,
		   uint32_t count)
{
	struct view **view = view_of(s, handle);
	struct err err = ERR_INIT;
	int r;

	if (!view)
		return err_set(&s->err, -EPROTO, "protocol",
			       s->conn->peer_name, "no such view");
	r = view_walk(*view, first, count, send_piece, s, &err);
	if (r == WALK_SESSION_FAILED)
		return s->err.num;
	if (r < 0) {
		err_sys(&err, r, "store-failed", s->conn->peer_name,
			"read the point");
		return session_answer_error(s, &err);
	}
	return session_answered(s, serve_read_end(s->serve, first, count));
}

int read_view_close(struct session *s, uint32_t handle)
{
	struct view **view = view_of(s, handle);

	if (view)
		view_close(TAKE_PTR(*view));
	return 0;
}

void read_close(struct session *s)
{
	uint32_t handle;

	for (handle = 1; handle <= ARRAY_SIZE(s->views); handle++)
		(void)read_view_close(s, handle);
}
