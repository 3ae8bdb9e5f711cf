// SPDX-License-Identifier: Apache-2.0
/*
 * The whole way with certificates, over TCP on the loopback: a point is pushed
 * and restored; who has no right to be there is not served; a revoked
 * certificate's session ends at the reload; strangers who say nothing hold up
 * nobody.
 */
#define TEST_TIMEOUT_S 60
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "replica_fixture.h"

#include "pki/pki.h"
#include "source/remote_image.h"

struct tls_rig {
	struct fixture f;
	struct history h;
	struct rnd_seeded r;
	struct tls_identity *web1;
	char web1_dir[240], ops_dir[240];
};

static void issue(struct tls_rig *g, const char *name, uint32_t rights,
		  const char *volumes, char dir[240])
{
	struct pki_subject subject = { .rights = rights };
	struct err err = ERR_INIT;
	int r;

	snprintf(subject.name, sizeof(subject.name), "%s", name);
	snprintf(subject.volumes, sizeof(subject.volumes), "%s", volumes);
	snprintf(dir, 240, "%s/%s", fx_dir(), name);
	r = pki_issue(g->f.state, &subject, dir, &err);
	ASSERT_MSG(r == 0, "pki_issue: %s", err.message);
}

static void tls_rig_init(struct tls_rig *g)
{
	struct err err = ERR_INIT;
	int r;

	memset(g, 0, sizeof(*g));
	fx_prepare(&g->f);
	r = pki_init(g->f.state, NULL, 0, &err);
	ASSERT_MSG(r == 0, "pki_init: %s", err.message);
	issue(g, "web1", PKI_RIGHT_PUSH | PKI_RIGHT_READ, "db*", g->web1_dir);
	issue(g, "ops", PKI_RIGHT_READ, "*/*", g->ops_dir);
	r = tls_identity_load(g->web1_dir, &g->web1, &err);
	ASSERT_MSG(r == 0, "tls_identity_load: %s", err.message);
	snprintf(g->f.cfg.listen, sizeof(g->f.cfg.listen), "127.0.0.1:0");
	g->f.env.limits.handshake_ms = 1500;
	fx_start(&g->f);
	ASSERT_NE(replica_port(g->f.replica), 0);
	rnd_seeded_init(&g->r, tap_seed());
	history_init(&g->h, "db1", 128 * (uint64_t)B);
	history_write(&g->h, &g->r, 8);
}

static void tls_rig_free(struct tls_rig *g)
{
	tls_identity_free(g->web1);
	replica_stop(g->f.replica);
	history_free(&g->h);
}

static struct conn *dial(struct tls_rig *g)
{
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	int r = tls_dial(g->web1, "127.0.0.1", replica_port(g->f.replica),
			 PEER_MS, &c, &err);

	ASSERT_MSG(r == 0, "tls_dial: %s", err.message);
	return c;
}

static struct replica_config remote_config(struct tls_rig *g, const char *dir)
{
	struct replica_config cfg = { .name = "dr1", .n_addresses = 1 };

	snprintf(cfg.addresses[0].host, sizeof(cfg.addresses[0].host),
		 "localhost");
	cfg.addresses[0].port = replica_port(g->f.replica);
	snprintf(cfg.identity, sizeof(cfg.identity), "%s", dir);
	return cfg;
}

static bool tls_point_is(struct tls_rig *g, const char *dir, const char *name,
			 const struct snapshot *snap)
{
	struct source_env env = { .clock = clock_real(), .rnd = rnd_system(),
				  .io = io_posix() };
	struct replica_config cfg = remote_config(g, dir);
	struct wire_view_open sel = { .source = "web1",
				      .select = WIRE_SELECT_SEQ };
	struct remote *remote = NULL;
	struct err err = ERR_INIT;
	struct image *im = NULL;
	int r;

	sel.seq = snap->seq;
	snprintf(sel.name, sizeof(sel.name), "%s", name);
	r = remote_connect(&cfg, &env, &remote, &err);
	ASSERT_MSG(r == 0, "remote_connect: %s", err.message);
	r = remote_image(remote, &sel, &g->h.key, &im, &err);
	ASSERT_MSG(r == 0, "remote_image: %s", err.message);
	return image_is(im, snap->bytes, g->h.size_bytes);
}

TEST(points_travel_over_tls_and_come_back)
{
	struct tls_rig g;
	struct sender s;
	int i;

	tls_rig_init(&g);
	ASSERT_INT(sender_begin(&s, dial(&g), WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	EXPECT_STR(s.accept.peer_name, "web1");
	EXPECT_INT(s.accept.rights, ALL_RIGHTS);
	ASSERT_INT(history_open(&g.h, &s), 0);
	for (i = 0; i < 5; i++) {
		history_write(&g.h, &g.r, 5);
		ASSERT_INT(history_point(&g.h, &s), 0);
	}
	sender_close(&s);
	for (i = 0; i < 5; i++) {
		EXPECT_TRUE(local_point_is(&g.f, &g.h, &g.h.snaps[i]));
		EXPECT_TRUE(tls_point_is(&g, g.web1_dir, "db1",
					 &g.h.snaps[i]));
	}
	EXPECT_TRUE(tls_point_is(&g, g.ops_dir, "db1", &g.h.snaps[2]));
	g.h.snaps[2].bytes[77777] ^= 4;
	EXPECT_FALSE(tls_point_is(&g, g.ops_dir, "db1", &g.h.snaps[2]));
	tls_rig_free(&g);
}

TEST(cut_at_any_byte_over_tls_no_point_is_lost)
{
	unsigned int cuts = 0, points, tries;
	struct tls_rig g;
	struct sender s;
	size_t i;

	tls_rig_init(&g);
	for (points = 0; points < 6; points++) {
		size_t before = g.h.n_snaps;

		history_write(&g.h, &g.r, 4);
		for (tries = 0; g.h.n_snaps == before; tries++) {
			int r = sender_begin(&s, dial(&g), WIRE_ROLE_SENDER);

			ASSERT_INT(r, DIAL_ACCEPTED);
			if (tries < 6)
				s.cut_sent = s.sent + 1 +
					     rnd_seeded_below(&g.r, tries ? 60000 : 5000);
			if (history_open(&g.h, &s) == 0 &&
			    g.h.n_snaps == before &&
			    history_stage(&g.h, &s, true) == 0)
				(void)history_commit(&g.h, &s, NULL);
			cuts += s.gone;
			sender_close(&s);
		}
	}
	tap_note("cuts=%u", cuts);
	EXPECT_GE(cuts, 1);
	for (i = 0; i < g.h.n_snaps; i++)
		EXPECT_TRUE(local_point_is(&g.f, &g.h, &g.h.snaps[i]));
	EXPECT_TRUE(tls_point_is(&g, g.web1_dir, "db1",
				 &g.h.snaps[g.h.n_snaps - 1]));
	tls_rig_free(&g);
}

TEST(rights_and_patterns_come_from_the_certificate)
{
	struct tls_identity *ops = NULL;
	struct err err = ERR_INIT;
	struct conn *c = NULL;
	struct tls_rig g;
	struct sender s;

	tls_rig_init(&g);
	ASSERT_OK(tls_identity_load(g.ops_dir, &ops, &err));
	ASSERT_OK(tls_dial(ops, "127.0.0.1", replica_port(g.f.replica),
			   PEER_MS, &c, &err));
	EXPECT_INT(sender_begin(&s, c, WIRE_ROLE_SENDER), DIAL_REJECTED);
	EXPECT_STR(s.why.code, "not-permitted");
	sender_close(&s);
	snprintf(g.h.name, sizeof(g.h.name), "wal1");
	ASSERT_INT(sender_begin(&s, dial(&g), WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	EXPECT_INT(history_open(&g.h, &s), DIAL_REFUSED);
	EXPECT_STR(s.why.code, "not-permitted");
	sender_close(&s);
	tls_identity_free(ops);
	tls_rig_free(&g);
}

TEST(a_certificate_of_another_authority_is_not_served)
{
	struct source_env env = { .clock = clock_real(), .rnd = rnd_system() };
	struct replica_config cfg;
	struct remote *remote = NULL;
	struct err err = ERR_INIT;
	struct tls_rig g, other;
	char ours[240], theirs[300], cmd[700];

	tls_rig_init(&g);
	memset(&other, 0, sizeof(other));
	snprintf(other.f.state, sizeof(other.f.state), "%s/other", fx_dir());
	ASSERT_OK(mkdir(other.f.state, 0700));
	ASSERT_OK(pki_init(other.f.state, NULL, 0, &err));
	issue(&other, "mallory", PKI_RIGHT_READ, "*/*", ours);
	/* it even trusts our authority, so that only the replica can object */
	snprintf(theirs, sizeof(theirs), "%s/ca.pem", ours);
	ASSERT_OK(unlink(theirs));
	snprintf(cmd, sizeof(cmd), "cp %s/ca.pem %s", g.web1_dir, theirs);
	ASSERT_OK(system(cmd));
	cfg = remote_config(&g, ours);
	EXPECT_LT(remote_connect(&cfg, &env, &remote, &err), 0);
	EXPECT_TRUE(err.code[0] && err.message[0]);
	tap_note("%s: %s", err.code, err.message);
	tls_rig_free(&g);
}

TEST(a_revoked_certificates_session_ends_at_the_reload)
{
	struct err err = ERR_INIT;
	struct dial_event ev;
	struct tls_rig g;
	struct sender s;

	tls_rig_init(&g);
	ASSERT_INT(sender_begin(&s, dial(&g), WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	ASSERT_INT(history_open(&g.h, &s), 0);
	ASSERT_INT(history_point(&g.h, &s), 0);
	/* a reload without cause leaves it alone */
	ASSERT_OK(replica_reload(g.f.replica, &g.f.cfg, &err));
	history_write(&g.h, &g.r, 2);
	ASSERT_INT(history_point(&g.h, &s), 0);
	ASSERT_OK(pki_revoke(g.f.state, "web1", &err));
	ASSERT_OK(replica_reload(g.f.replica, &g.f.cfg, &err));
	EXPECT_INT(sender_wait(&s, &ev), DIAL_BYE);
	tap_note("%s: %s", s.why.code, s.why.message);
	EXPECT_STR_HAS(s.why.code, "revoked");
	sender_close(&s);
	/* and it does not come in again */
	EXPECT_NE(sender_begin(&s, dial(&g), WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	sender_close(&s);
	tls_rig_free(&g);
}

static int tcp_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ASSERT_TRUE(fd >= 0);
	ASSERT_OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

/* True when the other side closes before the time is out. */
static bool ends_within(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char b[256];

	while (poll(&p, 1, ms) > 0)
		if (read(fd, b, sizeof(b)) <= 0)
			return true;
	return false;
}

TEST(silent_strangers_hold_up_nobody_and_are_put_out)
{
	int fds[20], extra;
	struct tls_rig g;
	struct sender s;
	size_t i;

	tls_rig_init(&g);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = tcp_connect(replica_port(g.f.replica));
	ASSERT_INT(sender_begin(&s, dial(&g), WIRE_ROLE_SENDER), DIAL_ACCEPTED);
	sender_close(&s);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		EXPECT_TRUE(ends_within(fds[i], 10000));
		close(fds[i]);
	}
	/* one in the middle of its handshake does not hold up the end */
	extra = tcp_connect(replica_port(g.f.replica));
	ASSERT_INT(write(extra, "\x16\x03\x01", 3), 3);
	tls_rig_free(&g);
	EXPECT_TRUE(ends_within(extra, 1000));
	close(extra);
}

TEST(too_many_strangers_of_one_address_are_closed_at_once)
{
	int fds[6];
	struct tls_rig g;
	size_t i, closed = 0;

	memset(&g, 0, sizeof(g));
	tls_rig_init(&g);
	replica_stop(g.f.replica);
	g.f.env.limits.strangers_per_address = 4;
	g.f.env.limits.handshake_ms = 20000;
	fx_start(&g.f);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = tcp_connect(replica_port(g.f.replica));
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		closed += ends_within(fds[i], i < 4 ? 100 : 5000);
	EXPECT_INT(closed, 2);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	tls_rig_free(&g);
}

TEST(a_replica_without_an_identity_says_what_to_do)
{
	struct err err = ERR_INIT;
	struct fixture f;

	fx_prepare(&f);
	snprintf(f.cfg.listen, sizeof(f.cfg.listen), "127.0.0.1:0");
	EXPECT_LT(replica_start(&f.cfg, &f.env, &f.replica, &err), 0);
	EXPECT_STR_HAS(err.message, "pki/server");
	EXPECT_STR_HAS(err.remedy, "pki init");
}
