// SPDX-License-Identifier: Apache-2.0
/*
 * A volume's state across changes of its key and identity, and across the
 * death of the process before any of the file operations that make them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/own_dir.h"
#include "lib/tap.h"
#include "source/volstate.h"

/* ---- operations that are the last ones ---- */

/* The process ends before the n-th of them; 0: never. In the child alone. */
static int die_before;

static void step(void)
{
	if (die_before && !--die_before)
		_exit(9);
}

#define STEP(ret, name, params, args)                           \
	static ret step_##name params                           \
	{                                                       \
		step();                                         \
		return io_posix()->ops->name args;              \
	}

STEP(int, open, (struct io *io, int d, const char *p, int f, mode_t m),
     (io, d, p, f, m))
STEP(ssize_t, pwritev,
     (struct io *io, int fd, const struct iovec *v, int n, uint64_t off),
     (io, fd, v, n, off))
STEP(int, fdatasync, (struct io *io, int fd), (io, fd))
STEP(int, fsync, (struct io *io, int fd), (io, fd))
STEP(int, mkdirat, (struct io *io, int d, const char *p, mode_t m),
     (io, d, p, m))
STEP(int, renameat,
     (struct io *io, int d, const char *p, int e, const char *q),
     (io, d, p, e, q))
STEP(int, unlinkat, (struct io *io, int d, const char *p, int f),
     (io, d, p, f))

static struct io_ops step_ops;
static struct io step_io = { .ops = &step_ops };

static void steps_init(void)
{
	step_ops = *io_posix()->ops;
	step_ops.open = step_open;
	step_ops.pwritev = step_pwritev;
	step_ops.fdatasync = step_fdatasync;
	step_ops.fsync = step_fsync;
	step_ops.mkdirat = step_mkdirat;
	step_ops.renameat = step_renameat;
	step_ops.unlinkat = step_unlinkat;
}

/* ---- a state directory ---- */

static void begin(void)
{
	steps_init();
	own_dir_on_disk("volstate");
}

static void must_open(struct volstate *v)
{
	struct err err = ERR_INIT;
	int r = volstate_open(io_posix(), rnd_system(), own_dir, "db1", v, &err);

	if (r)
		printf("# %s\n", err.message);
	ASSERT_OK(r);
}

static unsigned int entries(void)
{
	char command[200], line[16] = "";
	FILE *f;

	snprintf(command, sizeof(command), "ls -1 %s/volumes | wc -l", own_dir);
	f = popen(command, "r");
	ASSERT_TRUE(f && fgets(line, sizeof(line), f));
	pclose(f);
	return (unsigned int)atoi(line);
}

/*
 * change in a child that ends before its n-th operation: false when it had no
 * n-th one.
 */
static bool killed_at(int n, int (*change)(struct volstate *v, const void *arg),
		      const void *arg)
{
	struct volstate v;
	pid_t pid;
	int status;

	must_open(&v);
	pid = fork();
	ASSERT_TRUE(pid >= 0);
	if (!pid) {
		v.io = &step_io;
		die_before = n;
		_exit(change(&v, arg) ? 1 : 0);
	}
	volstate_close(&v);
	ASSERT_INT(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9);
	return WEXITSTATUS(status) == 9;
}

/* ---- the key ---- */

static int save_key(struct volstate *v, const void *arg)
{
	return volstate_save_key(v, arg, NULL);
}

TEST(a_rotation_killed_at_any_step_leaves_the_old_key_or_the_new)
{
	struct volume_key before, next;
	struct volstate v;
	int n, old = 0;

	begin();
	must_open(&v);
	before = next = v.key;
	volstate_close(&v);
	ASSERT_OK(volume_key_rotate(&next, rnd_system()));
	for (n = 1; killed_at(n, save_key, &next); n++) {
		must_open(&v);
		if (v.key.id == 1) {
			EXPECT_MEM(&v.key, &before, sizeof(before));
			old++;
		} else {
			EXPECT_MEM(&v.key, &next, sizeof(next));
		}
		volstate_close(&v);
	}
	must_open(&v);
	EXPECT_MEM(&v.key, &next, sizeof(next));
	volstate_close(&v);
	/* Both were met, and the loop was not over at once. */
	EXPECT_TRUE(old >= 3 && n - 1 > old);
	own_dir_remove();
}

/* What an fsync of the directory has not named may be gone after a power cut. */
static int n_dir_syncs;

static int count_fsync(struct io *io, int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISDIR(st.st_mode))
		n_dir_syncs++;
	return io_posix()->ops->fsync(io, fd);
}

TEST(an_opened_key_is_durable_whoever_died_writing_it)
{
	struct io_ops ops = *io_posix()->ops;
	struct io io = { .ops = &ops };
	struct volstate v;

	begin();
	must_open(&v);
	volstate_close(&v);
	ops.fsync = count_fsync;
	n_dir_syncs = 0;
	ASSERT_OK(volstate_open(&io, rnd_system(), own_dir, "db1", &v, NULL));
	EXPECT_TRUE(n_dir_syncs > 0);
	volstate_close(&v);
	own_dir_remove();
}

TEST(a_key_that_cannot_be_saved_changes_nothing)
{
	struct volume_key before, next;
	struct err err = ERR_INIT;
	struct volstate v;

	begin();
	must_open(&v);
	before = next = v.key;
	ASSERT_OK(volume_key_rotate(&next, rnd_system()));
	/* No mode keeps root from writing; a name that is not there does. */
	snprintf(v.dir + strlen(v.dir), 8, "-gone");
	EXPECT_TRUE(volstate_save_key(&v, &next, &err) < 0);
	EXPECT_STR(err.code, "state-unwritable");
	volstate_close(&v);
	must_open(&v);
	EXPECT_MEM(&v.key, &before, sizeof(before));
	volstate_close(&v);
	own_dir_remove();
}

TEST(what_was_noted_of_the_key_is_remembered_and_old_notes_are_read)
{
	struct volstate_switches sw;
	struct volstate v;
	char command[800];

	begin();
	must_open(&v);
	EXPECT_INT(v.sw.key_exported_id, 0);
	sw = v.sw;
	sw.key_exported_id = 3;
	sw.key_escrowed_id = 2;
	ASSERT_OK(volstate_save(&v, &sw, NULL));
	volstate_close(&v);
	must_open(&v);
	EXPECT_INT(v.sw.key_exported_id, 3);
	EXPECT_INT(v.sw.key_escrowed_id, 2);
	snprintf(command, sizeof(command),
		 "sed -i -e 's/\"key_exported_id\": 3/\"key_exported\": true/' "
		 "-e '/key_escrowed_id/d' %s/volume.json", v.dir);
	EXPECT_INT(system(command), 0);
	volstate_close(&v);
	must_open(&v);
	EXPECT_INT(v.sw.key_exported_id, 1);
	EXPECT_INT(v.sw.key_escrowed_id, 0);
	volstate_close(&v);
	own_dir_remove();
}

/* ---- another identity ---- */

struct identity {
	struct uuid uuid;
	struct volume_key key;
};

static int adopt(struct volstate *v, const void *arg)
{
	const struct identity *id = arg;

	return volstate_adopt(v, &id->uuid, &id->key, NULL);
}

static struct identity another(void)
{
	struct identity id;

	ASSERT_OK(uuid_new(rnd_system(), &id.uuid));
	ASSERT_OK(volume_key_new(rnd_system(), 1, &id.key));
	ASSERT_OK(volume_key_rotate(&id.key, rnd_system()));
	return id;
}

TEST(an_adopted_identity_is_the_only_one_and_has_no_history)
{
	const struct acked point = { .valid = true, .epoch = 1, .seq = 3 };
	struct identity id;
	struct volstate v;

	begin();
	id = another();
	must_open(&v);
	ASSERT_OK(volstate_save_acked(&v, &point, NULL));
	ASSERT_OK(adopt(&v, &id));
	EXPECT_TRUE(uuid_equal(&v.uuid, &id.uuid));
	EXPECT_FALSE(v.acked.valid);
	/* It works on at once, and after a restart. */
	ASSERT_OK(volstate_save_acked(&v, &point, NULL));
	volstate_close(&v);
	must_open(&v);
	EXPECT_TRUE(uuid_equal(&v.uuid, &id.uuid));
	EXPECT_MEM(&v.key, &id.key, sizeof(id.key));
	EXPECT_INT(v.acked.seq, 3);
	EXPECT_INT(entries(), 1);
	volstate_close(&v);
	own_dir_remove();
}

TEST(an_adoption_killed_at_any_step_can_be_repeated)
{
	int n, old = 0, none = 0;
	struct identity id;
	struct volstate v;
	struct uuid first;

	begin();
	id = another();
	for (n = 1;; n++) {
		bool killed;

		must_open(&v);
		first = v.uuid;
		volstate_close(&v);
		killed = killed_at(n, adopt, &id);
		must_open(&v);
		if (uuid_equal(&v.uuid, &first))
			old++;
		else if (uuid_equal(&v.uuid, &id.uuid))
			break;
		else
			none++;
		ASSERT_TRUE(killed);
		EXPECT_FALSE(v.acked.valid);
		volstate_close(&v);
	}
	EXPECT_MEM(&v.key, &id.key, sizeof(id.key));
	volstate_close(&v);
	EXPECT_TRUE(old > 5 && none > 0);
	volstate_sweep(io_posix(), own_dir);
	EXPECT_INT(entries(), 1);
	own_dir_remove();
}

TEST(an_identity_that_another_volume_has_is_not_taken)
{
	struct err err = ERR_INIT;
	struct volstate v, other;

	begin();
	must_open(&v);
	ASSERT_OK(volstate_open(io_posix(), rnd_system(), own_dir, "db2", &other,
				NULL));
	EXPECT_INT(volstate_adopt(&v, &other.uuid, &other.key, &err), -EEXIST);
	EXPECT_STR(err.code, "key-conflict");
	volstate_close(&v);
	volstate_close(&other);
	must_open(&v);
	EXPECT_FALSE(uuid_equal(&v.uuid, &other.uuid));
	volstate_close(&v);
	own_dir_remove();
}

/* ---- the end ---- */

static int remove_it(struct volstate *v, const void *arg)
{
	(void)arg;
	return volstate_remove(v, NULL);
}

TEST(a_removal_killed_at_any_step_is_whole_or_done)
{
	int n, whole = 0, gone = 0;
	bool killed = true;
	struct volstate v;

	begin();
	for (n = 1; killed; n++) {
		int r;

		must_open(&v);
		volstate_close(&v);
		killed = killed_at(n, remove_it, NULL);
		r = volstate_find(io_posix(), own_dir, "db1", &v, NULL);
		ASSERT_TRUE(r == 0 || r == -ENOENT);
		if (r) {
			gone++;
			continue;
		}
		EXPECT_TRUE(killed);
		whole++;
		volstate_close(&v);
	}
	EXPECT_TRUE(whole > 0 && gone > 3);
	volstate_sweep(io_posix(), own_dir);
	EXPECT_INT(entries(), 0);
	own_dir_remove();
}

TEST(looking_for_a_volume_makes_none)
{
	struct err err = ERR_INIT;
	struct volstate v;

	begin();
	EXPECT_INT(volstate_find(io_posix(), own_dir, "db1", &v, &err), -ENOENT);
	EXPECT_INT(err.num, 0);
	EXPECT_INT(entries(), 0);
	own_dir_remove();
}
