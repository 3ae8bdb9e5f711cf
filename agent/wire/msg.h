/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_MSG_H
#define WIRE_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/frame.h"
#include "wire/seal.h"
#include "wire/session.h"

/*
 * Messages and their bodies. The tables of fields are in
 * docs/wire-protocol.md; numbers and layouts never change, new ones are added.
 *
 * X(name, number, member of the body union or none, longest body, sender)
 */
#define MSG_ERROR_MAX (4 + 2 + 40 + 2 + 384 + 2 + 256)
#define MSG_POINT_MAX (8 + 8 + 8 + 8 + 1 + 1 + 2 + 64 + 8 + 8 + 8 + 4)
#define MSG_NAME_MAX (2 + WIRE_NAME_MAX)
#define MSG_EXT_MAX 256
#define MSG_PIECE_MAX (8 + 8 + 1 + DELTA_BYTES + 4 + UNIT_MAX_BYTES)
#define MSG_FPS_MAX (8 + 4 + WIRE_MAX_FP_BLOCKS * UNIT_FP_BYTES)
#define MSG_VERIFY_MAX (1 + WIRE_MAX_VERIFY_BLOCKS * WIRE_EXTENT_BYTES)
#define MSG_VERIFIED_MAX (8 + 8 + 4 + WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES)
#define MSG_COMMIT_MAX (8 + 8 + 8 + 1 + 8 + MSG_NAME_MAX + 32 + 8)
#define MSG_GROUP_MAX (16 + 8 + 4 + MSG_NAME_MAX)
#define MSG_GROUP_POINT_MAX                                       \
	(8 + 8 + 8 + 1 + 1 + MSG_NAME_MAX + 8 + 8 + 8 + 4 +       \
	 WIRE_MAX_GROUP_MEMBERS * WIRE_MEMBER_BYTES)
#define MSG_UNKNOWN_MAX (64U << 10)	/* to be skipped */

#define MSG_LIST(X)                                                       \
	X(HELLO, 1, hello, 8 + 2 + 2 + 8 + 1 + 16 + 16 + 8 + 34 +         \
	  MSG_EXT_MAX, DIALLER)                                           \
	X(ACCEPT, 2, accept, 2 + 8 + 16 * 3 + 8 + 4 + MSG_NAME_MAX + 34 + \
	  MSG_EXT_MAX, ACCEPTOR)                                          \
	X(REJECT, 3, error, MSG_ERROR_MAX, ACCEPTOR)                      \
	X(BYE, 4, error, MSG_ERROR_MAX, EITHER)                           \
	X(ERROR, 5, error, MSG_ERROR_MAX, ACCEPTOR)                       \
	X(PING, 6, none, 0, DIALLER)                                      \
	X(PONG, 7, none, 0, ACCEPTOR)                                     \
	X(DONE, 8, none, 0, ACCEPTOR)                                     \
	X(VOLUME_OPEN, 16, volume_open, 16 + MSG_NAME_MAX + 8 + 8 + 4 +   \
	  1 + 8 + 8 + 32 + 16, DIALLER)                                   \
	X(VOLUME, 17, volume, 8 + 1 + 8 + 32 + 32 + 8 + 1 + 8, ACCEPTOR)  \
	X(REFUSE, 18, error, MSG_ERROR_MAX, ACCEPTOR)                     \
	X(POINT_BEGIN, 19, delta, DELTA_BYTES, DIALLER)                   \
	X(UNITS, 20, bytes, WIRE_MAX_UNITS_BYTES, DIALLER)                \
	X(FP_QUERY, 21, range, 12, DIALLER)                               \
	X(FPS, 22, fps, MSG_FPS_MAX, ACCEPTOR)                            \
	X(COMMIT, 23, commit, MSG_COMMIT_MAX, DIALLER)                    \
	X(ACK, 24, ack, 16 + 8 + 8 + 32 + 8 + 8 + 8, ACCEPTOR)            \
	X(CONFIRM, 25, confirm, 24, DIALLER)                              \
	X(DISCARD, 26, none, 0, DIALLER)                                  \
	X(ESCROW, 27, bytes, KEY_TEXT_MAX, DIALLER)                       \
	X(VERIFY, 28, verify, MSG_VERIFY_MAX, DIALLER)                    \
	X(VERIFIED, 29, verified, MSG_VERIFIED_MAX, ACCEPTOR)             \
	X(GROUP_COMMIT, 30, group_commit, MSG_COMMIT_MAX + MSG_GROUP_MAX, \
	  DIALLER)                                                        \
	X(POINTS_QUERY, 32, points_query, 2 * MSG_NAME_MAX, DIALLER)      \
	X(POINT, 33, point, MSG_POINT_MAX, ACCEPTOR)                      \
	X(POINTS_END, 34, none, 0, ACCEPTOR)                              \
	X(VIEW_OPEN, 35, view_open, 3 * MSG_NAME_MAX + 1 + 8 + 8 + 8,     \
	  DIALLER)                                                        \
	X(VIEW, 36, view, 16 + 2 * MSG_NAME_MAX + MSG_POINT_MAX, ACCEPTOR) \
	X(VIEW_READ, 37, range, 12, DIALLER)                              \
	X(PIECE, 38, piece, MSG_PIECE_MAX, ACCEPTOR)                      \
	X(READ_END, 39, range, 12, ACCEPTOR)                              \
	X(VIEW_CLOSE, 40, none, 0, DIALLER)                               \
	X(MEMBER_POINT, 41, member_point, MSG_POINT_MAX + MSG_GROUP_MAX + \
	  1, ACCEPTOR)                                                    \
	X(GROUP_QUERY, 42, group_query, 2 * MSG_NAME_MAX, DIALLER)        \
	X(GROUP_POINT, 43, group_point, MSG_GROUP_POINT_MAX, ACCEPTOR)    \
	X(GROUP_END, 44, group_end, 16 + 2 * MSG_NAME_MAX, ACCEPTOR)

enum msg_type {
#define X(name, number, member, max, sender) MSG_##name = (number),
	MSG_LIST(X)
#undef X
};

enum msg_sender { MSG_FROM_DIALLER = 1, MSG_FROM_ACCEPTOR = 2,
		  MSG_FROM_EITHER = 3 };

struct msg_none {
	uint8_t unused;
};

struct msg_range {			/* of blocks */
	uint64_t first;
	uint32_t count;
};

struct msg_fps {
	uint64_t first;
	uint32_t count;
	const uint8_t *fps;		/* borrowed, count * 16 */
};

struct msg_verify {
	bool fresh;
	uint32_t n_blocks;		/* of all extents; not encoded */
	uint32_t n_extents;
	const uint8_t *extents;		/* borrowed */
};

struct msg_verified {
	uint64_t epoch, seq;
	uint32_t count;
	const uint8_t *held;		/* borrowed, count * WIRE_HELD_BYTES */
};

struct msg_confirm {
	uint64_t epoch, seq;
	int64_t wall_ns;
};

struct msg_points_query {
	char source[WIRE_NAME_MAX + 1];	/* empty: short form */
	char name[WIRE_NAME_MAX + 1];
};

struct msg_bytes {
	const uint8_t *p;		/* borrowed */
	size_t n;
};

/* handle and request are the frame's. Handles inside bodies are not encoded. */
struct msg {
	enum msg_type type;
	uint32_t handle;
	uint64_t request;
	union {
		struct msg_none none;
		struct wire_hello hello;
		struct wire_accept accept;
		struct wire_error error;
		struct wire_volume_open volume_open;
		struct wire_volume_state volume;
		struct delta delta;
		struct msg_bytes bytes;
		struct msg_range range;
		struct msg_fps fps;
		struct msg_verify verify;
		struct msg_verified verified;
		struct wire_commit commit;	/* also: */
		struct wire_commit group_commit;
		struct wire_ack ack;
		struct msg_confirm confirm;
		struct msg_points_query points_query;
		struct wire_point point;	/* also: */
		struct wire_point member_point;
		struct msg_points_query group_query;
		struct wire_group_point group_point;
		struct wire_group_name group_end;
		struct wire_view_open view_open;
		struct wire_view_state view;
		struct wire_piece piece;
	} u;
};

/* For a splitter at the given end; -EPROTO for what cannot be sent to it. */
int64_t msg_limit_at_dialler(const struct frame_header *h);
int64_t msg_limit_at_acceptor(const struct frame_header *h);
/* Is the type known? What is not known and got past the limit is skipped. */
bool msg_is_known(uint16_t type);
const char *msg_name(enum msg_type type);

/*
 * Append m as one frame. 0; -EINVAL when a receiver would refuse the body;
 * -ENOMEM. After an error out is as it was.
 */
int msg_encode(struct buf *out, const struct msg *m);
/* 0 or -EBADMSG. What is borrowed points into the frame's body. */
int msg_decode(const struct frame *f, struct msg *m);

#endif
