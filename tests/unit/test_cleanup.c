// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"

#include "lib/tap.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

TEST(a_descriptor_is_closed_at_the_end_of_its_scope)
{
	int copy;

	{
		_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		ASSERT_GE(fd, 0);
		copy = fd;
	}
	EXPECT_FALSE(is_open(copy));
}

TEST(a_taken_descriptor_stays_open)
{
	int kept;

	{
		_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		kept = TAKE_FD(fd);
		EXPECT_INT(fd, -1);
	}
	EXPECT_TRUE(is_open(kept));
	(void)close(kept);
}

TEST(a_taken_pointer_is_not_freed)
{
	char *kept;

	{
		_cleanup_free_ char *p = strdup("text");

		kept = TAKE_PTR(p);
		EXPECT_NULL(p);
	}
	EXPECT_STR(kept, "text");
	free(kept);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int locked_early_return(bool early)
{
	LOCK_SCOPE(&lock);

	if (early)
		return pthread_mutex_trylock(&lock);
	return 0;
}

TEST(a_lock_is_released_on_every_way_out)
{
	EXPECT_INT(locked_early_return(true), EBUSY);
	EXPECT_INT(locked_early_return(false), 0);
	EXPECT_INT(pthread_mutex_trylock(&lock), 0);
	(void)pthread_mutex_unlock(&lock);
}

struct thing {
	int *freed;
};

static void thing_free(struct thing *t)
{
	(*t->freed)++;
}

DEFINE_CLEANUP(struct thing, thing_free)

TEST(an_object_is_freed_unless_it_was_taken)
{
	int freed = 0;
	struct thing t = { &freed };

	{
		_cleanup_(thing_freep) struct thing *a = &t;
		_cleanup_(thing_freep) struct thing *b = &t;
		_cleanup_(thing_freep) struct thing *none = NULL;

		(void)a;
		(void)none;
		(void)TAKE_PTR(b);
	}
	EXPECT_INT(freed, 1);
}
