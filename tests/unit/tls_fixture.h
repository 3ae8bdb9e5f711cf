/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TLS_FIXTURE_H
#define TESTS_UNIT_TLS_FIXTURE_H

/*
 * For tests of TLS: identities in the scratch directory, and one end of a
 * connection in a thread while the test is the other. Include after tap.h and
 * pki_fixture.h.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/conn.h"
#include "net/sock.h"
#include "net/tls.h"

/* Long enough for a machine that is busy; nothing waits that long. */
#define PATIENCE_MS 10000

/* One authority, a listener's identity and a peer's, made once a test. */
static struct made the_ca;

static const struct recipe recipe_server = {
	.cn = "dr1", .by = &the_ca, .san = "DNS:localhost,IP:127.0.0.1,IP:::1",
	.rights = "none", .volumes = "",
};
static const struct recipe recipe_peer = {
	.cn = "web1", .by = &the_ca, .rights = "push,read", .volumes = "db*",
};

__attribute__((unused)) static void make_the_ca(void)
{
	const struct recipe ca = { .cn = "Test CA", .ca = true };

	if (!the_ca.cert)
		the_ca = make_cert(&ca);
}

/* Identity directory scratch/name as recipe says, trusting ca. */
static void write_made(const char *name, const struct made *ca,
		       const struct recipe *r)
{
	struct made m;

	make_the_ca();
	m = make_cert(r);
	write_identity(in_scratch("%s", name), ca, m.cert, m.key);
	made_free(&m);
}

static struct tls_identity *load(const char *name)
{
	struct tls_identity *id = NULL;
	struct err err = ERR_INIT;

	(void)tls_identity_load(in_scratch("%s", name), &id, &err);
	ASSERT_MSG(id, "  %s: %s", name, err.message);
	return id;
}

__attribute__((unused)) static struct tls_identity *
made_identity(const char *name, const struct recipe *r)
{
	make_the_ca();
	write_made(name, &the_ca, r);
	return load(name);
}

/* ---- the end in a thread ---- */

struct far_end {
	pthread_t thread;
	/* in */
	struct tls_identity *id;
	int fd;				/* >= 0: of a socket pair */
	struct listener *listener;	/* else */
	bool dials;			/* over fd: it is the client */
	bool greets;			/* says "k" when it has accepted */
	int timeout_ms;
	/* out */
	int r;
	struct err err;
	struct conn *conn;
};

static int far_dial(struct far_end *f)
{
	const struct tls_setup setup = {
		.id = f->id, .fd = f->fd, .host = "localhost",
		.address = "pair", .object = "pair",
	};
	struct tls_conn *t = tls_conn_new(&setup, &f->err);
	int r;

	if (!t)
		return f->err.num;
	r = tls_conn_handshake(t, -1, sock_deadline(f->timeout_ms), &f->err);
	if (r < 0)
		conn_close(&t->c, false);
	else
		f->conn = &t->c;
	return r;
}

static void *far_run(void *arg)
{
	struct far_end *f = arg;
	char address[64] = "pair";

	if (f->dials) {
		f->r = far_dial(f);
		return NULL;
	}
	if (f->listener) {
		struct pollfd p = { listener_fd(f->listener), POLLIN, 0 };

		if (poll(&p, 1, PATIENCE_MS) != 1)
			return NULL;
		f->fd = listener_accept(f->listener, address);
	}
	f->r = tls_accept(f->id, f->fd, address, f->timeout_ms, &f->conn,
			  &f->err);
	if (f->greets && f->r == 0 &&
	    conn_write(f->conn, "k", 1, f->timeout_ms) != 1)
		f->r = -EIO;
	return NULL;
}

static void far_start(struct far_end *f)
{
	f->r = -EINVAL;
	if (!f->timeout_ms)
		f->timeout_ms = PATIENCE_MS;
	ASSERT_OK(pthread_create(&f->thread, NULL, far_run, f));
}

static void far_join(struct far_end *f)
{
	ASSERT_OK(pthread_join(f->thread, NULL));
}

/* A finished pair of ends over one socket pair. */
__attribute__((unused)) static void tls_pair(struct tls_identity *server,
					     struct tls_identity *client,
					     struct conn **accepted,
					     struct conn **dialled)
{
	struct far_end f = { .id = client, .dials = true };
	int fds[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0, fds));
	f.fd = fds[1];
	far_start(&f);
	ASSERT_OK(tls_accept(server, fds[0], "pair", PATIENCE_MS, accepted,
			     NULL));
	far_join(&f);
	ASSERT_OK(f.r);
	*dialled = f.conn;
}

/* ---- both kinds of ends, for what holds for both ---- */

__attribute__((unused)) static void tls_ends(struct conn **accepted,
					     struct conn **dialled)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);

	tls_pair(server, peer, accepted, dialled);
	tls_identity_free(server);
	tls_identity_free(peer);
}

__attribute__((unused)) static void plain_ends(struct conn **a,
					       struct conn **b)
{
	ASSERT_OK(conn_pair(a, b));
}

typedef void maker(struct conn **, struct conn **);

__attribute__((unused)) static maker *const makers[] = { tls_ends, plain_ends };

/* Until not one byte more is taken. */
__attribute__((unused)) static uint64_t fill_up(struct conn *c, uint8_t *p,
						size_t n)
{
	uint64_t total = 0;

	for (;;) {
		int64_t put = conn_write(c, p, n, 0);

		if (put == -EAGAIN)
			return total;
		ASSERT_GT(put, 0);
		total += (uint64_t)put;
	}
}

#endif
