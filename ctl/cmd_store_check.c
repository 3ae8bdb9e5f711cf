// SPDX-License-Identifier: Apache-2.0
/*
 * `store check`: everything in a store is read and checked, volume after
 * volume. No daemon is needed, and one may run: the store is opened for reading
 * and seen as it is at that moment; nothing is changed in it, so what is found
 * is not noted there either.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/rnd.h"
#include "base/units.h"
#include "control/key_fd.h"
#include "control/stored.h"
#include "output.h"
#include "places.h"
#include "progress.h"
#include "store/inventory.h"
#include "store/scrub.h"

struct check_opts_read {
	const char *store;
	struct opt_list keys;
};

const struct opt store_check_opts[] = {
	{ "--store", OPT_TEXT, offsetof(struct check_opts_read, store), "DIR",
	  "the store, if not as the configuration says" },
	{ "--key", OPT_LIST, offsetof(struct check_opts_read, keys), "FILE",
	  "an exported key: seals of its volume are checked, too" },
	{ 0 },
};

struct check {
	const struct ctl *ctl;
	const char *dir;
	struct store *store;
	struct key_file *keys;
	int n_keys;
	struct progress progress;
	json_t *volumes, *strangers;	/* of the result */
	/* Counts for the verdict */
	uint64_t n_volumes, n_damaged, n_failed, n_spare, n_segments;
	struct err first;		/* of the volumes that failed */
	struct err catalog;		/* what is wrong with it */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	(void)signo;
	interrupted = 1;
}

static int no_memory(struct err *err)
{
	return err_sys(err, -ENOMEM, "failed", "store check", "check");
}

/* ---- keys ---- */

static int read_key(const char *path, struct key_file *out, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, -errno, "bad-key-file", path, "open");
	return key_fd_read(fd, out, err);
}

static int read_keys(struct check *c, const struct opt_list *paths,
		     struct err *err)
{
	int ret = 0;

	c->keys = calloc((size_t)paths->n + 1, sizeof(*c->keys));
	if (!c->keys)
		return no_memory(err);
	for (; !ret && c->n_keys < paths->n; c->n_keys++)
		ret = read_key(paths->items[c->n_keys], &c->keys[c->n_keys],
			       err);
	return ret;
}

static void wipe_keys(struct check *c)
{
	while (c->n_keys)
		volume_key_wipe(&c->keys[--c->n_keys].key);
	free(TAKE_PTR(c->keys));
}

static int keys_fit(const struct check *c, const struct opt_list *paths,
		    struct err *err)
{
	struct volume_info v;
	int i;

	for (i = 0; i < c->n_keys; i++) {
		if (store_volume_by_uuid(c->store, &c->keys[i].volume, &v) == 0)
			continue;
		err_set(err, -ENOKEY, "wrong-key", paths->items[i],
			"is the key of a volume that is not in the store, %s",
			c->keys[i].name);
		return err_remedy(err, "leave it out, or name the key of a "
				       "volume that is");
	}
	return 0;
}

/* NULL: none was given. */
static const struct volume_key *key_of(const struct check *c,
				       const struct uuid *volume)
{
	int i;

	for (i = 0; i < c->n_keys; i++)
		if (uuid_equal(&c->keys[i].volume, volume))
			return &c->keys[i].key;
	return NULL;
}

/* ---- a volume ---- */

static int tell_progress(void *arg, const struct scrub_progress *p)
{
	struct check *c = arg;
	json_t *body = json_pack("{s:s,s:I,s:I}", "phase", "read",
				 "done_bytes", (json_int_t)p->done_bytes,
				 "total_bytes", (json_int_t)p->total_bytes);

	progress_show(&c->progress, body);
	json_decref(body);
	return interrupted;
}

/* Its directory: a daemon may remove the volume while it is read. */
static bool is_there(const struct check *c, const struct uuid *volume)
{
	_cleanup_free_ char *path = NULL;
	char text[UUID_TEXT_SIZE];

	uuid_format(volume, text);
	return asprintf(&path, "%s/volumes/%s", c->dir, text) > 0 &&
	       access(path, F_OK) == 0;
}

static const char *judge(struct check *c, const struct scrub_report *rep,
			 int ret)
{
	c->n_damaged += rep->n_findings != 0;
	c->n_failed += ret < 0;
	if (rep->n_findings)
		return "damaged";
	if (ret < 0)
		return "failed";
	c->n_spare += rep->loose_bytes != 0;
	return rep->loose_bytes ? "damaged-spare" : "ok";
}

static int add_row(struct check *c, const struct volume_info *v, json_t *row,
		   const char *state, const struct err *why)
{
	char uuid[UUID_TEXT_SIZE];

	uuid_format(&v->uuid, uuid);
	if (!row || json_object_set_new(row, "uuid", json_string(uuid)) ||
	    json_object_set_new(row, "state", json_string(state)) ||
	    json_object_set_new(row, "message",
				why->num ? ctl_text_json(why->message) :
					   json_null()) ||
	    json_array_append(c->volumes, row)) {
		json_decref(row);
		return -ENOMEM;
	}
	json_decref(row);
	return 0;
}

static void full_name(const struct volume_info *v, char *out, size_t cap)
{
	if (v->name[0])
		(void)snprintf(out, cap, "%s/%s", v->source, v->name);
	else
		uuid_format(&v->uuid, out);
}

static int check_volume(struct check *c, const struct volume_info *v,
			struct scrub_report *rep, struct err *err)
{
	const struct volume_key *key = key_of(c, &v->uuid);
	struct scrub_order order = {
		.opener = key ? opener_new(key) : NULL,
		.progress = tell_progress,
		.arg = c,
	};
	bool was_there = is_there(c, &v->uuid);
	uint64_t start_ns = clock_mono_ns(clock_real());
	char name[2 * STORE_NAME_MAX + 16];
	struct err why = ERR_INIT;
	const char *state;
	int ret;

	if (key && !order.opener)
		return no_memory(err);
	ret = store_scrub(c->store, &v->uuid, &order, rep, &why);
	opener_free(order.opener);
	if (ret == -ECANCELED || ret == -ENOMEM) {
		err_copy(err, &why);
		return ret;
	}
	if (was_there && !is_there(c, &v->uuid)) {
		memset(rep, 0, sizeof(*rep));
		err_clear(&why);
		state = "removed";
	} else {
		state = judge(c, rep, ret);
	}
	if (why.num && !c->first.num)
		err_copy(&c->first, &why);
	full_name(v, name, sizeof(name));
	ret = add_row(c, v, scrub_report_json(name, rep, key != NULL,
					      clock_mono_ns(clock_real()) -
						      start_ns),
		      state, &why);
	return ret < 0 ? no_memory(err) : 0;
}

/* ---- all of it ---- */

struct listing {
	struct volume_info *v;
	size_t n;
};

static int list_volume(void *arg, const struct volume_info *v)
{
	struct listing *l = arg;
	void *p = reallocarray(l->v, l->n + 1, sizeof(*l->v));

	if (!p)
		return -ENOMEM;
	l->v = p;
	l->v[l->n++] = *v;
	return 0;
}

/* Its segments cannot be followed to their end. */
static int on_broken(void *arg, const struct volume_info *v,
		     const struct err *why)
{
	const struct scrub_report none = { .points = v->n_points };
	struct check *c = arg;
	char name[2 * STORE_NAME_MAX + 16];

	c->n_volumes++;
	c->n_failed++;
	if (!c->first.num)
		err_copy(&c->first, why);
	full_name(v, name, sizeof(name));
	return add_row(c, v, scrub_report_json(name, &none, false, 0),
		       "failed", why);
}

static bool is_listed(const struct check *c, const struct volume_info *v)
{
	char uuid[UUID_TEXT_SIZE];
	const json_t *row;
	size_t i;

	uuid_format(&v->uuid, uuid);
	json_array_foreach(c->volumes, i, row)
		if (!strcmp(output_text(row, "uuid"), uuid))
			return true;
	return false;
}

static int on_stranger(void *arg, enum stranger what, const char *path)
{
	static const char *const names[] = {
		[STRANGER_OTHER] = "other",
		[STRANGER_SEGMENT] = "no-segment",
		[STRANGER_VOLUME] = "no-volume",
		[STRANGER_REMOVED] = "removed-volume",
	};
	struct check *c = arg;

	c->n_segments += what == STRANGER_SEGMENT;
	return json_array_append_new(c->strangers,
				     json_pack("{s:o,s:s}", "path",
					       ctl_text_json(path), "what",
					       names[what])) ? -ENOMEM : 0;
}

static int check_all(struct check *c, struct err *err)
{
	_cleanup_free_ struct scrub_report *rep = calloc(1, sizeof(*rep));
	struct listing l = { 0 };
	size_t i;
	int ret = rep ? store_broken_volumes(c->store, on_broken, c) : -ENOMEM;

	if (!ret)
		ret = store_volumes(c->store, list_volume, &l);
	if (ret < 0)
		no_memory(err);
	(void)store_catalog_state(c->store, &c->catalog);
	for (i = 0; !ret && i < l.n; i++) {
		if (is_listed(c, &l.v[i]))
			continue;
		c->n_volumes++;
		ret = check_volume(c, &l.v[i], rep, err);
	}
	free(l.v);
	return ret ? ret : store_strangers(c->store, on_stranger, c, err);
}

/* ---- what is told ---- */

static int verdict(const struct check *c, struct err *err)
{
	if (c->n_damaged) {
		err_set(err, -EBADMSG, "damaged", c->dir,
			"%llu of %llu volumes have damaged points",
			(unsigned long long)c->n_damaged,
			(unsigned long long)c->n_volumes);
		return err_remedy(err, "restore a point that is not concerned; "
				       "`understudyctl resync` at the source "
				       "brings what the newest point lacks; "
				       "look at the disk");
	}
	if (c->n_failed) {
		err_copy(err, &c->first);
		return err_done(err, "%llu of %llu volumes could not be "
				"checked", (unsigned long long)c->n_failed,
				(unsigned long long)c->n_volumes);
	}
	if (c->catalog.num && c->catalog.num != -ENOENT) {
		err_copy(err, &c->catalog);
		return err->num;
	}
	if (!c->n_spare && !c->n_segments)
		return 0;
	err_set(err, -EBADMSG, "damaged-spare", c->dir,
		"no point is concerned, but bytes or files that were records "
		"cannot be read: a catalog made anew would not go past them");
	return err_remedy(err, "keep a copy of catalog.db, do not rebuild it, "
			       "and look at the disk");
}

static int show_table(const json_t *volumes)
{
	static const struct output_column columns[] = {
		{ "VOLUME", false },	     { "POINTS", true },
		{ "DAMAGED", true },	     { "READ", true },
		{ "SEALS", false },	     { "STATE", false },
	};
	struct output_table *t = output_table_new(columns, ARRAY_SIZE(columns));
	const json_t *v;
	char text[24];
	size_t i;

	json_array_foreach(volumes, i, v) {
		output_table_row(t);
		output_table_cell(t, output_text(v, "volume"));
		(void)snprintf(text, sizeof(text), "%llu",
			       output_number(v, "points"));
		output_table_cell(t, text);
		(void)snprintf(text, sizeof(text), "%llu",
			       output_number(v, "damaged_points"));
		output_table_cell(t, text);
		output_size(v, "read_bytes", text);
		output_table_cell(t, text);
		output_table_cell(t, !json_is_true(json_object_get(v,
							"with_key")) ?
					     "not checked" :
				     output_number(v, "unopened_units") ?
					     "not all" : "checked");
		output_table_cell(t, output_text(v, "state"));
	}
	return output_table_end(t);
}

static void show_finding(const json_t *v, const json_t *f)
{
	unsigned long long first = output_number(f, "offset_bytes") /
				   US_BLOCK_BYTES;
	unsigned long long n = output_number(f, "length_bytes") /
			       US_BLOCK_BYTES;

	(void)printf("damaged: %s, volumes/%s/%s.seg offset=%llu bytes=%llu: "
		     "points %llu to %llu", output_text(f, "what"),
		     output_text(v, "uuid"), output_text(f, "segment"),
		     output_number(f, "segment_offset"),
		     output_number(f, "segment_bytes"),
		     output_number(f, "first_seq"),
		     output_number(f, "last_seq"));
	if (n)
		(void)printf(", blocks %llu to %llu", first, first + n - 1);
	(void)printf("\n");
}

static void show_volume(const json_t *v)
{
	const json_t *f, *message = json_object_get(v, "message");
	size_t i;

	json_array_foreach(json_object_get(v, "findings"), i, f)
		show_finding(v, f);
	if (json_is_true(json_object_get(v, "truncated")))
		(void)printf("... and more of %s\n", output_text(v, "volume"));
	if (output_number(v, "loose_bytes"))
		(void)printf("%s: %llu bytes of segments are no records any "
			     "more, and no point needs them\n",
			     output_text(v, "volume"),
			     output_number(v, "loose_bytes"));
	if (json_is_string(message))
		(void)printf("%s\n", json_string_value(message));
}

static int show(const json_t *result)
{
	const json_t *volumes = json_object_get(result, "volumes"), *o;
	int ret = json_array_size(volumes) ? show_table(volumes) : 0;
	size_t i;

	json_array_foreach(volumes, i, o)
		show_volume(o);
	if (strcmp(output_text(result, "catalog"), "ok"))
		(void)printf("the catalog is %s: all this is by the segments "
			     "alone\n", output_text(result, "catalog"));
	json_array_foreach(json_object_get(result, "strangers"), i, o)
		(void)printf("not the store's (%s): %s\n",
			     output_text(o, "what"), output_text(o, "path"));
	return ret;
}

static int tell(struct check *c, uint64_t took_ns)
{
	json_t *result = json_pack("{s:o,s:s,s:O,s:O,s:o}", "store",
				   ctl_text_json(c->dir), "catalog",
				   !c->catalog.num ? "ok" :
				   c->catalog.num == -ENOENT ? "missing" :
							       "damaged",
				   "volumes",
				   c->volumes, "strangers", c->strangers,
				   "seconds", ctl_seconds_json(took_ns));
	struct err err = ERR_INIT;
	json_t *error;
	int ret = c->ctl->json ? 0 : show(result);

	if (verdict(c, &err) < 0) {
		(void)fflush(stdout);
		error = ctl_error_json(&err);
		(void)json_object_update_missing(error, result);
		ret = output_failure_json(c->ctl->json, &err, error,
					  (int)ctl_exit_of(&err));
		json_decref(error);
	} else if (c->ctl->json) {
		ret = output_json(result);
	}
	json_decref(result);
	return ret;
}

static int open_store(struct check *c, struct err *err)
{
	const struct store_config cfg = {
		.path = c->dir,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
		.read_only = true,
	};
	int ret = store_open(&cfg, &c->store, err);

	return ret < 0 ? err_sys(err, ret, "failed", c->dir, "open") : 0;
}

static int run(struct check *c, const struct opt_list *keys)
{
	const struct sigaction stop = { .sa_handler = on_signal };
	uint64_t start_ns = clock_mono_ns(clock_real());
	struct err err = ERR_INIT;
	int ret = read_keys(c, keys, &err);

	c->volumes = json_array();
	c->strangers = json_array();
	if (!ret)
		ret = open_store(c, &err);
	if (!ret)
		ret = keys_fit(c, keys, &err);
	if (!ret) {
		(void)sigaction(SIGINT, &stop, NULL);
		(void)sigaction(SIGTERM, &stop, NULL);
		progress_init(&c->progress, c->ctl, "check");
		ret = check_all(c, &err);
		progress_end(&c->progress);
	}
	ret = ret < 0 ? output_failure(c->ctl->json, &err) :
			tell(c, clock_mono_ns(clock_real()) - start_ns);
	store_close(c->store);
	wipe_keys(c);
	json_decref(c->volumes);
	json_decref(c->strangers);
	return ret;
}

int cmd_store_check(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct check_opts_read *opts = o;
	struct check c = { .ctl = ctl, .dir = opts->store };
	char place[PLACE_STORE_SIZE];
	struct err err = ERR_INIT;

	(void)args;
	(void)n_args;
	/* What a daemon would warn of is among the findings. */
	log_init("understudyctl", LOG_LEVEL_ERR);
	if (!c.dir) {
		if (place_of_store(ctl, place, &err) < 0)
			return output_failure(ctl->json, &err);
		c.dir = place;
	}
	return run(&c, &opts->keys);
}
