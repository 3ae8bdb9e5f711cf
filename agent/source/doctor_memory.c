// SPDX-License-Identifier: Apache-2.0
/*
 * Is there memory for a volume: on the host, and in the cgroups above, since
 * maps are charged to the cgroup of who makes them. A service has a cgroup of
 * its own: what is told is that of this process.
 *
 * Any thread; no state.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "source/doctor_checks.h"

/* Bitmaps, a reader's buffers and the daemon itself, for one volume. */
#define MEMORY_ENOUGH_BYTES ((uint64_t)512 << 20)
#define MEMORY_LEAST_BYTES ((uint64_t)128 << 20)
#define CGROUPS "/sys/fs/cgroup"

static enum doctor_level judge(uint64_t bytes)
{
	if (bytes < MEMORY_LEAST_BYTES)
		return DOCTOR_FAIL;
	return bytes < MEMORY_ENOUGH_BYTES ? DOCTOR_WARN : DOCTOR_OK;
}

static void check_host(struct doctor_report *r, const char *proc)
{
	_cleanup_free_ char *text = doctor_read(proc, "meminfo");
	const char *line = text ? strstr(text, "MemAvailable:") : NULL;
	enum doctor_level level;
	uint64_t bytes;
	char amount[24];

	if (!line) {
		doctor_add(r, DOCTOR_WARN, "memory", NULL,
			   "the kernel does not say how much is available");
		return;
	}
	bytes = strtoull(line + strlen("MemAvailable:"), NULL, 10) << 10;
	level = judge(bytes);
	size_format(bytes, amount);
	doctor_add(r, level, "memory",
		   level == DOCTOR_OK ? NULL :
			   "free some memory, or set tracker-memory lower",
		   "%s available", amount);
}

/* ---- cgroups ---- */

struct hierarchy {
	const char *prefix;		/* in self/cgroup */
	const char *dir, *limit, *used;
};

/* The line's path after the prefix, or NULL. */
static char *path_in(char *text, const char *prefix)
{
	char *line, *rest = text, *at;

	while ((line = strsep(&rest, "\n"))) {
		at = strstr(line, prefix);
		if (at && (at == line || prefix[0] == ':'))
			return at + strlen(prefix);
	}
	return NULL;
}

/* What is left in one group; UINT64_MAX without a limit. */
static uint64_t left_in(const char *root, const struct hierarchy *h,
			const char *path)
{
	_cleanup_free_ char *limit = NULL, *used = NULL;
	char name[512];
	uint64_t most, now;

	(void)snprintf(name, sizeof(name), "%s%s/%s", h->dir, path, h->limit);
	limit = doctor_read(root, name);
	(void)snprintf(name, sizeof(name), "%s%s/%s", h->dir, path, h->used);
	used = doctor_read(root, name);
	/* "max" is none */
	if (!limit || !used || limit[0] < '0' || limit[0] > '9')
		return UINT64_MAX;
	most = strtoull(limit, NULL, 10);
	now = strtoull(used, NULL, 10);
	/* What is no limit the old hierarchy writes as the largest number. */
	if (most >= (uint64_t)INT64_MAX >> 12 << 12)
		return UINT64_MAX;
	return most > now ? most - now : 0;
}

/* The least that is left from the group up; *path becomes that group. */
static uint64_t least_left(const char *root, const struct hierarchy *h,
			   char *path)
{
	_cleanup_free_ char *at = strdup(path);
	uint64_t least = UINT64_MAX, left;
	char *slash;

	while (at) {
		left = left_in(root, h, at);
		if (left < least) {
			least = left;
			strcpy(path, at);
		}
		slash = strrchr(at, '/');
		if (!slash || !at[0])
			break;
		*slash = 0;
	}
	return least;
}

static void check_cgroup(struct doctor_report *r, const struct doctor_env *env,
			 const struct hierarchy *h)
{
	_cleanup_free_ char *text = doctor_read(doctor_roots(env)->proc,
						"self/cgroup");
	char *path = text ? path_in(text, h->prefix) : NULL;
	enum doctor_level level;
	uint64_t left;
	char amount[24];

	if (!path)
		return;
	if (!strcmp(path, "/"))
		path[0] = 0;
	left = least_left(env->cgroup ? env->cgroup : CGROUPS, h, path);
	level = judge(left);
	if (left == UINT64_MAX)
		return;
	size_format(left, amount);
	doctor_add(r, level, "memory-cgroup",
		   level == DOCTOR_OK ? NULL :
			   "raise the limit of the cgroup (MemoryMax= of a "
			   "service), or set tracker-memory lower",
		   "%s left under the limit of %s", amount,
		   path[0] ? path : "/");
}

void doctor_check_memory(struct doctor_report *r, const struct doctor_env *env)
{
	static const struct hierarchy unified = {
		"0::", "", "memory.max", "memory.current",
	}, old = {
		":memory:", "memory", "memory.limit_in_bytes",
		"memory.usage_in_bytes",
	};

	check_host(r, doctor_roots(env)->proc);
	check_cgroup(r, env, &unified);
	check_cgroup(r, env, &old);
}
