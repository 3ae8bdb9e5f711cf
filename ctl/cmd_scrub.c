// SPDX-License-Identifier: Apache-2.0
/* `scrub`: everything that is stored of a volume is read and checked. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "client.h"
#include "output.h"
#include "progress.h"

/* Restores and sessions go on meanwhile; a disk is faster than this. */
#define DEFAULT_BYTES_PER_S (64ULL << 20)

struct scrub_opts_read {
	const char *key, *rate;
};

const struct opt scrub_opts[] = {
	{ "--key", OPT_TEXT, offsetof(struct scrub_opts_read, key), "FILE",
	  "an exported key: seals are checked, too" },
	{ "--rate", OPT_TEXT, offsetof(struct scrub_opts_read, rate), "RATE",
	  "at most this fast, 64MiB/s by default; none: no limit" },
	{ 0 },
};

static int show(const json_t *r)
{
	char size[24];

	size_format(output_number(r, "read_bytes"), size);
	(void)printf("%s: %llu points, %s in %llu segments: no damage\n",
		     output_text(r, "volume"),
		     output_number(r, "points"), size,
		     output_number(r, "segments"));
	if (json_is_true(json_object_get(r, "with_key")))
		(void)printf("checksums, and the seals of %llu units\n",
			     output_number(r, "opened_units"));
	else
		(void)printf("checksums; seals were not checked, which takes "
			     "the key: --key FILE\n");
	return 0;
}

static void show_findings(const json_t *error)
{
	const json_t *list = json_object_get(error, "findings"), *f;
	size_t i;

	json_array_foreach(list, i, f)
		(void)fprintf(stderr,
			      "damaged: %s, segment %s offset=%llu bytes=%llu: "
			      "points %llu to %llu, volume offset=%llu "
			      "length=%llu\n",
			      output_text(f, "what"), output_text(f, "segment"),
			      output_number(f, "segment_offset"),
			      output_number(f, "segment_bytes"),
			      output_number(f, "first_seq"),
			      output_number(f, "last_seq"),
			      output_number(f, "offset_bytes"),
			      output_number(f, "length_bytes"));
	if (json_is_true(json_object_get(error, "truncated")))
		(void)fprintf(stderr, "... and more\n");
}

static int read_rate(const char *text, uint64_t *out, struct err *err)
{
	*out = DEFAULT_BYTES_PER_S;
	if (!text)
		return 0;
	*out = 0;
	if (!strcmp(text, "none"))
		return 0;
	if (rate_parse(text, out) == 0 && *out)
		return 0;
	err_set(err, -EINVAL, "usage", text, "is no rate");
	return err_remedy(err, "write it like 64MiB/s, or none");
}

static int call(struct ctl *ctl, const char *volume, uint64_t rate, int key_fd)
{
	struct progress progress;
	struct client_request rq = {
		.verb = "scrub",
		.fds = &key_fd,
		.n_fds = key_fd >= 0,
		.progress = progress_body,
		.arg = &progress,
		.patience_ms = CLIENT_PATIENCE_MS,
		.catch_signals = true,
	};
	struct client_reply reply;
	int ret;

	rq.args = json_pack("{s:s,s:I,s:b}", "volume", volume, "bytes_per_s",
			    (json_int_t)rate, "has_key", key_fd >= 0);
	progress_init(&progress, ctl, "scrub");
	ret = client_call(ctl, &rq, &reply);
	progress_end(&progress);
	if (ret < 0) {
		if (!ctl->json)
			show_findings(reply.error);
		ret = client_failure(ctl, &reply);
	} else {
		ret = ctl->json ? output_json(reply.result) :
				  show(reply.result);
	}
	client_reply_free(&reply);
	return ret;
}

int cmd_scrub(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct scrub_opts_read *opts = o;
	_cleanup_close_ int fd = -1;
	struct err err = ERR_INIT;
	uint64_t rate;

	(void)n_args;
	if (read_rate(opts->rate, &rate, &err) < 0) {
		(void)output_failure(ctl->json, &err);
		return CTL_EXIT_USAGE;
	}
	if (opts->key) {
		fd = open(opts->key, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			err_sys(&err, -errno, "bad-key-file", opts->key,
				"open");
			return output_failure(ctl->json, &err);
		}
	}
	return call(ctl, args[0], rate, fd);
}
