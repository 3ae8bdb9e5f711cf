// SPDX-License-Identifier: Apache-2.0
/*
 * The process's tracker host, shared by its volumes: one set of programs,
 * whatever the number of volumes. Any thread. When the last user leaves, the
 * host is closed; its pins stay unless tracking was to end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "source/volume_internal.h"

static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tracker_host *host;	/* under host_lock */
static unsigned int host_users;

int source_host_get(const struct source_env *env, struct tracker_host **out,
		    struct err *err)
{
	LOCK_SCOPE(&host_lock);
	struct tracker_host_config cfg = {
		.state_dir = env->state_dir,
		.node = env->node,
	};
	int r;

	if (!host) {
		r = tracker_host_open(&cfg, &host, err);
		if (r)
			return r;
	}
	host_users++;
	*out = host;
	return 0;
}

void source_host_put(bool untrack)
{
	LOCK_SCOPE(&host_lock);

	if (--host_users)
		return;
	tracker_host_close(host, untrack);
	host = NULL;
}

int volume_forget_others(const struct source_env *env,
			 struct volume *const *keep, int n, struct err *err)
{
	_cleanup_free_ struct uuid *ids = NULL;
	struct tracker_host *h;
	int i, r;

	volstate_sweep(env->io, env->state_dir);
	if (!n) {
		LOCK_SCOPE(&host_lock);

		r = host ? 0 : tracker_host_unpin(&env->node, NULL, err);
		return r == -ENOENT ? 0 : r;
	}
	ids = calloc((size_t)n, sizeof(*ids));
	if (!ids)
		return err_sys(err, -ENOMEM, "no-memory", "tracker", "forget");
	for (i = 0; i < n; i++)
		ids[i] = keep[i]->vs.uuid;
	r = source_host_get(env, &h, err);
	if (r)
		return r;
	tracker_host_retain(h, ids, n);
	source_host_put(false);
	return 0;
}
