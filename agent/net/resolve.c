// SPDX-License-Identifier: Apache-2.0
/*
 * Name lookup with a time limit. Any thread.
 *
 * getaddrinfo(3) can take as long as the resolver likes and cannot be called
 * off. So a name is looked up by a thread of its own, and whoever waited too
 * long leaves it behind; the last of the two frees what they share. Addresses
 * written out need none of that.
 */
#include "net/resolve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/sock.h"

struct lookup {
	atomic_int refs;
	int done_fd;			/* eventfd, for the wait */
	atomic_bool done;		/* both below are final */
	struct addrinfo *result;
	int error;			/* EAI_ */
	char port[8];
	char host[];
};

static void lookup_put(struct lookup *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->done_fd >= 0)
		(void)close(l->done_fd);
	if (l->result)
		freeaddrinfo(l->result);
	free(l);
}

static void lookup_putp(struct lookup **l)
{
	if (*l)
		lookup_put(*l);
}

static int ask(const char *host, const char *port, int flags,
	       struct addrinfo **out)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | flags,
	};

	return getaddrinfo(host, port, &hints, out);
}

static void *lookup_run(void *arg)
{
	struct lookup *l = arg;
	const uint64_t one = 1;

	l->error = ask(l->host, l->port, 0, &l->result);
	atomic_store(&l->done, true);
	/* On a fresh eventfd it succeeds; else the other one times out. */
	while (write(l->done_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	lookup_put(l);
	return NULL;
}

static struct lookup *lookup_new(const char *host, const char *port)
{
	size_t n = strlen(host) + 1;
	struct lookup *l = calloc(1, sizeof(*l) + n);

	if (!l)
		return NULL;
	memcpy(l->host, host, n);
	(void)snprintf(l->port, sizeof(l->port), "%s", port);
	atomic_store(&l->refs, 1);
	l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->done_fd >= 0)
		return l;
	lookup_put(l);
	return NULL;
}

static int lookup_start(struct lookup *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	atomic_fetch_add(&l->refs, 1);
	r = pthread_create(&thread, &attr, lookup_run, l);
	if (r)
		lookup_put(l);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

static int failed(const char *host, int error, struct err *err)
{
	(void)err_set(err, -EHOSTUNREACH, "resolve-failed", host,
		      "look up the name: %s", gai_strerror(error));
	(void)err_remedy(err, "check `address` in [replica] and the host's "
			 "resolver, or write an address");
	return -EHOSTUNREACH;
}

int resolve_host(const struct resolve_spec *spec, struct addrinfo **out,
		 struct err *err)
{
	_cleanup_(lookup_putp) struct lookup *l = NULL;
	char port[8];
	int r;

	(void)snprintf(port, sizeof(port), "%u", spec->port);
	if (ask(spec->host, port, AI_NUMERICHOST, out) == 0)
		return 0;
	l = lookup_new(spec->host, port);
	r = l ? lookup_start(l) : -ENOMEM;
	if (r < 0)
		return err_sys(err, r, "resolve-failed", spec->host,
			       "look up the name");
	r = sock_wait(l->done_fd, POLLIN, spec->wake_fd, spec->deadline_ns);
	if (r == -EAGAIN || (r == 0 && !atomic_load(&l->done))) {
		(void)err_set(err, -ETIMEDOUT, "timeout", spec->host,
			      "look up the name: no answer in time");
		(void)err_remedy(err, "check the host's resolver, or write an "
				 "address");
		return -ETIMEDOUT;
	}
	if (r < 0)
		return err_sys(err, r, "interrupted", spec->host,
			       "look up the name");
	if (l->error)
		return failed(spec->host, l->error, err);
	*out = TAKE_PTR(l->result);
	return 0;
}
