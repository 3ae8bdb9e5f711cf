// SPDX-License-Identifier: Apache-2.0
/*
 * What a source remembers of a volume: it comes back, and whatever file
 * operation fails, once or from then on, or is the last before a death, the
 * volume stays the one it was, with the point acknowledged last or the one
 * being noted, and nothing of an attempt stays behind.
 */
#include <ftw.h>
#include <sys/mman.h>

#include "lib/own_dir.h"
#include "lib/tap.h"

#include "base/cleanup.h"
#include "source/volstate.h"

#include "unit/nth_io.h"

static struct err err;
static struct io io;

static void begin(void)
{
	own_dir_in_memory("volstate");
	io.ops = io_posix()->ops;
	nth_over(&io);
	err_clear(&err);
}

static struct acked point(uint64_t seq)
{
	return (struct acked){ .valid = true, .epoch = 1, .seq = seq,
			       .head.b = { (uint8_t)seq, 1 },
			       .flip_wall_ns = (int64_t)seq * 10 };
}

static int open_it(struct volstate *v)
{
	return volstate_open(&io, rnd_system(), own_dir, "vol", v, &err);
}

/* What a life has got to so far. */
struct known {
	bool opened;
	struct uuid uuid;
	struct volume_key key;
	uint64_t acked, tried;		/* of save_acked: succeeded, begun */
	bool paused, tried_paused;
};

static int one_life(struct known *k, uint64_t until)
{
	struct volstate_switches sw;
	struct acked a;
	struct volstate v;
	int r = open_it(&v);

	if (r < 0)
		return r;
	if (!k->opened) {
		k->uuid = v.uuid;
		k->key = v.key;
		k->opened = true;
	}
	while (r == 0 && k->acked < until) {
		a = point(k->acked + 1);
		k->tried = a.seq;
		r = volstate_save_intent(&v, a.seq, a.flip_wall_ns,
					 a.kind, &err);
		if (r == 0)
			r = volstate_save_acked(&v, &a, &err);
		if (r == 0)
			k->acked = a.seq;
	}
	if (r == 0 && k->acked == until && !k->paused) {
		sw = v.sw;
		sw.paused = k->tried_paused = true;
		r = volstate_save(&v, &sw, &err);
		k->paused = r == 0;
	}
	volstate_close(&v);
	return r;
}

static unsigned int n_files;
static bool odd_name;

static int count_one(const char *path, const struct stat *st, int type,
		     struct FTW *ftw)
{
	(void)st;
	n_files += type == FTW_F;
	/* (The test's own directory has letters by lot behind a dot.) */
	odd_name |= ftw->level && (strstr(path + ftw->base, ".tmp") ||
				   strstr(path + ftw->base, ".new"));
	return 0;
}

static void judge(const struct known *k, uint64_t n)
{
	struct volstate v;

	nth_heal();
	err_clear(&err);
	ASSERT_MSG(open_it(&v) == 0, "  call %" PRIu64 " (%s): %s", n,
		   nth_names[nth.hit], err.message);
	if (k->opened) {
		ASSERT_TRUE(uuid_equal(&v.uuid, &k->uuid));
		ASSERT_MEM(v.key.bytes, k->key.bytes, VOLUME_KEY_BYTES);
	}
	ASSERT_MSG(v.acked.seq == k->acked || v.acked.seq == k->tried,
		   "  call %" PRIu64 " (%s): %" PRIu64 " acknowledged, %" PRIu64
		   " remembered", n, nth_names[nth.hit], k->acked, v.acked.seq);
	if (v.acked.seq)
		ASSERT_INT(v.acked.head.b[0], (int)v.acked.seq);
	ASSERT_TRUE(v.sw.paused == k->paused || v.sw.paused == k->tried_paused);
	volstate_close(&v);
	n_files = 0;
	odd_name = false;
	(void)nftw(own_dir, count_one, 16, FTW_PHYS);
	ASSERT_MSG(n_files == 3 && !odd_name, "  call %" PRIu64 " (%s): %u "
		   "files%s", n, nth_names[nth.hit], n_files,
		   odd_name ? ", one left behind" : "");
}

TEST(a_volume_comes_back_with_its_last_point)
{
	struct known k = { 0 };

	begin();
	ASSERT_OK(one_life(&k, 3));
	judge(&k, 0);
	ASSERT_OK(one_life(&k, 7));
	judge(&k, 0);
	EXPECT_U64(k.acked, 7);
	own_dir_remove();
}

/* What a version wrote that knew of no kinds: nothing behind the first sum. */
static void forget_kinds(const struct volstate *v)
{
	static const uint8_t zeros[64];
	char path[700];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/acked", v->dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_INT(pwrite(fd, zeros, 64, 80), 64);
	ASSERT_INT(pwrite(fd, zeros, 64, 512 + 80), 64);
	ASSERT_INT(pwrite(fd, zeros, 64, 1024 + 32), 64);
	ASSERT_OK(close(fd));
}

TEST(the_kind_of_the_last_point_comes_back_or_is_not_known)
{
	struct acked a = point(1);
	struct volstate v;

	begin();
	ASSERT_OK(open_it(&v));
	a.has_kind = true;
	a.kind = POINT_FROZEN;
	ASSERT_OK(volstate_save_acked(&v, &a, &err));
	ASSERT_OK(volstate_save_intent(&v, 2, 20, POINT_APP, &err));
	volstate_close(&v);
	ASSERT_OK(open_it(&v));
	EXPECT_U64(v.acked.seq, 1);
	EXPECT_TRUE(v.acked.has_kind);
	EXPECT_INT(v.acked.kind, POINT_FROZEN);
	EXPECT_U64(v.intent_seq, 2);
	EXPECT_TRUE(v.intent_has_kind);
	EXPECT_INT(v.intent_kind, POINT_APP);
	forget_kinds(&v);
	volstate_close(&v);
	ASSERT_OK(open_it(&v));
	EXPECT_U64(v.acked.seq, 1);
	EXPECT_FALSE(v.acked.has_kind);
	EXPECT_U64(v.intent_seq, 2);
	EXPECT_FALSE(v.intent_has_kind);
	volstate_close(&v);
	own_dir_remove();
}

/* What cannot be read of it is not proven. */
TEST(what_the_audit_has_proven_comes_back_or_is_not_proven)
{
	struct volstate v;
	struct volstate_switches sw;
	struct audit_mark m = {
		.proven_wall_ns = 1700000000000000001,
		.lap_wall_ns = 1700000000000000002,
		.next_block = 1ULL << 40, .size_bytes = 1ULL << 55,
	};
	char command[256];

	begin();
	ASSERT_OK(open_it(&v));
	EXPECT_INT(v.sw.audit.proven_wall_ns, 0);
	sw = v.sw;
	sw.audit = m;
	ASSERT_OK(volstate_save(&v, &sw, &err));
	volstate_close(&v);
	ASSERT_OK(open_it(&v));
	EXPECT_INT(v.sw.audit.proven_wall_ns, m.proven_wall_ns);
	EXPECT_INT(v.sw.audit.lap_wall_ns, m.lap_wall_ns);
	EXPECT_U64(v.sw.audit.next_block, m.next_block);
	EXPECT_U64(v.sw.audit.size_bytes, m.size_bytes);
	EXPECT_FALSE(v.sw.audit.is_partial);
	(void)snprintf(command, sizeof(command),
		       "sed -i s/170000.*1,/-1,/ '%.150s/volume.json'", v.dir);
	volstate_close(&v);
	ASSERT_OK(system(command));
	ASSERT_OK(open_it(&v));
	EXPECT_INT(v.sw.audit.proven_wall_ns, 0);
	EXPECT_U64(v.sw.audit.next_block, 0);
	volstate_close(&v);
	own_dir_remove();
}

/* Fails at the n-th call; false when there was none. */
static bool fail_at(uint64_t n, bool onward, int error)
{
	struct known k = { 0 };
	bool hit;
	int r;

	begin();
	nth.at = n;
	nth.onward = onward;
	nth.error = error;
	r = one_life(&k, 2);
	if (r == 0)
		r = one_life(&k, 4);
	hit = nth.has_hit;
	ASSERT_MSG(r < 0 ? hit : true, "  by itself: %s", err.message);
	judge(&k, n);
	ASSERT_OK(one_life(&k, 6));
	judge(&k, n);
	own_dir_remove();
	return hit;
}

static void fail_each(bool onward, int error)
{
	uint64_t n = 1;

	while (fail_at(n, onward, error))
		n++;
	tap_note("%" PRIu64 " calls failed in turn", n - 1);
	EXPECT_GT(n, 40);
}

TEST(each_call_failing_once_forgets_nothing)
{
	fail_each(false, -EIO);
}

TEST(each_call_and_all_after_it_failing_forgets_nothing)
{
	fail_each(true, -EIO);
	fail_each(true, -ENOSPC);
	fail_each(true, -EDQUOT);
}

TEST(short_writes_forget_nothing)
{
	struct known k = { 0 };

	begin();
	nth.halves = true;
	ASSERT_OK(one_life(&k, 5));
	judge(&k, 0);
	own_dir_remove();
}

/* A death before the n-th call: no clean-up of any kind runs. */
static bool die_at(uint64_t n)
{
	struct known *k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	ASSERT_TRUE(k != MAP_FAILED);
	begin();
	pid = fork();
	if (!pid) {
		nth.at = n;
		nth.deadly = true;
		_exit(one_life(k, 2) || one_life(k, 4));
	}
	ASSERT_INT(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		ASSERT_INT(WEXITSTATUS(status), 0);
	judge(k, n);
	own_dir_remove();
	ASSERT_OK(munmap(k, sizeof(*k)));
	return WIFSIGNALED(status);
}

TEST(death_before_each_call_forgets_nothing)
{
	uint64_t n = 1;

	while (die_at(n))
		n++;
	tap_note("%" PRIu64 " deaths", n - 1);
	EXPECT_GT(n, 40);
}

TEST(another_volumes_state_is_left_alone)
{
	struct volstate v, other;
	char path[200];

	begin();
	ASSERT_OK(volstate_open(&io, rnd_system(), own_dir, "other", &other,
				&err));
	/* Looks like a volume that was cut off, and is none. */
	(void)snprintf(path, sizeof(path), "%s/volumes/notes.new", own_dir);
	ASSERT_OK(mkdir(path, 0700));
	ASSERT_OK(open_it(&v));
	ASSERT_FALSE(uuid_equal(&v.uuid, &other.uuid));
	EXPECT_OK(access(path, F_OK));
	volstate_close(&v);
	volstate_close(&other);
	ASSERT_OK(volstate_open(&io, rnd_system(), own_dir, "other", &other,
				&err));
	volstate_close(&other);
	own_dir_remove();
}
