// SPDX-License-Identifier: Apache-2.0
/*
 * Why an SSL call failed, in an operator's words: OpenSSL's queue, alerts and
 * errno become a code, a sentence and a remedy. Runs in the thread of the
 * connection, whose queue it empties.
 *
 * One reason has one code at both ends, whichever end found it: "tls-expired"
 * is an expired certificate, ours or the peer's, and the sentence says whose.
 */
#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/checked.h"
#include "net/tls.h"

struct reason {
	int code;			/* of OpenSSL, or of the alert */
	int num;
	const char *slug;
	const char *text;
	const char *remedy;
};

#define RENEW "issue a new certificate with `understudyctl pki issue` on the " \
	      "replica and put it in the place of ours"
#define SEE_PEER "the log of the peer says why"

/* The peer's last word to us; names of RFC 8446, 6.2. */
static const struct reason alerts[] = {
	{ SSL_AD_CERTIFICATE_EXPIRED, -EKEYEXPIRED, "tls-expired",
	  "the peer refused our certificate: it has expired", RENEW },
	{ SSL_AD_CERTIFICATE_REVOKED, -EKEYREVOKED, "tls-revoked",
	  "the peer refused our certificate: it is revoked", RENEW },
	{ SSL_AD_UNKNOWN_CA, -EKEYREJECTED, "tls-untrusted",
	  "the peer refused our certificate: it is of another authority",
	  "use an identity that was issued on the replica we talk to" },
	{ SSL_AD_DECRYPT_ERROR, -EKEYREJECTED, "tls-untrusted",
	  "the peer refused our certificate: its signature is not good",
	  "use an identity that was issued on the replica we talk to" },
	{ SSL_AD_UNSUPPORTED_CERTIFICATE, -EKEYREJECTED, "tls-usage",
	  "the peer refused our certificate: it is not made for this end", RENEW },
	{ SSL_AD_CERTIFICATE_REQUIRED, -EACCES, "tls-no-certificate",
	  "the peer demands a certificate and we showed none",
	  "`identity` must be a directory with cert.pem and key.pem" },
	{ SSL_AD_BAD_CERTIFICATE, -EKEYREJECTED, "tls-rejected",
	  "the peer refused our certificate: not yet valid, for another host, "
	  "or malformed", SEE_PEER "; compare the clocks too" },
	{ SSL_AD_CERTIFICATE_UNKNOWN, -EKEYREJECTED, "tls-rejected",
	  "the peer refused our certificate", SEE_PEER },
	{ SSL_AD_ACCESS_DENIED, -EACCES, "tls-rejected",
	  "the peer refused us", SEE_PEER },
	{ SSL_AD_HANDSHAKE_FAILURE, -EACCES, "tls-rejected",
	  "the peer refused us: our certificate grants no rights, or nothing "
	  "that both speak", SEE_PEER },
	{ SSL_AD_PROTOCOL_VERSION, -EPROTO, "tls-version",
	  "the peer does not speak TLS 1.3",
	  "see that a current understudyd answers at this address" },
	{ SSL_AD_INSUFFICIENT_SECURITY, -EPROTO, "tls-suite",
	  "the peer finds our ciphers too weak", NULL },
};

/* What we found ourselves. */
static const struct reason errors[] = {
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, -EACCES,
	  "tls-no-certificate", "the peer showed no certificate",
	  "give the peer an identity: `understudyctl pki issue`" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, -EPROTO, "tls-version",
	  "the peer does not speak TLS 1.3", NULL },
	{ SSL_R_VERSION_TOO_LOW, -EPROTO, "tls-version",
	  "the peer does not speak TLS 1.3", NULL },
	{ SSL_R_WRONG_SSL_VERSION, -EPROTO, "tls-version",
	  "the peer does not speak TLS 1.3", NULL },
	{ SSL_R_NO_PROTOCOLS_AVAILABLE, -EPROTO, "tls-version",
	  "this host's OpenSSL does not speak TLS 1.3",
	  "see openssl.cnf(5) of this host" },
	{ SSL_R_NO_SHARED_CIPHER, -EPROTO, "tls-suite",
	  "the peer offers no cipher that we take", NULL },
	{ SSL_R_HTTP_REQUEST, -EPROTO, "tls-protocol",
	  "the peer speaks HTTP without TLS", NULL },
	{ SSL_R_WRONG_VERSION_NUMBER, -EPROTO, "tls-protocol",
	  "what the peer sends is not TLS",
	  "see what answers at this address" },
	{ SSL_R_UNEXPECTED_EOF_WHILE_READING, -ECONNRESET, "connection-lost",
	  "the peer cut the connection", NULL },
};

static const struct reason *find(const struct reason *table, size_t n, int code)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (table[i].code == code)
			return &table[i];
	return NULL;
}

/* err may be full already; what is returned is the reason's number then too. */
static int tell(const struct tls_conn *t, const struct reason *r,
		const char *op, struct err *err)
{
	(void)err_set(err, r->num, r->slug, t->object, "%s: %s", op, r->text);
	if (err && r->remedy)
		(void)err_remedy(err, "%s", r->remedy);
	return r->num;
}

static int tell_ssl(const struct tls_conn *t, unsigned long e, const char *op,
		    struct err *err)
{
	int code = ERR_GET_REASON(e);
	const struct reason *r;
	const char *text;

	r = code > SSL_AD_REASON_OFFSET ?
		find(alerts, ARRAY_SIZE(alerts), code - SSL_AD_REASON_OFFSET) :
		find(errors, ARRAY_SIZE(errors), code);
	if (r)
		return tell(t, r, op, err);
	text = ERR_reason_error_string(e);
	return err_set(err, -EPROTO, "tls-protocol", t->object, "%s: %s", op,
		       text ? text : "the stream is not good TLS");
}

static int tell_socket(const struct tls_conn *t, const char *op,
		       struct err *err)
{
	if (!t->io_errno || t->io_errno == EPIPE || t->io_errno == ECONNRESET)
		return err_set(err, -ECONNRESET, "connection-lost", t->object,
			       "%s: the peer cut the connection", op);
	return err_sys(err, -t->io_errno, "connection-lost", t->object, "%s",
		       op);
}

/* The oldest entry is the cause; later ones tell who passed it on. */
static unsigned long first_ssl_error(void)
{
	unsigned long e, found = 0;

	while ((e = ERR_get_error()))
		if (!found && ERR_GET_LIB(e) == ERR_LIB_SSL)
			found = e;
	return found;
}

int tls_reason(const struct tls_conn *t, int ssl_error, const char *op,
	       struct err *err)
{
	unsigned long e = first_ssl_error();

	if (t->verdict.x509 != X509_V_OK)
		return tls_verdict_tell(t, err);
	if (e)
		return tell_ssl(t, e, op, err);
	if (ssl_error == SSL_ERROR_SYSCALL)
		return tell_socket(t, op, err);
	return err_set(err, -EPROTO, "tls-protocol", t->object,
		       "%s: refused by OpenSSL: code=%d", op, ssl_error);
}
