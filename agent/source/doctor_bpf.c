// SPDX-License-Identifier: Apache-2.0
/*
 * Can the tracker's programs run here? First what can be said with a reason
 * (type information, the shape of the tracepoints), then the proof: the very
 * programs of this build are loaded and attached, with no device to follow,
 * and released.
 *
 * Any thread. Nothing is pinned; all of it ends with the function.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "source/doctor_checks.h"

#include "tracker.skel.h"

#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"
#define JIT_SWITCH "/proc/sys/net/core/bpf_jit_enable"

static void free_btfp(struct btf **btf)
{
	btf__free(*btf);
}

static void free_skelp(struct tracker_bpf **skel)
{
	if (*skel)
		tracker_bpf__destroy(*skel);
}

/* Arguments of a tracepoint, or negative errno. */
static int tracepoint_args(const struct btf *btf, const char *name)
{
	const struct btf_type *t;
	char type_name[96];
	int id;

	(void)snprintf(type_name, sizeof(type_name), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, type_name, BTF_KIND_TYPEDEF);
	if (id < 0)
		return id;
	t = btf__type_by_id(btf, (__u32)id);
	t = t ? btf__type_by_id(btf, t->type) : NULL;
	if (!t || !btf_is_ptr(t))
		return -EBADMSG;
	t = btf__type_by_id(btf, t->type);
	if (!t || !btf_is_func_proto(t) || !btf_vlen(t))
		return -EBADMSG;
	/* The first is what the tracepoint was registered with. */
	return btf_vlen(t) - 1;
}

static void check_tracepoint(struct doctor_report *r, const struct btf *btf,
			     const char *name, int expected)
{
	int n = tracepoint_args(btf, name);

	if (n == expected)
		doctor_add(r, DOCTOR_OK, name, NULL,
			   "tracepoint with %d arguments, as expected", n);
	else if (n < 0)
		doctor_add(r, DOCTOR_FAIL, name,
			   "use a kernel with CONFIG_BLOCK and CONFIG_"
			   "TRACEPOINTS from 5.17 on",
			   "the kernel has no such tracepoint (%s)",
			   strerrordesc_np(-n));
	else
		doctor_add(r, DOCTOR_FAIL, name,
			   "use a kernel from 5.17 on",
			   "the tracepoint has %d arguments, expected are %d",
			   n, expected);
}

/* Of what the programs call, the newest helper. */
static void check_helper(struct doctor_report *r, const struct btf *btf,
			 const char *name, const char *since)
{
	int id = btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM);
	const struct btf_type *t = id < 0 ? NULL :
				   btf__type_by_id(btf, (__u32)id);
	const struct btf_enum *e = t ? btf_enum(t) : NULL;
	int i;

	/* Kernels need not describe them: the load below decides. */
	if (!t)
		return;
	for (i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, e[i].name_off), name))
			return;
	doctor_add(r, DOCTOR_FAIL, "bpf-helpers", "use a kernel from 5.17 on",
		   "the kernel lacks %s, which came with %s", name, since);
}

static void check_btf(struct doctor_report *r)
{
	_cleanup_(free_btfp) struct btf *btf = btf__parse(VMLINUX_BTF, NULL);

	if (!btf) {
		doctor_add(r, DOCTOR_FAIL, "btf",
			   "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
			   "%s: %s", VMLINUX_BTF, strerrordesc_np(errno));
		return;
	}
	doctor_add(r, DOCTOR_OK, "btf", NULL, "%u types in %s",
		   btf__type_cnt(btf), VMLINUX_BTF);
	check_tracepoint(r, btf, "block_rq_issue", 1);
	check_tracepoint(r, btf, "block_rq_complete", 3);
	check_tracepoint(r, btf, "block_bio_queue", 1);
	check_tracepoint(r, btf, "block_bio_complete", 2);
	check_helper(r, btf, "BPF_FUNC_loop", "5.17");
}

/* libbpf tells its story line by line; its first complaint is the reason. */
static __thread char complaint[256];

static int note_complaint(enum libbpf_print_level level, const char *fmt,
			  va_list ap) __attribute__((format(printf, 2, 0)));

static int note_complaint(enum libbpf_print_level level, const char *fmt,
			  va_list ap)
{
	size_t n;

	if (level != LIBBPF_WARN || complaint[0])
		return 0;
	(void)vsnprintf(complaint, sizeof(complaint), fmt, ap);
	n = strcspn(complaint, "\n");
	complaint[n] = 0;
	return 0;
}

static const char *load_remedy(int res)
{
	switch (-res) {
	case EPERM:
	case EACCES:
		return geteuid() ? "run this as root" :
				   "allow bpf(2) to this process (container, "
				   "seccomp, security module)";
	case ENOMEM:
	case EAGAIN:
		return "raise the memory limit of this process's cgroup";
	default:
		return "use a kernel from 5.17 on, built with BPF, BTF and "
		       "tracepoints";
	}
}

static int load_and_attach(void)
{
	_cleanup_(free_skelp) struct tracker_bpf *skel = tracker_bpf__open();
	int res;

	if (!skel)
		return -errno;
	res = tracker_bpf__load(skel);
	return res < 0 ? res : tracker_bpf__attach(skel);
}

static void check_load(struct doctor_report *r)
{
	libbpf_print_fn_t before;
	int res;

	complaint[0] = 0;
	before = libbpf_set_print(note_complaint);
	res = load_and_attach();
	(void)libbpf_set_print(before);
	if (res == 0)
		doctor_add(r, DOCTOR_OK, "bpf-load", NULL,
			   "the tracker's programs load and attach");
	else
		doctor_add(r, DOCTOR_FAIL, "bpf-load", load_remedy(res),
			   "the tracker's programs do not load: %s%s%s",
			   strerrordesc_np(-res),
			   complaint[0] ? ": " : "", complaint);
}

/* The file may be unreadable or absent: then the JIT is always on. */
static void check_jit(struct doctor_report *r)
{
	_cleanup_fclose_ FILE *f = fopen(JIT_SWITCH, "re");
	int value;

	if (!f || fscanf(f, "%d", &value) != 1 || value)
		return;
	doctor_add(r, DOCTOR_WARN, "bpf-jit",
		   "sysctl -w net.core.bpf_jit_enable=1",
		   "BPF programs are interpreted: each write costs more");
}

void doctor_check_bpf(struct doctor_report *r)
{
	check_btf(r);
	check_load(r);
	check_jit(r);
}
