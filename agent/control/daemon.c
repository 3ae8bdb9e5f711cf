// SPDX-License-Identifier: Apache-2.0
/*
 * A running daemon: its configuration, volumes, replica role, control socket.
 *
 * Threads: start, listen, reload and stop are the main thread's. The others
 * look things up under the lock and count themselves as users of what they
 * found; a volume is stopped only when it is out of the table and its last
 * user has gone. The lock is held over no call into a volume or the store.
 *
 * Nothing here is durable but what the volumes and the store keep themselves:
 * a daemon that is killed loses nothing that one that drains would keep.
 */
#include "control/daemon.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/rnd.h"
#include "control/departures.h"
#include "control/handlers.h"
#include "control/metrics_http.h"
#include "control/revocations.h"
#include "control/version.h"
#include "control/privileges.h"
#include "device/blkdev.h"
#include "freeze/freezer.h"

#define CALLS_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define DRAIN_TIMEOUT_MS 30000
/* What a reload waits for volumes that leave or change. */
#define LEAVE_TIMEOUT_MS 5000
/* What the last events get to be written. */
#define EVENTS_TIMEOUT_MS 5000

struct daemon_volume {
	struct volume *v;
	char name[VOLUME_NAME_MAX + 1];
	unsigned int users;		/* under daemon.lock */
};

struct daemon {
	struct source_env source_env;
	struct replica_env replica_env;
	char state_dir[CONFIG_PATH_MAX];
	struct replica *replica;	/* NULL: no replica; fixed */
	struct ctlserver *server;
	struct departures *departures;	/* volumes that are being stopped */
	struct eventlog *events;	/* fixed */
	int64_t started_wall_ns;	/* fixed */
	char store_path[CONFIG_PATH_MAX];	/* fixed; "": no replica */
	struct metrics_http *metrics;	/* main thread; NULL: none */
	struct revocations revocations;	/* main thread */

	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t user_left;
	struct config *config;
	struct daemon_volume **volumes;	/* in the order of the file */
	size_t n_volumes;
};

/* ---- looking up ---- */

static struct daemon_volume *find(struct daemon *d, const char *name)
{
	size_t i;

	for (i = 0; i < d->n_volumes; i++)
		if (!strcmp(d->volumes[i]->name, name))
			return d->volumes[i];
	return NULL;
}

int daemon_volume_get(struct daemon *d, const char *name,
		      struct daemon_volume **out)
{
	LOCK_SCOPE(&d->lock);
	*out = find(d, name);
	if (!*out)
		return -ENOENT;
	(*out)->users++;
	return 0;
}

void daemon_volume_put(struct daemon *d, struct daemon_volume *dv)
{
	LOCK_SCOPE(&d->lock);
	dv->users--;
	pthread_cond_broadcast(&d->user_left);
}

struct volume *daemon_volume(const struct daemon_volume *dv)
{
	return dv->v;
}

int daemon_volumes_get(struct daemon *d, struct daemon_volume ***out,
		       size_t *n)
{
	size_t i;

	LOCK_SCOPE(&d->lock);
	*out = calloc(d->n_volumes + 1, sizeof(struct daemon_volume *));
	if (!*out)
		return -ENOMEM;
	for (i = 0; i < d->n_volumes; i++) {
		(*out)[i] = d->volumes[i];
		d->volumes[i]->users++;
	}
	*n = d->n_volumes;
	return 0;
}

void daemon_volumes_put(struct daemon *d, struct daemon_volume **all,
			size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		daemon_volume_put(d, all[i]);
	free(all);
}

struct replica *daemon_replica(const struct daemon *d)
{
	return d->replica;
}

bool daemon_is_configured(struct daemon *d, const char *name)
{
	LOCK_SCOPE(&d->lock);

	return find(d, name) || config_volume(d->config, name);
}

const struct source_env *daemon_source_env(const struct daemon *d)
{
	return &d->source_env;
}

int64_t daemon_started_wall_ns(const struct daemon *d)
{
	return d->started_wall_ns;
}

const char *daemon_store_path(const struct daemon *d)
{
	return d->store_path;
}

struct eventlog *daemon_eventlog(const struct daemon *d)
{
	return d->events;
}

void daemon_tell(struct daemon *d, const char *slug, const char *object,
		 const char *reason, const char *fmt, ...)
{
	const struct event e = {
		.slug = slug,
		.role = "daemon",
		.object = object,
		.reason = reason,
	};
	va_list ap;

	va_start(ap, fmt);
	event_vtell(eventlog_sink(d->events), &e, fmt, ap);
	va_end(ap);
}

int daemon_replica_config(struct daemon *d, const char *name,
			  struct replica_config *out)
{
	const struct replica_config *r;

	LOCK_SCOPE(&d->lock);
	if (*name)
		r = config_replica(d->config, name);
	else
		r = d->config->n_replicas == 1 ? d->config->replicas : NULL;
	if (!r)
		return -ENOENT;
	*out = *r;
	return 0;
}

/* ---- volumes come and go ---- */

static int start_volume(struct daemon *d, const struct volume_config *vc,
			struct daemon_volume **out, struct err *err)
{
	_cleanup_free_ struct daemon_volume *dv = calloc(1, sizeof(*dv));
	int ret;

	if (!dv)
		return err_sys(err, -ENOMEM, "no-memory", vc->name, "start");
	memcpy(dv->name, vc->name, sizeof(dv->name));
	ret = volume_start(vc, &d->source_env, &dv->v, err);
	if (ret < 0)
		return ret;
	*out = TAKE_PTR(dv);
	return 0;
}

/* Out of the table already: nobody new comes, and who is inside leaves. */
static void end_volume(struct daemon *d, struct daemon_volume *dv,
		       bool untrack)
{
	volume_cancel(dv->v);
	pthread_mutex_lock(&d->lock);
	while (dv->users)
		pthread_cond_wait(&d->user_left, &d->lock);
	pthread_mutex_unlock(&d->lock);
	volume_stop(dv->v, untrack);
	free(dv);
}

static void take_out(struct daemon *d, struct daemon_volume *dv)
{
	size_t i;

	LOCK_SCOPE(&d->lock);
	for (i = 0; i < d->n_volumes && d->volumes[i] != dv; i++)
		;
	if (i == d->n_volumes)
		return;
	d->n_volumes--;
	memmove(&d->volumes[i], &d->volumes[i + 1],
		(d->n_volumes - i) * sizeof(*d->volumes));
}

static void put_in(struct daemon *d, struct daemon_volume *dv)
{
	LOCK_SCOPE(&d->lock);
	d->volumes[d->n_volumes++] = dv;
}

/* ---- start ---- */

static void daemon_free(struct daemon *d)
{
	eventlog_close(d->events, EVENTS_TIMEOUT_MS);
	revocations_free(&d->revocations);
	config_free(d->config);
	departures_free(d->departures);
	free(d->volumes);
	pthread_cond_destroy(&d->user_left);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static struct daemon *daemon_new(const struct state *st, size_t n_volumes)
{
	struct daemon *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	memcpy(d->state_dir, st->dir, sizeof(d->state_dir));
	d->source_env = (struct source_env){
		.state_dir = d->state_dir,
		.node = st->node,
		.boot = st->boot,
		.clock = clock_real(),
		.rnd = rnd_system(),
		.io = io_posix(),
	};
	d->replica_env = (struct replica_env){
		.state_dir = d->state_dir,
		.node = st->node,
		.boot = st->boot,
		.clock = clock_real(),
		.rnd = rnd_system(),
		.io = io_posix(),
		.holds_path = blkdev_holds_path,
	};
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->user_left, NULL);
	d->volumes = calloc(n_volumes + 1, sizeof(*d->volumes));
	d->departures = departures_new();
	if (d->volumes && d->departures)
		return d;
	daemon_free(d);
	return NULL;
}

/* Before the roles, which tell of what they find. */
static int open_events(struct daemon *d, const struct config *c,
		       struct err *err)
{
	const struct eventlog_config cfg = {
		.io = d->source_env.io,
		.clock = d->source_env.clock,
		.state_dir = d->state_dir,
	};
	struct eventlog_stats st;
	bool unclean;
	int ret = eventlog_open(&cfg, &d->events, err);

	if (ret < 0)
		return ret;
	d->source_env.events = eventlog_sink(d->events);
	d->replica_env.events = eventlog_sink(d->events);
	eventlog_get_stats(d->events, &st);
	unclean = st.had_events && strcmp(st.last_slug, "daemon-stopped") != 0;
	daemon_tell(d, "daemon-started", "understudyd",
		    unclean ? "unclean-end" : NULL,
		    "version %s, %zu volumes, %s%s", UNDERSTUDY_VERSION,
		    c->n_volumes, c->has_store ? "a replica" : "no replica",
		    unclean ? "; the one before did not come to its end" : "");
	return 0;
}

static int start_roles(struct daemon *d, const struct config *c,
		       struct err *err)
{
	struct daemon_volume *dv;
	size_t i;
	int ret;

	if (c->has_store) {
		(void)revocations_changed(&d->revocations, d->state_dir);
		ret = replica_start(&c->store, &d->replica_env, &d->replica,
				    err);
		if (ret < 0)
			return ret;
	}
	for (i = 0; i < c->n_volumes; i++) {
		ret = start_volume(d, &c->volumes[i], &dv, err);
		if (ret < 0)
			return ret;
		put_in(d, dv);
	}
	return 0;
}

/* Volumes that left the configuration while no daemon ran. */
static void forget_others(struct daemon *d)
{
	_cleanup_free_ struct volume **keep =
		calloc(d->n_volumes + 1, sizeof(*keep));
	struct err err = ERR_INIT;
	size_t i;

	for (i = 0; keep && i < d->n_volumes; i++)
		keep[i] = d->volumes[i]->v;
	if (!keep || volume_forget_others(&d->source_env, keep,
					  (int)d->n_volumes, &err))
		log_failure(LOG_LEVEL_WARN, &err);
}

static void end_roles(struct daemon *d)
{
	while (d->n_volumes) {
		struct daemon_volume *dv = d->volumes[d->n_volumes - 1];

		take_out(d, dv);
		end_volume(d, dv, false);
	}
	if (d->replica)
		replica_stop(d->replica);
}

int daemon_start(const struct state *st, struct config *c, struct daemon **out,
		 struct err *err)
{
	struct daemon *d = daemon_new(st, c->n_volumes);
	int ret;

	if (!d)
		return err_sys(err, -ENOMEM, "no-memory", st->dir, "start");
	d->started_wall_ns = clock_wall_ns(d->source_env.clock);
	if (c->has_store)
		(void)snprintf(d->store_path, sizeof(d->store_path), "%s",
			       c->store.store_path);
	ret = open_events(d, c, err);
	if (!ret)
		ret = start_roles(d, c, err);
	if (ret < 0) {
		daemon_tell(d, "daemon-failed", "understudyd", err->code,
			    "%s", err->message);
		end_roles(d);
		daemon_free(d);
		return ret;
	}
	d->config = c;
	if (d->replica)
		revocations_start(&d->revocations, d->state_dir, d->events,
				  clock_wall_ns(d->source_env.clock));
	forget_others(d);
	*out = d;
	return 0;
}

/* The directory of a socket under /run is gone after each boot. */
static int make_socket_dir(const char *path, struct err *err)
{
	char dir[CONFIG_CONTROL_MAX];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		return 0;
	*slash = 0;
	return state_make_dir(dir, err);
}

int daemon_listen(struct daemon *d, struct err *err)
{
	const char *path = d->config->daemon.control;
	int ret = make_socket_dir(path, err);

	if (!ret)
		ret = metrics_http_move(&d->metrics, "",
					d->config->daemon.metrics, d, err);
	if (ret < 0)
		return ret;
	return ctlserver_start(path, control_verbs, d, &d->server, err);
}

/* ---- reload ---- */

/* What a running daemon cannot change under its own feet. */
static int check_fixed(const struct config *old, const struct config *new,
		       struct err *err)
{
	const char *what = NULL;

	if (strcmp(old->daemon.state, new->daemon.state) != 0)
		what = "state";
	else if (strcmp(old->daemon.control, new->daemon.control) != 0)
		what = "control";
	else if (old->has_store != new->has_store)
		what = "[store]";
	else if (new->has_store &&
		 strcmp(old->store.store_path, new->store.store_path) != 0)
		what = "path";
	else if (new->has_store &&
		 strcmp(old->store.listen, new->store.listen) != 0)
		what = "listen";
	else if (new->n_volumes && !privileges_can_track())
		what = "a replica that shall be a source too";
	else if (config_quiesces(new) && !freezer_is_there())
		what = "the first `quiesce` of any volume";
	if (!what)
		return 0;
	err_set(err, -EBUSY, "needs-restart", "configuration",
		"%s changes only with a restart", what);
	err_remedy(err, "restart understudyd; tracking goes on meanwhile");
	return -EBUSY;
}

struct leaver {
	struct daemon *d;
	struct daemon_volume *dv;
	bool untrack;
};

static void end_leaver(void *arg)
{
	_cleanup_free_ struct leaver *l = arg;

	end_volume(l->d, l->dv, l->untrack);
}

/* Takes it out and ends it aside: it takes as long as its device and its peer
 * let it. -ENOMEM: it stays as it is. */
static int send_off(struct daemon *d, struct daemon_volume *dv, bool untrack)
{
	struct leaver *l = calloc(1, sizeof(*l));
	int r = l ? 0 : -ENOMEM;

	if (!r) {
		*l = (struct leaver){ .d = d, .dv = dv, .untrack = untrack };
		take_out(d, dv);
		r = departures_add(d->departures, dv->name, end_leaver, l);
		if (r)
			put_in(d, dv);
	}
	if (r) {
		free(l);
		log_err("volume %s: stop: out of memory", dv->name);
	}
	return r;
}

/* Ends what is no more in c, or is there otherwise. */
static void end_changed(struct daemon *d, const struct config *c)
{
	size_t i = 0;

	while (i < d->n_volumes) {
		struct daemon_volume *dv = d->volumes[i];
		const struct volume_config *vc = config_volume(c, dv->name);

		if (vc && volume_config_equal(vc, volume_get_config(dv->v))) {
			i++;
			continue;
		}
		log_info("volume %s: %s", dv->name,
			 vc ? "configuration changed" : "removed");
		daemon_tell(d, vc ? "volume-changed" : "volume-removed",
			    dv->name, NULL,
			    vc ? "its configuration is another one" :
				 "the configuration has it no more");
		if (send_off(d, dv, !vc))
			i++;
	}
}

/* A volume that does not start is told of, and left out until the next try. */
static void start_new(struct daemon *d, const struct config *c)
{
	struct daemon_volume *dv;
	size_t i;

	for (i = 0; i < c->n_volumes; i++) {
		struct err err = ERR_INIT;

		if (find(d, c->volumes[i].name))
			continue;
		if (departures_has(d->departures, c->volumes[i].name)) {
			log_warn("volume %s: what ran before has not ended "
				 "yet: started when it has",
				 c->volumes[i].name);
			continue;
		}
		if (start_volume(d, &c->volumes[i], &dv, &err) < 0) {
			log_failure(LOG_LEVEL_ERR, &err);
			daemon_tell(d, "volume-failed", c->volumes[i].name,
				    err.code, "%s", err.message);
			continue;
		}
		log_info("volume %s: started", dv->name);
		daemon_tell(d, "volume-started", dv->name, NULL, "device %s",
			    c->volumes[i].device);
		put_in(d, dv);
	}
}

/* As the file has them; those that did not start are not in the table. */
static void order_as(struct daemon *d, const struct config *c)
{
	size_t i, j, n = 0;

	LOCK_SCOPE(&d->lock);
	for (i = 0; i < c->n_volumes; i++) {
		for (j = n; j < d->n_volumes; j++) {
			struct daemon_volume *dv = d->volumes[j];

			if (strcmp(dv->name, c->volumes[i].name) != 0)
				continue;
			d->volumes[j] = d->volumes[n];
			d->volumes[n++] = dv;
			break;
		}
	}
}

int daemon_reload(struct daemon *d, struct config *c, struct err *err)
{
	struct daemon_volume **room;
	struct config *old;
	int ret = check_fixed(d->config, c, err);

	if (ret < 0)
		return ret;
	room = reallocarray(NULL, d->n_volumes + c->n_volumes + 1,
			    sizeof(struct daemon_volume *));
	if (!room)
		return err_sys(err, -ENOMEM, "no-memory", "configuration",
			       "reload");
	if (d->replica) {
		ret = replica_reload(d->replica, &c->store, err);
		if (ret < 0) {
			free(room);
			return ret;
		}
	}
	ret = metrics_http_move(&d->metrics, d->config->daemon.metrics,
				c->daemon.metrics, d, err);
	if (ret < 0) {
		free(room);
		return ret;
	}
	pthread_mutex_lock(&d->lock);
	memcpy(room, d->volumes, d->n_volumes * sizeof(*room));
	free(d->volumes);
	d->volumes = room;
	old = d->config;
	d->config = c;
	pthread_mutex_unlock(&d->lock);
	config_free(old);
	end_changed(d, c);
	(void)departures_wait(d->departures, LEAVE_TIMEOUT_MS);
	start_new(d, c);
	order_as(d, c);
	if (d->replica)
		revocations_look(&d->revocations, d->state_dir, 0,
				 eventlog_sink(d->events));
	return 0;
}

void daemon_tick(struct daemon *d)
{
	if (d->replica)
		revocations_tick(&d->revocations, d->state_dir, d->replica,
				 eventlog_sink(d->events));
}

int daemon_event_fd(const struct daemon *d)
{
	return departures_fd(d->departures);
}

void daemon_catch_up(struct daemon *d)
{
	(void)departures_wait(d->departures, 0);
	start_new(d, d->config);
	order_as(d, d->config);
}

/* ---- stop ---- */

/* Who watches the replica ends before it does. */
static void end_replica(void *arg)
{
	struct daemon *d = arg;

	metrics_http_stop(TAKE_PTR(d->metrics));
	replica_stop(d->replica);
}

bool daemon_stop(struct daemon *d)
{
	bool ended = true;

	daemon_tell(d, "daemon-stopping", "understudyd", NULL,
		    "tracking goes on");
	if (d->server)
		ctlserver_cancel(d->server);
	while (ended && d->n_volumes)
		ended = !send_off(d, d->volumes[0], false);
	if (d->server)
		ended &= ctlserver_stop(d->server, CALLS_TIMEOUT_NS);
	/* Restores read the store: it goes after them. */
	if (ended)
		ended = !departures_add(d->departures, "", end_replica, d);
	ended &= departures_wait(d->departures, DRAIN_TIMEOUT_MS);
	daemon_tell(d, "daemon-stopped", "understudyd",
		    ended ? NULL : "not-in-time",
		    ended ? "in order" : "not everything ended in time");
	if (!ended) {
		(void)eventlog_flush(d->events, EVENTS_TIMEOUT_MS);
		return false;
	}
	daemon_free(d);
	return true;
}
