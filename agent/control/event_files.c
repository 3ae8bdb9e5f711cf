// SPDX-License-Identifier: Apache-2.0
/*
 * The event log on disk.
 *
 * Append only: a file that does not end in a newline was being written when
 * the process or the machine died; the next append ends that line first, and
 * readers skip it. An append that failed is repeated at the same place. What
 * has been synced survives a crash; what has not may be missing at the end.
 * One thread appends; readers open files of their own.
 */
#include "control/event_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define NAME_DIGITS 20
#define NAME_SUFFIX ".jsonl"
/* What a file may have grown to by another build's measure. */
#define READ_MAX_BYTES ((size_t)64 << 20)
#define NAMES_MAX 1024

struct names {
	uint64_t first[NAMES_MAX];	/* ascending, once sorted */
	size_t n;
};

void event_files_init(struct event_files *f, struct io *io,
		      const char *state_dir)
{
	*f = (struct event_files){
		.io = io,
		.file_bytes = EVENT_FILE_BYTES,
		.max_files = EVENT_FILES_MAX,
		.fd = -1,
	};
	(void)snprintf(f->dir, sizeof(f->dir), "%s/events", state_dir);
}

static void path_of(const struct event_files *f, uint64_t first,
		    char out[640])
{
	(void)snprintf(out, 640, "%s/%0*" PRIu64 NAME_SUFFIX, f->dir,
		       NAME_DIGITS, first);
}

/* Others in the directory are not ours and stay. */
static int take_name(void *arg, const char *name)
{
	struct names *names = arg;
	uint64_t first = 0;
	int i;

	for (i = 0; i < NAME_DIGITS; i++) {
		if (name[i] < '0' || name[i] > '9' || first > UINT64_MAX / 10)
			return 0;
		first = first * 10 + (uint64_t)(name[i] - '0');
	}
	if (strcmp(name + NAME_DIGITS, NAME_SUFFIX) != 0 ||
	    names->n == NAMES_MAX)
		return 0;
	names->first[names->n++] = first;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A directory that is not there has no files. */
static int list(const struct event_files *f, struct names *names)
{
	int r;

	names->n = 0;
	r = f->io->ops->listdir(f->io, AT_FDCWD, f->dir, take_name, names);
	qsort(names->first, names->n, sizeof(names->first[0]), by_number);
	return r == -ENOENT ? 0 : r;
}

/* ---- reading ---- */

typedef int (*line_cb)(void *arg, uint64_t id, const json_t *event);

/* *first rises: an event that was written twice is told once. */
static int take_line(const char *line, size_t n, uint64_t *first, line_cb cb,
		     void *arg)
{
	json_t *event = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
	json_int_t id = json_integer_value(json_object_get(event, "id"));
	int r = 0;

	if (id > 0 && (uint64_t)id >= *first) {
		*first = (uint64_t)id + 1;
		r = cb(arg, (uint64_t)id, event);
	}
	json_decref(event);
	return r;
}

static int walk_text(const char *text, size_t len, uint64_t *first, line_cb cb,
		     void *arg)
{
	const char *end = text + len, *nl;
	int r = 0;

	while (!r && (nl = memchr(text, '\n', (size_t)(end - text)))) {
		r = take_line(text, (size_t)(nl - text), first, cb, arg);
		text = nl + 1;
	}
	return r;
}

int event_files_walk(const struct event_files *f, uint64_t first, line_cb cb,
		     void *arg)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));
	size_t i;
	int r = names ? list(f, names) : -ENOMEM;

	for (i = 0; !r && i < names->n; i++) {
		_cleanup_free_ char *text = NULL;
		char path[640];
		size_t len;

		if (i + 1 < names->n && names->first[i + 1] <= first)
			continue;
		path_of(f, names->first[i], path);
		r = io_read_file(f->io, AT_FDCWD, path, READ_MAX_BYTES, &text,
				 &len);
		if (!r)
			r = walk_text(text, len, &first, cb, arg);
		else if (r == -ENOENT)
			r = 0;		/* it was the oldest, and is gone */
	}
	return r;
}

static int take_newest(void *arg, uint64_t id, const json_t *event)
{
	const char *slug = json_string_value(json_object_get(event, "slug"));
	const char *time = json_string_value(json_object_get(event, "time"));
	struct event_last *last = arg;

	last->id = id;
	if (!time || time_parse(time, 0, &last->wall_ns) < 0)
		last->wall_ns = 0;
	(void)snprintf(last->slug, sizeof(last->slug), "%s", slug ? slug : "");
	return 0;
}

int event_files_look(struct event_files *f, struct event_last *out)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));
	int r = names ? list(f, names) : -ENOMEM;
	size_t i;

	memset(out, 0, sizeof(*out));
	for (i = r ? 0 : names->n; i-- > 0 && !out->id && !r;) {
		_cleanup_free_ char *text = NULL;
		uint64_t first = 0;
		char path[640];
		size_t len;

		path_of(f, names->first[i], path);
		r = io_read_file(f->io, AT_FDCWD, path, READ_MAX_BYTES, &text,
				 &len);
		if (!r)
			r = walk_text(text, len, &first, take_newest, out);
	}
	return r;
}

/* ---- appending ---- */

static int sync_dir(const struct event_files *f)
{
	int fd = f->io->ops->open(f->io, AT_FDCWD, f->dir,
				  O_RDONLY | O_DIRECTORY, 0);
	int r;

	if (fd < 0)
		return fd;
	r = f->io->ops->fsync(f->io, fd);
	(void)f->io->ops->close(f->io, fd);
	return r;
}

static int look_at_end(struct event_files *f)
{
	char c = '\n';
	int r = f->io->ops->size(f->io, f->fd, &f->size);

	if (!r && f->size)
		r = io_pread_all(f->io, f->fd, &c, 1, f->size - 1);
	f->torn = c != '\n';
	return r;
}

static void close_file(struct event_files *f)
{
	if (f->fd >= 0)
		(void)f->io->ops->close(f->io, f->fd);
	f->fd = -1;
	f->open = false;
}

static int open_file(struct event_files *f, uint64_t first)
{
	char path[640];
	int r;

	path_of(f, first, path);
	f->fd = f->io->ops->open(f->io, AT_FDCWD, path,
				 O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (f->fd < 0)
		return f->fd;
	r = look_at_end(f);
	if (!r)
		r = sync_dir(f);
	if (r)
		close_file(f);
	f->open = !r;
	return r;
}

static int remove_old(struct event_files *f, const struct names *names)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i + f->max_files < names->n; i++) {
		char path[640];

		path_of(f, names->first[i], path);
		r = f->io->ops->unlinkat(f->io, AT_FDCWD, path, 0);
	}
	return r;
}

/* The newest file, to go on in it. */
static int open_newest(struct event_files *f, uint64_t first_id)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));
	struct err err = ERR_INIT;
	int r = names ? io_make_dir(f->io, f->dir, 0700, &err) : -ENOMEM;

	if (!r)
		r = list(f, names);
	if (r)
		return r;
	return open_file(f, names->n ? names->first[names->n - 1] : first_id);
}

/* Room is made before more is taken. */
static int begin_file(struct event_files *f, uint64_t first_id)
{
	_cleanup_free_ struct names *names = malloc(sizeof(*names));
	int r = names ? list(f, names) : -ENOMEM;

	if (r)
		return r;
	if (names->n < NAMES_MAX)
		names->first[names->n++] = first_id;
	r = remove_old(f, names);
	if (r)
		return r;
	close_file(f);
	return open_file(f, first_id);
}

int event_files_append(struct event_files *f, uint64_t first_id,
		       const void *lines, size_t n)
{
	struct iovec iov[2] = {
		{ .iov_base = (void *)"\n", .iov_len = 1 },
		{ .iov_base = (void *)(uintptr_t)lines, .iov_len = n },
	};
	uint64_t at;
	int r = f->open ? 0 : open_newest(f, first_id);

	if (!r && f->size && f->size + n > f->file_bytes)
		r = begin_file(f, first_id);
	if (r)
		return r;
	at = f->size;
	r = io_pwritev_all(f->io, f->fd, iov + !f->torn, 1 + f->torn, at);
	if (!r)
		r = f->io->ops->fdatasync(f->io, f->fd);
	if (r) {
		/* The same place again, with nothing of this behind it. */
		(void)f->io->ops->ftruncate(f->io, f->fd, at);
		return r;
	}
	f->size = at + n + f->torn;
	f->torn = false;
	return 0;
}

void event_files_close(struct event_files *f)
{
	close_file(f);
}
