// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's audit: when it may work, what is kept of it, and what follows
 * when it finds something.
 *
 * Invariants:
 * - It works while the volume is protected and nothing else compares; a cut
 *   that is due comes first, but for a slice a second.
 * - What is shown as proven is so. A loss, whoever finds it, takes it back
 *   before anything else is done about it.
 * - A difference means that a write was missed and nobody knows how many more:
 *   everything is compared, as after a loss that the tracker tells of.
 *
 * The volume's worker.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/units.h"
#include "source/volume_internal.h"

/* Free time before a cut that is enough for a slice. */
#define SLICE_NS (5 * NSEC_PER_MSEC)
#define STARVED_NS NSEC_PER_SEC
#define SAVE_RETRY_NS (10 * NSEC_PER_SEC)

static uint64_t now_ns(const struct volume *v)
{
	return clock_mono_ns(v->env.clock);
}

/* ---- what is kept ---- */

static void show(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	v->audit_proven_wall_ns = v->audit_mark.proven_wall_ns;
}

static void change_mark(struct volstate_switches *sw, const void *arg)
{
	const struct audit_mark *m = arg;

	/* Member by member: what lies between them is compared too. */
	sw->audit.proven_wall_ns = m->proven_wall_ns;
	sw->audit.lap_wall_ns = m->lap_wall_ns;
	sw->audit.next_block = m->next_block;
	sw->audit.size_bytes = m->size_bytes;
	sw->audit.is_partial = m->is_partial;
}

static void save(struct volume *v)
{
	struct err err = ERR_INIT;

	v->audit_save_ns = UINT64_MAX;
	if (!volume_save_switches(v, change_mark, &v->audit_mark, &err))
		return;
	v->audit_save_ns = now_ns(v) + SAVE_RETRY_NS;
	err_done(&err, "what the audit has proven is not remembered yet");
	log_failure(LOG_LEVEL_WARN, &err);
}

void volume_audit_reset(struct volume *v)
{
	v->audit_resets++;
	volume_audit_drop(v);
	memset(&v->audit_mark, 0, sizeof(v->audit_mark));
	show(v);
	save(v);
}

/* What a device has grown by was compared with nothing. */
static bool is_of_another_size(const struct volume *v)
{
	return v->audit_mark.lap_wall_ns &&
	       v->audit_mark.size_bytes != v->dev.n_sectors << 9;
}

void volume_audit_begin(struct volume *v, bool dirty)
{
	pthread_mutex_lock(&v->lock);
	v->audit_mark = v->vs.sw.audit;
	pthread_mutex_unlock(&v->lock);
	v->audit_save_ns = UINT64_MAX;
	/* Also when the process died before it could be taken back. */
	if (dirty || is_of_another_size(v) ||
	    cut_pending_blocks(v->cut) == v->tracker->n_blocks)
		volume_audit_reset(v);
	show(v);
}

void volume_audit_drop(struct volume *v)
{
	v->audit_bytes = volume_audit_bytes(v);
	v->audit_laps = volume_audit_laps(v);
	if (v->audit && audit_window(v->audit))
		volume_turn_leave(v, audit_window(v->audit));
	audit_free(v->audit);
	v->audit = NULL;
}

uint64_t volume_audit_bytes(const struct volume *v)
{
	return v->audit_bytes + (v->audit ? audit_bytes_read(v->audit) : 0);
}

uint64_t volume_audit_laps(const struct volume *v)
{
	return v->audit_laps + (v->audit ? audit_laps(v->audit) : 0);
}

void volume_audit_proven(struct volume *v, int64_t began_wall_ns)
{
	int64_t now = clock_wall_ns(v->env.clock);

	/* The lap under way goes on: it may be further than nowhere. */
	v->audit_mark.proven_wall_ns = MAX(v->audit_mark.proven_wall_ns,
					   MIN(began_wall_ns, now));
	if (!v->audit_mark.lap_wall_ns)
		v->audit_mark.lap_wall_ns = v->audit_mark.proven_wall_ns;
	v->audit_mark.size_bytes = v->dev.n_sectors << 9;
	volume_audit_drop(v);
	show(v);
	save(v);
}

/* ---- what was found ---- */

static void tell_found(struct volume *v, const struct verify_report *rep,
		       const char *since)
{
	const struct verify_diff *d = &rep->diffs[0];
	char found[24];

	size_format(rep->differing_bytes, found);
	log_err("volume %s: audit: device and point %llu at replica %s differ, "
		"first at offset=%llu (%s), %s so far: everything is compared",
		v->cfg.name, (unsigned long long)d->seq, v->cfg.replica.name,
		(unsigned long long)d->first << US_BLOCK_SHIFT,
		verify_what_name(d->what), found);
	volume_tell(v, "audit-differs", verify_what_name(d->what),
		    "device and point %llu at replica %s differ, first at "
		    "offset=%llu, %s so far; points made since %s may lack "
		    "writes; everything is compared",
		    (unsigned long long)d->seq, v->cfg.replica.name,
		    (unsigned long long)d->first << US_BLOCK_SHIFT, found,
		    since);
}

static void say_phase(struct volume *v, const struct verify_report *rep)
{
	struct err why = ERR_INIT;

	err_set(&why, -ESTALE, "audit-differs", v->cfg.name,
		"the audit found a block that is not as point %llu has it "
		"(%s, offset=%llu): everything is compared",
		(unsigned long long)rep->diffs[0].seq,
		verify_what_name(rep->diffs[0].what),
		(unsigned long long)rep->diffs[0].first << US_BLOCK_SHIFT);
	err_remedy(&why, "look for what writes to %s past this host's block "
			 "layer, and into the kernel log", v->cfg.device);
	volume_set_phase(v, PHASE_COMPARING, &why);
}

/*
 * The block becomes pending, and all others with it: what was missed once may
 * have been missed elsewhere. Each is read, and what differs from the replica's
 * copy is in the next point.
 */
static int differs(struct volume *v, struct err *err)
{
	struct verify_report rep;
	char since[32] = "the first one";
	int r;

	/* The replica is to read back what it has, and what this side knows of
	 * it from before is not to be believed: a new session. */
	audit_get_report(v->audit, &rep);
	if (v->audit_mark.proven_wall_ns)
		time_format_utc(v->audit_mark.proven_wall_ns, since);
	volume_audit_reset(v);
	{
		LOCK_SCOPE(&v->lock);

		v->shown.audit_differing_bytes += rep.differing_bytes;
	}
	tell_found(v, &rep, since);
	r = cut_all_dirty(v->cut, err);
	if (r)
		return r;
	volume_session_close(v, true);
	v->next_dial_ns = 0;
	v->audit_healing = true;
	say_phase(v, &rep);
	return 0;
}

void volume_audit_healed(struct volume *v, uint64_t seq)
{
	if (!v->audit_healing)
		return;
	v->audit_healing = false;
	volume_tell(v, "audit-healed", NULL, "point %llu has what the device "
		    "has, after everything was compared",
		    (unsigned long long)seq);
}

/* ---- its work ---- */

static bool is_sound(void *arg)
{
	return volume_device_is_sound(arg);
}

static int begin(struct volume *v, struct err *err)
{
	const struct audit_config c = {
		.verify = {
			.tracker = v->tracker,
			.reader = v->reader,
			.cut = v->cut,
			.key = &v->vs.key,
			.volume = &v->vs.uuid,
			.ask = volume_turn_ask,
			.sound = is_sound,
			.arg = v,
		},
		.clock = v->env.clock,
		.lap_ns = v->cfg.audit_ns,
		.read_limit_bytes = v->cfg.read_limit_bytes,
	};

	return audit_new(&c, &v->audit_mark, &v->audit, err);
}

static bool is_verifying(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	return v->verify_job != NULL;
}

static bool may_work(struct volume *v)
{
	uint64_t now = now_ns(v);

	/* Writes from before the tracking have no mark until they end. */
	if (!v->cfg.audit_ns || !v->link || !v->cut || !v->settled ||
	    v->resync || is_verifying(v))
		return false;
	if (!(link_accept(v->link)->features & WIRE_FEATURE_VERIFY) ||
	    !volume_is_protected(v))
		return false;
	return now + SLICE_NS < v->next_cut_ns ||
	       now - v->audit_slice_ns > STARVED_NS;
}

static int step_failed(struct volume *v, int r, struct err *err)
{
	if (v->verify_ask_failed)
		return r;		/* the session's */
	if (!err->num) {
		/* The reader is of no use: looked at anew with the device. */
		err_sys(err, r, "reader-failed", v->cfg.device, "audit");
		log_failure(LOG_LEVEL_ERR, err);
		volume_device_drop(v, false);
	} else if (strcmp(err->code, "read-error") != 0) {
		/* Out of memory: another time. */
		log_failure(LOG_LEVEL_WARN, err);
		volume_audit_drop(v);
		v->audit_slice_ns = now_ns(v);
	} else if (!v->audit_unreadable) {
		v->audit_unreadable = true;
		log_failure(LOG_LEVEL_ERR, err);
		volume_tell(v, "audit-unreadable", err->code, "%s",
			    err->message);
	}
	err_clear(err);
	return 0;
}

static void further(struct volume *v)
{
	audit_get_mark(v->audit, &v->audit_mark);
	v->audit_unreadable = false;
	show(v);
	save(v);
}

int volume_audit_step(struct volume *v, struct err *err)
{
	int r = 0;

	if (now_ns(v) >= v->audit_save_ns)
		save(v);
	if (v->cut && is_of_another_size(v))
		volume_audit_reset(v);
	if (!may_work(v))
		return 0;
	if (!v->audit)
		r = begin(v, err);
	if (r)
		return step_failed(v, r, err);
	if (!volume_turn_may_ask(v, audit_window(v->audit)))
		return 0;
	v->audit_slice_ns = now_ns(v);
	v->verify_ask_failed = false;
	r = audit_step(v->audit, err);
	if (r < 0)
		return step_failed(v, r, err);
	if (r == AUDIT_DIFFERS)
		return differs(v, err);
	if (r == AUDIT_FURTHER)
		further(v);
	return r != AUDIT_RESTS && audit_when(v->audit) <= now_ns(v);
}

uint64_t volume_audit_when(struct volume *v, uint64_t when)
{
	uint64_t next = v->audit ? audit_when(v->audit) : 0;

	return next > now_ns(v) && may_work(v) ? MIN(when, next) : when;
}
