// SPDX-License-Identifier: Apache-2.0
/*
 * The daemon's end of the control socket.
 *
 * Threads: the listener thread owns the listening socket and the connections
 * that have not said a whole request yet; a call thread owns its connection
 * from then on. The lock guards the counters only and is held over no I/O.
 *
 * What a client can hold up is bounded: a silent one is dropped after
 * REQUEST_TIMEOUT_NS, or earlier when newer ones need its place; one that does
 * not read its answer after REPLY_TIMEOUT_MS; long and quick requests have
 * separate limits, so that `status` answers while restores run.
 */
#include "control/ctlserver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/ctlsock.h"

#define REQUEST_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define REPLY_TIMEOUT_MS 30000
#define REFUSAL_TIMEOUT_MS 100

struct waiting {
	int fd;
	uint64_t since_ns;
	struct ctl_lines lines;
	struct ctl_request request;
};

struct ctlserver {
	char path[108];
	const struct ctl_verb *verbs;
	void *arg;
	int listen_fd;
	int wake_fd;			/* eventfd: stop listening */
	pthread_t listener;
	bool listening;			/* listener thread is to be joined */
	struct waiting waiting[CTLSERVER_MAX_WAITING];
	int n_waiting;
	bool cancelled;			/* atomic */

	int ended_fd;			/* eventfd: a request has ended */

	pthread_mutex_t lock;		/* guards what follows */
	int n_quick, n_long;
	bool has_ended;			/* a thread is to be joined: */
	pthread_t ended;		/* it has joined the one before it */
};

struct ctl_call {
	struct ctlserver *server;
	const struct ctl_verb *verb;
	struct ctl_request request;
	int fd;
	bool broken;			/* the client does not read any more */
	bool refuses;			/* exit code of a failure: refused */
	struct buf unsent;		/* rest of a progress line */
	json_t *details;
};

/* ---- what handlers use ---- */

const struct ctl_request *ctl_call_request(const struct ctl_call *call)
{
	return &call->request;
}

int ctl_call_take_fd(struct ctl_call *call, int index)
{
	if (index < 0 || index >= call->request.n_fds)
		return -1;
	return TAKE_FD(call->request.fds[index]);
}

bool ctl_call_is_cancelled(struct ctl_call *call)
{
	if (__atomic_load_n(&call->server->cancelled, __ATOMIC_ACQUIRE))
		return true;
	if (!call->broken && ctlsock_is_gone(call->fd))
		call->broken = true;
	return call->broken;
}

/* Sends what the socket takes; never waits. */
static void push_unsent(struct ctl_call *call)
{
	ssize_t n;

	if (!call->unsent.len || call->broken)
		return;
	n = send(call->fd, call->unsent.data, call->unsent.len,
		 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		buf_consume(&call->unsent, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		call->broken = true;
}

void ctl_call_progress(struct ctl_call *call, json_t *body)
{
	push_unsent(call);
	if (call->unsent.len || call->broken) {
		json_decref(body);
		return;
	}
	if (!ctl_reply_encode(CTL_REPLY_PROGRESS, body, &call->unsent))
		push_unsent(call);
}

/* Sends all of out, after what is left of a progress line. */
static int send_all(struct ctl_call *call, struct buf *out)
{
	int ret = 0;

	if (call->broken)
		return -EPIPE;
	if (call->unsent.len)
		ret = ctlsock_send(call->fd, call->unsent.data,
				   call->unsent.len, NULL, 0,
				   REPLY_TIMEOUT_MS);
	buf_reset(&call->unsent);
	if (!ret)
		ret = ctlsock_send(call->fd, out->data, out->len, NULL, 0,
				   REPLY_TIMEOUT_MS);
	if (ret < 0)
		call->broken = true;
	return ret < 0 ? -EPIPE : 0;
}

int ctl_call_part(struct ctl_call *call, json_t *body)
{
	_cleanup_buf_ struct buf out = { 0 };
	int ret = ctl_reply_encode(CTL_REPLY_PART, body, &out);

	return ret < 0 ? ret : send_all(call, &out);
}

void ctl_call_details(struct ctl_call *call, json_t *details)
{
	json_decref(call->details);
	call->details = details;
}

void ctl_call_refuses(struct ctl_call *call)
{
	call->refuses = true;
}

/* ---- a request at work ---- */

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_err("control: an event is lost: %s", strerrordesc_np(errno));
}

static int *counter(struct ctlserver *s, const struct ctl_verb *verb)
{
	return verb->is_long ? &s->n_long : &s->n_quick;
}

static void call_free(struct ctl_call *call)
{
	(void)close(call->fd);
	ctl_request_free(&call->request);
	if (call->unsent.data)
		buf_free(&call->unsent);
	json_decref(call->details);
	free(call);
}

/*
 * The thread of a request says that it is at its end, and joins the one that
 * said so before: so that the last one stands for all. Without requests the
 * server may be freed once the lock is let go.
 */
static void end_thread(struct ctlserver *s, const struct ctl_verb *verb)
{
	pthread_t before;
	bool has_before;

	pthread_mutex_lock(&s->lock);
	has_before = s->has_ended;
	before = s->ended;
	s->has_ended = true;
	s->ended = pthread_self();
	(*counter(s, verb))--;
	signal_fd(s->ended_fd);
	pthread_mutex_unlock(&s->lock);
	if (has_before)
		(void)pthread_join(before, NULL);
}

static void send_answer(struct ctl_call *call, int ret, json_t *result,
			struct err *err)
{
	_cleanup_buf_ struct buf out = { 0 };

	if (!ret) {
		ret = ctl_reply_encode(CTL_REPLY_RESULT,
				       result ? result : json_object(), &out);
		if (ret < 0)
			err_sys(err, ret, "bad-reply", call->verb->name,
				"the answer cannot be put into words");
	}
	if (ret < 0) {
		err_sys(err, ret, "failed", call->verb->name, "failed");
		ret = ctl_error_encode(err,
				       call->refuses ? CTL_EXIT_REFUSED :
						       (int)ctl_exit_of(err),
				       call->details, &out);
	}
	if (ret < 0 || send_all(call, &out) < 0)
		log_debug("control: %s: nobody read the answer",
			  call->verb->name);
	/* A key may have been in it. */
	if (out.data)
		explicit_bzero(out.data, out.len);
}

static void *call_thread(void *arg)
{
	struct ctl_call *call = arg;
	const struct ctl_verb *verb = call->verb;
	struct ctlserver *s = call->server;
	struct err err = ERR_INIT;
	json_t *result = NULL;
	int ret;

	ret = verb->run(s->arg, call, &result, &err);
	if (ret < 0) {
		json_decref(result);
		result = NULL;
	}
	send_answer(call, ret, result, &err);
	call_free(call);
	end_thread(s, verb);
	return NULL;
}

/* A failure before there is a call; the client gets a moment to take it. */
static void refuse(int fd, const struct err *err)
{
	_cleanup_buf_ struct buf out = { 0 };

	if (!ctl_error_encode(err, (int)ctl_exit_of(err), NULL, &out))
		(void)ctlsock_send(fd, out.data, out.len, NULL, 0,
				   REFUSAL_TIMEOUT_MS);
}

static int reserve(struct ctlserver *s, const struct ctl_verb *verb,
		   struct err *err)
{
	int limit = verb->is_long ? CTLSERVER_MAX_LONG : CTLSERVER_MAX_QUICK;

	LOCK_SCOPE(&s->lock);
	if (*counter(s, verb) >= limit) {
		err_set(err, -EBUSY, "busy", verb->name,
			"%d commands are at work already", limit);
		err_remedy(err, "repeat it when one of them has ended");
		return -EBUSY;
	}
	(*counter(s, verb))++;
	return 0;
}

static void unreserve(struct ctlserver *s, const struct ctl_verb *verb)
{
	LOCK_SCOPE(&s->lock);
	(*counter(s, verb))--;
}

static const struct ctl_verb *find_verb(const struct ctlserver *s,
					const char *name)
{
	const struct ctl_verb *v;

	for (v = s->verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

/* The request of w, whole by now, goes to a thread of its own with its fd. */
static int start_call(struct ctlserver *s, struct waiting *w, struct err *err)
{
	const struct ctl_verb *verb = find_verb(s, w->request.verb);
	struct ctl_call *call;
	pthread_t thread;
	int ret;

	if (!verb) {
		err_set(err, -EOPNOTSUPP, "unsupported", w->request.verb,
			"not supported by this build yet");
		return -EOPNOTSUPP;
	}
	call = calloc(1, sizeof(*call));
	if (!call)
		return err_sys(err, -ENOMEM, "no-memory", verb->name, "start");
	ret = reserve(s, verb, err);
	if (ret < 0) {
		free(call);
		return ret;
	}
	call->server = s;
	call->verb = verb;
	call->request = w->request;
	call->fd = w->fd;
	memset(&w->request, 0, sizeof(w->request));
	w->fd = -1;
	ret = -pthread_create(&thread, NULL, call_thread, call);
	if (ret < 0) {
		err_sys(err, ret, "busy", verb->name, "start a thread");
		refuse(call->fd, err);
		call_free(call);
		unreserve(s, verb);
	}
	return 0;
}

/* ---- the listener thread ---- */

static void drop_waiting(struct ctlserver *s, int i)
{
	struct waiting *w = &s->waiting[i];

	if (w->fd >= 0)
		(void)close(w->fd);
	ctl_request_free(&w->request);
	ctl_lines_free(&w->lines);
	s->n_waiting--;
	memmove(w, w + 1, sizeof(*w) * (size_t)(s->n_waiting - i));
}

static void accept_one(struct ctlserver *s)
{
	_cleanup_close_ int fd = -1;
	struct err err = ERR_INIT;
	struct waiting *w;

	fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		/* Out of descriptors, say: the client stays in the backlog. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			(void)poll(NULL, 0, 100);
		return;
	}
	if (ctlsock_check_peer(fd, &err) < 0) {
		log_failure(LOG_LEVEL_WARN, &err);
		refuse(fd, &err);
		return;
	}
	/* The oldest has had its chance. */
	if (s->n_waiting == CTLSERVER_MAX_WAITING)
		drop_waiting(s, 0);
	w = &s->waiting[s->n_waiting++];
	memset(w, 0, sizeof(*w));
	w->since_ns = clock_mono_ns(clock_real());
	ctl_lines_init(&w->lines, CTL_MAX_REQUEST_BYTES);
	w->fd = TAKE_FD(fd);
}

/* 0: more to come; 1: the request is whole; negative: it never will be. */
static int read_request(struct waiting *w, struct err *err)
{
	char bytes[4096];
	const char *line;
	ssize_t got;
	size_t n;
	int ret;

	got = ctlsock_recv(w->fd, bytes, sizeof(bytes), &w->request);
	if (got == -EAGAIN)
		return 0;
	if (got == 0)
		return -EPIPE;
	if (got < 0)
		return err_set(err, (int)got, "bad-request", "control socket",
			       "a request cannot be received");
	ret = ctl_lines_feed(&w->lines, bytes, (size_t)got);
	if (!ret)
		ret = ctl_lines_next(&w->lines, &line, &n);
	if (ret == 1)
		return 0;
	if (ret < 0)
		return err_sys(err, ret, "bad-request", "control socket",
			       "a request cannot be taken");
	ret = ctl_request_decode(line, n, &w->request, err);
	return ret < 0 ? ret : 1;
}

static void serve_waiting(struct ctlserver *s, int i)
{
	struct waiting *w = &s->waiting[i];
	struct err err = ERR_INIT;
	int ret = read_request(w, &err);

	if (!ret)
		return;
	if (ret == 1)
		ret = start_call(s, w, &err);
	if (ret < 0 && err.num)
		refuse(w->fd, &err);
	drop_waiting(s, i);
}

static void drop_silent(struct ctlserver *s)
{
	uint64_t now_ns = clock_mono_ns(clock_real());

	while (s->n_waiting &&
	       now_ns - s->waiting[0].since_ns > REQUEST_TIMEOUT_NS)
		drop_waiting(s, 0);
}

static void *listener_thread(void *arg)
{
	struct ctlserver *s = arg;

	for (;;) {
		struct pollfd p[2 + CTLSERVER_MAX_WAITING];
		int i, n = s->n_waiting;

		p[0] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = s->listen_fd, .events = POLLIN };
		for (i = 0; i < n; i++)
			p[2 + i] = (struct pollfd){ .fd = s->waiting[i].fd,
						    .events = POLLIN };
		if (poll(p, (nfds_t)(2 + n), n ? 1000 : -1) < 0)
			continue;
		if (p[0].revents)
			break;
		/* Backwards: a drop moves those behind it. */
		for (i = n - 1; i >= 0; i--)
			if (p[2 + i].revents)
				serve_waiting(s, i);
		drop_silent(s);
		if (p[1].revents)
			accept_one(s);
	}
	while (s->n_waiting)
		drop_waiting(s, 0);
	return NULL;
}

/* ---- life ---- */

static void server_free(struct ctlserver *s)
{
	if (s->listen_fd >= 0) {
		(void)unlink(s->path);
		(void)close(s->listen_fd);
	}
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	if (s->ended_fd >= 0)
		(void)close(s->ended_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static struct ctlserver *server_new(const char *path)
{
	struct ctlserver *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	(void)snprintf(s->path, sizeof(s->path), "%s", path);
	s->listen_fd = -1;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}
DEFINE_CLEANUP(struct ctlserver, server_free)

int ctlserver_start(const char *path, const struct ctl_verb *verbs, void *arg,
		    struct ctlserver **out, struct err *err)
{
	_cleanup_(server_freep) struct ctlserver *s = server_new(path);
	int ret;

	if (!s || s->wake_fd < 0 || s->ended_fd < 0)
		return err_sys(err, -ENOMEM, "no-memory", path, "start");
	s->verbs = verbs;
	s->arg = arg;
	s->listen_fd = ctlsock_listen(path, err);
	if (s->listen_fd < 0)
		return s->listen_fd;
	ret = -pthread_create(&s->listener, NULL, listener_thread, s);
	if (ret < 0)
		return err_sys(err, ret, "no-memory", path, "start a thread");
	s->listening = true;
	*out = TAKE_PTR(s);
	return 0;
}

void ctlserver_cancel(struct ctlserver *s)
{
	__atomic_store_n(&s->cancelled, true, __ATOMIC_RELEASE);
	if (!s->listening)
		return;
	signal_fd(s->wake_fd);
	(void)pthread_join(s->listener, NULL);
	s->listening = false;
	/* From here on a new daemon may have the path. */
	(void)unlink(s->path);
	(void)close(TAKE_FD(s->listen_fd));
}

static bool is_idle(struct ctlserver *s)
{
	LOCK_SCOPE(&s->lock);
	return s->n_quick + s->n_long == 0;
}

bool ctlserver_stop(struct ctlserver *s, uint64_t timeout_ns)
{
	struct clock *clock = clock_real();
	uint64_t end_ns = clock_mono_ns(clock) + timeout_ns;
	uint64_t now_ns, n;

	ctlserver_cancel(s);
	while (!is_idle(s)) {
		now_ns = clock_mono_ns(clock);
		if (now_ns >= end_ns)
			return false;
		(void)ctlsock_wait(s->ended_fd, POLLIN,
				   (int)((end_ns - now_ns) / NSEC_PER_MSEC) +
					   1);
		/* Empty it; the counters say how many there are. */
		if (read(s->ended_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			return false;
	}
	if (s->has_ended)
		(void)pthread_join(s->ended, NULL);
	server_free(s);
	return true;
}
