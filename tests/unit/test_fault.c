// SPDX-License-Identifier: Apache-2.0
#define US_FAULT 1
#include "base/fault.h"

#include <signal.h>

#include "base/checked.h"

#include "lib/tap.h"

TEST(nothing_configured_does_nothing)
{
	(void)unsetenv("UNDERSTUDY_FAULT");
	EXPECT_INT(FAULT("store.commit"), 0);
	ASSERT_OK(fault_configure(""));
	EXPECT_INT(FAULT("store.commit"), 0);
}

TEST(an_error_comes_back_at_its_place_only)
{
	ASSERT_OK(fault_configure("a.b=error,c=error:ENOSPC"));
	EXPECT_INT(FAULT("a.b"), -EIO);
	EXPECT_INT(FAULT("a.b"), -EIO);
	EXPECT_INT(FAULT("c"), -ENOSPC);
	EXPECT_INT(FAULT("a"), 0);
	EXPECT_INT(FAULT("a.b.c"), 0);
}

TEST(the_nth_time_is_counted)
{
	ASSERT_OK(fault_configure("a=error:EIO@2,a=error:EPIPE@4+"));
	EXPECT_INT(FAULT("a"), 0);
	EXPECT_INT(FAULT("a"), -EIO);
	EXPECT_INT(FAULT("a"), 0);
	EXPECT_INT(FAULT("a"), -EPIPE);
	EXPECT_INT(FAULT("a"), -EPIPE);
	ASSERT_OK(fault_configure("a=error@2"));
	EXPECT_INT(FAULT("a"), 0);
}

TEST(a_delay_waits)
{
	double start = tap_ms_now();

	ASSERT_OK(fault_configure("a=delay:30ms@1"));
	EXPECT_INT(FAULT("a"), 0);
	EXPECT_GE(tap_ms_now() - start, 30);
}

static int signal_that_ends(const char *setting)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)setenv("UNDERSTUDY_FAULT", setting, 1);
		(void)close(STDERR_FILENO);
		(void)FAULT("a");
		(void)FAULT("a");
		_exit(0);
	}
	if (waitpid(pid, &status, WUNTRACED) != pid)
		return -1;
	if (WIFSTOPPED(status)) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return WSTOPSIG(status);
	}
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(the_environment_can_kill_and_stop)
{
	EXPECT_INT(signal_that_ends("a=kill@2"), SIGKILL);
	EXPECT_INT(signal_that_ends("a=kill@3"), 0);
	EXPECT_INT(signal_that_ends("a=stop"), SIGSTOP);
}

TEST(a_setting_that_cannot_be_read_ends_the_program)
{
	EXPECT_INT(signal_that_ends("a=explode"), SIGABRT);
	EXPECT_INT(signal_that_ends("elsewhere"), SIGABRT);
}

TEST(other_settings_are_refused)
{
	static const char *const bad[] = {
		"a",	     "=error",	    "a=",	  "a=error:EFOO",
		"a=error:5", "a=delay",	    "a=delay:5",  "a=kill:9",
		"a=error@0", "a=error@",    "a=error@x",  "a=error@1x",
		"a=error@+", "a=error@-1",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_MSG(fault_configure(bad[i]) == -EINVAL, "  took \"%s\"",
			   bad[i]);
	EXPECT_OK(fault_configure(",a=error,,"));
}
