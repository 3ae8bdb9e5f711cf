// SPDX-License-Identifier: Apache-2.0
/*
 *	otherkey KEY OUT
 *
 * writes a key file that is well formed, says the same name and volume, and
 * holds another key: what only the seals of the data can find out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "control/key_fd.h"

int main(int argc, char **argv)
{
	struct key_file key = { 0 };
	struct err err = ERR_INIT;
	int in, out;

	if (argc != 3)
		return 2;
	in = open(argv[1], O_RDONLY | O_CLOEXEC);
	out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (in < 0 || out < 0) {
		perror("otherkey");
		return 1;
	}
	if (key_fd_read(in, &key, &err) < 0) {
		(void)fprintf(stderr, "otherkey: %s\n", err.message);
		return 1;
	}
	key.key.bytes[7] ^= 1;
	if (key_fd_write(out, &key.key, key.name, &key.volume, &err) < 0) {
		(void)fprintf(stderr, "otherkey: %s\n", err.message);
		return 1;
	}
	return 0;
}
