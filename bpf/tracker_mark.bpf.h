/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_MARK_H
#define BPF_TRACKER_MARK_H

/*
 * Marking a range of blocks: leaf bits, then summary bits, then the flip count
 * again (invariants 1 and 2 of tracker.bpf.c). Shared by what takes requests
 * and what takes bios.
 */

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

/* Is it live, and of these blocks and perhaps more? */
static __always_inline bool slot_covers(__u64 slot, __u64 first, __u64 count)
{
	__u64 from = us_slot_first(slot), n = us_slot_count(slot);

	if (!(slot & US_SLOT_LIVE))
		return false;
	return !count || (first >= from && (n == US_SLOT_COUNT_MAX ||
					    first + count <= from + n));
}

/*
 * A slot is taken over; a live one lost its completion (invariant 3). One that
 * is what it becomes is the second program's, for the same write.
 */
static __always_inline void slot_replaced(const struct found *f, __u64 old,
					  __u64 now)
{
	if (!(old & US_SLOT_LIVE) || old == now)
		return;
	count_event(f->vol, lost_completions);
	mark_active(f, us_slot_first(old), us_slot_count(old));
}

/* The entry of a disk, and the sequence number that it has now. */
static __always_inline struct us_disk *disk_entry(struct gendisk *disk,
						  __u64 *diskseq)
{
	__u64 key;

	if (!disk)
		return NULL;
	key = (__u64)disk->major << 32 | (__u32)disk->first_minor;
	*diskseq = disk->diskseq;
	return bpf_map_lookup_elem(&disks, &key);
}

#define for_each_volume(d, i) \
	for ((i) = 0; (i) < US_VOLUMES_PER_DISK && (i) < (d)->n_volumes; (i)++)

/* Another disk under its number: none of its volumes is that any more. */
static __always_inline void count_other_disk(const struct us_disk *d)
{
	__u32 i;

	for_each_volume(d, i)
		count_event(d->volume[i], other_disk);
}

static __always_inline void probe_completions(const struct us_disk *d)
{
	struct us_volume *v;
	__u32 i, vol;

	for_each_volume(d, i) {
		vol = d->volume[i];
		v = bpf_map_lookup_elem(&volumes, &vol);
		if (v && v->probing)
			count_event(vol, probe_completions);
	}
}

#endif
