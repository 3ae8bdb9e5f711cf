// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include "base/rnd.h"

#include "lib/tap.h"

TEST(fields_are_little_endian)
{
	_cleanup_buf_ struct buf b = { 0 };
	static const uint8_t want[] = { 0x01, 0x03, 0x02, 0x07, 0x06, 0x05,
					0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b,
					0x0a, 0x09, 0x08 };

	buf_put_u8(&b, 0x01);
	buf_put_u16(&b, 0x0203);
	buf_put_u32(&b, 0x04050607);
	buf_put_u64(&b, 0x08090a0b0c0d0e0fULL);
	ASSERT_U64(b.len, sizeof(want));
	EXPECT_MEM(b.data, want, sizeof(want));
}

TEST(what_was_put_is_read_back)
{
	_cleanup_buf_ struct buf b = { 0 };
	char text[16];
	uint8_t raw[3];
	struct cursor c;

	buf_put_u8(&b, 0xfe);
	buf_put_u16(&b, 0xfffe);
	buf_put_u32(&b, 0xfffffffe);
	buf_put_u64(&b, UINT64_MAX - 1);
	buf_put_str(&b, "volume");
	buf_put_str(&b, "");
	buf_put(&b, "xyz", 3);
	ASSERT_FALSE(b.failed);

	cursor_init(&c, b.data, b.len);
	EXPECT_U64(cursor_u8(&c), 0xfe);
	EXPECT_U64(cursor_u16(&c), 0xfffe);
	EXPECT_U64(cursor_u32(&c), 0xfffffffe);
	EXPECT_U64(cursor_u64(&c), UINT64_MAX - 1);
	cursor_str(&c, text, sizeof(text));
	EXPECT_STR(text, "volume");
	cursor_str(&c, text, sizeof(text));
	EXPECT_STR(text, "");
	EXPECT_FALSE(cursor_done(&c));
	cursor_copy(&c, raw, 3);
	EXPECT_MEM(raw, "xyz", 3);
	EXPECT_TRUE(cursor_done(&c));
}

TEST(an_over_read_yields_zeros_and_stays_bad)
{
	static const uint8_t three[] = { 1, 2, 3 };
	uint8_t out[2] = { 9, 9 };
	struct cursor c;

	cursor_init(&c, three, sizeof(three));
	EXPECT_U64(cursor_u32(&c), 0);
	EXPECT_TRUE(c.bad);
	EXPECT_U64(cursor_u8(&c), 0);
	EXPECT_NULL(cursor_bytes(&c, 1));
	EXPECT_NULL(cursor_bytes(&c, 0));
	cursor_copy(&c, out, 2);
	EXPECT_U64(out[0] | out[1], 0);
	EXPECT_FALSE(cursor_done(&c));
}

TEST(a_string_too_long_for_its_place_is_bad)
{
	_cleanup_buf_ struct buf b = { 0 };
	char text[6];
	struct cursor c;

	buf_put_str(&b, "12345");
	cursor_init(&c, b.data, b.len);
	cursor_str(&c, text, 6);
	EXPECT_STR(text, "12345");
	EXPECT_TRUE(cursor_done(&c));

	cursor_init(&c, b.data, b.len);
	cursor_str(&c, text, 5);
	EXPECT_STR(text, "");
	EXPECT_TRUE(c.bad);
}

TEST(a_string_with_a_zero_byte_is_bad)
{
	static const uint8_t bytes[] = { 3, 0, 'a', 0, 'b' };
	char text[8];
	struct cursor c;

	cursor_init(&c, bytes, sizeof(bytes));
	cursor_str(&c, text, sizeof(text));
	EXPECT_TRUE(c.bad);
	EXPECT_STR(text, "");
}

TEST(a_string_longer_than_its_length_field_fails_the_buffer)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *s = malloc(65537);

	ASSERT_NOT_NULL(s);
	memset(s, 'x', 65536);
	s[65535] = 0;
	buf_put_str(&b, s);
	EXPECT_FALSE(b.failed);
	s[65535] = 'x';
	s[65536] = 0;
	buf_put_str(&b, s);
	EXPECT_TRUE(b.failed);
}

TEST(after_a_failed_growth_puts_do_nothing)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t len;

	buf_put(&b, "abc", 3);
	EXPECT_INT(buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
	EXPECT_TRUE(b.failed);
	buf_put_u64(&b, 1);
	EXPECT_NULL(buf_extend(&b, 1));
	EXPECT_U64(b.len, 3);
	EXPECT_NULL(buf_take(&b, &len));
	buf_put_u8(&b, 1);
	EXPECT_FALSE(b.failed);
	EXPECT_U64(b.len, 1);
}

TEST(consume_keeps_the_rest)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_put(&b, "abcdef", 6);
	buf_consume(&b, 2);
	ASSERT_U64(b.len, 4);
	EXPECT_MEM(b.data, "cdef", 4);
	buf_consume(&b, 99);
	EXPECT_U64(b.len, 0);
	buf_put(&b, "gh", 2);
	EXPECT_MEM(b.data, "gh", 2);
}

TEST(take_hands_the_content_over)
{
	struct buf b = { 0 };
	_cleanup_free_ uint8_t *p = NULL;
	_cleanup_free_ uint8_t *none = NULL;
	size_t len;

	buf_put(&b, "abcdef", 6);
	buf_consume(&b, 1);
	p = buf_take(&b, &len);
	ASSERT_NOT_NULL(p);
	ASSERT_U64(len, 5);
	EXPECT_MEM(p, "bcdef", 5);
	EXPECT_NULL(b.data);
	none = buf_take(&b, &len);
	EXPECT_NOT_NULL(none);
	EXPECT_U64(len, 0);
}

TEST(a_reset_buffer_keeps_its_memory)
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t cap;

	ASSERT_OK(buf_reserve(&b, 1000));
	buf_put(&b, "abc", 3);
	buf_consume(&b, 1);
	buf_reset(&b);
	cap = b.cap;
	EXPECT_GE(cap, 1000);
	EXPECT_U64(b.len, 0);
	EXPECT_TRUE(b.data == b.base);
}

/* A queue that always holds something must not move it at each step. */
TEST(a_long_queue_is_consumed_in_linear_time)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t in = 0, out = 0;
	double start = tap_ms_now();

	while (in < 100000) {
		buf_put_u64(&b, in++);
		buf_put_u64(&b, in++);
		ASSERT_U64(get_le64(b.data), out++);
		buf_consume(&b, 8);
	}
	while (b.len) {
		ASSERT_U64(get_le64(b.data), out++);
		buf_consume(&b, 8);
	}
	EXPECT_U64(out, in);
	/* Moving all at each step would be 20 GB of copies. */
	EXPECT_LT(tap_ms_now() - start, 1000);
	EXPECT_LE(b.cap, 4 * 8 * 100000);
}

TEST(random_puts_and_consumes_agree_with_a_plain_array)
{
	static uint8_t model[1 << 16];
	_cleanup_buf_ struct buf b = { 0 };
	size_t head = 0, tail = 0, n;
	struct rnd_seeded r;

	rnd_seeded_init(&r, tap_seed());
	while (tail + 256 < sizeof(model)) {
		n = rnd_seeded_below(&r, 256);
		ASSERT_OK(rnd_fill(&r.rnd, model + tail, n));
		buf_put(&b, model + tail, n);
		tail += n;
		n = rnd_seeded_below(&r, 300);
		n = n > tail - head ? tail - head : n;
		buf_consume(&b, n);
		head += n;
		ASSERT_U64(b.len, tail - head);
		if (b.len)
			ASSERT_MEM(b.data, model + head, b.len);
	}
}

TEST(a_wiped_buffer_is_empty_and_usable)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_wipe(&b);
	buf_put(&b, "secret and more", 15);
	buf_consume(&b, 6);
	buf_wipe(&b);
	EXPECT_NULL(b.base);
	EXPECT_U64(b.len + b.cap, 0);
	buf_put(&b, "x", 1);
	EXPECT_U64(b.len, 1);
}
