// SPDX-License-Identifier: Apache-2.0
/*
 * Fault points for test builds; see fault.h. A program that was built without
 * them refers to nothing here, so the linker leaves this file out.
 *
 * Any thread: one lock around the counters, not held while waiting.
 */
#include "base/fault.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"

enum action { ACT_ERROR, ACT_DELAY, ACT_KILL, ACT_STOP };

static const char *const action_names[] = {
	[ACT_ERROR] = "error",
	[ACT_DELAY] = "delay",
	[ACT_KILL] = "kill",
	[ACT_STOP] = "stop",
};

#define MAX_FAULTS 32
#define ERRNO_END 134			/* Linux numbers errors below this */

struct fault {
	char place[64];
	enum action action;
	int error;			/* negative errno of ACT_ERROR */
	uint64_t delay_ns;
	uint64_t nth;			/* 0: every time */
	bool onward;			/* "n+" */
	uint64_t n_hits;
};

static struct {
	pthread_mutex_t lock;
	bool configured;
	size_t n;
	struct fault faults[MAX_FAULTS];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int errno_by_name(const char *name, int *out)
{
	int num;

	for (num = 1; num < ERRNO_END; num++) {
		const char *known = strerrorname_np(num);

		if (known && !strcmp(known, name)) {
			*out = -num;
			return 0;
		}
	}
	return -EINVAL;
}

/* "3" or "3+" after the '@'. */
static int parse_nth(const char *s, struct fault *f)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	f->nth = strtoull(s, &end, 10);
	f->onward = *end == '+';
	return f->nth && !end[f->onward] ? 0 : -EINVAL;
}

static int parse_action(const char *name, const char *arg, struct fault *f)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(action_names); i++)
		if (!strcmp(name, action_names[i]))
			break;
	if (i == ARRAY_SIZE(action_names))
		return -EINVAL;
	f->action = (enum action)i;
	if (f->action == ACT_ERROR)
		return errno_by_name(arg ? arg : "EIO", &f->error);
	if (f->action == ACT_DELAY)
		return arg ? duration_parse(arg, &f->delay_ns) : -EINVAL;
	return arg ? -EINVAL : 0;
}

/* "place=action[:argument][@n]"; the text is cut into pieces. */
static int parse_entry(char *s, struct fault *f)
{
	char *action, *arg, *nth;
	size_t len;

	memset(f, 0, sizeof(*f));
	action = strchr(s, '=');
	if (!action)
		return -EINVAL;
	*action++ = 0;
	len = strlen(s);
	if (!len || len >= sizeof(f->place))
		return -EINVAL;
	memcpy(f->place, s, len + 1);
	nth = strchr(action, '@');
	if (nth) {
		*nth++ = 0;
		if (parse_nth(nth, f) < 0)
			return -EINVAL;
	}
	arg = strchr(action, ':');
	if (arg)
		*arg++ = 0;
	return parse_action(action, arg, f);
}

static int configure_locked(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *entry, *rest = copy;

	if (!copy)
		return -ENOMEM;
	state.configured = true;
	state.n = 0;
	while ((entry = strsep(&rest, ","))) {
		if (!*entry)
			continue;
		if (state.n == MAX_FAULTS ||
		    parse_entry(entry, &state.faults[state.n]) < 0)
			return -EINVAL;
		state.n++;
	}
	return 0;
}

int fault_configure(const char *text)
{
	LOCK_SCOPE(&state.lock);

	return configure_locked(text);
}

static void configure_from_env_locked(void)
{
	const char *env = getenv("UNDERSTUDY_FAULT");

	if (configure_locked(env ? env : "") == 0)
		return;
	(void)fprintf(stderr, "UNDERSTUDY_FAULT cannot be read: %s\n", env);
	abort();
}

/* The fault that is due at this passing of place, or false. */
static bool due(const char *place, struct fault *out)
{
	bool found = false;
	size_t i;
	LOCK_SCOPE(&state.lock);

	if (!state.configured)
		configure_from_env_locked();
	for (i = 0; i < state.n; i++) {
		struct fault *f = &state.faults[i];

		if (strcmp(f->place, place) != 0)
			continue;
		f->n_hits++;
		if (f->nth && f->n_hits != f->nth &&
		    !(f->onward && f->n_hits > f->nth))
			continue;
		if (!found)
			*out = *f;
		found = true;
	}
	return found;
}

static void wait_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NSEC_PER_SEC),
		.tv_nsec = (long)(ns % NSEC_PER_SEC),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

int fault_hit(const char *place)
{
	struct fault f = { 0 };

	if (!due(place, &f))
		return 0;
	switch (f.action) {
	case ACT_ERROR:
		return f.error;
	case ACT_DELAY:
		wait_ns(f.delay_ns);
		return 0;
	case ACT_STOP:
		(void)raise(SIGSTOP);
		return 0;
	case ACT_KILL:
		(void)raise(SIGKILL);
	}
	return 0;
}
