// SPDX-License-Identifier: Apache-2.0
/*
 * Names of volumes and points as people type them. Pure functions; any thread.
 */
#include "control/selector.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/units.h"

static int bad(struct err *err, const char *object, const char *what,
	       const char *remedy)
{
	err_set(err, -EINVAL, "usage", object, "%s", what);
	err_remedy(err, "%s", remedy);
	return -EINVAL;
}

static bool has_letter(const char *s)
{
	for (; *s; s++)
		if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))
			return true;
	return false;
}

static bool is_printable(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

int selector_check_label(const char *label, struct err *err)
{
	if (strlen(label) >= SELECTOR_POINT_SIZE || !is_printable(label) ||
	    !has_letter(label) || *label == '-' || !strcmp(label, "latest"))
		return bad(err, label, "no label of a point",
			   "a label holds a letter, is not \"latest\", does not "
			   "start with - and has at most 64 bytes");
	return 0;
}

/* Digits only, not empty, fits. */
static bool number(const char *s, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		if (!mul_u64(v, 10, &v) ||
		    !add_u64(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	}
	*out = v;
	return n > 0;
}

static bool parse_seq(const char *point, struct selector *out)
{
	const char *colon = strchr(point, ':');

	if (!colon)
		return number(point, strlen(point), &out->seq);
	return number(point, (size_t)(colon - point), &out->epoch) &&
	       out->epoch && number(colon + 1, strlen(colon + 1), &out->seq);
}

int selector_parse(const char *point, int64_t at_ns, struct selector *out,
		   struct err *err)
{
	memset(out, 0, sizeof(*out));
	if (*point && at_ns)
		return bad(err, point, "a point and a time at once",
			   "give --point or --at, not both");
	if (at_ns) {
		out->kind = SELECTOR_TIME;
		out->wall_ns = at_ns;
		return 0;
	}
	if (!*point || !strcmp(point, "latest"))
		return 0;
	if (has_letter(point)) {
		out->kind = SELECTOR_LABEL;
		if (selector_check_label(point, err) < 0)
			return -EINVAL;
		strcpy(out->label, point);
		return 0;
	}
	out->kind = SELECTOR_SEQ;
	if (parse_seq(point, out))
		return 0;
	return bad(err, point, "no point",
		   "a point is a number, EPOCH:NUMBER, a label or latest");
}

int selector_split(const char *arg, char volume[SELECTOR_VOLUME_SIZE],
		   char point[SELECTOR_POINT_SIZE], struct err *err)
{
	const char *at = strchr(arg, '@');
	size_t n = at ? (size_t)(at - arg) : strlen(arg);

	point[0] = 0;
	if (!n || n >= SELECTOR_VOLUME_SIZE)
		return bad(err, arg, "no name of a volume",
			   "a volume is NAME or SOURCE/NAME");
	if (at && (!at[1] || strlen(at + 1) >= SELECTOR_POINT_SIZE))
		return bad(err, arg, "no point after the @",
			   "a point is a number, EPOCH:NUMBER, a label or "
			   "latest");
	memcpy(volume, arg, n);
	volume[n] = 0;
	if (at)
		strcpy(point, at + 1);
	return 0;
}

int volume_name_parse(const char *text, struct volume_name *out,
		      struct err *err)
{
	const char *slash = strchr(text, '/');
	const char *name = slash ? slash + 1 : text;
	size_t n = slash ? (size_t)(slash - text) : 0;

	memset(out, 0, sizeof(*out));
	if (n < sizeof(out->source))
		memcpy(out->source, text, n);
	if (n >= sizeof(out->source) || (slash && !name_is_valid(out->source)) ||
	    !name_is_valid(name))
		return bad(err, text, "no name of a volume",
			   "a volume is NAME or SOURCE/NAME");
	strcpy(out->name, name);
	return 0;
}

int selector_parse_time(const char *text, int64_t now_ns, int64_t *out_ns,
			struct err *err)
{
	const int64_t ms = (int64_t)NSEC_PER_MSEC;

	if (time_parse(text, now_ns, out_ns) < 0 || *out_ns <= 0)
		return bad(err, text, "no time",
			   "a time is 2026-11-21T13:00:05Z, local "
			   "\"2026-11-21 13:00[:05]\", or -10m");
	if (*out_ns % ms == 0)
		*out_ns += ms - 1;
	return 0;
}
