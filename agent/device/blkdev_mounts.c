// SPDX-License-Identifier: Apache-2.0
/*
 * The mounts of this process's namespace, from /proc/self/mountinfo:
 *
 *	id parent major:minor root point options [optional...] - type source
 *	super-options
 *
 * with white space and backslashes inside a field as \ooo.
 *
 * Any thread; no state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "device/blkdev_sysfs.h"

/* A host with very many containers has some megabytes of it. */
#define MOUNTINFO_BYTES_MAX ((size_t)64 << 20)

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

static char *unescape(char *s)
{
	char *from = s, *to = s;

	while (*from) {
		if (from[0] == '\\' && is_octal(from[1]) && is_octal(from[2]) &&
		    is_octal(from[3])) {
			*to++ = (char)((from[1] - '0') << 6 |
				       (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = 0;
	return s;
}

/* False: not a line of the form above. */
static bool parse_line(char *line, struct mount_entry *m)
{
	char *fields[6], *field;
	int i;

	for (i = 0; i < 6; i++) {
		fields[i] = strsep(&line, " ");
		if (!fields[i] || !line)
			return false;
	}
	if (sscanf(fields[0], "%" SCNu64, &m->id) != 1 ||
	    sscanf(fields[2], "%" SCNu32 ":%" SCNu32, &m->no.major,
		   &m->no.minor) != 2)
		return false;
	do {
		field = strsep(&line, " ");
	} while (field && strcmp(field, "-"));
	m->point = unescape(fields[4]);
	field = strsep(&line, " ");
	m->fstype = field;
	field = strsep(&line, " ");
	if (!field)
		return false;
	m->source = unescape(field);
	m->super_options = line ? unescape(line) : "";
	return true;
}

int mounts_each(const struct blkdev_roots *roots,
		int (*cb)(void *arg, const struct mount_entry *m), void *arg)
{
	_cleanup_free_ char *text = NULL;
	struct mount_entry m;
	char path[512], *line, *rest;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/self/mountinfo", roots->proc);
	r = io_read_file(io_posix(), AT_FDCWD, path, MOUNTINFO_BYTES_MAX, &text,
			 &len);
	if (r < 0)
		return r;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (!parse_line(line, &m))
			continue;
		r = cb(arg, &m);
		if (r)
			return r;
	}
	return 0;
}
