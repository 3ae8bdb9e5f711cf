// SPDX-License-Identifier: Apache-2.0
/*
 * A socket as a BIO. OpenSSL's own uses write(2), which raises SIGPIPE in a
 * program that does not ignore it; this one never does. It also keeps errno
 * and the end of the stream for whoever explains a failure.
 *
 * And it can hold a few bytes back. While OpenSSL has begun a KeyUpdate and
 * not got rid of it, it does not read either: two ends that renew their keys
 * while both directions are full would wait for each other for ever. So a
 * KeyUpdate, and nothing else, is taken here when the socket is full; it goes
 * out in front of the record that follows it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>

#include "net/tls.h"

static int bio_result(struct tls_conn *t, BIO *bio, ssize_t r, int retry_flag)
{
	BIO_clear_retry_flags(bio);
	if (r >= 0)
		return (int)r;
	if (errno == EAGAIN || errno == EINTR)
		BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
	else
		t->io_errno = errno;
	return -1;
}

static ssize_t send_some(const struct tls_conn *t, const void *p, size_t n)
{
	return send(t->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What is held goes first. False, and errno, when some of it is left. */
static bool send_held(struct tls_conn *t)
{
	while (t->n_held) {
		ssize_t r = send_some(t, t->held, t->n_held);

		if (r < 0)
			return false;
		t->n_held -= (size_t)r;
		memmove(t->held, t->held + r, t->n_held);
	}
	return true;
}

static bool hold(struct tls_conn *t, const char *p, size_t n)
{
	if (!t->may_hold || n > sizeof(t->held) - t->n_held)
		return false;
	memcpy(t->held + t->n_held, p, n);
	t->n_held += n;
	return true;
}

static int bio_write(BIO *bio, const char *p, int n)
{
	struct tls_conn *t = BIO_get_data(bio);
	ssize_t r = send_held(t) ? send_some(t, p, (size_t)n) : -1;

	if (r < 0 && errno == EAGAIN && hold(t, p, (size_t)n))
		r = n;
	return bio_result(t, bio, r, BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *p, int n)
{
	struct tls_conn *t = BIO_get_data(bio);
	ssize_t r = recv(t->fd, p, (size_t)n, MSG_DONTWAIT);

	if (!r)
		t->io_eof = true;
	return bio_result(t, bio, r, BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	struct tls_conn *t = BIO_get_data(bio);

	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_FLUSH)	/* nothing is held back */
		return 1;
	if (cmd == BIO_CTRL_EOF)
		return t->io_eof;
	return 0;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *method;
static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;

/* Once a process; never freed, for connections may outlive any order. */
static void method_make(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
			      "understudy socket");
	if (!method)
		return;
	if (BIO_meth_set_write(method, bio_write) &&
	    BIO_meth_set_read(method, bio_read) &&
	    BIO_meth_set_ctrl(method, bio_ctrl) &&
	    BIO_meth_set_create(method, bio_create))
		return;
	BIO_meth_free(method);
	method = NULL;
}

BIO *tls_bio_new(struct tls_conn *t)
{
	BIO *bio;

	if (!CRYPTO_THREAD_run_once(&method_once, method_make) || !method)
		return NULL;
	bio = BIO_new(method);
	if (bio)
		BIO_set_data(bio, t);
	return bio;
}
