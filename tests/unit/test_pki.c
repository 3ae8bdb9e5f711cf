// SPDX-License-Identifier: Apache-2.0
/*
 * The authority on disk: what it writes and what it refuses. Certificates are
 * judged by OpenSSL's verifier, not by pki.
 */
#include <dirent.h>
#include <pthread.h>

#include "tap.h"

#include "unit/pki_fixture.h"

#include "pki/pki_dir.h"

#define STATE in_scratch("state")

static struct pki_subject subject(const char *name)
{
	struct pki_subject s = {
		.rights = PKI_RIGHT_PUSH | PKI_RIGHT_READ,
		.volumes = "db*",
	};

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	return s;
}

static int issue(const char *name, const char *dir, struct err *err)
{
	struct pki_subject s = subject(name);

	return pki_issue(STATE, &s, dir, err);
}

static void init(void)
{
	struct err err = ERR_INIT;

	EXPECT_OK(pki_init(STATE, NULL, 0, &err));
	ASSERT_STR(err.message, "");
}

static void free_x509(X509 **x)
{
	X509_free(*x);
}

#define _cert_ _cleanup_(free_x509) X509 *

/* X509_V_OK or why not; crl may be NULL. at_s 0: now. */
static int verdict(X509 *ca, X509 *leaf, X509_CRL *crl, int purpose,
		   int64_t at_s)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	unsigned long flags = X509_V_FLAG_X509_STRICT |
			      X509_V_FLAG_IGNORE_CRITICAL;
	int r;

	ASSERT_TRUE(X509_STORE_add_cert(store, ca));
	if (crl) {
		ASSERT_TRUE(X509_STORE_add_crl(store, crl));
		flags |= X509_V_FLAG_CRL_CHECK;
	}
	ASSERT_TRUE(X509_STORE_CTX_init(ctx, store, leaf, NULL));
	X509_STORE_CTX_set_flags(ctx, flags);
	ASSERT_TRUE(X509_STORE_CTX_set_purpose(ctx, purpose));
	if (at_s)
		X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx),
					   at_s);
	(void)X509_verify_cert(ctx);
	r = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return r;
}

/* ---- init ---- */

TEST(init_makes_an_authority_that_verifies_its_listener)
{
	_cert_ ca = NULL;
	_cert_ server = NULL;
	X509_CRL *crl;

	init();
	ca = read_cert(in_scratch("state/pki/ca.pem"));
	server = read_cert(in_scratch("state/pki/server/cert.pem"));
	crl = read_crl(in_scratch("state/pki/server/crl.pem"));
	EXPECT_INT(verdict(ca, server, crl, X509_PURPOSE_SSL_SERVER, 0),
		   X509_V_OK);
	X509_CRL_free(crl);
	EXPECT_STR(slurp(in_scratch("state/pki/server/ca.pem")),
		   strdupa(slurp(in_scratch("state/pki/ca.pem"))));
}

TEST(private_keys_are_readable_by_their_owner_alone)
{
	(void)umask(0);
	init();
	ASSERT_OK(issue("web1", in_scratch("out"), NULL));
	EXPECT_INT(mode_of(in_scratch("state")), 0700);
	EXPECT_INT(mode_of(in_scratch("state/pki")), 0700);
	EXPECT_INT(mode_of(in_scratch("state/pki/ca.key")), 0600);
	EXPECT_INT(mode_of(in_scratch("state/pki/index")), 0600);
	EXPECT_INT(mode_of(in_scratch("state/pki/server/key.pem")), 0600);
	EXPECT_INT(mode_of(in_scratch("out")), 0700);
	EXPECT_INT(mode_of(in_scratch("out/key.pem")), 0600);
}

TEST(the_authority_can_sign_leaves_and_lists_only)
{
	_cert_ ca = NULL;

	init();
	ca = read_cert(in_scratch("state/pki/ca.pem"));
	EXPECT_INT(X509_get_pathlen(ca), 0);
	EXPECT_U64(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	EXPECT_TRUE(X509_get_extension_flags(ca) & EXFLAG_CA);
}

TEST(the_listener_is_known_by_every_name_it_is_dialled_by)
{
	const char *const sans[] = { "dr1.example", "192.0.2.7", "2001:db8::7",
				     "LOCALHOST" };
	char host[256] = "";
	_cert_ server = NULL;
	struct err err = ERR_INIT;

	ASSERT_OK(pki_init(STATE, sans, 4, &err));
	server = read_cert(in_scratch("state/pki/server/cert.pem"));
	EXPECT_INT(X509_check_host(server, "dr1.example", 0, 0, NULL), 1);
	EXPECT_INT(X509_check_host(server, "localhost", 0, 0, NULL), 1);
	EXPECT_INT(X509_check_host(server, "other.example", 0, 0, NULL), 0);
	EXPECT_INT(X509_check_ip_asc(server, "192.0.2.7", 0), 1);
	EXPECT_INT(X509_check_ip_asc(server, "2001:db8::7", 0), 1);
	EXPECT_INT(X509_check_ip_asc(server, "127.0.0.1", 0), 1);
	EXPECT_INT(X509_check_ip_asc(server, "::1", 0), 1);
	EXPECT_INT(X509_check_ip_asc(server, "192.0.2.8", 0), 0);
	ASSERT_OK(gethostname(host, sizeof(host) - 1));
	if (pki_san_check(host, NULL) == 0)
		EXPECT_INT(X509_check_host(server, host, 0, 0, NULL), 1);
}

TEST(a_name_that_no_certificate_can_say_is_refused)
{
	static const char *const bad[] = { "", "a b", "*.example", "-x", "a..b",
					   ".a", "dr1,DNS:evil", "x\ny",
					   "1.2.3.4.5/8" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err err = ERR_INIT;

		EXPECT_MSG(pki_init(STATE, &bad[i], 1, &err) == -EINVAL,
			   "  took \"%s\"", bad[i]);
		EXPECT_STR(err.code, "bad-san");
		EXPECT_FALSE(exists(in_scratch("state/pki")));
	}
}

TEST(a_second_init_is_refused_and_changes_nothing)
{
	struct err err = ERR_INIT;
	char *before;

	init();
	before = strdupa(slurp(in_scratch("state/pki/ca.pem")));
	EXPECT_INT(pki_init(STATE, NULL, 0, &err), -EEXIST);
	EXPECT_STR(err.code, "pki-exists");
	EXPECT_TRUE(err.remedy[0]);
	EXPECT_STR(slurp(in_scratch("state/pki/ca.pem")), before);
}

TEST(init_replaces_what_a_crash_left)
{
	ASSERT_OK(mkdir(STATE, 0700));
	ASSERT_OK(mkdir(in_scratch("state/pki.new"), 0700));
	ASSERT_OK(mkdir(in_scratch("state/pki.new/server"), 0700));
	spill(in_scratch("state/pki.new/ca.key.tmp"), "x", 1);
	spill(in_scratch("state/pki.new/server/key.pem"), "x", 1);
	init();
	EXPECT_FALSE(exists(in_scratch("state/pki.new")));
	EXPECT_FALSE(exists(in_scratch("state/pki/ca.key.tmp")));
}

/* ---- issue ---- */

TEST(an_issued_certificate_works_at_both_ends_and_carries_its_rights)
{
	_cert_ ca = NULL;
	_cert_ cert = NULL;
	EVP_PKEY *key;
	struct pki_subject s;

	init();
	ASSERT_OK(issue("web1", in_scratch("out"), NULL));
	ca = read_cert(in_scratch("out/ca.pem"));
	cert = read_cert(in_scratch("out/cert.pem"));
	key = read_key(in_scratch("out/key.pem"));
	EXPECT_INT(X509_check_private_key(cert, key), 1);
	EVP_PKEY_free(key);
	EXPECT_INT(verdict(ca, cert, NULL, X509_PURPOSE_SSL_CLIENT, 0),
		   X509_V_OK);
	EXPECT_INT(verdict(ca, cert, NULL, X509_PURPOSE_SSL_SERVER, 0),
		   X509_V_OK);
	ASSERT_OK(pki_subject_of(cert, &s, NULL));
	EXPECT_STR(s.name, "web1");
	EXPECT_U64(s.rights, PKI_RIGHT_PUSH | PKI_RIGHT_READ);
	EXPECT_STR(s.volumes, "db*");
}

TEST(certificates_begin_a_little_early_and_end_as_documented)
{
	_cert_ ca = NULL;
	_cert_ cert = NULL;
	int64_t now = time(NULL), day = 86400;

	init();
	ASSERT_OK(issue("web1", in_scratch("out"), NULL));
	ca = read_cert(in_scratch("out/ca.pem"));
	cert = read_cert(in_scratch("out/cert.pem"));
	EXPECT_INT(verdict(ca, cert, NULL, 1, now - 240), X509_V_OK);
	EXPECT_INT(verdict(ca, cert, NULL, 1, now + 729 * day), X509_V_OK);
	EXPECT_INT(verdict(ca, cert, NULL, 1, now + 731 * day),
		   X509_V_ERR_CERT_HAS_EXPIRED);
	EXPECT_INT(verdict(ca, ca, NULL, X509_PURPOSE_ANY, now + 3649 * day),
		   X509_V_OK);
}

TEST(serial_numbers_are_128_random_bits)
{
	_cert_ a = NULL;
	_cert_ b = NULL;
	struct dirent **names = NULL;
	int n;

	init();
	ASSERT_OK(issue("a", in_scratch("a"), NULL));
	ASSERT_OK(issue("b", in_scratch("b"), NULL));
	a = read_cert(in_scratch("a/cert.pem"));
	b = read_cert(in_scratch("b/cert.pem"));
	EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(a),
				   X509_get0_serialNumber(b)), 0);
	EXPECT_GE(ASN1_STRING_length(X509_get0_serialNumber(a)), 12);
	EXPECT_LE(ASN1_STRING_length(X509_get0_serialNumber(a)), 16);
	n = scandir(in_scratch("state/pki/issued"), &names, NULL, NULL);
	EXPECT_INT(n, 2 + 3);		/* ".", "..", listener, a, b */
	while (n > 0)
		free(names[--n]);
	free(names);
}

TEST(a_name_that_has_a_certificate_is_refused_with_the_remedy)
{
	struct err err = ERR_INIT;

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	EXPECT_INT(issue("web1", in_scratch("two"), &err), -EEXIST);
	EXPECT_STR(err.code, "name-issued");
	EXPECT_STR_HAS(err.remedy, "pki revoke web1");
	EXPECT_FALSE(exists(in_scratch("two")));
	ASSERT_OK(pki_revoke(STATE, "web1", NULL));
	EXPECT_OK(issue("web1", in_scratch("two"), NULL));
}

static int64_t shifted_wall_ns(struct clock *c);
static int64_t shift_s;

static struct pki_env shifted_env(struct clock *clock, int64_t s)
{
	struct pki_env env = pki_env_system();

	*clock = (struct clock){ .wall_ns = shifted_wall_ns };
	shift_s = s;
	env.clock = clock;
	return env;
}

static int64_t shifted_wall_ns(struct clock *c)
{
	(void)c;
	return clock_wall_ns(clock_real()) + shift_s * (int64_t)NSEC_PER_SEC;
}

TEST(an_expired_certificate_frees_its_name)
{
	struct pki_subject s = subject("web1");
	struct clock clock;
	struct pki_env env;

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	env = shifted_env(&clock, 729 * 86400LL);
	EXPECT_INT(pki_issue_in(&env, STATE, &s, in_scratch("two"), NULL),
		   -EEXIST);
	env = shifted_env(&clock, 731 * 86400LL);
	EXPECT_OK(pki_issue_in(&env, STATE, &s, in_scratch("two"), NULL));
}

TEST(no_certificate_outlives_its_authority)
{
	struct pki_subject s = subject("web1");
	struct err err = ERR_INIT;
	_cert_ cert = NULL;
	_cert_ ca = NULL;
	struct clock clock;
	struct pki_env env;

	init();
	env = shifted_env(&clock, 3600 * 86400LL);
	ASSERT_OK(pki_issue_in(&env, STATE, &s, in_scratch("one"), NULL));
	ca = read_cert(in_scratch("one/ca.pem"));
	cert = read_cert(in_scratch("one/cert.pem"));
	EXPECT_OK(ASN1_TIME_compare(X509_get0_notAfter(ca),
				    X509_get0_notAfter(cert)));
	env = shifted_env(&clock, 3651 * 86400LL);
	(void)snprintf(s.name, sizeof(s.name), "web2");
	EXPECT_INT(pki_issue_in(&env, STATE, &s, in_scratch("two"), &err),
		   -EKEYEXPIRED);
	EXPECT_STR(err.code, "ca-expired");
	EXPECT_FALSE(exists(in_scratch("two")));
}

TEST(what_is_in_the_directory_is_never_replaced)
{
	static const char *const names[] = { "key.pem", "ca.pem", "cert.pem" };
	struct err err;
	size_t i;

	init();
	for (i = 0; i < 3; i++) {
		const char *dir = in_scratch("out%zu", i);
		const char *file = in_scratch("out%zu/%s", i, names[i]);

		ASSERT_OK(mkdir(dir, 0700));
		spill(file, "mine", 4);
		err = (struct err)ERR_INIT;
		EXPECT_INT(issue("web1", dir, &err), -EEXIST);
		EXPECT_STR(err.code, "out-exists");
		EXPECT_STR(slurp(file), "mine");
		EXPECT_OK(unlink(file));
		EXPECT_OK(rmdir(dir));	/* nothing else in it */
	}
	EXPECT_OK(issue("web1", in_scratch("out"), NULL));
}

TEST(a_directory_that_is_there_is_used_and_kept)
{
	init();
	ASSERT_OK(mkdir(in_scratch("out"), 0750));
	ASSERT_OK(issue("web1", in_scratch("out"), NULL));
	EXPECT_INT(mode_of(in_scratch("out")), 0750);
	EXPECT_TRUE(exists(in_scratch("out/cert.pem")));
}

TEST(nonsense_is_refused_before_anything_is_made)
{
	struct pki_subject s = subject("web1");
	struct err err = ERR_INIT;

	init();
	EXPECT_INT(issue("../x", in_scratch("out"), &err), -EINVAL);
	EXPECT_STR(err.code, "bad-name");
	err_clear(&err);
	s.rights = 0;
	EXPECT_INT(pki_issue(STATE, &s, in_scratch("out"), &err), -EINVAL);
	EXPECT_STR(err.code, "bad-rights");
	err_clear(&err);
	s = subject("web1");
	(void)snprintf(s.volumes, sizeof(s.volumes), "a b");
	EXPECT_INT(pki_issue(STATE, &s, in_scratch("out"), &err), -EINVAL);
	EXPECT_STR(err.code, "bad-pattern");
	EXPECT_FALSE(exists(in_scratch("out")));
}

TEST(without_an_authority_the_remedy_is_to_make_one)
{
	struct err err = ERR_INIT;

	ASSERT_OK(mkdir(STATE, 0700));
	EXPECT_INT(issue("web1", in_scratch("out"), &err), -ENOENT);
	EXPECT_STR(err.code, "pki-missing");
	EXPECT_STR_HAS(err.remedy, "pki init");
	EXPECT_FALSE(exists(in_scratch("out")));
}

/* ---- list and revoke ---- */

struct listed {
	struct pki_cert c[16];
	int n;
};

static int collect(void *arg, const struct pki_cert *c)
{
	struct listed *l = arg;

	ASSERT_LT(l->n, 16);
	l->c[l->n++] = *c;
	return 0;
}

TEST(the_list_tells_what_was_issued)
{
	struct listed l = { 0 };
	int64_t now = time(NULL);

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	ASSERT_OK(issue("web2", in_scratch("two"), NULL));
	ASSERT_OK(pki_revoke(STATE, "web1", NULL));
	ASSERT_OK(pki_list(STATE, collect, &l, NULL));
	ASSERT_INT(l.n, 3);
	EXPECT_TRUE(l.c[0].server);
	EXPECT_U64(l.c[0].subject.rights, 0);
	EXPECT_STR(l.c[1].subject.name, "web1");
	EXPECT_TRUE(l.c[1].revoked);
	EXPECT_LE(l.c[1].revoked_s, now + 5);
	EXPECT_GE(l.c[1].revoked_s, now - 5);
	EXPECT_STR(l.c[2].subject.name, "web2");
	EXPECT_FALSE(l.c[2].revoked);
	EXPECT_STR(l.c[2].subject.volumes, "db*");
	EXPECT_U64(l.c[2].subject.rights, PKI_RIGHT_PUSH | PKI_RIGHT_READ);
	EXPECT_INT(strlen(l.c[2].serial), 32);
	EXPECT_LE(l.c[2].not_before_s, now - 299);
	EXPECT_GE(l.c[2].not_after_s, now + 729 * 86400LL);
}

static int stop_at_once(void *arg, const struct pki_cert *c)
{
	(void)c;
	++*(int *)arg;
	return 7;
}

TEST(a_walk_of_the_list_ends_when_it_is_told_to)
{
	int calls = 0;

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	EXPECT_INT(pki_list(STATE, stop_at_once, &calls, NULL), 7);
	EXPECT_INT(calls, 1);
}

TEST(revocation_reaches_both_lists_and_only_its_name)
{
	static const char *const lists[] = { "state/pki/crl.pem",
					     "state/pki/server/crl.pem" };
	_cert_ ca = NULL;
	_cert_ one = NULL;
	_cert_ two = NULL;
	size_t i;

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	ASSERT_OK(issue("web2", in_scratch("two"), NULL));
	ASSERT_OK(pki_revoke(STATE, "web1", NULL));
	ca = read_cert(in_scratch("one/ca.pem"));
	one = read_cert(in_scratch("one/cert.pem"));
	two = read_cert(in_scratch("two/cert.pem"));
	for (i = 0; i < 2; i++) {
		X509_CRL *crl = read_crl(in_scratch("%s", lists[i]));

		EXPECT_INT(verdict(ca, one, crl, 1, 0),
			   X509_V_ERR_CERT_REVOKED);
		EXPECT_INT(verdict(ca, two, crl, 1, 0), X509_V_OK);
		X509_CRL_free(crl);
	}
}

TEST(a_list_is_good_until_the_authority_ends)
{
	_cert_ ca = NULL;
	_cert_ cert = NULL;
	struct pki_subject s = subject("late");
	int64_t nine_years = 9 * 365 * 86400LL;
	struct clock clock;
	struct pki_env env;
	X509_CRL *crl;

	init();
	crl = read_crl(in_scratch("state/pki/crl.pem"));
	env = shifted_env(&clock, nine_years);
	ASSERT_OK(pki_issue_in(&env, STATE, &s, in_scratch("late"), NULL));
	ca = read_cert(in_scratch("late/ca.pem"));
	cert = read_cert(in_scratch("late/cert.pem"));
	EXPECT_INT(verdict(ca, cert, crl, 1, time(NULL) + nine_years),
		   X509_V_OK);
	X509_CRL_free(crl);
}

static uint64_t crl_number(void)
{
	X509_CRL *crl = read_crl(in_scratch("state/pki/crl.pem"));
	uint64_t n = pki_crl_number(crl);

	X509_CRL_free(crl);
	return n;
}

TEST(every_change_signs_a_list_with_a_higher_number)
{
	uint64_t n;

	init();
	n = crl_number();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	EXPECT_GT(crl_number(), n);
	n = crl_number();
	ASSERT_OK(pki_revoke(STATE, "web1", NULL));
	EXPECT_GT(crl_number(), n);
}

TEST(revoking_again_is_no_error_and_heals_a_lost_list)
{
	X509_CRL *crl;

	init();
	ASSERT_OK(issue("web1", in_scratch("one"), NULL));
	ASSERT_OK(pki_revoke(STATE, "web1", NULL));
	ASSERT_OK(unlink(in_scratch("state/pki/server/crl.pem")));
	EXPECT_OK(pki_revoke(STATE, "web1", NULL));
	crl = read_crl(in_scratch("state/pki/server/crl.pem"));
	EXPECT_INT(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), 1);
	X509_CRL_free(crl);
}

TEST(an_unknown_name_cannot_be_revoked)
{
	struct err err = ERR_INIT;

	init();
	EXPECT_INT(pki_revoke(STATE, "web9", &err), -ENOENT);
	EXPECT_STR(err.code, "no-such-certificate");
}

TEST(renewing_the_listener_keeps_its_key_and_its_names)
{
	const char *const first[] = { "old.example", "2001:db8::7" };
	const char *const more[] = { "new.example", "old.example" };
	_cert_ ca = NULL;
	_cert_ cert = NULL;
	struct listed l = { 0 };
	struct clock clock;
	struct pki_env env;
	char *key;

	ASSERT_OK(pki_init(STATE, first, 2, NULL));
	key = strdupa(slurp(in_scratch("state/pki/server/key.pem")));
	env = shifted_env(&clock, 900 * 86400LL);	/* it has expired */
	ASSERT_OK(pki_server_renew_in(&env, STATE, more, 2, NULL));
	EXPECT_STR(slurp(in_scratch("state/pki/server/key.pem")), key);
	ca = read_cert(in_scratch("state/pki/ca.pem"));
	cert = read_cert(in_scratch("state/pki/server/cert.pem"));
	EXPECT_INT(X509_check_host(cert, "old.example", 0, 0, NULL), 1);
	EXPECT_INT(X509_check_host(cert, "new.example", 0, 0, NULL), 1);
	EXPECT_INT(X509_check_ip_asc(cert, "2001:db8::7", 0), 1);
	EXPECT_INT(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
	EXPECT_INT(verdict(ca, cert, NULL, X509_PURPOSE_SSL_SERVER,
			   time(NULL) + 1600 * 86400LL), X509_V_OK);
	ASSERT_OK(pki_list(STATE, collect, &l, NULL));
	EXPECT_INT(l.n, 2);
}

TEST(a_lost_key_of_the_listener_is_replaced_and_its_certificate_revoked)
{
	_cert_ ca = NULL;
	_cert_ before = NULL;
	_cert_ after = NULL;
	X509_CRL *crl;
	EVP_PKEY *key;

	init();
	ca = read_cert(in_scratch("state/pki/ca.pem"));
	before = read_cert(in_scratch("state/pki/server/cert.pem"));
	ASSERT_OK(unlink(in_scratch("state/pki/server/key.pem")));
	ASSERT_OK(pki_server_renew(STATE, NULL, 0, NULL));
	after = read_cert(in_scratch("state/pki/server/cert.pem"));
	key = read_key(in_scratch("state/pki/server/key.pem"));
	EXPECT_INT(mode_of(in_scratch("state/pki/server/key.pem")), 0600);
	EXPECT_INT(X509_check_private_key(after, key), 1);
	EXPECT_INT(X509_check_private_key(before, key), 0);
	EVP_PKEY_free(key);
	crl = read_crl(in_scratch("state/pki/server/crl.pem"));
	EXPECT_INT(verdict(ca, after, crl, X509_PURPOSE_SSL_SERVER, 0),
		   X509_V_OK);
	EXPECT_INT(verdict(ca, before, crl, X509_PURPOSE_SSL_SERVER, 0),
		   X509_V_ERR_CERT_REVOKED);
	X509_CRL_free(crl);
}

/* ---- several at once ---- */

struct racer {
	pthread_t thread;
	char state[PATH_MAX], dir[PATH_MAX];
	struct pki_subject subject;
	int result;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	r->result = pki_issue(r->state, &r->subject, r->dir, NULL);
	return NULL;
}

static void race_all(struct racer *r, int n, bool same_name)
{
	int i;

	for (i = 0; i < n; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "web%d", same_name ? 0 : i);
		r[i].subject = subject(name);
		(void)snprintf(r[i].state, PATH_MAX, "%s", STATE);
		(void)snprintf(r[i].dir, PATH_MAX, "%s", in_scratch("d%d", i));
		ASSERT_OK(pthread_create(&r[i].thread, NULL, race, &r[i]));
	}
	for (i = 0; i < n; i++)
		ASSERT_OK(pthread_join(r[i].thread, NULL));
}

TEST(issues_at_the_same_time_are_all_recorded)
{
	static struct racer r[6];
	struct listed l = { 0 };
	int i;

	init();
	race_all(r, 6, false);
	for (i = 0; i < 6; i++)
		EXPECT_OK(r[i].result);
	ASSERT_OK(pki_list(STATE, collect, &l, NULL));
	EXPECT_INT(l.n, 7);
}

TEST(of_issues_to_one_name_at_the_same_time_one_succeeds)
{
	static struct racer r[6];
	int i, won = 0;

	init();
	race_all(r, 6, true);
	for (i = 0; i < 6; i++) {
		won += r[i].result == 0;
		EXPECT_TRUE(r[i].result == 0 || r[i].result == -EEXIST);
		EXPECT_INT(exists(in_scratch("d%d", i)), r[i].result == 0);
	}
	EXPECT_INT(won, 1);
}
