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
 * conn_wake may be called from another thread and ends a wait with -EINTR.
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
	char peer_volumes[256];		/* pattern the certificate may touch */
	char peer_address[64];
};

static inline int64_t conn_read(struct conn *c, void *p, size_t n,
				int timeout_ms)
{
	return c->ops->read(c, p, n, timeout_ms);
}

/* May write fewer than n. */
static inline int64_t conn_write(struct conn *c, const void *p, size_t n,
				 int timeout_ms)
{
	return c->ops->write(c, p, n, timeout_ms);
}

static inline bool conn_pending(struct conn *c)
{
	return c->ops->pending(c);
}

static inline int conn_poll_fd(struct conn *c)
{
	return c->ops->poll_fd(c);
}

void conn_wake(struct conn *c);
/* orderly sends close_notify. NULL is fine. Frees c. */
void conn_close(struct conn *c, bool orderly);

/* Two connected ends in one process. */
int conn_pair(struct conn **a, struct conn **b);

/* ---- TLS 1.3, mutual certificates ---- */

struct tls_identity;	/* ca.pem cert.pem key.pem (and crl.pem) of a directory */

/* Checks that key.pem is not readable by group or others. */
int tls_identity_load(const char *dir, struct tls_identity **out,
		      struct err *err);
void tls_identity_free(struct tls_identity *id);

/*
 * Dial host:port (every address of the name in turn) and finish the TLS
 * handshake; host must be among the certificate's SANs.
 */
int tls_dial(struct tls_identity *id, const char *host, uint16_t port,
	     int timeout_ms, struct conn **out, struct err *err);

struct listener;
/* "0.0.0.0:7420", "[::]:7420"; port 0 picks one. */
int listener_open(const char *address, struct listener **out, struct err *err);
uint16_t listener_port(const struct listener *l);
int listener_fd(const struct listener *l);
void listener_close(struct listener *l);
/*
 * Accepts one TCP connection (no TLS yet): fd or negative errno. Then
 * tls_accept does the handshake, in the connection's own thread; takes fd.
 */
int listener_accept(struct listener *l, char address[64]);
int tls_accept(struct tls_identity *id, int fd, const char *address,
	       int timeout_ms, struct conn **out, struct err *err);

#endif
