// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's state that goes, or makes room for another one.
 *
 * It goes by one rename, to "<uuid>.removed": before it the volume is whole,
 * after it there is none, whatever is left of its files. What takes its place
 * is complete but for volume.json before that rename, so that a death in
 * between leaves no volume of that name and never two; the operator's command
 * can be given again.
 *
 * One thread per volume; sweeping is harmless at any time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "source/volstate.h"

#define REMOVED ".removed"

/* Of what it names, everything there is; a rest is swept another time. */
static void purge(struct io *io, const char *dir)
{
	static const char *const files[] = { "key",	 "key.tmp",
					     "acked",	 "volume.json",
					     "volume.json.tmp" };
	char path[700];
	size_t i;
	int r;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		(void)io->ops->unlinkat(io, AT_FDCWD, path, 0);
	}
	r = io->ops->unlinkat(io, AT_FDCWD, dir, AT_REMOVEDIR);
	if (r < 0 && r != -ENOENT)
		log_warn("%s: remove: %s", dir, strerror(-r));
}

static void parent_of(const struct volstate *v, char out[600])
{
	char *slash;

	(void)snprintf(out, 600, "%s", v->dir);
	slash = strrchr(out, '/');
	if (slash)
		*slash = '\0';
}

static int sync_dir(struct io *io, const char *dir)
{
	int fd = io->ops->open(io, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : io->ops->fsync(io, fd);

	if (fd >= 0)
		(void)io->ops->close(io, fd);
	return r;
}

int volstate_remove(const struct volstate *v, struct err *err)
{
	char gone[700], volumes[600];
	int r;

	parent_of(v, volumes);
	(void)snprintf(gone, sizeof(gone), "%s" REMOVED, v->dir);
	/* A name that an earlier removal left is in the way. */
	purge(v->io, gone);
	r = v->io->ops->renameat(v->io, AT_FDCWD, v->dir, AT_FDCWD, gone);
	if (r >= 0)
		r = sync_dir(v->io, volumes);
	if (r < 0) {
		err_sys(err, r, "state-unwritable", v->dir,
			"remove the volume's state");
		return err_remedy(err, "make %s writable", volumes);
	}
	purge(v->io, gone);
	return 0;
}

static void move_to(struct volstate *v, const struct uuid *uuid,
		    const struct volume_key *key)
{
	char text[UUID_TEXT_SIZE], volumes[600];

	parent_of(v, volumes);
	uuid_format(uuid, text);
	(void)snprintf(v->dir, sizeof(v->dir), "%.560s/%s", volumes, text);
	v->uuid = *uuid;
	v->key = *key;
	v->epoch = 1;
	v->acked_fd = -1;
	v->acked_turn = 0;
	v->intent_seq = 0;
	v->intent_flip_wall_ns = 0;
	memset(&v->acked, 0, sizeof(v->acked));
	v->sw.key_exported_id = v->sw.key_escrowed_id = 0;
	v->sw.resync = false;
	memset(&v->sw.audit, 0, sizeof(v->sw.audit));
}

/* What is there already is a volume's, or what a death has left. */
static int check_free(const struct volstate *v, struct err *err)
{
	char path[700];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/volume.json", v->dir);
	fd = v->io->ops->open(v->io, AT_FDCWD, path, O_RDONLY, 0);
	if (fd == -ENOENT)
		return 0;
	if (fd >= 0)
		(void)v->io->ops->close(v->io, fd);
	err_set(err, -EEXIST, "key-conflict", v->name,
		"the key is that of another volume of this host: %s", v->dir);
	err_remedy(err, "give that one its name in the configuration again, "
			"or remove it");
	return -EEXIST;
}

int volstate_adopt(struct volstate *v, const struct uuid *uuid,
		   const struct volume_key *key, struct err *err)
{
	struct volstate next = *v;
	int r;

	move_to(&next, uuid, key);
	r = check_free(&next, err);
	if (!r)
		r = volstate_write_files(&next, err);
	if (!r)
		r = volstate_remove(v, err);
	/* Now there is none; a failure leaves it so until it is repeated. */
	if (!r)
		r = volstate_save(&next, &next.sw, err);
	if (r) {
		if (next.acked_fd >= 0)
			(void)v->io->ops->close(v->io, next.acked_fd);
		volume_key_wipe(&next.key);
		return r;
	}
	(void)v->io->ops->close(v->io, v->acked_fd);
	*v = next;
	volume_key_wipe(&next.key);
	return 0;
}

/* ---- sweeping ---- */

struct sweep {
	struct io *io;
	const char *volumes;
};

/* A directory that is read while names go may tell one twice or not at all. */
static int sweep_one(void *arg, const char *entry)
{
	struct sweep *s = arg;
	size_t n = strlen(entry), tail = strlen(REMOVED);
	char dir[700];

	if (n <= tail || strcmp(entry + n - tail, REMOVED))
		return 0;
	(void)snprintf(dir, sizeof(dir), "%s/%s", s->volumes, entry);
	purge(s->io, dir);
	return 0;
}

void volstate_sweep(struct io *io, const char *state_dir)
{
	char volumes[512];
	struct sweep s = { .io = io, .volumes = volumes };

	(void)snprintf(volumes, sizeof(volumes), "%s/volumes", state_dir);
	(void)io->ops->listdir(io, AT_FDCWD, volumes, sweep_one, &s);
}
