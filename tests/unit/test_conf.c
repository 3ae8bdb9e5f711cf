// SPDX-License-Identifier: Apache-2.0
#include "base/conf.h"

#include "base/checked.h"
#include "base/clock.h"

#include "lib/tap.h"

#define _cleanup_conf_ _cleanup_(conf_freep)

static struct conf *parsed(const char *text)
{
	struct err err = ERR_INIT;
	struct conf *c = NULL;
	int r = conf_parse_text("x.conf", text, strlen(text), &c, &err);

	ASSERT_MSG(r == 0, "  %s", err.message);
	return c;
}

static void expect_refused(const char *text, const char *message)
{
	struct err err = ERR_INIT;
	struct conf *c = NULL;

	EXPECT_INT(conf_parse_text("x.conf", text, strlen(text), &c, &err),
		   -EINVAL);
	EXPECT_NULL(c);
	EXPECT_STR(err.message, message);
	EXPECT_STR(err.code, "config");
}

static void expect_item(struct conf_section *s, size_t i, const char *key,
			const char *value, unsigned int line)
{
	ASSERT_GT(s->n_items, i);
	EXPECT_STR(s->items[i].key, key);
	EXPECT_STR(s->items[i].value, value);
	EXPECT_U64(s->items[i].line, line);
}

TEST(sections_and_items_keep_their_order_and_lines)
{
	_cleanup_conf_ struct conf *c = parsed("; first\n"
					       "[daemon]\n"
					       "state = /var/lib/x\n"
					       "\n"
					       "[accept web1/*]   ; all of web1\n"
					       "[replica  dr 1 ]\n"
					       "address=dr1.example weight=2\n"
					       "address = [::1]:7420\n"
					       "# end\n");

	ASSERT_U64(c->n_sections, 3);
	EXPECT_STR(c->sections[0].type, "daemon");
	EXPECT_STR(c->sections[0].name, "");
	EXPECT_U64(c->sections[0].line, 2);
	expect_item(&c->sections[0], 0, "state", "/var/lib/x", 3);
	EXPECT_STR(c->sections[1].type, "accept");
	EXPECT_STR(c->sections[1].name, "web1/*");
	EXPECT_U64(c->sections[1].n_items, 0);
	EXPECT_STR(c->sections[2].name, "dr 1");
	ASSERT_U64(c->sections[2].n_items, 2);
	expect_item(&c->sections[2], 0, "address", "dr1.example weight=2", 7);
	expect_item(&c->sections[2], 1, "address", "[::1]:7420", 8);
}

TEST(a_comment_needs_a_blank_before_it)
{
	_cleanup_conf_ struct conf *c = parsed("[a]\n"
					       "one = x;y\n"
					       "two = x ;y\n"
					       "three = x\t; y ; z\n"
					       "four =   ; nothing\n"
					       "five = a#b # c\n");

	expect_item(&c->sections[0], 0, "one", "x;y", 2);
	expect_item(&c->sections[0], 1, "two", "x", 3);
	expect_item(&c->sections[0], 2, "three", "x", 4);
	expect_item(&c->sections[0], 3, "four", "", 5);
	expect_item(&c->sections[0], 4, "five", "a#b # c", 6);
}

TEST(an_indented_line_is_no_continuation)
{
	_cleanup_conf_ struct conf *c = parsed("[a]\n"
					       "one = x\n"
					       "    two = y\n"
					       "\t[b]\n"
					       "   ; comment\n"
					       " three = z\n");

	ASSERT_U64(c->n_sections, 2);
	ASSERT_U64(c->sections[0].n_items, 2);
	expect_item(&c->sections[0], 1, "two", "y", 3);
	expect_item(&c->sections[1], 0, "three", "z", 6);
}

TEST(windows_line_ends_and_a_missing_last_one_are_fine)
{
	_cleanup_conf_ struct conf *c =
		parsed("\xef\xbb\xbf[volume db1]\r\ndevice = /dev/x\r\nrpo = 1s");

	EXPECT_STR(c->sections[0].name, "db1");
	expect_item(&c->sections[0], 0, "device", "/dev/x", 2);
	expect_item(&c->sections[0], 1, "rpo", "1s", 3);
}

TEST(long_names_and_values_are_whole)
{
	char text[CONF_LINE_MAX + 200], name[140], value[3000];
	_cleanup_conf_ struct conf *c = NULL;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = 0;
	(void)snprintf(text, sizeof(text), "[accept %s]\nvolumes = %s\n", name,
		       value);
	c = parsed(text);
	EXPECT_STR(c->sections[0].name, name);
	EXPECT_STR(c->sections[0].items[0].value, value);
}

TEST(a_line_up_to_the_limit_is_taken_and_a_longer_one_refused)
{
	_cleanup_free_ char *text = malloc(CONF_LINE_MAX + 100);
	_cleanup_conf_ struct conf *c = NULL;
	char *line;
	size_t n;

	ASSERT_NOT_NULL(text);
	n = (size_t)sprintf(text, "[a]\nk=");
	line = text + 4;
	memset(text + n, 'x', CONF_LINE_MAX - 2);
	strcpy(line + CONF_LINE_MAX, "\nl=1\n");
	c = parsed(text);
	ASSERT_U64(c->sections[0].n_items, 2);
	EXPECT_U64(strlen(c->sections[0].items[0].value), CONF_LINE_MAX - 2);
	EXPECT_U64(c->sections[0].items[1].line, 3);
	strcpy(line + CONF_LINE_MAX, "x\nl=1\n");
	expect_refused(text, "x.conf:2: line longer than 4000 bytes");
}

TEST(an_empty_file_has_no_sections)
{
	_cleanup_conf_ struct conf *c = parsed("");

	EXPECT_U64(c->n_sections, 0);
}

TEST(mistakes_are_told_with_file_and_line)
{
	expect_refused("[a]\nx = 1\nnonsense\ny = 2\n",
		       "x.conf:3: neither a section, nor \"key = value\", nor a comment");
	expect_refused("x = 1\n[a]\n",
		       "x.conf:1: \"x\" stands before the first section");
	expect_refused("[a\nx = 1\n",
		       "x.conf:1: a section heading is [type] or [type name]");
	expect_refused("[a] x\n",
		       "x.conf:1: a section heading is [type] or [type name]");
	expect_refused("[a];x\n",
		       "x.conf:1: a section heading is [type] or [type name]");
	expect_refused("\n[]\n", "x.conf:2: a section needs a type");
	expect_refused("[ ]\n", "x.conf:1: a section needs a type");
	expect_refused("[a]\n = 1\n",
		       "x.conf:2: a key is missing before the \"=\"");
}

TEST(the_first_mistake_is_the_one_told)
{
	expect_refused("[a\nbad\n[b\n",
		       "x.conf:1: a section heading is [type] or [type name]");
}

TEST(a_zero_byte_is_refused)
{
	static const char text[] = "[a]\nx = 1\0hidden\n";
	struct err err = ERR_INIT;
	struct conf *c = NULL;

	EXPECT_INT(conf_parse_text("x.conf", text, sizeof(text) - 1, &c, &err),
		   -EINVAL);
	EXPECT_STR_HAS(err.message, "x.conf:2: a zero byte");
}

TEST(a_long_path_keeps_its_line_number)
{
	struct err err = ERR_INIT;
	struct conf *c = NULL;
	char path[300];

	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	EXPECT_INT(conf_parse_text(path, "bad", 3, &c, &err), -EINVAL);
	EXPECT_STR_HAS(err.message, "ppp:1: neither");
}

TEST(a_file_is_read_and_an_absent_one_told)
{
	char path[] = "/tmp/conf-XXXXXX";
	_cleanup_conf_ struct conf *c = NULL;
	struct err err = ERR_INIT;
	struct conf *none = NULL;
	int fd = mkstemp(path);

	ASSERT_GE(fd, 0);
	EXPECT_INT(write(fd, "[a]\nx=1\n", 8), 8);
	(void)close(fd);
	EXPECT_OK(conf_parse_file(path, &c, &err));
	(void)unlink(path);
	ASSERT_NOT_NULL(c);
	EXPECT_STR(c->path, path);
	EXPECT_INT(conf_parse_file(path, &none, &err), -ENOENT);
	EXPECT_STR_HAS(err.message, "No such file");
	EXPECT_STR_HAS(err.message, path);
}

TEST(sections_and_items_are_found)
{
	_cleanup_conf_ struct conf *c =
		parsed("[v a]\nx=1\n[v b]\nx=2\ny=3\ny=4\n[w]\n");
	struct err err = ERR_INIT;
	struct conf_section *b;

	EXPECT_STR(conf_section_find(c, "v", NULL)->name, "a");
	b = conf_section_find(c, "v", "b");
	EXPECT_U64(b->line, 3);
	EXPECT_NULL(conf_section_find(c, "v", "c"));
	EXPECT_NULL(conf_section_find(c, "w", "a"));
	EXPECT_STR(conf_item_find(b, "y")->value, "3");
	EXPECT_NULL(conf_item_find(b, "z"));
	EXPECT_INT(conf_check_unique(c, b, &err), -EINVAL);
	EXPECT_STR(err.message, "x.conf:6: y: given twice, first in line 5");
	EXPECT_OK(conf_check_unique(c, conf_section_find(c, "v", "a"), NULL));
}

TEST(a_key_that_nobody_asked_for_is_unknown)
{
	_cleanup_conf_ struct conf *c = parsed("[v a]\nx=1\nz=1\n[w]\nq=1\n");
	struct conf_section *s = conf_section_find(c, "v", "a");
	struct err err = ERR_INIT;

	(void)conf_item_find(s, "x");
	EXPECT_INT(conf_check_used(c, s, &err), -EINVAL);
	EXPECT_STR(err.message, "x.conf:3: z: unknown key in [v a]");
	(void)conf_item_find(s, "z");
	EXPECT_OK(conf_check_used(c, s, &err));
	err_clear(&err);
	EXPECT_INT(conf_check_used(c, &c->sections[1], &err), -EINVAL);
	EXPECT_STR(err.message, "x.conf:5: q: unknown key in [w]");
}

/* ---- typed readers ---- */

static struct conf_item *item(struct conf *c, const char *key)
{
	return conf_item_find(&c->sections[0], key);
}

TEST(values_are_read_by_type)
{
	_cleanup_conf_ struct conf *c = parsed("[v]\n"
					       "b = yes\n"
					       "off = off\n"
					       "n = 42\n"
					       "s = 128MiB\n"
					       "r = 5KiB/s\n"
					       "d = 50ms\n"
					       "c = lz4\n"
					       "name = db1\n"
					       "p = /dev/x y\n");
	static const char *const names[] = { "none", "lz4", NULL };
	char name[65];
	const char *path;
	bool yes = false, off = true;
	uint64_t v;
	int i;

	ASSERT_OK(conf_bool(c, item(c, "b"), &yes, NULL));
	ASSERT_OK(conf_bool(c, item(c, "off"), &off, NULL));
	EXPECT_TRUE(yes && !off);
	ASSERT_OK(conf_u64(c, item(c, "n"), 1, 42, &v, NULL));
	EXPECT_U64(v, 42);
	ASSERT_OK(conf_size(c, item(c, "s"), &v, NULL));
	EXPECT_U64(v, 128 << 20);
	ASSERT_OK(conf_rate(c, item(c, "r"), &v, NULL));
	EXPECT_U64(v, 5120);
	ASSERT_OK(conf_duration(c, item(c, "d"), &v, NULL));
	EXPECT_U64(v, 50 * NSEC_PER_MSEC);
	ASSERT_OK(conf_choice(c, item(c, "c"), names, &i, NULL));
	EXPECT_INT(i, 1);
	ASSERT_OK(conf_name(c, item(c, "name"), name, NULL));
	EXPECT_STR(name, "db1");
	ASSERT_OK(conf_path(c, item(c, "p"), &path, NULL));
	EXPECT_STR(path, "/dev/x y");
}

#define EXPECT_TOLD(call, text)               \
	do {                                  \
		err_clear(&err);              \
		EXPECT_INT(call, -EINVAL);    \
		EXPECT_STR(err.message, text); \
	} while (0)

TEST(bad_values_name_key_value_and_what_is_wanted)
{
	_cleanup_conf_ struct conf *c = parsed("[v]\n"
					       "b = maybe\n"
					       "n = 4x\n"
					       "m = 99999999999999999999\n"
					       "s = 1GB\n"
					       "d = 10\n"
					       "t = 999999TiB99\n"
					       "u = 99999999TiB\n"
					       "e =\n");
	static const char *const names[] = { "none", "lz4", NULL };
	struct err err;
	char name[65];
	const char *path;
	uint64_t v;
	bool b;
	int i;

	EXPECT_TOLD(conf_bool(c, item(c, "b"), &b, &err),
		    "x.conf:2: b: \"maybe\" is not one of no yes false true off on");
	EXPECT_TOLD(conf_u64(c, item(c, "n"), 0, 9, &v, &err),
		    "x.conf:3: n: \"4x\" is not a number");
	EXPECT_TOLD(conf_u64(c, item(c, "m"), 0, 9, &v, &err),
		    "x.conf:4: m: \"99999999999999999999\" is not a number");
	EXPECT_TOLD(conf_size(c, item(c, "s"), &v, &err),
		    "x.conf:5: s: \"1GB\" is not a size such as 128MiB (KiB MiB GiB TiB)");
	EXPECT_TOLD(conf_duration(c, item(c, "d"), &v, &err),
		    "x.conf:6: d: \"10\" is not a time such as 10s (ms s m h d w y)");
	EXPECT_TOLD(conf_u64(c, item(c, "d"), 11, 20, &v, &err),
		    "x.conf:6: d: 10 lies outside 11 to 20");
	EXPECT_TOLD(conf_rate(c, item(c, "t"), &v, &err),
		    "x.conf:7: t: \"999999TiB99\" is not a rate such as 200MiB/s");
	EXPECT_TOLD(conf_size(c, item(c, "u"), &v, &err),
		    "x.conf:8: u: \"99999999TiB\" is too large");
	EXPECT_TOLD(conf_choice(c, item(c, "e"), names, &i, &err),
		    "x.conf:9: e: \"\" is not one of none lz4");
	EXPECT_TOLD(conf_name(c, item(c, "e"), name, &err),
		    "x.conf:9: e: \"\" is not a name (1 to 64 of A-Z a-z 0-9 . _ -)");
	EXPECT_TOLD(conf_path(c, item(c, "e"), &path, &err),
		    "x.conf:9: e: \"\" is not an absolute path");
	EXPECT_TOLD(conf_u64(c, item(c, "e"), 0, 9, &v, &err),
		    "x.conf:9: e: \"\" is not a number");
}

TEST(words_come_one_by_one)
{
	_cleanup_conf_ struct conf *c =
		parsed("[g]\nvolumes =  db1\twal1  x \nnone =\nlong = abcdefgh\n");
	struct err err = ERR_INIT;
	char word[6];
	size_t pos = 0;

	ASSERT_OK(conf_word(c, item(c, "volumes"), &pos, word, 6, NULL));
	EXPECT_STR(word, "db1");
	ASSERT_OK(conf_word(c, item(c, "volumes"), &pos, word, 6, NULL));
	EXPECT_STR(word, "wal1");
	ASSERT_OK(conf_word(c, item(c, "volumes"), &pos, word, 6, NULL));
	EXPECT_STR(word, "x");
	EXPECT_INT(conf_word(c, item(c, "volumes"), &pos, word, 6, NULL), 1);
	pos = 0;
	EXPECT_INT(conf_word(c, item(c, "none"), &pos, word, 6, NULL), 1);
	pos = 0;
	EXPECT_INT(conf_word(c, item(c, "long"), &pos, word, 6, &err), -EINVAL);
	EXPECT_STR(err.message,
		   "x.conf:4: long: \"abcdefgh\" is longer than 5 bytes");
}

/* Whatever the bytes are: an answer, no crash, and an error that is told. */
TEST(random_text_never_does_harm)
{
	static const char alphabet[] = "[]=;: \t\n\n\r#ab\xc3/*\\\"";
	uint64_t state = tap_seed();
	char text[400];
	int round;

	for (round = 0; round < 3000; round++) {
		struct err err = ERR_INIT;
		struct conf *c = NULL;
		size_t n = (size_t)(state >> 33) % sizeof(text), i;
		int r;

		for (i = 0; i < n; i++) {
			state = state * 6364136223846793005ULL + 1;
			text[i] = alphabet[(state >> 33) % (sizeof(alphabet) - 1)];
		}
		r = conf_parse_text("x.conf", text, n, &c, &err);
		ASSERT_INT(r == 0, c != NULL);
		ASSERT_INT(r < 0, err.num < 0 && *err.message);
		conf_free(c);
	}
}
