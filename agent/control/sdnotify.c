// SPDX-License-Identifier: Apache-2.0
/*
 * The notification protocol of systemd, which is one datagram of NAME=VALUE
 * lines; the library would bring nothing else that is needed here. Main
 * thread only (reads the environment).
 */
#include "control/sdnotify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	size_t n;

	if (!path || !*path)
		return 0;
	n = strlen(path);
	if ((*path != '/' && *path != '@') || n >= sizeof(sa.sun_path))
		return -EINVAL;
	memcpy(sa.sun_path, path, n);
	/* An abstract name starts with a zero byte. */
	if (*path == '@')
		sa.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		   (const struct sockaddr *)&sa,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return -errno;
	return 1;
}

int sdnotify_ready(void)
{
	return notify("READY=1\nSTATUS=Running\n");
}

/*
 * The manager asks that MONOTONIC_USEC is no older than its request. Our clock
 * also counts time asleep and so is never behind CLOCK_MONOTONIC.
 */
int sdnotify_reloading(void)
{
	char text[96];

	(void)snprintf(text, sizeof(text),
		       "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		       clock_mono_ns(clock_real()) / NSEC_PER_USEC);
	return notify(text);
}

int sdnotify_stopping(void)
{
	return notify("STOPPING=1\nSTATUS=Draining\n");
}

int sdnotify_status(const char *text)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "STATUS=%s\n", text);
	return notify(line);
}
