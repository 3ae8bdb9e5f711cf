// SPDX-License-Identifier: Apache-2.0
/*
 * Pins: where the tracker's maps and links live while no daemon holds them.
 * Any thread. What is pinned survives the process and ends with the boot.
 */
#include "tracker/tracker_pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/log.h"

#define PIN_PREFIX "understudy-"

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

int pins_mount(const char *bpffs, struct err *err)
{
	if (is_bpffs(bpffs))
		return 0;
	if (mount("bpf", bpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=0700")) {
		err_sys(err, -errno, "no-bpffs", bpffs, "mount bpf filesystem");
		return err_remedy(err, "mount -t bpf bpf %s", bpffs);
	}
	log_info("%s: mounted a bpf filesystem, there was none", bpffs);
	return 0;
}

void pins_dir(const char *bpffs, const struct uuid *node, char *dir)
{
	char text[UUID_TEXT_SIZE];

	uuid_format(node, text);
	(void)snprintf(dir, PINS_PATH_MAX, "%s/" PIN_PREFIX "%s", bpffs, text);
}

int pins_make_dir(const char *bpffs, const struct uuid *node, char *dir,
		  struct err *err)
{
	pins_dir(bpffs, node, dir);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_sys(err, -errno, "no-bpffs", dir, "create");
	return 0;
}

void pins_path(const char *dir, const char *name, char out[PINS_PATH_MAX])
{
	(void)snprintf(out, PINS_PATH_MAX, "%s/%s", dir, name);
}

void pins_volume_path(const char *dir, const char *what,
		      const struct uuid *volume, char out[PINS_PATH_MAX])
{
	char text[UUID_TEXT_SIZE];

	uuid_format(volume, text);
	(void)snprintf(out, PINS_PATH_MAX, "%s/%s-%s", dir, what, text);
}

bool pins_exist(const char *dir, const char *name)
{
	char path[PINS_PATH_MAX];

	pins_path(dir, name, path);
	return !access(path, F_OK);
}

int pins_get(const char *dir, const char *name)
{
	char path[PINS_PATH_MAX];
	int fd;

	pins_path(dir, name, path);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* (bpffs refuses names with a dot.) */
int pins_put(const char *dir, const char *name, int fd)
{
	char path[PINS_PATH_MAX], fresh[PINS_PATH_MAX + 8];

	pins_path(dir, name, path);
	(void)snprintf(fresh, sizeof(fresh), "%s_new", path);
	(void)unlink(fresh);
	if (bpf_obj_pin(fd, fresh))
		return -errno;
	if (rename(fresh, path)) {
		int r = -errno;

		(void)unlink(fresh);
		return r;
	}
	return 0;
}

int pins_remove(const char *dir, const char *name)
{
	char path[PINS_PATH_MAX];

	pins_path(dir, name, path);
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

int pins_remove_all(const char *dir, struct err *err)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	int r;

	if (!d)
		return errno == ENOENT ? -ENOENT
				       : err_sys(err, -errno, "pins", dir, "open");
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		r = pins_remove(dir, e->d_name);
		if (r)
			return err_sys(err, r, "pins", dir, "unpin %s",
				       e->d_name);
	}
	if (rmdir(dir))
		return err_sys(err, -errno, "pins", dir, "remove directory");
	return 0;
}
