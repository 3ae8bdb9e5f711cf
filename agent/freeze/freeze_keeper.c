// SPDX-License-Identifier: Apache-2.0
/*
 * The keeper: takes the daemon's requests, starts a holder for each, and
 * guards it. It has all that a holder has open, so that it can thaw when the
 * holder was killed; one that was stopped, or that lets its time go by, it
 * kills; and what it has frozen while the kernel still freezes the next one is
 * thawed from here when time is up. When the keeper itself dies, each holder
 * gets a signal and thaws.
 *
 * Of what it is asked it believes nothing; the worst that a request can do is
 * to hold a filesystem for FREEZE_LIMIT_MAX_NS, and to run a program with the
 * rights that the daemon has as well (freeze_hook.h).
 *
 * One thread, no memory got after the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sendfds.h"
#include "freeze/freeze_hook.h"
#include "freeze/freeze_job.h"
#include "freeze/freeze_marker.h"

#define WATCH_MS 50
/* A holder that has not thawed by then is not going to. */
#define OVERDUE_NS UINT64_C(100000000)

static struct {
	int socket_fd, signal_fd;
	struct freeze_slot *slots;
	struct freeze_job jobs[FREEZE_SLOTS];
	struct freeze_request request;
} k;

static void close_job(struct freeze_job *j)
{
	freeze_targets_close(&j->targets);
	if (j->life_fd >= 0)
		(void)close(j->life_fd);
	if (j->event_fd >= 0)
		(void)close(j->event_fd);
	if (j->marker_fd >= 0)
		(void)close(j->marker_fd);
	j->life_fd = j->event_fd = j->marker_fd = -1;
	j->pid = 0;
	j->is_undoing = false;
}

/* ---- requests ---- */

/* The holder knows nothing of other holds, nor of the daemon's socket: who
 * waits for the keeper's end must see it. */
static void forget_others(const struct freeze_job *mine)
{
	uint32_t i;

	(void)close(k.socket_fd);
	(void)close(k.signal_fd);
	for (i = 0; i < FREEZE_SLOTS; i++)
		if (&k.jobs[i] != mine && k.jobs[i].pid)
			close_job(&k.jobs[i]);
}

static int begin(struct freeze_job *j, const struct freeze_request *q,
		 uint32_t *failed)
{
	pid_t keeper = getpid();
	int r;

	r = freeze_targets_open(q, &j->targets, failed);
	if (r < 0)
		return r;
	r = j->marker_fd = freeze_marker_make(FREEZE_MARKER_DIR, q,
					       j->targets.devs, j->marker);
	if (r < 0) {
		*failed = FREEZE_FS_MAX;
		return r;
	}
	memset(j->slot, 0, sizeof(*j->slot));
	atomic_store(&j->slot->state, FREEZE_PREPARING);
	j->limit_ns = q->limit_ns;
	memcpy(j->volume, q->volume, sizeof(j->volume));
	memcpy(j->hook, q->hook, sizeof(j->hook));
	j->pid = fork();
	if (j->pid > 0)
		return 0;
	if (j->pid < 0) {
		r = -errno;
		j->pid = 0;
		freeze_marker_remove(FREEZE_MARKER_DIR, j->marker);
		return r;
	}
	forget_others(j);
	freeze_hold(j, keeper);
}

/* The daemon uses a slot again as soon as it is done; who used it has nothing
 * to do any more but to end. */
static void leave_done(struct freeze_job *j)
{
	if (!j->pid || atomic_load(&j->slot->state) != FREEZE_DONE)
		return;
	(void)kill(j->pid, SIGKILL);
	while (waitpid(j->pid, NULL, 0) < 0)
		if (errno != EINTR)
			return;
	close_job(j);
}

static int accept_request(const struct freeze_request *q, ssize_t n,
			  const int fds[2], uint32_t *failed)
{
	struct freeze_job *j;
	int r;

	if (n != (ssize_t)sizeof(*q) || fds[0] < 0 || fds[1] < 0 ||
	    !freeze_request_is_sound(q))
		return -EPROTO;
	j = &k.jobs[q->slot];
	leave_done(j);
	if (j->pid)
		return -EBUSY;
	*j = (struct freeze_job){
		.slot = &k.slots[q->slot], .life_fd = dup(fds[0]), .event_fd = dup(fds[1]),
		.marker_fd = -1,
	};
	r = j->life_fd < 0 || j->event_fd < 0 ? -EMFILE :
						begin(j, q, failed);
	if (r < 0)
		close_job(j);
	return r;
}

static void take_fds(struct msghdr *msg, int fds[2])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	fds[0] = fds[1] = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len <= CMSG_LEN(2 * sizeof(int)))
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
}

/* False: the daemon's end is closed. */
static bool serve_one(void)
{
	union {
		char space[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { &k.request, sizeof(k.request) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct freeze_reply reply = { 0 };
	int fds[2];
	ssize_t n = recvmsg(k.socket_fd, &msg,
			    MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (!n)
		return false;
	take_fds(&msg, fds);
	reply.error = accept_request(&k.request, n, fds, &reply.failed_fs);
	if (fds[0] >= 0)
		(void)close(fds[0]);
	if (fds[1] >= 0)
		(void)close(fds[1]);
	return send_with_fds(k.socket_fd, &reply, sizeof(reply), NULL, 0, 0) ==
	       (ssize_t)sizeof(reply);
}

/* ---- guarding ---- */

/*
 * In a process of its own, which has the slot until it has ended: a program may
 * take its time. False: it cannot be, and the marker stays.
 */
static bool undo_hook(struct freeze_job *j)
{
	pid_t pid = fork();

	if (pid > 0) {
		j->pid = pid;
		j->is_undoing = true;
	}
	if (pid)
		return pid > 0;
	forget_others(j);
	freeze_job_thaw_hook(j);
	if (!j->slot->thaw_error)
		freeze_marker_remove(FREEZE_MARKER_DIR, j->marker);
	freeze_job_done(j);
	_exit(0);
}

/* The holder, or who was to call the hook in its place. */
static void holder_ended(struct freeze_job *j)
{
	struct freeze_slot *s = j->slot;

	if (atomic_load(&s->state) == FREEZE_DONE) {
		close_job(j);
		return;
	}
	if (!j->is_undoing) {
		s->thaw_ns = freeze_now_ns();
		(void)freeze_job_thaw(j);
		s->is_whole = false;
		s->why = FREEZE_HELPER_DIED;
		atomic_store(&s->state, FREEZE_THAWING);
		if (atomic_load(&s->maybe_hooked) && undo_hook(j))
			return;
	}
	if (atomic_load(&s->maybe_hooked))
		s->thaw_hook_status = -1;
	else if (!s->thaw_error)
		freeze_marker_remove(FREEZE_MARKER_DIR, j->marker);
	freeze_job_done(j);
	close_job(j);
}

static struct freeze_job *job_of(pid_t pid)
{
	uint32_t i;

	for (i = 0; i < FREEZE_SLOTS; i++)
		if (k.jobs[i].pid == pid)
			return &k.jobs[i];
	return NULL;
}

static void reap(void)
{
	struct freeze_job *j;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		j = job_of(pid);
		if (!j)
			continue;
		if (WIFSTOPPED(status))
			(void)kill(pid, SIGKILL);
		else
			holder_ended(j);
	}
}

/* How many there are. */
static uint32_t watch(bool has_daemon)
{
	uint64_t now = freeze_now_ns();
	uint32_t i, n = 0;

	for (i = 0; i < FREEZE_SLOTS; i++) {
		struct freeze_job *j = &k.jobs[i];
		uint32_t state;
		bool is_over;

		if (!j->pid)
			continue;
		n++;
		state = atomic_load(&j->slot->state);
		is_over = now >= j->slot->deadline_ns + OVERDUE_NS;
		if (state == FREEZE_FROZEN && is_over)
			(void)kill(j->pid, SIGKILL);
		else if (state == FREEZE_FREEZING && (is_over || !has_daemon))
			freeze_job_thaw_frozen(j);
	}
	return n;
}

/* A signal to this one is meant for all. */
static void take_signals(void)
{
	struct signalfd_siginfo si;
	uint32_t i;

	while (read(k.signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		for (i = 0; i < FREEZE_SLOTS && si.ssi_signo != SIGCHLD; i++)
			if (k.jobs[i].pid && !k.jobs[i].is_undoing)
				(void)kill(k.jobs[i].pid, SIGTERM);
}

/* Sealed: nobody who maps it can take it away. */
static int make_slots(void)
{
	const size_t n = sizeof(struct freeze_slot) * FREEZE_SLOTS;
	int fd = memfd_create("understudy-holds", MFD_CLOEXEC |
			      MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)n) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
		    0)
		return -errno;
	k.slots = mmap(NULL, n, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, 0);
	return k.slots == MAP_FAILED ? -errno : fd;
}

static int say_hello(const struct freeze_hello *hello)
{
	int fd = make_slots(), r;

	if (fd < 0)
		return fd;
	r = send_with_fds(k.socket_fd, hello, sizeof(*hello), &fd, 1, 0) ==
			    (ssize_t)sizeof(*hello) ? 0 : -EPIPE;
	(void)close(fd);
	return r;
}

int freeze_keep(int socket_fd, const struct freeze_hello *hello)
{
	bool is_asked = true;
	uint32_t n = 0;
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	k.socket_fd = socket_fd;
	k.signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k.signal_fd < 0 || say_hello(hello) < 0)
		return 1;
	(void)mlockall(MCL_CURRENT);
	while (is_asked || n) {
		struct pollfd p[2] = {
			{ .fd = k.signal_fd, .events = POLLIN },
			{ .fd = is_asked ? socket_fd : -1, .events = POLLIN },
		};

		if (poll(p, 2, n ? WATCH_MS : -1) < 0 && errno != EINTR)
			return 1;
		take_signals();
		reap();
		if (p[1].revents)
			is_asked = serve_one();
		n = watch(is_asked);
	}
	return 0;
}
