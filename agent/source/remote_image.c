// SPDX-License-Identifier: Apache-2.0
/*
 * A point at a replica as an image: what restore reads when the store is
 * somewhere else.
 *
 * Reads are asked for ahead, in rising order; their answers are taken only
 * when somebody wants the blocks, so that what is under way waits in the
 * sockets' buffers and, behind them, at the replica. Kept here: one run of at
 * most IMAGE_READ_MAX blocks, and the one piece that did not belong to it.
 *
 * The replica is not trusted with contents: each unit's seal is verified here,
 * under this volume's UUID, and a piece must be the part of its unit that it
 * claims to be. It is trusted with which of the volume's own units are the
 * newest at that point.
 *
 * One thread. Blocks asked for out of order cost a new start of the stream.
 */
#include "source/remote_image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "source/remote_session.h"
#include "wire/seal.h"

#define AHEAD_FIRST 1024U		/* blocks: 4 MiB */
#define AHEAD_DATA 16384U		/* 64 MiB */
#define AHEAD_EMPTY (32U * AHEAD_DATA)	/* 2 GiB of what holds nothing */
#define PENDING_MAX (WIRE_MAX_PENDING / 2)

enum run_kind { RUN_NONE, RUN_ABSENT, RUN_ZERO, RUN_DATA };

struct run {
	enum run_kind kind;
	uint64_t first, count;
	uint8_t *data;			/* RUN_DATA: count blocks */
};

struct remote_image {
	struct image image;
	struct remote *remote;
	struct opener *opener;
	uint32_t handle;
	uint64_t n_blocks;

	uint64_t asked;			/* reads end here */
	uint64_t got;			/* pieces arrived up to here */
	uint64_t read_ends[WIRE_MAX_PENDING];	/* ring: where each one ends */
	unsigned int oldest, pending;
	uint32_t ahead;			/* blocks */
	bool saw_data;			/* in the read being answered */
	bool broken;			/* a read failed: start anew */

	uint64_t known_from;		/* nothing between here and cur.first */
	struct run cur;			/* IMAGE_READ_MAX blocks of room */
	struct run held;		/* the next piece; UNIT_MAX_BLOCKS */
	uint8_t *opened;		/* one unit */
};

static struct remote_image *of(struct image *im)
{
	return (struct remote_image *)im;
}

/* ---- the stream of reads ---- */

static int ask_ahead(struct remote_image *ri, struct err *err)
{
	const uint64_t most = MIN(ri->ahead / 2, WIRE_MAX_READ_BLOCKS);

	while (ri->pending < PENDING_MAX && ri->asked < ri->n_blocks &&
	       ri->asked - ri->got < ri->ahead) {
		uint64_t n = MIN(ri->n_blocks - ri->asked, most);
		int r = remote_asked(ri->remote,
				     dial_view_read(ri->remote->dial,
						    ri->handle, ri->asked,
						    (uint32_t)n), err);

		if (r < 0)
			return r;
		ri->asked += n;
		ri->read_ends[(ri->oldest + ri->pending) % WIRE_MAX_PENDING] =
			ri->asked;
		ri->pending++;
	}
	return 0;
}

/* The longer it goes on in order, the more is asked for in advance. */
static void read_ended(struct remote_image *ri)
{
	uint32_t most = ri->saw_data ? AHEAD_DATA : AHEAD_EMPTY;

	ri->ahead = MIN(ri->ahead * 2, most);
	ri->saw_data = false;
	ri->oldest = (ri->oldest + 1) % WIRE_MAX_PENDING;
	ri->pending--;
}

static int bad_answer(struct remote_image *ri, const char *what,
		      struct err *err)
{
	ri->broken = true;
	return err_set(err, -EPROTO, "protocol", ri->remote->object,
		       "read of %s: %s: block=%" PRIu64, ri->image.name, what,
		       ri->got);
}

static int on_read_end(struct remote_image *ri, struct err *err)
{
	if (!ri->pending || ri->got != ri->read_ends[ri->oldest])
		return bad_answer(ri, "it ended too early", err);
	read_ended(ri);
	return 0;
}

static int on_read_error(struct remote_image *ri, const struct dial_event *ev,
			 struct err *err)
{
	if (!ri->pending || ev->request != WIRE_REQ_READ)
		return bad_answer(ri, "an error that answers nothing", err);
	read_ended(ri);
	ri->broken = true;
	return wire_error_to_err(&ev->error, ri->remote->object, err);
}

static int seal_failed(struct remote_image *ri, int r,
		       const struct wire_piece *p, struct err *err)
{
	ri->broken = true;
	if (r == -ENOKEY)
		return image_tell_wrong_key(&ri->image, ri->opener, err);
	err_sys(err, r, "damaged", ri->image.name,
		"point %" PRIu64 ":%" PRIu64 ": the seal of what the replica "
		"sent does not hold: block=%" PRIu64,
		ri->image.point.meta.epoch, ri->image.point.meta.seq, p->first);
	err_remedy(err, "restore another point, and run `understudyctl scrub` "
			"at the replica");
	return r;
}

/* The piece as a run with at most UNIT_MAX_BLOCKS of data. */
static int open_piece(struct remote_image *ri, const struct wire_piece *p,
		      struct run *out, struct err *err)
{
	struct unit_view u;
	int r;

	out->first = p->first;
	out->count = p->count;
	out->kind = RUN_ABSENT;
	if (p->absent)
		return 0;
	if (!uuid_equal(&p->delta.volume, &ri->image.volume))
		return bad_answer(ri, "a unit of another volume", err);
	r = opener_open(ri->opener, &p->delta, p->unit, p->unit_bytes, &u,
			ri->opened, UNIT_MAX_PLAIN_BYTES);
	if (r < 0)
		return seal_failed(ri, r, p, err);
	if (u.first + p->skip != p->first ||
	    !range_inside(p->skip, p->count, u.count))
		return bad_answer(ri, "not the part of the unit it claims to be",
				  err);
	out->kind = RUN_ZERO;
	if (u.codec == UNIT_ZERO)
		return 0;
	out->kind = RUN_DATA;
	ri->saw_data = true;
	memcpy(out->data, ri->opened + (size_t)p->skip * US_BLOCK_BYTES,
	       (size_t)p->count * US_BLOCK_BYTES);
	return 0;
}

static int on_piece(struct remote_image *ri, const struct wire_piece *p,
		    struct run *out, struct err *err)
{
	int r;

	if (!ri->pending || p->first != ri->got || !p->count ||
	    !range_inside(p->first, p->count, ri->read_ends[ri->oldest]))
		return bad_answer(ri, "a piece out of place", err);
	r = open_piece(ri, p, out, err);
	if (r == 0)
		ri->got += p->count;
	return r;
}

/* The next piece of the stream: 0; 1 at the end of the volume. */
static int next_piece(struct remote_image *ri, struct run *out,
		      struct err *err)
{
	struct dial_event ev;
	int r;

	for (;;) {
		r = ask_ahead(ri, err);
		if (r < 0)
			return r;
		if (!ri->pending)
			return 1;
		r = remote_next(ri->remote, &ev, err);
		if (r < 0)
			return r;
		if (ev.type == DIAL_PIECE)
			return on_piece(ri, &ev.piece, out, err);
		if (ev.type == DIAL_READ_END)
			r = on_read_end(ri, err);
		else if (ev.type == DIAL_ERROR)
			r = on_read_error(ri, &ev, err);
		else
			r = remote_unexpected(ri->remote, &ev, err);
		if (r < 0)
			return r;
	}
}

/* Let what is under way arrive unseen, and start at block. */
static int restart(struct remote_image *ri, uint64_t block, struct err *err)
{
	struct dial_event ev;

	while (ri->pending) {
		int r = remote_next(ri->remote, &ev, err);

		if (r < 0)
			return r;
		if (ev.type == DIAL_READ_END || ev.type == DIAL_ERROR)
			read_ended(ri);
	}
	ri->asked = ri->got = block;
	ri->ahead = AHEAD_FIRST;
	ri->saw_data = ri->broken = false;
	ri->cur.kind = ri->held.kind = RUN_NONE;
	ri->cur.first = block;
	ri->cur.count = 0;
	ri->known_from = block;
	return 0;
}

/* ---- runs ---- */

/* Append a piece that continues the run; false when it does not fit. */
static bool extend(struct run *run, const struct run *piece)
{
	if (piece->kind != run->kind ||
	    piece->first != run->first + run->count)
		return false;
	if (run->kind == RUN_DATA) {
		if (run->count + piece->count > IMAGE_READ_MAX)
			return false;
		memcpy(run->data + run->count * US_BLOCK_BYTES, piece->data,
		       piece->count * US_BLOCK_BYTES);
	}
	run->count += piece->count;
	return true;
}

/*
 * The run after the present one: 0; 1 at the end. Data is gathered until the
 * run is full or something else comes; what holds nothing only until the end
 * of what has been asked for, so that waiting for it has a bound.
 */
static int next_run(struct remote_image *ri, struct err *err)
{
	uint64_t bound = ri->asked;
	int r = 0;

	if (ri->held.kind == RUN_NONE) {
		r = next_piece(ri, &ri->held, err);
		if (r)
			return r;
		bound = ri->asked;
	}
	ri->cur.kind = ri->held.kind;
	ri->cur.first = ri->held.first;
	ri->cur.count = 0;
	while (extend(&ri->cur, &ri->held)) {
		ri->held.kind = RUN_NONE;
		if (ri->cur.kind == RUN_DATA ? ri->cur.count >= IMAGE_READ_MAX :
					       ri->got >= bound)
			return 0;
		r = next_piece(ri, &ri->held, err);
		if (r < 0)
			return r;
		if (r == 1)
			return 0;
	}
	return 0;
}

static uint64_t run_end(const struct run *run)
{
	return run->first + run->count;
}

/* cur holds block, or is the first run with content after it. 1: none. */
static int seek(struct remote_image *ri, uint64_t block, bool content,
		struct err *err)
{
	int r = 0;

	if (ri->broken || block < ri->known_from ||
	    block > MAX(ri->asked, run_end(&ri->cur)))
		r = restart(ri, block, err);
	while (r == 0) {
		bool there = ri->cur.kind != RUN_NONE &&
			     block < run_end(&ri->cur);

		if (there && (ri->cur.kind != RUN_ABSENT || !content))
			return 0;
		/* a gap stays known while nothing but the gap has passed */
		if (!(there && ri->cur.kind == RUN_ABSENT))
			ri->known_from = MAX(run_end(&ri->cur), block);
		if (there)
			block = run_end(&ri->cur);
		r = next_run(ri, err);
	}
	return r;
}

static int remote_image_next(struct image *im, uint64_t block, uint64_t *first,
			     uint64_t *count, bool *zero, struct err *err)
{
	struct remote_image *ri = of(im);
	int r;

	if (block >= ri->n_blocks)
		return 1;
	r = seek(ri, block, true, err);
	if (r)
		return r;
	*first = MAX(ri->cur.first, block);
	*count = run_end(&ri->cur) - *first;
	*zero = ri->cur.kind == RUN_ZERO;
	return 0;
}

/* As many of the blocks as the present run gives. */
static uint64_t copy_from_run(const struct remote_image *ri, uint64_t first,
			      uint64_t count, uint8_t *out)
{
	uint64_t n;

	if (first < ri->cur.first) {
		n = MIN(count, ri->cur.first - first);
		memset(out, 0, n * US_BLOCK_BYTES);
		return n;
	}
	n = MIN(count, run_end(&ri->cur) - first);
	if (ri->cur.kind == RUN_DATA)
		memcpy(out,
		       ri->cur.data + (first - ri->cur.first) * US_BLOCK_BYTES,
		       n * US_BLOCK_BYTES);
	else
		memset(out, 0, n * US_BLOCK_BYTES);
	return n;
}

static int remote_image_read(struct image *im, uint64_t first, uint64_t count,
			     uint8_t *out, struct err *err)
{
	struct remote_image *ri = of(im);

	if (!range_inside(first, count, ri->n_blocks) || count > IMAGE_READ_MAX)
		return err_set(err, -EINVAL, "bad-range", im->name,
			       "read: outside the point: block=%" PRIu64
			       " count=%" PRIu64, first, count);
	while (count) {
		uint64_t n;
		int r = seek(ri, first, false, err);

		if (r < 0)
			return r;
		if (r == 1)
			return bad_answer(ri, "it ended too early", err);
		n = copy_from_run(ri, first, count, out);
		first += n;
		count -= n;
		out += n * US_BLOCK_BYTES;
	}
	return 0;
}

static void remote_image_close(struct image *im)
{
	struct remote_image *ri = of(im);

	opener_free(ri->opener);
	remote_close(ri->remote);
	free(ri->cur.data);
	free(ri->held.data);
	free(ri->opened);
	free(ri);
}

static const struct image_ops remote_image_ops = {
	.next = remote_image_next,
	.read = remote_image_read,
	.close = remote_image_close,
};

/* ---- opening ---- */

static int open_view(struct remote *r, const struct wire_view_open *sel,
		     struct wire_view_state *out, struct err *err)
{
	struct dial_event ev;
	int n;

	n = remote_asked(r, dial_view_open(r->dial, sel), err);
	if (n == 0)
		n = remote_next(r, &ev, err);
	if (n < 0)
		return n;
	if (ev.type == DIAL_ERROR)
		return wire_error_to_err(&ev.error, r->object, err);
	if (ev.type != DIAL_VIEW)
		return remote_unexpected(r, &ev, err);
	*out = ev.view;
	if (out->point.size_bytes &&
	    out->point.size_bytes <= US_MAX_BLOCKS * US_BLOCK_BYTES)
		return 0;
	return err_set(err, -EPROTO, "protocol", r->object,
		       "the point has a size that cannot be: %" PRIu64,
		       out->point.size_bytes);
}

static void fill_point(const struct wire_point *p, struct point_info *out)
{
	*out = (struct point_info){
		.meta = {
			.epoch = p->epoch,
			.seq = p->seq,
			.flip_wall_ns = p->flip_wall_ns,
			.kind = p->kind <= POINT_FINAL ?
				(enum point_kind)p->kind : POINT_CRASH,
			.size_bytes = p->size_bytes,
		},
		.received_wall_ns = p->received_wall_ns,
		.changed_bytes = p->changed_bytes,
		.stored_bytes = p->stored_bytes,
		.pins = p->pins,
		.damaged = p->damaged,
	};
	snprintf(out->meta.label, sizeof(out->meta.label), "%s", p->label);
}

static struct remote_image *remote_image_alloc(const struct volume_key *key)
{
	struct remote_image *ri = calloc(1, sizeof(*ri));

	if (!ri)
		return NULL;
	ri->opener = opener_new(key);
	ri->cur.data = malloc((size_t)IMAGE_READ_MAX * US_BLOCK_BYTES);
	ri->held.data = malloc(UNIT_MAX_PLAIN_BYTES);
	ri->opened = malloc(UNIT_MAX_PLAIN_BYTES);
	ri->ahead = AHEAD_FIRST;
	if (ri->opener && ri->cur.data && ri->held.data && ri->opened)
		return ri;
	remote_image_close(&ri->image);
	return NULL;
}

int remote_image(struct remote *r, const struct wire_view_open *sel,
		 const struct volume_key *key, struct image **out,
		 struct err *err)
{
	struct wire_view_state view;
	struct remote_image *ri;
	int n;

	n = open_view(r, sel, &view, err);
	if (n < 0)
		return n;
	ri = remote_image_alloc(key);
	if (!ri) {
		(void)dial_view_close(r->dial, view.handle);
		return err_set(err, -ENOMEM, "no-memory", r->object,
			       "out of memory");
	}
	ri->image.ops = &remote_image_ops;
	ri->image.volume = view.volume;
	snprintf(ri->image.name, sizeof(ri->image.name), "%s/%s", view.source,
		 view.name);
	fill_point(&view.point, &ri->image.point);
	ri->handle = view.handle;
	ri->n_blocks = div_up_u64(view.point.size_bytes, US_BLOCK_BYTES);
	ri->remote = r;
	*out = &ri->image;
	return 0;
}
