/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEVICE_BLKDEV_REMAP_H
#define DEVICE_BLKDEV_REMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "device/blkdev.h"

/*
 * Hears of it when a dm device, or one below the device, is given another
 * table: its content may be another one then, without a write.
 */
struct blkdev_remap;

/*
 * Before the device is read. *out is NULL where nothing of it is mapped, which
 * the other functions take. 0 or negative errno ("device-unreadable").
 */
int blkdev_remap_open(const struct blkdev *dev, struct blkdev_remap **out,
		      struct err *err);
void blkdev_remap_close(struct blkdev_remap *m);
/* Since opening, or since it was last acted upon. Does not wait. */
bool blkdev_remap_seen(struct blkdev_remap *m);
void blkdev_remap_acted_upon(struct blkdev_remap *m);

/* Is this the kernel's word, len bytes, that a block device has changed by
 * itself? Which one? */
bool blkdev_event_is_remap(const char *msg, size_t len, uint32_t *major,
			   uint32_t *minor);

#endif
