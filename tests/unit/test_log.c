// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <sys/stat.h>

#include "lib/tap.h"

static char logged[8192];

/* Runs what logs with standard error in a pipe; the text lands in logged. */
static const char *log_of(void (*fn)(void))
{
	int fds[2], saved;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	(void)dup2(fds[1], STDERR_FILENO);
	fn();
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	(void)close(fds[1]);
	n = read(fds[0], logged, sizeof(logged) - 1);
	logged[n > 0 ? n : 0] = 0;
	(void)close(fds[0]);
	return logged;
}

static void two_levels(void)
{
	log_init("tester", LOG_LEVEL_WARN);
	log_warn("seen %d", 1);
	log_info("not seen");
}

TEST(lines_above_the_level_are_dropped)
{
	const char *text = log_of(two_levels);

	EXPECT_STR_HAS(text, "Z tester: warning: seen 1\n");
	EXPECT_NULL(strstr(text, "not seen"));
	EXPECT_TRUE(log_enabled(LOG_LEVEL_ERR));
	EXPECT_FALSE(log_enabled(LOG_LEVEL_DEBUG));
}

static void forger(void)
{
	log_init("tester", LOG_LEVEL_INFO);
	log_info("name is %s", "x\n<3>forged\x1b[31m\x7f");
}

TEST(a_message_cannot_forge_a_line)
{
	const char *text = log_of(forger);

	EXPECT_STR_HAS(text, "name is x <3>forged [31m \n");
	EXPECT_TRUE(strchr(text, '\n') == text + strlen(text) - 1);
}

static void long_line(void)
{
	char text[5000];

	memset(text, 'y', sizeof(text));
	text[sizeof(text) - 1] = 0;
	log_init("tester", LOG_LEVEL_INFO);
	log_info("%s", text);
	log_info("next");
}

TEST(a_long_line_is_cut_and_still_ends)
{
	const char *text = log_of(long_line);
	const char *end = strchr(text, '\n');

	ASSERT_NOT_NULL(end);
	EXPECT_LT(end - text, 1300);
	EXPECT_GT(end - text, 1000);
	EXPECT_STR_HAS(end, "next\n");
}

static void on_journal(void)
{
	struct stat st;
	char stream[64];

	(void)fstat(STDERR_FILENO, &st);
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		       (uintmax_t)st.st_ino);
	(void)setenv("JOURNAL_STREAM", stream, 1);
	log_init("tester", LOG_LEVEL_DEBUG);
	log_err("one");
	log_debug("two");
	(void)setenv("JOURNAL_STREAM", "1:2", 1);
	log_init("tester", LOG_LEVEL_DEBUG);
	log_info("three");
}

TEST(the_journal_gets_priorities_instead_of_stamps)
{
	const char *text = log_of(on_journal);

	EXPECT_MEM(text, "<3>one\n<7>two\n2", 15);
	EXPECT_STR_HAS(text, "tester: info: three\n");
}

static void failures(void)
{
	struct err err = ERR_INIT;

	log_init("tester", LOG_LEVEL_INFO);
	err_set(&err, -EIO, "c", "db1", "read");
	log_failure(LOG_LEVEL_ERR, &err);
	err_remedy(&err, "run doctor");
	log_failure(LOG_LEVEL_ERR, &err);
	errno = ENOSPC;
	log_err("%m");
	if (errno == ENOSPC)
		log_info("errno kept");
}

TEST(a_failure_is_one_line_with_its_remedy)
{
	const char *text = log_of(failures);

	EXPECT_STR_HAS(text, "error: db1: read\n");
	EXPECT_STR_HAS(text, "error: db1: read; run doctor\n");
	EXPECT_STR_HAS(text, "No space left on device\n");
	EXPECT_STR_HAS(text, "errno kept\n");
}
