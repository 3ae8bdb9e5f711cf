// SPDX-License-Identifier: Apache-2.0
/* One thread; a child that was forked leaves what is its parent's. */
#include "own_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char own_dir[160];
static pid_t maker;

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void own_dir_remove(void)
{
	if (!own_dir[0] || maker != getpid())
		return;
	(void)nftw(own_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	own_dir[0] = '\0';
}

static void make(const char *where, const char *name)
{
	int n;

	if (own_dir[0] && maker == getpid()) {
		fprintf(stderr, "the test has a directory: %s\n", own_dir);
		exit(1);
	}
	n = snprintf(own_dir, sizeof(own_dir), "%s/us-%s.XXXXXX", where, name);
	if (n < 0 || (size_t)n >= sizeof(own_dir) || !mkdtemp(own_dir)) {
		fprintf(stderr, "no directory for the test in %s\n", where);
		own_dir[0] = '\0';
		exit(1);
	}
	/* Children inherit what is registered, and may make their own. */
	if (!maker)
		(void)atexit(own_dir_remove);
	maker = getpid();
}

void own_dir_in_memory(const char *name)
{
	make(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", name);
}

void own_dir_on_disk(const char *name)
{
	const char *tmp = getenv("TMPDIR");

	make(tmp ? tmp : "/tmp", name);
}
