// SPDX-License-Identifier: Apache-2.0
/*
 * The real clock, and times as text. Any thread.
 *
 * Monotonic time is CLOCK_BOOTTIME: it counts while the machine sleeps, so
 * that lag and time-outs stay true after a suspend.
 */
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

static uint64_t real_mono_ns(struct clock *c)
{
	struct timespec ts = { 0 };

	(void)c;
	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t real_wall_ns(struct clock *c)
{
	struct timespec ts = { 0 };

	(void)c;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

struct clock *clock_real(void)
{
	static struct clock clock = {
		.mono_ns = real_mono_ns,
		.wall_ns = real_wall_ns,
	};

	return &clock;
}

void clock_deadline(uint64_t ns, struct timespec *out)
{
	(void)clock_gettime(CLOCK_MONOTONIC, out);
	out->tv_sec += (time_t)(ns / NSEC_PER_SEC);
	out->tv_nsec += (long)(ns % NSEC_PER_SEC);
	if (out->tv_nsec >= (long)NSEC_PER_SEC) {
		out->tv_sec++;
		out->tv_nsec -= (long)NSEC_PER_SEC;
	}
}

void time_format_utc(int64_t wall_ns, char out[32])
{
	int64_t ns = wall_ns % (int64_t)NSEC_PER_SEC;
	time_t sec = wall_ns / (int64_t)NSEC_PER_SEC;
	struct tm tm = { 0 };
	size_t n;

	if (ns < 0) {			/* before 1970: round down */
		ns += (int64_t)NSEC_PER_SEC;
		sec--;
	}
	(void)gmtime_r(&sec, &tm);
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, 32 - n, ".%03dZ",
		       (int)(ns / (int64_t)NSEC_PER_MSEC));
}

/* Exactly n digits; advances *s. */
static bool take_digits(const char **s, int n, int *out)
{
	int v = 0;

	while (n--) {
		if (!isdigit((unsigned char)**s))
			return false;
		v = v * 10 + (*(*s)++ - '0');
	}
	*out = v;
	return true;
}

static bool take_char(const char **s, const char *set)
{
	if (!**s || !strchr(set, **s))
		return false;
	(*s)++;
	return true;
}

static bool take_date(const char **s, struct tm *tm)
{
	static const int month_days[] = { 31, 28, 31, 30, 31, 30,
					  31, 31, 30, 31, 30, 31 };
	int year, mon, day, days;

	if (!take_digits(s, 4, &year) || !take_char(s, "-") ||
	    !take_digits(s, 2, &mon) || !take_char(s, "-") ||
	    !take_digits(s, 2, &day))
		return false;
	if (mon < 1 || mon > 12)
		return false;
	days = month_days[mon - 1];
	if (mon == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		days = 29;
	tm->tm_year = year - 1900;
	tm->tm_mon = mon - 1;
	tm->tm_mday = day;
	return day >= 1 && day <= days;
}

/* hh:mm[:ss[.fraction]]; more digits than nanoseconds have are dropped. */
static bool take_time(const char **s, struct tm *tm, int64_t *frac_ns)
{
	int64_t unit = NSEC_PER_SEC / 10;

	*frac_ns = 0;
	if (!take_digits(s, 2, &tm->tm_hour) || !take_char(s, ":") ||
	    !take_digits(s, 2, &tm->tm_min))
		return false;
	if (tm->tm_hour > 23 || tm->tm_min > 59)
		return false;
	if (!take_char(s, ":"))
		return true;
	/* 60: a leap second, which counts as the next minute's first. */
	if (!take_digits(s, 2, &tm->tm_sec) || tm->tm_sec > 60)
		return false;
	if (!take_char(s, "."))
		return true;
	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++, unit /= 10)
		*frac_ns += (**s - '0') * unit;
	return true;
}

/* No zone: local time. An hour that the change to summer time skips is none. */
static int local_seconds(struct tm *tm, time_t *out)
{
	const int hour = tm->tm_hour, min = tm->tm_min;

	tm->tm_isdst = -1;
	*out = mktime(tm);
	return tm->tm_hour == hour && tm->tm_min == min ? 0 : -EINVAL;
}

/* "Z" or "+hh:mm". */
static int zoned_seconds(const char *zone, struct tm *tm, time_t *out)
{
	int hours, minutes, sign;

	*out = timegm(tm);
	if (take_char(&zone, "Zz"))
		return *zone ? -EINVAL : 0;
	sign = *zone == '-' ? -1 : 1;
	if (!take_char(&zone, "+-") || !take_digits(&zone, 2, &hours) ||
	    !take_char(&zone, ":") || !take_digits(&zone, 2, &minutes) ||
	    *zone || hours > 23 || minutes > 59)
		return -EINVAL;
	*out -= sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int to_seconds(const char *zone, struct tm *tm, time_t *out)
{
	int leap = tm->tm_sec == 60;
	int r;

	tm->tm_sec -= leap;
	r = *zone ? zoned_seconds(zone, tm, out) : local_seconds(tm, out);
	*out += leap;
	return r;
}

static int parse_ago(const char *s, int64_t now_ns, int64_t *out_ns)
{
	uint64_t ago;

	if (duration_parse(s, &ago) < 0 || ago > INT64_MAX)
		return -EINVAL;
	return __builtin_sub_overflow(now_ns, (int64_t)ago, out_ns) ? -EINVAL :
								      0;
}

int time_parse(const char *s, int64_t now_ns, int64_t *out_ns)
{
	struct tm tm = { 0 };
	int64_t frac_ns, ns;
	time_t sec;

	if (*s == '-')
		return parse_ago(s + 1, now_ns, out_ns);
	if (!take_date(&s, &tm) || !take_char(&s, "Tt ") ||
	    !take_time(&s, &tm, &frac_ns))
		return -EINVAL;
	if (to_seconds(s, &tm, &sec) < 0)
		return -EINVAL;
	if (__builtin_mul_overflow((int64_t)sec, (int64_t)NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, frac_ns, &ns))
		return -EINVAL;
	*out_ns = ns;
	return 0;
}
