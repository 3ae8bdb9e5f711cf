// SPDX-License-Identifier: Apache-2.0
/* The control protocol's lines, also from a hostile other end. */
#include "tap.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "control/ctlproto.h"
#include "control/ctlsock.h"

struct sync_args {
	char volume[130];
	char label[65];
	bool quiesce;
	uint64_t timeout_ms;
};

static const struct ctl_arg sync_table[] = {
	CTL_ARG(struct sync_args, volume, CTL_ARG_TEXT, true),
	CTL_ARG(struct sync_args, label, CTL_ARG_TEXT, false),
	CTL_ARG(struct sync_args, quiesce, CTL_ARG_BOOL, false),
	CTL_ARG(struct sync_args, timeout_ms, CTL_ARG_U64, false),
};

static int decode_sync(const char *args_text, struct sync_args *out,
		       struct err *err)
{
	json_t *j = json_loads(args_text, 0, NULL);
	int ret;

	ASSERT_NOT_NULL(j);
	ret = ctl_args_decode(j, sync_table, ARRAY_SIZE(sync_table), out, err);
	json_decref(j);
	return ret;
}

static void no_request(struct ctl_request *r)
{
	memset(r, 0, sizeof(*r));
}

TEST(a_request_survives_encoding_and_decoding)
{
	struct err err = ERR_INIT;
	struct buf out = { 0 };
	struct ctl_request r;
	struct ctl_lines l;
	const char *line;
	json_t *args = json_pack("{s:s,s:i}", "volume", "db1", "timeout_ms", 5);
	size_t n;

	no_request(&r);
	ASSERT_OK(ctl_request_encode("sync", args, &out));
	json_decref(args);
	ctl_lines_init(&l, CTL_MAX_REQUEST_BYTES);
	ASSERT_OK(ctl_lines_feed(&l, out.data, out.len));
	ASSERT_OK(ctl_lines_next(&l, &line, &n));
	ASSERT_OK(ctl_request_decode(line, n, &r, &err));
	EXPECT_STR(r.verb, "sync");
	EXPECT_STR(json_string_value(json_object_get(r.args, "volume")), "db1");
	EXPECT_INT(ctl_lines_next(&l, &line, &n), 1);
	ctl_request_free(&r);
	ctl_lines_free(&l);
	buf_free(&out);
}

TEST(a_request_without_arguments_has_an_empty_object)
{
	struct ctl_request r;
	struct buf out = { 0 };

	no_request(&r);
	ASSERT_OK(ctl_request_encode("status", NULL, &out));
	ASSERT_OK(ctl_request_decode((char *)out.data, out.len - 1, &r, NULL));
	EXPECT_INT(json_object_size(r.args), 0);
	ctl_request_free(&r);
	buf_free(&out);
}

TEST(requests_that_are_not_ours_are_refused)
{
	static const char *const lines[] = {
		"", " ", "x", "[]", "1", "null", "\"status\"", "{", "{}",
		"{\"verb\":\"status\"}",
		"{\"version\":1}",
		"{\"version\":\"1\",\"verb\":\"status\"}",
		"{\"version\":1,\"verb\":\"\"}",
		"{\"version\":1,\"verb\":7}",
		"{\"version\":1,\"verb\":\"status\",\"args\":[]}",
		"{\"version\":1,\"verb\":\"status\",\"args\":null}",
		"{\"version\":1,\"verb\":\"status\",\"arg\":{}}",
		"{\"version\":1,\"verb\":\"status\",\"args\":{},\"x\":1}",
		"{\"version\":1,\"version\":1,\"verb\":\"status\"}",
		"{\"version\":1,\"verb\":\"status\"} trailing",
		"{\"version\":1,\"verb\":\"st\\u0000tus\"}",
		"{\"version\":1,\"verb\":\"\xff\xfe\"}",
		"{\"version\":1,\"verb\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		struct err err = ERR_INIT;
		struct ctl_request r;

		no_request(&r);
		EXPECT_MSG(ctl_request_decode(lines[i], strlen(lines[i]), &r,
					      &err) == -EPROTO,
			   "  taken: %s", lines[i]);
		EXPECT_STR(err.code, "bad-request");
		EXPECT_NULL(r.args);
		ctl_request_free(&r);
	}
}

TEST(another_version_is_refused_by_name)
{
	static const char line[] = "{\"version\":2,\"verb\":\"status\"}";
	struct err err = ERR_INIT;
	struct ctl_request r;

	no_request(&r);
	EXPECT_INT(ctl_request_decode(line, strlen(line), &r, &err),
		   -EPROTONOSUPPORT);
	EXPECT_STR(err.code, "bad-version");
	EXPECT_NE(err.remedy[0], 0);
}

TEST(deep_nesting_is_refused_and_not_recursed_into)
{
	static char line[CTL_MAX_REQUEST_BYTES];
	struct ctl_request r;

	no_request(&r);
	memset(line, '[', sizeof(line));
	EXPECT_INT(ctl_request_decode(line, sizeof(line), &r, NULL), -EPROTO);
}

TEST(arguments_are_typed_and_none_is_ignored)
{
	struct sync_args a;
	struct err err = ERR_INIT;

	ASSERT_OK(decode_sync("{\"volume\":\"db1\",\"quiesce\":true,"
			      "\"timeout_ms\":60000}", &a, &err));
	EXPECT_STR(a.volume, "db1");
	EXPECT_STR(a.label, "");
	EXPECT_TRUE(a.quiesce);
	EXPECT_U64(a.timeout_ms, 60000);
}

TEST(wrong_arguments_are_refused_by_name)
{
	static const struct {
		const char *args, *object;
	} table[] = {
		{ "{}", "volume" },
		{ "{\"volume\":\"\"}", "volume" },
		{ "{\"volume\":1}", "volume" },
		{ "{\"volume\":null}", "volume" },
		{ "{\"volume\":\"a\\nb\"}", "volume" },
		{ "{\"volume\":\"a\\u007fb\"}", "volume" },
		{ "{\"volume\":\"a\",\"quiesce\":\"yes\"}", "quiesce" },
		{ "{\"volume\":\"a\",\"timeout_ms\":-1}", "timeout_ms" },
		{ "{\"volume\":\"a\",\"timeout_ms\":1.5}", "timeout_ms" },
		{ "{\"volume\":\"a\",\"label\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}", "label" },
		{ "{\"volume\":\"a\",\"force\":true}", "request" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		struct err err = ERR_INIT;
		struct sync_args a;

		EXPECT_MSG(decode_sync(table[i].args, &a, &err) == -EINVAL,
			   "  taken: %s", table[i].args);
		EXPECT_STR(err.object, table[i].object);
		EXPECT_STR(err.code, "bad-argument");
	}
}

TEST(an_error_reply_carries_all_four_texts_and_the_exit_code)
{
	struct err err = ERR_INIT;
	struct buf out = { 0 };
	struct ctl_reply r;

	err_set(&err, -EBUSY, "target-in-use", "/dev/sdb", "is mounted");
	err_remedy(&err, "unmount it");
	ASSERT_OK(ctl_error_encode(&err, CTL_EXIT_REFUSED, NULL, &out));
	ASSERT_OK(ctl_reply_decode((char *)out.data, out.len - 1, &r, NULL));
	EXPECT_INT(r.kind, CTL_REPLY_ERROR);
	EXPECT_INT(r.exit, 4);
	EXPECT_STR(r.err.code, "target-in-use");
	EXPECT_STR(r.err.object, "/dev/sdb");
	EXPECT_STR(r.err.message, "/dev/sdb: is mounted");
	EXPECT_STR(r.err.remedy, "unmount it");
	EXPECT_INT(json_object_size(r.body), 4);
	ctl_reply_free(&r);
	buf_free(&out);
}

TEST(texts_that_an_error_lacks_are_null_and_bad_bytes_are_replaced)
{
	struct err err = ERR_INIT;
	json_t *j;

	err_set(&err, -EIO, "x", "/dev/\xff", "broke");
	j = ctl_error_json(&err);
	ASSERT_NOT_NULL(j);
	EXPECT_STR(json_string_value(json_object_get(j, "object")), "/dev/?");
	EXPECT_TRUE(json_is_null(json_object_get(j, "remedy")));
	json_decref(j);
}

TEST(replies_of_no_known_kind_are_refused)
{
	static const char *const lines[] = {
		"{}", "{\"result\":1}", "{\"done\":{}}", "[{}]",
		"{\"error\":{\"code\":\"x\",\"message\":\"y\"}}",
		"{\"error\":{\"code\":\"x\",\"message\":\"y\"},\"exit\":0}",
		"{\"error\":{\"code\":\"x\",\"message\":\"y\"},\"exit\":5}",
		"{\"error\":{\"code\":\"x\"},\"exit\":1}",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		struct ctl_reply r;

		EXPECT_MSG(ctl_reply_decode(lines[i], strlen(lines[i]), &r,
					    NULL) == -EPROTO,
			   "  taken: %s", lines[i]);
		ctl_reply_free(&r);
	}
}

TEST(lines_are_found_however_the_bytes_are_cut)
{
	static const char text[] = "one\n\nthree\r\nlast";
	size_t step;

	for (step = 1; step < sizeof(text); step++) {
		struct ctl_lines l;
		char got[64] = "";
		const char *line;
		size_t i, n;

		ctl_lines_init(&l, 32);
		for (i = 0; i < strlen(text); i += step) {
			ASSERT_OK(ctl_lines_feed(&l, text + i,
						 MIN(step, strlen(text) - i)));
			while (!ctl_lines_next(&l, &line, &n)) {
				strncat(got, line, n);
				strcat(got, "|");
			}
		}
		EXPECT_STR(got, "one||three\r|");
		ctl_lines_free(&l);
	}
}

TEST(a_line_above_the_cap_ends_the_stream)
{
	struct ctl_lines l;
	const char *line;
	size_t n;

	ctl_lines_init(&l, 8);
	ASSERT_OK(ctl_lines_feed(&l, "1234567\n", 8));
	EXPECT_OK(ctl_lines_next(&l, &line, &n));
	EXPECT_U64(n, 7);
	ASSERT_OK(ctl_lines_feed(&l, "12345678", 8));
	EXPECT_INT(ctl_lines_next(&l, &line, &n), -EMSGSIZE);
	ASSERT_OK(ctl_lines_feed(&l, "\n", 1));
	EXPECT_INT(ctl_lines_next(&l, &line, &n), -EMSGSIZE);
	ctl_lines_free(&l);
}

TEST(a_reply_above_the_cap_is_not_sent)
{
	struct buf out = { 0 };
	char *big = malloc(CTL_MAX_REPLY_BYTES + 1);

	ASSERT_NOT_NULL(big);
	memset(big, 'a', CTL_MAX_REPLY_BYTES);
	big[CTL_MAX_REPLY_BYTES] = 0;
	EXPECT_INT(ctl_reply_encode(CTL_REPLY_RESULT,
				    json_pack("{s:s}", "x", big), &out),
		   -EMSGSIZE);
	EXPECT_U64(out.len, 0);
	free(big);
	buf_free(&out);
}

TEST(random_bytes_never_make_a_request)
{
	uint64_t seed = tap_seed();
	static const char good[] =
		"{\"version\":1,\"verb\":\"sync\",\"args\":{\"volume\":\"db1\","
		"\"timeout_ms\":60000}}";
	char line[sizeof(good)];
	int i;

	for (i = 0; i < 50000; i++) {
		struct ctl_request r;
		struct ctl_reply reply;
		struct sync_args a;
		size_t n = sizeof(good) - 1;
		int flips;

		memcpy(line, good, sizeof(good));
		for (flips = 1 + i % 4; flips; flips--) {
			seed = seed * 6364136223846793005ULL +
			       1442695040888963407ULL;
			line[(seed >> 33) % n] = (char)(seed >> 20);
		}
		no_request(&r);
		if (!ctl_request_decode(line, n - (size_t)(i % 7), &r, NULL))
			(void)ctl_args_decode(r.args, sync_table,
					      ARRAY_SIZE(sync_table), &a, NULL);
		ctl_request_free(&r);
		(void)ctl_reply_decode(line, n, &reply, NULL);
		ctl_reply_free(&reply);
	}
}

static void make_pair(int fds[2])
{
	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
}

TEST(descriptors_travel_with_a_request)
{
	struct ctl_request r;
	char got[16];
	int fds[2], pipes[2], n;

	no_request(&r);
	make_pair(fds);
	ASSERT_OK(pipe2(pipes, O_CLOEXEC));
	ASSERT_OK(ctlsock_send(fds[0], "hello\n", 6, pipes, 2, 1000));
	n = (int)ctlsock_recv(fds[1], got, sizeof(got), &r);
	EXPECT_INT(n, 6);
	ASSERT_INT(r.n_fds, 2);
	EXPECT_INT(write(r.fds[1], "x", 1), 1);
	EXPECT_INT(read(pipes[0], got, 1), 1);
	EXPECT_TRUE(fcntl(r.fds[0], F_GETFD) & FD_CLOEXEC);
	ctl_request_free(&r);
}

TEST(more_descriptors_than_allowed_are_refused_and_closed)
{
	int fds[2], pipes[2], many[CTL_MAX_FDS], before, after, i;
	struct ctl_request r;
	char got[16];

	no_request(&r);
	make_pair(fds);
	ASSERT_OK(pipe2(pipes, O_CLOEXEC));
	for (i = 0; i < CTL_MAX_FDS; i++)
		many[i] = pipes[0];
	before = dup(0);
	(void)close(before);
	ASSERT_OK(ctlsock_send(fds[0], "a", 1, many, CTL_MAX_FDS, 1000));
	ASSERT_INT(ctlsock_recv(fds[1], got, sizeof(got), &r), 1);
	ASSERT_OK(ctlsock_send(fds[0], "b", 1, many, 1, 1000));
	EXPECT_INT(ctlsock_recv(fds[1], got, sizeof(got), &r), -EPROTO);
	ctl_request_free(&r);
	after = dup(0);
	EXPECT_INT(after, before);
}

TEST(a_reader_that_does_not_read_ends_a_send_by_time_out)
{
	static char much[1 << 20];
	int fds[2];

	make_pair(fds);
	EXPECT_INT(ctlsock_send(fds[0], much, sizeof(much), NULL, 0, 20),
		   -ETIMEDOUT);
	EXPECT_FALSE(ctlsock_is_gone(fds[0]));
	(void)close(fds[1]);
	EXPECT_TRUE(ctlsock_is_gone(fds[0]));
	EXPECT_INT(ctlsock_send(fds[0], much, 1, NULL, 0, 20), -EPIPE);
}

TEST(a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not)
{
	char dir[] = "/tmp/test_ctlproto.XXXXXX", path[64];
	struct err err = ERR_INIT;
	struct stat st;
	int fd, second;

	ASSERT_NOT_NULL(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/c.sock", dir);
	fd = ctlsock_listen(path, &err);
	ASSERT_GE(fd, 0);
	ASSERT_OK(stat(path, &st));
	EXPECT_INT(st.st_mode & 0777, 0600);
	EXPECT_INT(ctlsock_listen(path, &err), -EADDRINUSE);
	EXPECT_STR(err.code, "control-in-use");
	(void)close(fd);		/* as a kill -9 leaves it */
	EXPECT_INT(ctlsock_connect(path, NULL), -ECONNREFUSED);
	fd = ctlsock_listen(path, NULL);
	EXPECT_GE(fd, 0);
	second = ctlsock_connect(path, NULL);
	EXPECT_GE(second, 0);
	EXPECT_OK(ctlsock_check_peer(second, NULL));
	(void)unlink(path);
	(void)rmdir(dir);
}

TEST(a_file_in_the_sockets_place_is_left_alone)
{
	char path[] = "/tmp/test_ctlproto.XXXXXX";
	struct err err = ERR_INIT;
	int fd = mkstemp(path);

	ASSERT_GE(fd, 0);
	EXPECT_INT(ctlsock_listen(path, &err), -EEXIST);
	EXPECT_OK(access(path, F_OK));
	(void)unlink(path);
}

TEST(no_daemon_is_an_error_that_says_what_to_do)
{
	struct err err = ERR_INIT;

	EXPECT_INT(ctlsock_connect("/nonexistent/c.sock", &err), -ENOENT);
	EXPECT_STR(err.code, "no-daemon");
	EXPECT_STR_HAS(err.remedy, "start understudyd");
}
