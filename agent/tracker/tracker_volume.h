/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_VOLUME_H
#define TRACKER_TRACKER_VOLUME_H

#include "device/blkdev.h"
#include "tracker/tracker.h"
#include "tracker/tracker_host_internal.h"
#include "tracker/tracker_words.h"

/* Shared by tracker_volume.c, tracker_grow.c and tracker_size.c. */
struct volume_tracker {
	struct tracker t;
	struct tracker_host *h;
	struct tracker_words words;
	struct uuid volume;
	uint32_t index;
	uint64_t *pages;		/* mapping of the volume's words */
	size_t pages_bytes;
	size_t pending_bytes;
	int n_cpus;
	bool by_bio;
};

/* The entry of a volume that is all of dev, without a place for its words. */
void tracked_describe(struct us_volume *v, const struct uuid *volume,
		      const struct blkdev *dev, uint32_t block_shift);
/* Where each part of a volume's words begins; returns their number. */
uint64_t tracked_lay_out(struct us_volume *v);
/* Of its pending map. */
size_t tracked_pending_bytes(const struct us_volume *v);
/* The names of its pins. */
void tracked_pin_names(const struct uuid *volume, char pages[64],
		      char pending[64]);
/* Of a new entry whose number is known: its group. */
void tracked_choose_group(struct volume_tracker *vt, struct us_volume *want);
/* Maps its words; sizes of vt are known. */
int tracked_map(struct volume_tracker *vt, const struct us_volume *v,
	       int pages_fd, int pending_fd);
/* The words of an entry that is there, by their pins. */
int tracked_enter_adopted(struct volume_tracker *vt, uint32_t index);
/* The words only; or vt as well. It goes on being tracked. */
void tracked_unmap(struct volume_tracker *vt);
void tracked_free(struct volume_tracker *vt);

#endif
