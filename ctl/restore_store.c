// SPDX-License-Identifier: Apache-2.0
/*
 * `restore --store DIR --key FILE`: no daemon, only the store's files and an
 * exported key. The store is opened for reading; nothing in it is changed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/rnd.h"
#include "control/groups.h"
#include "control/key_fd.h"
#include "control/stored.h"
#include "restore_args.h"
#include "store/restore.h"
#include "store/store.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	(void)signo;
	interrupted = 1;
}

static int open_image(struct store *s, const struct restore_request *rq,
		      struct image **out, struct err *err)
{
	struct key_file key = { 0 };
	struct volume_name name;
	struct volume_info v;
	struct point_info p;
	struct view *view;
	int ret;

	/* A volume is its UUID; names may have changed hands. */
	ret = volume_name_parse(*rq->uuid ? rq->uuid : rq->volume, &name, err);
	if (!ret)
		ret = stored_find_volume(s, &name, &v, err);
	if (!ret)
		ret = stored_find_point(s, &v, &rq->selector, &p, err);
	if (!ret)
		ret = key_fd_read(rq->key_fd, &key, err);
	if (!ret && !uuid_equal(&key.volume, &v.uuid)) {
		ret = err_set(err, -ENOKEY, "wrong-key", rq->volume,
			      "the key file is that of another volume, %s",
			      key.name);
		err_remedy(err, "name the key file of this volume");
	}
	if (!ret)
		ret = view_open(s, &v.uuid, p.meta.epoch, p.meta.seq, &view,
				err);
	if (!ret)
		ret = image_from_view(view, &v.uuid, &key.key, out, err);
	volume_key_wipe(&key.key);
	if (ret < 0)
		return ret;
	if (rq->flip_ns && p.meta.flip_wall_ns != rq->flip_ns) {
		image_close(TAKE_PTR(*out));
		return err_set(err, -ESTALE, "point-changed", rq->volume,
			       "the point is not the one of the group any more");
	}
	(void)snprintf((*out)->name, sizeof((*out)->name), "%s/%s", v.source,
		       v.name);
	return 0;
}

static int tell_progress(void *arg, const struct restore_progress *p)
{
	struct restore_request *rq = arg;
	json_t *body = restore_progress_json(p);

	progress_show(&rq->progress, body);
	json_decref(body);
	return interrupted;
}

static int run(struct store *s, struct restore_request *rq, json_t **result,
	       bool *untouched, struct err *err)
{
	const struct restore_options o = {
		.off_bytes = rq->off_bytes,
		.len_bytes = rq->len_bytes,
		.in_place = rq->in_place,
		.verify = !rq->no_verify,
		.progress = tell_progress,
		.arg = rq,
		.target = rq->target.path,
	};
	_cleanup_(image_closep) struct image *im = NULL;
	uint64_t start_ns = clock_mono_ns(clock_real());
	struct restore_result rr = { 0 };
	int ret = open_image(s, rq, &im, err);

	if (ret < 0)
		return ret;
	ret = restore_run(im, rq->target.fd, &o, &rr, err);
	*untouched = ret < 0 && restore_was_untouched(&rr, err);
	if (ret < 0)
		return ret;
	*result = restore_result_json(im, &rr, clock_mono_ns(clock_real()) -
						       start_ns);
	return *result ? 0 : -ENOMEM;
}

static int show(void *arg, const struct wire_group_point *p)
{
	group_choice_show(arg, p);
	return 0;
}

static int find_group(struct store *s, const struct restore_request *rq,
		      json_t **point, struct err *err)
{
	struct group_choice choice = { .sel = rq->selector };
	struct volume_name name;
	struct group_info g;
	int ret = volume_name_parse(rq->volume, &name, err);

	if (ret < 0)
		return ret;
	ret = stored_find_group(s, &name, &g, err);
	if (ret == -ENOENT) {
		err_clear(err);
		return 1;
	}
	if (!ret)
		ret = group_choice_check(&rq->selector, rq->volume, err);
	if (!ret)
		ret = stored_group_points(s, &g, show, &choice);
	if (ret < 0)
		return err_sys(err, ret, "store", rq->volume,
			       "list the points");
	*point = group_choice_json(&choice, g.source, g.name, err);
	return *point ? 0 : err->num;
}

static int open_to_read(const char *path, struct store **out, struct err *err)
{
	const struct store_config cfg = {
		.path = path,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
		.read_only = true,
	};
	int ret = store_open(&cfg, out, err);

	return ret < 0 ? err_sys(err, ret, "store", path, "open") : 0;
}

int restore_group_in_store(struct restore_request *rq, json_t **point,
			   struct err *err)
{
	struct store *s;
	int ret = open_to_read(rq->store, &s, err);

	if (ret < 0)
		return ret;
	ret = find_group(s, rq, point, err);
	store_close(s);
	return ret;
}

int restore_from_store(struct restore_request *rq, json_t **result,
		       bool *untouched, struct err *err)
{
	const struct sigaction stop = { .sa_handler = on_signal };
	struct store *s;
	int ret;

	*untouched = true;
	ret = open_to_read(rq->store, &s, err);
	if (ret < 0)
		return ret;
	(void)sigaction(SIGINT, &stop, NULL);
	(void)sigaction(SIGTERM, &stop, NULL);
	ret = run(s, rq, result, untouched, err);
	store_close(s);
	return ret;
}
