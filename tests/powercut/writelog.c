// SPDX-License-Identifier: Apache-2.0
/*
 * nbdkit plugin: a disk in memory that writes down what is done to it.
 *
 *	nbdkit writelog.so size=64M log=FILE
 *
 * The log has a record for each write and each flush, in the order in which
 * they were answered, appended before the answer: what the log's length is
 * when a flush has returned, everything before it was asked to be durable.
 *
 * Record: 4 magic "wlog", 4 type (1 write, 2 flush), 8 offset, 8 length, all
 * little endian; then the bytes of a write.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

struct record {
	char magic[4];
	uint32_t type;
	uint64_t off, len;
};

static int64_t size;
static char *log_path;
static int log_fd = -1, disk_fd = -1;

static int writelog_config(const char *key, const char *value)
{
	if (!strcmp(key, "size")) {
		size = nbdkit_parse_size(value);
		return size < 0 ? -1 : 0;
	}
	if (!strcmp(key, "log")) {
		log_path = nbdkit_absolute_path(value);
		return log_path ? 0 : -1;
	}
	nbdkit_error("no such parameter: %s", key);
	return -1;
}

static int writelog_config_complete(void)
{
	if (size && log_path)
		return 0;
	nbdkit_error("size= and log= are needed");
	return -1;
}

static int writelog_get_ready(void)
{
	log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND |
				O_CLOEXEC, 0600);
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	if (log_fd >= 0 && disk_fd >= 0 && ftruncate(disk_fd, size) == 0)
		return 0;
	nbdkit_error("%s: %m", log_path);
	return -1;
}

static void writelog_unload(void)
{
	if (log_fd >= 0)
		(void)close(log_fd);
	if (disk_fd >= 0)
		(void)close(disk_fd);
	free(log_path);
}

static void *writelog_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t writelog_get_size(void *h)
{
	(void)h;
	return size;
}

static int yes(void *h)
{
	(void)h;
	return 1;
}

static int note(uint32_t type, const void *p, uint32_t n, uint64_t off)
{
	struct record r = { "", type, off, n };
	struct iovec iov[2] = {
		{ &r, sizeof(r) },
		{ (void *)p, n },
	};
	ssize_t want = (ssize_t)(sizeof(r) + n);

	memcpy(r.magic, "wlog", sizeof(r.magic));
	if (writev(log_fd, iov, n ? 2 : 1) == want)
		return 0;
	nbdkit_error("%s: %m", log_path);
	nbdkit_set_error(EIO);
	return -1;
}

static int writelog_pread(void *h, void *p, uint32_t n, uint64_t off,
			  uint32_t flags)
{
	(void)h;
	(void)flags;
	if (pread(disk_fd, p, n, (off_t)off) == (ssize_t)n)
		return 0;
	nbdkit_set_error(EIO);
	return -1;
}

static int writelog_pwrite(void *h, const void *p, uint32_t n, uint64_t off,
			   uint32_t flags)
{
	(void)h;
	(void)flags;
	if (pwrite(disk_fd, p, n, (off_t)off) != (ssize_t)n) {
		nbdkit_set_error(EIO);
		return -1;
	}
	return note(1, p, n, off);
}

static int writelog_flush(void *h, uint32_t flags)
{
	(void)h;
	(void)flags;
	return note(2, NULL, 0, 0);
}

static struct nbdkit_plugin plugin = {
	.name = "writelog",
	.config = writelog_config,
	.config_complete = writelog_config_complete,
	.get_ready = writelog_get_ready,
	.unload = writelog_unload,
	.open = writelog_open,
	.get_size = writelog_get_size,
	.can_multi_conn = yes,
	.can_flush = yes,
	.pread = writelog_pread,
	.pwrite = writelog_pwrite,
	.flush = writelog_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
