/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_DOCTOR_H
#define SOURCE_DOCTOR_H

#include <stdbool.h>

#include <jansson.h>

#include "base/uuid.h"
#include "device/blkdev_sysfs.h"

/*
 * Can this host track, and can it track this device? Needs no daemon and
 * changes nothing: the programs are loaded, attached without any device to
 * follow, and released; the device is opened and its two ends are read.
 */
#define DOCTOR_CHECKS_MAX 48

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor_check {
	char name[40];			/* stable slug: "kernel", "bpf-load" */
	enum doctor_level level;
	char text[384];			/* what was found */
	char remedy[256];		/* empty when there is nothing to do */
};

struct doctor_report {
	char device[512];		/* as asked for; empty: host only */
	struct doctor_check checks[DOCTOR_CHECKS_MAX];
	unsigned int n_checks;
	unsigned int n_warn, n_fail;	/* tracking is possible: n_fail == 0 */
};

/* What a pin directory says of its owner, from its info map. */
struct doctor_pin {
	char state_dir[512];
	struct uuid node;
};

/* A stretch of a disk that some daemon's programs follow. */
struct doctor_tracked {
	struct blkdev_range range;
	struct uuid volume;
};
#define DOCTOR_TRACKED_MAX 256

/* Where a test puts something else; NULL members mean the real thing. */
struct doctor_env {
	const char *bpffs;		/* /sys/fs/bpf */
	const struct blkdev_roots *roots;
	const char *cgroup;		/* /sys/fs/cgroup */
	/* Of the daemon that would protect the device; NULL: not known. */
	const char *state_dir;
	/* Who owns a pin directory (absolute path)? 0 or negative errno. */
	int (*pin_owner)(void *arg, const char *pin_dir,
			 struct doctor_pin *out);
	/* What a pin directory's programs follow: how many, or negative. */
	int (*tracked)(void *arg, const char *pin_dir,
		       struct doctor_tracked out[DOCTOR_TRACKED_MAX]);
	/* The node id kept in a state directory. 0; -ENOENT: none there. */
	int (*state_node)(void *arg, const char *state_dir, struct uuid *out);
	void *arg;
};

/*
 * Runs every check that applies; device may be NULL. 0 when the report is
 * complete, whatever it says; negative errno when it could not be made.
 */
int doctor_run(const char *device_or_null, struct doctor_report *out);
/* The same, elsewhere. env may be NULL. */
int doctor_run_env(const char *device_or_null, const struct doctor_env *env,
		   struct doctor_report *out);
/* "ok", "warn", "fail" */
const char *doctor_level_name(enum doctor_level level);
/*
 * {"format":1,"device",...,"ok","checks":[{"name","result","text","remedy"}]};
 * device and remedy are null when empty. NULL when memory is out; the caller
 * owns it.
 */
json_t *doctor_to_json(const struct doctor_report *r);

#endif
