/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_TAP_H
#define TESTS_LIB_TAP_H

/*
 * Tests in C: include this once, in the file that is the program.
 *
 *	TEST(a_run_stops_at_a_hole)
 *	{
 *		ASSERT_OK(bitmap_init(&bm, 100));
 *		EXPECT_U64(bm.n_set, 0);
 *	}
 *
 * Each TEST registers itself and runs in a child of its own with an alarm
 * (TEST_TIMEOUT_S, or TEST_WITH_TIMEOUT), so that a crash or a hang is one
 * failed test with its signal named. ASSERT_* ends the test, EXPECT_* notes
 * the failure and goes on, SKIP says what the machine lacks. Output is TAP 13
 * with the time of each test; exit 0 all passed, 1 some failed or none ran, 4
 * all skipped. "test_x word" runs the tests whose names contain word;
 * "test_x --list" names them; TAP_NO_FORK=1 runs them in the program itself,
 * for a debugger.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TEST_TIMEOUT_S
#define TEST_TIMEOUT_S 30
#endif

#define TAP_EXIT_SKIP 4
#define TAP_REASON_BYTES 256

struct tap_test {
	const char *name;
	void (*run)(void);
	unsigned int timeout_s;
	struct tap_test *next;
};

static struct {
	struct tap_test *first;
	struct tap_test **last;
	bool failed;			/* the running test, by an EXPECT_ */
	int reason_fd;			/* child tells the parent why it skips */
} tap = { .reason_fd = -1 };

static inline void tap_register(struct tap_test *t)
{
	if (!tap.last)
		tap.last = &tap.first;
	*tap.last = t;
	tap.last = &t->next;
}

#define TEST(name) TEST_WITH_TIMEOUT(name, TEST_TIMEOUT_S)

#define TEST_WITH_TIMEOUT(tname, seconds)                              \
	static void test_##tname(void);                                \
	__attribute__((constructor)) static void tap_add_##tname(void) \
	{                                                              \
		static struct tap_test t = {                           \
			.name = #tname,                                \
			.run = test_##tname,                           \
			.timeout_s = (seconds),                        \
		};                                                     \
		tap_register(&t);                                      \
	}                                                              \
	static void test_##tname(void)

/* A line for the reader: "# text". Newlines inside start a new "# " line. */
__attribute__((format(printf, 1, 2))) static inline void
tap_note(const char *fmt, ...)
{
	char text[2048], *line, *rest = text;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	while ((line = strsep(&rest, "\n")))
		(void)printf("# %s\n", line);
	(void)fflush(stdout);
}

static inline void tap_fail_at(const char *file, int line)
{
	tap.failed = true;
	tap_note("%s:%d: failed", file, line);
}

__attribute__((noreturn)) static inline void tap_finish(int code)
{
	(void)fflush(stdout);
	exit(code);
}

__attribute__((noreturn)) static inline void tap_skip(const char *reason)
{
	/* A failure before the skip is still a failure. */
	if (tap.failed)
		tap_finish(1);
	if (tap.reason_fd < 0)
		(void)printf("# skipped: %s\n", reason);
	else if (write(tap.reason_fd, reason, strlen(reason)) < 0)
		tap_finish(1);
	tap_finish(TAP_EXIT_SKIP);
}

#define SKIP(reason) tap_skip(reason)

#define TAP_CHECK_(cond, fatal, ...)                          \
	do {                                                  \
		if (!(cond)) {                                \
			tap_fail_at(__FILE__, __LINE__);      \
			tap_note(__VA_ARGS__);                \
			if (fatal)                            \
				tap_finish(1);                \
		}                                             \
	} while (0)

#define TAP_TRUE_(c, fatal) TAP_CHECK_((c), fatal, "  false: %s", #c)
#define TAP_I64_(a, op, b, fatal)                                             \
	do {                                                                  \
		const int64_t tap_a_ = (int64_t)(a);                          \
		const int64_t tap_b_ = (int64_t)(b);                          \
		TAP_CHECK_(tap_a_ op tap_b_, fatal,                           \
			   "  %s %s %s: %" PRId64 " against %" PRId64, #a,    \
			   #op, #b, tap_a_, tap_b_);                          \
	} while (0)
#define TAP_U64_(a, op, b, fatal)                                             \
	do {                                                                  \
		const uint64_t tap_a_ = (uint64_t)(a);                        \
		const uint64_t tap_b_ = (uint64_t)(b);                        \
		TAP_CHECK_(tap_a_ op tap_b_, fatal,                           \
			   "  %s %s %s: %" PRIu64 " against %" PRIu64, #a,    \
			   #op, #b, tap_a_, tap_b_);                          \
	} while (0)
#define TAP_STR_(a, b, fatal)                                                 \
	do {                                                                  \
		const char *tap_a_ = (a);                                     \
		const char *tap_b_ = (b);                                     \
		TAP_CHECK_(tap_a_ && tap_b_ && !strcmp(tap_a_, tap_b_),       \
			   fatal, "  %s is \"%s\", not \"%s\"", #a,           \
			   tap_a_ ? tap_a_ : "(null)",                        \
			   tap_b_ ? tap_b_ : "(null)");                       \
	} while (0)
#define TAP_HAS_(a, b, fatal)                                                 \
	do {                                                                  \
		const char *tap_a_ = (a);                                     \
		const char *tap_b_ = (b);                                     \
		TAP_CHECK_(tap_a_ && strstr(tap_a_, tap_b_), fatal,           \
			   "  %s is \"%s\", without \"%s\"", #a,              \
			   tap_a_ ? tap_a_ : "(null)", tap_b_);               \
	} while (0)

/* Index of the first byte that differs, or n. */
static inline size_t tap_first_difference(const void *a, const void *b,
					  size_t n)
{
	const uint8_t *x = a, *y = b;
	size_t i;

	for (i = 0; i < n && x[i] == y[i]; i++)
		;
	return i;
}

#define TAP_MEM_(a, b, n, fatal)                                              \
	do {                                                                  \
		const uint8_t *tap_a_ = (const void *)(a);                    \
		const uint8_t *tap_b_ = (const void *)(b);                    \
		const size_t tap_n_ = (n);                                    \
		const size_t tap_i_ =                                         \
			tap_first_difference(tap_a_, tap_b_, tap_n_);         \
		TAP_CHECK_(tap_i_ == tap_n_, fatal,                           \
			   "  %s and %s differ at byte %zu of %zu: "          \
			   "%02x against %02x",                               \
			   #a, #b, tap_i_, tap_n_, tap_a_[tap_i_],            \
			   tap_b_[tap_i_]);                                   \
	} while (0)

/* What was measured comes first, what it should be second. */
#define ASSERT_TRUE(c) TAP_TRUE_(c, 1)
#define ASSERT_FALSE(c) TAP_TRUE_(!(c), 1)
#define ASSERT_INT(a, b) TAP_I64_(a, ==, b, 1)
#define ASSERT_U64(a, b) TAP_U64_(a, ==, b, 1)
#define ASSERT_NE(a, b) TAP_I64_(a, !=, b, 1)
#define ASSERT_LT(a, b) TAP_I64_(a, <, b, 1)
#define ASSERT_LE(a, b) TAP_I64_(a, <=, b, 1)
#define ASSERT_GT(a, b) TAP_I64_(a, >, b, 1)
#define ASSERT_GE(a, b) TAP_I64_(a, >=, b, 1)
#define ASSERT_STR(a, b) TAP_STR_(a, b, 1)
#define ASSERT_STR_HAS(a, b) TAP_HAS_(a, b, 1)
#define ASSERT_MEM(a, b, n) TAP_MEM_(a, b, n, 1)
#define ASSERT_OK(r) TAP_I64_(r, ==, 0, 1)
#define ASSERT_NULL(p) TAP_TRUE_((p) == NULL, 1)
#define ASSERT_NOT_NULL(p) TAP_TRUE_((p) != NULL, 1)

#define EXPECT_TRUE(c) TAP_TRUE_(c, 0)
#define EXPECT_FALSE(c) TAP_TRUE_(!(c), 0)
#define EXPECT_INT(a, b) TAP_I64_(a, ==, b, 0)
#define EXPECT_U64(a, b) TAP_U64_(a, ==, b, 0)
#define EXPECT_NE(a, b) TAP_I64_(a, !=, b, 0)
#define EXPECT_LT(a, b) TAP_I64_(a, <, b, 0)
#define EXPECT_LE(a, b) TAP_I64_(a, <=, b, 0)
#define EXPECT_GT(a, b) TAP_I64_(a, >, b, 0)
#define EXPECT_GE(a, b) TAP_I64_(a, >=, b, 0)
#define EXPECT_STR(a, b) TAP_STR_(a, b, 0)
#define EXPECT_STR_HAS(a, b) TAP_HAS_(a, b, 0)
#define EXPECT_MEM(a, b, n) TAP_MEM_(a, b, n, 0)
#define EXPECT_OK(r) TAP_I64_(r, ==, 0, 0)
#define EXPECT_NULL(p) TAP_TRUE_((p) == NULL, 0)
#define EXPECT_NOT_NULL(p) TAP_TRUE_((p) != NULL, 0)

/* With more words than the operands. */
#define ASSERT_MSG(c, ...) TAP_CHECK_((c), 1, __VA_ARGS__)
#define EXPECT_MSG(c, ...) TAP_CHECK_((c), 0, __VA_ARGS__)

/*
 * Seed of a random test: TEST_SEED from the environment, else a fresh one.
 * Printed, so that a failure can be had again.
 */
__attribute__((unused)) static inline uint64_t tap_seed(void)
{
	const char *env = getenv("TEST_SEED");
	struct timespec ts;
	uint64_t seed;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	seed = env ? strtoull(env, NULL, 0) :
		     (uint64_t)ts.tv_nsec << 20 ^ (uint64_t)ts.tv_sec ^
			     (uint64_t)getpid();
	tap_note("TEST_SEED=%" PRIu64, seed);
	return seed;
}

static inline double tap_ms_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

__attribute__((noreturn)) static inline void
tap_child(const struct tap_test *t, int reason_fd)
{
	/* A runner that dies takes its tests along. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	tap.reason_fd = reason_fd;
	(void)alarm(t->timeout_s);
	t->run();
	tap_finish(tap.failed ? 1 : 0);
}

/* Runs t in a child; its wait status, and why it skipped. */
static inline int tap_fork_test(const struct tap_test *t,
				char reason[TAP_REASON_BYTES])
{
	int fds[2], status = 1 << 8;
	ssize_t n;
	pid_t pid;

	reason[0] = 0;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return status;
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		tap_child(t, fds[1]);
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	/* Not read to its end: a grandchild may still hold the other side. */
	n = read(fds[0], reason, TAP_REASON_BYTES - 1);
	reason[n > 0 ? n : 0] = 0;
	(void)close(fds[0]);
	(void)close(fds[1]);
	return status;
}

/* Prints the verdict; 0 passed, 1 failed, 4 skipped. */
static inline int tap_run_one(const struct tap_test *t, unsigned int number)
{
	char reason[TAP_REASON_BYTES];
	double start = tap_ms_now(), ms;
	int status, code;

	status = tap_fork_test(t, reason);
	code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ms = tap_ms_now() - start;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		tap_note("timed out after %u s", t->timeout_s);
	else if (WIFSIGNALED(status))
		tap_note("killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else if (code != 0 && code != 1 && code != TAP_EXIT_SKIP)
		tap_note("exited with %d", code);
	if (code == TAP_EXIT_SKIP)
		(void)printf("ok %u - %s # SKIP %s\n", number, t->name, reason);
	else
		(void)printf("%s %u - %s # time=%.0fms\n",
			     code ? "not ok" : "ok", number, t->name, ms);
	(void)fflush(stdout);
	return code == 0 || code == TAP_EXIT_SKIP ? code : 1;
}

static inline bool tap_selected(const struct tap_test *t, const char *filter)
{
	return !filter || strstr(t->name, filter);
}

static inline int tap_list(void)
{
	const struct tap_test *t;

	for (t = tap.first; t; t = t->next)
		(void)puts(t->name);
	return 0;
}

static inline int tap_run_all(const char *filter)
{
	unsigned int total = 0, number = 0, failed = 0, skipped = 0;
	const struct tap_test *t;

	for (t = tap.first; t; t = t->next)
		total += tap_selected(t, filter);
	(void)printf("TAP version 13\n1..%u\n", total);
	for (t = tap.first; t; t = t->next) {
		int verdict;

		if (!tap_selected(t, filter))
			continue;
		verdict = tap_run_one(t, ++number);
		failed += verdict == 1;
		skipped += verdict == TAP_EXIT_SKIP;
	}
	if (!total)
		tap_note("no test%s%s", filter ? " matches " : "",
			 filter ? filter : "");
	if (failed || !total)
		return 1;
	return skipped == total ? TAP_EXIT_SKIP : 0;
}

int main(int argc, char **argv)
{
	const char *filter = argc > 1 ? argv[1] : NULL;
	const struct tap_test *t;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (filter && !strcmp(filter, "--list"))
		return tap_list();
	if (!getenv("TAP_NO_FORK"))
		return tap_run_all(filter);
	for (t = tap.first; t; t = t->next)
		if (tap_selected(t, filter))
			t->run();
	return tap.failed;
}

#endif
