// SPDX-License-Identifier: Apache-2.0
/*
 * What an administrator, or another program, may do to a tracker that runs:
 *
 *	tamper unlist DIR	no disk names a volume any more
 *	tamper blind DIR	the first volume's entry is out of use, and named
 *	tamper sighted DIR	and as it was again
 *	tamper unmap DIR	the volumes' words are gone
 *	tamper skip DIR N	as if the kernel had skipped N issues
 *	tamper full DIR		the next request finds no slot
 *	tamper medium DEV FILE	LOOP_CHANGE_FD: another file below a loop device
 *
 * DIR is where the tracker's maps are pinned.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/loop.h>

#include <bpf/bpf.h>

#include "tracker_abi.h"

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int pin(const char *dir, const char *name)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return bpf_obj_get(path);
}

static void *table(const char *dir, const char *name, size_t bytes)
{
	int fd = pin(dir, name);
	void *p;

	if (fd < 0)
		return NULL;
	bytes = (bytes + 4095) & ~(size_t)4095;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int unlist(const char *dir)
{
	int fd = pin(dir, "disks");
	uint64_t key;
	int n = 0;

	while (fd >= 0 && !bpf_map_get_next_key(fd, NULL, &key)) {
		if (bpf_map_delete_elem(fd, &key))
			return fail("disks");
		n++;
	}
	return n ? 0 : fail("disks");
}

static int tamper_volumes(const char *what, const char *dir, uint64_t n)
{
	struct us_volume *v =
		table(dir, "volumes", sizeof(*v) * US_MAX_VOLUMES);
	struct us_seen *seen = table(dir, "seen", sizeof(*seen) * US_MAX_VOLUMES);
	int pages = pin(dir, "pages");
	uint32_t i;

	if (!v || !seen || pages < 0)
		return fail(dir);
	for (i = 0; i < US_MAX_VOLUMES; i++) {
		if (!v[i].used)
			continue;
		if (!strcmp(what, "skip"))
			seen[i].unseen[US_HOOK_ISSUE] -= n;
		else if (!strcmp(what, "full"))
			v[i].n_tags = 0;
		else if (bpf_map_delete_elem(pages, &i))
			return fail("pages");
	}
	return 0;
}

static int set_used(const char *dir, uint32_t used)
{
	struct us_volume *v =
		table(dir, "volumes", sizeof(*v) * US_MAX_VOLUMES);

	if (!v)
		return fail(dir);
	__atomic_store_n(&v[0].used, used, __ATOMIC_SEQ_CST);
	return 0;
}

static int change_medium(const char *dev, const char *file)
{
	int loop = open(dev, O_RDONLY | O_CLOEXEC);
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (loop < 0 || fd < 0 || ioctl(loop, LOOP_CHANGE_FD, fd))
		return fail(dev);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "medium"))
		return change_medium(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "unlist"))
		return unlist(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "skip"))
		return tamper_volumes(argv[1], argv[2],
				      strtoull(argv[3], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "blind"))
		return set_used(argv[2], 0);
	if (argc == 3 && !strcmp(argv[1], "sighted"))
		return set_used(argv[2], 1);
	if (argc == 3 && (!strcmp(argv[1], "unmap") ||
			  !strcmp(argv[1], "full")))
		return tamper_volumes(argv[1], argv[2], 0);
	(void)fprintf(stderr, "see the opening comment\n");
	return 2;
}
