/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_HELPER_H
#define TRACKER_TRACKER_HELPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "device/blkdev_sysfs.h"
#include "tracker/tracker_host.h"

/*
 * The part of a source that needs capabilities, as a process of its own: it
 * loads and attaches our programs, makes maps, and opens disks that have no
 * node in /dev. The daemon asks it over a socket pair, and can give up every
 * capability itself. Without a helper (tests, the command) the same is done in
 * this process.
 *
 * It knows three requests, and none of them runs code that the daemon names. It
 * ends when the daemon does.
 */

/*
 * confine is called in the new process: it gives up what the requests do not
 * need; a failure of it is the result. Before any thread is started;
 * what is open but standard input, output and error is closed in the helper.
 *
 * 0 in the daemon; TRACKER_HELPER_ENDS in the helper, when the daemon is gone:
 * the caller ends the process then, and does nothing else.
 */
#define TRACKER_HELPER_ENDS 1
int tracker_helper_start(int (*confine)(struct err *err), struct err *err);
/* Is there one? Then the functions below may be called, from any thread. */
bool tracker_helper_is_there(void);

/* What tracker_host_open does, up to the pins: they are there on success. */
int tracker_helper_attach(const struct tracker_host_config *cfg,
			  struct err *err);
/* Maps of a volume's words, not pinned yet: descriptors. 0, negative errno. */
int tracker_helper_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
			int *pending_fd, struct err *err);
/* As blkdev_open_node on this host, read-only: descriptor, negative errno. */
int tracker_helper_open_disk(struct devno no, const char *name, int flags);

/*
 * Does this kernel let a process without capabilities use maps and programs of
 * which it holds descriptors? (Since 5.19, or without the sysctl
 * kernel.unprivileged_bpf_disabled.) To be asked by such a process.
 */
bool tracker_helper_is_enough(void);

#endif
