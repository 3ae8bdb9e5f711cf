// SPDX-License-Identifier: Apache-2.0
/*
 * The examination's report: levels are counted, its JSON is as documented,
 * pins without an owner are named. Whatever the machine can do, a report is
 * made.
 */
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "source/doctor.h"
#include "source/doctor_checks.h"
#include "tap.h"

static struct doctor_report report;

static const struct doctor_check *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < report.n_checks; i++)
		if (!strcmp(report.checks[i].name, name))
			return &report.checks[i];
	return NULL;
}

TEST(the_host_is_examined_without_any_right)
{
	static const char *const expected[] = {
		"kernel", "privileges", "lockdown", "io-uring", "memory",
		"bpffs", "bpf-load",
	};
	size_t i;

	ASSERT_OK(doctor_run(NULL, &report));
	for (i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		const struct doctor_check *c = find(expected[i]);

		ASSERT_MSG(c, "no check %s", expected[i]);
		EXPECT_TRUE(c->text[0]);
		EXPECT_MSG(c->level != DOCTOR_FAIL || c->remedy[0],
			   "%s fails without a remedy", expected[i]);
	}
	EXPECT_STR(report.device, "");
}

TEST(what_is_no_device_fails_with_a_remedy)
{
	const struct doctor_check *c;

	ASSERT_OK(doctor_run("/nonexistent/device", &report));
	EXPECT_GT(report.n_fail, 0);
	c = find("device-absent");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_FAIL);
	EXPECT_TRUE(c->remedy[0]);
	ASSERT_OK(doctor_run("/dev/null", &report));
	ASSERT_NOT_NULL(find("not-a-block-device"));
}

TEST(a_name_too_long_is_an_error)
{
	char name[600];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	EXPECT_INT(doctor_run(name, &report), -ENAMETOOLONG);
}

TEST(levels_are_counted_and_a_full_report_goes_on_counting)
{
	unsigned int i;

	memset(&report, 0, sizeof(report));
	doctor_add(&report, DOCTOR_OK, "a", NULL, "x %d", 1);
	doctor_add(&report, DOCTOR_WARN, "b", "do y", "y");
	for (i = 0; i < DOCTOR_CHECKS_MAX; i++)
		doctor_add(&report, DOCTOR_FAIL, "c", NULL, "z");
	EXPECT_INT(report.n_checks, DOCTOR_CHECKS_MAX);
	EXPECT_INT(report.n_warn, 1);
	EXPECT_INT(report.n_fail, DOCTOR_CHECKS_MAX);
	EXPECT_STR(report.checks[0].text, "x 1");
	EXPECT_STR(report.checks[1].remedy, "do y");
}

TEST(json_is_as_documented)
{
	json_t *root, *check;

	memset(&report, 0, sizeof(report));
	strcpy(report.device, "/dev/sdb");
	doctor_add(&report, DOCTOR_OK, "kernel", NULL, "Linux");
	doctor_add(&report, DOCTOR_FAIL, "zoned", "use another", "it is zoned");
	root = doctor_to_json(&report);
	ASSERT_NOT_NULL(root);
	EXPECT_INT(json_integer_value(json_object_get(root, "format")), 1);
	EXPECT_STR(json_string_value(json_object_get(root, "device")),
		   "/dev/sdb");
	EXPECT_TRUE(json_is_false(json_object_get(root, "ok")));
	EXPECT_INT(json_array_size(json_object_get(root, "checks")), 2);
	check = json_array_get(json_object_get(root, "checks"), 0);
	EXPECT_TRUE(json_is_null(json_object_get(check, "remedy")));
	check = json_array_get(json_object_get(root, "checks"), 1);
	EXPECT_STR(json_string_value(json_object_get(check, "name")), "zoned");
	EXPECT_STR(json_string_value(json_object_get(check, "result")), "fail");
	EXPECT_STR(json_string_value(json_object_get(check, "text")),
		   "it is zoned");
	EXPECT_STR(json_string_value(json_object_get(check, "remedy")),
		   "use another");
	json_decref(root);
	memset(&report, 0, sizeof(report));
	root = doctor_to_json(&report);
	EXPECT_TRUE(json_is_null(json_object_get(root, "device")));
	EXPECT_TRUE(json_is_true(json_object_get(root, "ok")));
	json_decref(root);
	EXPECT_STR(doctor_level_name(DOCTOR_WARN), "warn");
}

/* ---- pins ---- */

#define NODE_A "11111111-2222-4333-8444-555555555555"
#define NODE_B "aaaaaaaa-2222-4333-8444-555555555555"

struct pins_world {
	char dir[64], bpffs[80], state[80];
	const char *node;		/* that the info map names */
	int result;
};

static int fake_owner(void *arg, const char *pin_dir, struct doctor_pin *out)
{
	const struct pins_world *w = arg;

	if (!strstr(pin_dir, "/understudy-"))
		return -EINVAL;
	(void)snprintf(out->state_dir, sizeof(out->state_dir), "%s", w->state);
	ASSERT_OK(uuid_parse(w->node, &out->node));
	return w->result;
}

static void check_pins(struct pins_world *w)
{
	const struct doctor_env env = {
		.bpffs = w->bpffs, .pin_owner = fake_owner, .arg = w,
	};

	memset(&report, 0, sizeof(report));
	doctor_check_pins(&report, &env);
}

static void write_node(const struct pins_world *w, const char *node)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/node", w->state);
	f = fopen(path, "we");
	ASSERT_NOT_NULL(f);
	ASSERT_GE(fprintf(f, "%s\n", node), 0);
	ASSERT_OK(fclose(f));
}

TEST(pins_without_an_owner_are_named_and_others_are_not)
{
	struct pins_world w = { .dir = "/tmp/us-doctor-XXXXXX",
				.node = NODE_A };
	const struct doctor_check *c;
	char path[160];

	ASSERT_NOT_NULL(mkdtemp(w.dir));
	(void)snprintf(w.bpffs, sizeof(w.bpffs), "%s/bpf", w.dir);
	(void)snprintf(w.state, sizeof(w.state), "%s/state", w.dir);
	ASSERT_OK(mkdir(w.bpffs, 0700));
	ASSERT_OK(mkdir(w.state, 0700));
	(void)snprintf(path, sizeof(path), "%s/somebody-elses", w.bpffs);
	ASSERT_OK(mkdir(path, 0700));
	(void)snprintf(path, sizeof(path), "%s/understudy-%s", w.bpffs, NODE_A);
	ASSERT_OK(mkdir(path, 0700));

	check_pins(&w);				/* no state directory's node */
	c = find("orphaned-pins");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_WARN);
	EXPECT_STR_HAS(c->text, "is gone");
	EXPECT_STR_HAS(c->remedy, path);
	write_node(&w, NODE_B);			/* made anew since */
	check_pins(&w);
	c = find("orphaned-pins");
	ASSERT_NOT_NULL(c);
	EXPECT_STR_HAS(c->text, "another node");
	write_node(&w, NODE_A);			/* its owner is there */
	check_pins(&w);
	EXPECT_NULL(find("orphaned-pins"));
	c = find("pins");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_OK);
	EXPECT_STR_HAS(c->text, "1 daemon ");
	w.result = -EPROTO;			/* another layout */
	check_pins(&w);
	EXPECT_NULL(find("orphaned-pins"));
	c = find("pins");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_WARN);
	w.result = -ENOENT;			/* left half made */
	check_pins(&w);
	EXPECT_NOT_NULL(find("orphaned-pins"));
	(void)snprintf(path, sizeof(path), "rm -rf '%s'", w.dir);
	ASSERT_OK(system(path));
}

/* ---- a host and a device laid out in a directory ---- */

static struct machine {
	char dir[64], sys[80], proc[80], bpffs[80], cgroup[80];
	struct blkdev_roots roots;
	struct doctor_env env;
	struct doctor_tracked tracked;
	struct blkdev dev;
} m;

__attribute__((format(printf, 2, 3))) static void put(const char *text,
						      const char *fmt, ...)
{
	char rel[256], path[384];
	size_t i;
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	(void)vsnprintf(rel, sizeof(rel), fmt, ap);
	va_end(ap);
	(void)snprintf(path, sizeof(path), "%s/%s", m.dir, rel);
	for (i = strlen(m.dir) + 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		path[i] = 0;
		ASSERT_TRUE(mkdir(path, 0755) == 0 || errno == EEXIST);
		path[i] = '/';
	}
	f = fopen(path, "we");
	ASSERT_NOT_NULL(f);
	ASSERT_GE(fputs(text, f), 0);
	ASSERT_OK(fclose(f));
}

static int fake_tracked(void *arg, const char *pin_dir,
			struct doctor_tracked out[DOCTOR_TRACKED_MAX])
{
	(void)arg;
	(void)pin_dir;
	out[0] = m.tracked;
	return m.tracked.range.n_sectors ? 1 : 0;
}

/* Nothing is the matter with it. Its disk is 8:16, "sdx", of 1 MiB. */
static void machine_new(void)
{
	memset(&m, 0, sizeof(m));
	strcpy(m.dir, "/tmp/us-doctor-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(m.dir));
	(void)snprintf(m.sys, sizeof(m.sys), "%s/sys", m.dir);
	(void)snprintf(m.proc, sizeof(m.proc), "%s/proc", m.dir);
	(void)snprintf(m.bpffs, sizeof(m.bpffs), "%s/bpf", m.dir);
	(void)snprintf(m.cgroup, sizeof(m.cgroup), "%s/cgroup", m.dir);
	ASSERT_OK(mkdir(m.bpffs, 0700));
	m.roots = (struct blkdev_roots){ m.sys, m.proc, "/dev", m.dir };
	m.env = (struct doctor_env){
		.bpffs = m.bpffs, .roots = &m.roots, .cgroup = m.cgroup,
		.tracked = fake_tracked,
	};
	put("Name:\tx\nCapEff:\t000001ffffffffff\n", "proc/self/status");
	put("         0          0 4294967295\n", "proc/self/uid_map");
	put("0::/\n", "proc/self/cgroup");
	put("", "proc/self/mountinfo");
	put("MemAvailable:    8388608 kB\n", "proc/meminfo");
	put("0\n", "proc/sys/kernel/io_uring_disabled");
	put("[none] integrity confidentiality\n",
	    "sys/kernel/security/lockdown");
	put("8:16\n", "sys/dev/block/8:16/dev");
	put("2048\n", "sys/dev/block/8:16/size");
	put("0\n", "sys/dev/block/8:16/removable");
	put("1\n", "sys/dev/block/8:16/queue/iostats");
	put("Filename Type Size Used Priority\n", "proc/swaps");
	m.dev = (struct blkdev){
		.path = "/dev/disk/by-id/x", .real_path = "/dev/sdx",
		.name = "sdx", .disk_name = "sdx", .major = 8, .minor = 16,
		.disk_major = 8, .disk_minor = 16, .n_sectors = 2048,
		.request_based = true,
	};
}

static void machine_free(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", m.dir);
	ASSERT_OK(system(command));
}

static void look(void)
{
	memset(&report, 0, sizeof(report));
	doctor_check_host(&report, &m.env);
	doctor_check_caveats(&report, &m.dev, &m.env);
}

/* What was put since is told so, with what to do; then it is well again. */
static void expect(const char *name, enum doctor_level level,
		   const char *text, const char *remedy)
{
	const struct doctor_check *c;

	look();
	c = find(name);
	ASSERT_MSG(c, "nothing is said of %s", name);
	EXPECT_MSG(c->level == level, "%s is %s", name,
		   doctor_level_name(c->level));
	EXPECT_STR_HAS(c->text, text);
	EXPECT_STR_HAS(c->remedy, remedy);
	machine_free();
	machine_new();
}

TEST(a_host_and_a_device_that_are_well_are_called_so)
{
	machine_new();
	look();
	EXPECT_INT(report.n_fail, 0);
	/* io_uring and the kernel's version are those of this machine. */
	EXPECT_NULL(find("user-namespace"));
	EXPECT_NULL(find("memory-cgroup"));
	EXPECT_NULL(find("removable"));
	EXPECT_NULL(find("iostats"));
	EXPECT_NULL(find("dax-mount"));
	EXPECT_NULL(find("swap"));
	EXPECT_NULL(find("tracked"));
	EXPECT_NULL(find("loop-on-volume"));
	machine_free();
}

TEST(each_obstacle_of_a_host_is_told_with_its_remedy)
{
	machine_new();
	put("CapEff:\t0000000000000000\n", "proc/self/status");
	expect("privileges", DOCTOR_FAIL, "CAP_BPF", "root");
	put("         0     100000      65536\n", "proc/self/uid_map");
	expect("user-namespace", DOCTOR_FAIL, "may not load", "privileged");
	put("none integrity [confidentiality]\n",
	    "sys/kernel/security/lockdown");
	expect("lockdown", DOCTOR_FAIL, "confidentiality", "integrity");
	put("2\n", "proc/sys/kernel/io_uring_disabled");
	expect("io-uring", DOCTOR_WARN, "is 2", "io_uring_disabled=0");
	put("1\n", "proc/sys/kernel/io_uring_disabled");
	expect("io-uring", DOCTOR_WARN, "is 1", "io_uring_disabled=0");
	put("MemAvailable:    1024 kB\n", "proc/meminfo");
	expect("memory", DOCTOR_FAIL, "1 MiB", "tracker-memory");
	put("MemAvailable:    262144 kB\n", "proc/meminfo");
	expect("memory", DOCTOR_WARN, "256 MiB", "tracker-memory");
	machine_free();
}

TEST(the_limits_of_all_cgroups_above_count_old_and_new)
{
	machine_new();
	put("0::/a/b\n", "proc/self/cgroup");
	put("max\n", "cgroup/a/b/memory.max");
	put("4096\n", "cgroup/a/b/memory.current");
	put("268435456\n", "cgroup/a/memory.max");
	put("67108864\n", "cgroup/a/memory.current");
	expect("memory-cgroup", DOCTOR_WARN, "192 MiB left under the limit of "
	       "/a", "MemoryMax=");
	put("4:memory:/a\n0::/\n", "proc/self/cgroup");
	put("9223372036854771712\n", "cgroup/memory/memory.limit_in_bytes");
	put("1\n", "cgroup/memory/memory.usage_in_bytes");
	put("1048576\n", "cgroup/memory/a/memory.limit_in_bytes");
	put("2097152\n", "cgroup/memory/a/memory.usage_in_bytes");
	expect("memory-cgroup", DOCTOR_FAIL, "0 B left under the limit of /a",
	       "MemoryMax=");
	machine_free();
}

/* id parent major:minor root point options - type source super-options */
static void put_mount(const char *no, const char *point, const char *options)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "30 1 %s / %s rw - xfs /dev/sdx "
		       "%s\n", no, point, options);
	put(line, "proc/self/mountinfo");
}

TEST(each_obstacle_of_a_device_is_told_with_its_remedy)
{
	machine_new();
	m.dev.read_only = true;
	expect("read-only", DOCTOR_OK, "read-only", "");
	put("1\n", "sys/dev/block/8:16/removable");
	expect("removable", DOCTOR_WARN, "medium", "stays");
	put("0\n", "sys/dev/block/8:16/queue/iostats");
	expect("iostats", DOCTOR_WARN, "count",
	       "echo 1 > /sys/block/sdx/queue/iostats");
	put_mount("8:16", "/srv", "rw,attr2,dax=always");
	expect("dax-mount", DOCTOR_FAIL, "/srv", "without the option dax");
	put_mount("8:16", "/srv", "rw,dax,attr2");
	expect("dax-mount", DOCTOR_FAIL, "/srv", "without the option dax");
	put("Filename\n/dev/sdx partition 1 2 3\n", "proc/swaps");
	expect("swap", DOCTOR_WARN, "swap", "leave swap out");
	machine_free();
}

TEST(other_kinds_of_dax_and_other_devices_are_no_obstacle)
{
	static const char *const options[] = {
		"rw,dax=never", "rw,dax=inode", "rw,nodax", "rw,daxx",
	};
	size_t i;

	machine_new();
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		put_mount("8:16", "/srv", options[i]);
		look();
		EXPECT_MSG(!find("dax-mount"), "%s", options[i]);
	}
	put_mount("8:32", "/srv", "rw,dax");
	look();
	EXPECT_NULL(find("dax-mount"));
	machine_free();
}

static void put_pins(mode_t mode)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/understudy-%s", m.bpffs,
		       NODE_A);
	ASSERT_OK(mkdir(path, 0700));
	ASSERT_OK(chmod(path, mode));
}

TEST(what_is_tracked_already_is_told)
{
	machine_new();
	put_pins(0700);
	m.tracked.range = (struct blkdev_range){ { 8, 16 }, 1024, 8 };
	expect("tracked", DOCTOR_OK, "follows it already", "");
	put_pins(0700);
	m.tracked.range = (struct blkdev_range){ { 8, 16 }, 2048, 8 };
	look();
	EXPECT_NULL(find("tracked"));
	machine_free();
}

/* The file system that the test runs on, as a disk of the machine. */
static struct devno put_own_disk(void)
{
	struct devno no;
	struct stat st;
	char text[32];

	ASSERT_OK(stat(m.dir, &st));
	no = (struct devno){ major(st.st_dev), minor(st.st_dev) };
	if (!no.major)
		return no;
	(void)snprintf(text, sizeof(text), "%u:%u", no.major, no.minor);
	put(text, "sys/dev/block/%s/dev", text);
	put("2048\n", "sys/dev/block/%s/size", text);
	return no;
}

TEST(a_volume_that_the_daemons_state_lies_on_is_told)
{
	struct devno no;

	machine_new();
	no = put_own_disk();
	if (!no.major)
		SKIP("/tmp lies on a file system without a device number");
	m.dev.major = m.dev.disk_major = no.major;
	m.dev.minor = m.dev.disk_minor = no.minor;
	m.env.state_dir = m.dir;
	expect("state-on-volume", DOCTOR_WARN, "state", "another filesystem");
	machine_free();
}

TEST(a_loop_device_whose_file_lies_on_what_is_tracked_is_told)
{
	machine_new();
	put_pins(0700);
	m.tracked.range = (struct blkdev_range){ put_own_disk(), 0, 2048 };
	if (!m.tracked.range.disk.major)
		SKIP("/tmp lies on a file system without a device number");
	(void)snprintf(m.dev.id.backing_file, sizeof(m.dev.id.backing_file),
		       "%s/image", m.dir);
	m.dev.disk_major = m.dev.major = 7;
	expect("loop-on-volume", DOCTOR_WARN, "shipped twice", "one of the two");
	machine_free();
}

TEST(pins_that_others_could_remove_are_told)
{
	const struct doctor_check *c;

	machine_new();
	put_pins(0755);
	memset(&report, 0, sizeof(report));
	doctor_check_pins(&report, &m.env);
	c = find("pins-open");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_WARN);
	EXPECT_STR_HAS(c->text, "0755");
	EXPECT_STR_HAS(c->remedy, "chmod 0700");
	machine_free();
}

TEST(a_bpf_file_system_that_cannot_be_had_is_an_obstacle)
{
	const struct doctor_check *c;

	machine_new();
	put("nodev\text4\n", "proc/filesystems");
	memset(&report, 0, sizeof(report));
	doctor_check_pins(&report, &m.env);
	c = find("bpffs");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_FAIL);
	EXPECT_STR_HAS(c->remedy, "CONFIG_BPF_SYSCALL");
	put("nodev\tbpf\n", "proc/filesystems");
	strcat(m.bpffs, "/nowhere");
	memset(&report, 0, sizeof(report));
	doctor_check_pins(&report, &m.env);
	c = find("bpffs");
	ASSERT_NOT_NULL(c);
	EXPECT_INT(c->level, DOCTOR_FAIL);
	EXPECT_STR_HAS(c->remedy, "/sys");
	machine_free();
}
