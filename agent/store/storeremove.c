// SPDX-License-Identifier: Apache-2.0
/*
 * The end of a volume.
 *
 *   1  volumes/UUID becomes volumes/UUID.removed, and volumes/ is synced: from
 *      here on the volume is no more, and nothing before it has changed
 *   2  its rows leave the catalog, synced
 *   3  what else belonged to it goes (the owner's affair: its key)
 *   4  the files and the directory UUID.removed go
 *
 * Who dies after 1 finds the directory at the next start and goes on with 2. A
 * catalog that is made again from the segments does not look into it. While it
 * is there, a new volume of the same UUID may have come; then 2 and 3 are done,
 * since the catalog takes no second row of a UUID.
 *
 * A volume that never had a directory is a row only, and 2 is its end.
 *
 * Any thread. The volume in memory stays until the store is closed, marked, for
 * those who found it just before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/storevol.h"

#define REMOVED_SUFFIX ".removed"
#define REMOVED_NAME_SIZE (UUID_TEXT_SIZE + sizeof(REMOVED_SUFFIX))

static void removed_name_of(const struct uuid *volume,
			    char out[REMOVED_NAME_SIZE])
{
	uuid_format(volume, out);
	memcpy(out + UUID_TEXT_SIZE - 1, REMOVED_SUFFIX,
	       sizeof(REMOVED_SUFFIX));
}

bool removed_name(const char *name, struct uuid *volume)
{
	char text[UUID_TEXT_SIZE], again[REMOVED_NAME_SIZE];

	if (strlen(name) != UUID_TEXT_SIZE - 1 + sizeof(REMOVED_SUFFIX) - 1)
		return false;
	memcpy(text, name, UUID_TEXT_SIZE - 1);
	text[UUID_TEXT_SIZE - 1] = 0;
	if (uuid_parse(text, volume) < 0)
		return false;
	removed_name_of(volume, again);
	return !strcmp(name, again);
}

/* ---- what removals have left ---- */

struct leftovers {
	struct uuid *v;
	size_t n;
};

static int note_leftover(void *arg, const char *name)
{
	struct leftovers *l = arg;
	struct uuid u;
	void *p;

	if (!removed_name(name, &u))
		return 0;
	p = reallocarray(l->v, l->n + 1, sizeof(*l->v));
	if (!p)
		return -ENOMEM;
	l->v = p;
	l->v[l->n++] = u;
	return 0;
}

static int list_leftovers(struct store *s, struct leftovers *out)
{
	struct io *io = s->cfg.io;

	*out = (struct leftovers){ 0 };
	return io->ops->listdir(io, s->volumes_fd, ".", note_leftover, out);
}

static bool has_directory(struct store *s, const struct uuid *volume)
{
	struct io *io = s->cfg.io;
	char name[UUID_TEXT_SIZE];
	int fd;

	uuid_format(volume, name);
	fd = io->ops->open(io, s->volumes_fd, name,
			   O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd >= 0)
		(void)io->ops->close(io, fd);
	return fd != -ENOENT;
}

/* Rows of a UUID that has no directory but that of a removed volume. */
int store_forget_removed(struct store *s, struct err *err)
{
	struct leftovers l;
	struct cat_volumes all = { 0 };
	size_t i, k;
	int r = list_leftovers(s, &l);

	if (r == 0 && l.n)
		r = catalog_volumes(s->catalog, &all, err);
	for (i = 0; r == 0 && i < all.n; i++)
		for (k = 0; r == 0 && k < l.n; k++)
			if (uuid_equal(&all.v[i].uuid, &l.v[k]) &&
			    !has_directory(s, &l.v[k]))
				r = catalog_volume_remove(s->catalog,
							  all.v[i].id, err);
	free(all.v);
	free(l.v);
	return r < 0 ? err_sys(err, r, "cannot-open", s->path,
			       "look for removed volumes") : 0;
}

/* ---- removing ---- */

static int busy(const struct volume *v, struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];

	volume_object(v, object);
	if (v->n_writers) {
		err_set(err, -EBUSY, "volume-busy", object,
			"remove: its source is connected and pushes to it");
		return err_remedy(err, "stop its source, or take the volume "
				       "out of the source's configuration, or "
				       "revoke its certificate");
	}
	err_set(err, -EBUSY, "volume-busy", object,
		"remove: it is being read, by a restore for example");
	return err_remedy(err, "wait until that has ended, or end it");
}

static void let_go(struct volume *v)
{
	struct io *io = v->store->cfg.io;

	volume_drop_index(v);
	(void)segfile_close(&v->seg);
	if (v->dirfd >= 0)
		(void)io->ops->close(io, v->dirfd);
	v->dirfd = -1;
	v->removed = true;
}

/* Both locks are held. */
static int rename_away(struct volume *v)
{
	struct store *s = v->store;
	struct io *io = s->cfg.io;
	char from[UUID_TEXT_SIZE], to[REMOVED_NAME_SIZE];
	int r;

	uuid_format(&v->row.uuid, from);
	removed_name_of(&v->row.uuid, to);
	r = io->ops->renameat(io, s->volumes_fd, from, s->volumes_fd, to);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = io->ops->fsync(io, s->volumes_fd);
	/*
	 * Not known to be durable: back to where it was. Where that fails too,
	 * the volume is gone for this process, and a power cut may bring it
	 * back: whole, either way.
	 */
	if (r < 0 && io->ops->renameat(io, s->volumes_fd, to, s->volumes_fd,
				       from) < 0)
		let_go(v);
	return r;
}

static int remove_volume(struct store *s, struct volume *v, struct err *err)
{
	char object[VOLUME_OBJECT_BYTES];
	LOCK_SCOPE(&v->lock);
	int r;

	if (v->n_writers || v->n_views)
		return busy(v, err);
	volume_object(v, object);
	r = rename_away(v);
	if (r < 0)
		return err_sys(err, r, "write-failed", object,
			       "remove: put its directory aside");
	let_go(v);
	r = catalog_volume_remove(s->catalog, v->row.id, err);
	return r < 0 ? err_sys(err, r, "catalog-failed", object,
			       "remove: its points are gone; its rows are "
			       "removed at the next start") : 0;
}

int store_remove(struct store *s, const struct uuid *volume, struct err *err)
{
	LOCK_SCOPE(&s->lock);
	struct volume *v = store_find_volume(s, volume);
	char uuid[UUID_TEXT_SIZE];

	if (!v) {
		uuid_format(volume, uuid);
		return err_set(err, -ENOENT, "no-volume", uuid,
			       "remove: the store has no such volume");
	}
	if (s->cfg.read_only)
		return err_set(err, -EROFS, "read-only", s->path,
			       "remove: the store is open for reading only");
	return remove_volume(s, v, err);
}

/* ---- purging ---- */

struct purge {
	struct io *io;
	int dirfd;
};

static int unlink_one(void *arg, const char *name)
{
	struct purge *p = arg;
	int r = p->io->ops->unlinkat(p->io, p->dirfd, name, 0);

	return r < 0 && r != -ENOENT ? r : 0;
}

/* A directory may tell fewer names while they go: until none is left. */
static int purge_directory(struct store *s, const char *name)
{
	struct purge p = { .io = s->cfg.io };
	int r, tries;

	p.dirfd = p.io->ops->open(p.io, s->volumes_fd, name,
				  O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (p.dirfd < 0)
		return p.dirfd == -ENOENT ? 0 : p.dirfd;
	for (tries = 0; tries < 8; tries++) {
		r = p.io->ops->listdir(p.io, p.dirfd, ".", unlink_one, &p);
		if (r == 0)
			r = p.io->ops->unlinkat(p.io, s->volumes_fd, name,
						AT_REMOVEDIR);
		if (r != -ENOTEMPTY && r != -EEXIST)
			break;
	}
	(void)p.io->ops->close(p.io, p.dirfd);
	return r == -ENOENT ? 0 : r;
}

/* Its rows have left the catalog, durably, or it never gets here. */
static bool is_listed(struct store *s, const struct uuid *volume, int *r)
{
	struct cat_volumes all;
	bool found = false;
	size_t i;

	*r = catalog_volumes(s->catalog, &all, NULL);
	for (i = 0; *r == 0 && i < all.n; i++)
		found |= uuid_equal(&all.v[i].uuid, volume);
	if (*r == 0)
		free(all.v);
	return found;
}

static int purge_one(struct store *s, const struct uuid *volume,
		     int (*cb)(void *arg, const struct uuid *volume),
		     void *arg)
{
	char name[REMOVED_NAME_SIZE];
	bool exists = store_volume(s, volume) != NULL;
	int r = 0;

	removed_name_of(volume, name);
	if (!exists && is_listed(s, volume, &r))
		r = -EBUSY;	/* a start removes its rows first */
	if (r == 0 && !exists && cb)
		r = cb(arg, volume);
	return r < 0 ? r : purge_directory(s, name);
}

int store_purge(struct store *s,
		int (*cb)(void *arg, const struct uuid *volume), void *arg,
		struct err *err)
{
	struct leftovers l;
	int r, failed = 0;
	size_t i;

	r = list_leftovers(s, &l);
	for (i = 0; r == 0 && i < l.n; i++) {
		int n = purge_one(s, &l.v[i], cb, arg);

		if (n < 0)
			failed = n;
	}
	free(l.v);
	if (r == 0)
		r = failed;
	return r < 0 ? err_sys(err, r, "write-failed", s->path,
			       "delete the files of removed volumes") : 0;
}
