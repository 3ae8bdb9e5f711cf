// SPDX-License-Identifier: Apache-2.0
/* The daemon's end of the control socket, with clients of every kind. */
#include "tap.h"

#include <poll.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/clock.h"
#include "control/ctlserver.h"
#include "control/ctlsock.h"

static struct {
	char dir[40], path[64];
	struct ctlserver *server;
	int started, cancelled;		/* atomic: of long requests */
} f;

static void add(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

/* Waits, without a condition to wait on, for what a thread counts. */
static bool reaches(const int *counter, int n)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) >= n)
			return true;
		(void)poll(NULL, 0, 5);
	}
	return false;
}

static int run_quick(void *arg, struct ctl_call *call, json_t **result,
		     struct err *err)
{
	(void)arg, (void)call, (void)err;
	*result = json_pack("{s:s}", "quick", "yes");
	return 0;
}

static int run_long(void *arg, struct ctl_call *call, json_t **result,
		    struct err *err)
{
	(void)arg, (void)result;
	add(&f.started);
	while (!ctl_call_is_cancelled(call))
		(void)poll(NULL, 0, 2);
	add(&f.cancelled);
	return err_set(err, -ECANCELED, "canceled", "long", "cancelled");
}

static int run_huge(void *arg, struct ctl_call *call, json_t **result,
		    struct err *err)
{
	char *big = calloc(1, CTL_MAX_REPLY_BYTES + 1);

	(void)arg, (void)call, (void)err;
	memset(big, 'a', CTL_MAX_REPLY_BYTES);
	*result = json_pack("{s:s}", "x", big);
	free(big);
	return 0;
}

static int run_fail(void *arg, struct ctl_call *call, json_t **result,
		    struct err *err)
{
	(void)arg, (void)result;
	ctl_call_details(call, json_pack("{s:s,s:s}", "target", "untouched",
					 "code", "not this one"));
	err_set(err, -EBUSY, "target-in-use", "/dev/x", "is mounted");
	return -EBUSY;
}

/* Far more progress than a socket holds, then a result. */
static int run_chatty(void *arg, struct ctl_call *call, json_t **result,
		      struct err *err)
{
	int i;

	(void)arg, (void)err;
	for (i = 0; i < 50000; i++)
		ctl_call_progress(call, json_pack("{s:i}", "done_bytes", i));
	*result = json_pack("{s:s}", "quick", "yes");
	return 0;
}

static int run_parts(void *arg, struct ctl_call *call, json_t **result,
		     struct err *err)
{
	int i, ret;

	(void)arg, (void)result;
	for (i = 0; i < 5000; i++) {
		ret = ctl_call_part(call, json_pack("{s:i}", "n", i));
		if (ret < 0)
			return err_set(err, ret, "failed", "parts", "no reader");
	}
	return 0;
}

static int run_fds(void *arg, struct ctl_call *call, json_t **result,
		   struct err *err)
{
	int fd = ctl_call_take_fd(call, 0);
	ssize_t n = fd < 0 ? -1 : write(fd, "here", 4);

	(void)arg, (void)err;
	*result = json_pack("{s:b,s:b,s:b}", "wrote", n == 4, "again",
			    ctl_call_take_fd(call, 0) >= 0, "more",
			    ctl_call_take_fd(call, 1) >= 0);
	if (fd >= 0)
		(void)close(fd);
	return 0;
}

static const struct ctl_verb verbs[] = {
	{ "quick", run_quick, false }, { "long", run_long, true },
	{ "huge", run_huge, false },   { "fail", run_fail, false },
	{ "chatty", run_chatty, true }, { "parts", run_parts, true },
	{ "fds", run_fds, false },     { 0 },
};

static void setup(void)
{
	struct err err = ERR_INIT;

	strcpy(f.dir, "/tmp/test_ctlserver.XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(f.dir));
	(void)snprintf(f.path, sizeof(f.path), "%s/c.sock", f.dir);
	ASSERT_MSG(!ctlserver_start(f.path, verbs, NULL, &f.server, &err),
		   "  %s", err.message);
}

static void teardown(void)
{
	EXPECT_TRUE(ctlserver_stop(f.server, 10 * NSEC_PER_SEC));
	EXPECT_LT(access(f.path, F_OK), 0);
	EXPECT_OK(rmdir(f.dir));
}

static int request(const char *verb, const int *fds, int n_fds)
{
	struct buf out = { 0 };
	int fd = ctlsock_connect(f.path, NULL);

	ASSERT_GE(fd, 0);
	ASSERT_OK(ctl_request_encode(verb, NULL, &out));
	ASSERT_OK(ctlsock_send(fd, out.data, out.len, fds, n_fds, 5000));
	buf_free(&out);
	return fd;
}

/* The last line of the answer; n_before counts those in front of it. */
static void answer(int fd, struct ctl_reply *r, int *n_before)
{
	struct ctl_lines l;
	char bytes[65536];
	const char *line;
	ssize_t got;
	size_t n;
	int before = 0;

	ctl_lines_init(&l, CTL_MAX_REPLY_BYTES);
	for (;;) {
		int ret = ctl_lines_next(&l, &line, &n);

		ASSERT_GE(ret, 0);
		if (!ret) {
			ASSERT_OK(ctl_reply_decode(line, n, r, NULL));
			if (r->kind == CTL_REPLY_RESULT ||
			    r->kind == CTL_REPLY_ERROR)
				break;
			ctl_reply_free(r);
			before++;
			continue;
		}
		ASSERT_INT(ctlsock_wait(fd, POLLIN, 10000), 1);
		got = ctlsock_recv(fd, bytes, sizeof(bytes), NULL);
		ASSERT_GT(got, 0);
		ASSERT_OK(ctl_lines_feed(&l, bytes, (size_t)got));
	}
	ctl_lines_free(&l);
	(void)close(fd);
	if (n_before)
		*n_before = before;
}

static void expect_quick(int fd)
{
	struct ctl_reply r;

	answer(fd, &r, NULL);
	EXPECT_INT(r.kind, CTL_REPLY_RESULT);
	EXPECT_STR(json_string_value(json_object_get(r.body, "quick")), "yes");
	ctl_reply_free(&r);
}

static void expect_error(int fd, const char *code, int exit)
{
	struct ctl_reply r;

	answer(fd, &r, NULL);
	EXPECT_INT(r.kind, CTL_REPLY_ERROR);
	EXPECT_STR(r.err.code, code);
	EXPECT_INT(r.exit, exit);
	ctl_reply_free(&r);
}

TEST(a_request_is_answered_and_an_unknown_verb_is_unsupported)
{
	setup();
	expect_quick(request("quick", NULL, 0));
	expect_error(request("verify", NULL, 0), "unsupported", 1);
	teardown();
}

TEST(an_error_carries_its_exit_code_and_details_that_replace_nothing)
{
	struct ctl_reply r;

	setup();
	answer(request("fail", NULL, 0), &r, NULL);
	EXPECT_INT(r.exit, CTL_EXIT_REFUSED);
	EXPECT_STR(r.err.code, "target-in-use");
	EXPECT_STR(json_string_value(json_object_get(r.body, "target")),
		   "untouched");
	ctl_reply_free(&r);
	teardown();
}

TEST(an_answer_that_does_not_fit_is_an_error_not_silence)
{
	setup();
	expect_error(request("huge", NULL, 0), "bad-reply", 1);
	teardown();
}

TEST(a_descriptor_is_taken_once)
{
	struct ctl_reply r;
	char got[8] = "";
	int pipes[2];

	setup();
	ASSERT_OK(pipe(pipes));
	answer(request("fds", &pipes[1], 1), &r, NULL);
	EXPECT_TRUE(json_is_true(json_object_get(r.body, "wrote")));
	EXPECT_FALSE(json_is_true(json_object_get(r.body, "again")));
	EXPECT_FALSE(json_is_true(json_object_get(r.body, "more")));
	EXPECT_INT(read(pipes[0], got, 4), 4);
	ctl_reply_free(&r);
	teardown();
}

TEST(a_client_that_goes_away_cancels_its_request)
{
	int fd;

	setup();
	fd = request("long", NULL, 0);
	ASSERT_TRUE(reaches(&f.started, 1));
	EXPECT_INT(__atomic_load_n(&f.cancelled, __ATOMIC_SEQ_CST), 0);
	(void)close(fd);
	EXPECT_TRUE(reaches(&f.cancelled, 1));
	teardown();
}

TEST(long_requests_are_bounded_and_quick_ones_pass_them)
{
	int fds[CTLSERVER_MAX_LONG], i;

	setup();
	for (i = 0; i < CTLSERVER_MAX_LONG; i++)
		fds[i] = request("long", NULL, 0);
	ASSERT_TRUE(reaches(&f.started, CTLSERVER_MAX_LONG));
	expect_error(request("long", NULL, 0), "busy", 1);
	expect_quick(request("quick", NULL, 0));
	for (i = 0; i < CTLSERVER_MAX_LONG; i++)
		(void)close(fds[i]);
	ASSERT_TRUE(reaches(&f.cancelled, CTLSERVER_MAX_LONG));
	teardown();
}

TEST(stopping_cancels_what_is_at_work_and_answers_it)
{
	int fd;

	setup();
	fd = request("long", NULL, 0);
	ASSERT_TRUE(reaches(&f.started, 1));
	teardown();
	expect_error(fd, "canceled", 1);
}

TEST(a_slow_reader_loses_progress_but_never_the_result)
{
	struct ctl_reply r;
	int fd, n;

	setup();
	fd = request("chatty", NULL, 0);
	/* It has said all it has to say before anybody reads. */
	(void)poll(NULL, 0, 300);
	answer(fd, &r, &n);
	EXPECT_INT(r.kind, CTL_REPLY_RESULT);
	EXPECT_GT(n, 0);
	EXPECT_LT(n, 50000);
	ctl_reply_free(&r);
	teardown();
}

TEST(parts_are_never_lost)
{
	struct ctl_reply r;
	int n;

	setup();
	answer(request("parts", NULL, 0), &r, &n);
	EXPECT_INT(r.kind, CTL_REPLY_RESULT);
	EXPECT_INT(n, 5000);
	ctl_reply_free(&r);
	teardown();
}

TEST(silent_clients_make_room_for_those_who_speak)
{
	int fds[CTLSERVER_MAX_WAITING + 8];
	size_t i;

	setup();
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = ctlsock_connect(f.path, NULL);
		ASSERT_GE(fds[i], 0);
	}
	expect_quick(request("quick", NULL, 0));
	/* The oldest had to go. */
	EXPECT_INT(ctlsock_wait(fds[0], POLLIN, 5000), 1);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		(void)close(fds[i]);
	teardown();
}

TEST(many_clients_at_once_all_get_their_answer)
{
	int fds[12], round;
	size_t i;

	setup();
	for (round = 0; round < 20; round++) {
		for (i = 0; i < ARRAY_SIZE(fds); i++)
			fds[i] = request("quick", NULL, 0);
		for (i = 0; i < ARRAY_SIZE(fds); i++)
			expect_quick(fds[i]);
	}
	teardown();
}
