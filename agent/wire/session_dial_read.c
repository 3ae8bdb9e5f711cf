// SPDX-License-Identifier: Apache-2.0
/*
 * What a reader asks for at the end that dialled. No I/O; the thread of the
 * session.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "wire/session_dial.h"

/* Longer than any name: refused as one. */
static int copy_name(char out[WIRE_NAME_MAX + 1], const char *name)
{
	size_t n = strlen(name);

	if (n > WIRE_NAME_MAX)
		return -EINVAL;
	memcpy(out, name, n + 1);
	return 0;
}

int dial_points_query(struct dial *d, const char *source, const char *name)
{
	struct msg m = { .type = MSG_POINTS_QUERY };
	int r = dial_check_ready(d, WIRE_ROLE_READER);

	if (!r)
		r = copy_name(m.u.points_query.source, source ? source : "");
	if (!r)
		r = copy_name(m.u.points_query.name, name);
	return r ? r : dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_POINTS });
}

int dial_group_query(struct dial *d, const char *source, const char *name)
{
	struct msg m = { .type = MSG_GROUP_QUERY };
	int r = dial_check_ready(d, WIRE_ROLE_READER);

	if (!r)
		r = dial_knows(d, WIRE_FEATURE_GROUPS) ? 0 : -EOPNOTSUPP;
	if (!r)
		r = copy_name(m.u.group_query.source, source ? source : "");
	if (!r)
		r = copy_name(m.u.group_query.name, name);
	return r ? r : dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_GROUP });
}

int dial_view_open(struct dial *d, const struct wire_view_open *v)
{
	struct session_core *s = &d->core;
	struct msg m = { .type = MSG_VIEW_OPEN, .u.view_open = *v };
	int r = dial_check_ready(d, WIRE_ROLE_READER);

	if (r < 0)
		return r;
	if (view_count(&s->views) + req_count(&s->pending, WIRE_REQ_VIEW) >=
	    WIRE_MAX_VIEWS)
		return -EBUSY;
	return dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_VIEW });
}

int dial_view_read(struct dial *d, uint32_t handle, uint64_t first,
		   uint32_t count)
{
	struct session_view *view = view_find(&d->core.views, handle);
	struct msg m = { .type = MSG_VIEW_READ, .handle = handle,
			 .u.range = { first, count } };
	int r = dial_check_ready(d, WIRE_ROLE_READER);

	if (r < 0)
		return r;
	if (!view || count > WIRE_MAX_READ_BLOCKS ||
	    !range_inside(first, count, view->n_blocks))
		return -EINVAL;
	return dial_ask(d, &m, &(struct req){ .what = WIRE_REQ_READ,
					 .handle = handle,
					 .first = first, .count = count });
}

int dial_view_close(struct dial *d, uint32_t handle)
{
	struct session_view *view = view_find(&d->core.views, handle);
	struct msg m = { .type = MSG_VIEW_CLOSE, .handle = handle };
	int r = dial_check_ready(d, WIRE_ROLE_READER);

	if (r < 0)
		return r;
	if (!view)
		return -EINVAL;
	if (req_has_reads(&d->core.pending, handle))
		return -EBUSY;
	r = dial_tell(d, &m);
	if (!r)
		view->used = false;
	return r;
}
