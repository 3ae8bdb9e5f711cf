// SPDX-License-Identifier: Apache-2.0
/*
 * Filesystems that were left frozen by a daemon that was killed together with
 * its freeze helper. Whatever writes to them waits until somebody thaws them,
 * so that is done at once, and told.
 *
 * Any thread; no state.
 */
#include <errno.h>
#include <string.h>

#include "freeze/freeze_marker.h"
#include "source/doctor_checks.h"

static void tell_left(void *arg, const struct freeze_left *l)
{
	struct doctor_report *r = arg;

	if (l->result == -EINVAL)
		return;			/* somebody else did it */
	if (!l->result)
		doctor_add(r, DOCTOR_WARN, "holds", NULL,
			   "%s of volume %s was left frozen by a killed "
			   "daemon; thawed now", l->what, l->volume);
	else
		doctor_add(r, DOCTOR_FAIL, "holds", "fsfreeze --unfreeze",
			   "%s of volume %s was left frozen by a killed "
			   "daemon, and cannot be thawed: %s", l->what,
			   l->volume, strerrordesc_np(-l->result));
}

void doctor_check_holds(struct doctor_report *r)
{
	int n = freeze_marker_sweep(FREEZE_MARKER_DIR, false, tell_left, r);

	if (!n)
		doctor_add(r, DOCTOR_OK, "holds", NULL,
			   "nothing was left frozen");
	else if (n < 0)
		doctor_add(r, DOCTOR_WARN, "holds", "run it as root",
			   "%s: %s", FREEZE_MARKER_DIR, strerrordesc_np(-n));
}
