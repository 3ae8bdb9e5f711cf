// SPDX-License-Identifier: Apache-2.0
/*
 * A look at every name in the directory of a store. Reads and reports; what is
 * found is left alone. Any thread.
 */
#include "store/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "store/catalog_aside.h"
#include "store/segscan.h"
#include "store/storevol.h"

/* The i-th volume or NULL; *skip: it is no more. */
static struct volume *volume_at(struct store *s, size_t i, bool *skip)
{
	LOCK_SCOPE(&s->lock);
	struct volume *v = i < s->n_volumes ? s->volumes[i] : NULL;

	*skip = v && v->removed;
	return v;
}

static bool is_broken(struct volume *v, struct volume_info *info,
		      struct err *why)
{
	LOCK_SCOPE(&v->lock);

	volume_info_get(v, info);
	err_copy(why, &v->why);
	return v->broken;
}

int store_broken_volumes(struct store *s,
			 int (*cb)(void *arg, const struct volume_info *v,
				   const struct err *why),
			 void *arg)
{
	struct volume_info info;
	struct volume *v;
	bool skip;
	size_t i;
	int r = 0;

	/* The list only grows, and volumes live as long as the store. */
	for (i = 0; r == 0 && (v = volume_at(s, i, &skip)); i++) {
		struct err why = ERR_INIT;

		if (!skip && is_broken(v, &info, &why))
			r = cb(arg, &info, &why);
	}
	return r;
}

static int has_catalog(void *arg, const char *name)
{
	*(bool *)arg |= !strcmp(name, CATALOG_NAME);
	return 0;
}

int store_catalog_state(struct store *s, struct err *err)
{
	const struct err *unusable = catalog_unusable(s->catalog);
	struct io *io = s->cfg.io;
	bool there = false;
	int r;

	if (unusable->num) {
		err_copy(err, unusable);
		return unusable->num;
	}
	r = io->ops->listdir(io, s->dirfd, ".", has_catalog, &there);
	if (r < 0)
		return err_sys(err, r, "cannot-open", s->path, "list");
	return there ? 0 : err_set(err, -ENOENT, "no-catalog", s->path,
				   "there is no %s", CATALOG_NAME);
}

/* ---- strangers ---- */

struct look {
	struct store *s;
	int (*cb)(void *arg, enum stranger what, const char *path);
	void *arg;
	struct err *err;
	struct volume *v;		/* whose directory is looked at */
	struct cat_segments listed;	/* of it */
};

static int tell(struct look *l, enum stranger what, const char *dir,
		const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s%s", dir, name) < 0)
		return -ENOMEM;
	return l->cb(l->arg, what, path);
}

static int on_top_name(void *arg, const char *name)
{
	static const char *const known[] = {
		"store.meta", "store.meta.tmp", "lock", "reserve", "volumes",
		"catalog.db", "catalog.db-wal", "catalog.db-shm",
		"catalog.db-journal", "lost+found",
	};
	struct look *l = arg;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(name, known[i]))
			return 0;
	return catalog_aside_name(name) ? 0 :
					  tell(l, STRANGER_OTHER, "", name);
}

static bool is_listed(const struct look *l, const struct uuid *id)
{
	size_t i;

	for (i = 0; i < l->listed.n; i++)
		if (uuid_equal(&l->listed.v[i].id, id))
			return true;
	return false;
}

/*
 * Created, and its header not yet written, by a daemon that runs or one that
 * died: nothing was in it.
 */
static bool is_empty(struct look *l, const char *name)
{
	struct io *io = l->s->cfg.io;
	uint64_t size = 1;
	int fd = io->ops->open(io, l->v->dirfd, name, O_RDONLY | O_NOFOLLOW,
			       0);

	if (fd < 0)
		return false;
	if (io->ops->size(io, fd, &size) < 0)
		size = 1;
	(void)io->ops->close(io, fd);
	return !size;
}

/* One that the catalog lists is known to whoever reads the volume. */
static int is_segment(struct look *l, const struct uuid *id)
{
	struct segscan scan;
	int r;

	if (is_listed(l, id))
		return 1;
	r = segscan_open(&scan, l->s->cfg.io, l->v->dirfd, id, false, NULL);
	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	segscan_close(&scan);
	return uuid_equal(&scan.header.store, &l->s->uuid) &&
	       uuid_equal(&scan.header.volume, &l->v->row.uuid);
}

static int on_segment_name(void *arg, const char *name)
{
	char dir[16 + UUID_TEXT_SIZE] = "volumes/";
	struct look *l = arg;
	struct uuid id;
	int r;

	uuid_format(&l->v->row.uuid, dir + strlen(dir));
	strcat(dir, "/");
	if (segment_file_parse(name, &id) < 0)
		return tell(l, STRANGER_OTHER, dir, name);
	r = is_segment(l, &id);
	/* A volume may be removed by its daemon while it is looked at. */
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(l->err, r, "cannot-open", l->s->path,
			       "read %s%s", dir, name);
	if (r)
		return 0;
	return tell(l, is_empty(l, name) ? STRANGER_OTHER : STRANGER_SEGMENT,
		    dir, name);
}

static int look_into_volume(struct look *l, struct volume *v)
{
	struct io *io = l->s->cfg.io;
	int r;

	if (v->dirfd < 0)
		return 0;
	l->v = v;
	if (v->row.id) {
		r = catalog_segments(l->s->catalog, v->row.id, &l->listed,
				     l->err);
		if (r < 0)
			return r;
	}
	r = io->ops->listdir(io, v->dirfd, ".", on_segment_name, l);
	free(TAKE_PTR(l->listed.v));
	l->listed.n = 0;
	return r;
}

static int on_volume_name(void *arg, const char *name)
{
	struct look *l = arg;
	char again[UUID_TEXT_SIZE];
	struct volume *v;
	struct uuid u;

	if (removed_name(name, &u))
		return tell(l, STRANGER_REMOVED, "volumes/", name);
	if (uuid_parse(name, &u) < 0)
		return tell(l, STRANGER_OTHER, "volumes/", name);
	uuid_format(&u, again);
	if (strcmp(name, again))
		return tell(l, STRANGER_OTHER, "volumes/", name);
	v = store_volume(l->s, &u);
	return v ? look_into_volume(l, v) :
		   tell(l, STRANGER_VOLUME, "volumes/", name);
}

int store_strangers(struct store *s,
		    int (*cb)(void *arg, enum stranger what, const char *path),
		    void *arg, struct err *err)
{
	struct look l = { .s = s, .cb = cb, .arg = arg, .err = err };
	struct io *io = s->cfg.io;
	int r;

	r = io->ops->listdir(io, s->dirfd, ".", on_top_name, &l);
	if (r == 0)
		r = io->ops->listdir(io, s->volumes_fd, ".", on_volume_name,
				     &l);
	return r < 0 ? err_sys(err, r, "cannot-open", s->path, "list") : r;
}
