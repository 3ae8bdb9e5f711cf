// SPDX-License-Identifier: Apache-2.0
/*
 * `sync`: a point now, of a volume or of a group. Threads of the control
 * socket.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "control/handlers.h"
#include "source/source_group.h"
#include "store/store.h"

#define MAX_SYNC_TIMEOUT_MS (24ULL * 3600 * 1000)

struct sync_args {
	char volume[SELECTOR_VOLUME_SIZE];
	char label[SELECTOR_POINT_SIZE];
	uint64_t timeout_ms;
	bool quiesce;
};

static const struct ctl_arg sync_table[] = {
	CTL_ARG(struct sync_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct sync_args, label, CTL_ARG_TEXT, false),
	CTL_ARG(struct sync_args, timeout_ms, CTL_ARG_U64, true),
	CTL_ARG(struct sync_args, quiesce, CTL_ARG_BOOL, false),
};

static uint64_t timeout_ns(const struct sync_args *a)
{
	return MIN(a->timeout_ms, MAX_SYNC_TIMEOUT_MS) * NSEC_PER_MSEC;
}

/* ---- of a group ---- */

static int group_progress(void *arg)
{
	return ctl_call_is_cancelled(arg) ? -ECANCELED : 0;
}

/* "paused", "failed"; "not started". */
static const char *state_of(struct daemon *d, const char *volume)
{
	struct daemon_volume *dv;
	struct volume_status s;

	if (daemon_volume_get(d, volume, &dv))
		return "not started";
	volume_get_status(daemon_volume(dv), &s);
	daemon_volume_put(d, dv);
	return volume_state_name(s.state);
}

/* Its members have it from the group. */
static int group_quiesces(struct daemon *d, const struct source_group *g,
			  struct err *err)
{
	struct daemon_volume *dv;
	char name[VOLUME_NAME_MAX + 1];
	int ret;

	source_group_member(g, 0, name);
	if (daemon_volume_get(d, name, &dv))
		return 0;
	ret = volume_quiesces(daemon_volume(dv), err);
	daemon_volume_put(d, dv);
	return ret;
}

/* ": waits for wal1 (paused), log1 (protected)", as far as there is room. */
static void say_missing(struct daemon *d, const struct source_group *g,
			struct err *err)
{
	uint32_t missing = group_missing(g->meetings);
	char name[VOLUME_NAME_MAX + 1], text[256] = "";
	size_t n = 0;
	int i;

	for (i = 0; i < (int)g->n_members && n < sizeof(text); i++) {
		if (!(missing >> i & 1))
			continue;
		source_group_member(g, i, name);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s (%s)",
				      n ? ", " : "", name, state_of(d, name));
	}
	if (n)
		err_done(err, "waits for %s", text);
}

static int group_not_synced(struct daemon *d, struct ctl_call *call,
			    const struct source_group *g, int why,
			    struct err *err)
{
	if (why == -ETIMEDOUT) {
		err_set(err, why, "timeout", g->name,
			"sync: not all %u members have the point",
			g->n_members);
		say_missing(d, g, err);
		err_remedy(err, "`understudyctl status` tells what they wait "
			   "for");
	} else if (ctl_call_is_cancelled(call)) {
		err_set(err, why, "stopping", g->name,
			"sync: the daemon is stopping");
	} else if (why == -ESHUTDOWN) {
		err_set(err, why, "restarted", g->name,
			"sync: the configuration was read anew, and members "
			"of the group were ended for it: whether they have "
			"the point is not known");
		err_remedy(err, "give the command again");
	} else {
		err_sys(err, why, "failed", g->name, "sync");
	}
	return why;
}

static int sync_group(struct daemon *d, struct ctl_call *call,
		      const struct sync_args *a, struct source_group *g,
		      json_t **result, struct err *err)
{
	const struct group_order order = {
		.label = *a->label ? a->label : NULL,
		.quiesce = a->quiesce,
		.timeout_ns = timeout_ns(a),
		.progress = group_progress,
		.arg = call,
	};
	struct group_attempt at;
	int ret = a->quiesce ? group_quiesces(d, g, err) : 0;

	if (ret < 0)
		return ret;
	ret = group_sync(g->meetings, &order, &at, err);
	if (ret < 0)
		return err->num ? ret : group_not_synced(d, call, g, ret, err);
	*result = json_pack("{s:s,s:s,s:I,s:n,s:o,s:s,s:I}", "volume",
			    g->name, "group", g->name, "seq",
			    (json_int_t)at.seq, "epoch", "time",
			    ctl_time_json(at.flip_wall_ns), "kind",
			    point_kind_name((enum point_kind)at.kind),
			    "members", (json_int_t)g->n_members);
	return *result ? 0 : handler_no_memory("sync", err);
}

/* Why a group of the configuration is not there; 0: it is of none. */
static int group_is_lacking(struct daemon *d, const char *name,
			    struct err *err)
{
	struct daemon_volume **all;
	struct volume_status s;
	size_t i, n;
	int ret = daemon_volumes_get(d, &all, &n);

	if (ret < 0)
		return handler_no_memory("sync", err);
	for (i = 0; i < n && !ret; i++) {
		volume_get_status(daemon_volume(all[i]), &s);
		if (!*s.group || strcmp(s.group, name) != 0)
			continue;
		ret = err_set(err, -EAGAIN, *s.reason ? s.reason :
			      "group-waits", name, "sync: its members cannot "
			      "come together: %s", s.message);
		err_remedy(err, "%s", s.remedy);
	}
	daemon_volumes_put(d, all, n);
	return ret;
}

/* ---- of a volume ---- */

static int sync_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct ctl_call *call = arg;

	ctl_call_progress(call, json_pack("{s:s,s:I,s:I}", "phase", "ship",
					  "done_bytes", (json_int_t)done_bytes,
					  "total_bytes",
					  (json_int_t)total_bytes));
	return ctl_call_is_cancelled(call) ? -ECANCELED : 0;
}

static int sync_volume(struct daemon *d, struct ctl_call *call,
		       const struct sync_args *a, json_t **result,
		       struct err *err)
{
	const struct sync_order order = {
		.label = *a->label ? a->label : NULL,
		.quiesce = a->quiesce,
		.timeout_ns = timeout_ns(a),
		.progress = sync_progress,
		.arg = call,
	};
	struct sync_result sr;
	struct lookup l;
	int ret = lookup_local(d, a->volume, &l, err);

	if (!ret)
		ret = lookup_not_refused(call, &l, err);
	if (!ret)
		ret = volume_sync(daemon_volume(l.dv), &order, &sr, err);
	lookup_release(d, &l);
	if (ret < 0)
		return err_sys(err, ret, "failed", a->volume, "sync");
	*result = json_pack("{s:s,s:I,s:I,s:o,s:s}", "volume", l.full, "seq",
			    (json_int_t)sr.seq, "epoch", (json_int_t)sr.epoch,
			    "time", ctl_time_json(sr.flip_wall_ns), "kind",
			    sr.kind);
	return *result ? 0 : handler_no_memory("sync", err);
}

int handle_sync(void *arg, struct ctl_call *call, json_t **result,
		struct err *err)
{
	struct source_group *g;
	struct sync_args a;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, sync_table,
			      ARRAY_SIZE(sync_table), &a, err);
	if (!ret && *a.label)
		ret = selector_check_label(a.label, err);
	if (ret < 0)
		return ret;
	g = source_group_find(a.volume);
	if (g) {
		ret = sync_group(arg, call, &a, g, result, err);
		source_group_put(g);
		return ret;
	}
	ret = group_is_lacking(arg, a.volume, err);
	return ret ? ret : sync_volume(arg, call, &a, result, err);
}
