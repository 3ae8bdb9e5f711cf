// SPDX-License-Identifier: Apache-2.0
/*
 * `store rebuild-catalog`: no daemon, which must not even run; what is done
 * and how it is undone is told.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/rnd.h"
#include "output.h"
#include "places.h"
#include "store/rebuild.h"

struct rebuild_opts_read {
	const char *store;
};

const struct opt store_rebuild_opts[] = {
	{ "--store", OPT_TEXT, offsetof(struct rebuild_opts_read, store),
	  "DIR", "the store, if not as the configuration says" },
	{ 0 },
};

/*
 * A daemon that does not run as root could not open what root makes: the work
 * is done as the owner of the store. What cannot be looked at here is found,
 * and told, by opening the store.
 */
static int become_owner(const char *dir, struct err *err)
{
	_cleanup_free_ char *meta = NULL;
	struct stat st;

	if (asprintf(&meta, "%s/store.meta", dir) < 0)
		return err_sys(err, -ENOMEM, "failed", dir, "open");
	if (geteuid() || lstat(meta, &st) < 0 || !st.st_uid)
		return 0;
	if (setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
		return err_sys(err, -errno, "failed", dir,
			       "become its owner, user %u",
			       (unsigned int)st.st_uid);
	return 0;
}

static const char *state_of(const struct rebuilt_volume *v)
{
	if (!v->taken_up)
		return v->was_known && !v->points_before ? "empty" : "failed";
	return v->was_known && v->points_now < v->points_before ? "fewer" :
								   "ok";
}

static void name_of(const struct rebuilt_volume *v, char *out, size_t cap)
{
	char uuid[UUID_TEXT_SIZE];

	uuid_format(&v->uuid, uuid);
	if (v->name[0])
		(void)snprintf(out, cap, "%s/%s", v->source, v->name);
	else
		(void)snprintf(out, cap, "%s", uuid);
}

#define NAME_BYTES (2 * STORE_NAME_MAX + 16)

static json_t *report_json(const char *dir, const struct rebuild_report *r)
{
	json_t *volumes = json_array();
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct rebuilt_volume *v = &r->v[i];
		char name[NAME_BYTES], uuid[UUID_TEXT_SIZE];
		json_t *row;

		name_of(v, name, sizeof(name));
		uuid_format(&v->uuid, uuid);
		row = json_pack("{s:s,s:s,s:s,s:I,s:s?}", "volume", name,
				"uuid", uuid, "state", state_of(v), "points",
				(json_int_t)v->points_now, "message",
				v->why.num ? v->why.message : NULL);
		json_object_set_new(row, "points_before",
				    v->was_known ? json_integer((json_int_t)
							v->points_before) :
						   json_null());
		(void)json_array_append_new(volumes, row);
	}
	return json_pack("{s:o,s:s?,s:b,s:o}", "store", ctl_text_json(dir),
			 "old_catalog", r->aside[0] ? r->aside : NULL,
			 "old_catalog_was_read", r->old_was_read, "volumes",
			 volumes);
}

static int show_table(const struct rebuild_report *r)
{
	static const struct output_column columns[] = {
		{ "VOLUME", false }, { "POINTS BEFORE", true },
		{ "NOW", true },     { "STATE", false },
	};
	struct output_table *t = output_table_new(columns, ARRAY_SIZE(columns));
	char text[NAME_BYTES];
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct rebuilt_volume *v = &r->v[i];

		output_table_row(t);
		name_of(v, text, sizeof(text));
		output_table_cell(t, text);
		(void)snprintf(text, sizeof(text), "%llu",
			       (unsigned long long)v->points_before);
		output_table_cell(t, v->was_known ? text : "-");
		(void)snprintf(text, sizeof(text), "%llu",
			       (unsigned long long)v->points_now);
		output_table_cell(t, text);
		output_table_cell(t, state_of(v));
	}
	return output_table_end(t);
}

static int show(const char *dir, const struct rebuild_report *r)
{
	size_t i;
	int ret = r->n ? show_table(r) : 0;

	for (i = 0; i < r->n; i++)
		if (r->v[i].why.num && r->v[i].points_before)
			(void)printf("%s\n", r->v[i].why.message);
	if (r->aside[0])
		(void)printf("the catalog as it was is %s/%s\n", dir,
			     r->aside);
	if (!r->old_was_read)
		(void)printf("how many points there were is not known: %s\n",
			     r->why_not.message);
	return ret;
}

static int tell(const struct ctl *ctl, const char *dir,
		const struct rebuild_report *r, const struct err *err)
{
	json_t *report = report_json(dir, r), *error;
	bool is_done = !err->num || !strcmp(err->code, "points-missing");
	int ret = 0;

	if (is_done && !ctl->json)
		ret = show(dir, r);
	if (!err->num) {
		ret = ctl->json ? output_json(report) : ret;
	} else {
		error = ctl_error_json(err);
		if (is_done)
			(void)json_object_update_missing(error, report);
		(void)fflush(stdout);
		ret = output_failure_json(ctl->json, err, error,
					  (int)ctl_exit_of(err));
		json_decref(error);
	}
	json_decref(report);
	return ret;
}

int cmd_store_rebuild(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct rebuild_opts_read *opts = o;
	struct rebuild_report report = { 0 };
	char place[PLACE_STORE_SIZE];
	struct store_config cfg = {
		.path = opts->store,
		.io = io_posix(),
		.clock = clock_real(),
		.rnd = rnd_system(),
	};
	struct err err = ERR_INIT;
	int ret = 0;

	(void)args;
	(void)n_args;
	log_init("understudyctl", LOG_LEVEL_ERR);
	if (!opts->store) {
		ret = place_of_store(ctl, place, &err);
		cfg.path = place;
	}
	if (!ret)
		ret = become_owner(cfg.path, &err);
	if (!ret)
		ret = store_rebuild_catalog(&cfg, &report, &err);
	if (ret < 0 && !err.num)
		err_sys(&err, ret, "failed", "store", "rebuild the catalog");
	ret = tell(ctl, cfg.path, &report, &err);
	rebuild_report_free(&report);
	return ret;
}
