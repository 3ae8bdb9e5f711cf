// SPDX-License-Identifier: Apache-2.0
/* Conversations between the two ends as they should go. */
#include "lib/tap.h"

#include "session_pair.h"

static uint8_t fps[WIRE_MAX_FP_BLOCKS * UNIT_FP_BYTES];

TEST(nothing_can_be_asked_before_acceptance)
{
	struct wire_volume_open open = pair_open();
	struct wire_accept a = pair_accept();
	struct pair p;

	pair_new(&p, WIRE_ROLE_SENDER);
	EXPECT_INT(dial_volume_open(p.d, &open), -ENOTCONN);
	EXPECT_INT(dial_ping(p.d), -ENOTCONN);
	SERVE_GETS(&p, SERVE_HELLO);
	EXPECT_INT(p.se.hello.role, WIRE_ROLE_SENDER);
	EXPECT_U64(p.se.hello.version_min, WIRE_VERSION_MIN);
	EXPECT_U64(p.se.hello.version_max, WIRE_VERSION_MAX);
	EXPECT_STR(p.se.hello.software, "test");
	SERVE_GETS_NOTHING(&p);
	DIAL_GETS_NOTHING(&p);
	ASSERT_OK(serve_accept(p.s, &a));
	DIAL_GETS(&p, DIAL_ACCEPTED);
	EXPECT_STR(p.de.accept.peer_name, "web1");
	EXPECT_U64(p.de.accept.version, 1);
	EXPECT_OK(dial_volume_open(p.d, &open));
	pair_free(&p);
}

TEST(a_rejected_dialler_is_told_why_and_can_ask_nothing)
{
	struct wire_error e = { .num = -EACCES, .code = "not-allowed",
				.message = "web1: revoked",
				.remedy = "issue another" };
	struct wire_volume_open open = pair_open();
	struct pair p;

	pair_new(&p, WIRE_ROLE_SENDER);
	SERVE_GETS(&p, SERVE_HELLO);
	ASSERT_OK(serve_reject(p.s, &e));
	DIAL_GETS(&p, DIAL_REJECTED);
	EXPECT_STR(p.de.error.code, "not-allowed");
	EXPECT_STR(p.de.error.remedy, "issue another");
	EXPECT_INT(dial_volume_open(p.d, &open), -ESHUTDOWN);
	DIAL_GETS_NOTHING(&p);
	EXPECT_INT(serve_accept(p.s, &(struct wire_accept){ 0 }), -EINVAL);
	pair_free(&p);
}

TEST(acceptance_needs_the_right_for_the_role)
{
	static const struct {
		enum wire_role role;
		uint32_t rights;
		int r;
	} cases[] = {
		{ WIRE_ROLE_SENDER, WIRE_RIGHT_PUSH, 0 },
		{ WIRE_ROLE_SENDER, WIRE_RIGHT_READ | WIRE_RIGHT_ADMIN,
		  -EACCES },
		{ WIRE_ROLE_READER, WIRE_RIGHT_READ, 0 },
		{ WIRE_ROLE_READER, WIRE_RIGHT_PUSH, -EACCES },
		{ WIRE_ROLE_RECEIVER, 15, -EOPNOTSUPP },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_accept a = pair_accept();
		struct pair p;

		a.rights = cases[i].rights;
		pair_new(&p, cases[i].role);
		SERVE_GETS(&p, SERVE_HELLO);
		EXPECT_INT(serve_accept(p.s, &a), cases[i].r);
		/* refused, the owner can still say so */
		if (cases[i].r)
			EXPECT_OK(serve_reject(p.s, &(struct wire_error){
							.num = -EACCES }));
		pair_free(&p);
	}
}

TEST(a_point_travels_and_is_acknowledged)
{
	struct delta delta = pair_delta(11);
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	uint8_t units[1000];
	struct pair p;
	size_t n;

	pair_sending(&p);
	EXPECT_U64(p.de.volume.handle, 7);
	EXPECT_U64(p.de.volume.seq, 10);
	ASSERT_OK(dial_point_begin(p.d, &delta));
	n = pair_unit(units, 0, 4, false);
	n += pair_unit(units + n, 100, 30000, true);
	ASSERT_OK(dial_units(p.d, units, n));
	ASSERT_OK(dial_units(p.d, units, n));
	c.units = 999;			/* the machine counts itself */
	(void)snprintf(c.label, sizeof(c.label), "first");
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	EXPECT_TRUE(pair_same_delta(&p.se.delta, &delta));
	SERVE_GETS(&p, SERVE_UNITS);
	EXPECT_U64(p.se.n_bytes, n);
	EXPECT_MEM(p.se.bytes, units, n);
	SERVE_GETS(&p, SERVE_UNITS);
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_U64(p.se.commit.units, 4);
	EXPECT_U64(p.se.commit.seq, 11);
	EXPECT_STR(p.se.commit.label, "first");
	a.session = (struct uuid){ 0 };	/* filled in by the machine */
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_ACK);
	EXPECT_U64(p.de.ack.seq, 11);
	EXPECT_TRUE(uuid_equal(&p.de.ack.session, &pair_session));
	EXPECT_MEM(&p.de.ack.head, &a.head, 32);
	DIAL_GETS_NOTHING(&p);
	SERVE_GETS_NOTHING(&p);
	pair_free(&p);
}

TEST(the_next_point_may_be_staged_while_one_is_outstanding)
{
	struct wire_commit c11 = pair_commit(11), c12 = pair_commit(12);
	struct delta d11 = pair_delta(11), d12 = pair_delta(12);
	struct wire_ack a11 = pair_ack(11), a12 = pair_ack(12);
	uint8_t unit[1000];
	struct pair p;
	size_t n = pair_unit(unit, 5, 1, false);

	pair_sending(&p);
	ASSERT_OK(dial_point_begin(p.d, &d11));
	ASSERT_OK(dial_units(p.d, unit, n));
	ASSERT_OK(dial_commit(p.d, &c11));
	EXPECT_INT(dial_point_begin(p.d, &d11), -EINVAL);
	EXPECT_INT(dial_units(p.d, unit, n), -EINVAL);
	ASSERT_OK(dial_point_begin(p.d, &d12));
	ASSERT_OK(dial_units(p.d, unit, n));
	ASSERT_OK(dial_units(p.d, unit, n));
	EXPECT_INT(dial_commit(p.d, &c12), -EBUSY);
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_UNITS);
	SERVE_GETS(&p, SERVE_COMMIT);
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_UNITS);
	ASSERT_OK(serve_ack(p.s, &a11));
	SERVE_GETS(&p, SERVE_UNITS);
	DIAL_GETS(&p, DIAL_ACK);
	ASSERT_OK(dial_commit(p.d, &c12));
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_U64(p.se.commit.units, 2);
	ASSERT_OK(serve_ack(p.s, &a12));
	DIAL_GETS(&p, DIAL_ACK);
	pair_free(&p);
}

TEST(an_open_point_goes_on_under_a_new_delta_of_the_same_sequence)
{
	struct delta a = pair_delta(11), b = pair_delta(11);
	struct delta other = pair_delta(12);
	struct wire_commit c = pair_commit(11);
	uint8_t unit[1000];
	struct pair p;
	size_t n = pair_unit(unit, 5, 1, false);

	b.salt[5] = 99;
	pair_sending(&p);
	ASSERT_OK(dial_point_begin(p.d, &a));
	ASSERT_OK(dial_units(p.d, unit, n));
	EXPECT_INT(dial_point_begin(p.d, &other), -EINVAL);
	ASSERT_OK(dial_point_begin(p.d, &b));
	ASSERT_OK(dial_units(p.d, unit, n));
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_UNITS);
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_UNITS);
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_U64(p.se.commit.units, 2);
	pair_free(&p);
}

TEST(an_empty_point_needs_no_begin)
{
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_COMMIT);
	EXPECT_U64(p.se.commit.units, 0);
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_ACK);
	c = pair_commit(11);		/* not twice */
	EXPECT_INT(dial_commit(p.d, &c), -EINVAL);
	pair_free(&p);
}

TEST(a_new_epoch_starts_where_it_likes)
{
	struct wire_volume_open open = pair_open();
	struct wire_volume_state state = pair_state();
	struct delta d = pair_delta(5);
	struct wire_commit c = pair_commit(5);
	struct pair p;

	pair_ready(&p, WIRE_ROLE_SENDER);
	ASSERT_OK(dial_volume_open(p.d, &open));
	SERVE_GETS(&p, SERVE_VOLUME_OPEN);
	state.epoch = 2;		/* newest point is 2:10 */
	ASSERT_OK(serve_volume(p.s, &state));
	DIAL_GETS(&p, DIAL_VOLUME);
	ASSERT_OK(dial_point_begin(p.d, &d));
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_COMMIT);
	pair_free(&p);
}

TEST(a_refused_volume_can_be_asked_for_again)
{
	struct wire_volume_open open = pair_open();
	struct wire_volume_state state = pair_state();
	struct wire_error e = { .num = -ESTALE, .code = "old-epoch" };
	struct pair p;

	pair_ready(&p, WIRE_ROLE_SENDER);
	ASSERT_OK(dial_volume_open(p.d, &open));
	EXPECT_INT(dial_volume_open(p.d, &open), -EBUSY);
	SERVE_GETS(&p, SERVE_VOLUME_OPEN);
	EXPECT_STR(p.se.volume_open.name, "db1");
	EXPECT_INT(serve_error(p.s, &e), -EINVAL);
	ASSERT_OK(serve_refuse(p.s, &e));
	DIAL_GETS(&p, DIAL_REFUSED);
	EXPECT_STR(p.de.error.code, "old-epoch");
	EXPECT_INT(dial_fp_query(p.d, 0, 1), -ENOTCONN);
	ASSERT_OK(dial_volume_open(p.d, &open));
	SERVE_GETS(&p, SERVE_VOLUME_OPEN);
	ASSERT_OK(serve_volume(p.s, &state));
	DIAL_GETS(&p, DIAL_VOLUME);
	pair_free(&p);
}

TEST(fingerprint_queries_are_pipelined_and_answered_in_order)
{
	struct pair p;
	uint32_t i;

	pair_sending(&p);
	for (i = 0; i < WIRE_MAX_PENDING; i++)
		ASSERT_OK(dial_fp_query(p.d, i * 10, 10 + i % 3));
	EXPECT_INT(dial_fp_query(p.d, 0, 1), -EBUSY);
	for (i = 0; i < WIRE_MAX_PENDING; i++) {
		SERVE_GETS(&p, SERVE_FP_QUERY);
		EXPECT_U64(p.se.first, i * 10);
		EXPECT_U64(p.se.count, 10 + i % 3);
	}
	EXPECT_INT(serve_fps(p.s, 10, 11, fps), -EINVAL);
	for (i = 0; i < WIRE_MAX_PENDING; i++) {
		memset(fps, (int)i, sizeof(fps));
		ASSERT_OK(serve_fps(p.s, i * 10, 10 + i % 3, fps));
	}
	EXPECT_INT(serve_fps(p.s, 0, 10, fps), -EINVAL);
	for (i = 0; i < WIRE_MAX_PENDING; i++) {
		DIAL_GETS(&p, DIAL_FPS);
		EXPECT_U64(p.de.first, i * 10);
		EXPECT_INT(p.de.fps[(10 + i % 3) * 16 - 1], i);
	}
	ASSERT_OK(dial_fp_query(p.d, PAIR_BLOCKS - WIRE_MAX_FP_BLOCKS,
				WIRE_MAX_FP_BLOCKS));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	ASSERT_OK(serve_fps(p.s, p.se.first, p.se.count, fps));
	DIAL_GETS(&p, DIAL_FPS);
	pair_free(&p);
}

TEST(acknowledgements_overtake_unanswered_queries)
{
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_fp_query(p.d, 0, 1));
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	SERVE_GETS(&p, SERVE_COMMIT);
	ASSERT_OK(serve_ack(p.s, &a));
	ASSERT_OK(serve_fps(p.s, 0, 1, fps));
	DIAL_GETS(&p, DIAL_ACK);
	DIAL_GETS(&p, DIAL_FPS);
	pair_free(&p);
}

TEST(a_failed_query_leaves_the_session_alive)
{
	struct wire_error e = { .num = -EIO, .code = "damaged" };
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_fp_query(p.d, 3, 4));
	ASSERT_OK(dial_fp_query(p.d, 5, 6));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	ASSERT_OK(serve_error(p.s, &e));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	ASSERT_OK(serve_fps(p.s, 5, 6, fps));
	DIAL_GETS(&p, DIAL_ERROR);
	EXPECT_INT(p.de.request, WIRE_REQ_FPS);
	EXPECT_U64(p.de.first, 3);
	EXPECT_U64(p.de.count, 4);
	EXPECT_STR(p.de.error.code, "damaged");
	DIAL_GETS(&p, DIAL_FPS);
	EXPECT_INT(serve_error(p.s, &e), -EINVAL);
	pair_free(&p);
}

TEST(confirms_are_of_the_newest_point_and_not_beside_a_commit)
{
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	pair_sending(&p);
	EXPECT_INT(dial_confirm(p.d, 3, 9, 1), -EINVAL);
	ASSERT_OK(dial_confirm(p.d, 3, 10, 555));
	SERVE_GETS(&p, SERVE_CONFIRM);
	EXPECT_U64(p.se.seq, 10);
	EXPECT_INT(p.se.wall_ns, 555);
	ASSERT_OK(dial_commit(p.d, &c));
	EXPECT_INT(dial_confirm(p.d, 3, 10, 1), -EBUSY);
	SERVE_GETS(&p, SERVE_COMMIT);
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_ACK);
	EXPECT_INT(dial_confirm(p.d, 3, 10, 1), -EINVAL);
	ASSERT_OK(dial_confirm(p.d, 3, 11, 1));
	SERVE_GETS(&p, SERVE_CONFIRM);
	pair_free(&p);
}

TEST(a_discard_is_done_once_its_owner_comes_back_for_more)
{
	struct delta d = pair_delta(11);
	uint8_t unit[1000];
	struct pair p;
	size_t n = pair_unit(unit, 5, 1, false);

	pair_sending(&p);
	ASSERT_OK(dial_point_begin(p.d, &d));
	ASSERT_OK(dial_units(p.d, unit, n));
	ASSERT_OK(dial_discard(p.d));
	EXPECT_INT(dial_units(p.d, unit, n), -EINVAL);
	SERVE_GETS(&p, SERVE_POINT_BEGIN);
	SERVE_GETS(&p, SERVE_UNITS);
	SERVE_GETS(&p, SERVE_DISCARD);
	DIAL_GETS_NOTHING(&p);
	SERVE_GETS_NOTHING(&p);
	DIAL_GETS(&p, DIAL_DONE);
	EXPECT_INT(p.de.request, WIRE_REQ_DISCARD);
	DIAL_GETS_NOTHING(&p);
	pair_free(&p);
}

TEST(an_escrow_is_confirmed_or_refused_and_its_text_wiped)
{
	static const char text[] = "understudy-key 1\nname db1\n";
	struct wire_error e = { .num = -EROFS, .code = "keys-read-only" };
	const uint8_t *seen;
	struct pair p;
	size_t i;

	pair_sending(&p);
	ASSERT_OK(dial_escrow(p.d, text, sizeof(text) - 1));
	SERVE_GETS(&p, SERVE_ESCROW);
	ASSERT_U64(p.se.n_bytes, sizeof(text) - 1);
	EXPECT_MEM(p.se.bytes, text, sizeof(text) - 1);
	seen = p.se.bytes;
	SERVE_GETS_NOTHING(&p);
	for (i = 0; i < sizeof(text) - 1; i++)
		ASSERT_INT(seen[i], 0);
	DIAL_GETS(&p, DIAL_DONE);
	EXPECT_INT(p.de.request, WIRE_REQ_ESCROW);

	ASSERT_OK(dial_escrow(p.d, text, sizeof(text) - 1));
	SERVE_GETS(&p, SERVE_ESCROW);
	ASSERT_OK(serve_error(p.s, &e));
	SERVE_GETS_NOTHING(&p);
	DIAL_GETS(&p, DIAL_ERROR);
	EXPECT_INT(p.de.request, WIRE_REQ_ESCROW);
	EXPECT_STR(p.de.error.code, "keys-read-only");
	DIAL_GETS_NOTHING(&p);
	pair_free(&p);
}

TEST(a_sent_key_does_not_stay_in_the_diallers_buffer)
{
	static const char text[] = "understudy-key 1 0123456789abcdef";
	struct buf *out;
	struct pair p;
	size_t i;

	pair_sending(&p);
	ASSERT_OK(dial_escrow(p.d, text, sizeof(text) - 1));
	out = dial_out(p.d);
	ASSERT_NOT_NULL(memmem(out->data, out->len, text, sizeof(text) - 1));
	ASSERT_OK(to_serve(&p));
	out = dial_out(p.d);
	ASSERT_U64(out->len, 0);
	for (i = 0; i < out->cap; i++)
		ASSERT_INT(out->data[i], 0);
	pair_free(&p);
}

/* Answers stay in order also when an implied one is ready first. */
TEST(a_discard_behind_an_unanswered_query_waits_for_its_turn)
{
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_fp_query(p.d, 0, 1));
	ASSERT_OK(dial_discard(p.d));
	ASSERT_OK(dial_fp_query(p.d, 1, 1));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	SERVE_GETS(&p, SERVE_DISCARD);
	SERVE_GETS(&p, SERVE_FP_QUERY);
	DIAL_GETS_NOTHING(&p);
	ASSERT_OK(serve_fps(p.s, 0, 1, fps));
	ASSERT_OK(serve_fps(p.s, 1, 1, fps));
	DIAL_GETS(&p, DIAL_FPS);
	DIAL_GETS(&p, DIAL_DONE);
	DIAL_GETS(&p, DIAL_FPS);
	pair_free(&p);
}

TEST(pings_are_answered_inside)
{
	struct pair p;

	pair_ready(&p, WIRE_ROLE_READER);
	ASSERT_OK(dial_ping(p.d));
	ASSERT_OK(dial_ping(p.d));
	SERVE_GETS_NOTHING(&p);
	DIAL_GETS(&p, DIAL_PONG);
	DIAL_GETS(&p, DIAL_PONG);
	DIAL_GETS_NOTHING(&p);
	pair_free(&p);
}

TEST(points_are_listed)
{
	struct wire_point row = { .epoch = 3, .seq = 1, .size_bytes = 4096 };
	struct pair p;

	pair_ready(&p, WIRE_ROLE_READER);
	EXPECT_INT(dial_points_query(p.d, NULL, ""), -EINVAL);
	EXPECT_INT(dial_points_query(p.d, "a/b", "db1"), -EINVAL);
	ASSERT_OK(dial_points_query(p.d, NULL, "db1"));
	ASSERT_OK(dial_points_query(p.d, "web1", "db2"));
	SERVE_GETS(&p, SERVE_POINTS_QUERY);
	EXPECT_STR(p.se.source, "");
	EXPECT_STR(p.se.name, "db1");
	ASSERT_OK(serve_point(p.s, &row));
	row.seq = 2;
	ASSERT_OK(serve_point(p.s, &row));
	ASSERT_OK(serve_points_end(p.s));
	SERVE_GETS(&p, SERVE_POINTS_QUERY);
	EXPECT_STR(p.se.source, "web1");
	ASSERT_OK(serve_points_end(p.s));
	EXPECT_INT(serve_point(p.s, &row), -EINVAL);
	EXPECT_INT(serve_points_end(p.s), -EINVAL);
	DIAL_GETS(&p, DIAL_POINT);
	EXPECT_U64(p.de.point.seq, 1);
	DIAL_GETS(&p, DIAL_POINT);
	EXPECT_U64(p.de.point.seq, 2);
	DIAL_GETS(&p, DIAL_POINTS_END);
	DIAL_GETS(&p, DIAL_POINTS_END);
	pair_free(&p);
}

TEST(a_view_is_read_in_pieces)
{
	uint8_t unit[1000];
	struct wire_piece piece = { .first = 98, .count = 2, .absent = true };
	struct pair p;

	pair_reading(&p);
	EXPECT_U64(p.de.view.handle, 5);
	EXPECT_INT(dial_view_read(p.d, 6, 0, 1), -EINVAL);
	EXPECT_INT(dial_view_read(p.d, 5, PAIR_BLOCKS, 1), -EINVAL);
	ASSERT_OK(dial_view_read(p.d, 5, 98, 6));
	ASSERT_OK(dial_view_read(p.d, 5, 0, 1));
	EXPECT_INT(dial_view_close(p.d, 5), -EBUSY);
	SERVE_GETS(&p, SERVE_VIEW_READ);
	EXPECT_U64(p.se.handle, 5);
	EXPECT_U64(p.se.first, 98);
	EXPECT_U64(p.se.count, 6);
	ASSERT_OK(serve_piece(p.s, &piece));
	EXPECT_INT(serve_piece(p.s, &piece), -EINVAL);
	EXPECT_INT(serve_read_end(p.s, 98, 6), -EINVAL);
	piece = (struct wire_piece){ .first = 100, .count = 4,
				     .delta = pair_delta(10), .skip = 3,
				     .unit = unit,
				     .unit_bytes = pair_unit(unit, 97, 16,
							     false) };
	ASSERT_OK(serve_piece(p.s, &piece));
	ASSERT_OK(serve_read_end(p.s, 98, 6));
	SERVE_GETS(&p, SERVE_VIEW_READ);
	piece = (struct wire_piece){ .first = 0, .count = 1, .absent = true };
	ASSERT_OK(serve_piece(p.s, &piece));
	ASSERT_OK(serve_read_end(p.s, 0, 1));
	DIAL_GETS(&p, DIAL_PIECE);
	EXPECT_TRUE(p.de.piece.absent);
	EXPECT_U64(p.de.piece.first, 98);
	DIAL_GETS(&p, DIAL_PIECE);
	EXPECT_FALSE(p.de.piece.absent);
	EXPECT_U64(p.de.piece.skip, 3);
	EXPECT_MEM(p.de.piece.unit, unit, p.de.piece.unit_bytes);
	DIAL_GETS(&p, DIAL_READ_END);
	EXPECT_U64(p.de.first, 98);
	DIAL_GETS(&p, DIAL_PIECE);
	DIAL_GETS(&p, DIAL_READ_END);
	ASSERT_OK(dial_view_close(p.d, 5));
	SERVE_GETS(&p, SERVE_VIEW_CLOSE);
	EXPECT_INT(dial_view_read(p.d, 5, 0, 1), -EINVAL);
	pair_free(&p);
}

TEST(a_read_may_fail_in_the_middle)
{
	struct wire_piece piece = { .first = 0, .count = 1, .absent = true };
	struct wire_error e = { .num = -EBADMSG, .code = "damaged" };
	struct pair p;

	pair_reading(&p);
	ASSERT_OK(dial_view_read(p.d, 5, 0, 2));
	SERVE_GETS(&p, SERVE_VIEW_READ);
	ASSERT_OK(serve_piece(p.s, &piece));
	ASSERT_OK(serve_error(p.s, &e));
	DIAL_GETS(&p, DIAL_PIECE);
	DIAL_GETS(&p, DIAL_ERROR);
	EXPECT_INT(p.de.request, WIRE_REQ_READ);
	EXPECT_U64(p.de.count, 2);
	ASSERT_OK(dial_view_close(p.d, 5));
	SERVE_GETS(&p, SERVE_VIEW_CLOSE);
	pair_free(&p);
}

TEST(views_are_bounded_and_their_room_comes_back)
{
	struct wire_view_open sel = { .name = "db1" };
	struct wire_view_state view;
	struct pair p;
	uint32_t i;

	pair_ready(&p, WIRE_ROLE_READER);
	for (i = 0; i < WIRE_MAX_VIEWS; i++) {
		ASSERT_OK(dial_view_open(p.d, &sel));
		SERVE_GETS(&p, SERVE_VIEW_OPEN);
		view = pair_view(i);
		ASSERT_OK(serve_view(p.s, &view));
		DIAL_GETS(&p, DIAL_VIEW);
	}
	EXPECT_INT(dial_view_open(p.d, &sel), -EBUSY);
	ASSERT_OK(dial_view_close(p.d, 3));
	SERVE_GETS(&p, SERVE_VIEW_CLOSE);
	ASSERT_OK(dial_view_open(p.d, &sel));
	SERVE_GETS(&p, SERVE_VIEW_OPEN);
	view = pair_view(4);
	EXPECT_INT(serve_view(p.s, &view), -EINVAL);	/* handle in use */
	view = pair_view(3);
	ASSERT_OK(serve_view(p.s, &view));
	DIAL_GETS(&p, DIAL_VIEW);
	pair_free(&p);
}

TEST(each_role_asks_for_its_own_things_only)
{
	struct wire_view_open sel = { .name = "db1" };
	struct wire_volume_open open = pair_open();
	struct pair p;

	pair_sending(&p);
	EXPECT_INT(dial_view_open(p.d, &sel), -ENOTCONN);
	EXPECT_INT(dial_points_query(p.d, NULL, "db1"), -ENOTCONN);
	pair_free(&p);
	pair_ready(&p, WIRE_ROLE_READER);
	EXPECT_INT(dial_volume_open(p.d, &open), -ENOTCONN);
	EXPECT_INT(dial_fp_query(p.d, 0, 1), -ENOTCONN);
	pair_free(&p);
}

TEST(an_orderly_end_lets_what_is_under_way_arrive)
{
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_commit(p.d, &c));
	SERVE_GETS(&p, SERVE_COMMIT);
	ASSERT_OK(dial_bye(p.d));
	EXPECT_INT(dial_bye(p.d), -ESHUTDOWN);
	EXPECT_INT(dial_fp_query(p.d, 0, 1), -ESHUTDOWN);
	ASSERT_OK(serve_ack(p.s, &a));
	DIAL_GETS(&p, DIAL_ACK);
	SERVE_GETS(&p, SERVE_BYE);
	EXPECT_INT(p.se.error.num, 0);
	SERVE_GETS_NOTHING(&p);
	EXPECT_INT(serve_ack(p.s, &a), -EINVAL);
	pair_free(&p);
}

TEST(last_words_of_the_server_are_heard)
{
	struct wire_error e = { .num = -ENOSPC, .code = "store-full",
				.message = "store: full" };
	struct wire_commit c = pair_commit(11);
	struct wire_ack a = pair_ack(11);
	struct pair p;

	pair_sending(&p);
	ASSERT_OK(dial_commit(p.d, &c));
	ASSERT_OK(dial_fp_query(p.d, 0, 1));
	SERVE_GETS(&p, SERVE_COMMIT);
	ASSERT_OK(serve_bye(p.s, &e));
	EXPECT_INT(serve_bye(p.s, &e), -ESHUTDOWN);
	EXPECT_INT(serve_ack(p.s, &a), -EINVAL);
	SERVE_GETS_NOTHING(&p);		/* what still comes is dropped */
	DIAL_GETS(&p, DIAL_BYE);
	EXPECT_STR(p.de.error.code, "store-full");
	DIAL_GETS_NOTHING(&p);
	EXPECT_INT(dial_fp_query(p.d, 0, 1), -ESHUTDOWN);
	pair_free(&p);
}

TEST(an_unknown_message_that_may_be_ignored_is_skipped)
{
	uint8_t frame[FRAME_HEADER_BYTES + 5] = { 0 };
	const struct frame_header h = { .type = 999, .body_bytes = 5,
					.flags = FRAME_IGNORABLE };
	struct pair p;

	frame_put_header(&h, frame);
	pair_sending(&p);
	ASSERT_OK(serve_feed(p.s, frame, sizeof(frame), NULL));
	ASSERT_OK(dial_feed(p.d, frame, sizeof(frame), NULL));
	ASSERT_OK(dial_fp_query(p.d, 0, 1));
	SERVE_GETS(&p, SERVE_FP_QUERY);
	ASSERT_OK(serve_fps(p.s, 0, 1, fps));
	DIAL_GETS(&p, DIAL_FPS);
	pair_free(&p);
}
