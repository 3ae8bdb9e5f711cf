/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_STORED_H
#define CONTROL_STORED_H

#include <jansson.h>

#include "base/err.h"
#include "control/selector.h"
#include "store/restore.h"
#include "store/scrub.h"
#include "store/store.h"

/*
 * Volumes and points of a store by what a person calls them, and a restore in
 * the words of the control protocol: the same in the daemon and in
 * `restore --store`, which does without one.
 */

/* 0; -ENOENT "no-volume"; -ENOTUNIQ "ambiguous", the message lists them. */
int stored_find_volume(struct store *s, const struct volume_name *name,
		       struct volume_info *out, struct err *err);
/* 0; -ENOENT "no-point". full is SOURCE/NAME, for messages. */
int stored_find_point(struct store *s, const struct volume_info *v,
		      const struct selector *sel, struct point_info *out,
		      struct err *err);

json_t *restore_progress_json(const struct restore_progress *p);
json_t *restore_result_json(const struct image *im,
			    const struct restore_result *rr, uint64_t took_ns);
/* What a failed restore_run has left of its target: had it begun? */
bool restore_was_untouched(const struct restore_result *rr,
			   const struct err *err);

/* What a scrub found, as `scrub` and `store check` tell it. */
json_t *scrub_report_json(const char *volume, const struct scrub_report *rep,
			  bool with_key, uint64_t took_ns);
/* What is damaged, in a word: "point", "index", "data" or "seal". */
const char *scrub_finding_what(const struct damage *d);

#endif
