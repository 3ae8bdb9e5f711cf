/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SOCK_H
#define NET_SOCK_H

#include <stdint.h>
#include <sys/socket.h>

/* Inside agent/net: sockets without TLS. */

/* A point of monotonic time; SOCK_NEVER for a wait without end. */
#define SOCK_NEVER UINT64_MAX

/* now + timeout_ms; < 0 gives SOCK_NEVER. */
uint64_t sock_deadline(int timeout_ms);
/*
 * Wait until fd shows one of events (POLLIN, POLLOUT), or an error. 0 ready;
 * -EAGAIN the deadline passed; -EINTR wake_fd (may be -1) is readable, which
 * goes first and is left as it is; other negative errno.
 */
int sock_wait(int fd, short events, int wake_fd, uint64_t deadline_ns);

/* No delay, keepalive, and a bound on how long unacknowledged data may sit. */
void sock_tune(int fd);

/* "192.0.2.1:7420", "[::1]:7420"; a mapped address as the IPv4 one it is. */
void sock_format_address(const struct sockaddr_storage *a, char out[64]);

/*
 * Throw away input until the peer closes or the deadline passes. For a socket
 * that we have shut down for writing.
 */
void sock_drain(int fd, int wake_fd, uint64_t deadline_ns);

#endif
