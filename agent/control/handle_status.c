// SPDX-License-Identifier: Apache-2.0
/* `status` and `points`. Threads of the control socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "control/groups.h"
#include "control/handlers.h"
#include "source/remote_image.h"

/* ---- status ---- */

struct status_args {
	char volume[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg status_table[] = {
	CTL_ARG(struct status_args, volume, CTL_ARG_TEXT, false),
};

static int add_local(json_t *list, struct daemon_volume *dv)
{
	struct volume_status s;

	volume_get_status(daemon_volume(dv), &s);
	return json_array_append_new(list, volume_status_json(&s));
}

struct stored_status {
	json_t *list;
	const struct uuid *only;	/* NULL: all */
};

static int add_stored(void *arg, const struct replica_volume_status *s)
{
	struct stored_status *ss = arg;

	if (ss->only && !uuid_equal(ss->only, &s->info.uuid))
		return 0;
	return json_array_append_new(ss->list, replica_volume_json(s)) ?
		       -ENOMEM :
		       0;
}

static int status_all(struct daemon *d, json_t *list)
{
	struct stored_status ss = { .list = list };
	struct daemon_volume **all;
	size_t i, n;
	int ret = daemon_volumes_get(d, &all, &n);

	if (ret < 0)
		return ret;
	for (i = 0; !ret && i < n; i++)
		ret = add_local(list, all[i]) ? -ENOMEM : 0;
	daemon_volumes_put(d, all, n);
	if (!ret && daemon_replica(d))
		ret = replica_status(daemon_replica(d), add_stored, &ss);
	return ret;
}

static int status_one(struct daemon *d, const char *volume, json_t *list,
		      struct err *err)
{
	struct stored_status ss = { .list = list };
	struct lookup l;
	int ret = lookup_known(d, volume, &l, err);

	if (ret < 0)
		return ret;
	if (l.kind == LOOKUP_LOCAL) {
		ret = add_local(list, l.dv) ? -ENOMEM : 0;
	} else {
		ss.only = &l.info.uuid;
		ret = replica_status(daemon_replica(d), add_stored, &ss);
	}
	lookup_release(d, &l);
	return ret;
}

int handle_status(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err)
{
	struct daemon *d = arg;
	struct status_args a;
	json_t *list = json_array();
	int ret;

	*result = json_pack("{s:i,s:o}", "format", 1, "volumes", list);
	if (!*result)
		return handler_no_memory("status", err);
	ret = ctl_args_decode(ctl_call_request(call)->args, status_table,
			      ARRAY_SIZE(status_table), &a, err);
	if (ret < 0)
		return ret;
	ret = *a.volume ? status_one(d, a.volume, list, err) :
			  status_all(d, list);
	if (ret < 0)
		return err_sys(err, ret, "failed", "status", "collect");
	return 0;
}

/* ---- points ---- */

#define POINTS_PER_PART 256

struct points_args {
	char volume[SELECTOR_VOLUME_SIZE];
	char from[VOLUME_NAME_MAX + 1];
};

static const struct ctl_arg points_table[] = {
	CTL_ARG(struct points_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct points_args, from, CTL_ARG_TEXT, false),
};

struct points_out {
	struct ctl_call *call;
	json_t *rows;
};

static int flush_points(struct points_out *po)
{
	json_t *body;

	if (!json_array_size(po->rows))
		return 0;
	body = json_pack("{s:o}", "points", po->rows);
	po->rows = json_array();
	if (!body || !po->rows)
		return -ENOMEM;
	return ctl_call_part(po->call, body);
}

static int put_row(struct points_out *po, json_t *row)
{
	if (json_array_append_new(po->rows, row))
		return -ENOMEM;
	if (json_array_size(po->rows) < POINTS_PER_PART)
		return ctl_call_is_cancelled(po->call) ? -ECANCELED : 0;
	return flush_points(po);
}

static int put_point(void *arg, const struct wire_point *p)
{
	return put_row(arg, point_json(p));
}

static int put_group_point(void *arg, const struct wire_group_point *p)
{
	return put_row(arg, group_point_json(p));
}

/*
 * The store may hold a lock while it walks, and a client may read slowly: so
 * the walk fills a batch, the batch is sent, the next walk goes on behind it.
 */
#define POINTS_PER_WALK 16384

struct points_batch {
	struct point_info *rows;
	size_t n;
	uint64_t after_epoch, after_seq;
};

static int collect_point(void *arg, const struct point_info *p)
{
	struct points_batch *b = arg;

	if (p->meta.epoch < b->after_epoch ||
	    (p->meta.epoch == b->after_epoch && p->meta.seq <= b->after_seq))
		return 0;
	b->rows[b->n++] = *p;
	return b->n == POINTS_PER_WALK;
}

static int stored_points(struct daemon *d, const struct volume_info *v,
			 struct points_out *po)
{
	struct store *s = replica_store(daemon_replica(d));
	_cleanup_free_ struct point_info *rows = NULL;
	struct points_batch b = { 0 };
	size_t i;
	int more;

	rows = calloc(POINTS_PER_WALK, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	b.rows = rows;
	do {
		b.n = 0;
		more = store_points(s, &v->uuid, false, collect_point, &b);
		if (more < 0)
			return more;
		for (i = 0; i < b.n; i++) {
			struct wire_point p;
			int ret;

			point_from_info(&rows[i], &p);
			p.group_complete =
				store_group_is_complete(s, v->source,
							&rows[i].meta) == 1;
			ret = put_point(po, &p);
			if (ret < 0)
				return ret;
		}
		if (b.n) {
			b.after_epoch = rows[b.n - 1].meta.epoch;
			b.after_seq = rows[b.n - 1].meta.seq;
		}
	} while (more);
	return 0;
}

static int remote_volume_points(struct daemon *d, const struct lookup *l,
				const char *from, struct points_out *po,
				struct err *err)
{
	struct replica_config rc;
	struct remote *remote;
	int ret = lookup_replica(d, l, from, &rc, err);

	if (ret < 0)
		return ret;
	ret = remote_connect(&rc, daemon_source_env(d), &remote, err);
	if (ret < 0)
		return ret;
	ret = remote_points(remote, l->full, put_point, po, err);
	remote_close(remote);
	return ret;
}

/* 0; -ENOENT "no-group": perhaps it is a volume. */
static int group_points(struct daemon *d, const struct points_args *a,
			struct points_out *po, json_t **result,
			struct err *err)
{
	const struct group_walk w = { put_group_point, po };
	struct wire_group_name g = { 0 };
	char full[SELECTOR_VOLUME_SIZE];
	int ret = group_walk(d, a->volume, a->from, &w, &g, err);

	if (!ret)
		ret = flush_points(po);
	if (ret < 0)
		return err_sys(err, ret, "failed", a->volume,
			       "list the points");
	(void)snprintf(full, sizeof(full), "%s/%s", g.source, g.name);
	*result = json_pack("{s:s}", "group", full);
	return *result ? 0 : handler_no_memory("points", err);
}

static int volume_points(struct daemon *d, const struct points_args *a,
			 struct points_out *po, json_t **result,
			 struct err *err)
{
	struct lookup l;
	int ret = lookup_volume(d, a->volume, &l, err);

	if (ret < 0)
		return ret;
	if (l.kind == LOOKUP_STORED && !*a->from)
		ret = stored_points(d, &l.info, po);
	else
		ret = remote_volume_points(d, &l, a->from, po, err);
	if (!ret)
		ret = flush_points(po);
	lookup_release(d, &l);
	if (ret < 0)
		return err_sys(err, ret, "failed", l.full, "list the points");
	*result = json_pack("{s:s}", "volume", l.full);
	return *result ? 0 : handler_no_memory("points", err);
}

int handle_points(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err)
{
	struct points_out po = { .call = call, .rows = json_array() };
	struct err mine = ERR_INIT;
	struct points_args a;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, points_table,
			      ARRAY_SIZE(points_table), &a, err);
	if (!ret) {
		ret = group_points(arg, &a, &po, result, &mine);
		if (!strcmp(mine.code, "no-group"))
			ret = volume_points(arg, &a, &po, result, err);
		else if (ret < 0)
			err_copy(err, &mine);
	}
	json_decref(po.rows);
	return ret;
}
