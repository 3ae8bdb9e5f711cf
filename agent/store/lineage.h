/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_LINEAGE_H
#define STORE_LINEAGE_H

#include <stddef.h>
#include <stdint.h>

#include "store/storevol.h"

/*
 * The history of a point: stretches of epochs, newest first. A stretch holds
 * the points of its epoch with sequence <= max_seq; they have the ordinals
 * [first_ord, last_ord].
 */
struct lineage_step {
	uint64_t epoch, max_seq;
	uint64_t first_ord, last_ord;
};

struct lineage {
	struct lineage_step *steps;
	size_t n;
};

/*
 * Of the point p; the caller frees steps. 0 or negative errno. The volume's
 * lock is not needed: what is committed does not change.
 */
int lineage_of(struct catalog *c, int64_t volume, const struct cat_point *p,
	       struct lineage *out, struct err *err);

/*
 * Look-ups that know of a newest point that the catalog has not got yet. 0;
 * 1 when there is none; negative errno. v->lock must not be held.
 */
int volume_newest(struct volume *v, struct cat_point *out);
int volume_find_point(struct volume *v, uint64_t epoch, uint64_t seq,
		      struct cat_point *out, struct err *err);
/*
 * Parts of the points of l, oldest first; the caller frees out->v. The second
 * one with v->lock held.
 */
int volume_lineage_parts(struct volume *v, const struct lineage *l,
			 struct cat_parts *out, struct err *err);
int lineage_parts(struct volume *v, const struct lineage *l,
		  struct cat_parts *out, struct err *err);

#endif
