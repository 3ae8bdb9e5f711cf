/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_HOST_INTERNAL_H
#define TRACKER_TRACKER_HOST_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "tracker/tracker_host.h"
#include "tracker/tracker_pins.h"

#include "tracker_abi.h"

/*
 * Shared by tracker_host.c (the set), tracker_hooks.c and tracker_unseen.c
 * (its programs) and tracker_volume.c (one of it).
 */
struct hook {
	int link_fd;			/* -1: not attached */
	int prog_fd;
};

enum family_no { FAMILY_REQUESTS, FAMILY_BIOS, FAMILIES };

/* What the loaded programs are to be told of this kernel, and what it needs. */
struct kernel_ways {
	uint32_t trace_flag_bit;	/* 64: unknown */
	bool interrupts_programs;
};

/* The maps that all volumes share. */
struct host_fds {
	int disks, volumes, groups, counters, stats, seen, info, pages, commands;
};

struct tracker_host {
	pthread_mutex_t lock;		/* everything below */
	struct uuid node;
	char state_dir[US_INFO_PATH];
	char dir[PINS_PATH_MAX];
	struct tracker_bpf *skel;	/* NULL: a helper has it */
	struct tracker_bpf *bios_skel;	/* what was loaded for bios later */
	struct kernel_ways ways;
	struct tracker_host_config switches;	/* only those of tests */
	const char *bpffs;		/* NULL: the usual place */
	struct hook hooks[US_HOOKS];
	int pairs_fd[FAMILIES];		/* what their copies count; or -1 */
	uint64_t pins_restored;		/* that somebody had taken away */
	bool commands_told;		/* with these drivers, see commands_drivers */
	uint32_t drivers_told;
	struct host_fds fds;		/* the skeleton's, or our own */
	bool owns_fds;
	struct us_volume *volumes;	/* shared memory, US_MAX_VOLUMES each */
	struct us_group *groups;	/* US_MAX_GROUPS */
	struct us_counters *counters;
	struct us_seen *seen;
	size_t volumes_bytes, groups_bytes, counters_bytes, seen_bytes;
};

size_t host_page_align(size_t n);
/* Loads these programs, into the maps that are pinned. */
int host_load(struct tracker_host *h, uint32_t want, struct tracker_bpf **out,
	      struct err *err);
/* Tells the programs where the drivers of this moment keep commands. Not under
 * the lock. */
void host_tell_commands(struct tracker_host *h);
/* Opens what a helper pins; what was opened is closed with the host. */
int host_open_pinned(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err);
/* The two maps of a volume's words, of so many pages. */
int host_words_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
		    int *pending_fd, struct err *err);

/* tracker_entry.c: the number of a volume's entry, or of a free one; or
 * -ENOENT, -ENOSPC. */
int host_find_entry(const struct tracker_host *h, const struct uuid *volume);
int host_free_entry(const struct tracker_host *h);
/* Its disk names it from now on. 0; -EMLINK: the disk has as many as it can;
 * other negative errno. */
int host_disk_add(struct tracker_host *h, const struct us_volume *v,
		  uint32_t index);
bool host_disk_names(struct tracker_host *h, uint32_t index);
/* No more tracked; what is pinned of the volume stays. */
void host_forget_entry(struct tracker_host *h, uint32_t index);
/* Those of a volume that a process left while it grew. */
void host_forget_widened(struct tracker_host *h, const struct uuid *volume);
/* No more tracked, pins gone; nothing when it is not in use. */
/* us_volume.group, wanted: that of its own number. */
#define GROUP_OWN UINT32_MAX
/* The number of a group of several volumes, which may be new. -ENOSPC. */
int host_find_group(struct tracker_host *h, const struct uuid *group);
void host_drop_entry(struct tracker_host *h, uint32_t index);

/* tracker_hooks.c. Masks have a bit for each copy of each kind. */
#define HOOK_BIT(h) (1U << (h))
/* Times the bit of a kind: all its copies. */
#define COPIES_OF_ONE                                                     \
	(HOOK_BIT(0) | HOOK_BIT(US_HOOK_COPY(0, 1)) |                     \
	 HOOK_BIT(US_HOOK_COPY(0, 2)))
#define HOOKS_OF_REQUESTS                                                 \
	((HOOK_BIT(US_HOOK_ISSUE) | HOOK_BIT(US_HOOK_COMPLETE)) *         \
	 COPIES_OF_ONE)
#define HOOKS_OF_BIOS                                                     \
	((HOOK_BIT(US_HOOK_BIO_QUEUE) | HOOK_BIT(US_HOOK_BIO_COMPLETE)) * \
	 COPIES_OF_ONE)
/* What a kernel whose programs can be interrupted needs beside the first. */
#define HOOKS_FURTHER                                                     \
	((HOOKS_OF_REQUESTS | HOOKS_OF_BIOS) & ~(HOOK_BIT(US_HOOK_KINDS) - 1U))

static inline enum family_no hook_family(int kind)
{
	return HOOK_BIT(kind) & HOOKS_OF_BIOS ? FAMILY_BIOS : FAMILY_REQUESTS;
}

/* The kind that sees a volume's writes begin. */
static inline int volume_begin(const struct us_volume *v)
{
	return v->by_bio ? US_HOOK_BIO_QUEUE : US_HOOK_ISSUE;
}

void hooks_init(struct hook hooks[US_HOOKS]);
void hooks_drop(struct hook hooks[US_HOOKS]);
/* Only these are to be loaded. */
void hooks_choose(struct tracker_bpf *skel, uint32_t want);
/* Those of mask, which is of whole families: adopted or attached, and pinned;
 * or, when want lacks them, let go. What tracking they make discontinuous is
 * dropped. */
int hooks_attach(struct tracker_host *h, uint32_t mask, uint32_t want,
		 struct err *err);
/* Opens the pins of those of mask; must not be open. */
int hooks_open_pinned(struct tracker_host *h, uint32_t mask, struct err *err);
/* A program's id, or 0; misses and tag may be NULL. */
uint32_t hook_prog_id(int fd, uint64_t *misses, uint8_t tag[8]);
int hook_link_ids(int fd, uint32_t *link_id, uint32_t *prog);
/* The pin of an attached link: 1 when it had to be put back. */
int hook_pin_again(struct tracker_host *h, int hook, bool *was_removed);

/* tracker_unseen.c: events that no copy of the kind has seen; or, for the
 * moment, more. prog_fd is the first copy's, pairs_fd may be -1. */
int hook_unseen(int prog_fd, int pairs_fd, int kind, uint64_t *out);
/* Events that another copy than the first has seen, ever. */
uint64_t hooks_caught(struct tracker_host *h, int kind);
bool hooks_are_several(const struct tracker_host *h);
/* The same of each kind that is attached, else 0; and which are not any more.
 * Pins that somebody took away are put back. */
int hooks_examine(struct tracker_host *h, uint64_t unseen[US_HOOK_KINDS],
		  uint32_t *detached);

/* tracker_kernel.c */
void hooks_learn_kernel(struct kernel_ways *out);
/* Those that follow bios, unless they are there already. */
int host_want_bios(struct tracker_host *h, struct err *err);

#endif
