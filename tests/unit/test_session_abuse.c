// SPDX-License-Identifier: Apache-2.0
/*
 * What the accepting end refuses of a dialler: every message well formed, but
 * out of place.
 */
#include "lib/tap.h"

#include "session_abuse.h"

/* ---- before acceptance ---- */

TEST(a_stranger_may_send_one_hello_and_nothing_else)
{
	struct msg hello = { .type = MSG_HELLO, .request = 1,
			     .u.hello = pair_hello(WIRE_ROLE_SENDER) };
	struct msg ping = { .type = MSG_PING, .request = 2 };
	struct wire_accept a = pair_accept();
	struct pair p = { 0 };

	hello.u.hello.version_min = hello.u.hello.version_max = 1;
	p.s = serve_new();
	ASSERT_INT(serve_gets(&p, &ping), -EPROTO);
	expect_serve_over(&p, "before HELLO");
	serve_free(p.s);

	p.s = serve_new();
	ASSERT_OK(serve_gets(&p, &hello));
	ASSERT_INT(serve_gets(&p, &ping), -EPROTO);
	expect_serve_over(&p, "before acceptance");
	EXPECT_INT(serve_accept(p.s, &a), -EINVAL);
	serve_free(p.s);

	/* control: after acceptance the very same is fine */
	p.s = serve_new();
	ASSERT_OK(serve_gets(&p, &hello));
	ASSERT_OK(serve_accept(p.s, &a));
	EXPECT_INT(serve_gets(&p, &ping), 1);
	EXPECT_INT(serve_gets(&p, &hello), -EPROTO);
	serve_free(p.s);
}

TEST(bytes_that_came_with_the_hello_are_refused)
{
	struct pair p;

	pair_new(&p, WIRE_ROLE_SENDER);
	buf_put_u8(dial_out(p.d), 0);
	SERVE_GETS(&p, SERVE_HELLO);
	ASSERT_INT(serve_next(p.s, &p.se, &p.err), -EPROTO);
	expect_serve_over(&p, "before acceptance");
	pair_free(&p);
}

TEST(a_stranger_cannot_make_the_end_hold_more_than_the_bound)
{
	static uint8_t bytes[WIRE_MAX_PRE_ACCEPT_BYTES + 1];
	const struct frame_header h = { .type = MSG_HELLO, .body_bytes = 300 };
	struct pair p = { 0 };

	p.s = serve_new();
	frame_put_header(&h, bytes);
	EXPECT_INT(serve_feed(p.s, bytes, sizeof(bytes), &p.err), -EPROTO);
	expect_serve_over(&p, "before acceptance");
	serve_free(p.s);
	p.s = serve_new();
	frame_put_header(&(struct frame_header){ .type = MSG_UNITS,
						 .body_bytes = 1 << 20 },
			 bytes);
	err_clear(&p.err);
	ASSERT_OK(serve_feed(p.s, bytes, FRAME_HEADER_BYTES, NULL));
	/* Not refused yet: the type is known. The bound stops it. */
	EXPECT_INT(serve_next(p.s, &p.se, &p.err), 1);
	EXPECT_INT(serve_feed(p.s, bytes, sizeof(bytes) - 1, &p.err), -EPROTO);
	serve_free(p.s);
}

TEST(an_unknown_message_is_refused_before_acceptance_even_if_ignorable)
{
	uint8_t frame[FRAME_HEADER_BYTES];
	struct pair p;

	frame_put_header(&(struct frame_header){ .type = 999,
						 .flags = FRAME_IGNORABLE },
			 frame);
	pair_new(&p, WIRE_ROLE_SENDER);
	ASSERT_OK(serve_feed(p.s, frame, sizeof(frame), NULL));
	EXPECT_INT(serve_next(p.s, &p.se, &p.err), -EPROTO);
	expect_serve_over(&p, "before acceptance");
	err_clear(&p.err);
	ASSERT_OK(dial_feed(p.d, frame, sizeof(frame), NULL));
	EXPECT_INT(dial_next(p.d, &p.de, &p.err), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "before acceptance");
	pair_free(&p);
}

TEST(an_unknown_message_that_must_be_understood_ends_the_session)
{
	uint8_t frame[FRAME_HEADER_BYTES];
	struct pair p;

	frame_put_header(&(struct frame_header){ .type = 999 }, frame);
	pair_sending(&p);
	ASSERT_OK(serve_feed(p.s, frame, sizeof(frame), NULL));
	EXPECT_INT(serve_next(p.s, &p.se, &p.err), -EPROTO);
	expect_serve_over(&p, "unknown message: type=999");
	err_clear(&p.err);
	ASSERT_OK(dial_feed(p.d, frame, sizeof(frame), NULL));
	EXPECT_INT(dial_next(p.d, &p.de, &p.err), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "unknown message: type=999");
	pair_free(&p);
}

TEST(ends_without_a_common_version_part_with_a_reason)
{
	struct msg m = { .type = MSG_HELLO, .request = 1,
			 .u.hello = pair_hello(WIRE_ROLE_SENDER) };
	struct pair p = { 0 };

	m.u.hello.version_min = 2;
	m.u.hello.version_max = 9;
	p.s = serve_new();
	EXPECT_INT(serve_gets(&p, &m), -EPROTONOSUPPORT);
	EXPECT_STR(p.err.code, "version");
	EXPECT_STR_HAS(p.err.message, "theirs=2..9");
	EXPECT_STR_HAS(p.err.remedy, "upgrade");
	EXPECT_GT(serve_out(p.s)->len, 0);
	serve_free(p.s);

	/* a newer dialler that still speaks ours is taken at ours */
	p.s = serve_new();
	m.u.hello.version_min = 1;
	m.u.hello.features = ~0ULL;
	ASSERT_OK(serve_gets(&p, &m));
	{
		struct wire_accept a = pair_accept();
		struct wire_hello hello = pair_hello(WIRE_ROLE_SENDER);

		a.features = ~0ULL;
		a.version = 2;
		EXPECT_INT(serve_accept(p.s, &a), -EINVAL);
		a.version = 0;
		ASSERT_OK(serve_accept(p.s, &a));
		p.d = dial_new(&hello);
		DIAL_GETS(&p, DIAL_ACCEPTED);
		EXPECT_U64(p.de.accept.version, 1);
		EXPECT_U64(p.de.accept.features, WIRE_FEATURES);
	}
	pair_free(&p);
}

/* ---- a sender that misbehaves ---- */

static struct msg begin_with(struct delta d)
{
	return (struct msg){ .type = MSG_POINT_BEGIN, .handle = 7,
			     .u.delta = d };
}

static struct msg commit_with(struct wire_commit c)
{
	return (struct msg){ .type = MSG_COMMIT, .handle = 7,
			     .request = ANY_REQUEST, .u.commit = c };
}

TEST(nothing_about_a_volume_passes_before_it_is_open)
{
	static uint8_t unit[1000];
	const struct abuse cases[] = {
		{ "no such volume", start_accepted, begin_with(pair_delta(11)) },
		{ "no such volume", start_accepted,
		  { .type = MSG_UNITS, .u.bytes = { unit, 56 } } },
		{ "no such volume", start_accepted,
		  { .type = MSG_FP_QUERY, .request = ANY_REQUEST,
		    .u.range = { 0, 1 } } },
		{ "no such volume", start_accepted,
		  commit_with(pair_commit(11)) },
		{ "no such volume", start_accepted,
		  { .type = MSG_CONFIRM, .u.confirm = { 3, 10, 0 } } },
		{ "no such volume", start_accepted,
		  { .type = MSG_DISCARD, .request = ANY_REQUEST } },
		{ "no such volume", start_accepted,
		  { .type = MSG_ESCROW, .request = ANY_REQUEST,
		    .u.bytes = { unit, 10 } } },
		/* asked for, not yet answered */
		{ "no such volume", start_open_asked,
		  begin_with(pair_delta(11)) },
		{ "one is open", start_open_asked,
		  { .type = MSG_VOLUME_OPEN, .request = ANY_REQUEST,
		    .u.volume_open = pair_open() } },
		{ "one is open", pair_sending,
		  { .type = MSG_VOLUME_OPEN, .request = ANY_REQUEST,
		    .u.volume_open = pair_open() } },
	};

	serve_refuses(cases, COUNT(cases));
}

TEST(a_handle_that_was_not_given_out_is_refused)
{
	const struct abuse cases[] = {
		{ "no such volume", pair_sending,
		  { .type = MSG_POINT_BEGIN, .handle = 8,
		    .u.delta = pair_delta(11) } },
		{ "no such volume", pair_sending,
		  { .type = MSG_FP_QUERY, .handle = 0, .request = ANY_REQUEST,
		    .u.range = { 0, 1 } } },
		{ "with a handle", pair_sending,
		  { .type = MSG_PING, .handle = 7, .request = ANY_REQUEST } },
		{ "no such view", pair_reading,
		  { .type = MSG_VIEW_READ, .handle = 6,
		    .request = ANY_REQUEST, .u.range = { 0, 1 } } },
		{ "no such view", pair_reading,
		  { .type = MSG_VIEW_CLOSE, .handle = 6 } },
		{ "with a handle", pair_reading,
		  { .type = MSG_POINTS_QUERY, .handle = 5,
		    .request = ANY_REQUEST,
		    .u.points_query = { "", "db1" } } },
	};

	serve_refuses(cases, COUNT(cases));
}

static struct delta changed_delta(int what)
{
	struct delta d = pair_delta(11);

	if (what == 0)
		d.volume.b[15] ^= 1;
	if (what == 1)
		d.epoch = 2;
	if (what == 2)
		d.epoch = 4;
	if (what == 3)
		d.seq = 10;
	if (what == 4)
		d.seq = 12;
	return d;
}

TEST(a_delta_of_another_volume_epoch_or_point_is_refused)
{
	const struct abuse cases[] = {
		{ "of another volume", pair_sending,
		  begin_with(changed_delta(0)) },
		{ "of another epoch", pair_sending,
		  begin_with(changed_delta(1)) },
		{ "of another epoch", pair_sending,
		  begin_with(changed_delta(2)) },
		{ "not after the newest", pair_sending,
		  begin_with(changed_delta(3)) },
		{ "another point is begun", start_begun,
		  begin_with(changed_delta(4)) },
		{ "not after the newest", start_committed,
		  begin_with(pair_delta(11)) },
	};

	serve_refuses(cases, COUNT(cases));
}

TEST(units_out_of_place_or_out_of_shape_are_refused)
{
	static uint8_t good[1000], outside[1000], edge[1000], two[2000];
	static uint8_t bad_codec[1000];
	size_t n = pair_unit(good, 0, 1, false), m;
	const struct abuse *c;
	struct pair p;

	m = pair_unit(outside, PAIR_BLOCKS - 1, 2, true);
	(void)pair_unit(edge, PAIR_BLOCKS, 1, true);
	memcpy(two, good, n);
	memcpy(two + n, good, n);
	memcpy(bad_codec, good, n);
	bad_codec[4] = 9;
	{
		const struct abuse cases[] = {
			{ "no point is begun", pair_sending,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { good, n } } },
			{ "no point is begun", start_committed,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { good, n } } },
			{ "outside the volume", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { outside, m } } },
			{ "outside the volume", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { edge, m } } },
			{ "not whole units", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { good, n - 1 } } },
			{ "not whole units", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { two, 2 * n - 1 } } },
			{ "not whole units", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { good, 10 } } },
			{ "not whole units", start_begun,
			  { .type = MSG_UNITS, .handle = 7,
			    .u.bytes = { bad_codec, n } } },
			{ "request out of order", start_begun,
			  { .type = MSG_UNITS, .handle = 7, .request = 1,
			    .u.bytes = { good, n } } },
		};

		serve_refuses(cases, COUNT(cases));
		c = &cases[5];
		/* control: one byte more and it is two units */
		start_begun(&p);
		EXPECT_OK(serve_gets(&p, &(struct msg){
			.type = MSG_UNITS, .handle = 7,
			.u.bytes = { c->m.u.bytes.p, 2 * n } }));
		pair_free(&p);
	}
}

static struct wire_commit changed_commit(int what)
{
	struct wire_commit c = pair_commit(11);

	if (what == 0)
		c.epoch = 2;
	if (what == 1)
		c.seq = 10;
	if (what == 2)
		c.seq = 12;
	if (what == 3)
		c.size_bytes += 4096;
	if (what == 4)
		c.units = 1;
	return c;
}

TEST(a_commit_that_does_not_fit_is_refused)
{
	const struct abuse cases[] = {
		{ "another one is outstanding", start_committed,
		  commit_with(changed_commit(2)) },
		{ "of another epoch", start_begun,
		  commit_with(changed_commit(0)) },
		{ "not the point that is begun", start_begun,
		  commit_with(changed_commit(1)) },
		{ "not the point that is begun", start_begun,
		  commit_with(changed_commit(2)) },
		{ "not the point that is begun", pair_sending,
		  commit_with(changed_commit(1)) },
		{ "of another size", start_begun,
		  commit_with(changed_commit(3)) },
		{ "units are missing", start_begun,
		  commit_with(changed_commit(4)) },
	};

	serve_refuses(cases, COUNT(cases));
}

TEST(confirms_queries_and_reads_that_do_not_fit_are_refused)
{
	const struct abuse cases[] = {
		{ "not the newest", pair_sending,
		  { .type = MSG_CONFIRM, .handle = 7,
		    .u.confirm = { 3, 9, 0 } } },
		{ "a commit is outstanding", start_committed,
		  { .type = MSG_CONFIRM, .handle = 7,
		    .u.confirm = { 3, 11, 0 } } },
		{ "outside the volume", pair_sending,
		  { .type = MSG_FP_QUERY, .handle = 7, .request = ANY_REQUEST,
		    .u.range = { PAIR_BLOCKS - 1, 2 } } },
		{ "outside the view", pair_reading,
		  { .type = MSG_VIEW_READ, .handle = 5,
		    .request = ANY_REQUEST,
		    .u.range = { PAIR_BLOCKS - 1, 2 } } },
		{ "reads unanswered", start_read_asked,
		  { .type = MSG_VIEW_CLOSE, .handle = 5 } },
		{ "a sender does not read", pair_sending,
		  { .type = MSG_VIEW_OPEN, .request = ANY_REQUEST,
		    .u.view_open = { .name = "db1" } } },
		{ "a sender does not read", pair_sending,
		  { .type = MSG_VIEW_READ, .handle = 7,
		    .request = ANY_REQUEST, .u.range = { 0, 1 } } },
		{ "a reader does not send", start_reader,
		  { .type = MSG_VOLUME_OPEN, .request = ANY_REQUEST,
		    .u.volume_open = pair_open() } },
		{ "no such volume", start_reader,
		  begin_with(pair_delta(11)) },
	};

	serve_refuses(cases, COUNT(cases));
}

TEST(requests_must_be_numbered_without_a_gap)
{
	const struct abuse cases[] = {
		{ "request out of order", pair_sending,
		  { .type = MSG_PING, .request = 1 } },
		{ "request out of order", pair_sending,
		  { .type = MSG_PING, .request = 0 } },
		{ "request out of order", pair_sending,
		  { .type = MSG_PING, .request = 4 } },
	};
	struct pair p;

	serve_refuses(cases, COUNT(cases));
	/* control: HELLO was 1, VOLUME_OPEN 2 */
	pair_sending(&p);
	EXPECT_INT(serve_gets(&p, &(struct msg){ .type = MSG_PING,
						 .request = 3 }), 1);
	pair_free(&p);
}

TEST(more_unanswered_requests_than_agreed_are_refused)
{
	struct msg m = { .type = MSG_FP_QUERY, .handle = 7,
			 .u.range = { 0, 1 } };
	struct pair p;
	uint64_t i;

	pair_sending(&p);
	for (i = 0; i < WIRE_MAX_PENDING; i++) {
		m.request = 3 + i;
		ASSERT_OK(serve_gets(&p, &m));
	}
	m.request = 3 + i;
	ASSERT_INT(serve_gets(&p, &m), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "too many requests");
	pair_free(&p);
}

TEST(more_views_than_agreed_are_refused)
{
	struct msg m = { .type = MSG_VIEW_OPEN,
			 .u.view_open = { .name = "db1" } };
	struct pair p;
	uint64_t i;

	start_reader(&p);
	for (i = 0; i < WIRE_MAX_VIEWS; i++) {
		m.request = 2 + i;
		ASSERT_OK(serve_gets(&p, &m));
	}
	m.request = 2 + i;
	ASSERT_INT(serve_gets(&p, &m), -EPROTO);
	EXPECT_STR_HAS(p.err.message, "too many views");
	pair_free(&p);
}
