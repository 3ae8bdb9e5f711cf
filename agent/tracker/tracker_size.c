// SPDX-License-Identifier: Apache-2.0
/*
 * The shape of a volume's entry, how much memory that takes, and the size of
 * block that follows from how much it may take. Any thread; no state.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/units.h"
#include "tracker/tracker_host.h"
#include "tracker/tracker_volume.h"

#define SHIFT_MIN 12U
#define SHIFT_MAX 26U			/* 64 MiB, the largest granularity */
/* Of the cut engine: pending, to-read, outstanding, carried and fresh. */
#define ENGINE_BITMAPS 5U
#define MIB_SHIFT 20
#define SECTOR_BYTES_SHIFT 9

void tracked_describe(struct us_volume *v, const struct uuid *volume,
		      const struct blkdev *dev, uint32_t block_shift)
{
	memset(v, 0, sizeof(*v));
	memcpy(v->uuid, volume->b, sizeof(v->uuid));
	v->disk_key = (uint64_t)dev->disk_major << 32 | dev->disk_minor;
	v->diskseq = dev->diskseq;
	v->start_sector = dev->start_sector;
	v->n_sectors = dev->n_sectors;
	v->block_shift = block_shift - SECTOR_BYTES_SHIFT;
	v->n_blocks = div_up_u64(dev->n_sectors, 1ULL << v->block_shift);
	v->n_queues = MAX(dev->n_queues, 1U);
	v->n_tags = MAX(dev->n_tags, 1U);
	v->by_bio = !dev->request_based;
}

size_t tracked_pending_bytes(const struct us_volume *v)
{
	return host_page_align(words_leaf_count(v->n_blocks) *
			       sizeof(uint64_t));
}

uint64_t tracker_memory_bytes(const struct blkdev *dev, uint32_t block_shift)
{
	static const struct uuid any;
	struct us_volume v;

	tracked_describe(&v, &any, dev, block_shift);
	return tracked_lay_out(&v) * sizeof(uint64_t) +
	       tracked_pending_bytes(&v) +
	       ENGINE_BITMAPS * bitmap_memory_bytes(v.n_blocks);
}

static int does_not_fit(const struct blkdev *dev, uint32_t shift,
			uint64_t memory_bytes, struct err *err)
{
	uint64_t need_bytes = tracker_memory_bytes(dev, shift);
	char size[24], block[24], need[24], memory[24];

	size_format(dev->n_sectors << 9, size);
	size_format(1ULL << shift, block);
	size_format(need_bytes, need);
	size_format(memory_bytes, memory);
	return err_set(err, -EOPNOTSUPP, "tracker-memory", dev->path,
		       "cannot be tracked: %s in blocks of %s take %s, "
		       "tracker-memory is %s", size, block, need, memory);
}

static int advise(uint64_t need_bytes, bool is_chosen, struct err *err)
{
	unsigned long long mib = div_up_u64(need_bytes, 1ULL << MIB_SHIFT);

	return err_remedy(err, "set tracker-memory = %lluMiB or more%s", mib,
			  is_chosen ? ", or granularity = auto" : "");
}

int tracker_choose_shift(const struct blkdev *dev, uint64_t block_bytes,
			 uint64_t memory_bytes, uint32_t *shift,
			 struct err *err)
{
	uint32_t s = block_bytes ? (uint32_t)__builtin_ctzll(block_bytes)
				 : SHIFT_MIN;

	while (!block_bytes && s < SHIFT_MAX &&
	       tracker_memory_bytes(dev, s) > memory_bytes)
		s++;
	*shift = s;
	if (tracker_memory_bytes(dev, s) <= memory_bytes)
		return 0;
	does_not_fit(dev, s, memory_bytes, err);
	return advise(tracker_memory_bytes(dev, s), block_bytes, err);
}
