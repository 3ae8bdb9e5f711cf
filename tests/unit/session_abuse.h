/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SESSION_ABUSE_H
#define TESTS_UNIT_SESSION_ABUSE_H

/*
 * Feeding one end what the other would never send: frames made by hand, to an
 * end that stands at a given place in a conversation. Include after lib/tap.h.
 */
#include "session_pair.h"

#define ANY_REQUEST UINT64_MAX		/* the number that would be right */

/* Feeds m to the serving end, as if a dialler had sent it. */
static inline int serve_gets(struct pair *p, const struct msg *m)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r;

	err_clear(&p->err);
	ASSERT_OK(msg_encode(&b, m));
	r = serve_feed(p->s, b.data, b.len, &p->err);
	return r ? r : serve_next(p->s, &p->se, &p->err);
}

static inline int dial_gets(struct pair *p, const struct msg *m)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r;

	err_clear(&p->err);
	ASSERT_OK(msg_encode(&b, m));
	r = dial_feed(p->d, b.data, b.len, &p->err);
	return r ? r : dial_next(p->d, &p->de, &p->err);
}

/* The session is over, stays over, and the peer is told the same. */
static inline void expect_serve_over(struct pair *p, const char *why)
{
	struct pair other = { .s = p->s };
	struct wire_hello hello = pair_hello(WIRE_ROLE_SENDER);

	EXPECT_STR(p->err.code, "protocol");
	EXPECT_STR_HAS(p->err.message, why);
	EXPECT_INT(serve_next(p->s, &p->se, NULL), -EPROTO);
	EXPECT_INT(serve_feed(p->s, (const uint8_t *)"x", 1, NULL), -EPROTO);
	/* a fresh dialler understands REJECT and BYE alike */
	other.d = dial_new(&hello);
	ASSERT_NOT_NULL(other.d);
	buf_reset(dial_out(other.d));
	ASSERT_OK(to_dial(&other));
	do
		ASSERT_INT(dial_next(other.d, &other.de, NULL), 0);
	while (other.de.type == DIAL_ACCEPTED);
	EXPECT_TRUE(other.de.type == DIAL_REJECTED ||
		    other.de.type == DIAL_BYE);
	EXPECT_INT(other.de.error.num, -EPROTO);
	EXPECT_STR_HAS(other.de.error.message, why);
	dial_free(other.d);
}

static inline void expect_dial_over(struct pair *p, const char *why)
{
	EXPECT_STR(p->err.code, "protocol");
	EXPECT_STR_HAS(p->err.message, why);
	EXPECT_INT(dial_next(p->d, &p->de, NULL), -EPROTO);
	EXPECT_INT(dial_feed(p->d, (const uint8_t *)"x", 1, NULL), -EPROTO);
	EXPECT_INT(dial_ping(p->d), -ESHUTDOWN);
	/* and the serving end hears it as a BYE, wherever it stands */
	if (p->s) {
		SERVE_GETS(p, SERVE_BYE);
		EXPECT_STR_HAS(p->se.error.message, why);
	}
}

typedef void (*start_fn)(struct pair *p);

static inline void start_accepted(struct pair *p)
{
	pair_ready(p, WIRE_ROLE_SENDER);
}

static inline void start_reader(struct pair *p)
{
	pair_ready(p, WIRE_ROLE_READER);
}

static inline void start_begun(struct pair *p)
{
	struct delta d = pair_delta(11);

	pair_sending(p);
	ASSERT_OK(dial_point_begin(p->d, &d));
	SERVE_GETS(p, SERVE_POINT_BEGIN);
}

static inline void start_committed(struct pair *p)
{
	struct wire_commit c = pair_commit(11);

	pair_sending(p);
	ASSERT_OK(dial_commit(p->d, &c));
	SERVE_GETS(p, SERVE_COMMIT);
}

static inline void start_fp_asked(struct pair *p)
{
	pair_sending(p);
	ASSERT_OK(dial_fp_query(p->d, 5, 4));
	SERVE_GETS(p, SERVE_FP_QUERY);
}

static inline void start_read_asked(struct pair *p)
{
	pair_reading(p);
	ASSERT_OK(dial_view_read(p->d, 5, 100, 4));
	SERVE_GETS(p, SERVE_VIEW_READ);
}

static inline void start_open_asked(struct pair *p)
{
	struct wire_volume_open open = pair_open();

	pair_ready(p, WIRE_ROLE_SENDER);
	ASSERT_OK(dial_volume_open(p->d, &open));
	SERVE_GETS(p, SERVE_VOLUME_OPEN);
}

/* The number the next request, or the answer to the last one, must have. */
static inline uint64_t last_request(struct pair *p)
{
	struct pair probe = *p;
	uint64_t n;

	/* as the dialler itself counts: a ping shows its number */
	ASSERT_OK(dial_ping(probe.d));
	n = get_le64(dial_out(probe.d)->data + dial_out(probe.d)->len - 8) - 1;
	dial_out(probe.d)->len -= FRAME_HEADER_BYTES;
	return n;
}

struct abuse {
	const char *why;
	start_fn start;
	struct msg m;
};

static inline void serve_refuses(const struct abuse *cases, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct msg m = cases[i].m;
		struct pair p;
		int r;

		cases[i].start(&p);
		if (m.request == ANY_REQUEST)
			m.request = last_request(&p) + 1;
		r = serve_gets(&p, &m);
		EXPECT_MSG(r == -EPROTO, "case %zu (%s): %d", i, cases[i].why,
			   r);
		if (r == -EPROTO)
			expect_serve_over(&p, cases[i].why);
		pair_free(&p);
	}
}

static inline void dial_refuses(const struct abuse *cases, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct msg m = cases[i].m;
		struct pair p;
		int r;

		cases[i].start(&p);
		if (m.request == ANY_REQUEST)
			m.request = last_request(&p);
		r = dial_gets(&p, &m);
		EXPECT_MSG(r == -EPROTO, "case %zu (%s): %d", i, cases[i].why,
			   r);
		if (r == -EPROTO)
			expect_dial_over(&p, cases[i].why);
		pair_free(&p);
	}
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
