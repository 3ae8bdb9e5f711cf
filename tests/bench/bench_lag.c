// SPDX-License-Identifier: Apache-2.0
/*
 * Samples the recovery point lag of a volume as `status` shows it, by asking
 * the daemon's control socket again and again:
 *
 *	bench_lag SOCKET VOLUME SECONDS [MS]
 *
 * One number a line: the lag in milliseconds, every MS (13) milliseconds, a
 * step that is no divisor of an interval between points. Standard error gets
 * the mean cost of a question in microseconds.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/ctlproto.h"
#include "control/ctlsock.h"

#define WAIT_MS 5000

static int ask(const char *socket, const char *volume, struct buf *request,
	       struct err *err)
{
	json_t *args = json_pack("{s:s}", "volume", volume);
	int fd, r;

	buf_reset(request);
	r = args ? ctl_request_encode("status", args, request) : -ENOMEM;
	if (r)
		return err_sys(err, r, "failed", "status", "encode");
	fd = ctlsock_connect(socket, err);
	if (fd < 0)
		return fd;
	r = ctlsock_send(fd, request->data, request->len, NULL, 0, WAIT_MS);
	if (r < 0) {
		(void)close(fd);
		return err_sys(err, r, "failed", socket, "send");
	}
	return fd;
}

/* The result line, as an object; NULL and err. */
static json_t *answer(int fd, struct err *err)
{
	struct ctl_request none = { .fds = { -1, -1, -1, -1 } };
	struct ctl_reply reply = { 0 };
	struct ctl_lines lines;
	char piece[8192];
	const char *line;
	json_t *body = NULL;
	size_t n;
	ssize_t got;
	int r;

	ctl_lines_init(&lines, CTL_MAX_REPLY_BYTES);
	while ((r = ctl_lines_next(&lines, &line, &n)) == 1) {
		r = ctlsock_wait(fd, POLLIN, WAIT_MS);
		if (r <= 0) {
			r = r ? r : -ETIMEDOUT;
			break;
		}
		got = ctlsock_recv(fd, piece, sizeof(piece), &none);
		if (got == -EAGAIN)
			continue;
		r = got > 0 ? ctl_lines_feed(&lines, piece, (size_t)got) :
			      (got ? (int)got : -EPIPE);
		if (r)
			break;
	}
	if (r)
		err_sys(err, r, "failed", "status", "receive");
	else if (!ctl_reply_decode(line, n, &reply, err)) {
		if (reply.kind == CTL_REPLY_RESULT)
			body = json_incref(reply.body);
		else
			err_copy(err, &reply.err);
		ctl_reply_free(&reply);
	}
	ctl_lines_free(&lines);
	return body;
}

static int sample(const char *socket, const char *volume, struct buf *request,
		  struct err *err)
{
	int fd = ask(socket, volume, request, err);
	json_t *body, *lag;

	if (fd < 0)
		return fd;
	body = answer(fd, err);
	(void)close(fd);
	if (!body)
		return -EIO;
	lag = json_object_get(json_array_get(json_object_get(body, "volumes"),
					     0),
			      "rpo_lag_seconds");
	if (json_is_number(lag))
		(void)printf("%.0f\n", json_number_value(lag) * 1e3);
	json_decref(body);
	return 0;
}

int main(int argc, char **argv)
{
	struct clock *clock = clock_real();
	uint64_t end, next, step, now, spent = 0, n = 0;
	struct err err = ERR_INIT;
	struct buf request = { 0 };

	if (argc < 4) {
		(void)fprintf(stderr,
			      "usage: bench_lag SOCKET VOLUME SECONDS [MS]\n");
		return 2;
	}
	step = (argc > 4 ? strtoull(argv[4], NULL, 10) : 13) * NSEC_PER_MSEC;
	next = clock_mono_ns(clock);
	end = next + strtoull(argv[3], NULL, 10) * NSEC_PER_SEC;
	for (;; n++) {
		struct timespec at;

		now = clock_mono_ns(clock);
		if (now >= end)
			break;
		if (sample(argv[1], argv[2], &request, &err)) {
			(void)fprintf(stderr, "bench_lag: %s\n", err.message);
			return 1;
		}
		spent += clock_mono_ns(clock) - now;
		/* A late sample stands for its own moment only. */
		next = next + step > now ? next + step : now + step;
		at = (struct timespec){ (time_t)(next / NSEC_PER_SEC),
					(long)(next % NSEC_PER_SEC) };
		(void)clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at,
				      NULL);
	}
	if (n)
		(void)fprintf(stderr, "%llu\n",
			      (unsigned long long)(spent / n / 1000));
	buf_free(&request);
	return 0;
}
