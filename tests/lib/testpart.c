// SPDX-License-Identifier: Apache-2.0
/* See testpart.h. */
#include "testpart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/blkpg.h>

static int blkpg(const char *disk, int op, uint64_t start, uint64_t size)
{
	struct blkpg_partition part = {
		.start = (long long)start,
		.length = (long long)size,
		.pno = 1,
	};
	struct blkpg_ioctl_arg arg = {
		.op = op, .datalen = sizeof(part), .data = &part,
	};
	int fd = open(disk, O_RDONLY | O_CLOEXEC), tries, r = -EBUSY;

	if (fd < 0)
		return -errno;
	/* Something that looks at a new one holds it for a moment. */
	for (tries = 0; r == -EBUSY && tries < 500; tries++) {
		r = ioctl(fd, BLKPG, &arg) < 0 ? -errno : 0;
		if (r == -EBUSY)
			(void)usleep(10000);
	}
	(void)close(fd);
	return r;
}

int testpart_add(const char *disk, uint64_t start_bytes, uint64_t size_bytes)
{
	return blkpg(disk, BLKPG_ADD_PARTITION, start_bytes, size_bytes);
}

int testpart_remove(const char *disk)
{
	return blkpg(disk, BLKPG_DEL_PARTITION, 0, 0);
}

int testpart_node(const char *disk, char path[80])
{
	const char *name = strrchr(disk, '/') + 1;
	const size_t len = strlen(name);
	unsigned int major, minor;
	char sys[256];
	struct stat st;
	FILE *f;
	int n;

	(void)snprintf(path, 80, "/dev/%s%s1", name,
		       len && name[len - 1] >= '0' && name[len - 1] <= '9' ?
		       "p" : "");
	(void)snprintf(sys, sizeof(sys), "/sys/class/block/%s/dev", path + 5);
	f = fopen(sys, "re");
	if (!f)
		return -errno;
	n = fscanf(f, "%u:%u", &major, &minor);
	(void)fclose(f);
	if (n != 2)
		return -EIO;
	if (stat(path, &st) == 0 && st.st_rdev == makedev(major, minor))
		return 0;
	(void)unlink(path);
	return mknod(path, S_IFBLK | 0600, makedev(major, minor)) ? -errno : 0;
}
