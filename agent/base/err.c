// SPDX-License-Identifier: Apache-2.0
/*
 * One failure, told once. Pure functions on the caller's struct: any thread.
 *
 * Invariant: the first recording wins. A frame further up that also calls
 * err_set loses its text, but never its return value.
 *
 * Text that does not fit is cut; num and code never are (codes are short
 * literals of ours).
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *errno_text(int num)
{
	const char *text = strerrordesc_np(num < 0 ? -num : num);

	return text ? text : "unknown error";
}

/* snprintf to the end of s; a full buffer stays as it is. */
static void append(char *s, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void append(char *s, size_t size, const char *fmt, ...)
{
	size_t len = strlen(s);
	va_list ap;

	if (len + 1 >= size)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(s + len, size - len, fmt, ap);
	va_end(ap);
}

static void vappend(char *s, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static void vappend(char *s, size_t size, const char *fmt, va_list ap)
{
	size_t len = strlen(s);

	if (len + 1 < size)
		(void)vsnprintf(s + len, size - len, fmt, ap);
}

static bool start(struct err *err, int num, const char *code,
		  const char *object)
{
	if (!err || err->num)
		return false;
	err_clear(err);
	/* A failure without a number is a mistake of ours, not a success. */
	err->num = num ? num : -EIO;
	append(err->code, sizeof(err->code), "%s", code ? code : "error");
	if (object && *object) {
		append(err->object, sizeof(err->object), "%s", object);
		append(err->message, sizeof(err->message), "%s: ", object);
	}
	return true;
}

int err_set(struct err *err, int num, const char *code, const char *object,
	    const char *fmt, ...)
{
	va_list ap;

	if (!start(err, num, code, object))
		return num;
	va_start(ap, fmt);
	vappend(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return num;
}

int err_sys(struct err *err, int num, const char *code, const char *object,
	    const char *fmt, ...)
{
	va_list ap;

	if (!start(err, num, code, object))
		return num;
	va_start(ap, fmt);
	vappend(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	append(err->message, sizeof(err->message), ": %s", errno_text(num));
	return num;
}

int err_remedy(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err || !err->num)
		return 0;
	va_start(ap, fmt);
	(void)vsnprintf(err->remedy, sizeof(err->remedy), fmt, ap);
	va_end(ap);
	return err->num;
}

int err_done(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err || !err->num)
		return 0;
	append(err->message, sizeof(err->message), ": ");
	va_start(ap, fmt);
	vappend(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return err->num;
}

void err_clear(struct err *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}

void err_copy(struct err *to, const struct err *from)
{
	if (to && from && to != from)
		memcpy(to, from, sizeof(*to));
}
