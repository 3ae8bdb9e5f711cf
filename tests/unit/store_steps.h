/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_STORE_STEPS_H
#define TESTS_UNIT_STORE_STEPS_H

/*
 * What tests of one volume in a store begin with, do and look at.
 */
#include "storelab.h"
#include "unit/store_ok.h"

static inline void open_for_writing(struct lab *l)
{
	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
}

/* A new store with a volume of so many blocks, and its writer. */
static inline void start(struct lab *l, uint64_t n_blocks)
{
	lab_init(l, tap_seed(), n_blocks);
	open_for_writing(l);
}

/* One point with new content in [first, first + count). */
static inline void add_point(struct lab *l, uint64_t first, uint32_t count)
{
	OK(lab_begin(l, &err));
	lab_data(l, first, count);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
}

/* Point seq reads as that. */
static inline void expect_image(struct lab *l, uint64_t seq,
				const struct lab_image *want)
{
	uint64_t block = 0;

	OK(lab_compare(l, seq, want, &block, &err));
}

static inline struct volume_info info_of(struct lab *l)
{
	struct volume_info v;

	ASSERT_OK(store_volume_by_uuid(l->store, &l->spec.uuid, &v));
	return v;
}

#endif
