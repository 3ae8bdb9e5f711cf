// SPDX-License-Identifier: Apache-2.0
/*
 * The examination of real devices, and of pins that a tracker left behind.
 */
#include "base/uuid.h"
#include "scratch_loop.h"
#include "source/doctor.h"
#include "tracker/tracker_host.h"

static struct doctor_report report;

static const struct doctor_check *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < report.n_checks; i++)
		if (!strcmp(report.checks[i].name, name))
			return &report.checks[i];
	return NULL;
}

static const struct doctor_check *get(const char *name)
{
	const struct doctor_check *c = find(name);

	ASSERT_MSG(c, "no check %s", name);
	return c;
}

static void examine(const char *device)
{
	unsigned int i;

	ASSERT_OK(doctor_run(device, &report));
	for (i = 0; i < report.n_checks; i++)
		if (report.checks[i].level == DOCTOR_FAIL)
			tap_note("%s: %s", report.checks[i].name,
				 report.checks[i].text);
}

TEST(a_loop_device_can_be_tracked)
{
	struct loop l;
	int dir;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB + 512);
	run("mkfs.ext4 -q -F %s", l.path);
	ASSERT_OK(mkdir("/mnt/a", 0755));
	ASSERT_OK(mount(l.path, "/mnt/a", "ext4", 0, NULL));
	examine(l.path);
	EXPECT_INT(report.n_fail, 0);
	EXPECT_INT(get("bpf-load")->level, DOCTOR_OK);
	EXPECT_INT(get("block_rq_issue")->level, DOCTOR_OK);
	EXPECT_INT(get("block_rq_complete")->level, DOCTOR_OK);
	EXPECT_INT(get("block_bio_queue")->level, DOCTOR_OK);
	EXPECT_INT(get("block_bio_complete")->level, DOCTOR_OK);
	EXPECT_INT(get("admission")->level, DOCTOR_OK);
	EXPECT_INT(get("read")->level, DOCTOR_OK);
	EXPECT_STR_HAS(get("granularity")->text, "4 KiB");
	EXPECT_STR_HAS(get("identity")->text, "/mnt/disk");
	EXPECT_STR_HAS(get("in-use")->text, "/mnt/a");
	EXPECT_STR_HAS(get("read-path")->text, "whole disk");
	dir = open("/mnt/a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)close(dir);
	ASSERT_OK(umount("/mnt/a"));
	loop_free(&l);
}

TEST(a_partition_is_read_through_its_disk)
{
	struct loop l;
	char path[48];

	enter_scratch();
	loop_new(&l, "/mnt/disk", 32 * MIB);
	add_partition(&l, 1, 8 * MIB, 8 * MIB, path);
	examine(path);
	EXPECT_INT(report.n_fail, 0);
	EXPECT_STR_HAS(get("read-path")->text, l.path);
	EXPECT_STR_HAS(get("device")->text, "partition");
	loop_free(&l);
}

/* With a loop driver that fills up what its file lacks there is no error. */
static bool reads_past_the_file(const struct loop *l)
{
	static _Alignas(4096) char block[4096];
	int fd = open(l->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ssize_t n;

	ASSERT_GE(fd, 0);
	n = pread(fd, block, sizeof(block), 12 * MIB);
	(void)close(fd);
	return n == (ssize_t)sizeof(block);
}

/* The file behind the device is cut off: its end cannot be read. */
TEST(a_device_that_cannot_be_read_fails)
{
	struct loop l;

	enter_scratch();
	loop_new(&l, "/mnt/disk", 16 * MIB);
	ASSERT_OK(truncate("/mnt/disk", 8 * MIB));
	if (reads_past_the_file(&l))
		SKIP("loop devices read zeros past the end of their file");
	examine(l.path);
	EXPECT_INT(get("read")->level, DOCTOR_FAIL);
	EXPECT_TRUE(get("read")->remedy[0]);
	EXPECT_GT(report.n_fail, 0);
	loop_free(&l);
}

TEST(pins_that_nobody_owns_are_named)
{
	struct tracker_host_config cfg = { .state_dir = "/mnt/state" };
	struct tracker_host *host;
	struct err err = ERR_INIT;
	const struct doctor_check *c;
	char node[UUID_TEXT_SIZE];
	unsigned int i;
	bool named = false;
	int r;

	enter_scratch();
	ASSERT_OK(uuid_new(rnd_system(), &cfg.node));
	uuid_format(&cfg.node, node);
	ASSERT_OK(mkdir("/mnt/state", 0700));
	r = tracker_host_open(&cfg, &host, &err);
	ASSERT_MSG(r == 0, "%s", err.message);
	tracker_host_close(host, false);	/* leaves its pins */
	r = doctor_run(NULL, &report);
	(void)tracker_host_unpin(&cfg.node, NULL, &err);
	ASSERT_OK(r);
	for (i = 0; i < report.n_checks; i++) {
		c = &report.checks[i];
		if (!strcmp(c->name, "orphaned-pins") && strstr(c->text, node))
			named = strstr(c->text, "/mnt/state") != NULL &&
				strstr(c->remedy, node) != NULL;
	}
	EXPECT_TRUE(named);
}
