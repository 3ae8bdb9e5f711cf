// SPDX-License-Identifier: Apache-2.0
/*
 * The bodies of messages about groups (feature 1), as in msgbody.c. A point of
 * a group goes with what its members have in common; the members of a group
 * point are records of one length, as extents are.
 *
 *	member: 0 16 volume, 16 8 epoch, 24 8 sequence, 32 8 bytes of the
 *		volume, 40 64 name, padded with zeros
 *
 * No I/O, no state: any thread.
 */
#include <string.h>

#include "base/checked.h"
#include "wire/msgbody.h"
#include "wire/msgfield.h"

#define MEMBER_NAME_AT 40U

_Static_assert(MEMBER_NAME_AT + WIRE_NAME_MAX == WIRE_MEMBER_BYTES,
	       "the name is the last field");

static void put_group(struct buf *b, const struct wire_group *g)
{
	put_uuid(b, &g->uuid);
	buf_put_u64(b, g->seq);
	buf_put_u32(b, g->n_members);
	buf_put_str(b, g->name);
}

static bool get_group(struct cursor *c, struct wire_group *g)
{
	get_uuid(c, &g->uuid);
	g->seq = cursor_u64(c);
	g->n_members = cursor_u32(c);
	return get_name(c, g->name) && !uuid_is_zero(&g->uuid) && g->seq &&
	       g->seq <= INT64_MAX && g->n_members &&
	       g->n_members <= WIRE_MAX_GROUP_MEMBERS;
}

void msgbody_put_group_commit(struct buf *b, const struct wire_commit *v)
{
	msgbody_put_commit(b, v);
	put_group(b, &v->group);
}

bool msgbody_get_group_commit(struct cursor *c, struct wire_commit *v)
{
	return msgbody_get_commit(c, v) && get_group(c, &v->group);
}

void msgbody_put_member_point(struct buf *b, const struct wire_point *v)
{
	msgbody_put_point(b, v);
	put_group(b, &v->group);
	buf_put_u8(b, v->group_complete);
}

bool msgbody_get_member_point(struct cursor *c, struct wire_point *v)
{
	return msgbody_get_point(c, v) && get_group(c, &v->group) &&
	       get_bool(c, &v->group_complete);
}

void msgbody_put_group_query(struct buf *b, const struct msg_points_query *v)
{
	msgbody_put_points_query(b, v);
}

bool msgbody_get_group_query(struct cursor *c, struct msg_points_query *v)
{
	return msgbody_get_points_query(c, v);
}

void wire_member_put(uint8_t *members, uint32_t i, const struct wire_member *m)
{
	uint8_t *p = members + (size_t)i * WIRE_MEMBER_BYTES;

	memset(p, 0, WIRE_MEMBER_BYTES);
	memcpy(p, m->volume.b, sizeof(m->volume.b));
	put_le64(p + 16, m->epoch);
	put_le64(p + 24, m->seq);
	put_le64(p + 32, m->size_bytes);
	memcpy(p + MEMBER_NAME_AT, m->name, strnlen(m->name, WIRE_NAME_MAX));
}

bool wire_member_get(const uint8_t *members, uint32_t i,
		     struct wire_member *out)
{
	static const uint8_t zeros[WIRE_NAME_MAX];
	const uint8_t *p = members + (size_t)i * WIRE_MEMBER_BYTES;
	const char *name = (const char *)p + MEMBER_NAME_AT;
	size_t n = strnlen(name, WIRE_NAME_MAX);

	memset(out, 0, sizeof(*out));
	memcpy(out->volume.b, p, sizeof(out->volume.b));
	out->epoch = get_le64(p + 16);
	out->seq = get_le64(p + 24);
	out->size_bytes = get_le64(p + 32);
	memcpy(out->name, name, n);
	return !memcmp(name + n, zeros, WIRE_NAME_MAX - n) &&
	       name_is_valid(out->name) && !uuid_is_zero(&out->volume) &&
	       is_place(out->epoch, out->seq) && out->size_bytes &&
	       out->size_bytes <= VOLUME_BYTES_MAX;
}

/* Sound each, and by rising name: so nobody is in it twice. */
static bool members_are_sound(const uint8_t *members, uint32_t n)
{
	struct wire_member m;
	char last[WIRE_NAME_MAX + 1] = "";
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (!wire_member_get(members, i, &m) ||
		    strcmp(last, m.name) >= 0)
			return false;
		memcpy(last, m.name, sizeof(last));
	}
	return true;
}

void msgbody_put_group_point(struct buf *b, const struct wire_group_point *v)
{
	buf_put_u64(b, v->seq);
	buf_put_u64(b, (uint64_t)v->flip_wall_ns);
	buf_put_u64(b, (uint64_t)v->received_wall_ns);
	buf_put_u8(b, v->kind);
	buf_put_u8(b, v->damaged);
	buf_put_str(b, v->label);
	buf_put_u64(b, v->size_bytes);
	buf_put_u64(b, v->changed_bytes);
	buf_put_u64(b, v->stored_bytes);
	buf_put_u32(b, v->n_members);
	buf_put(b, v->members, (size_t)v->n_members * WIRE_MEMBER_BYTES);
}

bool msgbody_get_group_point(struct cursor *c, struct wire_group_point *v)
{
	bool ok;

	v->seq = cursor_u64(c);
	v->flip_wall_ns = get_i64(c);
	v->received_wall_ns = get_i64(c);
	v->kind = cursor_u8(c);
	ok = get_bool(c, &v->damaged);
	ok = get_text(c, v->label, sizeof(v->label)) && ok;
	v->size_bytes = cursor_u64(c);
	v->changed_bytes = cursor_u64(c);
	v->stored_bytes = cursor_u64(c);
	v->n_members = cursor_u32(c);
	if (!ok || !v->seq || v->kind > POINT_KIND_MAX || !v->n_members ||
	    v->n_members > WIRE_MAX_GROUP_MEMBERS)
		return false;
	v->members = cursor_bytes(c, (size_t)v->n_members * WIRE_MEMBER_BYTES);
	return v->members && members_are_sound(v->members, v->n_members);
}

void msgbody_put_group_end(struct buf *b, const struct wire_group_name *v)
{
	put_uuid(b, &v->uuid);
	buf_put_str(b, v->source);
	buf_put_str(b, v->name);
}

bool msgbody_get_group_end(struct cursor *c, struct wire_group_name *v)
{
	bool ok;

	get_uuid(c, &v->uuid);
	ok = get_name(c, v->source);
	return get_name(c, v->name) && ok && !uuid_is_zero(&v->uuid);
}
