/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICA_REPLICA_SESSION_H
#define REPLICA_REPLICA_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/conn.h"
#include "replica/replica_internal.h"
#include "store/store.h"
#include "wire/session.h"

/*
 * One conversation with a peer, in the peer's thread. replica_session.c moves
 * bytes and minds the clock; replica_push.c and replica_read.c answer.
 *
 * Handlers return 0, or a negative errno with s->err told: the session then
 * ends with these as its last words. What only concerns one request is
 * answered with session_answer_error, and the session goes on.
 */
struct push {				/* role sender */
	struct store_writer *writer;	/* NULL: no volume is open */
	struct uuid volume;
	char full_name[132];
	uint64_t seq;			/* newest committed point; 0: none */
	uint32_t delta_index;
	bool has_delta;
	struct fp *fps;			/* WIRE_MAX_FP_BLOCKS, once needed */
	struct push_verify *verify;	/* once needed */
};

struct session {
	struct peer *peer;
	struct replica *r;
	struct conn *conn;
	struct serve *serve;
	struct wire_hello hello;
	bool accepted;
	bool dead;			/* the connection is: no last words */
	bool told;			/* last words lie in serve_out */
	bool over;			/* the peer said goodbye */
	int64_t offset_ns;		/* our monotonic - its wall clock */
	uint64_t started_ns, last_rx_ns, last_tx_ns;
	uint64_t began_ns;		/* the peer is within a message since; 0 */
	uint8_t *in;
	struct push push;
	struct view *views[WIRE_MAX_VIEWS];	/* handle = index + 1 */
	struct err err;
};

/* Send until at most down_to bytes wait; waits for the peer. */
int session_flush(struct session *s, size_t down_to);
/* The oldest request fails with err; the session goes on. */
int session_answer_error(struct session *s, const struct err *err);
/* Result of a serve_ call that cannot fail but for memory. */
int session_answered(struct session *s, int r);

int push_volume_open(struct session *s, const struct wire_volume_open *o);
int push_point_begin(struct session *s, const struct delta *d);
int push_units(struct session *s, const uint8_t *p, size_t n);
int push_fp_query(struct session *s, uint64_t first, uint32_t count);
int push_verify(struct session *s, const struct serve_event *ev);
int push_commit(struct session *s, const struct wire_commit *c);
int push_confirm(struct session *s, const struct serve_event *ev);
int push_discard(struct session *s);
int push_escrow(struct session *s, const uint8_t *text, size_t len);
/* why: what ended the session, or NULL. */
void push_close(struct session *s, const struct err *why);

/* Inside a walk: a failure of the session, not of the request. */
#define WALK_SESSION_FAILED 1

int read_points(struct session *s, const char *source, const char *name);
int read_group_points(struct session *s, const char *source, const char *name);
/* May its certificate read this volume? */
bool read_may(const struct session *s, const char *source, const char *name);
/* 0, or negative with err told: the right, and the form of the names. */
int read_check(const struct session *s, const char *source, const char *name,
	       struct err *err);
/* Sends what has gathered, when it is much. 0 or WALK_SESSION_FAILED. */
int read_make_room(struct session *s);
int read_view_open(struct session *s, const struct wire_view_open *o);
int read_view_read(struct session *s, uint32_t handle, uint64_t first,
		   uint32_t count);
int read_view_close(struct session *s, uint32_t handle);
void read_close(struct session *s);

#endif
