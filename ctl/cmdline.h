/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CMDLINE_H
#define CTL_CMDLINE_H

#include "ctl.h"

/*
 * The command line: "--name value", "--name=value", "--" and words. Names are
 * never abbreviated, so that adding an option breaks nobody's script.
 */
struct cmdline {
	const struct command *command;	/* NULL: none was named */
	char *args[8];
	int n_args;
	/* of the command's options; any alignment will do */
	_Alignas(16) unsigned char opts[CTL_OPTS_MAX];
};

#define CMDLINE_ARGS_MAX 8

/*
 * 0, or -EINVAL with err told (code "usage"). --help and --version end the
 * reading: what follows is not judged.
 */
int cmdline_parse(int argc, char **argv, struct ctl *ctl, struct cmdline *out,
		  struct err *err);
/* Does --json stand anywhere? For failures before the line is understood. */
bool cmdline_wants_json(int argc, char **argv);
/* Help of one command, or of all when it is NULL, on standard output. */
void cmdline_print_help(const struct command *command);

#endif
