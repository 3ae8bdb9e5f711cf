// SPDX-License-Identifier: Apache-2.0
/*
 * Holding a volume's writers for a moment. Who freezes and thaws is the helper
 * (freeze/freezer.h): here is decided what, whether it may be, and what a point
 * that was made meanwhile may be called.
 *
 * A point is `frozen` when
 * - every filesystem that lies on the volume was frozen without a gap from
 *   before its flip until after it, as the helper's clock and ours have it
 *   (they are one), and each thaw found what it thawed still frozen;
 * - at the flip there were no other filesystems on it than those, nor was a
 *   part of it in the hands of somebody whom we do not see.
 * It is `app` when in addition the user's program had said before that the
 * application stands still, and was not told to let it go until after. What
 * the program says cannot be checked. Everything else is `crash`.
 *
 * Whoever writes to the device itself is not held by a frozen filesystem: each
 * read is checked as ever, and a round that conflicts does not count.
 *
 * A device-mapper volume could be suspended, filesystem or not. That is not done:
 * its readers, ourselves, would wait too, so that only a flip fits in and a hot
 * block stays one; its resume brings in whatever table somebody has loaded
 * meanwhile, and is itself the sign by which another table is noticed, after
 * which everything is compared; and the point would be of kind crash.
 *
 * The worker's thread. What outlives the daemon is the helper's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"

/* For writing back what is dirty; nobody is held meanwhile. */
#define SYNC_PATIENCE_NS (60 * NSEC_PER_SEC)
/* Of all time, contention holds writers at most one part in this. */
#define HOLD_SHARE 10U

/* ---- may it be? ---- */

static int refuse(struct volume *v, const char *what, struct err *err)
{
	err_set(err, -EPERM, "quiesce-refused", v->cfg.name,
		"quiesce: %s lies on it: who has to thaw would be frozen too",
		what);
	return err_remedy(err, "put %s on another filesystem, or set quiesce "
			  "= none", what);
}

/* 0; -EPERM; other negative errno: an error is not a no. */
static int must_lie_elsewhere(struct volume *v, const char *what,
			      const char *path, struct err *err)
{
	int r = blkdev_holds_path(v->dev.disk_major, v->dev.disk_minor,
				  v->dev.major, v->dev.minor, path);

	if (r == 1)
		return refuse(v, what, err);
	/* A filesystem that does not say where it lies is on no device that we
	 * freeze, as far as anybody can know. */
	if (r < 0 && r != -EOPNOTSUPP)
		return err_sys(err, r, "quiesce-failed", path,
			       "does it lie on the volume?");
	return 0;
}

static int link_must_lie_elsewhere(struct volume *v, const char *what,
				   const char *link, struct err *err)
{
	struct stat st;
	char path[512];
	ssize_t n = readlink(link, path, sizeof(path) - 1);

	if (n < 0)
		return 0;
	path[n] = 0;
	/* "socket:[123]", a terminal, a pipe. */
	if (path[0] != '/' || stat(link, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return must_lie_elsewhere(v, what, path, err);
}

static int check_places(struct volume *v, struct err *err)
{
	char program[512];
	int r = freezer_program(program, sizeof(program) - 1);

	if (r < 0)
		return err_sys(err, r, "quiesce-failed", "understudy-freeze",
			       "where is it?");
	program[r] = 0;
	r = must_lie_elsewhere(v, "the daemon's state", v->env.state_dir, err);
	if (!r)
		r = must_lie_elsewhere(v, "the helper", program, err);
	if (!r)
		r = link_must_lie_elsewhere(v, "the daemon", "/proc/self/exe",
					    err);
	if (!r)
		r = link_must_lie_elsewhere(v, "the daemon's log",
					    "/proc/self/fd/2", err);
	if (!r)
		r = must_lie_elsewhere(v, "/run/understudy", "/run/understudy",
				       err);
	return r;
}

/* ---- what ---- */

static int find_fs(const struct volume *v, struct blkdev_fs *fs,
		   struct err *err)
{
	const struct devno no = { v->dev.major, v->dev.minor };
	int r = blkdev_fs_find(&blkdev_host, no, fs);

	return r < 0 ? err_sys(err, r, "quiesce-failed", v->cfg.name,
			       "quiesce: find the filesystems on it") : 0;
}

static int nothing_to_freeze(struct volume *v, struct err *err)
{
	err_set(err, -ENOENT, "nothing-to-freeze", v->cfg.name,
		"quiesce: no filesystem on it is mounted in sight of the "
		"daemon");
	return err_remedy(err, "quiesce = hook:/path, with a program that "
			  "holds whoever writes to it");
}

static int fill_order(struct volume_hold *h, struct freeze_order *o,
		      struct err *err)
{
	const struct blkdev_fs *fs = &h->fs;
	struct volume *v = h->v;
	uint32_t i;
	int r = 0;

	freeze_order_init(o, v->cfg.name,
			  h->has_hook ? v->cfg.quiesce_hook : NULL,
			  v->cfg.quiesce_limit_ns);
	for (i = 0; i < fs->n_mounts && !r; i++)
		r = freeze_order_mount(o, fs->mounts[i].fs,
				       fs->mounts[i].point, fs->mounts[i].id);
	return r < 0 ? err_sys(err, r, "quiesce-failed", v->cfg.name,
			       "quiesce: name what is to be frozen") : 0;
}

/* While the helper writes back: the session lives on. */
static bool wait_no_longer(void *arg)
{
	struct volume *v = arg;
	struct err err = ERR_INIT;

	return volume_cancelled(v) || (v->link && link_pump(v->link, 0, &err));
}

int volume_quiesces(const struct volume *v, struct err *err)
{
	if (v->cfg.quiesce != QUIESCE_NONE)
		return 0;
	err_set(err, -EOPNOTSUPP, "no-quiesce", v->cfg.name,
		"sync: nothing says how its writers are held");
	err_remedy(err, "set `quiesce` of the %s to freeze or hook:/path",
		   v->cfg.group.name[0] ? "group" : "volume");
	return -EOPNOTSUPP;
}

int volume_hold_look(struct volume *v, struct volume_hold *h, struct err *err)
{
	int r;

	memset(h, 0, sizeof(*h));
	h->v = v;
	h->has_hook = v->cfg.quiesce == QUIESCE_HOOK;
	h->limit_ns = v->cfg.quiesce_limit_ns;
	r = check_places(v, err);
	if (!r)
		r = find_fs(v, &h->fs, err);
	if (!r && h->fs.hidden[0] && !h->has_hook)
		r = err_set(err, -EBUSY, "quiesce-hidden", v->cfg.name,
			    "quiesce: %s: nobody here can freeze that",
			    h->fs.hidden);
	if (!r && !h->fs.n_fs && !h->has_hook)
		r = nothing_to_freeze(v, err);
	return r;
}

int volume_hold_prepare(struct volume *v, struct volume_hold *h,
			struct err *err)
{
	_cleanup_free_ struct freeze_order *o = malloc(sizeof(*o));
	int r = volume_hold_look(v, h, err);

	if (!r && !o)
		r = err_sys(err, -ENOMEM, "no-memory", v->cfg.name,
			    "quiesce");
	if (!r)
		r = fill_order(h, o, err);
	if (!r)
		r = freezer_prepare(o, SYNC_PATIENCE_NS, wait_no_longer, v,
				    &h->hold, err);
	return r;
}

int volume_hold_again(struct volume_hold *h, struct err *err)
{
	return freezer_again(h->hold, SYNC_PATIENCE_NS, wait_no_longer, h->v,
			     err);
}

/* ---- holding ---- */

int volume_hold_take(struct volume_hold *h, struct err *err)
{
	return freezer_hold(h->hold, err);
}

bool volume_hold_is_held(const struct volume_hold *h)
{
	return h->hold && freezer_is_held(h->hold);
}

static void count_hold(struct volume *v, uint64_t held_ns)
{
	LOCK_SCOPE(&v->lock);

	v->shown.holds++;
	v->shown.held_ns += held_ns;
	v->shown.last_held_ns = held_ns;
}

void volume_hold_look_again(struct volume_hold *h)
{
	struct err err = ERR_INIT;
	struct blkdev_fs now;

	if (find_fs(h->v, &now, &err)) {
		h->is_stale = true;
		return;
	}
	h->is_stale = !blkdev_fs_same(&h->fs, &now);
	blkdev_fs_free(&now);
}

static void tell_end(struct volume *v, const struct freeze_result *res,
		     const struct err *err)
{
	if (err->num) {
		log_failure(LOG_LEVEL_ERR, err);
		volume_tell(v, "quiesce-failed", err->code, "%s",
			    err->message);
		return;
	}
	if (!res->thaw_hook_failed)
		return;
	log_err("volume %s: quiesce: %s thaw failed", v->cfg.name,
		v->cfg.quiesce_hook);
	volume_tell(v, "quiesce-failed", "hook-failed",
		    "%s thaw failed, or did not end within %llu s",
		    v->cfg.quiesce_hook,
		    (unsigned long long)(FREEZE_HOOK_THAW_NS / NSEC_PER_SEC));
}

void volume_hold_release(struct volume_hold *h, struct freeze_result *res)
{
	struct err err = ERR_INIT;

	(void)freezer_release(TAKE_PTR(h->hold), res, &err);
	tell_end(h->v, res, &err);
}

void volume_hold_was(struct volume_hold *h, const struct freeze_result *res)
{
	h->is_whole = res->is_whole;
	h->frozen_ns = res->frozen_ns;
	h->thaw_ns = res->thaw_ns;
	h->held_ns = res->held_ns;
	h->why = res->why;
	if (res->frozen_ns)
		count_hold(h->v, res->held_ns);
}

void volume_hold_end(struct volume_hold *h)
{
	struct freeze_result res;
	struct volume *v = h->v;

	if (!v)
		return;
	if (h->hold) {
		volume_hold_release(h, &res);
		volume_hold_was(h, &res);
		if (res.frozen_ns)
			volume_hold_look_again(h);
		v->next_hold_ns = clock_mono_ns(v->env.clock) +
				  (HOLD_SHARE - 1) * res.held_ns;
	}
	blkdev_fs_free(&h->fs);
}

enum point_kind volume_hold_kind(const struct volume_hold *h,
				 const struct cut_round *round)
{
	if (!h->is_whole || h->is_stale ||
	    round->flip_mono_ns < h->frozen_ns ||
	    round->flipped_mono_ns > h->thaw_ns)
		return POINT_CRASH;
	return h->has_hook ? POINT_APP : POINT_FROZEN;
}

void volume_hold_refuse(struct volume *v, const struct err *why)
{
	struct sync_waiter **p, *w;

	if (strcmp(v->hold_told, why->code) != 0)
		log_failure(LOG_LEVEL_WARN, why);
	(void)snprintf(v->hold_told, sizeof(v->hold_told), "%s", why->code);
	v->next_hold_ns = MAX(v->next_hold_ns,
			      clock_mono_ns(v->env.clock) + NSEC_PER_SEC);
	volume_tell(v, "quiesce-failed", why->code, "%s", why->message);
	LOCK_SCOPE(&v->lock);
	v->shown.holds_failed++;
	for (p = &v->waiters; (w = *p);) {
		if (!w->taken || !w->quiesce) {
			p = &w->next;
			continue;
		}
		w->result = why->num;
		err_copy(&w->err, why);
		w->done = true;
		*p = w->next;
	}
	pthread_cond_broadcast(&v->changed);
}
