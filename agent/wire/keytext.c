// SPDX-License-Identifier: Apache-2.0
/*
 * A volume key as text that a person can print, file and type in again:
 *
 *	understudy-key 1
 *	name db1
 *	uuid 6ba7b810-9dad-41d1-80b4-00c04fd430c8
 *	id 1
 *	key 00112233 44556677 8899aabb ccddeeff 00112233 44556677 ...
 *	check 0123456789abcdef
 *
 * A key of several generations is of version 2: the newest is as above, and
 * between it and check each former one follows, the highest first, as an id
 * and a key line. A key of one generation is always written as version 1.
 *
 * check is the first 8 bytes of SHA-256 over the lines before it, written as
 * above (one blank, one newline each, hexadecimal digits in lower case): a
 * mistyped character is told apart from a key that fits nothing. White space,
 * blank lines and letter case are forgiven in reading; another order, unknown
 * lines and others that are repeated are not.
 *
 * No I/O; any thread. Copies made here are wiped before they go.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/units.h"
#include "wire/seal.h"

#define CHECK_BYTES 8U
#define KEY_GROUP 4U			/* bytes between blanks */
#define VALUE_MAX 128U
#define MAGIC "understudy-key"

enum field { FIELD_MAGIC, FIELD_NAME, FIELD_UUID, FIELD_ID, FIELD_KEY,
	     FIELD_CHECK, N_FIELDS };

static const char *const words[N_FIELDS] = { MAGIC, "name", "uuid",
					     "id",  "key",  "check" };

static void hex(const uint8_t *p, size_t n, size_t group, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < n; i++) {
		if (i && group && i % group == 0)
			*out++ = ' ';
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}

static int append(char *out, size_t cap, int at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Length with what was appended at at, or -ENOSPC; at may be an error. */
static int append(char *out, size_t cap, int at, const char *format, ...)
{
	va_list ap;
	int n;

	if (at < 0)
		return at;
	va_start(ap, format);
	n = vsnprintf(out + at, cap - (size_t)at, format, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= cap - (size_t)at ? -ENOSPC : at + n;
}

static int append_generation(char *out, size_t cap, int at, uint32_t id,
			     const uint8_t *bytes)
{
	char key_hex[VOLUME_KEY_BYTES * 2 + VOLUME_KEY_BYTES / KEY_GROUP + 1];

	hex(bytes, VOLUME_KEY_BYTES, KEY_GROUP, key_hex);
	at = append(out, cap, at, "id %" PRIu32 "\nkey %s\n", id, key_hex);
	OPENSSL_cleanse(key_hex, sizeof(key_hex));
	return at;
}

/* The lines before check, in the one form that check is computed over. */
static int body_text(const struct volume_key *key, const char *name,
		     const struct uuid *volume, char *out, size_t cap)
{
	char uuid[UUID_TEXT_SIZE];
	uint32_t i;
	int n;

	uuid_format(volume, uuid);
	n = append(out, cap, 0, MAGIC " %d\nname %s\nuuid %s\n",
		   key->n_former ? 2 : 1, name, uuid);
	n = append_generation(out, cap, n, key->id, key->bytes);
	for (i = 0; i < key->n_former; i++)
		n = append_generation(out, cap, n, key->former[i].id,
				      key->former[i].bytes);
	if (n < 0)
		OPENSSL_cleanse(out, cap);
	return n;
}

static int check_of(const char *body, size_t n, char out[CHECK_BYTES * 2 + 1])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (!EVP_Digest(body, n, digest, &len, EVP_sha256(), NULL) ||
	    len < CHECK_BYTES)
		return -EIO;
	hex(digest, CHECK_BYTES, 0, out);
	return 0;
}

int volume_key_to_text(const struct volume_key *key, const char *name,
		       const struct uuid *volume, char *out, size_t cap)
{
	char check[CHECK_BYTES * 2 + 1];
	int n, tail, r;

	if (!name_is_valid(name) || !key->id)
		return -EINVAL;
	n = body_text(key, name, volume, out, cap);
	if (n < 0)
		return n;
	r = check_of(out, (size_t)n, check);
	if (r < 0)
		return r;
	tail = snprintf(out + n, cap - (size_t)n, "check %s\n", check);
	if (tail < 0 || (size_t)tail >= cap - (size_t)n) {
		OPENSSL_cleanse(out, (size_t)n);
		return -ENOSPC;
	}
	return n + tail;
}

struct key_lines {
	char value[N_FIELDS][VALUE_MAX];	/* of id and key: the last ones */
	struct volume_key key;
	unsigned int n_keys;
};

static int fail(struct err *err, const char *why)
{
	(void)err_set(err, -EBADMSG, "bad-key", "key text", "read: %s", why);
	(void)err_remedy(err, "compare every line with the exported original");
	return -EBADMSG;
}

/*
 * One line "word value...": the value without any white space, so that how a
 * key was grouped does not matter.
 */
static int take_line(const char *line, size_t n, enum field field,
		     char value[VALUE_MAX])
{
	size_t word = strlen(words[field]), i, used = 0;

	if (n <= word || strncasecmp(line, words[field], word) ||
	    !isblank((unsigned char)line[word]))
		return -EBADMSG;
	for (i = word; i < n; i++) {
		unsigned char c = (unsigned char)line[i];

		if (isspace(c))
			continue;
		if (!isgraph(c) || used + 1 >= VALUE_MAX)
			return -EBADMSG;
		value[used++] = (char)c;
	}
	value[used] = 0;
	return used ? 0 : -EBADMSG;
}

static int unhex(const char *s, uint8_t *out, size_t n)
{
	size_t i;

	if (strlen(s) != n * 2)
		return -EINVAL;
	for (i = 0; i < n * 2; i++) {
		unsigned char c = (unsigned char)s[i];
		int v;

		if (!isxdigit(c))
			return -EINVAL;
		v = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
		out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
	}
	return 0;
}

static int parse_id(const char *s, uint32_t *out)
{
	uint64_t v = 0;

	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > UINT32_MAX)
			return -EINVAL;
	}
	*out = (uint32_t)v;
	return v ? 0 : -EINVAL;
}

/* The id and key lines just read. */
static int add_generation(struct key_lines *l, struct err *err)
{
	struct volume_key *key = &l->key;
	struct key_generation g;
	uint32_t before = key->id;

	if (l->n_keys >= VOLUME_KEY_GENERATIONS)
		return fail(err, "too many keys");
	if (parse_id(l->value[FIELD_ID], &g.id) < 0)
		return fail(err, "id: not a number from 1");
	if (unhex(l->value[FIELD_KEY], g.bytes, sizeof(g.bytes)) < 0)
		return fail(err, "key: not 64 hexadecimal digits");
	if (key->n_former)
		before = key->former[key->n_former - 1].id;
	if (!l->n_keys++) {
		key->id = g.id;
		memcpy(key->bytes, g.bytes, sizeof(key->bytes));
	} else if (g.id < before) {
		key->former[key->n_former++] = g;
	} else {
		OPENSSL_cleanse(&g, sizeof(g));
		return fail(err, "id: former keys come with falling numbers");
	}
	OPENSSL_cleanse(&g, sizeof(g));
	return 0;
}

/* A field's line was taken. */
static int after_line(struct key_lines *l, unsigned int field, struct err *err)
{
	const char *version = l->value[FIELD_MAGIC];

	if (field == FIELD_MAGIC && strcmp(version, "1") && strcmp(version, "2"))
		return fail(err, "of a version that is not known here");
	return field == FIELD_KEY ? add_generation(l, err) : 0;
}

/* Instead of the check, another generation. */
static bool another_follows(const struct key_lines *l, unsigned int field,
			    const char *line, size_t n)
{
	return field == FIELD_CHECK && n > 2 &&
	       !strcmp(l->value[FIELD_MAGIC], "2") &&
	       !strncasecmp(line, words[FIELD_ID], 2);
}

static int split_lines(const char *text, size_t len, struct key_lines *out,
		       struct err *err)
{
	unsigned int field = 0, row = 1;
	size_t at = 0;

	while (at < len) {
		const char *line = text + at, *nl;
		size_t n;
		int r;

		nl = memchr(line, '\n', len - at);
		n = nl ? (size_t)(nl - line) : len - at;
		at += n + 1;
		while (n && isspace((unsigned char)line[0])) {
			line++;
			n--;
		}
		if (!n)
			continue;
		if (field == N_FIELDS)
			return fail(err, "something follows the check line");
		if (another_follows(out, field, line, n))
			field = FIELD_ID;
		if (take_line(line, n, (enum field)field, out->value[field]))
			return err_set(err, -EBADMSG, "bad-key", "key text",
				       "read: line %u should be \"%s ...\"",
				       row, words[field]);
		r = after_line(out, field, err);
		if (r)
			return r;
		field++;
		row++;
	}
	return field == N_FIELDS ? 0 : fail(err, "lines are missing");
}

/* Computed from what was understood, so spelling does not enter into it. */
static int verify_check(const struct key_lines *l, const struct uuid *volume,
			struct err *err)
{
	char body[KEY_TEXT_MAX], check[CHECK_BYTES * 2 + 1];
	int n, r;

	n = body_text(&l->key, l->value[FIELD_NAME], volume, body, sizeof(body));
	if (n < 0)
		return fail(err, "too long");
	r = check_of(body, (size_t)n, check);
	OPENSSL_cleanse(body, sizeof(body));
	if (r < 0)
		return err_set(err, r, "crypto", "key text",
			       "read: SHA-256 failed");
	if (strcasecmp(check, l->value[FIELD_CHECK]))
		return fail(err, "the check does not fit: a character is wrong");
	return 0;
}

static int parse_values(const struct key_lines *l, struct uuid *volume,
			struct err *err)
{
	if (!name_is_valid(l->value[FIELD_NAME]))
		return fail(err, "name: not a valid name");
	if (uuid_parse(l->value[FIELD_UUID], volume) < 0)
		return fail(err, "uuid: not a UUID");
	if (strcmp(l->value[FIELD_MAGIC], l->key.n_former ? "2" : "1"))
		return fail(err, "its version does not go with its keys");
	return verify_check(l, volume, err);
}

int volume_key_from_text(const char *text, size_t len, struct volume_key *key,
			 char name[65], struct uuid *volume, struct err *err)
{
	struct key_lines lines;
	int r;

	memset(&lines, 0, sizeof(lines));
	if (len > KEY_TEXT_MAX)
		return fail(err, "too long for a key");
	r = split_lines(text, len, &lines, err);
	if (!r)
		r = parse_values(&lines, volume, err);
	if (!r) {
		memcpy(name, lines.value[FIELD_NAME],
		       strlen(lines.value[FIELD_NAME]) + 1);
		*key = lines.key;
	} else {
		volume_key_wipe(key);
	}
	OPENSSL_cleanse(&lines, sizeof(lines));
	return r;
}
