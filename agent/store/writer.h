/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_WRITER_H
#define STORE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "store/storevol.h"

/* Between writer.c, commit.c and fps.c. v->lock is held in all of these. */

struct store_writer {
	struct volume *v;
	uint64_t id;			/* valid while it is v->writer */
};

/* 0; -ESTALE "fenced"; -EIO with the reason, after a failed write. */
int writer_check(const struct store_writer *w, struct err *err);
/*
 * r is what a write gave. No room: -ENOSPC "store-full", the volume goes on.
 * Anything else: the volume has failed, until a writer is opened anew.
 */
int volume_write_failed(struct volume *v, int r, struct err *err);

/* ---- seglog.c: the segment that is being written ---- */

/*
 * There is a segment to append to; the first one after a recovery begins with
 * parts for the tails of earlier ones.
 */
int log_open_segment(struct volume *v, struct err *err);
/* Write v->out. With footer, the reserve may be given up for it. */
int log_write(struct volume *v, bool footer, struct err *err);
int log_sync(struct volume *v, struct err *err);
/* List what is staged, sync and close the segment: the next is another one. */
int log_roll(struct volume *v, struct err *err);
/* List what is staged in a part of its own, in the same segment. */
int log_flush_part(struct volume *v, struct err *err);
/*
 * Do so many bytes more belong into this segment? The first record always
 * does, whatever its length.
 */
bool log_has_room(const struct volume *v, uint64_t bytes);
/* What was staged is void on the disk: so it becomes here and in the catalog. */
int log_void_open_point(struct volume *v, struct err *err);

/* ---- fps.c ---- */

/* A part was written: keep the index of the newest view, if there is one. */
void index_follow(struct volume *v, const struct part_ref *ref,
		  const struct stage *stage);

#endif
