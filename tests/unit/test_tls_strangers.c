// SPDX-License-Identifier: Apache-2.0
/*
 * Peers that are not ours at all: plain OpenSSL with other settings, programs
 * that speak something else, and ones that say nothing.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"

#include "base/checked.h"
#include "base/rnd.h"

struct stranger {
	pthread_t thread;
	int fd;
	bool server;
	int min, max;			/* versions */
	const char *suites;
	const char *identity;		/* directory in scratch, or NULL */
	bool said_hello_ok;
	int tickets;
};

static int count_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct stranger *s = SSL_get_app_data(ssl);

	(void)session;
	s->tickets++;
	return 0;
}

static void stranger_identity(const struct stranger *s, SSL_CTX *ctx)
{
	char path[PATH_MAX];

	if (!s->identity)
		return;
	(void)snprintf(path, sizeof(path), "%s/cert.pem", s->identity);
	if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
		return;
	(void)snprintf(path, sizeof(path), "%s/key.pem", s->identity);
	(void)SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM);
}

/* Blocking, plain OpenSSL, verifies nothing, reads until the end. */
static void *stranger_run(void *arg)
{
	struct stranger *s = arg;
	SSL_CTX *ctx = SSL_CTX_new(s->server ? TLS_server_method() :
					       TLS_client_method());
	SSL *ssl;
	char byte;

	(void)SSL_CTX_set_min_proto_version(ctx, s->min);
	(void)SSL_CTX_set_max_proto_version(ctx, s->max);
	if (s->suites)
		(void)SSL_CTX_set_ciphersuites(ctx, s->suites);
	stranger_identity(s, ctx);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(ctx, count_ticket);
	ssl = SSL_new(ctx);
	(void)SSL_set_app_data(ssl, s);
	(void)SSL_set_fd(ssl, s->fd);
	if (s->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	s->said_hello_ok = SSL_do_handshake(ssl) == 1;
	while (SSL_read(ssl, &byte, 1) == 1)
		;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	(void)close(s->fd);
	return NULL;
}

/* Our own end's descriptor. */
static int stranger_start(struct stranger *s)
{
	int fds[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	ASSERT_OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
	s->fd = fds[1];
	ASSERT_OK(pthread_create(&s->thread, NULL, stranger_run, s));
	return fds[0];
}

static void expect_stranger_refused(struct stranger *s, const char *code)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	int fd = stranger_start(s);

	EXPECT_LT(tls_accept(server, fd, "stranger", PATIENCE_MS, &c, &err), 0);
	tap_note("accept: %s [%s]", err.message, err.remedy);
	EXPECT_STR(err.code, code);
	ASSERT_OK(pthread_join(s->thread, NULL));
	tls_identity_free(server);
}

TEST(a_peer_without_a_certificate_is_refused)
{
	struct stranger s = { .min = TLS1_3_VERSION, .max = TLS1_3_VERSION };

	expect_stranger_refused(&s, "tls-no-certificate");
	/* The very reason why diallers wait for a word from the protocol. */
	EXPECT_TRUE(s.said_hello_ok);
}

TEST(a_peer_that_speaks_tls_1_2_is_refused)
{
	struct stranger s = { .min = TLS1_2_VERSION, .max = TLS1_2_VERSION };

	make_the_ca();
	write_made("peer", &the_ca, &recipe_peer);
	s.identity = strdupa(in_scratch("peer"));
	expect_stranger_refused(&s, "tls-version");
	EXPECT_FALSE(s.said_hello_ok);
}

TEST(a_peer_with_weaker_ciphers_only_is_refused)
{
	struct stranger s = { .min = TLS1_3_VERSION, .max = TLS1_3_VERSION,
			      .suites = "TLS_AES_128_GCM_SHA256" };

	make_the_ca();
	write_made("peer", &the_ca, &recipe_peer);
	s.identity = strdupa(in_scratch("peer"));
	expect_stranger_refused(&s, "tls-suite");
}

TEST(a_listener_that_speaks_tls_1_2_is_refused)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct stranger s = { .server = true, .min = TLS1_2_VERSION,
			      .max = TLS1_2_VERSION };
	struct far_end f = { .id = peer, .dials = true };

	write_made("server", &the_ca, &recipe_server);
	s.identity = strdupa(in_scratch("server"));
	f.fd = stranger_start(&s);
	far_start(&f);
	far_join(&f);
	EXPECT_LT(f.r, 0);
	EXPECT_STR(f.err.code, "tls-version");
	ASSERT_OK(pthread_join(s.thread, NULL));
	tls_identity_free(peer);
}

TEST(nobody_is_given_a_ticket_to_come_back_with)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct stranger s = { .min = TLS1_3_VERSION, .max = TLS1_3_VERSION };
	struct conn *c = NULL;
	int fd;

	write_made("peer", &the_ca, &recipe_peer);
	s.identity = strdupa(in_scratch("peer"));
	fd = stranger_start(&s);
	ASSERT_OK(tls_accept(server, fd, "stranger", PATIENCE_MS, &c, NULL));
	EXPECT_INT(conn_write(c, "hello", 5, PATIENCE_MS), 5);
	conn_close(c, true);
	ASSERT_OK(pthread_join(s.thread, NULL));
	EXPECT_TRUE(s.said_hello_ok);
	EXPECT_INT(s.tickets, 0);
	tls_identity_free(server);
}

TEST(a_peer_that_never_speaks_is_given_up_in_time)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	double start;
	int fds[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0, fds));
	start = tap_ms_now();
	EXPECT_INT(tls_accept(server, fds[0], "silent", 50, &c, &err),
		   -ETIMEDOUT);
	EXPECT_LT(tap_ms_now() - start, 5000);
	EXPECT_STR(err.code, "timeout");
	(void)close(fds[1]);
	tls_identity_free(server);
}

static void expect_garbage_refused(struct tls_identity *server,
				   const void *p, size_t n, bool at_dialler)
{
	struct far_end f = { .id = server, .dials = at_dialler };
	int fds[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0, fds));
	ASSERT_INT(write(fds[1], p, n), n);
	ASSERT_OK(shutdown(fds[1], SHUT_WR));
	f.fd = fds[0];
	far_start(&f);
	/* Closed only later, so that the alert has somewhere to go. */
	if (at_dialler)
		far_join(&f);
	else
		(void)close(fds[1]);
	if (!at_dialler)
		far_join(&f);
	EXPECT_LT(f.r, 0);
	EXPECT_TRUE(f.err.code[0]);
	EXPECT_NULL(f.conn);
	if (at_dialler)
		(void)close(fds[1]);
}

TEST(garbage_is_refused_at_both_ends)
{
	static const char *const texts[] = { "GET / HTTP/1.1\r\n\r\n", "x",
					     "SSH-2.0-OpenSSH_9.2\r\n" };
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct rnd_seeded rnd;
	uint8_t bytes[2000];
	size_t i, k;

	for (i = 0; i < 3; i++) {
		expect_garbage_refused(server, texts[i], strlen(texts[i]),
				       false);
		expect_garbage_refused(server, texts[i], strlen(texts[i]),
				       true);
	}
	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 200; i++) {
		size_t n = 1 + rnd_seeded_below(&rnd, sizeof(bytes));

		for (k = 0; k < n; k++)
			bytes[k] = (uint8_t)rnd_seeded_next(&rnd);
		if (i & 1)	/* looks like the head of a handshake record */
			memcpy(bytes, "\x16\x03\x01\x01\x00\x01", MIN(n, 6UL));
		expect_garbage_refused(server, bytes, n, i & 2);
	}
	tls_identity_free(server);
}

TEST(what_speaks_http_is_told_apart)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	int fds[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0, fds));
	ASSERT_INT(write(fds[1], "GET / HTTP/1.0\r\n\r\n", 18), 18);
	ASSERT_OK(shutdown(fds[1], SHUT_WR));
	EXPECT_INT(tls_accept(server, fds[0], "browser", PATIENCE_MS, &c, &err),
		   -EPROTO);
	EXPECT_STR(err.code, "tls-protocol");
	EXPECT_STR_HAS(err.message, "HTTP");
	(void)close(fds[1]);
	tls_identity_free(server);
}
