// SPDX-License-Identifier: Apache-2.0
/*
 * Both ends of a session against a peer that says anything. The first byte
 * chooses the end, how far the session has come, and whether the rest is a raw
 * stream or records of (type, options, u16 length, body) that become frames
 * with, if the options say so, the right handle and the right number.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"
#include "wire/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOCKS 100000ULL
#define RIGHT_REQUEST 1
#define RIGHT_HANDLE 2

static uint8_t fps[WIRE_MAX_FP_BLOCKS * UNIT_FP_BYTES];
static const uint8_t held[WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES];
static const struct uuid volume = { { 1 } };
static const struct uuid session = { { 2 } };

static uint8_t members[WIRE_MEMBER_BYTES];
static const struct wire_group_point group_point = {
	.seq = 1, .n_members = 1, .members = members };
static const struct wire_group_name group_name = { { { 3 } }, "a", "g" };

static void must(int ok)
{
	if (!ok)
		abort();
}

struct ends {
	struct dial *d;
	struct serve *s;
	struct dial_event de;
	struct serve_event se;
};

static struct wire_view_state view_state(uint32_t handle)
{
	return (struct wire_view_state){
		.handle = handle, .volume = volume, .source = "a", .name = "b",
		.point = { .epoch = 1, .seq = 5,
			   .size_bytes = BLOCKS * US_BLOCK_BYTES } };
}

static void answer_read(struct serve *s, const struct serve_event *ev)
{
	struct wire_piece p = { .first = ev->first, .count = ev->count,
				.absent = true };

	must(!serve_piece(s, &p));
	must(!serve_read_end(s, ev->first, ev->count));
}

/* An owner that grants everything; its answers must always fit. */
static void serve_owner(struct serve *s, const struct serve_event *ev)
{
	struct wire_accept accept = { .session = session, .rights = 15,
				      .features = WIRE_FEATURES,
				      .peer_name = "a" };
	struct wire_volume_state state = { .handle = 9, .epoch = 1,
					   .has_point = true, .seq = 5 };
	struct wire_view_state view = view_state(9);
	struct wire_ack ack = { .epoch = ev->commit.epoch,
				.seq = ev->commit.seq };

	switch (ev->type) {
	case SERVE_HELLO:
		(void)serve_accept(s, &accept);
		break;
	case SERVE_VOLUME_OPEN:
		state.epoch = ev->volume_open.epoch;
		must(!serve_volume(s, &state));
		break;
	case SERVE_FP_QUERY:
		must(!serve_fps(s, ev->first, ev->count, fps));
		break;
	case SERVE_VERIFY:
		must(!serve_verified(s, 1, 5, ev->count, held));
		break;
	case SERVE_COMMIT:
		must(!serve_ack(s, &ack));
		break;
	case SERVE_POINTS_QUERY:
		must(!serve_point(s, &view.point));
		must(!serve_points_end(s));
		break;
	case SERVE_GROUP_QUERY:
		must(!serve_group_point(s, &group_point));
		must(!serve_group_end(s, &group_name));
		break;
	case SERVE_VIEW_OPEN:
		while (serve_view(s, &view))
			view.handle++;
		break;
	case SERVE_VIEW_READ:
		answer_read(s, ev);
		break;
	default:
		break;
	}
}

static void serve_all(struct ends *e)
{
	int r;

	while (!(r = serve_next(e->s, &e->se, NULL)))
		serve_owner(e->s, &e->se);
	must(r == 1 || serve_next(e->s, &e->se, NULL) == r);
}

static void dial_all(struct ends *e)
{
	int r;

	while (!(r = dial_next(e->d, &e->de, NULL)))
		;
	must(r == 1 || dial_next(e->d, &e->de, NULL) == r);
}

static void exchange(struct ends *e)
{
	struct buf *b = dial_out(e->d);

	must(!serve_feed(e->s, b->data, b->len, NULL));
	buf_consume(b, b->len);
	serve_all(e);
	b = serve_out(e->s);
	must(!dial_feed(e->d, b->data, b->len, NULL));
	buf_consume(b, b->len);
	dial_all(e);
}

static void ask_as_sender(struct ends *e, unsigned int how_far)
{
	struct wire_volume_open open = {
		.uuid = volume, .name = "b", .epoch = 1,
		.size_bytes = BLOCKS * US_BLOCK_BYTES, .block_bytes = 4096 };
	struct delta d = { .volume = volume, .epoch = 1, .seq = 6,
			   .key_id = 1 };
	struct wire_commit c = { .epoch = 1, .seq = 6,
				 .size_bytes = open.size_bytes,
				 .group = { { { 4 } }, 1, 2, "g" } };

	const struct wire_extent extents[] = { { 0, 1 }, { 50, 2 } };

	must(!dial_volume_open(e->d, &open));
	if (how_far < 2)
		return;
	exchange(e);
	must(!dial_point_begin(e->d, &d));
	if (how_far == 3) {
		must(!dial_fp_query(e->d, 0, 16));
		must(!dial_discard(e->d));
		must(!dial_commit(e->d, &c));
		must(!dial_verify(e->d, true, extents, 2));
	}
}

static void ask_as_reader(struct ends *e, unsigned int how_far)
{
	struct wire_view_open v = { .name = "b" };

	must(!dial_points_query(e->d, NULL, "b"));
	must(!dial_view_open(e->d, &v));
	must(!dial_group_query(e->d, NULL, "g"));
	if (how_far < 2)
		return;
	exchange(e);
	if (how_far == 3)
		must(!dial_view_read(e->d, 9, 0, 16));
	must(!dial_ping(e->d));
}

/* 0 nothing said, 1 accepted and asked, 2 open, 3 more asked. */
static void start(struct ends *e, enum wire_role role, unsigned int how_far)
{
	static const struct wire_member m = { .volume = { { 1 } }, .epoch = 1,
					      .seq = 1, .size_bytes = 1,
					      .name = "b" };
	struct wire_hello hello = { .role = role };

	wire_member_put(members, 0, &m);
	memset(e, 0, sizeof(*e));
	e->d = dial_new(&hello);
	e->s = serve_new();
	must(e->d && e->s);
	if (!how_far)
		return;
	exchange(e);
	if (role == WIRE_ROLE_SENDER)
		ask_as_sender(e, how_far);
	else
		ask_as_reader(e, how_far);
}

static void feed(struct ends *e, int at_dial, const uint8_t *p, size_t n)
{
	if (at_dial) {
		(void)dial_feed(e->d, p, n, NULL);
		dial_all(e);
	} else {
		(void)serve_feed(e->s, p, n, NULL);
		serve_all(e);
		/* nobody reads: only the machine's bounds hold it */
		buf_reset(serve_out(e->s));
	}
}

static void feed_records(struct ends *e, int at_dial, uint64_t request,
			 const uint8_t *p, size_t size)
{
	while (size >= 4) {
		struct frame_header h = { .type = p[0], .handle = p[1] >> 4,
					  .request = p[1] >> 4 };
		uint8_t frame[FRAME_HEADER_BYTES + 65535];
		size_t n = get_le16(p + 2);

		if (n > size - 4)
			n = size - 4;
		if (p[1] & RIGHT_HANDLE)
			h.handle = 9;
		if (p[1] & RIGHT_REQUEST)
			h.request = at_dial ? request + (p[1] >> 4) :
					      ++request;
		h.body_bytes = (uint32_t)n;
		frame_put_header(&h, frame);
		memcpy(frame + FRAME_HEADER_BYTES, p + 4, n);
		feed(e, at_dial, frame, FRAME_HEADER_BYTES + n);
		p += 4 + n;
		size -= 4 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t last_request[2][4] = { { 0, 2, 2, 6 },
						     { 0, 4, 5, 6 } };
	unsigned int how_far, reader;
	struct ends e;
	int at_dial;

	if (size < 1)
		return 0;
	at_dial = data[0] & 1;
	reader = data[0] >> 1 & 1;
	how_far = data[0] >> 2 & 3;
	start(&e, reader ? WIRE_ROLE_READER : WIRE_ROLE_SENDER, how_far);
	/* What is queued at the dialler reaches the serving end as it is; the
	 * dialler's peer is the fuzzer from here on. */
	if (!at_dial && how_far) {
		struct buf *b = dial_out(e.d);

		feed(&e, 0, b->data, b->len);
	}
	if (data[0] & 16)
		feed_records(&e, at_dial,
			     at_dial ? 1 : last_request[reader][how_far],
			     data + 1, size - 1);
	else
		feed(&e, at_dial, data + 1, size - 1);
	dial_free(e.d);
	serve_free(e.s);
	return 0;
}
