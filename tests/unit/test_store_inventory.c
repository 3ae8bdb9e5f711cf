// SPDX-License-Identifier: Apache-2.0
/*
 * What is in a store's directory beside what it serves: named, each by what it
 * is, and left alone.
 */
#include "unit/store_ok.h"

#include "storelab.h"

#include <dirent.h>
#include <sys/stat.h>

#include "base/uuid.h"
#include "store/inventory.h"
#include "unit/nth_site.h"

#define BLOCKS 8U

/* One point, and the store closed. */
static void make_store(struct lab *l)
{
	lab_init(l, 5, BLOCKS);
	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
	OK(lab_begin(l, &err));
	lab_data(l, 0, 2);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
	lab_close(l);
}

static char volume[UUID_TEXT_SIZE];

static const char *in_store(const struct lab *l, const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	return path;
}

static const char *in_volume(const struct lab *l, const char *name)
{
	static char path[512];

	uuid_format(&l->spec.uuid, volume);
	(void)snprintf(path, sizeof(path), "%s/volumes/%s/%s", l->dir, volume,
		       name);
	return path;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ASSERT_NOT_NULL(f);
	ASSERT_GT(fputs(text, f), -1);
	ASSERT_OK(fclose(f));
}

struct seen {
	unsigned int n[4];
	char paths[2048];
	unsigned int stop_after;
};

static int on_stranger(void *arg, enum stranger what, const char *path)
{
	struct seen *s = arg;
	unsigned int all;

	s->n[what]++;
	all = s->n[0] + s->n[1] + s->n[2] + s->n[3];
	(void)strncat(s->paths, path, sizeof(s->paths) - 256);
	(void)strcat(s->paths, "\n");
	return s->stop_after && all >= s->stop_after ? 7 : 0;
}

#define A_SEGMENT "9a0b5f4e-1111-4222-8333-444455556666.seg"
#define AN_EMPTY "9a0b5f4e-1111-4222-8333-444455556667.seg"
#define ANOTHER "9a0b5f4e-1111-4222-8333-444455556668"

static void add_strangers(const struct lab *l)
{
	put(in_store(l, "letter.txt"), "not of a store");
	put(in_store(l, "catalog.db.old-1"), "put aside");
	put(in_store(l, "volumes/notes"), "");
	ASSERT_OK(mkdir(in_store(l, "volumes/" ANOTHER), 0700));
	ASSERT_OK(mkdir(in_store(l, "volumes/9A0B5F4E-1111-4222-8333-"
				    "444455556669"), 0700));
	ASSERT_OK(mkdir(in_store(l, "volumes/" ANOTHER ".removed"), 0700));
	put(in_volume(l, "README"), "?");
	put(in_volume(l, A_SEGMENT), "of a segment it has the name, no more");
	put(in_volume(l, AN_EMPTY), "");
}

TEST(a_store_by_itself_has_no_strangers)
{
	struct seen seen = { 0 };
	struct lab l;

	make_store(&l);
	OK(lab_open(&l, true, &err));
	OK(store_strangers(l.store, on_stranger, &seen, &err));
	EXPECT_STR(seen.paths, "");
	EXPECT_OK(store_catalog_state(l.store, &err));
	lab_free(&l);
}

TEST(each_stranger_is_called_what_it_is)
{
	struct seen seen = { 0 }, some = { .stop_after = 3 };
	struct lab l;

	make_store(&l);
	add_strangers(&l);
	OK(lab_open(&l, true, &err));
	OK(store_strangers(l.store, on_stranger, &seen, &err));
	/* The letter, the notes, the badly named, the README, the empty. */
	EXPECT_U64(seen.n[STRANGER_OTHER], 5);
	EXPECT_U64(seen.n[STRANGER_SEGMENT], 1);
	EXPECT_U64(seen.n[STRANGER_VOLUME], 1);
	EXPECT_U64(seen.n[STRANGER_REMOVED], 1);
	EXPECT_STR_HAS(seen.paths, "letter.txt\n");
	EXPECT_STR_HAS(seen.paths, A_SEGMENT);
	EXPECT_STR_HAS(seen.paths, "volumes/" ANOTHER "\n");
	EXPECT_FALSE(strstr(seen.paths, "old-1"));
	EXPECT_INT(store_strangers(l.store, on_stranger, &some, &err), 7);
	lab_free(&l);
}

TEST(a_catalog_that_is_gone_or_garbage_is_told)
{
	struct lab l;

	make_store(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, true, &err));
	err_clear(&err);
	EXPECT_INT(store_catalog_state(l.store, &err), -ENOENT);
	EXPECT_STR(err.code, "no-catalog");
	lab_close(&l);
	put(in_store(&l, "catalog.db"), "this was never made by SQLite, or by "
					"anybody who knows how it does");
	OK(lab_open(&l, true, &err));
	err_clear(&err);
	EXPECT_INT(store_catalog_state(l.store, &err), -EBADMSG);
	EXPECT_STR(err.code, "catalog-damaged");
	lab_free(&l);
}

static int on_broken(void *arg, const struct volume_info *v,
		     const struct err *why)
{
	(void)v;
	EXPECT_TRUE(why->message[0]);
	++*(unsigned int *)arg;
	return 0;
}

static const struct io_ops *under;

/* Of a volume's directory, not of the store's own. */
static int failing_list(struct io *io, int dirfd, const char *path,
			int (*cb)(void *arg, const char *name), void *arg)
{
	if (!faccessat(dirfd, "../../volumes", F_OK, 0))
		return -EIO;
	return under->listdir(io, dirfd, path, cb, arg);
}

TEST(a_volume_that_cannot_be_read_is_listed_with_its_reason)
{
	unsigned int n = 0;
	struct io_ops ops;
	struct lab l;

	make_store(&l);
	OK(lab_open(&l, true, &err));
	OK(store_broken_volumes(l.store, on_broken, &n));
	EXPECT_U64(n, 0);
	lab_close(&l);
	under = l.io.io.ops;
	ops = *under;
	ops.listdir = failing_list;
	l.io.io.ops = &ops;
	OK(lab_open(&l, true, &err));
	OK(store_broken_volumes(l.store, on_broken, &n));
	EXPECT_U64(n, 1);
	lab_free(&l);
}

static void look_around(void *arg)
{
	struct lab *l = arg;
	struct seen seen = { 0 };
	unsigned int n = 0;
	int r;

	err_clear(&err);
	site_begin();
	r = store_strangers(l->store, on_stranger, &seen, &err);
	if (r == 0)
		r = store_catalog_state(l->store, &err);
	(void)store_broken_volumes(l->store, on_broken, &n);
	site_end();
	ASSERT_TRUE(r == 0 || (sites.hit && err.message[0]));
	/* None is passed over; what cannot be looked at counts as the worse. */
	if (r == 0)
		EXPECT_U64(seen.n[0] + seen.n[1] + seen.n[2] + seen.n[3], 8);
}

TEST(a_look_of_which_a_call_fails_says_so)
{
	struct lab l;

	make_store(&l);
	add_strangers(&l);
	OK(lab_open(&l, true, &err));
	EXPECT_GT(sites_fail_every(look_around, &l), 5);
	lab_free(&l);
}
