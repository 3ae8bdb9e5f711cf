// SPDX-License-Identifier: Apache-2.0
/*
 * Names, addresses and time limits of dialling and listening. The resolver is
 * this program's own: it knows names with several addresses, and one that
 * never answers.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>
#include <sys/eventfd.h>

#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"

/* ---- the resolver ---- */

typedef int resolver(const char *, const char *, const struct addrinfo *,
		     struct addrinfo **);

static sem_t slow_may_end, slow_has_ended;

static int real_getaddrinfo(const char *host, const char *port,
			    const struct addrinfo *hints,
			    struct addrinfo **out)
{
	resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");

	return real(host, port, hints, out);
}

/* The addresses of a NULL-terminated list, in its order. */
static int several(const char *const *hosts, const char *port,
		   const struct addrinfo *hints, struct addrinfo **out)
{
	for (*out = NULL; *hosts; hosts++) {
		if (real_getaddrinfo(*hosts, port, hints, out))
			return EAI_FAIL;
		while (*out)
			out = &(*out)->ai_next;
	}
	return 0;
}

int getaddrinfo(const char *host, const char *port,
		const struct addrinfo *hints, struct addrinfo **out)
{
	static const char *const four_six[] = { "127.0.0.1", "::1", NULL };
	static const char *const six_four[] = { "::1", "127.0.0.1", NULL };
	bool numeric = hints->ai_flags & AI_NUMERICHOST;

	if (!numeric && !strcmp(host, "four-six.test"))
		return several(four_six, port, hints, out);
	if (!numeric && !strcmp(host, "six-four.test"))
		return several(six_four, port, hints, out);
	if (!numeric && !strcmp(host, "slow.test")) {
		(void)sem_wait(&slow_may_end);
		(void)sem_post(&slow_has_ended);
		return several(four_six, port, hints, out);
	}
	if (!numeric && strstr(host, ".test"))
		return EAI_NONAME;
	return real_getaddrinfo(host, port, hints, out);
}

static struct tls_identity *named_server(void)
{
	struct recipe r = recipe_server;

	r.san = "DNS:four-six.test,DNS:six-four.test";
	return made_identity("server", &r);
}

/* Dials host while the listener is at address only. */
static void expect_reached(const char *host, const char *address,
			   const char *reached)
{
	struct tls_identity *server = named_server();
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct far_end f = { .id = server };
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	ASSERT_OK(listener_open(address, &f.listener, NULL));
	far_start(&f);
	EXPECT_OK(tls_dial(peer, host, listener_port(f.listener), PATIENCE_MS,
			   &c, &err));
	ASSERT_STR(err.message, "");
	EXPECT_INT(strncmp(c->peer_address, reached, strlen(reached)), 0);
	far_join(&f);
	EXPECT_OK(f.r);
	conn_close(c, false);
	conn_close(f.conn, false);
	listener_close(f.listener);
	tls_identity_free(server);
	tls_identity_free(peer);
}

TEST(a_dead_address_of_a_name_does_not_hide_a_living_one)
{
	expect_reached("four-six.test", "[::1]:0", "[::1]:");
	expect_reached("six-four.test", "127.0.0.1:0", "127.0.0.1:");
	expect_reached("four-six.test", "127.0.0.1:0", "127.0.0.1:");
}

/* It accepts, so TCP is content; TLS gets no word out of it. */
TEST(a_silent_address_leaves_time_for_the_next)
{
	struct tls_identity *server = named_server();
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct far_end f = { .id = server };
	struct listener *silent;
	struct conn *c = NULL;
	char address[64];

	ASSERT_OK(listener_open("[::1]:0", &f.listener, NULL));
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u",
		       listener_port(f.listener));
	ASSERT_OK(listener_open(address, &silent, NULL));
	far_start(&f);
	EXPECT_OK(tls_dial(peer, "four-six.test", listener_port(f.listener),
			   1200, &c, NULL));
	far_join(&f);
	EXPECT_OK(f.r);
	conn_close(c, false);
	conn_close(f.conn, false);
	listener_close(silent);
	listener_close(f.listener);
	tls_identity_free(server);
	tls_identity_free(peer);
}

/* Whoever answers and is somebody else ends the dial. */
TEST(a_wrong_peer_at_the_first_address_is_not_passed_over)
{
	struct tls_identity *wrong = made_identity("wrong", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct far_end f = { .id = wrong };
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	ASSERT_OK(listener_open("127.0.0.1:0", &f.listener, NULL));
	far_start(&f);
	EXPECT_LT(tls_dial(peer, "four-six.test", listener_port(f.listener),
			   PATIENCE_MS, &c, &err), 0);
	EXPECT_STR(err.code, "tls-name");
	far_join(&f);
	listener_close(f.listener);
	tls_identity_free(wrong);
	tls_identity_free(peer);
}

TEST(when_all_addresses_fail_the_last_failure_is_told)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct err err = ERR_INIT;
	struct listener *l;
	struct conn *c = NULL;
	uint16_t port;

	ASSERT_OK(listener_open("[::]:0", &l, NULL));
	port = listener_port(l);
	listener_close(l);
	EXPECT_INT(tls_dial(peer, "four-six.test", port, PATIENCE_MS, &c, &err),
		   -ECONNREFUSED);
	EXPECT_STR(err.code, "connect-refused");
	EXPECT_STR_HAS(err.message, "[::1]:");
	EXPECT_STR_HAS(err.object, "four-six.test:");
	tls_identity_free(peer);
}

TEST(a_resolver_that_hangs_is_left_behind)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct tls_dial_spec spec = { "slow.test", 7420, -1, -1 };
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	double start = tap_ms_now();

	ASSERT_OK(sem_init(&slow_may_end, 0, 0));
	ASSERT_OK(sem_init(&slow_has_ended, 0, 0));
	EXPECT_INT(tls_dial(peer, "slow.test", 7420, 50, &c, &err), -ETIMEDOUT);
	EXPECT_LT(tap_ms_now() - start, 5000);
	EXPECT_STR(err.code, "timeout");
	/* And its owner can call it off. */
	err_clear(&err);
	spec.wake_fd = eventfd(1, EFD_CLOEXEC);
	EXPECT_INT(tls_dial_to(peer, &spec, &c, &err), -EINTR);
	EXPECT_STR(err.code, "interrupted");
	(void)close(spec.wake_fd);
	/* Both late answers find nobody and are freed. */
	(void)sem_post(&slow_may_end);
	(void)sem_post(&slow_may_end);
	(void)sem_wait(&slow_has_ended);
	(void)sem_wait(&slow_has_ended);
	tls_identity_free(peer);
}

TEST(a_listener_that_never_speaks_is_given_up_in_time)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct listener *l;
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	double start;

	/* The kernel completes the connection; nobody accepts it. */
	ASSERT_OK(listener_open("127.0.0.1:0", &l, NULL));
	start = tap_ms_now();
	EXPECT_INT(tls_dial(peer, "127.0.0.1", listener_port(l), 50, &c, &err),
		   -ETIMEDOUT);
	EXPECT_LT(tap_ms_now() - start, 5000);
	EXPECT_STR(err.code, "timeout");
	EXPECT_TRUE(err.remedy[0]);
	listener_close(l);
	tls_identity_free(peer);
}

TEST(a_dial_ends_when_its_owner_is_woken)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct tls_dial_spec spec = { "127.0.0.1", 0, -1,
				      eventfd(1, EFD_CLOEXEC) };
	struct listener *l;
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	ASSERT_OK(listener_open("127.0.0.1:0", &l, NULL));
	spec.port = listener_port(l);
	EXPECT_INT(tls_dial_to(peer, &spec, &c, &err), -EINTR);
	EXPECT_STR(err.code, "interrupted");
	(void)close(spec.wake_fd);
	listener_close(l);
	tls_identity_free(peer);
}

TEST(a_port_where_nobody_listens_is_told_as_such)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	struct listener *l;
	uint16_t port;

	ASSERT_OK(listener_open("127.0.0.1:0", &l, NULL));
	port = listener_port(l);
	listener_close(l);
	EXPECT_INT(tls_dial(peer, "127.0.0.1", port, PATIENCE_MS, &c, &err),
		   -ECONNREFUSED);
	EXPECT_STR(err.code, "connect-refused");
	EXPECT_STR_HAS(err.message, "127.0.0.1:");
	EXPECT_TRUE(err.remedy[0]);
	tls_identity_free(peer);
}

TEST(a_name_that_is_none_is_told_as_such)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	EXPECT_INT(tls_dial(peer, "no.test", 7420, PATIENCE_MS, &c, &err),
		   -EHOSTUNREACH);
	EXPECT_STR(err.code, "resolve-failed");
	tls_identity_free(peer);
}

TEST(a_listener_says_what_is_wrong_with_its_address)
{
	static const char *const bad[] = { "", "7420", "127.0.0.1", "::1",
					   "127.0.0.1:", "127.0.0.1:99999",
					   "127.0.0.1:x", "[::1]7420", "::1:1",
					   "256.0.0.1:1", "[::1:7420", ":7420",
					   "[]:1x" };
	struct listener *l = NULL, *again;
	struct err err = ERR_INIT;
	char address[64];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err_clear(&err);
		EXPECT_MSG(listener_open(bad[i], &l, &err) < 0,
			   "  took \"%s\"", bad[i]);
		EXPECT_STR(err.code, "bad-address");
	}
	err_clear(&err);
	ASSERT_OK(listener_open("127.0.0.1:0", &l, &err));
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u",
		       listener_port(l));
	EXPECT_INT(listener_open(address, &again, &err), -EADDRINUSE);
	EXPECT_STR(err.code, "address-in-use");
	EXPECT_INT(listener_accept(l, address), -EAGAIN);
	listener_close(l);
}
