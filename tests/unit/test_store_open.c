// SPDX-License-Identifier: Apache-2.0
/*
 * Who writes what: a store has one process, a volume one writer of the newest
 * epoch, a name one volume; readers change nothing. And where it all lies.
 */
#include "unit/store_steps.h"

#include <sys/stat.h>

#include "base/cleanup.h"

/* ---- a volume ---- */

TEST(a_newer_writer_fences_the_older)
{
	struct store_writer *old;
	struct point_meta meta = { .epoch = 1, .seq = 1 };
	struct point_info p;
	struct volume_info v;
	struct fp fp;
	struct lab l;
	uint32_t index;

	start(&l, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 0, 4);
	OK(lab_stage(&l, &err));
	old = TAKE_PTR(l.writer);
	OK(lab_writer(&l, &err));
	REFUSED(store_writer_begin(old, sealer_delta(l.sealer), &index, &err),
		-ESTALE, "fenced");
	REFUSED(store_writer_units(old, l.delta, NULL, 0, &err), -ESTALE,
		"fenced");
	REFUSED(store_writer_commit(old, &meta, &l.head, &p, &err), -ESTALE,
		"fenced");
	REFUSED(store_writer_discard(old, &err), -ESTALE, "fenced");
	REFUSED(store_writer_fps(old, 0, 1, &fp, &err), -ESTALE, "fenced");
	EXPECT_INT(store_writer_info(old, &v), -ESTALE);
	store_writer_close(old);
	/* What the old one staged is still the open point. */
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}

TEST(a_lower_epoch_is_refused_also_after_reopening)
{
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	l.spec.epoch = 3;
	OK(lab_writer(&l, &err));
	EXPECT_U64(info_of(&l).epoch, 3);
	l.spec.epoch = 2;
	REFUSED(lab_writer(&l, &err), -ESTALE, "old-epoch");
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	REFUSED(lab_writer(&l, &err), -ESTALE, "old-epoch");
	EXPECT_U64(info_of(&l).epoch, 3);
	lab_free(&l);
}

TEST(a_new_epoch_goes_on_from_the_newest_point)
{
	struct point_info p;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	add_point(&l, 8, 16);
	/* What the old source staged is not the new one's. */
	OK(lab_begin(&l, &err));
	lab_data(&l, 40, 4);
	OK(lab_stage(&l, &err));
	memset(l.now.versions + 40, 0, 4 * sizeof(uint64_t));
	l.spec.epoch = 2;
	OK(lab_writer(&l, &err));
	EXPECT_U64(info_of(&l).open_bytes, 0);
	add_point(&l, 0, 2);
	expect_image(&l, 3, &l.now);
	/* Sequences of the line so far, and by their epoch. */
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 0, 2, &p));
	EXPECT_U64(p.meta.epoch, 1);
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 0, 3, &p));
	EXPECT_U64(p.meta.epoch, 2);
	EXPECT_OK(store_point_find(l.store, &l.spec.uuid, 1, 1, &p));
	EXPECT_INT(store_point_find(l.store, &l.spec.uuid, 2, 1, &p), -ENOENT);
	EXPECT_OK(store_point_at(l.store, &l.spec.uuid, 2500, &p));
	EXPECT_U64(p.meta.seq, 2);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, false, &err));
	expect_image(&l, 3, &l.now);
	lab_free(&l);
}

TEST(a_name_belongs_to_one_volume)
{
	struct store_volume_spec other;
	struct store_writer *w;
	struct volume_info v;
	struct lab l;

	start(&l, 16);
	other = l.spec;
	ASSERT_OK(uuid_new(&l.rnd.rnd, &other.uuid));
	REFUSED(store_writer_open(l.store, &other, &w, &err), -EEXIST,
		"name-taken");
	other.source = "web2";
	OK(store_writer_open(l.store, &other, &w, &err));
	store_writer_close(w);
	EXPECT_INT(store_volume_by_name(l.store, NULL, "db1", &v), -ENOTUNIQ);
	EXPECT_INT(store_volume_by_name(l.store, "", "db1", &v), -ENOTUNIQ);
	EXPECT_OK(store_volume_by_name(l.store, "web2", "db1", &v));
	EXPECT_TRUE(uuid_equal(&v.uuid, &other.uuid));
	EXPECT_INT(store_volume_by_name(l.store, "web2", "db", &v), -ENOENT);
	lab_close(&l);
	OK(lab_open(&l, false, &err));
	REFUSED(store_writer_open(l.store,
				  &(struct store_volume_spec){
					  .uuid = { { 1 } },
					  .source = "web2",
					  .name = "db1",
					  .epoch = 1 }, &w, &err),
		-EEXIST, "name-taken");
	lab_free(&l);
}

TEST(a_volume_may_be_renamed_at_its_source)
{
	struct volume_info v;
	struct lab l;

	start(&l, 16);
	add_point(&l, 0, 4);
	l.spec.name = "db1-old";
	OK(lab_writer(&l, &err));
	EXPECT_STR(info_of(&l).name, "db1-old");
	add_point(&l, 4, 4);
	/* SOURCE is that of the first push. */
	l.spec.source = "web9";
	OK(lab_writer(&l, &err));
	EXPECT_STR(info_of(&l).source, "web1");
	lab_close(&l);
	open_for_writing(&l);
	EXPECT_OK(store_volume_by_name(l.store, NULL, "db1-old", &v));
	EXPECT_INT(store_volume_by_name(l.store, NULL, "db1", &v), -ENOENT);
	expect_image(&l, 2, &l.now);
	lab_free(&l);
}

TEST(names_that_could_be_paths_are_refused)
{
	static const char *const bad[] = { "", ".", "..", "a/b", ".x", "-x",
					   "a b", "\xc3\xa4" };
	struct store_writer *w;
	struct lab l;
	size_t i;

	lab_init(&l, 1, 16);
	OK(lab_open(&l, false, &err));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		l.spec.name = bad[i];
		REFUSED(store_writer_open(l.store, &l.spec, &w, &err), -EINVAL,
			"bad-name");
	}
	lab_free(&l);
}

TEST(volumes_of_one_store_do_not_mix)
{
	struct lab_image first;
	struct uuid uuid;
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	first = l.now;
	uuid = l.spec.uuid;
	l.now = lab_image_new(64);
	ASSERT_OK(uuid_new(&l.rnd.rnd, &l.spec.uuid));
	l.spec.name = "wal1";
	memset(&l.head, 0, sizeof(l.head));
	l.seq = 0;
	fp_ctx_free(l.fps);
	l.fps = fp_ctx_new(&l.key, &l.spec.uuid);
	OK(lab_writer(&l, &err));
	add_point(&l, 5, 9);
	expect_image(&l, 1, &l.now);
	lab_image_free(&l.now);
	l.now = first;
	l.spec.uuid = uuid;
	expect_image(&l, 1, &l.now);
	lab_free(&l);
}

/* ---- the store ---- */

TEST(one_process_writes_a_store)
{
	struct lab second;
	struct lab l;

	start(&l, 16);
	second = l;
	REFUSED(lab_open(&second, false, &err), -EWOULDBLOCK, "store-busy");
	lab_free(&l);
}

TEST(a_reader_takes_no_lock_and_changes_nothing)
{
	struct lab reader;
	struct lab l;
	struct store_writer *w;
	char path[256];
	uint64_t size;

	start(&l, 64);
	add_point(&l, 0, 16);
	OK(lab_begin(&l, &err));
	lab_data(&l, 4, 4);
	OK(lab_stage(&l, &err));
	size = lab_segment(l.dir, 0, path);
	reader = l;
	reader.writer = NULL;
	OK(lab_open(&reader, true, &err));
	EXPECT_U64(info_of(&reader).n_points, 1);
	REFUSED(store_writer_open(reader.store, &l.spec, &w, &err), -EROFS,
		"read-only");
	store_close(reader.store);
	EXPECT_U64(lab_segment(l.dir, 0, path), size);
	EXPECT_U64(lab_segment(l.dir, 1, path), 0);
	/* The writer has not noticed. */
	OK(lab_commit(&l, NULL, &err));
	expect_image(&l, 2, &l.now);
	lab_free(&l);
}

TEST(a_reader_needs_no_catalog)
{
	struct stat st;
	char path[128];
	struct lab l;

	start(&l, 64);
	add_point(&l, 0, 16);
	add_point(&l, 2, 3);
	lab_close(&l);
	lab_drop_catalog(l.dir);
	OK(lab_open(&l, true, &err));
	expect_image(&l, 2, &l.now);
	(void)snprintf(path, sizeof(path), "%s/catalog.db", l.dir);
	EXPECT_INT(stat(path, &st), -1);
	lab_free(&l);
}

TEST(a_directory_with_other_things_does_not_become_a_store)
{
	char path[128];
	struct lab l;
	FILE *f;

	lab_init(&l, 1, 16);
	(void)snprintf(path, sizeof(path), "%s/precious", l.dir);
	f = fopen(path, "w");
	ASSERT_NOT_NULL(f);
	fclose(f);
	REFUSED(lab_open(&l, false, &err), -ENOTEMPTY, "not-a-store");
	REFUSED(lab_open(&l, true, &err), -ENOENT, "not-a-store");
	lab_free(&l);
}

TEST(files_are_private_whatever_the_umask)
{
	static const char *const names[] = { "store.meta", "lock",
					     "catalog.db", "reserve" };
	struct stat st;
	char path[256];
	struct lab l;
	size_t i;

	umask(0);
	start(&l, 16);
	add_point(&l, 0, 1);
	for (i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", l.dir, names[i]);
		ASSERT_OK(stat(path, &st));
		EXPECT_U64(st.st_mode & 0777, 0600);
	}
	(void)lab_segment(l.dir, 0, path);
	ASSERT_OK(stat(path, &st));
	EXPECT_U64(st.st_mode & 0777, 0600);
	*strrchr(path, '/') = 0;
	ASSERT_OK(stat(path, &st));
	EXPECT_U64(st.st_mode & 0777, 0700);
	lab_free(&l);
}
