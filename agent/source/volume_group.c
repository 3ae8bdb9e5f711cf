// SPDX-License-Identifier: Apache-2.0
/*
 * A volume that is a member of a group: what its worker does together with the
 * others. See source/group.h for the meetings.
 *
 * Invariants:
 * - A member flips in a meeting only, and collects after each flip. So it does
 *   not collect while it has no session, as other volumes do.
 * - What was staged counts whether or not an attempt comes to its end: one that
 *   is given up costs nobody what he has read.
 * - Who has said that it is ready goes on asking whether an attempt has begun:
 *   the others may have begun one with it.
 * - Either all members confirm or all commit, of one flip and with one number,
 *   which is on disk before.
 *
 * The worker's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "source/volume_internal.h"

int volume_group_join(struct volume *v, struct err *err)
{
	struct source_group *g;
	int r;

	if (!v->cfg.group.name[0] || v->group)
		return 0;
	r = source_group_get(&v->env, &v->cfg.group, &g, err);
	if (r)
		return r;
	v->member = source_group_number(g, v->cfg.name);
	r = v->member < 0 ? v->member :
			    group_join(g->meetings, v->member, volume_wake, v);
	if (r) {
		source_group_put(g);
		return err_sys(err, r, "group", v->cfg.name,
			       "join group %s", v->cfg.group.name);
	}
	LOCK_SCOPE(&v->lock);
	v->group = g;
	/* Who cancelled a moment ago did not find it. */
	if (v->cancel)
		group_cancel(g->meetings);
	return 0;
}

void volume_group_part(struct volume *v)
{
	if (!v->group)
		return;
	group_part(v->group->meetings, v->member);
	source_group_put(v->group);
	v->group = NULL;
}

/* Shown when it lasts. */
static void note_waiting(struct volume *v, bool waits)
{
	char names[sizeof(v->group_lacks)] = "";

	if (waits)
		source_group_missing(v->group, names, sizeof(names));
	LOCK_SCOPE(&v->lock);
	memcpy(v->group_lacks, names, sizeof(names));
	if (!names[0])
		v->group_since_ns = 0;
	else if (!v->group_since_ns)
		v->group_since_ns = clock_mono_ns(v->env.clock);
}

void volume_group_unready(struct volume *v)
{
	if (!v->group)
		return;
	group_unready(v->group->meetings, v->member);
	note_waiting(v, false);
}

bool volume_group_begin(struct volume *v)
{
	bool begun = group_ready(v->group->meetings, v->member);

	v->group_waits = !begun;
	note_waiting(v, !begun);
	v->group_done = false;
	err_clear(&v->group_err);
	if (begun)
		group_look(v->group->meetings, &v->joint);
	volume_set_limit(v, begun ? "" : "group");
	return begun;
}

void volume_group_end(struct volume *v)
{
	if (v->group_done)
		group_leave(v->group->meetings, v->member);
	else
		group_unready(v->group->meetings, v->member);
}

void volume_group_want(struct volume *v, bool quiesce)
{
	if (v->group)
		group_want(v->group->meetings, v->member, quiesce);
}

bool volume_group_wanted(struct volume *v)
{
	return v->group && group_is_wanted(v->group->meetings);
}

/* ---- meetings ---- */

static int wait_for_others(void *arg)
{
	struct volume *v = arg;

	if (volume_cancelled(v))
		return -ECANCELED;
	/* Hours, when another has much to read: the lag is seen to grow. */
	volume_publish(v);
	return volume_wait_a_while(v, &v->group_err);
}

/* Where no flip is waited for: none is made before this member comes again, so
 * what is at rest may be compared meanwhile. */
static int wait_and_compare(void *arg)
{
	struct volume *v = arg;
	int r;

	if (volume_cancelled(v))
		return -ECANCELED;
	r = volume_verify_in_meeting(v, &v->group_err);
	return r ? MIN(r, 0) : wait_for_others(arg);
}

static int flip_for_all(void *arg, struct group_attempt *a);

static int meet(struct volume *v, enum group_vote vote,
		int (*action)(void *arg, struct group_attempt *a))
{
	const struct group_meeting m = {
		.vote = vote, .action = action,
		.wait = action == flip_for_all ? wait_for_others
					       : wait_and_compare,
		.arg = v,
	};
	uint64_t came_ns = clock_mono_ns(v->env.clock);
	int r = group_meet(v->group->meetings, v->member, &m, &v->joint);

	volume_verify_rested(v, clock_mono_ns(v->env.clock) - came_ns);
	return r;
}

/* Another gave up, or this member's session ended while it waited. */
int volume_group_gave_up(struct volume *v, struct err *err)
{
	if (v->group_err.num) {
		err_copy(err, &v->group_err);
		return v->group_err.num;
	}
	return volume_cancelled(v) ? -ECANCELED : GROUP_GIVE_UP;
}

static int flip_for_all(void *arg, struct group_attempt *a)
{
	struct volume *v = arg;
	int r;

	a->flip_mono_ns = clock_mono_ns(v->env.clock);
	a->flip_wall_ns = clock_wall_ns(v->env.clock);
	r = v->tracker->ops->flip(v->tracker, &v->group_err);
	a->flipped_mono_ns = clock_mono_ns(v->env.clock);
	return r;
}

int volume_group_flip(void *arg, struct cut_round *out, struct err *err)
{
	struct volume *v = arg;

	(void)err;
	if (meet(v, GROUP_GO, flip_for_all))
		return -EAGAIN;
	out->flip_mono_ns = v->joint.flip_mono_ns;
	out->flip_wall_ns = v->joint.flip_wall_ns;
	return 0;
}

int volume_group_vote(struct volume *v, enum group_vote vote, struct err *err)
{
	int r = meet(v, vote, NULL);

	return r == GROUP_GO || r == GROUP_AGAIN ? r
						 : volume_group_gave_up(v, err);
}

static int number_for_all(void *arg, struct group_attempt *a)
{
	struct volume *v = arg;

	int r = source_group_save_seq(v->group, a->seq, &v->group_err);

	a->numbered = !r;
	a->kind = (int)v->joint_kind;
	return r;
}

int volume_group_decide(struct volume *v, enum point_kind kind,
			bool *may_confirm, struct err *err)
{
	bool may = *may_confirm && !v->joint.wanted;
	int r = volume_group_vote(v, may ? GROUP_GO : GROUP_AGAIN, err);

	if (r != GROUP_GO && r != GROUP_AGAIN)
		return r;
	*may_confirm = r == GROUP_GO;
	if (*may_confirm)
		return 0;
	v->joint_kind = kind;
	return meet(v, GROUP_GO, number_for_all) ? volume_group_gave_up(v, err)
						 : 0;
}

void volume_group_name_commit(const struct volume *v, struct wire_commit *c)
{
	c->group.uuid = v->group->uuid;
	c->group.seq = v->joint.seq;
	c->group.n_members = v->group->n_members;
	memcpy(c->group.name, v->group->name, sizeof(c->group.name));
	if (v->joint.label[0])
		(void)snprintf(c->label, sizeof(c->label), "%s",
			       v->joint.label);
}

void volume_group_durable(struct volume *v)
{
	group_durable(v->group->meetings, v->member);
}
