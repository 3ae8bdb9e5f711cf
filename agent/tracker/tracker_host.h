/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_HOST_H
#define TRACKER_TRACKER_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "device/blkdev.h"
#include "tracker/tracker.h"

/*
 * The tracker of a daemon: one set of BPF programs, pinned maps and links
 * under <bpffs>/understudy-<node uuid> (0700), which go on marking while the
 * daemon is away. Thread-safe.
 */
struct tracker_host;

struct tracker_host_config {
	const char *state_dir;
	struct uuid node;
	const char *bpffs;		/* NULL: /sys/fs/bpf */
	/* Guards switched off, for builds that an oracle must refute. */
	bool without_reread;
	bool without_issue_mark;
	uint32_t window_turns;		/* makes the race of a flip wider */
	/* Only adds the programs that follow bios to what is pinned. */
	bool add_bios;
	bool several;			/* copies, as if this kernel needed them */
	bool without_trace_flag;	/* ... did not tell of its flag */
};

/* Mounts bpffs when it is absent: for a process that will soon not be able to. */
int tracker_host_prepare(struct err *err);
/* Loads and attaches, or adopts what an earlier process left pinned; mounts
 * bpffs when it is absent. */
int tracker_host_open(const struct tracker_host_config *cfg,
		      struct tracker_host **out, struct err *err);
/* untrack removes every pin: tracking ends. Trackers must be closed before. */
void tracker_host_close(struct tracker_host *h, bool untrack);

/*
 * What blkdev_admit cannot know: does this kernel tell of every write to such a
 * device? 0, or -EOPNOTSUPP "bio-based". Also without a host.
 */
int tracker_admit(const struct blkdev *dev, struct err *err);

/*
 * Track [dev->start_sector, + n_sectors) of dev's disk. When pins of the same
 * volume on the same device are found and the programs have not been away,
 * the tracker is adopted: its pending blocks are true. Otherwise it starts
 * with everything pending and adopted false: the caller treats all as dirty.
 * Ends with the self-test: the programs must see a read of this process.
 */
int tracker_host_add(struct tracker_host *h, const struct uuid *volume,
		     const struct blkdev *dev, uint32_t block_shift,
		     struct tracker **out, struct err *err);

/*
 * The same for a member of a group: one flip is that of all its members, and
 * nobody flips before each has collected what the last flip retired. A volume
 * that was tracked alone, or in another group, starts anew.
 */
struct tracker_want {
	const struct uuid *volume;
	const struct blkdev *dev;
	uint32_t block_shift;
	const struct uuid *group;	/* NULL: none */
};
int tracker_host_enter(struct tracker_host *h, const struct tracker_want *w,
		       struct tracker **out, struct err *err);

/* Ends the tracking of one volume that has no tracker here. */
void tracker_host_forget(struct tracker_host *h, const struct uuid *volume);
/* Ends the tracking of every volume that is not among keep[n]. */
void tracker_host_retain(struct tracker_host *h, const struct uuid *keep,
			 int n);

/* What a volume of all of dev takes at this size of block: its bitmaps, those in
 * the kernel and those of the cut engine, with their summaries, and the table of
 * what is in flight. */
uint64_t tracker_memory_bytes(const struct blkdev *dev, uint32_t block_shift);
/*
 * log2(block bytes) for a volume of all of dev: of block_bytes, or when that is
 * 0 the smallest, from 12, that fits memory_bytes. 0, or -EOPNOTSUPP
 * "tracker-memory" with what would be enough.
 */
int tracker_choose_shift(const struct blkdev *dev, uint64_t block_bytes,
			 uint64_t memory_bytes, uint32_t *shift,
			 struct err *err);

/* Removes the pins of a state directory without a daemon. 0, -ENOENT. */
int tracker_host_unpin(const struct uuid *node, const char *bpffs,
		       struct err *err);

/* Test support: detach or attach the completion program for a while. */
int tracker_host_detach_complete(struct tracker_host *h);
/* Of each kind, as if the kernel always left out that one. */
int tracker_host_detach_copy(struct tracker_host *h, int copy);
int tracker_host_attach_complete(struct tracker_host *h, struct err *err);

#endif
