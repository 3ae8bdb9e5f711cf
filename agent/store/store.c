// SPDX-License-Identifier: Apache-2.0
/*
 * Opening and closing a store.
 *
 * Directory (0700; files 0600):
 *   store.meta          identity and format, written once
 *   lock                held exclusively by the process that writes
 *   reserve             space put by, see reserve.c
 *   catalog.db          SQLite, follows the segments
 *   catalog.db.old-N    one that was put aside, see catalog_aside.c
 *   volumes/UUID/ID.seg segments
 *   volumes/UUID.removed/ what a volume that is no more has left
 *
 * A reader's handle (read_only) takes no lock and changes nothing; it sees
 * the store as it was when it was opened.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/catalog_aside.h"
#include "store/storevol.h"

#define META_NAME "store.meta"
#define LOCK_NAME "lock"
#define VOLUMES_NAME "volumes"

static int failed(const struct store *s, int r, const char *code,
		  const char *what, struct err *err)
{
	return err_sys(err, r, code, s->path, "%s", what);
}

/* ---- opening ---- */

static int count_name(void *arg, const char *name)
{
	/* What a start that died may have left. */
	if (strcmp(name, LOCK_NAME) && strcmp(name, META_NAME ".tmp") &&
	    strcmp(name, "lost+found"))
		(*(size_t *)arg)++;
	return 0;
}

static int create_meta(struct store *s, struct err *err)
{
	struct io *io = s->cfg.io;
	uint8_t bytes[STORE_META_BYTES];
	struct store_meta m;
	size_t others = 0;
	int r;

	if (s->cfg.read_only)
		return err_set(err, -ENOENT, "not-a-store", s->path,
			       "open: there is no %s in it", META_NAME);
	r = io->ops->listdir(io, s->dirfd, ".", count_name, &others);
	if (r < 0)
		return failed(s, r, "cannot-open", "list", err);
	if (others)
		return err_set(err, -ENOTEMPTY, "not-a-store", s->path,
			       "create a store: the directory is not empty "
			       "and holds no %s", META_NAME);
	r = uuid_new(s->cfg.rnd, &m.store);
	if (r < 0)
		return failed(s, r, "no-randomness", "create a store", err);
	m.created_wall_ns = clock_wall_ns(s->cfg.clock);
	store_meta_encode(&m, bytes);
	r = io_replace_file(io, s->dirfd, META_NAME, bytes, sizeof(bytes),
			    0600);
	if (r < 0)
		return failed(s, r, "cannot-create", "write " META_NAME, err);
	s->uuid = m.store;
	return 0;
}

static int read_meta(struct store *s, struct err *err)
{
	_cleanup_free_ char *bytes = NULL;
	struct store_meta m;
	size_t n;
	int r;

	r = io_read_file(s->cfg.io, s->dirfd, META_NAME, 4096, &bytes, &n);
	if (r == -ENOENT)
		return create_meta(s, err);
	if (r < 0)
		return failed(s, r, "cannot-open", "read " META_NAME, err);
	r = n == STORE_META_BYTES ?
		    store_meta_decode((const uint8_t *)bytes, &m) : -EBADMSG;
	if (r == -EPROTONOSUPPORT)
		return err_set(err, r, "store-newer", s->path,
			       "open: its format is not known to this program");
	if (r < 0)
		return err_set(err, r, "store-damaged", s->path,
			       "open: %s is damaged", META_NAME);
	s->uuid = m.store;
	return 0;
}

static int open_directory(struct store *s, struct err *err)
{
	struct io *io = s->cfg.io;
	int r;

	if (!s->cfg.read_only) {
		r = io_make_dir(io, s->path, 0700, err);
		if (r < 0)
			return r;
	}
	s->dirfd = io->ops->open(io, AT_FDCWD, s->path,
				 O_RDONLY | O_DIRECTORY, 0);
	if (s->dirfd < 0)
		return failed(s, s->dirfd, "cannot-open", "open", err);
	return 0;
}

static int take_lock(struct store *s, struct err *err)
{
	struct io *io = s->cfg.io;
	int r;

	if (s->cfg.read_only || !io->ops->lock)
		return 0;
	s->lock_fd = io->ops->open(io, s->dirfd, LOCK_NAME,
				   O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return failed(s, s->lock_fd, "cannot-open", "open " LOCK_NAME,
			      err);
	r = io->ops->lock(io, s->lock_fd);
	if (r < 0) {
		failed(s, r, "store-busy", "lock", err);
		err_remedy(err, "another daemon is using it");
		return r;
	}
	return 0;
}

/*
 * Both directories are synced also when nothing is made here: what a process
 * that was killed had made may be in memory only, and what is written from now
 * on lies in it.
 */
static int open_volumes_dir(struct store *s, struct err *err)
{
	struct io *io = s->cfg.io;
	int r;

	if (!s->cfg.read_only) {
		r = io->ops->mkdirat(io, s->dirfd, VOLUMES_NAME, 0700);
		if (r == 0 || r == -EEXIST)
			r = io->ops->fsync(io, s->dirfd);
		if (r < 0)
			return failed(s, r, "cannot-create",
				      "create " VOLUMES_NAME, err);
	}
	s->volumes_fd = io->ops->open(io, s->dirfd, VOLUMES_NAME,
				      O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (s->volumes_fd < 0)
		return failed(s, s->volumes_fd, "cannot-open",
			      "open " VOLUMES_NAME, err);
	r = s->cfg.read_only ? 0 : io->ops->fsync(io, s->volumes_fd);
	return r < 0 ? failed(s, r, "cannot-open", "fsync " VOLUMES_NAME,
			      err) : 0;
}

int store_add_volume(struct store *s, struct volume *v)
{
	void *p = realloc(s->volumes, (s->n_volumes + 1) * sizeof(v));

	if (!p)
		return -ENOMEM;
	s->volumes = p;
	s->volumes[s->n_volumes++] = v;
	return 0;
}

struct volume *store_find_volume(struct store *s, const struct uuid *uuid)
{
	size_t i;

	for (i = 0; i < s->n_volumes; i++)
		if (!s->volumes[i]->removed &&
		    uuid_equal(&s->volumes[i]->row.uuid, uuid))
			return s->volumes[i];
	return NULL;
}

int volume_open_dir(struct volume *v)
{
	struct io *io = v->store->cfg.io;
	char name[UUID_TEXT_SIZE];

	uuid_format(&v->row.uuid, name);
	v->dirfd = io->ops->open(io, v->store->volumes_fd, name,
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return v->dirfd < 0 ? v->dirfd : 0;
}

static int load_volume(struct store *s, const struct cat_volume *row,
		       struct err *err)
{
	struct volume *v = volume_new(s, &row->uuid);
	struct err why = ERR_INIT;
	int r;

	if (!v || store_add_volume(s, v) < 0) {
		volume_free(v);
		return failed(s, -ENOMEM, "no-memory", "open", err);
	}
	v->row = *row;
	r = volume_open_dir(v);
	if (r < 0 && r != -ENOENT)
		return failed(s, r, "cannot-open", "open a volume's directory",
			      err);
	r = volume_recover(v, &why);
	if (r == -ENOMEM || r == -ENOSPC) {
		err_copy(err, &why);
		return r;
	}
	/* One volume's damage must not keep the others from being served. */
	if (r < 0)
		log_failure(LOG_LEVEL_ERR, &why);
	return 0;
}

static int load_listed_volumes(struct store *s, struct err *err)
{
	struct cat_volumes all;
	size_t i;
	int r;

	r = catalog_volumes(s->catalog, &all, err);
	for (i = 0; r == 0 && i < all.n; i++)
		r = load_volume(s, &all.v[i], err);
	free(all.v);
	return r;
}

struct names {
	struct store *s;
	struct err *err;
};

/* A directory that the catalog does not know: its segments may tell. */
static int on_directory(void *arg, const char *name)
{
	struct names *n = arg;
	struct cat_volume row = { 0 };
	char again[UUID_TEXT_SIZE];
	struct volume *v;

	if (uuid_parse(name, &row.uuid) == 0)
		uuid_format(&row.uuid, again);
	else
		again[0] = 0;
	if (strcmp(name, again) && removed_name(name, &row.uuid))
		return 0;
	if (strcmp(name, again)) {
		log_warn("%s: volumes/%s is no volume: left alone",
			 n->s->path, name);
		return 0;
	}
	if (store_find_volume(n->s, &row.uuid))
		return 0;
	if (load_volume(n->s, &row, n->err) < 0)
		return n->err->num ? n->err->num : -EIO;
	v = n->s->volumes[n->s->n_volumes - 1];
	/* One that cannot be read now stays, without a name: nobody may begin
	 * it anew where its points lie. */
	if (!v->row.id && (!v->broken || v->why.num == -EBADMSG)) {
		log_warn("%s: volumes/%s holds no segment of this store: left "
			 "alone", n->s->path, name);
		n->s->n_volumes--;
		volume_free(v);
	}
	return 0;
}

static int open_store(struct store *s, const struct store_prelude *prelude,
		      struct err *err)
{
	struct names names = { s, err };
	int r;

	r = open_directory(s, err);
	if (r == 0)
		r = take_lock(s, err);
	if (r == 0)
		r = read_meta(s, err);
	if (r == 0)
		r = open_volumes_dir(s, err);
	if (r == 0 && prelude)
		r = prelude->run(s, prelude->arg, err);
	if (r == 0 && !s->cfg.read_only)
		r = catalog_finish_aside(s->cfg.io, s->dirfd, s->path, err);
	if (r == 0)
		r = catalog_open(&(struct catalog_config){
					 .path = s->path,
					 .io = s->cfg.io,
					 .read_only = s->cfg.read_only,
				 }, &s->catalog, err);
	if (r < 0)
		return r;
	if (!s->cfg.read_only) {
		reserve_init(&s->reserve, s->cfg.io, s->dirfd,
			     s->cfg.reserve_bytes);
		/* A full disk must not keep what is there from being read. */
		(void)reserve_take(&s->reserve);
	}
	r = store_forget_removed(s, err);
	if (r == 0)
		r = load_listed_volumes(s, err);
	if (r == 0)
		r = s->cfg.io->ops->listdir(s->cfg.io, s->volumes_fd, ".",
					    on_directory, &names);
	return r < 0 ? failed(s, r, "cannot-open", "open", err) : 0;
}

int store_open_after(const struct store_config *cfg,
		     const struct store_prelude *prelude, struct store **out,
		     struct err *err)
{
	struct store *s = calloc(1, sizeof(*s));
	struct err why = ERR_INIT;
	int r;

	if (!s)
		return err_sys(err, -ENOMEM, "no-memory", "store", "open");
	s->cfg = *cfg;
	s->dirfd = s->volumes_fd = s->lock_fd = -1;
	if (!s->cfg.segment_bytes)
		s->cfg.segment_bytes = STORE_SEGMENT_BYTES;
	if (!s->cfg.reserve_bytes)
		s->cfg.reserve_bytes = STORE_RESERVE_BYTES;
	pthread_mutex_init(&s->lock, NULL);
	s->path = strdup(cfg->path);
	s->cfg.path = s->path;
	r = s->path ? open_store(s, prelude, &why) : -ENOMEM;
	if (r < 0) {
		err_sys(&why, r, "no-memory", "store", "open");
		err_copy(err, &why);
		store_close(s);
		return r;
	}
	*out = s;
	return 0;
}

int store_open(const struct store_config *cfg, struct store **out,
	       struct err *err)
{
	return store_open_after(cfg, NULL, out, err);
}

static void close_fd(struct store *s, int fd)
{
	if (fd >= 0)
		(void)s->cfg.io->ops->close(s->cfg.io, fd);
}

void store_close(struct store *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n_volumes; i++)
		volume_free(s->volumes[i]);
	free(s->volumes);
	catalog_close(s->catalog);
	reserve_destroy(&s->reserve);
	close_fd(s, s->volumes_fd);
	close_fd(s, s->dirfd);
	close_fd(s, s->lock_fd);
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
}
