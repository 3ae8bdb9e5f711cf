// SPDX-License-Identifier: Apache-2.0
/*
 * The index of an authority: what is read is written again as the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pki/pki_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

/* Written, read and written: both texts are equal. */
static void check_round(const struct pki_index *ix)
{
	struct buf first = { 0 }, second = { 0 };
	struct pki_index again = { 0 };

	pki_index_format(ix, &first);
	buf_put_u8(&first, 0);
	must(!first.failed);
	must(!pki_index_parse((const char *)first.data, "index", &again, NULL));
	must(again.n == ix->n);
	pki_index_format(&again, &second);
	buf_put_u8(&second, 0);
	must(first.len == second.len &&
	     !memcmp(first.data, second.data, first.len));
	pki_index_free(&again);
	buf_free(&first);
	buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pki_index ix = { 0 };
	char *text = malloc(size + 1);

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	if (pki_index_parse(text, "index", &ix, NULL) == 0)
		check_round(&ix);
	pki_index_free(&ix);
	free(text);
	return 0;
}
