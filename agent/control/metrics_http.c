// SPDX-License-Identifier: Apache-2.0
/*
 * Metrics, health and page over HTTP, by libmicrohttpd.
 *
 * Its one thread calls answer() for every request, takes a snapshot, makes the
 * whole text and sends it piece by piece: no lock of ours is held while a
 * scraper reads, and a slow one costs a place among METRICS_CONNECTIONS_MAX.
 * Nothing of a request but method and path is looked at.
 */
#include "control/metrics_http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/ctlproto.h"
#include "control/metrics.h"
#include "net/conn.h"

/* Of a connection, for what it sends; answers are beside it. */
#define REQUEST_BYTES ((size_t)16 << 10)

struct metrics_http {
	struct MHD_Daemon *mhd;
	struct daemon *d;
};

struct answer {
	unsigned int status;
	const char *type;
	struct buf body;
};

/* ---- what is answered ---- */

typedef int (*answerer)(const struct metrics_snapshot *m, struct answer *a);

static int answer_metrics(const struct metrics_snapshot *m, struct answer *a)
{
	a->type = "text/plain; version=0.0.4; charset=utf-8";
	return metrics_format(m, &a->body);
}

static int answer_health(const struct metrics_snapshot *m, struct answer *a)
{
	_cleanup_free_ char *line = NULL;
	bool failing = false;
	json_t *j = metrics_health(m, &failing);

	line = j ? ctl_json_line(j) : NULL;
	json_decref(j);
	if (!line)
		return -ENOMEM;
	a->type = "application/json";
	a->status = failing ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK;
	buf_put(&a->body, line, strlen(line));
	buf_put_u8(&a->body, '\n');
	return a->body.failed ? -ENOMEM : 0;
}

static int answer_page(const struct metrics_snapshot *m, struct answer *a)
{
	a->type = "text/html; charset=utf-8";
	return metrics_page(m, &a->body);
}

static const struct {
	const char *path;
	answerer run;
} paths[] = {
	{ "/metrics", answer_metrics },
	{ "/healthz", answer_health },
	{ "/", answer_page },
};

static void answer_text(struct answer *a, unsigned int status,
			const char *text)
{
	a->status = status;
	a->type = "text/plain; charset=utf-8";
	buf_reset(&a->body);
	buf_put(&a->body, text, strlen(text));
}

static void answer_path(struct metrics_http *h, const char *path,
			struct answer *a)
{
	struct metrics_snapshot m;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i].path))
			break;
	if (i == ARRAY_SIZE(paths)) {
		answer_text(a, MHD_HTTP_NOT_FOUND,
			    "there are /metrics, /healthz and /\n");
		return;
	}
	a->status = MHD_HTTP_OK;
	ret = metrics_collect(h->d, &m);
	if (!ret) {
		ret = paths[i].run(&m, a);
		metrics_release(&m);
	}
	if (ret)
		answer_text(a, MHD_HTTP_SERVICE_UNAVAILABLE,
			    "out of memory\n");
}

/* ---- libmicrohttpd ---- */

static enum MHD_Result send_answer(struct MHD_Connection *c, struct answer *a,
				   bool is_allowed)
{
	static const char *const headers[][2] = {
		{ "Cache-Control", "no-store" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Content-Security-Policy",
		  "default-src 'none'; style-src 'unsafe-inline'" },
	};
	struct MHD_Response *r;
	enum MHD_Result ret = MHD_YES;
	uint8_t *body;
	size_t i, n;

	body = buf_take(&a->body, &n);
	if (!body)
		return MHD_NO;		/* the connection ends */
	r = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
	if (!r) {
		free(body);
		return MHD_NO;
	}
	for (i = 0; ret == MHD_YES && i < ARRAY_SIZE(headers); i++)
		ret = MHD_add_response_header(r, headers[i][0],
					      headers[i][1]);
	if (ret == MHD_YES)
		ret = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
					      a->type);
	if (ret == MHD_YES && !is_allowed)
		ret = MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW,
					      "GET, HEAD");
	if (ret == MHD_YES)
		ret = MHD_queue_response(c, a->status, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *c,
			      const char *url, const char *method,
			      const char *version, const char *upload,
			      size_t *upload_size, void **con_cls)
{
	bool is_allowed = !strcmp(method, MHD_HTTP_METHOD_GET) ||
			  !strcmp(method, MHD_HTTP_METHOD_HEAD);
	static char seen;
	struct answer a = { 0 };
	enum MHD_Result ret;

	(void)version, (void)upload;
	/* The first call is that of the headers: who sends more is not heard,
	 * and is told at once when he may not do what he wants. */
	if (is_allowed && !*con_cls) {
		*con_cls = &seen;
		return MHD_YES;
	}
	if (is_allowed && *upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (is_allowed)
		answer_path(cls, url, &a);
	else
		answer_text(&a, MHD_HTTP_METHOD_NOT_ALLOWED,
			    "GET and HEAD only\n");
	ret = send_answer(c, &a, is_allowed);
	buf_free(&a.body);
	return ret;
}

/* ---- life ---- */

static int cannot_listen(const char *address, int num, const struct err *why,
			 struct err *err)
{
	err_set(err, num, *why->code ? why->code : "cannot-listen", "metrics",
		"%s", *why->message ? why->message : address);
	if (num == -EADDRINUSE)
		err_remedy(err, "see who has the port (`ss -ltnp`), or set "
			   "another `metrics` in [daemon]");
	else if (*why->remedy)
		err_remedy(err, "%s", why->remedy);
	return num;
}

/* Takes fd. */
static int serve(struct metrics_http *h, int fd)
{
	h->mhd = MHD_start_daemon(
		MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL,
		answer, h, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)METRICS_CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int)METRICS_SILENCE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_BYTES,
		MHD_OPTION_END);
	if (!h->mhd)
		(void)close(fd);
	return h->mhd ? 0 : -EIO;
}

int metrics_http_start(const char *address, struct daemon *d,
		       struct metrics_http **out, struct err *err)
{
	_cleanup_free_ struct metrics_http *h = calloc(1, sizeof(*h));
	struct listener *listener;
	struct err why = ERR_INIT;
	unsigned int port;
	int ret, fd;

	if (!h)
		return err_sys(err, -ENOMEM, "no-memory", "metrics", "start");
	h->d = d;
	ret = listener_open(address, &listener, &why);
	if (ret < 0)
		return cannot_listen(address, ret, &why, err);
	port = listener_port(listener);
	/* It closes, when it is stopped, the one that it is given. */
	fd = fcntl(listener_fd(listener), F_DUPFD_CLOEXEC, 0);
	ret = fd < 0 ? -errno : serve(h, fd);
	listener_close(listener);
	if (ret < 0)
		return err_set(err, ret, "cannot-listen", "metrics",
			       "%s: the HTTP server does not start", address);
	log_info("metrics: http on %s, port %u", address, port);
	*out = TAKE_PTR(h);
	return 0;
}

void metrics_http_stop(struct metrics_http *h)
{
	if (!h)
		return;
	MHD_stop_daemon(h->mhd);
	free(h);
}

int metrics_http_move(struct metrics_http **h, const char *from,
		      const char *to, struct daemon *d, struct err *err)
{
	struct metrics_http *fresh = NULL;
	struct err why = ERR_INIT;
	int ret = 0;

	if (!strcmp(from, to))
		return 0;
	if (*to)
		ret = metrics_http_start(to, d, &fresh, &why);
	if (ret == -EADDRINUSE && *h) {
		metrics_http_stop(TAKE_PTR(*h));
		err_clear(&why);
		ret = metrics_http_start(to, d, &fresh, &why);
		if (ret < 0 && metrics_http_start(from, d, h, NULL) < 0)
			log_err("metrics: %s cannot be had again", from);
	}
	if (ret < 0) {
		err_copy(err, &why);
		return ret;
	}
	metrics_http_stop(*h);
	*h = fresh;
	return 0;
}
