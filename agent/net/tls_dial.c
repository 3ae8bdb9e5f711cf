// SPDX-License-Identifier: Apache-2.0
/*
 * Dialling: name, addresses, TCP, TLS, all within one time limit. Any thread.
 *
 * Each address gets an equal part of the time that is left, so that a dead
 * one in front does not use up what a living one behind it needs. What fails
 * below TLS, or is silent, leads to the next address; a peer that answers and
 * is not whom we look for ends the dial: that is to be seen, not passed over.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/resolve.h"
#include "net/sock.h"
#include "net/tls.h"

struct attempt {
	struct tls_identity *id;
	const struct tls_dial_spec *spec;
	char object[160];		/* host:port */
	uint64_t deadline_ns;		/* of this address */
};

static void addrinfo_freep(struct addrinfo **ai)
{
	if (*ai)
		freeaddrinfo(*ai);
}

/* ---- TCP ---- */

static const struct {
	int num;
	const char *code;
	const char *remedy;
} tcp_errors[] = {
	{ -ECONNREFUSED, "connect-refused",
	  "see that understudyd runs there with a [store] section, and on "
	  "which port it listens" },
	{ -ETIMEDOUT, "timeout",
	  "see that the host is up and that no firewall drops the port" },
	{ -EHOSTUNREACH, "unreachable", "check the network and the route" },
	{ -ENETUNREACH, "unreachable", "check the network and the route" },
	{ -EINTR, "interrupted", NULL },
};

static int tcp_failed(const struct attempt *a, const char *address, int r,
		      struct err *err)
{
	const char *code = "connect-failed", *remedy = NULL;
	size_t i;

	if (r == -EAGAIN)
		r = -ETIMEDOUT;
	for (i = 0; i < ARRAY_SIZE(tcp_errors); i++) {
		if (tcp_errors[i].num != r)
			continue;
		code = tcp_errors[i].code;
		remedy = tcp_errors[i].remedy;
	}
	(void)err_sys(err, r, code, a->object, "connect to %s", address);
	if (err && remedy)
		(void)err_remedy(err, "%s", remedy);
	return r;
}

static int wait_connected(const struct attempt *a, int fd)
{
	socklen_t n = sizeof(int);
	int error = 0, r;

	r = sock_wait(fd, POLLOUT, a->spec->wake_fd, a->deadline_ns);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		return -errno;
	return -error;
}

/* A connected socket, or a negative errno. */
static int tcp_connect(const struct attempt *a, const struct addrinfo *ai)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return -errno;
	sock_tune(fd);
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = wait_connected(a, fd);
		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}

/* ---- one address, all addresses ---- */

static int try_address(const struct attempt *a, const struct addrinfo *ai,
		       struct conn **out, struct err *err)
{
	struct sockaddr_storage sa = { 0 };
	struct tls_setup setup = { .id = a->id, .host = a->spec->host,
				   .object = a->object };
	struct tls_conn *t;
	char address[64];
	int r;

	memcpy(&sa, ai->ai_addr, MIN((size_t)ai->ai_addrlen, sizeof(sa)));
	sock_format_address(&sa, address);
	setup.address = address;
	setup.fd = tcp_connect(a, ai);
	if (setup.fd < 0)
		return tcp_failed(a, address, setup.fd, err);
	t = tls_conn_new(&setup, err);
	if (!t)
		return -ENOMEM;
	r = tls_conn_handshake(t, a->spec->wake_fd, a->deadline_ns, err);
	if (r < 0) {
		conn_close(&t->c, false);
		return r;
	}
	*out = &t->c;
	return 0;
}

/* Another address may do better, unless a peer has answered at this one. */
static bool is_worth_another(int r, const struct err *why)
{
	if (!strncmp(why->code, "tls-", 4))
		return false;
	switch (r) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EADDRNOTAVAIL:
	case -EAFNOSUPPORT:
	case -EACCES:			/* a firewall of our own */
	case -EPERM:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

static uint64_t share_of(uint64_t deadline_ns, size_t n_left)
{
	uint64_t now = clock_mono_ns(clock_real());

	if (deadline_ns == SOCK_NEVER || deadline_ns <= now)
		return deadline_ns;
	return now + (deadline_ns - now) / n_left;
}

int tls_dial_to(struct tls_identity *id, const struct tls_dial_spec *spec,
		struct conn **out, struct err *err)
{
	const uint64_t deadline = sock_deadline(spec->timeout_ms);
	const struct resolve_spec name = { spec->host, spec->port,
					   spec->wake_fd, deadline };
	struct attempt a = { .id = id, .spec = spec };
	_cleanup_(addrinfo_freep) struct addrinfo *list = NULL;
	const struct addrinfo *ai;
	struct err last = ERR_INIT;
	size_t left = 0;
	int r;

	(void)snprintf(a.object, sizeof(a.object), "%s:%u", spec->host,
		       spec->port);
	r = resolve_host(&name, &list, err);
	if (r < 0)
		return r;
	for (ai = list; ai; ai = ai->ai_next)
		left++;
	r = -EHOSTUNREACH;
	for (ai = list; ai; ai = ai->ai_next, left--) {
		a.deadline_ns = share_of(deadline, left);
		err_clear(&last);
		r = try_address(&a, ai, out, &last);
		if (r == 0 || !is_worth_another(r, &last))
			break;
	}
	if (r < 0 && err && !err->num)
		err_copy(err, &last);
	return r;
}

int tls_dial(struct tls_identity *id, const char *host, uint16_t port,
	     int timeout_ms, struct conn **out, struct err *err)
{
	const struct tls_dial_spec spec = { host, port, timeout_ms, -1 };

	return tls_dial_to(id, &spec, out, err);
}
