// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The tracker: marks which blocks of protected volumes may have been written.
 *
 * One program per tracepoint, since a program that nests in itself on a CPU
 * is skipped by the kernel:
 *   on_issue     a request is about to reach the driver: a write may begin
 *   on_complete  the driver is done with it
 *
 * Invariants (the proof is in docs/consistency.md):
 *  1. on_issue exchanges the in-flight slot first (a full barrier), then sets
 *     leaf bits, then summary bits, then reads the flip count again and marks
 *     once more when it moved. Nothing of this may be reordered.
 *  2. A bit may be left alone only when that very bit is set already.
 *  3. A slot found live at reuse means a completion went unseen. Its range is
 *     marked again: a precaution, since the slot kept it carried until now.
 *  4. A completion whose slot is not live is that of an issue nobody saw: it
 *     is marked, or a write under way when tracking began would be lost.
 *  5. Nothing is dropped in silence: whatever cannot be marked exactly is
 *     counted, and the daemon acts on the counter before the next point.
 *
 * Bio-based devices would add two programs (block_bio_queue,
 * block_bio_complete) that share mark_range() and keep their slots by bio.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tracker_abi.h"
#include "tracker_compat.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define DISCARD_RANGES_MAX 1024
#define SECTOR_SHIFT 9
#define WORD_SHIFT 6
#define ALL_ONES (~0ULL)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, US_MAX_DISKS);
	__type(key, __u64);
	__type(value, struct us_disk);
} disks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__type(value, struct us_volume);
} volumes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__type(value, struct us_group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__type(value, struct us_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__type(value, struct us_stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__type(value, struct us_seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct us_info);
} info SEC(".maps");

struct pages_of_volume {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, US_PAGE_BYTES);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, US_MAX_VOLUMES);
	__type(key, __u32);
	__array(values, struct pages_of_volume);
} pages SEC(".maps");

/*
 * Guards of the cut, switched off only in builds that must be refuted by the
 * oracle (see tests/root). Constant in production; the verifier prunes them.
 */
const volatile bool without_reread = false;
const volatile bool without_issue_mark = false;
/* Widens the window between reading the flip count and marking, so that a race
 * of nanoseconds is met in seconds; turns of an empty loop. */
const volatile __u32 window_turns = 0;

#define count_event(vol, field)                                       \
	do {                                                          \
		__u32 count_key_ = (vol);                             \
		struct us_counters *count_c_ =                        \
			bpf_map_lookup_elem(&counters, &count_key_);  \
		if (count_c_)                                         \
			__sync_fetch_and_add(&count_c_->field, 1);    \
	} while (0)

/* The map of a volume's words, for word_at; or NULL. */
static __always_inline void *words_of(__u32 vol)
{
	return bpf_map_lookup_elem(&pages, &vol);
}

static __always_inline __u64 *word_at(void *words, __u64 word)
{
	__u32 page = word / US_PAGE_WORDS;
	struct us_page *p;

	if (!words)
		return NULL;
	p = bpf_map_lookup_elem(words, &page);
	if (!p)
		return NULL;
	return &p->words[word % US_PAGE_WORDS];
}

/*
 * An OR that nothing later may overtake. On x86 every locked instruction is
 * that; elsewhere only the form that gives the old value back is.
 */
static __always_inline void or_in_order(__u64 *p, __u64 mask)
{
#ifdef __TARGET_ARCH_x86
	__sync_fetch_and_or(p, mask);
#else
	__u64 old = __sync_fetch_and_or(p, mask);

	asm volatile("" : : "r"(old));
#endif
}

static __always_inline int set_bits(void *words, __u64 word, __u64 mask)
{
	__u64 *p = word_at(words, word);

	if (!p)
		return -1;
	if ((*(volatile __u64 *)p & mask) != mask)
		or_in_order(p, mask);
	return 0;
}

struct mark_ctx {
	__u64 leaf_word;
	__u64 summary_word;
	__u64 first;			/* block */
	__u64 last;			/* block, included */
	__u32 vol;
	__u32 failed;
};

/* One leaf word of a range, and its summary bit after it. */
static long mark_word(__u32 i, void *arg)
{
	struct mark_ctx *c = arg;
	__u64 word = (c->first >> WORD_SHIFT) + i;
	__u64 lo = word << WORD_SHIFT;
	__u64 mask = ALL_ONES;
	void *words = words_of(c->vol);

	if (c->first > lo)
		mask &= ALL_ONES << (c->first & 63);
	if (c->last < lo + 63)
		mask &= ALL_ONES >> (63 - (c->last & 63));
	if (set_bits(words, c->leaf_word + word, mask) ||
	    set_bits(words, c->summary_word + (word >> WORD_SHIFT),
		     1ULL << (word & 63))) {
		c->failed = 1;
		return 1;
	}
	return 0;
}

/* Mark blocks [first, first + count) in the generation of this flip count. */
__noinline int mark_range(__u32 vol, __u64 flips, __u64 first, __u64 count)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);
	struct mark_ctx c = { .vol = vol, .first = first };
	__u64 n_words;

	if (!v || first >= v->n_blocks || !count)
		return 0;
	if (count > v->n_blocks - first)
		count = v->n_blocks - first;
	c.last = first + count - 1;
	c.leaf_word = flips & 1 ? v->leaf_word[1] : v->leaf_word[0];
	c.summary_word = flips & 1 ? v->summary_word[1] : v->summary_word[0];
	n_words = (c.last >> WORD_SHIFT) - (first >> WORD_SHIFT) + 1;
	if (n_words == 1)
		mark_word(0, &c);
	else if (bpf_loop(n_words, mark_word, &c, 0) < 0)
		c.failed = 1;
	if (c.failed)
		count_event(vol, map_errors);
	return 0;
}

/*
 * What a caller has looked up, so that a mark need not again: for a write of
 * few blocks that was a seventh of its cost. words may be NULL.
 */
struct found {
	const struct us_volume *v;
	void *words;
	__u32 vol;
};

/* Blocks that share a leaf word, as those of nearly every write do. */
static __always_inline void mark_word_of(const struct found *f, __u64 flips,
					 __u64 first, __u64 count)
{
	const struct us_volume *v = f->v;
	__u64 leaf = flips & 1 ? v->leaf_word[1] : v->leaf_word[0];
	__u64 summary = flips & 1 ? v->summary_word[1] : v->summary_word[0];
	__u64 word = first >> WORD_SHIFT;
	__u64 mask = ALL_ONES >> (64 - count) << (first & 63);

	if (set_bits(f->words, leaf + word, mask) ||
	    set_bits(f->words, summary + (word >> WORD_SHIFT),
		     1ULL << (word & 63)))
		count_event(f->vol, map_errors);
}

static __always_inline void mark_found(const struct found *f, __u64 flips,
				       __u64 first, __u64 count)
{
	if (f->words && count - 1 <= 63 - (first & 63) &&
	    first + count <= f->v->n_blocks)
		mark_word_of(f, flips, first, count);
	else
		mark_range(f->vol, flips, first, count);
}

static __always_inline __u64 read_flips(__u32 group)
{
	struct us_group *g = bpf_map_lookup_elem(&groups, &group);

	return g ? *(volatile __u64 *)&g->flips : 0;
}

static long empty_turn(__u32 i, void *arg)
{
	return 0;
}

/* Mark in the active generation, and again when it moved meanwhile. */
static __always_inline void mark_active(const struct found *f, __u64 first,
					__u64 count)
{
	__u64 before = read_flips(f->v->group);
	__u64 after;

	if (window_turns)
		bpf_loop(window_turns, empty_turn, NULL, 0);
	mark_found(f, before, first, count);
	if (without_reread)
		return;
	after = read_flips(f->v->group);
	if (after != before)
		mark_found(f, after, first, count);
}

/*
 * The part of sectors [sector, sector + n) that lies in the volume, as blocks.
 * False when there is none.
 */
static __always_inline bool clip(const struct us_volume *v, __u64 sector,
				 __u64 n, __u64 *first, __u64 *count)
{
	__u64 lo = sector > v->start_sector ? sector : v->start_sector;
	__u64 end = v->start_sector + v->n_sectors;
	__u64 hi = sector + n < end ? sector + n : end;
	__u32 shift = v->block_shift & 63;

	if (lo >= hi)
		return false;
	*first = (lo - v->start_sector) >> shift;
	*count = ((hi - 1 - v->start_sector) >> shift) - *first + 1;
	return true;
}

/* The request's slot in this volume's registry, or NULL (counted). */
static __always_inline __u64 *slot_of(const struct found *f, __u32 queue,
				      __u32 tag)
{
	if (queue >= f->v->n_queues || tag >= f->v->n_tags)
		return NULL;
	return word_at(f->words,
		       f->v->slot_word + (__u64)queue * f->v->n_tags + tag);
}

/* A slot is taken over; a live one lost its completion (invariant 3). */
static __always_inline void slot_replaced(const struct found *f, __u64 old)
{
	if (!(old & US_SLOT_LIVE))
		return;
	count_event(f->vol, lost_completions);
	mark_active(f, us_slot_first(old), us_slot_count(old));
}

/* What on_issue hands to each volume of the disk. */
struct start {
	__u64 sector;			/* hull of the request */
	__u64 n_sectors;
	__u64 bio;			/* of a discard: walked, 0 otherwise */
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
	__u64 first = 0, count = 0, old;
	bool inside = clip(v, q->sector, q->n_sectors, &first, &count);

	if (!slot) {
		if (inside)
			count_event(vol, slot_overflows);
	} else {
		old = __sync_lock_test_and_set(
			slot, inside ? us_slot_pack(first, count) : 0);
		slot_replaced(&f, old);
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
		slot_replaced(&f, __sync_lock_test_and_set(slot, 0));
}

static __always_inline void count_write(__u32 vol, __u64 n_sectors)
{
	struct us_stats *s = bpf_map_lookup_elem(&stats, &vol);

	if (!s)
		return;
	s->issues++;
	s->sectors += n_sectors;
}

/* Everything one request means to one volume of its disk. Verified alone. */
__noinline int issue_one(__u32 vol, __u32 op, const struct start *q)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);

	if (!v || !q || !v->used)
		return 0;
	if (v->probing)
		count_event(vol, probe_issues);
	if (op >= OP_DRV_IN) {
		count_event(vol, passthrough);
		issue_other(v, vol, q);
	} else if (op_modifies(op)) {
		issue_write(v, vol, q);
		count_write(vol, q->n_sectors);
	} else {
		issue_other(v, vol, q);
	}
	return 0;
}

/*
 * A discard that was merged out of several ranges sums their lengths into one
 * request whose own range is wrong; the hull of its bios is right.
 */
static __always_inline void discard_hull(__u64 bio, __u64 *sector,
					 __u64 *n_sectors)
{
	struct walk_ctx hull = { .bio = bio, .lo = ALL_ONES };

	bpf_loop(DISCARD_RANGES_MAX, walk_bio, &hull, 0);
	if (hull.hi <= hull.lo)
		return;
	*sector = hull.lo;
	*n_sectors = hull.hi - hull.lo;
}

static __always_inline struct us_disk *disk_of(struct request *rq, __u64 *seq)
{
	struct gendisk *disk = request_disk(rq);
	__u64 key;

	if (!disk)
		return NULL;
	key = (__u64)disk->major << 32 | (__u32)disk->first_minor;
	*seq = disk->diskseq;
	return bpf_map_lookup_elem(&disks, &key);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *rq)
{
	struct start q = {};
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 op, i;

	d = disk_of(rq, &diskseq);
	if (!d)
		return 0;
	op = request_op(rq);
	q.sector = rq->__sector;
	q.n_sectors = rq->__data_len >> SECTOR_SHIFT;
	q.queue = rq->mq_hctx->queue_num;
	q.tag = rq->tag;
	if (op_is_discard(op)) {
		q.bio = (__u64)rq->bio;
		discard_hull(q.bio, &q.sector, &q.n_sectors);
	}
	for (i = 0; i < US_VOLUMES_PER_DISK; i++) {
		if (i >= d->n_volumes)
			break;
		if (diskseq != d->diskseq) {
			count_event(d->volume[i], other_disk);
			continue;
		}
		issue_one(d->volume[i], op, &q);
	}
	return 0;
}

struct done {
	__u64 sector;
	__u64 n_sectors;
	__u32 queue;
	__u32 tag;
	__u32 failed;
	__u32 last;			/* nothing of the request remains */
};

__noinline int complete_one(__u32 vol, const struct done *c)
{
	struct us_volume *v = bpf_map_lookup_elem(&volumes, &vol);
	struct found f = { .v = v, .vol = vol };
	__u64 first, count, *slot;
	bool seen;

	if (!v || !c || !v->used)
		return 0;
	f.words = words_of(vol);
	slot = slot_of(&f, c->queue, c->tag);
	seen = slot && *(volatile __u64 *)slot & US_SLOT_LIVE;
	/* A write that failed may still land later: it is read again. One whose
	 * slot is not live was issued before anybody looked (tracking had not
	 * begun, or its issue was missed) and has landed just now, before its
	 * writer is told. */
	if ((c->failed || !seen || without_issue_mark) &&
	    clip(v, c->sector, c->n_sectors, &first, &count)) {
		if (c->failed)
			count_event(vol, error_completions);
		mark_active(&f, first, count);
	}
	if (c->last && slot)
		*(volatile __u64 *)slot = 0;
	return 0;
}

static __always_inline void probe_completions(const struct us_disk *d)
{
	struct us_volume *v;
	__u32 i, vol;

	for (i = 0; i < US_VOLUMES_PER_DISK; i++) {
		if (i >= d->n_volumes)
			break;
		vol = d->volume[i];
		v = bpf_map_lookup_elem(&volumes, &vol);
		if (v && v->probing)
			count_event(vol, probe_completions);
	}
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *rq, int error, unsigned int nr_bytes)
{
	struct done c = {};
	struct us_disk *d;
	__u64 diskseq = 0;
	__u32 op, i;

	d = disk_of(rq, &diskseq);
	if (!d || diskseq != d->diskseq)
		return 0;
	op = request_op(rq);
	/* The end of a flush sequence completes once more with no bytes. */
	if (!nr_bytes)
		return 0;
	if (op >= OP_DRV_IN || !op_modifies(op)) {
		probe_completions(d);
		return 0;
	}
	c.sector = rq->__sector;
	c.n_sectors = rq->__data_len >> SECTOR_SHIFT;
	c.queue = rq->mq_hctx->queue_num;
	c.tag = rq->tag;
	c.failed = error != 0;
	c.last = nr_bytes >= rq->__data_len;
	if (op_is_discard(op))
		discard_hull((__u64)rq->bio, &c.sector, &c.n_sectors);
	for (i = 0; i < US_VOLUMES_PER_DISK; i++) {
		if (i >= d->n_volumes)
			break;
		complete_one(d->volume[i], &c);
	}
	return 0;
}
