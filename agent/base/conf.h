/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/*
 * A configuration file as it is written: sections in order, and in each its
 * items in order. Nothing is known here of what a section means; whether a
 * section or a key may repeat is the user's decision.
 *
 *	[type name]              type is the first word, name the rest
 *	key = value              ; a comment needs a blank before the ';'
 *
 * A line holds at most CONF_LINE_MAX bytes, a file CONF_FILE_MAX. There are no
 * continuation lines and no quotes. "key: value" works as well.
 *
 * Typed readers return 0, or a negative errno with err told as
 * "<file>:<line>: <key>: <reason>". Each marks the item as used, so that
 * conf_check_used finds the keys nobody knew.
 */
#define CONF_LINE_MAX 4000U
#define CONF_FILE_MAX (1U << 20)

struct conf_item {
	char *key;
	char *value;			/* may be empty, never NULL */
	unsigned int line;
	bool used;
};

struct conf_section {
	char *type;			/* "replica" of [replica dr1] */
	char *name;			/* "dr1"; "" when there is none */
	unsigned int line;
	struct conf_item *items;
	size_t n_items;
};

struct conf {
	char *path;			/* as errors name it */
	struct conf_section *sections;
	size_t n_sections;
};

/*
 * Read a file. 0 and *out, which the caller frees with conf_free; or negative
 * errno with err told. One thread at a time: the library below has globals.
 */
int conf_parse_file(const char *path, struct conf **out, struct err *err);
/* The same of bytes in memory; path only serves messages. */
int conf_parse_text(const char *path, const char *text, size_t len,
		    struct conf **out, struct err *err);
void conf_free(struct conf *c);
DEFINE_CLEANUP(struct conf, conf_free)

/* Record "<file>:<line>: <text>" with code "config"; returns -EINVAL. */
int conf_error(const struct conf *c, unsigned int line, struct err *err,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* First section of that type (and name, unless NULL), or NULL. */
struct conf_section *conf_section_find(const struct conf *c, const char *type,
				       const char *name);
/* First item with that key, marked as used, or NULL. */
struct conf_item *conf_item_find(struct conf_section *s, const char *key);
/* -EINVAL for the first key that stands twice in s. */
int conf_check_unique(const struct conf *c, const struct conf_section *s,
		      struct err *err);
/* -EINVAL for the first item of s that nobody used: "unknown key". */
int conf_check_used(const struct conf *c, const struct conf_section *s,
		    struct err *err);

/* Readers of one item. */
int conf_bool(const struct conf *c, struct conf_item *it, bool *out,
	      struct err *err);			/* yes no true false on off */
int conf_u64(const struct conf *c, struct conf_item *it, uint64_t min,
	     uint64_t max, uint64_t *out, struct err *err);
int conf_size(const struct conf *c, struct conf_item *it, uint64_t *out_bytes,
	      struct err *err);
int conf_rate(const struct conf *c, struct conf_item *it,
	      uint64_t *out_bytes_per_s, struct err *err);
int conf_duration(const struct conf *c, struct conf_item *it,
		  uint64_t *out_ns, struct err *err);
/* Index of the value in names (NULL-terminated); the error lists them. */
int conf_choice(const struct conf *c, struct conf_item *it,
		const char *const *names, int *out, struct err *err);
/* name_is_valid, copied to out[65]. */
int conf_name(const struct conf *c, struct conf_item *it, char out[65],
	      struct err *err);
/* Not empty, starts with '/'; borrowed from the item. */
int conf_path(const struct conf *c, struct conf_item *it, const char **out,
	      struct err *err);
/*
 * The value's words (split at blanks) one by one: 0 and the next word, copied
 * to out[cap]; 1 at the end; -EINVAL for a word that does not fit. Start with
 * *pos = 0.
 */
int conf_word(const struct conf *c, struct conf_item *it, size_t *pos,
	      char *out, size_t cap, struct err *err);

#endif
