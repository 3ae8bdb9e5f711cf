/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SELECTOR_H
#define CONTROL_SELECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * How a person names a volume and one of its points: NAME or SOURCE/NAME;
 * SEQ, EPOCH:SEQ, a label or `latest`; a time. Pure functions.
 */
#define SELECTOR_VOLUME_SIZE 130	/* SOURCE/NAME with the NUL */
#define SELECTOR_POINT_SIZE 65

enum selector_kind {
	SELECTOR_LATEST,
	SELECTOR_SEQ,			/* epoch 0: the current lineage */
	SELECTOR_LABEL,
	SELECTOR_TIME,			/* newest with time <= wall_ns */
};

struct selector {
	enum selector_kind kind;
	uint64_t epoch, seq;
	char label[SELECTOR_POINT_SIZE];
	int64_t wall_ns;
};

struct volume_name {
	char source[65];		/* empty: the short form */
	char name[65];
};

/* point may be "": latest, or the time when at_ns is not 0. 0, -EINVAL. */
int selector_parse(const char *point, int64_t at_ns, struct selector *out,
		   struct err *err);
/* VOLUME[@POINT]: point[0] is 0 when there is none. 0, -EINVAL. */
int selector_split(const char *arg, char volume[SELECTOR_VOLUME_SIZE],
		   char point[SELECTOR_POINT_SIZE], struct err *err);
/* NAME or SOURCE/NAME. 0, -EINVAL. */
int volume_name_parse(const char *text, struct volume_name *out,
		      struct err *err);
/*
 * May a point be called so? Has a letter, is not `latest`, at most 64 bytes of
 * printable text. 0, -EINVAL.
 */
int selector_check_label(const char *label, struct err *err);
/*
 * A time as a person says it, for "newest with time <= it". Points are shown
 * with milliseconds, so the time means the end of its millisecond: the time
 * that `points` prints finds the point that it is printed for.
 */
int selector_parse_time(const char *text, int64_t now_ns, int64_t *out_ns,
			struct err *err);

#endif
