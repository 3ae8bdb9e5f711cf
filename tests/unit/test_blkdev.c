// SPDX-License-Identifier: Apache-2.0
/*
 * What sysfs says of devices that this machine need not have: trees of dm, md,
 * NVMe, virtio, zoned disks are laid out in a directory and described.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/checked.h"
#include "device/blkdev_fs.h"
#include "device/blkdev_remap.h"
#include "device/blkdev_sysfs.h"
#include "tap.h"

/* A machine in a directory, gone at the end. */
struct machine {
	char dir[64];
	char sys[80], proc[80], dev[80], udev[80];
	struct blkdev_roots roots;
};

/* Every directory that path lies in. */
static void make_dirs(const char *path)
{
	char dir[384];
	size_t i;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	for (i = 1; dir[i]; i++) {
		if (dir[i] != '/')
			continue;
		dir[i] = 0;
		ASSERT_TRUE(mkdir(dir, 0755) == 0 || errno == EEXIST);
		dir[i] = '/';
	}
}

__attribute__((format(printf, 3, 4))) static void
put(const struct machine *m, const char *text, const char *fmt, ...)
{
	char rel[256], path[384];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	(void)vsnprintf(rel, sizeof(rel), fmt, ap);
	va_end(ap);
	(void)snprintf(path, sizeof(path), "%s/%s", m->dir, rel);
	make_dirs(path);
	f = fopen(path, "we");
	ASSERT_NOT_NULL(f);
	ASSERT_GE(fputs(text, f), 0);
	ASSERT_OK(fclose(f));
}

static void make_link(const struct machine *m, const char *target,
		      const char *rel)
{
	char path[384];

	(void)snprintf(path, sizeof(path), "%s/%s", m->dir, rel);
	make_dirs(path);
	ASSERT_OK(symlink(target, path));
}

static struct machine *machine_new(void)
{
	static struct machine m;

	strcpy(m.dir, "/tmp/us-blkdev-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(m.dir));
	(void)snprintf(m.sys, sizeof(m.sys), "%s/sys", m.dir);
	(void)snprintf(m.proc, sizeof(m.proc), "%s/proc", m.dir);
	(void)snprintf(m.dev, sizeof(m.dev), "%s/dev", m.dir);
	(void)snprintf(m.udev, sizeof(m.udev), "%s/udev", m.dir);
	m.roots = (struct blkdev_roots){ m.sys, m.proc, m.dev, m.udev };
	put(&m, "", "proc/self/mountinfo");
	put(&m, "Filename Type Size Used Priority\n", "proc/swaps");
	return &m;
}

static void machine_free(const struct machine *m)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", m->dir);
	ASSERT_OK(system(cmd));
}

/* A disk of 1 MiB without requests; no is "8:0". */
static void put_disk(const struct machine *m, const char *name, const char *no)
{
	char to[128], at[128];

	put(m, no, "sys/devices/%s/dev", name);
	put(m, "2048\n", "sys/devices/%s/size", name);
	put(m, "0\n", "sys/devices/%s/ro", name);
	put(m, "7\n", "sys/devices/%s/diskseq", name);
	put(m, "512\n", "sys/devices/%s/queue/logical_block_size", name);
	put(m, "none\n", "sys/devices/%s/queue/zoned", name);
	put(m, "0\n", "sys/devices/%s/queue/dax", name);
	(void)snprintf(to, sizeof(to), "../../devices/%s", name);
	(void)snprintf(at, sizeof(at), "sys/dev/block/%s", no);
	make_link(m, to, at);
	(void)snprintf(to, sizeof(to), "../devices/%s", name);
	(void)snprintf(at, sizeof(at), "sys/block/%s", name);
	make_link(m, to, at);
}

static void put_queue(const struct machine *m, const char *name, int queue,
		      int tags, int reserved)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d\n", tags);
	put(m, text, "sys/devices/%s/mq/%d/nr_tags", name, queue);
	(void)snprintf(text, sizeof(text), "%d\n", reserved);
	put(m, text, "sys/devices/%s/mq/%d/nr_reserved_tags", name, queue);
}

static void put_partition(const struct machine *m, const char *disk,
			  const char *name, const char *no, int start, int n)
{
	char text[32], to[128], at[128];

	put(m, no, "sys/devices/%s/%s/dev", disk, name);
	put(m, "1\n", "sys/devices/%s/%s/partition", disk, name);
	(void)snprintf(text, sizeof(text), "%d\n", start);
	put(m, text, "sys/devices/%s/%s/start", disk, name);
	(void)snprintf(text, sizeof(text), "%d\n", n);
	put(m, text, "sys/devices/%s/%s/size", disk, name);
	put(m, "0\n", "sys/devices/%s/%s/ro", disk, name);
	(void)snprintf(to, sizeof(to), "../../devices/%s/%s", disk, name);
	(void)snprintf(at, sizeof(at), "sys/dev/block/%s", no);
	make_link(m, to, at);
}

/* upper stands on lower (lower_path below sys/devices). */
static void stack(const struct machine *m, const char *upper,
		  const char *lower_path, const char *lower)
{
	char to[128], at[128];

	(void)snprintf(to, sizeof(to), "%s/devices/%s", m->sys, lower_path);
	(void)snprintf(at, sizeof(at), "sys/devices/%s/slaves/%s", upper,
		       lower);
	make_link(m, to, at);
	(void)snprintf(to, sizeof(to), "%s/devices/%s", m->sys, upper);
	(void)snprintf(at, sizeof(at), "sys/devices/%s/holders/%s", lower_path,
		       upper);
	make_link(m, to, at);
}

static void on_bus(const struct machine *m, const char *disk,
		   const char *parent, const char *bus)
{
	char to[128], at[128];

	(void)snprintf(to, sizeof(to), "../../parents/%s", parent);
	(void)snprintf(at, sizeof(at), "sys/devices/%s/device", disk);
	make_link(m, to, at);
	(void)snprintf(to, sizeof(to), "../../bus/%s", bus);
	(void)snprintf(at, sizeof(at), "sys/parents/%s/subsystem", parent);
	make_link(m, to, at);
}

static struct blkdev describe(const struct machine *m, unsigned int major,
			      unsigned int minor)
{
	struct err err = ERR_INIT;
	struct blkdev dev = { .fd = -1 };
	int r = blkdev_describe(&m->roots, (struct devno){ major, minor }, &dev,
				&err);

	ASSERT_MSG(r == 0, "%s", err.message);
	strcpy(dev.path, "/dev/x");
	return dev;
}

TEST(a_virtio_disk_has_queues_and_the_serial_of_udev)
{
	struct machine *m = machine_new();
	struct blkdev dev;

	put_disk(m, "vda", "254:0");
	on_bus(m, "vda", "virtio1", "virtio");
	put_queue(m, "vda", 0, 128, 0);
	put_queue(m, "vda", 3, 256, 2);
	put(m, "S:disk/x\nE:ID_SERIAL=root_disk\nE:ID_SERIAL_SHORT=r\n",
	    "udev/data/b254:0");
	put(m, "other", "sys/devices/vda/serial");
	dev = describe(m, 254, 0);
	EXPECT_STR(dev.name, "vda");
	EXPECT_STR(dev.disk_name, "vda");
	EXPECT_STR(dev.id.kind, "virtio");
	EXPECT_STR(dev.id.serial, "root_disk");
	EXPECT_TRUE(dev.request_based);
	EXPECT_INT(dev.n_queues, 4);	/* by the largest number */
	EXPECT_INT(dev.n_tags, 258);
	EXPECT_U64(dev.diskseq, 7);
	EXPECT_U64(dev.id.size_bytes, 1 << 20);
	EXPECT_OK(blkdev_admit(&dev, NULL));
	machine_free(m);
}

TEST(a_scsi_partition_knows_disk_wwid_serial_and_partuuid)
{
	static const char page[] = "\x01\x80\x01\x0a  AB 12 \x02"; /* no NULs */
	struct machine *m = machine_new();
	struct blkdev dev;

	put_disk(m, "sda", "8:0");
	on_bus(m, "sda", "0:0:0:0", "scsi");
	put_queue(m, "sda", 0, 32, 0);
	put(m, "naa.5000c500a1b2c3d4\n", "sys/parents/0:0:0:0/wwid");
	put(m, page, "sys/parents/0:0:0:0/vpd_pg80");
	put_partition(m, "sda", "sda2", "8:2", 2048, 1000);
	put(m, "DEVNAME=sda2\nPARTN=2\nPARTUUID=ABCDEF01-02\n",
	    "sys/devices/sda/sda2/uevent");
	dev = describe(m, 8, 2);
	EXPECT_TRUE(dev.is_partition);
	EXPECT_STR(dev.name, "sda2");
	EXPECT_STR(dev.disk_name, "sda");
	EXPECT_INT(dev.disk_minor, 0);
	EXPECT_U64(dev.start_sector, 2048);
	EXPECT_U64(dev.n_sectors, 1000);
	EXPECT_STR(dev.id.kind, "scsi");
	EXPECT_STR(dev.id.wwn, "naa.5000c500a1b2c3d4");
	EXPECT_STR(dev.id.serial, "AB_12__");	/* printable whatever it is */
	EXPECT_STR(dev.id.partuuid, "abcdef01-02");
	machine_free(m);
}

TEST(udev_knows_the_partuuid_that_an_older_kernel_does_not_tell)
{
	struct machine *m = machine_new();
	struct blkdev dev;

	put_disk(m, "sda", "8:0");
	put_partition(m, "sda", "sda1", "8:1", 64, 1000);
	put(m, "DEVNAME=sda1\n", "sys/devices/sda/sda1/uevent");
	dev = describe(m, 8, 1);
	EXPECT_STR(dev.id.partuuid, "");
	put(m, "E:ID_PART_ENTRY_UUID=aa-bb\n", "udev/data/b8:1");
	dev = describe(m, 8, 1);
	EXPECT_STR(dev.id.partuuid, "aa-bb");
	machine_free(m);
}

TEST(an_nvme_disk_is_admitted_and_a_multipath_head_is_not)
{
	struct machine *m = machine_new();
	struct err err = ERR_INIT;
	struct blkdev dev;

	put_disk(m, "nvme0n1", "259:0");
	on_bus(m, "nvme0n1", "nvme0", "nvme");
	put_queue(m, "nvme0n1", 0, 1023, 1);
	put(m, "eui.0025385b71b0a1c2", "sys/devices/nvme0n1/wwid");
	put(m, "S4EWNX0M   \n", "sys/parents/nvme0/serial");
	dev = describe(m, 259, 0);
	EXPECT_STR(dev.id.kind, "nvme");
	EXPECT_STR(dev.id.wwn, "eui.0025385b71b0a1c2");
	EXPECT_STR(dev.id.serial, "S4EWNX0M");
	EXPECT_FALSE(dev.multipath_head);
	EXPECT_OK(blkdev_admit(&dev, &err));
	put_disk(m, "nvme1n1", "259:1");
	on_bus(m, "nvme1n1", "nvme-subsys1", "nvme-subsystem");
	dev = describe(m, 259, 1);
	EXPECT_STR(dev.id.kind, "nvme");
	EXPECT_TRUE(dev.multipath_head);
	EXPECT_INT(blkdev_admit(&dev, &err), -EOPNOTSUPP);
	EXPECT_STR(err.code, "multipath-head");
	machine_free(m);
}

TEST(a_mapped_device_is_bio_based_and_known_by_its_uuid)
{
	struct machine *m = machine_new();
	struct err err = ERR_INIT;
	struct blkdev dev;

	put_disk(m, "dm-0", "252:0");
	put(m, "LVM-abc\n", "sys/devices/dm-0/dm/uuid");
	put(m, "vg0-db1\n", "sys/devices/dm-0/dm/name");
	dev = describe(m, 252, 0);
	EXPECT_STR(dev.id.kind, "dm");
	EXPECT_STR(dev.id.dm_uuid, "LVM-abc");
	EXPECT_FALSE(dev.request_based);
	EXPECT_FALSE(dev.exact_ends);
	EXPECT_OK(blkdev_admit(&dev, NULL));
	/* Whether these end their bios themselves is not known. */
	put_disk(m, "bcache0", "251:0");
	dev = describe(m, 251, 0);
	EXPECT_INT(blkdev_admit(&dev, &err), -EOPNOTSUPP);
	EXPECT_STR(err.code, "bio-based");
	EXPECT_TRUE(err.remedy[0]);
	/* A multipath of requests has a queue. */
	put_disk(m, "dm-1", "252:1");
	put(m, "mpath-x\n", "sys/devices/dm-1/dm/uuid");
	put_queue(m, "dm-1", 0, 2048, 0);
	dev = describe(m, 252, 1);
	EXPECT_OK(blkdev_admit(&dev, NULL));
	machine_free(m);
}

TEST(zoned_dax_and_huge_blocks_are_refused)
{
	static const struct {
		const char *attr, *value, *code;
	} cases[] = {
		{ "queue/zoned", "host-managed\n", "zoned" },
		{ "queue/dax", "1\n", "dax" },
		{ "queue/logical_block_size", "16384\n", "block-size" },
		{ "mq/0/nr_tags", "0\n", "no-tags" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *m = machine_new();
		struct err err = ERR_INIT;
		struct blkdev dev;

		put_disk(m, "sda", "8:0");
		put_queue(m, "sda", 0, 32, 0);
		put(m, cases[i].value, "sys/devices/sda/%s", cases[i].attr);
		dev = describe(m, 8, 0);
		EXPECT_INT(blkdev_admit(&dev, &err), -EOPNOTSUPP);
		EXPECT_STR(err.code, cases[i].code);
		EXPECT_TRUE(err.remedy[0]);
		machine_free(m);
	}
}

TEST(writes_are_under_way_unless_the_disk_counts_them_and_counts_none)
{
	struct machine *m = machine_new();
	struct blkdev dev;

	put_disk(m, "sda", "8:0");
	put_queue(m, "sda", 0, 32, 0);
	put(m, "1\n", "sys/devices/sda/queue/iostats");
	dev = describe(m, 8, 0);
	dev.sys_fd = sysfs_open_dev(&m->roots, (struct devno){ 8, 0 });
	ASSERT_GE(dev.sys_fd, 0);
	EXPECT_TRUE(blkdev_writes_under_way(&dev));
	put(m, "       3        1\n", "sys/devices/sda/inflight");
	EXPECT_TRUE(blkdev_writes_under_way(&dev));
	put(m, "       3        0\n", "sys/devices/sda/inflight");
	EXPECT_FALSE(blkdev_writes_under_way(&dev));
	EXPECT_TRUE(blkdev_counts_requests(&dev));
	put(m, "0\n", "sys/devices/sda/queue/iostats");
	EXPECT_FALSE(blkdev_counts_requests(&dev));
	EXPECT_TRUE(blkdev_writes_under_way(&dev));
	/* What heeds the switch without having requests, and what does not. */
	dev.request_based = false;
	EXPECT_TRUE(blkdev_counts_requests(&dev));
	strcpy(dev.id.kind, "dm");
	EXPECT_FALSE(blkdev_counts_requests(&dev));
	(void)close(dev.sys_fd);
	machine_free(m);
}

TEST(an_absent_device_and_nonsense_in_sysfs_are_errors)
{
	struct machine *m = machine_new();
	struct err err = ERR_INIT;
	struct blkdev dev = { .fd = -1 };

	EXPECT_INT(blkdev_describe(&m->roots, (struct devno){ 9, 9 }, &dev,
				   &err), -ENODEV);
	EXPECT_STR(err.code, "device-absent");
	err_clear(&err);
	put_disk(m, "sda", "8:0");
	put(m, "many\n", "sys/devices/sda/size");
	EXPECT_INT(blkdev_describe(&m->roots, (struct devno){ 8, 0 }, &dev,
				   &err), -EBADMSG);
	EXPECT_STR(err.code, "device-unreadable");
	put(m, "18446744073709551615\n", "sys/devices/sda/size");
	EXPECT_INT(blkdev_describe(&m->roots, (struct devno){ 8, 0 }, &dev,
				   NULL), -EBADMSG);
	machine_free(m);
}

TEST(identities_differ_only_where_both_sides_know)
{
	struct blkdev_id a = { .size_bytes = 4096, .kind = "scsi" }, b = a;
	char diff[256], tiny[4];

	EXPECT_TRUE(blkdev_id_same(&a, &b));
	strcpy(a.wwn, "naa.1");
	EXPECT_TRUE(blkdev_id_same(&a, &b));	/* b does not say */
	strcpy(b.wwn, "naa.2");
	strcpy(a.partuuid, "x");
	strcpy(b.partuuid, "y");
	EXPECT_FALSE(blkdev_id_same(&a, &b));
	blkdev_id_diff(&a, &b, diff, sizeof(diff));
	EXPECT_STR(diff, "wwn was naa.1, is naa.2; partuuid was x, is y");
	blkdev_id_diff(&a, &b, tiny, sizeof(tiny));
	EXPECT_STR(tiny, "wwn");
	b = a;
	b.size_bytes = 8192;
	EXPECT_FALSE(blkdev_id_same(&a, &b));
	b = a;
	strcpy(b.kind, "nvme");
	EXPECT_FALSE(blkdev_id_same(&a, &b));
}

static int in_use(const struct machine *m, unsigned int major,
		  unsigned int minor, char reason[256])
{
	reason[0] = 0;
	return blkdev_in_use_no(&m->roots, (struct devno){ major, minor },
				reason, 256);
}

TEST(mounts_are_found_by_number_with_odd_names)
{
	struct machine *m = machine_new();
	char reason[256];

	put_disk(m, "sda", "8:0");
	put_partition(m, "sda", "sda1", "8:1", 64, 1000);
	put_partition(m, "sda", "sda2", "8:2", 1064, 900);
	EXPECT_INT(in_use(m, 8, 1, reason), 0);
	put(m, "nonsense\n22 1 0:5 / /proc rw - proc proc rw\n"
	    "30 22 8:1 / /srv/a\\040b\\134 rw shared:1 master:2 - ext4 "
	    "/dev/sda1 rw\n", "proc/self/mountinfo");
	EXPECT_INT(in_use(m, 8, 1, reason), 1);
	EXPECT_STR(reason, "it is mounted on /srv/a b\\");
	EXPECT_INT(in_use(m, 8, 0, reason), 1);
	EXPECT_INT(in_use(m, 8, 2, reason), 0);
	EXPECT_INT(in_use(m, 8, 9, reason), -ENODEV);
	machine_free(m);
}

TEST(what_stands_on_a_device_uses_it)
{
	struct machine *m = machine_new();
	char reason[256];

	put_disk(m, "sda", "8:0");
	put_partition(m, "sda", "sda1", "8:1", 64, 1000);
	put_partition(m, "sda", "sda2", "8:2", 1064, 900);
	put_disk(m, "dm-0", "252:0");
	put(m, "vg0-db1\n", "sys/devices/dm-0/dm/name");
	stack(m, "dm-0", "sda/sda2", "sda2");
	EXPECT_INT(in_use(m, 8, 2, reason), 1);
	EXPECT_STR(reason, "it is part of /dev/dm-0 (vg0-db1)");
	EXPECT_INT(in_use(m, 8, 0, reason), 1);
	EXPECT_INT(in_use(m, 8, 1, reason), 0);
	EXPECT_INT(in_use(m, 252, 0, reason), 0);
	put_disk(m, "sdb", "8:16");
	put_disk(m, "md127", "9:127");
	stack(m, "md127", "sdb", "sdb");
	EXPECT_INT(in_use(m, 8, 16, reason), 1);
	EXPECT_STR(reason, "it is part of /dev/md127");
	machine_free(m);
}

/* "/srv/a 0, /srv/b 1" of the filesystems on a device. */
static const char *filesystems(const struct machine *m, unsigned int major,
			       unsigned int minor, bool *hidden)
{
	static char text[512];
	struct blkdev_fs fs;
	uint32_t i;
	size_t n = 0;

	text[0] = 0;
	ASSERT_OK(blkdev_fs_find(&m->roots, (struct devno){ major, minor },
				 &fs));
	for (i = 0; i < fs.n_mounts; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %u",
				      i ? ", " : "", fs.mounts[i].point,
				      fs.mounts[i].fs);
	*hidden = fs.hidden[0];
	blkdev_fs_free(&fs);
	return text;
}

TEST(filesystems_are_found_on_a_device_its_partitions_and_what_is_mapped_there)
{
	struct machine *m = machine_new();
	bool hidden;

	put_disk(m, "sda", "8:0");
	put_partition(m, "sda", "sda1", "8:1", 64, 1000);
	put_partition(m, "sda", "sda2", "8:2", 1064, 900);
	put_disk(m, "dm-0", "252:0");
	stack(m, "dm-0", "sda/sda2", "sda2");
	put(m, "30 22 8:1 / /srv/a rw - ext4 /dev/sda1 rw\n"
	    "31 22 0:31 / /proc rw - proc proc rw\n"
	    "32 22 252:0 / /srv/b rw - xfs /dev/mapper/x rw\n"
	    "33 22 8:1 /sub /srv/a\\040again rw - ext4 /dev/sda1 rw\n"
	    "34 22 8:99 / /srv/other rw - ext4 /dev/sdz rw\n",
	    "proc/self/mountinfo");
	EXPECT_STR(filesystems(m, 8, 0, &hidden),
		   "/srv/a 0, /srv/b 1, /srv/a again 0");
	EXPECT_FALSE(hidden);
	EXPECT_STR(filesystems(m, 8, 1, &hidden), "/srv/a 0, /srv/a again 0");
	EXPECT_FALSE(hidden);
	EXPECT_STR(filesystems(m, 8, 2, &hidden), "/srv/b 0");
	EXPECT_FALSE(hidden);
	EXPECT_STR(filesystems(m, 252, 0, &hidden), "/srv/b 0");
	machine_free(m);
}

TEST(what_nobody_accounts_for_is_asked_for_and_not_taken_for_free)
{
	struct machine *m = machine_new();
	bool hidden;

	put_disk(m, "sda", "8:0");
	put_partition(m, "sda", "sda1", "8:1", 64, 1000);
	put_partition(m, "sda", "sda2", "8:2", 1064, 900);
	put(m, "30 22 8:1 / /srv/a rw - ext4 /dev/sda1 rw\n",
	    "proc/self/mountinfo");
	/* There is no node by which the kernel could be asked. */
	EXPECT_STR(filesystems(m, 8, 0, &hidden), "/srv/a 0");
	EXPECT_TRUE(hidden);
	EXPECT_STR(filesystems(m, 8, 1, &hidden), "/srv/a 0");
	EXPECT_FALSE(hidden);
	EXPECT_STR(filesystems(m, 8, 2, &hidden), "");
	EXPECT_TRUE(hidden);
	machine_free(m);
}

/* The file system that the test runs on, as if it lay on a stack of ours. */
TEST(a_directory_is_followed_down_every_layer)
{
	struct machine *m = machine_new();
	struct blkdev_range range;
	struct stat st;
	char no[32];

	ASSERT_OK(stat(m->dir, &st));
	if (!major(st.st_dev))
		SKIP("/tmp lies on a file system without a device number");
	(void)snprintf(no, sizeof(no), "%u:%u", major(st.st_dev),
		       minor(st.st_dev));
	put_disk(m, "dm-9", no);	/* crypt on a mirror of a partition */
	put_disk(m, "md0", "9:200");
	put_disk(m, "sdx", "65:0");
	put_partition(m, "sdx", "sdx1", "65:1", 64, 1000);
	put_partition(m, "sdx", "sdx2", "65:2", 1064, 900);
	put_disk(m, "sdy", "65:16");
	stack(m, "dm-9", "md0", "md0");
	stack(m, "md0", "sdx/sdx1", "sdx1");
	stack(m, "md0", "sdy", "sdy");
	/* A loop in the description must end too. */
	stack(m, "sdy", "dm-9", "dm-9");
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 65, 0 }, &range));
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), 1);
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 65, 1 }, &range));
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), 1);
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 65, 2 }, &range));
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), 0);
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 65, 16 }, &range));
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), 1);
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 9, 200 }, &range));
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), 1);
	machine_free(m);
}

/* A chain without end is an error, not an answer. */
TEST(a_stack_too_deep_is_no_answer)
{
	struct machine *m = machine_new();
	char name[16], lower[16], no[32];
	struct blkdev_range range;
	struct stat st;
	int i;

	ASSERT_OK(stat(m->dir, &st));
	if (!major(st.st_dev))
		SKIP("/tmp lies on a file system without a device number");
	put_disk(m, "sdz", "66:0");
	ASSERT_OK(blkdev_get_range(&m->roots, (struct devno){ 66, 0 }, &range));
	for (i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "dm-%d", i);
		(void)snprintf(no, sizeof(no), "252:%d", i);
		if (!i)
			(void)snprintf(no, sizeof(no), "%u:%u",
				       major(st.st_dev), minor(st.st_dev));
		put_disk(m, name, no);
	}
	for (i = 0; i < 19; i++) {
		(void)snprintf(name, sizeof(name), "dm-%d", i);
		(void)snprintf(lower, sizeof(lower), "dm-%d", i + 1);
		stack(m, name, lower, lower);
	}
	EXPECT_INT(blkdev_range_holds(&m->roots, &range, m->dir), -ELOOP);
	machine_free(m);
}

static bool is_remap(const char *msg, size_t len)
{
	uint32_t major = 0, minor = 0;

	if (!blkdev_event_is_remap(msg, len, &major, &minor))
		return false;
	EXPECT_U64(major, 253);
	EXPECT_U64(minor, 7);
	return true;
}

/* With the zero that ends the last string. */
#define IS_REMAP(text) is_remap(text, sizeof(text))

TEST(a_resumed_mapping_is_told_from_other_events)
{
	static const char resumed[] =
		"change@/devices/virtual/block/dm-7\0ACTION=change\0"
		"SUBSYSTEM=block\0MAJOR=253\0MINOR=7\0DM_COOKIE=123";

	EXPECT_TRUE(IS_REMAP(resumed));
	EXPECT_FALSE(is_remap(resumed, sizeof(resumed) - 1));
	EXPECT_FALSE(is_remap(resumed, 0));
	EXPECT_FALSE(IS_REMAP("add@/x\0ACTION=add\0SUBSYSTEM=block\0"
			      "MAJOR=253\0MINOR=7"));
	EXPECT_FALSE(IS_REMAP("change@/x\0ACTION=change\0SUBSYSTEM=net\0"
			      "MAJOR=253\0MINOR=7"));
	EXPECT_FALSE(IS_REMAP("change@/x\0ACTION=change\0SUBSYSTEM=block\0"
			      "MAJOR=253\0MINOR=7\0SYNTH_UUID=0"));
	EXPECT_FALSE(IS_REMAP("change@/x\0ACTION=change\0SUBSYSTEM=block\0"
			      "MAJOR=253\0MINOR=7\0DISK_RO=1"));
	EXPECT_FALSE(IS_REMAP("change@/x\0ACTION=change\0SUBSYSTEM=block\0"
			      "MAJOR=253"));
}
