// SPDX-License-Identifier: Apache-2.0
/*
 * What a field of a message may say: values that nobody may send, the longest
 * and the largest that somebody may.
 */
#include "unit/msg_example.h"

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
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.label[0] = '\n');
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.name[0] = 0);
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.name[1] = '/');
	EXPECT_REFUSED(MSG_GROUP_QUERY, m.u.group_query.name[0] = 0);
	EXPECT_REFUSED(MSG_GROUP_END, m.u.group_end.source[0] = 0);
	EXPECT_REFUSED(MSG_GROUP_POINT, m.u.group_point.label[0] = '\n');
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

TEST(bad_groups_are_refused)
{
	EXPECT_REFUSED(MSG_GROUP_COMMIT,
		       m.u.commit.group.uuid = (struct uuid){ 0 });
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.seq = 0);
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.seq = 1ULL << 63);
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.n_members = 0);
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.group.n_members = 65);
	EXPECT_REFUSED(MSG_GROUP_COMMIT, m.u.commit.seq = 0);
	EXPECT_REFUSED(MSG_MEMBER_POINT, m.u.point.group.seq = 0);
	EXPECT_REFUSED(MSG_MEMBER_POINT, m.u.point.seq = 0);
	EXPECT_REFUSED(MSG_GROUP_END, m.u.group_end.uuid = (struct uuid){ 0 });
	EXPECT_REFUSED(MSG_GROUP_POINT, m.u.group_point.seq = 0);
	EXPECT_REFUSED(MSG_GROUP_POINT, m.u.group_point.kind = 4);
	EXPECT_REFUSED(MSG_GROUP_POINT, m.u.group_point.n_members = 0);
}

TEST(members_of_a_group_point_are_sound_and_by_rising_name)
{
	uint8_t *second = example_members + WIRE_MEMBER_BYTES;

	/* the name begins at 40, the point at 16, the size at 32 */
	EXPECT_REFUSED(MSG_GROUP_POINT, example_member_put(second, 0, "db1"));
	EXPECT_REFUSED(MSG_GROUP_POINT, example_member_put(second, 0, "db0"));
	EXPECT_REFUSED(MSG_GROUP_POINT, second[40] = 0);
	EXPECT_REFUSED(MSG_GROUP_POINT, second[40 + 63] = 'x');
	EXPECT_REFUSED(MSG_GROUP_POINT, put_le64(second + 16, 0));
	EXPECT_REFUSED(MSG_GROUP_POINT, put_le64(second + 24, 0));
	EXPECT_REFUSED(MSG_GROUP_POINT, put_le64(second + 32, 0));
	EXPECT_REFUSED(MSG_GROUP_POINT, put_le64(second + 32, UINT64_MAX));
	EXPECT_REFUSED(MSG_GROUP_POINT, memset(second, 0, 16));
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
	fill_example(&m, MSG_GROUP_COMMIT);
	memcpy(m.u.commit.label, text, 65);
	memcpy(m.u.commit.group.name, name, 65);
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
