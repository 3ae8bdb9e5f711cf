// SPDX-License-Identifier: Apache-2.0
/*
 * understudyd: command line, process set-up, signals. The main thread does
 * nothing else; what it starts lives in daemon.c.
 *
 * Signals are blocked in every thread and read from a descriptor: SIGTERM and
 * SIGINT drain (a second one ends the process at once), SIGHUP reloads. Being
 * killed is no special case: tracking goes on in the pinned programs, and what
 * is durable is durable without a clean end.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/config.h"
#include "control/ctlproto.h"
#include "control/daemon.h"
#include "control/privileges.h"
#include "control/sdnotify.h"
#include "control/state.h"
#include "control/version.h"
#include "tracker/tracker_host.h"

struct options {
	const char *config;
	bool check, untrack, version, help, debug;
};

struct option_rule {
	const char *name;
	size_t offset;			/* of the bool; config takes a value */
	const char *help;
};

static const struct option_rule option_rules[] = {
	{ "--config", offsetof(struct options, config),
	  "FILE  read FILE instead of " CTL_DEFAULT_CONFIG },
	{ "--check", offsetof(struct options, check),
	  "       check the configuration, and say nothing when it is good" },
	{ "--untrack", offsetof(struct options, untrack),
	  "     end the tracking of this state's volumes" },
	{ "--debug", offsetof(struct options, debug),
	  "       log more" },
	{ "--version", offsetof(struct options, version), "" },
	{ "--help", offsetof(struct options, help), "" },
};

static int usage_error(const char *what, const char *arg)
{
	(void)fprintf(stderr, "understudyd: %s: %s; see understudyd --help\n",
		      arg, what);
	return CTL_EXIT_USAGE;
}

static int print_help(void)
{
	size_t i;

	(void)printf("usage: understudyd [OPTION]...\n\n"
		     "Tracks block devices and ships their recovery points, "
		     "or keeps those of others.\n\n");
	for (i = 0; i < ARRAY_SIZE(option_rules); i++)
		(void)printf("  %s %s\n", option_rules[i].name,
			     option_rules[i].help);
	return fflush(stdout) ? CTL_EXIT_FAILED : CTL_EXIT_DONE;
}

/* 0, or an exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int i;

	memset(o, 0, sizeof(*o));
	o->config = CTL_DEFAULT_CONFIG;
	for (i = 1; i < argc; i++) {
		size_t j;

		if (!strncmp(argv[i], "--config=", 9)) {
			o->config = argv[i] + 9;
			continue;
		}
		for (j = 0; j < ARRAY_SIZE(option_rules); j++)
			if (!strcmp(argv[i], option_rules[j].name))
				break;
		if (j == ARRAY_SIZE(option_rules))
			return usage_error("unknown option", argv[i]);
		if (j == 0) {
			if (++i == argc)
				return usage_error("needs a file", "--config");
			o->config = argv[i];
		} else {
			*(bool *)((char *)o + option_rules[j].offset) = true;
		}
	}
	if (!*o->config)
		return usage_error("needs a file", "--config");
	return 0;
}

/* For the modes that are not the daemon: told to whoever typed it. */
static int tell(const struct err *err)
{
	(void)fprintf(stderr, "%s%s%s\n", err->message,
		      *err->remedy ? "; " : "", err->remedy);
	return (int)ctl_exit_of(err);
}

static int check_config(const char *path)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct err err = ERR_INIT;

	return config_load(path, &c, &err) < 0 ? tell(&err) : CTL_EXIT_DONE;
}

/*
 * Ends tracking: what is written from here on is not seen, and a daemon that
 * starts again compares everything.
 */
static int untrack(const char *path)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct err err = ERR_INIT;
	struct state st;
	struct uuid node;
	int ret;

	if (config_load(path, &c, &err) < 0)
		return tell(&err);
	ret = state_read_node(c->daemon.state, &node, &err);
	if (ret == -ENOENT)
		return CTL_EXIT_DONE;
	if (ret < 0 || state_open(c->daemon.state, &st, &err) < 0)
		return tell(&err);
	ret = tracker_host_unpin(&node, NULL, &err);
	state_close(&st);
	if (ret < 0 && ret != -ENOENT) {
		err_sys(&err, ret, "failed", c->daemon.state,
			"remove the pinned programs");
		return tell(&err);
	}
	return CTL_EXIT_DONE;
}

/* Keys are in memory: it is not to be dumped or looked into. */
static void secure_process(void)
{
	const struct rlimit no_core = { 0, 0 };

	(void)umask(077);
	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		log_warn("core dumps cannot be switched off");
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warn("the process cannot be made undumpable");
	privileges_raise_limits();
	(void)signal(SIGPIPE, SIG_IGN);
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -EINVAL;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* 0 when there is none to read. */
static int next_signal(int fd)
{
	struct signalfd_siginfo si;

	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return 0;
	return (int)si.ssi_signo;
}

static void reload(struct daemon *d, const char *path)
{
	struct err err = ERR_INIT;
	struct config *c = NULL;
	int ret;

	(void)sdnotify_reloading();
	ret = config_load(path, &c, &err);
	if (!ret) {
		ret = daemon_reload(d, c, &err);
		if (ret < 0)
			config_free(c);
	}
	if (ret < 0) {
		err_done(&err, "the old configuration stays");
		log_failure(LOG_LEVEL_ERR, &err);
		daemon_tell(d, "configuration-refused", path, err.code, "%s",
			    err.message);
	} else {
		log_info("configuration reloaded");
		daemon_tell(d, "configuration-reloaded", path, NULL,
			    "it is in force");
	}
	(void)sdnotify_ready();
}

struct drain {
	struct daemon *d;
	int done_fd;
	bool clean;
};

static void *drain_thread(void *arg)
{
	struct drain *drain = arg;
	const uint64_t one = 1;

	drain->clean = daemon_stop(drain->d);
	if (write(drain->done_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		_exit(CTL_EXIT_DONE);
	return NULL;
}

/*
 * Ends the process: clean when everything ended in time, else just so. Bytes
 * that did not get out are still marked in the pinned maps.
 */
__attribute__((noreturn)) static void drain_and_exit(struct daemon *d,
						     int signal_fd)
{
	struct drain drain = { .d = d, .done_fd = eventfd(0, EFD_CLOEXEC) };
	struct pollfd p[2] = {
		{ .fd = drain.done_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	pthread_t thread;

	(void)sdnotify_stopping();
	log_info("stopping; tracking goes on");
	if (drain.done_fd < 0 ||
	    pthread_create(&thread, NULL, drain_thread, &drain))
		_exit(CTL_EXIT_DONE);
	while (!(p[0].revents & POLLIN)) {
		int signo;

		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		signo = p[1].revents ? next_signal(signal_fd) : 0;
		if (signo == SIGTERM || signo == SIGINT) {
			log_warn("told twice: stopped at once");
			_exit(CTL_EXIT_DONE);
		}
	}
	(void)pthread_join(thread, NULL);
	if (!drain.clean) {
		log_warn("not everything ended in time: stopped all the same");
		_exit(CTL_EXIT_DONE);
	}
	log_info("stopped");
	exit(CTL_EXIT_DONE);
}

static void serve(struct daemon *d, const char *config, int signal_fd)
{
	for (;;) {
		struct pollfd p[2] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = daemon_event_fd(d), .events = POLLIN },
		};

		if (poll(p, ARRAY_SIZE(p), DAEMON_TICK_MS) < 0)
			continue;
		daemon_tick(d);
		if (p[1].revents)
			daemon_catch_up(d);
		if (!p[0].revents)
			continue;
		switch (next_signal(signal_fd)) {
		case SIGTERM:
		case SIGINT:
			drain_and_exit(d, signal_fd);
		case SIGHUP:
			reload(d, config);
			break;
		default:
			break;
		}
	}
}

/* May it come to track a device, now or after a reload? */
static bool config_is_source(const struct config *c)
{
	return c->n_volumes || c->n_replicas || !c->has_store;
}

static int start(const char *path, struct state *st, struct daemon **out,
		 struct err *err)
{
	_cleanup_(config_freep) struct config *c = NULL;
	char node[UUID_TEXT_SIZE];
	int ret;

	ret = config_load(path, &c, err);
	/* Before there is a thread: later ones are born with what is left. */
	if (!ret && config_quiesces(c))
		privileges_start_freezer();
	if (!ret)
		ret = privileges_drop(config_is_source(c), err);
	if (!ret)
		ret = state_open(c->daemon.state, st, err);
	if (ret < 0)
		return ret;
	uuid_format(&st->node, node);
	log_info("understudyd %s: state %s, node %s, %zu volumes, %s",
		 UNDERSTUDY_VERSION, st->dir, node, c->n_volumes,
		 c->has_store ? "a replica" : "no replica");
	ret = daemon_start(st, c, out, err);
	if (ret < 0)
		return ret;
	TAKE_PTR(c);
	return daemon_listen(*out, err);
}

static int run(const char *path)
{
	struct state st = { .lock_fd = -1 };
	struct err err = ERR_INIT;
	struct daemon *d = NULL;
	int signal_fd;

	secure_process();
	signal_fd = open_signals();
	if (signal_fd < 0) {
		log_err("signals: %s", strerrordesc_np(-signal_fd));
		return CTL_EXIT_FAILED;
	}
	if (start(path, &st, &d, &err) < 0) {
		log_failure(LOG_LEVEL_ERR, &err);
		if (d)
			(void)daemon_stop(d);
		return (int)ctl_exit_of(&err);
	}
	(void)sdnotify_ready();
	serve(d, path, signal_fd);
	return CTL_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct options o;
	int ret = parse_options(argc, argv, &o);

	if (ret)
		return ret;
	if (o.help)
		return print_help();
	if (o.version) {
		(void)printf("understudyd %s\n", UNDERSTUDY_VERSION);
		return fflush(stdout) ? CTL_EXIT_FAILED : CTL_EXIT_DONE;
	}
	log_init("understudyd", o.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	if (o.check)
		return check_config(o.config);
	if (o.untrack)
		return untrack(o.config);
	return run(o.config);
}
