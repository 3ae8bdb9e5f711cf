/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/bytes.h"
#include "control/eventlog.h"
#include "replica/replica.h"
#include "source/volume.h"

/*
 * What a daemon shows over HTTP. A snapshot is taken first; everything that is
 * made of it is a pure function, so that no lock is held while a scraper reads.
 */
struct metrics_stored {
	struct replica_volume_status s;
	uint64_t stored_bytes;		/* of its segments, on the disk */
};

struct metrics_slug {
	char slug[32];
	uint64_t count;
};

struct metrics_snapshot {
	const char *version;
	int64_t started_wall_ns;
	struct volume_status *volumes;	/* protected here */
	size_t n_volumes;
	bool is_replica;
	int store_failure;		/* negative errno: it does not answer */
	struct metrics_stored *stored;
	size_t n_stored;
	uint64_t store_size_bytes, store_free_bytes;	/* file system; 0: ? */
	struct replica_sessions sessions;
	struct eventlog_stats events;
	struct metrics_slug slugs[EVENTLOG_SLUGS_MAX];
	size_t n_slugs;
};

struct daemon;
/* 0 or -ENOMEM; a store that fails is in out. Any thread. */
int metrics_collect(struct daemon *d, struct metrics_snapshot *out);
void metrics_release(struct metrics_snapshot *m);

/* metrics_format.c: Prometheus' text format, version 0.0.4. 0, -ENOMEM. */
int metrics_format(const struct metrics_snapshot *m, struct buf *out);
/* A label's value, quoted and escaped. */
void metrics_put_value(struct buf *out, const char *value);

/*
 * metrics_page.c. {"status":"ok"|"failing","reasons":[{"slug","object",
 * "message"}]}; failing is when the daemon itself cannot do its work, not
 * when a volume waits for its device or its replica. NULL: -ENOMEM.
 */
json_t *metrics_health(const struct metrics_snapshot *m, bool *failing);
/* The page: plain HTML, nothing loaded from anywhere. 0, -ENOMEM. */
int metrics_page(const struct metrics_snapshot *m, struct buf *out);

#endif
