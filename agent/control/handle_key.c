// SPDX-License-Identifier: Apache-2.0
/*
 * Keys of volumes: written to, and read from, a descriptor that the client
 * opened, never the protocol. A source notes that a key is safe only when the
 * client says that it has it (key-exported), since a full disk may still come
 * between. Threads of the control socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "control/handlers.h"
#include "control/key_fd.h"
#include "store/store.h"

struct key_args {
	char volume[SELECTOR_VOLUME_SIZE];
	uint64_t id;
};

static const struct ctl_arg volume_table[] = {
	CTL_ARG(struct key_args, volume, CTL_ARG_TEXT, true),
};

static const struct ctl_arg exported_table[] = {
	CTL_ARG(struct key_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct key_args, id, CTL_ARG_U64, true),
};

static int decode_volume(struct ctl_call *call, struct key_args *a,
			 struct err *err)
{
	return ctl_args_decode(ctl_call_request(call)->args, volume_table,
			       ARRAY_SIZE(volume_table), a, err);
}

/* ---- export ---- */

/* The replica role names a volume by its UUID only. */
int handler_stored_key(struct daemon *d, const struct lookup *l,
		       struct volume_key *out, struct err *err)
{
	struct err mine = ERR_INIT;
	int ret = replica_key(daemon_replica(d), &l->info.uuid, out, &mine);

	if (ret == -ENOKEY) {
		err_set(err, ret, "no-key", l->full,
			"its key is not kept at this replica");
		err_remedy(err, "name the exported key with --key FILE, or give "
			   "the command at its source, %s", l->info.source);
	} else if (ret < 0 && err) {
		err_copy(err, &mine);
	}
	return ret;
}

/* What a key is exported of. */
struct exporting {
	struct lookup l;
	struct volume_key key;
	struct uuid uuid;
};

static int no_such_volume(const char *name, struct err *err)
{
	err_set(err, -ENOENT, "no-volume", name,
		"this daemon knows no such volume");
	return err_remedy(err, "`understudyctl status` lists the volumes");
}

/* A volume that left the configuration still has its key here. */
static int find_departed(struct daemon *d, struct exporting *x,
			 struct err *err)
{
	int ret = -ENOENT;

	if (!*x->l.name.source)
		ret = volume_departed_key(daemon_source_env(d), x->l.name.name,
					  &x->key, &x->uuid, err);
	return ret == -ENOENT ? no_such_volume(x->l.full, err) : ret;
}

static int find_key(struct daemon *d, struct exporting *x, struct err *err)
{
	struct volume_status st;
	int ret;

	switch (x->l.kind) {
	case LOOKUP_STORED:
		x->uuid = x->l.info.uuid;
		return handler_stored_key(d, &x->l, &x->key, err);
	case LOOKUP_NOWHERE:
		return find_departed(d, x, err);
	case LOOKUP_LOCAL:
		break;
	}
	volume_get_status(daemon_volume(x->l.dv), &st);
	x->uuid = st.uuid;
	ret = volume_get_key(daemon_volume(x->l.dv), &x->key);
	if (ret == -ENOKEY)
		return err_set(err, ret, "no-key", x->l.full,
			       "it has no key yet");
	return ret < 0 ? err_sys(err, ret, "no-key", x->l.full,
				 "read its key") :
			 0;
}

int handle_key_export(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err)
{
	_cleanup_close_ int fd = ctl_call_take_fd(call, 0);
	struct exporting x = { 0 };
	struct daemon *d = arg;
	struct key_args a;
	uint32_t id;
	int ret;

	ret = decode_volume(call, &a, err);
	if (!ret)
		ret = lookup_volume(d, a.volume, &x.l, err);
	if (ret < 0)
		return ret;
	ret = find_key(d, &x, err);
	if (!ret)
		ret = key_fd_write(fd, &x.key, x.l.name.name, &x.uuid, err);
	id = x.key.id;
	volume_key_wipe(&x.key);
	lookup_release(d, &x.l);
	if (ret < 0)
		return ret;
	log_info("volume %s: key exported, generation %u", x.l.full, id);
	daemon_tell(d, "key-exported", x.l.full, NULL,
		    "generation %u, to a file that a client opened", id);
	*result = json_pack("{s:s,s:I}", "volume", x.l.full, "id",
			    (json_int_t)id);
	return *result ? 0 : handler_no_memory("key export", err);
}

int handle_key_exported(void *arg, struct ctl_call *call, json_t **result,
			struct err *err)
{
	struct daemon *d = arg;
	struct key_args a;
	struct lookup l;
	uint32_t id;
	int ret;

	(void)result;
	ret = ctl_args_decode(ctl_call_request(call)->args, exported_table,
			      ARRAY_SIZE(exported_table), &a, err);
	if (!ret)
		ret = lookup_volume(d, a.volume, &l, err);
	if (ret < 0)
		return ret;
	id = (uint32_t)MIN(a.id, (uint64_t)UINT32_MAX);
	if (l.kind == LOOKUP_LOCAL)
		ret = volume_key_exported(daemon_volume(l.dv), id, err);
	else if (l.kind == LOOKUP_NOWHERE && !*l.name.source)
		ret = volume_departed_exported(daemon_source_env(d),
					       l.name.name, id, err);
	lookup_release(d, &l);
	return ret == -ENOENT ? no_such_volume(a.volume, err) : ret;
}

/* ---- rotate ---- */

int handle_key_rotate(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err)
{
	struct daemon *d = arg;
	struct key_args a;
	struct lookup l;
	bool escrow = false;
	uint32_t id = 0;
	int ret;

	ret = decode_volume(call, &a, err);
	if (!ret)
		ret = lookup_local(d, a.volume, &l, err);
	if (ret < 0)
		return ret;
	ret = volume_rotate_key(daemon_volume(l.dv), &id, err);
	escrow = volume_get_config(daemon_volume(l.dv))->key_escrow;
	lookup_release(d, &l);
	if (ret < 0)
		return ret;
	log_info("volume %s: key rotated to generation %u", l.full, id);
	daemon_tell(d, "key-rotated", l.full, NULL, "to generation %u", id);
	*result = json_pack("{s:s,s:I,s:b}", "volume", l.full, "id",
			    (json_int_t)id, "escrow", escrow);
	return *result ? 0 : handler_no_memory("key rotate", err);
}

/* ---- import ---- */

/* Does the key open what the newest point holds? */
struct fitting {
	struct opener *opener;
	uint32_t lacks;			/* generation; 0: none */
};

static int try_piece(void *arg, const struct view_piece *p)
{
	struct fitting *f = arg;
	int ret = p->absent ? 0 : opener_try(f->opener, &p->delta);

	if (ret == -ENOKEY)
		f->lacks = opener_lacks(f->opener);
	return ret == -ENOKEY && f->lacks ? 0 : ret;
}

/*
 * 0 also when there is nothing to try it on, or that cannot be read: then the
 * next restore will tell.
 */
static int try_key(struct daemon *d, const struct lookup *l,
		   const struct volume_key *key, uint32_t *lacks)
{
	struct fitting f = { .opener = opener_new(key) };
	const struct point_meta *m = &l->info.newest.meta;
	struct view *v = NULL;
	struct err err = ERR_INIT;
	uint64_t first, count;
	bool zero;
	int ret = f.opener ? 0 : -ENOMEM;

	if (!ret && l->info.has_point)
		ret = view_open(replica_store(daemon_replica(d)),
				&l->info.uuid, m->epoch, m->seq, &v, &err);
	if (!ret && v && !view_next(v, 0, &first, &count, &zero, &err))
		ret = view_walk(v, first, 1, try_piece, &f, &err);
	view_close(v);
	opener_free(f.opener);
	*lacks = f.lacks;
	return ret == -ENOKEY ? ret : 0;
}

static int tell_wrong(const struct lookup *l, const char *whose,
		      struct err *err)
{
	err_set(err, -ENOKEY, "wrong-key", l->full,
		"import: the key in the file is not the one that its points "
		"were sealed with%s%s", *whose ? ": it is that of " : "",
		whose);
	return err_remedy(err, "name the file that `understudyctl key export` "
			       "wrote for this volume");
}

static int import_stored(struct daemon *d, const struct lookup *l,
			 const struct key_file *f, json_t **result,
			 struct err *err)
{
	uint32_t lacks = 0;
	int ret;

	if (!uuid_equal(&f->volume, &l->info.uuid))
		return tell_wrong(l, f->name, err);
	if (try_key(d, l, &f->key, &lacks))
		return tell_wrong(l, "", err);
	ret = replica_keep_key(daemon_replica(d), &l->info.uuid, l->info.name,
			       &f->key, err);
	if (ret < 0)
		return ret;
	log_info("volume %s: key imported, generation %u", l->full, f->key.id);
	*result = json_pack("{s:s,s:I,s:b,s:I}", "volume", l->full, "id",
			    (json_int_t)f->key.id, "changed", !ret, "lacks",
			    (json_int_t)lacks);
	return *result ? 0 : handler_no_memory("key import", err);
}

static int import_local(const struct lookup *l, const struct key_file *f,
			json_t **result, struct err *err)
{
	struct volume *v = daemon_volume(l->dv);
	bool changed = false;
	int ret;

	if (strcmp(f->name, volume_get_config(v)->name) != 0) {
		err_set(err, -EPERM, "wrong-key", l->full,
			"import: the key in the file is that of volume %s",
			f->name);
		return err_remedy(err, "name the file of this volume; if it "
				       "is the same device, call the volume "
				       "%s again", f->name);
	}
	ret = volume_import_key(v, &f->volume, &f->key, &changed, err);
	if (ret < 0)
		return ret;
	log_info("volume %s: key imported, generation %u", l->full, f->key.id);
	*result = json_pack("{s:s,s:I,s:b,s:I}", "volume", l->full, "id",
			    (json_int_t)f->key.id, "changed", changed, "lacks",
			    (json_int_t)0);
	return *result ? 0 : handler_no_memory("key import", err);
}

/* Nothing is replaced for want of a better reason than a file. */
static bool is_refusal(int ret)
{
	return ret == -EPERM || ret == -EEXIST || ret == -ENOKEY;
}

int handle_key_import(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err)
{
	_cleanup_close_ int fd = ctl_call_take_fd(call, 0);
	struct key_file f = { 0 };
	struct lookup l = { 0 };
	struct daemon *d = arg;
	struct key_args a;
	int ret;

	ret = decode_volume(call, &a, err);
	if (!ret)
		ret = key_fd_read(fd, &f, err);
	if (!ret)
		ret = lookup_known(d, a.volume, &l, err);
	if (!ret) {
		ret = l.kind == LOOKUP_LOCAL ?
			      import_local(&l, &f, result, err) :
			      import_stored(d, &l, &f, result, err);
		if (ret >= 0)
			daemon_tell(d, "key-imported", l.full, NULL,
				    "generation %u", f.key.id);
		lookup_release(d, &l);
	}
	volume_key_wipe(&f.key);
	if (is_refusal(ret))
		ctl_call_refuses(call);
	return ret;
}
