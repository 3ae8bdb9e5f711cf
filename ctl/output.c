// SPDX-License-Identifier: Apache-2.0
/*
 * Results, failures and tables. One thread.
 *
 * Texts come from a daemon, and through it from a peer: control characters
 * are replaced before they reach a terminal (libsmartcols does so by itself).
 */
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libsmartcols.h>

#include "base/clock.h"
#include "base/units.h"

static void put_plain(FILE *f, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		(void)fputc(c < 0x20 || c == 0x7f ? '?' : c, f);
	}
}

static void print_failure(const struct err *err)
{
	(void)fputs("understudyctl: ", stderr);
	put_plain(stderr, err->message);
	if (*err->remedy) {
		(void)fputs("\n  ", stderr);
		put_plain(stderr, err->remedy);
	}
	(void)fputc('\n', stderr);
}

int output_failure_json(bool json, const struct err *err, const json_t *error,
			int exit)
{
	json_t *line;

	if (!json) {
		print_failure(err);
		return exit;
	}
	line = json_pack("{s:O}", "error", error);
	if (line)
		(void)output_json(line);
	json_decref(line);
	return exit;
}

int output_failure(bool json, const struct err *err)
{
	json_t *error = ctl_error_json(err);
	int exit = output_failure_json(json, err, error,
				       (int)ctl_exit_of(err));

	json_decref(error);
	return exit;
}

int output_json(const json_t *j)
{
	char *line = ctl_json_line(j);
	int ret = CTL_EXIT_FAILED;

	if (line && puts(line) >= 0)
		ret = CTL_EXIT_DONE;
	free(line);
	return ret;
}

const char *output_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

unsigned long long output_number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (unsigned long long)v : 0;
}

void output_size(const json_t *o, const char *key, char out[24])
{
	const json_t *v = json_object_get(o, key);

	if (json_is_integer(v) && json_integer_value(v) >= 0)
		size_format((uint64_t)json_integer_value(v), out);
	else
		strcpy(out, "-");
}

void output_seconds(const json_t *o, const char *key, char out[24])
{
	double s = json_number_value(json_object_get(o, key));

	if (json_is_number(json_object_get(o, key)) && s >= 0 && s < 1e9)
		duration_format((uint64_t)(s * 1e3 + 0.5) * NSEC_PER_MSEC, out);
	else
		strcpy(out, "-");
}

/* ---- tables ---- */

struct output_table {
	struct libscols_table *table;
	struct libscols_line *line;
	size_t column;
	bool failed;
};

struct output_table *output_table_new(const struct output_column *columns,
				      size_t n)
{
	struct output_table *t = calloc(1, sizeof(*t));
	size_t i;

	if (!t)
		return NULL;
	t->table = scols_new_table();
	t->failed = !t->table;
	for (i = 0; !t->failed && i < n; i++)
		t->failed = !scols_table_new_column(t->table, columns[i].name,
						    0,
						    columns[i].right ?
							    SCOLS_FL_RIGHT :
							    0);
	return t;
}

void output_table_row(struct output_table *t)
{
	if (!t || t->failed)
		return;
	t->line = scols_table_new_line(t->table, NULL);
	t->failed = !t->line;
	t->column = 0;
}

void output_table_cell(struct output_table *t, const char *text)
{
	if (!t || t->failed)
		return;
	if (scols_line_set_data(t->line, t->column++, text))
		t->failed = true;
}

void output_table_free(struct output_table *t)
{
	if (!t)
		return;
	if (t->table)
		scols_unref_table(t->table);
	free(t);
}

int output_table_end(struct output_table *t)
{
	int ret = CTL_EXIT_FAILED;

	if (t && !t->failed && !scols_print_table(t->table))
		ret = CTL_EXIT_DONE;
	output_table_free(t);
	return ret;
}
