/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_METRICS_HTTP_H
#define CONTROL_METRICS_HTTP_H

#include "base/err.h"

/*
 * The daemon's HTTP: /metrics, /healthz and a page at /. GET and HEAD, nothing
 * that changes anything. One thread of its own serves a bounded number of
 * connections, each for a bounded time of silence.
 */
#define METRICS_CONNECTIONS_MAX 32
#define METRICS_SILENCE_S 5

struct metrics_http;
struct daemon;

/*
 * "127.0.0.1:7421", "[::1]:7421". Listens on return; d outlives it. Negative
 * errno with err told, which names the address.
 */
int metrics_http_start(const char *address, struct daemon *d,
		       struct metrics_http **out, struct err *err);
/*
 * From one address to another; "" is none, and *h NULL then. The old one is
 * let go first only where it stands in the way, and is taken again when the new
 * one then cannot be had. After an error *h is as it was.
 */
int metrics_http_move(struct metrics_http **h, const char *from,
		      const char *to, struct daemon *d, struct err *err);
/* Waits for the answer under way. NULL is fine. */
void metrics_http_stop(struct metrics_http *h);

#endif
