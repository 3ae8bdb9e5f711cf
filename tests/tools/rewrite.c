// SPDX-License-Identifier: Apache-2.0
/*
 *	rewrite FILE OFF LEN [sync]
 *
 * Writes the blocks of a range of a file or device again and again, one after
 * the other and past the page cache: each write begins when the one before it
 * has ended. With "sync" each is made durable. Ended by a signal; how many
 * there were goes to standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096U

static volatile sig_atomic_t ended;

static void end(int signo)
{
	(void)signo;
	ended = 1;
}

int main(int argc, char **argv)
{
	const struct sigaction sa = { .sa_handler = end };
	uint64_t off, len, n = 0;
	int sync, fd;
	void *buf;

	if (argc < 4 || argc > 5) {
		(void)fputs("usage: rewrite FILE OFF LEN [sync]\n", stderr);
		return 2;
	}
	off = strtoull(argv[2], NULL, 0);
	len = strtoull(argv[3], NULL, 0);
	sync = argc == 5;
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGINT, &sa, NULL);
	fd = open(argv[1], O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0 || len < BLOCK || posix_memalign(&buf, BLOCK, BLOCK)) {
		perror(argv[1]);
		return 1;
	}
	while (!ended) {
		memset(buf, (int)n, BLOCK);
		memcpy(buf, &n, sizeof(n));
		if (pwrite(fd, buf, BLOCK,
			   (off_t)(off + n * BLOCK % (len / BLOCK * BLOCK))) !=
			    BLOCK ||
		    (sync && fdatasync(fd) < 0)) {
			if (errno == EINTR)
				continue;
			perror("write");
			return 1;
		}
		n++;
	}
	(void)printf("%" PRIu64 "\n", n);
	return fflush(stdout) ? 1 : 0;
}
