// SPDX-License-Identifier: Apache-2.0
/*
 * Is the peer who it must be? OpenSSL verifies the chain strictly; this adds
 * what OpenSSL cannot know, and nothing here makes a bad chain good:
 *
 *  - the one critical extension that is unknown to OpenSSL may be ours, and
 *    then it is checked here instead;
 *  - the key usage must be there. OpenSSL takes a certificate without one as
 *    fit for everything;
 *  - who dials us must carry a name and rights.
 *
 * All of it happens inside the handshake, so that the peer gets an alert.
 * Runs in the thread of the connection.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "base/checked.h"
#include "base/clock.h"
#include "net/tls.h"
#include "wire/session.h"

_Static_assert((int)PKI_RIGHT_PUSH == (int)WIRE_RIGHT_PUSH &&
	       (int)PKI_RIGHT_READ == (int)WIRE_RIGHT_READ &&
	       (int)PKI_RIGHT_PROMOTE == (int)WIRE_RIGHT_PROMOTE &&
	       (int)PKI_RIGHT_ADMIN == (int)WIRE_RIGHT_ADMIN,
	       "a right is the same bit in a certificate and on the wire");

/* ---- the callback ---- */

static bool is_ours(X509_EXTENSION *ext)
{
	char oid[sizeof(PKI_RIGHTS_OID) + 1];
	int n = OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(ext),
			    1);

	return n > 0 && !strcmp(oid, PKI_RIGHTS_OID);
}

/* Every critical extension is known to OpenSSL or is ours. */
static bool only_ours_is_unknown(X509 *cert)
{
	int i;

	for (i = 0; i < X509_get_ext_count(cert); i++) {
		X509_EXTENSION *ext = X509_get_ext(cert, i);

		if (X509_EXTENSION_get_critical(ext) &&
		    !X509_supported_extension(ext) && !is_ours(ext))
			return false;
	}
	return true;
}

static void format_asn1_time(const ASN1_TIME *t, char out[32])
{
	struct tm tm = { 0 };

	if (ASN1_TIME_to_tm(t, &tm))
		time_format_utc(timegm(&tm) * (int64_t)NSEC_PER_SEC, out);
	else
		(void)snprintf(out, 32, "?");
}

/* Text of a stranger: nothing but printable ASCII gets into a message. */
static void printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

static int refuse(struct tls_conn *t, X509_STORE_CTX *ctx, int error)
{
	struct tls_verdict *v = &t->verdict;
	X509 *cert = X509_STORE_CTX_get_current_cert(ctx);

	X509_STORE_CTX_set_error(ctx, error);
	v->x509 = error;
	v->depth = X509_STORE_CTX_get_error_depth(ctx);
	if (!cert)
		return 0;
	if (X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
				      NID_commonName, v->who,
				      sizeof(v->who)) < 0)
		v->who[0] = 0;
	printable(v->who);
	format_asn1_time(error == X509_V_ERR_CERT_NOT_YET_VALID ?
				 X509_get0_notBefore(cert) :
				 X509_get0_notAfter(cert),
			 v->when);
	return 0;
}

/* The chain is good; is its leaf? */
static int check_leaf(struct tls_conn *t, X509_STORE_CTX *ctx)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(ctx);
	uint32_t usage = X509_get_extended_key_usage(cert);
	uint32_t need = t->accepted ? XKU_SSL_CLIENT : XKU_SSL_SERVER;
	struct err *err = &t->verdict.rights;

	if (usage == UINT32_MAX || !(usage & need))
		return refuse(t, ctx, X509_V_ERR_INVALID_PURPOSE);
	/* Whom we dial is known by its host name; rights are not needed. */
	if (pki_subject_of(cert, &t->subject, err) < 0)
		return t->accepted ? refuse(t, ctx,
					    X509_V_ERR_APPLICATION_VERIFICATION)
				   : 1;
	if (t->accepted && !t->subject.rights) {
		(void)err_set(err, -EACCES, "tls-rights", t->subject.name,
			      "read the certificate: it grants nothing, it is "
			      "that of a listener");
		return refuse(t, ctx, X509_V_ERR_APPLICATION_VERIFICATION);
	}
	return 1;
}

int tls_verify_cb(int ok, X509_STORE_CTX *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
		ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_conn *t = ssl ? SSL_get_app_data(ssl) : NULL;
	int error = X509_STORE_CTX_get_error(ctx);
	int depth = X509_STORE_CTX_get_error_depth(ctx);

	if (!t)
		return 0;
	if (ok)
		return depth ? 1 : check_leaf(t, ctx);
	if (error == X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION && !depth &&
	    only_ours_is_unknown(X509_STORE_CTX_get_current_cert(ctx))) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	return refuse(t, ctx, error);
}

/* ---- telling it ---- */

static const struct verdict_text {
	int x509;
	int num;
	const char *code;
	const char *reason;
	const char *remedy;
} verdict_texts[] = {
	{ X509_V_ERR_CERT_HAS_EXPIRED, -EKEYEXPIRED, "tls-expired",
	  "has expired", NULL },
	{ X509_V_ERR_CERT_NOT_YET_VALID, -EKEYREJECTED, "tls-not-yet-valid",
	  "is not yet valid", "compare the clocks of both hosts" },
	{ X509_V_ERR_CERT_REVOKED, -EKEYREVOKED, "tls-revoked",
	  "is revoked",
	  "if the peer is to come back, issue it a new certificate with "
	  "`understudyctl pki issue`" },
	{ X509_V_ERR_HOSTNAME_MISMATCH, -EKEYREJECTED, "tls-name",
	  "is for another host",
	  "dial the replica by a name its certificate carries, or add the name "
	  "there: `understudyctl pki renew --san`" },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, -EKEYREJECTED, "tls-name",
	  "is for another address",
	  "dial the replica by a name its certificate carries, or add the name "
	  "there: `understudyctl pki renew --san`" },
	{ X509_V_ERR_INVALID_PURPOSE, -EKEYREJECTED, "tls-usage",
	  "is not made for this end of a connection",
	  "use a certificate made by `understudyctl pki`" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, -EKEYREJECTED, "tls-untrusted",
	  "is of another authority", NULL },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, -EKEYREJECTED,
	  "tls-untrusted", "is of another authority", NULL },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, -EKEYREJECTED, "tls-untrusted",
	  "is of another authority", NULL },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, -EKEYREJECTED,
	  "tls-untrusted", "is signed by itself", NULL },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, -EKEYREJECTED,
	  "tls-untrusted", "is of another authority", NULL },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, -EKEYREJECTED, "tls-untrusted",
	  "has a forged signature", NULL },
	{ X509_V_ERR_INVALID_CA, -EKEYREJECTED, "tls-untrusted",
	  "may not sign certificates", NULL },
	{ X509_V_ERR_PATH_LENGTH_EXCEEDED, -EKEYREJECTED, "tls-untrusted",
	  "may not stand above another", NULL },
	{ X509_V_ERR_UNABLE_TO_GET_CRL, -EKEYREJECTED, "tls-crl",
	  "is not covered by our revocation list",
	  "put the authority's crl.pem beside ca.pem, or none" },
	{ X509_V_ERR_CRL_HAS_EXPIRED, -EKEYEXPIRED, "tls-crl",
	  "cannot be checked: our revocation list has expired",
	  "copy the authority's crl.pem anew" },
	{ X509_V_ERR_CRL_NOT_YET_VALID, -EKEYREJECTED, "tls-crl",
	  "cannot be checked: our revocation list is of the future",
	  "compare the clocks of both hosts" },
};

static const struct verdict_text *verdict_text(int x509)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(verdict_texts); i++)
		if (verdict_texts[i].x509 == x509)
			return &verdict_texts[i];
	return NULL;
}

static const char *remedy_of(const struct tls_conn *t,
			     const struct verdict_text *text)
{
	if (text->remedy)
		return text->remedy;
	if (!strcmp(text->code, "tls-untrusted"))
		return t->accepted ?
			"give the peer a certificate of this replica's "
			"authority: `understudyctl pki issue`" :
			"`identity` must be the directory that `understudyctl "
			"pki issue` wrote on this very replica; if it was, "
			"somebody else answers at this address";
	if (t->verdict.depth)
		return "the authority has ended: make a new one with "
		       "`understudyctl pki init` and issue new certificates";
	return t->accepted ?
		"issue it a new certificate with `understudyctl pki issue`" :
		"renew the listener's certificate on the replica: "
		"`understudyctl pki renew`";
}

int tls_verdict_tell(const struct tls_conn *t, struct err *err)
{
	const struct tls_verdict *v = &t->verdict;
	const struct verdict_text *text = verdict_text(v->x509);
	const char *what = v->depth ? "authority" : "certificate";
	bool timed = v->x509 == X509_V_ERR_CERT_HAS_EXPIRED ||
		     v->x509 == X509_V_ERR_CERT_NOT_YET_VALID;
	int num;

	if (v->x509 == X509_V_ERR_APPLICATION_VERIFICATION) {
		(void)err_set(err, -EACCES, "tls-rights", t->object,
			      "TLS handshake: %s", v->rights.message);
		if (err && v->rights.remedy[0])
			(void)err_remedy(err, "%s", v->rights.remedy);
		return -EACCES;
	}
	if (!text) {
		(void)err_set(err, -EKEYREJECTED, "tls-certificate", t->object,
			      "TLS handshake: %s of '%s' is refused: %s", what,
			      v->who, X509_verify_cert_error_string(v->x509));
		if (err)
			(void)err_remedy(err, "use certificates made by "
					 "`understudyctl pki`");
		return -EKEYREJECTED;
	}
	num = err_set(err, text->num, text->code, t->object,
		      "TLS handshake: %s of '%s' %s%s%s", what, v->who,
		      text->reason, timed ? ": " : "", timed ? v->when : "");
	if (err)
		(void)err_remedy(err, "%s", remedy_of(t, text));
	return num;
}

/* ---- a live connection, looked at again ---- */

int tls_peer_check(struct conn *c, struct tls_identity *id, struct err *err)
{
	struct tls_conn *t = tls_conn_of(c);
	X509_STORE_CTX *ctx;
	int r = 0;

	if (c->ops != &tls_conn_ops)
		return 0;
	ctx = X509_STORE_CTX_new();
	if (!ctx ||
	    !X509_STORE_CTX_init(ctx, id->store, SSL_get0_peer_certificate(t->ssl),
				 SSL_get_peer_cert_chain(t->ssl)) ||
	    !X509_STORE_CTX_set_purpose(ctx, t->accepted ?
						     X509_PURPOSE_SSL_CLIENT :
						     X509_PURPOSE_SSL_SERVER) ||
	    !X509_STORE_CTX_set_ex_data(
		    ctx, SSL_get_ex_data_X509_STORE_CTX_idx(), t->ssl)) {
		r = err_set(err, -ENOMEM, "no-memory", t->object,
			    "look at the certificate again: out of memory");
	} else {
		X509_STORE_CTX_set_verify_cb(ctx, tls_verify_cb);
		t->verdict = (struct tls_verdict){ 0 };
		if (X509_verify_cert(ctx) != 1)
			r = tls_verdict_tell(t, err);
	}
	X509_STORE_CTX_free(ctx);
	return r;
}
