// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.h"

#include "lib/tap.h"

static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";

TEST(text_and_bytes_are_in_the_same_order)
{
	char back[UUID_TEXT_SIZE];
	struct uuid u;
	int i;

	ASSERT_OK(uuid_parse(text, &u));
	for (i = 0; i < 16; i++)
		EXPECT_U64(u.b[i], i * 0x11);
	uuid_format(&u, back);
	EXPECT_STR(back, text);
}

TEST(upper_case_is_read)
{
	struct uuid a, b;

	ASSERT_OK(uuid_parse(text, &a));
	ASSERT_OK(uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &b));
	EXPECT_TRUE(uuid_equal(&a, &b));
}

TEST(other_text_is_refused_and_nothing_is_stored)
{
	static const char *const bad[] = {
		"",
		"00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0",
		"001122334455-6677-8899-aabb-ccddeeff",
		"0011223-34455-6677-8899-aabbccddeeff",
		"g0112233-4455-6677-8899-aabbccddeeff",
		"{0112233-4455-6677-8899-aabbccddeef}",
		"00112233-4455-6677-8899-aabbccddeef ",
	};
	struct uuid u = { { 7 } };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_MSG(uuid_parse(bad[i], &u) == -EINVAL, "  took \"%s\"",
			   bad[i]);
	EXPECT_U64(u.b[0], 7);
}

TEST(new_ones_are_version_4_and_differ)
{
	struct uuid a, b;

	ASSERT_OK(uuid_new(rnd_system(), &a));
	ASSERT_OK(uuid_new(rnd_system(), &b));
	EXPECT_U64(a.b[6] >> 4, 4);
	EXPECT_U64(a.b[8] >> 6, 2);
	EXPECT_FALSE(uuid_equal(&a, &b));
	EXPECT_FALSE(uuid_is_zero(&a));
}

static int no_entropy(struct rnd *r, void *p, size_t n)
{
	(void)r;
	(void)p;
	(void)n;
	return -EIO;
}

TEST(without_randomness_there_is_no_uuid)
{
	struct rnd broken = { .fill = no_entropy };
	struct uuid u;

	EXPECT_INT(uuid_new(&broken, &u), -EIO);
}

TEST(zero_is_told_apart)
{
	struct uuid u = { { 0 } };

	EXPECT_TRUE(uuid_is_zero(&u));
	u.b[15] = 1;
	EXPECT_FALSE(uuid_is_zero(&u));
}
