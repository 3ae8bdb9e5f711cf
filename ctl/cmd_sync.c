// SPDX-License-Identifier: Apache-2.0
/* `sync`: a point now; its number goes to standard output. */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/units.h"
#include "client.h"
#include "control/selector.h"
#include "output.h"
#include "progress.h"

#define DEFAULT_TIMEOUT_NS (60 * NSEC_PER_SEC)
#define MAX_TIMEOUT_NS (24 * 3600 * NSEC_PER_SEC)
/* What a working daemon may need on top to say that time is up. */
#define GRACE_MS 30000

struct sync_args {
	const char *label, *timeout;
	bool quiesce;
};

const struct opt sync_opts[] = {
	{ "--label", OPT_TEXT, offsetof(struct sync_args, label), "TEXT",
	  "name the point" },
	{ "--timeout", OPT_TEXT, offsetof(struct sync_args, timeout), "TIME",
	  "give up after this long (1m)" },
	{ "--quiesce", OPT_FLAG, offsetof(struct sync_args, quiesce), NULL,
	  "hold the writers for it, as the volume's `quiesce` says" },
	{ 0 },
};

static int check(const struct sync_args *a, uint64_t *timeout_ns,
		 struct err *err)
{
	*timeout_ns = DEFAULT_TIMEOUT_NS;
	if (a->label && selector_check_label(a->label, err) < 0)
		return -EINVAL;
	if (!a->timeout)
		return 0;
	if (duration_parse(a->timeout, timeout_ns) < 0 || !*timeout_ns ||
	    *timeout_ns > MAX_TIMEOUT_NS) {
		err_set(err, -EINVAL, "usage", "--timeout",
			"%s is no time up to a day", a->timeout);
		err_remedy(err, "a time is 500ms, 30s, 5m, 1h");
		return -EINVAL;
	}
	return 0;
}

int cmd_sync(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct sync_args *a = o;
	struct progress progress;
	struct client_request rq = {
		.verb = "sync",
		.progress = progress_body,
		.arg = &progress,
	};
	struct client_reply reply;
	struct err err = ERR_INIT;
	uint64_t timeout_ns;
	int ret;

	(void)n_args;
	if (check(a, &timeout_ns, &err) < 0)
		return output_failure(ctl->json, &err);
	rq.args = json_pack("{s:s,s:s*,s:I,s:b}", "volume", args[0], "label",
			    a->label, "timeout_ms",
			    (json_int_t)(timeout_ns / NSEC_PER_MSEC),
			    "quiesce", a->quiesce);
	rq.patience_ms = (int)(timeout_ns / NSEC_PER_MSEC) + GRACE_MS;
	progress_init(&progress, ctl, "sync");
	ret = client_call(ctl, &rq, &reply);
	progress_end(&progress);
	if (ret < 0)
		ret = client_failure(ctl, &reply);
	else if (ctl->json)
		ret = output_json(reply.result);
	else
		ret = printf("%lld\n", (long long)json_integer_value(
					       json_object_get(reply.result,
							       "seq"))) < 0;
	client_reply_free(&reply);
	return ret;
}
