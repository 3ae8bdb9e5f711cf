/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

/*
 * Little-endian fields, a growing byte buffer to encode into, and a bounded
 * cursor to decode from. Nothing is ever cast onto bytes.
 */
static inline void put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
	put_le16(p, (uint16_t)v);
	put_le16(p + 2, (uint16_t)(v >> 16));
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const uint8_t *p)
{
	return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

static inline uint64_t get_le64(const uint8_t *p)
{
	return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

/*
 * Growing buffer; all zero is an empty one. A failed growth sets failed and
 * makes later puts no-ops, so that an encoder checks once at its end. data
 * may lie inside an allocation: never free it, see buf_take.
 */
struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;		/* bytes usable from data on */
	bool failed;
	uint8_t *base;		/* start of the allocation; private */
};

void buf_free(struct buf *b);		/* also resets to empty */
void buf_reset(struct buf *b);		/* keeps the memory */
int buf_reserve(struct buf *b, size_t more);	/* 0 or -ENOMEM */
/* Room for n bytes at the end; NULL when memory is out. */
uint8_t *buf_extend(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* u16 length, then the bytes; longer than 65535 sets failed. */
void buf_put_str(struct buf *b, const char *s);
/* Drop n bytes (all, when fewer) from the front. Constant time: nothing moves
 * before room is needed, see bytes.c. */
void buf_consume(struct buf *b, size_t n);
/*
 * As buf_free, and every byte it ever held is overwritten first. Growing moves
 * content: a buffer for secrets reserves its room before the first put.
 */
void buf_wipe(struct buf *b);
/*
 * Hand the content over: the caller frees it. The buffer is empty afterwards.
 * NULL when a put had failed or memory is out; an empty content is not NULL.
 */
uint8_t *buf_take(struct buf *b, size_t *len);

#define _cleanup_buf_ _cleanup_(buf_free)

/* Bounded reader. An over-read sets bad and yields zeros from then on. */
struct cursor {
	const uint8_t *p;
	size_t left;
	bool bad;
};

void cursor_init(struct cursor *c, const void *p, size_t n);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* Borrowed pointer to n bytes, or NULL (and bad) when fewer are left. */
const uint8_t *cursor_bytes(struct cursor *c, size_t n);
/* Copies exactly n bytes to out, zero-filled when too short. */
void cursor_copy(struct cursor *c, void *out, size_t n);
/* u16-length string into out[cap], NUL-terminated; too long or embedded NUL
 * sets bad. */
void cursor_str(struct cursor *c, char *out, size_t cap);
/* True when everything was read and nothing over-read. */
bool cursor_done(const struct cursor *c);

#endif
