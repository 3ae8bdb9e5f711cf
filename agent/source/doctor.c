// SPDX-License-Identifier: Apache-2.0
/*
 * The report of an examination: lines, their counts, their JSON. The checks
 * themselves are in doctor_host.c, doctor_memory.c, doctor_bpf.c,
 * doctor_pins.c, doctor_holds.c, doctor_device.c and doctor_caveats.c.
 *
 * Any thread; a report belongs to its caller.
 */
#include "source/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "source/doctor_checks.h"

static const char *const level_names[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_WARN] = "warn",
	[DOCTOR_FAIL] = "fail",
};

const char *doctor_level_name(enum doctor_level level)
{
	return (size_t)level < ARRAY_SIZE(level_names) ? level_names[level] :
							 "unknown";
}

void doctor_add(struct doctor_report *r, enum doctor_level level,
		const char *name, const char *remedy, const char *fmt, ...)
{
	struct doctor_check *c;
	va_list ap;

	r->n_fail += level == DOCTOR_FAIL;
	r->n_warn += level == DOCTOR_WARN;
	if (r->n_checks >= DOCTOR_CHECKS_MAX)
		return;
	c = &r->checks[r->n_checks++];
	c->level = level;
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	(void)snprintf(c->remedy, sizeof(c->remedy), "%s",
		       remedy ? remedy : "");
	va_start(ap, fmt);
	(void)vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
}

void doctor_add_err(struct doctor_report *r, enum doctor_level level,
		    const char *name, const struct err *err)
{
	doctor_add(r, level, name, err->remedy, "%s", err->message);
}

int doctor_run_env(const char *device_or_null, const struct doctor_env *env,
		   struct doctor_report *out)
{
	static const struct doctor_env real = { 0 };

	memset(out, 0, sizeof(*out));
	if (device_or_null) {
		if (strlen(device_or_null) >= sizeof(out->device))
			return -ENAMETOOLONG;
		strcpy(out->device, device_or_null);
	}
	env = env ? env : &real;
	doctor_check_host(out, env);
	doctor_check_bpf(out);
	doctor_check_pins(out, env);
	doctor_check_holds(out);
	if (device_or_null)
		doctor_check_device(out, device_or_null, env);
	return 0;
}

int doctor_run(const char *device_or_null, struct doctor_report *out)
{
	return doctor_run_env(device_or_null, NULL, out);
}

static json_t *text_or_null(const char *s)
{
	return *s ? json_string(s) : json_null();
}

json_t *doctor_to_json(const struct doctor_report *r)
{
	json_t *checks = json_array(), *root;
	unsigned int i;

	for (i = 0; i < r->n_checks; i++) {
		const struct doctor_check *c = &r->checks[i];

		/* Jansson frees what it is given also when it fails. */
		if (json_array_append_new(
			    checks,
			    json_pack("{s:s, s:s, s:s, s:o}", "name", c->name,
				      "result", doctor_level_name(c->level),
				      "text", c->text, "remedy",
				      text_or_null(c->remedy))) < 0) {
			json_decref(checks);
			return NULL;
		}
	}
	root = json_pack("{s:i, s:o, s:b, s:o}", "format", 1, "device",
			 text_or_null(r->device), "ok", r->n_fail == 0,
			 "checks", checks);
	return root;
}
