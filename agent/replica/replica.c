// SPDX-License-Identifier: Apache-2.0
/*
 * The replica as a whole: its store, its listener, its identity, and what the
 * daemon asks of it.
 *
 * Threads: the listener's own accepts and joins; the public functions may be
 * called from any. What survives a crash is the store's and the keys' affair;
 * nothing else is kept.
 */
#include "replica/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/log.h"
#include "pki/pki.h"
#include "replica/replica_internal.h"

/* After accept(2) failed for want of descriptors or memory. */
#define ACCEPT_PAUSE_MS 100

static const struct replica_limits default_limits = {
	.connections = 1024,
	.strangers = 128,
	.strangers_per_address = 64,
	.per_name = 512,
	.handshake_ms = 10000,
	.idle_ms = 60000,
	.reader_idle_ms = 600000,
	.stall_ms = 300000,
};

static void fill_limits(struct replica_limits *l)
{
	const struct replica_limits *d = &default_limits;

#define FILL(f) (l->f = l->f ? l->f : d->f)
	FILL(connections);
	FILL(strangers);
	FILL(strangers_per_address);
	FILL(per_name);
	FILL(handshake_ms);
	FILL(idle_ms);
	FILL(reader_idle_ms);
	FILL(stall_ms);
#undef FILL
}

/* ---- [accept] ---- */

bool replica_accepts(struct replica *r, const char *full_name)
{
	LOCK_SCOPE(&r->lock);
	int i;

	for (i = 0; i < r->n_accept; i++)
		if (pki_pattern_matches(r->accept[i].pattern, full_name))
			return true;
	return !r->n_accept;
}

/* A copy, or NULL with *failed when memory is out. */
static struct accept_rule *copy_rules(const struct replica_role_config *cfg,
				      bool *failed)
{
	struct accept_rule *rules = NULL;

	*failed = false;
	if (!cfg->n_accept)
		return NULL;
	rules = calloc((size_t)cfg->n_accept, sizeof(*rules));
	if (rules)
		memcpy(rules, cfg->accept,
		       (size_t)cfg->n_accept * sizeof(*rules));
	*failed = !rules;
	return rules;
}

/* ---- the listener ---- */

static int identity_load(struct replica *r, struct tls_identity **out,
			 struct err *err)
{
	_cleanup_free_ char *dir = NULL;
	int n;

	if (asprintf(&dir, "%s/pki/server", r->state_dir) < 0) {
		dir = NULL;
		return err_set(err, -ENOMEM, "no-memory", "replica",
			       "out of memory");
	}
	n = tls_identity_load(dir, out, err);
	if (n == -ENOENT)
		err_remedy(err, "run `understudyctl pki init` with this "
				"configuration first");
	return n;
}

struct tls_identity *replica_identity(struct replica *r)
{
	LOCK_SCOPE(&r->lock);

	return r->identity ? tls_identity_ref(r->identity) : NULL;
}

static void accept_one(struct replica *r)
{
	const struct timespec pause = {
		.tv_nsec = ACCEPT_PAUSE_MS * (long)NSEC_PER_MSEC
	};
	char address[64] = "";
	int fd;

	fd = listener_accept(r->listener, address);
	if (fd >= 0) {
		(void)peer_start(r, fd, NULL, address);	/* logged there */
		return;
	}
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	log_err("replica: accept on %s: %s", r->listen, strerror(-fd));
	(void)nanosleep(&pause, NULL);
}

static bool is_stopping(struct replica *r)
{
	LOCK_SCOPE(&r->lock);

	return r->stopping;
}

static void *listener_main(void *arg)
{
	struct replica *r = arg;
	struct pollfd fds[2] = {
		{ .fd = listener_fd(r->listener), .events = POLLIN },
		{ .fd = r->wake_fd, .events = POLLIN },
	};

	while (!is_stopping(r)) {
		uint64_t n;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			log_err("replica: poll: %s", strerror(errno));
			break;
		}
		if (fds[1].revents && read(r->wake_fd, &n, sizeof(n)) < 0 &&
		    errno != EAGAIN)
			log_err("replica: wake-up: %s", strerror(errno));
		if (fds[0].revents)
			accept_one(r);
		peers_reap(r, false);
	}
	return NULL;
}

static int start_listener(struct replica *r, struct err *err)
{
	sigset_t all, old;
	int n;

	if (!r->listen[0])
		return 0;
	n = identity_load(r, &r->identity, err);
	if (n == 0)
		n = listener_open(r->listen, &r->listener, err);
	if (n < 0)
		return err_sys(err, n, "cannot-listen", r->listen, "listen");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	n = -pthread_create(&r->thread, NULL, listener_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (n < 0)
		return err_sys(err, n, "no-thread", "replica",
			       "start the listener");
	r->has_thread = true;
	return 0;
}

/* ---- start and stop ---- */

static void replica_free(struct replica *r)
{
	struct volume_record *rec, *next;

	for (rec = r->records; rec; rec = next) {
		next = rec->next;
		free(rec);
	}
	listener_close(r->listener);
	tls_identity_free(r->identity);
	if (r->store)
		store_close(r->store);
	if (r->wake_fd >= 0)
		(void)close(r->wake_fd);
	pthread_mutex_destroy(&r->opening);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->keys_lock);
	pthread_cond_destroy(&r->changed);
	free(r->accept);
	free(r->keys_dir);
	free(r->state_dir);
	free(r);
}

static struct replica *replica_alloc(const struct replica_role_config *cfg,
				     const struct replica_env *env)
{
	struct replica *r = calloc(1, sizeof(*r));
	bool failed = false;

	if (!r)
		return NULL;
	r->env = *env;
	r->limits = env->limits;
	fill_limits(&r->limits);
	pthread_mutex_init(&r->opening, NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->keys_lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	r->state_dir = strdup(env->state_dir);
	r->env.state_dir = r->state_dir;
	snprintf(r->store_path, sizeof(r->store_path), "%s", cfg->store_path);
	snprintf(r->listen, sizeof(r->listen), "%s", cfg->listen);
	r->accept = copy_rules(cfg, &failed);
	r->n_accept = cfg->n_accept;
	r->started_wall_ns = clock_wall_ns(env->clock);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r->state_dir || failed || r->wake_fd < 0) {
		replica_free(r);
		return NULL;
	}
	return r;
}

/* Is path dir itself or below it? Both exist. */
static bool is_below(const char *path, const char *dir)
{
	_cleanup_free_ char *p = realpath(path, NULL);
	_cleanup_free_ char *d = realpath(dir, NULL);
	size_t n;

	if (!p || !d)
		return false;
	n = strlen(d);
	return !strcmp(d, "/") || (!strncmp(p, d, n) && (!p[n] || p[n] == '/'));
}

static int open_store(struct replica *r, struct err *err)
{
	const struct store_config cfg = {
		.path = r->store_path,
		.io = r->env.io,
		.clock = r->env.clock,
		.rnd = r->env.rnd,
	};

	if (is_below(r->keys_dir, r->store_path)) {
		err_set(err, -EINVAL, "keys-in-store", r->store_path,
			"the keys in %s would lie inside the store",
			r->keys_dir);
		err_remedy(err, "give [store] path a directory that does not "
				"hold [daemon] state");
		return -EINVAL;
	}
	return store_open(&cfg, &r->store, err);
}

static int forget_key(void *arg, const struct uuid *volume)
{
	return keys_forget(arg, volume);
}

/* What a removal that was cut off has left. */
static void purge(struct replica *r)
{
	struct err err = ERR_INIT;

	if (store_purge(r->store, forget_key, r, &err) < 0)
		log_failure(LOG_LEVEL_WARN, &err);
}

int replica_remove(struct replica *r, const struct uuid *volume,
		   struct err *err)
{
	int n = store_remove(r->store, volume, err);

	if (n < 0)
		return n;
	record_forget(r, volume);
	return store_purge(r->store, forget_key, r, err);
}

int replica_start(const struct replica_role_config *cfg,
		  const struct replica_env *env, struct replica **out,
		  struct err *err)
{
	struct replica *r = replica_alloc(cfg, env);
	int n;

	if (!r)
		return err_set(err, -ENOMEM, "no-memory", "replica",
			       "out of memory or descriptors");
	n = keys_open(r, err);
	if (n == 0)
		n = open_store(r, err);
	if (n == 0)
		purge(r);
	if (n == 0)
		n = start_listener(r, err);
	if (n < 0) {
		replica_free(r);
		return n;
	}
	if (r->listener)
		log_info("replica: listening on %s, port %u, store %s",
			 r->listen, listener_port(r->listener), r->store_path);
	replica_tell_states(r);
	*out = r;
	return 0;
}

static void wake_listener(struct replica *r)
{
	const uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("replica: cannot wake the listener: %s",
			strerror(errno));
}

void replica_stop(struct replica *r)
{
	struct peer *p;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	for (p = r->peers; p; p = p->next)
		peer_stop(p, STOP_SHUTDOWN);
	pthread_mutex_unlock(&r->lock);
	if (r->has_thread) {
		wake_listener(r);
		pthread_join(r->thread, NULL);
	}
	peers_reap(r, true);
	replica_free(r);
}

uint16_t replica_port(const struct replica *r)
{
	return r->listener ? listener_port(r->listener) : 0;
}

void replica_get_sessions(struct replica *r, struct replica_sessions *out)
{
	const struct peer *p;
	LOCK_SCOPE(&r->lock);

	*out = (struct replica_sessions){
		.connections = r->n_peers,
		.strangers = r->n_strangers,
	};
	for (p = r->peers; p; p = p->next)
		out->senders += p->full_name[0] != 0;
}

struct store *replica_store(struct replica *r)
{
	return r->store;
}

int replica_serve(struct replica *r, struct conn *c)
{
	return peer_start(r, -1, c,
			  c->peer_address[0] ? c->peer_address : "local:0");
}

/* ---- reload ---- */

static int check_reload(const struct replica *r,
			const struct replica_role_config *cfg, struct err *err)
{
	bool listen_same = !strcmp(cfg->listen, r->listen);

	if (listen_same && !strcmp(cfg->store_path, r->store_path))
		return 0;
	err_set(err, -EINVAL, "needs-restart", "[store]",
		"%s cannot change while the daemon runs",
		listen_same ? "path" : "listen");
	err_remedy(err, "restart understudyd; tracking goes on meanwhile");
	return -EINVAL;
}

/* Under lock: sessions for volumes that no rule accepts any more. */
static void stop_unaccepted(struct replica *r)
{
	struct peer *p;
	int i;

	for (p = r->peers; p; p = p->next) {
		bool ok = !r->n_accept || !p->full_name[0];

		for (i = 0; i < r->n_accept && !ok; i++)
			ok = pki_pattern_matches(r->accept[i].pattern,
						 p->full_name);
		if (!ok)
			peer_stop(p, STOP_NOT_ACCEPTED);
	}
}

/* Under lock: each looks at its own certificate, in its own thread. */
static void recheck_peers(struct replica *r)
{
	struct peer *p;

	for (p = r->peers; p; p = p->next) {
		atomic_store(&p->recheck, true);
		if (p->conn)
			conn_wake(p->conn);
	}
}

/* Takes rules and identity (NULL: the old one stays). */
static void swap_in(struct replica *r, struct accept_rule *rules, int n_rules,
		    struct tls_identity *identity)
{
	struct accept_rule *old_rules;
	struct tls_identity *old = NULL;

	pthread_mutex_lock(&r->lock);
	old_rules = r->accept;
	r->accept = rules;
	r->n_accept = n_rules;
	if (identity) {
		old = r->identity;
		r->identity = identity;
	}
	stop_unaccepted(r);
	recheck_peers(r);
	pthread_mutex_unlock(&r->lock);
	free(old_rules);
	tls_identity_free(old);
}

int replica_reload(struct replica *r, const struct replica_role_config *cfg,
		   struct err *err)
{
	struct tls_identity *identity = NULL;
	struct accept_rule *rules;
	bool failed;
	int n;

	n = check_reload(r, cfg, err);
	if (n < 0)
		return n;
	if (r->listener) {
		n = identity_load(r, &identity, err);
		if (n < 0)
			return n;
	}
	rules = copy_rules(cfg, &failed);
	if (failed) {
		tls_identity_free(identity);
		return err_set(err, -ENOMEM, "no-memory", "replica",
			       "out of memory: the old rules stay");
	}
	swap_in(r, rules, cfg->n_accept, identity);
	return 0;
}

int replica_reload_identity(struct replica *r, struct err *err)
{
	struct tls_identity *identity = NULL, *old;
	int n;

	if (!r->listener)
		return 0;
	n = identity_load(r, &identity, err);
	if (n < 0)
		return n;
	pthread_mutex_lock(&r->lock);
	old = r->identity;
	r->identity = identity;
	recheck_peers(r);
	pthread_mutex_unlock(&r->lock);
	tls_identity_free(old);
	return 0;
}
