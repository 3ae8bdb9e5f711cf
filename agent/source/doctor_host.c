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
#include "source/doctor_checks.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)

/* Whole text file under a root, or NULL. */
char *doctor_read(const char *root, const char *name)
{
	char path[512], *text = NULL;
	size_t len;

	if (snprintf(path, sizeof(path), "%s/%s", root, name) >=
	    (int)sizeof(path))
		return NULL;

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
static uint64_t effective_capabilities(const char *proc)
{
	_cleanup_free_ char *text = doctor_read(proc, "self/status");
	const char *line = text ? strstr(text, "CapEff:") : NULL;

	return line ? strtoull(line + strlen("CapEff:"), NULL, 16) : 0;
}

static void check_privileges(struct doctor_report *r, const char *proc)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} needed[] = {
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },	/* bpffs, devices */
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON, "CAP_PERFMON" },
	};
	const uint64_t have = effective_capabilities(proc);
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
static void check_lockdown(struct doctor_report *r, const char *sys)
{
	_cleanup_free_ char *text = doctor_read(sys, "kernel/security/lockdown");

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

/* Capabilities of a user namespace of its own are none to bpf(2). */
static void check_namespace(struct doctor_report *r, const char *proc)
{
	_cleanup_free_ char *text = doctor_read(proc, "self/uid_map");
	unsigned long inside, outside, count;

	if (!text || sscanf(text, "%lu %lu %lu", &inside, &outside,
			    &count) != 3)
		return;
	if (inside || outside || count < UINT32_MAX)
		doctor_add(r, DOCTOR_FAIL, "user-namespace",
			   "run it in the host's user namespace, as a "
			   "privileged container does",
			   "this is a user namespace: its root may not load "
			   "tracing programs");
}

static int try_uring(void)
{
	struct io_uring ring;
	int res = io_uring_queue_init(2, &ring, 0);

	if (res == 0)
		io_uring_queue_exit(&ring);
	return res;
}

/* The daemon has given its capabilities up when it makes its rings: what root
 * may do here says nothing where only the privileged may. */
static void check_uring(struct doctor_report *r, const char *proc)
{
	_cleanup_free_ char *text = doctor_read(proc,
						"sys/kernel/io_uring_disabled");
	int off = text ? atoi(text) : 0, res = off ? 0 : try_uring();

	if (off)
		doctor_add(r, DOCTOR_WARN, "io-uring",
			   "sysctl -w kernel.io_uring_disabled=0",
			   "kernel.io_uring_disabled is %d: blocks are read one "
			   "after the other", off);
	else if (res)
		doctor_add(r, DOCTOR_WARN, "io-uring",
			   res == -EPERM ? "allow io_uring to this process "
					   "(container, seccomp, security "
					   "module)" :
					   "use a kernel with CONFIG_IO_URING",
			   "not to be had (%s): blocks are read one after the "
			   "other", strerrordesc_np(-res));
	else
		doctor_add(r, DOCTOR_OK, "io-uring", NULL, "available");
}

void doctor_check_host(struct doctor_report *r, const struct doctor_env *env)
{
	const struct blkdev_roots *roots = doctor_roots(env);

	check_kernel(r);
	check_privileges(r, roots->proc);
	check_namespace(r, roots->proc);
	check_lockdown(r, roots->sys);
	check_uring(r, roots->proc);
	doctor_check_memory(r, env);
}
