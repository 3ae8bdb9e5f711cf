// SPDX-License-Identifier: Apache-2.0
/*
 * From messages to frames and back: dispatch by the list in msg.h. The bodies
 * are in msgbody.c. No I/O, no state: any thread.
 *
 * What is encoded is decoded again on the spot (the bulk messages apart, whose
 * content their senders check), so an end cannot send what its peer would have
 * to end the session for.
 */
#include "wire/msg.h"

#include <errno.h>
#include <string.h>

#include "wire/msgbody.h"

struct msg_rule {
	uint16_t number;
	enum msg_sender sender;
	uint32_t max_bytes;
	const char *name;
};

#define MSG_FROM(sender) MSG_FROM_##sender
static const struct msg_rule rules[] = {
#define X(name, number, member, max, sender) \
	{ number, MSG_FROM_##sender, max, #name },
	MSG_LIST(X)
#undef X
};

#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static const struct msg_rule *rule_of(uint16_t number)
{
	size_t i;

	for (i = 0; i < N_RULES; i++)
		if (rules[i].number == number)
			return &rules[i];
	return NULL;
}

bool msg_is_known(uint16_t type)
{
	return rule_of(type) != NULL;
}

const char *msg_name(enum msg_type type)
{
	const struct msg_rule *rule = rule_of((uint16_t)type);

	return rule ? rule->name : "unknown";
}

static int64_t limit(const struct frame_header *h, enum msg_sender sender)
{
	const struct msg_rule *rule = rule_of(h->type);

	if (!rule)
		return h->flags & FRAME_IGNORABLE ? (int64_t)MSG_UNKNOWN_MAX :
						    -EPROTO;
	return rule->sender & sender ? (int64_t)rule->max_bytes : -EPROTO;
}

int64_t msg_limit_at_dialler(const struct frame_header *h)
{
	return limit(h, MSG_FROM_ACCEPTOR);
}

int64_t msg_limit_at_acceptor(const struct frame_header *h)
{
	return limit(h, MSG_FROM_DIALLER);
}

static void put_body(struct buf *b, const struct msg *m)
{
	switch (m->type) {
#define X(name, number, member, max, sender)            \
	case MSG_##name:                                \
		msgbody_put_##member(b, &m->u.member);  \
		return;
	MSG_LIST(X)
#undef X
	}
	b->failed = true;
}

static bool get_body(struct cursor *c, struct msg *m)
{
	switch (m->type) {
#define X(name, number, member, max, sender)                      \
	case MSG_##name:                                          \
		return msgbody_get_##member(c, &m->u.member);
	MSG_LIST(X)
#undef X
	}
	return false;
}

int msg_decode(const struct frame *f, struct msg *m)
{
	const struct msg_rule *rule = rule_of(f->h.type);
	struct cursor c;

	memset(m, 0, sizeof(*m));
	if (!rule || f->h.body_bytes > rule->max_bytes)
		return -EBADMSG;
	m->type = (enum msg_type)f->h.type;
	m->handle = f->h.handle;
	m->request = f->h.request;
	cursor_init(&c, f->body, f->h.body_bytes);
	return get_body(&c, m) && cursor_done(&c) ? 0 : -EBADMSG;
}

static bool is_bulk(enum msg_type type)
{
	return type == MSG_UNITS || type == MSG_FPS || type == MSG_PIECE;
}

/* Would a receiver take the body that starts at off? */
static int check_frame(const struct buf *out, size_t at,
		       const struct frame_header *h, enum msg_type type)
{
	const struct msg_rule *rule = rule_of((uint16_t)type);
	struct frame f = { .h = *h,
			   .body = out->data + at + FRAME_HEADER_BYTES };
	struct msg back;

	if (!rule || h->body_bytes > rule->max_bytes)
		return -EINVAL;
	return is_bulk(type) || !msg_decode(&f, &back) ? 0 : -EINVAL;
}

int msg_encode(struct buf *out, const struct msg *m)
{
	struct frame_header h = { .type = (uint16_t)m->type,
				  .handle = m->handle,
				  .request = m->request };
	size_t at = out->len, body;
	int r = -ENOMEM;

	if (out->failed)
		return -ENOMEM;
	if (buf_extend(out, FRAME_HEADER_BYTES)) {
		put_body(out, m);
		body = out->len - at - FRAME_HEADER_BYTES;
		if (!out->failed && body <= WIRE_MAX_FRAME_BYTES) {
			h.body_bytes = (uint32_t)body;
			frame_put_header(&h, out->data + at);
			r = check_frame(out, at, &h, m->type);
		}
	}
	if (r < 0) {
		out->len = at;
		out->failed = false;	/* what it held is still good */
	}
	return r;
}
