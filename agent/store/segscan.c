// SPDX-License-Identifier: Apache-2.0
/*
 * The sequential reader of recovery.
 *
 * It reads with O_DIRECT where the file system can: after a failed fsync the
 * page cache may hold clean pages that never reached the disk, and they must
 * not be taken for durable. Where O_DIRECT is refused the file is synced and
 * its cached pages dropped before reading.
 *
 * A window of the file, aligned as O_DIRECT wants it, moves forward; records
 * longer than it make it grow, up to the longest record there may be.
 */
#include "store/segscan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define WINDOW_ALIGN 4096U
#define WINDOW_BYTES ((size_t)1 << 20)

static int told(const struct segscan *s, int r, const char *what,
		struct err *err)
{
	char object[SEGMENT_OBJECT_BYTES];

	segment_object(&s->header.segment, object);
	return err_sys(err, r, "segment-damaged", object, "%s", what);
}

static int grow_window(struct segscan *s, size_t need)
{
	size_t cap = s->window_cap ? s->window_cap : WINDOW_BYTES;
	uint8_t *p;

	while (cap < need)
		cap *= 2;
	if (cap == s->window_cap)
		return 0;
	p = aligned_alloc(WINDOW_ALIGN, cap);
	if (!p)
		return -ENOMEM;
	free(s->window);
	s->window = p;
	s->window_cap = cap;
	s->window_len = 0;
	return 0;
}

static int reopen_buffered(struct segscan *s, int dirfd)
{
	char name[SEGMENT_NAME_BYTES];
	int fd;

	segment_file_name(&s->header.segment, name);
	fd = s->io->ops->open(s->io, dirfd, name, O_RDONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	if (s->fd >= 0)
		(void)s->io->ops->close(s->io, s->fd);
	s->fd = fd;
	s->direct = false;
	return 0;
}

/* Fills the window from an aligned offset. */
static int fill(struct segscan *s, uint64_t from, size_t need)
{
	size_t want;
	int r;

	r = grow_window(s, need);
	if (r < 0)
		return r;
	want = s->window_cap;
	s->window_off = from;
	s->window_len = 0;
	while (s->window_len < want) {
		ssize_t n = s->io->ops->pread(s->io, s->fd,
					      s->window + s->window_len,
					      want - s->window_len,
					      from + s->window_len);

		if (n < 0)
			return (int)n;
		if (!n)
			break;
		s->window_len += (size_t)n;
		/* Past a short direct read there is only the end of file. */
		if (s->direct && n % WINDOW_ALIGN)
			break;
	}
	return 0;
}

/* Bytes [off, off + n) of the file; *p NULL when it ends before. */
static int look(struct segscan *s, uint64_t off, size_t n, const uint8_t **p)
{
	uint64_t from = off & ~(uint64_t)(WINDOW_ALIGN - 1);
	int r;

	*p = NULL;
	if (off > s->size || n > s->size - off)
		return 0;
	if (off < s->window_off ||
	    off + n > s->window_off + s->window_len) {
		r = fill(s, from, n + (size_t)(off - from) + WINDOW_ALIGN);
		if (r < 0)
			return r;
		if (off + n > s->window_off + s->window_len)
			return 0;
	}
	*p = s->window + (off - s->window_off);
	return 0;
}

static int make_durable(struct segscan *s)
{
	int r = s->io->ops->fdatasync(s->io, s->fd);

	if (r == 0 && s->io->ops->drop_cache)
		r = s->io->ops->drop_cache(s->io, s->fd);
	return r;
}

static int open_file(struct segscan *s, int dirfd)
{
	char name[SEGMENT_NAME_BYTES];

	segment_file_name(&s->header.segment, name);
	s->fd = s->io->ops->open(s->io, dirfd, name,
				 O_RDONLY | O_DIRECT | O_NOFOLLOW, 0);
	s->direct = s->fd >= 0;
	if (s->fd == -EINVAL)
		return reopen_buffered(s, dirfd);
	return s->fd < 0 ? s->fd : 0;
}

static int read_header(struct segscan *s, int dirfd, const struct uuid *id)
{
	struct seg_header h;
	const uint8_t *p;
	int r;

	r = look(s, 0, SEG_HEADER_BYTES, &p);
	if (r == -EINVAL && s->direct) {
		r = reopen_buffered(s, dirfd);
		if (r == 0)
			r = look(s, 0, SEG_HEADER_BYTES, &p);
	}
	if (r < 0)
		return r;
	if (!p)
		return -EBADMSG;
	r = seg_header_decode(p, &h);
	if (r == 0 && !uuid_equal(&h.segment, id))
		r = -EBADMSG;
	if (r == 0)
		s->header = h;
	return r;
}

int segscan_open(struct segscan *s, struct io *io, int dirfd,
		 const struct uuid *id, bool durable, struct err *err)
{
	int r;

	*s = (struct segscan){ .io = io, .fd = -1 };
	s->header.segment = *id;
	r = open_file(s, dirfd);
	if (r < 0)
		return told(s, r, "open", err);
	r = durable ? make_durable(s) : 0;
	if (r < 0)
		told(s, r, "fdatasync", err);
	if (r == 0) {
		r = s->io->ops->size(s->io, s->fd, &s->size);
		if (r == 0)
			r = read_header(s, dirfd, id);
		if (r < 0)
			told(s, r, "read the header", err);
	}
	if (r < 0) {
		segscan_close(s);
		return r;
	}
	s->salt = seg_salt(id);
	s->off = SEG_HEADER_BYTES;
	return 0;
}

void segscan_close(struct segscan *s)
{
	if (s->fd >= 0)
		(void)s->io->ops->close(s->io, s->fd);
	s->fd = -1;
	free(s->window);
	s->window = NULL;
	s->window_cap = 0;
	s->window_len = 0;
}

void segscan_seek(struct segscan *s, uint64_t off)
{
	s->off = off;
}

/* 0: valid; 1: it is not. */
static int read_body(struct segscan *s, const struct rec_place *at,
		     struct scan_rec *rec)
{
	const uint8_t *p;
	int r;

	rec->body = NULL;
	if (at->off < s->units_from && rec->h.type == REC_UNITS)
		return rec_total_bytes(&rec->h) > s->size - at->off;
	r = look(s, at->off + REC_HEADER_BYTES, rec->h.padded_bytes, &p);
	if (r < 0)
		return r;
	if (!p || rec_body_check(&rec->h, at, p) < 0)
		return 1;
	rec->body = p;
	return 0;
}

int segscan_next(struct segscan *s, struct scan_rec *rec, struct err *err)
{
	const struct rec_place at = { s->salt, s->off };
	const uint8_t *p;
	int r;

	r = look(s, s->off, REC_HEADER_BYTES, &p);
	if (r == 0 && (!p || rec_header_decode(p, &at, &rec->h) < 0))
		return 1;
	if (r == 0)
		r = read_body(s, &at, rec);
	if (r < 0)
		return told(s, r, "read", err);
	if (r)
		return 1;
	rec->off = s->off;
	s->off += rec_total_bytes(&rec->h);
	return 0;
}
