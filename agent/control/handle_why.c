// SPDX-License-Identifier: Apache-2.0
/*
 * `why`. Where there is a backlog that moves, its speed is measured while the
 * client waits. Threads of the control socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "control/handlers.h"
#include "control/why.h"

#define MEASURE_NS (2 * NSEC_PER_SEC)
#define LOOK_MS 100

struct why_args {
	char volume[SELECTOR_VOLUME_SIZE];
};

static const struct ctl_arg why_table[] = {
	CTL_ARG(struct why_args, volume, CTL_ARG_TEXT, true),
};

static bool is_moving(const struct volume_status *s)
{
	return s->backlog_bytes && !strcmp(s->replica_state, "connected") &&
	       (s->state == VOLUME_INITIALIZING ||
		s->state == VOLUME_COMPARING || s->state == VOLUME_LAGGING ||
		s->state == VOLUME_PROTECTED);
}

/* 0, or -ECANCELED when the client has gone. */
static int measure(struct ctl_call *call, uint64_t *took_ns)
{
	uint64_t start = clock_mono_ns(clock_real());

	do {
		if (ctl_call_is_cancelled(call))
			return -ECANCELED;
		(void)poll(NULL, 0, LOOK_MS);
		*took_ns = clock_mono_ns(clock_real()) - start;
	} while (*took_ns < MEASURE_NS);
	return 0;
}

static int ask_local(struct ctl_call *call, struct volume *v, struct why *out)
{
	const struct volume_config *vc = volume_get_config(v);
	_cleanup_free_ struct volume_status *s = calloc(2, sizeof(*s));
	struct why_source w = {
		.now = s,
		.read_limit_bytes = vc->read_limit_bytes,
		.rate_limit_bytes = vc->replica.rate_limit_bytes,
	};
	int ret;

	if (!s)
		return -ENOMEM;
	volume_get_status(v, &s[0]);
	if (is_moving(&s[0])) {
		ret = measure(call, &w.between_ns);
		if (ret < 0)
			return ret;
		volume_get_status(v, &s[1]);
		w.before = &s[0];
		w.now = &s[1];
	}
	why_source(&w, out);
	return 0;
}

struct stored {
	const struct uuid *uuid;
	struct why *out;
};

static int ask_stored(void *arg, const struct replica_volume_status *s)
{
	const struct stored *st = arg;

	if (uuid_equal(st->uuid, &s->info.uuid))
		why_replica(s, st->out);
	return 0;
}

static int ask(struct daemon *d, struct ctl_call *call,
	       const struct lookup *l, struct why *out)
{
	struct stored st = { .uuid = &l->info.uuid, .out = out };

	if (l->kind == LOOKUP_LOCAL)
		return ask_local(call, daemon_volume(l->dv), out);
	return replica_status(daemon_replica(d), ask_stored, &st);
}

static json_t *why_json(const char *volume, const struct why *w)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < w->n; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s,s:o}", "slug", w->s[i].slug,
					"text", ctl_text_json(w->s[i].text)));
	return json_pack("{s:s,s:o}", "volume", volume, "sentences", list);
}

int handle_why(void *arg, struct ctl_call *call, json_t **result,
	       struct err *err)
{
	_cleanup_free_ struct why *w = calloc(1, sizeof(*w));
	struct daemon *d = arg;
	struct why_args a;
	struct lookup l;
	int ret;

	if (!w)
		return handler_no_memory("why", err);
	ret = ctl_args_decode(ctl_call_request(call)->args, why_table,
			      ARRAY_SIZE(why_table), &a, err);
	if (!ret)
		ret = lookup_known(d, a.volume, &l, err);
	if (ret < 0)
		return ret;
	ret = ask(d, call, &l, w);
	if (!ret)
		*result = why_json(l.full, w);
	lookup_release(d, &l);
	if (ret < 0)
		return err_sys(err, ret, "failed", a.volume, "look at it");
	return *result ? 0 : handler_no_memory("why", err);
}
