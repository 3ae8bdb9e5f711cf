// SPDX-License-Identifier: Apache-2.0
/*
 * Groups by name and members, and what of them outlives the process.
 *
 * Invariants:
 * - A number is on disk before a member's commit names it.
 * - Two groups that are there at the same moment share no count of flips.
 * - Of two of one name only the newer one gets numbers: the older one is being
 *   stopped, which takes as long as its devices let it.
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
	pthread_mutex_t file_lock;	/* after lock */
	bool is_superseded;		/* under file_lock */
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

/* Never made anew by itself: it would be another group. */
static int is_damaged(const struct entry *e, int why, struct err *err)
{
	err_sys(err, why, "group-state-damaged", e->path,
		"read the group's identity");
	err_remedy(err, "put the file back; without it the group begins anew, "
		   "with another UUID");
	return why;
}

static int load(struct entry *e, const struct source_env *env, uint64_t *seq,
		struct err *err)
{
	_cleanup_free_ char *text = NULL;
	char dir[640];
	size_t len;
	bool known;
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
	known = r != -ENOENT;
	if (!r) {
		r = parse_file(e, text, seq);
	} else if (!known) {
		*seq = 0;
		r = uuid_new(env->rnd, &e->g.uuid);
		if (!r)
			r = write_file(e, 0);
	}
	if (!r)
		return 0;
	if (known)
		return is_damaged(e, r, err);
	err_sys(err, r, "state-unwritable", e->path, "make the group");
	err_remedy(err, "make room or make %s writable", dir);
	return r;
}

/* ---- members ---- */

/* The one at this place, 0 of which is the first; its length. */
static const char *member_at(const struct entry *e, int member, size_t *n)
{
	const char *p = e->members;

	while (member--) {
		p += strcspn(p, " ");
		p += *p == ' ';
	}
	*n = strcspn(p, " ");
	return p;
}

void source_group_member(const struct source_group *g, int member,
			 char out[VOLUME_NAME_MAX + 1])
{
	size_t n;
	const char *p = member_at((const struct entry *)(const void *)g,
				  member, &n);

	(void)snprintf(out, VOLUME_NAME_MAX + 1, "%.*s", (int)n, p);
}

int source_group_number(const struct source_group *g, const char *name)
{
	char one[VOLUME_NAME_MAX + 1];
	int i;

	for (i = 0; i < (int)g->n_members; i++) {
		source_group_member(g, i, one);
		if (!strcmp(one, name))
			return i;
	}
	return -ENOENT;
}

/* " a", " b" ... "and 3 more"; what does not fit is counted. */
void source_group_missing(const struct source_group *g, char *out, size_t cap)
{
	uint32_t missing = group_missing(g->meetings), left;
	char one[VOLUME_NAME_MAX + 1];
	size_t n = 0;
	int i;

	*out = 0;
	for (i = 0; i < (int)g->n_members; i++) {
		if (!(missing >> i & 1))
			continue;
		left = (uint32_t)__builtin_popcount(missing >> i);
		source_group_member(g, i, one);
		if (n + strlen(one) + sizeof(" and 31 more") > cap) {
			(void)snprintf(out + n, cap - n, " and %u more", left);
			return;
		}
		n += (size_t)snprintf(out + n, cap - n, "%s%s",
				      n ? " " : "", one);
	}
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
	pthread_mutex_init(&e->file_lock, NULL);
	e->g.n_members = cfg->n_members;
	memcpy(e->g.name, cfg->name, sizeof(e->g.name));
	memcpy(e->members, cfg->members, sizeof(e->members));
	r = load(e, env, &seq, err);
	if (!r) {
		r = name_flips(e);
		e->g.plan = r ? NULL : group_plan_new();
		e->g.meetings = e->g.plan ? group_new((int)cfg->n_members, seq)
					  : NULL;
		if (!r && !e->g.meetings)
			r = -ENOMEM;
		if (r)
			err_sys(err, r, "no-memory", cfg->name, "group");
	}
	if (r) {
		group_plan_free(e->g.plan);
		pthread_mutex_destroy(&e->file_lock);
		free(e);
		return r;
	}
	*out = e;
	return 0;
}

/* Before another one of that name reads which number was the last. */
static void supersede(const char *name)
{
	struct entry *e;

	for (e = all; e; e = e->next) {
		if (strcmp(e->g.name, name) != 0)
			continue;
		pthread_mutex_lock(&e->file_lock);
		e->is_superseded = true;
		pthread_mutex_unlock(&e->file_lock);
	}
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
		supersede(cfg->name);
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
	group_plan_free(e->g.plan);
	pthread_mutex_destroy(&e->file_lock);
	free(e);
}

int source_group_save_seq(struct source_group *g, uint64_t seq,
			  struct err *err)
{
	struct entry *e = entry_of(g);
	LOCK_SCOPE(&e->file_lock);
	int r;

	if (e->is_superseded)
		return err_set(err, -ESTALE, "group-changed", g->name,
			       "it has other members now: no point with these");
	r = write_file(e, seq);
	if (!r)
		return 0;
	err_sys(err, r, "state-unwritable", e->path,
		"number of the group's point");
	err_done(err, "no member commits");
	err_remedy(err, "make room or make %s writable", e->path);
	return r;
}
