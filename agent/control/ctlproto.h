/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CTLPROTO_H
#define CONTROL_CTLPROTO_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * What understudyctl and understudyd say to each other: lines of JSON over a
 * Unix stream socket, one request a connection (docs/control-protocol.md).
 * Encoding and decoding only; the bytes are moved by control/ctlsock.h.
 */
#define CTL_VERSION 1
#define CTL_DEFAULT_CONFIG "/etc/understudy/understudy.conf"
#define CTL_DEFAULT_STATE "/var/lib/understudy"
#define CTL_DEFAULT_SOCKET "/run/understudy/control.sock"
#define CTL_MAX_REQUEST_BYTES (64U << 10)	/* one line, newline included */
#define CTL_MAX_REPLY_BYTES (4U << 20)		/* any one line of a reply */
#define CTL_MAX_FDS 4
#define CTL_VERB_MAX 31

/*
 * Exit codes of understudyctl. They travel in an error reply; ctl_exit_of
 * finds them by the error's slug.
 */
enum ctl_exit {
	CTL_EXIT_DONE = 0,
	CTL_EXIT_FAILED = 1,
	CTL_EXIT_USAGE = 2,
	CTL_EXIT_NO_DAEMON = 3,
	CTL_EXIT_REFUSED = 4,
};

enum ctl_exit ctl_exit_of(const struct err *err);

/*
 * Splits a byte stream into lines, with a cap on each. A longer one gives
 * -EMSGSIZE and from then on nothing else.
 */
struct ctl_lines {
	struct buf buf;
	size_t cap_bytes;
	size_t scanned;		/* known to hold no newline */
	size_t taken;		/* of the line handed out last */
};

void ctl_lines_init(struct ctl_lines *l, size_t cap_bytes);
void ctl_lines_free(struct ctl_lines *l);	/* wipes what it held */
/* 0, -ENOMEM. */
int ctl_lines_feed(struct ctl_lines *l, const void *p, size_t n);
/*
 * 0 and one line without its newline, valid until the next call of either;
 * 1 when no whole line is there; -EMSGSIZE.
 */
int ctl_lines_next(struct ctl_lines *l, const char **line, size_t *n);

struct ctl_request {
	char verb[CTL_VERB_MAX + 1];
	json_t *args;			/* an object; owned */
	int fds[CTL_MAX_FDS];		/* owned; -1 where there is none */
	int n_fds;
};

/* Closes the descriptors that were not taken. */
void ctl_request_free(struct ctl_request *r);
/*
 * One request line. 0, or -EPROTO / -EPROTONOSUPPORT with err told. Leaves
 * fds alone (set them to none before).
 */
int ctl_request_decode(const char *line, size_t n, struct ctl_request *r,
		       struct err *err);
/* Appends a line to out; args may be NULL. 0, -ENOMEM, -EMSGSIZE. */
int ctl_request_encode(const char *verb, json_t *args, struct buf *out);

enum ctl_reply_kind {
	CTL_REPLY_PROGRESS,	/* body: how far it is; any number of them */
	CTL_REPLY_PART,		/* body: a piece of a long result */
	CTL_REPLY_RESULT,	/* body; the last line */
	CTL_REPLY_ERROR,	/* err, exit, body = the error object; the last */
};

struct ctl_reply {
	enum ctl_reply_kind kind;
	json_t *body;			/* owned */
	struct err err;
	int exit;
};

void ctl_reply_free(struct ctl_reply *r);
/* 0, or -EPROTO with err told. */
int ctl_reply_decode(const char *line, size_t n, struct ctl_reply *r,
		     struct err *err);
/* Appends {"<kind>": body} to out; takes body, also on failure. Not for
 * CTL_REPLY_ERROR. 0, -ENOMEM, -EMSGSIZE. */
int ctl_reply_encode(enum ctl_reply_kind kind, json_t *body, struct buf *out);
/* details may be NULL: an object whose keys are added to the error's. */
int ctl_error_encode(const struct err *err, int exit, json_t *details,
		     struct buf *out);
/* {"code","message","object","remedy"}; empty texts are null. NULL: -ENOMEM */
json_t *ctl_error_json(const struct err *err);

/* A text as JSON: null when empty, '?' for bytes that are no UTF-8. */
json_t *ctl_text_json(const char *s);
/* Seconds with milliseconds; a time as RFC 3339. */
json_t *ctl_seconds_json(uint64_t ns);
json_t *ctl_time_json(int64_t wall_ns);
/* One compact line without a newline; the caller frees it. */
char *ctl_json_line(const json_t *j);

/*
 * Typed arguments, by a table: each names a key and where in the verb's own
 * struct its value goes. A key that is not in the table is an error, so that
 * no argument is ever ignored. Absent: "", false or 0.
 */
enum ctl_arg_type { CTL_ARG_TEXT, CTL_ARG_BOOL, CTL_ARG_U64 };

struct ctl_arg {
	const char *key;
	enum ctl_arg_type type;
	bool required;
	size_t offset;
	size_t size;		/* of the field; text: with the NUL */
};

#define CTL_ARG(struct_, field, type_, required_)                     \
	{ #field, type_, required_, offsetof(struct_, field),         \
	  sizeof(((struct_ *)0)->field) }

/* 0, or -EINVAL with err told: another type, too long, control characters. */
int ctl_args_decode(const json_t *args, const struct ctl_arg *table, size_t n,
		    void *out, struct err *err);

#endif
