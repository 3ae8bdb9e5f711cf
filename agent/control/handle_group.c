// SPDX-License-Identifier: Apache-2.0
/*
 * `group-point`, and the group's half of `points`: which group a name means,
 * here or at a replica, and its points. Threads of the control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "control/groups.h"
#include "control/handlers.h"
#include "source/remote_image.h"

static int no_group(const char *name, struct err *err)
{
	return err_set(err, -ENOENT, "no-group", name,
		       "this daemon knows no such group");
}

static int of_store(struct daemon *d, const struct lookup *l,
		    const struct group_walk *w, struct wire_group_name *out,
		    struct err *err)
{
	struct store *s = replica_store(daemon_replica(d));
	struct group_info g;
	int ret = stored_find_group(s, &l->name, &g, err);

	if (ret < 0)
		return ret;
	out->uuid = g.uuid;
	memcpy(out->source, g.source, sizeof(out->source));
	memcpy(out->name, g.name, sizeof(out->name));
	ret = stored_group_points(s, &g, w->cb, w->arg);
	return ret < 0 ? err_sys(err, ret, "failed", l->full,
				 "list the points") : ret;
}

static int of_replica(struct daemon *d, const struct lookup *l,
		      const char *from, const struct group_walk *w,
		      struct wire_group_name *out, struct err *err)
{
	struct err mine = ERR_INIT;
	struct replica_config rc;
	struct remote *remote;
	int ret;

	/* Nobody to ask: who looks for a volume next says so. */
	if (lookup_replica(d, l, from, &rc, &mine) < 0)
		return no_group(l->full, err);
	ret = remote_connect(&rc, daemon_source_env(d), &remote, err);
	if (ret < 0)
		return ret;
	ret = remote_group_points(remote, l->full, w->cb, w->arg, out, err);
	remote_close(remote);
	return ret;
}

int group_walk(struct daemon *d, const char *text, const char *from,
	       const struct group_walk *w, struct wire_group_name *out,
	       struct err *err)
{
	struct err mine = ERR_INIT;
	struct lookup l;
	int ret = lookup_volume(d, text, &l, err);

	if (ret < 0)
		return ret;
	if (l.kind == LOOKUP_LOCAL) {
		ret = no_group(l.full, err);
	} else if (!*from && daemon_replica(d)) {
		ret = of_store(d, &l, w, out, &mine);
		/* What is not here may be where this daemon ships to. */
		if (ret == -ENOENT && l.kind == LOOKUP_NOWHERE)
			ret = of_replica(d, &l, from, w, out, err);
		else if (ret < 0)
			err_copy(err, &mine);
	} else {
		ret = of_replica(d, &l, from, w, out, err);
	}
	lookup_release(d, &l);
	return ret;
}

struct group_point_args {
	char group[SELECTOR_VOLUME_SIZE];
	char point[SELECTOR_POINT_SIZE];
	uint64_t at_ns;
	char from[VOLUME_NAME_MAX + 1];
};

static const struct ctl_arg group_point_table[] = {
	CTL_ARG(struct group_point_args, group, CTL_ARG_TEXT, true),
	CTL_ARG(struct group_point_args, point, CTL_ARG_TEXT, false),
	CTL_ARG(struct group_point_args, at_ns, CTL_ARG_U64, false),
	CTL_ARG(struct group_point_args, from, CTL_ARG_TEXT, false),
};

static int show(void *arg, const struct wire_group_point *p)
{
	group_choice_show(arg, p);
	return 0;
}

/* Not one of volumes: `restore` goes on with one of those else. */
static void about_a_group(struct ctl_call *call)
{
	ctl_call_details(call, json_pack("{s:b}", "is_group", true));
}

int handle_group_point(void *arg, struct ctl_call *call, json_t **result,
		       struct err *err)
{
	struct wire_group_name name = { 0 };
	struct group_choice choice;
	const struct group_walk w = { show, &choice };
	struct group_point_args a;
	struct selector sel;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, group_point_table,
			      ARRAY_SIZE(group_point_table), &a, err);
	if (!ret && a.at_ns > INT64_MAX)
		ret = err_set(err, -EINVAL, "bad-argument", "at_ns",
			      "too large");
	if (!ret)
		ret = selector_parse(a.point, (int64_t)a.at_ns, &sel, err);
	if (ret < 0)
		return ret;
	memset(&choice, 0, sizeof(choice));
	choice.sel = sel;
	ret = group_walk(arg, a.group, a.from, &w, &name, err);
	if (ret == -ENOTUNIQ)
		about_a_group(call);
	if (ret < 0)
		return ret;
	about_a_group(call);
	ret = group_choice_check(&sel, a.group, err);
	if (ret < 0)
		return ret;
	*result = group_choice_json(&choice, name.source, name.name, err);
	return *result ? 0 : err->num;
}
