// SPDX-License-Identifier: Apache-2.0
/*
 * A protected volume as other threads see it: start and stop, orders, waiting
 * for a point. See volume_internal.h for the other files of it.
 *
 * Orders that must survive a restart (pause, resync) are on disk before the
 * caller is told that they are in force.
 */
#include "source/volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"

static void signal_fd(struct volume *v, int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("volume %s: wake: %m", v->cfg.name);
}

static void wake(struct volume *v)
{
	signal_fd(v, v->wake_fd);
}

/* Time-outs of waiters must not follow the wall clock. */
static int init_cond(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	int r;

	r = pthread_condattr_init(&attr);
	if (!r)
		r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!r)
		r = pthread_cond_init(c, &attr);
	(void)pthread_condattr_destroy(&attr);
	return -r;
}

/* What is known of the last point before the replica is asked again. */
static void remember_point(struct volume *v)
{
	const struct acked *a = &v->vs.acked;
	int64_t age;

	v->phase = a->valid ? PHASE_RUNNING : PHASE_INITIALIZING;
	v->paused = v->vs.paused;
	v->last_state = VOLUME_INITIALIZING;
	if (!a->valid)
		return;
	age = clock_wall_ns(v->env.clock) - a->flip_wall_ns;
	v->has_proven = true;
	v->proven_mono_ns = clock_mono_ns(v->env.clock);
	if (age > 0)
		v->proven_mono_ns -= MIN((uint64_t)age, v->proven_mono_ns);
	v->shown.has_point = true;
	v->shown.seq = a->seq;
	v->shown.flip_wall_ns = a->flip_wall_ns;
	(void)snprintf(v->shown.kind, sizeof(v->shown.kind), "crash");
}

int volume_start(const struct volume_config *cfg, const struct source_env *env,
		 struct volume **out, struct err *err)
{
	struct volume *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_sys(err, -ENOMEM, "no-memory", cfg->name, "start");
	v->cfg = *cfg;
	v->env = *env;
	v->vs.acked_fd = -1;
	v->dev.fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = v->wake_fd < 0 || v->stop_fd < 0 ? -errno : init_cond(&v->changed);
	if (r)
		err_sys(err, r, "no-memory", cfg->name, "start");
	else
		r = volstate_open(env->io, env->rnd, env->state_dir, cfg->name,
				  &v->vs, err);
	if (!r) {
		remember_point(v);
		r = -pthread_create(&v->thread, NULL, volume_worker, v);
		if (r) {
			err_sys(err, r, "no-memory", cfg->name,
				"start worker");
			volstate_close(&v->vs);
		}
	}
	if (r) {
		if (v->wake_fd >= 0)
			close(v->wake_fd);
		if (v->stop_fd >= 0)
			close(v->stop_fd);
		pthread_mutex_destroy(&v->lock);
		free(v);
		return r;
	}
	*out = v;
	return 0;
}

void volume_cancel(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	v->cancel = true;
	pthread_cond_broadcast(&v->changed);
}

void volume_stop(struct volume *v, bool untrack)
{
	if (!v)
		return;
	volume_cancel(v);
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	v->untrack = untrack;
	pthread_mutex_unlock(&v->lock);
	signal_fd(v, v->stop_fd);
	wake(v);
	pthread_join(v->thread, NULL);
	volstate_close(&v->vs);
	close(v->wake_fd);
	close(v->stop_fd);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

const struct volume_config *volume_get_config(const struct volume *v)
{
	return &v->cfg;
}

static bool replica_equal(const struct replica_config *a,
			  const struct replica_config *b)
{
	int i;

	if (strcmp(a->name, b->name) || strcmp(a->identity, b->identity) ||
	    a->rate_limit_bytes != b->rate_limit_bytes ||
	    a->n_addresses != b->n_addresses)
		return false;
	for (i = 0; i < a->n_addresses; i++)
		if (strcmp(a->addresses[i].host, b->addresses[i].host) ||
		    a->addresses[i].port != b->addresses[i].port ||
		    a->addresses[i].weight != b->addresses[i].weight)
			return false;
	return true;
}

bool volume_config_equal(const struct volume_config *a,
			 const struct volume_config *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->device, b->device) &&
	       replica_equal(&a->replica, &b->replica) &&
	       a->interval_ns == b->interval_ns && a->rpo_ns == b->rpo_ns &&
	       a->block_bytes == b->block_bytes &&
	       a->tracker_memory_bytes == b->tracker_memory_bytes &&
	       a->compression.mode == b->compression.mode &&
	       a->compression.level == b->compression.level &&
	       a->key_escrow == b->key_escrow &&
	       a->read_limit_bytes == b->read_limit_bytes;
}

/* ---- waiting for a point ---- */

static void remove_waiter(struct volume *v, struct sync_waiter *w)
{
	struct sync_waiter **p;

	for (p = &v->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			return;
		}
}

static int not_reached(const struct volume *v, struct err *err)
{
	const struct volume_status *s = &v->shown;

	if (v->cancel)
		return err_set(err, -ECANCELED, "stopping", v->cfg.name,
			       "the daemon is stopping");
	err_set(err, -ETIMEDOUT, "timeout", v->cfg.name,
		"sync: replica %s lacks the point: %s%s%s", v->cfg.replica.name,
		v->paused ? "paused"
		: s->replica_state[0] ? s->replica_state : "not connected yet",
		s->message[0] ? ": " : "", s->message);
	return err_remedy(err, "%s", v->paused ? "understudyctl resume first"
				     : s->remedy[0] ? s->remedy
				     : "look at understudyctl status");
}

int volume_sync(struct volume *v, const char *label, uint64_t timeout_ns,
		struct sync_result *out, struct err *err)
{
	struct sync_waiter w = { .label = label };
	struct timespec deadline;
	int r = 0;

	clock_deadline(timeout_ns, &deadline);
	LOCK_SCOPE(&v->lock);
	w.next = v->waiters;
	v->waiters = &w;
	wake(v);
	while (!w.done && !v->cancel && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&v->changed, &v->lock, &deadline);
	if (!w.done) {
		remove_waiter(v, &w);
		return not_reached(v, err);
	}
	*out = w.point;
	return 0;
}

/* ---- orders ---- */

static int set_paused(struct volume *v, bool paused, struct err *err)
{
	int r = 0;

	pthread_mutex_lock(&v->lock);
	if (v->vs.paused != paused) {
		v->vs.paused = paused;
		r = volstate_save(&v->vs, err);
		if (r)
			v->vs.paused = !paused;
	}
	if (!r)
		v->paused = paused;
	pthread_mutex_unlock(&v->lock);
	wake(v);
	return r;
}

int volume_pause(struct volume *v, struct err *err)
{
	return set_paused(v, true, err);
}

int volume_resume(struct volume *v, struct err *err)
{
	return set_paused(v, false, err);
}

int volume_resync(struct volume *v, struct err *err)
{
	int r;

	pthread_mutex_lock(&v->lock);
	v->vs.resync = true;
	r = volstate_save(&v->vs, err);
	if (r)
		v->vs.resync = false;
	else
		v->resync_wanted = true;
	pthread_mutex_unlock(&v->lock);
	wake(v);
	return r;
}

int volume_get_key(struct volume *v, struct volume_key *out)
{
	*out = v->vs.key;
	return 0;
}

int volume_key_exported(struct volume *v, struct err *err)
{
	LOCK_SCOPE(&v->lock);
	int r;

	if (v->vs.key_exported)
		return 0;
	v->vs.key_exported = true;
	r = volstate_save(&v->vs, err);
	if (r)
		v->vs.key_exported = false;
	return r;
}
