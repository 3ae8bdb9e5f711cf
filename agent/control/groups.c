// SPDX-License-Identifier: Apache-2.0
/* Points of groups as JSON, and choosing one of them. Any thread. */
#include "control/groups.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/ctlproto.h"

static const char *kind_text(uint8_t kind)
{
	return kind <= POINT_FINAL ? point_kind_name((enum point_kind)kind) :
				     "unknown";
}

static json_t *members_json(const struct wire_group_point *p)
{
	json_t *list = json_array();
	struct wire_member m;
	uint32_t i;

	for (i = 0; list && i < p->n_members; i++)
		if (wire_member_get(p->members, i, &m))
			(void)json_array_append_new(
				list, json_pack("{s:s,s:I,s:I}", "volume",
						m.name, "epoch",
						(json_int_t)m.epoch, "seq",
						(json_int_t)m.seq));
	return list;
}

json_t *group_point_json(const struct wire_group_point *p)
{
	return json_pack("{s:I,s:o,s:o,s:s,s:o,s:s,s:I,s:I,s:I,s:o}", "seq",
			 (json_int_t)p->seq, "time",
			 ctl_time_json(p->flip_wall_ns), "received",
			 ctl_time_json(p->received_wall_ns), "kind",
			 kind_text(p->kind), "label", ctl_text_json(p->label),
			 "state", p->damaged ? "damaged" : "ok", "size_bytes",
			 (json_int_t)p->size_bytes, "changed_bytes",
			 (json_int_t)p->changed_bytes, "stored_bytes",
			 (json_int_t)p->stored_bytes, "members",
			 members_json(p));
}

int group_choice_check(const struct selector *sel, const char *group,
		       struct err *err)
{
	if (sel->kind != SELECTOR_SEQ || !sel->epoch)
		return 0;
	err_set(err, -EINVAL, "usage", group,
		"is a group: its points have numbers without an epoch");
	err_remedy(err, "`understudyctl points %s` lists them", group);
	return -EINVAL;
}

static bool is_meant(const struct selector *sel,
		     const struct wire_group_point *p)
{
	switch (sel->kind) {
	case SELECTOR_LATEST:
		return true;
	case SELECTOR_SEQ:
		return p->seq == sel->seq;
	case SELECTOR_LABEL:
		return !strcmp(p->label, sel->label);
	case SELECTOR_TIME:
		return p->flip_wall_ns <= sel->wall_ns;
	}
	return false;
}

void group_choice_show(struct group_choice *c, const struct wire_group_point *p)
{
	if (!is_meant(&c->sel, p))
		return;
	c->found = true;
	c->point = *p;
	memcpy(c->members, p->members,
	       (size_t)p->n_members * WIRE_MEMBER_BYTES);
	c->point.members = c->members;
}

static json_t *choice_members(const struct group_choice *c, const char *source)
{
	char uuid[UUID_TEXT_SIZE], full[SELECTOR_VOLUME_SIZE];
	json_t *list = json_array();
	struct wire_member m;
	uint32_t i;

	for (i = 0; list && i < c->point.n_members; i++) {
		if (!wire_member_get(c->members, i, &m))
			continue;
		uuid_format(&m.volume, uuid);
		(void)snprintf(full, sizeof(full), "%s/%s", source, m.name);
		(void)json_array_append_new(
			list, json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "volume",
					full, "uuid", uuid, "epoch",
					(json_int_t)m.epoch, "seq",
					(json_int_t)m.seq, "flip_ns",
					(json_int_t)c->point.flip_wall_ns,
					"size_bytes",
					(json_int_t)m.size_bytes));
	}
	return list;
}

json_t *group_choice_json(const struct group_choice *c, const char *source,
			  const char *name, struct err *err)
{
	char full[SELECTOR_VOLUME_SIZE];
	json_t *out;

	(void)snprintf(full, sizeof(full), "%s/%s", source, name);
	if (!c->found) {
		err_set(err, -ENOENT, "no-point", full,
			"there is no such point of all its members");
		err_remedy(err, "`understudyctl points %s` lists them", full);
		return NULL;
	}
	out = json_pack("{s:s,s:I,s:o,s:s,s:o,s:s,s:o}", "group", full, "seq",
			(json_int_t)c->point.seq, "time",
			ctl_time_json(c->point.flip_wall_ns), "kind",
			kind_text(c->point.kind), "label",
			ctl_text_json(c->point.label), "state",
			c->point.damaged ? "damaged" : "ok", "members",
			choice_members(c, source));
	if (!out)
		err_set(err, -ENOMEM, "no-memory", full, "out of memory");
	return out;
}

int stored_find_group(struct store *s, const struct volume_name *name,
		      struct group_info *out, struct err *err)
{
	struct group_search gs = { .source = name->source,
				   .name = name->name };
	int ret = store_group_find(s, &gs);

	*out = gs.found;
	if (ret == -ENOENT)
		return err_set(err, ret, "no-group", name->name,
			       "there is no group %s%s%s here", name->source,
			       *name->source ? "/" : "", name->name);
	if (ret == -ENOTUNIQ) {
		err_set(err, ret, "ambiguous", name->name,
			"several have that name: %s", gs.candidates);
		err_remedy(err, "name one of them in full, or by its UUID");
		return ret;
	}
	return ret < 0 ? err_sys(err, ret, "store", name->name,
				 "look it up in the store") :
			 0;
}

struct walk {
	int (*cb)(void *arg, const struct wire_group_point *p);
	void *arg;
};

static int on_point(void *arg, const struct group_point *p)
{
	uint8_t members[GROUP_MEMBERS_BYTES];
	struct wire_group_point row;
	const struct walk *w = arg;

	group_point_to_wire(p, members, &row);
	return w->cb(w->arg, &row);
}

int stored_group_points(struct store *s, const struct group_info *g,
			int (*cb)(void *arg, const struct wire_group_point *p),
			void *arg)
{
	struct walk w = { cb, arg };

	return store_group_points(s, g, on_point, &w);
}
