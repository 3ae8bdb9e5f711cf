// SPDX-License-Identifier: Apache-2.0
/*
 * Points of groups, for a reader. A group is there for whom the certificate
 * lets read every volume that has points of it; to others it does not exist,
 * and neither does what it is called. A session's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "replica/replica_session.h"
#include "store/grouppoints.h"

static bool may(void *arg, const char *source, const char *name)
{
	return read_may(arg, source, name);
}

static int find_group(struct session *s, const char *source, const char *name,
		      struct group_info *out, struct err *err)
{
	struct group_search gs = { .source = source, .name = name, .may = may,
				   .arg = s };
	int r = read_check(s, source, name, err);

	if (r < 0)
		return r;
	r = store_group_find(s->r->store, &gs);
	*out = gs.found;
	if (r == -ENOTUNIQ) {
		err_set(err, r, "ambiguous", name,
			"several have this name: %s", gs.candidates);
		err_remedy(err, "give the full name, SOURCE/NAME, or the UUID");
		return r;
	}
	if (r == -ENOENT)
		return err_set(err, r, "no-group", name,
			       "no group of this name at the replica");
	return r < 0 ? err_sys(err, r, "store-failed", name,
			       "look up the group") : 0;
}

static int send_group_point(void *arg, const struct group_point *p)
{
	uint8_t members[GROUP_MEMBERS_BYTES];
	struct wire_group_point row;
	struct session *s = arg;

	group_point_to_wire(p, members, &row);
	if (session_answered(s, serve_group_point(s->serve, &row)) < 0)
		return WALK_SESSION_FAILED;
	return read_make_room(s);
}

int read_group_points(struct session *s, const char *source, const char *name)
{
	struct wire_group_name end = { 0 };
	struct err err = ERR_INIT;
	struct group_info g;
	int r;

	r = find_group(s, source, name, &g, &err);
	if (r < 0)
		return session_answer_error(s, &err);
	r = store_group_points(s->r->store, &g, send_group_point, s);
	if (r == WALK_SESSION_FAILED)
		return s->err.num;
	if (r < 0) {
		err_sys(&err, r, "store-failed", g.name, "list the points");
		return session_answer_error(s, &err);
	}
	end.uuid = g.uuid;
	snprintf(end.source, sizeof(end.source), "%s", g.source);
	snprintf(end.name, sizeof(end.name), "%s", g.name);
	return session_answered(s, serve_group_end(s->serve, &end));
}
