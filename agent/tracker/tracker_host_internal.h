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

/* Shared by tracker_host.c (the set) and tracker_volume.c (one of it). */
struct hook {
	int link_fd;
	int prog_fd;
};

/* The maps that all volumes share. */
struct host_fds {
	int disks, volumes, groups, counters, stats, seen, info, pages;
};

struct tracker_host {
	pthread_mutex_t lock;		/* everything below */
	struct uuid node;
	char state_dir[US_INFO_PATH];
	char dir[PINS_PATH_MAX];
	struct tracker_bpf *skel;	/* NULL: a helper has it */
	struct hook issue, complete;
	bool replaced;			/* a program was exchanged at start */
	struct host_fds fds;		/* the skeleton's, or our own */
	bool owns_fds;
	struct us_volume *volumes;	/* shared memory, US_MAX_VOLUMES each */
	struct us_group *groups;
	struct us_counters *counters;
	struct us_seen *seen;
	size_t volumes_bytes, groups_bytes, counters_bytes, seen_bytes;
};

size_t host_page_align(size_t n);
/* Opens what a helper pins; what was opened is closed with the host. */
struct tracker_host_config;
int host_open_pinned(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err);
/* The two maps of a volume's words, of so many pages. */
int host_words_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
		    int *pending_fd, struct err *err);
/* No more tracked, pins gone; nothing when it is not in use. */
void host_drop_entry(struct tracker_host *h, uint32_t index);
int host_examine(struct tracker_host *h, uint64_t *issue_misses,
		 uint64_t *complete_misses, bool *detached);

#endif
