// SPDX-License-Identifier: Apache-2.0
/*
 * Reading the command line by the tables of commands.c. Global options may
 * stand anywhere; a command is one or two words. Pure but for the help.
 */
#include "cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "control/version.h"

static const struct opt global_opts[] = {
	{ "--config", OPT_TEXT, offsetof(struct ctl, config), "FILE",
	  "configuration to find socket and state in" },
	{ "--socket", OPT_TEXT, offsetof(struct ctl, socket), "PATH",
	  "control socket of the daemon" },
	{ "--json", OPT_FLAG, offsetof(struct ctl, json), NULL,
	  "one JSON object on standard output" },
	{ "--progress", OPT_TEXT, offsetof(struct ctl, progress_text), "HOW",
	  "auto, bar, json or none, on standard error" },
	{ "--help", OPT_FLAG, offsetof(struct ctl, help), NULL, "this help" },
	{ "--version", OPT_FLAG, offsetof(struct ctl, version), NULL,
	  "print the version" },
	{ 0 },
};

static int usage(struct err *err, const char *object, const char *what,
		 const struct command *c)
{
	err_set(err, -EINVAL, "usage", object, "%s", what);
	if (c)
		err_remedy(err, "usage: understudyctl %s%s%s", c->name,
			   *c->usage ? " " : "", c->usage);
	else
		err_remedy(err, "`understudyctl --help` lists the commands");
	return -EINVAL;
}

/* ---- commands ---- */

static bool is_first_word(const char *name, const char *word)
{
	size_t n = strlen(word);

	return !strncmp(name, word, n) && (!name[n] || name[n] == ' ');
}

/* "pki" alone, or with a word that is no command of its: what there is. */
static int tell_family(const char *word, struct err *err)
{
	const struct command *c;
	char list[160] = "";

	for (c = commands; c->name; c++) {
		size_t n = strlen(list);

		if (is_first_word(c->name, word) && c->name[strlen(word)])
			(void)snprintf(list + n, sizeof(list) - n, "%s%s",
				       n ? ", " : "",
				       c->name + strlen(word) + 1);
	}
	err_set(err, -EINVAL, "usage", word, "needs one of: %s", list);
	err_remedy(err, "`understudyctl --help` lists the commands");
	return -EINVAL;
}

/* One more word of the command itself; 1 when it is taken. */
static int take_command(struct cmdline *cl, const char **first,
			const char *word, struct err *err)
{
	const struct command *c;
	char name[64];
	bool family = false;

	(void)snprintf(name, sizeof(name), "%s%s%s", *first ? *first : "",
		       *first ? " " : "", word);
	for (c = commands; c->name; c++) {
		if (!strcmp(c->name, name)) {
			cl->command = c;
			return 1;
		}
		family = family || is_first_word(c->name, name);
	}
	if (family) {
		*first = word;
		return 1;
	}
	if (*first)
		return tell_family(*first, err);
	return usage(err, word, "there is no such command", NULL);
}

/* ---- options ---- */

static const struct opt *find_opt(const struct opt *table, const char *arg,
				  size_t n)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == n && !strncmp(table->name, arg, n))
			return table;
	return NULL;
}

static int store_opt(const struct opt *o, void *to, const char *value,
		     struct err *err)
{
	char *field = (char *)to + o->offset;
	struct opt_list *list = (struct opt_list *)(void *)field;

	switch (o->type) {
	case OPT_FLAG:
		*(bool *)field = true;
		break;
	case OPT_TEXT:
		*(const char **)(void *)field = value;
		break;
	case OPT_LIST:
		if (list->n == OPT_LIST_MAX)
			return usage(err, o->name, "given too often", NULL);
		list->items[list->n++] = value;
		break;
	}
	return 0;
}

/* argv[*i] is an option: stores it, steps over its value. */
static int take_option(int argc, char **argv, int *i, struct ctl *ctl,
		       struct cmdline *cl, struct err *err)
{
	const char *arg = argv[*i];
	const char *eq = strchr(arg, '=');
	size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
	const struct opt *o = find_opt(global_opts, arg, n);
	const char *value = NULL;
	void *to = ctl;

	if (!o && cl->command) {
		o = find_opt(cl->command->opts, arg, n);
		to = cl->opts;
	}
	if (!o)
		return usage(err, arg, "there is no such option", cl->command);
	if (o->type == OPT_FLAG) {
		if (eq)
			return usage(err, o->name, "takes no value",
				     cl->command);
	} else {
		value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
		if (!value || !*value)
			return usage(err, o->name, "needs a value",
				     cl->command);
	}
	return store_opt(o, to, value, err);
}

static int parse_progress(struct ctl *ctl, struct err *err)
{
	static const char *const names[] = { "auto", "bar", "json", "none" };
	size_t i;

	if (!ctl->progress_text)
		return 0;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(ctl->progress_text, names[i]) != 0)
			continue;
		ctl->progress = (enum progress_mode)i;
		return 0;
	}
	err_set(err, -EINVAL, "usage", "--progress", "%s is none of auto, bar, "
		"json, none", ctl->progress_text);
	return -EINVAL;
}

/* Of a command that is not done, nothing is known that could be judged. */
static bool is_judged(const struct cmdline *cl)
{
	return !cl->command || cl->command->run;
}

static int finish(struct ctl *ctl, struct cmdline *cl, const char *first,
		  struct err *err)
{
	const struct command *c = cl->command;

	if (ctl->help || ctl->version)
		return 0;
	if (!c)
		return first ? tell_family(first, err) :
			       usage(err, "understudyctl", "needs a command",
				     NULL);
	if (!c->run)
		return 0;
	if (cl->n_args < c->min_args)
		return usage(err, c->name, "an argument is missing", c);
	if (cl->n_args > c->max_args)
		return usage(err, c->name, "too many arguments", c);
	return parse_progress(ctl, err);
}

int cmdline_parse(int argc, char **argv, struct ctl *ctl, struct cmdline *out,
		  struct err *err)
{
	const char *first = NULL;
	bool words_only = false;
	int i, ret = 0;

	memset(ctl, 0, sizeof(*ctl));
	memset(out, 0, sizeof(*out));
	for (i = 1; i < argc && ret >= 0; i++) {
		const char *arg = argv[i];

		if (ctl->help || ctl->version)
			break;
		if (!is_judged(out))
			ctl->help = !strcmp(arg, "--help");
		else if (!words_only && !strcmp(arg, "--"))
			words_only = true;
		else if (!words_only && !strcmp(arg, "-h"))
			ctl->help = true;
		else if (!words_only && arg[0] == '-' && arg[1])
			ret = take_option(argc, argv, &i, ctl, out, err);
		else if (!out->command)
			ret = take_command(out, &first, arg, err);
		else if (out->n_args < CMDLINE_ARGS_MAX)
			out->args[out->n_args++] = argv[i];
		else
			ret = usage(err, arg, "too many arguments",
				    out->command);
	}
	return ret < 0 ? ret : finish(ctl, out, first, err);
}

bool cmdline_wants_json(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--json"))
			return true;
	return false;
}

/* ---- help ---- */

static void print_opts(const struct opt *table)
{
	for (; table && table->name; table++)
		(void)printf("  %s%s%-*s %s\n", table->name,
			     table->arg ? " " : "",
			     20 - (int)strlen(table->name) -
				     (table->arg != NULL),
			     table->arg ? table->arg : "", table->help);
}

void cmdline_print_help(const struct command *command)
{
	const struct command *c;

	if (command) {
		(void)printf("usage: understudyctl %s%s%s\n\n%s%s\n",
			     command->name, *command->usage ? " " : "",
			     command->usage, command->summary,
			     command->run ? "" :
					    "\n(not supported by this build "
					    "yet)");
		if (command->opts)
			(void)printf("\n");
		print_opts(command->opts);
		return;
	}
	(void)printf("usage: understudyctl [--config FILE | --socket PATH] "
		     "[--json] COMMAND ...\n\nCommands:\n");
	for (c = commands; c->name; c++)
		if (c->run)
			(void)printf("  %-12s %s\n", c->name, c->summary);
	(void)printf("\nNot supported by this build yet:\n ");
	for (c = commands; c->name; c++)
		if (!c->run)
			(void)printf(" %s", c->name);
	(void)printf("\n\nOptions:\n");
	print_opts(global_opts);
	(void)printf("\nExit: 0 done, 1 failed, 2 usage, 3 no daemon, 4 "
		     "refused for safety.\n");
}
