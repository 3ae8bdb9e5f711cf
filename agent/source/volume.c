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

#define PROGRESS_NS (250 * NSEC_PER_MSEC)

static void signal_fd(struct volume *v, int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("volume %s: wake: %m", v->cfg.name);
}

void volume_wake(void *arg)
{
	struct volume *v = arg;

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

	v->phase = a->valid ? PHASE_STARTING : PHASE_INITIALIZING;
	v->paused = v->vs.sw.paused;
	v->last_state = VOLUME_INITIALIZING;
	if (!a->valid)
		return;
	age = clock_wall_ns(v->env.clock) - a->flip_wall_ns;
	v->has_proven = true;
	v->proven_mono_ns = clock_mono_ns(v->env.clock);
	if (age > 0)
		v->proven_mono_ns -= MIN((uint64_t)age, v->proven_mono_ns);
	volume_show_point(v, a);
}

int volume_start(const struct volume_config *cfg, const struct source_env *env,
		 struct volume **out, struct err *err)
{
	struct volume *v = calloc(1, sizeof(*v));
	struct err mine = ERR_INIT;
	int r;

	if (!v)
		return err_sys(err, -ENOMEM, "no-memory", cfg->name, "start");
	v->cfg = *cfg;
	v->env = *env;
	v->vs.acked_fd = -1;
	v->dev.fd = -1;
	pthread_mutex_init(&v->save_lock, NULL);
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
		/* If it cannot, the worker tries again, and says why. */
		(void)volume_group_join(v, &mine);
		r = -pthread_create(&v->thread, NULL, volume_worker, v);
		if (r) {
			err_sys(err, r, "no-memory", cfg->name,
				"start worker");
			volume_group_part(v);
			volstate_close(&v->vs);
		}
	}
	if (r) {
		if (v->wake_fd >= 0)
			close(v->wake_fd);
		if (v->stop_fd >= 0)
			close(v->stop_fd);
		pthread_mutex_destroy(&v->lock);
		pthread_mutex_destroy(&v->save_lock);
		free(v);
		return r;
	}
	*out = v;
	return 0;
}

void volume_cancel(struct volume *v)
{
	struct source_group *g;

	pthread_mutex_lock(&v->lock);
	v->cancel = true;
	pthread_cond_broadcast(&v->changed);
	g = v->group;
	pthread_mutex_unlock(&v->lock);
	/* Not under the lock: the group may be writing its number. */
	if (g)
		group_cancel(g->meetings);
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
	volume_wake(v);
	pthread_join(v->thread, NULL);
	volume_group_part(v);
	volstate_close(&v->vs);
	volume_key_wipe(&v->session_key);
	close(v->wake_fd);
	close(v->stop_fd);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->save_lock);
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
	       a->read_limit_bytes == b->read_limit_bytes &&
	       a->audit_ns == b->audit_ns &&
	       a->quiesce == b->quiesce &&
	       !strcmp(a->quiesce_hook, b->quiesce_hook) &&
	       a->quiesce_limit_ns == b->quiesce_limit_ns &&
	       a->quiesce_contention == b->quiesce_contention &&
	       !strcmp(a->group.name, b->group.name) &&
	       !strcmp(a->group.members, b->group.members);
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
			       "the daemon is stopping, or the volume's "
			       "configuration has changed");
	err_set(err, -ETIMEDOUT, "timeout", v->cfg.name,
		"sync: replica %s lacks the point: %s%s%s", v->cfg.replica.name,
		v->paused ? "paused"
		: s->replica_state[0] ? s->replica_state : "not connected yet",
		s->message[0] ? ": " : "", s->message);
	return err_remedy(err, "%s", v->paused ? "understudyctl resume first"
				     : s->remedy[0] ? s->remedy
				     : "look at understudyctl status");
}

static struct timespec earlier(const struct timespec *a,
			       const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec ? *a : *b;
	return a->tv_nsec < b->tv_nsec ? *a : *b;
}

/* The lock is let go meanwhile: a client may read slowly. */
static int tell_progress(struct volume *v, const struct sync_order *o,
			 uint64_t *total)
{
	uint64_t left = v->shown.backlog_bytes;
	int r;

	if (!o->progress)
		return 0;
	*total = MAX(*total, left);
	pthread_mutex_unlock(&v->lock);
	r = o->progress(o->arg, *total - left, *total);
	pthread_mutex_lock(&v->lock);
	return r;
}

/* 0 when done, or on time-out or cancellation; or what progress returned. */
static int wait_for_point(struct volume *v, const struct sync_order *o,
			  const struct sync_waiter *w)
{
	struct timespec deadline, slice, until;
	uint64_t total = 0;
	int r = 0, w_r = 0;

	clock_deadline(o->timeout_ns, &deadline);
	while (!w->done && !v->cancel && !r) {
		clock_deadline(PROGRESS_NS, &slice);
		until = earlier(&deadline, &slice);
		w_r = pthread_cond_timedwait(&v->changed, &v->lock, &until);
		if (w_r != ETIMEDOUT || w->done)
			continue;
		if (until.tv_sec == deadline.tv_sec &&
		    until.tv_nsec == deadline.tv_nsec)
			break;
		r = tell_progress(v, o, &total);
	}
	return w->done ? 0 : r;
}

int volume_sync(struct volume *v, const struct sync_order *order,
		struct sync_result *out, struct err *err)
{
	struct sync_waiter w = { .label = order->label,
				 .quiesce = order->quiesce };
	LOCK_SCOPE(&v->lock);
	int r;

	r = order->quiesce ? volume_quiesces(v, err) : 0;
	if (r)
		return r;
	w.next = v->waiters;
	v->waiters = &w;
	volume_wake(v);
	r = wait_for_point(v, order, &w);
	if (w.done) {
		if (w.result)
			err_copy(err, &w.err);
		*out = w.point;
		return w.result;
	}
	remove_waiter(v, &w);
	if (r)
		return err_sys(err, r, "cancelled", v->cfg.name, "sync");
	return not_reached(v, err);
}

/* ---- orders ---- */

/* Under save_lock, where alone they change. */
static int save_switches(struct volume *v,
			 void (*change)(struct volstate_switches *sw,
					const void *arg),
			 const void *arg, struct err *err)
{
	struct volstate_switches sw = v->vs.sw;
	int r;

	change(&sw, arg);
	if (!memcmp(&sw, &v->vs.sw, sizeof(sw)))
		return 0;
	r = volstate_save(&v->vs, &sw, err);
	if (r)
		return r;
	pthread_mutex_lock(&v->lock);
	v->vs.sw = sw;
	pthread_mutex_unlock(&v->lock);
	return 0;
}

int volume_save_switches(struct volume *v,
			 void (*change)(struct volstate_switches *sw,
					const void *arg),
			 const void *arg, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);

	return save_switches(v, change, arg, err);
}

static void change_paused(struct volstate_switches *sw, const void *arg)
{
	sw->paused = *(const bool *)arg;
}

static int set_paused(struct volume *v, bool paused, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);
	int r = save_switches(v, change_paused, &paused, err);
	bool was;

	if (r)
		return r;
	pthread_mutex_lock(&v->lock);
	was = v->paused;
	v->paused = paused;
	pthread_mutex_unlock(&v->lock);
	if (was != paused)
		volume_tell(v, paused ? "pause-ordered" : "resume-ordered",
			    NULL, paused ? "shipping stops; tracking goes on" :
					   "shipping goes on");
	volume_wake(v);
	return 0;
}

int volume_pause(struct volume *v, struct err *err)
{
	return set_paused(v, true, err);
}

int volume_resume(struct volume *v, struct err *err)
{
	return set_paused(v, false, err);
}

static void change_resync(struct volstate_switches *sw, const void *arg)
{
	(void)arg;
	sw->resync = true;
}

/* Wish and switch are one to resync_done(), which takes save_lock too. */
int volume_resync(struct volume *v, struct err *err)
{
	LOCK_SCOPE(&v->save_lock);
	int r = save_switches(v, change_resync, NULL, err);

	if (r)
		return r;
	pthread_mutex_lock(&v->lock);
	v->resync_wanted = true;
	pthread_mutex_unlock(&v->lock);
	volume_tell(v, "resync-ordered", NULL,
		    "the device is taken as it is, everything is compared");
	volume_wake(v);
	return 0;
}
