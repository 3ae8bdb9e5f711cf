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
 *
 * Slots of a volume whose device takes requests: one word for each hardware
 * queue and tag. Of one whose device takes bios: US_BIO_SETS sets of
 * US_BIO_WAYS bios, each set all its keys (the bio, 0: free) and then all its
 * ranges.
 */
#define US_TRACKER_LAYOUT 3

#define US_MAX_VOLUMES 256
#define US_MAX_GROUPS (2 * US_MAX_VOLUMES)
#define US_MAX_DISKS 256
#define US_VOLUMES_PER_DISK 16
#define US_PAGE_WORDS 512
#define US_PAGE_BYTES 4096

/* 131,072 bios; nothing bounds how many dm-crypt, for one, has under way. */
#define US_BIO_WAYS 16
#define US_BIO_SETS_SHIFT 13
#define US_BIO_SETS (1U << US_BIO_SETS_SHIFT)
#define US_BIO_SET_WORDS (2 * US_BIO_WAYS)
#define US_BIO_SETS_PER_PAGE (US_PAGE_WORDS / US_BIO_SET_WORDS)

struct us_page {
	__u64 words[US_PAGE_WORDS];
};

struct us_bio_set {
	__u64 bio[US_BIO_WAYS];		/* 0: free; else range[] is of it */
	__u64 range[US_BIO_WAYS];	/* a slot's word, see below */
};

/* disks: key = major << 32 | first minor. */
struct us_disk {
	__u64 diskseq;
	__u32 n_volumes;
	__u32 volume[US_VOLUMES_PER_DISK];
	__u32 by_bio;			/* as of its volumes */
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
	__u32 by_bio;			/* the device takes bios, not requests */
	__u32 reserved;
};

/* groups: a volume without one has that of its own number; those of several
 * volumes come after them and have a name. flips is counted up by the daemon;
 * bit 0 names the active
 * generation. The whole count is compared on the re-read: with the bit alone,
 * two flips between the reads would go unseen. */
struct us_group {
	__u64 flips;
	__u8 uuid[16];			/* zero: of one volume, or free */
	__u64 reserved[5];
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
	__u64 unknown_ends;		/* of bios nobody saw begin */
	__u64 reserved[6];
};

/* stats: per CPU, for status and the comparison with diskstats; of the whole
 * disk, also what lies beside the volume. */
struct us_stats {
	__u64 issues;
	__u64 sectors;			/* of data, as the disk counts them */
	__u64 failed;			/* of them at failed completions */
};

/*
 * The programs. Each has a link and a program that are pinned; what the kernel
 * has skipped of its runs is counted by the kernel. Copies of a kind are called
 * in their order, which is that of their attaching.
 */
enum us_hook {
	US_HOOK_ISSUE,			/* the kinds, and the first copy of each */
	US_HOOK_COMPLETE,
	US_HOOK_BIO_QUEUE,
	US_HOOK_BIO_COMPLETE,
	US_HOOK_KINDS,
};
#define US_HOOK_COPIES 3
#define US_HOOKS (US_HOOK_KINDS * US_HOOK_COPIES)
#define US_HOOK_COPY(kind, copy) ((kind) + (copy) * US_HOOK_KINDS)
#define US_HOOKS_MAX 16

/* pairs, one of each kind: what copies that are not the first have done. */
struct us_pair {
	__u64 caught;			/* events that those before have not seen */
	__u64 unsure;			/* at most so many of them they have */
	__u64 reserved[6];
};

/* stamps: of each kind so many cells, see tracker_pair.bpf.h. */
#define US_STAMP_BITS 17
#define US_STAMPS (US_HOOK_KINDS << US_STAMP_BITS)

/* seen: what of the counters has had its consequence; daemon only. */
struct us_seen {
	struct us_counters counters;
	__u64 unseen[US_HOOK_KINDS];	/* events that no copy has seen */
	__u64 reserved[4];
};

/* info: who these pins belong to; one element; daemon only. */
#define US_INFO_PATH 512
struct us_info {
	__u32 layout;
	__u32 reserved;
	__u8 node[16];
	struct {
		__u32 link_id, prog_id;	/* 0: not attached */
	} hooks[US_HOOKS_MAX];
	char state_dir[US_INFO_PATH];
};

/* commands: where a request's driver keeps the command that somebody sent past
 * the block layer, in bytes from the request; 0: not known. One element. */
struct us_commands {
	__u32 scsi_cdb;
	__u32 scsi_cdb_is_pointer;
	__u32 nvme_command;		/* of a pointer to it */
	__u32 reserved;
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
_Static_assert(sizeof(struct us_volume) == 128, "layout");
_Static_assert(sizeof(struct us_group) == 64, "one cache line a group");
_Static_assert(sizeof(struct us_counters) == 128, "layout");
_Static_assert(US_PAGE_WORDS % US_BIO_SET_WORDS == 0, "sets fill a page");

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
