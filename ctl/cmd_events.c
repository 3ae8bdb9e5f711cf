// SPDX-License-Identifier: Apache-2.0
/*
 * `events`: lines as they come, so that nothing is kept and a reader at the
 * other end of a pipe is not behind. With --json each line is an object.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "client.h"
#include "output.h"

/* What --follow alone begins with. */
#define FOLLOW_LAST 10

struct events_args {
	bool follow;
	const char *since;
};

const struct opt events_opts[] = {
	{ "--follow", OPT_FLAG, offsetof(struct events_args, follow), NULL,
	  "go on with what happens, until interrupted" },
	{ "--since", OPT_TEXT, offsetof(struct events_args, since), "TIME",
	  "no older ones" },
	{ 0 },
};

/* Part of it may be a peer's words: nothing for the terminal to obey. */
static void print_clean(const char *s, int width)
{
	int n = 0;

	for (; *s; s++, n++)
		(void)putchar(iscntrl((unsigned char)*s) ? '?' : *s);
	for (; n < width; n++)
		(void)putchar(' ');
}

static void print_count(const json_t *e)
{
	long long count = json_integer_value(json_object_get(e, "count"));

	if (count < 2)
		return;
	(void)printf(" (%lld times", count);
	if (json_is_string(json_object_get(e, "since"))) {
		(void)fputs(" since ", stdout);
		print_clean(output_text(e, "since"), 0);
	}
	(void)putchar(')');
}

static void print_line(const json_t *e)
{
	print_clean(output_text(e, "time"), 24);
	(void)fputs("  ", stdout);
	print_clean(output_text(e, "role"), 7);
	(void)putchar(' ');
	print_clean(output_text(e, "object"), 16);
	(void)putchar(' ');
	print_clean(output_text(e, "slug"), 18);
	(void)putchar(' ');
	if (json_is_string(json_object_get(e, "reason"))) {
		(void)putchar('[');
		print_clean(output_text(e, "reason"), 0);
		(void)fputs("] ", stdout);
	}
	print_clean(output_text(e, "message"), 0);
	print_count(e);
	(void)putchar('\n');
}

static int take_part(void *arg, const json_t *body, struct err *err)
{
	const struct ctl *ctl = arg;
	const json_t *e;
	size_t i;

	json_array_foreach(json_object_get(body, "events"), i, e) {
		if (ctl->json)
			(void)output_json(e);
		else
			print_line(e);
	}
	if (fflush(stdout) || ferror(stdout))
		return err_set(err, -EPIPE, "failed", "events",
			       "nobody reads them any more");
	return 0;
}

/* Events that are not on the disk, and never will be. */
static void print_trouble(const json_t *result)
{
	long long lost = json_integer_value(json_object_get(result, "lost"));
	const char *failure =
		json_string_value(json_object_get(result, "failure"));

	if (failure)
		(void)fprintf(stderr, "understudyctl: events are kept in "
			      "memory only: %s\n", failure);
	if (lost)
		(void)fprintf(stderr, "understudyctl: %lld events could not "
			      "be written and are lost\n", lost);
}

int cmd_events(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct events_args *a = o;
	struct client_request rq = {
		.verb = "events",
		.patience_ms = CLIENT_PATIENCE_MS,
		.part = take_part,
		.arg = ctl,
	};
	struct client_reply reply;
	struct err err = ERR_INIT;
	int64_t since_ns = 0;
	int ret;

	(void)args, (void)n_args;
	if (a->since &&
	    (time_parse(a->since, clock_wall_ns(clock_real()), &since_ns) < 0 ||
	     since_ns <= 0)) {
		err_set(&err, -EINVAL, "usage", "--since",
			"\"%s\" is no time", a->since);
		err_remedy(&err, "write 2026-11-21T13:00:00Z, "
			   "\"2026-11-21 13:00\" or -10m");
		return output_failure(ctl->json, &err);
	}
	rq.args = json_pack("{s:b,s:I,s:I}", "follow", a->follow, "since_ns",
			    (json_int_t)since_ns, "last",
			    (json_int_t)(a->follow && !a->since ? FOLLOW_LAST :
								  0));
	ret = client_call(ctl, &rq, &reply);
	if (ret < 0) {
		ret = client_failure(ctl, &reply);
	} else {
		ret = CTL_EXIT_DONE;
		print_trouble(reply.result);
	}
	client_reply_free(&reply);
	return ret;
}
