// SPDX-License-Identifier: Apache-2.0
/*
 * An identity: our key and certificate, whom we trust, whom no more. Made of
 * files once and then never changed, so any thread may use it.
 *
 * Both contexts speak TLS 1.3 only, resume nothing, and demand a certificate
 * of the peer. A private key that others can read is refused, as is whatever
 * does not fit together: better no daemon than one whose peers are turned
 * away for reasons that it could have told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "net/tls.h"

#define PEM_MAX_BYTES (1U << 20)
#define CRL_MAX_BYTES (16U << 20)
/* A chain of ours is under 2 KiB. */
#define PEER_CHAIN_MAX_BYTES (32L << 10)
#define READ_BUFFER_BYTES ((size_t)64 << 10)
#define SUITES "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

static void bio_freep(BIO **p)
{
	BIO_free_all(*p);
}

static void evp_pkey_freep(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}

static void x509_crl_freep(X509_CRL **p)
{
	X509_CRL_free(*p);
}

static void chain_freep(STACK_OF(X509) **p)
{
	sk_X509_pop_free(*p, X509_free);
}

DEFINE_CLEANUP(struct tls_identity, tls_identity_free)

/* A file of the directory. */
struct part {
	char path[4096];
	char *text;
	size_t len;
};

static void part_free(struct part *p)
{
	if (p->text)
		OPENSSL_cleanse(p->text, p->len);
	free(TAKE_PTR(p->text));
}

#define _cleanup_part_ _cleanup_(part_free)

static int invalid(const struct part *p, const char *what, struct err *err)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	(void)err_set(err, -EBADMSG, "identity-invalid", p->path,
		      "load the identity: %s%s%s", what, reason ? ": " : "",
		      reason ? reason : "");
	(void)err_remedy(err, "copy the directory again as `understudyctl pki "
			 "issue` wrote it");
	return -EBADMSG;
}

static int no_memory(const char *object, struct err *err)
{
	ERR_clear_error();
	return err_set(err, -ENOMEM, "no-memory", object,
		       "load the identity: out of memory");
}

static int part_path(struct part *p, const char *dir, const char *name,
		     struct err *err)
{
	int n = snprintf(p->path, sizeof(p->path), "%s/%s", dir, name);

	return n < 0 || (size_t)n >= sizeof(p->path) ?
		err_set(err, -ENAMETOOLONG, "identity-invalid", dir,
			"load the identity: path too long") : 0;
}

static int unreadable(const struct part *p, int r, struct err *err)
{
	(void)err_sys(err, r, r == -ENOENT ? "identity-missing" :
					     "identity-invalid",
		      p->path, "load the identity");
	if (r == -ENOENT)
		(void)err_remedy(err, "an identity is a directory with ca.pem, "
				 "cert.pem and key.pem, as `understudyctl pki "
				 "issue` on the replica writes it");
	return r;
}

static int part_read(struct part *p, size_t cap, struct err *err)
{
	int r = io_read_file(io_posix(), AT_FDCWD, p->path, cap, &p->text,
			     &p->len);

	return r < 0 ? unreadable(p, r, err) : 0;
}

/* The text ends up in OpenSSL's parser; it never asks anybody anything. */
static int no_passphrase(char *buf, int size, int rwflag, void *u)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)u;
	return -1;
}

/* ---- key ---- */

/* Of the open file: what is checked is what is read. */
static int key_is_private(int fd, const struct part *p, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return unreadable(p, -errno, err);
	if (!S_ISREG(st.st_mode))
		return invalid(p, "not a file", err);
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		(void)err_set(err, -EPERM, "key-permissions", p->path,
			      "load the private key: it belongs to another "
			      "user: uid=%u", st.st_uid);
		(void)err_remedy(err, "chown it to the user of the daemon");
		return -EPERM;
	}
	if (!(st.st_mode & 077))
		return 0;
	(void)err_set(err, -EPERM, "key-permissions", p->path,
		      "load the private key: others may read it: mode=%04o",
		      (unsigned int)st.st_mode & 07777);
	(void)err_remedy(err, "chmod 600 %s; if strangers could have read it, "
			 "revoke the certificate and issue a new one", p->path);
	return -EPERM;
}

static int key_read(struct part *p, struct err *err)
{
	struct io *io = io_posix();
	_cleanup_close_ int fd = -1;
	uint64_t size;
	int r;

	fd = io->ops->open(io, AT_FDCWD, p->path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return unreadable(p, fd, err);
	r = key_is_private(fd, p, err);
	if (r < 0)
		return r;
	r = io->ops->size(io, fd, &size);
	if (r < 0)
		return unreadable(p, r, err);
	if (size > PEM_MAX_BYTES)
		return invalid(p, "too large for a key", err);
	p->text = malloc((size_t)size + 1);
	if (!p->text)
		return no_memory(p->path, err);
	p->len = (size_t)size;
	r = io_pread_all(io, fd, p->text, p->len, 0);
	return r < 0 ? unreadable(p, r, err) : 0;
}

static EVP_PKEY *load_key(const char *dir, struct err *err)
{
	_cleanup_part_ struct part p = { 0 };
	_cleanup_(bio_freep) BIO *bio = NULL;
	EVP_PKEY *key;

	if (part_path(&p, dir, "key.pem", err) || key_read(&p, err))
		return NULL;
	bio = BIO_new_mem_buf(p.text, (int)p.len);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) :
		    NULL;
	if (!key)
		(void)invalid(&p, "no private key, or one with a passphrase",
			      err);
	return key;
}

/* ---- certificates ---- */

/* All of the file, in its order; at least one. */
static STACK_OF(X509) *load_certs(const char *dir, const char *name,
				  struct err *err)
{
	_cleanup_part_ struct part p = { 0 };
	_cleanup_(bio_freep) BIO *bio = NULL;
	_cleanup_(chain_freep) STACK_OF(X509) *chain = sk_X509_new_null();

	if (part_path(&p, dir, name, err) || part_read(&p, PEM_MAX_BYTES, err))
		return NULL;
	bio = BIO_new_mem_buf(p.text, (int)p.len);
	for (;;) {
		X509 *x = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase,
						  NULL) : NULL;

		if (!x)
			break;
		if (!chain || !sk_X509_push(chain, x)) {
			X509_free(x);
			(void)no_memory(p.path, err);
			return NULL;
		}
	}
	/* "no start line" is how the end of the file looks. */
	if (sk_X509_num(chain) < 1 ||
	    ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
		(void)invalid(&p, "no certificate, or a damaged one", err);
		return NULL;
	}
	ERR_clear_error();
	return TAKE_PTR(chain);
}

static int64_t not_after_s(X509 *cert)
{
	struct tm tm = { 0 };

	return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) ? timegm(&tm) : 0;
}

/* ---- whom we trust ---- */

static bool crl_is_of(X509_CRL *crl, STACK_OF(X509) *cas)
{
	int i;

	for (i = 0; i < sk_X509_num(cas); i++) {
		X509 *ca = sk_X509_value(cas, i);

		if (X509_NAME_cmp(X509_CRL_get_issuer(crl),
				  X509_get_subject_name(ca)) == 0 &&
		    X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1)
			return true;
	}
	ERR_clear_error();
	return false;
}

/* One list, or 1 at the end of the text. */
static int add_crl(X509_STORE *store, BIO *bio, const struct part *p,
		   STACK_OF(X509) *cas, struct err *err)
{
	_cleanup_(x509_crl_freep) X509_CRL *crl =
		PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL);

	if (!crl) {
		if (ERR_GET_REASON(ERR_peek_last_error()) !=
		    PEM_R_NO_START_LINE)
			return invalid(p, "a damaged revocation list", err);
		ERR_clear_error();
		return 1;
	}
	if (!crl_is_of(crl, cas))
		return invalid(p, "a revocation list that is not signed by "
			       "ca.pem", err);
	return X509_STORE_add_crl(store, crl) ? 0 : no_memory(p->path, err);
}

/* Without crl.pem nobody is revoked; with one, it must speak of everybody. */
static int load_crls(X509_STORE *store, const char *dir, STACK_OF(X509) *cas,
		     struct err *err)
{
	_cleanup_part_ struct part p = { 0 };
	_cleanup_(bio_freep) BIO *bio = NULL;
	int r, n = 0;

	if (part_path(&p, dir, "crl.pem", err))
		return -ENAMETOOLONG;
	r = io_read_file(io_posix(), AT_FDCWD, p.path, CRL_MAX_BYTES, &p.text,
			 &p.len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return unreadable(&p, r, err);
	bio = BIO_new_mem_buf(p.text, (int)p.len);
	if (!bio)
		return no_memory(p.path, err);
	while ((r = add_crl(store, bio, &p, cas, err)) == 0)
		n++;
	if (r < 0)
		return r;
	if (!n)
		return invalid(&p, "no revocation list in it", err);
	return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) ?
		0 : no_memory(p.path, err);
}

static int load_trust(struct tls_identity *id, const char *dir, struct err *err)
{
	_cleanup_(chain_freep) STACK_OF(X509) *cas =
		load_certs(dir, "ca.pem", err);
	int i;

	if (!cas)
		return -EBADMSG;
	id->store = X509_STORE_new();
	if (!id->store ||
	    !X509_STORE_set_flags(id->store, X509_V_FLAG_X509_STRICT))
		return no_memory(dir, err);
	for (i = 0; i < sk_X509_num(cas); i++) {
		/* The library notes what it reads of a certificate in it: here,
		 * before threads share it. Whether it is good for anything is
		 * asked when a peer is verified. */
		(void)X509_check_purpose(sk_X509_value(cas, i), -1, 0);
		if (!X509_STORE_add_cert(id->store, sk_X509_value(cas, i)))
			return no_memory(dir, err);
	}
	return load_crls(id->store, dir, cas, err);
}

/* ---- contexts ---- */

static bool ctx_restrict(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION |
				 SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF |
				   SSL_OP_ENABLE_KTLS);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
			      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_max_cert_list(ctx, PEER_CHAIN_MAX_BYTES);
	/* A record's header and body with one call; see tls_pending. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER_BYTES);
	SSL_CTX_set_security_level(ctx, 2);
	SSL_CTX_set_verify(ctx,
			   SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   tls_verify_cb);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
	       SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
	       SSL_CTX_set_ciphersuites(ctx, SUITES) &&
	       SSL_CTX_set_num_tickets(ctx, 0) &&
	       SSL_CTX_set_max_early_data(ctx, 0) &&
	       SSL_CTX_set_recv_max_early_data(ctx, 0);
}

static SSL_CTX *ctx_new(const struct tls_identity *id, STACK_OF(X509) *chain,
			EVP_PKEY *key, bool acceptor)
{
	SSL_CTX *ctx = SSL_CTX_new(acceptor ? TLS_server_method() :
					      TLS_client_method());
	/* Whom we let in is a client; whom we dial, a server. */
	int purpose = acceptor ? X509_PURPOSE_SSL_CLIENT :
				 X509_PURPOSE_SSL_SERVER;
	int i;
	bool ok;

	if (!ctx)
		return NULL;
	ok = ctx_restrict(ctx) && SSL_CTX_set_purpose(ctx, purpose) &&
	     SSL_CTX_use_certificate(ctx, sk_X509_value(chain, 0)) &&
	     SSL_CTX_use_PrivateKey(ctx, key);
	for (i = 1; ok && i < sk_X509_num(chain); i++)
		ok = SSL_CTX_add1_chain_cert(ctx, sk_X509_value(chain, i)) == 1;
	if (!ok) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set1_cert_store(ctx, id->store);
	return ctx;
}

static int load_own(struct tls_identity *id, const char *dir, struct err *err)
{
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
	_cleanup_(chain_freep) STACK_OF(X509) *chain = NULL;
	struct part p = { 0 };

	key = load_key(dir, err);
	if (!key)
		return -EBADMSG;
	chain = load_certs(dir, "cert.pem", err);
	if (!chain)
		return -EBADMSG;
	if (X509_check_private_key(sk_X509_value(chain, 0), key) != 1) {
		ERR_clear_error();
		(void)err_set(err, -EBADMSG, "key-mismatch", dir,
			      "load the identity: key.pem is not the key of "
			      "cert.pem");
		(void)err_remedy(err, "take both files from one run of "
				 "`understudyctl pki issue`");
		return -EBADMSG;
	}
	id->not_after_s = not_after_s(sk_X509_value(chain, 0));
	id->dialler = ctx_new(id, chain, key, false);
	id->acceptor = ctx_new(id, chain, key, true);
	(void)part_path(&p, dir, "cert.pem", NULL);
	return id->dialler && id->acceptor ?
		0 : invalid(&p, "OpenSSL does not take it", err);
}

int tls_identity_load(const char *dir, struct tls_identity **out,
		      struct err *err)
{
	_cleanup_(tls_identity_freep) struct tls_identity *id =
		calloc(1, sizeof(*id));
	struct err own = ERR_INIT;
	int r;

	if (!id)
		return no_memory(dir, err);
	ERR_clear_error();
	atomic_store(&id->refs, 1);
	r = load_trust(id, dir, &own);
	if (r == 0)
		r = load_own(id, dir, &own);
	if (r < 0) {
		if (err && !err->num)
			err_copy(err, &own);
		return own.num ? own.num : r;
	}
	*out = TAKE_PTR(id);
	return 0;
}

struct tls_identity *tls_identity_ref(struct tls_identity *id)
{
	atomic_fetch_add(&id->refs, 1);
	return id;
}

void tls_identity_free(struct tls_identity *id)
{
	if (!id || atomic_fetch_sub(&id->refs, 1) != 1)
		return;
	SSL_CTX_free(id->dialler);
	SSL_CTX_free(id->acceptor);
	X509_STORE_free(id->store);
	free(id);
}

int64_t tls_identity_not_after_s(const struct tls_identity *id)
{
	return id->not_after_s;
}
