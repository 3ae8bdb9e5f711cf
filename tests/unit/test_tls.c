// SPDX-License-Identifier: Apache-2.0
/*
 * Who is let in, who is not, and what each end says of it. Every wrong
 * certificate is a right one with one thing changed, so that what is refused
 * is that thing; both ends' words are looked at, because to a TLS 1.3 client
 * the handshake has succeeded when the server refuses it.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"


/* ---- one meeting of two identities ---- */

struct meeting {
	int accept_r, dial_r;
	int64_t read_r;			/* of the dialler, after its handshake */
	char accept_code[40], dial_code[40];
	char accept_message[384];
	struct conn peer;		/* as the accepting end saw it */
	char dialled_name[65];
};

static void note_accepted(struct meeting *m, struct far_end *f)
{
	m->accept_r = f->r;
	(void)snprintf(m->accept_code, sizeof(m->accept_code), "%s",
		       f->err.code);
	(void)snprintf(m->accept_message, sizeof(m->accept_message), "%s",
		       f->err.message);
	if (f->err.num)
		tap_note("accept: %s [%s]", f->err.message, f->err.remedy);
}

/* The dialler waits for the other end's first byte, as the protocol does. */
static void note_dialled(struct meeting *m, struct conn *c)
{
	char byte;

	(void)snprintf(m->dialled_name, sizeof(m->dialled_name), "%s",
		       c->peer_name);
	m->read_r = conn_read(c, &byte, 1, PATIENCE_MS);
	(void)snprintf(m->dial_code, sizeof(m->dial_code), "%s",
		       c->failure.code);
	if (c->failure.num)
		tap_note("dial: %s [%s]", c->failure.message,
			 c->failure.remedy);
}

static struct meeting meet_at(struct tls_identity *server,
			      struct tls_identity *client,
			      const char *address, const char *host)
{
	struct meeting m = { 0 };
	struct far_end f = { .id = server, .greets = true };
	struct err err = ERR_INIT;
	struct conn *c = NULL;

	ASSERT_OK(listener_open(address, &f.listener, NULL));
	far_start(&f);
	m.dial_r = tls_dial(client, host, listener_port(f.listener),
			    PATIENCE_MS, &c, &err);
	if (c) {
		note_dialled(&m, c);
	} else {
		tap_note("dial: %s [%s]", err.message, err.remedy);
		(void)snprintf(m.dial_code, sizeof(m.dial_code), "%s",
			       err.code);
	}
	conn_close(c, false);
	far_join(&f);
	note_accepted(&m, &f);
	if (f.conn)
		m.peer = *f.conn;
	conn_close(f.conn, false);
	listener_close(f.listener);
	return m;
}

static struct meeting meet(struct tls_identity *server,
			   struct tls_identity *client)
{
	struct meeting m = meet_at(server, client, "127.0.0.1:0", "127.0.0.1");

	tls_identity_free(server);
	tls_identity_free(client);
	return m;
}

/* A peer as recipe says against a good listener. */
static struct meeting meet_peer(const struct recipe *r)
{
	return meet(made_identity("server", &recipe_server),
		    made_identity("peer", r));
}

/* A listener as recipe says, dialled by a good peer. */
static struct meeting meet_server(const struct recipe *r)
{
	return meet(made_identity("server", r),
		    made_identity("peer", &recipe_peer));
}

#define EXPECT_REFUSED_BY_ACCEPTOR(m, code, said_to_dialler)              \
	do {                                                              \
		EXPECT_LT((m).accept_r, 0);                               \
		EXPECT_STR((m).accept_code, code);                        \
		EXPECT_OK((m).dial_r);                                    \
		EXPECT_LT((m).read_r, 0);                                 \
		EXPECT_STR((m).dial_code, said_to_dialler);               \
	} while (0)

#define EXPECT_REFUSED_BY_DIALLER(m, code, said_to_acceptor)              \
	do {                                                              \
		EXPECT_LT((m).dial_r, 0);                                 \
		EXPECT_STR((m).dial_code, code);                          \
		EXPECT_LT((m).accept_r, 0);                               \
		EXPECT_STR((m).accept_code, said_to_acceptor);            \
	} while (0)

/* ---- good ---- */

TEST(ends_with_good_certificates_meet)
{
	struct meeting m = meet_peer(&recipe_peer);

	EXPECT_OK(m.accept_r);
	EXPECT_OK(m.dial_r);
	EXPECT_INT(m.read_r, 1);
	EXPECT_STR(m.peer.peer_name, "web1");
	EXPECT_STR(m.peer.peer_volumes, "db*");
	EXPECT_U64(m.peer.peer_rights, PKI_RIGHT_PUSH | PKI_RIGHT_READ);
	EXPECT_GT(m.peer.peer_not_after_s, time(NULL) + 3000);
	EXPECT_STR_HAS(m.peer.peer_address, "127.0.0.1:");
	EXPECT_STR(m.dialled_name, "dr1");
}

TEST(what_the_pki_issues_is_let_in_by_every_name_of_the_listener)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost", "::1" };
	const char *state = strdupa(in_scratch("state"));
	struct pki_subject s = { "web1", PKI_RIGHT_PUSH, "db*" };
	struct tls_identity *server, *peer;
	size_t i;

	ASSERT_OK(pki_init(state, NULL, 0, NULL));
	ASSERT_OK(pki_issue(state, &s, in_scratch("out"), NULL));
	server = load("state/pki/server");
	peer = load("out");
	for (i = 0; i < 3; i++) {
		struct meeting m = meet_at(server, peer, "[::]:0", hosts[i]);

		EXPECT_OK(m.dial_r);
		EXPECT_INT(m.read_r, 1);
		EXPECT_STR(m.peer.peer_name, "web1");
		EXPECT_U64(m.peer.peer_rights, PKI_RIGHT_PUSH);
	}
	tls_identity_free(server);
	tls_identity_free(peer);
}

TEST(an_ipv4_peer_of_a_listener_for_both_is_shown_as_what_it_is)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct meeting m = meet_at(server, peer, "[::]:0", "127.0.0.1");

	EXPECT_INT(strncmp(m.peer.peer_address, "127.0.0.1:", 10), 0);
	m = meet_at(server, peer, "[::]:0", "::1");
	EXPECT_INT(strncmp(m.peer.peer_address, "[::1]:", 6), 0);
	tls_identity_free(server);
	tls_identity_free(peer);
}

/* ---- who signed ---- */

static struct made other_ca(const char *cn)
{
	const struct recipe ca = { .cn = cn, .ca = true };

	return make_cert(&ca);
}

/* The other authority may even bear the same name. */
TEST(a_peer_of_another_authority_is_refused)
{
	static const char *const names[] = { "Other CA", "Test CA" };
	size_t i;

	for (i = 0; i < 2; i++) {
		struct made ca = other_ca(names[i]);
		struct recipe r = recipe_peer;
		struct meeting m;

		make_the_ca();
		r.by = &ca;
		write_made("peer", &the_ca, &r);
		m = meet(made_identity("server", &recipe_server), load("peer"));
		EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-untrusted", "tls-untrusted");
		made_free(&ca);
	}
}

TEST(a_listener_of_another_authority_is_refused)
{
	struct made ca = other_ca("Other CA");
	struct recipe r = recipe_server;
	struct meeting m;

	make_the_ca();
	r.by = &ca;
	write_made("server", &the_ca, &r);
	m = meet(load("server"), made_identity("peer", &recipe_peer));
	EXPECT_REFUSED_BY_DIALLER(m, "tls-untrusted", "tls-untrusted");
	made_free(&ca);
}

TEST(a_forged_signature_is_refused)
{
	struct made forger = other_ca("Test CA"), m;
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct meeting met;

	/* Says it is of our authority, identifiers and all. */
	m = make_unsigned(&recipe_peer);
	ASSERT_TRUE(X509_sign(m.cert, forger.key, EVP_sha256()));
	write_identity(in_scratch("peer"), &the_ca, m.cert, m.key);
	made_free(&m);
	made_free(&forger);
	met = meet(server, load("peer"));
	EXPECT_REFUSED_BY_ACCEPTOR(met, "tls-untrusted", "tls-untrusted");
}

TEST(a_certificate_that_signs_itself_is_refused)
{
	struct recipe r = recipe_peer;
	struct meeting m;

	r.by = NULL;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-untrusted", "tls-untrusted");
}

static void expect_no_authority(const struct recipe *signer, const char *code,
				const char *said)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct made peer = make_cert(signer), child;
	struct recipe r = recipe_peer;
	struct meeting m;
	FILE *f;

	r.by = &peer;
	r.cn = "web2";
	child = make_cert(&r);
	write_identity(in_scratch("peer"), &the_ca, child.cert, child.key);
	f = fopen(in_scratch("peer/cert.pem"), "ae");
	ASSERT_TRUE(f && PEM_write_X509(f, peer.cert));
	ASSERT_OK(fclose(f));
	m = meet(server, load("peer"));
	EXPECT_REFUSED_BY_ACCEPTOR(m, code, said);
	made_free(&peer);
	made_free(&child);
}

TEST(a_peer_cannot_sign_for_others)
{
	struct recipe r = recipe_peer;

	expect_no_authority(&r, "tls-certificate", "tls-rejected");
	r.rights = NULL;		/* for its own sake, not its extension's */
	expect_no_authority(&r, "tls-untrusted", "tls-untrusted");
}

TEST(an_authority_below_ours_is_refused)
{
	const struct recipe r = { .cn = "Sub CA", .ca = true, .by = &the_ca };

	expect_no_authority(&r, "tls-untrusted", "tls-untrusted");
}

/* ---- when ---- */

TEST(an_expired_peer_is_refused)
{
	struct recipe r = recipe_peer;
	struct meeting m;

	r.from_s = -7200;
	r.to_s = -60;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-expired", "tls-expired");
	EXPECT_INT(m.accept_r, -EKEYEXPIRED);
	EXPECT_STR_HAS(m.accept_message, "'web1' has expired: 20");
}

TEST(an_expired_listener_is_refused)
{
	struct recipe r = recipe_server;
	struct meeting m;

	r.from_s = -7200;
	r.to_s = -60;
	m = meet_server(&r);
	EXPECT_REFUSED_BY_DIALLER(m, "tls-expired", "tls-expired");
}

TEST(a_peer_of_the_future_is_refused)
{
	struct recipe r = recipe_peer;
	struct meeting m;

	r.from_s = 600;
	r.to_s = 7200;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-not-yet-valid", "tls-rejected");
}

TEST(a_listener_of_the_future_is_refused)
{
	struct recipe r = recipe_server;
	struct meeting m;

	r.from_s = 600;
	r.to_s = 7200;
	m = meet_server(&r);
	EXPECT_REFUSED_BY_DIALLER(m, "tls-not-yet-valid", "tls-rejected");
}

TEST(an_expired_authority_is_named_as_such)
{
	const struct recipe old = { .cn = "Old CA", .ca = true,
				    .from_s = -7200, .to_s = -60 };
	struct made ca = make_cert(&old);
	struct recipe server = recipe_server, peer = recipe_peer;
	struct meeting m;

	server.by = peer.by = &ca;
	write_made("server", &ca, &server);
	write_made("peer", &ca, &peer);
	m = meet(load("server"), load("peer"));
	EXPECT_INT(m.dial_r, -EKEYEXPIRED);
	EXPECT_STR(m.dial_code, "tls-expired");
	made_free(&ca);
}

/* ---- for what ---- */

TEST(a_listener_with_another_name_is_refused)
{
	static const char *const sans[] = { "DNS:localhost", "IP:127.0.0.2",
					    "DNS:127.0.0.1", NULL };
	size_t i;

	for (i = 0; i < sizeof(sans) / sizeof(*sans); i++) {
		struct recipe r = recipe_server;
		struct meeting m;

		r.san = sans[i];
		m = meet_server(&r);	/* dials 127.0.0.1 */
		EXPECT_REFUSED_BY_DIALLER(m, "tls-name", "tls-rejected");
	}
}

TEST(a_subject_is_no_host_name)
{
	struct recipe r = recipe_server;
	struct tls_identity *server, *peer;
	struct meeting m;

	r.cn = "localhost";
	r.san = NULL;
	server = made_identity("server", &r);
	peer = made_identity("peer", &recipe_peer);
	m = meet_at(server, peer, "127.0.0.1:0", "localhost");
	EXPECT_REFUSED_BY_DIALLER(m, "tls-name", "tls-rejected");
	tls_identity_free(server);
	tls_identity_free(peer);
}

/* OpenSSL alone would take a certificate without a usage for any. */
TEST(a_certificate_without_a_usage_is_refused_at_both_ends)
{
	struct recipe peer = recipe_peer, server = recipe_server;
	struct meeting m;

	peer.eku = "";
	m = meet_peer(&peer);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-usage", "tls-usage");
	server.eku = "";
	m = meet_server(&server);
	EXPECT_REFUSED_BY_DIALLER(m, "tls-usage", "tls-usage");
}

TEST(a_certificate_with_the_other_usage_is_refused)
{
	struct recipe peer = recipe_peer, server = recipe_server;
	struct meeting m;

	peer.eku = "serverAuth";
	m = meet_peer(&peer);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-usage", "tls-usage");
	server.eku = "clientAuth";
	m = meet_server(&server);
	EXPECT_REFUSED_BY_DIALLER(m, "tls-usage", "tls-usage");
	peer.eku = "anyExtendedKeyUsage";
	m = meet_peer(&peer);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-usage", "tls-usage");
}

/* Strict checks are on: nobody but a careless tool makes such ones. */
TEST(a_certificate_without_key_identifiers_is_refused)
{
	struct recipe r = recipe_peer;
	struct meeting m;

	r.no_key_ids = true;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-certificate", "tls-rejected");
}

/* ---- rights ---- */

TEST(a_peer_without_rights_is_refused)
{
	struct recipe r = recipe_peer;
	struct meeting m;

	r.rights = NULL;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-rights", "tls-rejected");
	r = recipe_peer;
	r.rights_not_critical = true;
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-rights", "tls-rejected");
	r = recipe_peer;
	r.rights = "push,everything";
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-rights", "tls-rejected");
	r = recipe_peer;
	r.cn = "no name at all";
	m = meet_peer(&r);
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-rights", "tls-rejected");
}

TEST(a_listeners_certificate_lets_nobody_in)
{
	struct meeting m = meet_peer(&recipe_server);

	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-rights", "tls-rejected");
	EXPECT_STR_HAS(m.accept_message, "listener");
}

TEST(a_critical_extension_that_nobody_knows_is_refused)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct made m = make_unsigned(&recipe_peer);
	ASN1_OBJECT *oid = OBJ_txt2obj("2.25.1234567", 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;
	struct meeting met;

	ASSERT_TRUE(ASN1_OCTET_STRING_set(value, (const uint8_t *)"\5\0", 2));
	ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
	ASSERT_TRUE(X509_add_ext(m.cert, ext, -1));
	ASSERT_TRUE(X509_sign(m.cert, the_ca.key, EVP_sha256()));
	write_identity(in_scratch("peer"), &the_ca, m.cert, m.key);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	made_free(&m);
	met = meet(server, load("peer"));
	EXPECT_REFUSED_BY_ACCEPTOR(met, "tls-certificate", "tls-rejected");
}

/* ---- revocation ---- */

TEST(a_revoked_peer_is_refused_once_the_list_is_loaded)
{
	const char *state = strdupa(in_scratch("state"));
	struct pki_subject s = { "web1", PKI_RIGHT_PUSH, "db*" };
	struct tls_identity *before, *after, *peer;
	struct meeting m;

	ASSERT_OK(pki_init(state, NULL, 0, NULL));
	ASSERT_OK(pki_issue(state, &s, in_scratch("out"), NULL));
	before = load("state/pki/server");
	ASSERT_OK(pki_revoke(state, "web1", NULL));
	after = load("state/pki/server");
	peer = load("out");
	m = meet_at(before, peer, "127.0.0.1:0", "127.0.0.1");
	EXPECT_INT(m.read_r, 1);
	m = meet_at(after, peer, "127.0.0.1:0", "127.0.0.1");
	EXPECT_REFUSED_BY_ACCEPTOR(m, "tls-revoked", "tls-revoked");
	tls_identity_free(before);
	tls_identity_free(after);
	tls_identity_free(peer);
}

TEST(a_live_connection_is_found_out_when_its_peer_is_revoked)
{
	const char *state = strdupa(in_scratch("state"));
	struct pki_subject s = { "web1", PKI_RIGHT_PUSH, "db*" };
	struct tls_identity *before, *after, *peer;
	struct conn *server, *client;
	struct err err = ERR_INIT;

	ASSERT_OK(pki_init(state, NULL, 0, NULL));
	ASSERT_OK(pki_issue(state, &s, in_scratch("out"), NULL));
	before = load("state/pki/server");
	peer = load("out");
	tls_pair(before, peer, &server, &client);
	EXPECT_OK(tls_peer_check(server, before, &err));
	EXPECT_OK(tls_peer_check(client, peer, &err));
	ASSERT_OK(pki_revoke(state, "web1", NULL));
	EXPECT_OK(tls_peer_check(server, before, &err));
	after = load("state/pki/server");
	EXPECT_INT(tls_peer_check(server, after, &err), -EKEYREVOKED);
	EXPECT_STR(err.code, "tls-revoked");
	tls_identity_free(before);
	tls_identity_free(after);
	tls_identity_free(peer);
	conn_close(server, false);
	conn_close(client, false);
}

static void write_crl(const char *name, const struct made *ca, X509 *revoked,
		      long next_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, -3600);
	ASN1_TIME *next = X509_gmtime_adj(NULL, next_s);
	FILE *f = fopen(in_scratch("%s/crl.pem", name), "we");

	ASSERT_TRUE(X509_CRL_set_version(crl, 1));
	ASSERT_TRUE(X509_CRL_set_issuer_name(crl,
					     X509_get_subject_name(ca->cert)));
	ASSERT_TRUE(X509_CRL_set1_lastUpdate(crl, from));
	ASSERT_TRUE(X509_CRL_set1_nextUpdate(crl, next));
	if (revoked) {
		X509_REVOKED *r = X509_REVOKED_new();

		ASSERT_TRUE(X509_REVOKED_set_serialNumber(
			r, X509_get_serialNumber(revoked)));
		ASSERT_TRUE(X509_REVOKED_set_revocationDate(r, from));
		ASSERT_TRUE(X509_CRL_add0_revoked(crl, r));
	}
	ASSERT_TRUE(X509_CRL_sign(crl, ca->key, EVP_sha256()));
	ASSERT_TRUE(f && PEM_write_X509_CRL(f, crl));
	ASSERT_OK(fclose(f));
	ASN1_TIME_free(from);
	ASN1_TIME_free(next);
	X509_CRL_free(crl);
}

TEST(a_revoked_listener_is_refused_by_who_has_the_list)
{
	X509 *cert;
	struct meeting m;

	make_the_ca();
	write_made("server", &the_ca, &recipe_server);
	write_made("peer", &the_ca, &recipe_peer);
	cert = read_cert(in_scratch("server/cert.pem"));
	write_crl("peer", &the_ca, cert, 3600);
	X509_free(cert);
	m = meet(load("server"), load("peer"));
	EXPECT_REFUSED_BY_DIALLER(m, "tls-revoked", "tls-revoked");
}

TEST(a_list_that_is_out_of_date_lets_nobody_in)
{
	struct meeting m;

	make_the_ca();
	write_made("server", &the_ca, &recipe_server);
	write_crl("server", &the_ca, NULL, -60);
	m = meet(load("server"), made_identity("peer", &recipe_peer));
	EXPECT_LT(m.accept_r, 0);
	EXPECT_STR(m.accept_code, "tls-crl");
	EXPECT_LT(m.read_r, 0);
}
