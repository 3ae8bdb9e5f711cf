// SPDX-License-Identifier: Apache-2.0
/*
 * `remove`: a volume is forgotten, at a source or at a replica. Wants the
 * volume's name twice; the daemon checks that.
 */
#include <stdio.h>

#include "client.h"
#include "output.h"

struct remove_args {
	const char *yes;
	bool discard_key;
};

const struct opt remove_opts[] = {
	{ "--yes", OPT_TEXT, offsetof(struct remove_args, yes), "NAME",
	  "the volume's name again" },
	{ "--discard-key", OPT_FLAG, offsetof(struct remove_args, discard_key),
	  NULL, "although nobody else has its key" },
	{ 0 },
};

static int show(const json_t *result)
{
	const char *volume = output_text(result, "volume");
	const json_t *points = json_object_get(result, "points");
	int n;

	if (json_is_integer(points))
		return printf("%s: removed, with %lld points\n", volume,
			      (long long)json_integer_value(points)) < 0;
	n = printf("%s: removed from this host; its points at the replica stay "
		   "until they are removed there\n", volume);
	if (n >= 0 && !json_is_true(json_object_get(result, "key_saved")))
		n = printf("its key is gone: nobody was known to have it\n");
	return n < 0;
}

int cmd_remove(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct remove_args *a = o;
	struct client_request rq = {
		.verb = "remove",
		.args = json_pack("{s:s,s:s*,s:b}", "volume", args[0], "yes",
				  a->yes, "discard_key", a->discard_key),
		.patience_ms = CLIENT_LONG_PATIENCE_MS,
	};
	struct client_reply reply;
	int ret;

	(void)n_args;
	if (client_call(ctl, &rq, &reply) < 0)
		ret = client_failure(ctl, &reply);
	else
		ret = ctl->json ? output_json(reply.result) :
				  show(reply.result);
	client_reply_free(&reply);
	return ret;
}
