// SPDX-License-Identifier: Apache-2.0
/*
 * Volumes that are removed: what is refused, what is left of them and of
 * others, also by a process that dies before any of its file operations.
 */
#include "storelab.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "unit/store_ok.h"

#define BLOCKS 64U

static void add_point(struct lab *l, uint64_t first, uint32_t count)
{
	OK(lab_begin(l, &err));
	lab_data(l, first, count);
	OK(lab_stage(l, &err));
	OK(lab_commit(l, NULL, &err));
}

/* Another volume, db2, in the store that l has open; 1 point. */
static struct uuid add_other(struct lab *l)
{
	struct store_volume_spec mine = l->spec;
	struct lab other = *l;

	other.writer = NULL;
	other.sealer = NULL;
	other.seq = 0;
	memset(&other.head, 0, sizeof(other.head));
	memset(&other.units, 0, sizeof(other.units));
	other.spec.name = "db2";
	OK(uuid_new(&l->rnd.rnd, &other.spec.uuid));
	OK(lab_writer(&other, &err));
	OK(lab_begin(&other, &err));
	OK(lab_commit(&other, NULL, &err));
	store_writer_close(other.writer);
	sealer_free(other.sealer);
	buf_free(&other.units);
	l->spec = mine;
	return other.spec.uuid;
}

/* Two points of db1 in several segments, one of db2; nobody writes. */
static struct uuid start(struct lab *l)
{
	struct uuid other;

	lab_init(l, tap_seed(), BLOCKS);
	l->segment_bytes = 64 << 10;
	OK(lab_open(l, false, &err));
	OK(lab_writer(l, &err));
	add_point(l, 0, 16);
	add_point(l, 16, 16);
	other = add_other(l);
	store_writer_close(TAKE_PTR(l->writer));
	return other;
}

static unsigned int directories(const struct lab *l)
{
	char path[100];
	struct dirent *de;
	unsigned int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/volumes", l->dir);
	d = opendir(path);
	ASSERT_TRUE(d);
	while ((de = readdir(d)))
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

static void other_is_whole(struct lab *l, const struct uuid *other)
{
	struct volume_info info;

	EXPECT_OK(store_volume_by_uuid(l->store, other, &info));
	EXPECT_INT(info.n_points, 1);
	EXPECT_FALSE(info.damaged);
	EXPECT_OK(store_volume_by_name(l->store, NULL, "db2", &info));
}

/* True when it is there, and then all of it; false: nothing of it is found. */
static bool is_whole(struct lab *l)
{
	struct volume_info info;
	uint64_t block = 0;
	int r = store_volume_by_uuid(l->store, &l->spec.uuid, &info);

	ASSERT_TRUE(r == 0 || r == -ENOENT);
	EXPECT_INT(store_volume_by_name(l->store, "web1", "db1", &info), r);
	if (r) {
		struct view *v;

		EXPECT_INT(view_open(l->store, &l->spec.uuid, 0, 1, &v, NULL),
			   -ENOENT);
		return false;
	}
	EXPECT_INT(info.n_points, 2);
	EXPECT_FALSE(info.damaged);
	OK(lab_compare(l, 2, &l->now, &block, &err));
	return true;
}

static int never(void *arg, const struct uuid *volume)
{
	(void)arg;
	(void)volume;
	tap_note("asked to purge");
	abort();
}

static int count(void *arg, const struct uuid *volume)
{
	(void)volume;
	++*(int *)arg;
	return 0;
}

TEST(a_removed_volume_is_gone_and_its_name_is_free)
{
	struct lab l;
	struct uuid other = start(&l), first = l.spec.uuid;
	int asked = 0;

	OK(store_remove(l.store, &l.spec.uuid, &err));
	EXPECT_FALSE(is_whole(&l));
	other_is_whole(&l, &other);
	REFUSED(store_remove(l.store, &l.spec.uuid, &err), -ENOENT,
		"no-volume");
	/* The name, under another UUID, before anything was purged. */
	OK(uuid_new(&l.rnd.rnd, &l.spec.uuid));
	l.seq = 0;
	memset(&l.head, 0, sizeof(l.head));
	OK(lab_writer(&l, &err));
	add_point(&l, 0, 1);
	EXPECT_INT(directories(&l), 3);
	OK(store_purge(l.store, count, &asked, &err));
	EXPECT_INT(asked, 1);
	EXPECT_INT(directories(&l), 2);
	OK(store_purge(l.store, never, NULL, &err));
	lab_close(&l);
	OK(lab_open(&l, false, &err));
	other_is_whole(&l, &other);
	EXPECT_INT(store_volume_by_uuid(l.store, &first,
					&(struct volume_info){ 0 }), -ENOENT);
	EXPECT_OK(store_volume_by_uuid(l.store, &l.spec.uuid,
				       &(struct volume_info){ 0 }));
	lab_free(&l);
}

TEST(the_same_uuid_may_come_back_as_a_new_volume)
{
	struct lab l;
	struct volume_info info;
	struct uuid other = start(&l);

	OK(store_remove(l.store, &l.spec.uuid, &err));
	l.seq = 0;
	memset(&l.head, 0, sizeof(l.head));
	OK(lab_writer(&l, &err));
	add_point(&l, 32, 1);
	lab_close(&l);
	/* Its predecessor's files are there, and its key is the new one's. */
	EXPECT_INT(directories(&l), 3);
	OK(lab_open(&l, false, &err));
	ASSERT_OK(store_volume_by_uuid(l.store, &l.spec.uuid, &info));
	EXPECT_INT(info.n_points, 1);
	OK(store_purge(l.store, never, NULL, &err));
	EXPECT_INT(directories(&l), 2);
	ASSERT_OK(store_volume_by_uuid(l.store, &l.spec.uuid, &info));
	EXPECT_INT(info.n_points, 1);
	other_is_whole(&l, &other);
	lab_free(&l);
}

TEST(a_volume_that_is_written_or_read_is_not_removed)
{
	struct view *v;
	struct lab l;

	(void)start(&l);
	OK(lab_writer(&l, &err));
	REFUSED(store_remove(l.store, &l.spec.uuid, &err), -EBUSY,
		"volume-busy");
	store_writer_close(TAKE_PTR(l.writer));
	OK(view_open(l.store, &l.spec.uuid, 0, 1, &v, &err));
	REFUSED(store_remove(l.store, &l.spec.uuid, &err), -EBUSY,
		"volume-busy");
	EXPECT_TRUE(is_whole(&l));
	view_close(v);
	OK(store_remove(l.store, &l.spec.uuid, &err));
	lab_free(&l);
}

TEST(a_volume_without_a_point_is_removed_too)
{
	struct lab l;

	lab_init(&l, tap_seed(), BLOCKS);
	OK(lab_open(&l, false, &err));
	OK(lab_writer(&l, &err));
	store_writer_close(TAKE_PTR(l.writer));
	OK(store_remove(l.store, &l.spec.uuid, &err));
	lab_close(&l);
	OK(lab_open(&l, false, &err));
	EXPECT_INT(store_volume_by_uuid(l.store, &l.spec.uuid,
					&(struct volume_info){ 0 }), -ENOENT);
	lab_free(&l);
}

TEST(a_reader_sees_no_removed_volume_and_deletes_nothing)
{
	struct lab l;
	struct uuid other = start(&l);

	OK(store_remove(l.store, &l.spec.uuid, &err));
	lab_close(&l);
	OK(lab_open(&l, true, &err));
	EXPECT_FALSE(is_whole(&l));
	other_is_whole(&l, &other);
	REFUSED(store_remove(l.store, &other, &err), -EROFS, "read-only");
	EXPECT_INT(directories(&l), 2);
	lab_free(&l);
}

TEST(a_catalog_made_anew_does_not_bring_a_removed_volume_back)
{
	struct lab l;
	struct uuid other = start(&l);

	OK(store_remove(l.store, &l.spec.uuid, &err));
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	EXPECT_FALSE(is_whole(&l));
	other_is_whole(&l, &other);
	lab_free(&l);
}

/* ---- a process that dies ---- */

static int die_before;

static void step(void)
{
	if (die_before && !--die_before)
		_exit(9);
}

static int step_fsync(struct io *io, int fd)
{
	step();
	return io_posix()->ops->fsync(io, fd);
}

static int step_renameat(struct io *io, int d, const char *p, int e,
			 const char *q)
{
	step();
	return io_posix()->ops->renameat(io, d, p, e, q);
}

static int step_unlinkat(struct io *io, int d, const char *p, int f)
{
	step();
	return io_posix()->ops->unlinkat(io, d, p, f);
}

static int step_listdir(struct io *io, int d, const char *p,
			int (*cb)(void *arg, const char *name), void *arg)
{
	step();
	return io_posix()->ops->listdir(io, d, p, cb, arg);
}

static int step_open(struct io *io, int d, const char *p, int f, mode_t m)
{
	step();
	return io_posix()->ops->open(io, d, p, f, m);
}

/* False when there was no n-th step. */
static bool killed_at(struct lab *l, int n)
{
	struct io_ops ops = *io_posix()->ops;
	struct io io = { .ops = &ops };
	int status;
	pid_t pid;

	ops.open = step_open;
	ops.fsync = step_fsync;
	ops.renameat = step_renameat;
	ops.unlinkat = step_unlinkat;
	ops.listdir = step_listdir;
	pid = fork();
	ASSERT_TRUE(pid >= 0);
	if (!pid) {
		int asked = 0;

		l->other_io = &io;
		if (lab_open(l, false, NULL))
			_exit(1);
		die_before = n;
		if (store_remove(l->store, &l->spec.uuid, NULL) ||
		    store_purge(l->store, count, &asked, NULL) || asked != 1)
			_exit(2);
		_exit(0);
	}
	ASSERT_INT(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9);
	return WEXITSTATUS(status) == 9;
}

TEST(a_removal_killed_at_any_step_is_whole_or_done_after_a_start)
{
	int n, whole = 0, gone = 0, asked;
	char saved[64], back[80];
	struct uuid other;
	bool killed = true;
	struct lab l;

	other = start(&l);
	lab_close(&l);
	lab_make_dir(saved);
	lab_copy(l.dir, saved);
	for (n = 1; killed; n++) {
		snprintf(back, sizeof(back), "rm -rf %s", l.dir);
		ASSERT_INT(system(back), 0);
		lab_copy(saved, l.dir);
		killed = killed_at(&l, n);
		/* Seen by a reader first, which changes nothing. */
		OK(lab_open(&l, true, &err));
		if (is_whole(&l))
			whole++;
		else
			gone++;
		lab_close(&l);
		OK(lab_open(&l, false, &err));
		other_is_whole(&l, &other);
		asked = 0;
		if (is_whole(&l)) {
			EXPECT_TRUE(killed);
			OK(store_purge(l.store, never, NULL, &err));
			EXPECT_INT(directories(&l), 2);
		} else {
			OK(store_purge(l.store, count, &asked, &err));
			EXPECT_INT(directories(&l), 1);
			EXPECT_TRUE(asked <= 1);
		}
		lab_close(&l);
		OK(lab_open(&l, false, &err));
		other_is_whole(&l, &other);
		(void)is_whole(&l);
		lab_close(&l);
	}
	tap_note("%d steps: %d times whole, %d times gone", n - 2, whole, gone);
	EXPECT_TRUE(whole > 0 && gone > 4);
	lab_remove(saved);
	lab_free(&l);
}

static bool fsync_fails;

static int failing_fsync(struct io *io, int fd)
{
	return fsync_fails ? -EIO : io_posix()->ops->fsync(io, fd);
}

TEST(a_rename_that_is_not_known_to_be_durable_is_taken_back)
{
	struct io_ops ops = *io_posix()->ops;
	struct io io = { .ops = &ops };
	struct lab l;
	struct uuid other = start(&l);

	lab_close(&l);
	ops.fsync = failing_fsync;
	l.other_io = &io;
	OK(lab_open(&l, false, &err));
	fsync_fails = true;
	REFUSED(store_remove(l.store, &l.spec.uuid, &err), -EIO,
		"write-failed");
	fsync_fails = false;
	EXPECT_TRUE(is_whole(&l));
	EXPECT_INT(directories(&l), 2);
	OK(store_remove(l.store, &l.spec.uuid, &err));
	EXPECT_FALSE(is_whole(&l));
	other_is_whole(&l, &other);
	l.other_io = NULL;
	lab_free(&l);
}
