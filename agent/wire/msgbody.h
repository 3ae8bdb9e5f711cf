/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_MSGBODY_H
#define WIRE_MSGBODY_H

#include <stdbool.h>

#include "base/bytes.h"
#include "wire/msg.h"

/*
 * One pair per body. get_ reads and judges the fields: false when a value is
 * one that nobody may send; too few or too many bytes are for the caller to
 * see in the cursor.
 */
#define MSGBODY(member, type)                                      \
	void msgbody_put_##member(struct buf *b, const type *v);   \
	bool msgbody_get_##member(struct cursor *c, type *v);

MSGBODY(none, struct msg_none)
MSGBODY(hello, struct wire_hello)
MSGBODY(accept, struct wire_accept)
MSGBODY(error, struct wire_error)
MSGBODY(volume_open, struct wire_volume_open)
MSGBODY(volume, struct wire_volume_state)
MSGBODY(delta, struct delta)
MSGBODY(bytes, struct msg_bytes)
MSGBODY(range, struct msg_range)
MSGBODY(fps, struct msg_fps)
MSGBODY(verify, struct msg_verify)
MSGBODY(verified, struct msg_verified)
MSGBODY(commit, struct wire_commit)
MSGBODY(ack, struct wire_ack)
MSGBODY(confirm, struct msg_confirm)
MSGBODY(points_query, struct msg_points_query)
MSGBODY(point, struct wire_point)
MSGBODY(view_open, struct wire_view_open)
MSGBODY(view, struct wire_view_state)
MSGBODY(piece, struct wire_piece)
/* msgbody_group.c */
MSGBODY(group_commit, struct wire_commit)
MSGBODY(member_point, struct wire_point)
MSGBODY(group_query, struct msg_points_query)
MSGBODY(group_point, struct wire_group_point)
MSGBODY(group_end, struct wire_group_name)

#undef MSGBODY

#endif
