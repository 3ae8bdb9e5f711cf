/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A byte stream to a peer: TLS over TCP, or a socket pair in tests. A
 * connection belongs to one thread. Descriptors are non-blocking; the calls
 * below wait at most timeout_ms (0 = do not wait, < 0 = for ever).
 *
 * conn_wake may be called from another thread and ends a wait with -EINTR: the
 * one that goes on, or else the next. A call that need not wait does not look.
 */
struct conn;

struct conn_ops {
	/* > 0 bytes; 0 = orderly end (close_notify seen); -EAGAIN on time-out;
	 * -ECONNRESET when the stream was cut; other negative errno. */
	int64_t (*read)(struct conn *c, void *p, size_t n, int timeout_ms);
	int64_t (*write)(struct conn *c, const void *p, size_t n,
			 int timeout_ms);
	void (*close)(struct conn *c, bool orderly);
	int (*poll_fd)(struct conn *c);
	/* decrypted or buffered bytes that poll(2) cannot see */
	bool (*pending)(struct conn *c);
};

struct conn {
	const struct conn_ops *ops;
	int wake_fd;			/* eventfd */
	char peer_name[65];		/* from the certificate; "" for pairs */
	uint32_t peer_rights;		/* enum wire_right bits */
	char peer_volumes[256];		/* pattern the certificate may touch,
					 * see pki_volume_allowed */
	char peer_address[64];		/* "192.0.2.1:7420", "[::1]:7420" */
	int64_t peer_not_after_s;	/* end of its certificate; 0 for pairs */
	/* Why the stream is dead, when a call gave an errno other than -EAGAIN
	 * and -EINTR. A server that refuses our certificate says so only here:
	 * to a TLS 1.3 client the handshake has succeeded by then. */
	struct err failure;
};

/* n > 0. */
static inline int64_t conn_read(struct conn *c, void *p, size_t n,
				int timeout_ms)
{
	return c->ops->read(c, p, n, timeout_ms);
}

/*
 * May write fewer than n (> 0); waits only while nothing is written. After
 * -EAGAIN or -EINTR, and after fewer than n, the next call must offer the same
 * bytes again, no fewer than were left and the same in front: some of them may
 * be sealed and half sent. A queue that is only appended to and consumed from
 * its front does that by itself. After a fatal error what the peer sent before
 * can still be read.
 */
static inline int64_t conn_write(struct conn *c, const void *p, size_t n,
				 int timeout_ms)
{
	return c->ops->write(c, p, n, timeout_ms);
}

/* True: conn_read has something to say without a wait. */
static inline bool conn_pending(struct conn *c)
{
	return c->ops->pending(c);
}

/* For a poll(2) of the owner, together with wake_fd. Look at conn_pending
 * first. */
static inline int conn_poll_fd(struct conn *c)
{
	return c->ops->poll_fd(c);
}

void conn_wake(struct conn *c);
/* An owner that polls wake_fd itself takes the wake back with this. */
void conn_wake_clear(struct conn *c);
/*
 * orderly sends close_notify and then, for at most CONN_LINGER_MS, throws away
 * what still arrives until the peer has closed too: closing with input unread
 * could cost the peer our last words. NULL is fine. Frees c.
 */
#define CONN_LINGER_MS 1000
void conn_close(struct conn *c, bool orderly);

/* Two connected ends in one process. */
int conn_pair(struct conn **a, struct conn **b);

/* ---- TLS 1.3, mutual certificates ---- */

/*
 * ca.pem cert.pem key.pem (and crl.pem) of a directory. Reference counted:
 * connections live on when the identity they were made with is freed. To
 * reload, load anew and free the old one; a thread that may use an identity
 * while another replaces it takes a reference of its own first.
 */
struct tls_identity;

/*
 * Checks that key.pem is not accessible to group or others, that it is the
 * certificate's key, and that crl.pem, if it is there, is the authority's.
 */
int tls_identity_load(const char *dir, struct tls_identity **out,
		      struct err *err);
struct tls_identity *tls_identity_ref(struct tls_identity *id);
void tls_identity_free(struct tls_identity *id);
/* When our own certificate ends; seconds since 1970. */
int64_t tls_identity_not_after_s(const struct tls_identity *id);

/*
 * Dial host:port (every address of the name in turn) and finish the TLS
 * handshake; host must be among the certificate's SANs. The name's lookup is
 * inside the time limit.
 */
int tls_dial(struct tls_identity *id, const char *host, uint16_t port,
	     int timeout_ms, struct conn **out, struct err *err);

struct tls_dial_spec {
	const char *host;
	uint16_t port;
	int timeout_ms;
	/* Readable: the dial ends with -EINTR. Not read from. -1 = none. */
	int wake_fd;
};

int tls_dial_to(struct tls_identity *id, const struct tls_dial_spec *spec,
		struct conn **out, struct err *err);

/*
 * Would the peer of a live connection still be let in under id? For the
 * owner's thread, after a reload: revoked or expired certificates give the
 * error that a handshake would. 0 for a pair.
 */
int tls_peer_check(struct conn *c, struct tls_identity *id, struct err *err);

struct listener;
/* "0.0.0.0:7420", "[::]:7420" (both families); port 0 picks one. */
int listener_open(const char *address, struct listener **out, struct err *err);
uint16_t listener_port(const struct listener *l);
int listener_fd(const struct listener *l);
void listener_close(struct listener *l);
/*
 * Accepts one TCP connection (no TLS yet): fd or negative errno, -EAGAIN when
 * none waits. Then tls_accept does the handshake, in the connection's own
 * thread; takes fd, also on failure.
 */
int listener_accept(struct listener *l, char address[64]);
/* The peer has a name and at least one right, or is refused. */
int tls_accept(struct tls_identity *id, int fd, const char *address,
	       int timeout_ms, struct conn **out, struct err *err);

#endif
