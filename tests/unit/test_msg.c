// SPDX-License-Identifier: Apache-2.0
/* Messages to bytes and back. */
#include "lib/tap.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/rnd.h"
#include "wire/msg.h"
#include "wire/wiretext.h"

static uint8_t units[3000];
static uint8_t fps[64 * UNIT_FP_BYTES];
/* An extent of 5 blocks; what is held of 2. */
static const uint8_t extents[WIRE_EXTENT_BYTES] = { 3, [8] = 5 };
static const uint8_t held[2 * WIRE_HELD_BYTES] = {
	[0] = WIRE_HELD_SOUND, [1] = 0x77, [17] = WIRE_HELD_DAMAGED,
};

/* ---- one full example of every message ---- */

static const struct uuid uuid_a = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
				      14, 15, 16 } };
static const struct uuid uuid_b = { { 0xf1, 0xf2, 0xf3 } };
static const struct wire_head head_a = { { 0xaa, 0xbb, 0xcc } };
static const struct wire_head head_b = { { 0xdd, 0xee } };

static const struct wire_point example_point = {
	.epoch = 2, .seq = 9, .flip_wall_ns = -5, .received_wall_ns = 7,
	.kind = 3, .damaged = true, .label = "before the upgrade",
	.size_bytes = 1 << 20, .changed_bytes = 4096, .stored_bytes = 300,
	.pins = 2,
};

static const struct delta example_delta = {
	.volume = { { 1, 2 } }, .epoch = 3, .seq = 17, .key_id = 1,
	.salt = { 9, 8, 7 }, .commitment = { 6, 5, 4 },
};

static const struct wire_error example_error = {
	.num = -EROFS, .code = "store-read-only",
	.message = "store /srv: write: read-only",
	.remedy = "remount it, na\xc3\xafvely",
};

static void fill_example(struct msg *m, enum msg_type type)
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
			units, type == MSG_UNITS ? sizeof(units) : 300 };
		return;
	case MSG_FP_QUERY:
	case MSG_VIEW_READ:
	case MSG_READ_END:
		m->u.range = (struct msg_range){ 1ULL << 40, 16384 };
		return;
	case MSG_FPS:
		m->u.fps = (struct msg_fps){ 7, 64, fps };
		return;
	case MSG_VERIFY:
		m->u.verify = (struct msg_verify){ true, 5, 1, extents };
		return;
	case MSG_VERIFIED:
		m->u.verified = (struct msg_verified){ 3, 17, 2, held };
		return;
	case MSG_COMMIT:
		m->u.commit = (struct wire_commit){
			.epoch = 3, .seq = 17, .flip_wall_ns = 5, .kind = 1,
			.size_bytes = 4096, .label = "l", .prev_head = head_a,
			.units = 12 };
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
			.skip = 2, .unit = units, .unit_bytes = 1000 };
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
static int decode_exact(const uint8_t *bytes, size_t n, struct msg *m,
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

static void encode_example(struct buf *b, enum msg_type type)
{
	struct msg m;

	fill_example(&m, type);
	buf_reset(b);
	ASSERT_MSG(!msg_encode(b, &m), "%s does not encode", msg_name(type));
}

TEST(every_message_comes_back_as_it_was)
{
	_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
	uint8_t *body;
	size_t i;

	memset(fps, 0x77, sizeof(fps));
	memset(units, 0x66, sizeof(units));
	for (i = 0; i < N_TYPES; i++) {
		struct msg m, back;

		fill_example(&m, all_types[i]);
		encode_example(&b, all_types[i]);
		ASSERT_U64(get_le32(b.data), b.len - FRAME_HEADER_BYTES);
		ASSERT_MSG(!decode_exact(b.data, b.len, &back, &body), "%s",
			   msg_name(all_types[i]));
		EXPECT_INT(back.type, m.type);
		EXPECT_U64(back.handle, m.handle);
		EXPECT_U64(back.request, m.request);
		/* Field for field: what it says again is the same bytes. */
		buf_reset(&again);
		ASSERT_OK(msg_encode(&again, &back));
		ASSERT_U64(again.len, b.len);
		EXPECT_MEM(again.data, b.data, b.len);
		free(body);
	}
}

/* Round trips of bytes would not see two fields swapped in both ways. */
TEST(fields_arrive_under_their_own_names)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m;
	uint8_t *body;

	encode_example(&b, MSG_VOLUME_OPEN);
	ASSERT_OK(decode_exact(b.data, b.len, &m, &body));
	EXPECT_TRUE(uuid_equal(&m.u.volume_open.uuid, &uuid_a));
	EXPECT_STR(m.u.volume_open.name, "db1");
	EXPECT_U64(m.u.volume_open.size_bytes, 123456789);
	EXPECT_U64(m.u.volume_open.epoch, 4);
	EXPECT_U64(m.u.volume_open.block_bytes, 65536);
	EXPECT_TRUE(m.u.volume_open.has_acked);
	EXPECT_U64(m.u.volume_open.acked_epoch, 3);
	EXPECT_U64(m.u.volume_open.acked_seq, 44);
	EXPECT_MEM(&m.u.volume_open.acked_head, &head_a, 32);
	EXPECT_U64(m.u.volume_open.disk_major, 7);
	EXPECT_U64(m.u.volume_open.disk_minor, 0xfffff);
	EXPECT_U64(m.u.volume_open.part_major, 259);
	EXPECT_U64(m.u.volume_open.part_minor, 1);
	free(body);
	encode_example(&b, MSG_COMMIT);
	ASSERT_OK(decode_exact(b.data, b.len, &m, &body));
	EXPECT_U64(m.u.commit.seq, 17);
	EXPECT_INT(m.u.commit.flip_wall_ns, 5);
	EXPECT_STR(m.u.commit.label, "l");
	EXPECT_U64(m.u.commit.units, 12);
	EXPECT_MEM(&m.u.commit.prev_head, &head_a, 32);
	free(body);
	encode_example(&b, MSG_VIEW);
	ASSERT_OK(decode_exact(b.data, b.len, &m, &body));
	EXPECT_STR(m.u.view.source, "web1");
	EXPECT_STR(m.u.view.name, "db1");
	EXPECT_U64(m.u.view.point.stored_bytes, 300);
	EXPECT_INT(m.u.view.point.flip_wall_ns, -5);
	EXPECT_TRUE(m.u.view.point.damaged);
	free(body);
	encode_example(&b, MSG_PIECE);
	ASSERT_OK(decode_exact(b.data, b.len, &m, &body));
	EXPECT_U64(m.u.piece.skip, 2);
	EXPECT_U64(m.u.piece.unit_bytes, 1000);
	EXPECT_U64(m.u.piece.delta.seq, 17);
	EXPECT_MEM(m.u.piece.delta.salt, example_delta.salt, 32);
	EXPECT_MEM(m.u.piece.delta.commitment, example_delta.commitment, 16);
	free(body);
}

static bool ends_in_bytes(enum msg_type type)
{
	return type == MSG_UNITS || type == MSG_ESCROW || type == MSG_PIECE;
}

TEST(every_truncation_and_every_extra_byte_is_refused)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m;
	uint8_t *body;
	size_t i, n;

	for (i = 0; i < N_TYPES; i++) {
		/* These end in bytes of any number; sessions judge them. */
		size_t whole = ends_in_bytes(all_types[i]) ?
				       FRAME_HEADER_BYTES +
					       (all_types[i] == MSG_PIECE ?
							105 : 1) :
				       0;

		encode_example(&b, all_types[i]);
		for (n = FRAME_HEADER_BYTES; n < b.len; n++) {
			int r = decode_exact(b.data, n, &m, &body);

			free(body);
			EXPECT_MSG(r == (whole && n >= whole ? 0 : -EBADMSG),
				   "%s cut to %zu: %d", msg_name(all_types[i]),
				   n, r);
		}
		buf_put_u8(&b, 0);
		if (!whole)
			EXPECT_INT(decode_exact(b.data, b.len, &m, &body),
				   -EBADMSG);
		else
			body = NULL;
		free(body);
	}
}

TEST(flipped_bits_never_crash_and_say_the_same_when_taken)
{
	_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
	struct msg m;
	uint8_t *body;
	size_t i, k;
	int bit;

	for (i = 0; i < N_TYPES; i++) {
		encode_example(&b, all_types[i]);
		for (k = FRAME_HEADER_BYTES; k < b.len && k < 1200; k++) {
			for (bit = 0; bit < 8; bit++) {
				b.data[k] ^= (uint8_t)(1 << bit);
				if (!decode_exact(b.data, b.len, &m, &body)) {
					buf_reset(&again);
					ASSERT_OK(msg_encode(&again, &m));
					/* a cleaned character differs */
					EXPECT_U64(again.len, b.len);
				}
				free(body);
				b.data[k] ^= (uint8_t)(1 << bit);
			}
		}
	}
}

TEST(random_bodies_never_crash)
{
	struct rnd_seeded rnd;
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 20000; i++) {
		uint8_t bytes[FRAME_HEADER_BYTES + 300];
		struct frame_header h = {
			.type = (uint16_t)all_types[rnd_seeded_below(&rnd,
								     N_TYPES)]
		};
		size_t n = rnd_seeded_below(&rnd, 300);
		struct msg m;
		uint8_t *body;

		ASSERT_OK(rnd_fill(&rnd.rnd, bytes, sizeof(bytes)));
		frame_put_header(&h, bytes);
		(void)decode_exact(bytes, FRAME_HEADER_BYTES + n, &m, &body);
		free(body);
	}
}

/* ---- values nobody may send ---- */

static int encode_one(const struct msg *m)
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

#define EXPECT_REFUSED(type, change)                                  \
	do {                                                          \
		struct msg m;                                         \
		fill_example(&m, type);                               \
		ASSERT_OK(encode_one(&m));                            \
		change;                                               \
		EXPECT_INT(encode_one(&m), -EINVAL);                  \
	} while (0)

TEST(bad_names_are_refused)
{
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.name[0] = 0);
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.name[0] = '.');
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.name[1] = '/');
	EXPECT_REFUSED(MSG_ACCEPT, m.u.accept.peer_name[0] = '-');
	EXPECT_REFUSED(MSG_ACCEPT, m.u.accept.peer_name[0] = 0);
	EXPECT_REFUSED(MSG_POINTS_QUERY, m.u.points_query.name[0] = 0);
	EXPECT_REFUSED(MSG_POINTS_QUERY, m.u.points_query.source[0] = ' ');
	EXPECT_REFUSED(MSG_VIEW_OPEN, m.u.view_open.name[0] = 0);
	EXPECT_REFUSED(MSG_VIEW, m.u.view.source[0] = 0);
	EXPECT_REFUSED(MSG_COMMIT, m.u.commit.label[0] = '\n');
	EXPECT_REFUSED(MSG_POINT, m.u.point.label[0] = '\x1b');
	EXPECT_REFUSED(MSG_HELLO, m.u.hello.software[0] = '\x7f');
}

TEST(bad_numbers_are_refused)
{
	static const uint8_t too_long[KEY_TEXT_MAX + 1];

	EXPECT_REFUSED(MSG_HELLO, m.u.hello.version_min = 0);
	EXPECT_REFUSED(MSG_HELLO, m.u.hello.version_min = 4);
	EXPECT_REFUSED(MSG_HELLO, m.u.hello.role = (enum wire_role)0);
	EXPECT_REFUSED(MSG_HELLO, m.u.hello.role = (enum wire_role)4);
	EXPECT_REFUSED(MSG_ACCEPT, m.u.accept.version = 0);
	EXPECT_REFUSED(MSG_ACCEPT, m.u.accept.rights = 16);
	EXPECT_REFUSED(MSG_ACCEPT, m.u.accept.session = (struct uuid){ 0 });
	EXPECT_REFUSED(MSG_ERROR, m.u.error.num = 1);
	EXPECT_REFUSED(MSG_ERROR, m.u.error.num = -4096);
	EXPECT_REFUSED(MSG_ERROR, m.u.error.code[0] = 'A');
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.size_bytes = 0);
	EXPECT_REFUSED(MSG_VOLUME_OPEN,
		       m.u.volume_open.size_bytes = (1ULL << 63) + 1);
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.epoch = 0);
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.block_bytes = 4097);
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.block_bytes = 2048);
	EXPECT_REFUSED(MSG_VOLUME_OPEN, m.u.volume_open.acked_seq = 0);
	EXPECT_REFUSED(MSG_VOLUME, m.u.volume.seq = 0);
	EXPECT_REFUSED(MSG_POINT_BEGIN, m.u.delta.epoch = 0);
	EXPECT_REFUSED(MSG_POINT_BEGIN, m.u.delta.seq = 0);
	EXPECT_REFUSED(MSG_POINT_BEGIN, m.u.delta.key_id = 0);
	EXPECT_REFUSED(MSG_FP_QUERY, m.u.range.count = 0);
	EXPECT_REFUSED(MSG_FP_QUERY, m.u.range.count = 16385);
	EXPECT_REFUSED(MSG_FP_QUERY, m.u.range.first = US_MAX_BLOCKS - 16383);
	EXPECT_REFUSED(MSG_FP_QUERY, m.u.range.first = UINT64_MAX);
	EXPECT_REFUSED(MSG_COMMIT, m.u.commit.kind = 4);
	EXPECT_REFUSED(MSG_COMMIT, m.u.commit.seq = 0);
	EXPECT_REFUSED(MSG_COMMIT, m.u.commit.size_bytes = 0);
	EXPECT_REFUSED(MSG_ACK, m.u.ack.epoch = 0);
	EXPECT_REFUSED(MSG_CONFIRM, m.u.confirm.seq = 0);
	EXPECT_REFUSED(MSG_POINT, m.u.point.kind = 4);
	EXPECT_REFUSED(MSG_VIEW_OPEN, m.u.view_open.select = (enum wire_select)4);
	EXPECT_REFUSED(MSG_VIEW_OPEN, m.u.view_open.label[0] = 0);
	EXPECT_REFUSED(MSG_VIEW_OPEN, (m.u.view_open.select = WIRE_SELECT_SEQ,
				       m.u.view_open.seq = 0));
	EXPECT_REFUSED(MSG_ESCROW, m.u.bytes.n = 0);
	EXPECT_REFUSED(MSG_ESCROW, (m.u.bytes.p = too_long,
				    m.u.bytes.n = sizeof(too_long)));
}

TEST(flags_are_zero_or_one)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m;
	uint8_t *body;
	size_t damaged = FRAME_HEADER_BYTES + 8 * 4 + 1;

	encode_example(&b, MSG_POINT);
	ASSERT_INT(b.data[damaged], 1);
	b.data[damaged] = 2;
	EXPECT_INT(decode_exact(b.data, b.len, &m, &body), -EBADMSG);
	free(body);
}

TEST(the_longest_of_every_string_fits_its_limit)
{
	char name[65], text[65];
	struct msg m;

	memset(name, 'n', 64);
	memset(text, 't', 64);
	name[64] = text[64] = 0;
	fill_example(&m, MSG_VIEW);
	memcpy(m.u.view.source, name, 65);
	memcpy(m.u.view.name, name, 65);
	memcpy(m.u.view.point.label, text, 65);
	EXPECT_OK(encode_one(&m));
	fill_example(&m, MSG_VIEW_OPEN);
	memcpy(m.u.view_open.source, name, 65);
	memcpy(m.u.view_open.name, name, 65);
	memcpy(m.u.view_open.label, text, 65);
	EXPECT_OK(encode_one(&m));
	fill_example(&m, MSG_ERROR);
	memset(m.u.error.code, 'c', 39);
	memset(m.u.error.message, 'm', 383);
	memset(m.u.error.remedy, 'r', 255);
	EXPECT_OK(encode_one(&m));
	fill_example(&m, MSG_ACCEPT);
	memcpy(m.u.accept.peer_name, name, 65);
	memset(m.u.accept.software, 's', 31);
	EXPECT_OK(encode_one(&m));
	fill_example(&m, MSG_COMMIT);
	memcpy(m.u.commit.label, text, 65);
	EXPECT_OK(encode_one(&m));
	fill_example(&m, MSG_VOLUME_OPEN);
	memcpy(m.u.volume_open.name, name, 65);
	EXPECT_OK(encode_one(&m));
}

TEST(the_largest_bulk_messages_fit_and_no_larger)
{
	static uint8_t big[WIRE_MAX_UNITS_BYTES + 1];
	struct msg m;

	fill_example(&m, MSG_UNITS);
	m.u.bytes = (struct msg_bytes){ big, WIRE_MAX_UNITS_BYTES };
	EXPECT_OK(encode_one(&m));
	m.u.bytes.n++;
	EXPECT_INT(encode_one(&m), -EINVAL);
	fill_example(&m, MSG_FPS);
	m.u.fps = (struct msg_fps){ 0, WIRE_MAX_FP_BLOCKS, big };
	EXPECT_OK(encode_one(&m));
	m.u.fps.count++;
	EXPECT_INT(encode_one(&m), -EINVAL);
	fill_example(&m, MSG_PIECE);
	m.u.piece.unit = big;
	m.u.piece.unit_bytes = UNIT_MAX_BYTES;
	EXPECT_OK(encode_one(&m));
	m.u.piece.unit_bytes++;
	EXPECT_INT(encode_one(&m), -EINVAL);
}

/* ---- what docs/wire-protocol.md promises ---- */

TEST(numbers_and_limits_are_the_documented_ones)
{
	static const struct {
		uint16_t number;
		const char *name;
		int64_t at_acceptor, at_dialler;
	} documented[] = {
		{ 1, "HELLO", 351, -EPROTO },
		{ 2, "ACCEPT", -EPROTO, 426 },
		{ 3, "REJECT", -EPROTO, 690 },
		{ 4, "BYE", 690, 690 },
		{ 5, "ERROR", -EPROTO, 690 },
		{ 6, "PING", 0, -EPROTO },
		{ 7, "PONG", -EPROTO, 0 },
		{ 8, "DONE", -EPROTO, 0 },
		{ 16, "VOLUME_OPEN", 167, -EPROTO },
		{ 17, "VOLUME", -EPROTO, 98 },
		{ 18, "REFUSE", -EPROTO, 690 },
		{ 19, "POINT_BEGIN", 84, -EPROTO },
		{ 20, "UNITS", 1048576, -EPROTO },
		{ 21, "FP_QUERY", 12, -EPROTO },
		{ 22, "FPS", -EPROTO, 262156 },
		{ 23, "COMMIT", 139, -EPROTO },
		{ 24, "ACK", -EPROTO, 88 },
		{ 25, "CONFIRM", 24, -EPROTO },
		{ 26, "DISCARD", 0, -EPROTO },
		{ 27, "ESCROW", 8192, -EPROTO },
		{ 28, "VERIFY", 12289, -EPROTO },
		{ 29, "VERIFIED", -EPROTO, 17428 },
		{ 32, "POINTS_QUERY", 132, -EPROTO },
		{ 33, "POINT", -EPROTO, 128 },
		{ 34, "POINTS_END", -EPROTO, 0 },
		{ 35, "VIEW_OPEN", 223, -EPROTO },
		{ 36, "VIEW", -EPROTO, 276 },
		{ 37, "VIEW_READ", 12, -EPROTO },
		{ 38, "PIECE", -EPROTO, 65953 },
		{ 39, "READ_END", -EPROTO, 12 },
		{ 40, "VIEW_CLOSE", 0, -EPROTO },
	};
	size_t i;

	ASSERT_U64(N_TYPES, sizeof(documented) / sizeof(documented[0]));
	for (i = 0; i < N_TYPES; i++) {
		struct frame_header h = { .type = documented[i].number };

		EXPECT_STR(msg_name((enum msg_type)h.type),
			   documented[i].name);
		EXPECT_INT(msg_limit_at_acceptor(&h),
			   documented[i].at_acceptor);
		EXPECT_INT(msg_limit_at_dialler(&h), documented[i].at_dialler);
	}
}

/*
 * Version 1 as it is spoken. A change of this sum is a change of layout, which
 * peers in the field would not survive: add a message instead.
 */
TEST(the_bytes_of_version_1_do_not_change)
{
	static const uint8_t golden[32] = {
		0x6d, 0xbe, 0x9f, 0x43, 0xe4, 0x9a, 0xf6, 0xaf,
		0x20, 0xa2, 0x0f, 0x0e, 0x76, 0xb2, 0x30, 0x0b,
		0xf1, 0xd9, 0x26, 0xa9, 0x91, 0xda, 0xf5, 0x51,
		0x88, 0x0e, 0x32, 0xc1, 0xfb, 0xb0, 0xaf, 0xc9
	};
	_cleanup_buf_ struct buf all = { 0 }, b = { 0 };
	uint8_t digest[32];
	size_t i;

	memset(fps, 0x77, sizeof(fps));
	memset(units, 0x66, sizeof(units));
	for (i = 0; i < N_TYPES; i++) {
		/* Those of a feature came later. */
		if (all_types[i] == MSG_VERIFY || all_types[i] == MSG_VERIFIED)
			continue;
		encode_example(&b, all_types[i]);
		buf_put(&all, b.data, b.len);
	}
	ASSERT_TRUE(EVP_Digest(all.data, all.len, digest, NULL, EVP_sha256(),
			       NULL));
	EXPECT_MEM(digest, golden, sizeof(golden));
}

TEST(the_bytes_of_verify_do_not_change)
{
	static const uint8_t asked[] = { 1, 3, 0, 0, 0, 0, 0, 0, 0,
					 5, 0, 0, 0 };
	static const uint8_t told[20] = { 3, [8] = 17, [16] = 2 };
	_cleanup_buf_ struct buf b = { 0 };

	encode_example(&b, MSG_VERIFY);
	ASSERT_U64(b.len, FRAME_HEADER_BYTES + sizeof(asked));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES, asked, sizeof(asked));
	encode_example(&b, MSG_VERIFIED);
	ASSERT_U64(b.len, FRAME_HEADER_BYTES + sizeof(told) + sizeof(held));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES, told, sizeof(told));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES + sizeof(told), held,
		   sizeof(held));
}

TEST(extents_and_what_is_held_are_judged_one_by_one)
{
	static uint8_t many[(WIRE_MAX_VERIFY_BLOCKS + 1) * WIRE_EXTENT_BYTES];
	static uint8_t bad[2 * WIRE_HELD_BYTES];
	struct msg m;
	uint32_t i;

	for (i = 0; i <= WIRE_MAX_VERIFY_BLOCKS; i++)
		wire_extent_put(many, i, &(struct wire_extent){ 2 * i, 1 });
	fill_example(&m, MSG_VERIFY);
	m.u.verify.extents = many;
	m.u.verify.n_extents = WIRE_MAX_VERIFY_BLOCKS;
	EXPECT_OK(encode_one(&m));
	m.u.verify.n_extents++;
	EXPECT_INT(encode_one(&m), -EINVAL);
	m.u.verify.n_extents = 0;
	EXPECT_INT(encode_one(&m), -EINVAL);
	m.u.verify.n_extents = 2;
	wire_extent_put(many, 1,
			&(struct wire_extent){ 9, WIRE_MAX_VERIFY_BLOCKS - 1 });
	EXPECT_OK(encode_one(&m));
	wire_extent_put(many, 1,
			&(struct wire_extent){ 9, WIRE_MAX_VERIFY_BLOCKS });
	EXPECT_INT(encode_one(&m), -EINVAL);
	wire_extent_put(many, 1, &(struct wire_extent){ 9, UINT32_MAX });
	EXPECT_INT(encode_one(&m), -EINVAL);
	wire_extent_put(many, 1, &(struct wire_extent){ 9, 0 });
	EXPECT_INT(encode_one(&m), -EINVAL);
	wire_extent_put(many, 1, &(struct wire_extent){ US_MAX_BLOCKS, 1 });
	EXPECT_INT(encode_one(&m), -EINVAL);

	fill_example(&m, MSG_VERIFIED);
	m.u.verified.held = bad;
	bad[0] = WIRE_HELD_STAGED + 1;
	EXPECT_INT(encode_one(&m), -EINVAL);
	bad[0] = WIRE_HELD_ABSENT;
	EXPECT_OK(encode_one(&m));
	bad[WIRE_HELD_BYTES - 1] = 1;	/* a fingerprint of nothing */
	EXPECT_INT(encode_one(&m), -EINVAL);
	bad[0] = WIRE_HELD_SOUND;
	EXPECT_OK(encode_one(&m));
	m.u.verified.epoch = m.u.verified.seq = 0;	/* no point yet */
	EXPECT_OK(encode_one(&m));
	m.u.verified.seq = 1;
	EXPECT_INT(encode_one(&m), -EINVAL);
}

/* ---- room for later ---- */

TEST(an_extension_of_hello_is_skipped)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m;
	uint8_t *body;

	encode_example(&b, MSG_HELLO);
	put_le16(b.data + b.len - 2, 3);
	EXPECT_INT(decode_exact(b.data, b.len, &m, &body), -EBADMSG);
	free(body);
	buf_put(&b, "abc", 3);
	EXPECT_OK(decode_exact(b.data, b.len, &m, &body));
	EXPECT_STR(m.u.hello.software, "understudy 0.1");
	free(body);
	buf_put_u8(&b, 0);
	EXPECT_INT(decode_exact(b.data, b.len, &m, &body), -EBADMSG);
	free(body);
}

TEST(a_stranger_without_the_magic_is_refused)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m;
	uint8_t *body;

	encode_example(&b, MSG_HELLO);
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES, "UNDRSTDY", 8);
	b.data[FRAME_HEADER_BYTES] = 'u';
	EXPECT_INT(decode_exact(b.data, b.len, &m, &body), -EBADMSG);
	free(body);
}

TEST(only_what_the_other_end_sends_is_within_the_limits)
{
	struct frame_header h = { .type = MSG_HELLO };

	EXPECT_GT(msg_limit_at_acceptor(&h), 0);
	EXPECT_INT(msg_limit_at_dialler(&h), -EPROTO);
	h.type = MSG_ACK;
	EXPECT_INT(msg_limit_at_acceptor(&h), -EPROTO);
	EXPECT_GT(msg_limit_at_dialler(&h), 0);
	h.type = MSG_BYE;
	EXPECT_GT(msg_limit_at_acceptor(&h), 0);
	EXPECT_GT(msg_limit_at_dialler(&h), 0);
	h.type = 999;
	EXPECT_INT(msg_limit_at_acceptor(&h), -EPROTO);
	h.flags = FRAME_IGNORABLE;
	EXPECT_INT(msg_limit_at_acceptor(&h), MSG_UNKNOWN_MAX);
	EXPECT_INT(msg_limit_at_dialler(&h), MSG_UNKNOWN_MAX);
	EXPECT_FALSE(msg_is_known(999));
}

/* ---- text ---- */

TEST(text_that_would_act_on_a_terminal_is_not_clean)
{
	static const char *const clean[] = { "", "a b", "na\xc3\xafve",
					     "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					     "\xc2\xa0" };
	static const char *const dirty[] = {
		"\n", "a\tb", "\x1b[2J", "\x7f", "\xc2\x85", "\x80", "\xff",
		"\xc3", "\xc3(", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
		"\xf5\x80\x80\x80", "\xf4\x90\x80\x80", "\xe2\x82"
	};
	size_t i;

	for (i = 0; i < sizeof(clean) / sizeof(clean[0]); i++)
		EXPECT_MSG(wiretext_is_clean(clean[i]), "clean %zu", i);
	for (i = 0; i < sizeof(dirty) / sizeof(dirty[0]); i++) {
		char copy[16];

		EXPECT_MSG(!wiretext_is_clean(dirty[i]), "dirty %zu", i);
		(void)snprintf(copy, sizeof(copy), "%s", dirty[i]);
		wiretext_clean(copy);
		EXPECT_MSG(wiretext_is_clean(copy), "cleaned %zu", i);
		EXPECT_U64(strlen(copy), strlen(dirty[i]));
	}
}

TEST(an_error_with_control_characters_is_told_without_them)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct msg m, back;
	uint8_t *body;

	fill_example(&m, MSG_BYE);
	memcpy(m.u.error.message, "a\x1b[2Jb", 7);
	ASSERT_OK(msg_encode(&b, &m));
	ASSERT_OK(decode_exact(b.data, b.len, &back, &body));
	EXPECT_STR(back.u.error.message, "a?[2Jb");
	free(body);
}

TEST(errors_travel_and_come_back_as_errors)
{
	struct err err = ERR_INIT, back = ERR_INIT;
	struct wire_error e;

	(void)err_set(&err, -ENOSPC, "store-full", "store /srv",
		      "write: no space");
	(void)err_remedy(&err, "add space");
	wire_error_from_err(&err, &e);
	EXPECT_INT(wire_error_to_err(&e, "replica dr1", &back), -ENOSPC);
	EXPECT_INT(back.num, -ENOSPC);
	EXPECT_STR(back.code, "store-full");
	EXPECT_STR(back.message, "replica dr1: store /srv: write: no space");
	EXPECT_STR(back.remedy, "add space");

	/* one that was told already keeps its text and remedy */
	e.num = -EIO;
	(void)snprintf(e.remedy, sizeof(e.remedy), "other");
	EXPECT_INT(wire_error_to_err(&e, "replica dr1", &back), -EIO);
	EXPECT_STR(back.remedy, "add space");

	err_clear(&err);
	wire_error_from_err(&err, &e);
	EXPECT_INT(e.num, -EIO);
	EXPECT_STR(e.code, "failed");
}
