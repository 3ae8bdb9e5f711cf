// SPDX-License-Identifier: Apache-2.0
/*
 * The bodies of messages: each field in the order of the tables in
 * docs/wire-protocol.md, little endian, strings as u16 length and bytes.
 *
 * A getter judges every value that has a rule of its own (names, enumerations,
 * flags, ranges); whether it fits the conversation is for the session to say.
 * Strings are put and got with a stop at the capacity of the field. No I/O, no
 * state: any thread.
 */
#include "wire/msgbody.h"

#include <string.h>

#include "base/checked.h"
#include "base/units.h"
#include "wire/msgfield.h"
#include "wire/wiretext.h"

static const uint8_t magic[8] = { 'U', 'N', 'D', 'R', 'S', 'T', 'D', 'Y' };

#define BLOCK_BYTES_MAX (1U << 30)
#define RIGHTS_ALL                                                \
	(WIRE_RIGHT_PUSH | WIRE_RIGHT_READ | WIRE_RIGHT_PROMOTE | \
	 WIRE_RIGHT_ADMIN)

/* For fields to come; skipped by whoever does not know them. */
static void put_extension(struct buf *b)
{
	buf_put_u16(b, 0);
}

static bool get_extension(struct cursor *c)
{
	uint16_t n = cursor_u16(c);

	return n <= MSG_EXT_MAX - 2 && cursor_bytes(c, n);
}

/* ---- of the connection ---- */

void msgbody_put_none(struct buf *b, const struct msg_none *v)
{
	(void)b;
	(void)v;
}

bool msgbody_get_none(struct cursor *c, struct msg_none *v)
{
	(void)c;
	(void)v;
	return true;
}

void msgbody_put_hello(struct buf *b, const struct wire_hello *v)
{
	buf_put(b, magic, sizeof(magic));
	buf_put_u16(b, v->version_min);
	buf_put_u16(b, v->version_max);
	buf_put_u64(b, v->features);
	buf_put_u8(b, (uint8_t)v->role);
	put_uuid(b, &v->node);
	put_uuid(b, &v->boot);
	buf_put_u64(b, (uint64_t)v->wall_ns);
	buf_put_str(b, v->software);
	put_extension(b);
}

bool msgbody_get_hello(struct cursor *c, struct wire_hello *v)
{
	uint8_t m[sizeof(magic)], role;

	cursor_copy(c, m, sizeof(m));
	v->version_min = cursor_u16(c);
	v->version_max = cursor_u16(c);
	v->features = cursor_u64(c);
	role = cursor_u8(c);
	v->role = (enum wire_role)role;
	get_uuid(c, &v->node);
	get_uuid(c, &v->boot);
	v->wall_ns = get_i64(c);
	return get_text(c, v->software, sizeof(v->software)) &&
	       get_extension(c) && !memcmp(m, magic, sizeof(m)) &&
	       v->version_min && v->version_min <= v->version_max &&
	       role >= WIRE_ROLE_SENDER && role <= WIRE_ROLE_READER;
}

void msgbody_put_accept(struct buf *b, const struct wire_accept *v)
{
	buf_put_u16(b, v->version);
	buf_put_u64(b, v->features);
	put_uuid(b, &v->session);
	put_uuid(b, &v->node);
	put_uuid(b, &v->boot);
	buf_put_u64(b, (uint64_t)v->wall_ns);
	buf_put_u32(b, v->rights);
	buf_put_str(b, v->peer_name);
	buf_put_str(b, v->software);
	put_extension(b);
}

bool msgbody_get_accept(struct cursor *c, struct wire_accept *v)
{
	v->version = cursor_u16(c);
	v->features = cursor_u64(c);
	get_uuid(c, &v->session);
	get_uuid(c, &v->node);
	get_uuid(c, &v->boot);
	v->wall_ns = get_i64(c);
	v->rights = cursor_u32(c);
	return get_name(c, v->peer_name) &&
	       get_text(c, v->software, sizeof(v->software)) &&
	       get_extension(c) && v->version &&
	       !uuid_is_zero(&v->session) && !(v->rights & ~RIGHTS_ALL);
}

void msgbody_put_error(struct buf *b, const struct wire_error *v)
{
	buf_put_u32(b, (uint32_t)v->num);
	buf_put_str(b, v->code);
	buf_put_str(b, v->message);
	buf_put_str(b, v->remedy);
}

/* A bad character must not keep an error from being told: it is replaced. */
bool msgbody_get_error(struct cursor *c, struct wire_error *v)
{
	v->num = (int32_t)cursor_u32(c);
	cursor_str(c, v->code, sizeof(v->code));
	cursor_str(c, v->message, sizeof(v->message));
	cursor_str(c, v->remedy, sizeof(v->remedy));
	wiretext_clean(v->message);
	wiretext_clean(v->remedy);
	return v->num > -4096 && v->num <= 0 &&
	       (!*v->code || wiretext_is_slug(v->code));
}

/* ---- of a volume ---- */

void msgbody_put_volume_open(struct buf *b, const struct wire_volume_open *v)
{
	put_uuid(b, &v->uuid);
	buf_put_str(b, v->name);
	buf_put_u64(b, v->size_bytes);
	buf_put_u64(b, v->epoch);
	buf_put_u32(b, v->block_bytes);
	buf_put_u8(b, v->has_acked);
	buf_put_u64(b, v->acked_epoch);
	buf_put_u64(b, v->acked_seq);
	put_head(b, &v->acked_head);
	buf_put_u32(b, v->disk_major);
	buf_put_u32(b, v->disk_minor);
	buf_put_u32(b, v->part_major);
	buf_put_u32(b, v->part_minor);
}

bool msgbody_get_volume_open(struct cursor *c, struct wire_volume_open *v)
{
	bool ok;

	get_uuid(c, &v->uuid);
	ok = get_name(c, v->name);
	v->size_bytes = cursor_u64(c);
	v->epoch = cursor_u64(c);
	v->block_bytes = cursor_u32(c);
	ok = get_bool(c, &v->has_acked) && ok;
	v->acked_epoch = cursor_u64(c);
	v->acked_seq = cursor_u64(c);
	get_head(c, &v->acked_head);
	v->disk_major = cursor_u32(c);
	v->disk_minor = cursor_u32(c);
	v->part_major = cursor_u32(c);
	v->part_minor = cursor_u32(c);
	return ok && !uuid_is_zero(&v->uuid) && v->size_bytes &&
	       v->size_bytes <= VOLUME_BYTES_MAX && v->epoch &&
	       is_pow2_u64(v->block_bytes) &&
	       v->block_bytes >= US_BLOCK_BYTES &&
	       v->block_bytes <= BLOCK_BYTES_MAX &&
	       (!v->has_acked || is_place(v->acked_epoch, v->acked_seq));
}

void msgbody_put_volume(struct buf *b, const struct wire_volume_state *v)
{
	buf_put_u64(b, v->epoch);
	buf_put_u8(b, v->has_point);
	buf_put_u64(b, v->seq);
	put_head(b, &v->head);
	put_head(b, &v->prev_head);
	buf_put_u64(b, (uint64_t)v->flip_wall_ns);
	buf_put_u8(b, v->has_open);
	buf_put_u64(b, v->open_bytes);
}

bool msgbody_get_volume(struct cursor *c, struct wire_volume_state *v)
{
	bool ok;

	v->epoch = cursor_u64(c);
	ok = get_bool(c, &v->has_point);
	v->seq = cursor_u64(c);
	get_head(c, &v->head);
	get_head(c, &v->prev_head);
	v->flip_wall_ns = get_i64(c);
	ok = get_bool(c, &v->has_open) && ok;
	v->open_bytes = cursor_u64(c);
	return ok && (!v->has_point || is_place(v->epoch, v->seq));
}

void msgbody_put_delta(struct buf *b, const struct delta *v)
{
	uint8_t *p = buf_extend(b, DELTA_BYTES);

	if (p)
		delta_encode(v, p);
}

bool msgbody_get_delta(struct cursor *c, struct delta *v)
{
	const uint8_t *p = cursor_bytes(c, DELTA_BYTES);

	if (!p)
		return false;
	delta_decode(p, v);
	return is_place(v->epoch, v->seq) && v->key_id &&
	       !uuid_is_zero(&v->volume);
}

void msgbody_put_bytes(struct buf *b, const struct msg_bytes *v)
{
	buf_put(b, v->p, v->n);
}

bool msgbody_get_bytes(struct cursor *c, struct msg_bytes *v)
{
	v->n = c->left;
	v->p = cursor_bytes(c, c->left);
	return v->n != 0;
}

void msgbody_put_range(struct buf *b, const struct msg_range *v)
{
	buf_put_u64(b, v->first);
	buf_put_u32(b, v->count);
}

bool msgbody_get_range(struct cursor *c, struct msg_range *v)
{
	v->first = cursor_u64(c);
	v->count = cursor_u32(c);
	return is_range(v->first, v->count,
			MAX(WIRE_MAX_FP_BLOCKS, WIRE_MAX_READ_BLOCKS));
}

void msgbody_put_fps(struct buf *b, const struct msg_fps *v)
{
	buf_put_u64(b, v->first);
	buf_put_u32(b, v->count);
	buf_put(b, v->fps, (size_t)v->count * UNIT_FP_BYTES);
}

bool msgbody_get_fps(struct cursor *c, struct msg_fps *v)
{
	v->first = cursor_u64(c);
	v->count = cursor_u32(c);
	if (!is_range(v->first, v->count, WIRE_MAX_FP_BLOCKS))
		return false;
	v->fps = cursor_bytes(c, (size_t)v->count * UNIT_FP_BYTES);
	return v->fps;
}

void wire_extent_put(uint8_t *extents, uint32_t i, const struct wire_extent *e)
{
	uint8_t *p = extents + (size_t)i * WIRE_EXTENT_BYTES;

	put_le64(p, e->first);
	put_le32(p + 8, e->count);
}

struct wire_extent wire_extent_get(const uint8_t *extents, uint32_t i)
{
	const uint8_t *p = extents + (size_t)i * WIRE_EXTENT_BYTES;

	return (struct wire_extent){ get_le64(p), get_le32(p + 8) };
}

#define VERIFY_FRESH 1U

void msgbody_put_verify(struct buf *b, const struct msg_verify *v)
{
	buf_put_u8(b, v->fresh ? VERIFY_FRESH : 0);
	buf_put(b, v->extents, (size_t)v->n_extents * WIRE_EXTENT_BYTES);
}

/* As many extents as there are bytes; each sound, and not too many blocks. */
bool msgbody_get_verify(struct cursor *c, struct msg_verify *v)
{
	uint8_t flags = cursor_u8(c);
	uint32_t i;

	v->fresh = flags & VERIFY_FRESH;
	v->n_extents = (uint32_t)(c->left / WIRE_EXTENT_BYTES);
	v->extents = cursor_bytes(c, (size_t)v->n_extents * WIRE_EXTENT_BYTES);
	if (flags & ~VERIFY_FRESH || !v->n_extents || !v->extents)
		return false;
	for (i = 0; i < v->n_extents; i++) {
		struct wire_extent e = wire_extent_get(v->extents, i);

		if (!is_range(e.first, e.count,
			      WIRE_MAX_VERIFY_BLOCKS - v->n_blocks))
			return false;
		v->n_blocks += e.count;
	}
	return true;
}

void msgbody_put_verified(struct buf *b, const struct msg_verified *v)
{
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	buf_put_u32(b, v->count);
	buf_put(b, v->held, (size_t)v->count * WIRE_HELD_BYTES);
}

static bool is_held(const uint8_t *p)
{
	static const uint8_t none[UNIT_FP_BYTES];
	bool zero = !memcmp(p + 1, none, sizeof(none));

	return p[0] == WIRE_HELD_SOUND ||
	       (p[0] <= WIRE_HELD_STAGED && zero);
}

bool msgbody_get_verified(struct cursor *c, struct msg_verified *v)
{
	uint32_t i;

	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	v->count = cursor_u32(c);
	if (!v->count || v->count > WIRE_MAX_VERIFY_BLOCKS ||
	    (v->epoch || v->seq) != is_place(v->epoch, v->seq))
		return false;
	v->held = cursor_bytes(c, (size_t)v->count * WIRE_HELD_BYTES);
	for (i = 0; v->held && i < v->count; i++)
		if (!is_held(v->held + (size_t)i * WIRE_HELD_BYTES))
			return false;
	return v->held;
}

void msgbody_put_commit(struct buf *b, const struct wire_commit *v)
{
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	buf_put_u64(b, (uint64_t)v->flip_wall_ns);
	buf_put_u8(b, v->kind);
	buf_put_u64(b, v->size_bytes);
	buf_put_str(b, v->label);
	put_head(b, &v->prev_head);
	buf_put_u64(b, v->units);
}

bool msgbody_get_commit(struct cursor *c, struct wire_commit *v)
{
	bool ok;

	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	v->flip_wall_ns = get_i64(c);
	v->kind = cursor_u8(c);
	v->size_bytes = cursor_u64(c);
	ok = get_text(c, v->label, sizeof(v->label));
	get_head(c, &v->prev_head);
	v->units = cursor_u64(c);
	return ok && is_place(v->epoch, v->seq) && v->kind <= POINT_KIND_MAX &&
	       v->size_bytes && v->size_bytes <= VOLUME_BYTES_MAX;
}

void msgbody_put_ack(struct buf *b, const struct wire_ack *v)
{
	put_uuid(b, &v->session);
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	put_head(b, &v->head);
	buf_put_u64(b, (uint64_t)v->received_wall_ns);
	buf_put_u64(b, v->changed_bytes);
	buf_put_u64(b, v->stored_bytes);
}

bool msgbody_get_ack(struct cursor *c, struct wire_ack *v)
{
	get_uuid(c, &v->session);
	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	get_head(c, &v->head);
	v->received_wall_ns = get_i64(c);
	v->changed_bytes = cursor_u64(c);
	v->stored_bytes = cursor_u64(c);
	return is_place(v->epoch, v->seq) && !uuid_is_zero(&v->session);
}

void msgbody_put_confirm(struct buf *b, const struct msg_confirm *v)
{
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	buf_put_u64(b, (uint64_t)v->wall_ns);
}

bool msgbody_get_confirm(struct cursor *c, struct msg_confirm *v)
{
	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	v->wall_ns = get_i64(c);
	return is_place(v->epoch, v->seq);
}

/* ---- of a reader ---- */

void msgbody_put_points_query(struct buf *b, const struct msg_points_query *v)
{
	buf_put_str(b, v->source);
	buf_put_str(b, v->name);
}

bool msgbody_get_points_query(struct cursor *c, struct msg_points_query *v)
{
	return get_name_or_none(c, v->source) && get_name(c, v->name);
}

void msgbody_put_point(struct buf *b, const struct wire_point *v)
{
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	buf_put_u64(b, (uint64_t)v->flip_wall_ns);
	buf_put_u64(b, (uint64_t)v->received_wall_ns);
	buf_put_u8(b, v->kind);
	buf_put_u8(b, v->damaged);
	buf_put_str(b, v->label);
	buf_put_u64(b, v->size_bytes);
	buf_put_u64(b, v->changed_bytes);
	buf_put_u64(b, v->stored_bytes);
	buf_put_u32(b, v->pins);
}

bool msgbody_get_point(struct cursor *c, struct wire_point *v)
{
	bool ok;

	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	v->flip_wall_ns = get_i64(c);
	v->received_wall_ns = get_i64(c);
	v->kind = cursor_u8(c);
	ok = get_bool(c, &v->damaged);
	ok = get_text(c, v->label, sizeof(v->label)) && ok;
	v->size_bytes = cursor_u64(c);
	v->changed_bytes = cursor_u64(c);
	v->stored_bytes = cursor_u64(c);
	v->pins = cursor_u32(c);
	return ok && is_place(v->epoch, v->seq) && v->kind <= POINT_KIND_MAX &&
	       v->size_bytes && v->size_bytes <= VOLUME_BYTES_MAX;
}

void msgbody_put_view_open(struct buf *b, const struct wire_view_open *v)
{
	buf_put_str(b, v->source);
	buf_put_str(b, v->name);
	buf_put_u8(b, (uint8_t)v->select);
	buf_put_u64(b, v->epoch);
	buf_put_u64(b, v->seq);
	buf_put_str(b, v->label);
	buf_put_u64(b, (uint64_t)v->wall_ns);
}

bool msgbody_get_view_open(struct cursor *c, struct wire_view_open *v)
{
	uint8_t select;
	bool ok;

	ok = get_name_or_none(c, v->source);
	ok = get_name(c, v->name) && ok;
	select = cursor_u8(c);
	v->select = (enum wire_select)select;
	v->epoch = cursor_u64(c);
	v->seq = cursor_u64(c);
	ok = get_text(c, v->label, sizeof(v->label)) && ok;
	v->wall_ns = get_i64(c);
	return ok && select <= WIRE_SELECT_TIME &&
	       (select != WIRE_SELECT_SEQ || v->seq) &&
	       (select != WIRE_SELECT_LABEL || *v->label);
}

void msgbody_put_view(struct buf *b, const struct wire_view_state *v)
{
	put_uuid(b, &v->volume);
	buf_put_str(b, v->source);
	buf_put_str(b, v->name);
	msgbody_put_point(b, &v->point);
}

bool msgbody_get_view(struct cursor *c, struct wire_view_state *v)
{
	bool ok;

	get_uuid(c, &v->volume);
	ok = get_name(c, v->source);
	ok = get_name(c, v->name) && ok;
	return msgbody_get_point(c, &v->point) && ok &&
	       !uuid_is_zero(&v->volume);
}

void msgbody_put_piece(struct buf *b, const struct wire_piece *v)
{
	buf_put_u64(b, v->first);
	buf_put_u64(b, v->count);
	buf_put_u8(b, v->absent);
	if (v->absent)
		return;
	msgbody_put_delta(b, &v->delta);
	buf_put_u32(b, v->skip);
	buf_put(b, v->unit, v->unit_bytes);
}

bool msgbody_get_piece(struct cursor *c, struct wire_piece *v)
{
	bool ok;

	v->first = cursor_u64(c);
	v->count = cursor_u64(c);
	ok = get_bool(c, &v->absent);
	if (!ok || !is_range(v->first, v->count, WIRE_MAX_READ_BLOCKS))
		return false;
	if (v->absent)
		return true;
	ok = msgbody_get_delta(c, &v->delta);
	v->skip = cursor_u32(c);
	v->unit_bytes = c->left;
	v->unit = cursor_bytes(c, c->left);
	return ok;
}
