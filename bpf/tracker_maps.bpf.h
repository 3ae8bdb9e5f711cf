/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_MAPS_H
#define BPF_TRACKER_MAPS_H

/*
 * What the programs share with the daemon (tracker_abi.h says what it means),
 * and the switches that only tests use.
 */

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
	__uint(max_entries, US_MAX_GROUPS);
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
/* The bit of bio.bi_flags that is set from a bio's queueing to its end; above
 * 63: this kernel's is not known. */
const volatile __u32 trace_flag_bit = 64;
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

static __always_inline void count_write(__u32 vol, __u64 n_sectors)
{
	struct us_stats *s = bpf_map_lookup_elem(&stats, &vol);

	if (!s)
		return;
	/* Per CPU, and yet: a program may be interrupted by another. */
	__sync_fetch_and_add(&s->issues, 1);
	__sync_fetch_and_add(&s->sectors, n_sectors);
}

/* A driver may refuse a request before its issue; diskstats count it. */
static __always_inline void count_failed(__u32 vol, __u64 n_sectors)
{
	struct us_stats *s = bpf_map_lookup_elem(&stats, &vol);

	if (s)
		__sync_fetch_and_add(&s->failed, n_sectors);
}

#endif
