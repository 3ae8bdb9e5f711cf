// SPDX-License-Identifier: Apache-2.0
/*
 * What the dialling end refuses of a server: answers to nothing, to something
 * else, of another session; and what both ends refuse alike.
 */
#include "lib/tap.h"

#include "session_abuse.h"

static uint8_t fps[64 * UNIT_FP_BYTES];

/* ---- before acceptance ---- */

static void start_fresh(struct pair *p)
{
	pair_new(p, WIRE_ROLE_SENDER);
	SERVE_GETS(p, SERVE_HELLO);
}

static struct msg accept_with(uint16_t version, uint64_t features,
			      uint64_t request)
{
	struct msg m = { .type = MSG_ACCEPT, .request = request,
			 .u.accept = pair_accept() };

	m.u.accept.version = version;
	m.u.accept.features = features;
	return m;
}

TEST(a_dialler_takes_no_acceptance_but_of_what_it_offered)
{
	const struct msg bad[] = { accept_with(2, 0, 1),
				   accept_with(1, WIRE_FEATURES + 1, 1),
				   accept_with(1, 0, 2),
				   { .type = MSG_PONG, .request = 1 },
				   { .type = MSG_DONE, .request = 1 } };
	const struct msg good = accept_with(1, 0, 1);
	struct pair p;
	size_t i;

	for (i = 0; i < COUNT(bad); i++) {
		start_fresh(&p);
		EXPECT_MSG(dial_gets(&p, &bad[i]) == -EPROTO, "case %zu", i);
		EXPECT_INT(dial_ping(p.d), -ESHUTDOWN);
		pair_free(&p);
	}
	start_fresh(&p);
	EXPECT_OK(dial_gets(&p, &good));
	EXPECT_INT(dial_gets(&p, &good), -EPROTO);	/* not twice */
	pair_free(&p);
}

TEST(the_server_cannot_flood_a_dialler_before_acceptance)
{
	static uint8_t bytes[WIRE_MAX_PRE_ACCEPT_BYTES + 1];
	struct pair p;

	pair_new(&p, WIRE_ROLE_SENDER);
	EXPECT_INT(dial_feed(p.d, bytes, sizeof(bytes), &p.err), -EPROTO);
	pair_free(&p);
}

/* ---- a server that misbehaves ---- */

static struct msg ack_with(int what)
{
	struct msg m = { .type = MSG_ACK, .handle = 7, .request = ANY_REQUEST,
			 .u.ack = pair_ack(11) };

	if (what == 1)
		m.u.ack.session.b[0] ^= 1;
	if (what == 2)
		m.u.ack.epoch = 2;
	if (what == 3)
		m.u.ack.seq = 12;
	if (what == 4)
		m.handle = 8;
	if (what == 5)
		m.request = 2;
	return m;
}

TEST(an_acknowledgement_counts_only_for_this_session_and_this_commit)
{
	const struct abuse cases[] = {
		{ "of another session", start_committed, ack_with(1) },
		{ "of another point", start_committed, ack_with(2) },
		{ "of another point", start_committed, ack_with(3) },
		{ "no such commit", start_committed, ack_with(4) },
		{ "no such commit", start_committed, ack_with(5) },
		{ "no such commit", pair_sending, ack_with(0) },
		{ "no such commit", start_begun, ack_with(0) },
	};
	struct msg good = ack_with(0);
	struct pair p;

	dial_refuses(cases, COUNT(cases));
	/* control, and that it counts once */
	start_committed(&p);
	good.request = last_request(&p);
	EXPECT_OK(dial_gets(&p, &good));
	EXPECT_INT(dial_gets(&p, &good), -EPROTO);
	pair_free(&p);
}

TEST(answers_that_were_not_asked_for_end_the_session)
{
	const struct abuse cases[] = {
		{ "VOLUME: not asked for", pair_sending,
		  { .type = MSG_VOLUME, .request = ANY_REQUEST,
		    .u.volume = pair_state() } },
		{ "REFUSE: not asked for", pair_sending,
		  { .type = MSG_REFUSE, .request = ANY_REQUEST } },
		{ "FPS: not asked for", pair_sending,
		  { .type = MSG_FPS, .handle = 7, .request = ANY_REQUEST,
		    .u.fps = { 5, 4, fps } } },
		{ "FPS: not asked for", start_fp_asked,
		  { .type = MSG_FPS, .handle = 7, .request = 2,
		    .u.fps = { 5, 4, fps } } },
		{ "FPS: not asked for", start_fp_asked,
		  { .type = MSG_FPS, .handle = 6, .request = ANY_REQUEST,
		    .u.fps = { 5, 4, fps } } },
		{ "of another range", start_fp_asked,
		  { .type = MSG_FPS, .handle = 7, .request = ANY_REQUEST,
		    .u.fps = { 5, 3, fps } } },
		{ "of another range", start_fp_asked,
		  { .type = MSG_FPS, .handle = 7, .request = ANY_REQUEST,
		    .u.fps = { 6, 4, fps } } },
		{ "ERROR: not asked for", pair_sending,
		  { .type = MSG_ERROR, .request = ANY_REQUEST } },
		{ "ERROR: not asked for", start_open_asked,
		  { .type = MSG_ERROR, .request = ANY_REQUEST } },
		{ "DONE: not asked for", start_fp_asked,
		  { .type = MSG_DONE, .request = ANY_REQUEST } },
		{ "PONG: not asked for", pair_sending,
		  { .type = MSG_PONG, .request = ANY_REQUEST } },
		{ "POINT: not asked for", start_reader,
		  { .type = MSG_POINT, .request = ANY_REQUEST,
		    .u.point = { .epoch = 1, .seq = 1, .size_bytes = 1 } } },
		{ "POINTS_END: not asked for", start_reader,
		  { .type = MSG_POINTS_END, .request = ANY_REQUEST } },
		{ "VIEW: not asked for", pair_reading,
		  { .type = MSG_VIEW, .request = ANY_REQUEST,
		    .u.view = pair_view(6) } },
		{ "READ_END: not asked for", pair_reading,
		  { .type = MSG_READ_END, .handle = 5, .request = ANY_REQUEST,
		    .u.range = { 100, 4 } } },
		{ "pieces are missing", start_read_asked,
		  { .type = MSG_READ_END, .handle = 5, .request = ANY_REQUEST,
		    .u.range = { 100, 4 } } },
		{ "REJECT: after acceptance", pair_sending,
		  { .type = MSG_REJECT } },
	};

	dial_refuses(cases, COUNT(cases));
}

static struct msg piece_with(int what, uint8_t unit[1000])
{
	struct msg m = { .type = MSG_PIECE, .handle = 5,
			 .request = ANY_REQUEST };
	struct wire_piece *p = &m.u.piece;

	*p = (struct wire_piece){ .first = 100, .count = 2, .skip = 3,
				  .delta = pair_delta(10), .unit = unit };
	p->unit_bytes = pair_unit(unit, 97, 5, false);
	if (what == 1)
		m.handle = 6;
	if (what == 2)
		p->first = 101;
	if (what == 3)
		p->first = 99;
	if (what == 4)
		p->count = 3;		/* the unit has two from there */
	if (what == 5)
		p->skip = 2;
	if (what == 6)
		p->skip = UINT32_MAX;
	if (what == 7)
		p->delta.volume.b[0] ^= 1;
	if (what == 8)
		p->unit_bytes--;
	if (what == 9) {
		p->absent = true;
		p->count = 5;		/* past what was asked for */
	}
	if (what == 10)
		unit[4] = 9;
	return m;
}

TEST(pieces_that_do_not_fit_the_read_end_the_session)
{
	static const char *const why[] = { "",
					   "not asked for",
					   "not the next",
					   "not the next",
					   "unit of other blocks",
					   "unit of other blocks",
					   "unit of other blocks",
					   "of another volume",
					   "not a unit",
					   "not the next",
					   "not a unit" };
	static uint8_t unit[1000];
	int i;

	for (i = 0; i < (int)COUNT(why); i++) {
		const struct msg m = piece_with(i, unit);
		const struct abuse c = { why[i], start_read_asked, m };
		struct pair p;

		if (i) {
			dial_refuses(&c, 1);
			continue;
		}
		/* control */
		start_read_asked(&p);
		EXPECT_OK(dial_gets(&p, &(struct msg){
			.type = MSG_PIECE, .handle = 5,
			.request = last_request(&p), .u.piece = m.u.piece }));
		EXPECT_U64(p.de.piece.count, 2);
		pair_free(&p);
	}
}

TEST(messages_of_the_wrong_direction_end_the_session)
{
	struct msg hello = { .type = MSG_HELLO, .request = 1,
			     .u.hello = pair_hello(WIRE_ROLE_SENDER) };
	struct msg pong = { .type = MSG_PONG, .request = 3 };
	struct pair p;

	hello.u.hello.version_min = hello.u.hello.version_max = 1;
	pair_sending(&p);
	EXPECT_INT(dial_gets(&p, &hello), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "unknown message: type=1");
	EXPECT_INT(serve_gets(&p, &pong), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "unknown message: type=7");
	pair_free(&p);
}

TEST(malformed_bodies_end_the_session)
{
	uint8_t frame[FRAME_HEADER_BYTES + 12] = { 0 };
	struct pair p;

	/* FP_QUERY of no blocks, FPS cut short */
	frame_put_header(&(struct frame_header){ .type = MSG_FP_QUERY,
						 .body_bytes = 12,
						 .handle = 7, .request = 3 },
			 frame);
	pair_sending(&p);
	ASSERT_OK(serve_feed(p.s, frame, sizeof(frame), NULL));
	EXPECT_INT(serve_next(p.s, &p.se, &p.err), -EPROTO);
	expect_serve_over(&p, "FP_QUERY: malformed");
	frame_put_header(&(struct frame_header){ .type = MSG_FPS,
						 .body_bytes = 12,
						 .handle = 7, .request = 3 },
			 frame);
	err_clear(&p.err);
	ASSERT_OK(dial_feed(p.d, frame, sizeof(frame), NULL));
	EXPECT_INT(dial_next(p.d, &p.de, &p.err), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "FPS: malformed");
	pair_free(&p);
}
