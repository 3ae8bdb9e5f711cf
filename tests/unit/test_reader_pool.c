// SPDX-License-Identifier: Apache-2.0
/*
 * What every reader shares, without a device: what a result means, and when a
 * read may begin.
 */
#include "base/checked.h"
#include "base/clock.h"
#include "source/reader_limit.h"
#include "source/reader_pool.h"
#include "tap.h"

/* ---- what a result means, without a device ---- */

static struct read_slot *begun_slot(struct reader_pool *p, uint64_t off,
				    uint32_t len)
{
	struct read_req *q = reader_pool_get(p);

	q->off_bytes = off;
	q->len_bytes = len;
	memset(q->buf, 0xee, len);
	ASSERT_OK(reader_pool_submit(p, q));
	return reader_pool_begin(p);
}

TEST(short_reads_are_continued_where_they_stopped)
{
	struct reader_pool p;
	struct read_slot *s;

	ASSERT_OK(reader_pool_init(&p, 1 << 20, 65536, 512));
	s = begun_slot(&p, 8192, 32768);
	EXPECT_U64(read_slot_off(&p, s), (1 << 20) + 8192);
	EXPECT_FALSE(reader_pool_result(&p, s, 4096));
	EXPECT_U64(read_slot_off(&p, s), (1 << 20) + 8192 + 4096);
	EXPECT_TRUE(read_slot_buf(s) == s->req.buf + 4096);
	EXPECT_INT(read_slot_left(s), 32768 - 4096);
	EXPECT_FALSE(reader_pool_result(&p, s, 512));
	EXPECT_TRUE(reader_pool_result(&p, s, 32768 - 4096 - 512));
	EXPECT_OK(s->req.res);
	EXPECT_INT(s->req.buf[32767], 0xee);
	EXPECT_INT(p.n_begun, 0);
	reader_pool_fini(&p);
}

TEST(interruptions_are_asked_again_but_not_for_ever)
{
	struct reader_pool p;
	struct read_slot *s;
	int n = 0;

	ASSERT_OK(reader_pool_init(&p, 0, 65536, 512));
	s = begun_slot(&p, 0, 4096);
	EXPECT_FALSE(reader_pool_result(&p, s, -EINTR));
	EXPECT_FALSE(reader_pool_result(&p, s, -EAGAIN));
	EXPECT_TRUE(reader_pool_result(&p, s, 4096));
	EXPECT_OK(s->req.res);
	s = begun_slot(&p, 4096, 4096);
	while (!reader_pool_result(&p, s, -EAGAIN))
		ASSERT_LT(n++, 100000);
	EXPECT_INT(s->req.res, -EAGAIN);
	reader_pool_fini(&p);
}

TEST(an_error_in_the_middle_is_the_result)
{
	struct reader_pool p;
	struct read_slot *s;

	ASSERT_OK(reader_pool_init(&p, 0, 65536, 512));
	s = begun_slot(&p, 0, 8192);
	EXPECT_FALSE(reader_pool_result(&p, s, 4096));
	EXPECT_TRUE(reader_pool_result(&p, s, -EIO));
	EXPECT_INT(s->req.res, -EIO);
	s = begun_slot(&p, 0, 8192);
	EXPECT_TRUE(reader_pool_result(&p, s, -ENODATA));
	EXPECT_INT(s->req.res, -ENODATA);
	s = begun_slot(&p, 0, 8192);
	EXPECT_TRUE(reader_pool_result(&p, s, 8192 + 1));	/* nonsense */
	EXPECT_INT(s->req.res, -EIO);
	reader_pool_fini(&p);
}

/* ---- the limit's arithmetic ---- */

TEST(limit_keeps_the_rate_and_loses_no_fraction)
{
	static const uint64_t rates[] = { 1, 7, 999, 4096, 1000003, 1 << 30 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t now = 1000, sent = 0, start, delay, earned;
		struct read_limit l;
		int n;

		read_limit_init(&l, rates[i], now);
		start = now;
		for (n = 0; n < 200; n++) {
			delay = read_limit_delay_ns(&l, now);
			/* In uneven steps, and never a step too late. */
			while (delay) {
				now += delay > 3 ? delay / 2 : delay;
				delay = read_limit_delay_ns(&l, now);
			}
			read_limit_charge(&l, 5000);
			sent += 5000;
		}
		if (sent <= (uint64_t)l.full_bytes)
			continue;
		/* The last read began as soon as a byte was to be had. */
		earned = (uint64_t)((unsigned __int128)(now - start) *
				    rates[i] / NSEC_PER_SEC) +
			 (uint64_t)l.full_bytes;
		EXPECT_GE(earned, sent - 5000);
		EXPECT_LE(earned, sent);
	}
}

TEST(limit_saves_no_more_than_a_bucket)
{
	struct read_limit l;

	read_limit_init(&l, 1 << 20, 0);
	EXPECT_U64(read_limit_delay_ns(&l, 3600 * NSEC_PER_SEC), 0);
	EXPECT_INT(l.credit_bytes, (1 << 20) / 20);
	read_limit_charge(&l, (1 << 20) / 20 + (1 << 20) - 1);
	EXPECT_U64(read_limit_delay_ns(&l, 3600 * NSEC_PER_SEC), NSEC_PER_SEC);
	/* A clock that goes back neither earns nor crashes. */
	EXPECT_GE(read_limit_delay_ns(&l, 0), NSEC_PER_SEC);
}

TEST(limit_of_zero_is_none)
{
	struct read_limit l;

	read_limit_init(&l, 0, 5);
	read_limit_charge(&l, UINT64_MAX);
	EXPECT_U64(read_limit_delay_ns(&l, 5), 0);
}
