/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONN_INTERNAL_H
#define NET_CONN_INTERNAL_H

#include <stdint.h>

#include "net/conn.h"

/* Inside agent/net: for those who implement a kind of connection. */

int conn_wake_open(struct conn *c);
/* sock_wait on fd and the wake, which is taken back when it was the reason. */
int conn_wait(struct conn *c, int fd, short events, uint64_t deadline_ns);

#endif
