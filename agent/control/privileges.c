// SPDX-License-Identifier: Apache-2.0
/*
 * Giving up privileges.
 *
 *	process			capabilities
 *	understudyd		none (but see below)
 *	its helper		CAP_BPF CAP_PERFMON CAP_MKNOD; only of a source
 *	understudy-freeze	CAP_SYS_ADMIN CAP_DAC_READ_SEARCH; only when a
 *				volume has `quiesce` (freeze/freeze_confine.c)
 *
 * Two are kept by a source where there is no other way, and it says so: CAP_BPF
 * on kernels that ask for it at each use of a map, and CAP_IPC_LOCK where the
 * limit on locked memory, which the readers' buffers count against, cannot be
 * raised.
 *
 * The daemon reads what peers, stores and configurations say; the helper reads
 * fixed requests of the daemon and nothing else (tracker/tracker_helper.h). Root
 * without capabilities still owns root's files: it reads devices and its state
 * as their owner, and a file of somebody else only when that one lets it.
 *
 * Main thread, before any other; nothing here survives the process.
 */
#include "control/privileges.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cap-ng.h>

#include "base/checked.h"
#include "base/log.h"
#include "freeze/freezer.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host.h"

static const unsigned int helper_needs[] = { CAP_BPF, CAP_PERFMON, CAP_MKNOD };

static void raise_limit(int which)
{
	struct rlimit l;

	if (getrlimit((__rlimit_resource_t)which, &l))
		return;
	l.rlim_cur = l.rlim_max;
	(void)setrlimit((__rlimit_resource_t)which, &l);
}

void privileges_raise_limits(void)
{
	raise_limit(RLIMIT_NOFILE);
}

/* Registered buffers of all volumes count as one user's. */
static bool lift_memlock(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	return !setrlimit(RLIMIT_MEMLOCK, &all);
}

static int failed(int r, const char *what, struct err *err)
{
	err_sys(err, r, "privileges", "understudyd", "give up %s", what);
	return r;
}

/*
 * Keeps those of keep[n] that there are, permitted and, if wanted, in effect.
 * Who may not change the bounding set has nothing in it that it could use:
 * there are no new privileges.
 */
static int keep_only(const unsigned int *keep, size_t n, bool in_effect,
		     struct err *err)
{
	bool had[8] = { false };
	size_t i;
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed(-errno, "new privileges", err);
	if (capng_get_caps_process() < 0)
		return failed(-EIO, "capabilities", err);
	for (i = 0; i < n; i++)
		had[i] = capng_have_capability(CAPNG_PERMITTED, keep[i]);
	capng_clear(CAPNG_SELECT_ALL);
	for (i = 0; i < n; i++)
		if (had[i] &&
		    capng_update(CAPNG_ADD,
				 in_effect ? CAPNG_EFFECTIVE | CAPNG_PERMITTED
					   : CAPNG_PERMITTED, keep[i]))
			return failed(-EIO, "capabilities", err);
	r = capng_apply(CAPNG_SELECT_ALL);
	if (r < 0)
		return failed(-EPERM, "capabilities", err);
	return 0;
}

static int confine_helper(struct err *err)
{
	return keep_only(helper_needs, ARRAY_SIZE(helper_needs), true, err);
}

/* Is what a helper leaves to be done allowed to us? */
static int drop_of_source(struct err *err)
{
	unsigned int keep[2];
	size_t n = 0;
	int r;

	if (!lift_memlock())
		keep[n++] = CAP_IPC_LOCK;
	keep[n] = CAP_BPF;
	r = keep_only(keep, n + 1, false, err);
	if (r)
		return r;
	if (!tracker_helper_is_enough()) {
		n++;
		log_warn("CAP_BPF is kept: this kernel asks for it at each "
			 "use of a map (Linux 5.19 and later do not)");
	}
	if (keep[0] == CAP_IPC_LOCK)
		log_info("CAP_IPC_LOCK is kept: the limit on locked memory "
			 "cannot be raised");
	return keep_only(keep, n, true, err);
}

void privileges_start_freezer(void)
{
	struct err err = ERR_INIT;
	char program[512];
	int n = freezer_program(program, sizeof(program) - 1);

	if (n < 0) {
		log_err("understudy-freeze: where is it? %s",
			strerrordesc_np(-n));
		return;
	}
	program[n] = 0;
	if (freezer_start(program, &err) < 0)
		log_failure(LOG_LEVEL_ERR, &err);
}

int privileges_drop(bool with_helper, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	if (!with_helper)
		return keep_only(NULL, 0, false, err);
	/* Told again by each volume that needs it. */
	if (tracker_host_prepare(&why))
		log_failure(LOG_LEVEL_WARN, &why);
	r = tracker_helper_start(confine_helper, err);
	if (r == TRACKER_HELPER_ENDS)
		_exit(0);
	return r ? r : drop_of_source(err);
}

bool privileges_can_track(void)
{
	return tracker_helper_is_there();
}
