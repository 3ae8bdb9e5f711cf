// SPDX-License-Identifier: Apache-2.0
/*
 * Health and the page, made of a snapshot. Pure functions.
 *
 * Health answers one question: can this daemon do its work? A volume that
 * waits for its device, its replica or an operator is told of by its state;
 * restarting the daemon, which is what people wire this to, would not help it.
 */
#include "control/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/units.h"
#include "control/ctlproto.h"

/* ---- health ---- */

static int add_reason(json_t *list, const char *slug, const char *object,
		      const char *message)
{
	return json_array_append_new(
		       list, json_pack("{s:s,s:o,s:o}", "slug", slug, "object",
				       ctl_text_json(object), "message",
				       ctl_text_json(message))) ?
		       -ENOMEM :
		       0;
}

/* What of a protected volume's troubles is the daemon's own. */
static bool is_daemons(const struct volume_status *s)
{
	static const char *const codes[] = {
		"state-unwritable", "state-damaged", "no-memory", "no-thread",
		"no-random",
	};
	size_t i;

	for (i = 0; s->state == VOLUME_FAILED && i < ARRAY_SIZE(codes); i++)
		if (!strcmp(s->reason, codes[i]))
			return true;
	return false;
}

static int add_volumes(const struct metrics_snapshot *m, json_t *list)
{
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < m->n_volumes; i++)
		if (is_daemons(&m->volumes[i]))
			ret = add_reason(list, m->volumes[i].reason,
					 m->volumes[i].name,
					 m->volumes[i].message);
	for (i = 0; !ret && i < m->n_stored; i++)
		if (!strcmp(m->stored[i].s.state, "full"))
			ret = add_reason(list, "store-full",
					 m->stored[i].s.info.name,
					 m->stored[i].s.message);
	return ret;
}

json_t *metrics_health(const struct metrics_snapshot *m, bool *failing)
{
	json_t *list = json_array(), *health;
	int ret = list ? add_volumes(m, list) : -ENOMEM;

	if (!ret && m->store_failure)
		ret = add_reason(list, "store-failed", "store",
				 strerrordesc_np(-m->store_failure));
	if (ret) {
		json_decref(list);
		return NULL;
	}
	*failing = json_array_size(list) > 0;
	health = json_pack("{s:s,s:o}", "status", *failing ? "failing" : "ok",
			   "reasons", list);
	return health;
}

/* ---- the page ---- */

static void put(struct buf *out, const char *s)
{
	buf_put(out, s, strlen(s));
}

static void put_escaped(struct buf *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '<')
			put(out, "&lt;");
		else if (c == '>')
			put(out, "&gt;");
		else if (c == '&')
			put(out, "&amp;");
		else if (c == '"')
			put(out, "&quot;");
		else if (c == '\'')
			put(out, "&#39;");
		else
			buf_put_u8(out, c < ' ' || c >= 0x7f ? '?' : c);
	}
}

static void put_cell(struct buf *out, const char *s)
{
	put(out, "<td>");
	put_escaped(out, s);
	put(out, "</td>");
}

/* Since when, as of whom: "-" where there is none. */
struct row {
	const char *source, *name, *role, *state, *reason, *message, *peer;
	bool has_lag, has_point;
	uint64_t lag_ns, backlog_bytes, seq;
	int64_t flip_wall_ns;
};

static void put_row(struct buf *out, const struct row *r)
{
	char text[64];

	put(out, "<tr>");
	put(out, "<td>");
	put_escaped(out, r->source);
	put(out, *r->source ? "/" : "");
	put_escaped(out, r->name);
	put(out, "</td>");
	put_cell(out, r->role);
	put_cell(out, r->state);
	strcpy(text, "-");
	if (r->has_lag)
		duration_format(r->lag_ns, text);
	put_cell(out, text);
	size_format(r->backlog_bytes, text);
	put_cell(out, text);
	strcpy(text, "-");
	if (r->has_point)
		time_format_utc(r->flip_wall_ns, text);
	put_cell(out, text);
	put_cell(out, r->peer);
	put_cell(out, r->reason);
	put_cell(out, r->message);
	put(out, "</tr>\n");
}

static void put_rows(const struct metrics_snapshot *m, struct buf *out)
{
	size_t i;

	for (i = 0; i < m->n_volumes; i++) {
		const struct volume_status *s = &m->volumes[i];
		const struct row r = {
			.source = s->source, .name = s->name, .role = "source",
			.state = volume_state_name(s->state),
			.reason = s->reason, .message = s->message,
			.peer = s->replica_state, .has_lag = s->has_lag,
			.has_point = s->has_point, .lag_ns = s->lag_ns,
			.backlog_bytes = s->backlog_bytes,
			.flip_wall_ns = s->flip_wall_ns,
		};

		put_row(out, &r);
	}
	for (i = 0; i < m->n_stored; i++) {
		const struct replica_volume_status *s = &m->stored[i].s;
		const struct row r = {
			.source = s->info.source, .name = s->info.name,
			.role = "replica", .state = s->state,
			.reason = s->reason, .message = s->message,
			.peer = s->connected ? "connected" : "disconnected",
			.has_lag = s->has_lag, .has_point = s->info.has_point,
			.lag_ns = s->lag_ns,
			.flip_wall_ns = s->info.newest.meta.flip_wall_ns,
		};

		put_row(out, &r);
	}
}

int metrics_page(const struct metrics_snapshot *m, struct buf *out)
{
	put(out, "<!DOCTYPE html>\n<html lang=\"en\"><head>"
		 "<meta charset=\"utf-8\"><title>Understudy</title><style>"
		 "body{font:14px sans-serif;margin:2em}"
		 "table{border-collapse:collapse}"
		 "td,th{border:1px solid #bbb;padding:.3em .6em;"
		 "text-align:left}</style></head><body>\n"
		 "<h1>Understudy</h1>\n<p>understudyd ");
	put_escaped(out, m->version);
	put(out, m->is_replica ? ", a replica" : "");
	put(out, "</p>\n<table><tr><th>volume</th><th>role</th>"
		 "<th>state</th><th>lag</th><th>backlog</th><th>point</th>"
		 "<th>link</th><th>reason</th><th>message</th></tr>\n");
	put_rows(m, out);
	put(out, "</table>\n<p><a href=\"/metrics\">metrics</a> "
		 "<a href=\"/healthz\">health</a></p></body></html>\n");
	return out->failed ? -ENOMEM : 0;
}
