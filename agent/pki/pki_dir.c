// SPDX-License-Identifier: Apache-2.0
/*
 * The directory of an authority: open, lock, load, save.
 *
 * One process at a time changes it: the lock is flock(2) on the directory
 * itself, so it needs no file and a crash frees it. Readers of the index need
 * none, since every file is replaced as a whole.
 *
 * What survives a crash: the index is the truth. A certificate is in it
 * before anybody can have it. A revocation is in it before it is in the
 * lists; a crash in between is healed by the next change, or by revoking
 * again, because each of them signs the lists anew.
 */
#include "pki/pki_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#define PEM_MAX_BYTES (1U << 20)

struct pki_env pki_env_system(void)
{
	return (struct pki_env){
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
	};
}

struct pki_signer pki_dir_signer(const struct pki_dir *d)
{
	return (struct pki_signer){ .ca = d->ca, .key = d->ca_key };
}

/* ---- reading ---- */

static int load_pem(const struct pki_dir *d, const char *name, char **text,
		    size_t *len, struct err *err)
{
	int r = io_read_file(d->env->io, d->fd, name, PEM_MAX_BYTES, text, len);

	return r < 0 ? err_sys(err, r, "pki-damaged", d->path, "read %s",
			       name) : 0;
}

int pki_load_cert(const struct pki_dir *d, const char *name, X509 **out,
		  struct err *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(bio_freep) BIO *bio = NULL;
	size_t len;
	int r = load_pem(d, name, &text, &len, err);

	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(text, (int)len);
	*out = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	return *out ? 0 : pki_openssl_err(err, d->path, "read a certificate");
}

/* OpenSSL's own would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *u)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)u;
	return -1;
}

int pki_load_key(const struct pki_dir *d, const char *name, EVP_PKEY **out,
		 struct err *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(bio_freep) BIO *bio = NULL;
	size_t len;
	int r = load_pem(d, name, &text, &len, err);

	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(text, (int)len);
	*out = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) :
		     NULL;
	OPENSSL_cleanse(text, len);
	return *out ? 0 : pki_openssl_err(err, d->path, "read a private key");
}

static int load_ca(struct pki_dir *d, struct err *err)
{
	int r = pki_load_cert(d, "ca.pem", &d->ca, err);

	if (r == 0)
		r = pki_load_key(d, "ca.key", &d->ca_key, err);
	if (r < 0 || X509_check_private_key(d->ca, d->ca_key) == 1)
		return r;
	ERR_clear_error();
	return err_set(err, -EBADMSG, "pki-damaged", d->path,
		       "read ca.key: it is not the key of ca.pem");
}

static int load_index(struct pki_dir *d, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[4200];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/index", d->path);
	r = io_read_file(d->env->io, d->fd, "index", PKI_INDEX_MAX_BYTES, &text,
			 &len);
	if (r < 0)
		return err_sys(err, r, "pki-damaged", path, "read the index");
	return pki_index_parse(text, path, &d->index, err);
}

static int open_path(struct pki_dir *d, const char *state_dir, struct err *err)
{
	int n = snprintf(d->path, sizeof(d->path), "%s/pki", state_dir);

	if (n < 0 || (size_t)n >= sizeof(d->path))
		return err_set(err, -ENAMETOOLONG, "bad-path", state_dir,
			       "open the authority: path too long");
	d->fd = d->env->io->ops->open(d->env->io, AT_FDCWD, d->path,
				      O_RDONLY | O_DIRECTORY, 0);
	if (d->fd == -ENOENT) {
		(void)err_set(err, -ENOENT, "pki-missing", d->path,
			      "open the authority: there is none");
		(void)err_remedy(err, "make one with `understudyctl pki init`");
		return -ENOENT;
	}
	return d->fd < 0 ? err_sys(err, d->fd, "cannot-read", d->path,
				   "open the authority") : 0;
}

static int dir_lock(struct pki_dir *d, struct err *err)
{
	while (flock(d->fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_sys(err, -errno, "cannot-lock", d->path,
				       "lock the authority");
	return 0;
}

int pki_dir_open(const struct pki_env *env, const char *state_dir,
		 struct pki_dir *out, struct err *err)
{
	int r;

	*out = (struct pki_dir){ .env = env, .fd = -1 };
	r = open_path(out, state_dir, err);
	if (r == 0)
		r = dir_lock(out, err);
	if (r == 0)
		r = load_index(out, err);
	if (r == 0)
		r = load_ca(out, err);
	if (r < 0)
		pki_dir_close(out);
	return r;
}

void pki_dir_close(struct pki_dir *d)
{
	if (d->fd >= 0)
		(void)d->env->io->ops->close(d->env->io, d->fd);
	d->fd = -1;
	X509_free(TAKE_PTR(d->ca));
	EVP_PKEY_free(TAKE_PTR(d->ca_key));
	pki_index_free(&d->index);
}

int pki_list(const char *state_dir,
	     int (*cb)(void *arg, const struct pki_cert *c), void *arg,
	     struct err *err)
{
	const struct pki_env env = pki_env_system();
	struct pki_dir d = { .env = &env, .fd = -1 };
	size_t i;
	int r;

	r = open_path(&d, state_dir, err);
	if (r == 0)
		r = load_index(&d, err);
	for (i = 0; r == 0 && i < d.index.n; i++)
		r = cb(arg, &d.index.certs[i]);
	pki_dir_close(&d);
	return r;
}

/* ---- writing ---- */

int pki_write_text(const struct pki_env *env, const struct pki_file *f,
		   const void *p, size_t n, struct err *err)
{
	int r = io_replace_file(env->io, f->dirfd, f->name, p, n, f->mode);

	return r < 0 ? err_sys(err, r, "cannot-write", f->dir, "write %s",
			       f->name) : 0;
}

static int write_bio(const struct pki_env *env, const struct pki_file *f,
		     BIO *bio, struct err *err)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);

	if (n <= 0)
		return pki_openssl_err(err, f->dir, "encode");
	return pki_write_text(env, f, p, (size_t)n, err);
}

int pki_write_cert(const struct pki_env *env, const struct pki_file *f,
		   X509 *cert, struct err *err)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());

	if (!bio || !PEM_write_bio_X509(bio, cert))
		return pki_openssl_err(err, f->dir, "encode the certificate");
	return write_bio(env, f, bio, err);
}

int pki_write_key(const struct pki_env *env, const struct pki_file *f,
		  EVP_PKEY *key, struct err *err)
{
	/* The "secure" kind clears its memory also when it grows. */
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_secmem());

	if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0,
						   NULL, NULL))
		return pki_openssl_err(err, f->dir, "encode the key");
	return write_bio(env, f, bio, err);
}

int pki_save_index(const struct pki_dir *d, struct err *err)
{
	const struct pki_file f = { d->fd, d->path, "index", 0600 };
	_cleanup_buf_ struct buf text = { 0 };

	pki_index_format(&d->index, &text);
	if (text.failed)
		return err_set(err, -ENOMEM, "no-memory", d->path,
			       "write the index: out of memory");
	return pki_write_text(d->env, &f, text.data, text.len, err);
}

static uint64_t next_crl_number(const struct pki_dir *d)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(bio_freep) BIO *bio = NULL;
	_cleanup_(x509_crl_freep) X509_CRL *crl = NULL;
	size_t len;

	/* A list that is lost or damaged is simply made again. */
	if (io_read_file(d->env->io, d->fd, "crl.pem", PKI_INDEX_MAX_BYTES,
			 &text, &len))
		return 1;
	bio = BIO_new_mem_buf(text, (int)len);
	crl = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	return crl ? pki_crl_number(crl) + 1 : 1;
}

int pki_save_crl(const struct pki_dir *d, struct err *err)
{
	/* The listener's copy first: it is the one that refuses somebody. */
	static const char *const names[] = { "server/crl.pem", "crl.pem" };
	const struct pki_signer by = pki_dir_signer(d);
	int64_t now_s = clock_wall_ns(d->env->clock) / (int64_t)NSEC_PER_SEC;
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	_cleanup_(x509_crl_freep) X509_CRL *crl = NULL;
	size_t i;

	crl = pki_crl_new(&d->index, now_s, next_crl_number(d), &by, err);
	if (!crl)
		return -EIO;
	if (!bio || !PEM_write_bio_X509_CRL(bio, crl))
		return pki_openssl_err(err, d->path, "encode the list");
	for (i = 0; i < 2; i++) {
		const struct pki_file f = { d->fd, d->path, names[i], 0644 };
		int r = write_bio(d->env, &f, bio, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int pki_save_issued(const struct pki_dir *d, const char *serial, X509 *cert,
		    struct err *err)
{
	char name[64];
	const struct pki_file f = { d->fd, d->path, name, 0644 };

	(void)snprintf(name, sizeof(name), "issued/%s.pem", serial);
	return pki_write_cert(d->env, &f, cert, err);
}

/* ---- */

static int64_t ca_end_s(X509 *ca)
{
	struct tm tm = { 0 };

	if (!ASN1_TIME_to_tm(X509_get0_notAfter(ca), &tm))
		return 0;
	return timegm(&tm);
}

int pki_leaf_plan(const struct pki_dir *d, struct pki_leaf *leaf, bool server,
		  struct pki_cert *c, struct err *err)
{
	int64_t now_s = clock_wall_ns(d->env->clock) / (int64_t)NSEC_PER_SEC;
	int64_t ca_end = ca_end_s(d->ca);
	size_t i;
	int r;

	r = rnd_fill(d->env->rnd, leaf->serial, sizeof(leaf->serial));
	if (r < 0)
		return err_sys(err, r, "no-randomness", d->path,
			       "choose a serial number");
	leaf->not_before_s = now_s - PKI_BACKDATE_S;
	leaf->not_after_s = now_s + PKI_LEAF_DAYS * 86400LL;
	if (leaf->not_after_s > ca_end)
		leaf->not_after_s = ca_end;
	if (leaf->not_after_s <= now_s) {
		(void)err_set(err, -EKEYEXPIRED, "ca-expired", d->path,
			      "sign: the authority itself has expired");
		(void)err_remedy(err, "move the directory away, make a new "
				 "authority with `understudyctl pki init` and "
				 "issue new certificates");
		return -EKEYEXPIRED;
	}
	*c = (struct pki_cert){
		.subject = leaf->subject,
		.not_before_s = leaf->not_before_s,
		.not_after_s = leaf->not_after_s,
		.server = server,
	};
	for (i = 0; i < sizeof(leaf->serial); i++)
		(void)snprintf(c->serial + 2 * i, 3, "%02x", leaf->serial[i]);
	return 0;
}
