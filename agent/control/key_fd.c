// SPDX-License-Identifier: Apache-2.0
/*
 * Key text in and out of a descriptor. Only regular files: a pipe whose other
 * end does not move would hold up whoever writes. Any thread.
 */
#include "control/key_fd.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/io.h"

#define KEY_OBJECT "key file"

static int check_fd(int fd, struct err *err)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -EBADF, "bad-argument", KEY_OBJECT,
			       "no descriptor came with the request");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "bad-key-file", KEY_OBJECT,
			       "is not a regular file");
	return 0;
}

int key_fd_read(int fd, struct key_file *out, struct err *err)
{
	struct io *io = io_posix();
	char text[KEY_TEXT_MAX];
	uint64_t size;
	int ret = check_fd(fd, err);

	if (ret < 0)
		return ret;
	ret = io->ops->size(io, fd, &size);
	if (!ret && size > sizeof(text))
		return err_set(err, -EFBIG, "bad-key-file", KEY_OBJECT,
			       "is too large to be an exported key");
	if (!ret)
		ret = io_pread_all(io, fd, text, (size_t)size, 0);
	if (ret < 0)
		return err_sys(err, ret, "bad-key-file", KEY_OBJECT, "read");
	ret = volume_key_from_text(text, (size_t)size, &out->key, out->name,
				   &out->volume, err);
	OPENSSL_cleanse(text, sizeof(text));
	return ret;
}

int key_fd_write(int fd, const struct volume_key *key, const char *name,
		 const struct uuid *volume, struct err *err)
{
	struct io *io = io_posix();
	char text[KEY_TEXT_MAX];
	int n, ret = check_fd(fd, err);

	if (ret < 0)
		return ret;
	n = volume_key_to_text(key, name, volume, text, sizeof(text));
	if (n < 0)
		return err_sys(err, n, "no-key", KEY_OBJECT, "make its text");
	ret = io->ops->ftruncate(io, fd, 0);
	if (!ret)
		ret = io_pwrite_all(io, fd, text, (size_t)n, 0);
	OPENSSL_cleanse(text, sizeof(text));
	if (!ret)
		ret = io->ops->fsync(io, fd);
	return ret < 0 ? err_sys(err, ret, "bad-key-file", KEY_OBJECT,
				 "write") :
			 0;
}
