// SPDX-License-Identifier: Apache-2.0
/*
 * `events`: what happened, out of the log, and what happens while the client
 * stays. Threads of the control socket; a client that reads slowly holds up
 * its own thread only.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "control/eventlog.h"
#include "control/handlers.h"

#define EVENTS_PER_PART 64
/* Followers may be there for ever, and are less than may be at work. */
#define FOLLOWERS_MAX 8
#define LOOK_MS 500
#define ALIVE_NS (10 * NSEC_PER_SEC)

struct events_args {
	uint64_t since_ns;
	uint64_t last;
	bool follow;
};

static const struct ctl_arg events_table[] = {
	CTL_ARG(struct events_args, since_ns, CTL_ARG_U64, false),
	CTL_ARG(struct events_args, last, CTL_ARG_U64, false),
	CTL_ARG(struct events_args, follow, CTL_ARG_BOOL, false),
};

struct events_out {
	struct ctl_call *call;
	int64_t since_ns;
	json_t *rows;
};

static int flush_rows(struct events_out *eo)
{
	json_t *body;

	if (!json_array_size(eo->rows))
		return 0;
	body = json_pack("{s:o}", "events", eo->rows);
	eo->rows = json_array();
	if (!body || !eo->rows)
		return -ENOMEM;
	return ctl_call_part(eo->call, body);
}

static bool is_wanted(const struct events_out *eo, const json_t *event)
{
	const char *text = json_string_value(json_object_get(event, "time"));
	int64_t at_ns;

	return !eo->since_ns ||
	       (text && !time_parse(text, 0, &at_ns) && at_ns >= eo->since_ns);
}

static int put_event(void *arg, const json_t *event)
{
	struct events_out *eo = arg;

	if (!is_wanted(eo, event))
		return 0;
	if (json_array_append_new(eo->rows, json_deep_copy(event)))
		return -ENOMEM;
	return json_array_size(eo->rows) < EVENTS_PER_PART ? 0 :
							     flush_rows(eo);
}

/* Until the client has gone or the daemon stops. */
static int follow(struct events_out *eo, struct eventlog *l, uint64_t *next,
		  struct err *err)
{
	uint64_t told_ns = clock_mono_ns(clock_real()), now_ns;
	int ret = 0;

	while (!ret && !ctl_call_is_cancelled(eo->call)) {
		if (eventlog_wait(l, *next, LOOK_MS))
			ret = eventlog_walk(l, next, put_event, eo);
		if (!ret)
			ret = flush_rows(eo);
		now_ns = clock_mono_ns(clock_real());
		if (now_ns - told_ns < ALIVE_NS)
			continue;
		/* A client gives up a daemon that says nothing. */
		ctl_call_progress(eo->call, json_object());
		told_ns = now_ns;
	}
	return ret ? ret : err_set(err, -ECANCELED, "stopping", "events",
				   "the daemon is stopping");
}

static int run(struct events_out *eo, struct eventlog *l,
	       const struct events_args *a, struct err *err)
{
	uint64_t end = eventlog_next_id(l), next = 1;
	int ret;

	if (a->last)
		next = end > a->last ? end - a->last : 1;
	ret = eventlog_walk(l, &next, put_event, eo);
	if (!ret)
		ret = flush_rows(eo);
	if (!ret && a->follow)
		ret = follow(eo, l, &next, err);
	return ret < 0 ? err_sys(err, ret, "failed", "events", "read") : 0;
}

static json_t *stats_json(struct eventlog *l)
{
	struct eventlog_stats st;

	eventlog_get_stats(l, &st);
	return json_pack("{s:I,s:I,s:o}", "lost", (json_int_t)st.lost,
			 "unsaved", (json_int_t)st.unsaved, "failure",
			 st.failure ?
				 json_string(strerrordesc_np(-st.failure)) :
				 json_null());
}

int handle_events(void *arg, struct ctl_call *call, json_t **result,
		  struct err *err)
{
	static atomic_int followers;
	struct events_out eo = { .call = call };
	struct daemon *d = arg;
	struct events_args a;
	int ret;

	ret = ctl_args_decode(ctl_call_request(call)->args, events_table,
			      ARRAY_SIZE(events_table), &a, err);
	if (!ret && a.since_ns > INT64_MAX)
		ret = err_set(err, -EINVAL, "bad-argument", "since_ns",
			      "too large");
	if (ret < 0)
		return ret;
	if (a.follow && atomic_fetch_add(&followers, 1) >= FOLLOWERS_MAX) {
		atomic_fetch_sub(&followers, 1);
		err_set(err, -EBUSY, "busy", "events",
			"%d clients follow the events already", FOLLOWERS_MAX);
		err_remedy(err, "end one of them");
		return -EBUSY;
	}
	eo.since_ns = (int64_t)a.since_ns;
	eo.rows = json_array();
	ret = eo.rows ? run(&eo, daemon_eventlog(d), &a, err) :
			handler_no_memory("events", err);
	if (a.follow)
		atomic_fetch_sub(&followers, 1);
	json_decref(eo.rows);
	if (ret < 0)
		return ret;
	*result = stats_json(daemon_eventlog(d));
	return *result ? 0 : handler_no_memory("events", err);
}
