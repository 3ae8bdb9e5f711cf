// SPDX-License-Identifier: Apache-2.0
/*
 * The control protocol's lines: splitting, decoding, encoding. No I/O and no
 * state beyond the caller's structs; any thread, one at a time per object.
 *
 *   request  {"version":1,"verb":"sync","args":{...}}
 *   reply    {"progress":{...}} or {"part":{...}}, any number of them, then
 *            {"result":{...}}
 *            or {"error":{"code","message","object","remedy"},"exit":N}
 *
 * What came from the other side is bounded before it is parsed (the caps of
 * struct ctl_lines) and typed before it is used; JSON with duplicate keys,
 * NUL characters or bytes that are no UTF-8 is refused by the parser.
 */
#include "control/ctlproto.h"

#include <errno.h>
#include <limits.h>
#include <string.h>


#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* 15 digits: 0.1 stays 0.1. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))
#define _cleanup_json_ _cleanup_(json_decrefp)

static const struct {
	const char *code;
	enum ctl_exit exit;
} exits[] = {
	{ "usage", CTL_EXIT_USAGE },
	{ "bad-argument", CTL_EXIT_USAGE },
	{ "ambiguous", CTL_EXIT_USAGE },
	{ "no-daemon", CTL_EXIT_NO_DAEMON },
	{ "not-confirmed", CTL_EXIT_REFUSED },
	{ "daemon-runs", CTL_EXIT_REFUSED },
	{ "store-busy", CTL_EXIT_REFUSED },
	{ "target-in-use", CTL_EXIT_REFUSED },
	{ "device-changed", CTL_EXIT_REFUSED },
	{ "size-changed", CTL_EXIT_REFUSED },
	{ "name-taken", CTL_EXIT_REFUSED },
	{ "old-epoch", CTL_EXIT_REFUSED },
	{ "head-mismatch", CTL_EXIT_REFUSED },
	{ "store-on-volume", CTL_EXIT_REFUSED },
	{ "no-quiesce", CTL_EXIT_REFUSED },
	{ "quiesce-refused", CTL_EXIT_REFUSED },
	{ "quiesce-hidden", CTL_EXIT_REFUSED },
	{ "nothing-to-freeze", CTL_EXIT_REFUSED },
	{ "already-frozen", CTL_EXIT_REFUSED },
};

enum ctl_exit ctl_exit_of(const struct err *err)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(exits); i++)
		if (!strcmp(err->code, exits[i].code))
			return exits[i].exit;
	return CTL_EXIT_FAILED;
}

void ctl_lines_init(struct ctl_lines *l, size_t cap_bytes)
{
	memset(l, 0, sizeof(*l));
	l->cap_bytes = cap_bytes;
}

void ctl_lines_free(struct ctl_lines *l)
{
	/* A key may have passed through here (`key export`). */
	buf_wipe(&l->buf);
}

static void drop_taken(struct ctl_lines *l)
{
	if (l->taken)
		buf_consume(&l->buf, l->taken);
	l->taken = 0;
}

int ctl_lines_feed(struct ctl_lines *l, const void *p, size_t n)
{
	drop_taken(l);
	buf_put(&l->buf, p, n);
	return l->buf.failed ? -ENOMEM : 0;
}

int ctl_lines_next(struct ctl_lines *l, const char **line, size_t *n)
{
	const uint8_t *end;

	drop_taken(l);
	if (l->buf.failed)
		return -ENOMEM;
	if (l->buf.len == l->scanned)
		return l->buf.len >= l->cap_bytes ? -EMSGSIZE : 1;
	end = memchr(l->buf.data + l->scanned, '\n', l->buf.len - l->scanned);
	if (!end) {
		l->scanned = l->buf.len;
		return l->buf.len >= l->cap_bytes ? -EMSGSIZE : 1;
	}
	*line = (const char *)l->buf.data;
	*n = (size_t)(end - l->buf.data);
	if (*n + 1 > l->cap_bytes)
		return -EMSGSIZE;
	l->taken = *n + 1;
	l->scanned = 0;
	return 0;
}

void ctl_request_free(struct ctl_request *r)
{
	int i;

	for (i = 0; i < r->n_fds; i++)
		if (r->fds[i] >= 0)
			(void)close(r->fds[i]);
	r->n_fds = 0;
	json_decref(r->args);
	r->args = NULL;
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, -EPROTO, "bad-request", "control protocol", "%s",
		       what);
}

/* One JSON object, or NULL with err told. */
static json_t *parse_object(const char *line, size_t n, struct err *err)
{
	json_error_t je;
	json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, &je);

	if (!j) {
		bad(err, "a line is not valid JSON");
		return NULL;
	}
	if (!json_is_object(j)) {
		bad(err, "a line is not a JSON object");
		json_decref(j);
		return NULL;
	}
	return j;
}

int ctl_request_decode(const char *line, size_t n, struct ctl_request *r,
		       struct err *err)
{
	_cleanup_json_ json_t *j = parse_object(line, n, err);
	json_t *version, *args;
	const char *verb;

	r->verb[0] = 0;
	r->args = NULL;
	if (!j)
		return -EPROTO;
	version = json_object_get(j, "version");
	if (!json_is_integer(version))
		return bad(err, "a request without a version");
	if (json_integer_value(version) != CTL_VERSION) {
		err_set(err, -EPROTONOSUPPORT, "bad-version",
			"control protocol", "version %lld is not known here",
			(long long)json_integer_value(version));
		err_remedy(err, "use an understudyctl of the daemon's version");
		return -EPROTONOSUPPORT;
	}
	verb = json_string_value(json_object_get(j, "verb"));
	if (!verb || !*verb || strlen(verb) > CTL_VERB_MAX)
		return bad(err, "a request without a verb");
	args = json_object_get(j, "args");
	if (args && !json_is_object(args))
		return bad(err, "args is not an object");
	if (json_object_size(j) != (args ? 3 : 2))
		return bad(err, "a request with unknown members");
	r->args = args ? json_incref(args) : json_object();
	if (!r->args)
		return err_set(err, -ENOMEM, "no-memory", "control protocol",
			       "out of memory");
	strcpy(r->verb, verb);
	return 0;
}

/* Appends j as one line; takes j. */
static int put_line(json_t *taken, size_t cap_bytes, struct buf *out)
{
	_cleanup_json_ json_t *j = taken;
	size_t before = out->len;
	size_t n;
	char *p;

	if (!j)
		return -ENOMEM;
	n = json_dumpb(j, NULL, 0, DUMP_FLAGS);
	if (!n)
		return -ENOMEM;
	if (n + 1 > cap_bytes)
		return -EMSGSIZE;
	p = (char *)buf_extend(out, n + 1);
	if (!p)
		return -ENOMEM;
	if (json_dumpb(j, p, n, DUMP_FLAGS) != n) {
		out->len = before;
		return -ENOMEM;
	}
	p[n] = '\n';
	return 0;
}

int ctl_request_encode(const char *verb, json_t *args, struct buf *out)
{
	json_t *j = json_pack("{s:i,s:s,s:O*}", "version", CTL_VERSION, "verb",
			      verb, "args", args);

	return put_line(j, CTL_MAX_REQUEST_BYTES, out);
}

static const char *const kind_names[] = {
	[CTL_REPLY_PROGRESS] = "progress",
	[CTL_REPLY_PART] = "part",
	[CTL_REPLY_RESULT] = "result",
	[CTL_REPLY_ERROR] = "error",
};

void ctl_reply_free(struct ctl_reply *r)
{
	json_decref(r->body);
	r->body = NULL;
}

static void take_text(const json_t *body, const char *key, char *out,
		      size_t cap)
{
	const char *s = json_string_value(json_object_get(body, key));
	size_t n = s ? strnlen(s, cap - 1) : 0;

	memcpy(out, s ? s : "", n);
	out[n] = 0;
}

static int decode_error(const json_t *line, struct ctl_reply *r,
			struct err *err)
{
	json_t *code = json_object_get(line, "exit");
	struct err *e = &r->err;

	err_clear(e);
	e->num = -EREMOTEIO;
	take_text(r->body, "code", e->code, sizeof(e->code));
	take_text(r->body, "message", e->message, sizeof(e->message));
	take_text(r->body, "object", e->object, sizeof(e->object));
	take_text(r->body, "remedy", e->remedy, sizeof(e->remedy));
	if (!e->code[0] || !e->message[0])
		return bad(err, "an error reply without code or message");
	if (!json_is_integer(code) || json_integer_value(code) < 1 ||
	    json_integer_value(code) > CTL_EXIT_REFUSED)
		return bad(err, "an error reply without an exit code");
	r->exit = (int)json_integer_value(code);
	return 0;
}

int ctl_reply_decode(const char *line, size_t n, struct ctl_reply *r,
		     struct err *err)
{
	_cleanup_json_ json_t *j = parse_object(line, n, err);
	size_t i;

	memset(r, 0, sizeof(*r));
	if (!j)
		return -EPROTO;
	for (i = 0; i < ARRAY_SIZE(kind_names); i++) {
		json_t *body = json_object_get(j, kind_names[i]);

		if (!json_is_object(body))
			continue;
		r->kind = (enum ctl_reply_kind)i;
		r->body = json_incref(body);
		if (r->kind != CTL_REPLY_ERROR)
			return 0;
		return decode_error(j, r, err);
	}
	return bad(err, "a reply of an unknown kind");
}

int ctl_reply_encode(enum ctl_reply_kind kind, json_t *body, struct buf *out)
{
	json_t *j = json_pack("{s:o}", kind_names[kind], body);

	return put_line(j, CTL_MAX_REPLY_BYTES, out);
}

/* Text of ours that may quote bytes of anybody's (a device path, say). */
json_t *ctl_text_json(const char *s)
{
	json_t *j;

	if (!*s)
		return json_null();
	j = json_string(s);
	if (!j) {
		char clean[512];
		size_t i;

		for (i = 0; i < sizeof(clean) - 1 && s[i]; i++)
			clean[i] = (s[i] & 0x80) ? '?' : s[i];
		clean[i] = 0;
		j = json_string(clean);
	}
	return j;
}

json_t *ctl_seconds_json(uint64_t ns)
{
	return json_real((double)(ns / NSEC_PER_MSEC) / 1e3);
}

json_t *ctl_time_json(int64_t wall_ns)
{
	char text[32];

	time_format_utc(wall_ns, text);
	return json_string(text);
}

char *ctl_json_line(const json_t *j)
{
	return json_dumps(j, DUMP_FLAGS);
}

json_t *ctl_error_json(const struct err *err)
{
	return json_pack("{s:o,s:o,s:o,s:o}", "code",
			 ctl_text_json(err->code[0] ? err->code : "error"),
			 "message",
			 ctl_text_json(err->message[0] ? err->message : "failed"),
			 "object", ctl_text_json(err->object), "remedy",
			 ctl_text_json(err->remedy));
}

int ctl_error_encode(const struct err *err, int exit, json_t *details,
		     struct buf *out)
{
	json_t *body = ctl_error_json(err);

	if (body && details && json_object_update_missing(body, details) < 0) {
		json_decref(body);
		body = NULL;
	}
	return put_line(json_pack("{s:o,s:i}", "error", body, "exit", exit),
			CTL_MAX_REPLY_BYTES, out);
}

static bool text_is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static int bad_arg(const char *key, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "bad-argument", key, "%s", what);
}

static int decode_arg(const json_t *value, const struct ctl_arg *a, void *out,
		      struct err *err)
{
	const char *s;

	switch (a->type) {
	case CTL_ARG_TEXT:
		s = json_string_value(value);
		if (!s)
			return bad_arg(a->key, "not a text", err);
		if (strlen(s) >= a->size)
			return bad_arg(a->key, "too long", err);
		if (!text_is_plain(s))
			return bad_arg(a->key, "control characters", err);
		if (!*s && a->required)
			return bad_arg(a->key, "empty", err);
		memcpy(out, s, strlen(s) + 1);
		return 0;
	case CTL_ARG_BOOL:
		if (!json_is_boolean(value))
			return bad_arg(a->key, "not true or false", err);
		*(bool *)out = json_is_true(value);
		return 0;
	case CTL_ARG_U64:
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return bad_arg(a->key, "not a whole number", err);
		*(uint64_t *)out = (uint64_t)json_integer_value(value);
		return 0;
	}
	return bad_arg(a->key, "of no known type", err);
}

int ctl_args_decode(const json_t *args, const struct ctl_arg *table, size_t n,
		    void *out, struct err *err)
{
	size_t i, seen = 0;
	int ret;

	for (i = 0; i < n; i++) {
		const json_t *value = json_object_get(args, table[i].key);
		void *field = (char *)out + table[i].offset;

		memset(field, 0, table[i].size);
		if (!value) {
			if (table[i].required)
				return bad_arg(table[i].key, "missing", err);
			continue;
		}
		ret = decode_arg(value, &table[i], field, err);
		if (ret < 0)
			return ret;
		seen++;
	}
	if (seen != json_object_size(args))
		return err_set(err, -EINVAL, "bad-argument", "request",
			       "an argument this daemon does not know");
	return 0;
}
