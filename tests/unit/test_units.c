// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include "base/checked.h"
#include "base/clock.h"

#include "lib/tap.h"

struct quantity {
	const char *text;
	uint64_t value;
};

static void expect_all(int (*parse)(const char *, uint64_t *),
		       const struct quantity *q, size_t n)
{
	uint64_t v;
	size_t i;

	for (i = 0; i < n; i++) {
		int r = parse(q[i].text, &v);

		EXPECT_MSG(r == 0 && v == q[i].value,
			   "  \"%s\": result %d, value %" PRIu64, q[i].text, r,
			   v);
	}
}

static void expect_bad(int (*parse)(const char *, uint64_t *),
		       const char *const *text, size_t n, int want)
{
	uint64_t v;
	size_t i;

	for (i = 0; i < n; i++) {
		int r = parse(text[i], &v);

		EXPECT_MSG(r == want, "  \"%s\": result %d", text[i], r);
	}
}

TEST(sizes_are_read)
{
	static const struct quantity good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "4096B", 4096 },
		{ "1KiB", 1024 },
		{ "128MiB", 128ULL << 20 },
		{ "500 GiB", 500ULL << 30 },
		{ "16TiB", 16ULL << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};

	expect_all(size_parse, good, ARRAY_SIZE(good));
}

TEST(other_sizes_are_refused)
{
	static const char *const bad[] = { "",	   " 1",  "-1",	 "+1",
					   "1K",   "1MB", "1mib", "1.5GiB",
					   "1 KiB ", "KiB", "0x10", "1KiB1" };
	static const char *const big[] = { "18446744073709551616",
					   "16777216TiB",
					   "99999999999999999999999KiB" };

	expect_bad(size_parse, bad, ARRAY_SIZE(bad), -EINVAL);
	expect_bad(size_parse, big, ARRAY_SIZE(big), -ERANGE);
}

TEST(rates_need_their_second)
{
	static const struct quantity good[] = { { "200MiB/s", 200ULL << 20 },
						{ "5/s", 5 } };
	static const char *const bad[] = { "200MiB", "/s", "", "s",
					   "1MiB/s/s", "1MiB/m" };

	expect_all(rate_parse, good, ARRAY_SIZE(good));
	expect_bad(rate_parse, bad, ARRAY_SIZE(bad), -EINVAL);
}

TEST(durations_are_read)
{
	static const struct quantity good[] = {
		{ "50ms", 50 * NSEC_PER_MSEC },
		{ "1s", NSEC_PER_SEC },
		{ "10 m", 600 * NSEC_PER_SEC },
		{ "1h", 3600 * NSEC_PER_SEC },
		{ "7d", 7 * 86400 * NSEC_PER_SEC },
		{ "2w", 14 * 86400 * NSEC_PER_SEC },
		{ "1y", 365 * 86400 * NSEC_PER_SEC },
		{ "0s", 0 },
	};

	expect_all(duration_parse, good, ARRAY_SIZE(good));
}

TEST(a_duration_needs_its_unit)
{
	static const char *const bad[] = { "",	 "10", "10min", "1.5s",
					   "-1s", "s",	"1S",	"1s 2ms" };
	static const char *const big[] = { "585y", "99999999999999999999s" };

	expect_bad(duration_parse, bad, ARRAY_SIZE(bad), -EINVAL);
	expect_bad(duration_parse, big, ARRAY_SIZE(big), -ERANGE);
}

TEST(sizes_are_written_for_people)
{
	static const struct quantity want[] = {
		{ "0 B", 0 },
		{ "1023 B", 1023 },
		{ "1 KiB", 1024 },
		{ "1.5 KiB", 1536 },
		{ "1.9 GiB", 2 * (1ULL << 30) - 1 },
		{ "16 TiB", 16ULL << 40 },
		{ "16383.9 PiB", UINT64_MAX },
	};
	char out[24];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		size_format(want[i].value, out);
		EXPECT_STR(out, want[i].text);
	}
}

TEST(durations_are_written_for_people)
{
	static const struct quantity want[] = {
		{ "0 ms", 0 },
		{ "12 us", 12345 },
		{ "350 ms", 350 * NSEC_PER_MSEC },
		{ "1.2 s", 1290 * NSEC_PER_MSEC },
		{ "59.9 s", 60 * NSEC_PER_SEC - 1 },
		{ "3 m 20 s", 200 * NSEC_PER_SEC },
		{ "2 h", 7200 * NSEC_PER_SEC },
		{ "2 h 5 m", 7500 * NSEC_PER_SEC },
		{ "3 d 4 h", 76 * 3600 * NSEC_PER_SEC },
		{ "213503 d 23 h", UINT64_MAX },
	};
	char out[24];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		duration_format(want[i].value, out);
		EXPECT_STR(out, want[i].text);
	}
}

TEST(names_keep_to_their_alphabet)
{
	static const char *const good[] = { "a", "db1", "A.b_c-9", "9", "_x" };
	static const char *const bad[] = { "",	  ".",	  "-a",	 ".a", "a/b",
					   "a b", "a\n", "\xc3\xa4", "a*" };
	char longest[66];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++)
		EXPECT_TRUE(name_is_valid(good[i]));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_MSG(!name_is_valid(bad[i]), "  took \"%s\"", bad[i]);
	memset(longest, 'x', sizeof(longest));
	longest[64] = 0;
	EXPECT_TRUE(name_is_valid(longest));
	longest[64] = 'x';
	longest[65] = 0;
	EXPECT_FALSE(name_is_valid(longest));
}
