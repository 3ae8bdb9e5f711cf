/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_EVENTLOG_H
#define CONTROL_EVENTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/event.h"
#include "base/io.h"

/*
 * The daemon's log of what happened: the sink of everybody's events, kept in
 * <state>/events and, the newest of them, in memory. Any thread.
 *
 * Reporting never waits: a thread of the log's own writes. While the disk does
 * not take them, events live in memory; those that fall out of it unwritten
 * are counted, and told of by an event when the disk takes them again.
 */
#define EVENTLOG_RING 512
#define EVENTLOG_SLUGS_MAX 64

struct eventlog;

struct eventlog_config {
	struct io *io;
	struct clock *clock;
	const char *state_dir;
	/* 0 = the default. */
	uint64_t file_bytes;
	unsigned int max_files;
	unsigned int retry_ms;		/* after a write that failed */
};

struct eventlog_stats {
	uint64_t lost;			/* neither on disk nor in memory */
	uint64_t unsaved;		/* in memory only, as of now */
	int failure;			/* why: negative errno; 0: it is written */
	bool had_events;		/* in the files, at the start; of the */
	int64_t last_wall_ns;		/* newest of them the time */
	char last_slug[32];		/* and what it told of */
	bool unreadable;		/* the files could not be looked at */
};

/* -ENOMEM, -EAGAIN: no memory, no thread. The disk's state is no failure. */
int eventlog_open(const struct eventlog_config *cfg, struct eventlog **out,
		  struct err *err);
/* Writes what it can within timeout_ms, and frees. Nobody reports any more. */
void eventlog_close(struct eventlog *l, int timeout_ms);
struct event_sink *eventlog_sink(struct eventlog *l);	/* NULL for NULL */
void eventlog_get_stats(struct eventlog *l, struct eventlog_stats *out);
/* Events reported since the start, by slug; the merged ones too. */
int eventlog_counts(struct eventlog *l,
		    int (*cb)(void *arg, const char *slug, uint64_t count),
		    void *arg);
/* Until all that was reported before is written. -ETIMEDOUT. */
int eventlog_flush(struct eventlog *l, int timeout_ms);

/*
 * Events from id *next on, oldest first, up to the newest; *next becomes the
 * one that follows. A negative result of cb ends it and is returned, and that
 * event counts as seen.
 */
typedef int (*eventlog_cb)(void *arg, const json_t *event);
int eventlog_walk(struct eventlog *l, uint64_t *next, eventlog_cb cb,
		  void *arg);
/* Until there is event id, or time is out. True: it is there. */
bool eventlog_wait(struct eventlog *l, uint64_t id, int timeout_ms);
/* The id that the next event gets. */
uint64_t eventlog_next_id(struct eventlog *l);

#endif
