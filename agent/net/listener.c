// SPDX-License-Identifier: Apache-2.0
/*
 * The listening socket of a replica. Owned by the thread that accepts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/conn.h"
#include "net/sock.h"

#define BACKLOG 128

struct listener {
	int fd;
	uint16_t port;
};

static int bad_address(const char *address, struct err *err)
{
	(void)err_set(err, -EINVAL, "bad-address", address,
		      "listen: not an address and a port");
	(void)err_remedy(err, "write it as 0.0.0.0:7420 or [::]:7420");
	return -EINVAL;
}

/* "host:port" or "[host]:port" into its parts, in place. */
static int split(char *text, char **host, char **port)
{
	char *colon = strrchr(text, ':'), *end;

	if (!colon || colon == text || !colon[1])
		return -EINVAL;
	*colon = 0;
	*host = text;
	*port = colon + 1;
	if (*text != '[')
		return strchr(text, ':') ? -EINVAL : 0;
	end = colon - 1;
	if (*end != ']')
		return -EINVAL;
	*end = 0;
	*host = text + 1;
	return 0;
}

static int resolve(const char *address, struct addrinfo **out, struct err *err)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	_cleanup_free_ char *text = strdup(address);
	char *host, *port;

	if (!text)
		return err_set(err, -ENOMEM, "no-memory", address,
			       "listen: out of memory");
	if (split(text, &host, &port) ||
	    strspn(port, "0123456789") != strlen(port) || atol(port) > 65535 ||
	    getaddrinfo(host, port, &hints, out))
		return bad_address(address, err);
	return 0;
}

static int listen_failed(const char *address, const char *what, struct err *err)
{
	int r = -errno;

	(void)err_sys(err, r, r == -EADDRINUSE ? "address-in-use" :
						 "listen-failed",
		      address, "%s", what);
	if (r == -EADDRINUSE)
		(void)err_remedy(err, "see who has the port (`ss -ltnp`), or "
				 "set another `listen` in [store]");
	else if (r == -EADDRNOTAVAIL)
		(void)err_remedy(err, "use an address of this host, 0.0.0.0 "
				 "or [::]");
	return r;
}

static int open_on(const struct addrinfo *ai, const char *address,
		   struct err *err)
{
	_cleanup_close_ int fd = -1;
	const int yes = 1, no = 0;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return listen_failed(address, "make a socket", err);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0)
		return listen_failed(address, "set options", err);
	/* "[::]" means everything, whatever the system's default is. */
	if (ai->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no,
				 sizeof(no));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return listen_failed(address, "bind", err);
	if (listen(fd, BACKLOG) < 0)
		return listen_failed(address, "listen", err);
	return TAKE_FD(fd);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return 0;
	memcpy(&v4, &a, sizeof(v4));
	memcpy(&v6, &a, sizeof(v6));
	return ntohs(a.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
}

int listener_open(const char *address, struct listener **out, struct err *err)
{
	struct addrinfo *ai = NULL;
	struct listener *l;
	int r;

	r = resolve(address, &ai, err);
	if (r < 0)
		return r;
	r = open_on(ai, address, err);
	freeaddrinfo(ai);
	if (r < 0)
		return r;
	l = malloc(sizeof(*l));
	if (!l) {
		(void)close(r);
		return err_set(err, -ENOMEM, "no-memory", address,
			       "listen: out of memory");
	}
	*l = (struct listener){ .fd = r, .port = port_of(r) };
	*out = l;
	return 0;
}

uint16_t listener_port(const struct listener *l)
{
	return l->port;
}

int listener_fd(const struct listener *l)
{
	return l->fd;
}

void listener_close(struct listener *l)
{
	if (!l)
		return;
	(void)close(l->fd);
	free(l);
}

int listener_accept(struct listener *l, char address[64])
{
	struct sockaddr_storage a = { 0 };
	socklen_t n;
	int fd;

	for (;;) {
		n = sizeof(a);
		fd = accept4(l->fd, (struct sockaddr *)&a, &n,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			break;
		/* The caller of that one has gone; there may be others. */
		if (errno != EINTR && errno != ECONNABORTED)
			return -errno;
	}
	sock_tune(fd);
	sock_format_address(&a, address);
	return fd;
}
