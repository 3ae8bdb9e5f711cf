/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_PKI_H
#define PKI_PKI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The private certificate authority of a replica, under <state>/pki:
 * ca.pem ca.key (0600), issued/<serial>.pem, index (one line per certificate),
 * crl.pem, and server/ca.pem cert.pem key.pem crl.pem for the listener.
 * Works on files only; no daemon needed.
 *
 * What a certificate may do is inside it: subject CN = name, a private
 * extension (critical) with rights and volume pattern. Both key usages
 * (client and server), since either end may dial.
 */
struct pki_subject {
	char name[65];
	uint32_t rights;		/* enum pki_right bits */
	char volumes[256];		/* pattern, see pki_volume_allowed */
};

/* Same values as enum wire_right; agent/net asserts it. */
enum pki_right {
	PKI_RIGHT_PUSH = 1 << 0,
	PKI_RIGHT_READ = 1 << 1,
	PKI_RIGHT_PROMOTE = 1 << 2,
	PKI_RIGHT_ADMIN = 1 << 3,
};

/* How long what we sign is valid. A leaf never outlives its CA. */
#define PKI_CA_DAYS 3650
#define PKI_LEAF_DAYS 730
/* Clocks differ: everything is valid from a little before it was made. */
#define PKI_BACKDATE_S 300

/*
 * The extension: the arc of a random UUID, 83bb9abb-e5b1-48d3-961e-
 * 9c2d2df666e2, below 2.25 (ITU-T X.667: no registration needed), then 1.
 * Its value is DER, SEQUENCE { rights UTF8String, volumes UTF8String }, the
 * rights written as pki_rights_format does.
 */
#define PKI_RIGHTS_OID "2.25.175102965338201735674237176921623783138.1"

struct pki_cert {
	char serial[41];
	struct pki_subject subject;
	int64_t not_before_s, not_after_s;
	bool revoked;
	bool server;
	int64_t revoked_s;		/* 0 unless revoked */
};

/*
 * sans may be empty: host name, localhost, 127.0.0.1, ::1 are always there.
 * All or nothing: after an error, or a crash, there is no authority.
 * -EEXIST "pki-exists" when there is one already.
 */
int pki_init(const char *state_dir, const char *const *sans, int n_sans,
	     struct err *err);
/*
 * A new certificate for the listener: the former one's names stay, sans are
 * added. The key stays too, so that the change is one rename; when there is
 * none (lost, or removed because it was stolen) another is made and what was
 * signed for it is revoked. A daemon that runs takes it up when it is told to
 * reload.
 */
int pki_server_renew(const char *state_dir, const char *const *sans,
		     int n_sans, struct err *err);
/*
 * Writes ca.pem cert.pem key.pem (0600) into out_dir, which is made (0700)
 * unless it exists; files of these names in it are never replaced. After an
 * error nothing of it is left and the name is free.
 * -EEXIST "name-issued": a valid certificate carries the name already.
 */
int pki_issue(const char *state_dir, const struct pki_subject *subject,
	      const char *out_dir, struct err *err);
/* Oldest first. A non-zero result of cb ends the walk and is returned. */
int pki_list(const char *state_dir,
	     int (*cb)(void *arg, const struct pki_cert *c), void *arg,
	     struct err *err);
/*
 * Every certificate issued to name, and the list in the server's directory.
 * A daemon that runs reads it when it is told to reload. Again is no error.
 */
int pki_revoke(const char *state_dir, const char *name, struct err *err);
/* Reads our extension out of a verified peer certificate (an X509 *). */
struct x509_st;
int pki_subject_of(struct x509_st *cert, struct pki_subject *out,
		   struct err *err);
/* "push,read" -> bits; 0 on error. */
uint32_t pki_rights_parse(const char *s);
/* "none" when there is none. */
void pki_rights_format(uint32_t rights, char out[48]);
/* fnmatch-like: '*' and '?', no slash semantics. */
bool pki_pattern_matches(const char *pattern, const char *name);
/*
 * Does a certificate's pattern cover the volume SOURCE/NAME for its holder?
 * Without a slash the pattern speaks of the holder's own volumes by NAME;
 * "web1/db*", or any other with one, speaks of SOURCE/NAME. So a lone star is
 * all of one's own; the volumes of everybody are star, slash, star.
 */
bool pki_volume_allowed(const char *pattern, const char *holder,
			const char *source, const char *name);
/* Letters, digits, "._-*?" and at most one slash, no leading '-'; 1 to 255
 * characters. */
bool pki_pattern_is_valid(const char *pattern);

#endif
