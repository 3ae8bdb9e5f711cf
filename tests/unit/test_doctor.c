// SPDX-License-Identifier: Apache-2.0
/*
 * The examination's report: levels are counted, its JSON is as documented,
 * pins without an owner are named. Whatever the machine can do, a report is
 * made.
 */
#include <sys/stat.h>

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
