// SPDX-License-Identifier: Apache-2.0
/* Events of certificates that were revoked. Main thread. */
#include "control/revocations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "pki/pki.h"

struct look {
	struct revocations *r;
	int64_t since_s;
	struct event_sink *events;
};

static bool is_known(const struct revocations *r, const char *serial)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (!strcmp(r->serials[i], serial))
			return true;
	return false;
}

static int take(void *arg, const struct pki_cert *c)
{
	const struct event e = {
		.slug = "certificate-revoked",
		.role = "replica",
		.object = c->subject.name,
		.since_wall_ns = 0,
	};
	struct look *l = arg;
	char (*more)[41];

	if (!c->revoked || is_known(l->r, c->serial))
		return 0;
	more = reallocarray(l->r->serials, l->r->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	l->r->serials = more;
	memcpy(more[l->r->n++], c->serial, sizeof(*more));
	if (c->revoked_s >= l->since_s)
		event_tell(l->events, &e, "certificate %s of %s is revoked",
			   c->serial, c->subject.name);
	return 0;
}

void revocations_look(struct revocations *r, const char *state_dir,
		      int64_t since_s, struct event_sink *events)
{
	struct look l = { .r = r, .since_s = since_s, .events = events };
	struct err err = ERR_INIT;
	int ret = pki_list(state_dir, take, &l, &err);

	if (ret < 0 && ret != -ENOENT)
		log_failure(LOG_LEVEL_WARN, &err);
}

/* Whole files are put in its place: another inode, or another time of it. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev &&
	       a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool revocations_changed(struct revocations *r, const char *state_dir)
{
	_cleanup_free_ char *path = NULL;
	struct stat now;
	bool same;

	if (asprintf(&path, "%s/pki/server/crl.pem", state_dir) < 0) {
		path = NULL;
		return false;
	}
	if (stat(path, &now) < 0)
		memset(&now, 0, sizeof(now));
	same = same_file(&now, &r->list);
	r->list = now;
	return !same;
}

void revocations_start(struct revocations *r, const char *state_dir,
		       struct eventlog *log, int64_t now_wall_ns)
{
	struct eventlog_stats st;
	int64_t since_ns;

	eventlog_get_stats(log, &st);
	since_ns = st.had_events ? st.last_wall_ns : now_wall_ns;
	revocations_look(r, state_dir, since_ns / (int64_t)NSEC_PER_SEC,
			 eventlog_sink(log));
}

void revocations_tick(struct revocations *r, const char *state_dir,
		      struct replica *replica, struct event_sink *events)
{
	struct err err = ERR_INIT;

	if (!revocations_changed(r, state_dir))
		return;
	if (replica_reload_identity(replica, &err) < 0) {
		err_done(&err, "the former certificates stay in force");
		log_failure(LOG_LEVEL_ERR, &err);
		return;
	}
	log_info("certificates: the list of those revoked is read anew");
	revocations_look(r, state_dir, 0, events);
}

void revocations_free(struct revocations *r)
{
	free(r->serials);
	r->serials = NULL;
	r->n = 0;
}
