/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SEGSCAN_H
#define STORE_SEGSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "store/segfmt.h"

/*
 * Reading a segment record by record, as after a crash: from the disk, not
 * from the page cache, and believing nothing. One thread.
 */
struct segscan {
	struct io *io;
	int fd;
	bool direct;
	uint64_t units_from;		/* REC_UNITS before it: bodies are
					 * stepped over */
	struct seg_header header;
	uint64_t salt;
	uint64_t size;			/* of the file */
	uint64_t off;			/* end of the last record that was valid */
	uint8_t *window;		/* [window_off, + window_len) of the file */
	size_t window_cap, window_len;
	uint64_t window_off;
};

struct scan_rec {
	struct rec_header h;
	uint64_t off;
	const uint8_t *body;		/* until the next call; NULL: skipped */
};

/*
 * Opens the segment and reads its header; scanning starts after it. With
 * durable the file is synced first, so that what validates is on the disk for
 * good. -EBADMSG: no segment (header).
 */
int segscan_open(struct segscan *s, struct io *io, int dirfd,
		 const struct uuid *id, bool durable, struct err *err);
void segscan_close(struct segscan *s);
void segscan_seek(struct segscan *s, uint64_t off);
/*
 * 0: a record whose frame and body are valid. 1: the end; s->off < s->size
 * when bytes follow that are none: an unfinished tail, or damage. Negative
 * errno: reading failed.
 */
int segscan_next(struct segscan *s, struct scan_rec *rec, struct err *err);

#endif
