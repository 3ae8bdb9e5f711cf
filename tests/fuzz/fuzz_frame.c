// SPDX-License-Identifier: Apache-2.0
/*
 * A byte stream through the splitter and the decoder of every message. The
 * first byte says at which end and in pieces of which size the rest arrives.
 * What decodes must encode, to a message that says the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void again(const struct msg *m, const struct frame *f)
{
	struct buf b = { 0 }, b2 = { 0 };
	struct frame f2;
	struct msg m2;

	must(!msg_encode(&b, m));
	must(!frame_get_header(b.data, &f2.h));
	must(f2.h.type == f->h.type && f2.h.handle == f->h.handle &&
	     f2.h.request == f->h.request);
	f2.body = b.data + FRAME_HEADER_BYTES;
	must(!msg_decode(&f2, &m2));
	must(!msg_encode(&b2, &m2));
	must(b.len == b2.len && !memcmp(b.data, b2.data, b.len));
	buf_free(&b);
	buf_free(&b2);
}

static void take_all(struct splitter *s)
{
	struct frame f;
	struct msg m;

	while (!splitter_next(s, &f, NULL))
		if (msg_is_known(f.h.type) && !msg_decode(&f, &m))
			again(&m, &f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct splitter s;
	size_t piece, n;

	if (size < 1)
		return 0;
	splitter_init(&s, UINT64_MAX, data[0] & 1 ? msg_limit_at_dialler :
						    msg_limit_at_acceptor);
	piece = data[0] & 2 ? size : (size_t)1 + data[0] / 4;
	for (data++, size--; size; data += n, size -= n) {
		n = size < piece ? size : piece;
		if (splitter_feed(&s, data, n, NULL))
			break;
		take_all(&s);
	}
	splitter_free(&s);
	return 0;
}
