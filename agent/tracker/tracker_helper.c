// SPDX-License-Identifier: Apache-2.0
/*
 * The helper of a source: see the header. One request and one reply at a time,
 * each a message of a SOCK_SEQPACKET pair; descriptors travel beside the
 * reply. The daemon's threads take turns under a lock.
 *
 * The helper believes nothing of what it is asked: what it opens it opens to
 * read, what it loads is built in, and a request of another size is the end.
 * The maps and links are pinned by then, so that a helper that dies takes
 * nothing along but the chance to add volumes.
 */
#include "tracker/tracker_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sendfds.h"
#include "tracker/tracker_host_internal.h"

#define HELPER_FD 3
#define MAX_FDS 2

enum op {
	OP_ATTACH = 1,
	OP_MAPS,
	OP_OPEN_DISK,
};

struct request {
	uint32_t op;
	struct uuid node;
	char text[US_INFO_PATH];	/* state directory; name of a disk */
	uint32_t a, b;
	int32_t flags;
};

struct reply {
	int32_t result;
	struct err err;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int helper_fd = -1;		/* fixed before there are threads */

/* ---- messages ---- */

/* Whole, or not at all: the socket keeps messages apart. */
static int send_message(int fd, const void *p, size_t n, const int *fds,
			int n_fds)
{
	ssize_t sent = send_with_fds(fd, p, n, fds, n_fds, 0);

	return sent < 0 ? (int)sent : 0;
}

static int take_fds(struct msghdr *msg, int fds[MAX_FDS])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	size_t n;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (n > MAX_FDS)
		n = MAX_FDS;
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return (int)n;
}

/* The reply, and how many descriptors came with it. */
static int receive_reply(int fd, struct reply *reply, int fds[MAX_FDS])
{
	union {
		char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = reply, .iov_len = sizeof(*reply) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*reply) ? take_fds(&msg, fds) : -ECONNRESET;
}

/* ---- the helper's side ---- */

static int serve_attach(const struct request *q, struct err *err)
{
	struct tracker_host_config cfg = { .state_dir = q->text,
					   .node = q->node,
					   .add_bios = q->a };
	struct tracker_host *h = NULL;
	int r = tracker_host_open(&cfg, &h, err);

	tracker_host_close(h, false);
	return r;
}

static int serve_maps(const struct request *q, int fds[MAX_FDS],
		      struct err *err)
{
	int r = host_words_maps(q->a, q->b, &fds[0], &fds[1], err);

	return r ? r : 2;
}

static int serve_open_disk(const struct request *q, int fds[MAX_FDS])
{
	const struct devno no = { q->a, q->b };

	if ((q->flags & ~O_DIRECT) != O_RDONLY || strchr(q->text, '/'))
		return -EPERM;
	fds[0] = blkdev_open_node(&blkdev_host, no, q->text, q->flags);
	return fds[0] < 0 ? fds[0] : 1;
}

static int answer(int fd, const struct request *q)
{
	struct reply reply = { 0 };
	int fds[MAX_FDS] = { -1, -1 };
	int i, n_fds, r;

	switch ((enum op)q->op) {
	case OP_ATTACH:
		reply.result = serve_attach(q, &reply.err);
		break;
	case OP_MAPS:
		reply.result = serve_maps(q, fds, &reply.err);
		break;
	case OP_OPEN_DISK:
		reply.result = serve_open_disk(q, fds);
		break;
	default:
		reply.result = -EOPNOTSUPP;
	}
	n_fds = reply.result > 0 ? reply.result : 0;
	r = send_message(fd, &reply, sizeof(reply), fds, n_fds);
	for (i = 0; i < n_fds; i++)
		(void)close(fds[i]);
	return r;
}

/* Signals are the daemon's: this one ends when nobody can ask it any more. */
static void serve(int fd)
{
	struct request q;
	ssize_t n;
	int r = 0;

	while (!r) {
		n = recv(fd, &q, sizeof(q), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(q))
			return;
		q.text[sizeof(q.text) - 1] = 0;
		r = answer(fd, &q);
	}
}

static void be_helper(const int fds[2], int (*confine)(struct err *err))
{
	struct reply reply = { 0 };
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)prctl(PR_SET_NAME, "understudyd-bpf");
	/* (Standard error stays: it is where the log goes.) */
	if (close(fds[0]) < 0 || dup2(fds[1], HELPER_FD) < 0 ||
	    close_range(HELPER_FD + 1, ~0U, 0) < 0 ||
	    fcntl(HELPER_FD, F_SETFD, FD_CLOEXEC) < 0)
		return;
	reply.result = confine(&reply.err);
	if (!send_message(HELPER_FD, &reply, sizeof(reply), NULL, 0) &&
	    !reply.result)
		serve(HELPER_FD);
}

/* ---- the daemon's side ---- */

static int gone(int r, struct err *err)
{
	err_sys(err, r, "no-helper", "understudyd",
		"the process that loads programs and makes maps does not "
		"answer");
	err_remedy(err, "restart understudyd; tracking goes on meanwhile");
	return r;
}

static int ask(const struct request *q, int fds[MAX_FDS], struct err *err)
{
	struct reply reply = { 0 };
	LOCK_SCOPE(&turn);
	int r;

	r = send_message(helper_fd, q, sizeof(*q), NULL, 0);
	if (!r)
		r = receive_reply(helper_fd, &reply, fds);
	if (r < 0)
		return gone(r, err);
	if (err && reply.err.num)
		err_copy(err, &reply.err);
	/* It sends as many as it says. */
	if (reply.result > 0 && reply.result != r)
		return gone(-EPROTO, err);
	return reply.result;
}

int tracker_helper_start(int (*confine)(struct err *err), struct err *err)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	struct reply reply = { 0 };
	int fds[2], none[MAX_FDS];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(err, -errno, "no-helper", "understudyd",
			       "socket pair for the helper");
	ours = fds[0];
	theirs = fds[1];
	pid = fork();
	if (pid < 0)
		return err_sys(err, -errno, "no-helper", "understudyd",
			       "start the helper");
	if (!pid) {
		be_helper(fds, confine);
		ours = theirs = -1;	/* closed, and their numbers used */
		return TRACKER_HELPER_ENDS;
	}
	(void)close(theirs);
	theirs = -1;
	r = receive_reply(ours, &reply, none);
	if (r < 0)
		return gone(r, err);
	if (reply.result < 0) {
		err_copy(err, &reply.err);
		return reply.result;
	}
	helper_fd = TAKE_FD(ours);
	blkdev_set_helper(tracker_helper_open_disk);
	return 0;
}

bool tracker_helper_is_there(void)
{
	return helper_fd >= 0;
}

int tracker_helper_attach(const struct tracker_host_config *cfg,
			  struct err *err)
{
	struct request q = { .op = OP_ATTACH, .node = cfg->node,
			     .a = cfg->add_bios };
	int none[MAX_FDS];

	(void)snprintf(q.text, sizeof(q.text), "%s", cfg->state_dir);
	return ask(&q, none, err);
}

int tracker_helper_maps(uint32_t n_pages, uint32_t n_pending, int *pages_fd,
			int *pending_fd, struct err *err)
{
	struct request q = { .op = OP_MAPS, .a = n_pages, .b = n_pending };
	int fds[MAX_FDS] = { -1, -1 };
	int r = ask(&q, fds, err);

	if (r < 0)
		return r;
	*pages_fd = fds[0];
	*pending_fd = fds[1];
	return r == 2 ? 0 : -EPROTO;
}

int tracker_helper_open_disk(struct devno no, const char *name, int flags)
{
	struct request q = { .op = OP_OPEN_DISK, .a = no.major, .b = no.minor,
			     .flags = flags };
	int fds[MAX_FDS] = { -1, -1 };
	int r;

	(void)snprintf(q.text, sizeof(q.text), "%s", name);
	r = ask(&q, fds, NULL);
	return r < 0 ? r : fds[0];
}

bool tracker_helper_is_enough(void)
{
	uint32_t key = 0;
	uint64_t value;

	/* A descriptor that is none: forbidden before it is looked at? */
	return bpf_map_lookup_elem(-1, &key, &value) && errno != EPERM;
}
