// SPDX-License-Identifier: Apache-2.0
/*
 * Asking the helper. Requests take turns under a lock, for as long as it takes
 * to open what is to be frozen; waiting is done without it, on an eventfd of
 * each hold.
 *
 * Invariants:
 * - The writing end of a hold's pipe is in this process only, and in one
 *   place: closed, here or by the kernel, it ends the hold.
 * - A slot is used again only after the helper has said that it is done.
 * - What a slot says is believed when its state has been read first.
 *
 * Any thread, after freezer_start. Nothing here survives the process; that is
 * the point.
 */
#include "freeze/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sendfds.h"

/* Before it says hello it undoes what was left behind. */
#define HELLO_MS (FREEZE_HOOK_THAW_NS / NSEC_PER_MSEC + 5000)
#define REPLY_MS 10000
#define SLICE_MS 50
/* Thawing is quick; the hook's half of it has its own limit. */
#define THAW_GRACE_NS (5 * NSEC_PER_SEC)

struct freeze_hold {
	uint32_t slot;
	int pipe_fd, event_fd;
	const struct freeze_slot *s;
	struct freeze_order o;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int helper_fd = -1;		/* fixed before there are threads */
static const struct freeze_slot *slots;	/* so is this */
static struct freeze_hello hello;	/* and this */
static enum { SLOT_FREE, SLOT_USED, SLOT_LEFT } use[FREEZE_SLOTS];

/* ---- starting ---- */

int freezer_program(char *out, uint32_t cap)
{
	static const char name[] = "understudy-freeze";
	ssize_t n = readlink("/proc/self/exe", out, cap);

	if (n < 0)
		return -errno;
	while (n && out[n - 1] != '/')
		n--;
	if ((size_t)n + sizeof(name) > cap)
		return -ENAMETOOLONG;
	memcpy(out + n, name, sizeof(name));
	return (int)((size_t)n + sizeof(name) - 1);
}

static int no_freezer(int r, const char *what, struct err *err)
{
	err_sys(err, r, "no-freezer", "understudy-freeze", "%s", what);
	err_remedy(err, "restart understudyd; the helper lies beside it");
	return r;
}

__attribute__((noreturn)) static void be_helper(int fd, const char *program)
{
	char serve[] = "--serve", *args[3];

	args[0] = (char *)(uintptr_t)program;
	args[1] = serve;
	args[2] = NULL;
	/* (Standard error stays: it is where the log goes.) */
	if ((fd == 3 ? fcntl(3, F_SETFD, 0) : dup2(fd, 3)) >= 0 &&
	    close_range(4, ~0U, 0) == 0)
		(void)execv(program, args);
	_exit(127);
}

/* Whole, or nothing: the socket keeps messages apart. */
static ssize_t receive(int fd, void *p, size_t n, int ms, int *with)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = p, .iov_len = n };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;
	ssize_t got;

	do
		got = poll(&wait, 1, ms);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got ? -errno : -ETIMEDOUT;
	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (with && c && c->cmsg_level == SOL_SOCKET &&
	    c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(with, CMSG_DATA(c), sizeof(int));
	return got == (ssize_t)n ? 0 : -ECONNRESET;
}

static int take_hello(int fd)
{
	_cleanup_close_ int memory = -1;
	const size_t n = sizeof(struct freeze_slot) * FREEZE_SLOTS;
	struct stat st;
	void *p;
	int r = (int)receive(fd, &hello, sizeof(hello), HELLO_MS, &memory);

	if (r < 0)
		return r;
	if (hello.version != FREEZE_VERSION || memory < 0 ||
	    fstat(memory, &st) < 0 || st.st_size != (off_t)n)
		return -EPROTO;
	p = mmap(NULL, n, PROT_READ, MAP_SHARED, memory, 0);
	if (p == MAP_FAILED)
		return -errno;
	slots = p;
	return 0;
}

int freezer_start(const char *program, struct err *err)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int fds[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return no_freezer(-errno, "socket pair", err);
	ours = fds[0];
	theirs = fds[1];
	pid = fork();
	if (pid < 0)
		return no_freezer(-errno, "start", err);
	if (!pid)
		be_helper(theirs, program);
	(void)close(theirs);
	theirs = -1;
	r = take_hello(ours);
	if (r < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return no_freezer(r, program, err);
	}
	helper_fd = TAKE_FD(ours);
	return 0;
}

bool freezer_is_there(void)
{
	return helper_fd >= 0;
}

/* ---- orders ---- */

void freeze_order_init(struct freeze_order *o, const char *volume,
		       const char *hook, uint64_t limit_ns)
{
	memset(o, 0, sizeof(*o));
	o->q.version = FREEZE_VERSION;
	o->q.limit_ns = limit_ns;
	(void)snprintf(o->q.volume, sizeof(o->q.volume), "%s", volume);
	(void)snprintf(o->q.hook, sizeof(o->q.hook), "%s", hook ? hook : "");
}

int freeze_order_mount(struct freeze_order *o, uint32_t fs, const char *path,
		       uint64_t mount_id)
{
	size_t n = strlen(path) + 1;

	if (fs >= FREEZE_FS_MAX || fs > o->q.n_fs ||
	    o->q.n_mounts >= FREEZE_MOUNTS_MAX)
		return -E2BIG;
	if (path[0] != '/' || n > FREEZE_PATHS_BYTES - o->paths_used)
		return -ENAMETOOLONG;
	o->q.mounts[o->q.n_mounts++] = (struct freeze_mount){
		.fs = fs, .path = o->paths_used, .mount_id = mount_id,
	};
	memcpy(o->q.paths + o->paths_used, path, n);
	o->paths_used += (uint32_t)n;
	if (fs == o->q.n_fs)
		o->q.n_fs++;
	return 0;
}

const char *freeze_order_path(const struct freeze_order *o, uint32_t fs)
{
	uint32_t i;

	for (i = 0; i < o->q.n_mounts; i++)
		if (o->q.mounts[i].fs == fs)
			return o->q.paths + o->q.mounts[i].path;
	return "the volume";
}

void freeze_order_owner(struct freeze_order *o, uint32_t fs,
			const char *volume)
{
	if (fs < FREEZE_FS_MAX)
		(void)snprintf(o->owners[fs], sizeof(o->owners[fs]), "%s",
			       volume);
}

#define FS_TEXT_BYTES 256U

/* "/srv/db", "/srv/db of wal1" */
static const char *fs_text(const struct freeze_order *o, uint32_t fs,
			   char out[FS_TEXT_BYTES])
{
	const char *owner = fs < FREEZE_FS_MAX ? o->owners[fs] : "";

	(void)snprintf(out, FS_TEXT_BYTES, "%.160s%s%s",
		       freeze_order_path(o, fs), *owner ? " of " : "", owner);
	return out;
}

/* ---- holds ---- */

static enum freeze_state state_of(const struct freeze_hold *h)
{
	/* (The mapping is read-only; older compilers want it unqualified.) */
	return (enum freeze_state)atomic_load(
		(_Atomic uint32_t *)(uintptr_t)&h->s->state);
}

static uint32_t n_synced(const struct freeze_hold *h)
{
	return atomic_load((_Atomic uint32_t *)(uintptr_t)&h->s->n_synced);
}

static int take_slot(uint32_t *out)
{
	uint32_t i;

	for (i = 0; i < FREEZE_SLOTS; i++) {
		struct freeze_hold left = { .s = &slots[i] };

		if (use[i] == SLOT_LEFT && state_of(&left) == FREEZE_DONE)
			use[i] = SLOT_FREE;
		if (use[i] == SLOT_FREE) {
			*out = i;
			use[i] = SLOT_USED;
			return 0;
		}
	}
	return -EBUSY;
}

/* Also of one that has no slot. */
static void free_hold(struct freeze_hold *h)
{
	if (h->pipe_fd >= 0)
		(void)close(h->pipe_fd);
	if (h->event_fd >= 0)
		(void)close(h->event_fd);
	free(h);
}

static void end_hold(struct freeze_hold *h, bool is_done)
{
	LOCK_SCOPE(&turn);

	use[h->slot] = is_done ? SLOT_FREE : SLOT_LEFT;
	free_hold(h);
}

/* Waits for the helper to write the slot; -ECONNRESET: it is gone. */
static int wait_slice(const struct freeze_hold *h)
{
	struct pollfd p[2] = {
		{ .fd = h->event_fd, .events = POLLIN },
		{ .fd = helper_fd, .events = 0 },
	};
	uint64_t n;

	if (poll(p, 2, SLICE_MS) < 0 && errno != EINTR)
		return -errno;
	if (p[0].revents & POLLIN)
		return read(h->event_fd, &n, sizeof(n)) < 0 ? -errno : 0;
	return p[1].revents & POLLHUP ? -ECONNRESET : 0;
}

static bool wait_done(const struct freeze_hold *h, uint64_t patience_ns)
{
	uint64_t until = clock_mono_ns(clock_real()) + patience_ns;

	while (state_of(h) != FREEZE_DONE) {
		int r = wait_slice(h);

		/* The holder outlives its keeper: look once more. */
		if (r < 0 && r != -ECONNRESET)
			break;
		if (r == -ECONNRESET)
			(void)poll(NULL, 0, 1);
		if (clock_mono_ns(clock_real()) > until)
			break;
	}
	return state_of(h) == FREEZE_DONE;
}

static int request(struct freeze_hold *h, int pipe_read,
		   struct freeze_reply *reply)
{
	const int fds[2] = { pipe_read, h->event_fd };
	struct freeze_request *q = &h->o.q;
	ssize_t n;
	int r;

	q->slot = h->slot;
	n = send_with_fds(helper_fd, q, sizeof(*q), fds, 2, 0);
	if (n != (ssize_t)sizeof(*q))
		return n < 0 ? (int)n : -EPIPE;
	r = (int)receive(helper_fd, reply, sizeof(*reply), REPLY_MS, NULL);
	/* An answer that comes later would be taken for the next one. */
	if (r == -ETIMEDOUT)
		(void)shutdown(helper_fd, SHUT_RDWR);
	return r;
}

static int cannot_open(const struct freeze_order *o,
		       const struct freeze_reply *reply, struct err *err)
{
	bool is_marker = reply->failed_fs >= FREEZE_FS_MAX;
	char fs[FS_TEXT_BYTES];

	if (!is_marker)
		return err_sys(err, reply->error, "quiesce-failed",
			       fs_text(o, reply->failed_fs, fs),
			       "open it to freeze it");
	err_sys(err, reply->error, "quiesce-failed", "/run/understudy/holds",
		"note what is going to be frozen");
	err_done(err, "nothing is frozen");
	return err_remedy(err, "make room in /run, or make it writable");
}

/* A hold that is on its way; under the lock. */
static int begin(struct freeze_hold *h, struct err *err)
{
	_cleanup_close_ int reading = -1;
	struct freeze_reply reply = { 0 };
	int fds[2] = { -1, -1 }, r;

	LOCK_SCOPE(&turn);
	r = take_slot(&h->slot);
	if (r < 0)
		return err_sys(err, r, "quiesce-failed", h->o.q.volume,
			       "too many holds at once");
	h->s = &slots[h->slot];
	h->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = h->event_fd < 0 || pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
	reading = fds[0];
	h->pipe_fd = fds[1];
	if (!r)
		r = request(h, reading, &reply);
	if (r < 0)
		no_freezer(r, "it does not answer", err);
	else if (reply.error < 0)
		r = cannot_open(&h->o, &reply, err);
	if (r < 0)
		use[h->slot] = SLOT_FREE;
	return r;
}

/* Why it came to nothing, in words. */
static int refused(const struct freeze_order *o, const struct freeze_slot *s,
		   struct err *err)
{
	char text[FS_TEXT_BYTES];
	const char *volume = o->q.volume;
	const char *fs = fs_text(o, s->failed_fs, text);
	unsigned long long ms = o->q.limit_ns / NSEC_PER_MSEC;

	switch ((enum freeze_why)s->why) {
	case FREEZE_BUSY:
		err_set(err, -EBUSY, "already-frozen", volume,
			"quiesce: somebody else has frozen %s", fs);
		return err_remedy(err, "fsfreeze --unfreeze, once nobody needs "
				  "it any more");
	case FREEZE_FAILED:
		err_sys(err, s->error, "quiesce-failed", volume,
			"quiesce: freeze %s", fs);
		if (s->error == -EPERM)
			err_remedy(err, "start understudyd with CAP_SYS_ADMIN");
		return s->error;
	case FREEZE_TOO_SLOW:
	case FREEZE_LIMIT:
		err_set(err, -ETIMEDOUT, "quiesce-limit", volume,
			"quiesce: freezing %s took longer than %llu ms", fs,
			ms);
		return err_remedy(err, "raise quiesce-limit");
	case FREEZE_HOOK_TIMEOUT:
		err_set(err, -ETIMEDOUT, "hook-timeout", volume,
			"quiesce: %s freeze did not end within %llu ms, and "
			"was killed", o->q.hook, ms);
		return err_remedy(err, "raise quiesce-limit");
	case FREEZE_HOOK_FAILED:
		if (s->error)
			return err_sys(err, s->error, "hook-failed", volume,
				       "quiesce: %s freeze", o->q.hook);
		return err_set(err, -EIO, "hook-failed", volume,
			       "quiesce: %s freeze %s %d", o->q.hook,
			       WIFSIGNALED(s->hook_status) ?
				       "was ended by signal" :
				       "exited with",
			       WIFSIGNALED(s->hook_status) ?
				       WTERMSIG(s->hook_status) :
				       WEXITSTATUS(s->hook_status));
	case FREEZE_HELPER_DIED:
		return err_set(err, -EINTR, "quiesce-failed", volume,
			       "quiesce: the process that held it was ended; "
			       "it is thawed");
	default:
		return err_set(err, -EINTR, "quiesce-failed", volume,
			       "quiesce: the helper was told to thaw");
	}
}

static int still_frozen(const char *volume, struct err *err)
{
	err_set(err, -ETIMEDOUT, "still-frozen", volume,
		"quiesce: the helper does not say that it has thawed");
	return err_remedy(err, "understudy-freeze --thaw, or restart "
			  "understudyd");
}

static int cannot_thaw(const struct freeze_hold *h, struct err *err)
{
	err_sys(err, h->s->thaw_error, "still-frozen", h->o.q.volume,
		"quiesce: thaw it");
	return err_remedy(err, "fsfreeze --unfreeze, or understudy-freeze "
			  "--thaw");
}

static int is_possible(const struct freeze_order *o, struct err *err)
{
	if (!freezer_is_there())
		return no_freezer(-ENOTCONN, "it was not started", err);
	if (!hello.error || !o->q.n_fs)
		return 0;
	err_sys(err, hello.error, "no-freezer", o->q.volume, "quiesce: %s",
		hello.what);
	return err_remedy(err, "start understudyd with CAP_SYS_ADMIN");
}

/* Until it has written back for the n-th time, or ended. */
static int wait_ready(const struct freeze_hold *h, uint32_t n,
		      uint64_t patience_ns, freeze_cancelled cancelled,
		      void *arg, struct err *err)
{
	uint64_t until = clock_mono_ns(clock_real()) + patience_ns;
	int r;

	while (n_synced(h) < n && state_of(h) < FREEZE_THAWING) {
		r = wait_slice(h);
		if (r < 0)
			return no_freezer(r, "it has gone", err);
		if (cancelled && cancelled(arg))
			return err_set(err, -ECANCELED, "quiesce-failed",
				       h->o.q.volume,
				       "quiesce: told to wait no longer");
		if (clock_mono_ns(clock_real()) > until)
			return err_set(err, -ETIMEDOUT, "quiesce-failed",
				       h->o.q.volume,
				       "quiesce: writing back what is dirty "
				       "took longer than %llu s",
				       (unsigned long long)patience_ns /
					       NSEC_PER_SEC);
	}
	return state_of(h) <= FREEZE_READY ? 0 : refused(&h->o, h->s, err);
}

int freezer_prepare(const struct freeze_order *o, uint64_t patience_ns,
		    freeze_cancelled cancelled, void *arg,
		    struct freeze_hold **out, struct err *err)
{
	struct freeze_hold *h;
	int r = is_possible(o, err);

	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_sys(err, -ENOMEM, "no-memory", o->q.volume, "hold");
	h->o = *o;
	h->pipe_fd = h->event_fd = -1;
	r = begin(h, err);
	if (r < 0) {
		free_hold(h);
		return r;
	}
	r = wait_ready(h, 1, patience_ns, cancelled, arg, err);
	if (r < 0) {
		/* It looks at the pipe before it freezes anything. */
		end_hold(h, state_of(h) == FREEZE_DONE);
		return r;
	}
	*out = h;
	return 0;
}

int freezer_again(struct freeze_hold *h, uint64_t patience_ns,
		  freeze_cancelled cancelled, void *arg, struct err *err)
{
	uint32_t n = n_synced(h) + 1;
	const char again = FREEZE_AGAIN;

	if (write(h->pipe_fd, &again, 1) != 1)
		return no_freezer(-errno, "it has gone", err);
	return wait_ready(h, n, patience_ns, cancelled, arg, err);
}

int freezer_hold(struct freeze_hold *h, struct err *err)
{
	uint64_t until = clock_mono_ns(clock_real()) + h->o.q.limit_ns +
			 THAW_GRACE_NS;
	enum freeze_state s;
	const char go = FREEZE_GO;

	if (write(h->pipe_fd, &go, 1) != 1)
		return no_freezer(-errno, "it has gone", err);
	for (;;) {
		s = state_of(h);
		if (s == FREEZE_FROZEN)
			return 0;
		if (s >= FREEZE_THAWING)
			break;
		/* From here on its own limit counts; but the kernel may take
		 * longer, and others need this thread. */
		if (wait_slice(h) == -ECONNRESET && !wait_done(h, THAW_GRACE_NS))
			break;
		if (clock_mono_ns(clock_real()) > until &&
		    state_of(h) < FREEZE_FROZEN)
			return still_frozen(h->o.q.volume, err);
	}
	if (!wait_done(h, FREEZE_HOOK_THAW_NS + THAW_GRACE_NS))
		return still_frozen(h->o.q.volume, err);
	return h->s->frozen_ns ? 0 : refused(&h->o, h->s, err);
}

bool freezer_is_held(const struct freeze_hold *h)
{
	return state_of(h) == FREEZE_FROZEN;
}

int freezer_release(struct freeze_hold *h, struct freeze_result *out,
		    struct err *err)
{
	bool done;
	int r = 0;

	(void)close(TAKE_FD(h->pipe_fd));
	memset(out, 0, sizeof(*out));
	done = wait_done(h, FREEZE_HOOK_THAW_NS + THAW_GRACE_NS);
	out->why = done ? (enum freeze_why)h->s->why : FREEZE_HELPER_DIED;
	if (done)
		*out = (struct freeze_result){
			.is_whole = h->s->is_whole,
			.frozen_ns = h->s->frozen_ns,
			.thaw_ns = h->s->thaw_ns,
			.held_ns = h->s->ended_ns - h->s->began_ns,
			.why = (enum freeze_why)h->s->why,
			.thaw_hook_failed = h->s->thaw_hook_status != 0,
		};
	if (!done)
		r = still_frozen(h->o.q.volume, err);
	else if (h->s->thaw_error)
		r = cannot_thaw(h, err);
	end_hold(h, done);
	return r;
}
