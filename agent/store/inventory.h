/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_INVENTORY_H
#define STORE_INVENTORY_H

#include "base/err.h"
#include "store/store.h"

/*
 * What is in a store's directory beside the volumes that it serves: for those
 * who judge the whole store. Any thread; callbacks run without a lock, and
 * their non-zero result ends the walk and is returned.
 */

/*
 * Of a store opened for reading: 0 when its catalog was used; -ENOENT
 * "no-catalog": it has none; else the catalog is damaged, and what is shown was made from the
 * segments. The next process that writes makes one that is missing.
 */
int store_catalog_state(struct store *s, struct err *err);

/* Volumes whose state could not be made. v has what is known of it. */
int store_broken_volumes(struct store *s,
			 int (*cb)(void *arg, const struct volume_info *v,
				   const struct err *why),
			 void *arg);

enum stranger {
	STRANGER_OTHER,			/* nothing of a store has such a name,
					 * or an empty file has it */
	STRANGER_SEGMENT,		/* called a segment, and is none of the
					 * volume: it may have been one */
	STRANGER_VOLUME,		/* called a volume, and has no segment
					 * of this store */
	STRANGER_REMOVED,		/* what a removed volume has left */
};

/*
 * Files and directories that are none of the store's; path is relative to its
 * directory. 0, or what listing and reading gave.
 */
int store_strangers(struct store *s,
		    int (*cb)(void *arg, enum stranger what, const char *path),
		    void *arg, struct err *err);

#endif
