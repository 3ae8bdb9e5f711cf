// SPDX-License-Identifier: Apache-2.0
/*
 * understudyctl: reads the command line, runs one command, exits with its
 * code. A result that could not be written is a failure.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <libsmartcols.h>

#include "cmdline.h"
#include "control/version.h"
#include "output.h"

static int run(struct ctl *ctl, struct cmdline *cl)
{
	const struct command *c = cl->command;
	struct err err = ERR_INIT;

	if (c->run)
		return c->run(ctl, cl->opts, cl->args, cl->n_args);
	err_set(&err, -EOPNOTSUPP, "unsupported", c->name,
		"not supported by this build yet");
	err_remedy(&err, "`understudyctl --help` lists what is");
	return output_failure(ctl->json, &err);
}

int main(int argc, char **argv)
{
	static struct cmdline cl;
	struct err err = ERR_INIT;
	struct ctl ctl;
	int ret = CTL_EXIT_DONE;

	(void)signal(SIGPIPE, SIG_IGN);
	if (cmdline_parse(argc, argv, &ctl, &cl, &err) < 0)
		return output_failure(cmdline_wants_json(argc, argv), &err);
	ctl.json = ctl.json || cmdline_wants_json(argc, argv);
	if (ctl.help)
		cmdline_print_help(cl.command);
	else if (ctl.version)
		(void)printf("understudyctl %s\n", UNDERSTUDY_VERSION);
	else
		ret = run(&ctl, &cl);
	if (fflush(stdout) || ferror(stdout)) {
		(void)fputs("understudyctl: standard output: cannot write\n",
			    stderr);
		return ret ? ret : CTL_EXIT_FAILED;
	}
	return ret;
}
