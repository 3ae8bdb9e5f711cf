// SPDX-License-Identifier: Apache-2.0
/*
 * The verbs of the control protocol, and those that act on a volume protected
 * here. Threads of the control socket.
 */
#include "control/handlers.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

int handler_no_memory(const char *what, struct err *err)
{
	return err_set(err, -ENOMEM, "no-memory", what, "out of memory");
}

/* ---- pause, resume ---- */

struct volume_args {
	char volume[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg volume_table[] = {
	CTL_ARG(struct volume_args, volume, CTL_ARG_TEXT, false),
};

static int append_name(json_t *list, const struct volume *v)
{
	return json_array_append_new(
		       list, json_string(volume_get_config(v)->name)) ?
		       -ENOMEM :
		       0;
}

typedef int (*volume_verb)(struct volume *v, struct err *err);

/* One volume, or all that are protected here. */
static int act_on(struct daemon *d, const char *name, volume_verb verb,
		  json_t *done, struct err *err)
{
	struct daemon_volume **all;
	struct lookup l;
	size_t i, n;
	int ret;

	if (*name) {
		ret = lookup_local(d, name, &l, err);
		if (!ret)
			ret = verb(daemon_volume(l.dv), err);
		if (!ret)
			ret = append_name(done, daemon_volume(l.dv));
		lookup_release(d, &l);
		return ret;
	}
	ret = daemon_volumes_get(d, &all, &n);
	if (ret < 0)
		return handler_no_memory("volumes", err);
	for (i = 0; !ret && i < n; i++) {
		ret = verb(daemon_volume(all[i]), err);
		if (!ret)
			ret = append_name(done, daemon_volume(all[i]));
	}
	daemon_volumes_put(d, all, n);
	return ret;
}

static int pause_or_resume(struct daemon *d, struct ctl_call *call,
			   volume_verb verb, json_t **result, struct err *err)
{
	struct volume_args a;
	json_t *done = json_array();
	int ret;

	*result = json_pack("{s:o}", "volumes", done);
	if (!*result)
		return handler_no_memory("volumes", err);
	ret = ctl_args_decode(ctl_call_request(call)->args, volume_table,
			      ARRAY_SIZE(volume_table), &a, err);
	return ret < 0 ? ret : act_on(d, a.volume, verb, done, err);
}

static int handle_pause(void *arg, struct ctl_call *call, json_t **result,
			struct err *err)
{
	return pause_or_resume(arg, call, volume_pause, result, err);
}

static int handle_resume(void *arg, struct ctl_call *call, json_t **result,
			 struct err *err)
{
	return pause_or_resume(arg, call, volume_resume, result, err);
}

/* ---- resync ---- */

struct resync_args {
	char volume[SELECTOR_VOLUME_SIZE];
	char replica[VOLUME_NAME_MAX + 1];
	char yes[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg resync_table[] = {
	CTL_ARG(struct resync_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct resync_args, replica, CTL_ARG_TEXT, false),
	CTL_ARG(struct resync_args, yes, CTL_ARG_TEXT, false),
};

static int check_resync(const struct lookup *l, const struct resync_args *a,
			struct err *err)
{
	const struct volume_config *vc =
		volume_get_config(daemon_volume(l->dv));

	if (*a->replica && strcmp(a->replica, vc->replica.name) != 0) {
		err_set(err, -ENOENT, "no-replica", a->replica,
			"volume %s is not shipped there", vc->name);
		err_remedy(err, "its replica is %s", vc->replica.name);
		return -ENOENT;
	}
	if (!strcmp(a->yes, vc->name))
		return 0;
	err_set(err, -EPERM, "not-confirmed", vc->name,
		"resync accepts the device as it is now");
	err_remedy(err, "repeat the command with --yes %s", vc->name);
	return -EPERM;
}

static int handle_resync(void *arg, struct ctl_call *call, json_t **result,
			 struct err *err)
{
	struct daemon *d = arg;
	struct resync_args a;
	struct lookup l;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, resync_table,
			      ARRAY_SIZE(resync_table), &a, err);
	if (ret < 0)
		return ret;
	ret = lookup_local(d, a.volume, &l, err);
	if (!ret)
		ret = check_resync(&l, &a, err);
	if (!ret) {
		log_info("volume %s: resync asked for", l.full);
		ret = volume_resync(daemon_volume(l.dv), err);
	}
	lookup_release(d, &l);
	if (ret < 0)
		return err_sys(err, ret, "failed", a.volume, "resync");
	*result = json_pack("{s:s}", "volume", l.full);
	return *result ? 0 : handler_no_memory("resync", err);
}

/* ---- the table ---- */

const struct ctl_verb control_verbs[] = {
	{ "status", handle_status, false },
	{ "points", handle_points, true },
	{ "sync", handle_sync, true },
	{ "pause", handle_pause, false },
	{ "resume", handle_resume, false },
	{ "resync", handle_resync, false },
	{ "group-point", handle_group_point, true },
	{ "restore", handle_restore, true },
	{ "verify", handle_verify, true },
	{ "scrub", handle_scrub, true },
	{ "events", handle_events, true },
	{ "why", handle_why, true },
	{ "key-export", handle_key_export, false },
	{ "key-exported", handle_key_exported, false },
	{ "key-rotate", handle_key_rotate, false },
	{ "remove", handle_remove, true },
	{ "key-import", handle_key_import, true },
	{ 0 },
};
