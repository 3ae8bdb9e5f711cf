// SPDX-License-Identifier: Apache-2.0
/*
 * Of a device that could be tracked: what would make its points incomplete or
 * of no use, and what whoever protects it should know. Each with its remedy.
 *
 * Any thread; only sysfs, proc and pins are looked at.
 */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "source/doctor_checks.h"

struct caveats {
	struct doctor_report *report;
	const struct blkdev *dev;
	const struct doctor_env *env;
	const struct blkdev_roots *roots;
	struct blkdev_range range;
};

/* An attribute of the disk; or what it is when there is none. */
static uint64_t disk_value(const struct caveats *c, const char *name,
			   uint64_t otherwise)
{
	const struct devno no = { c->dev->disk_major, c->dev->disk_minor };
	_cleanup_close_ int fd = sysfs_open_dev(c->roots, no);
	uint64_t v;

	return fd >= 0 && !sysfs_u64(fd, name, &v) ? v : otherwise;
}

static void check_disk(const struct caveats *c)
{
	char remedy[160];

	if (c->dev->read_only)
		doctor_add(c->report, DOCTOR_OK, "read-only", NULL,
			   "it is read-only now; writes are followed when it "
			   "is not any more");
	if (disk_value(c, "removable", 0))
		doctor_add(c->report, DOCTOR_WARN, "removable",
			   "put the data on a disk that stays",
			   "its medium can be removed: another one is refused, "
			   "and the same one is compared when it is back");
	(void)snprintf(remedy, sizeof(remedy),
		       "echo 1 > /sys/block/%s/queue/iostats",
		       c->dev->disk_name);
	if (!disk_value(c, "queue/iostats", 1))
		doctor_add(c->report, DOCTOR_WARN, "iostats", remedy,
			   "the kernel does not count its writes: a write that "
			   "was under way when tracking began, and one that "
			   "the tracker misses, cannot be told by them");
}

/* "rw,dax" or "rw,dax=always"; dax=never and dax=inode are others. */
static bool says_dax(const char *options)
{
	const char *at = options;

	while ((at = strstr(at, "dax"))) {
		const char *end = at + strcspn(at, ",");
		bool begins = at == options || at[-1] == ',';
		size_t n = (size_t)(end - at);

		if (begins && (n == 3 || (n == 10 &&
					  !strncmp(at, "dax=always", 10))))
			return true;
		at = end;
	}
	return false;
}

static int check_mount(void *arg, const struct mount_entry *m)
{
	const struct caveats *c = arg;
	struct blkdev_range range;

	if (!says_dax(m->super_options) ||
	    blkdev_get_range(c->roots, m->no, &range) ||
	    !blkdev_range_overlaps(&range, &c->range))
		return 0;
	doctor_add(c->report, DOCTOR_FAIL, "dax-mount",
		   "mount it without the option dax",
		   "it is mounted on %s with direct access (DAX): memory is "
		   "written without any request", m->point);
	return 1;
}

static void check_swap(const struct caveats *c)
{
	_cleanup_free_ char *text = doctor_read(c->roots->proc, "swaps");
	char *line, *rest = text;

	while (text && (line = strsep(&rest, "\n"))) {
		size_t n = strcspn(line, " \t");

		line[n] = 0;
		if (!n || (strcmp(line, c->dev->path) &&
			   strcmp(line, c->dev->real_path)))
			continue;
		doctor_add(c->report, DOCTOR_WARN, "swap",
			   "leave swap out: nobody needs it after a disaster",
			   "it is swap space: every page that is written out is "
			   "shipped, secrets in it too");
		return;
	}
}

static void check_state(const struct caveats *c)
{
	if (c->env->state_dir &&
	    blkdev_range_holds(c->roots, &c->range, c->env->state_dir) == 1)
		doctor_add(c->report, DOCTOR_WARN, "state-on-volume",
			   "put `state` on another filesystem",
			   "the daemon's state %s lies on it: each point makes "
			   "the next one necessary", c->env->state_dir);
}

/* ---- what is tracked already ---- */

static void find_dir(const char *file, char out[512])
{
	char *slash;

	(void)snprintf(out, 512, "%s", file);
	slash = strrchr(out, '/');
	if (slash && slash != out)
		*slash = 0;
}

static int check_tracked(void *arg, const char *pin_dir,
			 const struct doctor_tracked *t)
{
	const struct caveats *c = arg;
	char volume[UUID_TEXT_SIZE], dir[512];

	uuid_format(&t->volume, volume);
	if (blkdev_range_overlaps(&t->range, &c->range)) {
		doctor_add(c->report, DOCTOR_OK, "tracked", NULL,
			   "%s follows it already, as volume %s", pin_dir,
			   volume);
		return 0;
	}
	if (!c->dev->id.backing_file[0])
		return 0;
	find_dir(c->dev->id.backing_file, dir);
	if (blkdev_range_holds(c->roots, &t->range, dir) == 1)
		doctor_add(c->report, DOCTOR_WARN, "loop-on-volume",
			   "protect one of the two",
			   "%s lies on what is tracked as volume %s: each write "
			   "would be shipped twice", c->dev->id.backing_file,
			   volume);
	return 0;
}

void doctor_check_caveats(struct doctor_report *r, const struct blkdev *dev,
			  const struct doctor_env *env)
{
	struct caveats c = {
		.report = r, .dev = dev, .env = env,
		.roots = doctor_roots(env),
		.range = {
			.disk = { dev->disk_major, dev->disk_minor },
			.start_sector = dev->start_sector,
			.n_sectors = dev->n_sectors,
		},
	};

	check_disk(&c);
	(void)mounts_each(c.roots, check_mount, &c);
	check_swap(&c);
	check_state(&c);
	(void)doctor_each_tracked(env, check_tracked, &c);
}
