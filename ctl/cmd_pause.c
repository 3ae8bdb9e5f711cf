// SPDX-License-Identifier: Apache-2.0
/* `pause` and `resume`: of shipping; one volume, or all protected here. */
#include <stdio.h>

#include "client.h"
#include "output.h"

static int pause_or_resume(struct ctl *ctl, const char *verb, const char *done,
			   const char *volume)
{
	json_t *args = volume ? json_pack("{s:s}", "volume", volume) : NULL;
	json_t *result;
	const json_t *v;
	size_t i;
	int ret;

	result = client_result(ctl, verb, args, &ret);
	if (!result)
		return ret;
	if (ctl->json)
		ret = output_json(result);
	else
		json_array_foreach(json_object_get(result, "volumes"), i, v)
			(void)printf("%s: %s\n", json_string_value(v), done);
	json_decref(result);
	return ret;
}

int cmd_pause(struct ctl *ctl, void *o, char **args, int n_args)
{
	(void)o;
	return pause_or_resume(ctl, "pause", "paused; tracking goes on",
			       n_args ? args[0] : NULL);
}

int cmd_resume(struct ctl *ctl, void *o, char **args, int n_args)
{
	(void)o;
	return pause_or_resume(ctl, "resume", "resumed",
			       n_args ? args[0] : NULL);
}
