// SPDX-License-Identifier: Apache-2.0
/*
 * The growing buffer to encode into and the bounded cursor to decode from.
 * No I/O; one thread at a time per object.
 *
 * A buffer's memory is [base, data + cap). Consuming moves data forward and
 * costs nothing; the dropped front is taken back when room is needed and at
 * least as much was dropped as must be moved, so that a byte is moved at most
 * once for each byte dropped.
 */
#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define BUF_MIN_CAP 64U

void buf_free(struct buf *b)
{
	free(b->base);
	memset(b, 0, sizeof(*b));
}

static size_t dropped(const struct buf *b)
{
	return (size_t)(b->data - b->base);
}

void buf_wipe(struct buf *b)
{
	if (b->base)
		explicit_bzero(b->base, dropped(b) + b->cap);
	buf_free(b);
}

static void take_front_back(struct buf *b)
{
	size_t n = b->base ? dropped(b) : 0;

	if (!n)
		return;
	memmove(b->base, b->data, b->len);
	b->data = b->base;
	b->cap += n;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	take_front_back(b);
}

int buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap;
	uint8_t *p;

	if (b->failed)
		return -ENOMEM;
	if (more <= b->cap - b->len)
		return 0;
	if (__builtin_add_overflow(b->len, more, &need) ||
	    need > SIZE_MAX / 4) {
		b->failed = true;
		return -ENOMEM;
	}
	if (b->base && dropped(b) >= b->len && need <= b->cap + dropped(b)) {
		take_front_back(b);
		return 0;
	}
	take_front_back(b);
	cap = b->cap < BUF_MIN_CAP ? BUF_MIN_CAP : b->cap;
	while (cap < need)
		cap *= 2;
	p = realloc(b->base, cap);
	if (!p) {
		b->failed = true;
		return -ENOMEM;
	}
	b->base = p;
	b->data = p;
	b->cap = cap;
	return 0;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
	uint8_t *p;

	if (buf_reserve(b, n) < 0)
		return NULL;
	p = b->data + b->len;
	b->len += n;
	return p;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	uint8_t *to;

	if (!n)
		return;
	to = buf_extend(b, n);
	if (to)
		memcpy(to, p, n);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
	uint8_t *p = buf_extend(b, 2);

	if (p)
		put_le16(p, v);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
	uint8_t *p = buf_extend(b, 4);

	if (p)
		put_le32(p, v);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	uint8_t *p = buf_extend(b, 8);

	if (p)
		put_le64(p, v);
}

void buf_put_str(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	if (n > UINT16_MAX) {
		b->failed = true;
		return;
	}
	if (buf_reserve(b, n + 2) < 0)
		return;
	buf_put_u16(b, (uint16_t)n);
	buf_put(b, s, n);
}

void buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		take_front_back(b);
		return;
	}
	b->data += n;
	b->len -= n;
	b->cap -= n;
}

uint8_t *buf_take(struct buf *b, size_t *len)
{
	uint8_t *p;

	if (b->failed || buf_reserve(b, 1) < 0) {
		buf_free(b);
		*len = 0;
		return NULL;
	}
	take_front_back(b);
	p = b->base;
	*len = b->len;
	memset(b, 0, sizeof(*b));
	return p;
}

void cursor_init(struct cursor *c, const void *p, size_t n)
{
	c->p = p;
	c->left = n;
	c->bad = false;
}

const uint8_t *cursor_bytes(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->bad || n > c->left) {
		c->bad = true;
		c->left = 0;
		return NULL;
	}
	if (n)
		c->p += n;
	c->left -= n;
	return p;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 1);

	return p ? *p : 0;
}

uint16_t cursor_u16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p ? get_le16(p) : 0;
}

uint32_t cursor_u32(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 4);

	return p ? get_le32(p) : 0;
}

uint64_t cursor_u64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p ? get_le64(p) : 0;
}

void cursor_copy(struct cursor *c, void *out, size_t n)
{
	const uint8_t *p = cursor_bytes(c, n);

	if (!n)
		return;
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

void cursor_str(struct cursor *c, char *out, size_t cap)
{
	size_t n = cursor_u16(c);
	const uint8_t *p = cursor_bytes(c, n);

	out[0] = 0;
	if (!n || c->bad)
		return;
	if (n >= cap || memchr(p, 0, n)) {
		c->bad = true;
		c->left = 0;
		return;
	}
	memcpy(out, p, n);
	out[n] = 0;
}

bool cursor_done(const struct cursor *c)
{
	return !c->bad && !c->left;
}
