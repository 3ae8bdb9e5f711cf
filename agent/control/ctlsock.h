/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CTLSOCK_H
#define CONTROL_CTLSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "control/ctlproto.h"

/*
 * Moves the bytes and descriptors of the control protocol. Sockets are
 * non-blocking; a wait is bounded by timeout_ms (< 0: for ever).
 */

/*
 * A connected socket, or negative errno with err told: -ENOENT and
 * -ECONNREFUSED mean that no daemon listens there.
 */
int ctlsock_connect(const char *path, struct err *err);
/*
 * Listens on path, 0600. Its directory must exist. What a dead daemon left is
 * replaced; -EADDRINUSE when somebody answers there.
 */
int ctlsock_listen(const char *path, struct err *err);
/* All n bytes (the descriptors go with the first): 0, -ETIMEDOUT, -EPIPE. */
int ctlsock_send(int fd, const void *p, size_t n, const int *fds, int n_fds,
		 int timeout_ms);
/*
 * What is there now, at most n bytes: > 0; 0 at the end; -EAGAIN; -EPROTO
 * when more descriptors come than r has room for. They are added to r.
 */
ssize_t ctlsock_recv(int fd, void *p, size_t n, struct ctl_request *r);
/* 1 when events are there, 0 on time-out, negative errno. */
int ctlsock_wait(int fd, short events, int timeout_ms);
/* Has the other side gone away? */
bool ctlsock_is_gone(int fd);
/* May the process at the other end command this one? 0 or -EACCES. */
int ctlsock_check_peer(int fd, struct err *err);

#endif
