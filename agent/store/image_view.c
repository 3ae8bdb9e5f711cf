// SPDX-License-Identifier: Apache-2.0
/*
 * An image over a view of the local store: restore --store, and the replica
 * that holds a volume's key.
 *
 * A view tells its stretches entry by entry; a volume written at random has
 * many that touch. They are put together here, so that one read fetches up to
 * IMAGE_READ_MAX blocks and the engine writes large pieces.
 *
 * One thread per image. Holds the view, and through it what the view needs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"
#include "store/restore.h"
#include "wire/seal.h"

struct stretch {
	uint64_t first, count;
	bool zero;
};

struct image_view {
	struct image image;
	struct view *view;
	struct opener *opener;
	/* What view_next said for ahead_block, not yet given out. */
	bool has_ahead, ahead_end;
	uint64_t ahead_block;
	struct stretch ahead;
};

static struct image_view *of(struct image *im)
{
	return (struct image_view *)im;
}

/*
 * Zero units hold nothing to read, but a seal all the same: without a look at
 * it, whoever writes to the store could make zeros of any block.
 */
struct zero_check {
	struct image_view *iv;
	uint64_t bad_block;
};

static int check_zero_unit(void *arg, const struct view_piece *p)
{
	struct zero_check *zc = arg;
	struct unit_view u;
	int r;

	zc->bad_block = p->first;
	if (p->absent)
		return -EBADMSG;
	r = opener_open(zc->iv->opener, &p->delta, p->unit, p->unit_bytes, &u,
			NULL, 0);
	if (r == 0 && (u.codec != UNIT_ZERO || u.first + p->skip != p->first ||
		       !range_inside(p->skip, p->count, u.count)))
		r = -EBADMSG;
	return r;
}

static int check_zeros(struct image_view *iv, const struct stretch *s,
		       struct err *err)
{
	struct zero_check zc = { .iv = iv, .bad_block = s->first };
	int r;

	r = view_walk(iv->view, s->first, s->count, check_zero_unit, &zc, err);
	if (r == -ENOKEY)
		return image_tell_wrong_key(&iv->image, iv->opener, err);
	if (r < 0)
		return err_sys(err, r, "damaged", iv->image.name,
			       "point %llu: the seal of a run of zeros does "
			       "not hold: block=%llu",
			       (unsigned long long)iv->image.point.meta.seq,
			       (unsigned long long)zc.bad_block);
	return 0;
}

/* view_next with a memory of one answer. */
static int peek(struct image_view *iv, uint64_t block, struct stretch *out,
		struct err *err)
{
	int r;

	if (!iv->has_ahead || iv->ahead_block != block) {
		iv->has_ahead = false;
		r = view_next(iv->view, block, &iv->ahead.first,
			      &iv->ahead.count, &iv->ahead.zero, err);
		if (r < 0)
			return r;
		iv->has_ahead = true;
		iv->ahead_block = block;
		iv->ahead_end = r == 1;
	}
	if (iv->ahead_end)
		return 1;
	*out = iv->ahead;
	return 0;
}

static int image_view_next(struct image *im, uint64_t block, uint64_t *first,
			   uint64_t *count, bool *zero, struct err *err)
{
	struct image_view *iv = of(im);
	struct stretch s, more;
	int r;

	r = peek(iv, block, &s, err);
	if (r)
		return r;
	while (s.zero || s.count < IMAGE_READ_MAX) {
		r = peek(iv, s.first + s.count, &more, err);
		if (r < 0)
			return r;
		if (r == 1 || more.zero != s.zero ||
		    more.first != s.first + s.count)
			break;
		s.count += more.count;
	}
	if (s.zero) {
		r = check_zeros(iv, &s, err);
		if (r < 0)
			return r;
	}
	*first = s.first;
	*count = s.count;
	*zero = s.zero;
	return 0;
}

static int image_view_read(struct image *im, uint64_t first, uint64_t count,
			   uint8_t *out, struct err *err)
{
	struct image_view *iv = of(im);
	int r;

	if (count > IMAGE_READ_MAX)
		return -EINVAL;
	r = view_read(iv->view, iv->opener, first, count, out, err);
	if (r == -ENOKEY)
		return image_tell_wrong_key(im, iv->opener, err);
	if (r < 0)
		return err_sys(err, r, "read-failed", im->name,
			       "read point %llu",
			       (unsigned long long)im->point.meta.seq);
	return 0;
}

static void image_view_close(struct image *im)
{
	struct image_view *iv = of(im);

	opener_free(iv->opener);
	view_close(iv->view);
	free(iv);
}

static const struct image_ops image_view_ops = {
	.next = image_view_next,
	.read = image_view_read,
	.close = image_view_close,
};

static int tell_lacks(const struct image *im, uint32_t lacks, struct err *err)
{
	err_set(err, -ENOKEY, "key-generation", im->name,
		"open the volume's blocks: some were sealed with generation "
		"%" PRIu32 " of its key, which the key given does not hold",
		lacks);
	err_remedy(err, "give a key that was exported since `key rotate` made "
			"generation %" PRIu32, lacks);
	return -ENOKEY;
}

int image_tell_wrong_key(const struct image *im, const struct opener *o,
			 struct err *err)
{
	uint32_t lacks = opener_lacks(o);

	err_clear(err);
	if (lacks)
		return tell_lacks(im, lacks, err);
	err_set(err, -ENOKEY, "wrong-key", im->name,
		"open the volume's blocks: the key given is not the one they "
		"were sealed with");
	err_remedy(err, "give the key that `understudyctl key export` wrote "
			"for this volume");
	return -ENOKEY;
}

int image_from_view(struct view *v, const struct uuid *volume,
		    const struct volume_key *key, struct image **out,
		    struct err *err)
{
	char text[UUID_TEXT_SIZE];
	struct image_view *iv;
	uint32_t newest;

	iv = calloc(1, sizeof(*iv));
	if (iv)
		iv->opener = opener_new(key);
	if (!iv || !iv->opener) {
		free(iv);
		view_close(v);
		return err_set(err, -ENOMEM, "no-memory", "image",
			       "out of memory");
	}
	iv->image.ops = &image_view_ops;
	iv->image.point = *view_point(v);
	iv->image.volume = *volume;
	uuid_format(volume, text);
	snprintf(iv->image.name, sizeof(iv->image.name), "volume %s", text);
	iv->view = v;
	/* Before a target is touched: newer blocks may lie anywhere. */
	newest = view_newest_key(v);
	if (newest && !volume_key_find(key, newest)) {
		int r = tell_lacks(&iv->image, newest, err);

		image_view_close(&iv->image);
		return r;
	}
	*out = &iv->image;
	return 0;
}
