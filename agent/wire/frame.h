/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * A frame: header and body. Little endian:
 *
 *   off size field
 *     0    4 length of the body
 *     4    2 type (msg.h)
 *     6    2 flags (FRAME_*)
 *     8    4 handle: the volume or view it is about, 0 for none
 *    12    2 stream, 0
 *    14    2 reserved, 0
 *    16    8 request: ties an answer to its request, 0 for neither
 */
#define FRAME_HEADER_BYTES 24U
/* A receiver that does not know the type skips the frame. */
#define FRAME_IGNORABLE 0x0001U
#define FRAME_FLAGS FRAME_IGNORABLE

struct frame_header {
	uint32_t body_bytes;
	uint16_t type;
	uint16_t flags;
	uint32_t handle;
	uint16_t stream;
	uint64_t request;
};

struct frame {
	struct frame_header h;
	const uint8_t *body;		/* h.body_bytes of them */
};

void frame_put_header(const struct frame_header *h,
		      uint8_t out[FRAME_HEADER_BYTES]);
/* 0; -EBADMSG when a reserved field is used. */
int frame_get_header(const uint8_t in[FRAME_HEADER_BYTES],
		     struct frame_header *h);

/*
 * Cuts a byte stream into frames. Keeps what was fed last and at most one
 * partial frame before it. After an error every call repeats it.
 */
struct splitter {
	struct buf in;
	size_t taken;			/* of in: the frame given out last */
	uint64_t allowed_bytes;		/* still to be fed; UINT64_MAX: any */
	/* Largest body for this header, or -EPROTO: no such frame. */
	int64_t (*limit)(const struct frame_header *h);
	struct err err;
};

void splitter_init(struct splitter *s, uint64_t allowed_bytes,
		   int64_t (*limit)(const struct frame_header *h));
void splitter_free(struct splitter *s);
/* No more bound on the sum of what may be fed. */
void splitter_lift(struct splitter *s);
/* 0; -EPROTO (more than allowed); -EINVAL (fed without taking); -ENOMEM. */
int splitter_feed(struct splitter *s, const uint8_t *p, size_t n,
		  struct err *err);
/*
 * 0 and a frame whose body lives until the next call of either; 1 when more
 * bytes are needed; -EPROTO.
 */
int splitter_next(struct splitter *s, struct frame *out, struct err *err);
/* Overwrite the body given out last: it was a secret. */
void splitter_wipe_taken(struct splitter *s);
/* Is there anything that was not given out? */
bool splitter_is_empty(const struct splitter *s);

#endif
