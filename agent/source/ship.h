/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_SHIP_H
#define SOURCE_SHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rnd.h"
#include "source/cut.h"
#include "source/link.h"
#include "wire/seal.h"

/*
 * The sink that ships: zero detection, fingerprints, leaving out what the
 * replica already holds, compression, sealing, frames. One session, one
 * volume, one thread.
 */
struct ship;

struct ship_config {
	struct link *link;		/* borrowed */
	struct uuid volume;
	uint64_t epoch;
	const struct volume_key *key;
	struct comp_config compression;
	struct rnd *rnd;
	unsigned int encode_threads;	/* 0: none beside the caller */
	uint32_t cache_log2_slots;	/* 0: as production; small in tests */
};

struct ship_totals {			/* since ship_new */
	uint64_t staged_bytes;		/* plaintext sent, zeros too */
	uint64_t unchanged_bytes;	/* left out */
	uint64_t zero_bytes;
	uint64_t unit_bytes;		/* sealed, as sent */
};

int ship_new(const struct ship_config *cfg, struct ship **out,
	     struct err *err);
void ship_free(struct ship *s);
struct cut_sink *ship_sink(struct ship *s);
/* The error behind a failed expect or stage. */
const struct err *ship_error(const struct ship *s);

/*
 * Before a round. next_seq numbers the open point. compare: ask the replica
 * what it holds before shipping.
 */
void ship_round(struct ship *s, uint64_t next_seq, bool compare);
/* From the link's handler. */
void ship_on_fps(struct ship *s, uint64_t first, uint32_t count,
		 const uint8_t *fps);
/* Serves the session while a round has nothing to send for a while. */
int ship_pump(struct ship *s);
/* Units were sent since the last commit? */
bool ship_point_has_units(const struct ship *s);
/* Send what is buffered and the commit. */
int ship_commit(struct ship *s, const struct wire_commit *c, struct err *err);
void ship_get_totals(const struct ship *s, struct ship_totals *out);

#endif
