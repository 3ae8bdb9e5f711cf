// SPDX-License-Identifier: Apache-2.0
/* Names of volumes, points and times, as people type them. */
#include "tap.h"

#include "base/checked.h"
#include "base/clock.h"
#include "control/selector.h"

TEST(a_volume_may_carry_its_point)
{
	char volume[SELECTOR_VOLUME_SIZE], point[SELECTOR_POINT_SIZE];

	EXPECT_OK(selector_split("db1", volume, point, NULL));
	EXPECT_STR(volume, "db1");
	EXPECT_STR(point, "");
	EXPECT_OK(selector_split("web1/db1@3:42", volume, point, NULL));
	EXPECT_STR(volume, "web1/db1");
	EXPECT_STR(point, "3:42");
	EXPECT_OK(selector_split("db1@a@b", volume, point, NULL));
	EXPECT_STR(point, "a@b");
	EXPECT_INT(selector_split("@3", volume, point, NULL), -EINVAL);
	EXPECT_INT(selector_split("db1@", volume, point, NULL), -EINVAL);
	EXPECT_INT(selector_split("", volume, point, NULL), -EINVAL);
}

TEST(a_volume_is_name_or_source_and_name)
{
	static const char *const bad[] = { "", "/", "a/", "/b", "a/b/c", ".a",
					   "-a", "a b", "a/.b" };
	struct volume_name name;
	size_t i;

	EXPECT_OK(volume_name_parse("db1", &name, NULL));
	EXPECT_STR(name.source, "");
	EXPECT_STR(name.name, "db1");
	EXPECT_OK(volume_name_parse("web1/db1", &name, NULL));
	EXPECT_STR(name.source, "web1");
	EXPECT_STR(name.name, "db1");
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_MSG(volume_name_parse(bad[i], &name, NULL) == -EINVAL,
			   "  taken: %s", bad[i]);
}

TEST(names_that_are_too_long_are_refused)
{
	char text[200];
	struct volume_name name;

	memset(text, 'a', sizeof(text));
	text[64] = 0;
	EXPECT_OK(volume_name_parse(text, &name, NULL));
	text[64] = 'a';
	text[65] = 0;
	EXPECT_INT(volume_name_parse(text, &name, NULL), -EINVAL);
	text[65] = '/';
	text[70] = 0;
	EXPECT_INT(volume_name_parse(text, &name, NULL), -EINVAL);
}

TEST(a_point_is_latest_a_number_a_label_or_a_time)
{
	struct selector s;

	EXPECT_OK(selector_parse("", 0, &s, NULL));
	EXPECT_INT(s.kind, SELECTOR_LATEST);
	EXPECT_OK(selector_parse("latest", 0, &s, NULL));
	EXPECT_INT(s.kind, SELECTOR_LATEST);
	EXPECT_OK(selector_parse("42", 0, &s, NULL));
	EXPECT_INT(s.kind, SELECTOR_SEQ);
	EXPECT_U64(s.seq, 42);
	EXPECT_U64(s.epoch, 0);
	EXPECT_OK(selector_parse("3:42", 0, &s, NULL));
	EXPECT_U64(s.epoch, 3);
	EXPECT_U64(s.seq, 42);
	EXPECT_OK(selector_parse("18446744073709551615", 0, &s, NULL));
	EXPECT_U64(s.seq, UINT64_MAX);
	EXPECT_OK(selector_parse("before it", 0, &s, NULL));
	EXPECT_INT(s.kind, SELECTOR_LABEL);
	EXPECT_STR(s.label, "before it");
	EXPECT_OK(selector_parse("", 5, &s, NULL));
	EXPECT_INT(s.kind, SELECTOR_TIME);
	EXPECT_INT(s.wall_ns, 5);
}

TEST(what_is_no_point_is_a_usage_error_with_a_remedy)
{
	static const char *const bad[] = { "3:", ":3", "0:3", "1:2:3", "+3",
					   " 3", "18446744073709551616",
					   "-before", "a\nb", "_" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;
		struct selector s;

		EXPECT_MSG(selector_parse(bad[i], 0, &s, &err) == -EINVAL,
			   "  taken: %s", bad[i]);
		EXPECT_STR(err.code, "usage");
		EXPECT_NE(err.remedy[0], 0);
	}
}

TEST(a_point_and_a_time_at_once_are_refused)
{
	struct selector s;

	EXPECT_INT(selector_parse("3", 5, &s, NULL), -EINVAL);
}

TEST(labels_hold_a_letter_and_are_not_latest)
{
	char text[100];

	EXPECT_OK(selector_check_label("a", NULL));
	EXPECT_OK(selector_check_label("2026-11-21T13", NULL));
	EXPECT_OK(selector_check_label("vor-der-\xc3\xa4nderung", NULL));
	EXPECT_INT(selector_check_label("", NULL), -EINVAL);
	EXPECT_INT(selector_check_label("latest", NULL), -EINVAL);
	EXPECT_INT(selector_check_label("2026-11-21", NULL), -EINVAL);
	EXPECT_INT(selector_check_label("-a", NULL), -EINVAL);
	EXPECT_INT(selector_check_label("a\tb", NULL), -EINVAL);
	memset(text, 'a', sizeof(text));
	text[64] = 0;
	EXPECT_OK(selector_check_label(text, NULL));
	text[64] = 'a';
	text[65] = 0;
	EXPECT_INT(selector_check_label(text, NULL), -EINVAL);
}

TEST(a_time_that_points_prints_finds_the_point_it_is_printed_for)
{
	const int64_t flip_ns = 1795266005123456789;
	char shown[32];
	int64_t at_ns;

	time_format_utc(flip_ns, shown);
	ASSERT_OK(selector_parse_time(shown, 0, &at_ns, NULL));
	EXPECT_GE(at_ns, flip_ns);
	EXPECT_LT(at_ns, flip_ns + (int64_t)NSEC_PER_MSEC);
}

TEST(a_relative_time_is_before_now)
{
	const int64_t now_ns = 1795266005123456789;
	int64_t at_ns;

	ASSERT_OK(selector_parse_time("-10m", now_ns, &at_ns, NULL));
	EXPECT_INT(at_ns, now_ns - 600 * (int64_t)NSEC_PER_SEC);
	EXPECT_INT(selector_parse_time("10m", now_ns, &at_ns, NULL), -EINVAL);
	EXPECT_INT(selector_parse_time("yesterday", now_ns, &at_ns, NULL),
		   -EINVAL);
	EXPECT_INT(selector_parse_time("-100y", now_ns, &at_ns, NULL), -EINVAL);
}
