// SPDX-License-Identifier: Apache-2.0
/*
 * A snapshot of a daemon for who watches it. Each volume's lock is held for a
 * copy, as `status` does; nothing here waits for a peer. Any thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "control/daemon.h"
#include "control/metrics.h"
#include "control/version.h"

static int take_volumes(struct daemon *d, struct metrics_snapshot *m)
{
	struct daemon_volume **all;
	size_t i, n;
	int ret = daemon_volumes_get(d, &all, &n);

	if (ret < 0)
		return ret;
	m->volumes = calloc(n + 1, sizeof(*m->volumes));
	for (i = 0; m->volumes && i < n; i++)
		volume_get_status(daemon_volume(all[i]), &m->volumes[i]);
	m->n_volumes = m->volumes ? n : 0;
	daemon_volumes_put(d, all, n);
	return m->volumes ? 0 : -ENOMEM;
}

static int take_row(void *arg, const struct replica_volume_status *s)
{
	struct metrics_snapshot *m = arg;
	struct metrics_stored *more;

	more = reallocarray(m->stored, m->n_stored + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	m->stored = more;
	more[m->n_stored++] = (struct metrics_stored){ .s = *s };
	return 0;
}

/* What the files of a volume take; one that goes meanwhile is left out. */
static uint64_t bytes_of(const char *store, const struct uuid *uuid)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[600], text[UUID_TEXT_SIZE];
	uint64_t sum = 0;
	struct dirent *e;
	struct stat st;

	uuid_format(uuid, text);
	(void)snprintf(path, sizeof(path), "%s/volumes/%s", store, text);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (!fstatat(dirfd(dir), e->d_name, &st,
			     AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

static int take_store(struct daemon *d, struct metrics_snapshot *m)
{
	struct replica *r = daemon_replica(d);
	const char *path = daemon_store_path(d);
	struct statvfs fs;
	size_t i;
	int ret;

	if (!r)
		return 0;
	m->is_replica = true;
	ret = replica_status(r, take_row, m);
	if (ret == -ENOMEM)
		return ret;
	m->store_failure = ret;
	for (i = 0; i < m->n_stored; i++)
		m->stored[i].stored_bytes =
			bytes_of(path, &m->stored[i].s.info.uuid);
	if (!statvfs(path, &fs)) {
		m->store_size_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
		m->store_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	}
	replica_get_sessions(r, &m->sessions);
	return 0;
}

static int take_slug(void *arg, const char *slug, uint64_t count)
{
	struct metrics_snapshot *m = arg;
	struct metrics_slug *s = &m->slugs[m->n_slugs++];

	(void)snprintf(s->slug, sizeof(s->slug), "%s", slug);
	s->count = count;
	return 0;
}

int metrics_collect(struct daemon *d, struct metrics_snapshot *out)
{
	int ret;

	memset(out, 0, sizeof(*out));
	out->version = UNDERSTUDY_VERSION;
	out->started_wall_ns = daemon_started_wall_ns(d);
	ret = take_volumes(d, out);
	if (!ret)
		ret = take_store(d, out);
	if (!ret)
		ret = eventlog_counts(daemon_eventlog(d), take_slug, out);
	if (ret) {
		metrics_release(out);
		return ret;
	}
	eventlog_get_stats(daemon_eventlog(d), &out->events);
	return 0;
}

void metrics_release(struct metrics_snapshot *m)
{
	free(m->volumes);
	free(m->stored);
	memset(m, 0, sizeof(*m));
}
