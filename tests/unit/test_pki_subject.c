// SPDX-License-Identifier: Apache-2.0
/*
 * What a certificate says of its holder: rights, patterns, and the extension
 * that carries them.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "pki/pki.h"

#define STATE in_scratch("state")

/* ---- text of rights and patterns ---- */

TEST(rights_are_read_and_written)
{
	char text[48];

	EXPECT_U64(pki_rights_parse("push"), PKI_RIGHT_PUSH);
	EXPECT_U64(pki_rights_parse("read,push"),
		   PKI_RIGHT_PUSH | PKI_RIGHT_READ);
	EXPECT_U64(pki_rights_parse("push,read,promote,admin"), 15);
	pki_rights_format(15, text);
	EXPECT_STR(text, "push,read,promote,admin");
	pki_rights_format(0, text);
	EXPECT_STR(text, "none");
}

TEST(what_is_no_list_of_rights_is_refused)
{
	static const char *const bad[] = { "",	     "pus",  "pushx", "push,",
					   ",push",  "PUSH", "push read",
					   "none",   "push,,read", "*" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		EXPECT_MSG(pki_rights_parse(bad[i]) == 0, "  took \"%s\"",
			   bad[i]);
}

TEST(patterns_match_as_a_shell_does)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} t[] = {
		{ "*", "", true },	    { "*", "db1", true },
		{ "db*", "db", true },	    { "db*", "db1", true },
		{ "db*", "adb", false },    { "*1", "db1", true },
		{ "*1", "db12", false },    { "d?1", "db1", true },
		{ "d?1", "d1", false },	    { "?", "", false },
		{ "a*b*c", "aXbYbc", true }, { "a*b*c", "aXbYb", false },
		{ "**", "x", true },	    { "db1", "db1", true },
		{ "db1", "db", false },	    { "db", "db1", false },
		{ "*/x", "a/x", true },	    { "*", "a/x", true },
		{ "", "", true },	    { "", "a", false },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		EXPECT_MSG(pki_pattern_matches(t[i].pattern, t[i].name) ==
				   t[i].matches,
			   "  %s against %s", t[i].pattern, t[i].name);
}

TEST(a_pattern_made_to_be_slow_is_not)
{
	char pattern[256] = "", name[65];
	size_t i;

	for (i = 0; i < 120; i++)
		strcat(pattern, "*a");
	memset(name, 'a', 64);
	name[63] = 'b';
	name[64] = 0;
	EXPECT_FALSE(pki_pattern_matches(pattern, name));
}

TEST(patterns_hold_to_their_alphabet)
{
	char longest[300];

	EXPECT_TRUE(pki_pattern_is_valid("*"));
	EXPECT_TRUE(pki_pattern_is_valid("web1/db?"));
	EXPECT_FALSE(pki_pattern_is_valid(""));
	EXPECT_FALSE(pki_pattern_is_valid("a b"));
	EXPECT_FALSE(pki_pattern_is_valid("a/b/c"));
	EXPECT_FALSE(pki_pattern_is_valid("-"));
	EXPECT_FALSE(pki_pattern_is_valid("[ab]"));
	EXPECT_FALSE(pki_pattern_is_valid("a\nb"));
	memset(longest, 'a', sizeof(longest));
	longest[255] = 0;
	EXPECT_TRUE(pki_pattern_is_valid(longest));
	longest[255] = 'a';
	longest[256] = 0;
	EXPECT_FALSE(pki_pattern_is_valid(longest));
}

TEST(a_pattern_without_a_slash_means_ones_own_volumes)
{
	EXPECT_TRUE(pki_volume_allowed("*", "web1", "web1", "db1"));
	EXPECT_FALSE(pki_volume_allowed("*", "web1", "web2", "db1"));
	EXPECT_FALSE(pki_volume_allowed("db*", "web1", "web1", "wal"));
	EXPECT_TRUE(pki_volume_allowed("web2/*", "web1", "web2", "db1"));
	EXPECT_FALSE(pki_volume_allowed("web2/*", "web1", "web1", "db1"));
	EXPECT_TRUE(pki_volume_allowed("*/*", "dr", "web2", "db1"));
	EXPECT_FALSE(pki_volume_allowed("", "web1", "web1", "db1"));
}

/* ---- what a peer's certificate may say ---- */

static const char *subject_code(const struct recipe *r)
{
	static struct err err;
	struct made m = make_cert(r);
	struct pki_subject s;

	err_clear(&err);
	(void)pki_subject_of(m.cert, &s, &err);
	made_free(&m);
	return err.code;
}

TEST(a_certificate_must_name_its_holder_and_rights)
{
	const struct recipe good = { .cn = "web1", .rights = "push",
				     .volumes = "*" };
	struct recipe r = good;

	EXPECT_STR(subject_code(&r), "");
	r.rights = "none";
	r.volumes = "";
	EXPECT_STR(subject_code(&r), "");
	r = good;
	r.rights = NULL;
	EXPECT_STR(subject_code(&r), "tls-rights");
	r = good;
	r.rights_not_critical = true;
	EXPECT_STR(subject_code(&r), "tls-rights");
	r = good;
	r.cn = "../x";
	EXPECT_STR(subject_code(&r), "tls-rights");
	r = good;
	r.rights = "push,fly";
	EXPECT_STR(subject_code(&r), "tls-rights");
	r.rights = "read,push";		/* not how it is written */
	EXPECT_STR(subject_code(&r), "tls-rights");
	r = good;
	r.volumes = "a b";
	EXPECT_STR(subject_code(&r), "tls-rights");
	r.volumes = "";
	EXPECT_STR(subject_code(&r), "tls-rights");
}

TEST(malformed_rights_are_refused_at_every_length)
{
	const struct recipe bare = { .cn = "web1" };
	uint8_t der[300];
	size_t n = rights_der("push,read", "db*", der), i;
	struct pki_subject s;

	/* Cut at each byte; with bytes after it; whole. */
	for (i = 0; i <= n + 1; i++) {
		struct made m = make_cert(&bare);
		int want = i == n ? 0 : -EACCES;

		der[n] = 0;
		made_raw_ext(m.cert, der, i, true);
		EXPECT_MSG(pki_subject_of(m.cert, &s, NULL) == want,
			   "  %zu bytes", i);
		made_free(&m);
	}
}

TEST(rights_with_any_bit_flipped_are_read_as_nothing_worse)
{
	const struct recipe bare = { .cn = "web1" };
	uint8_t der[300];
	size_t n = rights_der("read", "db*", der), i;

	for (i = 0; i < n * 8; i++) {
		struct made m = make_cert(&bare);
		struct pki_subject s = { 0 };

		der[i / 8] ^= (uint8_t)(1 << i % 8);
		made_raw_ext(m.cert, der, n, true);
		if (pki_subject_of(m.cert, &s, NULL) == 0) {
			/* Only the pattern's letters may differ. */
			EXPECT_U64(s.rights, PKI_RIGHT_READ);
			EXPECT_INT(strlen(s.volumes), 3);
		}
		der[i / 8] ^= (uint8_t)(1 << i % 8);
		made_free(&m);
	}
}

TEST(rights_given_twice_are_refused)
{
	const struct recipe r = { .cn = "web1", .rights = "push",
				  .volumes = "*" };
	struct made m = make_cert(&r);
	struct pki_subject s;
	uint8_t der[256];
	size_t n = rights_der("admin", "*", der);

	made_raw_ext(m.cert, der, n, true);
	EXPECT_INT(pki_subject_of(m.cert, &s, NULL), -EACCES);
	made_free(&m);
}

/* ---- what is written ---- */

TEST(the_extension_has_the_documented_bytes)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(FIXTURE_OID, 1);
	struct pki_subject s = { "web1", PKI_RIGHT_PUSH | PKI_RIGHT_READ,
				 "db*" };
	X509 *cert;
	X509_EXTENSION *ext;
	uint8_t want[256];
	size_t n = rights_der("push,read", "db*", want);
	int at;

	ASSERT_OK(pki_init(STATE, NULL, 0, NULL));
	ASSERT_OK(pki_issue(STATE, &s, in_scratch("out"), NULL));
	cert = read_cert(in_scratch("out/cert.pem"));
	at = X509_get_ext_by_OBJ(cert, oid, -1);
	ASSERT_GE(at, 0);
	ext = X509_get_ext(cert, at);
	EXPECT_INT(X509_EXTENSION_get_critical(ext), 1);
	ASSERT_INT(ASN1_STRING_length(X509_EXTENSION_get_data(ext)), n);
	EXPECT_MEM(ASN1_STRING_get0_data(X509_EXTENSION_get_data(ext)), want,
		   n);
	X509_free(cert);
	ASN1_OBJECT_free(oid);
}
