/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOURCE_DOCTOR_CHECKS_H
#define SOURCE_DOCTOR_CHECKS_H

#include "base/err.h"
#include "source/doctor.h"

/* Inside of doctor*: the checks, each of which adds its lines to the report. */

/* One line. remedy may be NULL. A full report counts it and keeps no text. */
void doctor_add(struct doctor_report *r, enum doctor_level level,
		const char *name, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* A recorded failure as a line. */
void doctor_add_err(struct doctor_report *r, enum doctor_level level,
		    const char *name, const struct err *err);

/* Kernel, privileges, lockdown, io_uring, memory. */
void doctor_check_host(struct doctor_report *r, const struct doctor_env *env);
/* Of the host, and of the memory cgroups that this process is in. */
void doctor_check_memory(struct doctor_report *r, const struct doctor_env *env);
/* Content of root/name, the caller's; NULL when it cannot be read. */
char *doctor_read(const char *root, const char *name);
/* BTF, tracepoints, the programs themselves. */
void doctor_check_bpf(struct doctor_report *r);
/* The BPF file system and who pinned what in it. */
void doctor_check_pins(struct doctor_report *r, const struct doctor_env *env);
/* Thaws what a killed daemon left frozen. */
void doctor_check_holds(struct doctor_report *r);
void doctor_check_device(struct doctor_report *r, const char *path,
			 const struct doctor_env *env);
/* Of a device that is open: what else stands in the way, or should be known. */
void doctor_check_caveats(struct doctor_report *r, const struct blkdev *dev,
			  const struct doctor_env *env);

/* Everything that any daemon's pinned programs follow; stops at cb's non-zero
 * and returns that. pin_dir: the directory. */
int doctor_each_tracked(const struct doctor_env *env,
			int (*cb)(void *arg, const char *pin_dir,
				  const struct doctor_tracked *t), void *arg);

static inline const struct blkdev_roots *
doctor_roots(const struct doctor_env *env)
{
	return env->roots ? env->roots : &blkdev_host;
}

#endif
