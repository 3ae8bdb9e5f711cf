// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's device, tracker, reader and cut engine: set up, verified before
 * each point, taken down. The worker's thread only.
 *
 * Invariants:
 * - Nothing is read from a device that is not the one the volume was made on.
 * - A tracker that is not continuous with the last one means: all dirty.
 * - Every loss the tracker tells of has its consequence before a point.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "source/volume_internal.h"

#define FALLBACK_MEMORY (128ULL << 20)

static void change_device(struct volstate_switches *sw, const void *arg)
{
	sw->has_device = true;
	sw->device = *(const struct blkdev_id *)arg;
}

/* A name that both know, or that this process has had it open all the time:
 * more than that another device of that kind is there. */
static bool is_surely_the_same(const struct volume *v,
			       const struct blkdev_id *a)
{
	const struct blkdev_id *b = &v->dev.id;

#define BOTH_SAY(f) (a->f[0] && !strcmp(a->f, b->f))
	return BOTH_SAY(wwn) || BOTH_SAY(serial) || BOTH_SAY(partuuid) ||
	       BOTH_SAY(dm_uuid) || BOTH_SAY(backing_file) ||
	       (v->known_diskseq && v->known_diskseq == v->dev.diskseq);
#undef BOTH_SAY
}

/*
 * What was there is there, and goes on being tracked; what has come with the
 * growth is read. Points keep the size that they were made with.
 */
static int accept_growth(struct volume *v, uint64_t was, struct err *err)
{
	/* With another table, whose other parts may be others too. */
	bool mapped = !strcmp(v->dev.id.kind, "dm");
	int r = volume_save_switches(v, change_device, &v->dev.id, err);

	if (r)
		return r;
	v->is_distrusted |= mapped;
	log_info("volume %s: has grown from %llu to %llu bytes", v->cfg.name,
		 (unsigned long long)was,
		 (unsigned long long)v->dev.id.size_bytes);
	volume_tell(v, "device-grown", NULL,
		    "from %llu to %llu bytes: goes on, %s",
		    (unsigned long long)was,
		    (unsigned long long)v->dev.id.size_bytes,
		    mapped ? "everything is compared, since its table is "
			     "another one" : "the new part is copied");
	return 0;
}

/*
 * A device that has been cut may come back to its size with another content,
 * also while no daemon runs: then nothing must be there that looks continuous.
 */
static void forget_tracking(struct volume *v)
{
	struct err err = ERR_INIT;
	struct tracker_host *host;

	/* Where it cannot be opened, nothing of it is adopted later either. */
	if (source_host_get(&v->env, &host, &err)) {
		log_failure(LOG_LEVEL_WARN, &err);
		v->is_distrusted = true;
		return;
	}
	tracker_host_forget(host, &v->vs.uuid);
	source_host_put(false);
}

/* Is this the device the volume was made on? First sight makes it so. */
static int check_identity(struct volume *v, struct err *err)
{
	struct volstate_switches sw;
	struct blkdev_id now;
	char what[256];

	pthread_mutex_lock(&v->lock);
	sw = v->vs.sw;
	pthread_mutex_unlock(&v->lock);
	if (!sw.has_device || sw.resync)
		return volume_save_switches(v, change_device, &v->dev.id, err);
	now = v->dev.id;
	now.size_bytes = sw.device.size_bytes;
	if (blkdev_id_same(&sw.device, &now)) {
		if (now.size_bytes == v->dev.id.size_bytes)
			return 0;
		if (now.size_bytes < v->dev.id.size_bytes &&
		    is_surely_the_same(v, &sw.device))
			return accept_growth(v, now.size_bytes, err);
		forget_tracking(v);
		err_set(err, -EFBIG, "size-changed", v->cfg.device,
			"size was %llu bytes, is %llu: no point until it is "
			"compared again",
			(unsigned long long)now.size_bytes,
			(unsigned long long)v->dev.id.size_bytes);
	} else {
		blkdev_id_diff(&sw.device, &v->dev.id, what, sizeof(what));
		err_set(err, -ESTALE, "device-changed", v->cfg.device,
			"not the device of this volume: %s: nothing is read "
			"from it", what);
	}
	err_remedy(err, "understudyctl resync %s --yes %s", v->cfg.name,
		   v->cfg.name);
	return err->num;
}

/*
 * Each acknowledgement is then a write to the volume that wants the next point:
 * a volume that is never idle. Nothing is lost by it, so it is only told. A
 * filesystem that does not say where it lies is no cause to.
 */
static void look_for_state(struct volume *v)
{
	int r = blkdev_holds_path(v->dev.disk_major, v->dev.disk_minor,
				  v->dev.major, v->dev.minor,
				  v->env.state_dir);

	if (r < 0 && r != -EOPNOTSUPP)
		log_warn("volume %s: is state on it? %s", v->cfg.name,
			 strerrordesc_np(-r));
	LOCK_SCOPE(&v->lock);
	v->holds_state = r == 1;
}

static int open_device(struct volume *v, struct err *err)
{
	int r = blkdev_open(v->cfg.device, &v->dev, err);

	if (r)
		return r;
	v->dev_open = true;
	r = check_identity(v, err);
	if (!r)
		v->known_diskseq = v->dev.diskseq;
	if (!r)
		r = blkdev_admit(&v->dev, err);
	if (!r)
		r = blkdev_remap_open(&v->dev, &v->remap, err);
	if (!r)
		look_for_state(v);
	return r;
}

static int pick_shift(struct volume *v, uint32_t *shift, struct err *err)
{
	uint64_t memory = v->cfg.tracker_memory_bytes
				  ? v->cfg.tracker_memory_bytes
				  : FALLBACK_MEMORY;

	return tracker_choose_shift(&v->dev, v->cfg.block_bytes, memory, shift,
				    err);
}

static int open_tracker(struct volume *v, struct err *err)
{
	struct tracker_want want = {
		.volume = &v->vs.uuid,
		.dev = &v->dev,
		.group = v->group ? &v->group->tracked_as : NULL,
	};
	struct tracker_host *host;
	int r;

	r = pick_shift(v, &want.block_shift, err);
	if (!r)
		r = source_host_get(&v->env, &host, err);
	if (r)
		return r;
	r = tracker_host_enter(host, &want, &v->tracker, err);
	if (r)
		source_host_put(false);
	return r;
}

static int open_engine(struct volume *v, struct err *err)
{
	struct reader_config rc = {
		.fd = v->dev.fd,
		.start_bytes = v->dev.start_sector << 9,
		.size_bytes = v->dev.n_sectors << 9,
		.lbs_bytes = v->dev.lbs_bytes,
		.limit_bytes_per_s = v->cfg.read_limit_bytes,
		.clock = v->env.clock,
	};
	struct cut_config cc = {
		.tracker = v->tracker,
		.clock = v->env.clock,
		.flip = v->group ? volume_group_flip : NULL,
		.flip_arg = v,
	};
	int r = reader_open(&rc, &v->reader, err);

	if (r)
		return r;
	v->audit_bytes_before = volume_audit_bytes(v);
	cc.reader = v->reader;
	return cut_new(&cc, &v->cut, err);
}

static void say_why_all(const struct volume *v, struct err *why)
{
	const char *code = "tracking-lost", *text = "writes may have been "
			   "missed while nothing tracked the device";

	if (v->resync) {
		code = "resync";
		text = "resync was ordered";
	} else if (v->tracker->regrouped) {
		code = "group-changed";
		text = "its group is another one, or has other members";
	}
	err_set(why, -ESTALE, code, v->cfg.name, "%s: everything is compared",
		text);
}

/* What is dirty to begin with: what was pending, or everything. */
static int begin_dirty(struct volume *v, struct err *err)
{
	bool all;
	struct tracker_losses lost;
	struct err why = ERR_INIT;
	int r;

	pthread_mutex_lock(&v->lock);
	v->resync = v->vs.sw.resync;
	pthread_mutex_unlock(&v->lock);
	all = !v->tracker->adopted || v->resync || v->is_distrusted;
	v->known_ends = 0;
	v->settled = false;
	v->settle = (struct settle){ 0 };
	v->written = (struct written){ 0 };
	if (!all) {
		r = v->tracker->ops->losses(v->tracker, &lost, err);
		if (r)
			return r;
		volume_note_losses(v, &lost);
		all = lost.issue_misses || lost.detached;
	}
	if (!all) {
		volume_set_phase(v, v->vs.acked.valid ? PHASE_RUNNING
						      : PHASE_INITIALIZING,
				 NULL);
		r = cut_adopt(v->cut, err);
		if (!r)
			volume_audit_begin(v, false);
		return r;
	}
	volume_audit_begin(v, true);
	r = cut_all_dirty(v->cut, err);
	if (r)
		return r;
	v->is_distrusted = false;
	if (!v->vs.acked.valid) {
		volume_set_phase(v, PHASE_INITIALIZING, NULL);
		return 0;
	}
	if (v->lost_why.num && !v->resync) {
		err_copy(&why, &v->lost_why);	/* told already */
	} else {
		say_why_all(v, &why);
		if (!v->resync)
			volume_tell(v, why.code, NULL, "%s", why.message);
	}
	err_clear(&v->lost_why);
	volume_set_phase(v, PHASE_COMPARING, &why);
	return 0;
}

/* Nobody has listened for another table since it was read last. */
static void distrust_mapping(struct volume *v)
{
	if (!v->remap || !v->tracker->adopted || v->is_distrusted)
		return;
	v->is_distrusted = true;
	if (!v->vs.acked.valid)
		return;
	err_set(&v->lost_why, -ESTALE, volume_mapping_changed.code,
		v->cfg.name, "its mapping may have been exchanged while nobody "
		"listened: everything is compared");
	volume_tell(v, "tracking-lost", v->lost_why.code, "%s",
		    v->lost_why.message);
}

int volume_device_ready(struct volume *v, struct err *err)
{
	int r;

	if (v->cut)
		return 0;
	r = open_device(v, err);
	if (!r)
		r = open_tracker(v, err);
	if (!r)
		distrust_mapping(v);
	if (!r)
		r = open_engine(v, err);
	if (!r)
		r = begin_dirty(v, err);
	if (r)
		volume_device_drop(v, false);
	return r;
}

void volume_device_drop(struct volume *v, bool untrack)
{
	volume_group_unready(v);
	volume_verify_interrupt(v, "interrupted", "the device is opened anew");
	volume_audit_drop(v);
	cut_free(v->cut);
	v->cut = NULL;
	if (v->reader)
		v->reader->ops->close(v->reader);
	v->reader = NULL;
	if (v->tracker) {
		v->tracker->ops->close(v->tracker, untrack);
		source_host_put(false);
	}
	v->tracker = NULL;
	blkdev_remap_close(v->remap);
	v->remap = NULL;
	if (v->dev_open)
		blkdev_close(&v->dev);
	v->dev_open = false;
}

bool volume_device_is_sound(struct volume *v)
{
	struct err err = ERR_INIT;
	struct tracker_losses lost;

	return v->settled && !blkdev_recheck(&v->dev, &err) &&
	       !v->tracker->ops->losses(v->tracker, &lost, &err) &&
	       !volume_fatal_loss(v, &lost) && !blkdev_remap_seen(v->remap);
}

static void tell_pins(struct volume *v, const struct tracker_losses *lost)
{
	if (lost->pins_restored > v->losses.pins_restored)
		volume_tell(v, "pins-restored", NULL,
			    "a pin of the tracker's programs had been removed "
			    "or exchanged, and was put back: nothing is lost");
}

/* Everything is dirty from here on, or the device is set up anew. */
static int act_on_loss(struct volume *v, const struct loss *loss,
		       const struct tracker_losses *lost, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	volume_describe_loss(v, loss, lost, &why);
	log_failure(LOG_LEVEL_WARN, &why);
	volume_tell(v, "tracking-lost", loss->code, "%s", why.message);
	volume_audit_reset(v);
	if (loss->is_anew) {
		volume_device_drop(v, true);
		err_copy(&v->lost_why, &why);
		return -ESTALE;
	}
	blkdev_remap_acted_upon(v->remap);
	r = cut_all_dirty(v->cut, err);
	if (r)
		return r;
	volume_turn_on_all_dirty(v);
	v->compare = true;
	v->out.is_stale = true;
	volume_set_phase(v, v->vs.acked.valid ? PHASE_COMPARING
					      : PHASE_INITIALIZING, &why);
	return -ESTALE;
}

int volume_device_verify(struct volume *v, struct err *err)
{
	struct tracker_losses lost;
	const struct loss *loss;
	uint64_t now = clock_mono_ns(v->env.clock);
	bool quiet;
	int r;

	r = blkdev_recheck(&v->dev, err);
	if (r) {
		/* Looked at anew: same identity means compare, else refusal.
		 * One that may have grown keeps its marks. */
		volume_audit_reset(v);
		volume_device_drop(v, r != -EFBIG);
		return -ESTALE;
	}
	/* Before the losses: a completion that is missed in between counts. */
	quiet = !v->settled && !blkdev_writes_under_way(&v->dev);
	r = v->tracker->ops->losses(v->tracker, &lost, err);
	if (r)
		return r;
	volume_compare_written(v, &lost);
	tell_pins(v, &lost);
	volume_note_losses(v, &lost);
	/* An exact end of a bio from before the tracking has been marked. */
	if (!v->settled && v->dev.exact_ends)
		v->known_ends = lost.unknown_ends;
	v->known_ends = MIN(v->known_ends, lost.unknown_ends);
	loss = volume_fatal_loss(v, &lost);
	if (!loss && blkdev_remap_seen(v->remap))
		loss = &volume_mapping_changed;
	/* A write from before the tracking has no slot; only its completion
	 * tells of it, so that must not be missed until all are through. */
	if (!loss && !v->settled) {
		v->settled = settle_look(&v->settle, quiet, now);
		if (lost.complete_misses)
			loss = volume_completions_missed();
	}
	return loss ? act_on_loss(v, loss, &lost, err) : 0;
}
