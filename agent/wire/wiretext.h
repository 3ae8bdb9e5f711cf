/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_WIRETEXT_H
#define WIRE_WIRETEXT_H

#include <stdbool.h>

/*
 * Rules for text that comes from a peer: it ends up in terminals, logs and
 * reports.
 */

/* Well-formed UTF-8 without control characters (C0, DEL, C1). */
bool wiretext_is_clean(const char *s);
/* Every byte that stands in the way of that becomes '?'. */
void wiretext_clean(char *s);
/* [a-z0-9-]{1,39}: the code of an error. */
bool wiretext_is_slug(const char *s);

#endif
