/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_PAIR_H
#define BPF_TRACKER_PAIR_H

/*
 * Since Linux 7.0 a program can be interrupted, and the kernel then leaves it
 * out for whoever comes meanwhile on that processor. There each tracepoint has
 * US_HOOK_COPIES programs, called one after the other for each event: the first
 * does the work, and another one only when those before it were left out.
 *
 * How it knows: who did the work leaves the event's object (request, bio) in a
 * cell that is found by its address, and the last one takes it out again.
 *
 * What all were left out for is counted exactly enough: the kernel's count for
 * the first, less what another one has caught, plus what may only look caught
 * (unsure). The invariant is that this is never less than the truth:
 * - One that catches what the first did do has found its stamp overwritten, and
 *   who overwrites a stamp counts it as unsure.
 * - One that finds an old stamp of the same object, left by an event whose last
 *   program was left out, does nothing: then the kernel has counted, and
 *   nobody caught.
 */

#define STAMP_HASH 0x9e3779b1U

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, US_STAMPS);
	__type(key, __u32);
	__type(value, __u64);
} stamps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, US_HOOK_KINDS);
	__type(key, __u32);
	__type(value, struct us_pair);
} pairs SEC(".maps");

/* Are there others than the first? */
const volatile bool several = false;

#define LAST_COPY (US_HOOK_COPIES - 1)

#define count_pair(kind, field)                                       \
	do {                                                          \
		__u32 pair_key_ = (kind);                             \
		struct us_pair *pair_ =                               \
			bpf_map_lookup_elem(&pairs, &pair_key_);      \
		if (pair_)                                            \
			__sync_fetch_and_add(&pair_->field, 1);       \
	} while (0)

static __always_inline __u64 *stamp_of(__u32 kind, __u64 object)
{
	/* (The verifier lets nobody calculate with all of an address.) */
	__u32 cell = kind << US_STAMP_BITS |
		     (__u32)object * STAMP_HASH >> (32 - US_STAMP_BITS);

	return bpf_map_lookup_elem(&stamps, &cell);
}

/* Has one before this copy seen the event? If not, this one counts as having
 * caught it, and must do the work. */
static __always_inline bool is_seen(__u32 kind, __u32 copy, __u64 object)
{
	__u64 *cell, was;

	if (!several || !copy)
		return false;
	cell = stamp_of(kind, object);
	if (cell) {
		was = copy == LAST_COPY
			? __sync_val_compare_and_swap(cell, object, 0)
			: *(volatile __u64 *)cell;
		if (was == object)
			return true;
	}
	count_pair(kind, caught);
	return false;
}

/* The work is done: those that come after need not. */
static __always_inline void leave_stamp(__u32 kind, __u32 copy, __u64 object)
{
	__u64 *cell, was = 0;

	if (!several || copy == LAST_COPY)
		return;
	cell = stamp_of(kind, object);
	if (cell)
		was = __sync_lock_test_and_set(cell, object);
	if (!cell || (was && was != object))
		count_pair(kind, unsure);
}

#endif
