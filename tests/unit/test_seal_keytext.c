// SPDX-License-Identifier: Apache-2.0
/* Keys as text. */
#include "lib/tap.h"

#include <ctype.h>
#include <string.h>

#include "base/rnd.h"
#include "wire/seal.h"

static const struct volume_key key = {
	.id = 3,
	.bytes = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
		   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
};
static const struct uuid volume = { { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46,
				      0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d,
				      0x4e, 0x4f } };
/* check: sha256sum of the five lines before it, first 16 digits */
static const char known[] =
	"understudy-key 1\n"
	"name db1\n"
	"uuid 40414243-4445-4647-4849-4a4b4c4d4e4f\n"
	"id 3\n"
	"key 00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b "
	"1c1d1e1f\n"
	"check 079251f729350b51\n";

static int read_text(const char *text, size_t n, struct err *err)
{
	struct volume_key k;
	struct uuid u;
	char name[65];
	int r;

	memset(&k, 0xff, sizeof(k));
	r = volume_key_from_text(text, n, &k, name, &u, err);
	if (!r) {
		EXPECT_MEM(&k, &key, sizeof(k));
		EXPECT_STR(name, "db1");
		EXPECT_TRUE(uuid_equal(&u, &volume));
	}
	return r;
}

TEST(the_text_is_as_documented)
{
	char text[KEY_TEXT_MAX];
	int n;

	n = volume_key_to_text(&key, "db1", &volume, text, sizeof(text));
	EXPECT_INT(n, strlen(known));
	EXPECT_STR(text, known);
	EXPECT_OK(read_text(known, strlen(known), NULL));
}

TEST(every_mistyped_character_is_noticed)
{
	char text[sizeof(known)];
	size_t i;

	for (i = 0; i < strlen(known); i++) {
		memcpy(text, known, sizeof(known));
		/* A blank more or less is forgiven; this is none. */
		text[i] = text[i] == '7' ? '1' : '7';
		EXPECT_MSG(read_text(text, strlen(known), NULL) == -EBADMSG,
			   "character %zu (%c)", i, known[i]);
	}
}

TEST(swapped_neighbours_are_noticed)
{
	char text[sizeof(known)];
	size_t i;

	for (i = 0; i + 1 < strlen(known); i++) {
		if (known[i] == known[i + 1] ||
		    (isspace((unsigned char)known[i]) ||
		     isspace((unsigned char)known[i + 1])))
			continue;
		memcpy(text, known, sizeof(known));
		text[i] = known[i + 1];
		text[i + 1] = known[i];
		EXPECT_MSG(read_text(text, strlen(known), NULL) == -EBADMSG,
			   "characters at %zu", i);
	}
}

TEST(every_truncation_is_noticed)
{
	size_t n;

	/* The newline at the end may be missing. */
	for (n = 0; n + 1 < strlen(known); n++)
		EXPECT_INT(read_text(known, n, NULL), -EBADMSG);
	EXPECT_OK(read_text(known, strlen(known) - 1, NULL));
}

TEST(white_space_and_case_are_forgiven)
{
	char text[2 * sizeof(known)];
	size_t n = 0, i;

	text[n++] = '\n';
	for (i = 0; i < strlen(known); i++) {
		char c = known[i];

		if (c == '\n') {
			text[n++] = '\r';
			text[n++] = '\n';
			text[n++] = ' ';
			continue;
		}
		if (c == ' ')
			text[n++] = '\t';
		/* names keep their case */
		text[n++] = i > 26 ? (char)toupper((unsigned char)c) : c;
	}
	EXPECT_OK(read_text(text, n, NULL));
}

TEST(extra_and_reordered_lines_are_refused)
{
	char text[2 * sizeof(known)];
	const char *name = strstr(known, "name"), *uuid = strstr(known, "uuid");
	const char *id = strstr(known, "id 3");

	(void)snprintf(text, sizeof(text), "%sname db1\n", known);
	EXPECT_INT(read_text(text, strlen(text), NULL), -EBADMSG);
	(void)snprintf(text, sizeof(text), "%.*s%.*s%.*s%s",
		       (int)(name - known), known, (int)(id - uuid), uuid,
		       (int)(uuid - name), name, id);
	EXPECT_INT(read_text(text, strlen(text), NULL), -EBADMSG);
}

TEST(a_version_from_the_future_is_named_as_such)
{
	char text[sizeof(known)];
	struct err err = ERR_INIT;

	memcpy(text, known, sizeof(known));
	text[strlen("understudy-key ")] = '3';
	EXPECT_INT(read_text(text, strlen(text), &err), -EBADMSG);
	EXPECT_STR_HAS(err.message, "version");
	EXPECT_STR(err.code, "bad-key");
}

/* Computed by hand: sha256sum of the lines before check. */
static const char known_two[] =
	"understudy-key 2\n"
	"name db1\n"
	"uuid 40414243-4445-4647-4849-4a4b4c4d4e4f\n"
	"id 3\n"
	"key 00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b "
	"1c1d1e1f\n"
	"id 1\n"
	"key ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff "
	"ffffffff\n"
	"check 5cac20b4e7b9d6ef\n";

static struct volume_key two_generations(void)
{
	struct volume_key k = key;

	k.n_former = 1;
	k.former[0].id = 1;
	memset(k.former[0].bytes, 0xff, VOLUME_KEY_BYTES);
	return k;
}

static int read_two(const char *text, size_t n)
{
	struct volume_key k, want = two_generations();
	struct uuid u;
	char name[65];
	int r = volume_key_from_text(text, n, &k, name, &u, NULL);

	if (!r)
		EXPECT_MEM(&k, &want, sizeof(k));
	return r;
}

TEST(former_generations_follow_the_newest)
{
	const struct volume_key k = two_generations();
	char text[KEY_TEXT_MAX];

	EXPECT_INT(volume_key_to_text(&k, "db1", &volume, text, sizeof(text)),
		   strlen(known_two));
	EXPECT_STR(text, known_two);
	EXPECT_OK(read_two(known_two, strlen(known_two)));
}

TEST(every_change_to_a_text_of_two_generations_is_noticed)
{
	char text[sizeof(known_two)];
	size_t i;

	for (i = 0; i < strlen(known_two); i++) {
		memcpy(text, known_two, sizeof(known_two));
		text[i] = text[i] == '7' ? '1' : '7';
		EXPECT_MSG(read_two(text, strlen(known_two)) == -EBADMSG,
			   "character %zu (%c)", i, known_two[i]);
		EXPECT_MSG(i + 1 == strlen(known_two) ||
				   read_two(known_two, i) == -EBADMSG,
			   "the first %zu characters", i);
	}
}

TEST(generations_out_of_order_and_a_version_of_another_shape_are_refused)
{
	const char *first = strstr(known_two, "id 3");
	const char *second = strstr(known_two, "id 1");
	const char *check = strstr(known_two, "check");
	char text[sizeof(known_two)];

	(void)snprintf(text, sizeof(text), "%.*s%.*s%.*s%s",
		       (int)(first - known_two), known_two,
		       (int)(check - second), second, (int)(second - first),
		       first, check);
	EXPECT_INT(read_two(text, strlen(text)), -EBADMSG);
	memcpy(text, known_two, sizeof(text));
	text[strlen("understudy-key ")] = '1';
	EXPECT_INT(read_two(text, strlen(text)), -EBADMSG);
	memcpy(text, known, sizeof(known));
	text[strlen("understudy-key ")] = '2';
	EXPECT_INT(read_text(text, strlen(text), NULL), -EBADMSG);
}

TEST(a_key_of_all_generations_fits_into_a_text)
{
	char text[KEY_TEXT_MAX], name[65];
	struct volume_key k, back;
	struct uuid u;
	int n;

	ASSERT_OK(volume_key_new(rnd_system(), UINT32_MAX -
					       VOLUME_KEY_GENERATIONS, &k));
	while (!volume_key_rotate(&k, rnd_system()))
		;
	EXPECT_INT(k.n_former, VOLUME_KEY_GENERATIONS - 1);
	n = volume_key_to_text(&k, "0123456789abcdef0123456789abcdef"
				   "0123456789abcdef0123456789abcdef", &volume, text,
			       sizeof(text));
	ASSERT_TRUE(n > 0);
	ASSERT_OK(volume_key_from_text(text, (size_t)n, &back, name, &u, NULL));
	EXPECT_MEM(&back, &k, sizeof(k));
}

TEST(a_refused_key_is_wiped)
{
	struct volume_key k, zero;
	char text[sizeof(known)], name[65];
	struct uuid u;

	memset(&zero, 0, sizeof(zero));
	memset(&k, 0xff, sizeof(k));
	memcpy(text, known, sizeof(known));
	text[strlen(text) - 2] ^= 1;
	EXPECT_INT(volume_key_from_text(text, strlen(text), &k, name, &u, NULL),
		   -EBADMSG);
	EXPECT_MEM(&k, &zero, sizeof(k));
}

TEST(a_short_buffer_and_a_bad_name_are_refused)
{
	char text[KEY_TEXT_MAX];
	size_t cap;

	for (cap = 1; cap <= strlen(known); cap++)
		EXPECT_INT(volume_key_to_text(&key, "db1", &volume, text, cap),
			   -ENOSPC);
	EXPECT_INT(volume_key_to_text(&key, "db1", &volume, text, cap),
		   strlen(known));
	EXPECT_INT(volume_key_to_text(&key, "a/b", &volume, text, sizeof(text)),
		   -EINVAL);
	EXPECT_INT(volume_key_to_text(&key, "", &volume, text, sizeof(text)),
		   -EINVAL);
}

TEST(random_bytes_are_refused)
{
	struct rnd_seeded rnd;
	char text[KEY_TEXT_MAX + 1];
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 2000; i++) {
		size_t n = rnd_seeded_below(&rnd, sizeof(text));

		ASSERT_OK(rnd_fill(&rnd.rnd, text, n));
		EXPECT_INT(read_text(text, n, NULL), -EBADMSG);
	}
	memset(text, '\n', sizeof(text));
	EXPECT_INT(read_text(text, sizeof(text), NULL), -EBADMSG);
}

TEST(random_keys_come_back)
{
	int i;

	for (i = 0; i < 200; i++) {
		struct volume_key k, b;
		char text[KEY_TEXT_MAX], name[65];
		struct uuid u, v;
		int n;

		ASSERT_OK(volume_key_new(rnd_system(), (uint32_t)i + 1, &k));
		ASSERT_OK(uuid_new(rnd_system(), &u));
		n = volume_key_to_text(&k, "a.b_c-d", &u, text, sizeof(text));
		ASSERT_GT(n, 0);
		ASSERT_OK(volume_key_from_text(text, (size_t)n, &b, name, &v,
					       NULL));
		ASSERT_MEM(&b, &k, sizeof(k));
		ASSERT_STR(name, "a.b_c-d");
		ASSERT_TRUE(uuid_equal(&u, &v));
	}
}
