// SPDX-License-Identifier: Apache-2.0
/*
 * What a volume shows of itself. The worker tells its phase and its reasons;
 * whether that is "protected" or "lagging" is computed from the lag at the
 * moment somebody looks, so that it is never better than the truth.
 *
 * Everything here is under the volume's lock.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"

/* Without an objective, lag beyond this many intervals (and some seconds)
 * cannot be called protected. */
#define LAG_INTERVALS 10U
#define LAG_SLACK_NS (5 * NSEC_PER_SEC)
/* Members of a group wait for each other at every point. */
#define GROUP_SLACK_NS NSEC_PER_SEC

const char *volume_state_name(enum volume_state s)
{
	static const char *const names[] = {
		[VOLUME_INITIALIZING] = "initializing",
		[VOLUME_PROTECTED] = "protected",
		[VOLUME_LAGGING] = "lagging",
		[VOLUME_COMPARING] = "comparing",
		[VOLUME_PAUSED] = "paused",
		[VOLUME_REFUSED] = "refused",
		[VOLUME_FAILED] = "failed",
	};

	return s < ARRAY_SIZE(names) ? names[s] : "failed";
}

static void copy_reason(struct volume *v, const struct err *why)
{
	struct volume_status *s = &v->shown;

	(void)snprintf(s->reason, sizeof(s->reason), "%s",
		       why ? why->code : "");
	(void)snprintf(s->message, sizeof(s->message), "%s",
		       why ? why->message : "");
	(void)snprintf(s->remedy, sizeof(s->remedy), "%s",
		       why ? why->remedy : "");
}

static uint64_t lag_now(const struct volume *v)
{
	uint64_t now = clock_mono_ns(v->env.clock);

	return now > v->proven_mono_ns ? now - v->proven_mono_ns : 0;
}

static uint64_t lag_limit(const struct volume *v)
{
	if (v->cfg.rpo_ns)
		return v->cfg.rpo_ns;
	return LAG_INTERVALS * v->cfg.interval_ns + LAG_SLACK_NS;
}

/* Found by verify; a resync that is under way speaks for itself. */
static bool is_differing(const struct volume *v)
{
	return v->vs.sw.differs && !v->vs.sw.resync;
}

static enum volume_state state_now(const struct volume *v)
{
	switch (v->phase) {
	case PHASE_REFUSED:
		return VOLUME_REFUSED;
	case PHASE_FAILED:
		return VOLUME_FAILED;
	default:
		break;
	}
	if (v->paused)
		return VOLUME_PAUSED;
	if (v->phase == PHASE_INITIALIZING || !v->has_proven)
		return VOLUME_INITIALIZING;
	/* From the moment that it is ordered, not only when it begins. */
	if (v->phase == PHASE_COMPARING || v->vs.sw.resync)
		return VOLUME_COMPARING;
	/* Points are made all the same: each is as good as the one before. */
	if (is_differing(v))
		return VOLUME_FAILED;
	/* How young its last point may be: whether what was written since is
	 * known will be seen when the device is opened. */
	if (v->phase == PHASE_STARTING)
		return VOLUME_LAGGING;
	return lag_now(v) > lag_limit(v) ? VOLUME_LAGGING : VOLUME_PROTECTED;
}

void volume_tell(struct volume *v, const char *slug, const char *reason,
		 const char *fmt, ...)
{
	const struct event e = {
		.slug = slug,
		.role = "source",
		.object = v->cfg.name,
		.reason = reason,
	};
	va_list ap;

	va_start(ap, fmt);
	event_vtell(v->env.events, &e, fmt, ap);
	va_end(ap);
}

bool volume_is_protected(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	return state_now(v) == VOLUME_PROTECTED &&
	       !v->shown.limited_by[0];
}

/* The state before, since when it was so, and what is said of the new one. */
static void tell_state(struct volume *v, enum volume_state was, int64_t since)
{
	const struct volume_status *s = &v->shown;
	char slug[32];
	const struct event e = {
		.slug = slug,
		.role = "source",
		.object = v->cfg.name,
		.reason = s->reason[0] ? s->reason : s->limited_by,
		.since_wall_ns = since,
	};

	(void)snprintf(slug, sizeof(slug), "state-%s",
		       volume_state_name(v->last_state));
	event_tell(v->env.events, &e, "%s%s%s%s%s",
		   volume_state_name(v->last_state), since ? ", was " : "",
		   since ? volume_state_name(was) : "",
		   s->message[0] ? ": " : "", s->message);
}

static void note_state(struct volume *v)
{
	enum volume_state s = state_now(v), was = v->last_state;
	int64_t since = v->shown.since_wall_ns;
	struct err why = ERR_INIT;

	/* Ordered, and not begun: the worker may be in a handshake. */
	if (s == VOLUME_COMPARING &&
	    (v->phase == PHASE_RUNNING || v->phase == PHASE_STARTING)) {
		err_set(&why, -ESTALE, "resync", v->cfg.name,
			"resync was ordered: everything is compared");
		copy_reason(v, &why);
	} else if (s == VOLUME_LAGGING && v->phase == PHASE_STARTING) {
		err_set(&why, -EAGAIN, "starting", v->cfg.name,
			"its device is being opened");
		copy_reason(v, &why);
		/* Who looks is told; it is no event, each start is so. */
		return;
	}
	if (s == was && since)
		return;
	v->last_state = s;
	v->shown.since_wall_ns = clock_wall_ns(v->env.clock);
	tell_state(v, was, since);
	log_info("volume %s: %s%s%s%s%s", v->cfg.name, volume_state_name(s),
		 v->shown.reason[0] ? ": " : "", v->shown.reason,
		 v->shown.message[0] ? ": " : "", v->shown.message);
}

void volume_set_phase(struct volume *v, enum phase phase,
		      const struct err *why)
{
	LOCK_SCOPE(&v->lock);

	v->phase = phase;
	copy_reason(v, why);
	note_state(v);
}

void volume_note_reason(struct volume *v, const struct err *why)
{
	LOCK_SCOPE(&v->lock);

	if (why && why->num && strcmp(v->shown.reason, why->code))
		log_failure(LOG_LEVEL_WARN, why);
	copy_reason(v, why);
	note_state(v);
}

void volume_set_link(struct volume *v, const char *state, const char *reason)
{
	LOCK_SCOPE(&v->lock);

	(void)snprintf(v->shown.replica_state, sizeof(v->shown.replica_state),
		       "%s", state);
	(void)snprintf(v->shown.replica_reason,
		       sizeof(v->shown.replica_reason), "%s", reason);
}

void volume_set_limit(struct volume *v, const char *by)
{
	LOCK_SCOPE(&v->lock);

	(void)snprintf(v->shown.limited_by, sizeof(v->shown.limited_by), "%s",
		       by);
}

static void publish_totals(struct volume *v)
{
	struct ship_totals t = v->shipped_before, now;

	if (v->ship) {
		ship_get_totals(v->ship, &now);
		t.staged_bytes += now.staged_bytes;
		t.unchanged_bytes += now.unchanged_bytes;
		t.unit_bytes += now.unit_bytes;
	}
	v->shown.bytes_staged = t.staged_bytes;
	v->shown.bytes_unchanged = t.unchanged_bytes;
	v->shown.bytes_shipped = t.unit_bytes;
	v->shown.audit_bytes = volume_audit_bytes(v);
	v->shown.audit_laps = volume_audit_laps(v);
	if (v->reader) {
		/* What the audit reads is counted apart. */
		v->shown.bytes_read = v->reader->bytes_read -
				      (v->shown.audit_bytes -
				       v->audit_bytes_before);
		(void)snprintf(v->shown.reader_kind,
			       sizeof(v->shown.reader_kind), "%s",
			       v->reader->kind);
	}
}

static uint64_t grown(uint64_t sum, uint64_t now, uint64_t before)
{
	/* Less than before: the tracker counts anew. */
	return sum + (now >= before ? now - before : now);
}

/* The worker's: what the tracker lost, added up over its new beginnings. */
void volume_note_losses(struct volume *v, const struct tracker_losses *now)
{
	struct tracker_losses *sum = &v->shown.losses, *was = &v->losses;
	LOCK_SCOPE(&v->lock);

#define ADD(f) (sum->f = grown(sum->f, now->f, was->f))
	ADD(issue_misses);
	ADD(complete_misses);
	ADD(lost_completions);
	ADD(slot_overflows);
	ADD(walk_overflows);
	ADD(passthrough);
	ADD(other_disk);
	ADD(map_errors);
	ADD(error_completions);
	ADD(unknown_ends);
	ADD(unseen_sectors);
#undef ADD
	sum->detached = now->detached;
	*was = *now;
}

/* What is remembered of the newest point that is known to be durable. */
void volume_show_point(struct volume *v, const struct acked *a)
{
	LOCK_SCOPE(&v->lock);

	v->shown.has_point = true;
	v->shown.seq = a->seq;
	v->shown.flip_wall_ns = a->flip_wall_ns;
	(void)snprintf(v->shown.kind, sizeof(v->shown.kind), "%s",
		       a->has_kind ? point_kind_name(a->kind) : "unknown");
}

/* The worker's own numbers, for others to see. */
void volume_publish(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	if (v->cut) {
		v->shown.dirty_bytes = cut_pending_blocks(v->cut)
				       << v->tracker->block_shift;
		v->shown.backlog_bytes = cut_need_blocks(v->cut)
					 << v->tracker->block_shift;
	}
	if (v->dev_open)
		v->shown.size_bytes = v->dev.n_sectors << 9;
	if (v->tracker)
		v->shown.block_bytes = 1ULL << v->tracker->block_shift;
	publish_totals(v);
	note_state(v);
}

static void show_key_unsaved(const struct volume *v, struct volume_status *out)
{
	if (out->reason[0] || v->cfg.key_escrow ||
	    v->vs.sw.key_exported_id >= v->vs.key.id)
		return;
	(void)snprintf(out->reason, sizeof(out->reason), "key-unsaved");
	(void)snprintf(out->message, sizeof(out->message),
		       "volume %s: key: only this host has it", v->cfg.name);
	(void)snprintf(out->remedy, sizeof(out->remedy),
		       "understudyctl key export %s", v->cfg.name);
}

/* Whatever else there is to say, unless it keeps points from being made. */
static void show_differs(const struct volume *v, struct volume_status *out)
{
	if (!is_differing(v) || v->phase == PHASE_REFUSED ||
	    v->phase == PHASE_FAILED)
		return;
	(void)snprintf(out->reason, sizeof(out->reason), "differs");
	(void)snprintf(out->message, sizeof(out->message),
		       "volume %s: verify found that device and replica %s "
		       "differ: no point since the difference came about can "
		       "be relied upon", v->cfg.name, v->cfg.replica.name);
	(void)snprintf(out->remedy, sizeof(out->remedy),
		       "understudyctl resync %s --yes %s", v->cfg.name,
		       v->cfg.name);
}

static void show_state_on_volume(const struct volume *v,
				 struct volume_status *out)
{
	if (out->reason[0] || !v->holds_state)
		return;
	(void)snprintf(out->reason, sizeof(out->reason), "state-on-volume");
	(void)snprintf(out->message, sizeof(out->message),
		       "volume %s: the daemon's state lies on it: each point "
		       "makes the next one necessary", v->cfg.name);
	(void)snprintf(out->remedy, sizeof(out->remedy),
		       "put `state` on another filesystem");
}

static void show_group_waits(const struct volume *v, struct volume_status *out)
{
	uint64_t since = v->group_since_ns;

	if (out->reason[0] || !since || v->paused ||
	    clock_mono_ns(v->env.clock) - since <
		    v->cfg.interval_ns + GROUP_SLACK_NS)
		return;
	(void)snprintf(out->reason, sizeof(out->reason), "group-waits");
	(void)snprintf(out->message, sizeof(out->message),
		       "volume %s: group %s waits for %s", v->cfg.name,
		       v->cfg.group.name, v->group_lacks);
	(void)snprintf(out->remedy, sizeof(out->remedy),
		       "understudyctl status %.*s",
		       (int)strcspn(v->group_lacks, " "), v->group_lacks);
}

void volume_get_status(struct volume *v, struct volume_status *out)
{
	LOCK_SCOPE(&v->lock);

	note_state(v);
	*out = v->shown;
	(void)snprintf(out->name, sizeof(out->name), "%s", v->cfg.name);
	(void)snprintf(out->group, sizeof(out->group), "%s",
		       v->cfg.group.name);
	(void)snprintf(out->device, sizeof(out->device), "%s", v->cfg.device);
	(void)snprintf(out->replica, sizeof(out->replica), "%s",
		       v->cfg.replica.name);
	out->uuid = v->vs.uuid;
	out->state = state_now(v);
	out->interval_ns = v->cfg.interval_ns;
	out->rpo_ns = v->cfg.rpo_ns;
	out->has_lag = v->has_proven;
	out->lag_ns = v->has_proven ? lag_now(v) : 0;
	out->epoch = v->vs.epoch;
	out->proven_wall_ns = v->audit_proven_wall_ns;
	out->has_point = v->shown.has_point;
	if (v->paused)
		(void)snprintf(out->limited_by, sizeof(out->limited_by),
			       "paused");
	show_differs(v, out);
	show_group_waits(v, out);
	show_key_unsaved(v, out);
	show_state_on_volume(v, out);
}
