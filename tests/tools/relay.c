// SPDX-License-Identifier: Apache-2.0
/*
 * A link that can break:
 *
 *	relay LISTEN-PORT TO-PORT [COUNT-FILE]
 *
 * carries TCP connections on 127.0.0.1. How many bytes those who dialled have
 * sent so far is kept in COUNT-FILE. Signals: USR1 lets no byte through any
 * more and keeps the connections (a black hole), USR2 lets them through again,
 * HUP resets every connection, TERM ends it. "ready" is printed when it
 * listens. One thread; the limits are those of a test.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 16U
#define PIECE 65536U

/* What one side sent and the other has not taken yet. */
struct flow {
	uint8_t buf[PIECE];
	size_t have, done;
	bool end, counted;
};

struct pair {
	bool used;
	int fd[2];
	struct flow from[2];		/* from[0]: read of fd[0], for fd[1] */
};

static struct pair pairs[PAIRS];
static int count_fd = -1;
static uint64_t count_bytes;

static struct sockaddr_in local(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	return a;
}

static void drop(struct pair *p, bool reset)
{
	const struct linger now = { 1, 0 };
	int i;

	for (i = 0; i < 2; i++) {
		if (reset)
			(void)setsockopt(p->fd[i], SOL_SOCKET, SO_LINGER, &now,
					 sizeof(now));
		(void)close(p->fd[i]);
	}
	p->used = false;
}

static void take_connection(int listener, const struct sockaddr_in *to)
{
	int a = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int b = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pair *p = pairs;

	while (p < pairs + PAIRS && p->used)
		p++;
	if (a < 0 || b < 0 || p == pairs + PAIRS ||
	    connect(b, (const struct sockaddr *)to, sizeof(*to))) {
		if (a >= 0)
			(void)close(a);
		if (b >= 0)
			(void)close(b);
		return;
	}
	memset(p, 0, sizeof(*p));
	p->used = true;
	p->fd[0] = a;
	p->fd[1] = b;
	p->from[0].counted = true;
}

static void count(ssize_t n)
{
	char text[24];
	int len;

	count_bytes += (uint64_t)n;
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", count_bytes);
	if (count_fd >= 0 && pwrite(count_fd, text, (size_t)len, 0) != len)
		perror("relay: count");
}

/* False when the connection is over. */
static bool move(struct flow *f, int from, int to)
{
	ssize_t n;

	if (!f->have && !f->end) {
		n = recv(from, f->buf, sizeof(f->buf), MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		f->have = (size_t)n;
		f->done = 0;
		f->end = n == 0;
		if (f->end)
			(void)shutdown(to, SHUT_WR);
	}
	if (!f->have)
		return true;
	n = send(to, f->buf + f->done, f->have - f->done,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (f->counted)
		count(n);
	f->done += (size_t)n;
	if (f->done == f->have)
		f->have = 0;
	return true;
}

static void move_all(void)
{
	struct pair *p;

	for (p = pairs; p < pairs + PAIRS; p++) {
		if (!p->used)
			continue;
		if (!move(&p->from[0], p->fd[0], p->fd[1]) ||
		    !move(&p->from[1], p->fd[1], p->fd[0]))
			drop(p, true);
		else if (p->from[0].end && p->from[1].end &&
			 !p->from[0].have && !p->from[1].have)
			drop(p, false);
	}
}

/* Which sides have something to wait for. */
static nfds_t fill_poll(struct pollfd *fds)
{
	nfds_t n = 0;
	struct pair *p;
	int i;

	for (p = pairs; p < pairs + PAIRS; p++) {
		for (i = 0; p->used && i < 2; i++) {
			short events = p->from[1 - i].have ? POLLOUT : 0;

			if (!p->from[i].have && !p->from[i].end)
				events |= POLLIN;
			if (events)
				fds[n++] = (struct pollfd){ p->fd[i], events,
							    0 };
		}
	}
	return n;
}

static int open_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigaddset(&set, SIGUSR2);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void take_signal(int fd, bool *stalled)
{
	struct signalfd_siginfo si;
	struct pair *p;

	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGTERM)
		exit(0);
	if (si.ssi_signo == SIGUSR1)
		*stalled = true;
	if (si.ssi_signo == SIGUSR2)
		*stalled = false;
	for (p = pairs; si.ssi_signo == SIGHUP && p < pairs + PAIRS; p++)
		if (p->used)
			drop(p, true);
}

static void serve(int listener, const struct sockaddr_in *to)
{
	struct pollfd fds[2 + 2 * PAIRS] = { 0 };
	int signals = open_signals();
	bool stalled = false;

	for (;;) {
		nfds_t n = 1;

		fds[0] = (struct pollfd){ signals, POLLIN, 0 };
		fds[1].revents = 0;
		if (!stalled) {
			fds[1] = (struct pollfd){ listener, POLLIN, 0 };
			n = 2 + fill_poll(fds + 2);
		}
		if (poll(fds, n, -1) < 0)
			continue;
		if (fds[0].revents) {
			take_signal(signals, &stalled);
			continue;
		}
		if (fds[1].revents)
			take_connection(listener, to);
		move_all();
	}
}

int main(int argc, char **argv)
{
	const int one = 1;
	struct sockaddr_in here, to;
	int fd;

	if (argc != 3 && argc != 4)
		return 2;
	if (argc == 4)
		count_fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				0600);
	count(0);
	here = local(argv[1]);
	to = local(argv[2]);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) ||
	    listen(fd, 16)) {
		perror("relay");
		return 1;
	}
	(void)puts("ready");
	(void)fflush(stdout);
	serve(fd, &to);
}
