/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SESSION_H
#define WIRE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"
#include "wire/unit.h"

/*
 * Both ends of a conversation as step machines: bytes in, bytes and events
 * out. They do no I/O, read no clock and keep no thread; the owner moves the
 * bytes. An end enforces the protocol's order: a message out of place, a
 * handle it did not give out, a sequence that does not follow: -EPROTO with
 * err told, and the session is over.
 *
 * The dialler speaks first (HELLO) and is not connected until ACCEPT has
 * come: a finished TLS handshake proves nothing to a TLS 1.3 client. Who
 * sends points and who receives them is said in HELLO and is independent of
 * who dialled.
 */
#define WIRE_VERSION_MIN 1U
#define WIRE_VERSION_MAX 1U
#define WIRE_NAME_MAX 64U
#define WIRE_HEAD_BYTES 32U
#define WIRE_MAX_FRAME_BYTES (2U << 20)		/* body of any frame */
#define WIRE_MAX_UNITS_BYTES (1U << 20)		/* body of a UNITS frame */
#define WIRE_MAX_FP_BLOCKS 16384U		/* per FP_QUERY */
#define WIRE_MAX_PRE_ACCEPT_BYTES 4096U		/* all a stranger may send */
#define WIRE_MAX_READ_BLOCKS 16384U		/* per dial_view_read */
#define WIRE_MAX_PENDING 64U			/* unanswered requests */
#define WIRE_MAX_VIEWS 16U			/* open at once in a session */
#define WIRE_MAX_VERIFY_BLOCKS 1024U		/* per VERIFY, of all extents */
#define WIRE_FEATURE_VERIFY (1ULL << 0)		/* VERIFY, VERIFIED */
#define WIRE_FEATURE_GROUPS (1ULL << 1)		/* GROUP_COMMIT and after */
/* Bits this build understands. */
#define WIRE_FEATURES (WIRE_FEATURE_VERIFY | WIRE_FEATURE_GROUPS)
#define WIRE_MAX_GROUP_MEMBERS 64U

enum wire_role {
	WIRE_ROLE_SENDER = 1,		/* pushes one volume's points */
	WIRE_ROLE_RECEIVER = 2,		/* dials, and is sent points (later) */
	WIRE_ROLE_READER = 3,		/* lists and reads points */
};

enum wire_right {
	WIRE_RIGHT_PUSH = 1 << 0,
	WIRE_RIGHT_READ = 1 << 1,
	WIRE_RIGHT_PROMOTE = 1 << 2,
	WIRE_RIGHT_ADMIN = 1 << 3,
};

struct wire_head {
	uint8_t b[WIRE_HEAD_BYTES];
};

struct wire_hello {
	uint16_t version_min, version_max;
	uint64_t features;		/* bits the dialler understands */
	enum wire_role role;
	struct uuid node;		/* of the dialling daemon's state */
	struct uuid boot;		/* kernel boot id */
	int64_t wall_ns;
	char software[32];
};

struct wire_accept {
	uint16_t version;		/* chosen */
	uint64_t features;		/* both understand */
	struct uuid session;		/* fresh random */
	struct uuid node;
	struct uuid boot;
	int64_t wall_ns;
	uint32_t rights;		/* enum wire_right bits of this peer */
	char peer_name[WIRE_NAME_MAX + 1];	/* SOURCE, from the certificate */
	char software[32];
};

/* A refusal or failure as it travels: slug, text, remedy. */
struct wire_error {
	int32_t num;			/* negative errno of the teller */
	char code[40];
	char message[384];
	char remedy[256];
};

/* Between a failure told here and one that travels. object names the peer. */
void wire_error_from_err(const struct err *err, struct wire_error *out);
int wire_error_to_err(const struct wire_error *e, const char *object,
		      struct err *err);

struct wire_volume_open {
	struct uuid uuid;
	char name[WIRE_NAME_MAX + 1];
	uint64_t size_bytes;
	uint64_t epoch;
	uint32_t block_bytes;		/* tracking block, for status */
	bool has_acked;			/* the source has an acknowledged point */
	uint64_t acked_epoch, acked_seq;
	struct wire_head acked_head;
	/* device numbers of the volume and the disk below, for the check that
	 * the store does not lie on what it protects (valid on equal boot) */
	uint32_t disk_major, disk_minor, part_major, part_minor;
};

struct wire_volume_state {
	uint32_t handle;
	uint64_t epoch;
	bool has_point;
	uint64_t seq;			/* newest committed point */
	struct wire_head head, prev_head;
	int64_t flip_wall_ns;
	bool has_open;			/* an open point with staged units */
	uint64_t open_bytes;
};

/* A run of blocks, as VERIFY names them. */
#define WIRE_EXTENT_BYTES 12U
struct wire_extent {
	uint64_t first;
	uint32_t count;
};

/* The i-th of extents that were decoded, or are to be encoded. */
void wire_extent_put(uint8_t *extents, uint32_t i, const struct wire_extent *e);
struct wire_extent wire_extent_get(const uint8_t *extents, uint32_t i);

/*
 * What a replica has of a block in its newest committed point, as it answers
 * VERIFY: one byte of this, then the fingerprint (zeros but for the first).
 */
#define WIRE_HELD_BYTES (1U + UNIT_FP_BYTES)
enum wire_held {
	WIRE_HELD_SOUND,	/* stored, and read back whole */
	WIRE_HELD_ABSENT,	/* never written: reads as zeros */
	WIRE_HELD_DAMAGED,	/* what is stored cannot be read, or is not
				 * what was stored */
	WIRE_HELD_STAGED,	/* the open point has it: nothing is said */
};

/*
 * What a point that was taken together with others says of it. The members of
 * one group point have all of this and the time of the flip in common: a
 * number that is used twice, after a crash, is of two times.
 */
struct wire_group {
	struct uuid uuid;		/* zero: of no group */
	uint64_t seq;			/* of the group point, from 1 */
	uint32_t n_members;		/* 1 .. WIRE_MAX_GROUP_MEMBERS */
	char name[WIRE_NAME_MAX + 1];
};

struct wire_commit {
	uint64_t epoch, seq;
	int64_t flip_wall_ns;
	uint8_t kind;			/* enum point_kind */
	uint64_t size_bytes;
	char label[WIRE_NAME_MAX + 1];
	struct wire_head prev_head;
	uint64_t units;			/* sent since the last commit of this
					 * session; dial_commit fills it in */
	struct wire_group group;	/* needs WIRE_FEATURE_GROUPS */
};

struct wire_ack {
	struct uuid session;
	uint64_t epoch, seq;
	struct wire_head head;
	int64_t received_wall_ns;
	uint64_t changed_bytes, stored_bytes;
};

struct wire_point {			/* one row of POINTS */
	uint64_t epoch, seq;
	int64_t flip_wall_ns, received_wall_ns;
	uint8_t kind;
	bool damaged;
	char label[WIRE_NAME_MAX + 1];
	uint64_t size_bytes, changed_bytes, stored_bytes;
	uint32_t pins;
	struct wire_group group;	/* not in a VIEW; zero to an older peer */
	bool group_complete;		/* every member's point is there */
};

/*
 * A point of a group, with the points of its members as they travel: n_members
 * times WIRE_MEMBER_BYTES.
 */
#define WIRE_MEMBER_BYTES (16U + 8U + 8U + 8U + WIRE_NAME_MAX)
struct wire_group_point {
	uint64_t seq;
	int64_t flip_wall_ns, received_wall_ns;
	uint8_t kind;
	bool damaged;
	char label[WIRE_NAME_MAX + 1];
	uint64_t size_bytes, changed_bytes, stored_bytes;
	uint32_t n_members;
	const uint8_t *members;		/* borrowed */
};

struct wire_member {
	struct uuid volume;
	uint64_t epoch, seq;
	uint64_t size_bytes;
	char name[WIRE_NAME_MAX + 1];	/* of the same source as the group */
};

/* The i-th of members that were decoded, or are to be encoded. */
void wire_member_put(uint8_t *members, uint32_t i, const struct wire_member *m);
/* False: its name, volume, point or size cannot be. */
bool wire_member_get(const uint8_t *members, uint32_t i,
		     struct wire_member *out);

/* Which group was found. */
struct wire_group_name {
	struct uuid uuid;
	char source[WIRE_NAME_MAX + 1];
	char name[WIRE_NAME_MAX + 1];
};

/* How a reader names a point; resolved by the replica. */
enum wire_select { WIRE_SELECT_LATEST, WIRE_SELECT_SEQ, WIRE_SELECT_LABEL,
		   WIRE_SELECT_TIME };
struct wire_view_open {
	char source[WIRE_NAME_MAX + 1];	/* empty: short form */
	char name[WIRE_NAME_MAX + 1];
	enum wire_select select;
	uint64_t epoch, seq;		/* epoch 0: current lineage */
	char label[WIRE_NAME_MAX + 1];
	int64_t wall_ns;
};

struct wire_view_state {
	uint32_t handle;
	struct uuid volume;
	char source[WIRE_NAME_MAX + 1];
	char name[WIRE_NAME_MAX + 1];
	struct wire_point point;
};

/* ---- the end that dialled ---- */

enum dial_event_type {
	DIAL_ACCEPTED,		/* accept */
	DIAL_REJECTED,		/* error; the session is over */
	DIAL_VOLUME,		/* volume: answer to dial_volume_open */
	DIAL_REFUSED,		/* error: the volume is refused */
	DIAL_FPS,		/* first, count, fps (valid until next feed) */
	DIAL_ACK,		/* ack */
	DIAL_POINT,		/* point: one row; DIAL_POINTS_END after */
	DIAL_POINTS_END,
	DIAL_VIEW,		/* view: answer to dial_view_open */
	DIAL_PIECE,		/* piece: part of the answer to dial_view_read */
	DIAL_READ_END,		/* first, count of the finished read */
	DIAL_ERROR,		/* error, request, first, count: what failed;
				 * the session goes on */
	DIAL_BYE,		/* error says why (num 0: orderly); over */
	DIAL_PONG,
	DIAL_DONE,		/* request: a discard or an escrow is carried out */
	DIAL_VERIFIED,		/* epoch, seq, count, held (valid as fps is) */
	DIAL_GROUP_POINT,	/* group_point: one row (members valid as fps
				 * are); DIAL_GROUP_END after the last */
	DIAL_GROUP_END,		/* group */
};

/* What an answer is about. */
enum wire_request {
	WIRE_REQ_NONE,
	WIRE_REQ_VOLUME,	/* dial_volume_open */
	WIRE_REQ_FPS,		/* dial_fp_query */
	WIRE_REQ_DISCARD,
	WIRE_REQ_ESCROW,
	WIRE_REQ_POINTS,
	WIRE_REQ_VIEW,		/* dial_view_open */
	WIRE_REQ_READ,		/* dial_view_read */
	WIRE_REQ_VERIFY,	/* dial_verify */
	WIRE_REQ_GROUP,		/* dial_group_query */
};

/* One run of blocks out of one unit (or absent), as store/store.h has it. */
struct wire_piece {
	uint64_t first, count;
	bool absent;
	struct delta delta;
	uint32_t skip;
	const uint8_t *unit;
	size_t unit_bytes;
};

struct dial_event {
	enum dial_event_type type;
	enum wire_request request;	/* DIAL_ERROR, DIAL_DONE */
	struct wire_accept accept;
	struct wire_error error;
	struct wire_volume_state volume;
	struct wire_ack ack;
	struct wire_point point;
	struct wire_view_state view;
	struct wire_piece piece;
	uint64_t first;
	uint32_t count;
	const uint8_t *fps;		/* count * 16 bytes */
	uint64_t epoch, seq;		/* DIAL_VERIFIED: of the newest point; 0 */
	const uint8_t *held;		/* count * WIRE_HELD_BYTES */
	struct wire_group_point group_point;
	struct wire_group_name group;
};

struct dial;

/*
 * Queues HELLO at once; its version_min, version_max and features are set
 * here to what this build speaks. NULL when memory is out.
 */
struct dial *dial_new(const struct wire_hello *hello);
void dial_free(struct dial *d);
/*
 * Feed received bytes; all are taken (what is not a whole frame is kept,
 * bounded). Then take events until dial_next gives 1; borrowed pointers in an
 * event live until the next call of either.
 */
int dial_feed(struct dial *d, const uint8_t *p, size_t n, struct err *err);
int dial_next(struct dial *d, struct dial_event *ev, struct err *err);
/*
 * Bytes to send; the owner consumes them with buf_consume. After -EPROTO a
 * last BYE lies here that tells the peer why: worth one attempt to send.
 */
struct buf *dial_out(struct dial *d);
/* Was this WIRE_FEATURE_ agreed upon? False before DIAL_ACCEPTED. */
bool dial_knows(const struct dial *d, uint64_t feature);

/*
 * The requests below give 0, or without having queued anything: -ENOMEM;
 * -EINVAL (an argument the peer would refuse); -EBUSY (WIRE_MAX_PENDING
 * requests are unanswered, or as told); -ENOTCONN (not accepted, not in this
 * role, or no volume open); -ESHUTDOWN (the session is over). Answers to
 * requests come in the order of the requests; acknowledgements of commits by
 * themselves.
 */
int dial_volume_open(struct dial *d, const struct wire_volume_open *v);
/*
 * Opens, or goes on with, the open point under a new delta. Its sequence is
 * above every committed one and stays the same until the commit. May be sent
 * while a commit awaits its acknowledgement.
 */
int dial_point_begin(struct dial *d, const struct delta *delta);
/* Whole units in p/n, at most WIRE_MAX_UNITS_BYTES. */
int dial_units(struct dial *d, const uint8_t *p, size_t n);
int dial_fp_query(struct dial *d, uint64_t first, uint32_t count);
/*
 * What the newest committed point has in these extents, in their order, at
 * most WIRE_MAX_VERIFY_BLOCKS in all; every stored unit is read back. fresh:
 * the replica forgets first what it keeps in memory of its tables.
 * -EOPNOTSUPP when the replica does not know how.
 */
int dial_verify(struct dial *d, bool fresh, const struct wire_extent *e,
		uint32_t n);
/*
 * The point it ends becomes outstanding; one at a time (-EBUSY). Its sequence
 * is that of the last dial_point_begin; without one since the last commit the
 * point holds what earlier sessions staged, or nothing. -EOPNOTSUPP: it is of
 * a group, and the replica does not know WIRE_FEATURE_GROUPS.
 */
int dial_commit(struct dial *d, const struct wire_commit *c);
/*
 * The newest acknowledged point still is the volume as of wall_ns. -EBUSY
 * while a commit is outstanding, -EINVAL when seq is not the newest point.
 */
int dial_confirm(struct dial *d, uint64_t epoch, uint64_t seq,
		 int64_t wall_ns);
/* Throw away everything staged (resync). Answered with DIAL_DONE. The next
 * units need a new dial_point_begin. */
int dial_discard(struct dial *d);
/* key text as volume_key_to_text makes it. DIAL_DONE once it is kept. */
int dial_escrow(struct dial *d, const char *text, size_t len);
/* source may be NULL or empty: short form. */
int dial_points_query(struct dial *d, const char *source, const char *name);
/*
 * The points of a group: those of which every member's is there. name may be
 * its UUID, as text. -EOPNOTSUPP when the replica does not know groups.
 */
int dial_group_query(struct dial *d, const char *source, const char *name);
int dial_view_open(struct dial *d, const struct wire_view_open *v);
int dial_view_read(struct dial *d, uint32_t handle, uint64_t first,
		   uint32_t count);
int dial_view_close(struct dial *d, uint32_t handle);
/* Keys do not travel back: a reader brings its own. */
int dial_ping(struct dial *d);
/* Orderly end: what is on its way back is still taken. */
int dial_bye(struct dial *d);

/* ---- the end that accepted ---- */

enum serve_event_type {
	SERVE_HELLO,		/* hello: answer serve_accept or serve_reject */
	SERVE_VOLUME_OPEN,	/* volume_open: serve_volume or serve_refuse */
	SERVE_POINT_BEGIN,	/* delta */
	SERVE_UNITS,		/* bytes, n_bytes: whole, parsed units */
	SERVE_FP_QUERY,		/* first, count: serve_fps */
	SERVE_COMMIT,		/* commit: serve_ack, or serve_bye on failure */
	SERVE_CONFIRM,		/* seq, wall_ns */
	SERVE_DISCARD,		/* as SERVE_ESCROW: done unless serve_error */
	SERVE_ESCROW,		/* bytes, n_bytes: key text. Taking the next
				 * event says it is kept; serve_error: not */
	SERVE_POINTS_QUERY,	/* source, name: serve_point*, serve_points_end */
	SERVE_VIEW_OPEN,	/* view_open: serve_view or serve_error */
	SERVE_VIEW_READ,	/* handle, first, count: serve_piece*, _read_end */
	SERVE_VIEW_CLOSE,	/* handle */
	SERVE_PING,		/* answered inside */
	SERVE_BYE,		/* error says why (num 0: orderly); over */
	SERVE_VERIFY,		/* bytes: extents, count: blocks in all, fresh:
				 * serve_verified */
	SERVE_GROUP_QUERY,	/* source, name: serve_group_point*, _end */
};

struct serve_event {
	enum serve_event_type type;
	struct wire_hello hello;
	struct wire_volume_open volume_open;
	struct delta delta;
	struct wire_commit commit;
	struct wire_view_open view_open;
	char source[WIRE_NAME_MAX + 1];
	char name[WIRE_NAME_MAX + 1];
	uint64_t epoch, seq;
	int64_t wall_ns;
	uint32_t handle;
	uint64_t first;
	uint32_t count;
	bool fresh;
	const uint8_t *bytes;
	size_t n_bytes;
	struct wire_error error;
};

struct serve;

struct serve *serve_new(void);
void serve_free(struct serve *s);
int serve_feed(struct serve *s, const uint8_t *p, size_t n, struct err *err);
/* Is there input that no event has been made of: a message not whole yet? */
bool serve_is_midway(const struct serve *s);
int serve_next(struct serve *s, struct serve_event *ev, struct err *err);
/*
 * Grows with what is answered: an owner that answers with many rows or pieces
 * sends and consumes between them. After -EPROTO it ends with a REJECT or BYE
 * that tells the peer why.
 */
struct buf *serve_out(struct serve *s);

/*
 * Answers. 0; -ENOMEM; -EINVAL when it does not fit what was asked, or when
 * nothing was (an owner's mistake; nothing is queued). Requests are answered
 * in the order in which they came; serve_error answers the oldest one that
 * may fail this way (ESCROW, DISCARD, FP_QUERY, VERIFY, POINTS_QUERY,
 * GROUP_QUERY, VIEW_OPEN, VIEW_READ).
 *
 * serve_accept: version 0 means the highest both speak; features are cut to
 * what both understand. -EACCES when rights lack what the role in HELLO needs
 * (push for a sender, read for a reader); -EOPNOTSUPP for
 * WIRE_ROLE_RECEIVER. The owner then rejects.
 */
int serve_accept(struct serve *s, const struct wire_accept *a);
int serve_reject(struct serve *s, const struct wire_error *e);
int serve_volume(struct serve *s, const struct wire_volume_state *v);
int serve_refuse(struct serve *s, const struct wire_error *e);
int serve_fps(struct serve *s, uint64_t first, uint32_t count,
	      const uint8_t *fps);
/* epoch and seq of the newest committed point, both 0 without one; held has
 * count records. */
int serve_verified(struct serve *s, uint64_t epoch, uint64_t seq,
		   uint32_t count, const uint8_t *held);
/* epoch and seq of the outstanding commit; session is filled in here. */
int serve_ack(struct serve *s, const struct wire_ack *a);
int serve_point(struct serve *s, const struct wire_point *p);
int serve_points_end(struct serve *s);
int serve_group_point(struct serve *s, const struct wire_group_point *p);
int serve_group_end(struct serve *s, const struct wire_group_name *g);
/* Was this WIRE_FEATURE_ agreed upon? */
bool serve_knows(const struct serve *s, uint64_t feature);
int serve_view(struct serve *s, const struct wire_view_state *v);
/* Pieces of one read follow each other without hole or overlap. */
int serve_piece(struct serve *s, const struct wire_piece *p);
int serve_read_end(struct serve *s, uint64_t first, uint32_t count);
int serve_error(struct serve *s, const struct wire_error *e);
/* Last words (NULL: orderly); the owner sends what is in serve_out and
 * closes. What the peer still sends is dropped. */
int serve_bye(struct serve *s, const struct wire_error *e);

#endif
