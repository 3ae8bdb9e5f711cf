// SPDX-License-Identifier: Apache-2.0
/* `status`: every volume of a daemon, or one in full; once, or for ever. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "client.h"
#include "output.h"

#define WATCH_SECONDS 1

struct status_args {
	bool watch;
};

const struct opt status_opts[] = {
	{ "--watch", OPT_FLAG, offsetof(struct status_args, watch), NULL,
	  "show it again every second" },
	{ 0 },
};

/* "web1/db1" at a replica. */
static void full_name(const json_t *v, char out[132])
{
	const char *source =
		json_string_value(json_object_get(v, "source"));

	(void)snprintf(out, 132, "%s%s%s", source ? source : "",
		       source ? "/" : "", output_text(v, "name"));
}

static void seq_text(const json_t *v, char out[24])
{
	const json_t *p = json_object_get(v, "last_point");
	const json_t *seq = json_object_get(p, "seq");

	if (json_is_integer(seq))
		(void)snprintf(out, 24, "%lld",
			       (long long)json_integer_value(seq));
	else
		strcpy(out, "-");
}

/* "dr1 connected" */
static void replica_text(const json_t *v, char out[100])
{
	const json_t *r =
		json_array_get(json_object_get(v, "replicas"), 0);

	if (r)
		(void)snprintf(out, 100, "%.64s %.24s", output_text(r, "name"),
			       output_text(r, "state"));
	else
		strcpy(out, "-");
}

static void add_row(struct output_table *t, const json_t *v)
{
	const json_t *point = json_object_get(v, "last_point");
	char text[132];

	output_table_row(t);
	full_name(v, text);
	output_table_cell(t, text);
	output_table_cell(t, output_text(v, "role"));
	output_table_cell(t, output_text(v, "state"));
	output_seconds(v, "rpo_lag_seconds", text);
	output_table_cell(t, text);
	output_size(v, "backlog_bytes", text);
	output_table_cell(t, text);
	seq_text(v, text);
	output_table_cell(t, text);
	output_table_cell(t, output_text(point, "time"));
	replica_text(v, text);
	output_table_cell(t, text);
	output_table_cell(t, output_text(v, "reason"));
}

/* "db1: ..." is not said twice. */
static void print_message(const char *name, const char *message)
{
	size_t n = strlen(name);

	if (!strncmp(message, name, n) && message[n] == ':')
		(void)printf("\n%s\n", message);
	else
		(void)printf("\n%s: %s\n", name, message);
}

/* What a state is about, and the way out. */
static void print_remarks(const json_t *volumes)
{
	const json_t *v;
	char name[132];
	size_t i;

	json_array_foreach(volumes, i, v) {
		if (!json_is_string(json_object_get(v, "message")))
			continue;
		full_name(v, name);
		print_message(name, output_text(v, "message"));
		if (json_is_string(json_object_get(v, "remedy")))
			(void)printf("  %s\n", output_text(v, "remedy"));
	}
}

static int print_table(const json_t *volumes)
{
	static const struct output_column columns[] = {
		{ "VOLUME", false }, { "ROLE", false },	{ "STATE", false },
		{ "LAG", true },     { "BACKLOG", true }, { "POINT", true },
		{ "TIME", false },   { "REPLICA", false }, { "REASON", false },
	};
	struct output_table *t;
	const json_t *v;
	size_t i;
	int ret;

	if (!json_array_size(volumes))
		return puts("no volumes") < 0;
	t = output_table_new(columns, ARRAY_SIZE(columns));
	json_array_foreach(volumes, i, v)
		add_row(t, v);
	ret = output_table_end(t);
	print_remarks(volumes);
	return ret;
}

/* One key of the JSON and how a person reads it. */
static const struct {
	const char *key, *label;
	enum { TEXT, SIZE, SECONDS } as;
} details[] = {
	{ "role", "role", TEXT },
	{ "state", "state", TEXT },
	{ "reason", "reason", TEXT },
	{ "since", "since", TEXT },
	{ "device", "device", TEXT },
	{ "uuid", "uuid", TEXT },
	{ "size_bytes", "size", SIZE },
	{ "block_bytes", "block", SIZE },
	{ "interval_seconds", "interval", SECONDS },
	{ "rpo_seconds", "rpo", SECONDS },
	{ "rpo_lag_seconds", "lag", SECONDS },
	{ "dirty_bytes", "dirty", SIZE },
	{ "backlog_bytes", "backlog", SIZE },
	{ "limited_by", "limited by", TEXT },
	{ "proven_since", "proven since", TEXT },
};

static int print_one(const json_t *volumes)
{
	const json_t *v = json_array_get(volumes, 0);
	const json_t *point = json_object_get(v, "last_point");
	char text[132], seq[24];
	size_t i;

	full_name(v, text);
	(void)printf("volume       %s\n", text);
	for (i = 0; i < ARRAY_SIZE(details); i++) {
		if (!json_object_get(v, details[i].key) ||
		    json_is_null(json_object_get(v, details[i].key)))
			continue;
		if (details[i].as == SIZE)
			output_size(v, details[i].key, text);
		else if (details[i].as == SECONDS)
			output_seconds(v, details[i].key, text);
		(void)printf("%-12s %s\n", details[i].label,
			     details[i].as == TEXT ?
				     output_text(v, details[i].key) :
				     text);
	}
	seq_text(v, seq);
	(void)printf("last point   %s  %s  %s\n", seq,
		     output_text(point, "time"), output_text(point, "kind"));
	replica_text(v, text);
	(void)printf("replica      %s\n", text);
	print_remarks(volumes);
	return CTL_EXIT_DONE;
}

static int show(struct ctl *ctl, const char *volume)
{
	json_t *args = volume ? json_pack("{s:s}", "volume", volume) : NULL;
	json_t *result, *volumes;
	int ret;

	result = client_result(ctl, "status", args, &ret);
	if (!result)
		return ret;
	volumes = json_object_get(result, "volumes");
	if (ctl->json)
		ret = output_json(result);
	else if (volume)
		ret = print_one(volumes);
	else
		ret = print_table(volumes);
	json_decref(result);
	return ret;
}

int cmd_status(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct status_args *a = o;
	const char *volume = n_args ? args[0] : NULL;
	int ret;

	if (!a->watch)
		return show(ctl, volume);
	for (;;) {
		if (!ctl->json && isatty(STDOUT_FILENO))
			(void)fputs("\033[H\033[J", stdout);
		ret = show(ctl, volume);
		if (ret || fflush(stdout))
			return ret ? ret : CTL_EXIT_FAILED;
		(void)sleep(WATCH_SECONDS);
	}
}
