// SPDX-License-Identifier: Apache-2.0
/*
 * Peers: one thread each, a bound on how many there are, and a smaller one on
 * strangers (connections whose HELLO was not accepted yet), in all and for one
 * address. What is over a bound is closed before anything is read from it; but
 * when all places of strangers are taken, the newcomer gets the place of the one
 * that has said least, so that strangers who say nothing keep nobody out.
 *
 * The list belongs to the replica's lock. A peer's thread works on its own
 * connection; others may only set its stop reason and wake it. Threads are
 * joined by whoever calls peers_reap: the listener's thread, and replica_stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tcp.h>

#include "base/checked.h"
#include "base/log.h"
#include "replica/replica_internal.h"

#define REFUSAL_LOG_GAP_NS (2 * NSEC_PER_SEC)

static size_t reason_slot(const char *code)
{
	size_t h = 0;

	while (*code)
		h = h * 31 + (unsigned char)*code++;
	return h % ARRAY_SIZE(((struct replica *)NULL)->refusal_log_ns);
}

void replica_log_refusal(struct replica *r, const char *address,
			 const struct err *err)
{
	uint64_t now = clock_mono_ns(r->env.clock);
	uint64_t *last;
	unsigned int more;
	{
		LOCK_SCOPE(&r->lock);

		last = &r->refusal_log_ns[reason_slot(err->code)];
		if (*last && now - *last < REFUSAL_LOG_GAP_NS) {
			r->refusals_unlogged++;
			return;
		}
		*last = now;
		more = r->refusals_unlogged;
		r->refusals_unlogged = 0;
	}
	log_failure(LOG_LEVEL_WARN, err);
	/* Of one object: strangers must not fill the log with their names. */
	replica_tell(r, "peer-refused", "listener", err->code, "%s: %s",
		     address, err->message);
	if (more)
		log_warn("%s: refused, and %u more since the last such line",
			 address, more);
}

void peer_accepted(struct peer *p)
{
	LOCK_SCOPE(&p->r->lock);

	if (!p->stranger)
		return;
	p->stranger = false;
	p->r->n_strangers--;
}

void peer_stop(struct peer *p, enum stop_reason why)
{
	int none = STOP_NONE;

	atomic_compare_exchange_strong(&p->stop, &none, why);
	if (p->conn)
		conn_wake(p->conn);
	else if (p->raw_fd >= 0)
		(void)shutdown(p->raw_fd, SHUT_RDWR);
}

/* ---- a peer's thread ---- */

/*
 * TLS, within the time limit. raw_fd is a second descriptor of the socket: the
 * one that tls_accept takes may be closed, and its number used again, before
 * somebody who wants to cut the handshake gets to it.
 */
static struct conn *peer_handshake(struct peer *p)
{
	struct err err = ERR_INIT;
	struct conn *conn = NULL;
	int n;

	n = tls_accept(p->identity, p->fd, p->address,
		       (int)p->r->limits.handshake_ms, &conn, &err);
	p->fd = -1;
	if (n < 0 && atomic_load(&p->stop) == STOP_CROWDED_OUT) {
		err_clear(&err);
		err_set(&err, n, "too-many", p->address, "closed: too many "
			"connections that are not accepted yet");
	}
	if (n < 0) {
		err_sys(&err, n, "handshake", p->address, "TLS handshake");
		replica_log_refusal(p->r, p->address, &err);
		return NULL;
	}
	return conn;
}

static void peer_publish(struct peer *p, struct conn *conn)
{
	LOCK_SCOPE(&p->r->lock);

	if (p->raw_fd >= 0)
		(void)close(p->raw_fd);
	p->raw_fd = -1;
	p->conn = conn;
}

static void peer_finish(struct peer *p)
{
	const uint64_t one = 1;
	LOCK_SCOPE(&p->r->lock);

	if (p->stranger)
		p->r->n_strangers--;
	p->stranger = false;
	p->done = true;
	pthread_cond_broadcast(&p->r->changed);
	/* A full counter means that the listener has a wake-up already. */
	if (write(p->r->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("replica: cannot wake the listener: %s",
			strerror(errno));
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;
	struct conn *conn = p->conn;

	if (!conn)
		conn = peer_handshake(p);
	peer_publish(p, conn);
	if (conn)
		session_run(p, conn);
	peer_publish(p, NULL);
	conn_close(conn, true);
	peer_finish(p);
	return NULL;
}

/* ---- the list ---- */

/* Length of the host part of "1.2.3.4:5" or "[::1]:5". */
static size_t host_length(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon ? (size_t)(colon - address) : strlen(address);
}

static unsigned int strangers_from(const struct replica *r, const char *address)
{
	size_t n = host_length(address);
	unsigned int count = 0;
	const struct peer *p;

	for (p = r->peers; p; p = p->next)
		if (p->stranger && host_length(p->address) == n &&
		    !strncmp(p->address, address, n))
			count++;
	return count;
}

/* Under lock. */
static const char *over_limit(const struct replica *r, const char *address)
{
	if (r->n_peers >= r->limits.connections)
		return "too many connections";
	if (strangers_from(r, address) >= r->limits.strangers_per_address)
		return "too many connections of this address that are not "
		       "accepted yet";
	return NULL;
}

/* What arrived from it, as far as the system tells. */
static uint64_t bytes_from(const struct peer *p)
{
	int fd = p->conn ? conn_poll_fd(p->conn) : p->raw_fd;
	struct tcp_info info = { 0 };
	socklen_t n = sizeof(info);

	if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
		return 0;
	return info.tcpi_bytes_received;
}

/*
 * Under lock: the stranger that has said least, of such the oldest, is no more.
 * Its thread ends in a moment, and counts among the connections until then.
 */
static void crowd_out(struct replica *r)
{
	struct peer *p, *victim = NULL;
	uint64_t n, least = UINT64_MAX;

	for (p = r->peers; p; p = p->next) {	/* the newest first */
		if (!p->stranger)
			continue;
		n = bytes_from(p);
		if (n > least)
			continue;
		least = n;
		victim = p;
	}
	if (!victim)
		return;
	victim->stranger = false;
	r->n_strangers--;
	peer_stop(victim, STOP_CROWDED_OUT);
}

bool peer_may_join(struct peer *p)
{
	struct replica *r = p->r;
	LOCK_SCOPE(&r->lock);
	unsigned int n = 0;
	const struct peer *q;

	for (q = r->peers; q; q = q->next)
		n += q != p && q->conn && !q->stranger && !q->done &&
		     !strcmp(q->conn->peer_name, p->conn->peer_name);
	return n < r->limits.per_name;
}

static void peer_free(struct peer *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	if (p->raw_fd >= 0)
		(void)close(p->raw_fd);
	conn_close(p->conn, false);
	tls_identity_free(p->identity);
	free(p);
}

DEFINE_CLEANUP(struct peer, peer_free)

/* Signals are the main thread's business. */
static int start_thread(struct peer *p)
{
	sigset_t all, old;
	int n;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	n = pthread_create(&p->thread, NULL, peer_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -n;
}

static int peer_admit(struct peer *p, const char **why)
{
	struct replica *r = p->r;
	LOCK_SCOPE(&r->lock);
	int n;

	if (r->stopping)
		return -ESHUTDOWN;
	*why = over_limit(r, p->address);
	if (*why)
		return -EMFILE;
	if (r->n_strangers >= r->limits.strangers)
		crowd_out(r);
	p->identity = r->identity ? tls_identity_ref(r->identity) : NULL;
	n = start_thread(p);	/* it waits for the lock before it publishes */
	if (n < 0) {
		*why = "no thread for it";
		return n;
	}
	p->next = r->peers;
	r->peers = p;
	r->n_peers++;
	r->n_strangers++;
	return 0;
}

int peer_start(struct replica *r, int fd, struct conn *conn,
	       const char *address)
{
	_cleanup_(peer_freep) struct peer *p = calloc(1, sizeof(*p));
	const char *why = NULL;
	struct err err = ERR_INIT;
	int n;

	if (!p) {
		if (fd >= 0)
			(void)close(fd);
		conn_close(conn, false);
		return -ENOMEM;
	}
	p->r = r;
	p->fd = fd;
	p->conn = conn;
	p->stranger = true;
	snprintf(p->address, sizeof(p->address), "%s", address);
	p->raw_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	n = peer_admit(p, &why);
	if (n == 0)
		p = NULL;	/* its thread's, and the list's */
	if (why) {
		err_set(&err, n, "too-many", address, "closed: %s", why);
		replica_log_refusal(r, address, &err);
	}
	return n;
}

/* Under lock. */
static struct peer *take_done(struct replica *r)
{
	struct peer **at, *p;

	for (at = &r->peers; (p = *at); at = &p->next) {
		if (!p->done)
			continue;
		*at = p->next;
		r->n_peers--;
		return p;
	}
	return NULL;
}

void peers_reap(struct replica *r, bool wait)
{
	pthread_mutex_lock(&r->lock);
	for (;;) {
		struct peer *p = take_done(r);

		if (p) {
			pthread_mutex_unlock(&r->lock);
			pthread_join(p->thread, NULL);
			peer_free(p);
			pthread_mutex_lock(&r->lock);
		} else if (wait && r->peers) {
			pthread_cond_wait(&r->changed, &r->lock);
		} else {
			break;
		}
	}
	pthread_mutex_unlock(&r->lock);
}
