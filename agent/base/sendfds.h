/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SENDFDS_H
#define BASE_SENDFDS_H

#include <stddef.h>
#include <sys/types.h>

#define SEND_FDS_MAX 8

/*
 * Bytes over a Unix socket, and open files beside the first of them: the other
 * side gets descriptors of its own, ours stay ours. No signal when nobody
 * reads any more. The number of bytes taken, on a stream socket maybe not all;
 * negative errno, -EINVAL for more than SEND_FDS_MAX files. flags are added to
 * those of sendmsg.
 */
ssize_t send_with_fds(int fd, const void *p, size_t n, const int *fds,
		      int n_fds, int flags);

#endif
