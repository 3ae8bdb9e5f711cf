// SPDX-License-Identifier: Apache-2.0
/*
 * The client's end of the control protocol. One thread. Every wait is
 * bounded: a daemon that hangs is told apart from one that works.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/ctlsock.h"
#include "output.h"
#include "places.h"

struct call {
	const struct client_request *rq;
	struct client_reply *reply;
	struct ctl_lines lines;
	int fd;
	int signal_fd;			/* -1: signals do what they do */
};

static int open_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* What came was heard; what comes from here on does what it always does. */
static void close_signals(int fd)
{
	struct signalfd_siginfo si;
	sigset_t set;

	if (fd < 0)
		return;
	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		;
	(void)close(fd);
	(void)sigemptyset(&set);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
}

static int wait_for_bytes(struct call *c)
{
	struct pollfd p[2] = {
		{ .fd = c->fd, .events = POLLIN },
		{ .fd = c->signal_fd, .events = POLLIN },
	};
	struct err *err = &c->reply->err;
	int n;

	do
		n = poll(p, 2, c->rq->patience_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(err, -errno, "failed", c->rq->verb, "wait");
	if (p[1].revents)
		return err_set(err, -EINTR, "interrupted", c->rq->verb,
			       "interrupted");
	if (n > 0)
		return 0;
	err_set(err, -ETIMEDOUT, "no-answer", c->rq->verb,
		"understudyd has not answered for %d s",
		c->rq->patience_ms / 1000);
	err_remedy(err, "look at the daemon's log");
	return -ETIMEDOUT;
}

/* 1: the last line has come; 0: more to come. */
static int take_reply(struct call *c, struct ctl_reply *r)
{
	struct client_reply *reply = c->reply;

	switch (r->kind) {
	case CTL_REPLY_PROGRESS:
		if (c->rq->progress)
			c->rq->progress(c->rq->arg, r->body);
		return 0;
	case CTL_REPLY_PART:
		return c->rq->part ? c->rq->part(c->rq->arg, r->body,
						 &reply->err) :
				     0;
	case CTL_REPLY_RESULT:
		reply->result = TAKE_PTR(r->body);
		return 1;
	case CTL_REPLY_ERROR:
		err_copy(&reply->err, &r->err);
		reply->error = TAKE_PTR(r->body);
		reply->from_daemon = true;
		reply->exit = r->exit;
		return -EREMOTEIO;
	}
	return -EPROTO;
}

static int take_lines(struct call *c)
{
	struct err *err = &c->reply->err;
	const char *line;
	size_t n;
	int ret;

	while (!(ret = ctl_lines_next(&c->lines, &line, &n))) {
		struct ctl_reply r;

		ret = ctl_reply_decode(line, n, &r, err);
		if (!ret)
			ret = take_reply(c, &r);
		ctl_reply_free(&r);
		if (ret)
			return ret;
	}
	return ret == 1 ? 0 : err_sys(err, ret, "bad-reply", c->rq->verb,
				      "read the answer");
}

static int receive(struct call *c)
{
	struct err *err = &c->reply->err;
	char bytes[65536];
	ssize_t got;
	int ret;

	for (;;) {
		ret = wait_for_bytes(c);
		if (ret < 0)
			return ret;
		got = ctlsock_recv(c->fd, bytes, sizeof(bytes), NULL);
		if (got == -EAGAIN)
			continue;
		if (got <= 0) {
			err_set(err, -EPIPE, "no-answer", c->rq->verb,
				"understudyd ended the connection before it "
				"answered");
			err_remedy(err, "look at the daemon's log");
			return -EPIPE;
		}
		ret = ctl_lines_feed(&c->lines, bytes, (size_t)got);
		if (ret < 0)
			return err_sys(err, ret, "no-memory", c->rq->verb,
				       "read the answer");
		ret = take_lines(c);
		if (ret)
			return ret < 0 ? ret : 0;
	}
}

static int send_request(struct call *c)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct err *err = &c->reply->err;
	int ret = ctl_request_encode(c->rq->verb, c->rq->args, &out);

	if (!ret)
		ret = ctlsock_send(c->fd, out.data, out.len, c->rq->fds,
				   c->rq->n_fds, c->rq->patience_ms);
	if (ret == -EPIPE)
		ret = 0;		/* it may have said why */
	return ret < 0 ? err_sys(err, ret, "no-answer", c->rq->verb,
				 "send the request") :
			 0;
}

int client_call(const struct ctl *ctl, const struct client_request *rq,
		struct client_reply *reply)
{
	struct call c = { .rq = rq, .reply = reply, .fd = -1, .signal_fd = -1 };
	struct places places;
	int ret;

	memset(reply, 0, sizeof(*reply));
	ret = places_find(ctl, &places, &reply->err);
	if (!ret) {
		c.fd = ctlsock_connect(places.socket, &reply->err);
		ret = c.fd < 0 ? c.fd : 0;
	}
	if (!ret) {
		ctl_lines_init(&c.lines, CTL_MAX_REPLY_BYTES);
		if (rq->catch_signals)
			c.signal_fd = open_signals();
		ret = send_request(&c);
		if (!ret)
			ret = receive(&c);
		ctl_lines_free(&c.lines);
		close_signals(c.signal_fd);
		(void)close(c.fd);
	}
	json_decref(rq->args);
	if (ret < 0 && !reply->error) {
		reply->exit = (int)ctl_exit_of(&reply->err);
		reply->error = ctl_error_json(&reply->err);
	}
	return ret;
}

void client_reply_free(struct client_reply *reply)
{
	json_decref(reply->result);
	json_decref(reply->error);
	reply->result = reply->error = NULL;
}

int client_failure(const struct ctl *ctl, const struct client_reply *reply)
{
	int exit = reply->exit;

	/* Told by ourselves, not by the daemon's last line. */
	if (!exit)
		exit = (int)ctl_exit_of(&reply->err);
	return output_failure_json(ctl->json, &reply->err, reply->error, exit);
}

json_t *client_result(const struct ctl *ctl, const char *verb, json_t *args,
		      int *exit)
{
	const struct client_request rq = {
		.verb = verb,
		.args = args,
		.patience_ms = CLIENT_PATIENCE_MS,
	};
	struct client_reply reply;
	json_t *result;

	*exit = CTL_EXIT_DONE;
	if (client_call(ctl, &rq, &reply) < 0)
		*exit = client_failure(ctl, &reply);
	result = TAKE_PTR(reply.result);
	client_reply_free(&reply);
	return result;
}
