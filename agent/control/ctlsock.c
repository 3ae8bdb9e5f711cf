// SPDX-License-Identifier: Apache-2.0
/*
 * The control protocol's socket: connect, listen, move bytes and descriptors.
 * Any thread; a socket belongs to one thread at a time. Descriptors of files
 * travel from client to daemon only, so that the daemon never opens a path
 * that a client named.
 */
#include "control/ctlsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sendfds.h"

static int make_address(const char *path, struct sockaddr_un *sa,
			struct err *err)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa->sun_path))
		return err_set(err, -ENAMETOOLONG, "bad-path", path,
			       "longer than the %zu bytes of a socket's name",
			       sizeof(sa->sun_path) - 1);
	memcpy(sa->sun_path, path, strlen(path));
	return 0;
}

static int new_socket(const char *path, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_sys(err, -errno, "no-socket", path, "socket");
	return fd;
}

/* The backlog of a busy daemon is full for a moment only. */
static int connect_patiently(int fd, const struct sockaddr_un *sa)
{
	int tries = 0;

	while (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0) {
		const struct timespec pause = { .tv_nsec = 10 * NSEC_PER_MSEC };

		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || ++tries == 200)
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int ctlsock_connect(const char *path, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un sa;
	int ret;

	ret = make_address(path, &sa, err);
	if (ret < 0)
		return ret;
	fd = new_socket(path, err);
	if (fd < 0)
		return fd;
	ret = connect_patiently(fd, &sa);
	if (ret < 0) {
		err_sys(err, ret, "no-daemon", path, "cannot reach understudyd");
		if (ret == -EACCES || ret == -EPERM)
			err_remedy(err, "run the command as root, or as the "
				   "daemon's user");
		else
			err_remedy(err, "start understudyd, or name its "
				   "control socket with --socket");
		return ret;
	}
	return TAKE_FD(fd);
}

/* Removes the socket of a daemon that is no more. */
static int clear_stale(const char *path, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 :
					 err_sys(err, -errno, "bad-path", path,
						 "look at the control socket");
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "bad-path", path,
			       "is there, and is no socket");
	fd = ctlsock_connect(path, NULL);
	if (fd >= 0) {
		err_set(err, -EADDRINUSE, "control-in-use", path,
			"another daemon answers on this control socket");
		err_remedy(err, "give each daemon a control socket of its own");
		return -EADDRINUSE;
	}
	if (fd != -ECONNREFUSED && fd != -ENOENT)
		return err_sys(err, fd, "control-in-use", path,
			       "find out whether a daemon listens");
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, -errno, "bad-path", path,
			       "remove a dead daemon's socket");
	return 0;
}

int ctlsock_listen(const char *path, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un sa;
	int ret;

	ret = make_address(path, &sa, err);
	if (ret < 0)
		return ret;
	ret = clear_stale(path, err);
	if (ret < 0)
		return ret;
	fd = new_socket(path, err);
	if (fd < 0)
		return fd;
	/* Nobody can connect before listen(), so the mode is never wider. */
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(err, -errno, "bad-path", path, "bind");
	if (chmod(path, 0600) < 0)
		return err_sys(err, -errno, "bad-path", path, "chmod");
	if (listen(fd, 64) < 0)
		return err_sys(err, -errno, "bad-path", path, "listen");
	return TAKE_FD(fd);
}

int ctlsock_wait(int fd, short events, int timeout_ms)
{
	struct clock *clock = clock_real();
	uint64_t end_ns = clock_mono_ns(clock) +
			  (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) *
				  NSEC_PER_MSEC;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now_ns = clock_mono_ns(clock);
		int left_ms = -1;
		int n;

		if (timeout_ms >= 0)
			left_ms = now_ns >= end_ns ? 0 :
					(int)((end_ns - now_ns) / NSEC_PER_MSEC)
						+ 1;
		n = poll(&p, 1, left_ms);
		if (n > 0)
			return 1;
		if (n == 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

int ctlsock_send(int fd, const void *p, size_t n, const int *fds, int n_fds,
		 int timeout_ms)
{
	const char *from = p;

	if (n_fds > CTL_MAX_FDS)
		return -EINVAL;
	while (n) {
		ssize_t sent = send_with_fds(fd, from, n, fds, n_fds,
					     MSG_DONTWAIT);
		int ret;

		if (sent >= 0) {
			from += sent;
			n -= (size_t)sent;
			n_fds = 0;
			continue;
		}
		if (sent != -EAGAIN)
			return (int)sent;
		ret = ctlsock_wait(fd, POLLOUT, timeout_ms);
		if (ret <= 0)
			return ret ? ret : -ETIMEDOUT;
	}
	return 0;
}

/* Takes every descriptor of the message; those without room are closed. */
static int take_fds(struct msghdr *msg, struct ctl_request *r)
{
	struct cmsghdr *c;
	int ret = 0;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t i, n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int),
			       sizeof(got));
			if (r && r->n_fds < CTL_MAX_FDS) {
				r->fds[r->n_fds++] = got;
				continue;
			}
			(void)close(got);
			ret = -EPROTO;
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		ret = -EPROTO;
	return ret;
}

ssize_t ctlsock_recv(int fd, void *p, size_t n, struct ctl_request *r)
{
	union {
		/* Room for more than is allowed, so that excess is seen. */
		char space[CMSG_SPACE(sizeof(int) * (CTL_MAX_FDS + 4))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = p, .iov_len = n };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t got;
	int ret;

	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	ret = take_fds(&msg, r);
	return ret < 0 ? ret : got;
}

bool ctlsock_is_gone(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

int ctlsock_check_peer(int fd, struct err *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_sys(err, -errno, "no-permission", "control socket",
			       "ask who the client is");
	if (cred.uid == 0 || cred.uid == geteuid())
		return 0;
	err_set(err, -EACCES, "no-permission", "control socket",
		"uid %u may not command this daemon", cred.uid);
	err_remedy(err, "run the command as root, or as the daemon's user");
	return -EACCES;
}
