// SPDX-License-Identifier: Apache-2.0
/*
 * `verify`: the device of a volume protected here against its replica's newest
 * point. Threads of the control socket; a client that goes away ends it.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/handlers.h"
#include "source/verify.h"
#include "wire/unit.h"

struct verify_args {
	char volume[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg verify_table[] = {
	CTL_ARG(struct verify_args, volume, CTL_ARG_TEXT, true),
};

/* It needs the device. */
static int lookup_source(struct daemon *d, const char *name, struct lookup *l,
			 struct err *err)
{
	int ret = lookup_local(d, name, l, err);

	if (ret == -EINVAL && !strcmp(err->code, "not-the-source"))
		err_remedy(err, "verify compares with the device: give the "
			   "command at its source, %s; what is stored here is "
			   "checked by `scrub`", l->info.source);
	return ret;
}

static int tell_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct ctl_call *call = arg;

	ctl_call_progress(call, json_pack("{s:s,s:I,s:I}", "phase", "compare",
					  "done_bytes", (json_int_t)done_bytes,
					  "total_bytes",
					  (json_int_t)total_bytes));
	return ctl_call_is_cancelled(call) ? -ECANCELED : 0;
}

static json_t *differences_json(const struct verify_report *rep)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; list && i < rep->n_diffs; i++) {
		const struct verify_diff *d = &rep->diffs[i];
		uint64_t off = d->first << US_BLOCK_SHIFT;
		uint64_t end = MIN((d->first + d->count) << US_BLOCK_SHIFT,
				   rep->size_bytes);

		(void)json_array_append_new(
			list, json_pack("{s:I,s:I,s:s,s:I}", "offset_bytes",
					(json_int_t)off, "length_bytes",
					(json_int_t)(end - off), "what",
					verify_what_name(d->what), "seq",
					(json_int_t)d->seq));
	}
	return list;
}

static json_t *report_json(const char *volume, const struct verify_report *rep,
			   uint64_t took_ns)
{
	return json_pack(
		"{s:s,s:I,s:I,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:o,s:o}",
		"volume", volume, "epoch", (json_int_t)rep->epoch, "first_seq",
		(json_int_t)rep->first_seq, "last_seq",
		(json_int_t)rep->last_seq, "method", "checksums", "size_bytes",
		(json_int_t)rep->size_bytes, "compared_bytes",
		(json_int_t)rep->compared_bytes, "in_points_bytes",
		(json_int_t)rep->in_points_bytes, "skipped_bytes",
		(json_int_t)rep->skipped_bytes, "passes",
		(json_int_t)rep->passes, "differing_bytes",
		(json_int_t)rep->differing_bytes, "truncated",
		rep->n_diffs == VERIFY_DIFFS_MAX, "differences",
		differences_json(rep), "seconds", ctl_seconds_json(took_ns));
}

/* Whether what was found is a failure; its remedy is told. */
static int judge(const struct lookup *l, const struct verify_report *rep,
		 struct err *err)
{
	const struct volume_config *vc =
		volume_get_config(daemon_volume(l->dv));
	const struct verify_diff *d = &rep->diffs[0];

	if (rep->differing_bytes) {
		err_set(err, -EBADMSG, "differs", l->full,
			"%llu bytes differ between %s and point %llu of "
			"replica %s, the first at offset %llu (%s)",
			(unsigned long long)rep->differing_bytes, vc->device,
			(unsigned long long)d->seq, vc->replica.name,
			(unsigned long long)d->first << US_BLOCK_SHIFT,
			verify_what_name(d->what));
		return err_remedy(err, "understudyctl resync %s --yes %s",
				  vc->name, vc->name);
	}
	if (!rep->skipped_bytes)
		return 0;
	err_set(err, -EAGAIN, "incomplete", l->full,
		"%llu of %llu bytes could not be compared: they were written "
		"all the time, and no point was made of them; the others are "
		"equal", (unsigned long long)rep->skipped_bytes,
		(unsigned long long)rep->size_bytes);
	return err_remedy(err, "look at limited_by in `understudyctl status "
			  "%s`, and repeat it", vc->name);
}

static int run(struct ctl_call *call, const struct lookup *l, json_t **result,
	       struct err *err)
{
	const struct verify_order order = { .progress = tell_progress,
					    .arg = call };
	uint64_t start_ns = clock_mono_ns(clock_real());
	struct verify_report rep;
	json_t *json;
	int ret;

	ret = volume_verify(daemon_volume(l->dv), &order, &rep, err);
	if (ret < 0)
		return ret;
	json = report_json(l->full, &rep,
			   clock_mono_ns(clock_real()) - start_ns);
	if (!json)
		return handler_no_memory("verify", err);
	ret = judge(l, &rep, err);
	if (ret < 0)
		ctl_call_details(call, json);
	else
		*result = json;
	return ret;
}

int handle_verify(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err)
{
	struct daemon *d = arg;
	struct verify_args a;
	struct lookup l;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, verify_table,
			      ARRAY_SIZE(verify_table), &a, err);
	if (ret < 0)
		return ret;
	ret = lookup_source(d, a.volume, &l, err);
	if (!ret)
		ret = lookup_not_refused(call, &l, err);
	if (!ret)
		ret = run(call, &l, result, err);
	daemon_tell(d, ret < 0 ? "verify-failed" : "verified", l.full,
		    ret < 0 ? err->code : NULL, "%s",
		    ret < 0 ? err->message : "no difference");
	lookup_release(d, &l);
	return ret < 0 ? err_sys(err, ret, "failed", a.volume, "verify") : 0;
}
