// SPDX-License-Identifier: Apache-2.0
/*
 * Configuration files over inih. One thread at a time: inih's settings are
 * globals. Memory only, but for reading the file.
 *
 * inih splits "key = value" and strips blanks and comments. Around it:
 *  - we are its line reader, and so know the number of the line that it is
 *    at: Debian's library is built without line numbers;
 *  - section headings are read here and inih sees an empty line: it would
 *    cut a name at 50 bytes without a word, and never tell of an empty section;
 *  - lines reach it without leading blanks: it would take an indented one as
 *    the continuation of the last value;
 *  - a line longer than the limit is an error, not two lines.
 */
#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <ini.h>

#include "base/io.h"
#include "base/units.h"

struct parser {
	struct conf *conf;
	const char *p;			/* rest of the text */
	size_t left;
	unsigned int line;		/* that inih is at, from 1 */
	int r;				/* first failure; the rest is skipped */
	struct err *err;
};

int conf_error(const struct conf *c, unsigned int line, struct err *err,
	       const char *fmt, ...)
{
	char object[sizeof(((struct err *)0)->object)];
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* A long path loses its front: the line number must stay. */
	if (strlen(c->path) > sizeof(object) - 16)
		(void)snprintf(object, sizeof(object), "...%s:%u",
			       c->path + strlen(c->path) - 96, line);
	else
		(void)snprintf(object, sizeof(object), "%.112s:%u", c->path,
			       line);
	return err_set(err, -EINVAL, "config", object, "%s", text);
}

void conf_free(struct conf *c)
{
	size_t i, j;

	if (!c)
		return;
	for (i = 0; i < c->n_sections; i++) {
		struct conf_section *s = &c->sections[i];

		for (j = 0; j < s->n_items; j++) {
			free(s->items[j].key);
			free(s->items[j].value);
		}
		free(s->items);
		free(s->type);
		free(s->name);
	}
	free(c->sections);
	free(c->path);
	free(c);
}

/* Room for one more element in an array that grows by doubling. */
static void *grown(void *array, size_t n, size_t size)
{
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? n * 2 : 1, size);
}

static int out_of_memory(struct parser *ps)
{
	if (ps->r == 0)
		ps->r = err_sys(ps->err, -ENOMEM, "no-memory", ps->conf->path,
				"read the configuration");
	return ps->r;
}

static bool add_section(struct conf *c, unsigned int line, const char *type,
			size_t type_len, const char *name)
{
	struct conf_section *s;
	void *p;

	p = grown(c->sections, c->n_sections, sizeof(*s));
	if (!p)
		return false;
	c->sections = p;
	s = &c->sections[c->n_sections];
	memset(s, 0, sizeof(*s));
	s->line = line;
	s->type = strndup(type, type_len);
	s->name = strdup(name);
	c->n_sections++;		/* conf_free sees a half-made one too */
	return s->type && s->name;
}

static bool add_item(struct conf_section *s, unsigned int line,
		     const char *key, const char *value)
{
	struct conf_item *it;
	void *p;

	p = grown(s->items, s->n_items, sizeof(*it));
	if (!p)
		return false;
	s->items = p;
	it = &s->items[s->n_items];
	memset(it, 0, sizeof(*it));
	it->line = line;
	it->key = strdup(key);
	it->value = strdup(value);
	s->n_items++;
	return it->key && it->value;
}

static char *strip_end(char *s)
{
	size_t n = strlen(s);

	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
	return s;
}

/* Is the rest after a heading's "]" empty, or a comment after a blank? */
static bool is_heading_tail(const char *s)
{
	bool blank = false;

	for (; isspace((unsigned char)*s); s++)
		blank = true;
	return !*s || (blank && *s == ';');
}

/* line is "[type name]" and what follows; it is changed. */
static void take_heading(struct parser *ps, char *line)
{
	char *end = strchr(line, ']');
	char *type, *name;
	size_t type_len;

	if (!end || !is_heading_tail(end + 1)) {
		ps->r = conf_error(ps->conf, ps->line, ps->err,
				   "a section heading is [type] or [type name]");
		return;
	}
	*end = 0;
	type = line + 1 + strspn(line + 1, " \t");
	type_len = strcspn(type, " \t");
	name = strip_end(type + type_len + strspn(type + type_len, " \t"));
	if (!type_len)
		ps->r = conf_error(ps->conf, ps->line, ps->err,
				   "a section needs a type");
	else if (!add_section(ps->conf, ps->line, type, type_len, name))
		out_of_memory(ps);
}

/* Copies the next line, without leading blanks, to out. False at the end. */
static bool next_line(struct parser *ps, char *out, size_t cap)
{
	const char *nl;
	size_t n;

	if (!ps->left || ps->r)
		return false;
	ps->line++;
	nl = memchr(ps->p, '\n', ps->left);
	n = nl ? (size_t)(nl - ps->p) : ps->left;
	out[0] = 0;
	if (n > CONF_LINE_MAX || n + 2 > cap) {
		ps->r = conf_error(ps->conf, ps->line, ps->err,
				   "line longer than %u bytes", CONF_LINE_MAX);
	} else {
		size_t skip = 0;

		while (skip < n && isspace((unsigned char)ps->p[skip]))
			skip++;
		memcpy(out, ps->p + skip, n - skip);
		out[n - skip] = 0;
	}
	n += nl != NULL;
	ps->p += n;
	ps->left -= n;
	return true;
}

/* What inih calls for a line: fgets over our text. */
static char *read_line(char *out, int cap, void *arg)
{
	struct parser *ps = arg;

	if (!next_line(ps, out, (size_t)cap))
		return NULL;
	if (*out == '[') {
		take_heading(ps, out);
		*out = 0;
	}
	if (ps->r)
		*out = 0;
	strcat(out, "\n");		/* next_line left room */
	return out;
}

static int take_item(void *arg, const char *section, const char *key,
		     const char *value)
{
	struct parser *ps = arg;
	struct conf *c = ps->conf;

	(void)section;
	if (ps->r)
		return 1;
	if (!c->n_sections)
		ps->r = conf_error(c, ps->line, ps->err,
				   "\"%s\" stands before the first section",
				   key);
	else if (!*key)
		ps->r = conf_error(c, ps->line, ps->err,
				   "a key is missing before the \"=\"");
	else if (!add_item(&c->sections[c->n_sections - 1], ps->line, key,
			   value))
		out_of_memory(ps);
	return 1;
}

static void set_inih_limits(void)
{
	ini_use_stack = false;
	ini_allow_realloc = false;
	ini_max_line = CONF_LINE_MAX + 3;
	ini_initial_alloc = CONF_LINE_MAX + 3;
	ini_allow_multiline = false;
	ini_allow_inline_comments = true;
	ini_allow_no_value = false;
	ini_stop_on_first_error = true;
}

static int parse(struct parser *ps, const char *text, size_t len)
{
	const char *nul = memchr(text, 0, len);
	int bad;

	if (nul) {
		for (ps->line = 1; text < nul; text++)
			ps->line += *text == '\n';
		return conf_error(ps->conf, ps->line, ps->err,
				  "a zero byte: this is no text file");
	}
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;		/* a byte order mark */
		len -= 3;
	}
	ps->p = text;
	ps->left = len;
	set_inih_limits();
	bad = ini_parse_stream(read_line, ps, take_item, ps);
	if (ps->r)
		return ps->r;
	if (bad > 0)
		return conf_error(ps->conf, (unsigned int)bad, ps->err,
				  "neither a section, nor \"key = value\", nor a comment");
	return bad < 0 ? out_of_memory(ps) : 0;
}

int conf_parse_text(const char *path, const char *text, size_t len,
		    struct conf **out, struct err *err)
{
	_cleanup_(conf_freep) struct conf *c = calloc(1, sizeof(*c));
	struct parser ps = { .conf = c, .err = err };
	int r;

	if (c)
		c->path = strdup(path);
	if (!c || !c->path)
		return err_sys(err, -ENOMEM, "no-memory", path,
			       "read the configuration");
	r = parse(&ps, text, len);
	if (r < 0)
		return r;
	*out = TAKE_PTR(c);
	return 0;
}

int conf_parse_file(const char *path, struct conf **out, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = io_read_file(io_posix(), AT_FDCWD, path, CONF_FILE_MAX, &text,
			 &len);
	if (r < 0)
		return err_sys(err, r, "config", path,
			       "read the configuration");
	return conf_parse_text(path, text, len, out, err);
}

struct conf_section *conf_section_find(const struct conf *c, const char *type,
				       const char *name)
{
	size_t i;

	for (i = 0; i < c->n_sections; i++)
		if (!strcmp(c->sections[i].type, type) &&
		    (!name || !strcmp(c->sections[i].name, name)))
			return &c->sections[i];
	return NULL;
}

struct conf_item *conf_item_find(struct conf_section *s, const char *key)
{
	size_t i;

	for (i = 0; i < s->n_items; i++) {
		if (!strcmp(s->items[i].key, key)) {
			s->items[i].used = true;
			return &s->items[i];
		}
	}
	return NULL;
}

int conf_check_unique(const struct conf *c, const struct conf_section *s,
		      struct err *err)
{
	size_t i, j;

	for (i = 0; i < s->n_items; i++)
		for (j = 0; j < i; j++)
			if (!strcmp(s->items[i].key, s->items[j].key))
				return conf_error(c, s->items[i].line, err,
						  "%s: given twice, first in line %u",
						  s->items[i].key,
						  s->items[j].line);
	return 0;
}

int conf_check_used(const struct conf *c, const struct conf_section *s,
		    struct err *err)
{
	size_t i;

	for (i = 0; i < s->n_items; i++)
		if (!s->items[i].used)
			return conf_error(c, s->items[i].line, err,
					  "%s: unknown key in [%s%s%s]",
					  s->items[i].key, s->type,
					  *s->name ? " " : "", s->name);
	return 0;
}

static int bad_value(const struct conf *c, const struct conf_item *it,
		     struct err *err, const char *want)
{
	return conf_error(c, it->line, err, "%s: \"%.64s\" is not %s", it->key,
			  it->value, want);
}

int conf_bool(const struct conf *c, struct conf_item *it, bool *out,
	      struct err *err)
{
	static const char *const names[] = { "no",   "yes", "false", "true",
					     "off",  "on",  NULL };
	int i, r;

	r = conf_choice(c, it, names, &i, err);
	if (r == 0)
		*out = i % 2;
	return r;
}

int conf_u64(const struct conf *c, struct conf_item *it, uint64_t min,
	     uint64_t max, uint64_t *out, struct err *err)
{
	uint64_t v = 0;
	const char *s;

	it->used = true;
	for (s = it->value; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			break;
	if (!*it->value || *s)
		return bad_value(c, it, err, "a number");
	if (v < min || v > max)
		return conf_error(c, it->line, err,
				  "%s: %s lies outside %" PRIu64 " to %" PRIu64,
				  it->key, it->value, min, max);
	*out = v;
	return 0;
}

/* One of the unit parsers; they differ in what the error says. */
static int quantity(const struct conf *c, struct conf_item *it,
		    int (*parse_it)(const char *s, uint64_t *out),
		    const char *want, uint64_t *out, struct err *err)
{
	int r;

	it->used = true;
	r = parse_it(it->value, out);
	if (r == -ERANGE)
		return conf_error(c, it->line, err, "%s: \"%.64s\" is too large",
				  it->key, it->value);
	return r < 0 ? bad_value(c, it, err, want) : 0;
}

int conf_size(const struct conf *c, struct conf_item *it, uint64_t *out_bytes,
	      struct err *err)
{
	return quantity(c, it, size_parse,
			"a size such as 128MiB (KiB MiB GiB TiB)", out_bytes,
			err);
}

int conf_rate(const struct conf *c, struct conf_item *it,
	      uint64_t *out_bytes_per_s, struct err *err)
{
	return quantity(c, it, rate_parse, "a rate such as 200MiB/s",
			out_bytes_per_s, err);
}

int conf_duration(const struct conf *c, struct conf_item *it,
		  uint64_t *out_ns, struct err *err)
{
	return quantity(c, it, duration_parse,
			"a time such as 10s (ms s m h d w y)", out_ns, err);
}

int conf_choice(const struct conf *c, struct conf_item *it,
		const char *const *names, int *out, struct err *err)
{
	char list[160] = "one of";
	int i;

	it->used = true;
	for (i = 0; names[i]; i++) {
		size_t n = strlen(list);

		if (!strcmp(it->value, names[i])) {
			*out = i;
			return 0;
		}
		(void)snprintf(list + n, sizeof(list) - n, " %s", names[i]);
	}
	return bad_value(c, it, err, list);
}

int conf_name(const struct conf *c, struct conf_item *it, char out[65],
	      struct err *err)
{
	it->used = true;
	if (!name_is_valid(it->value))
		return bad_value(c, it, err,
				 "a name (1 to 64 of A-Z a-z 0-9 . _ -)");
	memcpy(out, it->value, strlen(it->value) + 1);
	return 0;
}

int conf_path(const struct conf *c, struct conf_item *it, const char **out,
	      struct err *err)
{
	it->used = true;
	if (it->value[0] != '/')
		return bad_value(c, it, err, "an absolute path");
	*out = it->value;
	return 0;
}

int conf_word(const struct conf *c, struct conf_item *it, size_t *pos,
	      char *out, size_t cap, struct err *err)
{
	const char *s = it->value + *pos;
	size_t n;

	it->used = true;
	s += strspn(s, " \t");
	n = strcspn(s, " \t");
	if (!n)
		return 1;
	if (n >= cap)
		return conf_error(c, it->line, err,
				  "%s: \"%.64s\" is longer than %zu bytes",
				  it->key, s, cap - 1);
	memcpy(out, s, n);
	out[n] = 0;
	*pos = (size_t)(s - it->value) + n;
	return 0;
}
