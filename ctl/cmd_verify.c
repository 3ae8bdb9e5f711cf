// SPDX-License-Identifier: Apache-2.0
/* `verify`: the device against the replica's newest point. */
#include <stdio.h>

#include "base/units.h"
#include "client.h"
#include "output.h"
#include "progress.h"

static int show(const json_t *r)
{
	uint64_t in_points = output_number(r, "in_points_bytes");
	char size[24], part[24];

	size_format(output_number(r, "compared_bytes"), size);
	(void)printf("%s: %s compared with points %llu to %llu: no difference\n",
		     output_text(r, "volume"), size,
		     output_number(r, "first_seq"),
		     output_number(r, "last_seq"));
	if (in_points) {
		size_format(in_points, part);
		(void)printf("%s of it was written all the time, and was "
			     "compared as part of a point\n", part);
	}
	(void)printf("fingerprints of the device, and at the replica the "
		     "checksums of what is stored\n");
	return 0;
}

static void show_differences(const json_t *error)
{
	const json_t *list = json_object_get(error, "differences"), *d;
	size_t i;

	json_array_foreach(list, i, d)
		(void)fprintf(stderr, "differs: offset=%llu length=%llu (%s), "
				      "point %llu\n",
			      output_number(d, "offset_bytes"),
			      output_number(d, "length_bytes"),
			      output_text(d, "what"),
			      output_number(d, "seq"));
	if (json_is_true(json_object_get(error, "truncated")))
		(void)fprintf(stderr, "... and more\n");
}

int cmd_verify(struct ctl *ctl, void *o, char **args, int n_args)
{
	struct progress progress;
	struct client_request rq = {
		.verb = "verify",
		.progress = progress_body,
		.arg = &progress,
		.patience_ms = CLIENT_PATIENCE_MS,
		.catch_signals = true,
	};
	struct client_reply reply;
	int ret;

	(void)o;
	(void)n_args;
	rq.args = json_pack("{s:s}", "volume", args[0]);
	progress_init(&progress, ctl, "verify");
	ret = client_call(ctl, &rq, &reply);
	progress_end(&progress);
	if (ret < 0) {
		if (!ctl->json)
			show_differences(reply.error);
		ret = client_failure(ctl, &reply);
	} else {
		ret = ctl->json ? output_json(reply.result) :
				  show(reply.result);
	}
	client_reply_free(&reply);
	return ret;
}
