/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include <netdb.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Addresses of host, for a TCP connection to port; freed by freeaddrinfo.
 * -EHOSTUNREACH "resolve-failed", -ETIMEDOUT "timeout", -EINTR when wake_fd
 * (may be -1) became readable.
 */
struct resolve_spec {
	const char *host;
	uint16_t port;
	int wake_fd;
	uint64_t deadline_ns;
};

int resolve_host(const struct resolve_spec *spec, struct addrinfo **out,
		 struct err *err);

#endif
