/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SESSION_CORE_H
#define WIRE_SESSION_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/session.h"

/* What both ends of a session are made of. Internal to wire. */

/* A request that awaits its answer. */
struct req {
	enum wire_request what;
	uint64_t id;
	uint32_t handle;		/* WIRE_REQ_READ: of the view */
	uint64_t first;
	uint32_t count;
	uint64_t next;			/* block the next piece begins at */
	bool done;			/* serve: answered as soon as it is first */
};

/* In order of arrival. */
struct req_queue {
	struct req slots[WIRE_MAX_PENDING];
	unsigned int head;
	unsigned int n;
};

/* NULL when it is full. */
struct req *req_push(struct req_queue *q, enum wire_request what, uint64_t id);
/* The oldest, or NULL. */
struct req *req_first(struct req_queue *q);
struct req *req_last(struct req_queue *q);
void req_pop(struct req_queue *q);
unsigned int req_count(const struct req_queue *q, enum wire_request what);
bool req_has_reads(const struct req_queue *q, uint32_t handle);

/* Views open in a session. */
struct session_view {
	bool used;
	uint32_t handle;
	struct uuid volume;
	uint64_t n_blocks;
};

struct view_table {
	struct session_view slots[WIRE_MAX_VIEWS];
};

struct session_view *view_find(struct view_table *t, uint32_t handle);
/* NULL: full, or the handle is in use. */
struct session_view *view_add(struct view_table *t,
			      const struct wire_view_state *v);
unsigned int view_count(const struct view_table *t);

/* Where a sender's volume stands; kept the same way at both ends. */
struct session_volume {
	enum { VOLUME_NONE, VOLUME_ASKED, VOLUME_OPEN } state;
	struct uuid uuid;
	uint64_t epoch, size_bytes, n_blocks;
	uint32_t handle;
	bool has_point;			/* a committed or outstanding one */
	uint64_t newest_seq;		/* of it */
	bool begun;			/* a POINT_BEGIN since the last commit */
	uint64_t seq;			/* of it */
	uint64_t units;			/* since the last commit */
	struct {
		bool outstanding;
		uint64_t id, epoch, seq;
	} commit;
};

void volume_ask(struct session_volume *v, const struct wire_volume_open *open);
void volume_opened(struct session_volume *v,
		   const struct wire_volume_state *state);
/*
 * Rules of the sender's messages: NULL, or what is wrong with it. The ends
 * share them, so that what one queues the other takes.
 */
const char *volume_judge_begin(const struct session_volume *v,
			       const struct delta *d);
/* Counts them into *n_units. */
const char *volume_judge_units(const struct session_volume *v,
			       const uint8_t *p, size_t n, uint64_t *n_units);
const char *volume_judge_commit(const struct session_volume *v,
				const struct wire_commit *c);
const char *volume_judge_confirm(const struct session_volume *v,
				 uint64_t seq);
/* For VERIFY: *total blocks in all. -EINVAL when the peer would refuse them. */
int volume_put_extents(const struct session_volume *v,
		       const struct wire_extent *e, uint32_t n, uint8_t *out,
		       uint32_t *total);
void volume_begin(struct session_volume *v, const struct delta *d);
void volume_commit(struct session_volume *v, const struct wire_commit *c,
		   uint64_t id);
void volume_discard(struct session_volume *v);

/* A piece against the read it answers. NULL, or what is wrong with it. */
const char *piece_judge(const struct wire_piece *p, const struct req *read,
			const struct session_view *view);

struct session_core {
	struct splitter in;
	struct buf out;
	bool over;			/* nothing more is given out */
	bool closing;			/* our BYE is queued */
	struct err err;			/* why it broke */
	uint64_t last_request;		/* made (dial) or seen (serve) */
	struct req_queue pending;
	struct session_volume volume;
	struct view_table views;
};

/* Takes a failure of the peer: tells it in a BYE or REJECT, ends. */
int session_fail(struct session_core *s, enum msg_type last_words,
		 struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Ends for a reason already in s->err or in the splitter's. */
int session_broken(struct session_core *s, struct err *err);
int session_queue_error(struct session_core *s, enum msg_type type,
			uint64_t request, const struct wire_error *e);

#endif
