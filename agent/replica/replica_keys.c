// SPDX-License-Identifier: Apache-2.0
/*
 * Escrowed volume keys: <state>/keys/<uuid>.key, mode 0600, in a directory of
 * mode 0700 that is not inside the store: who copies the store away has no
 * key, and the store's code never sees one.
 *
 * A key once kept is what the points held here can be opened with. What a
 * source or an operator hands in later is joined with it: generations that are
 * lacking are added, none is ever dropped, and one that says something else
 * than what is kept is refused.
 *
 * Any thread; keys_lock serialises changes. What survives a crash: the old or
 * the new file, by io_replace_file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "replica/replica_internal.h"
#include "wire/seal.h"

struct key_file {
	struct volume_key key;
	char name[65];
	struct uuid volume;
};

static void key_file_wipe(struct key_file *f)
{
	volume_key_wipe(&f->key);
}

#define _cleanup_key_file_ _cleanup_(key_file_wipe)

static char *key_path(struct replica *r, const struct uuid *volume)
{
	char text[UUID_TEXT_SIZE];
	char *path;

	uuid_format(volume, text);
	return asprintf(&path, "%s/%s.key", r->keys_dir, text) < 0 ? NULL :
								      path;
}

int keys_open(struct replica *r, struct err *err)
{
	if (asprintf(&r->keys_dir, "%s/keys", r->state_dir) < 0) {
		r->keys_dir = NULL;
		return err_set(err, -ENOMEM, "no-memory", "keys",
			       "out of memory");
	}
	return io_make_dir(r->env.io, r->keys_dir, 0700, err);
}

/* 0, -ENOENT, or another failure that is told. */
static int key_load(struct replica *r, const struct uuid *volume,
		    struct key_file *out, struct err *err)
{
	_cleanup_free_ char *path = key_path(r, volume);
	char *text = NULL;
	size_t len = 0;
	int n;

	if (!path)
		return err_set(err, -ENOMEM, "no-memory", "keys",
			       "out of memory");
	n = io_read_file(r->env.io, AT_FDCWD, path, KEY_TEXT_MAX, &text, &len);
	if (n == -ENOENT)
		return n;
	if (n < 0)
		return err_sys(err, n, "key-unreadable", path, "read the key");
	n = volume_key_from_text(text, len, &out->key, out->name, &out->volume,
				 err);
	OPENSSL_cleanse(text, len);
	free(text);
	if (n == 0 && !uuid_equal(&out->volume, volume))
		n = err_set(err, -EBADMSG, "bad-key", path,
			    "the file holds another volume's key");
	return n;
}

static int key_write(struct replica *r, const struct key_file *f,
		     struct err *err)
{
	_cleanup_free_ char *path = key_path(r, &f->volume);
	char text[KEY_TEXT_MAX];
	int n;

	if (!path)
		return err_set(err, -ENOMEM, "no-memory", "keys",
			       "out of memory");
	n = volume_key_to_text(&f->key, f->name, &f->volume, text,
			       sizeof(text));
	if (n >= 0)
		n = io_replace_file(r->env.io, AT_FDCWD, path, text, (size_t)n,
				    0600);
	OPENSSL_cleanse(text, sizeof(text));
	if (n < 0)
		return err_sys(err, n, "key-not-kept", path, "keep the key");
	return 0;
}

static int tell_conflict(const struct uuid *volume, uint32_t id,
			 struct err *err)
{
	char text[UUID_TEXT_SIZE], object[64];

	uuid_format(volume, text);
	snprintf(object, sizeof(object), "volume %s", text);
	err_set(err, -EEXIST, "key-conflict", object,
		"keep the key: a different key of this volume (generation %u) "
		"is kept already and opens the points held here: it stays", id);
	err_remedy(err, "find out why the source changed its key; move the "
			"file keys/%s.key of the replica's state aside only if "
			"its points may become unreadable", text);
	return -EEXIST;
}

/* Adds to what is kept: 0, or 1 when there was nothing new. */
static int join(struct replica *r, const struct key_file *given,
		struct err *err)
{
	_cleanup_key_file_ struct key_file have = { 0 };
	LOCK_SCOPE(&r->keys_lock);
	uint32_t id;
	int n;

	n = key_load(r, &given->volume, &have, err);
	if (n == -ENOENT)
		return key_write(r, given, err);
	if (n < 0)
		return n;
	id = volume_key_conflict(&have.key, &given->key);
	if (id)
		return tell_conflict(&given->volume, id, err);
	n = volume_key_merge(&have.key, &given->key);
	if (n < 0)
		return err_set(err, n, "key-limit", given->name,
			       "keep the key: it has too many generations");
	if (n)
		return key_write(r, &have, err);
	/* Whoever wrote it may have died before its name was durable. */
	n = io_sync_dir(r->env.io, AT_FDCWD, r->keys_dir);
	return n < 0 ? err_sys(err, n, "key-not-kept", r->keys_dir, "sync") :
		       1;
}

int keys_save(struct replica *r, const struct uuid *volume, const char *text,
	      size_t len, struct err *err)
{
	_cleanup_key_file_ struct key_file given = { 0 };
	int n;

	n = volume_key_from_text(text, len, &given.key, given.name,
				 &given.volume, err);
	if (n < 0)
		return n;
	if (!uuid_equal(&given.volume, volume))
		return err_set(err, -EINVAL, "bad-key", "key escrow",
			       "the key is another volume's");
	n = join(r, &given, err);
	return MIN(n, 0);
}

int replica_keep_key(struct replica *r, const struct uuid *volume,
		     const char *name, const struct volume_key *key,
		     struct err *err)
{
	_cleanup_key_file_ struct key_file given = { .volume = *volume,
						     .key = *key };

	snprintf(given.name, sizeof(given.name), "%s", name);
	return join(r, &given, err);
}

int keys_forget(struct replica *r, const struct uuid *volume)
{
	_cleanup_free_ char *path = key_path(r, volume);
	struct io *io = r->env.io;
	LOCK_SCOPE(&r->keys_lock);
	int n;

	if (!path)
		return -ENOMEM;
	n = io->ops->unlinkat(io, AT_FDCWD, path, 0);
	/* Gone, but perhaps not durably: who did it may have died. */
	if (n < 0 && n != -ENOENT)
		return n;
	return io_sync_dir(io, AT_FDCWD, r->keys_dir);
}

bool keys_has(struct replica *r, const struct uuid *volume)
{
	_cleanup_free_ char *path = key_path(r, volume);
	int fd;

	if (!path)
		return false;
	fd = r->env.io->ops->open(r->env.io, AT_FDCWD, path, O_RDONLY, 0);
	if (fd < 0)
		return false;
	(void)r->env.io->ops->close(r->env.io, fd);
	return true;
}

int replica_key(struct replica *r, const struct uuid *volume,
		struct volume_key *out, struct err *err)
{
	_cleanup_key_file_ struct key_file f = { 0 };
	char text[UUID_TEXT_SIZE], object[64];
	int n;

	n = key_load(r, volume, &f, err);
	if (n == 0)
		*out = f.key;
	if (n != -ENOENT)
		return n;
	uuid_format(volume, text);
	snprintf(object, sizeof(object), "volume %s", text);
	err_set(err, -ENOKEY, "no-key", object,
		"its key is not kept at this replica");
	err_remedy(err, "give the exported key with --key FILE, or run the "
			"command at the source");
	return -ENOKEY;
}
