// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include "base/checked.h"

#include "lib/tap.h"

#define NOW 1800000000000000000LL	/* 2027-01-15T08:00:00Z */

/* A zone with summer time; its rule is in the name, no file is needed. */
static void use_zone(const char *rule)
{
	(void)setenv("TZ", rule, 1);
	tzset();
}

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

static void expect_time(const char *text, const char *want_utc)
{
	char got[32] = "refused";
	int64_t ns;

	if (time_parse(text, NOW, &ns) == 0)
		time_format_utc(ns, got);
	EXPECT_MSG(!strcmp(got, want_utc), "  \"%s\" is %s, not %s", text, got,
		   want_utc);
}

TEST(utc_is_written_with_milliseconds)
{
	char out[32];

	time_format_utc(0, out);
	EXPECT_STR(out, "1970-01-01T00:00:00.000Z");
	time_format_utc(1795266005123999999LL, out);
	EXPECT_STR(out, "2026-11-21T13:00:05.123Z");
	time_format_utc(-1, out);
	EXPECT_STR(out, "1969-12-31T23:59:59.999Z");
	time_format_utc(INT64_MAX, out);
	EXPECT_STR(out, "2262-04-11T23:47:16.854Z");
	time_format_utc(INT64_MIN, out);
	EXPECT_STR(out, "1677-09-21T00:12:43.145Z");
}

TEST(rfc_3339_is_read)
{
	use_zone(BERLIN);
	expect_time("2026-11-21T13:00:05Z", "2026-11-21T13:00:05.000Z");
	expect_time("2026-11-21t13:00:05z", "2026-11-21T13:00:05.000Z");
	expect_time("2026-11-21T13:00:05.123456789Z", "2026-11-21T13:00:05.123Z");
	expect_time("2026-11-21T13:00:05.5Z", "2026-11-21T13:00:05.500Z");
	expect_time("2026-11-21T13:00:05.1239999999999Z",
		    "2026-11-21T13:00:05.123Z");
	expect_time("2026-11-21 13:00:05+02:00", "2026-11-21T11:00:05.000Z");
	expect_time("2026-11-21T13:00:05-05:30", "2026-11-21T18:30:05.000Z");
	expect_time("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z");
	expect_time("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z");
}

TEST(a_written_time_reads_back)
{
	static const int64_t times[] = { 0, NOW, NOW + 999 * 1000000LL,
					 -86400 * 1000000000LL };
	char text[32];
	int64_t ns;
	size_t i;

	use_zone(BERLIN);
	for (i = 0; i < ARRAY_SIZE(times); i++) {
		time_format_utc(times[i], text);
		ASSERT_OK(time_parse(text, NOW, &ns));
		EXPECT_INT(ns, times[i]);
	}
}

TEST(without_a_zone_it_is_local_time)
{
	use_zone(BERLIN);
	expect_time("2026-11-21 13:00", "2026-11-21T12:00:00.000Z");
	expect_time("2026-11-21 13:00:05", "2026-11-21T12:00:05.000Z");
	expect_time("2026-07-01 13:00", "2026-07-01T11:00:00.000Z");
	expect_time("2026-07-01T13:00:05.25", "2026-07-01T11:00:05.250Z");
	expect_time("2016-12-31 23:59:60", "2016-12-31T23:00:00.000Z");
	use_zone("UTC0");
	expect_time("2026-11-21 13:00", "2026-11-21T13:00:00.000Z");
}

TEST(an_hour_that_summer_time_skips_is_refused)
{
	use_zone(BERLIN);
	expect_time("2026-03-29 01:59", "2026-03-29T00:59:00.000Z");
	expect_time("2026-03-29 02:30", "refused");
	expect_time("2026-03-29 02:30:60", "refused");
	expect_time("2026-03-29 03:00", "2026-03-29T01:00:00.000Z");
}

TEST(ago_counts_back_from_now)
{
	expect_time("-10m", "2027-01-15T07:50:00.000Z");
	expect_time("-50ms", "2027-01-15T07:59:59.950Z");
	expect_time("-1y", "2026-01-15T08:00:00.000Z");
	expect_time("-0s", "2027-01-15T08:00:00.000Z");
	expect_time("-10", "refused");
	expect_time("--10m", "refused");
	expect_time("-500y", "refused");
}

TEST(other_text_is_refused)
{
	static const char *const bad[] = {
		"",
		"now",
		"2026",
		"2026-11-21",
		"2026-11-21T13",
		"26-11-21 13:00",
		"2026-13-01 13:00",
		"2026-00-01 13:00",
		"2026-11-31 13:00",
		"2026-11-00 13:00",
		"2026-02-29 13:00",
		"2100-02-29 13:00",
		"2026-11-21 24:00",
		"2026-11-21 13:60",
		"2026-11-21 13:00:61",
		"2026-11-21 13:00:05.",
		"2026-11-21 13:00:05 ",
		"2026-11-21T13:00:05Zx",
		"2026-11-21T13:00:05+2:00",
		"2026-11-21T13:00:05+24:00",
		"2026-11-21T13:00:05+0200",
		"2026-11-21T13:00:05+02:00x",
		"2026-11-21_13:00",
		" 2026-11-21 13:00",
		"1500-01-01T00:00:00Z",
		"2300-01-01T00:00:00Z",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		expect_time(bad[i], "refused");
}

TEST(the_real_clocks_go_forward)
{
	struct clock *c = clock_real();
	uint64_t a = clock_mono_ns(c), b = clock_mono_ns(c);

	EXPECT_GE(b, a);
	EXPECT_GT(a, 0);
	/* After 2020: this machine knows roughly what time it is. */
	EXPECT_GT(clock_wall_ns(c), 1577836800000000000LL);
}

TEST(a_deadline_lies_as_far_ahead_as_asked)
{
	static const uint64_t ahead[] = { 0, 1, NSEC_PER_SEC - 1,
					  3 * NSEC_PER_SEC + 999999999 };
	struct timespec now, then;
	int64_t got;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ahead); i++) {
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		clock_deadline(ahead[i], &then);
		got = (then.tv_sec - now.tv_sec) * (int64_t)NSEC_PER_SEC +
		      then.tv_nsec - now.tv_nsec;
		EXPECT_LT(then.tv_nsec, NSEC_PER_SEC);
		EXPECT_GE(got, ahead[i]);
		EXPECT_LT(got, ahead[i] + NSEC_PER_SEC / 2);
	}
}
