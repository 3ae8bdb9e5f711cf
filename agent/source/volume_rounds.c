// SPDX-License-Identifier: Apache-2.0
/*
 * Rounds until one converges, with the writers free or, at the end, held.
 *
 * Invariants:
 * - Nobody is held while something waits for a peer, or while much is left to
 *   be read: that is done before.
 * - A hold ends before anything is made of its rounds; what the point may be
 *   called is decided afterwards, when it is known how long it was in force.
 * - A point that was ordered held is refused to who ordered it when it has
 *   become another kind. It may be made all the same, and is called what it is.
 *
 * The worker's thread. Nothing here survives the process; what is held is let
 * go by the helper.
 */
#include <errno.h>

#include "base/fault.h"
#include "base/log.h"
#include "source/volume_internal.h"

#define ROUNDS_MAX 20U
#define ERROR_RETRY_NS NSEC_PER_SEC
/* From this many blocks on, asking the replica costs less than shipping. */
#define COMPARE_BLOCKS 256U
/* Less than this is read in the time that one may hold somebody up. */
#define SMALL_BYTES (8ULL << 20)

static int read_failed(struct volume *v, const struct cut_round *round)
{
	struct err why = ERR_INIT;

	/* It has shrunk, or is gone? Then that is what there is to say. */
	if (blkdev_recheck(&v->dev, &why)) {
		volume_device_drop(v, why.num != -EFBIG);
		return -ENODEV;
	}
	err_sys(&why, round->error_num, "read-error", v->cfg.device,
		"read offset=%llu: no point is made, the extent stays dirty",
		(unsigned long long)round->error_off_bytes);
	err_remedy(&why, "look at the kernel log for %s", v->cfg.device);
	log_failure(LOG_LEVEL_ERR, &why);
	volume_tell(v, "point-missed", why.code, "%s", why.message);
	volume_set_phase(v, PHASE_FAILED, &why);
	v->next_cut_ns = clock_mono_ns(v->env.clock) + ERROR_RETRY_NS;
	return 1;
}

static void count_round(struct volume *v)
{
	LOCK_SCOPE(&v->lock);

	v->shown.rounds++;
}

static void count_cut(struct volume *v, bool converged)
{
	LOCK_SCOPE(&v->lock);

	v->shown.cuts++;
	v->shown.cuts_converged += converged;
}

/* Whose failure was it: the session's, or the reader's? */
static int round_failed(struct volume *v, int r, struct err *err)
{
	if (!err->num)
		err_copy(err, ship_error(v->ship));
	if (err->num || r == -ECANCELED)
		return r;
	err_sys(err, r, "reader-failed", v->cfg.device, "read");
	err_done(err, "the device is opened again");
	volume_device_drop(v, false);
	return r;
}

int volume_round(struct volume *v, bool may_ask, struct cut_round *round,
		 struct err *err)
{
	uint64_t seq = (v->is_outstanding ? v->out.seq : v->base_seq) + 1;
	int r;

	if (volume_cancelled(v))
		return -ECANCELED;
	ship_round(v->ship, seq, may_ask && v->compare &&
			   cut_pending_blocks(v->cut) >= COMPARE_BLOCKS);
	r = cut_round(v->cut, round, err);
	if (r == -EAGAIN && v->group) {
		r = volume_group_gave_up(v, err);
		return r < 0 ? r : ROUND_NO_USE;
	}
	if (r)
		return round_failed(v, r, err);
	v->rounds++;
	count_round(v);
	volume_publish(v);
	if (round->read_errors)
		return read_failed(v, round);
	return round->converged ? ROUND_CONVERGED : ROUND_AGAIN;
}

static int free_rounds(struct volume *v, struct cut_round *round,
		       struct err *err)
{
	int r = ROUND_AGAIN;

	for (v->rounds = 0; v->rounds < ROUNDS_MAX && r == ROUND_AGAIN;)
		r = volume_round(v, true, round, err);
	return r;
}

/* As free_rounds: none is the last one before it is so for all. */
static int joint_rounds(struct volume *v, struct cut_round *round,
			struct err *err)
{
	int r = ROUND_AGAIN;

	for (v->rounds = 0; v->rounds < ROUNDS_MAX && r == ROUND_AGAIN;) {
		r = volume_round(v, true, round, err);
		if (r != ROUND_CONVERGED && r != ROUND_AGAIN)
			return r;
		r = volume_group_vote(v, r == ROUND_CONVERGED ? GROUP_GO
							: GROUP_AGAIN, err);
		if (r < 0)
			return r;
		r = r == GROUP_GO ? ROUND_CONVERGED : r == GROUP_AGAIN ? ROUND_AGAIN
								 : ROUND_NO_USE;
	}
	return r;
}

bool volume_round_was_small(const struct volume *v,
			    const struct cut_round *round,
			    uint64_t *before_bytes)
{
	uint64_t bytes = round->read << v->tracker->block_shift;
	bool is_small = bytes <= SMALL_BYTES || bytes >= *before_bytes;

	*before_bytes = bytes;
	return is_small;
}

/*
 * Rounds while writers go on, and in between what they made dirty is written
 * back, until a round had so little to read that the next can be made while
 * they wait. As free_rounds; *why when it is the hold that failed.
 */
static int rounds_until_small(struct volume *v, struct volume_hold *hold,
			      struct cut_round *round, struct err *why,
			      struct err *err)
{
	uint64_t before = UINT64_MAX;
	int r;

	for (v->rounds = 0;;) {
		r = volume_round(v, true, round, err);
		if (r < 0 || r == ROUND_NO_USE ||
		    volume_round_was_small(v, round, &before) ||
		    v->rounds >= ROUNDS_MAX)
			return r;
		if (volume_hold_again(hold, why))
			return ROUND_AGAIN;
	}
}

/* The limit may run out during a round: what counts is where its flip was. */
static int held_rounds(struct volume *v, struct volume_hold *hold,
		       struct cut_round *round, struct err *err)
{
	int r;

	do {
		r = volume_round(v, false, round, err);
	} while (r == ROUND_AGAIN && volume_hold_is_held(hold));
	return r;
}

/* Of what the writers were held. */
static const char *held_name(const struct volume *v)
{
	return v->group ? v->group->name : v->cfg.name;
}

void volume_round_name(struct volume *v, const struct volume_hold *hold,
		       const struct cut_round *round, bool ordered,
		       enum point_kind *kind, struct err *why)
{
	const char *what;

	*kind = volume_hold_kind(hold, round);
	v->hold_told[0] = 0;
	volume_tell(v, "quiesced", ordered ? "ordered" : "contention",
		    "writers were held for %llu ms, for a point of kind %s",
		    (unsigned long long)(hold->held_ns / NSEC_PER_MSEC),
		    point_kind_name(*kind));
	if (!ordered || *kind != POINT_CRASH)
		return;
	what = hold->why == FREEZE_LIMIT  ? "the limit ran out before the flip"
	       : hold->is_stale		  ? "a filesystem came or went"
	       : hold->why == FREEZE_RELEASED ? "somebody else thawed it"
					      : "it was thawed too early";
	err_set(why, -EINTR, "quiesce-failed", held_name(v),
		"quiesce: %s: the point is of kind crash", what);
	volume_hold_refuse(v, why);
}

/* Out of time, with conflicts to the end. */
void volume_round_late(const struct volume *v, const struct volume_hold *hold,
		       struct err *why)
{
	unsigned long long ms = hold->limit_ns / NSEC_PER_MSEC;

	if (hold->why == FREEZE_LIMIT)
		err_set(why, -ETIMEDOUT, "quiesce-limit", held_name(v),
			"quiesce: no cut within %llu ms: who writes to the "
			"device itself is not held, or too much was left to "
			"read", ms);
	else
		err_set(why, -EINTR, "quiesce-failed", held_name(v),
			"quiesce: it was thawed after less than %llu ms", ms);
}

/*
 * As volume_converge, with the writers held for the last of it. Nothing that waits
 * for a peer is left to do by then.
 */
static int converge_held(struct volume *v, bool ordered,
			 struct cut_round *round, enum point_kind *kind,
			 struct err *err)
{
	struct volume_hold hold = { 0 };
	struct err why = ERR_INIT;
	int r = 0;

	if (ordered) {
		r = volume_wait_ack(v, err);
		if (r)
			return r;
	}
	r = volume_hold_prepare(v, &hold, &why);
	if (!r) {
		r = rounds_until_small(v, &hold, round, &why, err);
		if (r < 0 || r == ROUND_NO_USE) {
			volume_hold_end(&hold);
			return r;
		}
		r = why.num ? why.num : volume_hold_take(&hold, &why);
	}
	if (r) {
		volume_hold_end(&hold);
		if (volume_cancelled(v))
			return -ECANCELED;
		volume_hold_refuse(v, &why);
		return ROUND_NO_USE;
	}
	r = FAULT("volume.held");
	if (!r)
		r = held_rounds(v, &hold, round, err);
	volume_hold_end(&hold);
	if (r == ROUND_CONVERGED) {
		volume_round_name(v, &hold, round, ordered, kind, &why);
	} else if (r == ROUND_AGAIN) {
		volume_round_late(v, &hold, &why);
		volume_hold_refuse(v, &why);
	}
	return r;
}

int volume_converge(struct volume *v, bool quiesce, struct cut_round *round,
		    enum point_kind *kind, struct err *err)
{
	int r;

	*kind = POINT_CRASH;
	if (quiesce && v->group) {
		r = volume_group_converge(v, round, kind, err);
	} else if (quiesce) {
		r = converge_held(v, true, round, kind, err);
	} else {
		r = v->group ? joint_rounds(v, round, err)
			     : free_rounds(v, round, err);
		if (r == ROUND_AGAIN && v->cfg.quiesce_contention &&
		    clock_mono_ns(v->env.clock) >= v->next_hold_ns)
			r = converge_held(v, false, round, kind, err);
	}
	if (r == ROUND_CONVERGED) {
		count_cut(v, true);
		volume_set_limit(v, "");
	}
	if (r != ROUND_AGAIN)
		return r;
	count_cut(v, false);
	volume_set_limit(v, "contention");
	volume_tell(v, "point-missed", "contention",
		    "no cut in %u rounds: blocks are written again while "
		    "they are read", v->rounds);
	return ROUND_NO_USE;
}
