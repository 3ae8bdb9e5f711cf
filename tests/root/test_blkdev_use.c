// SPDX-License-Identifier: Apache-2.0
/*
 * Who uses a block device, and which disk holds a directory: on real loop
 * devices, file systems, swap, overlays.
 */
#include "scratch_loop.h"
#include "device/blkdev.h"

static void make_ext4(const char *path)
{
	run("mkfs.ext4 -q -F %s", path);
}

TEST(a_free_device_is_not_in_use)
{
	char reason[256];
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB);
	EXPECT_MSG(blkdev_in_use(l.path, reason, sizeof(reason)) == 0, "%s",
		   reason);
	EXPECT_STR(reason, "");
	EXPECT_INT(blkdev_in_use("/mnt/none", reason, sizeof(reason)), -ENOENT);
	EXPECT_INT(blkdev_in_use("/mnt", reason, sizeof(reason)), -ENOTBLK);
	loop_free(&l);
}

TEST(a_mounted_device_is_in_use)
{
	char reason[256];
	struct loop l;
	int dir;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB);
	make_ext4(l.path);
	ASSERT_OK(mkdir("/mnt/a b", 0755));
	ASSERT_OK(mount(l.path, "/mnt/a b", "ext4", 0, NULL));
	EXPECT_INT(blkdev_in_use(l.path, reason, sizeof(reason)), 1);
	EXPECT_STR_HAS(reason, "mounted on /mnt/a b");
	/* Out of sight, but still there: the kernel knows. */
	dir = open("/mnt/a b", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_OK(umount2("/mnt/a b", MNT_DETACH));
	EXPECT_INT(blkdev_in_use(l.path, reason, sizeof(reason)), 1);
	EXPECT_STR_HAS(reason, "exclusively");
	(void)close(dir);
	loop_free(&l);
}

TEST(use_of_a_partition_is_use_of_its_disk_and_not_of_its_neighbour)
{
	char reason[256], one[48], two[48];
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 64 * MIB);
	add_partition(&l, 1, 1 * MIB, 16 * MIB, one);
	add_partition(&l, 2, 20 * MIB, 16 * MIB, two);
	make_ext4(one);
	ASSERT_OK(mkdir("/mnt/one", 0755));
	ASSERT_OK(mount(one, "/mnt/one", "ext4", 0, NULL));
	EXPECT_INT(blkdev_in_use(one, reason, sizeof(reason)), 1);
	EXPECT_INT(blkdev_in_use(l.path, reason, sizeof(reason)), 1);
	EXPECT_STR_HAS(reason, "/mnt/one");
	EXPECT_MSG(blkdev_in_use(two, reason, sizeof(reason)) == 0, "%s",
		   reason);
	ASSERT_OK(umount("/mnt/one"));
	EXPECT_INT(blkdev_in_use(l.path, reason, sizeof(reason)), 0);
	loop_free(&l);
}

TEST(swap_is_use)
{
	char reason[256], cmd[64];
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB);
	run("mkswap %s >/dev/null 2>&1", l.path);
	(void)snprintf(cmd, sizeof(cmd), "swapon %s 2>/dev/null", l.path);
	if (system(cmd))
		SKIP("no swapping here");
	EXPECT_INT(blkdev_in_use(l.path, reason, sizeof(reason)), 1);
	run("swapoff %s", l.path);
	EXPECT_STR_HAS(reason, "swap");
	loop_free(&l);
}

TEST(a_loop_device_on_top_is_use)
{
	char reason[256];
	struct loop below, above;

	enter_scratch();
	loop_new(&below, "/mnt/disk", 16 * MIB);
	EXPECT_INT(blkdev_in_use("/mnt/disk", reason, sizeof(reason)), 1);
	EXPECT_STR_HAS(reason, below.path);
	loop_bind(&above, below.path, 0);
	EXPECT_INT(blkdev_in_use(below.path, reason, sizeof(reason)), 1);
	EXPECT_STR_HAS(reason, above.path);
	EXPECT_INT(blkdev_in_use(above.path, reason, sizeof(reason)), 0);
	loop_free(&above);
	loop_free(&below);
}

/* ---- which disk holds a directory ---- */

static int holds(const struct loop *disk, const char *part, const char *dir)
{
	struct stat st;

	if (!part)
		return blkdev_holds_path(disk->major, disk->minor, disk->major,
					 disk->minor, dir);
	ASSERT_OK(stat(part, &st));
	return blkdev_holds_path(disk->major, disk->minor, major(st.st_rdev),
				 minor(st.st_rdev), dir);
}

TEST(a_store_on_the_volume_is_found_through_loops)
{
	struct loop disk, inner, other;

	enter_scratch();
	loop_new(&disk, "/mnt/disk", 64 * MIB);
	loop_new(&other, "/mnt/other", 16 * MIB);
	make_ext4(disk.path);
	ASSERT_OK(mkdir("/mnt/a", 0755));
	ASSERT_OK(mkdir("/mnt/b", 0755));
	ASSERT_OK(mount(disk.path, "/mnt/a", "ext4", 0, NULL));
	loop_new(&inner, "/mnt/a/inner", 16 * MIB);
	make_ext4(inner.path);
	ASSERT_OK(mount(inner.path, "/mnt/b", "ext4", 0, NULL));
	EXPECT_INT(holds(&disk, NULL, "/mnt/a"), 1);
	EXPECT_INT(holds(&disk, NULL, "/mnt/a/not/yet/there"), 1);
	EXPECT_INT(holds(&disk, NULL, "/mnt/b/store"), 1);
	EXPECT_INT(holds(&inner, NULL, "/mnt/b"), 1);
	EXPECT_INT(holds(&inner, NULL, "/mnt/a"), 0);
	EXPECT_INT(holds(&other, NULL, "/mnt/b"), 0);
	EXPECT_INT(holds(&disk, NULL, "/mnt"), 0);	/* memory */
	/* The file's name is gone, and it still lies there. */
	ASSERT_OK(unlink("/mnt/a/inner"));
	EXPECT_INT(holds(&disk, NULL, "/mnt/b"), 1);
	ASSERT_OK(umount("/mnt/b"));
	loop_free(&inner);
	ASSERT_OK(umount("/mnt/a"));
	loop_free(&other);
	loop_free(&disk);
}

TEST(a_store_on_the_neighbour_partition_is_allowed)
{
	char one[48], two[48];
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 64 * MIB);
	add_partition(&l, 1, 1 * MIB, 16 * MIB, one);
	add_partition(&l, 2, 20 * MIB, 16 * MIB, two);
	make_ext4(one);
	ASSERT_OK(mkdir("/mnt/one", 0755));
	ASSERT_OK(mount(one, "/mnt/one", "ext4", 0, NULL));
	EXPECT_INT(holds(&l, NULL, "/mnt/one"), 1);
	EXPECT_INT(holds(&l, one, "/mnt/one"), 1);
	EXPECT_INT(holds(&l, two, "/mnt/one"), 0);
	ASSERT_OK(umount("/mnt/one"));
	loop_free(&l);
}

TEST(every_device_of_a_btrfs_counts)
{
	struct loop a, b, c;

	enter_scratch();
	if (system("command -v mkfs.btrfs >/dev/null"))
		SKIP("no mkfs.btrfs here");
	loop_new(&a, "/mnt/disk-a", 128 * MIB);
	loop_new(&b, "/mnt/disk-b", 128 * MIB);
	loop_new(&c, "/mnt/disk-c", 16 * MIB);
	run("mkfs.btrfs -q -f %s %s >/dev/null 2>&1", a.path, b.path);
	run("btrfs device scan %s %s >/dev/null", a.path, b.path);
	ASSERT_OK(mkdir("/mnt/fs", 0755));
	if (mount(a.path, "/mnt/fs", "btrfs", 0, NULL))
		SKIP("this kernel mounts no btrfs");
	run("btrfs subvolume create /mnt/fs/sub >/dev/null");
	EXPECT_INT(holds(&a, NULL, "/mnt/fs"), 1);
	EXPECT_INT(holds(&b, NULL, "/mnt/fs"), 1);
	EXPECT_INT(holds(&b, NULL, "/mnt/fs/sub/store"), 1);
	EXPECT_INT(holds(&c, NULL, "/mnt/fs/sub"), 0);
	ASSERT_OK(umount("/mnt/fs"));
	loop_free(&c);
	loop_free(&b);
	loop_free(&a);
}

TEST(an_overlay_lies_where_its_upper_directory_lies)
{
	struct loop l, lower;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB);
	loop_new(&lower, "/mnt/disk-lower", 16 * MIB);
	make_ext4(l.path);
	make_ext4(lower.path);
	run("mkdir /mnt/up /mnt/low /mnt/over");
	ASSERT_OK(mount(l.path, "/mnt/up", "ext4", 0, NULL));
	ASSERT_OK(mount(lower.path, "/mnt/low", "ext4", 0, NULL));
	run("mkdir /mnt/up/u /mnt/up/w");
	if (mount("overlay", "/mnt/over", "overlay", 0,
		  "lowerdir=/mnt/low,upperdir=/mnt/up/u,workdir=/mnt/up/w"))
		SKIP("this kernel mounts no overlay");
	EXPECT_INT(holds(&l, NULL, "/mnt/over/store"), 1);
	EXPECT_INT(holds(&lower, NULL, "/mnt/over/store"), 0);
	ASSERT_OK(umount("/mnt/over"));
	ASSERT_OK(umount("/mnt/low"));
	ASSERT_OK(umount("/mnt/up"));
	loop_free(&lower);
	loop_free(&l);
}
