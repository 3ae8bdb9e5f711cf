// SPDX-License-Identifier: Apache-2.0
/*
 * `restore` of a group: every member of one and the same group point. Which
 * points those are is asked once; each is then restored as a volume is, by its
 * number, and must be of the volume and time that the group point says. All
 * targets and keys are opened before the first byte is written, so that what
 * can be refused is refused with nothing touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/key_fd.h"
#include "output.h"
#include "restore_args.h"

#define MEMBERS_MAX 64

struct member {
	const char *full;		/* SOURCE/NAME, of the point's JSON */
	const char *name;
	const char *uuid;
	char path[PATH_MAX];
	struct target target;
	int key_fd;
	const char *state;		/* untouched, incomplete, restored */
};

struct group {
	struct restore_request *rq;
	const json_t *point;
	struct member *members;
	size_t n;
};

static const char remedy_to[] =
	"say where to: --to DIR, or --to MEMBER=PATH for each member";

static int usage(struct err *err, const char *what, const char *text,
		 const char *remedy)
{
	err_set(err, -EINVAL, "usage", what, "%s", text);
	err_remedy(err, "%s", remedy);
	return -EINVAL;
}

/* ---- which point ---- */

static int ask_daemon(struct restore_request *rq, json_t **point,
		      struct err *err)
{
	struct client_request call = {
		.verb = "group-point",
		.patience_ms = CLIENT_LONG_PATIENCE_MS,
	};
	struct client_reply reply;
	int ret;

	call.args = json_pack("{s:s,s:s*}", "group", rq->volume, "from",
			      rq->from);
	if (*rq->point)
		json_object_set_new(call.args, "point",
				    json_string(rq->point));
	if (rq->at_ns)
		json_object_set_new(call.args, "at_ns",
				    json_integer(rq->at_ns));
	ret = client_call(rq->ctl, &call, &reply);
	if (!ret)
		*point = json_incref(reply.result);
	else if (json_is_true(json_object_get(reply.error, "is_group")))
		err_copy(err, &reply.err);
	else
		ret = 1;	/* who restores a volume meets the reason */
	client_reply_free(&reply);
	return ret;
}

int restore_group_find(struct restore_request *rq, json_t **point,
		       struct err *err)
{
	return rq->store ? restore_group_in_store(rq, point, err) :
			   ask_daemon(rq, point, err);
}

/* ---- targets ---- */

static struct member *by_name(struct group *g, const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		if (strlen(g->members[i].name) == n &&
		    !memcmp(g->members[i].name, name, n))
			return &g->members[i];
	return NULL;
}

/* MEMBER=PATH, each once. */
static int take_mapping(struct group *g, const struct restore_list *to,
			struct err *err)
{
	struct member *m;
	int i;

	for (i = 0; i < to->n; i++) {
		const char *eq = strchr(to->items[i], '=');

		m = eq ? by_name(g, to->items[i], (size_t)(eq - to->items[i])) :
			 NULL;
		if (!m)
			return usage(err, to->items[i],
				     "names no member of the group point",
				     remedy_to);
		if (*m->path)
			return usage(err, to->items[i],
				     "names a member a second time", remedy_to);
		if (!eq[1] || strlen(eq + 1) >= sizeof(m->path))
			return usage(err, to->items[i], "names no path",
				     remedy_to);
		strcpy(m->path, eq + 1);
	}
	for (i = 0; (size_t)i < g->n; i++)
		if (!*g->members[i].path)
			return usage(err, g->members[i].name,
				     "has no --to: no group is restored in part",
				     remedy_to);
	return 0;
}

static int take_directory(struct group *g, const char *dir, struct err *err)
{
	size_t i;
	int n;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_sys(err, -errno, "bad-target", dir, "create");
	for (i = 0; i < g->n; i++) {
		struct member *m = &g->members[i];

		n = snprintf(m->path, sizeof(m->path), "%s/%s.img", dir,
			     m->name);
		if (n < 0 || (size_t)n >= sizeof(m->path))
			return usage(err, dir, "is too long", remedy_to);
	}
	return 0;
}

static bool is_mapping(struct group *g, const char *to)
{
	const char *eq = strchr(to, '=');

	return eq && by_name(g, to, (size_t)(eq - to));
}

/* Two members on one target would be a mix of both. */
static int check_distinct(const struct group *g, size_t i, struct err *err)
{
	struct stat a, b;
	size_t k;

	if (fstat(g->members[i].target.fd, &a) < 0)
		return err_sys(err, -errno, "bad-target", g->members[i].path,
			       "look at it");
	for (k = 0; k < i; k++)
		if (fstat(g->members[k].target.fd, &b) < 0 ||
		    (a.st_dev == b.st_dev && a.st_ino == b.st_ino) ||
		    (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode) &&
		     a.st_rdev == b.st_rdev))
			return usage(err, g->members[i].path,
				     "is the target of two members", remedy_to);
	return 0;
}

static int check_room(const struct group *g, size_t i, struct err *err)
{
	const struct member *m = &g->members[i];
	json_int_t need = json_integer_value(json_object_get(
		json_array_get(json_object_get(g->point, "members"), i),
		"size_bytes"));
	off_t size;

	if (!m->target.is_device)
		return 0;
	size = lseek(m->target.fd, 0, SEEK_END);
	if (size < 0)
		return err_sys(err, -errno, "bad-target", m->path,
			       "find out its size");
	if (size >= need)
		return 0;
	err_set(err, -ENOSPC, "target-too-small", m->path,
		"it has %lld bytes, member %s %lld", (long long)size, m->name,
		(long long)need);
	err_remedy(err, "restore to a larger device, or to files");
	return -ENOSPC;
}

static int open_targets(struct group *g, const struct restore_list *to,
			struct err *err)
{
	size_t i;
	int ret = to->n == 1 && !is_mapping(g, to->items[0]) ?
			  take_directory(g, to->items[0], err) :
			  take_mapping(g, to, err);

	for (i = 0; !ret && i < g->n; i++) {
		ret = target_open(g->members[i].path, &g->members[i].target,
				  err);
		if (!ret)
			ret = check_distinct(g, i, err);
		if (!ret)
			ret = check_room(g, i, err);
	}
	return ret;
}

/* ---- keys ---- */

static int take_key(struct group *g, const char *path, struct err *err)
{
	struct key_file key = { 0 };
	char uuid[UUID_TEXT_SIZE];
	size_t i;
	int ret, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, -errno, "bad-key-file", path, "open");
	ret = key_fd_read(fd, &key, err);
	volume_key_wipe(&key.key);
	uuid_format(&key.volume, uuid);
	for (i = 0; !ret && i < g->n; i++) {
		if (strcmp(g->members[i].uuid, uuid) != 0)
			continue;
		if (g->members[i].key_fd >= 0)
			(void)close(g->members[i].key_fd);
		g->members[i].key_fd = fd;
		return 0;
	}
	(void)close(fd);
	if (ret < 0)
		return ret;
	err_set(err, -ENOKEY, "wrong-key", path,
		"is the key of %s, which is no member of the group point",
		key.name);
	err_remedy(err, "name the key files of the members");
	return -ENOKEY;
}

static int open_keys(struct group *g, const struct restore_list *keys,
		     struct err *err)
{
	size_t i;
	int k, ret = 0;

	for (k = 0; !ret && k < keys->n; k++)
		ret = take_key(g, keys->items[k], err);
	for (i = 0; !ret && g->rq->store && i < g->n; i++)
		if (g->members[i].key_fd < 0)
			ret = usage(err, g->members[i].name, "has no --key",
				    "without a daemon the key of each member "
				    "comes from --key FILE");
	return ret;
}

/* ---- the members, one after another ---- */

static int take_members(struct group *g, struct err *err)
{
	const json_t *list = json_object_get(g->point, "members"), *j;
	size_t i;

	g->n = json_array_size(list);
	g->members = g->n && g->n <= MEMBERS_MAX ?
			     calloc(g->n, sizeof(*g->members)) : NULL;
	if (!g->members)
		return err_set(err, -EPROTO, "failed", g->rq->volume,
			       "the group point has no members");
	for (i = 0; i < g->n; i++) {
		struct member *m = &g->members[i];

		j = json_array_get(list, i);
		m->full = json_string_value(json_object_get(j, "volume"));
		m->uuid = json_string_value(json_object_get(j, "uuid"));
		m->name = m->full ? strchr(m->full, '/') : NULL;
		m->target.fd = m->key_fd = -1;
		m->state = "untouched";
		if (!m->name || !m->uuid ||
		    strlen(m->full) >= SELECTOR_VOLUME_SIZE ||
		    strlen(m->uuid) >= UUID_TEXT_SIZE)
			return err_set(err, -EPROTO, "failed", g->rq->volume,
				       "a member without a name");
		m->name++;
	}
	return 0;
}

static void member_request(const struct group *g, size_t i,
			   struct restore_request *rq)
{
	const json_t *j = json_array_get(json_object_get(g->point, "members"),
					 i);
	const struct member *m = &g->members[i];

	*rq = *g->rq;
	strcpy(rq->volume, m->full);
	strcpy(rq->uuid, m->uuid);
	rq->at_ns = 0;
	rq->flip_ns = json_integer_value(json_object_get(j, "flip_ns"));
	rq->selector = (struct selector){
		.kind = SELECTOR_SEQ,
		.epoch = (uint64_t)json_integer_value(
			json_object_get(j, "epoch")),
		.seq = (uint64_t)json_integer_value(json_object_get(j, "seq")),
	};
	(void)snprintf(rq->point, sizeof(rq->point), "%" PRIu64 ":%" PRIu64,
		       rq->selector.epoch, rq->selector.seq);
	rq->key_fd = m->key_fd;
	rq->target = m->target;
}

static json_t *states_json(const struct group *g)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < g->n; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s,s:o,s:s}", "volume",
					g->members[i].name, "to",
					ctl_text_json(g->members[i].path),
					"target", g->members[i].state));
	return list;
}

static int tell_failed(struct group *g, struct restore_request *rq,
		       struct client_reply *reply, size_t i, bool untouched)
{
	struct err err = ERR_INIT;

	g->members[i].state = untouched ? "untouched" : "incomplete";
	err_set(&err, reply->err.num, reply->err.code, g->members[i].full,
		"member %s of the group: %s: %s", g->members[i].name,
		reply->err.object, reply->err.message);
	if (*reply->err.remedy)
		err_remedy(&err, "%s", reply->err.remedy);
	reply->err = err;
	restore_tell_target(rq, reply, untouched);
	g->members[i].target = rq->target;
	json_object_set_new(reply->error, "members", states_json(g));
	return client_failure(rq->ctl, reply);
}

static int report_member(const struct group *g, const struct member *m,
			 json_t *result, json_t *done)
{
	char whole[24], took[24];

	json_object_set_new(result, "to", ctl_text_json(m->path));
	(void)json_array_append(done, result);
	if (g->rq->ctl->json)
		return 0;
	output_size(result, "image_bytes", whole);
	output_seconds(result, "seconds", took);
	return printf("%s@%lld restored to %s: %s, %s\n",
		      output_text(result, "volume"),
		      (long long)json_integer_value(
			      json_object_get(result, "seq")),
		      m->path, whole, took) < 0;
}

static int report(const struct group *g, json_t *done)
{
	json_t *out;
	int ret;

	if (!g->rq->ctl->json)
		return printf("%s@%lld of %s restored: %zu members\n",
			      output_text(g->point, "group"),
			      (long long)json_integer_value(
				      json_object_get(g->point, "seq")),
			      output_text(g->point, "time"), g->n) < 0;
	out = json_pack("{s:O,s:O,s:O,s:O,s:O,s:O}", "group",
			json_object_get(g->point, "group"), "seq",
			json_object_get(g->point, "seq"), "time",
			json_object_get(g->point, "time"), "kind",
			json_object_get(g->point, "kind"), "label",
			json_object_get(g->point, "label"), "members", done);
	ret = out ? output_json(out) : CTL_EXIT_FAILED;
	json_decref(out);
	return ret;
}

static int restore_all(struct group *g)
{
	json_t *done = json_array();
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < g->n; i++) {
		struct restore_request rq;
		struct client_reply reply;
		bool untouched;

		member_request(g, i, &rq);
		if (restore_one(&rq, &reply, &untouched) < 0) {
			ret = tell_failed(g, &rq, &reply, i, untouched);
		} else {
			g->members[i].state = "restored";
			ret = report_member(g, &g->members[i], reply.result,
					    done);
		}
		client_reply_free(&reply);
	}
	if (!ret)
		ret = report(g, done);
	json_decref(done);
	return ret;
}

static void let_go(struct group *g)
{
	size_t i;

	for (i = 0; i < g->n && g->members; i++) {
		struct member *m = &g->members[i];

		if (m->state && !strcmp(m->state, "untouched"))
			target_discard(&m->target);
		else
			target_close(&m->target);
		if (m->key_fd >= 0)
			(void)close(m->key_fd);
	}
	free(g->members);
}

int restore_group(struct restore_request *rq, json_t *point,
		  const struct restore_list *to,
		  const struct restore_list *keys)
{
	struct group g = { .rq = rq, .point = point };
	struct err err = ERR_INIT;
	int ret = 0;

	if (rq->len_bytes)
		ret = usage(&err, "--range", "is of one volume",
			    "restore the member by itself");
	if (!ret)
		ret = take_members(&g, &err);
	if (!ret)
		ret = open_keys(&g, keys, &err);
	if (!ret)
		ret = open_targets(&g, to, &err);
	ret = ret < 0 ? output_failure(rq->ctl->json, &err) : restore_all(&g);
	let_go(&g);
	return ret;
}
