// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's key: handed out, rotated, brought back.
 *
 * Invariants:
 * - A key is in vs.key only when it is durable in the state directory.
 * - What seals is the session's own copy. It was taken, and given to the
 *   replica when that keeps the key, before the session's first unit; so a
 *   rotation ends the session, and the next one begins with the new key.
 *   Killed anywhere, the next process finds the old key or the new one in the
 *   file, and gives that to the replica first.
 * - vs.key is changed under save_lock and lock, and read under either.
 *
 * Any thread, but for volume_adopt, which is the worker's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"

#define ADOPT_TIMEOUT_NS (30 * NSEC_PER_SEC)

static void wake(struct volume *v)
{
	const uint64_t one = 1;

	if (write(v->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("volume %s: wake: %m", v->cfg.name);
}

int volume_get_key(struct volume *v, struct volume_key *out)
{
	LOCK_SCOPE(&v->lock);

	*out = v->vs.key;
	return 0;
}

static void change_exported(struct volstate_switches *sw, const void *arg)
{
	const uint32_t *id = arg;

	if (*id > sw->key_exported_id)
		sw->key_exported_id = *id;
}

int volume_key_exported(struct volume *v, uint32_t id, struct err *err)
{
	return volume_save_switches(v, change_exported, &id, err);
}

/* Under save_lock: durable first, then in force. */
static int put_key(struct volume *v, const struct volume_key *key,
		   struct err *err)
{
	int r = volstate_save_key(&v->vs, key, err);

	if (r)
		return r;
	pthread_mutex_lock(&v->lock);
	v->rekeyed |= v->vs.key.id != key->id;
	v->vs.key = *key;
	pthread_mutex_unlock(&v->lock);
	wake(v);
	return 0;
}

static int too_many(struct volume *v, struct err *err)
{
	err_set(err, -ENOSPC, "key-limit", v->cfg.name,
		"a key has %u generations at most, and this one has them",
		VOLUME_KEY_GENERATIONS);
	return err_remedy(err, "protect the volume under another name, with a "
			       "key of its own");
}

int volume_rotate_key(struct volume *v, uint32_t *id, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);
	_cleanup_(volume_key_wipe) struct volume_key key = v->vs.key;
	int r = volume_key_rotate(&key, v->env.rnd);

	if (r == -ENOSPC)
		return too_many(v, err);
	if (r)
		return err_sys(err, r, "no-random", v->cfg.name, "make a key");
	r = put_key(v, &key, err);
	if (!r)
		*id = key.id;
	return r;
}

/* ---- import ---- */

static int conflict(struct volume *v, uint32_t id, struct err *err)
{
	err_set(err, -EPERM, "key-conflict", v->cfg.name,
		"generation %u of the key in the file is another one than "
		"this host's: nothing is replaced", id);
	return err_remedy(err, "find out which of the two opens the points: "
			       "`understudyctl restore %s --key FILE --to "
			       "PATH`", v->cfg.name);
}

static int import_own(struct volume *v, const struct volume_key *key,
		      bool *changed, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);
	_cleanup_(volume_key_wipe) struct volume_key all = v->vs.key;
	uint32_t id = volume_key_conflict(&all, key);
	int r;

	if (id)
		return conflict(v, id, err);
	r = volume_key_merge(&all, key);
	*changed = r > 0;
	if (r == -ENOSPC)
		return too_many(v, err);
	return r > 0 ? put_key(v, &all, err) : r;
}

/* Under lock, which is let go while it waits. */
static int wait_adopted(struct volume *v, struct adoption *a, struct err *err)
{
	struct timespec deadline;
	int r = 0;

	clock_deadline(ADOPT_TIMEOUT_NS, &deadline);
	/* Once begun it is not left alone: it looks at what is ours. */
	while (!a->done && (a->taken || (!v->cancel && r != ETIMEDOUT)))
		r = a->taken ? pthread_cond_wait(&v->changed, &v->lock) :
			       pthread_cond_timedwait(&v->changed, &v->lock,
						      &deadline);
	if (a->done) {
		if (a->result)
			err_copy(err, &a->err);
		return a->result;
	}
	v->adoption = NULL;
	return err_set(err, v->cancel ? -ECANCELED : -ETIMEDOUT,
		       v->cancel ? "stopping" : "timeout", v->cfg.name,
		       "import a key: the volume is busy, nothing was changed");
}

static int import_identity(struct volume *v, const struct uuid *uuid,
			   const struct volume_key *key, struct err *err)
{
	struct adoption a = { .uuid = uuid, .key = key };
	LOCK_SCOPE(&v->lock);

	if (volume_key_lowest(key) != 1) {
		err_set(err, -EPERM, "key-generation", v->cfg.name,
			"the file lacks generation 1 of the key, by which the "
			"replica's blocks are recognised");
		return err_remedy(err, "import a key that has it");
	}
	if (v->adoption)
		return err_set(err, -EBUSY, "busy", v->cfg.name,
			       "another key is being imported");
	v->adoption = &a;
	wake(v);
	return wait_adopted(v, &a, err);
}

int volume_import_key(struct volume *v, const struct uuid *uuid,
		      const struct volume_key *key, bool *changed,
		      struct err *err)
{
	bool own;

	pthread_mutex_lock(&v->lock);
	own = uuid_equal(&v->vs.uuid, uuid);
	pthread_mutex_unlock(&v->lock);
	if (own)
		return import_own(v, key, changed, err);
	*changed = true;
	return import_identity(v, uuid, key, err);
}

/* ---- the worker's part ---- */

/* A commit that was sent may be durable, answered or not. */
static int check_no_history(struct volume *v, struct err *err)
{
	if (!v->vs.acked.valid && !v->vs.intent_seq)
		return 0;
	err_set(err, -EPERM, "has-history", v->cfg.name,
		"the key is that of another volume, and points were made of "
		"this one: two histories are not joined");
	return err_remedy(err, "to open the other one's points, name the file "
			       "with --key; to go on with it here, take this "
			       "volume out of the configuration, `understudyctl "
			       "remove` it, and begin again");
}

static int adopt(struct volume *v, const struct adoption *a, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);
	struct volstate next = v->vs;
	int r;

	r = check_no_history(v, err);
	if (r)
		return r;
	/* The marks are of the former identity; the new one knows nothing. */
	volume_session_close(v, true);
	volume_device_drop(v, true);
	r = volstate_adopt(&next, a->uuid, a->key, err);
	if (!r) {
		pthread_mutex_lock(&v->lock);
		v->vs = next;
		v->rekeyed = false;
		pthread_mutex_unlock(&v->lock);
		v->resync = false;
		log_info("volume %s: goes on as the volume of the imported "
			 "key", v->cfg.name);
	}
	volume_key_wipe(&next.key);
	v->next_device_ns = v->next_dial_ns = 0;
	v->dial_backoff_ns = 0;
	return r;
}

void volume_adopt(struct volume *v)
{
	struct adoption *a;
	int r;

	pthread_mutex_lock(&v->lock);
	a = v->adoption;
	if (a)
		a->taken = true;
	pthread_mutex_unlock(&v->lock);
	if (!a)
		return;
	r = adopt(v, a, &a->err);
	if (!r)
		volume_set_phase(v, PHASE_INITIALIZING, NULL);
	pthread_mutex_lock(&v->lock);
	a->result = r;
	a->done = true;
	v->adoption = NULL;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}
