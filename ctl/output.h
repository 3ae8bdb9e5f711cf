/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H

#include "ctl.h"

/*
 * What a person or a script gets to see. With --json one object on standard
 * output, also for a failure; without, results on standard output and
 * failures on standard error, ending in the remedy.
 */

/* Tells of a failure; returns the exit code that goes with it. */
int output_failure(bool json, const struct err *err);
/* One that a daemon told of: error is its object, exit its code. */
int output_failure_json(bool json, const struct err *err, const json_t *error,
			int exit);
/* One compact line on standard output. 0, or CTL_EXIT_FAILED. */
int output_json(const json_t *j);

/* Texts of a JSON value for a table: "-" for null. */
const char *output_text(const json_t *o, const char *key);
/* 0 for what is none, or is negative. */
unsigned long long output_number(const json_t *o, const char *key);
void output_size(const json_t *o, const char *key, char out[24]);
void output_seconds(const json_t *o, const char *key, char out[24]);

struct output_column {
	const char *name;
	bool right;			/* aligned to the right */
};

/* A table by libsmartcols. Rows are filled cell by cell, left to right. */
struct output_table;
struct output_table *output_table_new(const struct output_column *columns,
				      size_t n);
void output_table_row(struct output_table *t);
void output_table_cell(struct output_table *t, const char *text);
void output_table_free(struct output_table *t);	/* NULL is fine */
/* Prints and frees. 0, or CTL_EXIT_FAILED. */
int output_table_end(struct output_table *t);

#endif
