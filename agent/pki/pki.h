/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_PKI_H
#define PKI_PKI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The private certificate authority of a replica, under <state>/pki:
 * ca.pem ca.key (0600), issued/<serial>.pem, index (one line per certificate),
 * crl.pem, and server/ca.pem cert.pem key.pem for the listener.
 * Works on files only; no daemon needed.
 *
 * What a certificate may do is inside it: subject CN = name, a private
 * extension (critical) with rights and volume pattern. Both key usages
 * (client and server), since either end may dial.
 */
struct pki_subject {
	char name[65];
	uint32_t rights;		/* enum wire_right bits, same values */
	char volumes[256];		/* pattern, e.g. "*" or "db*" */
};

struct pki_cert {
	char serial[41];
	struct pki_subject subject;
	int64_t not_before_s, not_after_s;
	bool revoked;
	bool server;
};

/* sans may be empty: host name, localhost, 127.0.0.1, ::1 are always there. */
int pki_init(const char *state_dir, const char *const *sans, int n_sans,
	     struct err *err);
int pki_issue(const char *state_dir, const struct pki_subject *subject,
	      const char *out_dir, struct err *err);
int pki_list(const char *state_dir,
	     int (*cb)(void *arg, const struct pki_cert *c), void *arg,
	     struct err *err);
int pki_revoke(const char *state_dir, const char *name, struct err *err);
/* Reads our extension out of a verified peer certificate (an X509 *). */
struct x509_st;
int pki_subject_of(struct x509_st *cert, struct pki_subject *out,
		   struct err *err);
/* "push,read" -> bits; 0 on error. */
uint32_t pki_rights_parse(const char *s);
void pki_rights_format(uint32_t rights, char out[48]);
/* fnmatch-like: '*' and '?', no slash semantics. */
bool pki_pattern_matches(const char *pattern, const char *name);

#endif
