// SPDX-License-Identifier: Apache-2.0
/*
 * Keys of volumes: written to a descriptor that the client opened, never into
 * the protocol. A source notes that a key is safe only when the client says
 * that it has it (key-exported), since a full disk may still come between.
 * Threads of the control socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "control/handlers.h"
#include "control/key_fd.h"

struct key_args {
	char volume[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg key_table[] = {
	CTL_ARG(struct key_args, volume, CTL_ARG_TEXT, true),
};

/* The replica role names a volume by its UUID only. */
int handler_stored_key(struct daemon *d, const struct lookup *l,
		       struct volume_key *out, struct err *err)
{
	struct err mine = ERR_INIT;
	int ret = replica_key(daemon_replica(d), &l->info.uuid, out, &mine);

	if (ret == -ENOKEY) {
		err_set(err, ret, "no-key", l->full,
			"its key is not kept at this replica");
		err_remedy(err, "name the exported key with --key FILE, or give "
			   "the command at its source, %s", l->info.source);
	} else if (ret < 0 && err) {
		err_copy(err, &mine);
	}
	return ret;
}

static int find_key(struct daemon *d, const struct lookup *l,
		    struct volume_key *key, struct uuid *uuid,
		    struct err *err)
{
	struct volume_status st;
	int ret;

	if (l->kind == LOOKUP_STORED) {
		*uuid = l->info.uuid;
		return handler_stored_key(d, l, key, err);
	}
	volume_get_status(daemon_volume(l->dv), &st);
	*uuid = st.uuid;
	ret = volume_get_key(daemon_volume(l->dv), key);
	if (ret == -ENOKEY)
		return err_set(err, ret, "no-key", l->full,
			       "it has no key yet");
	return ret < 0 ? err_sys(err, ret, "no-key", l->full, "read its key") :
			 0;
}

int handle_key_export(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err)
{
	_cleanup_close_ int fd = ctl_call_take_fd(call, 0);
	struct daemon *d = arg;
	struct volume_key key;
	struct key_args a;
	struct uuid uuid;
	struct lookup l;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, key_table,
			      ARRAY_SIZE(key_table), &a, err);
	if (ret < 0)
		return ret;
	ret = lookup_known(d, a.volume, &l, err);
	if (ret < 0)
		return ret;
	ret = find_key(d, &l, &key, &uuid, err);
	if (!ret) {
		ret = key_fd_write(fd, &key, l.name.name, &uuid, err);
		volume_key_wipe(&key);
		log_info("volume %s: key exported", l.full);
	}
	lookup_release(d, &l);
	if (ret < 0)
		return ret;
	*result = json_pack("{s:s}", "volume", l.full);
	return *result ? 0 : handler_no_memory("key export", err);
}

int handle_key_exported(void *arg, struct ctl_call *call, json_t **result,
			struct err *err)
{
	struct daemon *d = arg;
	struct key_args a;
	struct lookup l;
	int ret;

	(void)result;
	ret = ctl_args_decode(ctl_call_request(call)->args, key_table,
			      ARRAY_SIZE(key_table), &a, err);
	if (ret < 0)
		return ret;
	ret = lookup_known(d, a.volume, &l, err);
	if (!ret && l.kind == LOOKUP_LOCAL)
		ret = volume_key_exported(daemon_volume(l.dv), err);
	lookup_release(d, &l);
	return ret;
}
