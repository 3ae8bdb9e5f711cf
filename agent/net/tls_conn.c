// SPDX-License-Identifier: Apache-2.0
/*
 * A TLS connection: handshake, read, write, key updates, end.
 *
 * One thread at a time, but for conn_wake. OpenSSL's error queue is the
 * thread's: it is emptied before each call into OpenSSL and, after a failure,
 * by tls_reason, so that no reason is ever another connection's.
 *
 * OpenSSL renews no key by itself, and AES-GCM must not seal without end under
 * one: RFC 8446, 5.5 gives 2^24.5 full records. We renew our write key after
 * TLS_REKEY_RECORDS (128 GiB) or TLS_REKEY_S, the peer its own.
 *
 * A stream that ends without close_notify was cut, and says so: whether it
 * ended at a good place is for the protocol above to know.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/conn_internal.h"
#include "net/sock.h"
#include "net/tls.h"

/* A stranger gets less of our time than a peer. */
#define REFUSED_LINGER_MS 250

/* ---- making and freeing ---- */

static void conn_free(struct tls_conn *t)
{
	SSL_free(t->ssl);
	if (t->fd >= 0)
		(void)close(t->fd);
	if (t->c.wake_fd >= 0)
		(void)close(t->c.wake_fd);
	free(t);
}

static void conn_freep(struct tls_conn **t)
{
	if (*t)
		conn_free(*t);
}

/* An address is compared with the certificate's addresses, never as a name. */
static bool set_expected(SSL *ssl, const char *host)
{
	unsigned char bytes[16];
	char plain[256];

	/* fe80::1%eth0: the interface is ours, the certificate has none. */
	(void)snprintf(plain, sizeof(plain), "%.*s", (int)strcspn(host, "%"),
		       host);
	if (inet_pton(AF_INET, plain, bytes) == 1 ||
	    inet_pton(AF_INET6, plain, bytes) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl),
						     plain) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set1_host(ssl, host) == 1;
}

static bool set_up(struct tls_conn *t, const struct tls_setup *s)
{
	BIO *bio;

	t->ssl = SSL_new(t->accepted ? s->id->acceptor : s->id->dialler);
	if (!t->ssl)
		return false;
	bio = tls_bio_new(t);
	if (!bio)
		return false;
	SSL_set_bio(t->ssl, bio, bio);
	if (!SSL_set_app_data(t->ssl, t))
		return false;
	if (t->accepted)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	return t->accepted || set_expected(t->ssl, s->host);
}

struct tls_conn *tls_conn_new(const struct tls_setup *s, struct err *err)
{
	_cleanup_(conn_freep) struct tls_conn *t = calloc(1, sizeof(*t));

	if (!t) {
		(void)close(s->fd);
		(void)err_set(err, -ENOMEM, "no-memory", s->object,
			      "connect: out of memory");
		return NULL;
	}
	t->c.ops = &tls_conn_ops;
	t->c.wake_fd = -1;
	t->fd = s->fd;
	t->accepted = !s->host;
	t->rekey_records = TLS_REKEY_RECORDS;
	t->rekey_ns = TLS_REKEY_S * NSEC_PER_SEC;
	t->key_since_ns = clock_mono_ns(clock_real());
	(void)snprintf(t->c.peer_address, sizeof(t->c.peer_address), "%s",
		       s->address);
	(void)snprintf(t->object, sizeof(t->object), "%s", s->object);
	ERR_clear_error();
	if (conn_wake_open(&t->c) < 0 || !set_up(t, s)) {
		ERR_clear_error();
		(void)err_set(err, -ENOMEM, "no-memory", s->object,
			      "connect: out of memory or descriptors");
		return NULL;
	}
	return TAKE_PTR(t);
}

/* ---- handshake ---- */

/* POLLIN, POLLOUT, or 0 when it is no wish to wait. */
static short wish_of(int ssl_error)
{
	if (ssl_error == SSL_ERROR_WANT_READ)
		return POLLIN;
	return ssl_error == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
}

static int handshake_late(const struct tls_conn *t, int r, struct err *err)
{
	if (r != -EAGAIN)
		return err_sys(err, r, r == -EINTR ? "interrupted" :
						     "connection-lost",
			       t->object, "TLS handshake");
	(void)err_set(err, -ETIMEDOUT, "timeout", t->object,
		      "TLS handshake: the peer did not answer in time");
	if (err && !t->accepted)
		(void)err_remedy(err, "see that understudyd runs on the "
				 "replica and that nothing between the hosts "
				 "holds the connection up");
	return -ETIMEDOUT;
}

static int64_t peer_end_s(SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	struct tm tm = { 0 };

	return cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) ?
		       timegm(&tm) : 0;
}

/* What the callback found becomes the connection's; it ran, or it is fatal. */
static int adopt_peer(struct tls_conn *t, struct err *err)
{
	if (SSL_get_verify_result(t->ssl) != X509_V_OK ||
	    !SSL_get0_peer_certificate(t->ssl) ||
	    (t->accepted && !t->subject.name[0]))
		return err_set(err, -EACCES, "tls-no-certificate", t->object,
			       "TLS handshake: the peer was not verified");
	(void)snprintf(t->c.peer_name, sizeof(t->c.peer_name), "%s",
		       t->subject.name);
	(void)snprintf(t->c.peer_volumes, sizeof(t->c.peer_volumes), "%s",
		       t->subject.volumes);
	t->c.peer_rights = t->subject.rights;
	t->c.peer_not_after_s = peer_end_s(t->ssl);
	return 0;
}

int tls_conn_handshake(struct tls_conn *t, int wake_fd, uint64_t deadline_ns,
		       struct err *err)
{
	for (;;) {
		int r, e;
		short wish;

		ERR_clear_error();
		r = SSL_do_handshake(t->ssl);
		if (r == 1)
			return adopt_peer(t, err);
		e = SSL_get_error(t->ssl, r);
		wish = wish_of(e);
		if (!wish) {
			t->read_dead = tls_reason(t, e, "TLS handshake", err);
			t->write_dead = t->read_dead;
			return t->read_dead;
		}
		r = sock_wait(t->fd, wish, wake_fd, deadline_ns);
		if (r < 0)
			return handshake_late(t, r, err);
	}
}

/* ---- reading ---- */

static int read_failed(struct tls_conn *t, int ssl_error)
{
	t->read_dead = tls_reason(t, ssl_error, "read", &t->c.failure);
	t->write_dead = t->read_dead;
	return t->read_dead;
}

/*
 * One attempt. > 0 bytes, 0 the end, -EAGAIN with *wish, or the fatal error.
 * n = 0 only looks whether there is something.
 */
static int64_t read_once(struct tls_conn *t, void *p, size_t n, short *wish)
{
	uint8_t peeked;
	size_t got = 0;
	int r, e;

	if (t->read_dead)
		return t->read_dead;
	if (t->ended)
		return 0;
	ERR_clear_error();
	r = n ? SSL_read_ex(t->ssl, p, n, &got) :
		SSL_peek_ex(t->ssl, &peeked, 1, &got);
	if (r == 1)
		return (int64_t)got;
	e = SSL_get_error(t->ssl, r);
	*wish = wish_of(e);
	if (*wish)
		return -EAGAIN;
	if (e == SSL_ERROR_ZERO_RETURN) {
		t->ended = true;
		return 0;
	}
	return read_failed(t, e);
}

static int64_t tls_read(struct conn *c, void *p, size_t n, int timeout_ms)
{
	struct tls_conn *t = tls_conn_of(c);
	uint64_t deadline = sock_deadline(timeout_ms);

	if (!n)
		return -EINVAL;
	for (;;) {
		short wish = 0;
		int64_t got = read_once(t, p, MIN(n, (size_t)INT_MAX), &wish);
		int r;

		if (got != -EAGAIN)
			return got;
		r = timeout_ms ? conn_wait(c, t->fd, wish, deadline) : -EAGAIN;
		if (r < 0)
			return r;
	}
}

/*
 * OpenSSL reads ahead, so a whole record may lie in its buffer where neither
 * poll(2) nor SSL_pending sees it. SSL_has_pending does, but also sees a part
 * of one; a look into the stream tells these apart.
 */
static bool tls_pending(struct conn *c)
{
	struct tls_conn *t = tls_conn_of(c);
	short wish;

	if (t->read_dead || t->ended || SSL_pending(t->ssl) > 0)
		return true;
	return SSL_has_pending(t->ssl) &&
	       read_once(t, NULL, 0, &wish) != -EAGAIN;
}

/* ---- writing ---- */

/*
 * The peer may have said why before it closed: its alert is worth more than
 * our broken pipe. What else it sent can still be read.
 */
static int write_failed(struct tls_conn *t, int ssl_error)
{
	bool cut = ssl_error == SSL_ERROR_SYSCALL;
	short wish;

	if (!cut)
		return read_failed(t, ssl_error);
	ERR_clear_error();
	if (!t->read_dead && read_once(t, NULL, 0, &wish) < 0 && t->read_dead) {
		t->write_dead = t->read_dead;
		return t->write_dead;
	}
	t->write_dead = tls_reason(t, ssl_error, "write", &t->c.failure);
	return t->write_dead;
}

/*
 * Between two records only: OpenSSL cannot while one is half sent, nor while
 * it is in the midst of a message of the peer's.
 */
static int rekey_if_due(struct tls_conn *t)
{
	uint64_t now = clock_mono_ns(clock_real());
	int r;

	if (t->write_pending || (t->records < t->rekey_records &&
				 now - t->key_since_ns < t->rekey_ns))
		return 0;
	if (!SSL_is_init_finished(t->ssl))
		return 0;
	ERR_clear_error();
	t->may_hold = true;
	r = SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 ?
		    SSL_do_handshake(t->ssl) : -1;
	t->may_hold = false;
	if (r != 1)
		return write_failed(t, SSL_get_error(t->ssl, r));
	t->records = 0;
	t->key_since_ns = now;
	t->n_rekeys++;
	return 0;
}

/* One record. > 0 bytes, -EAGAIN with *wish, or the fatal error. */
static int64_t write_once(struct tls_conn *t, const void *p, size_t n,
			  short *wish)
{
	size_t put = 0;
	int r, e;

	r = rekey_if_due(t);
	if (r < 0)
		return r;
	/* A record that was begun is asked for again exactly as it was. */
	n = t->write_pending ? t->write_pending : MIN(n, (size_t)TLS_RECORD_BYTES);
	ERR_clear_error();
	r = SSL_write_ex(t->ssl, p, n, &put);
	if (r == 1) {
		t->write_pending = 0;
		t->records++;
		return (int64_t)put;
	}
	e = SSL_get_error(t->ssl, r);
	*wish = wish_of(e);
	if (!*wish)
		return write_failed(t, e);
	t->write_pending = n;
	return -EAGAIN;
}

static int64_t tls_write(struct conn *c, const void *p, size_t n,
			 int timeout_ms)
{
	struct tls_conn *t = tls_conn_of(c);
	uint64_t deadline = sock_deadline(timeout_ms);
	size_t done = 0;

	if (t->write_dead)
		return t->write_dead;
	if (!n || n < t->write_pending)
		return -EINVAL;
	while (done < n) {
		short wish = 0;
		int64_t put = write_once(t, (const uint8_t *)p + done, n - done,
					 &wish);
		int r;

		if (put > 0) {
			done += (size_t)put;
			continue;
		}
		/* An error shows again at the next call. */
		if (done)
			break;
		if (put != -EAGAIN)
			return put;
		r = timeout_ms ? conn_wait(c, t->fd, wish, deadline) : -EAGAIN;
		if (r < 0)
			return r;
	}
	return (int64_t)done;
}

/* ---- the end ---- */

static void say_goodbye(struct tls_conn *t)
{
	uint64_t deadline = sock_deadline(CONN_LINGER_MS);
	int r;

	/* Behind half a record nothing can be said any more. */
	if (t->write_dead || t->read_dead || t->write_pending ||
	    !SSL_is_init_finished(t->ssl))
		return;
	for (;;) {
		short wish;

		ERR_clear_error();
		r = SSL_shutdown(t->ssl);
		if (r >= 0)
			break;
		wish = wish_of(SSL_get_error(t->ssl, r));
		if (!wish || sock_wait(t->fd, wish, t->c.wake_fd, deadline))
			break;
	}
	ERR_clear_error();
	if (r < 0 || shutdown(t->fd, SHUT_WR) < 0 || t->ended)
		return;
	sock_drain(t->fd, t->c.wake_fd, deadline);
}

static void tls_close(struct conn *c, bool orderly)
{
	struct tls_conn *t = tls_conn_of(c);

	if (orderly)
		say_goodbye(t);
	conn_free(t);
}

static int tls_poll_fd(struct conn *c)
{
	return tls_conn_of(c)->fd;
}

const struct conn_ops tls_conn_ops = {
	.read = tls_read,
	.write = tls_write,
	.close = tls_close,
	.poll_fd = tls_poll_fd,
	.pending = tls_pending,
};

/* ---- the accepting end ---- */

/* An alert that says why must reach the peer before our RST does. */
static void refuse_gently(struct tls_conn *t)
{
	if (t->read_dead && t->read_dead != -ECONNRESET &&
	    shutdown(t->fd, SHUT_WR) == 0)
		sock_drain(t->fd, -1, sock_deadline(REFUSED_LINGER_MS));
	conn_free(t);
}

int tls_accept(struct tls_identity *id, int fd, const char *address,
	       int timeout_ms, struct conn **out, struct err *err)
{
	const struct tls_setup setup = {
		.id = id, .fd = fd, .address = address, .object = address,
	};
	struct tls_conn *t = tls_conn_new(&setup, err);
	int r;

	if (!t)
		return -ENOMEM;
	r = tls_conn_handshake(t, -1, sock_deadline(timeout_ms), err);
	if (r < 0) {
		refuse_gently(t);
		return r;
	}
	*out = &t->c;
	return 0;
}
