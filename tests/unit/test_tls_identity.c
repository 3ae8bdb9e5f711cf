// SPDX-License-Identifier: Apache-2.0
/*
 * Identities on disk: what is loaded, what is refused before anybody is
 * dialled, and how one replaces another under live connections.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "unit/tls_fixture.h"

static const char *load_code(struct err *err)
{
	struct tls_identity *id = NULL;

	err_clear(err);
	EXPECT_LT(tls_identity_load(in_scratch("peer"), &id, err), 0);
	EXPECT_NULL(id);
	tap_note("%s [%s]", err->message, err->remedy);
	EXPECT_TRUE(err->remedy[0]);
	return err->code;
}

static void write_good(void)
{
	make_the_ca();
	write_made("peer", &the_ca, &recipe_peer);
}

TEST(a_good_identity_is_loaded_and_knows_its_end)
{
	struct tls_identity *id;

	write_good();
	id = load("peer");
	EXPECT_GT(tls_identity_not_after_s(id), time(NULL) + 3000);
	EXPECT_LE(tls_identity_not_after_s(id), time(NULL) + 3600);
	tls_identity_free(id);
	tls_identity_free(NULL);
}

TEST(a_key_that_others_can_read_is_refused)
{
	static const mode_t bad[] = { 0644, 0640, 0604, 0620, 0601, 0666 };
	struct err err = ERR_INIT;
	struct tls_identity *id;
	size_t i;

	write_good();
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ASSERT_OK(chmod(in_scratch("peer/key.pem"), bad[i]));
		EXPECT_STR(load_code(&err), "key-permissions");
		EXPECT_STR_HAS(err.remedy, "chmod 600");
	}
	ASSERT_OK(chmod(in_scratch("peer/key.pem"), 0400));
	id = load("peer");
	tls_identity_free(id);
}

TEST(a_key_of_another_user_is_refused)
{
	struct err err = ERR_INIT;

	write_good();
	if (geteuid() != 0)
		SKIP("only root can give a file away");
	ASSERT_OK(chown(in_scratch("peer/key.pem"), 65534, 65534));
	EXPECT_STR(load_code(&err), "key-permissions");
}

TEST(a_key_of_another_certificate_is_refused)
{
	struct made other;
	struct err err = ERR_INIT;

	write_good();
	other = make_cert(&recipe_peer);
	write_identity(in_scratch("peer"), NULL, NULL, other.key);
	made_free(&other);
	EXPECT_STR(load_code(&err), "key-mismatch");
}

TEST(a_key_with_a_passphrase_is_refused_and_nobody_is_asked)
{
	struct err err = ERR_INIT;
	struct made other;
	FILE *f;

	write_good();
	other = make_cert(&recipe_peer);
	f = fopen(in_scratch("peer/key.pem"), "we");
	ASSERT_TRUE(f && PEM_write_PrivateKey(f, other.key, EVP_aes_256_cbc(),
					      (const uint8_t *)"secret", 6,
					      NULL, NULL));
	ASSERT_OK(fclose(f));
	made_free(&other);
	EXPECT_STR(load_code(&err), "identity-invalid");
}

TEST(a_missing_part_is_named)
{
	static const char *const names[] = { "ca.pem", "cert.pem", "key.pem" };
	struct err err = ERR_INIT;
	size_t i;

	for (i = 0; i < 3; i++) {
		write_good();
		ASSERT_OK(unlink(in_scratch("peer/%s", names[i])));
		EXPECT_STR(load_code(&err), "identity-missing");
		EXPECT_STR_HAS(err.message, names[i]);
	}
}

TEST(a_directory_that_is_not_there_is_named)
{
	struct err err = ERR_INIT;

	EXPECT_STR(load_code(&err), "identity-missing");
	EXPECT_STR_HAS(err.message, "/peer");
}

/* Every file cut at many places, and with a byte changed at many. */
TEST(a_damaged_file_is_refused)
{
	static const char *const names[] = { "ca.pem", "cert.pem", "key.pem" };
	char path[PATH_MAX];
	struct err err;
	size_t i, at;

	for (i = 0; i < 3; i++) {
		char *text, cut[8192];
		size_t len;

		write_good();
		(void)snprintf(path, sizeof(path), "%s",
			       in_scratch("peer/%s", names[i]));
		text = strdup(slurp(path));
		len = strlen(text);
		/* Up to the last dash of the last line. */
		for (at = 0; at < len - 2; at += 13) {
			struct tls_identity *id = NULL;

			spill(path, text, at);
			err = (struct err)ERR_INIT;
			EXPECT_MSG(tls_identity_load(in_scratch("peer"), &id,
						     &err) < 0,
				   "  %s cut at %zu is taken", names[i], at);
			EXPECT_STR(err.code, "identity-invalid");
			memcpy(cut, text, len);
			cut[at] = '!';
			spill(path, cut, len);
			EXPECT_MSG(tls_identity_load(in_scratch("peer"), &id,
						     NULL) < 0,
				   "  %s with a '!' at %zu is taken", names[i],
				   at);
		}
		free(text);
	}
}

TEST(a_list_that_the_authority_did_not_sign_is_refused)
{
	const struct recipe recipe = { .cn = "Test CA", .ca = true };
	struct made other = make_cert(&recipe);
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
	struct err err = ERR_INIT;
	FILE *f;

	write_good();
	ASSERT_TRUE(X509_CRL_set_version(crl, 1));
	ASSERT_TRUE(X509_CRL_set_issuer_name(
		crl, X509_get_subject_name(other.cert)));
	ASSERT_TRUE(X509_CRL_set1_lastUpdate(crl, now));
	ASSERT_TRUE(X509_CRL_sign(crl, other.key, EVP_sha256()));
	f = fopen(in_scratch("peer/crl.pem"), "we");
	ASSERT_TRUE(f && PEM_write_X509_CRL(f, crl));
	ASSERT_OK(fclose(f));
	EXPECT_STR(load_code(&err), "identity-invalid");
	spill(in_scratch("peer/crl.pem"), "", 0);
	EXPECT_STR(load_code(&err), "identity-invalid");
	ASN1_TIME_free(now);
	X509_CRL_free(crl);
	made_free(&other);
}

TEST(two_authorities_can_be_trusted_while_one_replaces_the_other)
{
	const struct recipe recipe = { .cn = "New CA", .ca = true };
	struct tls_identity *server, *peer;
	struct conn *a, *b;
	struct recipe r = recipe_peer;
	struct made next = make_cert(&recipe);
	FILE *f;

	make_the_ca();
	write_made("server", &the_ca, &recipe_server);
	f = fopen(in_scratch("server/ca.pem"), "ae");
	ASSERT_TRUE(f && PEM_write_X509(f, next.cert));
	ASSERT_OK(fclose(f));
	server = load("server");
	peer = made_identity("old", &recipe_peer);
	tls_pair(server, peer, &a, &b);
	conn_close(a, false);
	conn_close(b, false);
	tls_identity_free(peer);
	r.by = &next;
	write_made("new", &the_ca, &r);
	peer = load("new");
	tls_pair(server, peer, &a, &b);
	conn_close(a, false);
	conn_close(b, false);
	tls_identity_free(peer);
	tls_identity_free(server);
	made_free(&next);
}

TEST(a_connection_outlives_its_identity)
{
	struct tls_identity *server = made_identity("server", &recipe_server);
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	struct conn *a, *b;
	char byte = 0;

	tls_pair(server, peer, &a, &b);
	tls_identity_free(server);
	tls_identity_free(peer);
	EXPECT_INT(conn_write(a, "x", 1, PATIENCE_MS), 1);
	EXPECT_INT(conn_read(b, &byte, 1, PATIENCE_MS), 1);
	EXPECT_INT(byte, 'x');
	conn_close(a, false);
	conn_close(b, false);
}

/* ---- a reload while peers come in ---- */

static struct {
	pthread_mutex_t lock;
	struct tls_identity *server;
} current = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct tls_identity *current_ref(void)
{
	LOCK_SCOPE(&current.lock);
	return tls_identity_ref(current.server);
}

static void *come_and_go(void *arg)
{
	struct tls_identity *peer = arg;
	int i;

	for (i = 0; i < 8; i++) {
		struct tls_identity *server = current_ref();
		struct conn *a, *b;

		tls_pair(server, peer, &a, &b);
		conn_close(a, false);
		conn_close(b, false);
		tls_identity_free(server);
	}
	return NULL;
}

TEST(an_identity_is_replaced_while_peers_come_in)
{
	struct tls_identity *peer = made_identity("peer", &recipe_peer);
	pthread_t threads[3];
	int i;

	current.server = made_identity("server", &recipe_server);
	for (i = 0; i < 3; i++)
		ASSERT_OK(pthread_create(&threads[i], NULL, come_and_go, peer));
	for (i = 0; i < 20; i++) {
		struct tls_identity *next = load("server"), *old;

		(void)pthread_mutex_lock(&current.lock);
		old = current.server;
		current.server = next;
		(void)pthread_mutex_unlock(&current.lock);
		tls_identity_free(old);
	}
	for (i = 0; i < 3; i++)
		ASSERT_OK(pthread_join(threads[i], NULL));
	tls_identity_free(current.server);
	tls_identity_free(peer);
}
