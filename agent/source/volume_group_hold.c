// SPDX-License-Identifier: Apache-2.0
/*
 * A point of a group for which the writers of all members are held: one hold
 * for all of them, so that there is one moment from which everything was held
 * and one until which it was. Member number 0 has it; the steps are in
 * source/group_held.h, what is frozen in source/group_plan.h, and what makes a
 * point `frozen` in volume_quiesce.c: here it has to be so of every member, or
 * the point is `crash` for all.
 *
 * The worker's thread, in an attempt of the group. What is held is let go by
 * the helper when this process dies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "source/group_held.h"
#include "source/volume_internal.h"

#define SYNC_PATIENCE_NS (60 * NSEC_PER_SEC)

struct member_hold {
	struct volume *v;
	struct volume_hold hold;	/* of this member: what lies on it; of
					 * who leads: also the hold of all */
	struct cut_round *round;
	uint64_t before_bytes;		/* what the last round had to read */
	struct err *err;		/* the session's */
};

static struct group_plan *plan_of(const struct member_hold *m)
{
	return m->v->group->plan;
}

static int look(void *arg, struct err *why)
{
	struct member_hold *m = arg;
	struct volume *v = m->v;
	const struct plan_part part = {
		.member = v->member, .name = v->cfg.name,
		.volume = { v->dev.major, v->dev.minor },
		.fs = &m->hold.fs, .hook = v->cfg.quiesce_hook,
		.limit_ns = v->cfg.quiesce_limit_ns,
	};
	int r = volume_quiesces(v, why);

	if (!r)
		r = volume_hold_look(v, &m->hold, why);
	if (!r && group_plan_add(plan_of(m), v->joint.seq, &part))
		r = err_sys(why, -ENOMEM, "no-memory", v->cfg.name, "quiesce");
	return r;
}

static int lies_on(struct devno volume, const char *path)
{
	return blkdev_holds_path(0, 0, volume.major, volume.minor, path);
}

/* While the helper writes back: the session lives on, and so do the others'. */
static bool wait_no_longer(void *arg)
{
	struct volume *v = arg;
	struct err err = ERR_INIT;

	return volume_cancelled(v) || group_is_off(v->group->meetings) ||
	       (v->link && link_pump(v->link, 0, &err));
}

static int prepare(void *arg, struct err *why)
{
	_cleanup_free_ struct freeze_order *o = malloc(sizeof(*o));
	struct member_hold *m = arg;
	struct volume *v = m->v;
	int r;

	if (!o)
		return err_sys(why, -ENOMEM, "no-memory", v->cfg.name,
			       "quiesce");
	r = group_plan_order(plan_of(m), v->group->name, lies_on, o, why);
	return r ? r : freezer_prepare(o, SYNC_PATIENCE_NS, wait_no_longer, v,
				       &m->hold.hold, why);
}

static int again(void *arg, struct err *why)
{
	struct member_hold *m = arg;

	return freezer_again(m->hold.hold, SYNC_PATIENCE_NS, wait_no_longer,
			     m->v, why);
}

static int take(void *arg, struct err *why)
{
	struct member_hold *m = arg;
	int r = volume_hold_take(&m->hold, why);

	if (!r)
		r = FAULT("volume.held");
	if (r && !why->num)
		err_sys(why, r, "quiesce-failed", m->v->group->name,
			"quiesce");
	return r;
}

static bool is_held(void *arg)
{
	struct member_hold *m = arg;

	return volume_hold_is_held(&m->hold);
}

static void end(void *arg)
{
	struct member_hold *m = arg;
	struct freeze_result res;

	if (!m->hold.hold)
		return;
	volume_hold_release(&m->hold, &res);
	group_plan_set_result(plan_of(m), &res);
}

static int one_round(void *arg, bool held, bool *is_small)
{
	struct member_hold *m = arg;
	int r = volume_round(m->v, !held, m->round, m->err);

	if (r < 0 || r == ROUND_NO_USE)
		return r < 0 ? r : GROUP_GIVE_UP;
	*is_small = volume_round_was_small(m->v, m->round, &m->before_bytes);
	return r == ROUND_CONVERGED ? GROUP_GO : GROUP_AGAIN;
}

static int vote(void *arg, enum group_vote what)
{
	struct member_hold *m = arg;

	return volume_group_vote(m->v, what, m->err);
}

static bool is_stale(void *arg)
{
	struct member_hold *m = arg;

	volume_hold_look_again(&m->hold);
	return m->hold.is_stale;
}

static void note(void *arg, const struct err *why)
{
	struct member_hold *m = arg;

	group_plan_note(plan_of(m), m->v->joint.seq, why);
}

static const struct held_ops ops = {
	.look = look, .prepare = prepare, .again = again, .take = take,
	.is_held = is_held, .end = end, .round = one_round, .vote = vote,
	.is_stale = is_stale, .note = note,
};

/* Who wants such a point is told why there is none: of the volume, of all. */
static void refuse(struct volume *v, const struct err *why, bool leads)
{
	volume_hold_refuse(v, why);
	if (leads)
		group_refuse(v->group->meetings, why);
}

/* Of all members the same: from what they know in common. */
static void name_point(struct member_hold *m, const struct held *h,
		       enum point_kind *kind)
{
	struct volume *v = m->v;
	struct cut_round joint = *m->round;
	struct err why = ERR_INIT;

	m->hold.is_stale = h->is_stale;
	joint.flip_mono_ns = v->joint.flip_mono_ns;
	joint.flipped_mono_ns = v->joint.flipped_mono_ns;
	volume_round_name(v, &m->hold, &joint, true, kind, &why);
	if (why.num && h->leads)
		group_refuse(v->group->meetings, &why);
}

static int held_point(struct member_hold *m, enum point_kind *kind)
{
	struct held h = { .ops = &ops, .arg = m,
			  .leads = !m->v->member };
	struct freeze_result res;
	struct err why = ERR_INIT;
	int r = held_attempt(&h);

	switch (r) {
	case GROUP_GO:
	case HELD_LATE:
		group_plan_result(plan_of(m), &res);
		volume_hold_was(&m->hold, &res);
		m->hold.limit_ns = group_plan_limit(plan_of(m));
		break;
	case HELD_REFUSED:
		group_plan_why(plan_of(m), &why);
		refuse(m->v, &why, h.leads);
		return ROUND_NO_USE;
	default:
		if (volume_cancelled(m->v))
			return -ECANCELED;
		return r < 0 ? r : ROUND_NO_USE;
	}
	if (r == GROUP_GO) {
		name_point(m, &h, kind);
		return ROUND_CONVERGED;
	}
	volume_round_late(m->v, &m->hold, &why);
	refuse(m->v, &why, h.leads);
	return ROUND_AGAIN;
}

int volume_group_converge(struct volume *v, struct cut_round *round,
			  enum point_kind *kind, struct err *err)
{
	struct member_hold m = { .v = v, .round = round, .err = err,
				 .before_bytes = UINT64_MAX };
	int r = volume_wait_ack(v, err);

	if (r)
		return r;
	v->rounds = 0;
	r = held_point(&m, kind);
	volume_hold_end(&m.hold);
	return r;
}
