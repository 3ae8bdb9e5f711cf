// SPDX-License-Identifier: Apache-2.0
/* `doctor`: looks at the host, and at a device; asks no daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "output.h"
#include "places.h"
#include "source/doctor.h"

static void print_check(const struct doctor_check *c)
{
	(void)printf("%-4s  %-16s %s\n", doctor_level_name(c->level), c->name,
		     c->text);
	if (*c->remedy)
		(void)printf("      %-16s -> %s\n", "", c->remedy);
}

static void print_report(const struct doctor_report *r)
{
	unsigned int i;

	for (i = 0; i < r->n_checks; i++)
		print_check(&r->checks[i]);
	(void)printf("\n%s%s: ", *r->device ? r->device : "this host",
		     *r->device ? " on this host" : "");
	if (r->n_fail)
		(void)printf("cannot be tracked (%u obstacles, %u warnings)\n",
			     r->n_fail, r->n_warn);
	else
		(void)printf("can be tracked (%u warnings)\n", r->n_warn);
}

static int report(const struct ctl *ctl, const struct doctor_report *r)
{
	json_t *j;
	int ret = CTL_EXIT_FAILED;

	if (!ctl->json) {
		print_report(r);
		ret = CTL_EXIT_DONE;
	} else {
		j = doctor_to_json(r);
		if (j)
			ret = output_json(j);
		json_decref(j);
	}
	return r->n_fail ? CTL_EXIT_FAILED : ret;
}

int cmd_doctor(struct ctl *ctl, void *o, char **args, int n_args)
{
	_cleanup_free_ struct doctor_report *r = calloc(1, sizeof(*r));
	struct err err = ERR_INIT, unread = ERR_INIT;
	struct doctor_env env = { 0 };
	struct places places;
	int ret;

	(void)o;
	/* Without a configuration there is no state yet. */
	if (!places_find(ctl, &places, &unread))
		env.state_dir = places.state;
	if (!r)
		ret = -ENOMEM;
	else
		ret = doctor_run_env(n_args ? args[0] : NULL, &env, r);
	if (ret < 0) {
		err_sys(&err, ret, "failed", "doctor", "look at this host");
		return output_failure(ctl->json, &err);
	}
	return report(ctl, r);
}
