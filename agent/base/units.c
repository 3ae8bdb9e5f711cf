// SPDX-License-Identifier: Apache-2.0
/*
 * Sizes, durations and names as people type and read them. Pure functions:
 * any thread. Only the units the documentation names are taken: "1GB" and
 * "1M" are errors, since readers disagree about what they mean.
 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "KiB", 1ULL << 10 },
	{ "MiB", 1ULL << 20 },
	{ "GiB", 1ULL << 30 },
	{ "TiB", 1ULL << 40 },
	{ "PiB", 1ULL << 50 },
};

#define NSEC_PER_MIN (60 * NSEC_PER_SEC)
#define NSEC_PER_HOUR (60 * NSEC_PER_MIN)
#define NSEC_PER_DAY (24 * NSEC_PER_HOUR)

static const struct unit duration_units[] = {
	{ "ms", NSEC_PER_MSEC },
	{ "s", NSEC_PER_SEC },
	{ "m", NSEC_PER_MIN },
	{ "h", NSEC_PER_HOUR },
	{ "d", NSEC_PER_DAY },
	{ "w", 7 * NSEC_PER_DAY },
	{ "y", 365 * NSEC_PER_DAY },
};

/* Digits, blanks, one of the units. 0, -EINVAL, -ERANGE. */
static int parse_quantity(const char *s, const struct unit *units,
			  size_t n_units, uint64_t *out)
{
	bool too_big = false;
	uint64_t v = 0;
	size_t i;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (!mul_u64(v, 10, &v) || !add_u64(v, (uint64_t)(*s - '0'), &v))
			too_big = true;
	while (*s == ' ')
		s++;
	for (i = 0; i < n_units; i++)
		if (!strcmp(s, units[i].name))
			break;
	if (i == n_units)
		return -EINVAL;
	if (too_big || !mul_u64(v, units[i].factor, &v))
		return -ERANGE;
	*out = v;
	return 0;
}

int size_parse(const char *s, uint64_t *out_bytes)
{
	return parse_quantity(s, size_units, ARRAY_SIZE(size_units), out_bytes);
}

int rate_parse(const char *s, uint64_t *out_bytes_per_s)
{
	size_t n = strlen(s);
	char size[48];

	if (n < 2 || n >= sizeof(size) || strcmp(s + n - 2, "/s") != 0)
		return -EINVAL;
	memcpy(size, s, n - 2);
	size[n - 2] = 0;
	return size_parse(size, out_bytes_per_s);
}

int duration_parse(const char *s, uint64_t *out_ns)
{
	return parse_quantity(s, duration_units, ARRAY_SIZE(duration_units),
			      out_ns);
}

void size_format(uint64_t bytes, char out[24])
{
	size_t i = ARRAY_SIZE(size_units) - 1;
	uint64_t whole, tenth;

	while (i > 1 && bytes < size_units[i].factor)
		i--;
	whole = bytes / size_units[i].factor;
	/* The remainder is below 2^50: ten times that fits. */
	tenth = bytes % size_units[i].factor * 10 / size_units[i].factor;
	if (tenth)
		(void)snprintf(out, 24, "%" PRIu64 ".%u %s", whole,
			       (unsigned int)tenth, size_units[i].name);
	else
		(void)snprintf(out, 24, "%" PRIu64 " %s", whole,
			       size_units[i].name);
}

static void format_two(uint64_t ns, const struct unit *big,
		       const struct unit *small, char out[24])
{
	uint64_t rest = ns % big->factor / small->factor;

	if (rest)
		(void)snprintf(out, 24, "%" PRIu64 " %s %u %s",
			       ns / big->factor, big->name, (unsigned int)rest,
			       small->name);
	else
		(void)snprintf(out, 24, "%" PRIu64 " %s", ns / big->factor,
			       big->name);
}

void duration_format(uint64_t ns, char out[24])
{
	enum { MS, S, M, H, D };
	const struct unit *u = duration_units;

	if (ns >= NSEC_PER_DAY)
		format_two(ns, &u[D], &u[H], out);
	else if (ns >= NSEC_PER_HOUR)
		format_two(ns, &u[H], &u[M], out);
	else if (ns >= NSEC_PER_MIN)
		format_two(ns, &u[M], &u[S], out);
	else if (ns >= NSEC_PER_SEC)
		(void)snprintf(out, 24, "%u.%u s",
			       (unsigned int)(ns / NSEC_PER_SEC),
			       (unsigned int)(ns % NSEC_PER_SEC /
					      (NSEC_PER_SEC / 10)));
	else if (ns >= NSEC_PER_MSEC || !ns)
		(void)snprintf(out, 24, "%u ms",
			       (unsigned int)(ns / NSEC_PER_MSEC));
	else
		(void)snprintf(out, 24, "%u us",
			       (unsigned int)(ns / NSEC_PER_USEC));
}

bool name_is_valid(const char *s)
{
	size_t i;

	if (!*s || *s == '.' || *s == '-')
		return false;
	for (i = 0; s[i]; i++) {
		unsigned char c = (unsigned char)s[i];

		if (i == 64)
			return false;
		/* Not isalnum(): the locale has no say here. */
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9') || strchr("._-", c)))
			return false;
	}
	return true;
}
