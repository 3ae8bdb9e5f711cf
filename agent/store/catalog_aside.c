// SPDX-License-Identifier: Apache-2.0
/*
 * Putting the catalog aside.
 *
 *   1  catalog.db becomes catalog.db.old-N, N being above all that there are;
 *      the directory is synced
 *   2  catalog.db-wal, -shm and -journal become catalog.db.old-N-wal ..., and
 *      the directory is synced
 *
 * In this order: a catalog without its log may be one that SQLite cannot read,
 * a log without its catalog is recognised by that and belongs to the newest
 * one that was put aside. Who dies between the two leaves that, and the next
 * start of a process that writes goes on with 2 before it makes a catalog.
 *
 * Names are changed and nothing else, so it works whatever the files are.
 * Called by the process that has the store's lock, before it opens a catalog.
 */
#include "store/catalog_aside.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"

static const char *const companions[] = { "-wal", "-shm", "-journal" };

#define ASIDE_MAX 1000000000U
#define N_COMPANIONS ARRAY_SIZE(companions)

struct aside {
	bool catalog;			/* it is there */
	bool companion[N_COMPANIONS];
	uint32_t highest;		/* N; 0: none was put aside yet */
	bool taken[N_COMPANIONS];	/* highest has it already */
};

static int next_number(const struct aside *a, const char *path, uint32_t *n,
		       struct err *err)
{
	*n = a->highest + 1;
	return *n <= ASIDE_MAX ? 0 :
		       err_set(err, -EEXIST, "write-failed", path,
			       "no name is left for the catalog: %s%u is there",
			       CATALOG_ASIDE, a->highest);
}

/* N of "catalog.db.old-N" with or without "-wal" ...; 0: another name. */
static uint32_t parse_aside(const char *name, size_t *companion)
{
	static const size_t prefix = sizeof(CATALOG_ASIDE) - 1;
	uint64_t n = 0;
	const char *p;

	*companion = N_COMPANIONS;
	if (strncmp(name, CATALOG_ASIDE, prefix) || name[prefix] == '0')
		return 0;
	for (p = name + prefix; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > ASIDE_MAX)
			return 0;
	}
	if (!*p)
		return (uint32_t)n;
	for (*companion = 0; *companion < N_COMPANIONS; (*companion)++)
		if (!strcmp(p, companions[*companion]))
			return (uint32_t)n;
	return 0;
}

bool catalog_aside_name(const char *name)
{
	size_t companion;

	return parse_aside(name, &companion) != 0;
}

static int on_name(void *arg, const char *name)
{
	static const size_t base = sizeof(CATALOG_NAME) - 1;
	struct aside *a = arg;
	size_t i;
	uint32_t n;

	if (strncmp(name, CATALOG_NAME, base))
		return 0;
	a->catalog |= !name[base];
	for (i = 0; i < N_COMPANIONS; i++)
		a->companion[i] |= !strcmp(name + base, companions[i]);
	n = parse_aside(name, &i);
	if (n > a->highest) {
		a->highest = n;
		memset(a->taken, 0, sizeof(a->taken));
	}
	if (n && n == a->highest && i < N_COMPANIONS)
		a->taken[i] = true;
	return 0;
}

static int rename_to(struct io *io, int dirfd, const char *suffix, uint32_t n,
		     const char *path, struct err *err)
{
	char from[CATALOG_ASIDE_SIZE], to[CATALOG_ASIDE_SIZE];
	int r;

	(void)snprintf(from, sizeof(from), "%s%s", CATALOG_NAME, suffix);
	(void)snprintf(to, sizeof(to), "%s%u%s", CATALOG_ASIDE, n, suffix);
	r = io->ops->renameat(io, dirfd, from, dirfd, to);
	return r < 0 ? err_sys(err, r, "write-failed", path,
			       "rename %s to %s", from, to) : 0;
}

static int sync_names(struct io *io, int dirfd, const char *path,
		      struct err *err)
{
	int r = io->ops->fsync(io, dirfd);

	return r < 0 ? err_sys(err, r, "write-failed", path,
			       "fsync of the directory") : 0;
}

static int look(struct io *io, int dirfd, const char *path, struct aside *a,
		struct err *err)
{
	int r;

	memset(a, 0, sizeof(*a));
	r = io->ops->listdir(io, dirfd, ".", on_name, a);
	return r < 0 ? err_sys(err, r, "cannot-open", path, "list") : 0;
}

static int move_companions(struct io *io, int dirfd, const char *path,
			   const struct aside *a, uint32_t n, struct err *err)
{
	bool any = false;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < N_COMPANIONS; i++) {
		if (!a->companion[i])
			continue;
		r = rename_to(io, dirfd, companions[i], n, path, err);
		any = true;
	}
	return r == 0 && any ? sync_names(io, dirfd, path, err) : r;
}

int catalog_finish_aside(struct io *io, int dirfd, const char *path,
			 struct err *err)
{
	struct aside a;
	uint32_t n;
	bool any = false, taken = false;
	size_t i;
	int r;

	r = look(io, dirfd, path, &a, err);
	if (r < 0 || a.catalog)
		return r;
	for (i = 0; i < N_COMPANIONS; i++) {
		any |= a.companion[i];
		taken |= a.companion[i] && a.taken[i];
	}
	if (!any)
		return 0;
	n = a.highest;
	if (!n || taken)
		r = next_number(&a, path, &n, err);
	if (r < 0)
		return r;
	log_warn("%s: there is no %s, but what belonged to one: put aside as "
		 "%s%u-*", path, CATALOG_NAME, CATALOG_ASIDE, n);
	return move_companions(io, dirfd, path, &a, n, err);
}

int catalog_put_aside(struct io *io, int dirfd, const char *path,
		      char out[CATALOG_ASIDE_SIZE], struct err *err)
{
	struct aside a;
	uint32_t n;
	int r;

	out[0] = 0;
	r = look(io, dirfd, path, &a, err);
	if (r < 0)
		return r;
	if (!a.catalog)
		return catalog_finish_aside(io, dirfd, path, err);
	r = next_number(&a, path, &n, err);
	if (r == 0)
		r = rename_to(io, dirfd, "", n, path, err);
	if (r < 0)
		return r;
	(void)snprintf(out, CATALOG_ASIDE_SIZE, "%s%u", CATALOG_ASIDE, n);
	r = sync_names(io, dirfd, path, err);
	return r < 0 ? r : move_companions(io, dirfd, path, &a, n, err);
}
