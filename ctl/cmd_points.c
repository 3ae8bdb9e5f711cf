// SPDX-License-Identifier: Apache-2.0
/*
 * `points`. They come in parts and may be many: as JSON they are kept in a
 * nameless file until all have come, since a failure must not follow half an
 * object.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "client.h"
#include "output.h"

struct points_args {
	const char *from;
};

const struct opt points_opts[] = {
	{ "--from", OPT_TEXT, offsetof(struct points_args, from), "REPLICA",
	  "ask this replica" },
	{ 0 },
};

struct points_sink {
	struct output_table *table;	/* NULL: JSON, or no row yet */
	bool json;
	FILE *spool;
	bool any;
};

static void add_number(struct output_table *t, const json_t *p,
		       const char *key)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld",
		       (long long)json_integer_value(json_object_get(p, key)));
	output_table_cell(t, text);
}

static void add_size(struct output_table *t, const json_t *p, const char *key)
{
	char text[32];

	output_size(p, key, text);
	output_table_cell(t, text);
}

/* What points of volumes and of groups have both. */
static void add_common(struct output_table *t, const json_t *p)
{
	output_table_cell(t, output_text(p, "time"));
	output_table_cell(t, output_text(p, "received"));
	output_table_cell(t, output_text(p, "kind"));
	output_table_cell(t, output_text(p, "state"));
	add_size(t, p, "changed_bytes");
	add_size(t, p, "stored_bytes");
}

static void add_row(struct output_table *t, const json_t *p)
{
	output_table_row(t);
	add_number(t, p, "seq");
	add_number(t, p, "epoch");
	add_common(t, p);
	output_table_cell(t, output_text(p, "label"));
}

/* db1@12 wal1@40 */
static void add_members(struct output_table *t, const json_t *members)
{
	char text[64 * 90] = "";
	const json_t *m;
	size_t i, n = 0;

	json_array_foreach(members, i, m) {
		int k = snprintf(text + n, sizeof(text) - n, "%s%s@%lld",
				 i ? " " : "", output_text(m, "volume"),
				 (long long)json_integer_value(
					 json_object_get(m, "seq")));

		if (k < 0 || (size_t)k >= sizeof(text) - n)
			break;
		n += (size_t)k;
	}
	output_table_cell(t, text);
}

static void add_group_row(struct output_table *t, const json_t *p)
{
	output_table_row(t);
	add_number(t, p, "seq");
	add_common(t, p);
	add_members(t, json_object_get(p, "members"));
	output_table_cell(t, output_text(p, "label"));
}

static struct output_table *new_table(bool group)
{
	static const struct output_column of_volume[] = {
		{ "POINT", true },   { "EPOCH", true },	  { "TIME", false },
		{ "RECEIVED", false }, { "KIND", false },  { "STATE", false },
		{ "CHANGED", true }, { "STORED", true },  { "LABEL", false },
	};
	static const struct output_column of_group[] = {
		{ "POINT", true },   { "TIME", false },	  { "RECEIVED", false },
		{ "KIND", false },   { "STATE", false },  { "CHANGED", true },
		{ "STORED", true },  { "MEMBERS", false }, { "LABEL", false },
	};

	return group ? output_table_new(of_group, ARRAY_SIZE(of_group)) :
		       output_table_new(of_volume, ARRAY_SIZE(of_volume));
}

static int show_row(struct points_sink *sink, const json_t *p)
{
	bool group = json_object_get(p, "members") != NULL;

	if (!sink->table)
		sink->table = new_table(group);
	if (!sink->table)
		return -ENOMEM;
	if (group)
		add_group_row(sink->table, p);
	else
		add_row(sink->table, p);
	return 0;
}

static int spool_row(struct points_sink *sink, const json_t *p)
{
	_cleanup_free_ char *line = ctl_json_line(p);

	if (!line || fprintf(sink->spool, "%s%s", sink->any ? "," : "",
			     line) < 0)
		return -EIO;
	sink->any = true;
	return 0;
}

static int take_part(void *arg, const json_t *body, struct err *err)
{
	struct points_sink *sink = arg;
	const json_t *p;
	size_t i;

	json_array_foreach(json_object_get(body, "points"), i, p) {
		if ((sink->json ? spool_row(sink, p) : show_row(sink, p)) < 0)
			return err_set(err, -EIO, "failed", "points",
				       "no room for what the daemon answers");
	}
	return 0;
}

/* {"volume":V,"points":[ what was spooled ]}, or "group" */
static int print_spool(struct points_sink *sink, const json_t *result)
{
	const char *what = json_object_get(result, "group") ? "group" :
							      "volume";
	_cleanup_free_ char *name = NULL;
	char bytes[65536];
	size_t n;

	name = json_dumps(json_object_get(result, what), JSON_ENCODE_ANY);
	if (!name || fflush(sink->spool))
		return CTL_EXIT_FAILED;
	rewind(sink->spool);
	(void)printf("{\"%s\":%s,\"points\":[", what, name);
	while ((n = fread(bytes, 1, sizeof(bytes), sink->spool)) > 0)
		(void)fwrite(bytes, 1, n, stdout);
	if (ferror(sink->spool) || puts("]}") < 0)
		return CTL_EXIT_FAILED;
	return CTL_EXIT_DONE;
}

static int open_sink(const struct ctl *ctl, struct points_sink *sink)
{
	sink->json = ctl->json;
	if (ctl->json)
		sink->spool = tmpfile();
	return sink->spool || !ctl->json ? 0 : -ENOMEM;
}

/* With its heads also when there is no row. */
static int print_table(struct points_sink *sink, const json_t *result)
{
	if (!sink->table)
		sink->table = new_table(json_object_get(result, "group"));
	return sink->table ? output_table_end(TAKE_PTR(sink->table)) :
			     CTL_EXIT_FAILED;
}

int cmd_points(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct points_args *a = o;
	struct points_sink sink = { 0 };
	struct client_request rq = {
		.verb = "points",
		.patience_ms = CLIENT_LONG_PATIENCE_MS,
		.part = take_part,
		.arg = &sink,
	};
	struct client_reply reply;
	struct err err = ERR_INIT;
	int ret;

	(void)n_args;
	if (open_sink(ctl, &sink) < 0) {
		err_set(&err, -ENOMEM, "failed", "points",
			"no temporary file, or out of memory");
		return output_failure(ctl->json, &err);
	}
	rq.args = json_pack("{s:s,s:s*}", "volume", args[0], "from", a->from);
	ret = client_call(ctl, &rq, &reply);
	if (ret < 0)
		ret = client_failure(ctl, &reply);
	else if (ctl->json)
		ret = print_spool(&sink, reply.result);
	else
		ret = print_table(&sink, reply.result);
	output_table_free(sink.table);
	if (sink.spool)
		(void)fclose(sink.spool);
	client_reply_free(&reply);
	return ret;
}
