// SPDX-License-Identifier: Apache-2.0
/* See pointview.h. One thread. */
#include "pointview.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/rnd.h"
#include "control/key_fd.h"
#include "control/stored.h"

struct pointview {
	struct store *store;
	struct volume_info volume;
	struct opener *opener;
	struct view *view;
	struct point_info *points;
	size_t n, room;
};

static void must(int ret, const char *what, const struct err *err)
{
	if (ret >= 0)
		return;
	(void)fprintf(stderr, "%s: %s\n", what,
		      err && err->num ? err->message : "failed");
	exit(2);
}

static int keep_point(void *arg, const struct point_info *info)
{
	struct pointview *p = arg;

	if (p->n == p->room) {
		p->room = p->room ? 2 * p->room : 256;
		p->points = reallocarray(p->points, p->room,
					 sizeof(*p->points));
		if (!p->points)
			abort();
	}
	p->points[p->n++] = *info;
	return 0;
}

static void open_key(struct pointview *p, const char *path)
{
	struct key_file key = { 0 };
	struct err err = ERR_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	must(fd, path, NULL);
	must(key_fd_read(fd, &key, &err), path, &err);
	(void)close(fd);
	p->opener = opener_new(&key.key);
	volume_key_wipe(&key.key);
	if (!p->opener)
		abort();
}

struct pointview *pointview_open(const char *store, const char *volume,
				 const char *key)
{
	const struct store_config cfg = {
		.path = store,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
		.read_only = true,
	};
	struct pointview *p = calloc(1, sizeof(*p));
	struct err err = ERR_INIT;
	struct volume_name name;

	if (!p)
		abort();
	must(volume_name_parse(volume, &name, &err), volume, &err);
	must(store_open(&cfg, &p->store, &err), store, &err);
	must(stored_find_volume(p->store, &name, &p->volume, &err), volume,
	     &err);
	must(store_points(p->store, &p->volume.uuid, false, keep_point, p),
	     "points", NULL);
	if (key)
		open_key(p, key);
	return p;
}

void pointview_close(struct pointview *p)
{
	if (p->view)
		view_close(p->view);
	opener_free(p->opener);
	store_close(p->store);
	free(p->points);
	free(p);
}

size_t pointview_count(const struct pointview *p)
{
	return p->n;
}

const struct point_info *pointview_point(const struct pointview *p, size_t i)
{
	return &p->points[i];
}

void pointview_select(struct pointview *p, size_t i)
{
	const struct point_meta *m = &p->points[i].meta;
	struct err err = ERR_INIT;

	if (p->view)
		view_close(p->view);
	p->view = NULL;
	must(view_open(p->store, &p->volume.uuid, m->epoch, m->seq, &p->view,
		       &err),
	     "view", &err);
}

int pointview_read(void *arg, uint64_t off, uint32_t len, uint8_t *out)
{
	struct pointview *p = arg;
	struct err err = ERR_INIT;

	must(view_read(p->view, p->opener, off >> US_BLOCK_SHIFT,
		       len >> US_BLOCK_SHIFT, out, &err),
	     "read", &err);
	return 0;
}
