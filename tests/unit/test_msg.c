// SPDX-License-Identifier: Apache-2.0
/*
 * Messages to bytes and back: whole, cut off, changed, made up; the bytes and
 * numbers that docs/wire-protocol.md promises, and the room that is left for
 * later.
 */
#include "unit/msg_example.h"

#include <openssl/evp.h>

#include "base/rnd.h"

TEST(every_message_comes_back_as_it_was)
{
	_cleanup_buf_ struct buf b = { 0 }, again = { 0 };
	uint8_t *body;
	size_t i;

	memset(example_fps, 0x77, sizeof(example_fps));
	memset(example_units, 0x66, sizeof(example_units));
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
		{ 30, "GROUP_COMMIT", 233, -EPROTO },
		{ 32, "POINTS_QUERY", 132, -EPROTO },
		{ 33, "POINT", -EPROTO, 128 },
		{ 34, "POINTS_END", -EPROTO, 0 },
		{ 35, "VIEW_OPEN", 223, -EPROTO },
		{ 36, "VIEW", -EPROTO, 276 },
		{ 37, "VIEW_READ", 12, -EPROTO },
		{ 38, "PIECE", -EPROTO, 65953 },
		{ 39, "READ_END", -EPROTO, 12 },
		{ 40, "VIEW_CLOSE", 0, -EPROTO },
		{ 41, "MEMBER_POINT", -EPROTO, 223 },
		{ 42, "GROUP_QUERY", 132, -EPROTO },
		{ 43, "GROUP_POINT", -EPROTO, 6776 },
		{ 44, "GROUP_END", -EPROTO, 148 },
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

	memset(example_fps, 0x77, sizeof(example_fps));
	memset(example_units, 0x66, sizeof(example_units));
	for (i = 0; i < N_TYPES; i++) {
		/* Those of a feature came later. */
		if (all_types[i] == MSG_VERIFY ||
		    all_types[i] == MSG_VERIFIED ||
		    all_types[i] == MSG_GROUP_COMMIT ||
		    all_types[i] >= MSG_MEMBER_POINT)
			continue;
		encode_example(&b, all_types[i]);
		buf_put(&all, b.data, b.len);
	}
	ASSERT_TRUE(EVP_Digest(all.data, all.len, digest, NULL, EVP_sha256(),
			       NULL));
	EXPECT_MEM(digest, golden, sizeof(golden));
}

TEST(the_bytes_of_groups_do_not_change)
{
	static const uint8_t group[34] = { 0xab, 0xcd, [16] = 41, [24] = 3,
					   [28] = 4, [30] = 's', 'h', 'o',
					   'p' };
	static const uint8_t member[WIRE_MEMBER_BYTES] = {
		7, 1, [16] = 2, [24] = 41, [33] = 0x10, [40] = 'w', 'a', 'l',
		'1' };
	_cleanup_buf_ struct buf b = { 0 }, old = { 0 };

	encode_example(&old, MSG_COMMIT);
	encode_example(&b, MSG_GROUP_COMMIT);
	ASSERT_U64(b.len, old.len + sizeof(group));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES, old.data + FRAME_HEADER_BYTES,
		   old.len - FRAME_HEADER_BYTES);
	EXPECT_MEM(b.data + old.len, group, sizeof(group));
	encode_example(&old, MSG_POINT);
	encode_example(&b, MSG_MEMBER_POINT);
	ASSERT_U64(b.len, old.len + sizeof(group) + 1);
	EXPECT_MEM(b.data + old.len, group, sizeof(group));
	EXPECT_INT(b.data[b.len - 1], 1);
	encode_example(&b, MSG_GROUP_POINT);
	ASSERT_U64(b.len, FRAME_HEADER_BYTES + 57 + 2 * sizeof(member));
	EXPECT_INT(b.data[FRAME_HEADER_BYTES], 9);
	EXPECT_INT(b.data[FRAME_HEADER_BYTES + 53], 2);
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES + 57 + sizeof(member), member,
		   sizeof(member));
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
	ASSERT_U64(b.len, FRAME_HEADER_BYTES + sizeof(told) +
				  sizeof(example_held));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES, told, sizeof(told));
	EXPECT_MEM(b.data + FRAME_HEADER_BYTES + sizeof(told), example_held,
		   sizeof(example_held));
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
