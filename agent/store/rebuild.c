// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog made again.
 *
 *   1  with the store's lock: what the old catalog says of volumes and damage
 *      is noted, as far as it can be read
 *   2  it is put aside (catalog_aside.c)
 *   3  the store is opened as ever: without a catalog it makes one from the
 *      segments
 *   4  damage that was known, which no segment tells of, is noted again in
 *      volumes that have all their points
 *
 * Who dies before 2 has changed nothing; after it, the next process that opens
 * the store goes on with 3. In between nothing but names was changed. What 4
 * would have noted is found again by reading (a scrub).
 *
 * One thread.
 */
#include "store/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/inventory.h"
#include "store/storevol.h"

struct rebuild {
	struct rebuild_report *out;
	struct old_damage {
		struct damage *v;
		size_t n;
	} *damage;			/* by position in out->v; n_damage */
	size_t n_damage;
};

void rebuild_report_free(struct rebuild_report *r)
{
	free(TAKE_PTR(r->v));
	r->n = 0;
}

static void rebuild_end(struct rebuild *rb)
{
	size_t i;

	for (i = 0; i < rb->n_damage; i++)
		free(rb->damage[i].v);
	free(rb->damage);
}

static struct rebuilt_volume *add_volume(struct rebuild_report *out,
					 const struct uuid *uuid)
{
	void *p = reallocarray(out->v, out->n + 1, sizeof(*out->v));

	if (!p)
		return NULL;
	out->v = p;
	out->v[out->n] = (struct rebuilt_volume){ .uuid = *uuid };
	return &out->v[out->n++];
}

static struct rebuilt_volume *volume_of(struct rebuild_report *out,
					const struct uuid *uuid)
{
	size_t i;

	for (i = 0; i < out->n; i++)
		if (uuid_equal(&out->v[i].uuid, uuid))
			return &out->v[i];
	return add_volume(out, uuid);
}

/* ---- the old catalog ---- */

static int note_damage(struct rebuild *rb, struct catalog *c,
		       const struct uuid *uuid)
{
	struct old_damage *d;
	void *p = reallocarray(rb->damage, rb->n_damage + 1,
			       sizeof(*rb->damage));

	if (!p)
		return -ENOMEM;
	rb->damage = p;
	d = &rb->damage[rb->n_damage++];
	*d = (struct old_damage){ 0 };
	/* What cannot be read of it is found again by a scrub. */
	if (catalog_damages(c, uuid, &d->v, &d->n, NULL) < 0)
		*d = (struct old_damage){ 0 };
	return 0;
}

static int note_volume(struct rebuild *rb, struct catalog *c,
		       const struct cat_volume *row)
{
	struct rebuilt_volume *v = add_volume(rb->out, &row->uuid);

	if (!v)
		return -ENOMEM;
	memcpy(v->source, row->source, sizeof(v->source));
	memcpy(v->name, row->name, sizeof(v->name));
	v->was_known = true;
	v->points_before = row->n_points;
	return note_damage(rb, c, &row->uuid);
}

static int note_volumes(struct rebuild *rb, struct catalog *c)
{
	struct rebuild_report *out = rb->out;
	struct cat_volumes all;
	size_t i;
	int r;

	if (catalog_unusable(c)->num) {
		err_copy(&out->why_not, catalog_unusable(c));
		return 0;
	}
	r = catalog_volumes(c, &all, &out->why_not);
	out->old_was_read = r == 0;
	for (i = 0; r == 0 && i < all.n; i++)
		r = note_volume(rb, c, &all.v[i]);
	free(all.v);
	return r == -ENOMEM ? r : 0;
}

/* Read-only: on a private copy, so that nothing is repaired in it. */
static int look_at_old(struct rebuild *rb, struct store *s)
{
	const struct catalog_config cfg = {
		.path = s->path, .io = s->cfg.io, .read_only = true,
	};
	struct catalog *c = NULL;
	int r = catalog_open(&cfg, &c, &rb->out->why_not);

	if (r == 0)
		r = note_volumes(rb, c);
	catalog_close(c);
	return r == -ENOMEM ? r : 0;
}

static int has_catalog(void *arg, const char *name)
{
	*(bool *)arg |= !strcmp(name, CATALOG_NAME);
	return 0;
}

static int put_aside(struct store *s, void *arg, struct err *err)
{
	struct rebuild *rb = arg;
	struct io *io = s->cfg.io;
	bool there = false;
	int r = io->ops->listdir(io, s->dirfd, ".", has_catalog, &there);

	if (r < 0)
		return err_sys(err, r, "cannot-open", s->path, "list");
	if (there)
		r = look_at_old(rb, s);
	else
		err_set(&rb->out->why_not, -ENOENT, "no-catalog", s->path,
			"there is no %s", CATALOG_NAME);
	return r < 0 ? err_sys(err, r, "no-memory", s->path,
			       "read the catalog") :
		       catalog_put_aside(io, s->dirfd, s->path, rb->out->aside,
					 err);
}

/* ---- the new one ---- */

/* What damage was known; out->v begins with the volumes of rb->damage. */
static void take_damage_over(struct rebuild *rb, struct store *s)
{
	size_t i;

	for (i = 0; i < rb->n_damage; i++) {
		struct old_damage *d = &rb->damage[i];
		struct rebuilt_volume *rv = &rb->out->v[i];
		struct volume *v = store_volume(s, &rv->uuid);
		struct err why = ERR_INIT;
		int r;

		if (!d->n || !v || !rv->taken_up ||
		    rv->points_now < rv->points_before)
			continue;
		r = damage_add(v, d->v, d->n, &why);
		if (r < 0) {
			err_sys(&why, r, "catalog-failed", s->path,
				"note damage that was known");
			err_remedy(&why, "a scrub finds it again");
			log_failure(LOG_LEVEL_ERR, &why);
		}
	}
}

static int note_now(void *arg, const struct volume_info *info)
{
	struct rebuilt_volume *v = volume_of(arg, &info->uuid);

	if (!v)
		return -ENOMEM;
	memcpy(v->source, info->source, sizeof(v->source));
	memcpy(v->name, info->name, sizeof(v->name));
	v->taken_up = true;
	v->points_now = info->n_points;
	return 0;
}

static int note_broken(void *arg, const struct volume_info *info,
		       const struct err *why)
{
	struct rebuilt_volume *v = volume_of(arg, &info->uuid);

	if (!v)
		return -ENOMEM;
	/* Those that could be followed are there to be read. */
	v->points_now = info->n_points;
	v->taken_up = false;
	err_copy(&v->why, why);
	return 0;
}

/* A directory without a segment of this store; one that the old catalog had
 * no point of need not have a directory at all. */
static void note_absent(struct rebuild_report *out, const struct store *s)
{
	size_t i;

	for (i = 0; i < out->n; i++) {
		struct rebuilt_volume *v = &out->v[i];
		char text[UUID_TEXT_SIZE];

		if (v->taken_up || v->why.num)
			continue;
		uuid_format(&v->uuid, text);
		err_set(&v->why, -ENOENT, "no-segments", s->path,
			"volumes/%s has no segment of this store", text);
	}
}

static int compare(struct rebuild *rb, struct store *s)
{
	struct rebuild_report *out = rb->out;
	int r = store_volumes(s, note_now, out);

	if (r == 0)
		r = store_broken_volumes(s, note_broken, out);
	if (r < 0)
		return r;
	note_absent(out, s);
	take_damage_over(rb, s);
	return 0;
}

/* ---- the verdict ---- */

static bool is_worse(const struct rebuilt_volume *v)
{
	if (v->taken_up)
		return v->was_known && v->points_now < v->points_before;
	/* Without points there is nothing to miss. */
	return !v->was_known || v->points_before;
}

static int say_worse(const struct rebuild_report *out, const char *path,
		     const struct rebuilt_volume *v, size_t n, struct err *err)
{
	char object[VOLUME_OBJECT_BYTES], uuid[UUID_TEXT_SIZE];

	uuid_format(&v->uuid, uuid);
	if (v->name[0])
		(void)snprintf(object, sizeof(object), "volume %s/%s",
			       v->source, v->name);
	else
		(void)snprintf(object, sizeof(object), "volume %s", uuid);
	if (v->was_known)
		err_set(err, -ENODATA, "points-missing", object,
			"%" PRIu64 " points before, %" PRIu64 " now",
			v->points_before, v->points_now);
	else
		err_set(err, -ENODATA, "points-missing", object,
			"could not be taken up");
	if (n > 1)
		err_done(err, "and so %zu more volumes", n - 1);
	if (!out->aside[0])
		return err_remedy(err, "`understudyctl store check` says what "
				       "is damaged");
	err_done(err, "the catalog as it was is %s/%s", path, out->aside);
	return err_remedy(err,
			  "to go back, before a daemon is started: take "
			  "catalog.db, -wal and -shm away and rename %s, "
			  "%s-wal and %s-shm to these names (as many as there "
			  "are)", out->aside, out->aside, out->aside);
}

static int judge(const struct rebuild_report *out, const char *path,
		 struct err *err)
{
	const struct rebuilt_volume *first = NULL;
	size_t i, n = 0;

	for (i = 0; i < out->n; i++) {
		if (!is_worse(&out->v[i]))
			continue;
		first = first ? first : &out->v[i];
		n++;
	}
	return first ? say_worse(out, path, first, n, err) : 0;
}

/* store_open would make a store where there is none. */
static int is_a_store(const struct store_config *cfg, struct err *err)
{
	struct io *io = cfg->io;
	_cleanup_free_ char *bytes = NULL;
	size_t n;
	int r, fd;

	fd = io->ops->open(io, AT_FDCWD, cfg->path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return err_sys(err, fd, "cannot-open", cfg->path, "open");
	r = io_read_file(io, fd, "store.meta", 4096, &bytes, &n);
	(void)io->ops->close(io, fd);
	if (r == -ENOENT)
		return err_set(err, r, "not-a-store", cfg->path,
			       "there is no store.meta in it");
	return r < 0 ? err_sys(err, r, "cannot-open", cfg->path,
			       "read store.meta") : 0;
}

static int failed(const struct rebuild *rb, struct err *why, struct err *err)
{
	if (!strcmp(why->code, "store-busy")) {
		why->num = -EBUSY;
		err_remedy(why, "stop the daemon that uses it first");
	} else if (rb->out->aside[0]) {
		err_done(why, "the catalog as it was is %s", rb->out->aside);
		if (!why->remedy[0])
			err_remedy(why, "repeat it when the cause is gone: "
					"the next start makes a catalog, too");
	}
	err_copy(err, why);
	return why->num;
}

int store_rebuild_catalog(const struct store_config *cfg,
			  struct rebuild_report *out, struct err *err)
{
	struct rebuild rb = { .out = out };
	const struct store_prelude prelude = { put_aside, &rb };
	struct err why = ERR_INIT;
	struct store *s = NULL;
	int r;

	memset(out, 0, sizeof(*out));
	r = is_a_store(cfg, &why);
	if (r == 0)
		r = store_open_after(cfg, &prelude, &s, &why);
	if (r == 0)
		r = compare(&rb, s);
	if (r < 0) {
		err_sys(&why, r, "no-memory", cfg->path, "make the catalog");
		r = failed(&rb, &why, err);
	} else {
		r = judge(out, cfg->path, err);
	}
	store_close(s);
	rebuild_end(&rb);
	return r;
}
