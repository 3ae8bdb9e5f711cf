/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PROBE_H
#define STORE_PROBE_H

#include "store/damage.h"
#include "store/storevol.h"

/*
 * What of one segment cannot be used: everything that the catalog lists in it
 * is read as a reader of a point would, and what fails is collected. One
 * thread; takes no lock of the volume.
 */
struct probe {
	struct volume *v;
	struct uuid segment;
	uint64_t max_ord;		/* later points are not looked at */
	struct segreader reader;
	struct cat_points points;	/* whose footers lie in it */
	struct cat_parts parts;		/* that lie in it, or their units */
	struct buf scratch;
	struct entvec ents;
	struct damage *found;
	size_t n_found, cap_found;
	uint64_t n_units;		/* looked at */
	/* To be set after probe_open; each may be NULL. */
	struct opener *opener;		/* units are opened too */
	uint8_t *plain;			/* with opener: UNIT_MAX_PLAIN_BYTES */
	uint64_t misfits;		/* units that are not of opener's key */
	uint32_t lacks;			/* of the last: its generation, or 0 */
	/* After bytes were read; not 0 ends what is under way with it. */
	int (*tick)(void *arg, uint64_t bytes);
	void *arg;
};

/* 0, or negative errno with err told. */
int probe_open(struct probe *p, struct volume *v, const struct uuid *segment,
	       uint64_t max_ord, struct err *err);
void probe_close(struct probe *p);
/* Forgets what was found. */
void probe_reset(struct probe *p);

/* Footers and parts that end after from. 0, -ENOMEM, or what tick gave. */
int probe_footers(struct probe *p, uint64_t from);
/* Units that touch [from, to). 0, -ENOMEM, or what tick gave. */
int probe_units(struct probe *p, uint64_t from, uint64_t to);

/*
 * At start: a segment is gone, or shorter than it must be. What lay at or
 * beyond size is damage from now on.
 */
int probe_lost(struct volume *v, const struct uuid *segment, uint64_t size,
	       struct err *err);

#endif
