// SPDX-License-Identifier: Apache-2.0
/*
 * `restore`: a point goes to a target that the client opened. At a replica it
 * comes from the store, with the escrowed key or the client's; at a source over
 * a session of its own with the volume's key. Threads of the control socket;
 * a client that goes away ends its restore.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/handlers.h"
#include "control/key_fd.h"
#include "control/stored.h"
#include "source/remote_image.h"
#include "store/restore.h"

#define PROGRESS_NS (200 * NSEC_PER_MSEC)

struct restore_args {
	char volume[SELECTOR_VOLUME_SIZE];
	char point[SELECTOR_POINT_SIZE];
	uint64_t at_ns;
	char from[VOLUME_NAME_MAX + 1];
	uint64_t off_bytes, len_bytes;
	bool in_place, no_verify, has_key;
	char target[512];		/* its name, for messages only */
	/* A member of a group point: it must be of this volume and time. */
	char uuid[UUID_TEXT_SIZE];
	uint64_t flip_ns;
};

static const struct ctl_arg restore_table[] = {
	CTL_ARG(struct restore_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct restore_args, point, CTL_ARG_TEXT, false),
	CTL_ARG(struct restore_args, at_ns, CTL_ARG_U64, false),
	CTL_ARG(struct restore_args, from, CTL_ARG_TEXT, false),
	CTL_ARG(struct restore_args, off_bytes, CTL_ARG_U64, false),
	CTL_ARG(struct restore_args, len_bytes, CTL_ARG_U64, false),
	CTL_ARG(struct restore_args, in_place, CTL_ARG_BOOL, false),
	CTL_ARG(struct restore_args, no_verify, CTL_ARG_BOOL, false),
	CTL_ARG(struct restore_args, has_key, CTL_ARG_BOOL, false),
	CTL_ARG(struct restore_args, target, CTL_ARG_TEXT, true),
	CTL_ARG(struct restore_args, uuid, CTL_ARG_TEXT, false),
	CTL_ARG(struct restore_args, flip_ns, CTL_ARG_U64, false),
};

struct restore_call {
	struct daemon *d;
	struct ctl_call *call;
	struct restore_args a;
	struct selector sel;
	struct key_file key;
	uint64_t last_progress_ns;
};

/* ---- where the image comes from ---- */

static int check_key_is_of(const struct restore_call *rc,
			   const struct uuid *volume, const char *name,
			   struct err *err)
{
	if (uuid_equal(&rc->key.volume, volume))
		return 0;
	err_set(err, -ENOKEY, "wrong-key", name,
		"the key file is that of another volume, %s", rc->key.name);
	err_remedy(err, "name the key file of this volume");
	return -ENOKEY;
}

static int stored_image(struct restore_call *rc, const struct lookup *l,
			struct image **out, struct err *err)
{
	struct replica *r = daemon_replica(rc->d);
	struct point_info p;
	struct view *view;
	int ret;

	ret = stored_find_point(replica_store(r), &l->info, &rc->sel, &p, err);
	if (ret < 0)
		return ret;
	ret = rc->a.has_key ?
		      check_key_is_of(rc, &l->info.uuid, l->full, err) :
		      handler_stored_key(rc->d, l, &rc->key.key, err);
	if (ret < 0)
		return ret;
	ret = view_open(replica_store(r), &l->info.uuid, p.meta.epoch,
			p.meta.seq, &view, err);
	if (ret < 0)
		return ret;
	ret = image_from_view(view, &l->info.uuid, &rc->key.key, out, err);
	if (!ret)
		(void)snprintf((*out)->name, sizeof((*out)->name), "%s",
			       l->full);
	return ret;
}

static void fill_view_open(const struct restore_call *rc,
			   const struct lookup *l, struct wire_view_open *out)
{
	static const enum wire_select kinds[] = {
		[SELECTOR_LATEST] = WIRE_SELECT_LATEST,
		[SELECTOR_SEQ] = WIRE_SELECT_SEQ,
		[SELECTOR_LABEL] = WIRE_SELECT_LABEL,
		[SELECTOR_TIME] = WIRE_SELECT_TIME,
	};

	memset(out, 0, sizeof(*out));
	memcpy(out->source, l->name.source, sizeof(out->source));
	memcpy(out->name, l->name.name, sizeof(out->name));
	out->select = kinds[rc->sel.kind];
	out->epoch = rc->sel.epoch;
	out->seq = rc->sel.seq;
	memcpy(out->label, rc->sel.label, sizeof(out->label));
	out->wall_ns = rc->sel.wall_ns;
}

static int remote_key(struct restore_call *rc, const struct lookup *l,
		      struct err *err)
{
	int ret = -ENOKEY;

	if (rc->a.has_key)
		return 0;
	if (l->kind == LOOKUP_LOCAL)
		ret = volume_get_key(daemon_volume(l->dv), &rc->key.key);
	if (ret == -ENOKEY) {
		err_set(err, ret, "no-key", l->full,
			"this daemon does not have its key");
		err_remedy(err, "name an exported key with --key FILE");
	}
	return ret < 0 ? err_sys(err, ret, "no-key", l->full, "read its key") :
			 0;
}

static int image_from_remote(struct restore_call *rc, const struct lookup *l,
			     struct image **out, struct err *err)
{
	struct wire_view_open sel;
	struct replica_config cfg;
	struct remote *remote;
	int ret;

	ret = lookup_replica(rc->d, l, rc->a.from, &cfg, err);
	if (!ret)
		ret = remote_key(rc, l, err);
	if (!ret)
		ret = remote_connect(&cfg, daemon_source_env(rc->d), &remote,
				     err);
	if (ret < 0)
		return ret;
	fill_view_open(rc, l, &sel);
	ret = remote_image(remote, &sel, &rc->key.key, out, err);
	if (ret < 0) {
		remote_close(remote);
		return ret;
	}
	if (!rc->a.has_key)
		return 0;
	ret = check_key_is_of(rc, &(*out)->volume, l->full, err);
	if (ret < 0)
		image_close(TAKE_PTR(*out));
	return ret;
}

/* SOURCE/NAME of a volume that is protected here: its key is at hand. */
static void find_protected(struct restore_call *rc, struct lookup *l)
{
	struct daemon_volume **all;
	struct volume_status st;
	struct uuid uuid;
	size_t i, n;

	if (l->kind != LOOKUP_NOWHERE || uuid_parse(rc->a.uuid, &uuid) < 0 ||
	    daemon_volumes_get(rc->d, &all, &n) < 0)
		return;
	for (i = 0; i < n && l->kind == LOOKUP_NOWHERE; i++) {
		volume_get_status(daemon_volume(all[i]), &st);
		if (uuid_equal(&st.uuid, &uuid) &&
		    !daemon_volume_get(rc->d, st.name, &l->dv))
			l->kind = LOOKUP_LOCAL;
	}
	daemon_volumes_put(rc->d, all, n);
}

/* What was found is what the group point is made of. */
static int check_is_member(const struct restore_call *rc,
			   const struct image *im, struct err *err)
{
	char uuid[UUID_TEXT_SIZE];

	uuid_format(&im->volume, uuid);
	if ((!*rc->a.uuid || !strcmp(uuid, rc->a.uuid)) &&
	    (!rc->a.flip_ns ||
	     im->point.meta.flip_wall_ns == (int64_t)rc->a.flip_ns))
		return 0;
	return err_set(err, -ESTALE, "point-changed", im->name,
		       "point %llu:%llu is not the one of the group any more",
		       (unsigned long long)im->point.meta.epoch,
		       (unsigned long long)im->point.meta.seq);
}

static int open_image(struct restore_call *rc, struct image **out,
		      struct err *err)
{
	struct lookup l;
	int ret = lookup_volume(rc->d, rc->a.volume, &l, err);

	if (ret < 0)
		return ret;
	find_protected(rc, &l);
	if (l.kind == LOOKUP_STORED && !*rc->a.from)
		ret = stored_image(rc, &l, out, err);
	else
		ret = image_from_remote(rc, &l, out, err);
	lookup_release(rc->d, &l);
	if (!ret)
		ret = check_is_member(rc, *out, err);
	if (ret < 0)
		image_close(TAKE_PTR(*out));
	return ret;
}

/* ---- the restore itself ---- */

static int tell_progress(void *arg, const struct restore_progress *p)
{
	struct restore_call *rc = arg;
	uint64_t now_ns = clock_mono_ns(clock_real());

	if (ctl_call_is_cancelled(rc->call))
		return 1;
	if (now_ns - rc->last_progress_ns < PROGRESS_NS)
		return 0;
	rc->last_progress_ns = now_ns;
	ctl_call_progress(rc->call, restore_progress_json(p));
	return 0;
}

static void tell_event(struct restore_call *rc, const struct image *im,
		       const struct err *failure)
{
	const char *volume = im ? im->name : rc->a.volume;

	if (failure)
		daemon_tell(rc->d, "restore-failed", volume, failure->code,
			    "to %s: %s", rc->a.target, failure->message);
	else
		daemon_tell(rc->d, "restored", volume, NULL,
			    "point %llu to %s",
			    (unsigned long long)im->point.meta.seq,
			    rc->a.target);
}

static int run(struct restore_call *rc, int fd, json_t **result,
	       struct err *err)
{
	const struct restore_options o = {
		.off_bytes = rc->a.off_bytes,
		.len_bytes = rc->a.len_bytes,
		.in_place = rc->a.in_place,
		.verify = !rc->a.no_verify,
		.progress = tell_progress,
		.arg = rc,
		.target = rc->a.target,
	};
	uint64_t start_ns = clock_mono_ns(clock_real());
	_cleanup_(image_closep) struct image *im = NULL;
	struct restore_result rr = { 0 };
	int ret;

	ret = open_image(rc, &im, err);
	if (!ret)
		ret = restore_run(im, fd, &o, &rr, err);
	if (ret < 0)
		tell_event(rc, im, err);
	if (ret < 0 && !im)
		return ret;
	if (ret < 0) {
		ctl_call_details(rc->call,
				 json_pack("{s:s}", "target",
					   restore_was_untouched(&rr, err) ?
						   "untouched" :
						   "incomplete"));
		return ret;
	}
	*result = restore_result_json(im, &rr, clock_mono_ns(clock_real()) -
						       start_ns);
	tell_event(rc, im, NULL);
	log_info("volume %s: point %llu restored to %s", im->name,
		 (unsigned long long)im->point.meta.seq, rc->a.target);
	return *result ? 0 : handler_no_memory("restore", err);
}

static int take_key(struct restore_call *rc, struct err *err)
{
	_cleanup_close_ int fd = -1;

	if (!rc->a.has_key)
		return 0;
	fd = ctl_call_take_fd(rc->call, 1);
	return key_fd_read(fd, &rc->key, err);
}

int handle_restore(void *arg, struct ctl_call *call, json_t **result,
		   struct err *err)
{
	struct restore_call rc = { .d = arg, .call = call };
	_cleanup_close_ int fd = -1;
	int ret;

	ctl_call_details(call, json_pack("{s:s}", "target", "untouched"));
	ret = ctl_args_decode(ctl_call_request(call)->args, restore_table,
			      ARRAY_SIZE(restore_table), &rc.a, err);
	if (!ret && rc.a.at_ns > INT64_MAX)
		ret = err_set(err, -EINVAL, "bad-argument", "at_ns",
			      "too large");
	if (!ret)
		ret = selector_parse(rc.a.point, (int64_t)rc.a.at_ns, &rc.sel,
				     err);
	if (!ret)
		ret = take_key(&rc, err);
	if (ret < 0)
		return ret;
	fd = ctl_call_take_fd(call, 0);
	if (fd < 0)
		ret = err_set(err, -EBADF, "bad-argument", "target",
			      "no descriptor came with the request");
	else
		ret = run(&rc, fd, result, err);
	volume_key_wipe(&rc.key.key);
	return ret;
}
