// SPDX-License-Identifier: Apache-2.0
/*
 * `scrub`: everything that is stored here of a volume is read and checked, with
 * the key that was named, or that is kept here, or none. Threads of the control
 * socket; a client that goes away ends it.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "control/handlers.h"
#include "control/key_fd.h"
#include "control/stored.h"
#include "store/scrub.h"

struct scrub_args {
	char volume[SELECTOR_VOLUME_SIZE];
	uint64_t bytes_per_s;
	bool has_key;
};

static const struct ctl_arg scrub_table[] = {
	CTL_ARG(struct scrub_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct scrub_args, bytes_per_s, CTL_ARG_U64, false),
	CTL_ARG(struct scrub_args, has_key, CTL_ARG_BOOL, false),
};

/* The points must be here. */
static int lookup_stored(struct daemon *d, const char *name, struct lookup *l,
			 struct err *err)
{
	int ret = lookup_known(d, name, l, err);

	if (ret < 0 || l->kind == LOOKUP_STORED)
		return ret;
	err_set(err, -EINVAL, "not-the-replica", l->full,
		"is protected here, and stored elsewhere");
	return err_remedy(err, "give the command at its replica; `understudyctl "
			       "verify %s` compares the two", name);
}

/* 0 also without a key: *out is NULL then. */
static int find_opener(struct daemon *d, const struct lookup *l,
		       const struct scrub_args *a, struct ctl_call *call,
		       struct opener **out, struct err *err)
{
	_cleanup_close_ int fd = a->has_key ? ctl_call_take_fd(call, 0) : -1;
	struct key_file file = { 0 };
	int ret;

	if (a->has_key) {
		ret = key_fd_read(fd, &file, err);
		if (!ret && !uuid_equal(&file.volume, &l->info.uuid)) {
			ret = err_set(err, -ENOKEY, "wrong-key", l->full,
				      "the key file is that of another volume, "
				      "%s", file.name);
			err_remedy(err, "name the key file of this volume");
		}
	} else {
		ret = handler_stored_key(d, l, &file.key, NULL);
	}
	if (!ret) {
		*out = opener_new(&file.key);
		ret = *out ? 0 : -ENOMEM;
	}
	volume_key_wipe(&file.key);
	return ret == -ENOKEY && !a->has_key ? 0 : ret;
}

static int tell_progress(void *arg, const struct scrub_progress *p)
{
	struct ctl_call *call = arg;

	ctl_call_progress(call, json_pack("{s:s,s:I,s:I}", "phase", "read",
					  "done_bytes",
					  (json_int_t)p->done_bytes,
					  "total_bytes",
					  (json_int_t)p->total_bytes));
	return ctl_call_is_cancelled(call);
}

/* Whether what was found is a failure; what to do is told. */
static int judge(const struct lookup *l, const struct scrub_report *rep,
		 struct err *err)
{
	const struct scrub_finding *f = &rep->findings[0];

	if (rep->n_findings) {
		err_set(err, -EBADMSG, "damaged", l->full,
			"%llu of %llu points are damaged; the first damage "
			"concerns points %llu to %llu",
			(unsigned long long)rep->damaged_points,
			(unsigned long long)rep->points,
			(unsigned long long)f->first_seq,
			(unsigned long long)f->last_seq);
		return err_remedy(err, "`understudyctl resync` at its source, "
				       "%s, brings what the newest point "
				       "lacks; look at the store's disk",
				  l->info.source);
	}
	if (!rep->loose_bytes)
		return 0;
	err_set(err, -EBADMSG, "damaged-spare", l->full,
		"no point is concerned, and %llu bytes of segments cannot be "
		"read as records: a catalog made anew may not go past them",
		(unsigned long long)rep->loose_bytes);
	return err_remedy(err, "keep a copy of catalog.db, and look at the "
			       "store's disk");
}

static int run(struct daemon *d, struct ctl_call *call, const struct lookup *l,
	       struct scrub_order *order, json_t **result, struct err *err)
{
	uint64_t start_ns = clock_mono_ns(clock_real());
	_cleanup_free_ struct scrub_report *rep = calloc(1, sizeof(*rep));
	json_t *json;
	int ret;

	if (!rep)
		return handler_no_memory("scrub", err);
	order->progress = tell_progress;
	order->arg = call;
	ret = store_scrub(replica_store(daemon_replica(d)), &l->info.uuid,
			  order, rep, err);
	if (ret < 0 && ret != -ENOKEY)
		return ret;
	json = scrub_report_json(l->full, rep, order->opener != NULL,
				 clock_mono_ns(clock_real()) - start_ns);
	if (!json)
		return handler_no_memory("scrub", err);
	if (rep->n_findings || !ret)
		ret = judge(l, rep, err);
	if (ret < 0)
		ctl_call_details(call, json);
	else
		*result = json;
	return ret;
}

static int scrub(struct daemon *d, struct ctl_call *call,
		 const struct scrub_args *a, json_t **result, struct err *err)
{
	struct scrub_order order = { .bytes_per_s = a->bytes_per_s };
	struct lookup l;
	int ret = lookup_stored(d, a->volume, &l, err);

	if (!ret)
		ret = find_opener(d, &l, a, call, &order.opener, err);
	if (!ret) {
		ret = run(d, call, &l, &order, result, err);
		daemon_tell(d, ret < 0 ? "scrub-failed" : "scrubbed", l.full,
			    ret < 0 ? err->code : NULL, "%s",
			    ret < 0 ? err->message :
				      "everything stored reads well");
	}
	opener_free(order.opener);
	lookup_release(d, &l);
	return ret;
}

int handle_scrub(void *arg, struct ctl_call *call, json_t **result,
		 struct err *err)
{
	struct scrub_args a;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, scrub_table,
			      ARRAY_SIZE(scrub_table), &a, err);
	if (!ret)
		ret = scrub(arg, call, &a, result, err);
	return ret < 0 ? err_sys(err, ret, "failed", a.volume, "scrub") : 0;
}
