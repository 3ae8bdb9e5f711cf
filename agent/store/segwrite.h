/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SEGWRITE_H
#define STORE_SEGWRITE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io.h"
#include "store/segfmt.h"

/*
 * A segment that is being written. Created once, appended to by one thread at
 * a time, closed, and never opened for writing again.
 */
struct segfile {
	struct io *io;
	int fd;				/* -1: none */
	struct uuid id;
	uint64_t number;
	uint64_t salt;
	uint64_t off;			/* end of the last whole write */
};

/* No room for more. */
static inline bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

/*
 * Create the file in the volume's directory, durably (file, then directory).
 * After an error nothing of it is left, as far as the file system lets us;
 * -ENOSPC or -EDQUOT is "store-full".
 */
int segfile_create(struct segfile *sf, struct io *io, int dirfd,
		   const struct seg_header *h, struct err *err);
/*
 * Append whole records, encoded for the places from sf->off on. A full file
 * system leaves sf as it was, and the same place may be written again.
 */
int segfile_write(struct segfile *sf, const struct buf *records,
		  struct err *err);
int segfile_sync(struct segfile *sf, struct err *err);
/* Closes, whatever the state; -1 afterwards. 0 or the error of close. */
int segfile_close(struct segfile *sf);

/* Place of a record that begins at start in a buffer of records to append. */
static inline struct rec_place segfile_place(const struct segfile *sf,
					     size_t start)
{
	return (struct rec_place){ sf->salt, sf->off + start };
}

#endif
