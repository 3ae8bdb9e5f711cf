// SPDX-License-Identifier: Apache-2.0
/*
 * A volume that has grown goes on without a hole. It gets a second entry with
 * words of the new size, and its disk names both; once no program runs that
 * saw only the first (a grace period of RCU), whatever is known in the first
 * alone is taken over, and the first one goes:
 *
 * - marks of both generations and pending become pending. Both generations,
 *   since it is not known here how far the last process came.
 * - requests in flight keep their slot, so that their blocks are carried. One
 *   whose slot in the new words is taken has ended: its tag was used again.
 *   If it ends while its slot is copied, the copy is taken back; one that
 *   stays behind all the same costs repeated reads until its tag is used.
 * - what lies past the old end is pending. So is a block that the old end cut.
 *
 * The new entry is not taken for continuous by anybody until all of this is
 * done: a process that dies in between leaves a hole, and is compared.
 *
 * Under the host's lock; the words are shared with the marker.
 */
#include "tracker/tracker_grow.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "tracker/tracker_volume.h"

#define BITS_PER_WORD 64U

static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void set_pending(struct tracker_words *w, uint64_t block)
{
	if (block < w->n_blocks)
		__atomic_or_fetch(&w->pending[block / BITS_PER_WORD],
				  1ULL << block % BITS_PER_WORD,
				  __ATOMIC_SEQ_CST);
}

static void widen_bits(const uint64_t *words, uint64_t n_words,
		       struct tracker_words *to, uint32_t coarser)
{
	uint64_t i, bits;

	for (i = 0; i < n_words; i++) {
		bits = load(&words[i]);
		if (!coarser && bits)
			__atomic_or_fetch(&to->pending[i], bits,
					  __ATOMIC_SEQ_CST);
		for (; coarser && bits; bits &= bits - 1)
			set_pending(to, (i * BITS_PER_WORD + (uint64_t)
					 __builtin_ctzll(bits)) >> coarser);
	}
}

static uint64_t widen_slot(const struct tracker_words *from, uint64_t slot,
			   uint32_t coarser)
{
	uint64_t first = us_slot_first(slot), count = us_slot_count(slot);
	uint64_t last;

	/* Beside what was the volume, or up to its end: perhaps in what has
	 * come, of which the old entry knew nothing. */
	if (!count)
		return us_slot_pack((from->n_blocks - 1) >> coarser,
				    US_SLOT_COUNT_MAX);
	if (first + count >= from->n_blocks)
		count = US_SLOT_COUNT_MAX;
	if (!coarser || count == US_SLOT_COUNT_MAX)
		return us_slot_pack(first >> coarser, count);
	last = (first + count - 1) >> coarser;
	return us_slot_pack(first >> coarser, last - (first >> coarser) + 1);
}

static bool exchange(uint64_t *p, uint64_t was, uint64_t is)
{
	return __atomic_compare_exchange_n(p, &was, is, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void widen_requests(const struct tracker_words *from,
			   struct tracker_words *to, uint32_t coarser)
{
	uint64_t i, slot, copy;

	for (i = 0; i < from->n_slots; i++) {
		slot = load(&from->slots[i]);
		if (!(slot & US_SLOT_LIVE))
			continue;
		copy = widen_slot(from, slot, coarser);
		if (exchange(&to->slots[i], 0, copy) &&
		    load(&from->slots[i]) != slot)
			(void)exchange(&to->slots[i], copy, 0);
	}
}

static bool has_bio(const struct us_bio_set *s, uint64_t bio)
{
	unsigned int i;

	for (i = 0; i < US_BIO_WAYS; i++)
		if (load((const uint64_t *)&s->bio[i]) == bio)
			return true;
	return false;
}

/* Key first, then range, as the programs do. One that ends between the two is
 * counted as one that nobody saw begin. */
static void widen_bio(const struct tracker_words *words,
		      const struct us_bio_set *from, unsigned int way,
		      struct us_bio_set *to, uint32_t coarser)
{
	uint64_t bio = load((const uint64_t *)&from->bio[way]);
	uint64_t range = load((const uint64_t *)&from->range[way]), copy;
	unsigned int i;

	if (!bio || !(range & US_SLOT_LIVE) || has_bio(to, bio))
		return;
	copy = widen_slot(words, range, coarser);
	for (i = 0; i < US_BIO_WAYS; i++)
		if (exchange((uint64_t *)&to->bio[i], 0, bio))
			break;
	if (i == US_BIO_WAYS)
		return;
	(void)exchange((uint64_t *)&to->range[i], 0, copy);
	if (load((const uint64_t *)&from->bio[way]) == bio)
		return;
	(void)exchange((uint64_t *)&to->range[i], copy, 0);
	(void)exchange((uint64_t *)&to->bio[i], bio, 0);
}

static void widen_bios(const struct tracker_words *from,
		       struct tracker_words *to, uint32_t coarser)
{
	const struct us_bio_set *a = (const void *)from->slots;
	struct us_bio_set *b = (void *)to->slots;
	unsigned int set, way;

	for (set = 0; set < US_BIO_SETS; set++)
		for (way = 0; way < US_BIO_WAYS; way++)
			widen_bio(from, &a[set], way, &b[set],
				  coarser);
}

void words_widen(const struct tracker_words *from, struct tracker_words *to,
		 uint32_t coarser, uint64_t first_new)
{
	uint64_t b;

	/* In any order: nothing is read of the device until all is here. */
	if (from->bio_sets)
		widen_bios(from, to, coarser);
	else
		widen_requests(from, to, coarser);
	widen_bits(from->leaf[0], from->n_leaf_words, to, coarser);
	widen_bits(from->leaf[1], from->n_leaf_words, to, coarser);
	widen_bits(from->pending, from->n_leaf_words, to, coarser);
	for (b = first_new; b < to->n_blocks && b % BITS_PER_WORD; b++)
		set_pending(to, b);
	for (; b + BITS_PER_WORD <= to->n_blocks; b += BITS_PER_WORD)
		__atomic_store_n(&to->pending[b / BITS_PER_WORD], UINT64_MAX,
				 __ATOMIC_SEQ_CST);
	for (; b < to->n_blocks; b++)
		set_pending(to, b);
}

bool grow_is_possible(const struct us_volume *a, const struct us_volume *b)
{
	return a->disk_key == b->disk_key && a->diskseq == b->diskseq &&
	       a->start_sector == b->start_sector &&
	       a->n_sectors < b->n_sectors &&
	       a->block_shift <= b->block_shift &&
	       a->n_queues == b->n_queues && a->n_tags == b->n_tags &&
	       a->by_bio == b->by_bio;
}

void grow_carry_losses(const struct us_counters *from,
		       const struct us_seen *from_seen,
		       struct us_counters *to, struct us_seen *to_seen)
{
	const uint64_t *count = (const uint64_t *)from;
	const uint64_t *seen = (const uint64_t *)&from_seen->counters;
	uint64_t *sum = (uint64_t *)to;
	size_t i;

	for (i = 0; i < sizeof(*from) / sizeof(uint64_t); i++)
		__atomic_add_fetch(&sum[i], load(&count[i]) - seen[i],
				   __ATOMIC_SEQ_CST);
	memcpy(to_seen->unseen, from_seen->unseen, sizeof(to_seen->unseen));
}

/* Maps the words of an entry that is there: to be given back with tracked_free(). */
static struct volume_tracker *map_old(struct tracker_host *h,
				      const struct uuid *volume,
				      uint32_t index)
{
	struct volume_tracker *old = calloc(1, sizeof(*old));
	struct us_volume shape = h->volumes[index];

	if (!old)
		return NULL;
	old->h = h;
	old->volume = *volume;
	old->pages_bytes = tracked_lay_out(&shape) * sizeof(uint64_t);
	old->pending_bytes = tracked_pending_bytes(&shape);
	if (!tracked_enter_adopted(old, index))
		return old;
	tracked_free(old);
	return NULL;
}

/* The second entry, marked beside the first from when this returns 0: no
 * program runs any more that saw only the first. */
static int name_second(struct volume_tracker *vt, struct us_volume *want,
		       int *pages_fd, int *pending_fd, struct err *err)
{
	struct tracker_host *h = vt->h;
	int r = host_free_entry(h);

	if (r < 0)
		return r;
	vt->index = (uint32_t)r;
	tracked_choose_group(vt, want);
	want->used = VOLUME_WIDENED;
	memset(&h->counters[vt->index], 0, sizeof(h->counters[0]));
	memset(&h->seen[vt->index], 0, sizeof(h->seen[0]));
	r = host_words_maps((uint32_t)(vt->pages_bytes / US_PAGE_BYTES),
			    (uint32_t)(vt->pending_bytes / US_PAGE_BYTES),
			    pages_fd, pending_fd, err);
	if (!r && bpf_map_update_elem(h->fds.pages, &vt->index, pages_fd,
				      BPF_ANY))
		r = -errno;
	if (!r)
		r = tracked_map(vt, want, *pages_fd, *pending_fd);
	if (r)
		return r;
	h->volumes[vt->index] = *want;
	r = host_disk_add(h, want, vt->index);
	/* The kernel ends an update of this sort of map with a grace period. */
	if (!r && bpf_map_update_elem(h->fds.pages, &vt->index, pages_fd,
				      BPF_ANY))
		r = -errno;
	if (r)
		host_forget_entry(h, vt->index);
	return r;
}

int tracked_enter_grown(struct volume_tracker *vt, uint32_t from,
		       struct us_volume *want, struct err *err)
{
	struct tracker_host *h = vt->h;
	const struct us_volume *was = &h->volumes[from];
	struct volume_tracker *old = map_old(h, &vt->volume, from);
	_cleanup_close_ int pages_fd = -1, pending_fd = -1;
	char pages[64], pending[64];
	int r;

	if (!old)
		return -ENOENT;
	r = name_second(vt, want, &pages_fd, &pending_fd, err);
	if (!r) {
		grow_carry_losses(&h->counters[from], &h->seen[from],
				  &h->counters[vt->index],
				  &h->seen[vt->index]);
		words_widen(&old->words, &vt->words,
			    want->block_shift - was->block_shift,
			    was->n_sectors >> want->block_shift);
		/* Never two that a later process could adopt, and never one
		 * with the other's words. */
		host_forget_entry(h, from);
		tracked_pin_names(&vt->volume, pages, pending);
		r = pins_put(h->dir, pages, pages_fd);
		if (!r)
			r = pins_put(h->dir, pending, pending_fd);
		if (!r)
			h->volumes[vt->index].used = VOLUME_USED;
		else
			host_drop_entry(h, vt->index);
	}
	if (r)
		tracked_unmap(vt);
	tracked_free(old);
	return r;
}
