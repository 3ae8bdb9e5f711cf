/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PKI_FIXTURE_H
#define TESTS_UNIT_PKI_FIXTURE_H

/*
 * For tests of certificates: a scratch directory that goes away with the test,
 * and certificates made by OpenSSL alone, so that wrong ones can be had and
 * right ones are not judged by the code that made them. Include after tap.h.
 */
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define FIXTURE_OID "2.25.175102965338201735674237176921623783138.1"

static char scratch_path[PATH_MAX];

static int scratch_remove_one(const char *path, const struct stat *st, int flag,
			      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	(void)remove(path);
	return 0;
}

static void scratch_remove(void)
{
	if (scratch_path[0])
		(void)nftw(scratch_path, scratch_remove_one, 16,
			   FTW_DEPTH | FTW_PHYS);
}

/*
 * Waits in a process of its own until the test is gone, by whatever way, and
 * then removes the directory: the read ends when the test's end is closed.
 */
static void scratch_guard(void)
{
	int fds[2];
	pid_t pid;
	char byte;

	ASSERT_OK(pipe2(fds, O_CLOEXEC));
	(void)fflush(stdout);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (pid) {
		(void)close(fds[0]);
		return;
	}
	(void)close(fds[1]);
	(void)prctl(PR_SET_PDEATHSIG, 0);
	(void)alarm(0);
	while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
		;
	scratch_remove();
	_exit(0);
}

/* A fresh directory. Call it first while there is one thread. */
__attribute__((unused)) static const char *scratch(void)
{
	const char *base = getenv("TMPDIR");

	if (scratch_path[0])
		return scratch_path;
	/* Syncs cost nothing there, and none of these tests is about them. */
	if (!base && access("/dev/shm", W_OK) == 0)
		base = "/dev/shm";
	(void)snprintf(scratch_path, sizeof(scratch_path), "%s/us-pki.XXXXXX",
		       base ? base : "/tmp");
	ASSERT_NOT_NULL(mkdtemp(scratch_path));
	scratch_guard();
	return scratch_path;
}

/* scratch()/name, in one of a few static buffers. */
__attribute__((unused, format(printf, 1, 2))) static const char *
in_scratch(const char *fmt, ...)
{
	static char paths[8][PATH_MAX];
	static unsigned int turn;
	char *out = paths[turn++ % 8];
	int n = snprintf(out, PATH_MAX, "%s/", scratch());
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out + n, (size_t)(PATH_MAX - n), fmt, ap);
	va_end(ap);
	return out;
}

__attribute__((unused)) static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

__attribute__((unused)) static int mode_of(const char *path)
{
	struct stat st;

	ASSERT_OK(stat(path, &st));
	return (int)(st.st_mode & 07777);
}

__attribute__((unused)) static char *slurp(const char *path)
{
	static char text[1 << 16];
	FILE *f = fopen(path, "re");
	size_t n;

	ASSERT_MSG(f, "  cannot open %s", path);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	(void)fclose(f);
	return text;
}

__attribute__((unused)) static void spill(const char *path, const void *p,
					  size_t n)
{
	FILE *f = fopen(path, "we");

	ASSERT_MSG(f, "  cannot write %s", path);
	ASSERT_U64(fwrite(p, 1, n, f), n);
	ASSERT_OK(fclose(f));
}

__attribute__((unused)) static X509 *read_cert(const char *path)
{
	FILE *f = fopen(path, "re");
	X509 *x;

	ASSERT_MSG(f, "  cannot open %s", path);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	(void)fclose(f);
	ASSERT_MSG(x, "  no certificate in %s", path);
	return x;
}

__attribute__((unused)) static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *k;

	ASSERT_MSG(f, "  cannot open %s", path);
	k = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	(void)fclose(f);
	ASSERT_MSG(k, "  no key in %s", path);
	return k;
}

__attribute__((unused)) static X509_CRL *read_crl(const char *path)
{
	FILE *f = fopen(path, "re");
	X509_CRL *c;

	ASSERT_MSG(f, "  cannot open %s", path);
	c = PEM_read_X509_CRL(f, NULL, NULL, NULL);
	(void)fclose(f);
	ASSERT_MSG(c, "  no list in %s", path);
	return c;
}

/* ---- certificates without agent/pki ---- */

struct made {
	X509 *cert;
	EVP_PKEY *key;
};

struct recipe {
	const char *cn;
	const struct made *by;		/* NULL: signs itself */
	bool ca;
	long from_s, to_s;		/* from now; 0, 0: an hour each way */
	const char *eku;		/* "" = none; NULL: both */
	const char *san;		/* OpenSSL's form, e.g. "DNS:localhost" */
	const char *rights;		/* NULL: no extension of ours */
	const char *volumes;
	bool rights_not_critical;
	bool no_key_ids;
};

static void made_ext(X509 *x, const struct made *by, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, by ? by->cert : x, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ASSERT_MSG(ext, "  no extension: %s", value);
	ASSERT_TRUE(X509_add_ext(x, ext, -1));
	X509_EXTENSION_free(ext);
}

/* SEQUENCE of two UTF8Strings, byte by byte. */
__attribute__((unused)) static size_t rights_der(const char *rights,
						 const char *volumes,
						 uint8_t out[256])
{
	size_t a = strlen(rights), b = strlen(volumes);

	ASSERT_LT(a + b, 120);
	out[0] = 0x30;
	out[1] = (uint8_t)(a + b + 4);
	out[2] = 0x0c;
	out[3] = (uint8_t)a;
	memcpy(out + 4, rights, a);
	out[4 + a] = 0x0c;
	out[5 + a] = (uint8_t)b;
	memcpy(out + 6 + a, volumes, b);
	return a + b + 6;
}

static void made_raw_ext(X509 *x, const void *der, size_t n, bool critical)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(FIXTURE_OID, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;

	ASSERT_TRUE(ASN1_OCTET_STRING_set(value, der, (int)n));
	ext = X509_EXTENSION_create_by_OBJ(NULL, oid, critical, value);
	ASSERT_TRUE(X509_add_ext(x, ext, -1));
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
}

static void made_exts(X509 *x, const struct recipe *r)
{
	const char *eku = r->eku ? r->eku : "serverAuth,clientAuth";

	made_ext(x, r->by, NID_basic_constraints,
		 r->ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
	made_ext(x, r->by, NID_key_usage,
		 r->ca ? "critical,keyCertSign,cRLSign" :
			 "critical,digitalSignature");
	if (!r->no_key_ids) {
		made_ext(x, r->by, NID_subject_key_identifier, "hash");
		made_ext(x, r->by, NID_authority_key_identifier, "keyid");
	}
	if (!r->ca && eku[0])
		made_ext(x, r->by, NID_ext_key_usage, eku);
	if (r->san)
		made_ext(x, r->by, NID_subject_alt_name, r->san);
	if (r->rights) {
		uint8_t der[256];
		size_t n = rights_der(r->rights, r->volumes, der);

		made_raw_ext(x, der, n, !r->rights_not_critical);
	}
}

static struct made make_unsigned(const struct recipe *r)
{
	static long serial = 1000;
	struct made m = { X509_new(), EVP_EC_gen("P-256") };
	bool usual = !r->from_s && !r->to_s;
	X509_NAME *name = X509_NAME_new();

	ASSERT_NOT_NULL(m.key);
	ASSERT_TRUE(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					       (const uint8_t *)r->cn, -1, -1,
					       0));
	ASSERT_TRUE(X509_set_version(m.cert, 2));
	ASSERT_TRUE(ASN1_INTEGER_set(X509_get_serialNumber(m.cert), serial++));
	ASSERT_TRUE(X509_set_subject_name(m.cert, name));
	X509_NAME_free(name);
	ASSERT_TRUE(X509_set_issuer_name(
		m.cert,
		X509_get_subject_name(r->by ? r->by->cert : m.cert)));
	ASSERT_NOT_NULL(X509_gmtime_adj(X509_getm_notBefore(m.cert),
					usual ? -3600 : r->from_s));
	ASSERT_NOT_NULL(X509_gmtime_adj(X509_getm_notAfter(m.cert),
					usual ? 3600 : r->to_s));
	ASSERT_TRUE(X509_set_pubkey(m.cert, m.key));
	made_exts(m.cert, r);
	return m;
}

__attribute__((unused)) static struct made make_cert(const struct recipe *r)
{
	struct made m = make_unsigned(r);

	ASSERT_TRUE(X509_sign(m.cert, r->by ? r->by->key : m.key,
			      EVP_sha256()));
	return m;
}

__attribute__((unused)) static void made_free(struct made *m)
{
	X509_free(m->cert);
	EVP_PKEY_free(m->key);
	*m = (struct made){ 0 };
}

/* An identity directory; any part may be NULL and is then left out. */
__attribute__((unused)) static void write_identity(const char *dir,
						   const struct made *ca,
						   X509 *cert, EVP_PKEY *key)
{
	char path[PATH_MAX];
	FILE *f;

	if (mkdir(dir, 0700) < 0)
		ASSERT_INT(errno, EEXIST);
	if (ca) {
		(void)snprintf(path, sizeof(path), "%s/ca.pem", dir);
		f = fopen(path, "we");
		ASSERT_TRUE(f && PEM_write_X509(f, ca->cert));
		ASSERT_OK(fclose(f));
	}
	if (cert) {
		(void)snprintf(path, sizeof(path), "%s/cert.pem", dir);
		f = fopen(path, "we");
		ASSERT_TRUE(f && PEM_write_X509(f, cert));
		ASSERT_OK(fclose(f));
	}
	if (!key)
		return;
	(void)snprintf(path, sizeof(path), "%s/key.pem", dir);
	f = fopen(path, "we");
	ASSERT_TRUE(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL,
					      NULL));
	ASSERT_OK(fclose(f));
	ASSERT_OK(chmod(path, 0600));
}

#endif
