// SPDX-License-Identifier: Apache-2.0
/*
 * A tracker host of a daemon without capabilities: its helper has loaded,
 * attached and pinned everything; here the pins are opened, which takes no
 * more than the right to read them. Any thread, under the lock of who opens.
 */
#include <errno.h>

#include <bpf/bpf.h>

#include "base/checked.h"
#include "tracker/tracker_helper.h"
#include "tracker/tracker_host_internal.h"

static int open_pin(struct tracker_host *h, const char *name, int *fd,
		    struct err *err)
{
	int r = pins_get(h->dir, name);

	if (r < 0)
		return err_sys(err, r, "bpf-pin", h->dir, "open %s", name);
	*fd = r;
	return 0;
}

int host_open_pinned(struct tracker_host *h,
		     const struct tracker_host_config *cfg, struct err *err)
{
	const struct {
		const char *name;
		int *fd;
	} pins[] = {
		{ "disks", &h->fds.disks },
		{ "volumes", &h->fds.volumes },
		{ "groups", &h->fds.groups },
		{ "counters", &h->fds.counters },
		{ "stats", &h->fds.stats },
		{ "seen", &h->fds.seen },
		{ "info", &h->fds.info },
		{ "pages", &h->fds.pages },
		{ "commands", &h->fds.commands },
	};
	size_t i;
	int r;

	r = tracker_helper_attach(cfg, err);
	for (i = 0; !r && i < ARRAY_SIZE(pins); i++)
		r = open_pin(h, pins[i].name, pins[i].fd, err);
	h->owns_fds = true;
	return r ? r : hooks_open_pinned(h, HOOKS_OF_REQUESTS | HOOKS_OF_BIOS,
					 err);
}
