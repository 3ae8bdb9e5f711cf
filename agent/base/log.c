// SPDX-License-Identifier: Apache-2.0
/*
 * Log lines on standard error.
 *
 * Any thread may log: a line is built on the stack and written by one
 * write(2), so lines do not mix. log_init runs once, before threads start.
 *
 * On the journal's stream a line is "<N>text" (the journal knows time and
 * program); elsewhere it is "TIME program: level: text". Control characters
 * are replaced, so that a name or a message from a peer cannot forge a line.
 *
 * Stamps come from the real clock, also when a test replaces the clock of
 * what it tests: they are for people.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES 1200

static struct {
	char program[32];
	enum log_level max;
	bool journal;
} log_state = { "understudy", LOG_LEVEL_INFO, false };

static const struct {
	const char *name;
	int priority;			/* syslog's number */
} log_levels[] = {
	[LOG_LEVEL_ERR] = { "error", 3 },
	[LOG_LEVEL_WARN] = { "warning", 4 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

/* systemd names the stream it connected as "device:inode". */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	if (!env)
		return false;
	dev = strtoull(env, &end, 10);
	if (*end != ':')
		return false;
	ino = strtoull(end + 1, &end, 10);
	return !*end && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void log_init(const char *program, enum log_level max)
{
	(void)snprintf(log_state.program, sizeof(log_state.program), "%s",
		       program);
	log_state.max = max;
	log_state.journal = stderr_is_journal();
}

bool log_enabled(enum log_level level)
{
	return level <= log_state.max;
}

static size_t put_prefix(char *line, size_t size, enum log_level level)
{
	char now[32];
	int n;

	if (log_state.journal) {
		n = snprintf(line, size, "<%d>", log_levels[level].priority);
	} else {
		time_format_utc(clock_wall_ns(clock_real()), now);
		n = snprintf(line, size, "%s %s: %s: ", now, log_state.program,
			     log_levels[level].name);
	}
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

static void write_line(const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(STDERR_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return;		/* nowhere left to complain */
		p += w;
		n -= (size_t)w;
	}
}

void log_at(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char line[LOG_LINE_BYTES];
	size_t len, i;
	va_list ap;
	int n;

	if (!log_enabled(level))
		return;
	len = put_prefix(line, sizeof(line), level);
	i = len;
	errno = saved_errno;		/* a caller may use %m */
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	for (; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
	line[len++] = '\n';
	write_line(line, len);
	errno = saved_errno;
}

void log_failure(enum log_level level, const struct err *err)
{
	if (err->remedy[0])
		log_at(level, "%s; %s", err->message, err->remedy);
	else
		log_at(level, "%s", err->message);
}
