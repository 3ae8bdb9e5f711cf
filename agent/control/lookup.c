// SPDX-License-Identifier: Apache-2.0
/*
 * Finding what a client named: a volume protected here, or one in the store
 * of the replica role. NAME alone means the volume protected here when there
 * is one; else the only stored one of that name, and when there are several
 * the client is told which. Threads of the control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/handlers.h"
#include "control/stored.h"

/* Not there is no error: the caller may know where else to look. */
static int lookup_stored(struct replica *r, struct lookup *l, struct err *err)
{
	struct err mine = ERR_INIT;
	int ret = stored_find_volume(replica_store(r), &l->name, &l->info,
				     &mine);

	if (ret == -ENOENT)
		return 0;
	if (ret < 0) {
		if (err)
			err_copy(err, &mine);
		return ret;
	}
	l->kind = LOOKUP_STORED;
	(void)snprintf(l->full, sizeof(l->full), "%s/%s", l->info.source,
		       l->info.name);
	return 0;
}

int lookup_volume(struct daemon *d, const char *text, struct lookup *out,
		  struct err *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	out->kind = LOOKUP_NOWHERE;
	ret = volume_name_parse(text, &out->name, err);
	if (ret < 0)
		return ret;
	(void)snprintf(out->full, sizeof(out->full), "%s", text);
	if (!*out->name.source &&
	    !daemon_volume_get(d, out->name.name, &out->dv)) {
		out->kind = LOOKUP_LOCAL;
		return 0;
	}
	if (!daemon_replica(d))
		return 0;
	return lookup_stored(daemon_replica(d), out, err);
}

int lookup_known(struct daemon *d, const char *text, struct lookup *out,
		 struct err *err)
{
	int ret = lookup_volume(d, text, out, err);

	if (ret < 0 || out->kind != LOOKUP_NOWHERE)
		return ret;
	err_set(err, -ENOENT, "no-volume", text,
		"this daemon knows no such volume");
	err_remedy(err, "`understudyctl status` lists the volumes");
	return -ENOENT;
}

int lookup_local(struct daemon *d, const char *text, struct lookup *out,
		 struct err *err)
{
	int ret = lookup_known(d, text, out, err);

	if (ret < 0 || out->kind == LOOKUP_LOCAL)
		return ret;
	err_set(err, -EINVAL, "not-the-source", out->full,
		"is stored here and protected elsewhere");
	err_remedy(err, "give the command at its source, %s",
		   out->info.source);
	return -EINVAL;
}

int lookup_not_refused(struct ctl_call *call, const struct lookup *l,
		       struct err *err)
{
	struct volume_status st;

	volume_get_status(daemon_volume(l->dv), &st);
	if (st.state != VOLUME_REFUSED)
		return 0;
	ctl_call_refuses(call);
	err_set(err, -EPERM, *st.reason ? st.reason : "refused", l->full,
		"refused: %s", st.message);
	if (*st.remedy)
		err_remedy(err, "%s", st.remedy);
	return -EPERM;
}

void lookup_release(struct daemon *d, struct lookup *l)
{
	if (l->dv)
		daemon_volume_put(d, l->dv);
	l->dv = NULL;
}

int lookup_replica(struct daemon *d, const struct lookup *l, const char *from,
		   struct replica_config *out, struct err *err)
{
	if (l->kind == LOOKUP_LOCAL) {
		*out = volume_get_config(daemon_volume(l->dv))->replica;
		if (!*from || !strcmp(from, out->name))
			return 0;
	}
	if (!daemon_replica_config(d, from, out))
		return 0;
	if (*from) {
		err_set(err, -ENOENT, "no-replica", from,
			"there is no [replica %s] in the configuration", from);
		err_remedy(err, "name a replica of the configuration");
	} else {
		err_set(err, -ENOENT, "no-volume", l->full,
			"this daemon knows no such volume");
		err_remedy(err, "`understudyctl status` lists the volumes; "
			   "--from names the replica to ask for others");
	}
	return -ENOENT;
}
