// SPDX-License-Identifier: Apache-2.0
/*
 * The restore engine: an image goes to a device or file, stretch by stretch,
 * in rising order and in pieces of at most 1 MiB.
 *
 * Invariants: every byte of the range is either written, or zeroed by a call
 * that promises zeros, or known to be there already (a hole of a file that
 * this run emptied; equal bytes in place). The target is touched only inside
 * the range. Nothing counts before the fdatasync at the end.
 *
 * One thread per run. A run that died leaves an incomplete target; with
 * in_place the next run writes only what is missing.
 */
#include "store/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "store/restore_verify.h"
#include "wire/seal.h"

#define PIECE_BYTES ((uint64_t)IMAGE_READ_MAX * US_BLOCK_BYTES)
#define SECTOR_BYTES 512U
/* One zeroing call: long ones cannot be stopped and show no progress. */
#define ZERO_CALL_BYTES (256ULL << 20)

struct run {
	struct image *im;
	const struct restore_options *o;
	struct io *io;
	int fd;
	char target[STORE_NAME_MAX * 2 + 168];	/* as messages name it */
	bool device;
	bool fresh;			/* what is not written reads as zeros */
	bool no_punch, no_zero_range;	/* the target said so */
	uint64_t from, to;		/* bytes */
	uint8_t *plain;			/* PIECE_BYTES: of the image */
	uint8_t *there;			/* PIECE_BYTES: of the target */
	struct sums *sums;		/* NULL without verify */
	struct restore_result *out;
	struct err *err;
};

void image_close(struct image *im)
{
	if (im)
		im->ops->close(im);
}

static int tell_target(struct run *run, int r, const char *what, uint64_t off)
{
	bool full = r == -ENOSPC || r == -EDQUOT || r == -EFBIG;

	err_sys(run->err, r, full ? "target-full" : "target-io", run->target,
		"%s: offset=%" PRIu64, what, off);
	if (full)
		err_remedy(run->err, "make room there or name another target, "
				     "then restore again");
	return r;
}

static int report(struct run *run, uint64_t done, uint64_t verified)
{
	const struct restore_progress p = {
		.done_bytes = done - run->from,
		.total_bytes = run->to - run->from,
		.written_bytes = run->out->written_bytes,
		.verified_bytes = verified,
	};

	if (!run->o->progress || !run->o->progress(run->o->arg, &p))
		return 0;
	return err_set(run->err, -ECANCELED, "canceled", run->target,
		       "stopped at offset=%" PRIu64, done);
}

/* ---- writing ---- */

static int write_bytes(struct run *run, const uint8_t *p, uint64_t off,
		       uint64_t n)
{
	int r;

	run->out->touched = true;
	r = io_pwrite_all(run->io, run->fd, p, (size_t)n, off);
	if (r < 0)
		return tell_target(run, r, "write", off);
	run->out->written_bytes += n;
	return 0;
}

static int read_target(struct run *run, uint64_t off, uint64_t n)
{
	int r = io_pread_all(run->io, run->fd, run->there, (size_t)n, off);

	return r < 0 ? tell_target(run, r, "read what is there", off) : 0;
}

/* Target block that off lies in ends here, or the piece does. */
static uint64_t block_end(uint64_t off, uint64_t end)
{
	return MIN((off / US_BLOCK_BYTES + 1) * US_BLOCK_BYTES, end);
}

/* Writes the blocks of [off, off + n) that the target does not hold yet. */
static int write_differing(struct run *run, const uint8_t *p, uint64_t off,
			   uint64_t n)
{
	uint64_t end = off + n, at = off, start;
	int r = read_target(run, off, n);

	while (r == 0 && at < end) {
		uint64_t next = block_end(at, end);

		if (!memcmp(p + (at - off), run->there + (at - off),
			    (size_t)(next - at))) {
			at = next;
			continue;
		}
		for (start = at; at < end; at = next) {
			next = block_end(at, end);
			if (!memcmp(p + (at - off), run->there + (at - off),
				    (size_t)(next - at)))
				break;
		}
		r = write_bytes(run, p + (start - off), start, at - start);
	}
	return r;
}

static bool means_not_here(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL ||
	       r == -ENODEV || r == -EPERM;
}

/*
 * Zeros by a promise of the kernel: punching reads back as zeros on files and
 * on devices (where a device cannot promise that, the call is refused), and so
 * does ZERO_RANGE. 0; 1 when it has to be done by writing.
 */
static int zero_by_call(struct run *run, uint64_t off, uint64_t n)
{
	int r;

	run->out->touched = true;
	if (!run->no_punch) {
		r = run->io->ops->fallocate(run->io, run->fd,
					    FALLOC_FL_PUNCH_HOLE |
					    FALLOC_FL_KEEP_SIZE, off, n);
		if (r == 0 || !means_not_here(r))
			return r;
		/* EINVAL may be this range's alignment only */
		run->no_punch = r != -EINVAL;
	}
	if (run->device && !run->no_zero_range) {
		r = run->io->ops->fallocate(run->io, run->fd,
					    FALLOC_FL_ZERO_RANGE |
					    FALLOC_FL_KEEP_SIZE, off, n);
		if (r == 0 || !means_not_here(r))
			return r;
		run->no_zero_range = r != -EINVAL;
	}
	return 1;
}

static int zero_by_writing(struct run *run, uint64_t off, uint64_t n)
{
	uint64_t end = off + n;

	memset(run->plain, 0, PIECE_BYTES);
	while (off < end) {
		uint64_t k = MIN(end - off, PIECE_BYTES);
		int r = write_bytes(run, run->plain, off, k);

		if (r < 0)
			return r;
		off += k;
	}
	return 0;
}

static int zero_range(struct run *run, uint64_t off, uint64_t n)
{
	int r = zero_by_call(run, off, n);

	if (r < 0)
		return tell_target(run, r, "write zeros", off);
	return r ? zero_by_writing(run, off, n) : 0;
}

/* In place: zero what is not zero yet; holes of a file are not read. */
static int zero_differing(struct run *run, uint64_t off, uint64_t n)
{
	uint64_t end = off + n;

	while (off < end) {
		uint64_t k;
		int r;

		if (!run->device) {
			off_t data = lseek(run->fd, (off_t)off, SEEK_DATA);

			if (data < 0 && errno == ENXIO)
				return 0;
			if (data >= 0 && (uint64_t)data >= end)
				return 0;
			if (data >= 0)
				off = (uint64_t)data;
		}
		k = MIN(end - off, PIECE_BYTES);
		r = read_target(run, off, k);
		if (r == 0 && !block_is_zero(run->there, (size_t)k))
			r = zero_range(run, off, k);
		if (r < 0)
			return r;
		off += k;
	}
	return 0;
}

/* ---- walking ---- */

static int put_zeros(struct run *run, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t n = MIN(end - off, ZERO_CALL_BYTES);
		int r = 0;

		if (run->fresh)
			n = end - off;
		else if (run->o->in_place)
			r = zero_differing(run, off, n);
		else
			r = zero_range(run, off, n);
		if (r < 0)
			return r;
		if (run->sums)
			sums_add(run->sums, NULL, n);
		run->out->image_bytes += n;
		run->out->zero_bytes += n;
		off += n;
		r = report(run, off, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_piece(struct run *run, uint64_t off, uint64_t end)
{
	uint64_t first = off / US_BLOCK_BYTES;
	uint64_t count = div_up_u64(end, US_BLOCK_BYTES) - first;
	const uint8_t *p = run->plain + off % US_BLOCK_BYTES;
	int r;

	r = run->im->ops->read(run->im, first, count, run->plain, run->err);
	if (r < 0)
		return r;
	if (run->o->in_place)
		r = write_differing(run, p, off, end - off);
	else
		r = write_bytes(run, p, off, end - off);
	if (r < 0)
		return r;
	if (run->sums)
		sums_add(run->sums, p, end - off);
	run->out->image_bytes += end - off;
	return report(run, end, 0);
}

/* Pieces end at multiples of PIECE_BYTES: whole stripes for what is below. */
static int put_data(struct run *run, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t next = MIN((off / PIECE_BYTES + 1) * PIECE_BYTES, end);
		int r = put_piece(run, off, next);

		if (r < 0)
			return r;
		off = next;
	}
	return 0;
}

static int bad_stretch(struct run *run, uint64_t first, uint64_t count)
{
	return err_set(run->err, -EBADMSG, "bad-image", run->target,
		       "the point names a stretch that cannot be: block=%"
		       PRIu64 " count=%" PRIu64, first, count);
}

/* One stretch of the image and the gap before it; *at moves past both. */
static int put_stretch(struct run *run, uint64_t *at)
{
	uint64_t first = 0, count = 0, start, end;
	uint64_t block = *at / US_BLOCK_BYTES;
	bool zero = false;
	int r;

	r = run->im->ops->next(run->im, block, &first, &count, &zero, run->err);
	if (r < 0)
		return r;
	if (r == 1) {
		r = put_zeros(run, *at, run->to);
		*at = run->to;
		return r;
	}
	if (first < block || !count || first > US_MAX_BLOCKS ||
	    count > US_MAX_BLOCKS)
		return bad_stretch(run, first, count);
	start = MIN(MAX(first * US_BLOCK_BYTES, *at), run->to);
	end = MIN((first + count) * US_BLOCK_BYTES, run->to);
	r = put_zeros(run, *at, start);
	if (r == 0 && start < end)
		r = zero ? put_zeros(run, start, end) :
			   put_data(run, start, end);
	*at = MAX(start, end);
	return r;
}

/* ---- before and after ---- */

static int check_range(struct run *run)
{
	uint64_t size = run->im->point.meta.size_bytes;
	uint64_t off = run->o->off_bytes, len = run->o->len_bytes;

	if (off % SECTOR_BYTES || len % SECTOR_BYTES)
		return err_set(run->err, -EINVAL, "bad-range", run->target,
			       "range: not a multiple of %u: offset=%" PRIu64
			       " length=%" PRIu64, SECTOR_BYTES, off, len);
	if (!range_inside(off, len, size))
		return err_set(run->err, -EINVAL, "bad-range", run->target,
			       "range: outside the volume: offset=%" PRIu64
			       " length=%" PRIu64 " size=%" PRIu64, off, len,
			       size);
	run->from = off;
	run->to = len ? off + len : size;
	return 0;
}

static int check_target(struct run *run)
{
	int flags = fcntl(run->fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(run->fd, &st) < 0)
		return err_sys(run->err, -errno, "bad-target", run->target,
			       "look at the target");
	if ((flags & O_ACCMODE) != O_RDWR || flags & (O_APPEND | O_DIRECT))
		return err_set(run->err, -EINVAL, "bad-target", run->target,
			       "the target is not open for plain reading and "
			       "writing");
	run->device = S_ISBLK(st.st_mode) || run->o->target_is_device;
	if (!run->device && !S_ISREG(st.st_mode))
		return err_set(run->err, -EINVAL, "bad-target", run->target,
			       "the target is neither a block device nor a "
			       "regular file");
	return 0;
}

static int resize(struct run *run, uint64_t size)
{
	int r;

	run->out->touched = true;
	r = run->io->ops->ftruncate(run->io, run->fd, size);
	return r < 0 ? tell_target(run, r, "set the file's length", size) : 0;
}

static int prepare_file(struct run *run, uint64_t have)
{
	bool whole = !run->o->off_bytes && !run->o->len_bytes;
	int r;

	run->fresh = run->o->target_is_fresh && !run->o->in_place;
	if (whole && !run->o->in_place && have) {
		/* nothing of it is wanted: emptied, it needs no zeroing */
		r = resize(run, 0);
		if (r < 0)
			return r;
		run->fresh = true;
		have = 0;
	}
	if (whole ? have != run->to : have < run->to)
		return resize(run, run->to);
	return 0;
}

static int prepare_target(struct run *run)
{
	uint64_t have;
	int r;

	r = check_target(run);
	if (r < 0)
		return r;
	r = run->io->ops->size(run->io, run->fd, &have);
	if (r < 0)
		return err_sys(run->err, r, "bad-target", run->target,
			       "ask its size");
	if (!run->device)
		return prepare_file(run, have);
	if (have >= run->to)
		return 0;
	err_set(run->err, -ENOSPC, "target-too-small", run->target,
		"the device ends before the range: size=%" PRIu64 " needed=%"
		PRIu64, have, run->to);
	err_remedy(run->err, "restore to a device of at least %" PRIu64
			     " bytes, or to a file", run->to);
	return -ENOSPC;
}

static int verify_progress(void *arg, uint64_t verified)
{
	struct run *run = arg;

	return report(run, run->to, verified);
}

static int finish(struct run *run)
{
	struct verify_target t = {
		.io = run->io, .fd = run->fd, .name = run->target,
		.progress = verify_progress, .arg = run,
	};
	int r = run->io->ops->fdatasync(run->io, run->fd);

	if (r < 0)
		return tell_target(run, r, "make it durable (fdatasync)",
				   run->to);
	if (!run->sums)
		return 0;
	return sums_verify(run->sums, &t, &run->out->verified_bytes, run->err);
}

static int alloc_buffers(struct run *run)
{
	if (posix_memalign((void **)&run->plain, US_BLOCK_BYTES,
			   PIECE_BYTES + US_BLOCK_BYTES))
		run->plain = NULL;
	if (posix_memalign((void **)&run->there, US_BLOCK_BYTES, PIECE_BYTES))
		run->there = NULL;
	if (run->o->verify)
		run->sums = sums_new(run->from, run->to);
	if (run->plain && run->there && (run->sums || !run->o->verify))
		return 0;
	return err_set(run->err, -ENOMEM, "no-memory", run->target,
		       "out of memory");
}

/*
 * The first content is read before the target is touched: with a wrong key or
 * an unreadable store, what the target held is still there.
 */
static int probe_image(struct run *run)
{
	uint64_t first, count;
	bool zero = false;
	int r;

	r = run->im->ops->next(run->im, run->from / US_BLOCK_BYTES, &first,
			       &count, &zero, run->err);
	if (r < 0 || r == 1 || zero || first * US_BLOCK_BYTES >= run->to)
		return MIN(r, 0);
	return run->im->ops->read(run->im, first, 1, run->plain, run->err);
}

static int run_all(struct run *run)
{
	uint64_t at;
	int r;

	r = check_range(run);
	if (r == 0)
		r = alloc_buffers(run);
	if (r == 0)
		r = probe_image(run);
	if (r == 0)
		r = prepare_target(run);
	at = run->from;
	while (r == 0 && at < run->to)
		r = put_stretch(run, &at);
	return r == 0 ? finish(run) : r;
}

int restore_run(struct image *im, int fd, const struct restore_options *o,
		struct restore_result *out, struct err *err)
{
	struct restore_result result = { 0 };
	struct run run = {
		.im = im, .o = o, .fd = fd, .out = &result, .err = err,
		.io = o->io ? o->io : io_posix(),
	};
	int r;

	snprintf(run.target, sizeof(run.target), "%s to %.160s", im->name,
		 o->target ? o->target : "the target");
	r = run_all(&run);
	sums_free(run.sums);
	free(run.plain);
	free(run.there);
	if (out)
		*out = result;
	return r;
}
