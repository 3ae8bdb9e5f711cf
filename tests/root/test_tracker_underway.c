// SPDX-License-Identifier: Apache-2.0
/*
 * A write that is under way when tracking begins: nobody saw its issue, so its
 * completion has to mark it. It is held up by a frozen filesystem under the
 * loop device. Needs root, BPF, loop devices, mkfs.ext4 and cgroups
 * with the io controller: a loop device works off each of them by itself, so
 * that what else is read of it does not wait behind the write.
 */
#include "tap.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <linux/fs.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "loopdev.h"
#include "private_bpffs.h"
#include "device/blkdev.h"
#include "tracker/tracker_host.h"

#define SIZE_BYTES (16ULL << 20)
#define BLOCK 7U
#define GUARD_MS 20000
#define CGROUPS "/sys/fs/cgroup"

struct rig {
	struct loopdev below;		/* ext4 on it */
	char dir[256];			/* where that is mounted */
	int dir_fd;
	struct loopdev loop;		/* over a file of it */
	int fd;				/* O_DIRECT, the writer's */
	pid_t writer;
	char group[64];			/* the writer's */
	int guard_fd;			/* closing it thaws */
	pid_t guard;
};

/* Over a file that lies on a filesystem, and not directly: a direct write
 * would not wait for the freeze. */
static int loop_over(struct loopdev *l, int dir_fd)
{
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config cfg;
	int i, n, r = -1;

	memset(&cfg, 0, sizeof(cfg));
	l->backing_fd = openat(dir_fd, "img", O_RDWR | O_CREAT | O_CLOEXEC,
			       0600);
	ASSERT_GE(l->backing_fd, 0);
	ASSERT_OK(posix_fallocate(l->backing_fd, 0, SIZE_BYTES));
	cfg.fd = (uint32_t)l->backing_fd;
	cfg.block_size = 512;
	cfg.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	for (i = 0; i < 16 && r; i++) {
		n = ioctl(ctl, LOOP_CTL_GET_FREE);
		(void)snprintf(l->path, sizeof(l->path), "/dev/loop%d", n);
		l->fd = open(l->path, O_RDWR | O_CLOEXEC);
		r = l->fd < 0 ? -1 : ioctl(l->fd, LOOP_CONFIGURE, &cfg);
		if (r && l->fd >= 0)
			close(l->fd);
	}
	close(ctl);
	return r;
}

static int put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	int r;

	if (!f)
		return -1;
	r = fputs(text, f);
	return fclose(f) || r < 0 ? -1 : 0;
}

/* In the hierarchy of blkio; or in the unified one, where io may be off. */
static int make_group(struct rig *g)
{
	char path[96];

	(void)snprintf(g->group, sizeof(g->group),
		       CGROUPS "/blkio/understudy-%d", (int)getpid());
	if (!mkdir(g->group, 0700))
		return 0;
	(void)put(CGROUPS "/cgroup.subtree_control", "+io");
	(void)snprintf(g->group, sizeof(g->group), CGROUPS "/understudy-%d",
		       (int)getpid());
	if (mkdir(g->group, 0700))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/io.stat", g->group);
	if (!access(path, F_OK))
		return 0;
	(void)rmdir(g->group);
	return -1;
}

static void rig_open(struct rig *g)
{
	char cmd[64];

	memset(g, 0, sizeof(*g));
	if (make_group(g) < 0)
		SKIP("no cgroups with the io controller");
	ASSERT_OK(private_bpffs());
	ASSERT_OK(loopdev_open(&g->below, 4 * SIZE_BYTES));
	(void)snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q %s", g->below.path);
	ASSERT_INT(system(cmd), 0);
	(void)snprintf(g->dir, sizeof(g->dir), "%s/understudy-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	ASSERT_NOT_NULL(mkdtemp(g->dir));
	ASSERT_OK(mount(g->below.path, g->dir, "ext4", 0, NULL));
	g->dir_fd = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(g->dir_fd, 0);
	ASSERT_OK(loop_over(&g->loop, g->dir_fd));
	g->fd = open(g->loop.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_GE(g->fd, 0);
}

/* However the test ends, nothing stays frozen. */
static void freeze(struct rig *g)
{
	int p[2];

	ASSERT_OK(pipe(p));
	g->guard = fork();
	ASSERT_GE(g->guard, 0);
	if (!g->guard) {
		struct pollfd pfd = { .fd = p[0] };

		close(p[1]);
		(void)poll(&pfd, 1, GUARD_MS);
		_exit(ioctl(g->dir_fd, FITHAW, 0) ? 1 : 0);
	}
	close(p[0]);
	g->guard_fd = p[1];
	ASSERT_OK(ioctl(g->dir_fd, FIFREEZE, 0));
}

static void thaw(struct rig *g)
{
	int status;

	close(g->guard_fd);
	ASSERT_INT(waitpid(g->guard, &status, 0), g->guard);
	ASSERT_INT(status, 0);
}

static int write_block(const struct rig *g)
{
	char path[96], pid[16];
	void *buf = NULL;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", g->group);
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (put(path, pid) || posix_memalign(&buf, 4096, 4096))
		return 1;
	memset(buf, 0x5a, 4096);
	return pwrite(g->fd, buf, 4096, (off_t)BLOCK * 4096) != 4096;
}

/* The write is with the driver, and stays there. */
static void begin_write(struct rig *g, const struct blkdev *dev)
{
	uint64_t end = clock_mono_ns(clock_real()) + 10 * NSEC_PER_SEC;

	g->writer = fork();
	ASSERT_GE(g->writer, 0);
	if (!g->writer) {
		/* Or the guard would wait for this end, too. */
		(void)close(g->guard_fd);
		_exit(write_block(g));
	}
	while (!blkdev_writes_under_way(dev))
		ASSERT_MSG(clock_mono_ns(clock_real()) < end,
			   "the write is not seen under way");
}

static void end_write(struct rig *g)
{
	int status;

	ASSERT_INT(waitpid(g->writer, &status, 0), g->writer);
	ASSERT_INT(status, 0);
}

static void rig_close(struct rig *g)
{
	close(g->fd);
	loopdev_close(&g->loop);
	close(g->dir_fd);
	/* The loop device lets go of its file a little later. */
	while (umount(g->dir))
		ASSERT_INT(errno, EBUSY);
	ASSERT_OK(rmdir(g->dir));
	ASSERT_OK(rmdir(g->group));
	loopdev_close(&g->below);
}

TEST_WITH_TIMEOUT(a_write_under_way_when_tracking_begins_is_marked, 60)
{
	struct tracker_host_config hc = { .state_dir = "/nonexistent/test" };
	struct bitmap fresh, carried;
	struct err err = ERR_INIT;
	struct tracker_host *host;
	struct uuid volume;
	struct blkdev dev;
	struct tracker *t;
	struct rig g;

	rig_open(&g);
	ASSERT_MSG(!blkdev_open(g.loop.path, &dev, &err), "%s", err.message);
	ASSERT_OK(uuid_new(rnd_system(), &hc.node));
	ASSERT_OK(uuid_new(rnd_system(), &volume));
	ASSERT_FALSE(blkdev_writes_under_way(&dev));
	freeze(&g);
	begin_write(&g, &dev);
	ASSERT_MSG(!tracker_host_open(&hc, &host, &err), "%s", err.message);
	ASSERT_MSG(!tracker_host_add(host, &volume, &dev, 12, &t, &err), "%s",
		   err.message);
	ASSERT_TRUE(blkdev_writes_under_way(&dev));
	ASSERT_OK(bitmap_init(&fresh, t->n_blocks));
	ASSERT_OK(bitmap_init(&carried, t->n_blocks));
	ASSERT_OK(t->ops->flip(t, &err));
	ASSERT_OK(t->ops->collect(t, &fresh, &carried, &err));
	EXPECT_FALSE(bitmap_test(&fresh, BLOCK));
	thaw(&g);
	end_write(&g);
	ASSERT_OK(t->ops->flip(t, &err));
	ASSERT_OK(t->ops->collect(t, &fresh, &carried, &err));
	EXPECT_TRUE(bitmap_test(&fresh, BLOCK));
	bitmap_free(&fresh);
	bitmap_free(&carried);
	t->ops->close(t, true);
	tracker_host_close(host, true);
	blkdev_close(&dev);
	rig_close(&g);
}
