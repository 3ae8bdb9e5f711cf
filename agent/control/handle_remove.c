// SPDX-License-Identifier: Apache-2.0
/*
 * `remove`: at a source a volume that left the configuration, at a replica one
 * with its points. A name alone means the volume of this host when there is
 * one, as everywhere; SOURCE/NAME is always a stored one. Threads of the
 * control socket.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "control/handlers.h"

struct remove_args {
	char volume[SELECTOR_VOLUME_SIZE];
	char yes[SELECTOR_VOLUME_SIZE];
	bool discard_key;
};

static const struct ctl_arg remove_table[] = {
	CTL_ARG(struct remove_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct remove_args, yes, CTL_ARG_TEXT, false),
	CTL_ARG(struct remove_args, discard_key, CTL_ARG_BOOL, false),
};

static int not_confirmed(const char *name, const char *what, struct err *err)
{
	err_set(err, -EPERM, "not-confirmed", name, "remove deletes %s", what);
	return err_remedy(err, "repeat the command with --yes %s", name);
}

/* ---- at a source ---- */

static int still_protected(const char *name, struct err *err)
{
	err_set(err, -EPERM, "volume-configured", name,
		"remove: it is in the configuration, and protected");
	return err_remedy(err, "take [volume %s] out of the configuration and "
			       "reload the daemon; tracking ends then, and "
			       "this command deletes the rest", name);
}

static int remove_departed(struct daemon *d, const struct remove_args *a,
			   json_t **result, struct err *err)
{
	struct volume_removed v;
	int ret;

	if (strcmp(a->yes, a->volume) != 0)
		return not_confirmed(a->volume, "the volume's state and its "
						"key on this host", err);
	ret = volume_remove(daemon_source_env(d), a->volume, a->discard_key,
			    &v, err);
	if (ret < 0)
		return ret;
	daemon_tell(d, "volume-removed", a->volume, NULL,
		    "its state and its key on this host");
	*result = json_pack("{s:s,s:s,s:n,s:b}", "volume", a->volume, "role",
			    "source", "points", "key_saved",
			    v.key_saved || !v.has_point);
	return *result ? 0 : handler_no_memory("remove", err);
}

static bool is_departed(struct daemon *d, const struct volume_name *name)
{
	struct volume_key key;
	struct err err = ERR_INIT;
	struct uuid uuid;
	int ret;

	if (*name->source)
		return false;
	ret = volume_departed_key(daemon_source_env(d), name->name, &key,
				  &uuid, &err);
	if (!ret)
		volume_key_wipe(&key);
	/* What cannot be read is there all the same. */
	return ret != -ENOENT;
}

/* ---- at a replica ---- */

static int remove_stored(struct daemon *d, const struct lookup *l,
			 const struct remove_args *a, json_t **result,
			 struct err *err)
{
	int ret;

	if (strcmp(a->yes, l->full) != 0 && strcmp(a->yes, l->info.name) != 0)
		return not_confirmed(l->full, "all its points, and its key here",
				     err);
	ret = replica_remove(daemon_replica(d), &l->info.uuid, err);
	if (ret < 0)
		return ret;
	log_info("volume %s: removed, with %llu points", l->full,
		 (unsigned long long)l->info.n_points);
	daemon_tell(d, "volume-removed", l->full, NULL, "with %llu points",
		    (unsigned long long)l->info.n_points);
	*result = json_pack("{s:s,s:s,s:I,s:n}", "volume", l->full, "role",
			    "replica", "points", (json_int_t)l->info.n_points,
			    "key_saved");
	return *result ? 0 : handler_no_memory("remove", err);
}

int handle_remove(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err)
{
	struct daemon *d = arg;
	struct lookup l = { 0 };
	struct remove_args a;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, remove_table,
			      ARRAY_SIZE(remove_table), &a, err);
	if (!ret)
		ret = lookup_known(d, a.volume, &l, err);
	if (ret == -ENOENT && is_departed(d, &l.name)) {
		l.kind = LOOKUP_NOWHERE;
		err_clear(err);
		ret = 0;
	}
	if (ret < 0)
		return ret;
	if (!*l.name.source && daemon_is_configured(d, l.name.name))
		ret = still_protected(l.name.name, err);
	else if (l.kind == LOOKUP_NOWHERE || is_departed(d, &l.name))
		ret = remove_departed(d, &a, result, err);
	else
		ret = remove_stored(d, &l, &a, result, err);
	lookup_release(d, &l);
	if (ret == -EPERM || ret == -EBUSY)
		ctl_call_refuses(call);
	return ret;
}
