// SPDX-License-Identifier: Apache-2.0
/*
 * understudy-freeze: holds filesystems for understudyd, for a bounded time,
 * and thaws them whatever becomes of the daemon. Started by the daemon, which
 * is at the other end of descriptor 3; by hand, it thaws what was left frozen
 * by one that was killed together with its daemon.
 *
 * The C library and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "freeze/freeze_job.h"
#include "freeze/freeze_marker.h"

#define SOCKET_FD 3

static void tell_left(void *arg, const struct freeze_left *l)
{
	int *failed = arg;

	if (l->result == -EINVAL)
		return;			/* by somebody else, meanwhile */
	if (l->result < 0)
		(*failed)++;
	(void)fprintf(stderr,
		      "understudy-freeze: volume %s: %s was left frozen: %s\n",
		      l->volume, l->what,
		      l->result == 1 ? "it still is" :
		      l->result ? strerror(-l->result) : "thawed");
}

static int sweep(bool dry, int *failed)
{
	int n = freeze_marker_sweep(FREEZE_MARKER_DIR, dry, tell_left, failed);

	if (n < 0)
		(void)fprintf(stderr, "understudy-freeze: %s: %s\n",
			      FREEZE_MARKER_DIR, strerror(-n));
	return n;
}

static int serve(void)
{
	struct freeze_hello hello = { .version = FREEZE_VERSION };
	int failed = 0, r;

	if (fcntl(SOCKET_FD, F_SETFD, FD_CLOEXEC) < 0) {
		(void)fputs("understudy-freeze: is started by understudyd\n",
			    stderr);
		return 2;
	}
	(void)prctl(PR_SET_DUMPABLE, 0);
	r = freeze_confine(&hello);
	if (r < 0) {
		(void)fprintf(stderr, "understudy-freeze: privileges: %s\n",
			      strerror(-r));
		return 1;
	}
	(void)sweep(false, &failed);
	return freeze_keep(SOCKET_FD, &hello);
}

/* With no more rights than one that serves: hooks may be called. */
static int thaw(void)
{
	struct freeze_hello hello = { .version = FREEZE_VERSION };
	int failed = 0, r = freeze_confine(&hello);

	if (r < 0) {
		(void)fprintf(stderr, "understudy-freeze: privileges: %s\n",
			      strerror(-r));
		return 1;
	}
	return sweep(false, &failed) < 0 || failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc == 2 && !strcmp(argv[1], "--serve"))
		return serve();
	if (argc == 2 && !strcmp(argv[1], "--thaw"))
		return thaw();
	if (argc == 2 && !strcmp(argv[1], "--look"))
		return sweep(true, &failed) != 0;
	(void)fputs("usage: understudy-freeze --thaw | --look\n", stderr);
	return 2;
}
