// SPDX-License-Identifier: Apache-2.0
/* UUIDs as 16 bytes in text order. Pure functions: any thread. */
#include "base/uuid.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Text positions of the four dashes. */
static bool is_dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int uuid_new(struct rnd *rnd, struct uuid *out)
{
	int r = rnd_fill(rnd, out->b, sizeof(out->b));

	if (r < 0)
		return r;
	out->b[6] = (uint8_t)((out->b[6] & 0x0f) | 0x40);	/* version 4 */
	out->b[8] = (uint8_t)((out->b[8] & 0x3f) | 0x80);	/* variant 1 */
	return 0;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	size_t i, byte = 0;

	for (i = 0; i < UUID_TEXT_SIZE - 1;) {
		if (is_dash_at(i)) {
			out[i++] = '-';
			continue;
		}
		out[i++] = digits[u->b[byte] >> 4];
		out[i++] = digits[u->b[byte++] & 0x0f];
	}
	out[i] = 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uuid_parse(const char *s, struct uuid *out)
{
	size_t i, byte = 0;
	struct uuid u;

	if (strlen(s) != UUID_TEXT_SIZE - 1)
		return -EINVAL;
	for (i = 0; i < UUID_TEXT_SIZE - 1;) {
		int high, low;

		if (is_dash_at(i)) {
			if (s[i++] != '-')
				return -EINVAL;
			continue;
		}
		high = hex_value(s[i++]);
		low = hex_value(s[i++]);
		if (high < 0 || low < 0)
			return -EINVAL;
		u.b[byte++] = (uint8_t)(high << 4 | low);
	}
	*out = u;
	return 0;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return !memcmp(a->b, b->b, sizeof(a->b));
}

bool uuid_is_zero(const struct uuid *u)
{
	static const struct uuid zero;

	return uuid_equal(u, &zero);
}
