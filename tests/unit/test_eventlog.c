// SPDX-License-Identifier: Apache-2.0
/*
 * The event log: order, files and their bounds, torn tails, disks that do not
 * take it, and what is made fewer.
 */
#include "own_dir.h"
#include "tap.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "control/event_merge.h"
#include "control/eventlog.h"
#include "unit/faulty_io.h"

struct fixture {
	struct faulty_io faulty;
	struct eventlog_config cfg;
	struct eventlog *log;
};

/* A clock that stands still until it is told to go on. */
struct hand_clock {
	struct clock clock;
	_Atomic uint64_t now_ns;
};

static uint64_t hand_mono(struct clock *c)
{
	return ((struct hand_clock *)(void *)c)->now_ns;
}

static int64_t hand_wall(struct clock *c)
{
	return 1700000000LL * (int64_t)NSEC_PER_SEC + (int64_t)hand_mono(c);
}

static void open_log(struct fixture *f)
{
	struct err err = ERR_INIT;

	ASSERT_OK(eventlog_open(&f->cfg, &f->log, &err));
}

static void begin(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	own_dir_on_disk("eventlog");
	f->cfg = (struct eventlog_config){
		.io = faulty_io_init(&f->faulty),
		.clock = clock_real(),
		.state_dir = own_dir,
		.retry_ms = 5,
	};
	open_log(f);
}

static void end(struct fixture *f)
{
	eventlog_close(f->log, 1000);
	own_dir_remove();
}

static void reopen(struct fixture *f)
{
	eventlog_close(f->log, 1000);
	open_log(f);
}

__attribute__((format(printf, 3, 4))) static void
tell(struct fixture *f, const char *slug, const char *fmt, ...)
{
	struct event e = { .slug = slug, .role = "source", .object = "vol" };
	char object[32];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(object, sizeof(object), fmt, ap);
	va_end(ap);
	e.object = object;
	event_tell(eventlog_sink(f->log), &e, "%s happened", object);
}

struct seen {
	char text[8192];
	uint64_t last_id, n;
	bool rises;
	json_t *newest;
};

static int see(void *arg, const json_t *event)
{
	uint64_t id = (uint64_t)json_integer_value(
		json_object_get(event, "id"));
	struct seen *s = arg;
	size_t at = strlen(s->text);

	(void)snprintf(s->text + at, sizeof(s->text) - at, "%s%s",
		       at ? " " : "",
		       json_string_value(json_object_get(event, "object")));
	s->rises = s->rises && id > s->last_id;
	s->last_id = id;
	s->n++;
	json_decref(s->newest);
	s->newest = json_deep_copy(event);
	return 0;
}

static void see_all(struct fixture *f, struct seen *s)
{
	uint64_t next = 1;

	memset(s, 0, sizeof(*s));
	s->rises = true;
	EXPECT_OK(eventlog_walk(f->log, &next, see, s));
	EXPECT_U64(next, eventlog_next_id(f->log));
	EXPECT_TRUE(s->rises);
}

static const char *text_of(const struct seen *s, const char *key)
{
	return json_string_value(json_object_get(s->newest, key));
}

TEST(an_event_has_every_documented_key)
{
	const struct event e = {
		.slug = "state-lagging", .role = "source", .object = "vol",
		.reason = "link-lost", .since_wall_ns = 1,
	};
	static const char *const keys[] = {
		"id", "time", "slug", "role", "object", "reason", "message",
		"since", "duration_seconds", "count",
	};
	struct fixture f;
	struct seen s;
	size_t i;

	begin(&f);
	event_tell(eventlog_sink(f.log), &e, "it %s", "lags");
	see_all(&f, &s);
	ASSERT_U64(s.n, 1);
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		EXPECT_MSG(json_object_get(s.newest, keys[i]), "  %s",
			   keys[i]);
	EXPECT_U64(json_object_size(s.newest), ARRAY_SIZE(keys));
	EXPECT_STR(text_of(&s, "message"), "it lags");
	EXPECT_STR(text_of(&s, "since"), "1970-01-01T00:00:00.000Z");
	json_decref(s.newest);
	end(&f);
}

TEST(a_sink_that_is_not_there_is_no_matter)
{
	const struct event e = { .slug = "x" };

	event_tell(NULL, &e, "nobody hears it");
	EXPECT_NULL(eventlog_sink(NULL));
}

TEST(events_and_their_ids_go_on_over_a_restart)
{
	struct eventlog_stats st;
	struct fixture f;
	struct seen s;

	begin(&f);
	tell(&f, "a", "one");
	tell(&f, "b", "two");
	reopen(&f);
	eventlog_get_stats(f.log, &st);
	EXPECT_TRUE(st.had_events);
	EXPECT_STR(st.last_slug, "b");
	tell(&f, "c", "three");
	see_all(&f, &s);
	EXPECT_STR(s.text, "one two three");
	EXPECT_U64(s.last_id, 3);
	json_decref(s.newest);
	end(&f);
}

static int count_files(const char *dir, char newest[512])
{
	char path[256], best[256] = "";
	struct dirent *e;
	DIR *d;
	int n = 0;

	(void)snprintf(path, sizeof(path), "%s/events", dir);
	d = opendir(path);
	ASSERT_NOT_NULL(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			n++;
			if (strcmp(e->d_name, best) > 0)
				(void)snprintf(best, sizeof(best), "%s",
					       e->d_name);
		}
	(void)closedir(d);
	(void)snprintf(newest, 512, "%s/%s", path, best);
	return n;
}

TEST(files_are_bounded_in_size_and_number)
{
	char newest[512];
	struct fixture f;
	struct seen s;
	struct stat st;
	int i;

	begin(&f);
	f.cfg.file_bytes = 2000;
	f.cfg.max_files = 3;
	reopen(&f);
	for (i = 0; i < 200; i++) {
		tell(&f, "a", "object%d", i);
		if (i % 10 == 9)
			EXPECT_OK(eventlog_flush(f.log, 5000));
	}
	EXPECT_INT(count_files(own_dir, newest), 3);
	ASSERT_OK(stat(newest, &st));
	EXPECT_TRUE(st.st_size <= 4096);
	EXPECT_U64(st.st_mode & 0777, 0600);
	/* A new process has only what the files have: the newest. */
	reopen(&f);
	see_all(&f, &s);
	EXPECT_U64(s.last_id, 200);
	EXPECT_TRUE(s.n >= 8 && s.n < 60);
	json_decref(s.newest);
	end(&f);
}

static void append_to_newest(const char *text)
{
	char path[512];
	FILE *file;

	(void)count_files(own_dir, path);
	file = fopen(path, "a");
	ASSERT_NOT_NULL(file);
	ASSERT_TRUE(fputs(text, file) >= 0);
	ASSERT_OK(fclose(file));
}

TEST(a_torn_last_line_costs_itself_only)
{
	struct fixture f;
	struct seen s;

	begin(&f);
	tell(&f, "a", "one");
	EXPECT_OK(eventlog_flush(f.log, 5000));
	eventlog_close(f.log, 1000);
	append_to_newest("{\"id\":2,\"time\":\"2026-");
	open_log(&f);
	see_all(&f, &s);
	EXPECT_STR(s.text, "one");
	json_decref(s.newest);
	tell(&f, "b", "two");
	reopen(&f);
	see_all(&f, &s);
	EXPECT_STR(s.text, "one two");
	json_decref(s.newest);
	end(&f);
}

TEST(lines_that_are_no_events_are_left_out)
{
	struct fixture f;
	struct seen s;

	begin(&f);
	tell(&f, "a", "one");
	EXPECT_OK(eventlog_flush(f.log, 5000));
	eventlog_close(f.log, 1000);
	append_to_newest("\n[]\n17\n{\"id\":\"9\"}\n{\"id\":-4}\n\xff\xfe\n"
			     "{\"id\":1,\"object\":\"twice\"}\n{}\n");
	open_log(&f);
	tell(&f, "b", "two");
	reopen(&f);
	see_all(&f, &s);
	EXPECT_STR(s.text, "one two");
	json_decref(s.newest);
	end(&f);
}

TEST(a_full_disk_keeps_events_in_memory_and_writes_them_later)
{
	struct eventlog_stats st;
	struct fixture f;
	struct seen s;

	begin(&f);
	tell(&f, "a", "one");
	EXPECT_OK(eventlog_flush(f.log, 5000));
	atomic_store(&f.faulty.write_errno, ENOSPC);
	atomic_store(&f.faulty.write_in, 1);
	tell(&f, "b", "two");
	EXPECT_INT(eventlog_flush(f.log, 50), -ETIMEDOUT);
	eventlog_get_stats(f.log, &st);
	EXPECT_INT(st.failure, -ENOSPC);
	EXPECT_U64(st.unsaved, 1);
	EXPECT_U64(st.lost, 0);
	see_all(&f, &s);
	EXPECT_STR(s.text, "one two");
	json_decref(s.newest);
	atomic_store(&f.faulty.write_in, 0);
	EXPECT_OK(eventlog_flush(f.log, 5000));
	eventlog_get_stats(f.log, &st);
	EXPECT_INT(st.failure, 0);
	reopen(&f);
	see_all(&f, &s);
	EXPECT_STR(s.text, "one two");
	json_decref(s.newest);
	end(&f);
}

TEST(events_that_memory_cannot_keep_are_counted_and_told_of)
{
	struct hand_clock hand = {
		.clock = { hand_mono, hand_wall }, .now_ns = NSEC_PER_SEC,
	};
	struct eventlog_stats st;
	struct fixture f;
	struct seen s;
	int i;

	begin(&f);
	f.cfg.clock = &hand.clock;
	reopen(&f);
	atomic_store(&f.faulty.sync_errno, EIO);
	atomic_store(&f.faulty.sync_in, 1);
	for (i = 0; i < EVENTLOG_RING + 40; i++) {
		tell(&f, "a", "o%d", i);
		hand.now_ns += NSEC_PER_SEC;	/* within the bound on all */
	}
	eventlog_get_stats(f.log, &st);
	EXPECT_U64(st.lost, 40);
	EXPECT_U64(st.unsaved, EVENTLOG_RING);
	atomic_store(&f.faulty.sync_in, 0);
	hand.now_ns += 10 * NSEC_PER_SEC;
	tell(&f, "a", "last");
	EXPECT_OK(eventlog_flush(f.log, 10000));
	EXPECT_TRUE(eventlog_wait(f.log, EVENTLOG_RING + 42, 5000));
	see_all(&f, &s);
	EXPECT_STR(text_of(&s, "slug"), "events-lost");
	EXPECT_GE(json_integer_value(json_object_get(s.newest, "count")), 40);
	json_decref(s.newest);
	f.cfg.clock = clock_real();
	end(&f);
}

TEST(a_state_that_is_no_directory_stops_nobody)
{
	struct eventlog_stats st;
	struct fixture f;
	struct seen s;

	begin(&f);
	eventlog_close(f.log, 1000);
	f.cfg.state_dir = "/proc/version";
	open_log(&f);
	tell(&f, "a", "one");
	EXPECT_INT(eventlog_flush(f.log, 50), -ETIMEDOUT);
	eventlog_get_stats(f.log, &st);
	EXPECT_TRUE(st.failure < 0);
	EXPECT_TRUE(st.unreadable);
	eventlog_close(f.log, 1000);
	f.cfg.state_dir = own_dir;
	open_log(&f);
	see_all(&f, &s);
	EXPECT_U64(s.n, 0);
	end(&f);
}

TEST(short_writes_make_whole_lines)
{
	struct fixture f;
	struct seen s;
	int i;

	begin(&f);
	atomic_store(&f.faulty.short_writes, true);
	for (i = 0; i < 20; i++)
		tell(&f, "a", "o%d", i);
	reopen(&f);
	see_all(&f, &s);
	EXPECT_U64(s.n, 20);
	json_decref(s.newest);
	end(&f);
}

static int add_up(void *arg, const char *slug, uint64_t n)
{
	if (!strcmp(slug, "flap"))
		*(uint64_t *)arg += n;
	return 0;
}

TEST(what_happens_over_and_over_is_told_by_a_count)
{
	struct hand_clock hand = {
		.clock = { hand_mono, hand_wall }, .now_ns = NSEC_PER_SEC,
	};
	struct fixture f;
	struct seen s;
	uint64_t n = 0;
	int i;

	begin(&f);
	f.cfg.clock = &hand.clock;
	reopen(&f);
	for (i = 0; i < 1000; i++)
		tell(&f, "flap", "vol");
	see_all(&f, &s);
	EXPECT_U64(s.n, MERGE_BURST);
	json_decref(s.newest);
	EXPECT_OK(eventlog_counts(f.log, add_up, &n));
	EXPECT_U64(n, 1000);
	/* The end of the log is the end of every window. */
	reopen(&f);
	see_all(&f, &s);
	EXPECT_U64(s.n, MERGE_BURST + 1);
	EXPECT_U64(json_integer_value(json_object_get(s.newest, "count")),
		   1000 - MERGE_BURST);
	json_decref(s.newest);
	f.cfg.clock = clock_real();
	end(&f);
}

static struct event_record record(const char *slug, int object)
{
	struct event_record r = { .count = 1, .time_wall_ns = 5 };

	(void)snprintf(r.slug, sizeof(r.slug), "%s", slug);
	(void)snprintf(r.object, sizeof(r.object), "o%d", object);
	return r;
}

TEST(a_window_doubles_while_it_goes_on_and_ends_when_it_is_quiet)
{
	struct event_merge *m = calloc(1, sizeof(*m));
	struct event_record r = record("a", 1), out;
	uint64_t now = 1, passed = 0, held = 0;
	int i;

	ASSERT_NOT_NULL(m);
	event_merge_init(m, now);
	/* One a second for an hour. */
	for (i = 0; i < 3600; i++, now += NSEC_PER_SEC) {
		passed += event_merge_take(m, &r, now);
		while (event_merge_due(m, now, false, &out)) {
			held += out.count;
			passed++;
		}
	}
	EXPECT_TRUE(passed < 14);
	while (event_merge_due(m, now, true, &out))
		held += out.count;
	EXPECT_U64(held, 3600 - MERGE_BURST);
	EXPECT_U64(event_merge_next_ns(m), UINT64_MAX);
	now += MERGE_WINDOW_MAX_NS + 1;
	EXPECT_TRUE(event_merge_take(m, &r, now));
	free(m);
}

TEST(kinds_without_number_are_counted_together)
{
	struct event_merge *m = calloc(1, sizeof(*m));
	struct event_record out;
	uint64_t now = 1, passed = 0, told = 0;
	int i;

	ASSERT_NOT_NULL(m);
	event_merge_init(m, now);
	for (i = 0; i < 10000; i++, now += NSEC_PER_SEC / 100) {
		struct event_record r = record("a", i);

		passed += event_merge_take(m, &r, now);
	}
	EXPECT_TRUE(passed <= MERGE_TOTAL_BURST + 101);
	while (event_merge_due(m, now, true, &out)) {
		EXPECT_STR(out.slug, "events-merged");
		told += out.count;
	}
	EXPECT_U64(passed + told, 10000);
	free(m);
}

struct many {
	struct fixture *f;
	int who;
};

static void *tell_many(void *arg)
{
	struct many *m = arg;
	int i;

	for (i = 0; i < 50; i++)
		tell(m->f, "a", "o%d-%d", m->who, i);
	return NULL;
}

TEST(many_may_report_while_others_read)
{
	pthread_t threads[4];
	struct many many[4];
	struct fixture f;
	struct seen s;
	int i;

	begin(&f);
	for (i = 0; i < 4; i++) {
		many[i] = (struct many){ &f, i };
		ASSERT_OK(pthread_create(&threads[i], NULL, tell_many,
					 &many[i]));
	}
	for (i = 0; i < 10; i++) {
		see_all(&f, &s);
		json_decref(s.newest);
	}
	for (i = 0; i < 4; i++)
		ASSERT_OK(pthread_join(threads[i], NULL));
	reopen(&f);
	see_all(&f, &s);
	EXPECT_U64(s.n, 200);
	json_decref(s.newest);
	end(&f);
}
