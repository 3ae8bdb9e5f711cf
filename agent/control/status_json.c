// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON of volumes and points, key by key as documented: every key is
 * always there, null where it means nothing or is not known. Pure functions.
 */
#include <string.h>

#include "control/handlers.h"

static json_t *u64_json(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static const char *kind_text(unsigned int kind)
{
	const char *name = point_kind_name((enum point_kind)kind);

	return name ? name : "unknown";
}

static json_t *last_point_json(uint64_t seq, uint64_t epoch, int64_t wall_ns,
			       const char *kind)
{
	return json_pack("{s:I,s:I,s:o,s:s}", "seq", (json_int_t)seq, "epoch",
			 (json_int_t)epoch, "time", ctl_time_json(wall_ns),
			 "kind", kind);
}

static json_t *replicas_json(const struct volume_status *s)
{
	return json_pack("[{s:s,s:o,s:o,s:o,s:o,s:I}]", "name", s->replica,
			 "state", ctl_text_json(s->replica_state), "reason",
			 ctl_text_json(s->replica_reason), "acked_seq",
			 s->has_point ? u64_json(s->seq) : json_null(),
			 "rpo_lag_seconds",
			 s->has_lag ? ctl_seconds_json(s->lag_ns) :
				      json_null(),
			 "backlog_bytes", (json_int_t)s->backlog_bytes);
}

static json_t *counters_json(const struct volume_status *s)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:I,s:I,s:I,"
			 "s:I,s:I,s:o,s:o}",
			 "points",
			 (json_int_t)s->points, "cuts", (json_int_t)s->cuts,
			 "cuts_converged", (json_int_t)s->cuts_converged,
			 "rounds", (json_int_t)s->rounds, "bytes_read",
			 (json_int_t)s->bytes_read, "bytes_shipped",
			 (json_int_t)s->bytes_shipped, "bytes_unchanged",
			 (json_int_t)s->bytes_unchanged, "bytes_staged",
			 (json_int_t)s->bytes_staged, "reader",
			 ctl_text_json(s->reader_kind), "audit_bytes",
			 (json_int_t)s->audit_bytes, "audit_laps",
			 (json_int_t)s->audit_laps, "audit_differing_bytes",
			 (json_int_t)s->audit_differing_bytes, "holds",
			 (json_int_t)s->holds, "holds_failed",
			 (json_int_t)s->holds_failed, "held_seconds",
			 ctl_seconds_json(s->held_ns), "last_hold_seconds",
			 s->holds ? ctl_seconds_json(s->last_held_ns) :
				    json_null());
}

static json_t *uuid_json(const struct uuid *u)
{
	char text[UUID_TEXT_SIZE];

	uuid_format(u, text);
	return uuid_is_zero(u) ? json_null() : json_string(text);
}

json_t *volume_status_json(const struct volume_status *s)
{
	json_t *who = json_pack(
		"{s:s,s:o,s:o,s:o,s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "name",
		s->name, "source", ctl_text_json(s->source), "group",
		ctl_text_json(s->group), "uuid",
		uuid_json(&s->uuid), "role", "source", "state",
		volume_state_name(s->state), "reason",
		ctl_text_json(s->reason), "message", ctl_text_json(s->message),
		"since", ctl_time_json(s->since_wall_ns), "remedy",
		ctl_text_json(s->remedy), "device", ctl_text_json(s->device));
	json_t *what = json_pack(
		"{s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:o}",
		"size_bytes",
		s->size_bytes ? u64_json(s->size_bytes) : json_null(),
		"block_bytes",
		s->block_bytes ? u64_json(s->block_bytes) : json_null(),
		"interval_seconds", ctl_seconds_json(s->interval_ns),
		"rpo_seconds",
		s->rpo_ns ? ctl_seconds_json(s->rpo_ns) : json_null(),
		"rpo_lag_seconds",
		s->has_lag ? ctl_seconds_json(s->lag_ns) : json_null(),
		"dirty_bytes", (json_int_t)s->dirty_bytes, "backlog_bytes",
		(json_int_t)s->backlog_bytes, "limited_by",
		ctl_text_json(s->limited_by), "proven_since",
		s->proven_wall_ns ? ctl_time_json(s->proven_wall_ns) :
				    json_null(),
		"last_point",
		s->has_point ? last_point_json(s->seq, s->epoch,
					       s->flip_wall_ns, s->kind) :
			       json_null(),
		"replicas", replicas_json(s), "counters", counters_json(s));

	if (who && what && !json_object_update(who, what)) {
		json_decref(what);
		return who;
	}
	json_decref(who);
	json_decref(what);
	return NULL;
}

json_t *replica_volume_json(const struct replica_volume_status *s)
{
	const struct volume_info *v = &s->info;
	const struct point_meta *m = &v->newest.meta;
	json_t *who = json_pack(
		"{s:s,s:s,s:s?,s:o,s:s,s:s,s:o,s:o,s:o,s:n,s:n}", "name",
		v->name, "source", v->source, "group",
		v->has_point && point_has_group(m) ? m->group.name : NULL,
		"uuid", uuid_json(&v->uuid), "role", "replica", "state", s->state,
		"reason", ctl_text_json(s->reason), "message",
		ctl_text_json(s->message), "since",
		ctl_time_json(s->since_wall_ns), "remedy", "device");
	json_t *what = json_pack(
		"{s:I,s:n,s:n,s:n,s:o,s:n,s:n,s:n,s:n,s:o,s:[],s:n}",
		"size_bytes", (json_int_t)v->size_bytes, "block_bytes",
		"interval_seconds", "rpo_seconds", "rpo_lag_seconds",
		s->has_lag ? ctl_seconds_json(s->lag_ns) : json_null(),
		"dirty_bytes", "backlog_bytes", "limited_by", "proven_since",
		"last_point",
		v->has_point ? last_point_json(m->seq, m->epoch,
					       m->flip_wall_ns,
					       kind_text(m->kind)) :
			       json_null(),
		"replicas", "counters");

	if (who && what && !json_object_update(who, what)) {
		json_decref(what);
		return who;
	}
	json_decref(who);
	json_decref(what);
	return NULL;
}

void point_from_info(const struct point_info *info, struct wire_point *out)
{
	memset(out, 0, sizeof(*out));
	out->epoch = info->meta.epoch;
	out->seq = info->meta.seq;
	out->flip_wall_ns = info->meta.flip_wall_ns;
	out->received_wall_ns = info->received_wall_ns;
	out->kind = (uint8_t)info->meta.kind;
	out->damaged = info->damaged;
	memcpy(out->label, info->meta.label, sizeof(out->label));
	out->size_bytes = info->meta.size_bytes;
	out->changed_bytes = info->changed_bytes;
	out->stored_bytes = info->stored_bytes;
	out->pins = info->pins;
	out->group.uuid = info->meta.group.uuid;
	out->group.seq = info->meta.group.seq;
	out->group.n_members = info->meta.group.n_members;
	memcpy(out->group.name, info->meta.group.name,
	       sizeof(out->group.name));
}

static json_t *group_of_point_json(const struct wire_point *p)
{
	const struct wire_group *g = &p->group;

	if (uuid_is_zero(&g->uuid))
		return json_null();
	return json_pack("{s:s,s:I,s:i,s:b}", "name", g->name, "seq",
			 (json_int_t)g->seq, "members", (int)g->n_members,
			 "complete", p->group_complete);
}

json_t *point_json(const struct wire_point *p)
{
	return json_pack("{s:I,s:I,s:o,s:o,s:s,s:o,s:s,s:I,s:I,s:I,s:[],s:o}",
			 "seq", (json_int_t)p->seq, "epoch",
			 (json_int_t)p->epoch, "time",
			 ctl_time_json(p->flip_wall_ns), "received",
			 ctl_time_json(p->received_wall_ns), "kind",
			 kind_text(p->kind), "label",
			 ctl_text_json(p->label), "state",
			 p->damaged ? "damaged" : "ok", "size_bytes",
			 (json_int_t)p->size_bytes, "changed_bytes",
			 (json_int_t)p->changed_bytes, "stored_bytes",
			 (json_int_t)p->stored_bytes, "pins", "group",
			 group_of_point_json(p));
}
