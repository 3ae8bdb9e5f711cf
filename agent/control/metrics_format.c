// SPDX-License-Identifier: Apache-2.0
/*
 * Metrics in Prometheus' text format. Pure functions.
 *
 * Names are a contract: understudy_*, the unit in the name, _total for what
 * only grows (from 0 at each start of the daemon). Every sample of a family
 * stands together, as the format wants it; what is not known has no sample.
 */
#include "control/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"

static void put(struct buf *out, const char *s)
{
	buf_put(out, s, strlen(s));
}

void metrics_put_value(struct buf *out, const char *value)
{
	buf_put_u8(out, '"');
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '\\' || c == '"')
			buf_put_u8(out, '\\');
		if (c == '\n')
			put(out, "\\n");
		else
			buf_put_u8(out, c < 0x80 ? c : '?');
	}
	buf_put_u8(out, '"');
}

static void put_family(struct buf *out, const char *name, const char *type,
		       const char *help)
{
	put(out, "# HELP understudy_");
	put(out, name);
	put(out, " ");
	put(out, help);
	put(out, "\n# TYPE understudy_");
	put(out, name);
	put(out, " ");
	put(out, type);
	put(out, "\n");
}

static void put_u64(struct buf *out, uint64_t v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), " %" PRIu64 "\n", v);
	put(out, text);
}

/* Seconds with milliseconds. */
static void put_seconds(struct buf *out, int64_t ns)
{
	char text[48];

	ns = ns < 0 ? 0 : ns;
	(void)snprintf(text, sizeof(text), " %" PRId64 ".%03" PRId64 "\n",
		       ns / (int64_t)NSEC_PER_SEC,
		       ns / (int64_t)NSEC_PER_MSEC % 1000);
	put(out, text);
}

struct label {
	const char *name, *value;
};

/* Name and labels; the ones of a volume are at the beginning. */
static void put_name(struct buf *out, const char *name,
		     const struct label *labels, size_t n)
{
	size_t i;

	put(out, "understudy_");
	put(out, name);
	for (i = 0; i < n; i++) {
		put(out, i ? "," : "{");
		put(out, labels[i].name);
		put(out, "=");
		metrics_put_value(out, labels[i].value);
	}
	if (n)
		put(out, "}");
}

#define VOLUME_LABELS 4

static void put_source(struct buf *out, const char *name,
		       const struct volume_status *s, const char *extra,
		       const char *value)
{
	const struct label labels[VOLUME_LABELS + 1] = {
		{ "volume", s->name },
		{ "source", s->source },
		{ "role", "source" },
		{ "replica", s->replica },
		{ extra, value },
	};

	put_name(out, name, labels, VOLUME_LABELS + (extra != NULL));
}

static void put_stored(struct buf *out, const char *name,
		       const struct metrics_stored *v, const char *extra,
		       const char *value)
{
	const struct label labels[VOLUME_LABELS + 1] = {
		{ "volume", v->s.info.name },
		{ "source", v->s.info.source },
		{ "role", "replica" },
		{ "replica", "" },
		{ extra, value },
	};

	put_name(out, name, labels, VOLUME_LABELS + (extra != NULL));
}

/* ---- states ---- */

static const char *const source_states[] = {
	"initializing", "protected", "lagging", "comparing", "paused",
	"refused", "failed",
};

static const char *const replica_states[] = {
	"initializing", "following", "disconnected", "full", "damaged",
	"promoted",
};

static void put_states(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i, j;

	put_family(out, "volume_state", "gauge",
		   "1 for the state that the volume is in, 0 for the others");
	for (i = 0; i < m->n_volumes; i++)
		for (j = 0; j < ARRAY_SIZE(source_states); j++) {
			const struct volume_status *s = &m->volumes[i];

			put_source(out, "volume_state", s, "state",
				   source_states[j]);
			put_u64(out, !strcmp(volume_state_name(s->state),
					     source_states[j]));
		}
	for (i = 0; i < m->n_stored; i++)
		for (j = 0; j < ARRAY_SIZE(replica_states); j++) {
			put_stored(out, "volume_state", &m->stored[i], "state",
				   replica_states[j]);
			put_u64(out, !strcmp(m->stored[i].s.state,
					     replica_states[j]));
		}
}

/* ---- numbers that both roles have ---- */

static void put_lag(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	put_family(out, "rpo_lag_seconds", "gauge",
		   "Age of what the newest durable point is known to be");
	for (i = 0; i < m->n_volumes; i++) {
		if (!m->volumes[i].has_lag)
			continue;
		put_source(out, "rpo_lag_seconds", &m->volumes[i], NULL, NULL);
		put_seconds(out, (int64_t)m->volumes[i].lag_ns);
	}
	for (i = 0; i < m->n_stored; i++) {
		if (!m->stored[i].s.has_lag)
			continue;
		put_stored(out, "rpo_lag_seconds", &m->stored[i], NULL, NULL);
		put_seconds(out, (int64_t)m->stored[i].s.lag_ns);
	}
	put_family(out, "rpo_seconds", "gauge", "Objective for the lag");
	for (i = 0; i < m->n_volumes; i++) {
		if (!m->volumes[i].rpo_ns)
			continue;
		put_source(out, "rpo_seconds", &m->volumes[i], NULL, NULL);
		put_seconds(out, (int64_t)m->volumes[i].rpo_ns);
	}
}

static void put_last_point(const struct metrics_snapshot *m, struct buf *out)
{
	static const char name[] = "last_point_time_seconds";
	size_t i;

	put_family(out, name, "gauge",
		   "Time of the newest durable point, since 1970, by the "
		   "source's clock");
	for (i = 0; i < m->n_volumes; i++) {
		if (!m->volumes[i].has_point)
			continue;
		put_source(out, name, &m->volumes[i], NULL, NULL);
		put_seconds(out, m->volumes[i].flip_wall_ns);
	}
	for (i = 0; i < m->n_stored; i++) {
		if (!m->stored[i].s.info.has_point)
			continue;
		put_stored(out, name, &m->stored[i], NULL, NULL);
		put_seconds(out,
			    m->stored[i].s.info.newest.meta.flip_wall_ns);
	}
}

static void put_proven(const struct metrics_snapshot *m, struct buf *out)
{
	static const char name[] = "proven_time_seconds";
	size_t i;

	put_family(out, name, "gauge",
		   "Time since which each block of the volume has been compared "
		   "with the replica, since 1970");
	for (i = 0; i < m->n_volumes; i++) {
		if (!m->volumes[i].proven_wall_ns)
			continue;
		put_source(out, name, &m->volumes[i], NULL, NULL);
		put_seconds(out, m->volumes[i].proven_wall_ns);
	}
}

static void put_connected(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	put_family(out, "connected", "gauge",
		   "Is there a session for the volume with the other side");
	for (i = 0; i < m->n_volumes; i++) {
		put_source(out, "connected", &m->volumes[i], NULL, NULL);
		put_u64(out, !strcmp(m->volumes[i].replica_state,
				     "connected"));
	}
	for (i = 0; i < m->n_stored; i++) {
		put_stored(out, "connected", &m->stored[i], NULL, NULL);
		put_u64(out, m->stored[i].s.connected);
	}
}

static void put_size(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	put_family(out, "volume_size_bytes", "gauge", "Size of the volume");
	for (i = 0; i < m->n_volumes; i++) {
		put_source(out, "volume_size_bytes", &m->volumes[i], NULL,
			   NULL);
		put_u64(out, m->volumes[i].size_bytes);
	}
	for (i = 0; i < m->n_stored; i++) {
		put_stored(out, "volume_size_bytes", &m->stored[i], NULL,
			   NULL);
		put_u64(out, m->stored[i].s.info.size_bytes);
	}
}

/* ---- numbers of volumes protected here ---- */

#define FIELD(f) offsetof(struct volume_status, f)

static const struct {
	const char *name, *type, *help;
	size_t offset;			/* of a uint64_t */
} source_numbers[] = {
	{ "dirty_bytes", "gauge", "Written and not in an acknowledged point",
	  FIELD(dirty_bytes) },
	{ "backlog_bytes", "gauge", "Of the dirty ones, not staged either",
	  FIELD(backlog_bytes) },
	{ "points_total", "counter", "Points acknowledged", FIELD(points) },
	{ "cuts_total", "counter", "Cuts attempted", FIELD(cuts) },
	{ "cuts_converged_total", "counter", "Cuts that came about",
	  FIELD(cuts_converged) },
	{ "rounds_total", "counter", "Rounds of reading for cuts",
	  FIELD(rounds) },
	{ "holds_total", "counter", "Times that writers were held for a cut",
	  FIELD(holds) },
	{ "holds_failed_total", "counter",
	  "Times that they should have been held and no such point came of it",
	  FIELD(holds_failed) },
	{ "bytes_read_total", "counter", "Read from the device",
	  FIELD(bytes_read) },
	{ "bytes_staged_total", "counter", "Staged at the replica, plain size",
	  FIELD(bytes_staged) },
	{ "bytes_shipped_total", "counter", "Shipped, sealed and compressed",
	  FIELD(bytes_shipped) },
	{ "audit_bytes_total", "counter", "Read from the device by the audit",
	  FIELD(audit_bytes) },
	{ "audit_laps_total", "counter",
	  "Times that the audit has compared all of the volume",
	  FIELD(audit_laps) },
	{ "audit_differing_bytes_total", "counter",
	  "Found by the audit to be not as the replica has them",
	  FIELD(audit_differing_bytes) },
	{ "bytes_unchanged_total", "counter",
	  "Written, found as the replica has them, and not shipped",
	  FIELD(bytes_unchanged) },
};

static const struct {
	const char *kind;
	size_t offset;
} loss_kinds[] = {
	{ "issue-missed", FIELD(losses.issue_misses) },
	{ "completion-missed", FIELD(losses.complete_misses) },
	{ "completion-lost", FIELD(losses.lost_completions) },
	{ "completion-failed", FIELD(losses.error_completions) },
	{ "slot-overflow", FIELD(losses.slot_overflows) },
	{ "walk-overflow", FIELD(losses.walk_overflows) },
	{ "passthrough", FIELD(losses.passthrough) },
	{ "other-disk", FIELD(losses.other_disk) },
	{ "map-error", FIELD(losses.map_errors) },
	{ "end-unknown", FIELD(losses.unknown_ends) },
	{ "sectors-unseen", FIELD(losses.unseen_sectors) },
};

static uint64_t field(const struct volume_status *s, size_t offset)
{
	uint64_t v;

	memcpy(&v, (const char *)s + offset, sizeof(v));
	return v;
}

static void put_source_numbers(const struct metrics_snapshot *m,
			       struct buf *out)
{
	size_t i, j;

	for (j = 0; j < ARRAY_SIZE(source_numbers); j++) {
		put_family(out, source_numbers[j].name, source_numbers[j].type,
			   source_numbers[j].help);
		for (i = 0; i < m->n_volumes; i++) {
			put_source(out, source_numbers[j].name, &m->volumes[i],
				   NULL, NULL);
			put_u64(out, field(&m->volumes[i],
					   source_numbers[j].offset));
		}
	}
}

static void put_holds(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	put_family(out, "last_hold_seconds", "gauge",
		   "How long writers were held, the last time");
	for (i = 0; i < m->n_volumes; i++) {
		if (!m->volumes[i].holds)
			continue;
		put_source(out, "last_hold_seconds", &m->volumes[i], NULL,
			   NULL);
		put_seconds(out, (int64_t)m->volumes[i].last_held_ns);
	}
}

static void put_losses(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i, j;

	put_family(out, "tracker_losses_total", "counter",
		   "What the tracker could not see as it should, by kind");
	for (i = 0; i < m->n_volumes; i++)
		for (j = 0; j < ARRAY_SIZE(loss_kinds); j++) {
			put_source(out, "tracker_losses_total", &m->volumes[i],
				   "kind", loss_kinds[j].kind);
			put_u64(out,
				field(&m->volumes[i], loss_kinds[j].offset));
		}
	put_family(out, "tracker_detached", "gauge",
		   "Is a program of the tracker no longer attached");
	for (i = 0; i < m->n_volumes; i++) {
		put_source(out, "tracker_detached", &m->volumes[i], NULL,
			   NULL);
		put_u64(out, m->volumes[i].losses.detached);
	}
}

/* ---- the store ---- */

static void put_store_volumes(const struct metrics_snapshot *m,
			      struct buf *out)
{
	size_t i;

	put_family(out, "store_points", "gauge", "Points of the volume");
	for (i = 0; i < m->n_stored; i++) {
		put_stored(out, "store_points", &m->stored[i], NULL, NULL);
		put_u64(out, m->stored[i].s.info.n_points);
	}
	put_family(out, "store_bytes", "gauge",
		   "What the volume's segments take on the disk");
	for (i = 0; i < m->n_stored; i++) {
		put_stored(out, "store_bytes", &m->stored[i], NULL, NULL);
		put_u64(out, m->stored[i].stored_bytes);
	}
	put_family(out, "store_open_bytes", "gauge",
		   "Staged for the volume's next point");
	for (i = 0; i < m->n_stored; i++) {
		put_stored(out, "store_open_bytes", &m->stored[i], NULL, NULL);
		put_u64(out, m->stored[i].s.info.open_bytes);
	}
}

static void put_plain(struct buf *out, const char *name, const char *type,
		      const char *help, uint64_t v)
{
	put_family(out, name, type, help);
	put_name(out, name, NULL, 0);
	put_u64(out, v);
}

static void put_replica(const struct metrics_snapshot *m, struct buf *out)
{
	if (!m->is_replica)
		return;
	put_plain(out, "store_up", "gauge", "Does the store answer",
		  !m->store_failure);
	if (m->store_size_bytes) {
		put_plain(out, "store_filesystem_size_bytes", "gauge",
			  "Size of the store's file system",
			  m->store_size_bytes);
		put_plain(out, "store_filesystem_free_bytes", "gauge",
			  "Free bytes of the store's file system",
			  m->store_free_bytes);
	}
	put_plain(out, "connections", "gauge", "Peers that are connected",
		  m->sessions.connections);
	put_plain(out, "strangers", "gauge",
		  "Of them those not accepted yet", m->sessions.strangers);
	put_plain(out, "sessions", "gauge",
		  "Of them those that have a volume open to push it",
		  m->sessions.senders);
	put_store_volumes(m, out);
}

/* ---- the daemon ---- */

static void put_events(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	put_family(out, "events_total", "counter", "Events, by what happened");
	for (i = 0; i < m->n_slugs; i++) {
		const struct label slug = { "slug", m->slugs[i].slug };

		put_name(out, "events_total", &slug, 1);
		put_u64(out, m->slugs[i].count);
	}
	put_plain(out, "events_lost_total", "counter",
		  "Events that could not be written", m->events.lost);
	put_plain(out, "events_unsaved", "gauge",
		  "Events that are in memory only", m->events.unsaved);
}

int metrics_format(const struct metrics_snapshot *m, struct buf *out)
{
	const struct label version = { "version", m->version };

	put_family(out, "build_info", "gauge", "Always 1");
	put_name(out, "build_info", &version, 1);
	put_u64(out, 1);
	put_family(out, "start_time_seconds", "gauge",
		   "When the daemon started, since 1970");
	put_name(out, "start_time_seconds", NULL, 0);
	put_seconds(out, m->started_wall_ns);
	put_states(m, out);
	put_lag(m, out);
	put_last_point(m, out);
	put_proven(m, out);
	put_connected(m, out);
	put_size(m, out);
	put_source_numbers(m, out);
	put_holds(m, out);
	put_losses(m, out);
	put_replica(m, out);
	put_events(m, out);
	return out->failed ? -ENOMEM : 0;
}
