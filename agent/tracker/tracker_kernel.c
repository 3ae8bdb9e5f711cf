// SPDX-License-Identifier: Apache-2.0
/*
 * What the tracker has to know of the kernel it runs on, from its BTF. Any
 * thread; nothing is kept.
 */
#include <string.h>

#include <bpf/btf.h>

#include "base/cleanup.h"
#include "tracker/tracker_host_internal.h"

static void free_btfp(struct btf **btf)
{
	btf__free(*btf);
}

/* The value of an enumerator, wherever it is; def when there is none. */
static uint32_t enumerator(const struct btf *btf, const char *name,
			   uint32_t def)
{
	uint32_t i, n = btf__type_cnt(btf);
	uint16_t e;

	for (i = 1; i < n; i++) {
		const struct btf_type *t = btf__type_by_id(btf, i);
		const struct btf_enum *values;

		if (!btf_is_enum(t))
			continue;
		values = btf_enum(t);
		for (e = 0; e < btf_vlen(t); e++)
			if (!strcmp(btf__name_by_offset(btf,
							values[e].name_off),
				    name))
				return (uint32_t)values[e].val;
	}
	return def;
}

/*
 * Since tracepoints call programs under the fast kind of SRCU (7.0), a program
 * of theirs can be interrupted, and is skipped for whoever comes meanwhile.
 * The function came one version before: on that one the further copies are for
 * nothing.
 */
void hooks_learn_kernel(struct kernel_ways *out)
{
	_cleanup_(free_btfp) struct btf *btf = btf__load_vmlinux_btf();

	*out = (struct kernel_ways){ .trace_flag_bit = 64 };
	if (!btf)
		return;
	out->trace_flag_bit = enumerator(btf, "BIO_TRACE_COMPLETION", 64);
	out->interrupts_programs =
		btf__find_by_name_kind(btf, "init_srcu_struct_fast",
				       BTF_KIND_FUNC) > 0 ||
		btf__find_by_name_kind(btf, "__init_srcu_struct_fast",
				       BTF_KIND_FUNC) > 0;
}
