/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * One failure, told once. The frame that knows the object fills it; everybody
 * above only returns the number. Printed at the request boundary: log line,
 * control reply, wire REJECT and metric come from the same struct.
 */
struct err {
	int num;		/* negative errno; 0 = nothing recorded */
	char code[40];		/* stable slug: "device-changed", "no-key" ... */
	char object[128];	/* what it happened to: "volume db1", a path */
	char message[384];	/* "<object>: <operation>: <reason>[: k=v]" */
	char remedy[256];	/* what an operator can do; may be empty */
};

#define ERR_INIT { 0 }

/*
 * Record a failure unless one is recorded already (the first, deepest frame
 * knows best). err may be NULL. The message becomes "<object>: <text>".
 * Returns num, so that callers can write: return err_set(...);
 */
int err_set(struct err *err, int num, const char *code, const char *object,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* As err_set, and ": <strerror(num)>" is appended. */
int err_sys(struct err *err, int num, const char *code, const char *object,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Add or replace the remedy of a recorded failure. Returns err->num. */
int err_remedy(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Append ": <what was done about it>" to the message. Returns err->num. */
int err_done(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

void err_clear(struct err *err);
void err_copy(struct err *to, const struct err *from);

#endif
