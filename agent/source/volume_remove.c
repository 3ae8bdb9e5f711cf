// SPDX-License-Identifier: Apache-2.0
/*
 * Volumes that left the configuration: their key, and their end. Tracking has
 * ended when they left; what is here still is their state directory. Who calls
 * makes sure that no volume_start holds it. Any thread.
 */
#include <errno.h>
#include <stdio.h>

#include "base/checked.h"
#include "base/log.h"
#include "source/volstate.h"
#include "source/volume.h"

static int find(const struct source_env *env, const char *name,
		struct volstate *vs, struct err *err)
{
	return volstate_find(env->io, env->state_dir, name, vs, err);
}

int volume_departed_key(const struct source_env *env, const char *name,
			struct volume_key *out, struct uuid *uuid,
			struct err *err)
{
	struct volstate vs;
	int r = find(env, name, &vs, err);

	if (r)
		return r;
	*out = vs.key;
	*uuid = vs.uuid;
	volstate_close(&vs);
	return 0;
}

int volume_departed_exported(const struct source_env *env, const char *name,
			     uint32_t id, struct err *err)
{
	struct volstate_switches sw;
	struct volstate vs;
	int r = find(env, name, &vs, err);

	if (r)
		return r;
	sw = vs.sw;
	sw.key_exported_id = MAX(sw.key_exported_id, id);
	r = volstate_save(&vs, &sw, err);
	volstate_close(&vs);
	return r;
}

static int key_unsaved(const char *name, const struct volume_removed *v,
		       struct err *err)
{
	err_set(err, -EPERM, "key-unsaved", name,
		"remove: generation %u of its key was neither exported nor "
		"kept by the replica: without it the points there can never "
		"be opened", v->key_id);
	return err_remedy(err, "understudyctl key export %s first, or add "
			       "--discard-key", name);
}

int volume_remove(const struct source_env *env, const char *name,
		  bool discard_key, struct volume_removed *out,
		  struct err *err)
{
	struct volstate vs;
	int r = find(env, name, &vs, err);

	if (r)
		return r;
	*out = (struct volume_removed){
		.uuid = vs.uuid,
		.key_id = vs.key.id,
		/* A commit that was sent may have become durable. */
		.has_point = vs.acked.valid || vs.intent_seq,
		.key_saved = vs.sw.key_exported_id >= vs.key.id ||
			     vs.sw.key_escrowed_id >= vs.key.id,
	};
	if (out->has_point && !out->key_saved && !discard_key)
		r = key_unsaved(name, out, err);
	if (!r)
		r = volstate_remove(&vs, err);
	if (!r)
		log_info("volume %s: removed, its state is deleted", name);
	volstate_close(&vs);
	return r;
}
