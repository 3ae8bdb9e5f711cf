// SPDX-License-Identifier: Apache-2.0
/*
 * Threads that end something, counted out through an eventfd.
 *
 * Invariant: a job is freed by the owner's thread alone, after its thread has
 * said that it is done and was joined. A job whose thread hangs stays in the
 * list until the process ends.
 */
#include "control/departures.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

struct departure {
	struct departure *next;
	char name[80];
	void (*end)(void *arg);
	void *arg;
	int done_fd;
	pthread_t thread;
	bool joinable;
	atomic_bool done;
};

struct departures {
	struct departure *jobs;
	int done_fd;
};

struct departures *departures_new(void)
{
	struct departures *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->done_fd >= 0)
		return d;
	free(d);
	return NULL;
}

void departures_free(struct departures *d)
{
	if (!d || d->jobs)
		return;
	(void)close(d->done_fd);
	free(d);
}

static void *depart(void *arg)
{
	struct departure *job = arg;
	const uint64_t one = 1;
	int done_fd = job->done_fd;

	job->end(job->arg);
	/* From here on the owner may free the job, once it has joined. */
	atomic_store(&job->done, true);
	if (write(done_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_err("stop: an event is lost");
	return NULL;
}

int departures_add(struct departures *d, const char *name,
		   void (*end)(void *arg), void *arg)
{
	struct departure *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	(void)snprintf(job->name, sizeof(job->name), "%s", name);
	job->end = end;
	job->arg = arg;
	job->done_fd = d->done_fd;
	job->next = d->jobs;
	d->jobs = job;
	job->joinable = !pthread_create(&job->thread, NULL, depart, job);
	if (!job->joinable)
		(void)depart(job);
	return 0;
}

bool departures_has(const struct departures *d, const char *name)
{
	const struct departure *job;

	for (job = d->jobs; job; job = job->next)
		if (!strcmp(job->name, name))
			return true;
	return false;
}

static void reap(struct departures *d)
{
	struct departure **p = &d->jobs, *job;

	while ((job = *p)) {
		if (!atomic_load(&job->done)) {
			p = &job->next;
			continue;
		}
		*p = job->next;
		if (job->joinable)
			(void)pthread_join(job->thread, NULL);
		free(job);
	}
}

/* The count is of no interest: the jobs are looked at themselves. */
static void drain(struct departures *d)
{
	uint64_t n;

	if (read(d->done_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_err("stop: %m");
}

bool departures_wait(struct departures *d, int timeout_ms)
{
	struct clock *clock = clock_real();
	uint64_t now_ns = clock_mono_ns(clock);
	uint64_t end_ns = now_ns + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	struct pollfd p = { .fd = d->done_fd, .events = POLLIN };

	for (;;) {
		drain(d);
		reap(d);
		now_ns = clock_mono_ns(clock);
		if (!d->jobs || now_ns >= end_ns)
			return !d->jobs;
		if (poll(&p, 1, (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1) <
			    0 &&
		    errno != EINTR)
			return false;
	}
}

int departures_fd(const struct departures *d)
{
	return d->done_fd;
}
