// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's state on disk. See volstate.h for the files.
 *
 * acked record, 512 bytes, little endian:
 *   0 8 magic "USACKED1"   8 8 turn (the higher valid one counts)
 *  16 8 epoch   24 8 seq   32 8 flip wall time (ns)   40 32 head
 *  72 8 XXH3-64 of the bytes before   80 8 kind of the point
 *  88 8 XXH3-64 of the bytes before: zeros, when the kind is not known
 * intent record, at 1024, 512 bytes: 0 8 magic "USINTNT1"  8 8 seq
 *  16 8 flip wall time (ns)  24 8 XXH3-64 of the bytes before  32 8 kind of
 *  the point   40 8 XXH3-64 of the bytes before
 *
 * The record is preallocated and overwritten in place: no space is needed and
 * one fdatasync is enough. One thread.
 */
#include "source/volstate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/units.h"

#define ACKED_MAGIC "USACKED1"
#define ACKED_BYTES 512U
#define ACKED_SUM_OFF 72U
#define ACKED_KIND_OFF 80U
#define INTENT_MAGIC "USINTNT1"
#define INTENT_OFF (2 * ACKED_BYTES)
#define INTENT_SUM_OFF 24U
#define INTENT_KIND_OFF 32U
#define STATE_FILE_MAX (64U << 10)
#define VOLUME_FORMAT 1

/* ---- acked ---- */

/* Behind what older versions know of a record, with a sum of its own. */
static void kind_encode(enum point_kind kind, uint32_t off, uint8_t *out)
{
	put_le64(out + off, kind);
	put_le64(out + off + 8, XXH3_64bits(out, off + 8));
}

static bool kind_decode(const uint8_t *in, uint32_t off, enum point_kind *kind)
{
	uint64_t k = get_le64(in + off);

	if (k > POINT_FINAL ||
	    get_le64(in + off + 8) != XXH3_64bits(in, off + 8))
		return false;
	*kind = (enum point_kind)k;
	return true;
}

static void acked_encode(const struct acked *a, uint64_t turn,
			 uint8_t out[ACKED_BYTES])
{
	memset(out, 0, ACKED_BYTES);
	memcpy(out, ACKED_MAGIC, 8);
	put_le64(out + 8, turn);
	put_le64(out + 16, a->epoch);
	put_le64(out + 24, a->seq);
	put_le64(out + 32, (uint64_t)a->flip_wall_ns);
	memcpy(out + 40, a->head.b, WIRE_HEAD_BYTES);
	put_le64(out + ACKED_SUM_OFF, XXH3_64bits(out, ACKED_SUM_OFF));
	if (a->has_kind)
		kind_encode(a->kind, ACKED_KIND_OFF, out);
}

static bool acked_decode(const uint8_t *in, struct acked *a, uint64_t *turn)
{
	if (memcmp(in, ACKED_MAGIC, 8) ||
	    get_le64(in + ACKED_SUM_OFF) != XXH3_64bits(in, ACKED_SUM_OFF))
		return false;
	*turn = get_le64(in + 8);
	a->epoch = get_le64(in + 16);
	a->seq = get_le64(in + 24);
	a->flip_wall_ns = (int64_t)get_le64(in + 32);
	memcpy(a->head.b, in + 40, WIRE_HEAD_BYTES);
	a->valid = a->seq != 0;
	a->has_kind = kind_decode(in, ACKED_KIND_OFF, &a->kind);
	return true;
}

static int acked_read(struct volstate *v)
{
	uint8_t raw[2 * ACKED_BYTES];
	struct acked a;
	uint64_t turn;
	unsigned int i;
	int r;

	r = io_pread_all(v->io, v->acked_fd, raw, sizeof(raw), 0);
	if (r)
		return r;
	memset(&v->acked, 0, sizeof(v->acked));
	v->acked_turn = 0;
	for (i = 0; i < 2; i++) {
		memset(&a, 0, sizeof(a));
		if (acked_decode(raw + i * ACKED_BYTES, &a, &turn) &&
		    turn > v->acked_turn) {
			v->acked = a;
			v->acked_turn = turn;
		}
	}
	/* Two unreadable records are not "nothing acknowledged". */
	return v->acked_turn ? 0 : -EBADMSG;
}

static int acked_write(struct volstate *v, const struct acked *a)
{
	uint64_t turn = v->acked_turn + 1;
	uint8_t raw[ACKED_BYTES];
	int r;

	acked_encode(a, turn, raw);
	r = io_pwrite_all(v->io, v->acked_fd, raw, sizeof(raw),
			  (turn & 1) * ACKED_BYTES);
	if (!r)
		r = v->io->ops->fdatasync(v->io, v->acked_fd);
	/* Also after a failure: the other record must not be the next victim
	 * while this one may be torn. */
	if (!r)
		v->acked_turn = turn;
	return r;
}

int volstate_save_acked(struct volstate *v, const struct acked *a,
			struct err *err)
{
	int r = acked_write(v, a);

	if (r) {
		err_sys(err, r, "state-unwritable", v->dir,
			"remember acknowledged point %llu",
			(unsigned long long)a->seq);
		err_done(err, "shipping stops, nothing pending is cleared");
		return err_remedy(err, "make room or make %s writable",
				  v->dir);
	}
	v->acked = *a;
	return 0;
}

int volstate_save_intent(struct volstate *v, uint64_t seq,
			 int64_t flip_wall_ns, enum point_kind kind,
			 struct err *err)
{
	uint8_t raw[ACKED_BYTES] = { 0 };
	int r;

	memcpy(raw, INTENT_MAGIC, 8);
	put_le64(raw + 8, seq);
	put_le64(raw + 16, (uint64_t)flip_wall_ns);
	put_le64(raw + INTENT_SUM_OFF, XXH3_64bits(raw, INTENT_SUM_OFF));
	kind_encode(kind, INTENT_KIND_OFF, raw);
	r = io_pwrite_all(v->io, v->acked_fd, raw, sizeof(raw), INTENT_OFF);
	if (r) {
		err_sys(err, r, "state-unwritable", v->dir,
			"note the commit of point %llu",
			(unsigned long long)seq);
		return err_remedy(err, "make room or make %s writable",
				  v->dir);
	}
	v->intent_seq = seq;
	v->intent_flip_wall_ns = flip_wall_ns;
	v->intent_has_kind = true;
	v->intent_kind = kind;
	return 0;
}

/* Anything but a sound record is "none known", which is the safe answer. */
static void intent_read(struct volstate *v)
{
	uint8_t raw[ACKED_BYTES];

	v->intent_seq = 0;
	if (io_pread_all(v->io, v->acked_fd, raw, sizeof(raw), INTENT_OFF) ||
	    memcmp(raw, INTENT_MAGIC, 8) ||
	    get_le64(raw + INTENT_SUM_OFF) !=
		    XXH3_64bits(raw, INTENT_SUM_OFF))
		return;
	v->intent_seq = get_le64(raw + 8);
	v->intent_flip_wall_ns = (int64_t)get_le64(raw + 16);
	v->intent_has_kind = kind_decode(raw, INTENT_KIND_OFF,
					 &v->intent_kind);
}

static int acked_create(struct volstate *v)
{
	uint8_t zero[3 * ACKED_BYTES] = { 0 };
	const struct acked none = { 0 };
	char path[700];
	int r;

	(void)snprintf(path, sizeof(path), "%s/acked", v->dir);
	/* Of a creation that was cut off. */
	(void)v->io->ops->unlinkat(v->io, AT_FDCWD, path, 0);
	v->acked_fd = v->io->ops->open(v->io, AT_FDCWD, path,
				       O_RDWR | O_CREAT | O_EXCL, 0600);
	if (v->acked_fd < 0)
		return v->acked_fd;
	r = io_pwrite_all(v->io, v->acked_fd, zero, sizeof(zero), 0);
	return r ? r : acked_write(v, &none);
}

/* ---- volume.json ---- */

static json_t *device_to_json(const struct blkdev_id *d)
{
	return json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s}", "size_bytes",
			 (json_int_t)d->size_bytes, "kind", d->kind, "wwn",
			 d->wwn, "serial", d->serial, "partuuid", d->partuuid,
			 "dm_uuid", d->dm_uuid, "backing_file",
			 d->backing_file);
}

static json_t *audit_to_json(const struct audit_mark *m)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:b}", "proven_ns",
			 (json_int_t)m->proven_wall_ns, "lap_ns",
			 (json_int_t)m->lap_wall_ns, "next_block",
			 (json_int_t)m->next_block, "size_bytes",
			 (json_int_t)m->size_bytes, "partial", m->is_partial);
}

/* Whatever is not plainly there is not proven. */
static void audit_from_json(json_t *o, struct audit_mark *m)
{
	json_int_t next = json_integer_value(json_object_get(o, "next_block"));

	memset(m, 0, sizeof(*m));
	m->proven_wall_ns = json_integer_value(json_object_get(o, "proven_ns"));
	m->lap_wall_ns = json_integer_value(json_object_get(o, "lap_ns"));
	m->next_block = next > 0 && m->lap_wall_ns > 0 ? (uint64_t)next : 0;
	m->size_bytes = (uint64_t)json_integer_value(
		json_object_get(o, "size_bytes"));
	m->is_partial = !json_is_false(json_object_get(o, "partial"));
	if (m->proven_wall_ns < 0 || m->lap_wall_ns < 0)
		memset(m, 0, sizeof(*m));
}

int volstate_save(const struct volstate *v, const struct volstate_switches *sw,
		  struct err *err)
{
	char uuid[UUID_TEXT_SIZE], path[700];
	_cleanup_free_ char *text = NULL;
	json_t *o;
	int r;

	uuid_format(&v->uuid, uuid);
	o = json_pack("{s:i,s:s,s:s,s:I,s:I,s:b,s:I,s:I,s:b}", "format",
		      VOLUME_FORMAT, "name", v->name, "uuid", uuid, "epoch",
		      (json_int_t)v->epoch, "block_bytes",
		      (json_int_t)v->block_bytes, "paused", sw->paused,
		      "key_exported_id", (json_int_t)sw->key_exported_id,
		      "key_escrowed_id", (json_int_t)sw->key_escrowed_id,
		      "resync", sw->resync);
	if (o && sw->differs)
		(void)json_object_set_new(o, "differs", json_true());
	if (o && sw->audit.lap_wall_ns)
		(void)json_object_set_new(o, "audit",
					  audit_to_json(&sw->audit));
	if (o && sw->has_device)
		(void)json_object_set_new(o, "device",
					  device_to_json(&sw->device));
	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	json_decref(o);
	if (!text)
		return err_sys(err, -ENOMEM, "no-memory", v->name,
			       "save state");
	(void)snprintf(path, sizeof(path), "%s/volume.json", v->dir);
	r = io_replace_file(v->io, AT_FDCWD, path, text, strlen(text), 0600);
	if (r)
		err_sys(err, r, "state-unwritable", v->dir, "save state");
	return r;
}

static void copy_str(json_t *o, const char *key, char *out, size_t cap)
{
	const char *s = json_string_value(json_object_get(o, key));

	(void)snprintf(out, cap, "%s", s ? s : "");
}

static void device_from_json(json_t *o, struct blkdev_id *d)
{
	d->size_bytes = (uint64_t)json_integer_value(
		json_object_get(o, "size_bytes"));
	copy_str(o, "kind", d->kind, sizeof(d->kind));
	copy_str(o, "wwn", d->wwn, sizeof(d->wwn));
	copy_str(o, "serial", d->serial, sizeof(d->serial));
	copy_str(o, "partuuid", d->partuuid, sizeof(d->partuuid));
	copy_str(o, "dm_uuid", d->dm_uuid, sizeof(d->dm_uuid));
	copy_str(o, "backing_file", d->backing_file, sizeof(d->backing_file));
}

/* Anything but a generation is none. */
static uint32_t id_from_json(json_t *o, const char *key)
{
	json_int_t id = json_integer_value(json_object_get(o, key));

	return id > 0 && id <= (json_int_t)UINT32_MAX ? (uint32_t)id : 0;
}

/* 0; -ENOENT when the file is not there; -EBADMSG when it is not ours. */
static int state_load(struct volstate *v)
{
	_cleanup_free_ char *text = NULL;
	char path[700], uuid[64];
	json_t *o, *d;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/volume.json", v->dir);
	r = io_read_file(v->io, AT_FDCWD, path, STATE_FILE_MAX, &text, &len);
	if (r)
		return r;
	o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	copy_str(o, "name", v->name, sizeof(v->name));
	copy_str(o, "uuid", uuid, sizeof(uuid));
	v->epoch = (uint64_t)json_integer_value(json_object_get(o, "epoch"));
	v->block_bytes = (uint64_t)json_integer_value(
		json_object_get(o, "block_bytes"));
	v->sw.paused = json_is_true(json_object_get(o, "paused"));
	v->sw.key_exported_id = id_from_json(o, "key_exported_id");
	v->sw.key_escrowed_id = id_from_json(o, "key_escrowed_id");
	/* Written before there were generations. */
	if (json_is_true(json_object_get(o, "key_exported")))
		v->sw.key_exported_id = 1;
	v->sw.resync = json_is_true(json_object_get(o, "resync"));
	v->sw.differs = json_is_true(json_object_get(o, "differs"));
	audit_from_json(json_object_get(o, "audit"), &v->sw.audit);
	d = json_object_get(o, "device");
	v->sw.has_device = json_is_object(d);
	if (v->sw.has_device)
		device_from_json(d, &v->sw.device);
	r = json_integer_value(json_object_get(o, "format")) ==
			    VOLUME_FORMAT &&
			    name_is_valid(v->name) && v->epoch &&
			    !uuid_parse(uuid, &v->uuid)
		    ? 0
		    : -EBADMSG;
	json_decref(o);
	return r;
}

/* ---- key ---- */

static int key_write(const struct volstate *v, const struct volume_key *key)
{
	char text[KEY_TEXT_MAX], path[700];
	int n, r;

	n = volume_key_to_text(key, v->name, &v->uuid, text, sizeof(text));
	if (n < 0)
		return n;
	(void)snprintf(path, sizeof(path), "%s/key", v->dir);
	r = io_replace_file(v->io, AT_FDCWD, path, text, (size_t)n, 0600);
	OPENSSL_cleanse(text, sizeof(text));
	return r;
}

int volstate_save_key(const struct volstate *v, const struct volume_key *key,
		      struct err *err)
{
	int r = key_write(v, key);

	if (r) {
		err_sys(err, r, "state-unwritable", v->dir, "save the key");
		err_done(err, "the former key stays in use");
		return err_remedy(err, "make room or make %s writable", v->dir);
	}
	return 0;
}

static int key_load(struct volstate *v, struct err *err)
{
	char path[700], name[65];
	struct uuid uuid;
	char *text = NULL;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/key", v->dir);
	r = io_read_file(v->io, AT_FDCWD, path, KEY_TEXT_MAX, &text, &len);
	if (r)
		return err_sys(err, r, "no-key", path, "read volume key");
	r = volume_key_from_text(text, len, &v->key, name, &uuid, err);
	OPENSSL_cleanse(text, len);
	free(text);
	if (!r && !uuid_equal(&uuid, &v->uuid))
		r = err_set(err, -EBADMSG, "wrong-key", path,
			    "the key is of another volume");
	return r;
}

/* ---- opening ---- */

/*
 * A volume is made under "<uuid>.new" and gets its name when it is whole: what
 * has that name was cut off, and nobody has its key yet.
 */
#define NEW_SUFFIX ".new"

static bool is_unfinished(const char *entry)
{
	size_t n = strlen(entry), tail = strlen(NEW_SUFFIX);
	char uuid[UUID_TEXT_SIZE];
	struct uuid u;

	if (n != UUID_TEXT_SIZE - 1 + tail ||
	    strcmp(entry + n - tail, NEW_SUFFIX) != 0)
		return false;
	memcpy(uuid, entry, n - tail);
	uuid[n - tail] = '\0';
	return !uuid_parse(uuid, &u);
}

static void unlink_in(struct io *io, const char *dir, const char *name)
{
	char path[700];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)io->ops->unlinkat(io, AT_FDCWD, path, 0);
}

/* What cannot be removed is in nobody's way. */
static void remove_unfinished(struct io *io, const char *dir)
{
	static const char *const names[] = { "key.tmp", "key", "acked",
					     "volume.json.tmp", "volume.json" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink_in(io, dir, names[i]);
	(void)io->ops->unlinkat(io, AT_FDCWD, dir, AT_REMOVEDIR);
}

struct search {
	struct volstate *v;
	const char *volumes;
	const char *name;
	bool sweeps;			/* removes what was not finished */
	unsigned int n_found;		/* of that name */
	char bad[600];			/* directory that stopped the search */
};

/* One directory under volumes/. Nothing of the others must stay in what may
 * become a new volume. */
static int examine(void *arg, const char *entry)
{
	struct search *s = arg;
	struct volstate found = { .io = s->v->io, .acked_fd = -1 };
	struct uuid u;
	int r;

	(void)snprintf(found.dir, sizeof(found.dir), "%s/%s", s->volumes,
		       entry);
	if (s->sweeps && is_unfinished(entry))
		remove_unfinished(s->v->io, found.dir);
	if (uuid_parse(entry, &u))
		return 0;
	r = state_load(&found);
	/* A directory without a state file is no volume. One that cannot be
	 * read may be the very volume: never made anew. */
	if (r == -ENOENT)
		return 0;
	if (!r && !uuid_equal(&found.uuid, &u))
		r = -EBADMSG;
	if (!r && strcmp(found.name, s->name) != 0)
		return 0;
	if (!r && s->n_found++)
		r = -EEXIST;
	if (r) {
		(void)snprintf(s->bad, sizeof(s->bad), "%s", found.dir);
		return r;
	}
	*s->v = found;
	return 0;
}

/* The name comes last: only then is the volume there. */
static int give_name(struct volstate *v, const char *volumes,
		     const char *uuid, struct err *err)
{
	char dir[sizeof(v->dir)];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/%s", volumes, uuid);
	r = v->io->ops->renameat(v->io, AT_FDCWD, v->dir, AT_FDCWD, dir);
	if (r)
		return err_sys(err, r, "state-unwritable", dir,
			       "create volume state");
	memcpy(v->dir, dir, sizeof(dir));
	/* It is there: this makes its name durable. */
	return io_make_dir(v->io, dir, 0700, err);
}

static int create(struct volstate *v, struct rnd *rnd, const char *volumes,
		  const char *name, struct err *err)
{
	char uuid[UUID_TEXT_SIZE];
	int r;

	(void)snprintf(v->name, sizeof(v->name), "%s", name);
	v->epoch = 1;
	r = uuid_new(rnd, &v->uuid);
	if (!r)
		r = volume_key_new(rnd, 1, &v->key);
	if (r)
		return err_sys(err, r, "no-random", name, "make identity");
	uuid_format(&v->uuid, uuid);
	(void)snprintf(v->dir, sizeof(v->dir), "%s/%s" NEW_SUFFIX, volumes,
		       uuid);
	r = volstate_write_files(v, err);
	if (!r)
		r = volstate_save(v, &v->sw, err);
	return r ? r : give_name(v, volumes, uuid, err);
}

int volstate_write_files(struct volstate *v, struct err *err)
{
	int r = io_make_dir(v->io, v->dir, 0700, err);

	if (r)
		return r;
	r = key_write(v, &v->key);
	if (!r)
		r = acked_create(v);
	if (r)
		return err_sys(err, r, "state-unwritable", v->dir,
			       "create volume state");
	return 0;
}

/*
 * Who replaced the key, or made the volume, may have died between the new name
 * and its being durable. What is sealed from now on must not depend on a name
 * that a power cut takes back.
 */
static int sync_names(const struct volstate *v, const char *volumes,
		      struct err *err)
{
	int r = io_sync_dir(v->io, AT_FDCWD, v->dir);

	if (!r)
		r = io_sync_dir(v->io, AT_FDCWD, volumes);
	return r < 0 ? err_sys(err, r, "state-unwritable", v->dir, "sync") : 0;
}

static int open_known(struct volstate *v, const char *volumes, struct err *err)
{
	char path[700];
	int r;

	r = key_load(v, err);
	if (!r)
		r = sync_names(v, volumes, err);
	if (r)
		return r;
	(void)snprintf(path, sizeof(path), "%s/acked", v->dir);
	v->acked_fd = v->io->ops->open(v->io, AT_FDCWD, path, O_RDWR, 0);
	if (v->acked_fd < 0)
		return err_sys(err, v->acked_fd, "state-damaged", path,
			       "open");
	/* A record that a killed process has not synced may be torn by a power
	 * cut: the other one must not be the next to be written then. */
	r = v->io->ops->fdatasync(v->io, v->acked_fd);
	if (r)
		return err_sys(err, r, "state-unwritable", path, "sync");
	r = acked_read(v);
	if (r)
		return err_sys(err, r, "state-damaged", path,
			       "read acknowledged point");
	intent_read(v);
	/* Of a change that was cut off. */
	unlink_in(v->io, v->dir, "key.tmp");
	unlink_in(v->io, v->dir, "volume.json.tmp");
	return 0;
}

/* 0 with the volume's identity in out; -ENOENT without err. */
static int search(struct search *s, struct err *err)
{
	struct io *io = s->v->io;
	int r = io->ops->listdir(io, AT_FDCWD, s->volumes, examine, s);

	if (r < 0) {
		err_sys(err, r, "state-damaged", s->bad[0] ? s->bad : s->volumes,
			"read the state of a volume");
		err_remedy(err, "put its volume.json back from a backup, or "
				"move the directory away");
		return r == -ENOENT ? -EIO : r;
	}
	return s->n_found ? 0 : -ENOENT;
}

static void init(struct volstate *v, struct io *io)
{
	memset(v, 0, sizeof(*v));
	v->io = io;
	v->acked_fd = -1;
}

int volstate_open(struct io *io, struct rnd *rnd, const char *state_dir,
		  const char *name, struct volstate *out, struct err *err)
{
	char volumes[512];
	struct search s = { .v = out, .volumes = volumes, .name = name,
			    .sweeps = true };
	int r;

	init(out, io);
	(void)snprintf(volumes, sizeof(volumes), "%s/volumes", state_dir);
	r = io_make_dir(io, volumes, 0700, err);
	if (r)
		return r;
	r = search(&s, err);
	if (!r)
		r = open_known(out, volumes, err);
	else if (r == -ENOENT)
		r = create(out, rnd, volumes, name, err);
	if (r)
		volstate_close(out);
	return r;
}

int volstate_find(struct io *io, const char *state_dir, const char *name,
		  struct volstate *out, struct err *err)
{
	char volumes[512];
	struct search s = { .v = out, .volumes = volumes, .name = name };
	int r;

	init(out, io);
	(void)snprintf(volumes, sizeof(volumes), "%s/volumes", state_dir);
	r = io_make_dir(io, volumes, 0700, err);
	if (!r)
		r = search(&s, err);
	if (!r)
		r = open_known(out, volumes, err);
	if (!r && out->acked_fd >= 0)
		(void)io->ops->close(io, out->acked_fd);
	out->acked_fd = -1;
	if (r)
		volstate_close(out);
	return r;
}

void volstate_close(struct volstate *v)
{
	if (v->acked_fd >= 0)
		(void)v->io->ops->close(v->io, v->acked_fd);
	v->acked_fd = -1;
	volume_key_wipe(&v->key);
}
