// SPDX-License-Identifier: Apache-2.0
/*
 * The holder: a process for one hold. Time runs from the moment somebody may
 * have to wait: the hook's freezing half, or the first filesystem's freezing.
 *
 * Invariants:
 * - From the first freezing to the last thawing nothing wants memory: no
 *   message, no process, no file; all pages are locked and written to before.
 *   (Memory may have to be got by dropping inodes of a frozen filesystem,
 *   which waits for the thaw.)
 * - maybe_frozen is set before a freezing and cleared after a thawing, so that
 *   whoever finds this process dead knows what it left.
 * - Whatever can be read, hangs up or runs out ends the hold; there is no
 *   message that prolongs one.
 *
 * A freezing that the kernel has begun cannot be cut short; it is thawed as
 * soon as it returns. What was frozen before it the keeper thaws in time.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "freeze/freeze_hook.h"
#include "freeze/freeze_job.h"
#include "freeze/freeze_marker.h"

#define STACK_BYTES 65536
#define THAW_TRIES 10
#define THAW_RETRY_MS 100

static void set_state(struct freeze_job *j, enum freeze_state s)
{
	atomic_store(&j->slot->state, s);
}

static void wake(const struct freeze_job *j)
{
	const uint64_t one = 1;

	/* (It counts up to 2^64: there is nothing to wait for.) */
	if (write(j->event_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- undoing; also the guard's ---- */

bool freeze_job_thaw(struct freeze_job *j)
{
	struct freeze_slot *s = j->slot;
	uint32_t i = j->targets.n_fs;
	bool whole = true;
	int r;

	s->thaw_error = 0;
	while (i--) {
		/* (The keeper may have been here, when time was up.) */
		r = atomic_load(&s->maybe_frozen[i]) == FREEZE_NOT ? -EINVAL :
			    freeze_target_thaw(&j->targets, i);
		whole &= !r;
		if (!r || r == -EINVAL)
			atomic_store(&s->maybe_frozen[i], FREEZE_NOT);
		else
			s->thaw_error = r;
	}
	return whole;
}

void freeze_job_thaw_frozen(struct freeze_job *j)
{
	struct freeze_slot *s = j->slot;
	uint32_t i = j->targets.n_fs;
	int r;

	while (i--) {
		if (atomic_load(&s->maybe_frozen[i]) != FREEZE_IS)
			continue;
		r = freeze_target_thaw(&j->targets, i);
		if (!r || r == -EINVAL)
			atomic_store(&s->maybe_frozen[i], FREEZE_NOT);
	}
}

void freeze_job_thaw_hook(struct freeze_job *j)
{
	const struct freeze_hook h = {
		.path = j->hook, .word = "thaw", .volume = j->volume,
		.deadline_ns = freeze_now_ns() + FREEZE_HOOK_THAW_NS,
		.stop_fds = { -1, -1 },
	};
	int status = 0, r;

	if (!atomic_load(&j->slot->maybe_hooked))
		return;
	r = freeze_hook_run(&h, &status);
	j->slot->thaw_hook_status = r == HOOK_ENDED ? status : -1;
	atomic_store(&j->slot->maybe_hooked, 0);
}

void freeze_job_done(struct freeze_job *j)
{
	j->slot->ended_ns = freeze_now_ns();
	set_state(j, FREEZE_DONE);
	wake(j);
}

/* ---- holding ---- */

__attribute__((noreturn)) static void end(struct freeze_job *j,
					  enum freeze_why why, int error)
{
	struct freeze_slot *s = j->slot;
	bool was_frozen = atomic_load(&s->state) == FREEZE_FROZEN, whole;
	int tries = THAW_TRIES;

	s->why = why;
	s->error = error;
	s->thaw_ns = freeze_now_ns();
	set_state(j, FREEZE_THAWING);
	whole = freeze_job_thaw(j);
	s->is_whole = was_frozen && whole;
	while (s->thaw_error && --tries) {
		(void)poll(NULL, 0, THAW_RETRY_MS);
		(void)freeze_job_thaw(j);
	}
	freeze_job_thaw_hook(j);
	/* Who could not thaw leaves it to others, later. */
	if (!s->thaw_error)
		freeze_marker_remove(FREEZE_MARKER_DIR, j->marker);
	freeze_job_done(j);
	_exit(0);
}

/* Everything but what the end of a child is told by. */
static int open_signals(void)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGCHLD);
	return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Pages of the stack that will be used are there before the rest is locked. */
static void touch_stack(void)
{
	volatile char some[STACK_BYTES];
	size_t i;

	for (i = 0; i < sizeof(some); i += 1024)
		some[i] = 0;
}

/* Ends the hold when somebody wants that, waiting up to ms. */
static void look(struct freeze_job *j, int signal_fd, int ms)
{
	struct pollfd p[2] = {
		{ .fd = j->life_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};

	if (poll(p, 2, ms) < 0 && errno != EINTR)
		end(j, FREEZE_FAILED, -errno);
	if (p[1].revents)
		end(j, FREEZE_SIGNAL, 0);
	if (p[0].revents)
		end(j, FREEZE_RELEASED, 0);
}

/* Writes back; the daemon reads what that has made dirty, then says go. */
static void await_order(struct freeze_job *j, int signal_fd)
{
	struct pollfd p[2] = {
		{ .fd = j->life_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	char c = FREEZE_AGAIN;

	while (c != FREEZE_GO) {
		freeze_targets_sync(&j->targets);
		j->slot->n_synced++;
		set_state(j, FREEZE_READY);
		wake(j);
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			end(j, FREEZE_FAILED, -errno);
		if (p[1].revents)
			end(j, FREEZE_SIGNAL, 0);
		if (read(j->life_fd, &c, 1) != 1)
			end(j, FREEZE_RELEASED, 0);
	}
}

static void call_hook(struct freeze_job *j, int signal_fd)
{
	const struct freeze_hook h = {
		.path = j->hook, .word = "freeze", .volume = j->volume,
		.deadline_ns = j->slot->deadline_ns,
		.stop_fds = { j->life_fd, signal_fd },
	};
	int status = 0, r;

	if (!j->hook[0])
		return;
	atomic_store(&j->slot->maybe_hooked, 1);
	r = freeze_hook_run(&h, &status);
	j->slot->hook_status = status;
	if (r < 0)
		end(j, FREEZE_HOOK_FAILED, r);
	if (r == HOOK_LATE)
		end(j, FREEZE_HOOK_TIMEOUT, 0);
	if (r == HOOK_STOPPED)
		end(j, FREEZE_RELEASED, 0);
	if (status)
		end(j, FREEZE_HOOK_FAILED, 0);
}

static void freeze_one(struct freeze_job *j, uint32_t i)
{
	int r;

	atomic_store(&j->slot->maybe_frozen[i], FREEZE_BEGUN);
	r = freeze_target_freeze(&j->targets, i);
	if (r < 0) {
		/* What somebody else has frozen is not ours to thaw. */
		atomic_store(&j->slot->maybe_frozen[i], FREEZE_NOT);
		j->slot->failed_fs = i;
		end(j, r == -EBUSY ? FREEZE_BUSY : FREEZE_FAILED, r);
	}
	atomic_store(&j->slot->maybe_frozen[i], FREEZE_IS);
	if (freeze_now_ns() >= j->slot->deadline_ns) {
		j->slot->failed_fs = i;
		end(j, FREEZE_TOO_SLOW, 0);
	}
}

void freeze_hold(struct freeze_job *j, pid_t keeper)
{
	struct freeze_slot *s = j->slot;
	int signal_fd = open_signals();
	uint32_t i;
	int r;

	(void)prctl(PR_SET_NAME, "understudy-hold");
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (signal_fd < 0 || getppid() != keeper)
		end(j, FREEZE_HELPER_DIED, 0);
	touch_stack();
	(void)mlockall(MCL_CURRENT);
	await_order(j, signal_fd);
	s->began_ns = freeze_now_ns();
	s->deadline_ns = s->began_ns + j->limit_ns;
	set_state(j, FREEZE_FREEZING);
	/* (Of a page that is there: it needs none.) */
	r = freeze_marker_until(j->marker_fd, s->deadline_ns);
	if (r < 0)
		end(j, FREEZE_FAILED, r);
	call_hook(j, signal_fd);
	for (i = 0; i < j->targets.n_fs; i++) {
		look(j, signal_fd, 0);
		freeze_one(j, i);
	}
	s->frozen_ns = freeze_now_ns();
	set_state(j, FREEZE_FROZEN);
	wake(j);
	(void)FAULT("freeze.held");
	do {
		look(j, signal_fd, freeze_ms_until(s->deadline_ns));
	} while (freeze_now_ns() < s->deadline_ns);
	end(j, FREEZE_LIMIT, 0);
}
