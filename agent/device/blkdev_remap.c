// SPDX-License-Identifier: Apache-2.0
/*
 * Was the mapping that a device is made of exchanged? A dm device can get
 * another table, and then shows other content without a write to it: a
 * snapshot merged into its origin, a thin volume put back. The kernel sends an
 * event to user space each time a dm device is resumed, which is when a new
 * table takes effect.
 *
 * Invariants:
 * - What is listened to was listened to before the device was first read.
 * - Events that were lost count as such an event.
 * - Once seen it stays seen, until somebody says that it was acted upon.
 *
 * Not every resume brings other content (a snapshot that is made resumes its
 * origin too). That cannot be told without the right to read tables, and to
 * compare once too often is harmless.
 *
 * The thread that owns the device.
 */
#include "device/blkdev_remap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "base/cleanup.h"
#include "device/blkdev_sysfs.h"

#define BELOW_MAX 64U
#define BELOW_DEPTH_MAX 16U
#define EVENT_BYTES 8192
#define GROUP_KERNEL 1U

struct blkdev_remap {
	int fd;
	bool seen;
	struct devno disk;
	unsigned int n;
	struct devno dm[BELOW_MAX];	/* the device and what lies below it */
};

struct walk {
	struct blkdev_remap *remap;
	unsigned int depth;
};

static int visit(void *arg, const char *name, struct devno no)
{
	_cleanup_close_ int sys_fd = -1, disk_fd = -1;
	struct walk *w = arg;
	struct devno disk;
	unsigned int i;
	int r;

	(void)name;
	sys_fd = sysfs_open_dev(&blkdev_host, no);
	disk_fd = sys_fd < 0 ? sys_fd : sysfs_open_disk(sys_fd);
	if (disk_fd < 0)
		return disk_fd;
	r = sysfs_devno(disk_fd, "dev", &disk);
	if (r)
		return r;
	for (i = 0; i < w->remap->n; i++)
		if (devno_equal(w->remap->dm[i], disk))
			return 0;
	if (w->depth >= BELOW_DEPTH_MAX || w->remap->n == BELOW_MAX)
		return -ELOOP;
	if (sysfs_has(disk_fd, "dm"))
		w->remap->dm[w->remap->n++] = disk;
	w->depth++;
	r = sysfs_each_dev(disk_fd, "slaves", visit, w);
	w->depth--;
	return r;
}

static int listen_to_kernel(void)
{
	const struct sockaddr_nl to = { .nl_family = AF_NETLINK,
					.nl_groups = GROUP_KERNEL };
	_cleanup_close_ int fd = socket(AF_NETLINK,
					SOCK_DGRAM | SOCK_CLOEXEC |
						SOCK_NONBLOCK,
					NETLINK_KOBJECT_UEVENT);

	if (fd < 0 ||
	    bind(fd, (const struct sockaddr *)(const void *)&to, sizeof(to)))
		return -errno;
	return TAKE_FD(fd);
}

int blkdev_remap_open(const struct blkdev *dev, struct blkdev_remap **out,
		      struct err *err)
{
	struct blkdev_remap *m = calloc(1, sizeof(*m));
	struct walk w = { .remap = m };
	int r;

	*out = NULL;
	if (!m)
		return err_sys(err, -ENOMEM, "no-memory", dev->path,
			       "watch its mapping");
	m->fd = listen_to_kernel();
	r = m->fd < 0 ? m->fd : 0;
	m->disk = (struct devno){ dev->disk_major, dev->disk_minor };
	/* After the socket: a change of what lies below is heard of. */
	if (!r)
		r = visit(&w, dev->disk_name, m->disk);
	if (r) {
		blkdev_remap_close(m);
		return err_sys(err, r, "device-unreadable", dev->path,
			       "watch its mapping for changes");
	}
	if (!m->n) {
		blkdev_remap_close(m);
		return 0;
	}
	*out = m;
	return 0;
}

void blkdev_remap_close(struct blkdev_remap *m)
{
	if (!m)
		return;
	if (m->fd >= 0)
		(void)close(m->fd);
	free(m);
}

/* The value of KEY=value among strings that end with a zero, or NULL. */
static const char *value_of(const char *msg, size_t len, const char *key)
{
	size_t n = strlen(key), at = 0;

	while (at < len) {
		size_t one = strnlen(msg + at, len - at);

		if (one > n && msg[at + n] == '=' && !strncmp(msg + at, key, n))
			return msg + at + n + 1;
		at += one + 1;
	}
	return NULL;
}

bool blkdev_event_is_remap(const char *msg, size_t len, uint32_t *major,
			   uint32_t *minor)
{
	const char *action, *subsystem, *ma, *mi;

	if (!len || msg[len - 1])
		return false;
	action = value_of(msg, len, "ACTION");
	subsystem = value_of(msg, len, "SUBSYSTEM");
	ma = value_of(msg, len, "MAJOR");
	mi = value_of(msg, len, "MINOR");
	if (!action || strcmp(action, "change") || !subsystem ||
	    strcmp(subsystem, "block") || !ma || !mi)
		return false;
	/* Asked for by somebody, or a change of the read-only flag. */
	if (value_of(msg, len, "SYNTH_UUID") || value_of(msg, len, "DISK_RO"))
		return false;
	*major = (uint32_t)strtoul(ma, NULL, 10);
	*minor = (uint32_t)strtoul(mi, NULL, 10);
	return true;
}

static void look_at(struct blkdev_remap *m, const char *msg, size_t len)
{
	struct devno no;
	unsigned int i;

	if (!blkdev_event_is_remap(msg, len, &no.major, &no.minor))
		return;
	for (i = 0; i < m->n; i++)
		if (devno_equal(m->dm[i], no))
			m->seen = true;
}

bool blkdev_remap_seen(struct blkdev_remap *m)
{
	struct sockaddr_nl from;
	socklen_t from_len;
	char msg[EVENT_BYTES];
	ssize_t n;

	if (!m)
		return false;
	for (;;) {
		memset(&from, 0, sizeof(from));
		from_len = sizeof(from);
		n = recvfrom(m->fd, msg, sizeof(msg), 0,
			     (struct sockaddr *)(void *)&from, &from_len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return m->seen;
		if (n < 0) {
			/* ENOBUFS: there were more than the socket holds. */
			m->seen = true;
			if (errno != ENOBUFS)
				return true;
			continue;
		}
		/* Only the kernel is believed. */
		if (!from.nl_pid)
			look_at(m, msg, (size_t)n);
	}
}

void blkdev_remap_acted_upon(struct blkdev_remap *m)
{
	struct walk w = { .remap = m };

	if (!m)
		return;
	/* Other devices may lie below by now. */
	m->seen = false;
	m->n = 0;
	if (visit(&w, NULL, m->disk))
		m->seen = true;
}
