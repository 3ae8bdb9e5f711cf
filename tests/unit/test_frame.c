// SPDX-License-Identifier: Apache-2.0
/* Cutting a byte stream into frames. */
#include "lib/tap.h"

#include <stdlib.h>
#include <string.h>

#include "base/rnd.h"
#include "wire/frame.h"
#include "wire/session.h"

#define TYPE_SMALL 1U			/* up to 16 bytes */
#define TYPE_LARGE 2U			/* up to what any frame may have */
#define TYPE_BEYOND 3U			/* a limit that is beyond that */

static int64_t limits(const struct frame_header *h)
{
	switch (h->type) {
	case TYPE_SMALL:
		return 16;
	case TYPE_LARGE:
		return WIRE_MAX_FRAME_BYTES;
	case TYPE_BEYOND:
		return INT64_MAX;
	}
	return -EPROTO;
}

static void put_frame(struct buf *b, struct frame_header h, const void *body)
{
	frame_put_header(&h, buf_extend(b, FRAME_HEADER_BYTES));
	buf_put(b, body, h.body_bytes);
}

static int feed_all(struct splitter *s, const struct buf *b)
{
	return splitter_feed(s, b->data, b->len, NULL);
}

TEST(a_header_comes_back_as_it_was_put)
{
	const struct frame_header h = { .body_bytes = 0x01020304,
					.type = 0x0506,
					.flags = FRAME_IGNORABLE,
					.handle = 0x090a0b0c,
					.request = 0x1112131415161718 };
	static const uint8_t want[FRAME_HEADER_BYTES] = {
		4, 3, 2, 1, 6, 5, 1, 0, 0x0c, 0x0b, 0x0a, 9, 0, 0, 0, 0,
		0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11
	};
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct frame_header back;

	frame_put_header(&h, bytes);
	EXPECT_MEM(bytes, want, sizeof(want));
	ASSERT_OK(frame_get_header(bytes, &back));
	EXPECT_U64(back.body_bytes, h.body_bytes);
	EXPECT_U64(back.type, h.type);
	EXPECT_U64(back.flags, h.flags);
	EXPECT_U64(back.handle, h.handle);
	EXPECT_U64(back.request, h.request);
}

TEST(unknown_flags_streams_and_reserved_fields_are_refused)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct frame_header h;
	int i, bit;

	memset(bytes, 0, sizeof(bytes));
	ASSERT_OK(frame_get_header(bytes, &h));
	for (i = 0; i < 16; i++)
		for (bit = 0; bit < 8; bit++) {
			bool reserved = i >= 12 || i == 7 ||
					(i == 6 && bit > 0);

			/* All of it each time: gcc 12.2 loses a store that
			 * only sets bytes[i] back. */
			memset(bytes, 0, sizeof(bytes));
			bytes[i] = (uint8_t)(1 << bit);
			EXPECT_INT(frame_get_header(bytes, &h),
				   reserved ? -EBADMSG : 0);
		}
}

TEST(a_body_is_given_out_only_whole)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct splitter s;
	struct frame f;
	size_t i;

	put_frame(&b, (struct frame_header){ .body_bytes = 5,
					     .type = TYPE_SMALL }, "hello");
	splitter_init(&s, UINT64_MAX, limits);
	for (i = 0; i < b.len; i++) {
		ASSERT_INT(splitter_next(&s, &f, NULL), 1);
		ASSERT_OK(splitter_feed(&s, b.data + i, 1, NULL));
	}
	ASSERT_OK(splitter_next(&s, &f, NULL));
	EXPECT_MEM(f.body, "hello", 5);
	EXPECT_TRUE(splitter_is_empty(&s));
	EXPECT_INT(splitter_next(&s, &f, NULL), 1);
	splitter_free(&s);
}

TEST(a_header_is_judged_before_its_body_has_come)
{
	const struct frame_header bad[] = {
		{ .type = TYPE_SMALL, .body_bytes = 17 },
		{ .type = TYPE_LARGE, .body_bytes = WIRE_MAX_FRAME_BYTES + 1 },
		{ .type = TYPE_BEYOND, .body_bytes = WIRE_MAX_FRAME_BYTES + 1 },
		{ .type = TYPE_LARGE, .body_bytes = UINT32_MAX },
		{ .type = 4 },
		{ .type = TYPE_SMALL, .flags = 2 },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;
		uint8_t bytes[FRAME_HEADER_BYTES];
		struct splitter s;
		struct frame f;

		splitter_init(&s, UINT64_MAX, limits);
		frame_put_header(&bad[i], bytes);
		ASSERT_OK(splitter_feed(&s, bytes, sizeof(bytes) - 1, NULL));
		EXPECT_INT(splitter_next(&s, &f, NULL), 1);
		ASSERT_OK(splitter_feed(&s, bytes + 23, 1, NULL));
		EXPECT_INT(splitter_next(&s, &f, &err), -EPROTO);
		EXPECT_STR(err.code, "protocol");
		/* and so for ever */
		EXPECT_INT(splitter_next(&s, &f, NULL), -EPROTO);
		EXPECT_INT(splitter_feed(&s, bytes, 1, NULL), -EPROTO);
		splitter_free(&s);
	}
}

TEST(a_huge_claim_takes_no_memory)
{
	const struct frame_header h = { .type = TYPE_LARGE,
					.body_bytes = WIRE_MAX_FRAME_BYTES };
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct splitter s;
	struct frame f;

	splitter_init(&s, UINT64_MAX, limits);
	frame_put_header(&h, bytes);
	ASSERT_OK(splitter_feed(&s, bytes, sizeof(bytes), NULL));
	EXPECT_INT(splitter_next(&s, &f, NULL), 1);
	EXPECT_LE(s.in.cap, 4096);
	splitter_free(&s);
}

TEST(before_acceptance_the_sum_is_bounded)
{
	uint8_t bytes[WIRE_MAX_PRE_ACCEPT_BYTES] = { 0 };
	struct splitter s;

	splitter_init(&s, sizeof(bytes), limits);
	EXPECT_OK(splitter_feed(&s, bytes, sizeof(bytes) - 1, NULL));
	EXPECT_OK(splitter_feed(&s, bytes, 1, NULL));
	EXPECT_INT(splitter_feed(&s, bytes, 1, NULL), -EPROTO);
	splitter_free(&s);

	splitter_init(&s, sizeof(bytes), limits);
	EXPECT_OK(splitter_feed(&s, bytes, sizeof(bytes), NULL));
	splitter_lift(&s);
	EXPECT_OK(splitter_feed(&s, bytes, sizeof(bytes), NULL));
	splitter_free(&s);
}

TEST(feeding_without_taking_is_bounded)
{
	static uint8_t chunk[1U << 20];
	const struct frame_header h = { .type = TYPE_SMALL };
	struct splitter s;
	struct frame f;
	int i, r = 0;

	/* header after header, never taken */
	for (i = 0; i + 24 <= (int)sizeof(chunk); i += 24)
		frame_put_header(&h, chunk + i);
	splitter_init(&s, UINT64_MAX, limits);
	for (i = 0; i < 10 && !r; i++)
		r = splitter_feed(&s, chunk, sizeof(chunk), NULL);
	EXPECT_INT(r, -EINVAL);
	EXPECT_INT(i, 4);
	splitter_free(&s);

	/* control: taken each time, any amount passes */
	splitter_init(&s, UINT64_MAX, limits);
	for (i = 0; i < 10; i++) {
		ASSERT_OK(splitter_feed(&s, chunk, sizeof(chunk) / 24 * 24,
					NULL));
		while (!splitter_next(&s, &f, NULL))
			;
	}
	EXPECT_TRUE(splitter_is_empty(&s));
	splitter_free(&s);
}

TEST(a_secret_body_can_be_wiped_after_use)
{
	_cleanup_buf_ struct buf b = { 0 };
	static const uint8_t zeros[6];
	struct splitter s;
	struct frame f;

	put_frame(&b, (struct frame_header){ .body_bytes = 6,
					     .type = TYPE_SMALL }, "secret");
	splitter_init(&s, UINT64_MAX, limits);
	ASSERT_OK(feed_all(&s, &b));
	ASSERT_OK(splitter_next(&s, &f, NULL));
	EXPECT_MEM(f.body, "secret", 6);
	splitter_wipe_taken(&s);
	EXPECT_MEM(f.body, zeros, 6);
	splitter_free(&s);
}

/* However the stream is cut up, the same frames come out. */
TEST(pieces_of_any_size_give_the_same_frames)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct rnd_seeded rnd;
	int round;

	rnd_seeded_init(&rnd, tap_seed());
	for (round = 0; round < 50; round++) {
		uint64_t n = 1 + rnd_seeded_below(&rnd, 30), got = 0, i;
		static uint8_t body[100000];
		struct splitter s;
		struct frame f;
		size_t at = 0;

		buf_reset(&b);
		for (i = 0; i < n; i++) {
			uint32_t len = (uint32_t)rnd_seeded_below(
				&rnd, i % 3 ? 20 : sizeof(body));

			memset(body, (int)i, sizeof(body));
			put_frame(&b, (struct frame_header){
					      .type = TYPE_LARGE,
					      .body_bytes = len,
					      .request = i }, body);
		}
		splitter_init(&s, UINT64_MAX, limits);
		while (at < b.len) {
			size_t cut = 1 + rnd_seeded_below(&rnd, 9000);
			uint8_t *piece;

			if (cut > b.len - at)
				cut = b.len - at;
			/* on the heap, to see a look past its end */
			piece = malloc(cut);
			ASSERT_NOT_NULL(piece);
			memcpy(piece, b.data + at, cut);
			ASSERT_OK(splitter_feed(&s, piece, cut, NULL));
			free(piece);
			at += cut;
			while (!splitter_next(&s, &f, NULL)) {
				uint32_t k;

				ASSERT_U64(f.h.request, got);
				for (k = 0; k < f.h.body_bytes; k++)
					if (f.body[k] != (uint8_t)got)
						break;
				ASSERT_U64(k, f.h.body_bytes);
				got++;
			}
		}
		ASSERT_U64(got, n);
		splitter_free(&s);
	}
}
