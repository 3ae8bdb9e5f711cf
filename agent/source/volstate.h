/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_VOLSTATE_H
#define SOURCE_VOLSTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "base/rnd.h"
#include "base/uuid.h"
#include "device/blkdev.h"
#include "source/audit.h"
#include "source/volume.h"
#include "store/store.h"
#include "wire/session.h"

/*
 * What a source must not forget of a volume, under
 * <state>/volumes/<uuid>/:
 *
 *   volume.json  identity and switches; replaced as a whole
 *   key          the volume key (0600), replaced as a whole by a rotation
 *   acked        the last acknowledged point: two records of 512 bytes that
 *                are written in turn, so that one is always whole; then the
 *                commit that was sent last
 *
 * "<uuid>.new" beside them is a volume that is being made, or the rest of one
 * whose making was cut off; the next volstate_open removes that. Hence no two
 * at the same time in one state directory. "<uuid>.removed" is a volume that
 * is no more, not deleted to the end yet.
 *
 * Every function leaves the old content in force when it fails.
 */
struct acked {
	bool valid;
	uint64_t epoch, seq;
	struct wire_head head;
	int64_t flip_wall_ns;
	bool has_kind;			/* noted by a version that knew it */
	enum point_kind kind;
};

/* What orders and the life of the volume change; in volume.json. */
struct volstate_switches {
	bool paused;
	/* Generations of the key that are known to be kept elsewhere; 0: none */
	uint32_t key_exported_id, key_escrowed_id;
	bool resync;			/* ordered, not yet done */
	bool differs;			/* verify found a difference, and no
					 * resync has been done since */
	struct audit_mark audit;	/* zeros: nothing is proven */
	bool has_device;		/* the id below is of one once seen */
	struct blkdev_id device;
};

struct volstate {
	struct io *io;
	char dir[600];
	char name[VOLUME_NAME_MAX + 1];
	struct uuid uuid;
	uint64_t epoch;
	uint64_t block_bytes;		/* chosen granularity */
	struct volstate_switches sw;
	struct volume_key key;
	struct acked acked;
	uint64_t intent_seq;		/* commit sent, not known to have come; 0 */
	int64_t intent_flip_wall_ns;
	bool intent_has_kind;
	enum point_kind intent_kind;
	int acked_fd;
	uint64_t acked_turn;
};

/* The volume of this name; made when there is none. */
int volstate_open(struct io *io, struct rnd *rnd, const char *state_dir,
		  const char *name, struct volstate *out, struct err *err);
/*
 * The same of a volume that may not be there (-ENOENT, err not told); none is
 * made, and no file stays open.
 */
int volstate_find(struct io *io, const char *state_dir, const char *name,
		  struct volstate *out, struct err *err);
/* Wipes the key. */
void volstate_close(struct volstate *v);
/* Replaces the key's file, durably; v->key is the caller's to change. */
int volstate_save_key(const struct volstate *v, const struct volume_key *key,
		      struct err *err);
/*
 * Another identity in place of this one, which must have no history: a new
 * state with the same name and switches, that UUID and key, and nothing
 * acknowledged. Killed in between, there may be neither. -EEXIST: the UUID is
 * there already.
 */
int volstate_adopt(struct volstate *v, const struct uuid *uuid,
		   const struct volume_key *key, struct err *err);
/* Durably no more there; what is left of it goes now or with a sweep. */
int volstate_remove(const struct volstate *v, struct err *err);
/* For volstate_change.c: directory, key and acked, not yet volume.json. */
int volstate_write_files(struct volstate *v, struct err *err);
/* Deletes what removals left behind that were cut off. */
void volstate_sweep(struct io *io, const char *state_dir);
/* Writes volume.json with these switches; v->sw is the caller's to change. */
int volstate_save(const struct volstate *v, const struct volstate_switches *sw,
		  struct err *err);
/*
 * The commit about to be sent; seq 0: none. Survives the death of the process,
 * not of the system: after a boot everything is pending, and then it does not
 * matter whose commit the replica shows.
 */
int volstate_save_intent(struct volstate *v, uint64_t seq,
			 int64_t flip_wall_ns, enum point_kind kind,
			 struct err *err);
/* Durable before it returns 0. */
int volstate_save_acked(struct volstate *v, const struct acked *a,
			struct err *err);

#endif
