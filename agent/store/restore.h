/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "store/store.h"

/*
 * Writing a point to a device or file. The image comes from a table, so that
 * the same engine restores from the local store and over a session. Sparse:
 * what the point never held, or holds as zeros, is punched or skipped on a
 * fresh target; verified: every unit's seal is checked before its bytes are
 * written, and the target is read back and compared when verify is set.
 *
 * A range keeps its place: bytes [off, off + len) of the volume are written at
 * the same offset of the target, whatever lies around them there is left
 * alone, and a file that is too short is extended to off + len. So several
 * ranges of one point put into one file or device add up to the volume. A
 * restore of the whole volume (off 0, len 0) gives a file exactly the volume's
 * length, also when it was longer.
 */
#define IMAGE_READ_MAX 256U		/* blocks in one read: 1 MiB */

struct image;

struct image_ops {
	/*
	 * Next stretch with content at or after block; as view_next. Blocks
	 * between block and *first read as zeros. Asked in rising order by the
	 * engine; any order must work.
	 */
	int (*next)(struct image *im, uint64_t block, uint64_t *first,
		    uint64_t *count, bool *zero, struct err *err);
	/* Plaintext of count blocks (at most IMAGE_READ_MAX). */
	int (*read)(struct image *im, uint64_t first, uint64_t count,
		    uint8_t *out, struct err *err);
	void (*close)(struct image *im);
};

struct image {
	const struct image_ops *ops;
	struct point_info point;
	struct uuid volume;
	char name[STORE_NAME_MAX * 2 + 2];	/* for messages: SOURCE/NAME */
};

/* NULL is fine. */
void image_close(struct image *im);
DEFINE_CLEANUP(struct image, image_close)

struct volume_key;
/*
 * Takes the view, also when it fails. The caller may replace image.name, which
 * is the volume's UUID at first.
 */
int image_from_view(struct view *v, const struct uuid *volume,
		    const struct volume_key *key, struct image **out,
		    struct err *err);

/* For implementations, after -ENOKEY of o: the one wording of a key that does
 * not fit ("wrong-key"), or lacks a generation ("key-generation"). */
struct opener;
int image_tell_wrong_key(const struct image *im, const struct opener *o,
			 struct err *err);

struct restore_progress {
	uint64_t done_bytes, total_bytes, written_bytes;
	uint64_t verified_bytes;	/* moves after done has reached total */
};

struct restore_options {
	uint64_t off_bytes, len_bytes;	/* len 0 = to the end; 512-aligned */
	bool in_place;			/* read first, write what differs */
	bool verify;			/* read back and compare */
	bool target_is_fresh;		/* file just created: zeros need no write */
	bool target_is_device;
	/* Non-zero result stops with -ECANCELED. */
	int (*progress)(void *arg, const struct restore_progress *p);
	void *arg;
	struct io *io;			/* NULL: io_posix() */
	const char *target;		/* its name in messages; may be NULL */
};

struct restore_result {
	uint64_t image_bytes;		/* covered */
	uint64_t written_bytes;
	uint64_t zero_bytes;		/* skipped, punched or zeroed */
	uint64_t verified_bytes;
	bool touched;			/* the target is not as it was, or may
					 * not be; false also after an error
					 * that came before any change */
};

/*
 * fd is the target, opened read-write (not for appending) by whoever named it;
 * its file position may move. A device must be large enough for the range.
 * Success means: every byte of the range was written or known to be there,
 * fdatasync said so, and, with verify, what the target gives back past its
 * cache is what was meant. After any error the target is to be taken as
 * incomplete; out then tells how far it came.
 *
 * -ENOSPC "target-too-small" or "target-full", -EINVAL "bad-range" or
 * "bad-target", -ECANCELED "canceled", -EBADMSG "verify-failed", and what the
 * image says (-ENOKEY "wrong-key", -EBADMSG ...).
 */
int restore_run(struct image *im, int fd, const struct restore_options *o,
		struct restore_result *out, struct err *err);

#endif
