// SPDX-License-Identifier: Apache-2.0
/*
 * Waiting on sockets, their options, and addresses as text. No state: any
 * thread.
 *
 * A dead path is noticed by three means: keepalive probes while the line is
 * idle (TCP_IDLE_S + TCP_PROBES * TCP_PROBE_S seconds), TCP_USER_TIMEOUT while
 * data is out, and the time limits of the callers.
 */
#include "net/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"

#define TCP_IDLE_S 15
#define TCP_PROBE_S 5
#define TCP_PROBES 3
#define TCP_UNACKED_MS 30000

uint64_t sock_deadline(int timeout_ms)
{
	if (timeout_ms < 0)
		return SOCK_NEVER;
	return clock_mono_ns(clock_real()) +
	       (uint64_t)timeout_ms * NSEC_PER_MSEC;
}

/* What is left, as poll(2) wants it: rounded up, so that it never spins. */
static int ms_left(uint64_t deadline_ns)
{
	uint64_t now = clock_mono_ns(clock_real());

	if (deadline_ns == SOCK_NEVER)
		return -1;
	if (deadline_ns <= now)
		return 0;
	return (int)MIN(div_up_u64(deadline_ns - now, NSEC_PER_MSEC),
			(uint64_t)60000);
}

int sock_wait(int fd, short events, int wake_fd, uint64_t deadline_ns)
{
	struct pollfd p[2] = {
		{ .fd = fd, .events = events },
		{ .fd = wake_fd, .events = POLLIN },	/* < 0 is left out */
	};

	for (;;) {
		int ms = ms_left(deadline_ns);
		int r = poll(p, 2, ms);

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			return p[1].revents ? -EINTR : 0;
		if (!ms)
			return -EAGAIN;
	}
}

/* An option that a kernel lacks costs comfort, not safety. */
static void set_option(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void sock_tune(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, TCP_IDLE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, TCP_PROBE_S);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, TCP_PROBES);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_UNACKED_MS);
}

void sock_format_address(const struct sockaddr_storage *a, char out[64])
{
	char text[INET6_ADDRSTRLEN] = "?";
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	(void)snprintf(out, 64, "?");
	if (a->ss_family == AF_INET) {
		memcpy(&v4, a, sizeof(v4));
		(void)inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
		(void)snprintf(out, 64, "%s:%u", text, ntohs(v4.sin_port));
	} else if (a->ss_family == AF_INET6) {
		memcpy(&v6, a, sizeof(v6));
		if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
			(void)inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12],
					text, sizeof(text));
			(void)snprintf(out, 64, "%s:%u", text,
				       ntohs(v6.sin6_port));
			return;
		}
		(void)inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
		(void)snprintf(out, 64, "[%s]:%u", text, ntohs(v6.sin6_port));
	}
}

void sock_drain(int fd, int wake_fd, uint64_t deadline_ns)
{
	char waste[4096];

	while (sock_wait(fd, POLLIN, wake_fd, deadline_ns) == 0) {
		ssize_t r = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);

		if (!r || (r < 0 && errno != EAGAIN && errno != EINTR))
			return;
	}
}
