/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SESSION_PAIR_H
#define TESTS_UNIT_SESSION_PAIR_H

/*
 * A dialling and an accepting end in one process, for test_session*.c.
 * Include after lib/tap.h.
 */
#include <string.h>

#include "base/rnd.h"
#include "wire/msg.h"
#include "wire/session.h"

#define PAIR_BLOCKS 40000ULL		/* of the volume */
#define PAIR_BYTES (PAIR_BLOCKS * US_BLOCK_BYTES)

static const struct uuid pair_volume = { { 0xd1, 2, 3 } };
static const struct uuid pair_session = { { 0x5e, 5, 5 } };

struct pair {
	struct dial *d;
	struct serve *s;
	struct dial_event de;
	struct serve_event se;
	struct err err;			/* of the last failed call */
};

static inline struct wire_hello pair_hello(enum wire_role role)
{
	return (struct wire_hello){ .role = role,
				    .node = { { 1 } },
				    .boot = { { 2 } },
				    .wall_ns = 1000,
				    .software = "test" };
}

static inline struct wire_accept pair_accept(void)
{
	return (struct wire_accept){ .session = pair_session,
				     .node = { { 3 } },
				     .boot = { { 4 } },
				     .wall_ns = 2000,
				     .rights = WIRE_RIGHT_PUSH |
					       WIRE_RIGHT_READ,
				     .peer_name = "web1",
				     .software = "test" };
}

static inline struct wire_volume_open pair_open(void)
{
	return (struct wire_volume_open){ .uuid = pair_volume,
					  .name = "db1",
					  .size_bytes = PAIR_BYTES,
					  .epoch = 3,
					  .block_bytes = 4096 };
}

static inline struct wire_volume_state pair_state(void)
{
	return (struct wire_volume_state){ .handle = 7,
					   .epoch = 3,
					   .has_point = true,
					   .seq = 10,
					   .head = { { 0x11 } } };
}

static inline struct delta pair_delta(uint64_t seq)
{
	return (struct delta){ .volume = pair_volume,
			       .epoch = 3,
			       .seq = seq,
			       .key_id = 1,
			       .salt = { (uint8_t)seq } };
}

/* Of their fields: between those lies padding of any value. */
static inline bool pair_same_delta(const struct delta *a,
				   const struct delta *b)
{
	uint8_t x[DELTA_BYTES], y[DELTA_BYTES];

	delta_encode(a, x);
	delta_encode(b, y);
	return !memcmp(x, y, sizeof(x));
}

static inline struct wire_commit pair_commit(uint64_t seq)
{
	return (struct wire_commit){ .epoch = 3,
				     .seq = seq,
				     .flip_wall_ns = 77,
				     .size_bytes = PAIR_BYTES };
}

static inline struct wire_ack pair_ack(uint64_t seq)
{
	return (struct wire_ack){ .session = pair_session,
				  .epoch = 3,
				  .seq = seq,
				  .head = { { (uint8_t)seq } } };
}

static inline struct wire_view_state pair_view(uint32_t handle)
{
	return (struct wire_view_state){
		.handle = handle,
		.volume = pair_volume,
		.source = "web1",
		.name = "db1",
		.point = { .epoch = 3, .seq = 10, .size_bytes = PAIR_BYTES },
	};
}

/* A unit of the right shape; what it seals does not matter here. */
static inline size_t pair_unit(uint8_t *p, uint64_t first, uint32_t count,
			       bool zero)
{
	uint32_t n = zero ? 56 : 40 + count * 16 + 100 + 16;

	memset(p, 0x42, n);
	memset(p, 0, UNIT_HEADER_BYTES);
	put_le32(p, n);
	p[4] = zero ? UNIT_ZERO : UNIT_LZ4;
	put_le64(p + 8, first);
	put_le32(p + 16, count);
	return n;
}

static inline void pair_free(struct pair *p)
{
	dial_free(p->d);
	serve_free(p->s);
	memset(p, 0, sizeof(*p));
}

static inline void pair_new(struct pair *p, enum wire_role role)
{
	struct wire_hello hello = pair_hello(role);

	memset(p, 0, sizeof(*p));
	p->d = dial_new(&hello);
	p->s = serve_new();
	ASSERT_TRUE(p->d && p->s);
}

/* Everything one end has queued reaches the other. */
static inline int to_serve(struct pair *p)
{
	struct buf *out = dial_out(p->d);
	int r = serve_feed(p->s, out->data, out->len, &p->err);

	buf_consume(out, out->len);
	return r;
}

static inline int to_dial(struct pair *p)
{
	struct buf *out = serve_out(p->s);
	int r = dial_feed(p->d, out->data, out->len, &p->err);

	buf_consume(out, out->len);
	return r;
}

#define SERVE_GETS(p, wanted)                                           \
	do {                                                            \
		ASSERT_OK(to_serve(p));                                 \
		ASSERT_MSG(!serve_next((p)->s, &(p)->se, &(p)->err),    \
			   "no %s: %s", #wanted, (p)->err.message);     \
		ASSERT_INT((p)->se.type, wanted);                       \
	} while (0)

#define SERVE_GETS_NOTHING(p)                                           \
	do {                                                            \
		ASSERT_OK(to_serve(p));                                 \
		ASSERT_INT(serve_next((p)->s, &(p)->se, &(p)->err), 1); \
	} while (0)

#define DIAL_GETS(p, wanted)                                            \
	do {                                                            \
		ASSERT_OK(to_dial(p));                                  \
		ASSERT_MSG(!dial_next((p)->d, &(p)->de, &(p)->err),     \
			   "no %s: %s", #wanted, (p)->err.message);     \
		ASSERT_INT((p)->de.type, wanted);                       \
	} while (0)

#define DIAL_GETS_NOTHING(p)                                            \
	do {                                                            \
		ASSERT_OK(to_dial(p));                                  \
		ASSERT_INT(dial_next((p)->d, &(p)->de, &(p)->err), 1);  \
	} while (0)

/* A session that is accepted. */
static inline void pair_ready(struct pair *p, enum wire_role role)
{
	struct wire_accept a = pair_accept();

	pair_new(p, role);
	SERVE_GETS(p, SERVE_HELLO);
	ASSERT_OK(serve_accept(p->s, &a));
	DIAL_GETS(p, DIAL_ACCEPTED);
}

/* And a sender's, with its volume open at point 10. */
static inline void pair_sending(struct pair *p)
{
	struct wire_volume_open open = pair_open();
	struct wire_volume_state state = pair_state();

	pair_ready(p, WIRE_ROLE_SENDER);
	ASSERT_OK(dial_volume_open(p->d, &open));
	SERVE_GETS(p, SERVE_VOLUME_OPEN);
	ASSERT_OK(serve_volume(p->s, &state));
	DIAL_GETS(p, DIAL_VOLUME);
}

/* A reader's, with view 5 open. */
static inline void pair_reading(struct pair *p)
{
	struct wire_view_open sel = { .name = "db1" };
	struct wire_view_state view = pair_view(5);

	pair_ready(p, WIRE_ROLE_READER);
	ASSERT_OK(dial_view_open(p->d, &sel));
	SERVE_GETS(p, SERVE_VIEW_OPEN);
	ASSERT_OK(serve_view(p->s, &view));
	DIAL_GETS(p, DIAL_VIEW);
}

#endif
