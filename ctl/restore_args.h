/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_RESTORE_ARGS_H
#define CTL_RESTORE_ARGS_H

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
	const char *from;		/* may be NULL */
	const char *store;		/* NULL: through the daemon */
	int key_fd;			/* -1: none was named */
	struct target target;
	struct progress progress;
};

/* 0 and *result (owned), or negative with err told; *untouched: the target is
 * as it was. */
int restore_from_store(struct restore_request *rq, json_t **result,
		       bool *untouched, struct err *err);

#endif
