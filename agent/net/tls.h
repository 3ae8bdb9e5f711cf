/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "net/conn.h"
#include "pki/pki.h"

/* Inside agent/net (and its tests): TLS connections. */

struct tls_identity {
	atomic_int refs;
	SSL_CTX *dialler;
	SSL_CTX *acceptor;
	X509_STORE *store;		/* in both contexts too */
	int64_t not_after_s;		/* of our own certificate */
};

/* What the verification of the peer's chain found. */
struct tls_verdict {
	int x509;			/* X509_V_ERR_*; X509_V_OK */
	int depth;			/* 0 the peer itself, above: who signed */
	char who[128];			/* subject of the certificate at fault */
	char when[32];			/* its beginning or end, as it matters */
	struct err rights;		/* why our extension was refused */
};

/*
 * One direction dies before the other: after a failed write there may still
 * be last words to read.
 */
struct tls_conn {
	struct conn c;			/* first: ops get a struct conn */
	int fd;
	SSL *ssl;
	bool accepted;			/* the peer dialled us */
	bool ended;			/* close_notify seen */
	int read_dead, write_dead;	/* 0 or the negative errno */
	int io_errno;			/* of the last socket call that failed */
	bool io_eof;
	/* Length of a write that OpenSSL has begun and wants again. */
	size_t write_pending;
	uint64_t records;		/* written under the present key */
	uint64_t key_since_ns;
	uint64_t rekey_records, rekey_ns;	/* when the next key is due */
	uint64_t n_rekeys;
	/* Sealed bytes that found no room, see tls_bio.c. */
	uint8_t held[64];
	size_t n_held;
	bool may_hold;
	struct tls_verdict verdict;
	struct pki_subject subject;	/* of the peer; name "" = none found */
	char object[160];		/* the peer, for messages */
};

/* An updated write key at the latest after so many records or so long. */
#define TLS_REKEY_RECORDS (1ULL << 23)
#define TLS_REKEY_S 3600ULL
#define TLS_RECORD_BYTES 16384U

extern const struct conn_ops tls_conn_ops;
static inline struct tls_conn *tls_conn_of(struct conn *c)
{
	return (struct tls_conn *)c;
}

/* ---- tls_conn.c ---- */

/* Takes fd. host is what the peer's certificate must name; NULL: accept. */
struct tls_setup {
	struct tls_identity *id;
	int fd;
	const char *host;
	const char *address;		/* of the peer, for people */
	const char *object;		/* how messages call it */
};

/* No handshake yet. NULL and err; fd is closed then. */
struct tls_conn *tls_conn_new(const struct tls_setup *s, struct err *err);
/* 0, or the failure told. -EINTR when wake_fd (may be -1) is readable. */
int tls_conn_handshake(struct tls_conn *t, int wake_fd, uint64_t deadline_ns,
		       struct err *err);

/* ---- tls_bio.c ---- */

/* The socket as OpenSSL sees it; never raises SIGPIPE. NULL: no memory. */
BIO *tls_bio_new(struct tls_conn *t);

/* ---- tls_verify.c ---- */

/* OpenSSL's verify callback; adds our rules for the peer's certificate. */
int tls_verify_cb(int ok, X509_STORE_CTX *ctx);
/* Tell a verdict that is not X509_V_OK. Returns err's number. */
int tls_verdict_tell(const struct tls_conn *t, struct err *err);

/* ---- tls_reason.c ---- */

/*
 * Why did an SSL call fail? Consumes OpenSSL's queue. ssl_error is what
 * SSL_get_error said, op the operation for the message. Never returns 0.
 */
int tls_reason(const struct tls_conn *t, int ssl_error, const char *op,
	       struct err *err);

#endif
