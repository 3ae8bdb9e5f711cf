// SPDX-License-Identifier: Apache-2.0
/*
 * What the machine must offer besides BPF. Versions are only reported or
 * warned about; what a kernel can do is tried.
 *
 * Any thread; no state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/capability.h>

#include <liburing.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/units.h"
#include "source/doctor_checks.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)
/* Bitmaps, a reader's buffers and the daemon itself, for one volume. */
#define MEMORY_ENOUGH_BYTES ((uint64_t)512 << 20)
#define MEMORY_LEAST_BYTES ((uint64_t)128 << 20)

/* Whole text file, or NULL. */
static char *read_text(const char *path)
{
	char *text = NULL;
	size_t len;

	if (io_read_file(io_posix(), AT_FDCWD, path, FILE_BYTES_MAX, &text,
			 &len) < 0)
		return NULL;
	return text;
}

static void check_kernel(struct doctor_report *r)
{
	struct utsname u;
	unsigned int major = 0;

	if (uname(&u) < 0) {
		doctor_add(r, DOCTOR_WARN, "kernel", NULL,
			   "the kernel does not say its version");
		return;
	}
	(void)sscanf(u.release, "%u", &major);
	if (major >= 7)
		doctor_add(r, DOCTOR_WARN, "kernel",
			   "watch `status`: a skipped program is counted, and "
			   "its cut is not committed",
			   "Linux %s on %s: from 7.0 on tracing programs can "
			   "be preempted, so runs of them may be skipped",
			   u.release, u.machine);
	else
		doctor_add(r, DOCTOR_OK, "kernel", NULL, "Linux %s on %s",
			   u.release, u.machine);
}

/* "CapEff:\t000001ffffffffff" */
static uint64_t effective_capabilities(void)
{
	_cleanup_free_ char *text = read_text("/proc/self/status");
	const char *line = text ? strstr(text, "CapEff:") : NULL;

	return line ? strtoull(line + strlen("CapEff:"), NULL, 16) : 0;
}

static void check_privileges(struct doctor_report *r)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} needed[] = {
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },	/* bpffs, devices */
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON, "CAP_PERFMON" },
	};
	const uint64_t have = effective_capabilities();
	char missing[96] = "";
	size_t i, len = 0;

	for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!(have >> needed[i].bit & 1))
			len += (size_t)snprintf(missing + len,
						sizeof(missing) - len, " %s",
						needed[i].name);
	if (len)
		doctor_add(r, DOCTOR_FAIL, "privileges", "run this as root",
			   "lacking:%s", missing);
	else
		doctor_add(r, DOCTOR_OK, "privileges", NULL,
			   "all that are needed");
}

/* "none [integrity] confidentiality" */
static void check_lockdown(struct doctor_report *r)
{
	_cleanup_free_ char *text = read_text("/sys/kernel/security/lockdown");

	if (!text)
		doctor_add(r, DOCTOR_OK, "lockdown", NULL,
			   "the kernel does not report one");
	else if (strstr(text, "[confidentiality]"))
		doctor_add(r, DOCTOR_FAIL, "lockdown",
			   "boot with lockdown=integrity, or without",
			   "the kernel is locked down for confidentiality: "
			   "tracing programs may not read its memory");
	else
		doctor_add(r, DOCTOR_OK, "lockdown", NULL, "%s",
			   strstr(text, "[integrity]") ?
				   "integrity, which allows tracing" : "none");
}

static void check_uring(struct doctor_report *r)
{
	struct io_uring ring;
	int res;

	res = io_uring_queue_init(2, &ring, 0);
	if (res == 0) {
		io_uring_queue_exit(&ring);
		doctor_add(r, DOCTOR_OK, "io-uring", NULL, "available");
		return;
	}
	doctor_add(r, DOCTOR_WARN, "io-uring",
		   res == -EPERM ? "sysctl -w kernel.io_uring_disabled=0" :
				   "use a kernel with CONFIG_IO_URING",
		   "not to be had (%s): blocks are read one after the other",
		   strerrordesc_np(-res));
}

static void check_memory(struct doctor_report *r)
{
	_cleanup_free_ char *text = read_text("/proc/meminfo");
	const char *line = text ? strstr(text, "MemAvailable:") : NULL;
	enum doctor_level level = DOCTOR_OK;
	uint64_t bytes;
	char amount[24];

	if (!line) {
		doctor_add(r, DOCTOR_WARN, "memory", NULL,
			   "the kernel does not say how much is available");
		return;
	}
	bytes = strtoull(line + strlen("MemAvailable:"), NULL, 10) << 10;
	if (bytes < MEMORY_LEAST_BYTES)
		level = DOCTOR_FAIL;
	else if (bytes < MEMORY_ENOUGH_BYTES)
		level = DOCTOR_WARN;
	size_format(bytes, amount);
	doctor_add(r, level, "memory",
		   level == DOCTOR_OK ? NULL :
			   "free some memory, or set tracker-memory lower",
		   "%s available", amount);
}

void doctor_check_host(struct doctor_report *r)
{
	check_kernel(r);
	check_privileges(r);
	check_lockdown(r);
	check_uring(r);
	check_memory(r);
}
