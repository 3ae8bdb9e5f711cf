// SPDX-License-Identifier: Apache-2.0
/*
 * What the helper may do: freeze (CAP_SYS_ADMIN) and open the root of a
 * filesystem whoever owns it (CAP_DAC_READ_SEARCH); and lock memory, where the
 * limit on that cannot be lifted (CAP_IPC_LOCK). What it runs has none of it.
 *
 * Before that, as long as it may: memory that is never taken away, a process
 * that is not chosen when memory is short, and a place before others when its
 * time is up. Each of those is worth having and none is demanded.
 *
 * Main thread, once.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "freeze/freeze_job.h"

static void never_killed_for_memory(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "-1000", 5) != 5)
		(void)fprintf(stderr, "understudy-freeze: may be killed when "
			      "memory is short\n");
	(void)close(fd);
}

/* The capability that this goes on needing in each holder, as a set. */
static uint64_t lock_memory(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	bool lifted = !setrlimit(RLIMIT_MEMLOCK, &all);

	if (mlockall(MCL_CURRENT) < 0)
		(void)fprintf(stderr, "understudy-freeze: memory cannot be "
			      "locked: %s\n", strerror(errno));
	return lifted ? 0 : 1ULL << CAP_IPC_LOCK;
}

static bool has(uint64_t set, unsigned int capability)
{
	return set >> capability & 1;
}

/* Who may not change the bounding set has nothing in it to use: no new
 * privileges. */
static int keep_only(uint64_t wanted, uint64_t *left)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];
	unsigned int c;

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	*left = wanted & (d[0].permitted | (uint64_t)d[1].permitted << 32);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	for (c = 0; c < 2; c++) {
		d[c].permitted = (uint32_t)(*left >> (32 * c));
		d[c].effective = d[c].permitted;
		d[c].inheritable = 0;
	}
	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

int freeze_confine(struct freeze_hello *hello)
{
	const struct sched_param first = { .sched_priority = 1 };
	uint64_t left = 0, wanted = 1ULL << CAP_SYS_ADMIN |
				    1ULL << CAP_DAC_READ_SEARCH;
	int r;

	never_killed_for_memory();
	wanted |= lock_memory();
	(void)sched_setscheduler(0, SCHED_FIFO, &first);
	(void)setsid();
	r = keep_only(wanted, &left);
	if (r < 0)
		return r;
	if (!has(left, CAP_SYS_ADMIN)) {
		hello->error = -EPERM;
		(void)snprintf(hello->what, sizeof(hello->what),
			       "CAP_SYS_ADMIN is lacking");
	}
	return 0;
}
