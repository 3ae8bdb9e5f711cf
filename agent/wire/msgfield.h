/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_MSGFIELD_H
#define WIRE_MSGFIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/units.h"
#include "base/uuid.h"
#include "wire/session.h"
#include "wire/wiretext.h"

/* The fields that bodies are made of. Internal to wire's msgbody files. */
#define POINT_KIND_MAX 3
#define VOLUME_BYTES_MAX (US_MAX_BLOCKS << US_BLOCK_SHIFT)

static inline void put_uuid(struct buf *b, const struct uuid *u)
{
	buf_put(b, u->b, sizeof(u->b));
}

static inline void get_uuid(struct cursor *c, struct uuid *u)
{
	cursor_copy(c, u->b, sizeof(u->b));
}

static inline void put_head(struct buf *b, const struct wire_head *h)
{
	buf_put(b, h->b, sizeof(h->b));
}

static inline void get_head(struct cursor *c, struct wire_head *h)
{
	cursor_copy(c, h->b, sizeof(h->b));
}

static inline int64_t get_i64(struct cursor *c)
{
	return (int64_t)cursor_u64(c);
}

/* A field that is only there when its flag is says nothing otherwise. */
static inline bool get_bool(struct cursor *c, bool *v)
{
	uint8_t b = cursor_u8(c);

	*v = b == 1;
	return b <= 1;
}

static inline bool get_name(struct cursor *c, char *out)
{
	cursor_str(c, out, WIRE_NAME_MAX + 1);
	return name_is_valid(out);
}

static inline bool get_name_or_none(struct cursor *c, char *out)
{
	cursor_str(c, out, WIRE_NAME_MAX + 1);
	return !*out || name_is_valid(out);
}

static inline bool get_text(struct cursor *c, char *out, size_t cap)
{
	cursor_str(c, out, cap);
	return wiretext_is_clean(out);
}

static inline bool is_place(uint64_t epoch, uint64_t seq)
{
	return epoch && seq;
}

static inline bool is_range(uint64_t first, uint64_t count, uint64_t max)
{
	return count && count <= max &&
	       range_inside(first, count, US_MAX_BLOCKS);
}

#endif
