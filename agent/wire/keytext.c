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
 * check is the first 8 bytes of SHA-256 over the lines before it, written as
 * above (one blank, one newline each, hexadecimal digits in lower case): a
 * mistyped character is told apart from a key that fits nothing. White space,
 * blank lines and letter case are forgiven in reading; order, unknown lines
 * and repeated ones are not.
 *
 * No I/O; any thread. Copies made here are wiped before they go.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
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

/* The lines before check, in the one form that check is computed over. */
static int body_text(const struct volume_key *key, const char *name,
		     const struct uuid *volume, char *out, size_t cap)
{
	char key_hex[VOLUME_KEY_BYTES * 2 + VOLUME_KEY_BYTES / KEY_GROUP + 1];
	char uuid[UUID_TEXT_SIZE];
	int n;

	uuid_format(volume, uuid);
	hex(key->bytes, sizeof(key->bytes), KEY_GROUP, key_hex);
	n = snprintf(out, cap,
		     MAGIC " 1\nname %s\nuuid %s\nid %" PRIu32 "\nkey %s\n",
		     name, uuid, key->id, key_hex);
	OPENSSL_cleanse(key_hex, sizeof(key_hex));
	return n < 0 || (size_t)n >= cap ? -ENOSPC : n;
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
	char value[N_FIELDS][VALUE_MAX];
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

static int split_lines(const char *text, size_t len, struct key_lines *out,
		       struct err *err)
{
	unsigned int field = 0;
	size_t at = 0;

	while (at < len) {
		const char *line = text + at, *nl;
		size_t n;

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
		if (take_line(line, n, (enum field)field, out->value[field]))
			return err_set(err, -EBADMSG, "bad-key", "key text",
				       "read: line %u should be \"%s ...\"",
				       field + 1, words[field]);
		field++;
	}
	return field == N_FIELDS ? 0 : fail(err, "lines are missing");
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

/* Computed from what was understood, so spelling does not enter into it. */
static int verify_check(const struct key_lines *l, const struct volume_key *key,
			const struct uuid *volume, struct err *err)
{
	char body[KEY_TEXT_MAX], check[CHECK_BYTES * 2 + 1];
	int n, r;

	n = body_text(key, l->value[FIELD_NAME], volume, body, sizeof(body));
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

static int parse_values(const struct key_lines *l, struct volume_key *key,
			struct uuid *volume, struct err *err)
{
	if (strcmp(l->value[FIELD_MAGIC], "1"))
		return fail(err, "of a version that is not known here");
	if (!name_is_valid(l->value[FIELD_NAME]))
		return fail(err, "name: not a valid name");
	if (uuid_parse(l->value[FIELD_UUID], volume) < 0)
		return fail(err, "uuid: not a UUID");
	if (parse_id(l->value[FIELD_ID], &key->id) < 0)
		return fail(err, "id: not a number from 1");
	if (unhex(l->value[FIELD_KEY], key->bytes, sizeof(key->bytes)) < 0)
		return fail(err, "key: not 64 hexadecimal digits");
	return verify_check(l, key, volume, err);
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
		r = parse_values(&lines, key, volume, err);
	if (!r)
		memcpy(name, lines.value[FIELD_NAME],
		       strlen(lines.value[FIELD_NAME]) + 1);
	else
		volume_key_wipe(key);
	OPENSSL_cleanse(&lines, sizeof(lines));
	return r;
}
