// SPDX-License-Identifier: Apache-2.0
/*
 * What a replica knows of its volumes since it started, and the rows of
 * status made of that and of the store.
 *
 * Lag is the age of the newest time as of which the newest point is known to
 * be the volume: its flip, or a later confirmation. Both are of the source's
 * wall clock, which may be wrong by hours: while anything was heard of the
 * source since the start, they are brought onto our monotonic clock by the
 * smallest difference (our monotonic time - its wall clock) ever seen in the
 * session. A message is late, never early, so that the smallest is nearest to
 * the truth, and lag is not shown as less than it is by more than one way of
 * the network. Without it (after a restart, until the source is back) the
 * older of flip and arrival counts.
 *
 * The records are under the replica's lock; any thread.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "replica/replica_internal.h"

/* ---- records ---- */

struct volume_record *record_get(struct replica *r, const struct uuid *uuid)
{
	struct volume_record *rec;

	for (rec = r->records; rec; rec = rec->next)
		if (uuid_equal(&rec->uuid, uuid))
			return rec;
	rec = calloc(1, sizeof(*rec));
	if (!rec)
		return NULL;
	rec->uuid = *uuid;
	rec->since_wall_ns = r->started_wall_ns;
	rec->next = r->records;
	r->records = rec;
	return rec;
}

void record_forget(struct replica *r, const struct uuid *uuid)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);
	struct volume_record *next;

	if (!rec)
		return;
	next = rec->next;
	*rec = (struct volume_record){
		.next = next,
		.uuid = *uuid,
		.since_wall_ns = clock_wall_ns(r->env.clock),
	};
}

static void set_reason(struct volume_record *rec, const struct err *why)
{
	snprintf(rec->code, sizeof(rec->code), "%s", why ? why->code : "");
	snprintf(rec->message, sizeof(rec->message), "%s",
		 why ? why->message : "");
}

/* Something happened that may change the state: it is new from here. */
static void note_change(struct replica *r, struct volume_record *rec)
{
	rec->since_wall_ns = clock_wall_ns(r->env.clock);
	rec->state[0] = 0;
}

int record_begin(struct replica *r, const struct uuid *uuid, struct peer *p,
		 const char *full_name, int64_t offset_ns)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);

	if (!rec)
		return -ENOMEM;
	if (rec->sender && rec->sender != p)
		peer_stop(rec->sender, STOP_SUPERSEDED);
	rec->sender = p;
	rec->has_offset = true;
	rec->offset_ns = offset_ns;
	if (!rec->full)
		set_reason(rec, NULL);
	note_change(r, rec);
	snprintf(p->full_name, sizeof(p->full_name), "%s", full_name);
	return 0;
}

bool record_author(struct replica *r, const struct uuid *uuid,
		   const struct wire_hello *hello)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);
	bool same;

	if (!rec)
		return false;
	same = rec->has_author &&
	       uuid_equal(&rec->author_node, &hello->node) &&
	       uuid_equal(&rec->author_boot, &hello->boot);
	rec->has_author = true;
	rec->author_node = hello->node;
	rec->author_boot = hello->boot;
	return same;
}

void record_end(struct replica *r, const struct uuid *uuid, struct peer *p,
		const struct err *why)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);

	p->full_name[0] = 0;
	if (!rec || rec->sender != p)
		return;
	rec->sender = NULL;
	note_change(r, rec);
	if (why) {
		set_reason(rec, why);
		if (why->num == -ENOSPC || why->num == -EDQUOT)
			rec->full = true;
	}
}

void record_refused(struct replica *r, const struct uuid *uuid,
		    const struct err *why)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec;

	/* Only of volumes that exist: strangers' UUIDs cost no memory. */
	for (rec = r->records; rec; rec = rec->next)
		if (uuid_equal(&rec->uuid, uuid) && !rec->sender)
			set_reason(rec, why);
}

/* A time the source just spoke of has passed there already. */
static void note_time(struct replica *r, struct volume_record *rec,
		      int64_t wall_ns)
{
	int64_t seen = (int64_t)clock_mono_ns(r->env.clock) - wall_ns;

	if (!rec->has_offset || seen < rec->offset_ns)
		rec->offset_ns = seen;
	rec->has_offset = true;
}

bool record_committed(struct replica *r, const struct uuid *uuid, bool first,
		      int64_t flip_wall_ns)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);
	bool changes;

	if (!rec)
		return false;
	note_time(r, rec, flip_wall_ns);
	changes = first || rec->full;
	if (changes)
		note_change(r, rec);
	rec->confirmed_seq = 0;
	rec->full = false;
	set_reason(rec, NULL);
	return changes;
}

void record_confirmed(struct replica *r, const struct uuid *uuid,
		      uint64_t epoch, uint64_t seq, int64_t wall_ns)
{
	LOCK_SCOPE(&r->lock);
	struct volume_record *rec = record_get(r, uuid);

	if (!rec)
		return;
	note_time(r, rec, wall_ns);
	rec->confirmed_epoch = epoch;
	rec->confirmed_seq = seq;
	rec->confirmed_wall_ns = wall_ns;
}

/* ---- rows ---- */

static bool is_confirmed(const struct volume_record *rec,
			 const struct point_info *p)
{
	return rec->confirmed_seq && rec->confirmed_seq == p->meta.seq &&
	       rec->confirmed_epoch == p->meta.epoch &&
	       rec->confirmed_wall_ns > p->meta.flip_wall_ns;
}

static uint64_t lag_ns(struct replica *r, const struct volume_record *rec,
		       const struct point_info *p)
{
	int64_t at = is_confirmed(rec, p) ? rec->confirmed_wall_ns :
					    p->meta.flip_wall_ns;
	int64_t lag;

	if (rec->has_offset)
		lag = (int64_t)clock_mono_ns(r->env.clock) -
		      (at + rec->offset_ns);
	else
		lag = clock_wall_ns(r->env.clock) -
		      MIN(p->meta.flip_wall_ns, p->received_wall_ns);
	return lag > 0 ? (uint64_t)lag : 0;
}

static const char *state_of(const struct volume_record *rec,
			    const struct volume_info *info)
{
	if (info->damaged)
		return "damaged";
	if (rec->full)
		return "full";
	if (!rec->sender)
		return "disconnected";
	return info->has_point ? "following" : "initializing";
}

static void tell_reason(struct replica_volume_status *out,
			const struct volume_record *rec)
{
	if (!strcmp(out->state, "damaged")) {
		snprintf(out->reason, sizeof(out->reason), "damaged");
		snprintf(out->message, sizeof(out->message),
			 "a segment that points need is missing or too short");
		return;
	}
	snprintf(out->reason, sizeof(out->reason), "%s", rec->code);
	snprintf(out->message, sizeof(out->message), "%s", rec->message);
	if (!strcmp(out->state, "disconnected") && !rec->code[0]) {
		snprintf(out->reason, sizeof(out->reason), "no-session");
		snprintf(out->message, sizeof(out->message),
			 "the source is not connected");
	}
}

void replica_tell(struct replica *r, const char *slug, const char *object,
		  const char *reason, const char *fmt, ...)
{
	const struct event e = {
		.slug = slug,
		.role = "replica",
		.object = object,
		.reason = reason,
	};
	va_list ap;

	va_start(ap, fmt);
	event_vtell(r->env.events, &e, fmt, ap);
	va_end(ap);
}

/* Under lock: an event, when the state is not the one last told. */
static void note_event(struct replica *r, struct volume_record *rec,
		       const struct replica_volume_status *s)
{
	char slug[32], object[132];
	const struct event e = {
		.slug = slug,
		.role = "replica",
		.object = object,
		.reason = s->reason,
		.since_wall_ns = rec->event_wall_ns,
	};
	bool had = rec->event_state[0];

	if (!strcmp(rec->event_state, s->state))
		return;
	snprintf(slug, sizeof(slug), "state-%s", s->state);
	snprintf(object, sizeof(object), "%s/%s", s->info.source,
		 s->info.name);
	event_tell(r->env.events, &e, "%s%s%s%s%s", s->state,
		   had ? ", was " : "", rec->event_state,
		   s->message[0] ? ": " : "", s->message);
	snprintf(rec->event_state, sizeof(rec->event_state), "%s", s->state);
	rec->event_wall_ns = clock_wall_ns(r->env.clock);
}

static int tell_one(void *arg, const struct replica_volume_status *s)
{
	(void)arg;
	(void)s;
	return 0;
}

void replica_tell_states(struct replica *r)
{
	int n = replica_status(r, tell_one, NULL);

	if (n < 0)
		log_warn("replica: look at the volumes: %s", strerror(-n));
}

static int fill_row(struct replica *r, const struct volume_info *info,
		    struct replica_volume_status *out)
{
	struct volume_record *rec;
	{
		LOCK_SCOPE(&r->lock);

		rec = record_get(r, &info->uuid);
		if (!rec)
			return -ENOMEM;
		memset(out, 0, sizeof(*out));
		out->info = *info;
		out->state = state_of(rec, info);
		if (rec->state[0] && strcmp(rec->state, out->state))
			note_change(r, rec);
		snprintf(rec->state, sizeof(rec->state), "%s", out->state);
		out->since_wall_ns = rec->since_wall_ns;
		out->connected = rec->sender != NULL;
		out->was_heard = rec->has_offset;
		out->has_lag = info->has_point;
		if (out->has_lag)
			out->lag_ns = lag_ns(r, rec, &info->newest);
		tell_reason(out, rec);
		note_event(r, rec, out);
	}
	out->has_key = keys_has(r, &info->uuid);
	return 0;
}

void replica_tell_state(struct replica *r, const struct uuid *uuid)
{
	struct replica_volume_status row;
	struct volume_info info;

	if (!store_volume_by_uuid(r->store, uuid, &info))
		(void)fill_row(r, &info, &row);
}

struct rows {
	struct volume_info *v;
	size_t n, cap;
};

static int collect_row(void *arg, const struct volume_info *info)
{
	struct rows *rows = arg;

	if (rows->n == rows->cap) {
		size_t cap = rows->cap ? rows->cap * 2 : 16;
		struct volume_info *v;

		v = reallocarray(rows->v, cap, sizeof(*v));
		if (!v)
			return -ENOMEM;
		rows->v = v;
		rows->cap = cap;
	}
	rows->v[rows->n++] = *info;
	return 0;
}

int replica_status(struct replica *r,
		   int (*cb)(void *arg, const struct replica_volume_status *s),
		   void *arg)
{
	struct replica_volume_status row;
	struct rows rows = { 0 };
	size_t i;
	int n;

	n = store_volumes(r->store, collect_row, &rows);
	for (i = 0; n == 0 && i < rows.n; i++) {
		n = fill_row(r, &rows.v[i], &row);
		if (n == 0)
			n = cb(arg, &row);
	}
	free(rows.v);
	return n;
}
