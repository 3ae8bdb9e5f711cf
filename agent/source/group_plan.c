// SPDX-License-Identifier: Apache-2.0
/*
 * One hold for all members of a group: what of theirs is frozen, and in which
 * order.
 *
 * Freezing writes to the device below. If that is a file on a filesystem that
 * is frozen already, it waits until that one is thawed. So what lies on a
 * member's device without being one of the filesystems found on it, which
 * means in a file of one of those, goes before all of those.
 *
 * Any thread; each call under the plan's lock. Nothing survives the process.
 */
#include "source/group_plan.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

struct part {
	bool is_there;
	char name[FREEZE_NAME_BYTES];
	struct devno volume;
	struct blkdev_fs fs;
	char hook[FREEZE_HOOK_BYTES];
	uint64_t limit_ns;
};

struct group_plan {
	pthread_mutex_t lock;
	uint64_t attempt;		/* of which the rest is */
	struct part parts[GROUP_MEMBERS_MAX];
	struct err why;
	struct freeze_result result;
};

struct group_plan *group_plan_new(void)
{
	struct group_plan *p = calloc(1, sizeof(*p));

	if (p)
		pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void clear(struct group_plan *p)
{
	int i;

	for (i = 0; i < GROUP_MEMBERS_MAX; i++) {
		blkdev_fs_free(&p->parts[i].fs);
		p->parts[i].is_there = false;
	}
	err_clear(&p->why);
	memset(&p->result, 0, sizeof(p->result));
}

void group_plan_free(struct group_plan *p)
{
	if (!p)
		return;
	clear(p);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* Attempts do not overlap: nothing of an earlier one is of use. */
static void be_of(struct group_plan *p, uint64_t attempt)
{
	if (p->attempt == attempt)
		return;
	clear(p);
	p->attempt = attempt;
}

int group_plan_add(struct group_plan *p, uint64_t attempt,
		   const struct plan_part *part)
{
	LOCK_SCOPE(&p->lock);
	struct part *to = &p->parts[part->member];

	be_of(p, attempt);
	blkdev_fs_free(&to->fs);
	if (blkdev_fs_copy(&to->fs, part->fs))
		return -ENOMEM;
	(void)snprintf(to->name, sizeof(to->name), "%s", part->name);
	(void)snprintf(to->hook, sizeof(to->hook), "%s", part->hook);
	to->volume = part->volume;
	to->limit_ns = part->limit_ns;
	to->is_there = true;
	return 0;
}

void group_plan_note(struct group_plan *p, uint64_t attempt,
		     const struct err *why)
{
	LOCK_SCOPE(&p->lock);

	be_of(p, attempt);
	if (!p->why.num)
		err_copy(&p->why, why);
}

void group_plan_why(struct group_plan *p, struct err *out)
{
	LOCK_SCOPE(&p->lock);

	*out = p->why;
}

void group_plan_set_result(struct group_plan *p,
			   const struct freeze_result *res)
{
	LOCK_SCOPE(&p->lock);

	p->result = *res;
}

void group_plan_result(struct group_plan *p, struct freeze_result *out)
{
	LOCK_SCOPE(&p->lock);

	*out = p->result;
}

/* ---- the order ---- */

/* A filesystem of one or several parts. */
struct target {
	struct devno no;
	int owner;			/* the first part that has it */
	const char *point;		/* a place of it */
	uint32_t on;			/* parts that have it, a bit each */
	uint32_t inside;		/* parts on a filesystem of which it
					 * lies, as a file */
	bool is_placed;
};

struct ordering {
	struct group_plan *p;
	struct target t[FREEZE_FS_MAX];
	uint32_t n;
};

static struct target *find(struct ordering *o, struct devno no)
{
	uint32_t i;

	for (i = 0; i < o->n; i++)
		if (devno_equal(o->t[i].no, no))
			return &o->t[i];
	return NULL;
}

/* False: there is no room. */
static bool gather(struct ordering *o)
{
	int m;

	for (m = 0; m < GROUP_MEMBERS_MAX; m++) {
		const struct blkdev_fs *fs = &o->p->parts[m].fs;
		uint32_t i;

		for (i = 0; o->p->parts[m].is_there && i < fs->n_mounts; i++) {
			const struct blkdev_fs_mount *at = &fs->mounts[i];
			struct target *t = find(o, at->no);

			if (!t && o->n == ARRAY_SIZE(o->t))
				return false;
			if (!t) {
				t = &o->t[o->n++];
				*t = (struct target){ .no = at->no, .owner = m,
						      .point = at->point };
			}
			t->on |= 1U << m;
		}
	}
	return true;
}

static int look_inside(struct ordering *o, plan_lies_on lies_on,
		       struct err *err)
{
	uint32_t i;
	int m, r;

	for (i = 0; i < o->n; i++) {
		struct target *t = &o->t[i];

		for (m = 0; m < GROUP_MEMBERS_MAX; m++) {
			const struct part *p = &o->p->parts[m];

			if (!p->is_there || !p->fs.n_fs || t->on >> m & 1)
				continue;
			r = lies_on(p->volume, t->point);
			if (r == 1)
				t->inside |= 1U << m;
			/* One that does not say where it lies is on none that
			 * is known, as for a single volume. */
			if (r < 0 && r != -EOPNOTSUPP)
				return err_sys(err, r, "quiesce-failed",
					       t->point, "does it lie on %s?",
					       p->name);
		}
	}
	return 0;
}

/* Does something that is not placed yet lie in a file of it? */
static bool has_to_wait(const struct ordering *o, const struct target *t)
{
	uint32_t i;

	for (i = 0; i < o->n; i++)
		if (!o->t[i].is_placed && o->t[i].inside & t->on)
			return true;
	return false;
}

/* By all its places that its first owner has: the others have the same. */
static int add_mounts(const struct ordering *o, const struct target *t,
		      uint32_t number, struct freeze_order *out)
{
	const struct part *p = &o->p->parts[t->owner];
	uint32_t i;
	int r = 0;

	for (i = 0; i < p->fs.n_mounts && !r; i++)
		if (devno_equal(p->fs.mounts[i].no, t->no))
			r = freeze_order_mount(out, number,
					       p->fs.mounts[i].point,
					       p->fs.mounts[i].id);
	freeze_order_owner(out, number, p->name);
	return r;
}

static struct target *next(struct ordering *o)
{
	uint32_t i;

	for (i = 0; i < o->n; i++)
		if (!o->t[i].is_placed && !has_to_wait(o, &o->t[i]))
			return &o->t[i];
	return NULL;
}

static int place_all(struct ordering *o, const char *group,
		     struct freeze_order *out, struct err *err)
{
	uint32_t number;
	int r;

	for (number = 0; number < o->n; number++) {
		struct target *t = next(o);

		if (!t) {
			err_set(err, -EPERM, "quiesce-refused", group,
				"quiesce: filesystems of its members lie on "
				"each other: whichever is frozen first, "
				"freezing another one would wait for it");
			return -EPERM;
		}
		r = add_mounts(o, t, number, out);
		if (r)
			return err_sys(err, r, "quiesce-failed", group,
				       "quiesce: name what is to be frozen");
		t->is_placed = true;
	}
	return 0;
}

static uint64_t smallest_limit(const struct group_plan *p)
{
	uint64_t min = FREEZE_LIMIT_MAX_NS;
	int m;

	for (m = 0; m < GROUP_MEMBERS_MAX; m++)
		if (p->parts[m].is_there)
			min = MIN(min, p->parts[m].limit_ns);
	return min;
}

uint64_t group_plan_limit(struct group_plan *p)
{
	LOCK_SCOPE(&p->lock);

	return smallest_limit(p);
}

/* While the configuration is read anew, members may have it of before: what is
 * held would then be less than some of them would say. */
static const char *common_hook(const struct group_plan *p)
{
	const char *hook = NULL;
	int m;

	for (m = 0; m < GROUP_MEMBERS_MAX; m++) {
		if (!p->parts[m].is_there)
			continue;
		if (hook && strcmp(hook, p->parts[m].hook) != 0)
			return NULL;
		hook = p->parts[m].hook;
	}
	return hook;
}

int group_plan_order(struct group_plan *p, const char *group,
		     plan_lies_on lies_on, struct freeze_order *out,
		     struct err *err)
{
	_cleanup_free_ struct ordering *o = calloc(1, sizeof(*o));
	LOCK_SCOPE(&p->lock);
	const char *hook = common_hook(p);
	int r;

	if (!o)
		return err_sys(err, -ENOMEM, "no-memory", group, "quiesce");
	o->p = p;
	if (!hook)
		return err_set(err, -EAGAIN, "quiesce-failed", group,
			       "quiesce: its members do not agree on a hook, "
			       "or there are none");
	freeze_order_init(out, group, hook, smallest_limit(p));
	if (!gather(o))
		return err_sys(err, -E2BIG, "quiesce-failed", group,
			       "quiesce: more than %u filesystems",
			       FREEZE_FS_MAX);
	r = look_inside(o, lies_on, err);
	return r ? r : place_all(o, group, out, err);
}
