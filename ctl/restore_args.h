/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_RESTORE_ARGS_H
#define CTL_RESTORE_ARGS_H

#include "base/uuid.h"
#include "client.h"
#include "control/selector.h"
#include "control/target.h"
#include "ctl.h"
#include "progress.h"

/*
 * What `restore` was asked to do, read and checked; shared by its two ways,
 * through a daemon (cmd_restore.c) and without one (restore_store.c).
 */
struct restore_request {
	const struct ctl *ctl;
	char volume[SELECTOR_VOLUME_SIZE];
	char point[SELECTOR_POINT_SIZE];	/* "" with a time */
	int64_t at_ns;				/* 0: none */
	struct selector selector;		/* of the two above */
	uint64_t off_bytes, len_bytes;
	bool in_place, no_verify;
	/* A member of a group point: of this volume, and of this time. */
	char uuid[UUID_TEXT_SIZE];
	int64_t flip_ns;		/* 0: not asked for */
	const char *from;		/* may be NULL */
	const char *store;		/* NULL: through the daemon */
	int key_fd;			/* -1: none was named */
	struct target target;
	struct progress progress;
};

/*
 * One volume, by the daemon or without; 0 and reply->result, or negative with
 * the rest of reply. *untouched: a target that failed is as it was.
 */
int restore_one(struct restore_request *rq, struct client_reply *reply,
		bool *untouched);
/* The error as it is told, and what has become of the target. */
void restore_tell_target(struct restore_request *rq, struct client_reply *reply,
			 bool untouched);

/* restore_group.c */
struct restore_list {			/* of --to and --key */
	const char *const *items;
	int n;
};
/*
 * What the name and the point of rq mean when they are of a group: 0 and
 * *point (owned); 1, they are not; negative with err told.
 */
int restore_group_find(struct restore_request *rq, json_t **point,
		       struct err *err);
/* The exit code. */
int restore_group(struct restore_request *rq, json_t *point,
		  const struct restore_list *to,
		  const struct restore_list *keys);
/* restore_store.c: as restore_group_find, in the store's own files. */
int restore_group_in_store(struct restore_request *rq, json_t **point,
			   struct err *err);

/* 0 and *result (owned), or negative with err told; *untouched: the target is
 * as it was. */
int restore_from_store(struct restore_request *rq, json_t **result,
		       bool *untouched, struct err *err);

#endif
