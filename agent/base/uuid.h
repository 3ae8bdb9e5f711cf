/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rnd.h"

struct uuid {
	uint8_t b[16];
};

#define UUID_TEXT_SIZE 37	/* with the NUL */

int uuid_new(struct rnd *rnd, struct uuid *out);	/* RFC 4122 version 4 */
void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE]);
int uuid_parse(const char *s, struct uuid *out);	/* 0 or -EINVAL */
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *u);

#endif
