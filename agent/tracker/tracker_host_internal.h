/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_HOST_INTERNAL_H
#define TRACKER_TRACKER_HOST_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "tracker/tracker_pins.h"

#include "tracker_abi.h"

/*
 * Shared by tracker_host.c (the set), tracker_hooks.c (its programs) and
 * tracker_volume.c (one of it).
 */
struct hook {
	int link_fd;			/* -1: not attached */
	int prog_fd;
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
	const char *bpffs;		/* NULL: the usual place */
	struct hook hooks[US_HOOKS];
	uint64_t pins_restored;		/* that somebody had taken away */
	struct host_fds fds;		/* the skeleton's, or our own */
	bool owns_fds;
	struct us_volume *volumes;	/* shared memory, US_MAX_VOLUMES each */
	struct us_group *groups;	/* US_MAX_GROUPS */
	struct us_counters *counters;
	struct us_seen *seen;
	size_t volumes_bytes, groups_bytes, counters_bytes, seen_bytes;
};

size_t host_page_align(size_t n);
/* Tells the programs where the drivers of this moment keep commands. */
void host_tell_commands(struct tracker_host *h);
/* Opens what a helper pins; what was opened is closed with the host. */
struct tracker_host_config;
int host_open_pinned(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err);
/* The two maps of a volume's words, of so many pages. */
int host_words_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
		    int *pending_fd, struct err *err);

/* tracker_entry.c: the number of a volume's entry, or of a free one; or
 * -ENOENT, -ENOSPC. */
int host_find_entry(const struct tracker_host *h, const struct uuid *volume);
int host_free_entry(const struct tracker_host *h);
/* Its disk names it from now on. 0, -ENOSPC, other negative errno. */
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

/* tracker_hooks.c. Masks have a bit for each enum us_hook. */
#define HOOK_BIT(h) (1U << (h))
#define HOOKS_OF_BIOS                                                     \
	(HOOK_BIT(US_HOOK_BIO_QUEUE) | HOOK_BIT(US_HOOK_BIO_COMPLETE) |   \
	 HOOK_BIT(US_HOOK_BIO_QUEUE_AGAIN))
#define HOOKS_OF_REQUESTS                                                 \
	(HOOK_BIT(US_HOOK_ISSUE) | HOOK_BIT(US_HOOK_COMPLETE) |           \
	 HOOK_BIT(US_HOOK_ISSUE_AGAIN))
/* What a kernel whose programs can be interrupted needs beside the first. */
#define HOOKS_AGAIN                                                       \
	(HOOK_BIT(US_HOOK_ISSUE_AGAIN) | HOOK_BIT(US_HOOK_BIO_QUEUE_AGAIN))

void hooks_init(struct hook hooks[US_HOOKS]);
void hooks_drop(struct hook hooks[US_HOOKS]);
/* Those of mask: adopted or attached, and pinned; or, when want lacks them,
 * let go. What tracking they make discontinuous is dropped. */
int hooks_attach(struct tracker_host *h, uint32_t mask, uint32_t want,
		 struct err *err);
/* Opens the pins of those of mask; must not be open. */
int hooks_open_pinned(struct tracker_host *h, uint32_t mask, struct err *err);
/* Those attached still there? Their skipped runs, 0 for the others. Pins that
 * somebody took away are put back. */
int hooks_examine(struct tracker_host *h, uint64_t misses[US_HOOKS],
		  uint32_t *detached);
/* What the loaded programs are to be told of this kernel, and what it needs. */
struct kernel_ways {
	uint32_t trace_flag_bit;	/* 64: unknown */
	bool interrupts_programs;
};
void hooks_learn_kernel(struct kernel_ways *out);
/* Those that follow bios, unless they are there already. */
int host_want_bios(struct tracker_host *h, struct err *err);

#endif
