// SPDX-License-Identifier: Apache-2.0
/*
 * `key export`: the daemon writes the key's text into a file that is opened
 * here; only then is it told that the key is safe. `key import` hands it a file
 * opened here; `key rotate` has it make another generation.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "client.h"
#include "output.h"
#include "wire/seal.h"

struct key_args {
	const char *to;
};

const struct opt key_export_opts[] = {
	{ "--to", OPT_TEXT, offsetof(struct key_args, to), "FILE",
	  "a new file, instead of standard output" },
	{ 0 },
};

static int open_target(const char *to, struct err *err)
{
	int fd;

	if (!to) {
		fd = memfd_create("key", MFD_CLOEXEC);
		return fd < 0 ? err_sys(err, -errno, "failed", "key export",
					"make room for the key") :
				fd;
	}
	fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	err_sys(err, -errno, "bad-target", to, "create");
	if (err->num == -EEXIST)
		err_remedy(err, "name a file that does not exist");
	return err->num;
}

/* The name of a file that a daemon has made durable must be so, too. */
static int sync_name(const char *to)
{
	_cleanup_close_ int fd = -1;
	char dir[512];
	char *slash;

	if ((size_t)snprintf(dir, sizeof(dir), "%s", to) >= sizeof(dir))
		return -ENAMETOOLONG;
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int print_text(const struct ctl *ctl, int fd, const char *volume)
{
	_cleanup_free_ char *text = calloc(1, KEY_TEXT_MAX + 1);
	struct io *io = io_posix();
	int ret = CTL_EXIT_FAILED;
	uint64_t size;
	json_t *j;

	if (!text || io->ops->size(io, fd, &size) || size > KEY_TEXT_MAX ||
	    io_pread_all(io, fd, text, (size_t)size, 0))
		return ret;
	if (ctl->json) {
		j = json_pack("{s:s,s:s}", "volume", volume, "key", text);
		if (j)
			ret = output_json(j);
		json_decref(j);
	} else if (fputs(text, stdout) >= 0) {
		ret = CTL_EXIT_DONE;
	}
	OPENSSL_cleanse(text, KEY_TEXT_MAX);
	return fflush(stdout) ? CTL_EXIT_FAILED : ret;
}

static int print_path(const struct ctl *ctl, const char *to,
		      const char *volume)
{
	struct err err = ERR_INIT;
	json_t *j;
	int ret = sync_name(to);

	if (ret < 0) {
		err_sys(&err, ret, "failed", to, "make its name durable");
		return output_failure(ctl->json, &err);
	}
	if (!ctl->json)
		return printf("%s: key written to %s\n", volume, to) < 0;
	j = json_pack("{s:s,s:o}", "volume", volume, "to", ctl_text_json(to));
	ret = j ? output_json(j) : CTL_EXIT_FAILED;
	json_decref(j);
	return ret;
}

/* The daemon must not believe in a key that nobody has. */
static int confirm(struct ctl *ctl, const char *volume, const json_t *exported)
{
	json_int_t id = json_integer_value(json_object_get(exported, "id"));
	json_t *result;
	int ret;

	result = client_result(ctl, "key-exported",
			       json_pack("{s:s,s:I}", "volume", volume, "id",
					 id), &ret);
	json_decref(result);
	return ret;
}

int cmd_key_export(struct ctl *ctl, void *o, char **args, int n_args)
{
	const struct key_args *a = o;
	_cleanup_close_ int fd = -1;
	struct client_request rq = {
		.verb = "key-export",
		.fds = &fd,
		.n_fds = 1,
		.patience_ms = CLIENT_PATIENCE_MS,
	};
	struct client_reply reply;
	struct err err = ERR_INIT;
	int ret;

	(void)n_args;
	fd = open_target(a->to, &err);
	if (fd < 0)
		return output_failure(ctl->json, &err);
	rq.args = json_pack("{s:s}", "volume", args[0]);
	if (client_call(ctl, &rq, &reply) < 0) {
		if (a->to)
			(void)unlink(a->to);
		ret = client_failure(ctl, &reply);
	} else {
		ret = a->to ? print_path(ctl, a->to, args[0]) :
			      print_text(ctl, fd, args[0]);
		if (!ret)
			ret = confirm(ctl, args[0], reply.result);
	}
	client_reply_free(&reply);
	return ret;
}

/* ---- rotate ---- */

static int show_rotated(const json_t *result)
{
	const char *volume = output_text(result, "volume");

	(void)printf("%s: key of generation %lld: what is shipped from now on "
		     "is sealed with it, older points keep theirs\n", volume,
		     (long long)json_integer_value(
			     json_object_get(result, "id")));
	if (json_is_true(json_object_get(result, "escrow")))
		return 0;
	return printf("nobody else has it yet: understudyctl key export %s\n",
		      volume) < 0;
}

int cmd_key_rotate(struct ctl *ctl, void *o, char **args, int n_args)
{
	json_t *result;
	int ret;

	(void)o, (void)n_args;
	result = client_result(ctl, "key-rotate",
			       json_pack("{s:s}", "volume", args[0]), &ret);
	if (!result)
		return ret;
	ret = ctl->json ? output_json(result) : show_rotated(result);
	json_decref(result);
	return ret;
}

/* ---- import ---- */

static int show_imported(const json_t *result)
{
	const char *volume = output_text(result, "volume");
	long long lacks = json_integer_value(json_object_get(result, "lacks"));
	int ret;

	if (json_is_true(json_object_get(result, "changed")))
		ret = printf("%s: key imported, generation %lld\n", volume,
			     (long long)json_integer_value(
				     json_object_get(result, "id")));
	else
		ret = printf("%s: this key was here already\n", volume);
	if (lacks)
		ret = printf("it lacks generation %lld, which newer points "
			     "need\n", lacks);
	return ret < 0;
}

int cmd_key_import(struct ctl *ctl, void *o, char **args, int n_args)
{
	_cleanup_close_ int fd = -1;
	struct client_request rq = {
		.verb = "key-import",
		.fds = &fd,
		.n_fds = 1,
		.patience_ms = CLIENT_LONG_PATIENCE_MS,
	};
	struct client_reply reply;
	struct err err = ERR_INIT;
	int ret;

	(void)o, (void)n_args;
	fd = open(args[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(&err, -errno, "bad-key-file", args[1], "open");
		return output_failure(ctl->json, &err);
	}
	rq.args = json_pack("{s:s}", "volume", args[0]);
	if (client_call(ctl, &rq, &reply) < 0)
		ret = client_failure(ctl, &reply);
	else
		ret = ctl->json ? output_json(reply.result) :
				  show_imported(reply.result);
	client_reply_free(&reply);
	return ret;
}
