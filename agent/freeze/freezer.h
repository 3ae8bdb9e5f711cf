/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FREEZE_FREEZER_H
#define FREEZE_FREEZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "freeze/freeze_abi.h"

/*
 * The daemon's side of the freeze helper: a program of its own that keeps
 * CAP_SYS_ADMIN when the daemon gives it up, and that thaws when time is up,
 * when the daemon closes its end of a pipe, and so when it dies.
 */

/*
 * Starts the program and waits for its greeting. Before any thread. 0, or
 * negative errno "no-freezer": nothing can be held then.
 */
int freezer_start(const char *program, struct err *err);
/* "understudy-freeze" beside the program that runs; its length, or -errno. */
int freezer_program(char *out, uint32_t cap);
/* Was one started (and may live no more)? */
bool freezer_is_there(void);

/* What to hold. Empty to begin with; add returns -E2BIG, -ENAMETOOLONG. */
struct freeze_order {
	struct freeze_request q;
	uint32_t paths_used;
	char owners[FREEZE_FS_MAX][FREEZE_NAME_BYTES];
};
void freeze_order_init(struct freeze_order *o, const char *volume,
		       const char *hook, uint64_t limit_ns);
/* fs counts from 0 without a gap; several places of one are tried in turn. */
int freeze_order_mount(struct freeze_order *o, uint32_t fs, const char *path,
		       uint64_t mount_id);
/* Of filesystem number fs, for messages. */
const char *freeze_order_path(const struct freeze_order *o, uint32_t fs);
/* Whose it is, when the order is for several volumes: for messages, too. */
void freeze_order_owner(struct freeze_order *o, uint32_t fs,
			const char *volume);

struct freeze_hold;

/* Called every now and then while it is being frozen; true: wait no longer. */
typedef bool (*freeze_cancelled)(void *arg);

/*
 * Everything opened, and what was dirty written back, for which there is
 * patience; nothing is held yet. 0 and *out, to be released; or negative errno
 * with err told. -ECANCELED: told to wait no longer.
 */
int freezer_prepare(const struct freeze_order *o, uint64_t patience_ns,
		    freeze_cancelled cancelled, void *arg,
		    struct freeze_hold **out, struct err *err);
/* Writes back once more, as freezer_prepare has done. 0 or negative errno. */
int freezer_again(struct freeze_hold *h, uint64_t patience_ns,
		  freeze_cancelled cancelled, void *arg, struct err *err);
/*
 * Holds, and returns when everything is held, or has been: this process may
 * have slept through it, which freezer_release tells. After a failure nothing
 * is held (but "still-frozen": that is not known); h is to be released all the
 * same.
 */
int freezer_hold(struct freeze_hold *h, struct err *err);
/* Is it (still) held? A look; freezer_release knows it for certain. */
bool freezer_is_held(const struct freeze_hold *h);

struct freeze_result {
	bool is_whole;			/* held without a gap between these: */
	uint64_t frozen_ns, thaw_ns;
	uint64_t held_ns;		/* from the beginning of freezing until
					 * all was thawed */
	enum freeze_why why;
	bool thaw_hook_failed;
};

/* Thaws if it is held, and says what was. h is gone afterwards. 0; negative
 * errno "still-frozen": it cannot be thawed, or the helper does not say so. */
int freezer_release(struct freeze_hold *h, struct freeze_result *out,
		    struct err *err);

#endif
