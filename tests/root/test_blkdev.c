// SPDX-License-Identifier: Apache-2.0
/*
 * Block devices on real loop devices: what is said of them, and which changes
 * of them are noticed.
 */
#include <dirent.h>

#include "scratch_loop.h"
#include "zramdev.h"
#include "device/blkdev.h"
#include "source/reader.h"

static void open_ok(const char *path, struct blkdev *dev)
{
	struct err err = ERR_INIT;
	int r = blkdev_open(path, dev, &err);

	ASSERT_MSG(r == 0, "%s", err.message);
}

TEST(a_loop_device_is_described_and_admitted)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/a b.img", 16 * MIB + 512);
	open_ok(l.path, &dev);
	EXPECT_STR(dev.path, l.path);
	EXPECT_STR(dev.real_path, l.path);
	EXPECT_STR(dev.name, l.path + 5);
	EXPECT_STR(dev.disk_name, dev.name);
	EXPECT_INT(dev.major, l.major);
	EXPECT_INT(dev.minor, l.minor);
	EXPECT_FALSE(dev.is_partition);
	EXPECT_U64(dev.start_sector, 0);
	EXPECT_U64(dev.n_sectors, (16 * MIB + 512) / 512);
	EXPECT_U64(dev.id.size_bytes, 16 * MIB + 512);
	EXPECT_STR(dev.id.kind, "loop");
	EXPECT_STR(dev.id.backing_file, "/mnt/a b.img");
	EXPECT_INT(dev.lbs_bytes, 512);
	EXPECT_TRUE(dev.request_based);
	EXPECT_GE(dev.n_queues, 1);
	EXPECT_GE(dev.n_tags, 1);
	EXPECT_GT(dev.diskseq, 0);
	EXPECT_FALSE(dev.read_only || dev.zoned || dev.dax);
	EXPECT_OK(blkdev_admit(&dev, &err));
	EXPECT_OK(blkdev_recheck(&dev, &err));
	EXPECT_TRUE(fcntl(dev.fd, F_GETFL) & O_DIRECT);
	EXPECT_INT(fcntl(dev.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	blkdev_close(&dev);
	blkdev_close(&dev);		/* twice is fine */
	ASSERT_OK(unlink("/mnt/a b.img"));
	open_ok(l.path, &dev);
	EXPECT_STR(dev.id.backing_file, "/mnt/a b.img");
	blkdev_close(&dev);
	loop_free(&l);
}

TEST(a_partition_is_a_range_of_its_disk)
{
	struct err err = ERR_INIT;
	struct reader_config cfg;
	struct blkdev dev;
	struct read_req *q;
	struct reader *r;
	struct stat st;
	uint8_t mark[4096];
	struct loop l;
	char path[48];

	enter_scratch();
	loop_new(&l, "/mnt/disk", 32 * MIB);
	add_partition(&l, 1, 8 * MIB, 8 * MIB + 512, path);
	memset(mark, 0x5a, sizeof(mark));
	ASSERT_INT(pwrite(l.fd, mark, sizeof(mark), 8 * MIB), sizeof(mark));
	ASSERT_OK(fsync(l.fd));
	open_ok(path, &dev);
	EXPECT_TRUE(dev.is_partition);
	EXPECT_STR(dev.disk_name, l.path + 5);
	EXPECT_INT(dev.disk_major, l.major);
	EXPECT_INT(dev.disk_minor, l.minor);
	EXPECT_U64(dev.start_sector, 8 * MIB / 512);
	EXPECT_U64(dev.n_sectors, 8 * MIB / 512 + 1);
	EXPECT_STR(dev.id.backing_file, "/mnt/disk");
	EXPECT_OK(blkdev_admit(&dev, &err));
	EXPECT_OK(blkdev_recheck(&dev, &err));
	/* The descriptor is the disk's, never the partition's. */
	ASSERT_OK(fstat(dev.fd, &st));
	EXPECT_U64(st.st_rdev, makedev(l.major, l.minor));

	cfg = (struct reader_config){
		.fd = dev.fd, .start_bytes = dev.start_sector * 512,
		.size_bytes = dev.id.size_bytes, .lbs_bytes = dev.lbs_bytes,
		.clock = clock_real(),
	};
	ASSERT_OK(reader_open(&cfg, &r, &err));
	q = r->ops->get(r);
	q->len_bytes = sizeof(mark);
	ASSERT_OK(r->ops->submit(r, q));
	ASSERT_OK(r->ops->next(r, true, &q));
	ASSERT_OK(q->res);
	EXPECT_MEM(q->buf, mark, sizeof(mark));
	r->ops->close(r);
	blkdev_close(&dev);
	loop_free(&l);
}

TEST(the_partuuid_comes_from_the_table_at_last)
{
	struct blkdev dev;
	struct loop l;
	char path[48], sys[80];

	enter_scratch();
	if (system("command -v parted >/dev/null"))
		SKIP("no parted here");
	loop_new(&l, "/mnt/disk", 32 * MIB);
	run("parted -s %s mklabel gpt mkpart x 1MiB 9MiB mkpart y 9MiB 20MiB "
	    ">/dev/null 2>&1 || true", l.path);
	/* Where neither the kernel nor parted made it. */
	(void)snprintf(sys, sizeof(sys), "/sys/class/block/%sp2", l.path + 5);
	if (access(sys, F_OK))
		ASSERT_OK(partition_op(&l, BLKPG_ADD_PARTITION, 2, 9 * MIB,
				       11 * MIB));
	partition_path(&l, 2, path);
	open_ok(path, &dev);
	EXPECT_U64(dev.start_sector, 9 * MIB / 512);
	EXPECT_INT(strlen(dev.id.partuuid), 36);
	blkdev_close(&dev);
	loop_free(&l);
}

/* Where /dev has no node of the disk, a private one is made and removed. */
TEST(the_disk_is_opened_without_its_node)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct dirent *de;
	struct loop l;
	char node[64];
	DIR *dir;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 4 * MIB);
	(void)snprintf(node, sizeof(node), "/mnt/node");
	ASSERT_OK(mknod(node, S_IFBLK | 0600, makedev(l.major, l.minor)));
	ASSERT_OK(mkdir("/mnt/dev", 0755));
	ASSERT_OK(mount("tmpfs", "/mnt/dev", "tmpfs", 0, NULL));
	ASSERT_OK(mount("/mnt/dev", "/dev", NULL, MS_BIND, NULL));
	open_ok(node, &dev);
	EXPECT_STR(dev.real_path, node);
	EXPECT_OK(blkdev_recheck(&dev, &err));
	blkdev_close(&dev);
	dir = opendir("/dev");
	while ((de = readdir(dir)))
		EXPECT_MSG(de->d_name[0] == '.' &&
			   strlen(de->d_name) <= 2, "left: %s", de->d_name);
	(void)closedir(dir);
	loop_free(&l);
}

TEST(what_is_no_device_is_refused)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct loop l;
	char free_path[32];

	enter_scratch();
	EXPECT_INT(blkdev_open("/mnt/none", &dev, &err), -ENODEV);
	EXPECT_STR(err.code, "device-absent");
	EXPECT_TRUE(err.remedy[0]);
	err_clear(&err);
	(void)close(make_image("/mnt/file", 4096));
	EXPECT_INT(blkdev_open("/mnt/file", &dev, &err), -ENOTBLK);
	EXPECT_STR(err.code, "not-a-block-device");
	err_clear(&err);
	/* A node without a device, and a device without a medium. */
	ASSERT_OK(mknod("/mnt/node", S_IFBLK | 0600, makedev(4095, 77)));
	EXPECT_INT(blkdev_open("/mnt/node", &dev, &err), -ENODEV);
	EXPECT_STR(err.code, "device-absent");
	err_clear(&err);
	loop_new(&l, "/mnt/disk", MIB);
	(void)strcpy(free_path, l.path);
	loop_free(&l);
	EXPECT_INT(blkdev_open(free_path, &dev, &err), -ENODEV);
	EXPECT_STR(err.code, "device-absent");
}

TEST(a_device_that_takes_bios_is_admitted)
{
	struct err err = ERR_INIT;
	struct zramdev zram;
	struct blkdev dev;
	int r;

	enter_scratch();
	r = zramdev_open(&zram, MIB);
	if (r == -ENODEV)
		SKIP("no zram here");
	ASSERT_OK(r);
	ASSERT_OK(blkdev_open(zram.path, &dev, &err));
	EXPECT_FALSE(dev.request_based);
	EXPECT_TRUE(dev.exact_ends);
	EXPECT_OK(blkdev_admit(&dev, &err));
	blkdev_close(&dev);
	EXPECT_OK(zramdev_close(&zram));
}

TEST(growth_is_noticed)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 4 * MIB);
	open_ok(l.path, &dev);
	ASSERT_OK(truncate("/mnt/disk", 8 * MIB));
	EXPECT_OK(blkdev_recheck(&dev, &err));	/* not told the kernel yet */
	run("losetup -c %s", l.path);
	EXPECT_INT(blkdev_recheck(&dev, &err), -EFBIG);
	EXPECT_STR(err.code, "size-changed");
	EXPECT_STR_HAS(err.message, "8388608");
	blkdev_close(&dev);
	loop_free(&l);
}

/* LOOP_CHANGE_FD puts another medium under a device that stays open. */
TEST(another_medium_is_noticed)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct loop l;
	int other;

	enter_scratch();
	(void)close(make_image("/mnt/one", 4 * MIB));
	other = make_image("/mnt/two", 4 * MIB);
	loop_bind(&l, "/mnt/one", LO_FLAGS_READ_ONLY);
	open_ok(l.path, &dev);
	EXPECT_TRUE(dev.read_only);
	EXPECT_OK(blkdev_recheck(&dev, &err));
	ASSERT_OK(ioctl(l.fd, LOOP_CHANGE_FD, other));
	EXPECT_INT(blkdev_recheck(&dev, &err), -ESTALE);
	EXPECT_STR(err.code, "device-changed");
	blkdev_close(&dev);
	loop_free(&l);
}

/* Detached and set up again over another file, under the same name. */
TEST(a_device_set_up_anew_has_another_identity)
{
	struct blkdev before, after;
	char diff[512];
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/one", 4 * MIB);
	open_ok(l.path, &before);
	blkdev_close(&before);
	loop_free(&l);
	loop_new(&l, "/mnt/two", 4 * MIB);
	open_ok(l.path, &after);
	if (!strcmp(before.path, after.path))
		EXPECT_NE(before.diskseq, after.diskseq);
	EXPECT_FALSE(blkdev_id_same(&before.id, &after.id));
	blkdev_id_diff(&before.id, &after.id, diff, sizeof(diff));
	EXPECT_STR_HAS(diff, "/mnt/one");
	EXPECT_STR_HAS(diff, "/mnt/two");
	blkdev_close(&after);
	loop_free(&l);
	/* And the same file again is the same volume. */
	loop_bind(&l, "/mnt/one", 0);
	open_ok(l.path, &after);
	EXPECT_TRUE(blkdev_id_same(&before.id, &after.id));
	blkdev_close(&after);
	loop_free(&l);
}

TEST(changes_of_a_partition_are_noticed)
{
	struct err err = ERR_INIT;
	struct blkdev dev;
	struct loop l;
	char path[48];

	enter_scratch();
	loop_new(&l, "/mnt/disk", 32 * MIB);
	add_partition(&l, 1, 8 * MIB, 8 * MIB, path);
	open_ok(path, &dev);
	/* Made anew as it was: the same range of the same disk. */
	ASSERT_OK(partition_op(&l, BLKPG_DEL_PARTITION, 1, 0, 0));
	EXPECT_INT(blkdev_recheck(&dev, &err), -ENODEV);
	EXPECT_STR(err.code, "device-gone");
	err_clear(&err);
	ASSERT_OK(partition_op(&l, BLKPG_ADD_PARTITION, 1, 8 * MIB, 8 * MIB));
	EXPECT_OK(blkdev_recheck(&dev, &err));
	/* Elsewhere. */
	ASSERT_OK(partition_op(&l, BLKPG_DEL_PARTITION, 1, 0, 0));
	ASSERT_OK(partition_op(&l, BLKPG_ADD_PARTITION, 1, 9 * MIB, 8 * MIB));
	EXPECT_INT(blkdev_recheck(&dev, &err), -ESTALE);
	err_clear(&err);
	blkdev_close(&dev);
	/* Larger, while it is there. */
	ASSERT_OK(partition_op(&l, BLKPG_DEL_PARTITION, 1, 0, 0));
	add_partition(&l, 2, 8 * MIB, 8 * MIB, path);
	open_ok(path, &dev);
	ASSERT_OK(partition_op(&l, BLKPG_RESIZE_PARTITION, 2, 8 * MIB,
			       16 * MIB));
	EXPECT_INT(blkdev_recheck(&dev, &err), -EFBIG);
	blkdev_close(&dev);
	loop_free(&l);
}
