/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_MSG_EXAMPLE_H
#define TESTS_UNIT_MSG_EXAMPLE_H

/*
 * One full example of every message, and ways to bytes and back that leave no
 * room to read past the end. Include it once, in the test that is the program.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/tap.h"

#include "wire/msg.h"

static uint8_t example_units[3000];
static uint8_t example_fps[64 * UNIT_FP_BYTES];
/* An extent of 5 blocks; what is held of 2. */
static const uint8_t example_extents[WIRE_EXTENT_BYTES] = { 3, [8] = 5 };
static const uint8_t example_held[2 * WIRE_HELD_BYTES] = {
	[0] = WIRE_HELD_SOUND, [1] = 0x77, [17] = WIRE_HELD_DAMAGED,
};

static const struct uuid uuid_a = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
				      14, 15, 16 } };
static uint8_t example_members[2 * WIRE_MEMBER_BYTES];
static const struct uuid uuid_b = { { 0xf1, 0xf2, 0xf3 } };
static const struct wire_head head_a = { { 0xaa, 0xbb, 0xcc } };
static const struct wire_head head_b = { { 0xdd, 0xee } };

static const struct wire_point example_point = {
	.epoch = 2, .seq = 9, .flip_wall_ns = -5, .received_wall_ns = 7,
	.kind = 3, .damaged = true, .label = "before the upgrade",
	.size_bytes = 1 << 20, .changed_bytes = 4096, .stored_bytes = 300,
	.pins = 2,
};

static const struct wire_group example_group = {
	.uuid = { { 0xab, 0xcd } }, .seq = 41, .n_members = 3, .name = "shop",
};

static inline void example_member_put(uint8_t *members, uint32_t i,
				      const char *name)
{
	struct wire_member m = { .volume = { { 7, (uint8_t)i } }, .epoch = 2,
				 .seq = 40 + i, .size_bytes = 4096 };

	(void)strncpy(m.name, name, WIRE_NAME_MAX);
	wire_member_put(members, i, &m);
}

static const struct delta example_delta = {
	.volume = { { 1, 2 } }, .epoch = 3, .seq = 17, .key_id = 1,
	.salt = { 9, 8, 7 }, .commitment = { 6, 5, 4 },
};

static const struct wire_error example_error = {
	.num = -EROFS, .code = "store-read-only",
	.message = "store /srv: write: read-only",
	.remedy = "remount it, na\xc3\xafvely",
};

static inline void fill_example(struct msg *m, enum msg_type type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	m->handle = 0x01020304;
	m->request = 0x1122334455667788;
	switch (type) {
	case MSG_HELLO:
		m->u.hello = (struct wire_hello){
			.version_min = 1, .version_max = 3, .features = ~0ULL,
			.role = WIRE_ROLE_READER, .node = uuid_a,
			.boot = uuid_b, .wall_ns = INT64_MIN,
			.software = "understudy 0.1" };
		return;
	case MSG_ACCEPT:
		m->u.accept = (struct wire_accept){
			.version = 1, .features = 5, .session = uuid_a,
			.node = uuid_b, .boot = uuid_a, .wall_ns = INT64_MAX,
			.rights = WIRE_RIGHT_PUSH | WIRE_RIGHT_ADMIN,
			.peer_name = "web1", .software = "understudy 0.1" };
		return;
	case MSG_REJECT:
	case MSG_BYE:
	case MSG_ERROR:
	case MSG_REFUSE:
		m->u.error = example_error;
		return;
	case MSG_VOLUME_OPEN:
		m->u.volume_open = (struct wire_volume_open){
			.uuid = uuid_a, .name = "db1", .size_bytes = 123456789,
			.epoch = 4, .block_bytes = 65536, .has_acked = true,
			.acked_epoch = 3, .acked_seq = 44,
			.acked_head = head_a, .disk_major = 7,
			.disk_minor = 0xfffff, .part_major = 259,
			.part_minor = 1 };
		return;
	case MSG_VOLUME:
		m->u.volume = (struct wire_volume_state){
			.epoch = 4, .has_point = true, .seq = 44,
			.head = head_a, .prev_head = head_b,
			.flip_wall_ns = 1, .has_open = true,
			.open_bytes = 1ULL << 40 };
		return;
	case MSG_POINT_BEGIN:
		m->u.delta = example_delta;
		return;
	case MSG_UNITS:
	case MSG_ESCROW:
		m->u.bytes = (struct msg_bytes){
			example_units, type == MSG_UNITS ? sizeof(example_units) : 300 };
		return;
	case MSG_FP_QUERY:
	case MSG_VIEW_READ:
	case MSG_READ_END:
		m->u.range = (struct msg_range){ 1ULL << 40, 16384 };
		return;
	case MSG_FPS:
		m->u.fps = (struct msg_fps){ 7, 64, example_fps };
		return;
	case MSG_VERIFY:
		m->u.verify = (struct msg_verify){ true, 5, 1, example_extents };
		return;
	case MSG_VERIFIED:
		m->u.verified = (struct msg_verified){ 3, 17, 2, example_held };
		return;
	case MSG_COMMIT:
		m->u.commit = (struct wire_commit){
			.epoch = 3, .seq = 17, .flip_wall_ns = 5, .kind = 1,
			.size_bytes = 4096, .label = "l", .prev_head = head_a,
			.units = 12 };
		return;
	case MSG_GROUP_COMMIT:
		m->u.commit = (struct wire_commit){
			.epoch = 3, .seq = 17, .flip_wall_ns = 5, .kind = 1,
			.size_bytes = 4096, .label = "l", .prev_head = head_a,
			.units = 12, .group = example_group };
		return;
	case MSG_MEMBER_POINT:
		m->u.point = example_point;
		m->u.point.group = example_group;
		m->u.point.group_complete = true;
		return;
	case MSG_GROUP_POINT:
		example_member_put(example_members, 0, "db1");
		example_member_put(example_members, 1, "wal1");
		m->u.group_point = (struct wire_group_point){
			.seq = 9, .flip_wall_ns = 5, .received_wall_ns = 6,
			.kind = 2, .damaged = true, .label = "l",
			.size_bytes = 8192, .changed_bytes = 1,
			.stored_bytes = 2, .n_members = 2,
			.members = example_members };
		return;
	case MSG_GROUP_END:
		m->u.group_end = (struct wire_group_name){ uuid_a, "web1",
							   "shop" };
		return;
	case MSG_ACK:
		m->u.ack = (struct wire_ack){
			.session = uuid_a, .epoch = 3, .seq = 17,
			.head = head_b, .received_wall_ns = 8,
			.changed_bytes = 9, .stored_bytes = 10 };
		return;
	case MSG_CONFIRM:
		m->u.confirm = (struct msg_confirm){ 3, 17, -1 };
		return;
	case MSG_POINTS_QUERY:
	case MSG_GROUP_QUERY:
		m->u.points_query = (struct msg_points_query){ "web1", "db1" };
		return;
	case MSG_POINT:
		m->u.point = example_point;
		return;
	case MSG_VIEW_OPEN:
		m->u.view_open = (struct wire_view_open){
			.source = "web1", .name = "db1",
			.select = WIRE_SELECT_LABEL, .epoch = 1, .seq = 2,
			.label = "monday", .wall_ns = 3 };
		return;
	case MSG_VIEW:
		m->u.view = (struct wire_view_state){
			.volume = uuid_a, .source = "web1", .name = "db1",
			.point = example_point };
		return;
	case MSG_PIECE:
		m->u.piece = (struct wire_piece){
			.first = 5, .count = 3, .delta = example_delta,
			.skip = 2, .unit = example_units, .unit_bytes = 1000 };
		return;
	case MSG_PING:
	case MSG_PONG:
	case MSG_DONE:
	case MSG_DISCARD:
	case MSG_POINTS_END:
	case MSG_VIEW_CLOSE:
		return;
	}
}

static const enum msg_type all_types[] = {
#define X(name, number, member, max, sender) MSG_##name,
	MSG_LIST(X)
#undef X
};

#define N_TYPES (sizeof(all_types) / sizeof(all_types[0]))

/* A frame around a heap copy of exactly its body. */
static inline int decode_exact(const uint8_t *bytes, size_t n, struct msg *m,
			       uint8_t **body)
{
	struct frame f;

	ASSERT_GE(n, FRAME_HEADER_BYTES);
	ASSERT_OK(frame_get_header(bytes, &f.h));
	f.h.body_bytes = (uint32_t)(n - FRAME_HEADER_BYTES);
	*body = malloc(f.h.body_bytes ? f.h.body_bytes : 1);
	ASSERT_NOT_NULL(*body);
	memcpy(*body, bytes + FRAME_HEADER_BYTES, f.h.body_bytes);
	f.body = *body;
	return msg_decode(&f, m);
}

static inline void encode_example(struct buf *b, enum msg_type type)
{
	struct msg m;

	fill_example(&m, type);
	buf_reset(b);
	ASSERT_MSG(!msg_encode(b, &m), "%s does not encode", msg_name(type));
}

/* What cannot be said leaves the buffer as it was. */
static inline int encode_one(const struct msg *m)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r;

	buf_put(&b, "x", 1);
	r = msg_encode(&b, m);
	if (r < 0) {
		EXPECT_U64(b.len, 1);
		EXPECT_FALSE(b.failed);
	}
	return r;
}

#endif
