// SPDX-License-Identifier: Apache-2.0
/*
 * Groups by name and members, and what of them outlives the process.
 *
 * Invariants:
 * - A number is on disk before a member's commit names it.
 * - Two groups that are there at the same moment share no count of flips.
 */
#include "source/source_group.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/digest.h"

#define FILE_BYTES_MAX 256

struct entry {
	struct source_group g;		/* first */
	struct entry *next;
	unsigned int users;
	struct io *io;
	char members[GROUP_MEMBERS_TEXT];
	char path[720];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *all;		/* under lock */

static struct entry *entry_of(struct source_group *g)
{
	return (struct entry *)(void *)g;
}

/* ---- the file: "UUID SEQ\n" ---- */

static int write_file(const struct entry *e, uint64_t seq)
{
	char text[FILE_BYTES_MAX], id[UUID_TEXT_SIZE];
	int n;

	uuid_format(&e->g.uuid, id);
	n = snprintf(text, sizeof(text), "%s %" PRIu64 "\n", id, seq);
	return io_replace_file(e->io, AT_FDCWD, e->path, text, (size_t)n,
			       0600);
}

static int parse_file(struct entry *e, char *text, uint64_t *seq)
{
	char *space = strchr(text, ' '), *end;

	if (!space)
		return -EBADMSG;
	*space = '\0';
	errno = 0;
	*seq = strtoull(space + 1, &end, 10);
	if (errno || end == space + 1 || strcmp(end, "\n") != 0 ||
	    uuid_parse(text, &e->g.uuid) || uuid_is_zero(&e->g.uuid))
		return -EBADMSG;
	return 0;
}

static int load(struct entry *e, const struct source_env *env, uint64_t *seq,
		struct err *err)
{
	_cleanup_free_ char *text = NULL;
	char dir[640];
	size_t len;
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/groups", env->state_dir);
	/* A suffix: names may end in what a file's replacement is called. */
	(void)snprintf(e->path, sizeof(e->path), "%s/%s.group", dir,
		       e->g.name);
	r = io_make_dir(e->io, dir, 0700, err);
	if (r < 0)
		return r;
	r = io_read_file(e->io, AT_FDCWD, e->path, FILE_BYTES_MAX, &text,
			 &len);
	if (!r) {
		r = parse_file(e, text, seq);
	} else if (r == -ENOENT) {
		*seq = 0;
		r = uuid_new(env->rnd, &e->g.uuid);
		if (!r)
			r = write_file(e, 0);
	}
	return r ? err_sys(err, r, "state-unwritable", e->path,
			   "group's identity") : 0;
}

/* ---- which are there ---- */

/* Names have no blank, so that this is one text for one set in one order. */
static int name_flips(struct entry *e)
{
	const struct iovec iov[] = {
		{ e->g.uuid.b, sizeof(e->g.uuid.b) },
		{ e->members, strlen(e->members) },
	};
	struct digest d;
	int r = digest_of(iov, 2, &d);

	if (!r)
		memcpy(e->g.tracked_as.b, d.b, sizeof(e->g.tracked_as.b));
	return r;
}

static int make(const struct source_env *env, const struct group_config *cfg,
		struct entry **out, struct err *err)
{
	struct entry *e = calloc(1, sizeof(*e));
	uint64_t seq = 0;
	int r;

	if (!e)
		return err_sys(err, -ENOMEM, "no-memory", cfg->name, "group");
	e->io = env->io;
	e->g.n_members = cfg->n_members;
	memcpy(e->g.name, cfg->name, sizeof(e->g.name));
	memcpy(e->members, cfg->members, sizeof(e->members));
	r = load(e, env, &seq, err);
	if (!r) {
		r = name_flips(e);
		e->g.meetings = r ? NULL
				  : group_new((int)cfg->n_members, seq);
		if (!r && !e->g.meetings)
			r = -ENOMEM;
		if (r)
			err_sys(err, r, "no-memory", cfg->name, "group");
	}
	if (r) {
		free(e);
		return r;
	}
	*out = e;
	return 0;
}

int source_group_get(const struct source_env *env,
		     const struct group_config *cfg, struct source_group **out,
		     struct err *err)
{
	LOCK_SCOPE(&lock);
	struct entry *e;
	int r;

	for (e = all; e; e = e->next)
		if (!strcmp(e->g.name, cfg->name) &&
		    !strcmp(e->members, cfg->members))
			break;
	if (!e) {
		r = make(env, cfg, &e, err);
		if (r)
			return r;
		e->next = all;
		all = e;
	}
	e->users++;
	*out = &e->g;
	return 0;
}

struct source_group *source_group_find(const char *name)
{
	LOCK_SCOPE(&lock);
	struct entry *e;

	/* The newest: an older one of that name is being stopped. */
	for (e = all; e; e = e->next) {
		if (strcmp(e->g.name, name) != 0)
			continue;
		e->users++;
		return &e->g;
	}
	return NULL;
}

void source_group_put(struct source_group *g)
{
	LOCK_SCOPE(&lock);
	struct entry *e, **p;

	if (!g)
		return;
	e = entry_of(g);
	if (--e->users)
		return;
	for (p = &all; *p != e; p = &(*p)->next)
		;
	*p = e->next;
	group_free(e->g.meetings);
	free(e);
}

int source_group_save_seq(struct source_group *g, uint64_t seq,
			  struct err *err)
{
	struct entry *e = entry_of(g);
	int r = write_file(e, seq);

	return r ? err_sys(err, r, "state-unwritable", e->path,
			   "number of the group's point") : 0;
}
