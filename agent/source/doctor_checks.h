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
void doctor_check_host(struct doctor_report *r);
/* BTF, tracepoints, the programs themselves. */
void doctor_check_bpf(struct doctor_report *r);
/* The BPF file system and who pinned what in it. */
void doctor_check_pins(struct doctor_report *r, const struct doctor_env *env);
void doctor_check_device(struct doctor_report *r, const char *path);

#endif
