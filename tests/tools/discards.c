// SPDX-License-Identifier: Apache-2.0
/*
 *	discards DEVICE OFF COUNT
 *
 * Discards COUNT neighbouring blocks of 4096 bytes, each by itself and all in
 * one submission, so that the kernel may merge them into one request. Exit 77
 * where it takes no discards in this way (before Linux 6.12).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <liburing.h>
#include <sys/ioctl.h>

#define BLOCK 4096U
#define DISCARD _IO(0x12, 0)		/* BLOCK_URING_CMD_DISCARD */

static void prepare(struct io_uring_sqe *sqe, int fd, uint64_t off)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = DISCARD;
	sqe->addr = off;
	sqe->addr3 = BLOCK;
}

static int reap(struct io_uring *ring, unsigned int n)
{
	struct io_uring_cqe *cqe;
	int r = 0, failed = 0;

	while (n-- && !r) {
		r = io_uring_wait_cqe(ring, &cqe);
		if (r)
			return r;
		if (cqe->res < 0)
			failed = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	return failed;
}

int main(int argc, char **argv)
{
	unsigned int i, n = argc == 4 ? (unsigned int)atoi(argv[3]) : 0;
	struct io_uring ring;
	uint64_t off;
	int fd, r;

	if (!n) {
		(void)fputs("usage: discards DEVICE OFF COUNT\n", stderr);
		return 2;
	}
	off = strtoull(argv[2], NULL, 0);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	r = fd < 0 ? -errno : io_uring_queue_init(n, &ring, 0);
	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
		return 1;
	}
	for (i = 0; i < n; i++)
		prepare(io_uring_get_sqe(&ring), fd,
			off + (uint64_t)i * BLOCK);
	r = io_uring_submit(&ring);
	r = r < 0 ? r : reap(&ring, (unsigned int)r);
	io_uring_queue_exit(&ring);
	if (!r)
		return 0;
	(void)fprintf(stderr, "%s: discard: %s\n", argv[1], strerror(-r));
	return r == -EINVAL || r == -EOPNOTSUPP ? 77 : 1;
}
