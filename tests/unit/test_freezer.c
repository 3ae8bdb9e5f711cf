// SPDX-License-Identifier: Apache-2.0
/*
 * What may be asked of the freeze helper, the programs of users that it runs,
 * and the notes that it leaves. What it does to filesystems is in
 * tests/flow/quiesce.bats.
 */
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "freeze/freeze_hook.h"
#include "freeze/freeze_job.h"
#include "freeze/freeze_marker.h"
#include "freeze/freezer.h"
#include "tap.h"

static struct freeze_order an_order(void)
{
	struct freeze_order o;

	freeze_order_init(&o, "vol", NULL, 500 * NSEC_PER_MSEC);
	EXPECT_OK(freeze_order_mount(&o, 0, "/srv/a", 30));
	EXPECT_OK(freeze_order_mount(&o, 1, "/srv/b", 31));
	EXPECT_OK(freeze_order_mount(&o, 0, "/srv/a again", 33));
	return o;
}

TEST(an_order_is_sound_and_names_what_it_freezes)
{
	struct freeze_order o = an_order();

	EXPECT_TRUE(freeze_request_is_sound(&o.q));
	EXPECT_INT(o.q.n_fs, 2);
	EXPECT_INT(o.q.n_mounts, 3);
	EXPECT_STR(freeze_order_path(&o, 0), "/srv/a");
	EXPECT_STR(freeze_order_path(&o, 1), "/srv/b");
	EXPECT_STR(freeze_order_path(&o, 7), "the volume");
}

TEST(an_order_for_nothing_is_not_sound)
{
	struct freeze_order o;

	freeze_order_init(&o, "vol", NULL, NSEC_PER_SEC);
	EXPECT_FALSE(freeze_request_is_sound(&o.q));
	freeze_order_init(&o, "vol", "/bin/hold", NSEC_PER_SEC);
	EXPECT_TRUE(freeze_request_is_sound(&o.q));
	freeze_order_init(&o, "vol", "hold", NSEC_PER_SEC);
	EXPECT_FALSE(freeze_request_is_sound(&o.q));
}

TEST(an_order_has_bounds)
{
	struct freeze_order o = an_order();
	char deep[4096];
	unsigned int i;
	int r = 0;

	EXPECT_INT(freeze_order_mount(&o, 3, "/srv/gap", 1), -E2BIG);
	EXPECT_INT(freeze_order_mount(&o, 2, "srv", 1), -ENAMETOOLONG);
	memset(deep, '/', sizeof(deep));
	deep[sizeof(deep) - 1] = 0;
	for (i = 0; i <= FREEZE_PATHS_BYTES / sizeof(deep) && !r; i++)
		r = freeze_order_mount(&o, 0, deep, 1);
	EXPECT_INT(r, -ENAMETOOLONG);
	EXPECT_TRUE(freeze_request_is_sound(&o.q));
	o = an_order();
	for (i = 0, r = 0; i <= FREEZE_MOUNTS_MAX && !r; i++)
		r = freeze_order_mount(&o, 0, "/x", 1);
	EXPECT_INT(r, -E2BIG);
	EXPECT_INT(o.q.n_mounts, FREEZE_MOUNTS_MAX);
	EXPECT_TRUE(freeze_request_is_sound(&o.q));
}

TEST(a_request_is_not_believed)
{
	const struct freeze_request good = an_order().q;
	struct freeze_request q = good;

#define REFUSED(change)                                     \
	do {                                                \
		q = good;                                   \
		change;                                     \
		EXPECT_FALSE(freeze_request_is_sound(&q));  \
	} while (0)
	REFUSED(q.version++);
	REFUSED(q.slot = FREEZE_SLOTS);
	REFUSED(q.limit_ns = 0);
	REFUSED(q.limit_ns = FREEZE_LIMIT_MAX_NS + 1);
	REFUSED(q.n_fs = FREEZE_FS_MAX + 1);
	REFUSED(q.n_mounts = FREEZE_MOUNTS_MAX + 1);
	REFUSED(memset(q.volume, 'v', sizeof(q.volume)));
	REFUSED(memset(q.hook, '/', sizeof(q.hook)));
	REFUSED(q.paths[FREEZE_PATHS_BYTES - 1] = 'x');
	REFUSED(q.mounts[2].fs = 2);
	REFUSED(q.mounts[0].path = FREEZE_PATHS_BYTES);
	REFUSED(q.mounts[0].path = 3);
#undef REFUSED
}

TEST(without_a_helper_nothing_is_held)
{
	struct freeze_order o = an_order();
	struct freeze_hold *h = NULL;
	struct err err = ERR_INIT;

	EXPECT_INT(freezer_prepare(&o, NSEC_PER_SEC, NULL, NULL, &h, &err),
		   -ENOTCONN);
	EXPECT_STR(err.code, "no-freezer");
	EXPECT_NULL(h);
	err_clear(&err);
	EXPECT_TRUE(freezer_start("/nonexistent/understudy-freeze", &err) < 0);
	EXPECT_STR(err.code, "no-freezer");
	/* A program that is none of ours. */
	err_clear(&err);
	EXPECT_TRUE(freezer_start("/bin/true", &err) < 0);
	EXPECT_FALSE(freezer_is_there());
}

static int hook(const char *path, uint64_t ms, int *status)
{
	const struct freeze_hook h = {
		.path = path, .word = "freeze", .volume = "vol",
		.deadline_ns = freeze_now_ns() + ms * NSEC_PER_MSEC,
		.stop_fds = { -1, -1 },
	};

	*status = -1;
	return freeze_hook_run(&h, status);
}

static void script(char path[64], const char *text)
{
	FILE *f;

	strcpy(path, "/tmp/us-hook-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(path));
	strcat(path, "/hook");
	f = fopen(path, "we");
	ASSERT_NOT_NULL(f);
	ASSERT_GE(fprintf(f, "#!/bin/sh\n%s\n", text), 0);
	ASSERT_OK(fchmod(fileno(f), 0755));
	ASSERT_OK(fclose(f));
}

static void script_free(char path[64])
{
	ASSERT_OK(unlink(path));
	*strrchr(path, '/') = 0;
	ASSERT_OK(rmdir(path));
}

TEST(a_hook_is_told_what_to_do_and_its_status_is_seen)
{
	char path[64];
	int status;

	script(path, "[ \"$1 $2 $UNDERSTUDY_VOLUME\" = 'freeze vol vol' ] && "
		     "[ -z \"$(ls -l /proc/$$/fd | grep socket)\" ] && exit 5");
	EXPECT_INT(hook(path, 10000, &status), HOOK_ENDED);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_INT(WEXITSTATUS(status), 5);
	script_free(path);
	EXPECT_INT(hook("/nonexistent/hook", 10000, &status), HOOK_ENDED);
	EXPECT_INT(WEXITSTATUS(status), 127);
}

static void set_oom(const char *text)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	ASSERT_NOT_NULL(f);
	ASSERT_GE(fputs(text, f), 0);
	ASSERT_OK(fclose(f));
}

TEST(a_hook_may_be_killed_when_memory_is_short)
{
	char path[64];
	int status;

	script(path, "exit $(($(cat /proc/self/oom_score_adj) != 0))");
	set_oom("500");
	EXPECT_INT(hook(path, 10000, &status), HOOK_ENDED);
	set_oom("0");
	EXPECT_INT(status, 0);
	script_free(path);
}

TEST(a_hook_that_hangs_is_killed_with_its_children)
{
	uint64_t before = freeze_now_ns();
	char path[64];
	int status;

	script(path, "tail -f /dev/null & wait");
	EXPECT_INT(hook(path, 50, &status), HOOK_LATE);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_LT(freeze_now_ns() - before, 20 * NSEC_PER_SEC);
	script_free(path);
}

TEST(a_hook_is_ended_when_the_daemon_is)
{
	struct freeze_hook h = {
		.word = "freeze", .volume = "vol",
		.deadline_ns = freeze_now_ns() + 60 * NSEC_PER_SEC,
		.stop_fds = { -1, -1 },
	};
	int fds[2], status;
	char path[64];

	script(path, "exec tail -f /dev/null");
	ASSERT_OK(pipe(fds));
	(void)close(fds[1]);
	h.path = path;
	h.stop_fds[1] = fds[0];
	EXPECT_INT(freeze_hook_run(&h, &status), HOOK_STOPPED);
	(void)close(fds[0]);
	script_free(path);
}

/* ---- thawing ---- */

TEST(what_could_not_be_thawed_is_not_forgotten_and_no_hold_was_whole)
{
	struct freeze_slot slot = { 0 };
	struct freeze_job j = { .slot = &slot, .targets = { .n_fs = 2 } };

	j.targets.fs_fd[0] = j.targets.fs_fd[1] = -1;
	slot.maybe_frozen[0] = FREEZE_BEGUN;
	slot.maybe_frozen[1] = FREEZE_IS;
	freeze_job_thaw_frozen(&j);
	EXPECT_INT(slot.maybe_frozen[1], FREEZE_IS);
	EXPECT_FALSE(freeze_job_thaw(&j));
	EXPECT_INT(slot.thaw_error, -EBADF);
	EXPECT_INT(slot.maybe_frozen[0], FREEZE_BEGUN);
	EXPECT_INT(slot.maybe_frozen[1], FREEZE_IS);
	/* Thawed by another one, in the meantime. */
	slot.maybe_frozen[0] = slot.maybe_frozen[1] = FREEZE_NOT;
	EXPECT_FALSE(freeze_job_thaw(&j));
	EXPECT_INT(slot.thaw_error, 0);
}

/* ---- markers ---- */

struct told {
	int n;
	char text[512];
};

static void tell(void *arg, const struct freeze_left *l)
{
	struct told *t = arg;
	size_t n = strlen(t->text);

	t->n++;
	(void)snprintf(t->text + n, sizeof(t->text) - n, "%s %s %d\n",
		       l->volume, l->what, l->result);
}

static const dev_t devs[FREEZE_FS_MAX];

static void own_holds(char dir[64], char sub[80])
{
	strcpy(dir, "/tmp/us-hold-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(dir));
	(void)snprintf(sub, 80, "%s/run/holds", dir);
}

/* Nothing is left in it. */
static void own_holds_end(char dir[64], char sub[80])
{
	ASSERT_OK(rmdir(sub));
	*strrchr(sub, '/') = 0;
	ASSERT_OK(rmdir(sub));
	ASSERT_OK(rmdir(dir));
}

TEST(a_marker_is_left_behind_when_nobody_holds_its_lock)
{
	struct freeze_order o = an_order();
	char dir[64], sub[80], name[64];
	struct told t = { 0 };
	int fd;

	own_holds(dir, sub);
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 0);
	fd = freeze_marker_make(sub, &o.q, devs, name);
	ASSERT_GE(fd, 0);
	EXPECT_INT(freeze_marker_sweep(sub, true, tell, &t), 0);
	(void)close(fd);
	EXPECT_INT(freeze_marker_sweep(sub, true, tell, &t), 1);
	EXPECT_STR(t.text, "vol /srv/a 1\nvol /srv/b 1\n");
	freeze_marker_remove(sub, name);
	EXPECT_INT(freeze_marker_sweep(sub, true, tell, &t), 0);
	own_holds_end(dir, sub);
}

/* Its paths lead nowhere. */
TEST(a_marker_stays_while_something_of_it_cannot_be_thawed)
{
	struct freeze_order o = an_order();
	char dir[64], sub[80], first[64], second[64];
	struct told t = { 0 };
	int fd;

	own_holds(dir, sub);
	fd = freeze_marker_make(sub, &o.q, devs, first);
	ASSERT_GE(fd, 0);
	(void)close(fd);
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 1);
	EXPECT_STR(t.text, "vol /srv/a -2\nvol /srv/b -2\n");
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 1);
	EXPECT_INT(t.n, 4);
	/* The next hold does not write over it. */
	fd = freeze_marker_make(sub, &o.q, devs, second);
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(strcmp(first, second) != 0);
	EXPECT_INT(freeze_marker_sweep(sub, true, tell, &t), 1);
	(void)close(fd);
	freeze_marker_remove(sub, first);
	freeze_marker_remove(sub, second);
	own_holds_end(dir, sub);
}

TEST(what_cannot_be_written_down_makes_no_marker)
{
	struct freeze_order o = an_order();
	char dir[64], sub[80], name[64];

	own_holds(dir, sub);
	ASSERT_OK(freeze_order_mount(&o, 2, "/srv/\nfs 0 0 0 /", 34));
	EXPECT_INT(freeze_marker_make(sub, &o.q, devs, name), -EINVAL);
	/* Another place of it will do. */
	ASSERT_OK(freeze_order_mount(&o, 2, "/srv/c", 35));
	ASSERT_OK(close(freeze_marker_make(sub, &o.q, devs, name)));
	freeze_marker_remove(sub, name);
	own_holds_end(dir, sub);
}

TEST(a_holder_that_was_stopped_does_not_keep_a_filesystem_frozen)
{
	struct freeze_order o = an_order();
	char dir[64], sub[80], name[64];
	uint64_t now = freeze_now_ns();
	struct told t = { 0 };
	int fd;

	own_holds(dir, sub);
	fd = freeze_marker_make(sub, &o.q, devs, name);
	ASSERT_GE(fd, 0);
	ASSERT_OK(freeze_marker_until(fd, now - NSEC_PER_SEC));
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 0);
	ASSERT_OK(freeze_marker_until(fd, now - FREEZE_HOOK_THAW_NS -
						  2 * NSEC_PER_SEC));
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 1);
	EXPECT_STR(t.text, "vol /srv/a -2\nvol /srv/b -2\n");
	(void)close(fd);
	freeze_marker_remove(sub, name);
	own_holds_end(dir, sub);
}

/* Each waits for the other. */
TEST(hooks_of_what_was_left_behind_run_at_the_same_time)
{
	char dir[64], sub[80], name[64], path[2][64], text[512], base[2][80];
	struct told t = { 0 };
	struct freeze_order o;
	int i;

	own_holds(dir, sub);
	for (i = 0; i < 2; i++) {
		(void)snprintf(base[i], sizeof(base[i]), "%s/%d", dir, i);
		(void)snprintf(text, sizeof(text),
			       "[ $1 = thaw ] && : >%s/%d && "
			       "until [ -e %s/%d ]; do sleep 0.02; done",
			       dir, i, dir, !i);
		script(path[i], text);
		freeze_order_init(&o, "vol", path[i], NSEC_PER_SEC);
		ASSERT_OK(close(freeze_marker_make(sub, &o.q, devs, name)));
	}
	EXPECT_INT(freeze_marker_sweep(sub, false, tell, &t), 2);
	EXPECT_INT(t.n, 2);
	EXPECT_NULL(strstr(t.text, " -"));
	for (i = 0; i < 2; i++) {
		script_free(path[i]);
		ASSERT_OK(unlink(base[i]));
	}
	own_holds_end(dir, sub);
}

TEST(a_marker_of_another_boot_or_of_another_shape_undoes_nothing)
{
	static const char *const texts[] = {
		"",
		("understudy-hold 2 00000000000000000000 0000\nvolume v\n"
		 "fs 0 0 1 /\n"),
		"understudy-hold 2\nfs 0 0 1 /\n",
		"\n\n\n",
	};
	char dir[64], path[128];
	struct told t = { 0 };
	size_t i;
	FILE *f;

	strcpy(dir, "/tmp/us-hold-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(dir));
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%zu", dir, i);
		f = fopen(path, "we");
		ASSERT_NOT_NULL(f);
		ASSERT_GE(fputs(texts[i], f), 0);
		ASSERT_OK(fclose(f));
	}
	EXPECT_INT(freeze_marker_sweep(dir, false, tell, &t), 4);
	EXPECT_INT(t.n, 0);
	ASSERT_OK(rmdir(dir));
}

