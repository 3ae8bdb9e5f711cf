// SPDX-License-Identifier: Apache-2.0
/*
 * The event log: a ring in memory, in front of files.
 *
 * Threads: anybody reports and reads; one thread writes. The lock guards the
 * ring and the counters and is held over no I/O, so that who reports under a
 * lock of his own waits for nobody's disk.
 *
 * Invariants: ids rise by one, over restarts too. What is in the ring up to
 * `saved` is on the disk. An event leaves the ring unsaved only when the ring
 * is full of newer ones, and is counted as lost then. After a crash the events
 * of the last moment may be missing, never ones in between.
 */
#include "control/eventlog.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/ctlproto.h"
#include "control/event_files.h"
#include "control/event_merge.h"

#define RETRY_MS 5000
#define BATCH 32

struct slug_count {
	char slug[32];
	uint64_t n;
};

struct eventlog {
	struct event_sink sink;
	struct clock *clock;
	uint64_t retry_ns;
	struct event_files files;	/* the thread's, but for its paths */
	pthread_t thread;

	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t changed;
	bool stop, ended;
	struct event_record ring[EVENTLOG_RING];	/* [id % size] */
	uint64_t oldest;		/* in the ring */
	uint64_t next;			/* id that comes next */
	uint64_t saved;			/* up to and with this id */
	uint64_t lost, lost_told;
	int failure;
	struct event_merge merge;
	struct slug_count counts[EVENTLOG_SLUGS_MAX];
	size_t n_counts;
	struct event_last last;		/* at the start */
	bool unreadable;
};

/* ---- taking ---- */

static void count(struct eventlog *l, const char *slug, uint64_t n)
{
	size_t i;

	for (i = 0; i < l->n_counts; i++)
		if (!strcmp(l->counts[i].slug, slug))
			break;
	if (i == EVENTLOG_SLUGS_MAX)
		return;
	if (i == l->n_counts) {
		(void)snprintf(l->counts[i].slug, sizeof(l->counts[i].slug),
			       "%s", slug);
		l->counts[i].n = 0;
		l->n_counts++;
	}
	l->counts[i].n += n;
}

/* Into the ring, under lock. */
static void keep(struct eventlog *l, const struct event_record *r)
{
	struct event_record *at = &l->ring[l->next % EVENTLOG_RING];

	if (l->next - l->oldest == EVENTLOG_RING) {
		if (l->oldest > l->saved) {
			l->saved = l->oldest;
			l->lost += l->ring[l->oldest % EVENTLOG_RING].count;
		}
		l->oldest++;
	}
	*at = *r;
	at->id = l->next++;
	pthread_cond_broadcast(&l->changed);
}

static void put_text(char *out, size_t cap, const char *s)
{
	(void)snprintf(out, cap, "%s", s ? s : "");
}

static void report(struct event_sink *s, const struct event *e,
		   const char *message)
{
	struct eventlog *l = (struct eventlog *)(void *)s;
	struct event_record r = {
		.time_wall_ns = clock_wall_ns(l->clock),
		.since_wall_ns = e->since_wall_ns,
		.count = 1,
	};

	put_text(r.slug, sizeof(r.slug), e->slug);
	put_text(r.role, sizeof(r.role), e->role);
	put_text(r.object, sizeof(r.object), e->object);
	put_text(r.reason, sizeof(r.reason), e->reason);
	put_text(r.message, sizeof(r.message), message);
	LOCK_SCOPE(&l->lock);
	count(l, r.slug, 1);
	if (event_merge_take(&l->merge, &r, clock_mono_ns(l->clock)))
		keep(l, &r);
	else
		pthread_cond_broadcast(&l->changed);
}

/* Held ones whose time has come, and the loss of others. Under lock. */
static void keep_due(struct eventlog *l, bool all)
{
	uint64_t now = clock_mono_ns(l->clock);
	struct event_record r;

	while (event_merge_due(&l->merge, now, all, &r))
		keep(l, &r);
	/* Not before there is room: it would push another one out. */
	if (l->saved + 1 < l->next || l->lost == l->lost_told)
		return;
	r = (struct event_record){
		.time_wall_ns = clock_wall_ns(l->clock),
		.count = l->lost - l->lost_told,
		.slug = "events-lost", .role = "daemon", .object = "events",
	};
	(void)snprintf(r.message, sizeof(r.message),
		       "%llu events could not be written and are lost",
		       (unsigned long long)r.count);
	l->lost_told = l->lost;
	count(l, r.slug, 1);
	keep(l, &r);
}

/* ---- writing ---- */

static json_t *record_json(const struct event_record *r)
{
	bool spans = r->since_wall_ns && r->since_wall_ns <= r->time_wall_ns;

	return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I}", "id",
			 (json_int_t)r->id, "time",
			 ctl_time_json(r->time_wall_ns), "slug",
			 ctl_text_json(r->slug), "role",
			 ctl_text_json(r->role), "object",
			 ctl_text_json(r->object), "reason",
			 ctl_text_json(r->reason), "message",
			 ctl_text_json(r->message), "since",
			 r->since_wall_ns ? ctl_time_json(r->since_wall_ns) :
					    json_null(),
			 "duration_seconds",
			 spans ? ctl_seconds_json((uint64_t)(r->time_wall_ns -
							     r->since_wall_ns)) :
				 json_null(),
			 "count", (json_int_t)r->count);
}

static int put_line(struct buf *out, const struct event_record *r)
{
	_cleanup_free_ char *line = NULL;
	json_t *j = record_json(r);

	line = j ? ctl_json_line(j) : NULL;
	json_decref(j);
	if (!line)
		return -ENOMEM;
	buf_put(out, line, strlen(line));
	buf_put_u8(out, '\n');
	return out->failed ? -ENOMEM : 0;
}

static int write_batch(struct eventlog *l, const struct event_record *r,
		       size_t n)
{
	_cleanup_buf_ struct buf out = { 0 };
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < n; i++)
		ret = put_line(&out, &r[i]);
	return ret ? ret : event_files_append(&l->files, r[0].id, out.data,
					      out.len);
}

/* Under lock, which is let go meanwhile. */
static void save_some(struct eventlog *l, struct event_record batch[BATCH])
{
	uint64_t id = MAX(l->saved + 1, l->oldest);
	size_t n = 0;
	int ret;

	while (n < BATCH && id < l->next)
		batch[n++] = l->ring[id++ % EVENTLOG_RING];
	pthread_mutex_unlock(&l->lock);
	ret = write_batch(l, batch, n);
	pthread_mutex_lock(&l->lock);
	if (!ret)
		l->saved = MAX(l->saved, batch[n - 1].id);
	if (ret && ret != l->failure)
		log_warn("%s: events are kept in memory only: %s",
			 l->files.dir, strerrordesc_np(-ret));
	else if (!ret && l->failure)
		log_info("%s: events are written again", l->files.dir);
	l->failure = ret;
	pthread_cond_broadcast(&l->changed);
}

/* Until something is to be done, or the stop. */
static void wait_for_work(struct eventlog *l, uint64_t next_try)
{
	uint64_t now = clock_mono_ns(l->clock), until, ns;
	struct timespec ts;

	until = event_merge_next_ns(&l->merge);
	if (l->saved + 1 < l->next)
		until = MIN(until, next_try);
	if (until == UINT64_MAX) {
		pthread_cond_wait(&l->changed, &l->lock);
		return;
	}
	ns = until > now ? until - now : 0;
	clock_deadline(MIN(ns, NSEC_PER_SEC), &ts);
	(void)pthread_cond_timedwait(&l->changed, &l->lock, &ts);
}

static bool may_try(struct eventlog *l, uint64_t next_try)
{
	return l->saved + 1 < l->next &&
	       (!l->failure || l->stop ||
		clock_mono_ns(l->clock) >= next_try);
}

static void *writer(void *arg)
{
	static_assert(BATCH < EVENTLOG_RING, "a batch is a part of the ring");
	struct event_record batch[BATCH];
	struct eventlog *l = arg;
	uint64_t next_try = 0;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		keep_due(l, l->stop);
		if (may_try(l, next_try)) {
			save_some(l, batch);
			if (l->failure) {
				next_try = clock_mono_ns(l->clock) +
					   l->retry_ns;
				if (l->stop)
					break;
			}
		} else if (l->stop) {
			break;
		} else {
			wait_for_work(l, next_try);
		}
	}
	l->ended = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	event_files_close(&l->files);
	return NULL;
}

/* ---- life ---- */

static void init_cond(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(c, &attr);
	(void)pthread_condattr_destroy(&attr);
}

/* Ids go on where they were; where that cannot be known, far behind. */
static void find_start(struct eventlog *l)
{
	int ret = event_files_look(&l->files, &l->last);
	uint64_t newest = l->last.id;

	l->unreadable = ret < 0;
	if (ret < 0) {
		log_warn("%s: what happened before cannot be read: %s",
			 l->files.dir, strerrordesc_np(-ret));
		newest = MAX(newest, (uint64_t)clock_wall_ns(l->clock) /
					     NSEC_PER_USEC);
	}
	l->saved = newest;
	l->oldest = l->next = newest + 1;
}

static void eventlog_free(struct eventlog *l)
{
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int eventlog_open(const struct eventlog_config *cfg, struct eventlog **out,
		  struct err *err)
{
	struct eventlog *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return err_sys(err, -ENOMEM, "no-memory", "events", "start");
	l->sink.report = report;
	l->clock = cfg->clock;
	l->retry_ns = (cfg->retry_ms ? cfg->retry_ms : RETRY_MS) *
		      NSEC_PER_MSEC;
	event_files_init(&l->files, cfg->io, cfg->state_dir);
	if (cfg->file_bytes)
		l->files.file_bytes = cfg->file_bytes;
	if (cfg->max_files)
		l->files.max_files = cfg->max_files;
	pthread_mutex_init(&l->lock, NULL);
	init_cond(&l->changed);
	event_merge_init(&l->merge, clock_mono_ns(l->clock));
	find_start(l);
	ret = -pthread_create(&l->thread, NULL, writer, l);
	if (ret < 0) {
		eventlog_free(l);
		return err_sys(err, ret, "no-thread", "events", "start");
	}
	*out = l;
	return 0;
}

/* Under lock. True when it came. */
static bool wait_until_true(struct eventlog *l, int timeout_ms,
			    bool (*test)(const struct eventlog *l, uint64_t x),
			    uint64_t x)
{
	struct timespec end;

	clock_deadline((uint64_t)timeout_ms * NSEC_PER_MSEC, &end);
	while (!test(l, x))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &end))
			return test(l, x);
	return true;
}

static bool has_ended(const struct eventlog *l, uint64_t x)
{
	(void)x;
	return l->ended;
}

static bool has_saved(const struct eventlog *l, uint64_t id)
{
	return l->saved >= id;
}

static bool has_event(const struct eventlog *l, uint64_t id)
{
	return l->next > id;
}

void eventlog_close(struct eventlog *l, int timeout_ms)
{
	bool ended;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	ended = wait_until_true(l, timeout_ms, has_ended, 0);
	pthread_mutex_unlock(&l->lock);
	if (!ended) {
		log_warn("%s: the disk does not answer", l->files.dir);
		return;			/* the thread still uses it */
	}
	(void)pthread_join(l->thread, NULL);
	eventlog_free(l);
}

struct event_sink *eventlog_sink(struct eventlog *l)
{
	return l ? &l->sink : NULL;
}

void eventlog_get_stats(struct eventlog *l, struct eventlog_stats *out)
{
	LOCK_SCOPE(&l->lock);

	*out = (struct eventlog_stats){
		.lost = l->lost,
		.unsaved = l->next - 1 - l->saved,
		.failure = l->failure,
		.had_events = l->last.id > 0,
		.last_wall_ns = l->last.wall_ns,
		.unreadable = l->unreadable,
	};
	memcpy(out->last_slug, l->last.slug, sizeof(out->last_slug));
}

int eventlog_counts(struct eventlog *l,
		    int (*cb)(void *arg, const char *slug, uint64_t count),
		    void *arg)
{
	struct slug_count copy[EVENTLOG_SLUGS_MAX];
	size_t i, n;
	int ret = 0;

	pthread_mutex_lock(&l->lock);
	memcpy(copy, l->counts, sizeof(copy));
	n = l->n_counts;
	pthread_mutex_unlock(&l->lock);
	for (i = 0; !ret && i < n; i++)
		ret = cb(arg, copy[i].slug, copy[i].n);
	return ret;
}

int eventlog_flush(struct eventlog *l, int timeout_ms)
{
	LOCK_SCOPE(&l->lock);

	return wait_until_true(l, timeout_ms, has_saved, l->next - 1) ?
		       0 :
		       -ETIMEDOUT;
}

/* ---- reading ---- */

struct walk {
	eventlog_cb cb;
	void *arg;
	uint64_t *next;
	uint64_t end;			/* the ring has it */
};

#define WALK_ENOUGH 1			/* callbacks give 0 or an error */

static int walk_file(void *arg, uint64_t id, const json_t *event)
{
	struct walk *w = arg;

	if (id >= w->end)
		return WALK_ENOUGH;
	*w->next = id + 1;
	return w->cb(w->arg, event);
}

static int walk_ring(struct eventlog *l, struct walk *w)
{
	struct event_record r;
	json_t *j;
	int ret;

	for (;;) {
		pthread_mutex_lock(&l->lock);
		if (*w->next >= l->next || *w->next < l->oldest) {
			pthread_mutex_unlock(&l->lock);
			return 0;
		}
		r = l->ring[*w->next % EVENTLOG_RING];
		pthread_mutex_unlock(&l->lock);
		j = record_json(&r);
		if (!j)
			return -ENOMEM;
		++*w->next;
		ret = w->cb(w->arg, j);
		json_decref(j);
		if (ret)
			return ret;
	}
}

int eventlog_walk(struct eventlog *l, uint64_t *next, eventlog_cb cb,
		  void *arg)
{
	struct walk w = { .cb = cb, .arg = arg, .next = next };
	uint64_t newest;
	int ret = 0;

	for (;;) {
		pthread_mutex_lock(&l->lock);
		w.end = l->oldest;
		newest = l->next - 1;
		pthread_mutex_unlock(&l->lock);
		if (*next > newest)
			return 0;
		if (*next < w.end) {
			ret = event_files_walk(&l->files, *next, walk_file,
					       &w);
			if (ret < 0)
				return ret;
			/* What the files do not have is gone. */
			*next = MAX(*next, w.end);
		}
		ret = walk_ring(l, &w);
		if (ret)
			return ret;
	}
}

bool eventlog_wait(struct eventlog *l, uint64_t id, int timeout_ms)
{
	LOCK_SCOPE(&l->lock);

	return wait_until_true(l, timeout_ms, has_event, id);
}

uint64_t eventlog_next_id(struct eventlog *l)
{
	LOCK_SCOPE(&l->lock);

	return l->next;
}
