// SPDX-License-Identifier: Apache-2.0
/*
 * How a connection ends, and what a hand on the wire can do: cut it, change
 * it, play it again. Over TLS and, where it has an end to tell, over a pair.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>

#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"

/* ---- the wire in our hands ---- */

/*
 * The ends talk through two sockets that the test carries bytes between, so
 * that it can stop, cut or change them anywhere.
 */
struct carried {
	struct conn *a, *b;
	int at_a, at_b;			/* the carrier's descriptors */
};

struct carrier {
	pthread_t thread;
	int at_a, at_b;
	atomic_bool stop;
};

static bool carry_some(int from, int to)
{
	uint8_t p[4096];
	ssize_t n = recv(from, p, sizeof(p), MSG_DONTWAIT), put = 0;

	while (n > 0 && put < n) {
		ssize_t r = send(to, p + put, (size_t)(n - put), MSG_NOSIGNAL);

		if (r <= 0)
			return false;
		put += r;
	}
	return n > 0;
}

static void *carry(void *arg)
{
	struct carrier *k = arg;

	while (!atomic_load(&k->stop)) {
		struct pollfd f[2] = { { k->at_a, POLLIN, 0 },
				       { k->at_b, POLLIN, 0 } };

		(void)poll(f, 2, 1);
		(void)carry_some(k->at_a, k->at_b);
		(void)carry_some(k->at_b, k->at_a);
	}
	return NULL;
}

static struct carried carried_ends(void)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct far_end f = { .id = peer, .dials = true };
	struct carrier k = { .stop = false };
	struct carried c;
	int x[2], y[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, x));
	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, y));
	k.at_a = x[1];
	k.at_b = y[1];
	ASSERT_OK(pthread_create(&k.thread, NULL, carry, &k));
	f.fd = y[0];
	far_start(&f);
	ASSERT_OK(tls_accept(server, x[0], "a", PATIENCE_MS, &c.a, NULL));
	far_join(&f);
	ASSERT_OK(f.r);
	atomic_store(&k.stop, true);
	ASSERT_OK(pthread_join(k.thread, NULL));
	c.b = f.conn;
	c.at_a = k.at_a;
	c.at_b = k.at_b;
	tls_identity_free(server);
	tls_identity_free(peer);
	return c;
}

static void carried_close(struct carried *c)
{
	conn_close(c->a, false);
	conn_close(c->b, false);
	(void)close(c->at_a);
	if (c->at_b >= 0)
		(void)close(c->at_b);
}

/* The sealed form of "hello" from a, taken off the wire. */
static size_t sealed_hello(struct carried *c, uint8_t out[256])
{
	ssize_t n;

	ASSERT_INT(conn_write(c->a, "hello", 5, 0), 5);
	n = recv(c->at_a, out, 256, MSG_DONTWAIT);
	ASSERT_GT(n, 20);
	return (size_t)n;
}

TEST(half_a_record_is_nothing_and_its_loss_is_a_cut)
{
	uint8_t wire[256];
	size_t n, cut;
	char p[16];

	for (cut = 0; cut < 27; cut += 2) {
		struct carried c = carried_ends();

		n = sealed_hello(&c, wire);
		ASSERT_LT(cut, n);
		ASSERT_INT(send(c.at_b, wire, cut, 0), cut);
		EXPECT_INT(conn_read(c.b, p, sizeof(p), 0), -EAGAIN);
		EXPECT_FALSE(conn_pending(c.b));
		(void)close(c.at_b);
		c.at_b = -1;
		EXPECT_INT(conn_read(c.b, p, sizeof(p), PATIENCE_MS),
			   -ECONNRESET);
		EXPECT_STR(c.b->failure.code, "connection-lost");
		/* And so it stays. */
		EXPECT_INT(conn_read(c.b, p, sizeof(p), 0), -ECONNRESET);
		EXPECT_TRUE(conn_pending(c.b));
		carried_close(&c);
	}
}

TEST(a_bit_changed_on_the_way_is_refused)
{
	uint8_t wire[256];
	size_t n = 27, at;
	char p[16];

	for (at = 0; at < n; at += 2) {
		struct carried c = carried_ends();
		int64_t r;

		n = sealed_hello(&c, wire);
		wire[at] ^= 0x10;
		ASSERT_INT(send(c.at_b, wire, n, 0), n);
		(void)close(c.at_b);
		c.at_b = -1;
		r = conn_read(c.b, p, sizeof(p), PATIENCE_MS);
		EXPECT_MSG(r < 0 && r != -EAGAIN, "  byte %zu: %" PRId64, at,
			   r);
		EXPECT_TRUE(c.b->failure.code[0]);
		carried_close(&c);
	}
}

TEST(a_record_played_again_is_refused)
{
	struct carried c = carried_ends();
	uint8_t wire[256];
	size_t n = sealed_hello(&c, wire);
	char p[16];

	ASSERT_INT(send(c.at_b, wire, n, 0), n);
	EXPECT_INT(conn_read(c.b, p, sizeof(p), 0), 5);
	ASSERT_INT(send(c.at_b, wire, n, 0), n);
	EXPECT_INT(conn_read(c.b, p, sizeof(p), PATIENCE_MS), -EPROTO);
	EXPECT_STR(c.b->failure.code, "tls-protocol");
	carried_close(&c);
}

/* ---- the end ---- */

/* Closing in order waits for the other end, so it has a thread. */
static void *close_orderly(void *arg)
{
	conn_close(arg, true);
	return NULL;
}

TEST(an_orderly_end_is_told_from_a_cut)
{
	struct conn *a, *b;
	pthread_t thread;
	char p[16];
	size_t i;

	for (i = 0; i < 2; i++) {
		makers[i](&a, &b);
		EXPECT_INT(conn_write(a, "last", 4, PATIENCE_MS), 4);
		ASSERT_OK(pthread_create(&thread, NULL, close_orderly, a));
		EXPECT_INT(conn_read(b, p, sizeof(p), PATIENCE_MS), 4);
		EXPECT_INT(conn_read(b, p, sizeof(p), PATIENCE_MS), 0);
		EXPECT_INT(conn_read(b, p, sizeof(p), PATIENCE_MS), 0);
		EXPECT_STR(b->failure.code, "");
		conn_close(b, true);
		ASSERT_OK(pthread_join(thread, NULL));

		makers[i](&a, &b);
		EXPECT_INT(conn_write(a, "last", 4, PATIENCE_MS), 4);
		conn_close(a, false);
		EXPECT_INT(conn_read(b, p, sizeof(p), PATIENCE_MS), 4);
		EXPECT_INT(conn_read(b, p, sizeof(p), PATIENCE_MS),
			   -ECONNRESET);
		EXPECT_STR(b->failure.code, "connection-lost");
		conn_close(b, true);
	}
	conn_close(NULL, true);
}

/* A refusal that is followed by a close, to a peer in the midst of writing. */
TEST(last_words_reach_a_peer_that_is_writing)
{
	static uint8_t p[50000];
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	int round;

	for (round = 0; round < 10; round++) {
		struct far_end f = { .id = server };
		struct conn *c;
		pthread_t thread;
		char word[8] = "";
		int i;

		ASSERT_OK(listener_open("127.0.0.1:0", &f.listener, NULL));
		far_start(&f);
		ASSERT_OK(tls_dial(peer, "127.0.0.1", listener_port(f.listener),
				   PATIENCE_MS, &c, NULL));
		far_join(&f);
		(void)fill_up(c, p, sizeof(p));
		EXPECT_INT(conn_write(f.conn, "no", 2, PATIENCE_MS), 2);
		ASSERT_OK(pthread_create(&thread, NULL, close_orderly, f.conn));
		/* Who closes goes on taking these: nothing breaks. */
		for (i = 0; i < 20; i++)
			EXPECT_GT(conn_write(c, p, sizeof(p), PATIENCE_MS), 0);
		EXPECT_INT(conn_read(c, word, 8, PATIENCE_MS), 2);
		EXPECT_STR(word, "no");
		EXPECT_INT(conn_read(c, word, 8, PATIENCE_MS), 0);
		conn_close(c, false);
		ASSERT_OK(pthread_join(thread, NULL));
		listener_close(f.listener);
	}
	tls_identity_free(server);
	tls_identity_free(peer);
}

TEST(closing_in_order_does_not_wait_for_ever)
{
	static uint8_t p[50000];
	struct conn *a, *b;
	double start;

	/* Nobody reads, so not even the goodbye finds room. */
	tls_ends(&a, &b);
	(void)fill_up(a, p, sizeof(p));
	start = tap_ms_now();
	conn_close(a, true);
	EXPECT_LT(tap_ms_now() - start, CONN_LINGER_MS - 100);
	conn_close(b, false);
	/* A peer that never closes, and an owner in a hurry. */
	tls_ends(&a, &b);
	conn_wake(a);
	start = tap_ms_now();
	conn_close(a, true);
	EXPECT_LT(tap_ms_now() - start, CONN_LINGER_MS - 100);
	conn_close(b, false);
}

/* SIGPIPE has its default action here: it would kill the test. */
TEST(writing_to_a_peer_that_is_gone_is_an_error_and_no_signal)
{
	static uint8_t p[50000];
	struct conn *a, *b;
	int64_t r = 1;
	size_t i;

	(void)signal(SIGPIPE, SIG_DFL);
	for (i = 0; i < 2; i++, r = 1) {
		makers[i](&a, &b);
		conn_close(b, false);
		while (r > 0)
			r = conn_write(a, p, sizeof(p), PATIENCE_MS);
		EXPECT_INT(r, -ECONNRESET);
		EXPECT_STR(a->failure.code, "connection-lost");
		EXPECT_INT(conn_write(a, p, 1, 0), -ECONNRESET);
		conn_close(a, true);
	}
}

/* What the peer had said before it went can still be read. */
TEST(after_a_failed_write_the_last_words_can_be_read)
{
	static uint8_t p[50000];
	struct conn *a, *b;
	char word[8] = "";
	int64_t r = 1;

	tls_ends(&a, &b);
	EXPECT_INT(conn_write(b, "no", 2, PATIENCE_MS), 2);
	conn_close(b, false);
	while (r > 0)
		r = conn_write(a, p, sizeof(p), PATIENCE_MS);
	EXPECT_INT(r, -ECONNRESET);
	EXPECT_INT(conn_read(a, word, 8, PATIENCE_MS), 2);
	EXPECT_STR(word, "no");
	EXPECT_INT(conn_read(a, word, 8, PATIENCE_MS), -ECONNRESET);
	conn_close(a, false);
}

/* The dialler writes at once, before it can know that it is refused. */
TEST(a_write_that_fails_tells_the_refusal_and_not_the_broken_pipe)
{
	static uint8_t p[50000];
	struct recipe revoked = recipe_peer;
	struct tls_identity *server, *peer;
	struct far_end f;
	struct conn *c;
	int64_t r = 1;

	revoked.from_s = -7200;
	revoked.to_s = -60;
	server = made_identity("server", &recipe_server);
	peer = made_identity("peer", &revoked);
	f = (struct far_end){ .id = server };
	ASSERT_OK(listener_open("127.0.0.1:0", &f.listener, NULL));
	far_start(&f);
	ASSERT_OK(tls_dial(peer, "127.0.0.1", listener_port(f.listener),
			   PATIENCE_MS, &c, NULL));
	while (r > 0)
		r = conn_write(c, p, sizeof(p), PATIENCE_MS);
	EXPECT_INT(r, -EKEYEXPIRED);
	EXPECT_STR(c->failure.code, "tls-expired");
	conn_close(c, true);
	far_join(&f);
	EXPECT_STR(f.err.code, "tls-expired");
	listener_close(f.listener);
	tls_identity_free(server);
	tls_identity_free(peer);
}

TEST(options_of_the_socket_are_set)
{
	static const struct {
		int level, option, min;
	} t[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 1000 },
	};
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct far_end f = { .id = server };
	struct conn *ends[2];
	size_t i, k;

	ASSERT_OK(listener_open("127.0.0.1:0", &f.listener, NULL));
	far_start(&f);
	ASSERT_OK(tls_dial(peer, "127.0.0.1", listener_port(f.listener),
			   PATIENCE_MS, &ends[0], NULL));
	far_join(&f);
	ASSERT_OK(f.r);
	ends[1] = f.conn;
	for (i = 0; i < 2; i++) {
		int fd = conn_poll_fd(ends[i]);

		for (k = 0; k < sizeof(t) / sizeof(*t); k++) {
			int value = 0;
			socklen_t n = sizeof(value);

			ASSERT_OK(getsockopt(fd, t[k].level, t[k].option,
					     &value, &n));
			EXPECT_GE(value, t[k].min);
		}
		EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		EXPECT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
		EXPECT_TRUE(fcntl(ends[i]->wake_fd, F_GETFD) & FD_CLOEXEC);
	}
	conn_close(ends[0], false);
	conn_close(ends[1], false);
	listener_close(f.listener);
	tls_identity_free(server);
	tls_identity_free(peer);
}
