// SPDX-License-Identifier: Apache-2.0
/*
 *	frozen DIR MILLISECONDS
 *
 * Does a filesystem let nobody write? Writes a byte there, from a process that
 * may have to wait; exit 0 when it still waits after that time, 1 when it has
 * written. Nothing else is done to the filesystem: asking it to freeze would
 * be an answer too, but would be in the way of whoever is about to. The
 * process that waits ends when it has written.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void write_there(const char *dir)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/.frozen-probe", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || pwrite(fd, "x", 1, 0) != 1)
		perror(path);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct pollfd p = { .events = POLLIN };
	int fds[2], r;
	pid_t pid;

	if (argc != 3) {
		(void)fputs("usage: frozen DIR MILLISECONDS\n", stderr);
		return 2;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return 2;
	pid = fork();
	if (pid < 0)
		return 2;
	if (!pid) {
		/* Nobody waits for what the caller waits for. */
		(void)close(fds[0]);
		(void)dup2(fds[1], 0);
		(void)close_range(1, ~0U, 0);
		write_there(argv[1]);
	}
	(void)close(fds[1]);
	p.fd = fds[0];
	r = poll(&p, 1, atoi(argv[2]));
	return r < 0 ? 2 : r ? 1 : 0;
}
