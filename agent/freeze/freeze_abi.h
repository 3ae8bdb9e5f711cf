/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZE_ABI_H
#define FREEZE_FREEZE_ABI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What the daemon and its freeze helper say to each other. Both are of one
 * build; the version is looked at all the same, since the two are files.
 *
 * Over the helper's socket (SOCK_SEQPACKET), one at a time:
 *	helper: freeze_hello, with the memory of the slots
 *	daemon: freeze_request, with two descriptors
 *	helper: freeze_reply
 * From then on nothing is sent that would want memory: the helper writes the
 * slot, and wakes the daemon by the eventfd it was given. The other descriptor
 * is the reading end of a pipe: FREEZE_AGAIN writes back what has become dirty
 * since, FREEZE_GO begins the hold; its end of file, whyever, ends it.
 */
#define FREEZE_AGAIN 's'
#define FREEZE_GO 'g'
#define FREEZE_VERSION 2U
#define FREEZE_SLOTS 64U
#define FREEZE_FS_MAX 64U		/* filesystems of one hold */
#define FREEZE_MOUNTS_MAX 256U		/* places where those can be reached */
#define FREEZE_PATHS_BYTES 65536U
#define FREEZE_NAME_BYTES 72U
#define FREEZE_HOOK_BYTES 256U
#define FREEZE_LIMIT_MAX_NS UINT64_C(30000000000)
/* The thawing half of a hook, which nothing else waits for. */
#define FREEZE_HOOK_THAW_NS UINT64_C(10000000000)

enum freeze_state {
	FREEZE_IDLE,
	FREEZE_PREPARING,		/* writing out; nothing is held */
	FREEZE_READY,			/* waits to be told; neither */
	FREEZE_FREEZING,		/* some of it may be held */
	FREEZE_FROZEN,			/* all of it is */
	FREEZE_THAWING,
	FREEZE_DONE,			/* nothing is held any more */
};

/* Why a hold ended, or did not begin. */
enum freeze_why {
	FREEZE_RELEASED,		/* the daemon's end is closed */
	FREEZE_LIMIT,			/* time was up, while it was held */
	FREEZE_TOO_SLOW,		/* ... before all of it was held */
	FREEZE_SIGNAL,
	FREEZE_BUSY,			/* somebody else has frozen it */
	FREEZE_FAILED,			/* error, of filesystem failed_fs */
	FREEZE_HOOK_FAILED,		/* hook_status */
	FREEZE_HOOK_TIMEOUT,
	FREEZE_HELPER_DIED,		/* the one that held; thawed by the
					 * one that guards it */
};

enum freeze_mark {
	FREEZE_NOT,
	FREEZE_BEGUN,			/* the kernel may be at it */
	FREEZE_IS,
};

/*
 * Times are of CLOCK_BOOTTIME. The hold was in force from frozen_ns to thaw_ns
 * if, and only if, is_whole: every thaw found what it thawed still frozen.
 */
struct freeze_slot {
	_Atomic uint32_t state;		/* enum freeze_state */
	_Atomic uint32_t n_synced;	/* times that all was written back */
	uint32_t why;			/* enum freeze_why */
	int32_t error;
	uint32_t failed_fs;
	int32_t hook_status;		/* of wait; the freezing half's */
	int32_t thaw_hook_status;	/* -1: it was killed for its time */
	int32_t thaw_error;		/* of one that may be frozen still */
	bool is_whole;
	uint64_t began_ns, deadline_ns, frozen_ns, thaw_ns, ended_ns;
	/* What has to be undone by whoever outlives the holder: each an enum
	 * freeze_mark. */
	_Atomic uint8_t maybe_frozen[FREEZE_FS_MAX];
	_Atomic uint8_t maybe_hooked;
};

struct freeze_hello {
	uint32_t version;
	int32_t error;			/* of `what`: it is of no use */
	char what[64];
};

struct freeze_mount {
	uint32_t fs;			/* which of the filesystems it is */
	uint32_t path;			/* where in paths it begins */
	uint64_t mount_id;
};

struct freeze_request {
	uint32_t version;
	uint32_t slot;
	uint64_t limit_ns;
	uint32_t n_fs, n_mounts;
	char volume[FREEZE_NAME_BYTES];
	char hook[FREEZE_HOOK_BYTES];	/* "": none */
	struct freeze_mount mounts[FREEZE_MOUNTS_MAX];
	char paths[FREEZE_PATHS_BYTES];
};

struct freeze_reply {
	int32_t error;			/* 0: it is on its way */
	uint32_t failed_fs;
};

/* A request that was received: may everything in it be relied upon? */
static inline bool freeze_request_is_sound(const struct freeze_request *q)
{
	uint32_t i;

	if (q->version != FREEZE_VERSION || q->slot >= FREEZE_SLOTS ||
	    !q->limit_ns || q->limit_ns > FREEZE_LIMIT_MAX_NS ||
	    q->n_fs > FREEZE_FS_MAX || q->n_mounts > FREEZE_MOUNTS_MAX ||
	    q->volume[FREEZE_NAME_BYTES - 1] ||
	    q->hook[FREEZE_HOOK_BYTES - 1] ||
	    q->paths[FREEZE_PATHS_BYTES - 1])
		return false;
	if (q->hook[0] && q->hook[0] != '/')
		return false;
	if (!q->n_fs && !q->hook[0])
		return false;
	for (i = 0; i < q->n_mounts; i++)
		if (q->mounts[i].fs >= q->n_fs ||
		    q->mounts[i].path >= FREEZE_PATHS_BYTES ||
		    q->paths[q->mounts[i].path] != '/')
			return false;
	return true;
}

#endif
