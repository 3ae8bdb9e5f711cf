// SPDX-License-Identifier: Apache-2.0
/*
 * Frames and the cutting of a byte stream into them; the header's table is in
 * frame.h.
 *
 * A header is judged as soon as its 24 bytes are there: a body that is too
 * long for its type, or a type nobody may send, ends the stream before the
 * body is awaited. Memory never follows what a header claims, only what came.
 * No I/O; one thread per splitter.
 */
#include "wire/frame.h"

#include <errno.h>
#include <inttypes.h>

#include <openssl/crypto.h>

#include "wire/session.h"

void frame_put_header(const struct frame_header *h,
		      uint8_t out[FRAME_HEADER_BYTES])
{
	put_le32(out, h->body_bytes);
	put_le16(out + 4, h->type);
	put_le16(out + 6, h->flags);
	put_le32(out + 8, h->handle);
	put_le16(out + 12, h->stream);
	put_le16(out + 14, 0);
	put_le64(out + 16, h->request);
}

int frame_get_header(const uint8_t in[FRAME_HEADER_BYTES],
		     struct frame_header *h)
{
	h->body_bytes = get_le32(in);
	h->type = get_le16(in + 4);
	h->flags = get_le16(in + 6);
	h->handle = get_le32(in + 8);
	h->stream = get_le16(in + 12);
	h->request = get_le64(in + 16);
	if (get_le16(in + 14) || h->stream || (h->flags & ~FRAME_FLAGS))
		return -EBADMSG;
	return 0;
}

void splitter_init(struct splitter *s, uint64_t allowed_bytes,
		   int64_t (*limit)(const struct frame_header *h))
{
	*s = (struct splitter){ .allowed_bytes = allowed_bytes,
				.limit = limit };
}

void splitter_free(struct splitter *s)
{
	buf_free(&s->in);
}

void splitter_lift(struct splitter *s)
{
	s->allowed_bytes = UINT64_MAX;
}

bool splitter_is_empty(const struct splitter *s)
{
	return s->in.len == s->taken;
}

void splitter_wipe_taken(struct splitter *s)
{
	if (s->taken)
		OPENSSL_cleanse(s->in.data, s->taken);
}

/* Ends the stream. */
static int broken(struct splitter *s, struct err *err)
{
	if (err && !err->num)
		err_copy(err, &s->err);
	return s->err.num;
}

static void drop_taken(struct splitter *s)
{
	buf_consume(&s->in, s->taken);
	s->taken = 0;
}

int splitter_feed(struct splitter *s, const uint8_t *p, size_t n,
		  struct err *err)
{
	if (s->err.num)
		return broken(s, err);
	drop_taken(s);
	if (n > s->allowed_bytes) {
		(void)err_set(&s->err, -EPROTO, "protocol", "session",
			      "more than %u bytes before acceptance",
			      WIRE_MAX_PRE_ACCEPT_BYTES);
		return broken(s, err);
	}
	if (s->in.len >= FRAME_HEADER_BYTES + WIRE_MAX_FRAME_BYTES) {
		/* the owner's mistake, but the stream is lost all the same */
		(void)err_set(&s->err, -EINVAL, "internal", "session",
			      "fed while whole frames wait: waiting=%zu",
			      s->in.len);
		return broken(s, err);
	}
	if (s->allowed_bytes != UINT64_MAX)
		s->allowed_bytes -= n;
	buf_put(&s->in, p, n);
	if (s->in.failed) {
		(void)err_set(&s->err, -ENOMEM, "memory", "session",
			      "receive: out of memory: bytes=%zu", n);
		return broken(s, err);
	}
	return 0;
}

static int judge_header(struct splitter *s, struct frame_header *h)
{
	int64_t limit;

	if (frame_get_header(s->in.data, h) < 0)
		return err_set(&s->err, -EPROTO, "protocol", "session",
			       "frame with unknown flags or reserved fields: "
			       "type=%u", h->type);
	limit = s->limit(h);
	if (limit < 0)
		return err_set(&s->err, -EPROTO, "protocol", "session",
			       "unknown message: type=%u", h->type);
	if (h->body_bytes > limit || h->body_bytes > WIRE_MAX_FRAME_BYTES)
		return err_set(&s->err, -EPROTO, "protocol", "session",
			       "message too long: type=%u length=%" PRIu32
			       " limit=%" PRId64,
			       h->type, h->body_bytes, limit);
	return 0;
}

int splitter_next(struct splitter *s, struct frame *out, struct err *err)
{
	if (s->err.num)
		return broken(s, err);
	drop_taken(s);
	if (s->in.len < FRAME_HEADER_BYTES)
		return 1;
	if (judge_header(s, &out->h) < 0)
		return broken(s, err);
	if (s->in.len - FRAME_HEADER_BYTES < out->h.body_bytes)
		return 1;
	out->body = s->in.data + FRAME_HEADER_BYTES;
	s->taken = FRAME_HEADER_BYTES + out->h.body_bytes;
	return 0;
}
