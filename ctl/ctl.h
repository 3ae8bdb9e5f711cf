/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/err.h"
#include "control/ctlproto.h"

/*
 * understudyctl: one process, one thread, one verb. Every command is a row of
 * a table (commands.c) and a function in a file of its own, which returns an
 * exit code and has told of its failure by then.
 */
enum progress_mode {
	PROGRESS_AUTO,			/* a bar on a terminal, else nothing */
	PROGRESS_BAR,
	PROGRESS_JSON,			/* one object a line on standard error */
	PROGRESS_NONE,
};

/* What stands before, or among, the options of any verb. */
struct ctl {
	const char *config;		/* NULL: the default, when it is there */
	const char *socket;		/* NULL: as the configuration says */
	const char *progress_text;
	enum progress_mode progress;
	bool json;
	bool help, version;
};

enum opt_type {
	OPT_FLAG,			/* bool */
	OPT_TEXT,			/* const char *: the last one counts */
	OPT_LIST,			/* struct opt_list: all of them */
};

#define OPT_LIST_MAX 64

struct opt_list {
	const char *items[OPT_LIST_MAX];
	int n;
};

struct opt {
	const char *name;		/* "--label"; NULL ends a table */
	enum opt_type type;
	size_t offset;			/* in the command's struct */
	const char *arg;		/* "TEXT" in the help */
	const char *help;
};

struct command {
	const char *name;		/* "sync", "pki init" */
	const char *usage;		/* after the name */
	const char *summary;
	const struct opt *opts;		/* may be NULL */
	int min_args, max_args;
	/* o points to CTL_OPTS_MAX zeroed bytes that opts were stored in;
	 * NULL: documented, but not done by this build */
	int (*run)(struct ctl *ctl, void *o, char **args, int n_args);
};

#define CTL_OPTS_MAX 2048
extern const struct command commands[];	/* a NULL name ends it */

int cmd_doctor(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pki_init(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pki_renew(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pki_issue(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pki_list(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pki_revoke(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_status(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_sync(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_points(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_pause(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_resume(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_resync(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_restore(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_events(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_why(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_scrub(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_verify(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_key_export(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_remove(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_key_import(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_key_rotate(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_store_check(struct ctl *ctl, void *o, char **args, int n_args);
int cmd_store_rebuild(struct ctl *ctl, void *o, char **args, int n_args);

extern const struct opt store_check_opts[], store_rebuild_opts[];
extern const struct opt doctor_opts[], pki_init_opts[], pki_issue_opts[],
	status_opts[], sync_opts[], points_opts[], resync_opts[],
	restore_opts[], events_opts[], key_export_opts[], remove_opts[],
	scrub_opts[];

#endif
