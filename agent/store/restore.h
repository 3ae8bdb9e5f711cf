/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

/*
 * Writing a point to a device or file. The image comes from a table, so that
 * the same engine restores from the local store and over a session. Sparse:
 * what the point never held, or holds as zeros, is punched or skipped on a
 * fresh target; verified: every unit's seal is checked before its bytes are
 * written, and the target is read back and compared when verify is set.
 */
struct image;

struct image_ops {
	/* Next stretch with content at or after block; as view_next. */
	int (*next)(struct image *im, uint64_t block, uint64_t *first,
		    uint64_t *count, bool *zero, struct err *err);
	/* Plaintext of count blocks. */
	int (*read)(struct image *im, uint64_t first, uint64_t count,
		    uint8_t *out, struct err *err);
	void (*close)(struct image *im);
};

struct image {
	const struct image_ops *ops;
	struct point_info point;
	struct uuid volume;
	char name[STORE_NAME_MAX + 1];
};

struct volume_key;
/* Takes the view. */
int image_from_view(struct view *v, const struct uuid *volume,
		    const struct volume_key *key, struct image **out,
		    struct err *err);

struct restore_progress {
	uint64_t done_bytes, total_bytes, written_bytes;
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
};

struct restore_result {
	uint64_t image_bytes;		/* covered */
	uint64_t written_bytes;
	uint64_t zero_bytes;		/* skipped, punched or zeroed */
	uint64_t verified_bytes;
};

/*
 * fd is the target, opened read-write by whoever named it. The target's size
 * must hold the range (a file is extended). Ends with fdatasync.
 */
int restore_run(struct image *im, int fd, const struct restore_options *o,
		struct restore_result *out, struct err *err);

#endif
