/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_WHY_H
#define CONTROL_WHY_H

#include <stddef.h>
#include <stdint.h>

#include "replica/replica.h"
#include "source/volume.h"

/*
 * What limits a volume and what it waits for, in sentences. Pure functions of
 * what status knows; each sentence has a stable slug. Nothing is said that is
 * not known: a speed only when it was measured, a cause only when it was told.
 */
#define WHY_MAX 12

struct why_sentence {
	char slug[40];
	char text[768];
};

struct why {
	struct why_sentence s[WHY_MAX];
	size_t n;
};

struct why_source {
	const struct volume_status *now;
	const struct volume_status *before;	/* NULL: nothing measured */
	uint64_t between_ns;
	uint64_t read_limit_bytes;	/* per second; 0: none */
	uint64_t rate_limit_bytes;
};

void why_source(const struct why_source *w, struct why *out);
void why_replica(const struct replica_volume_status *s, struct why *out);

#endif
