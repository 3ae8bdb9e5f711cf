/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* "128MiB", "500 GiB", "4096" -> bytes. 0, -EINVAL, -ERANGE. */
int size_parse(const char *s, uint64_t *out_bytes);
/* "200MiB/s" -> bytes per second. 0, -EINVAL, -ERANGE. */
int rate_parse(const char *s, uint64_t *out_bytes_per_s);
/* "50ms", "1s", "10m", "1h", "7d", "2w", "1y" -> ns. A bare number is an
 * error: the unit must be said. */
int duration_parse(const char *s, uint64_t *out_ns);
/* "1.5 GiB" into out[24]. */
void size_format(uint64_t bytes, char out[24]);
/* "1.2 s", "350 ms", "3 m 20 s" into out[24]. */
void duration_format(uint64_t ns, char out[24]);
/* [A-Za-z0-9._-]{1,64}, no leading '.' or '-'. */
bool name_is_valid(const char *s);

#endif
