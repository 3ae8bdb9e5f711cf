/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_PKI_INDEX_H
#define PKI_PKI_INDEX_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"
#include "pki/pki.h"

/*
 * The list of everything an authority has signed, in memory. Plain data of
 * one thread. Text form: see pki_index.c.
 */
struct pki_index {
	struct pki_cert *certs;
	size_t n, cap;
};

#define PKI_INDEX_MAX_BYTES (16U << 20)

void pki_index_free(struct pki_index *ix);
int pki_index_add(struct pki_index *ix, const struct pki_cert *c);
/* text is NUL-terminated. -EBADMSG "pki-damaged" names path and line. */
int pki_index_parse(const char *text, const char *path, struct pki_index *out,
		    struct err *err);
/* Appends the whole text; the buffer says whether it failed. */
void pki_index_format(const struct pki_index *ix, struct buf *out);

#endif
