// SPDX-License-Identifier: Apache-2.0
/*
 * The check after a restore: did the target keep what it was given?
 *
 * While the restore writes, every byte of the range goes through a running
 * checksum, one per span. Afterwards the target is read back, past the page
 * cache, and each span must give the same sum. A span of nothing but zeros is
 * kept as such and compared with zeros, so that holes cost no reading.
 *
 * One thread. Nothing is kept on disk: a restore that died is run again.
 */
#include "store/restore_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/checked.h"
#include "wire/seal.h"

#define READ_BYTES (1U << 20)
#define DIRECT_ALIGN 4096U

struct sums {
	uint64_t from, to;
	uint64_t span_bytes;		/* spans start at multiples of it */
	uint64_t n;
	uint64_t pos;			/* next byte to be added */
	uint64_t zeros;			/* leading zeros of this span, unhashed */
	bool hashed;			/* this span has been fed to state */
	bool unusable;			/* the library refused: no sum counts */
	XXH3_state_t *state;
	XXH128_hash_t sum[];		/* {0, 0}: all zeros */
};

struct sums *sums_new(uint64_t from, uint64_t to)
{
	uint64_t span = SUMS_SPAN_MIN_BYTES, n;
	struct sums *s;

	while (to / span - from / span + 1 > SUMS_MAX)
		span *= 2;
	n = to > from ? (to - 1) / span - from / span + 1 : 0;
	s = calloc(1, sizeof(*s) + (size_t)n * sizeof(s->sum[0]));
	if (!s)
		return NULL;
	s->state = XXH3_createState();
	if (!s->state) {
		free(s);
		return NULL;
	}
	s->from = from;
	s->to = to;
	s->pos = from;
	s->span_bytes = span;
	s->n = n;
	return s;
}

void sums_free(struct sums *s)
{
	if (!s)
		return;
	XXH3_freeState(s->state);
	free(s);
}

static const uint8_t zeros[64U << 10];

static void hash_begin(struct sums *s)
{
	if (XXH3_128bits_reset(s->state) == XXH_ERROR)
		s->unusable = true;
}

static void hash_more(struct sums *s, const uint8_t *p, size_t n)
{
	if (s->unusable || XXH3_128bits_update(s->state, p, n) == XXH_ERROR)
		s->unusable = true;
}

static void hash_zeros(struct sums *s, uint64_t n)
{
	while (n) {
		size_t k = (size_t)MIN(n, (uint64_t)sizeof(zeros));

		hash_more(s, zeros, k);
		n -= k;
	}
}

/* End of the span that holds off, cut to the range. */
static uint64_t span_end(const struct sums *s, uint64_t off)
{
	return MIN((off / s->span_bytes + 1) * s->span_bytes, s->to);
}

static uint64_t span_index(const struct sums *s, uint64_t off)
{
	return off / s->span_bytes - s->from / s->span_bytes;
}

/* {0, 0} is taken by zeros; a sum that happens to be it moves aside. */
static XXH128_hash_t digest(const struct sums *s)
{
	XXH128_hash_t h = { 0 };

	if (!s->unusable)
		h = XXH3_128bits_digest(s->state);
	if (!h.low64 && !h.high64)
		h.low64 = 1;
	return h;
}

static void span_finish(struct sums *s, uint64_t index)
{
	if (s->hashed)
		s->sum[index] = digest(s);
	s->zeros = 0;
	s->hashed = false;
}

void sums_add(struct sums *s, const uint8_t *p, uint64_t n)
{
	while (n) {
		uint64_t end = span_end(s, s->pos);
		uint64_t index = span_index(s, s->pos);
		uint64_t k = MIN(n, end - s->pos);

		if (!k)
			return;		/* past the range: caller's bug */
		if (!p && !s->hashed) {
			s->zeros += k;
		} else {
			if (!s->hashed) {
				hash_begin(s);
				hash_zeros(s, s->zeros);
				s->hashed = true;
			}
			if (p)
				hash_more(s, p, (size_t)k);
			else
				hash_zeros(s, k);
		}
		s->pos += k;
		n -= k;
		if (p)
			p += k;
		if (s->pos == end)
			span_finish(s, index);
	}
}

/* How the target is read back. */
struct readback {
	const struct verify_target *t;
	int fd;				/* own descriptor, or the target's */
	bool own;
	bool direct;
	bool is_file;
	uint8_t *buf;			/* READ_BYTES, aligned */
};

static void readback_close(struct readback *rb)
{
	if (rb->own)
		(void)rb->t->io->ops->close(rb->t->io, rb->fd);
	free(rb->buf);
}

static int readback_open(struct readback *rb, const struct verify_target *t)
{
	char path[64];
	struct stat st;
	int fd;

	rb->t = t;
	rb->fd = t->fd;
	rb->is_file = fstat(t->fd, &st) == 0 && S_ISREG(st.st_mode);
	if (posix_memalign((void **)&rb->buf, DIRECT_ALIGN, READ_BYTES)) {
		rb->buf = NULL;
		return -ENOMEM;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->fd);
	fd = t->io->ops->open(t->io, AT_FDCWD, path, O_RDONLY | O_DIRECT, 0);
	if (fd >= 0) {
		rb->fd = fd;
		rb->own = rb->direct = true;
	}
	/* Also with O_DIRECT: it keeps clean pages from being asked first. */
	(void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

/* O_DIRECT does not like this target after all: the cache was dropped. */
static void readback_fall_back(struct readback *rb)
{
	(void)rb->t->io->ops->close(rb->t->io, rb->fd);
	rb->own = rb->direct = false;
	rb->fd = rb->t->fd;
}

/*
 * Bytes [off, off + n) at *p, off and n as they come: what is read is the
 * aligned neighbourhood of them. n <= READ_BYTES - DIRECT_ALIGN when off is
 * not aligned.
 */
static int readback_read(struct readback *rb, uint64_t off, size_t n,
			 const uint8_t **p)
{
	uint64_t start = off & ~(uint64_t)(DIRECT_ALIGN - 1);
	size_t skip = (size_t)(off - start), have = 0;
	size_t want = (skip + n + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1);

	while (have < skip + n) {
		ssize_t r;

		r = rb->t->io->ops->pread(rb->t->io, rb->fd, rb->buf + have,
					  want - have, start + have);
		if (r == -EINVAL && rb->direct) {
			readback_fall_back(rb);
			continue;
		}
		if (r < 0)
			return (int)r;
		if (!r)
			return -ENODATA;
		have += (size_t)r;
	}
	*p = rb->buf + skip;
	return 0;
}

static int tell_mismatch(const struct verify_target *t, uint64_t off,
			 uint64_t n, struct err *err)
{
	err_set(err, -EBADMSG, "verify-failed", t->name,
		"verify: the target does not give back what was written: "
		"offset=%" PRIu64 " length=%" PRIu64, off, n);
	err_remedy(err, "do not use this copy; check the target's medium and "
			"restore to another one");
	return -EBADMSG;
}

static int tell_read(const struct verify_target *t, int r, uint64_t off,
		     struct err *err)
{
	return err_sys(err, r, r == -ENODATA ? "verify-failed" : "read-failed",
		       t->name, "verify: read back: offset=%" PRIu64, off);
}

/* Where the next data of a file may be, at most end. */
static uint64_t skip_hole(const struct readback *rb, uint64_t off, uint64_t end)
{
	off_t data;

	if (!rb->is_file)
		return off;
	data = lseek(rb->fd, (off_t)off, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? end : off;
	return MIN((uint64_t)data, end);
}

static size_t piece_bytes(uint64_t off, uint64_t end)
{
	size_t room = READ_BYTES - (size_t)(off & (DIRECT_ALIGN - 1));

	return (size_t)MIN((uint64_t)room, end - off);
}

static int verify_zeros(struct readback *rb, uint64_t off, uint64_t end,
			struct err *err)
{
	while (off < end) {
		const uint8_t *p;
		size_t n;
		int r;

		off = skip_hole(rb, off, end);
		if (off == end)
			break;
		n = piece_bytes(off, end);
		r = readback_read(rb, off, n, &p);
		if (r < 0)
			return tell_read(rb->t, r, off, err);
		if (!block_is_zero(p, n))
			return tell_mismatch(rb->t, off, n, err);
		off += n;
	}
	return 0;
}

static int tell_unusable(const struct verify_target *t, struct err *err)
{
	return err_set(err, -EIO, "verify-failed", t->name,
		       "verify: no checksums could be taken; the target is "
		       "written but not verified");
}

static int verify_sum(struct readback *rb, struct sums *s, uint64_t off,
		      uint64_t end, struct err *err)
{
	XXH128_hash_t sum = s->sum[span_index(s, off)];
	uint64_t start = off;

	hash_begin(s);
	while (off < end) {
		size_t n = piece_bytes(off, end);
		const uint8_t *p;
		int r;

		r = readback_read(rb, off, n, &p);
		if (r < 0)
			return tell_read(rb->t, r, off, err);
		hash_more(s, p, n);
		off += n;
	}
	if (s->unusable)
		return tell_unusable(rb->t, err);
	if (!XXH128_isEqual(digest(s), sum))
		return tell_mismatch(rb->t, start, end - start, err);
	return 0;
}

static int verify_span(struct sums *s, struct readback *rb, uint64_t off,
		       uint64_t end, struct err *err)
{
	XXH128_hash_t sum = s->sum[span_index(s, off)];

	if (!sum.low64 && !sum.high64)
		return verify_zeros(rb, off, end, err);
	return verify_sum(rb, s, off, end, err);
}

int sums_verify(struct sums *s, const struct verify_target *t,
		uint64_t *verified, struct err *err)
{
	struct readback rb = { 0 };
	uint64_t off = s->from;
	int r;

	if (s->pos != s->to)
		return err_set(err, -EIO, "verify-failed", t->name,
			       "verify: only %" PRIu64 " of %" PRIu64
			       " bytes were restored", s->pos - s->from,
			       s->to - s->from);
	if (s->unusable)
		return tell_unusable(t, err);
	r = readback_open(&rb, t);
	if (r < 0)
		err_sys(err, r, "no-memory", t->name, "verify");
	while (r == 0 && off < s->to) {
		uint64_t end = span_end(s, off);

		r = verify_span(s, &rb, off, end, err);
		if (r < 0)
			break;
		*verified += end - off;
		off = end;
		if (t->progress && t->progress(t->arg, *verified))
			r = err_set(err, -ECANCELED, "canceled", t->name,
				    "verify: stopped at offset=%" PRIu64, off);
	}
	readback_close(&rb);
	return r;
}
