/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_BIO_H
#define BPF_TRACKER_BIO_H

/*
 * Volumes on a device that takes bios (dm, md, zram, brd): from the queueing
 * of a bio to its end. A bio has no tag, so its slot is found by its address,
 * in one of two sets of a table.
 *
 * What a bio says at its end is not to be believed: dm trims it to the part
 * that was sent last, brd has used it up. So its range is that of its queueing,
 * kept in the slot. The pieces that a driver splits off have ends of their own
 * and were never queued in our sight; they are chained to the bio they are of,
 * or to a larger piece of it, which ends after all of them.
 *
 * A bio that ends and has no slot was queued before anybody looked, or its
 * queueing was missed, or a driver above has sent on a bio that had been queued
 * there already. What it says is marked, and it is counted: where that is not
 * exact, or all from before tracking have ended, the daemon compares everything.
 *
 * A slot whose end was missed keeps its blocks carried. It is taken over by
 * the next bio at that address; and when both sets are full, by any bio, after
 * the kernel's own flag has said that the bio which was there has ended.
 */

#define BIO_HASH 0x9e3779b97f4a7c15ULL
/* How deep pieces of pieces are followed. */
#define BIO_CHAIN_MAX 3

static __always_inline struct us_bio_set *set_at(const struct found *f,
						 __u32 set)
{
	__u32 page = f->v->slot_word / US_PAGE_WORDS +
		     set / US_BIO_SETS_PER_PAGE;
	struct us_page *p;

	if (!f->words)
		return NULL;
	p = bpf_map_lookup_elem(f->words, &page);
	if (!p)
		return NULL;
	return (void *)&p->words[(set & (US_BIO_SETS_PER_PAGE - 1)) *
				 US_BIO_SET_WORDS];
}

static __always_inline __u32 set_of(__u64 bio, bool second)
{
	__u64 hash = bio * BIO_HASH;

	return hash >> (second ? 64 - 2 * US_BIO_SETS_SHIFT
			       : 64 - US_BIO_SETS_SHIFT) & (US_BIO_SETS - 1);
}

static __always_inline int way_of(struct us_bio_set *s, __u64 bio)
{
	int i;

	for (i = 0; i < US_BIO_WAYS; i++)
		if (*(volatile __u64 *)&s->bio[i] == bio)
			return i;
	return -1;
}

/* Its range, live, or 0. */
static __always_inline __u64 range_in(const struct found *f, __u32 set,
				      __u64 bio)
{
	struct us_bio_set *s = set_at(f, set);
	int i = s ? way_of(s, bio) : -1;

	return i < 0 ? 0 : *(volatile __u64 *)&s->range[i & (US_BIO_WAYS - 1)];
}

static __always_inline __u64 range_of(const struct found *f, __u64 bio)
{
	__u64 range = range_in(f, set_of(bio, false), bio);

	return range ? range : range_in(f, set_of(bio, true), bio);
}

/* Somebody for whom there was no room may have taken the slot meanwhile. */
static __always_inline void must_still_have(__u32 vol,
					    const struct us_bio_set *s, int i,
					    __u64 bio)
{
	if (*(volatile __u64 *)&s->bio[i & (US_BIO_WAYS - 1)] != bio)
		count_event(vol, slot_overflows);
}

/* Key first, then range: whoever finds the range finds it complete. */
static __always_inline bool enter(__u32 vol, struct us_bio_set *s, __u64 bio,
				  __u64 range, __u64 *old)
{
	int i = way_of(s, bio);

	if (i >= 0) {
		*old = __sync_lock_test_and_set(
			&s->range[i & (US_BIO_WAYS - 1)], range);
		must_still_have(vol, s, i, bio);
		return true;
	}
	for (i = 0; i < US_BIO_WAYS; i++) {
		if (*(volatile __u64 *)&s->bio[i] ||
		    __sync_val_compare_and_swap(&s->bio[i], 0, bio))
			continue;
		*old = __sync_lock_test_and_set(&s->range[i], range);
		must_still_have(vol, s, i, bio);
		return true;
	}
	return false;
}

/*
 * Has the bio that was at this address ended? The kernel clears the flag at
 * the end; what is there instead of a bio by now proves the end too.
 */
static __always_inline bool has_ended(__u64 bio)
{
	__u64 flags = BPF_CORE_READ((struct bio *)bio, bi_flags);

	return trace_flag_bit < 64 && !(flags >> (trace_flag_bit & 63) & 1);
}

/* Both sets are full: has anything in this one ended unseen? */
__noinline int enter_over(__u32 vol, __u32 set, __u64 bio, __u64 range)
{
	struct found f = { .vol = vol };
	struct us_bio_set *s;
	__u64 was, old;
	int i;

	f.v = bpf_map_lookup_elem(&volumes, &vol);
	if (!f.v)
		return 0;
	f.words = words_of(vol);
	s = set_at(&f, set);
	if (!s)
		return 0;
	for (i = 0; i < US_BIO_WAYS; i++) {
		was = *(volatile __u64 *)&s->bio[i];
		if (!was || !has_ended(was) ||
		    __sync_val_compare_and_swap(&s->bio[i], was, bio) != was)
			continue;
		old = __sync_lock_test_and_set(&s->range[i], range);
		must_still_have(vol, s, i, bio);
		slot_replaced(&f, old, 0);
		return 1;
	}
	return 0;
}

struct queued {
	__u64 bio;
	__u64 sector;
	__u64 n_sectors;
	__u32 op;
	__u32 again;			/* one before it may have entered it */
};

static __always_inline void take_slot(const struct found *f,
				      const struct queued *q, __u64 range)
{
	__u32 first = set_of(q->bio, false), second = set_of(q->bio, true);
	struct us_bio_set *s = set_at(f, first);
	__u64 old = 0;

	/* Not a second one in the other set. */
	if (q->again && range_of(f, q->bio) == range)
		return;
	if (s && enter(f->vol, s, q->bio, range, &old)) {
		slot_replaced(f, old, range);
		return;
	}
	s = set_at(f, second);
	if (s && enter(f->vol, s, q->bio, range, &old)) {
		slot_replaced(f, old, range);
		return;
	}
	if (!enter_over(f->vol, first, q->bio, range) &&
	    !enter_over(f->vol, second, q->bio, range))
		count_event(f->vol, slot_overflows);
}

/* Everything one bio means to one volume of its disk. Verified alone. */
__noinline int queue_one(__u32 vol, const struct queued *q)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);
	struct found f = { .v = v, .vol = vol };
	__u64 first = 0, count = 0, range;
	bool inside;

	if (!v || !q || !v->used)
		return 0;
	if (v->probing)
		count_event(vol, probe_issues);
	if (q->op >= OP_DRV_IN)
		count_event(vol, passthrough);
	if (q->op >= OP_DRV_IN || !op_modifies(q->op))
		return 0;
	f.words = words_of(vol);
	inside = clip(v, q->sector, q->n_sectors, &first, &count);
	/* Also a flush, or a write beside the volume: its end is known. */
	range = inside ? us_slot_pack(first, count) : us_slot_pack(0, 0);
	take_slot(&f, q, range);
	if (inside && !without_issue_mark)
		mark_active(&f, first, count);
	count_write(vol, q->n_sectors);
	return 0;
}

static __always_inline int bio_queued(struct bio *bio, __u32 again)
{
	struct queued q = { .bio = (__u64)bio, .again = again };
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 i;

	d = disk_entry(bio->bi_bdev->bd_disk, &diskseq);
	if (!d || !d->by_bio)
		return 0;
	if (diskseq != d->diskseq) {
		count_other_disk(d);
		return 0;
	}
	q.op = bio->bi_opf & OP_MASK;
	q.sector = bio->bi_iter.bi_sector;
	q.n_sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT;
	for_each_volume(d, i)
		queue_one(d->volume[i], &q);
	return 0;
}

struct ended {
	__u64 bio;
	__u64 chained_to;		/* what a piece is a piece of */
	__u64 sector;			/* what the bio says by now */
	__u64 n_sectors;
	__u32 failed;
};

static __always_inline __u64 leave(const struct found *f, __u32 set, __u64 bio)
{
	struct us_bio_set *s = set_at(f, set);
	int i = s ? way_of(s, bio) : -1;
	__u64 range;

	if (i < 0)
		return 0;
	i &= US_BIO_WAYS - 1;
	range = *(volatile __u64 *)&s->range[i];
	/* The range before the key, which gives the slot away. */
#ifdef __TARGET_ARCH_x86
	*(volatile __u64 *)&s->range[i] = 0;
	*(volatile __u64 *)&s->bio[i] = 0;
#else
	(void)__sync_lock_test_and_set(&s->range[i], 0);
	(void)__sync_lock_test_and_set(&s->bio[i], 0);
#endif
	return range;
}

static __always_inline void end_known(const struct found *f, __u64 range,
				      const struct ended *e)
{
	if (e->failed)
		count_event(f->vol, error_completions);
	/* A write that failed may still land later: it is read again. */
	if (e->failed || without_issue_mark)
		mark_active(f, us_slot_first(range), us_slot_count(range));
}

/*
 * Is it a piece of a bio that has these blocks? A driver may split what was
 * split to its device's limits before (md's raid0 at its chunks), so that a
 * piece may be one of a piece, which was never queued either. What it is
 * chained to cannot end before it does, so it is still a bio.
 */
__noinline int is_piece(__u32 vol, __u64 above, __u64 first, __u64 count)
{
	struct found f = { .vol = vol };
	int i;

	f.v = bpf_map_lookup_elem(&volumes, &vol);
	if (!f.v)
		return 0;
	f.words = words_of(vol);
	for (i = 0; i < BIO_CHAIN_MAX && above; i++) {
		if (slot_covers(range_of(&f, above), first, count))
			return 1;
		above = (__u64)BPF_CORE_READ((struct bio *)above, bi_private);
	}
	return 0;
}

static __always_inline void end_unknown(const struct found *f,
					const struct ended *e)
{
	__u64 first = 0, count = 0;
	bool inside = clip(f->v, e->sector, e->n_sectors, &first, &count);

	/* Siblings are chained, too: only what the other one has is a piece. */
	if (e->n_sectors && is_piece(f->vol, e->chained_to, first, count))
		return;
	if (inside)
		mark_active(f, first, count);
	count_event(f->vol, unknown_ends);
}

/* What remains of a bio at its end lies in what it was; otherwise the slot is
 * that of another one before it, whose end was missed. */
static __always_inline bool has_its_range(const struct found *f, __u64 range,
					  const struct ended *e)
{
	__u64 first = 0, count = 0;

	return !clip(f->v, e->sector, e->n_sectors, &first, &count) ||
	       slot_covers(range, first, count);
}

__noinline int end_one(__u32 vol, const struct ended *e)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);
	struct found f = { .v = v, .vol = vol };
	__u64 range;

	if (!v || !e || !v->used)
		return 0;
	f.words = words_of(vol);
	range = leave(&f, set_of(e->bio, false), e->bio);
	if (!range)
		range = leave(&f, set_of(e->bio, true), e->bio);
	if (range)
		end_known(&f, range, e);
	if (!range || !has_its_range(&f, range, e))
		end_unknown(&f, e);
	return 0;
}

static __always_inline int bio_done(struct bio *bio)
{
	struct ended e = { .bio = (__u64)bio };
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 op, i;

	d = disk_entry(bio->bi_bdev->bd_disk, &diskseq);
	if (!d || !d->by_bio || diskseq != d->diskseq)
		return 0;
	op = bio->bi_opf & OP_MASK;
	if (op >= OP_DRV_IN || !op_modifies(op)) {
		probe_completions(d);
		return 0;
	}
	e.chained_to = (__u64)bio->bi_private;
	e.sector = bio->bi_iter.bi_sector;
	e.n_sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT;
	e.failed = bio->bi_status != 0;
	for_each_volume(d, i)
		end_one(d->volume[i], &e);
	return 0;
}

#endif
