/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_REBUILD_H
#define STORE_REBUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"
#include "store/catalog_aside.h"
#include "store/store.h"

/*
 * The catalog made again from the segments, whatever state it is in. The old
 * one is put aside (see catalog_aside.h) and never deleted.
 */
struct rebuilt_volume {
	struct uuid uuid;
	char source[STORE_NAME_MAX + 1];	/* "": not known */
	char name[STORE_NAME_MAX + 1];
	bool was_known;			/* the old catalog could be read, and
					 * had it */
	uint64_t points_before;
	uint64_t points_now;
	bool taken_up;			/* in full: it can be written, too */
	struct err why;			/* when not */
};

struct rebuild_report {
	char aside[CATALOG_ASIDE_SIZE];	/* the old one's name in the store's
					 * directory; "": there was none */
	bool old_was_read;
	struct err why_not;		/* the old one could not be read */
	struct rebuilt_volume *v;
	size_t n;
};

void rebuild_report_free(struct rebuild_report *r);

/*
 * Nobody may use the store: -EBUSY "store-busy". -ENOENT "not-a-store". Once
 * there is a new catalog, *out is complete, also when it is called a failure:
 * -ENODATA "points-missing" when a volume has fewer points than before or was
 * not taken up. Other failures leave the old catalog in its place, or none, and
 * then the next store_open makes one. The caller frees *out in any case.
 */
int store_rebuild_catalog(const struct store_config *cfg,
			  struct rebuild_report *out, struct err *err);

#endif
