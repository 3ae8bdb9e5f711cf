// SPDX-License-Identifier: Apache-2.0
/* What text from a peer may hold. Pure functions: any thread. */
#include "wire/wiretext.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SLUG_MAX 39

static bool is_continuation(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Smallest code point that needs so many bytes: shorter forms only. */
static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

/*
 * Length of the character at s when it may be shown, else 0. Reads no further
 * than the NUL, which is no continuation byte.
 */
static size_t shown_length(const unsigned char *s)
{
	uint32_t code;
	size_t n, i;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	code = s[0] & (0xffU >> (n + 1));
	for (i = 1; i < n; i++) {
		if (!is_continuation(s[i]))
			return 0;
		code = code << 6 | (s[i] & 0x3fU);
	}
	if (code < least[n] || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000) || code < 0xa0)
		return 0;
	return n;
}

bool wiretext_is_clean(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		size_t n = shown_length(p);

		if (!n)
			return false;
		p += n;
	}
	return true;
}

void wiretext_clean(char *s)
{
	while (*s) {
		size_t n = shown_length((const unsigned char *)s);

		if (!n)
			*s = '?';
		s += n ? n : 1;
	}
}

bool wiretext_is_slug(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n && n <= SLUG_MAX && !s[n];
}
