/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_ABI_H
#define BPF_TRACKER_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/*
 * What the BPF programs and the daemon share: the layout of the pinned maps.
 * Any change of meaning raises US_TRACKER_LAYOUT; a daemon that finds pins of
 * another layout treats what they tracked as lost.
 *
 * One inner map per volume ("pages") holds everything that is marked, as one
 * run of 64-bit words in elements of one page:
 *
 *   [slots][leaf 0][leaf 1][summary 0][summary 1]
 *
 * each part starting on a page. leaf g has one bit per tracking block for
 * generation g; summary g has one bit per word of leaf g.
 */
#define US_TRACKER_LAYOUT 1

#define US_MAX_VOLUMES 256
#define US_MAX_DISKS 256
#define US_VOLUMES_PER_DISK 16
#define US_PAGE_WORDS 512
#define US_PAGE_BYTES 4096

struct us_page {
	__u64 words[US_PAGE_WORDS];
};

/* disks: key = major << 32 | first minor. */
struct us_disk {
	__u64 diskseq;
	__u32 n_volumes;
	__u32 volume[US_VOLUMES_PER_DISK];
	__u32 reserved;
};

/* volumes: index = volume number. Written by the daemon before the disk entry
 * names it, constant from then on (except probing). */
struct us_volume {
	__u8 uuid[16];
	__u64 disk_key;
	__u64 diskseq;
	__u64 start_sector;		/* on the disk */
	__u64 n_sectors;
	__u64 n_blocks;
	__u64 slot_word;		/* offsets into the volume's pages */
	__u64 leaf_word[2];
	__u64 summary_word[2];
	__u32 n_queues;			/* slots = n_queues * n_tags */
	__u32 n_tags;
	__u32 block_shift;		/* log2(block bytes / 512) */
	__u32 group;
	__u32 used;
	__u32 probing;			/* count what passes, for the self-test */
};

/* groups: flips is counted up by the daemon; bit 0 names the active
 * generation. The whole count is compared on the re-read: with the bit alone,
 * two flips between the reads would go unseen. */
struct us_group {
	__u64 flips;
	__u64 reserved[7];
};

/* counters: rare events, atomically added to by the programs. */
struct us_counters {
	__u64 lost_completions;		/* slot found live at reuse */
	__u64 slot_overflows;		/* request that has no slot */
	__u64 walk_overflows;		/* discard with too many ranges */
	__u64 passthrough;		/* commands that are no reads or writes */
	__u64 other_disk;		/* same number, other diskseq */
	__u64 map_errors;		/* a word that could not be reached */
	__u64 error_completions;	/* failed writes, marked again */
	__u64 probe_issues;
	__u64 probe_completions;
	__u64 reserved[7];
};

/* stats: per CPU, for status and the comparison with diskstats. */
struct us_stats {
	__u64 issues;
	__u64 sectors;
};

/* seen: what of the counters has had its consequence; daemon only. */
struct us_seen {
	struct us_counters counters;
	__u64 issue_misses;
	__u64 complete_misses;
};

/* info: who these pins belong to; one element; daemon only. */
#define US_INFO_PATH 512
struct us_info {
	__u32 layout;
	__u32 reserved;
	__u8 node[16];
	__u32 issue_link_id, issue_prog_id;
	__u32 complete_link_id, complete_prog_id;
	char state_dir[US_INFO_PATH];
};

/*
 * An in-flight slot packs a range of blocks into one word, so that it can be
 * exchanged: bit 63 live, bits 39..62 count (all ones: to the volume's end),
 * bits 0..38 first block.
 */
#define US_SLOT_LIVE (1ULL << 63)
#define US_SLOT_FIRST_BITS 39
#define US_SLOT_FIRST_MASK ((1ULL << US_SLOT_FIRST_BITS) - 1)
#define US_SLOT_COUNT_MAX ((1ULL << 24) - 1)

_Static_assert(sizeof(struct us_page) == US_PAGE_BYTES, "page element");
_Static_assert(sizeof(struct us_volume) == 120, "layout");
_Static_assert(sizeof(struct us_group) == 64, "one cache line a group");
_Static_assert(sizeof(struct us_counters) == 128, "layout");

static inline __u64 us_slot_pack(__u64 first, __u64 count)
{
	if (count > US_SLOT_COUNT_MAX)
		count = US_SLOT_COUNT_MAX;
	return US_SLOT_LIVE | count << US_SLOT_FIRST_BITS |
	       (first & US_SLOT_FIRST_MASK);
}

static inline __u64 us_slot_first(__u64 slot)
{
	return slot & US_SLOT_FIRST_MASK;
}

/* May be US_SLOT_COUNT_MAX: then the range ends with the volume. */
static inline __u64 us_slot_count(__u64 slot)
{
	return slot >> US_SLOT_FIRST_BITS & US_SLOT_COUNT_MAX;
}

#endif
