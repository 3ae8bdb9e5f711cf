/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_POINTVIEW_H
#define TESTS_LIB_POINTVIEW_H

#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

/*
 * The points of a volume, read from a store's files with an exported key: for
 * judges that look at some places of many points. A daemon may be writing the
 * store meanwhile; points are those of the moment of opening. Failures are
 * told on standard error and end the program: a judge that cannot read has
 * nothing to say.
 */
struct pointview;

/* key may be NULL when nothing is read. */
struct pointview *pointview_open(const char *store, const char *volume,
				 const char *key);
void pointview_close(struct pointview *p);
size_t pointview_count(const struct pointview *p);
/* i-th point, oldest first. */
const struct point_info *pointview_point(const struct pointview *p, size_t i);
/* What pointview_read reads from now on. */
void pointview_select(struct pointview *p, size_t i);
/* Bytes of the selected point; multiples of 4096. arg is the pointview. */
int pointview_read(void *arg, uint64_t off, uint32_t len, uint8_t *out);

#endif
