// SPDX-License-Identifier: Apache-2.0
/*
 * `restore`: reads the command line, opens target and key, has the daemon (or
 * the store's read side, with --store) write the point, and says plainly what
 * a failure has left of the target.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "client.h"
#include "output.h"
#include "restore_args.h"

struct restore_opts_read {
	const char *point, *at, *range, *from, *store;
	struct opt_list to, keys;
	bool in_place, no_verify;
};

_Static_assert(sizeof(struct restore_opts_read) <= CTL_OPTS_MAX,
	       "options fit");

#define FIELD(name) offsetof(struct restore_opts_read, name)

const struct opt restore_opts[] = {
	{ "--point", OPT_TEXT, FIELD(point), "POINT",
	  "number, EPOCH:NUMBER, label or latest" },
	{ "--at", OPT_TEXT, FIELD(at), "TIME",
	  "the newest point no later than this" },
	{ "--to", OPT_LIST, FIELD(to), "PATH",
	  "a device or file; of a group a directory, or each MEMBER=PATH" },
	{ "--range", OPT_TEXT, FIELD(range), "OFF:LEN",
	  "only these bytes of the volume" },
	{ "--in-place", OPT_FLAG, FIELD(in_place), NULL,
	  "write only what differs" },
	{ "--key", OPT_LIST, FIELD(keys), "FILE",
	  "an exported key; of a group one of each member" },
	{ "--from", OPT_TEXT, FIELD(from), "REPLICA", "ask this replica" },
	{ "--store", OPT_TEXT, FIELD(store), "DIR",
	  "read this store, without a daemon" },
	{ "--no-verify", OPT_FLAG, FIELD(no_verify), NULL,
	  "do not read the target back" },
	{ 0 },
};

/* ---- the command line ---- */

static int usage(struct err *err, const char *what, const char *text,
		 const char *remedy)
{
	err_set(err, -EINVAL, "usage", what, "%s", text);
	err_remedy(err, "%s", remedy);
	return -EINVAL;
}

static int parse_range(const char *text, struct restore_request *rq,
		       struct err *err)
{
	static const char remedy[] =
		"a range is OFF:LEN in multiples of 512 bytes, such as "
		"1GiB:64MiB";
	const char *colon = strchr(text, ':');
	char off[32];

	if (!colon || (size_t)(colon - text) >= sizeof(off))
		return usage(err, text, "is no range", remedy);
	memcpy(off, text, (size_t)(colon - text));
	off[colon - text] = 0;
	if (size_parse(off, &rq->off_bytes) < 0 ||
	    size_parse(colon + 1, &rq->len_bytes) < 0 || !rq->len_bytes ||
	    rq->off_bytes % 512 || rq->len_bytes % 512)
		return usage(err, text, "is no range", remedy);
	return 0;
}

static int parse_point(const struct restore_opts_read *o, const char *arg,
		       struct restore_request *rq, struct err *err)
{
	static const char once[] = "name the point once: VOLUME@POINT, "
				   "--point or --at";
	int ret = selector_split(arg, rq->volume, rq->point, err);

	if (ret < 0)
		return ret;
	if (o->point && *rq->point)
		return usage(err, o->point, "the point is named twice", once);
	if (o->at && (o->point || *rq->point))
		return usage(err, o->at, "a point and a time at once", once);
	if (o->point && strlen(o->point) >= sizeof(rq->point))
		return usage(err, o->point, "is no point", once);
	if (o->point)
		strcpy(rq->point, o->point);
	if (o->at) {
		ret = selector_parse_time(o->at, clock_wall_ns(clock_real()),
					  &rq->at_ns, err);
		if (ret < 0)
			return ret;
	}
	return selector_parse(rq->point, rq->at_ns, &rq->selector, err);
}

static int parse_request(const struct restore_opts_read *o, const char *arg,
			 struct restore_request *rq, struct err *err)
{
	struct volume_name name;
	int ret = parse_point(o, arg, rq, err);

	if (!ret)
		ret = volume_name_parse(rq->volume, &name, err);
	if (!ret && o->range)
		ret = parse_range(o->range, rq, err);
	if (ret < 0)
		return ret;
	if (!o->to.n)
		return usage(err, "--to", "is missing",
			     "say where to: --to PATH");
	if (o->store && o->from)
		return usage(err, "--from", "goes through a daemon, --store "
			     "does without", "give one of them");
	if (o->store && !o->keys.n)
		return usage(err, "--key", "is missing",
			     "without a daemon the key comes from --key FILE");
	rq->from = o->from;
	rq->store = o->store;
	rq->in_place = o->in_place;
	rq->no_verify = o->no_verify;
	return 0;
}

/* It is no group: one target, and at most one key. */
static int one_of_each(const struct restore_opts_read *o, struct err *err)
{
	static const char once[] = "of a volume there is one; it may be given "
				   "several times for a group only";

	if (o->to.n > 1)
		return usage(err, "--to", "is given twice", once);
	if (o->keys.n > 1)
		return usage(err, "--key", "is given twice", once);
	return 0;
}

static int open_key(const char *path, struct restore_request *rq,
		    struct err *err)
{
	if (!path)
		return 0;
	rq->key_fd = open(path, O_RDONLY | O_CLOEXEC);
	return rq->key_fd < 0 ? err_sys(err, -errno, "bad-key-file", path,
					"open") :
				0;
}

/* ---- through the daemon ---- */

static void show_progress(void *arg, const json_t *body)
{
	struct restore_request *rq = arg;

	progress_show(&rq->progress, body);
}

static json_t *daemon_args(const struct restore_request *rq)
{
	json_t *args = json_pack(
		"{s:s,s:s*,s:b,s:b,s:b,s:o}", "volume", rq->volume, "from",
		rq->from, "in_place", rq->in_place, "no_verify",
		rq->no_verify, "has_key", rq->key_fd >= 0, "target",
		ctl_text_json(rq->target.path));

	if (*rq->point)
		json_object_set_new(args, "point", json_string(rq->point));
	if (rq->at_ns)
		json_object_set_new(args, "at_ns", json_integer(rq->at_ns));
	if (*rq->uuid)
		json_object_set_new(args, "uuid", json_string(rq->uuid));
	if (rq->flip_ns)
		json_object_set_new(args, "flip_ns",
				    json_integer(rq->flip_ns));
	if (rq->off_bytes)
		json_object_set_new(args, "off_bytes",
				    json_integer((json_int_t)rq->off_bytes));
	if (rq->len_bytes)
		json_object_set_new(args, "len_bytes",
				    json_integer((json_int_t)rq->len_bytes));
	return args;
}

static int by_daemon(struct restore_request *rq, struct client_reply *reply,
		     bool *untouched)
{
	const int fds[2] = { rq->target.fd, rq->key_fd };
	const struct client_request call = {
		.verb = "restore",
		.args = daemon_args(rq),
		.fds = fds,
		.n_fds = rq->key_fd >= 0 ? 2 : 1,
		.patience_ms = CLIENT_LONG_PATIENCE_MS,
		.catch_signals = true,
		.progress = show_progress,
		.arg = rq,
	};
	int ret = client_call(rq->ctl, &call, reply);
	const char *target =
		json_string_value(json_object_get(reply->error, "target"));

	/*
	 * A daemon that answers tells what it left; one that was not there left
	 * nothing; of one that went silent the worst is to be assumed.
	 */
	*untouched = ret < 0 && (reply->from_daemon ?
					 !target || strcmp(target, "incomplete") :
					 !strcmp(reply->err.code, "no-daemon"));
	return ret;
}

static int by_store(struct restore_request *rq, struct client_reply *reply,
		    bool *untouched)
{
	int ret;

	memset(reply, 0, sizeof(*reply));
	ret = restore_from_store(rq, &reply->result, untouched, &reply->err);
	if (ret < 0)
		reply->exit = (int)ctl_exit_of(&reply->err);
	return ret;
}

/* ---- the outcome ---- */

/*
 * A target that is half of one point and half of something else must not be
 * taken for either.
 */
void restore_tell_target(struct restore_request *rq,
			 struct client_reply *reply, bool untouched)
{
	json_t *error;

	if (untouched)
		target_discard(&rq->target);
	else
		err_done(&reply->err, "%s is incomplete: do not use it",
			 rq->target.path);
	if (!untouched && !*reply->err.remedy)
		err_remedy(&reply->err, "repeat the restore; with --in-place "
			   "it writes only what is missing");
	error = ctl_error_json(&reply->err);
	json_object_set_new(error, "target",
			    json_string(untouched ? "untouched" :
						    "incomplete"));
	json_decref(reply->error);
	reply->error = error;
}

static int report(const struct restore_request *rq, json_t *result)
{
	char whole[24], written[24], took[24];

	json_object_set_new(result, "to", ctl_text_json(rq->target.path));
	if (rq->ctl->json)
		return output_json(result);
	output_size(result, "image_bytes", whole);
	output_size(result, "written_bytes", written);
	output_seconds(result, "seconds", took);
	return printf("%s@%lld of %s restored to %s: %s, %s written%s, %s\n",
		      output_text(result, "volume"),
		      (long long)json_integer_value(
			      json_object_get(result, "seq")),
		      output_text(result, "time"), rq->target.path, whole,
		      written, rq->no_verify ? "" : ", read back", took) < 0;
}

int restore_one(struct restore_request *rq, struct client_reply *reply,
		bool *untouched)
{
	int ret;

	*untouched = false;
	progress_init(&rq->progress, rq->ctl, "restore");
	ret = rq->store ? by_store(rq, reply, untouched) :
			  by_daemon(rq, reply, untouched);
	progress_end(&rq->progress);
	return ret;
}

static int run(struct restore_request *rq)
{
	struct client_reply reply;
	bool untouched;
	int ret = restore_one(rq, &reply, &untouched);

	if (ret < 0) {
		restore_tell_target(rq, &reply, untouched);
		ret = client_failure(rq->ctl, &reply);
	} else {
		ret = report(rq, reply.result);
	}
	client_reply_free(&reply);
	return ret;
}

static int of_volume(struct restore_request *rq,
		     const struct restore_opts_read *o)
{
	struct err err = ERR_INIT;
	int ret = one_of_each(o, &err);

	if (!ret)
		ret = open_key(o->keys.items[0], rq, &err);
	if (!ret)
		ret = target_open(o->to.items[0], &rq->target, &err);
	ret = ret < 0 ? output_failure(rq->ctl->json, &err) : run(rq);
	target_close(&rq->target);
	if (rq->key_fd >= 0)
		(void)close(rq->key_fd);
	return ret;
}

static int of_group(struct restore_request *rq, json_t *point,
		    const struct restore_opts_read *o)
{
	const struct restore_list to = { o->to.items, o->to.n };
	const struct restore_list keys = { o->keys.items, o->keys.n };

	return restore_group(rq, point, &to, &keys);
}

int cmd_restore(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct restore_opts_read *opts = o;
	struct restore_request rq = { .ctl = ctl, .key_fd = -1 };
	struct err err = ERR_INIT;
	json_t *point = NULL;
	int ret;

	(void)n_args;
	rq.target.fd = -1;
	ret = parse_request(opts, args[0], &rq, &err);
	if (!ret)
		ret = restore_group_find(&rq, &point, &err);
	if (ret < 0)
		return output_failure(ctl->json, &err);
	ret = ret ? of_volume(&rq, opts) : of_group(&rq, point, opts);
	json_decref(point);
	return ret;
}
