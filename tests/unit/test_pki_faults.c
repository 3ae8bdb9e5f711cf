// SPDX-License-Identifier: Apache-2.0
/*
 * What an authority leaves behind when any one step of its work fails, and
 * what it makes of a damaged index.
 */
#include "tap.h"

#include "unit/pki_fixture.h"

#include "pki/pki_dir.h"

#define STATE in_scratch("state")

static struct pki_subject subject(const char *name)
{
	struct pki_subject s = { .rights = PKI_RIGHT_PUSH, .volumes = "db*" };

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	return s;
}

/* ---- every step fails once ---- */

/*
 * Real files; call number fail_at of those that can fail gives EIO, and the
 * syncs do nothing, for speed.
 */
static struct {
	struct io io;
	int calls, fail_at;
} bad;

#define BAD_STEP()                          \
	do {                                \
		if (++bad.calls == bad.fail_at) \
			return -EIO;        \
	} while (0)

static int bad_open(struct io *io, int dirfd, const char *path, int flags,
		    mode_t mode)
{
	(void)io;
	BAD_STEP();
	return io_posix()->ops->open(io_posix(), dirfd, path, flags, mode);
}

static ssize_t bad_pread(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
	(void)io;
	BAD_STEP();
	return io_posix()->ops->pread(io_posix(), fd, p, n, off);
}

static ssize_t bad_pwritev(struct io *io, int fd, const struct iovec *iov,
			   int n, uint64_t off)
{
	(void)io;
	BAD_STEP();
	return io_posix()->ops->pwritev(io_posix(), fd, iov, n, off);
}

static int bad_sync(struct io *io, int fd)
{
	(void)io;
	(void)fd;
	BAD_STEP();
	return 0;
}

static int bad_mkdirat(struct io *io, int dirfd, const char *path, mode_t mode)
{
	(void)io;
	BAD_STEP();
	return io_posix()->ops->mkdirat(io_posix(), dirfd, path, mode);
}

static int bad_renameat(struct io *io, int fromfd, const char *from, int tofd,
			const char *to)
{
	(void)io;
	BAD_STEP();
	return io_posix()->ops->renameat(io_posix(), fromfd, from, tofd, to);
}

static struct pki_env bad_env(struct io_ops *ops, int fail_at)
{
	struct pki_env env = pki_env_system();

	*ops = *io_posix()->ops;
	ops->open = bad_open;
	ops->pread = bad_pread;
	ops->pwritev = bad_pwritev;
	ops->fdatasync = bad_sync;
	ops->fsync = bad_sync;
	ops->mkdirat = bad_mkdirat;
	ops->renameat = bad_renameat;
	bad.io.ops = ops;
	bad.calls = 0;
	bad.fail_at = fail_at;
	env.io = &bad.io;
	return env;
}

TEST(an_init_that_fails_at_any_step_leaves_nothing)
{
	struct io_ops ops;
	int at, r;

	for (at = 1;; at++) {
		struct pki_env env = bad_env(&ops, at);
		struct err err = ERR_INIT;

		r = pki_init_in(&env, STATE, NULL, 0, &err);
		if (r == 0 && bad.calls < at)
			break;
		/* Some steps only tidy up, or look for what may be absent. */
		if (r == 0) {
			ASSERT_TRUE(exists(in_scratch("state/pki/ca.key")));
			scratch_remove();
			ASSERT_OK(mkdir(scratch(), 0700));
			continue;
		}
		EXPECT_INT(err.num, r);
		EXPECT_MSG(!exists(in_scratch("state/pki")) &&
				   !exists(in_scratch("state/pki.new")),
			   "  something is left after step %d", at);
	}
	tap_note("%d steps", at - 1);
	EXPECT_GT(at, 40);
}

static void remove_out(void)
{
	EXPECT_OK(unlink(in_scratch("out/key.pem")));
	EXPECT_OK(unlink(in_scratch("out/ca.pem")));
	EXPECT_OK(unlink(in_scratch("out/cert.pem")));
	EXPECT_OK(rmdir(in_scratch("out")));
}

TEST(an_issue_that_fails_at_any_step_leaves_nothing)
{
	struct pki_subject s = subject("web1");
	const char *dir = strdupa(in_scratch("out"));
	struct io_ops ops;
	char *before;
	int at, r;

	ASSERT_OK(pki_init(STATE, NULL, 0, NULL));
	before = strdup(slurp(in_scratch("state/pki/index")));
	for (at = 1;; at++) {
		struct pki_env env = bad_env(&ops, at);
		struct err err = ERR_INIT;

		r = pki_issue_in(&env, STATE, &s, dir, &err);
		if (r == 0 && bad.calls < at)
			break;
		if (r == 0) {
			ASSERT_TRUE(exists(in_scratch("out/cert.pem")));
			remove_out();
			ASSERT_OK(pki_revoke(STATE, "web1", NULL));
			free(before);
			before = strdup(slurp(in_scratch("state/pki/index")));
			continue;
		}
		EXPECT_INT(err.num, r);
		EXPECT_MSG(!exists(dir), "  %s is left after step %d", dir, at);
		EXPECT_MSG(!strcmp(slurp(in_scratch("state/pki/index")),
				   before),
			   "  the index changed at step %d", at);
	}
	tap_note("%d steps", at - 1);
	EXPECT_GT(at, 30);
	EXPECT_TRUE(exists(in_scratch("out/cert.pem")));
	free(before);
}

/* ---- the index ---- */

TEST(an_index_cut_at_any_byte_is_damaged_or_shorter)
{
	struct pki_subject s = subject("web1");
	struct pki_index ix = { 0 };
	char *text, cut[4096];
	size_t i, len;

	ASSERT_OK(pki_init(STATE, NULL, 0, NULL));
	ASSERT_OK(pki_issue(STATE, &s, in_scratch("one"), NULL));
	text = slurp(in_scratch("state/pki/index"));
	len = strlen(text);
	ASSERT_LT(len, sizeof(cut));
	for (i = 0; i < len; i++) {
		struct err err = ERR_INIT;
		int r;

		memcpy(cut, text, i);
		cut[i] = 0;
		r = pki_index_parse(cut, "index", &ix, &err);
		EXPECT_MSG(r == (i && cut[i - 1] == '\n' ? 0 : -EBADMSG),
			   "  %d at byte %zu", r, i);
		if (r)
			EXPECT_STR(err.code, "pki-damaged");
		pki_index_free(&ix);
	}
}

TEST(a_damaged_line_of_the_index_is_named)
{
	static const char *const lines[] = {
		"x",
		"0 peer valid",
		"00112233445566778899aabbccddeeff peer valid "
		"2026-01-01T00:00:00.000Z 2028-01-01T00:00:00.000Z - push * "
		"web1 more",
		"00112233445566778899aabbccddeefg peer valid "
		"2026-01-01T00:00:00.000Z 2028-01-01T00:00:00.000Z - push * "
		"web1",
		"00112233445566778899aabbccddeeff peer lost "
		"2026-01-01T00:00:00.000Z 2028-01-01T00:00:00.000Z - push * "
		"web1",
		"00112233445566778899aabbccddeeff peer revoked "
		"2026-01-01T00:00:00.000Z 2028-01-01T00:00:00.000Z - push * "
		"web1",
		"00112233445566778899aabbccddeeff peer valid "
		"2026-01-01T00:00:00.000Z 2028-01-01T00:00:00.000Z - push * "
		"../x",
	};
	struct pki_index ix = { 0 };
	char text[1024];
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct err err = ERR_INIT;

		(void)snprintf(text, sizeof(text), "understudy-pki 1\n%s\n",
			       lines[i]);
		EXPECT_INT(pki_index_parse(text, "index", &ix, &err), -EBADMSG);
		EXPECT_STR_HAS(err.message, "line=2");
	}
	EXPECT_INT(pki_index_parse("understudy-pki 2\n", "index", &ix, NULL),
		   -EBADMSG);
}
