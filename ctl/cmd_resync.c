// SPDX-License-Identifier: Apache-2.0
/*
 * `resync`: accepts a device as it is, and compares everything. Wants the
 * volume's name twice; the daemon checks that.
 */
#include <stdio.h>

#include "client.h"
#include "output.h"

struct resync_args {
	const char *replica, *yes;
};

const struct opt resync_opts[] = {
	{ "--replica", OPT_TEXT, offsetof(struct resync_args, replica),
	  "REPLICA", "the replica to compare with" },
	{ "--yes", OPT_TEXT, offsetof(struct resync_args, yes), "NAME",
	  "the volume's name again" },
	{ 0 },
};

int cmd_resync(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct resync_args *a = o;
	json_t *result;
	int ret;

	(void)n_args;
	result = client_result(ctl, "resync",
			       json_pack("{s:s,s:s*,s:s*}", "volume", args[0],
					 "replica", a->replica, "yes", a->yes),
			       &ret);
	if (!result)
		return ret;
	if (ctl->json)
		ret = output_json(result);
	else
		(void)printf("%s: everything is compared; `understudyctl "
			     "status` shows how far it is\n",
			     output_text(result, "volume"));
	json_decref(result);
	return ret;
}
