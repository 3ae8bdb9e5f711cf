/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_PKI_DIR_H
#define PKI_PKI_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/rnd.h"
#include "pki/pki_index.h"
#include "pki/pki_x509.h"

/*
 * Inside agent/pki: an authority's directory, opened. And the public calls
 * with everything they reach outside given by the caller, for tests.
 */
struct pki_env {
	struct io *io;
	struct clock *clock;
	struct rnd *rnd;
};

struct pki_env pki_env_system(void);

struct pki_dir {
	const struct pki_env *env;	/* borrowed */
	int fd;				/* of <state>/pki; holds the lock */
	char path[4096];
	X509 *ca;
	EVP_PKEY *ca_key;
	struct pki_index index;
};

/*
 * Open for change: waits for the lock, loads index and CA. -ENOENT
 * "pki-missing". The lock ends with pki_dir_close.
 */
int pki_dir_open(const struct pki_env *env, const char *state_dir,
		 struct pki_dir *out, struct err *err);
void pki_dir_close(struct pki_dir *d);
struct pki_signer pki_dir_signer(const struct pki_dir *d);

/* A certificate, a private key, below the directory. */
int pki_load_cert(const struct pki_dir *d, const char *name, X509 **out,
		  struct err *err);
int pki_load_key(const struct pki_dir *d, const char *name, EVP_PKEY **out,
		 struct err *err);

/* A name below a directory. */
struct pki_file {
	int dirfd;
	const char *dir;		/* for messages */
	const char *name;
	mode_t mode;
};

int pki_write_text(const struct pki_env *env, const struct pki_file *f,
		   const void *p, size_t n, struct err *err);
int pki_write_cert(const struct pki_env *env, const struct pki_file *f,
		   X509 *cert, struct err *err);
/* Unencrypted PKCS#8; the text is wiped from memory. */
int pki_write_key(const struct pki_env *env, const struct pki_file *f,
		  EVP_PKEY *key, struct err *err);
int pki_save_index(const struct pki_dir *d, struct err *err);
/* Signs a list of what the index says is revoked; both copies. */
int pki_save_crl(const struct pki_dir *d, struct err *err);
/* issued/<serial>.pem */
int pki_save_issued(const struct pki_dir *d, const char *serial, X509 *cert,
		    struct err *err);

/* A certificate to come: serial, validity and, in *c, its line. */
int pki_leaf_plan(const struct pki_dir *d, struct pki_leaf *leaf, bool server,
		  struct pki_cert *c, struct err *err);

int pki_init_in(const struct pki_env *env, const char *state_dir,
		const char *const *sans, int n_sans, struct err *err);
int pki_server_renew_in(const struct pki_env *env, const char *state_dir,
			const char *const *sans, int n_sans, struct err *err);
int pki_issue_in(const struct pki_env *env, const char *state_dir,
		 const struct pki_subject *subject, const char *out_dir,
		 struct err *err);
int pki_revoke_in(const struct pki_env *env, const char *state_dir,
		  const char *name, struct err *err);

#endif
