/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_REQUEST_H
#define BPF_TRACKER_REQUEST_H

/*
 * Volumes on a device that takes requests: from the issue of a request, when
 * its driver gets it, to its completion. The slot is that of its hardware
 * queue and tag.
 */

#define DISCARD_RANGES_MAX 1024

/* The request's slot in this volume's registry, or NULL (counted). */
static __always_inline __u64 *slot_of(const struct found *f, __u32 queue,
				      __u32 tag)
{
	if (queue >= f->v->n_queues || tag >= f->v->n_tags)
		return NULL;
	return word_at(f->words,
		       f->v->slot_word + (__u64)queue * f->v->n_tags + tag);
}

/* What on_issue hands to each volume of the disk. */
struct start {
	__u64 sector;			/* hull of the request */
	__u64 n_sectors;
	__u64 bio;			/* of a discard: walked, 0 otherwise */
	__u64 written;			/* as diskstats will count it */
	__u32 queue;
	__u32 tag;
};

struct walk_ctx {
	__u64 bio;
	__u64 lo;			/* sectors, hull */
	__u64 hi;
	__u32 vol;
	__u32 mark;			/* 0: only find the hull */
};

/* One bio of a discard: its own range is true, the request's is not. */
static long walk_bio(__u32 i, void *arg)
{
	struct walk_ctx *c = arg;
	struct bio *bio = (struct bio *)c->bio;
	struct found f = { .vol = c->vol };
	__u64 sector, n, first, count;

	if (!bio)
		return 1;
	sector = BPF_CORE_READ(bio, bi_iter.bi_sector);
	n = BPF_CORE_READ(bio, bi_iter.bi_size) >> SECTOR_SHIFT;
	if (sector < c->lo)
		c->lo = sector;
	if (sector + n > c->hi)
		c->hi = sector + n;
	if (c->mark) {
		f.v = bpf_map_lookup_elem(&volumes, &c->vol);
		if (f.v && clip(f.v, sector, n, &first, &count))
			mark_active(&f, first, count);
	}
	c->bio = (__u64)BPF_CORE_READ(bio, bi_next);
	return 0;
}

/* A data-changing request on the volume's disk: slot, then marks. */
static __always_inline void issue_write(const struct us_volume *v, __u32 vol,
					const struct start *q)
{
	struct walk_ctx walk = { .bio = q->bio, .vol = vol, .mark = 1 };
	struct found f = { .v = v, .words = words_of(vol), .vol = vol };
	__u64 *slot = slot_of(&f, q->queue, q->tag);
	__u64 first = 0, count = 0, range, old;
	bool inside = clip(v, q->sector, q->n_sectors, &first, &count);

	if (!slot) {
		if (inside)
			count_event(vol, slot_overflows);
	} else {
		range = inside ? us_slot_pack(first, count) : 0;
		old = __sync_lock_test_and_set(slot, range);
		slot_replaced(&f, old, range);
	}
	if (!inside || without_issue_mark)
		return;
	if (!q->bio) {
		mark_active(&f, first, count);
		return;
	}
	walk.lo = ALL_ONES;
	bpf_loop(DISCARD_RANGES_MAX, walk_bio, &walk, 0);
	if (walk.bio)
		count_event(vol, walk_overflows);
}

/* Anything else that uses the tag proves that its last user is done. */
static __always_inline void issue_other(const struct us_volume *v, __u32 vol,
					const struct start *q)
{
	struct found f = { .v = v, .words = words_of(vol), .vol = vol };
	__u64 *slot = slot_of(&f, q->queue, q->tag);

	if (slot && *(volatile __u64 *)slot)
		slot_replaced(&f, __sync_lock_test_and_set(slot, 0), 0);
}

/* Everything one request means to one volume of its disk. Verified alone. */
__noinline int issue_one(__u32 vol, __u32 op, const struct start *q)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);

	if (!v || !q || !v->used)
		return 0;
	if (v->probing)
		count_event(vol, probe_issues);
	if (q->written)
		count_write(vol, q->written);
	if (op >= OP_DRV_IN) {
		count_event(vol, passthrough);
		issue_other(v, vol, q);
	} else if (op_modifies(op)) {
		issue_write(v, vol, q);
	} else {
		issue_other(v, vol, q);
	}
	return 0;
}

/*
 * A discard that was merged out of several ranges sums their lengths into one
 * request whose own range is wrong; the hull of its bios is right. Of more than
 * are followed it may be anywhere on the disk, until it has ended.
 */
static __always_inline void discard_hull(__u64 bio, __u64 *sector,
					 __u64 *n_sectors)
{
	struct walk_ctx hull = { .bio = bio, .lo = ALL_ONES };

	bpf_loop(DISCARD_RANGES_MAX, walk_bio, &hull, 0);
	if (hull.bio) {
		hull.lo = 0;
		hull.hi = ALL_ONES >> 1;
	}
	if (hull.hi <= hull.lo)
		return;
	*sector = hull.lo;
	*n_sectors = hull.hi - hull.lo;
}

static __always_inline int request_issued(struct request *rq)
{
	struct start q = {};
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 op, i;

	d = disk_entry(request_disk(rq), &diskseq);
	if (!d)
		return 0;
	if (diskseq != d->diskseq) {
		count_other_disk(d);
		return 0;
	}
	op = request_op(rq);
	if (op_modifies(op))
		q.written = rq->__data_len >> SECTOR_SHIFT;
	if (op >= OP_DRV_IN && passthrough_is_harmless(rq))
		op = OP_READ;
	q.sector = rq->__sector;
	q.n_sectors = rq->__data_len >> SECTOR_SHIFT;
	q.queue = rq->mq_hctx->queue_num;
	q.tag = rq->tag;
	if (op_is_discard(op)) {
		q.bio = (__u64)rq->bio;
		discard_hull(q.bio, &q.sector, &q.n_sectors);
	}
	for_each_volume(d, i)
		issue_one(d->volume[i], op, &q);
	return 0;
}

struct done {
	__u64 sector;
	__u64 n_sectors;
	__u32 queue;
	__u32 tag;
	__u32 failed;			/* sectors */
	__u32 last;			/* nothing of the request remains */
};

__noinline int complete_one(__u32 vol, const struct done *c)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);
	struct found f = { .v = v, .vol = vol };
	__u64 first = 0, count = 0, *slot;
	bool seen, inside;

	if (!v || !c || !v->used)
		return 0;
	if (c->failed)
		count_failed(vol, c->failed);
	f.words = words_of(vol);
	slot = slot_of(&f, c->queue, c->tag);
	inside = clip(v, c->sector, c->n_sectors, &first, &count);
	/* A slot that has other blocks is that of an earlier request, whose
	 * completion was missed, as then was the issue of this one. */
	seen = slot && slot_covers(*(volatile __u64 *)slot, first, count);
	/* A write that failed may still land later: it is read again. One whose
	 * slot is not live was issued before anybody looked (tracking had not
	 * begun, or its issue was missed) and has landed just now, before its
	 * writer is told. */
	if ((c->failed || !seen || without_issue_mark) && inside) {
		if (c->failed)
			count_event(vol, error_completions);
		mark_active(&f, first, count);
	}
	if (c->last && slot)
		*(volatile __u64 *)slot = 0;
	return 0;
}

/*
 * A command that may write does so until it ends: what was read meanwhile is to
 * be read again. It ends without bytes, too.
 */
static __always_inline void command_done(const struct us_disk *d,
					 struct request *rq)
{
	__u32 i;

	probe_completions(d);
	if (passthrough_is_harmless(rq))
		return;
	for_each_volume(d, i)
		count_event(d->volume[i], passthrough);
}

static __always_inline int request_done(struct request *rq, int error,
					 unsigned int nr_bytes)
{
	struct done c = {};
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 op, i;

	d = disk_entry(request_disk(rq), &diskseq);
	if (!d || diskseq != d->diskseq)
		return 0;
	op = request_op(rq);
	if (op >= OP_DRV_IN) {
		command_done(d, rq);
		return 0;
	}
	/* The end of a flush sequence completes once more with no bytes. */
	if (!nr_bytes)
		return 0;
	if (!op_modifies(op)) {
		probe_completions(d);
		return 0;
	}
	c.sector = rq->__sector;
	c.n_sectors = rq->__data_len >> SECTOR_SHIFT;
	c.queue = rq->mq_hctx->queue_num;
	c.tag = rq->tag;
	c.failed = error ? nr_bytes >> SECTOR_SHIFT : 0;
	c.last = nr_bytes >= rq->__data_len;
	if (op_is_discard(op))
		discard_hull((__u64)rq->bio, &c.sector, &c.n_sectors);
	for_each_volume(d, i)
		complete_one(d->volume[i], &c);
	return 0;
}

#endif
