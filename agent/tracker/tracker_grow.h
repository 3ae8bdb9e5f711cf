/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_TRACKER_GROW_H
#define TRACKER_TRACKER_GROW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tracker/tracker_words.h"

#include "tracker_abi.h"

/* us_volume.used: 0, or one of these. The programs mark both. */
enum {
	VOLUME_USED = 1,
	VOLUME_WIDENED = 2,		/* marked, but not all is known yet */
};

/*
 * Everything that is marked, pending or in flight in the words of a volume,
 * into those of the same volume after it has grown. Both are being marked by
 * the programs; whatever is marked in the old words alone was so before the
 * call. coarser: log2 of how many old blocks make a new one; first_new: the
 * first block that was not, or not all, part of the volume.
 */
void words_widen(const struct tracker_words *from, struct tracker_words *to,
		 uint32_t coarser, uint64_t first_new);

/* May volume a have become b by growing? */
bool grow_is_possible(const struct us_volume *a, const struct us_volume *b);

/* What of the counters has had no consequence yet, added to another volume. */
void grow_carry_losses(const struct us_counters *from,
		       const struct us_seen *from_seen,
		       struct us_counters *to, struct us_seen *to_seen);

/*
 * Enters the grown volume and takes over what is known of its entry `from`,
 * which is gone then. After an error `from` is as it was, or gone as well.
 */
struct volume_tracker;
int tracked_enter_grown(struct volume_tracker *vt, uint32_t from,
		       struct us_volume *want, struct err *err);

#endif
