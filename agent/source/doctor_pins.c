// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF file system, and what daemons have pinned in it. A pin directory
 * whose state directory is gone, or belongs to another node by now, goes on
 * tracking for nobody: it is named with the command that ends it.
 *
 * Any thread; nothing is removed here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <bpf/bpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "source/doctor_checks.h"
#include "tracker_abi.h"

#define BPFFS "/sys/fs/bpf"
#define PIN_PREFIX "understudy-"
/* A host with more of them has one trouble, not many. */
#define ORPHANS_SHOWN 16U

static int read_pin_owner(void *arg, const char *pin_dir,
			  struct doctor_pin *out)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info map = { 0 };
	__u32 zero = 0, len = sizeof(map);
	struct us_info info;
	char path[512];

	(void)arg;
	if (snprintf(path, sizeof(path), "%s/info", pin_dir) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &map, &len) < 0)
		return -errno;
	/* The kernel copies as much as the map says. */
	if (map.value_size != sizeof(info) || map.key_size != sizeof(zero))
		return -EPROTO;
	if (bpf_map_lookup_elem(fd, &zero, &info) < 0)
		return -errno;
	if (info.layout != US_TRACKER_LAYOUT)
		return -EPROTO;
	(void)snprintf(out->state_dir, sizeof(out->state_dir), "%.*s",
		       (int)sizeof(info.state_dir) - 1, info.state_dir);
	memcpy(out->node.b, info.node, sizeof(out->node.b));
	return 0;
}

/* What the pinned array of volumes says. */
static int read_tracked(void *arg, const char *pin_dir,
			struct doctor_tracked out[DOCTOR_TRACKED_MAX])
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info map = { 0 };
	__u32 i, len = sizeof(map);
	struct us_volume v;
	char path[512];
	int n = 0;

	(void)arg;
	if (snprintf(path, sizeof(path), "%s/volumes", pin_dir) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &map, &len) < 0)
		return -errno;
	if (map.value_size != sizeof(v) || map.key_size != sizeof(i))
		return -EPROTO;
	for (i = 0; i < map.max_entries && n < DOCTOR_TRACKED_MAX; i++) {
		if (bpf_map_lookup_elem(fd, &i, &v) < 0 || !v.used)
			continue;
		out[n].range = (struct blkdev_range){
			.disk = { (uint32_t)(v.disk_key >> 32),
				  (uint32_t)v.disk_key },
			.start_sector = v.start_sector,
			.n_sectors = v.n_sectors,
		};
		memcpy(out[n++].volume.b, v.uuid, sizeof(v.uuid));
	}
	return n;
}

/* The node that a state directory belongs to: its file "node". */
static int read_state_node(void *arg, const char *state_dir, struct uuid *out)
{
	_cleanup_free_ char *text = NULL;
	char path[600];
	size_t len;
	int r;

	(void)arg;
	(void)snprintf(path, sizeof(path), "%s/node", state_dir);
	r = io_read_file(io_posix(), AT_FDCWD, path, 128, &text, &len);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = 0;
	return uuid_parse(text, out);
}

/* Why nobody will come back for these pins; empty: somebody may. */
static void find_orphan_reason(const struct doctor_env *env,
			       const struct doctor_pin *pin, char reason[640])
{
	struct uuid node = { 0 };
	int r;

	r = (env->state_node ? env->state_node : read_state_node)(
		env->arg, pin->state_dir, &node);

	reason[0] = 0;
	if (r == -ENOENT || r == -ENOTDIR)
		(void)snprintf(reason, 640, "its state directory %s is gone",
			       pin->state_dir);
	else if (r == 0 && !uuid_equal(&node, &pin->node))
		(void)snprintf(reason, 640,
			       "its state directory %s belongs to another "
			       "node now", pin->state_dir);
}

struct pins {
	struct doctor_report *report;
	const struct doctor_env *env;
	const char *bpffs;
	unsigned int n_owned, n_orphans;
};

static void add_orphan(struct pins *p, const char *dir, const char *reason)
{
	char remedy[256];

	if (p->n_orphans++ >= ORPHANS_SHOWN)
		return;
	/* A path that does not fit is not cut: it would name another. */
	if (snprintf(remedy, sizeof(remedy), "rm -r %s", dir) >=
	    (int)sizeof(remedy))
		strcpy(remedy, "remove that directory");
	doctor_add(p->report, DOCTOR_WARN, "orphaned-pins", remedy,
		   "%s still tracks for nobody: %s", dir, reason);
}

static bool is_pin_dir(const char *name)
{
	struct uuid node;

	return !strncmp(name, PIN_PREFIX, strlen(PIN_PREFIX)) &&
	       !uuid_parse(name + strlen(PIN_PREFIX), &node);
}

/* Who may remove a pinned link ends the tracking. */
static void check_mode(struct pins *p, const char *dir)
{
	char remedy[256];
	struct stat st;

	if (stat(dir, &st) < 0 || (!(st.st_mode & 077) &&
				   (!st.st_uid || st.st_uid == geteuid())))
		return;
	if (snprintf(remedy, sizeof(remedy),
		     "chown root:root %s; chmod 0700 %s", dir, dir) >=
	    (int)sizeof(remedy))
		strcpy(remedy, "make that directory root's, with mode 0700");
	doctor_add(p->report, DOCTOR_WARN, "pins-open", remedy,
		   "%s has mode %04o and belongs to user %u: others could end "
		   "the tracking", dir, (unsigned int)st.st_mode & 07777,
		   (unsigned int)st.st_uid);
}

static int check_pin_dir(void *arg, const char *name)
{
	struct pins *p = arg;
	struct doctor_pin pin = { 0 };
	char dir[512], reason[640];
	int r;

	if (!is_pin_dir(name))
		return 0;
	(void)snprintf(dir, sizeof(dir), "%s/%s", p->bpffs, name);
	check_mode(p, dir);
	r = (p->env->pin_owner ? p->env->pin_owner : read_pin_owner)(
		p->env->arg, dir, &pin);
	if (r == -EPERM || r == -EACCES) {
		doctor_add(p->report, DOCTOR_WARN, "pins", "run this as root",
			   "%s cannot be read", dir);
		return 0;
	}
	if (r == -ENOENT) {
		add_orphan(p, dir, "it has no info map");
		return 0;
	}
	if (r < 0) {
		doctor_add(p->report, DOCTOR_WARN, "pins",
			   "start understudyd of that version, or remove them",
			   "%s was pinned by another version (%s)", dir,
			   strerrordesc_np(-r));
		return 0;
	}
	find_orphan_reason(p->env, &pin, reason);
	if (reason[0])
		add_orphan(p, dir, reason);
	else
		p->n_owned++;
	return 0;
}

static bool has_file_system(const char *proc, const char *type)
{
	_cleanup_free_ char *text = doctor_read(proc, "filesystems");
	char *line, *rest = text, *name;

	if (!text)
		return false;
	while ((line = strsep(&rest, "\n"))) {
		name = strrchr(line, '\t');
		if (name && !strcmp(name + 1, type))
			return true;
	}
	return false;
}

/* True when it is mounted. */
static bool check_bpffs(struct doctor_report *r, const struct doctor_env *env,
			const char *bpffs)
{
	const char *proc = doctor_roots(env)->proc;
	struct statfs fs;
	int res = statfs(bpffs, &fs) ? -errno : 0;

	if (!res && (unsigned long)fs.f_type == BPF_FS_MAGIC) {
		if (fs.f_flags & ST_RDONLY)
			doctor_add(r, DOCTOR_FAIL, "bpffs",
				   "mount -o remount,rw " BPFFS,
				   "%s is mounted read-only: nothing can be "
				   "pinned", bpffs);
		else
			doctor_add(r, DOCTOR_OK, "bpffs", NULL,
				   "mounted on %s", bpffs);
		return true;
	}
	if (has_file_system(proc, "bpf") && res)
		doctor_add(r, DOCTOR_FAIL, "bpffs",
			   "mount sysfs on /sys, and let this process see it",
			   "%s, where it is to be mounted: %s", bpffs,
			   strerrordesc_np(-res));
	else if (has_file_system(proc, "bpf"))
		doctor_add(r, DOCTOR_OK, "bpffs", NULL,
			   "not mounted yet; the daemon mounts it on %s",
			   bpffs);
	else
		doctor_add(r, DOCTOR_FAIL, "bpffs",
			   "use a kernel with CONFIG_BPF_SYSCALL",
			   "the kernel has no BPF file system: tracking would "
			   "end with the daemon");
	return false;
}

void doctor_check_pins(struct doctor_report *r, const struct doctor_env *env)
{
	struct pins p = { .report = r, .env = env };
	struct io *io = io_posix();
	int res;

	p.bpffs = env->bpffs ? env->bpffs : BPFFS;
	/* A test's own directory need not be one. */
	if (!check_bpffs(r, env, p.bpffs) && !env->bpffs)
		return;
	res = io->ops->listdir(io, AT_FDCWD, p.bpffs, check_pin_dir, &p);
	if (res < 0) {
		doctor_add(r, DOCTOR_WARN, "pins",
			   res == -EACCES ? "run this as root" : NULL,
			   "%s cannot be listed: %s", p.bpffs,
			   strerrordesc_np(-res));
		return;
	}
	if (p.n_orphans > ORPHANS_SHOWN)
		doctor_add(r, DOCTOR_WARN, "orphaned-pins", NULL,
			   "and %u more", p.n_orphans - ORPHANS_SHOWN);
	else if (!p.n_orphans)
		doctor_add(r, DOCTOR_OK, "pins", NULL,
			   "%u daemon%s pinned here, none orphaned",
			   p.n_owned, p.n_owned == 1 ? "" : "s");
}

struct each {
	const struct doctor_env *env;
	int (*cb)(void *arg, const char *pin_dir,
		  const struct doctor_tracked *t);
	void *arg;
};

static int each_of(void *arg, const char *name)
{
	struct doctor_tracked all[DOCTOR_TRACKED_MAX];
	const struct each *e = arg;
	const struct doctor_env *env = e->env;
	char dir[512];
	int i, n, r = 0;

	if (!is_pin_dir(name))
		return 0;
	(void)snprintf(dir, sizeof(dir), "%s/%s",
		       env->bpffs ? env->bpffs : BPFFS, name);
	n = (env->tracked ? env->tracked : read_tracked)(env->arg, dir, all);
	for (i = 0; i < n && !r; i++)
		r = e->cb(e->arg, dir, &all[i]);
	return r;
}

int doctor_each_tracked(const struct doctor_env *env,
			int (*cb)(void *arg, const char *pin_dir,
				  const struct doctor_tracked *t), void *arg)
{
	struct each e = { env, cb, arg };
	struct io *io = io_posix();

	return io->ops->listdir(io, AT_FDCWD, env->bpffs ? env->bpffs : BPFFS,
				each_of, &e);
}
