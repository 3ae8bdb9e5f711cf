// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a fuzz target over a directory of inputs, one test each: what the
 * fuzzer once found stays found, in every plain build. Also over the empty
 * input. Usage: fuzz_x DIRECTORY
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_MAX (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Exactly as large as the input: an over-read by one byte shows. */
static int run_file(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	uint8_t *in, *exact;

	in = malloc(INPUT_MAX);
	if (fd >= 0 && in)
		n = read(fd, in, INPUT_MAX);
	exact = n > 0 ? realloc(in, (size_t)n) : NULL;
	if (n > 0)
		(void)LLVMFuzzerTestOneInput(exact, (size_t)n);
	free(exact ? exact : in);
	if (fd >= 0)
		(void)close(fd);
	return n < 0 ? 1 : 0;
}

static int skip_dots(const struct dirent *de)
{
	return de->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	int n_files = 0, failed = 0, dirfd = -1, i;
	struct dirent **files = NULL;

	if (argc > 1)
		dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0)
		n_files = scandirat(dirfd, ".", &files, skip_dots, alphasort);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)printf("TAP version 13\n1..%d\n", n_files < 0 ? 1 : n_files + 1);
	(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	(void)printf("ok 1 - nothing at all\n");
	for (i = 0; i < n_files; i++) {
		int bad = run_file(dirfd, files[i]->d_name);

		(void)printf("%sok %d - %s\n", bad ? "not " : "", i + 2,
			     files[i]->d_name);
		failed |= bad;
		free(files[i]);
	}
	free(files);
	if (dirfd >= 0)
		(void)close(dirfd);
	return failed;
}
