// SPDX-License-Identifier: Apache-2.0
/*
 * Group points out of the points of volumes: which are there, which are not,
 * what they are called, and that neither the loss of the catalog nor an older
 * one changes it.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "lib/storelab.h"
#include "lib/tap.h"
#include "store/grouppoints.h"
#include "store/rebuild.h"

#define N 4

struct shelf {
	char dir[64];
	struct rnd_seeded rnd;
	struct store *store;
	struct store_writer *w[N];
	struct head head[N];
	uint64_t seq[N];
};

static const char *const names[N] = { "db1", "wal1", "idx1", "other" };
static const struct uuid shop = { { 0xaa, 1 } }, till = { { 0xbb, 2 } };

static struct store_config config_of(struct shelf *s, bool read_only)
{
	return (struct store_config){
		.path = s->dir, .reserve_bytes = 4096, .io = io_posix(),
		.clock = clock_real(), .rnd = &s->rnd.rnd,
		.read_only = read_only };
}

static void shelf_open(struct shelf *s, bool read_only)
{
	const struct store_config cfg = config_of(s, read_only);
	struct err err = ERR_INIT;
	int i;

	ASSERT_MSG(!store_open(&cfg, &s->store, &err), "%s", err.message);
	for (i = 0; !read_only && i < N; i++) {
		const struct store_volume_spec spec = {
			.uuid = { { 1, (uint8_t)(i + 1) } },
			.source = i == 3 ? "web2" : "web1",
			.name = names[i], .size_bytes = 8192, .epoch = 1 };

		ASSERT_MSG(!store_writer_open(s->store, &spec, &s->w[i], &err),
			   "%s", err.message);
	}
}

static void shelf_close(struct shelf *s)
{
	int i;

	for (i = 0; i < N; i++)
		store_writer_close(s->w[i]);
	memset(s->w, 0, sizeof(s->w));
	store_close(s->store);
}

static void shelf_new(struct shelf *s)
{
	memset(s, 0, sizeof(*s));
	rnd_seeded_init(&s->rnd, 7);
	lab_make_dir(s->dir);
	shelf_open(s, false);
}

static void shelf_free(struct shelf *s)
{
	shelf_close(s);
	lab_remove(s->dir);
}

static struct point_group group_of(const struct uuid *uuid, uint64_t seq,
				   uint32_t n, const char *name)
{
	struct point_group g = { .uuid = *uuid, .seq = seq, .n_members = n };

	(void)snprintf(g.name, sizeof(g.name), "%s", name);
	return g;
}

/* g NULL: a point of no group. */
static int commit_as(struct shelf *s, int i, const struct point_group *g,
		     int64_t flip, const char *label)
{
	struct point_meta m = { .epoch = 1, .seq = s->seq[i] + 1,
				.flip_wall_ns = flip, .size_bytes = 8192 };
	struct point_info info;
	int r;

	if (g)
		m.group = *g;
	(void)snprintf(m.label, sizeof(m.label), "%s", label);
	r = store_writer_commit(s->w[i], &m, &s->head[i], &info, NULL);
	if (r == 0) {
		s->head[i] = info.head;
		s->seq[i] = m.seq;
	}
	return r;
}

/* Members first .. last of one group point. */
static void commit_all(struct shelf *s, int first, int last,
		       const struct point_group *g, int64_t flip)
{
	int i;

	for (i = first; i <= last; i++)
		ASSERT_OK(commit_as(s, i, g, flip, ""));
}

struct list {
	char text[512];
	unsigned int n;
	struct group_point last;
};

static int on_point(void *arg, const struct group_point *p)
{
	struct list *l = arg;
	size_t n = strlen(l->text);
	uint32_t i;

	n += (size_t)snprintf(l->text + n, sizeof(l->text) - n, "%s%d@%d%s:",
			      n ? " " : "", (int)p->seq,
			      (int)p->flip_wall_ns, p->damaged ? "!" : "");
	for (i = 0; i < p->n_members; i++)
		n += (size_t)snprintf(l->text + n, sizeof(l->text) - n,
				      "%s%s=%d", i ? "," : "",
				      p->members[i].name,
				      (int)p->members[i].point.meta.seq);
	l->n++;
	return group_point_copy(p, &l->last);
}

static const char *listed(struct shelf *s, const char *source,
			  const struct uuid *uuid)
{
	struct group_info g = { .uuid = *uuid };
	static struct list l;

	group_point_free(&l.last);
	memset(&l, 0, sizeof(l));
	(void)snprintf(g.source, sizeof(g.source), "%s", source);
	ASSERT_OK(store_group_points(s->store, &g, on_point, &l));
	return l.text;
}

static int on_group(void *arg, const struct group_info *g)
{
	char *text = arg;

	(void)sprintf(text + strlen(text), "%s/%s:%02x ", g->source, g->name,
		      g->uuid.b[0]);
	return 0;
}

static const char *groups(struct shelf *s)
{
	static char text[512];

	text[0] = 0;
	ASSERT_OK(store_groups(s->store, on_group, text));
	return text;
}

TEST(a_point_of_all_members_is_listed)
{
	const struct point_group g = group_of(&shop, 1, 3, "shop");
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, NULL, 5, ""));
	commit_all(&s, 0, 2, &g, 10);
	EXPECT_STR(listed(&s, "web1", &shop), "1@10:db1=2,idx1=1,wal1=1");
	EXPECT_STR(groups(&s), "web1/shop:aa ");
	EXPECT_STR(listed(&s, "web2", &shop), "");
	shelf_free(&s);
}

TEST(one_that_lacks_a_commit_does_not_exist)
{
	const struct point_group one = group_of(&shop, 1, 3, "shop");
	const struct point_group two = group_of(&shop, 2, 3, "shop");
	struct point_meta m = { .flip_wall_ns = 10, .group = one };
	struct shelf s;

	shelf_new(&s);
	commit_all(&s, 0, 1, &one, 10);
	EXPECT_STR(listed(&s, "web1", &shop), "");
	EXPECT_INT(store_group_is_complete(s.store, "web1", &m), 0);
	commit_all(&s, 0, 2, &two, 20);
	EXPECT_STR(listed(&s, "web1", &shop), "2@20:db1=2,idx1=1,wal1=2");
	m.group = two;
	m.flip_wall_ns = 20;
	EXPECT_INT(store_group_is_complete(s.store, "web1", &m), 1);
	shelf_free(&s);
}

TEST(a_number_used_twice_is_told_apart_by_its_time)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	struct shelf s;

	shelf_new(&s);
	/* The source died between two commits; then it began anew. */
	ASSERT_OK(commit_as(&s, 0, &g, 10, ""));
	ASSERT_OK(commit_as(&s, 1, &g, 11, ""));
	EXPECT_STR(listed(&s, "web1", &shop), "");
	ASSERT_OK(commit_as(&s, 0, &g, 11, ""));
	EXPECT_STR(listed(&s, "web1", &shop), "1@11:db1=2,wal1=1");
	ASSERT_OK(commit_as(&s, 1, &g, 10, ""));
	EXPECT_STR(listed(&s, "web1", &shop),
		   "1@10:db1=1,wal1=2 1@11:db1=2,wal1=1");
	shelf_free(&s);
}

TEST(footers_that_contradict_each_other_make_no_point)
{
	const struct point_group two = group_of(&shop, 1, 2, "shop");
	const struct point_group three = group_of(&shop, 1, 3, "shop");
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, &two, 10, ""));
	ASSERT_OK(commit_as(&s, 1, &three, 10, ""));
	EXPECT_STR(listed(&s, "web1", &shop), "");
	/* twice the same volume are not two members */
	ASSERT_OK(commit_as(&s, 0, &two, 20, ""));
	ASSERT_OK(commit_as(&s, 0, &two, 20, ""));
	EXPECT_STR(listed(&s, "web1", &shop), "");
	/* more than they say */
	commit_all(&s, 0, 2, &two, 30);
	EXPECT_STR(listed(&s, "web1", &shop), "");
	shelf_free(&s);
}

TEST(another_source_has_no_say_in_it)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, &g, 10, ""));
	ASSERT_OK(commit_as(&s, 3, &g, 10, ""));
	EXPECT_STR(listed(&s, "web1", &shop), "");
	EXPECT_STR(listed(&s, "web2", &shop), "");
	EXPECT_STR(groups(&s), "web1/shop:aa web2/shop:aa ");
	shelf_free(&s);
}

TEST(a_group_is_its_uuid_and_called_as_its_newest_footer_says)
{
	const struct point_group a = group_of(&shop, 1, 2, "shop");
	const struct point_group b = group_of(&shop, 2, 2, "store");
	const struct point_group c = group_of(&till, 9, 1, "till");
	struct shelf s;

	shelf_new(&s);
	commit_all(&s, 0, 1, &a, 10);
	commit_all(&s, 0, 1, &b, 20);
	ASSERT_OK(commit_as(&s, 2, &c, 30, ""));
	EXPECT_STR(groups(&s), "web1/store:aa web1/till:bb ");
	EXPECT_STR(listed(&s, "web1", &shop),
		   "1@10:db1=1,wal1=1 2@20:db1=2,wal1=2");
	EXPECT_STR(listed(&s, "web1", &till), "9@30:idx1=1");
	shelf_free(&s);
}

static int find(struct shelf *s, const char *source, const char *name,
		struct group_search *out)
{
	*out = (struct group_search){ .source = source, .name = name };
	return store_group_find(s->store, out);
}

TEST(a_group_is_found_as_volumes_are)
{
	const struct point_group a = group_of(&shop, 1, 1, "shop");
	const struct point_group b = group_of(&till, 1, 1, "shop");
	const struct point_group c = group_of(&till, 2, 1, "db1");
	char uuid[UUID_TEXT_SIZE];
	struct group_search gs;
	struct shelf s;

	shelf_new(&s);
	EXPECT_INT(find(&s, NULL, "shop", &gs), -ENOENT);
	ASSERT_OK(commit_as(&s, 0, &a, 10, ""));
	ASSERT_OK(find(&s, NULL, "shop", &gs));
	EXPECT_STR(gs.found.source, "web1");
	EXPECT_INT(find(&s, "web2", "shop", &gs), -ENOENT);
	EXPECT_INT(find(&s, NULL, "db1", &gs), -ENOENT);
	ASSERT_OK(commit_as(&s, 3, &b, 10, ""));
	EXPECT_INT(find(&s, "", "shop", &gs), -ENOTUNIQ);
	EXPECT_TRUE(strstr(gs.candidates, "web2/shop (group ") != NULL);
	ASSERT_OK(find(&s, "web2", "shop", &gs));
	EXPECT_TRUE(uuid_equal(&gs.found.uuid, &till));
	/* volumes and groups share one namespace */
	ASSERT_OK(commit_as(&s, 3, &c, 20, ""));
	EXPECT_INT(find(&s, NULL, "db1", &gs), -ENOTUNIQ);
	EXPECT_TRUE(strstr(gs.candidates, "web1/db1 (volume ") != NULL);
	ASSERT_OK(find(&s, "web2", "db1", &gs));
	uuid_format(&till, uuid);
	ASSERT_OK(find(&s, NULL, uuid, &gs));
	EXPECT_STR(gs.found.name, "db1");
	shelf_free(&s);
}

static bool not_wal1(void *arg, const char *source, const char *name)
{
	(void)arg;
	(void)source;
	return strcmp(name, "wal1") != 0;
}

TEST(a_group_with_a_volume_that_may_not_be_seen_is_not_there)
{
	const struct point_group a = group_of(&shop, 1, 2, "shop");
	struct group_search gs = { .name = "shop", .may = not_wal1 };
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, &a, 10, ""));
	EXPECT_OK(store_group_find(s.store, &gs));
	ASSERT_OK(commit_as(&s, 1, &a, 10, ""));
	EXPECT_INT(store_group_find(s.store, &gs), -ENOENT);
	shelf_free(&s);
}

TEST(label_sizes_and_times_are_of_all_members)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	struct group_info info = { .uuid = shop, .source = "web1" };
	struct list l = { .text = "" };
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, &g, 10, "release"));
	ASSERT_OK(commit_as(&s, 1, &g, 10, "release"));
	ASSERT_OK(commit_as(&s, 0, &g, 20, "a"));
	ASSERT_OK(commit_as(&s, 1, &g, 20, "b"));
	ASSERT_OK(store_group_points(s.store, &info, on_point, &l));
	ASSERT_INT(l.n, 2);
	EXPECT_STR(l.last.label, "");
	EXPECT_U64(l.last.size_bytes, 2 * 8192);
	group_point_free(&l.last);
	shelf_free(&s);
}

TEST(a_member_that_is_removed_takes_the_group_points_along)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	struct uuid wal = { { 1, 2 } };
	struct shelf s;

	shelf_new(&s);
	commit_all(&s, 0, 1, &g, 10);
	store_writer_close(s.w[1]);
	s.w[1] = NULL;
	ASSERT_OK(store_remove(s.store, &wal, NULL));
	EXPECT_STR(listed(&s, "web1", &shop), "");
	EXPECT_STR(groups(&s), "web1/shop:aa ");
	shelf_free(&s);
}

static void damage_one(void *arg, const char *path, const char *name)
{
	(void)name;
	if (strstr(path, arg))
		(void)unlink(path);
}

TEST(a_group_point_is_damaged_when_a_member_is)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	char volume[UUID_TEXT_SIZE];
	struct shelf s;

	shelf_new(&s);
	commit_all(&s, 0, 1, &g, 10);
	shelf_close(&s);
	uuid_format(&(struct uuid){ { 1, 2 } }, volume);
	lab_each_segment(s.dir, damage_one, volume);
	shelf_open(&s, true);
	EXPECT_STR(listed(&s, "web1", &shop), "1@10!:db1=1,wal1=1");
	shelf_free(&s);
}

TEST(without_a_catalog_the_footers_tell_the_same)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	const struct point_group h = group_of(&shop, 2, 2, "shop");
	char before[512];
	struct shelf s;

	shelf_new(&s);
	commit_all(&s, 0, 1, &g, 10);
	ASSERT_OK(commit_as(&s, 0, NULL, 15, ""));
	commit_all(&s, 0, 1, &h, 20);
	(void)snprintf(before, sizeof(before), "%s", listed(&s, "web1", &shop));
	EXPECT_STR(before, "1@10:db1=1,wal1=1 2@20:db1=3,wal1=2");
	shelf_close(&s);
	lab_drop_catalog(s.dir);
	shelf_open(&s, true);
	EXPECT_STR(listed(&s, "web1", &shop), before);
	shelf_close(&s);
	shelf_open(&s, false);
	EXPECT_STR(listed(&s, "web1", &shop), before);
	EXPECT_STR(groups(&s), "web1/shop:aa ");
	shelf_free(&s);
}

static void sql(const struct shelf *s, const char *text)
{
	sqlite3 *db = NULL;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/catalog.db", s->dir);
	ASSERT_INT(sqlite3_open(path, &db), SQLITE_OK);
	ASSERT_INT(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
}

TEST(an_older_catalog_is_brought_forward)
{
	const struct point_group g = group_of(&shop, 1, 2, "shop");
	struct shelf s;

	shelf_new(&s);
	ASSERT_OK(commit_as(&s, 0, NULL, 5, ""));
	shelf_close(&s);
	sql(&s, "DROP TABLE members; PRAGMA user_version=1");
	shelf_open(&s, true);
	EXPECT_STR(groups(&s), "");
	shelf_close(&s);
	shelf_open(&s, false);
	commit_all(&s, 0, 1, &g, 10);
	EXPECT_STR(listed(&s, "web1", &shop), "1@10:db1=2,wal1=1");
	shelf_free(&s);
}

/* As other rows of points: the volume's are made again from its segments. */
TEST(a_member_row_that_is_gone_or_changed_is_not_believed)
{
	static const char *const changes[] = {
		"DELETE FROM members WHERE ord=1",
		"UPDATE members SET seq=7",
		"UPDATE members SET name='x'",
	};
	const struct point_group g = group_of(&shop, 1, 1, "shop");
	struct point_info info;
	struct shelf s;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(changes); i++) {
		shelf_new(&s);
		ASSERT_OK(commit_as(&s, 0, &g, 10, ""));
		ASSERT_OK(commit_as(&s, 0, NULL, 20, ""));
		shelf_close(&s);
		sql(&s, changes[i]);
		shelf_open(&s, true);
		ASSERT_OK(store_point_find(s.store,
					   &(struct uuid){ { 1, 1 } }, 1, 1,
					   &info));
		EXPECT_STR(info.meta.group.name, "shop");
		EXPECT_U64(info.meta.group.seq, 1);
		EXPECT_STR(listed(&s, "web1", &shop), "1@10:db1=1");
		shelf_free(&s);
	}
}

TEST(a_group_that_cannot_be_is_not_committed)
{
	struct point_group g = group_of(&shop, 0, 1, "shop");
	struct shelf s;

	shelf_new(&s);
	EXPECT_INT(commit_as(&s, 0, &g, 10, ""), -EINVAL);
	g = group_of(&shop, 1, 0, "shop");
	EXPECT_INT(commit_as(&s, 0, &g, 10, ""), -EINVAL);
	g = group_of(&shop, 1, STORE_MAX_GROUP_MEMBERS + 1, "shop");
	EXPECT_INT(commit_as(&s, 0, &g, 10, ""), -EINVAL);
	g = group_of(&shop, 1, 1, "a/b");
	EXPECT_INT(commit_as(&s, 0, &g, 10, ""), -EINVAL);
	EXPECT_OK(commit_as(&s, 0, NULL, 10, ""));
	shelf_free(&s);
}
