// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's verification: ordered by another thread, done by the worker in
 * slices between its cuts, told in status.
 *
 * Invariants:
 * - A slice is short, and there is at least one between two cuts: cuts go on
 *   at their interval, and so does the verification beside a busy volume.
 * - With a read-limit, half of it is left to the cuts.
 * - A difference is in the state directory before the caller hears of it, and
 *   stays there until a resync has been done.
 *
 * A job belongs to the worker from the moment it is ordered; a caller who does
 * not wait any more only says so. Nothing of a job survives the process.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/verify.h"
#include "source/volume_internal.h"

#define SLICE_BLOCKS 256U
#define TURN_NS (20 * NSEC_PER_MSEC)
#define SLICES_PER_SECOND 50U		/* of a read-limit */
#define NO_SESSION_NS (30 * NSEC_PER_SEC)
#define STALLED_NS (60 * NSEC_PER_SEC)
#define PROGRESS_NS (250 * NSEC_PER_MSEC)

struct verify_job {
	/* Under the volume's lock. */
	bool cancelled;			/* nobody waits: the worker frees it */
	bool done;
	int result;
	struct err err;
	struct verify_report report;

	/* The worker's. */
	bool has_noted;			/* a difference, in the state */
	int64_t began_wall_ns;		/* with comparing */
	uint64_t resets;		/* of what is proven, then */
	uint64_t progress, moved_ns;	/* when it last came on */
	uint64_t session_ns;		/* when there last was a session */
	uint64_t unsettled_ns;		/* since when it waits for that; 0 */
	uint64_t next_slice_ns;
};

static uint64_t now_ns(const struct volume *v)
{
	return clock_mono_ns(v->env.clock);
}

/* ---- the caller's side ---- */

static int wait_for_job(struct volume *v, const struct verify_order *o,
			const struct verify_job *job)
{
	struct timespec slice;
	int r = 0;

	while (!job->done && !v->cancel && !r) {
		uint64_t done = job->report.compared_bytes;
		uint64_t total = job->report.size_bytes;

		clock_deadline(PROGRESS_NS, &slice);
		if (pthread_cond_timedwait(&v->changed, &v->lock, &slice) !=
			    ETIMEDOUT || job->done || !o->progress)
			continue;
		pthread_mutex_unlock(&v->lock);
		r = o->progress(o->arg, done, total);
		pthread_mutex_lock(&v->lock);
	}
	return v->cancel && !r ? -ECANCELED : r;
}

static void wake_worker(struct volume *v)
{
	uint64_t one = 1;

	if (write(v->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("volume %s: wake: %m", v->cfg.name);
}

static int may_begin(const struct volume *v, struct err *err)
{
	if (v->cancel)
		return err_set(err, -ECANCELED, "stopping", v->cfg.name,
			       "the daemon is stopping");
	if (v->verify_job)
		return err_set(err, -EBUSY, "busy", v->cfg.name,
			       "verify: another one is under way");
	if (v->paused) {
		err_set(err, -EAGAIN, "paused", v->cfg.name,
			"verify: shipping is paused, there is no session");
		return err_remedy(err, "understudyctl resume %s first",
				  v->cfg.name);
	}
	if (!v->vs.acked.valid)
		return err_set(err, -ENOENT, "no-point", v->cfg.name,
			       "verify: there is no point to compare with yet");
	return 0;
}

int volume_verify(struct volume *v, const struct verify_order *order,
		  struct verify_report *out, struct err *err)
{
	LOCK_SCOPE(&v->lock);
	struct verify_job *job;
	int r = may_begin(v, err);

	if (r)
		return r;
	job = calloc(1, sizeof(*job));
	if (!job)
		return err_sys(err, -ENOMEM, "no-memory", v->cfg.name,
			       "verify");
	v->verify_job = job;
	wake_worker(v);
	r = wait_for_job(v, order, job);
	if (!job->done) {
		job->cancelled = true;
		wake_worker(v);
		return err_sys(err, r, "cancelled", v->cfg.name, "verify");
	}
	r = job->result;
	*out = job->report;
	if (r)
		err_copy(err, &job->err);
	free(job);
	return r;
}

/* ---- the worker's side ---- */

static void change_differs(struct volstate_switches *sw, const void *arg)
{
	(void)arg;
	sw->differs = true;
}

/* Kept before anybody is told: it must not be gone with this process. */
static void note_differences(struct volume *v, struct verify_job *job,
			     const struct verify_report *rep)
{
	struct err err = ERR_INIT;

	if (!rep->differing_bytes || job->has_noted)
		return;
	job->has_noted = true;
	if (volume_save_switches(v, change_differs, NULL, &err))
		log_failure(LOG_LEVEL_ERR, &err);
	log_err("volume %s: device and point %llu at replica %s differ, first "
		"at offset=%llu (%s)", v->cfg.name,
		(unsigned long long)rep->diffs[0].seq, v->cfg.replica.name,
		(unsigned long long)rep->diffs[0].first << US_BLOCK_SHIFT,
		verify_what_name(rep->diffs[0].what));
	volume_tell(v, "differs", verify_what_name(rep->diffs[0].what),
		    "device and point %llu at replica %s differ",
		    (unsigned long long)rep->diffs[0].seq,
		    v->cfg.replica.name);
	{
		LOCK_SCOPE(&v->lock);

		/* Also when it could not be kept. */
		v->vs.sw.differs = true;
	}
	volume_audit_reset(v);
	volume_publish(v);
}

/* What is known so far, for whoever waits. */
static void publish_report(struct volume *v, struct verify_job *job)
{
	struct verify_report rep;

	verify_get_report(v->verify, &rep);
	note_differences(v, job, &rep);
	LOCK_SCOPE(&v->lock);
	job->report = rep;
}

/* err NULL: it came to its end. */
static void finish(struct volume *v, struct verify_job *job,
		   const struct err *err)
{
	if (v->verify)
		publish_report(v, job);
	volume_turn_leave(v, v->verify);
	verify_free(v->verify);
	v->verify = NULL;
	LOCK_SCOPE(&v->lock);
	v->verify_job = NULL;
	if (job->cancelled) {
		free(job);
		return;
	}
	if (err) {
		job->result = err->num;
		err_copy(&job->err, err);
	}
	job->done = true;
	pthread_cond_broadcast(&v->changed);
}

static struct verify_job *current_job(struct volume *v, bool *cancelled)
{
	LOCK_SCOPE(&v->lock);

	*cancelled = v->verify_job && v->verify_job->cancelled;
	return v->verify_job;
}

void volume_verify_interrupt(struct volume *v, const char *code,
			     const char *why)
{
	struct err err = ERR_INIT;
	bool cancelled;
	struct verify_job *job = current_job(v, &cancelled);

	if (!job)
		return;
	err_set(&err, -EINTR, code, v->cfg.name, "verify: %s", why);
	err_remedy(&err, "run it again when `understudyctl status` shows the "
			 "volume protected");
	finish(v, job, &err);
}

static bool is_sound(void *arg)
{
	return volume_device_is_sound(arg);
}

static int begin(struct volume *v, struct verify_job *job, struct err *err)
{
	const struct verify_config c = {
		.tracker = v->tracker,
		.reader = v->reader,
		.cut = v->cut,
		.key = &v->vs.key,
		.volume = &v->vs.uuid,
		.ask = volume_turn_ask,
		.sound = is_sound,
		.arg = v,
	};

	if (!(link_accept(v->link)->features & WIRE_FEATURE_VERIFY)) {
		err_set(err, -EOPNOTSUPP, "unsupported", v->cfg.name,
			"verify: replica %s does not know how",
			v->cfg.replica.name);
		return err_remedy(err, "upgrade the replica");
	}
	log_info("volume %s: verify begins", v->cfg.name);
	job->began_wall_ns = clock_wall_ns(v->env.clock);
	job->resets = v->audit_resets;
	return verify_new(&c, &v->verify, err);
}

/* Blocks in one slice. */
static uint32_t slice_blocks(const struct volume *v)
{
	uint64_t limit = v->cfg.read_limit_bytes;

	if (!limit)
		return SLICE_BLOCKS;
	return (uint32_t)MIN(MAX(limit / SLICES_PER_SECOND >> US_BLOCK_SHIFT,
				 1ULL), (uint64_t)SLICE_BLOCKS);
}

/* Half the limit is for the cuts: as long again as the slice was paid for. */
static void schedule_slice(const struct volume *v, struct verify_job *job,
			   uint64_t bytes)
{
	uint64_t limit = v->cfg.read_limit_bytes;

	if (limit)
		job->next_slice_ns = now_ns(v) + 2 * bytes * NSEC_PER_SEC /
							 limit;
}

/* Slices until a cut is due; an enum verify_step, or negative errno. */
static int do_slices(struct volume *v, struct verify_job *job,
		     struct err *err)
{
	uint64_t end = MIN(v->next_cut_ns, now_ns(v) + TURN_NS);
	uint64_t before;
	int r;

	do {
		if (now_ns(v) < job->next_slice_ns)
			return VERIFY_WAITS;
		before = v->reader->bytes_read;
		r = verify_slice(v->verify, slice_blocks(v), err);
		schedule_slice(v, job, v->reader->bytes_read - before);
	} while (r == VERIFY_WORKED && now_ns(v) < end);
	return r;
}

/* As good as a lap of the audit; but not when a loss came to light since. */
static void note_proven(struct volume *v, const struct verify_job *job)
{
	struct verify_report rep;

	verify_get_report(v->verify, &rep);
	if (!rep.differing_bytes && !rep.skipped_bytes &&
	    job->resets == v->audit_resets)
		volume_audit_proven(v, job->began_wall_ns);
}

static int slices_failed(struct volume *v, struct verify_job *job, int r,
			 bool in_meeting, struct err *err)
{
	bool reader = !err->num;

	if (v->verify_ask_failed)
		return r;		/* the session's; it goes on with the next */
	err_sys(err, r, "reader-failed", v->cfg.device, "read");
	finish(v, job, err);
	/* (In an attempt its next round will find the same.) */
	if (reader && !in_meeting)
		volume_device_drop(v, false);
	err_clear(err);
	return 0;
}

/* No point has been made for long, and nothing else is left to compare. */
static bool is_stalled(struct volume *v, struct verify_job *job,
		       bool in_meeting)
{
	uint64_t now = now_ns(v), progress = verify_progress(v->verify);

	/* A comparison of everything takes its time, and ends; and so does what
	 * another member of a group has to read. */
	if (progress != job->progress || v->phase == PHASE_COMPARING ||
	    in_meeting) {
		job->progress = progress;
		job->moved_ns = now;
	}
	return now - job->moved_ns > STALLED_NS;
}

static void no_session(struct volume *v, struct verify_job *job)
{
	struct err err = ERR_INIT;
	struct volume_status st;

	if (now_ns(v) - job->session_ns < NO_SESSION_NS)
		return;
	volume_get_status(v, &st);
	err_set(&err, -ENOTCONN, *st.reason ? st.reason : "link-down",
		v->cfg.name, "verify: no session with replica %s%s%s",
		v->cfg.replica.name, *st.message ? ": " : "", st.message);
	if (*st.remedy)
		err_remedy(&err, "%s", st.remedy);
	finish(v, job, &err);
}

/* Told at once when it is not to be known, or after a while. */
static void not_settled(struct volume *v, struct verify_job *job)
{
	bool counted = blkdev_counts_requests(&v->dev);
	struct err err = ERR_INIT;

	job->moved_ns = now_ns(v);
	if (!job->unsettled_ns)
		job->unsettled_ns = now_ns(v);
	if (counted && now_ns(v) - job->unsettled_ns < NO_SESSION_NS)
		return;
	err_set(&err, -EBUSY, "not-settled", v->cfg.name,
		"verify: writes from before it was tracked may be under way "
		"still%s", counted ? "" : ": the disk does not count them");
	err_remedy(&err, counted ? "run it again when the device was at rest "
				   "for a moment" :
				   "echo 1 > /sys/block/DISK/queue/iostats");
	finish(v, job, &err);
}

/* Are there both sides of a comparison? */
static bool may_compare(struct volume *v, struct verify_job *job)
{
	if (!v->link || !v->cut) {
		no_session(v, job);
		return false;
	}
	job->session_ns = now_ns(v);
	/* Writes from before the tracking have no mark until they end. */
	if (!v->settled) {
		not_settled(v, job);
		return false;
	}
	job->unsettled_ns = 0;
	/* What the audit has asked is answered first. */
	return volume_turn_may_ask(v, v->verify);
}

/* 1 when there is more to do at once; 0; negative errno ends the session. */
static int step(struct volume *v, bool in_meeting, struct err *err)
{
	struct err why = ERR_INIT;
	bool cancelled;
	struct verify_job *job = current_job(v, &cancelled);
	int r;

	if (!job)
		return 0;
	if (cancelled) {
		log_info("volume %s: verify is called off", v->cfg.name);
		finish(v, job, NULL);
		return 0;
	}
	if (!job->session_ns)
		job->session_ns = job->moved_ns = now_ns(v);
	if (!may_compare(v, job))
		return 0;
	if (!v->verify && begin(v, job, &why)) {
		finish(v, job, &why);
		return 0;
	}
	v->verify_ask_failed = false;
	r = do_slices(v, job, err);
	if (r < 0)
		return slices_failed(v, job, r, in_meeting, err);
	publish_report(v, job);
	if (is_stalled(v, job, in_meeting) && r == VERIFY_WAITS)
		verify_give_up(v->verify);
	if (r == VERIFY_DONE) {
		log_info("volume %s: verify has ended", v->cfg.name);
		note_proven(v, job);
		finish(v, job, NULL);
	}
	return r == VERIFY_WORKED;
}

int volume_verify_step(struct volume *v, struct err *err)
{
	return step(v, false, err);
}

int volume_verify_in_meeting(struct volume *v, struct err *err)
{
	return step(v, true, err);
}

void volume_verify_rested(struct volume *v, uint64_t ns)
{
	bool cancelled;
	struct verify_job *job = current_job(v, &cancelled);

	if (job && job->moved_ns)
		job->moved_ns = MIN(job->moved_ns + ns, now_ns(v));
}

uint64_t volume_verify_when(struct volume *v, uint64_t when)
{
	bool cancelled;
	struct verify_job *job = current_job(v, &cancelled);

	if (!job || !v->verify || job->next_slice_ns <= now_ns(v))
		return when;
	return MIN(when, job->next_slice_ns);
}
