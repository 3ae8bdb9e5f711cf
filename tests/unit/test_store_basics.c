// SPDX-License-Identifier: Apache-2.0
/* The store's interface, one behaviour each, on real units. */
#include "storelab.h"

#include "base/cleanup.h"

#include "lib/tap.h"

static void open_for_writing(struct lab *l)
{
	struct err err = ERR_INIT;

	if (lab_open(l, false, &err) < 0 || lab_writer(l, &err) < 0)
		tap_note("%s", err.message);
	ASSERT_NOT_NULL(l->writer);
}

TEST(committed_point_reads_as_it_was_staged)
{
	struct err err = ERR_INIT;
	struct point_info p;
	uint64_t block = 0;
	struct lab l;

	lab_init(&l, tap_seed(), 64);
	open_for_writing(&l);
	ASSERT_OK(lab_begin(&l, &err));
	lab_data(&l, 0, 16);
	lab_data(&l, 20, 3);
	lab_zero(&l, 40, 10);
	ASSERT_OK(lab_stage(&l, &err));
	ASSERT_OK(lab_commit(&l, &p, &err));
	EXPECT_U64(p.changed_bytes, 29 * 4096);
	EXPECT_OK(lab_compare(&l, 1, &l.now, &block, &err));
	/* The comparison would notice. */
	l.now.versions[21]++;
	EXPECT_INT(lab_compare(&l, 1, &l.now, &block, &err), 1);
	EXPECT_U64(block, 21);
	lab_free(&l);
}
