// SPDX-License-Identifier: Apache-2.0
/*
 * Finds out where drivers keep the command of a request, for the programs'
 * list of harmless ones (bpf/passthrough.bpf.h).
 *
 * The types are those of drivers that may be modules. libbpf would relocate
 * against a module's BTF for a process with CAP_SYS_ADMIN only; the same BTF
 * lies in sysfs for everybody. A driver's own structure follows the request
 * in memory.
 *
 * Any thread; no state.
 */
#include "tracker/tracker_commands.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "tracker/tracker_host.h"

#define BTF_DIR "/sys/kernel/btf"
#define OFFSET_MAX 65536U

static void freep_btf(struct btf **b)
{
	btf__free(*b);
}

/* Size in bytes of a structure, or 0. */
static uint32_t struct_bytes(const struct btf *b, const char *name)
{
	int id = btf__find_by_name_kind(b, name, BTF_KIND_STRUCT);

	return id < 0 ? 0 : btf__type_by_id(b, (uint32_t)id)->size;
}

static const struct btf_member *member_of(const struct btf *b,
					  const char *type, const char *name)
{
	int id = btf__find_by_name_kind(b, type, BTF_KIND_STRUCT);
	const struct btf_type *t;
	const struct btf_member *m;
	int i;

	if (id < 0)
		return NULL;
	t = btf__type_by_id(b, (uint32_t)id);
	m = btf_members(t);
	for (i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(b, m[i].name_off), name) &&
		    !btf_member_bitfield_size(t, (uint32_t)i) &&
		    !(btf_member_bit_offset(t, (uint32_t)i) % 8))
			return &m[i];
	return NULL;
}

/* Of a member of a driver's structure behind the request; 0: not known. */
static uint32_t offset_of(const struct btf *b, const char *type,
			  const char *name, bool *is_pointer)
{
	const struct btf_member *m = member_of(b, type, name);
	uint32_t request = struct_bytes(b, "request");
	const struct btf_type *t;
	uint64_t offset;
	int id;

	id = m ? btf__resolve_type(b, m->type) : -1;
	if (id < 0 || !request)
		return 0;
	t = btf__type_by_id(b, (uint32_t)id);
	*is_pointer = btf_is_ptr(t);
	/* Structures without bit fields, and those with, say it each in their
	 * way; the low bits are the offset in both. */
	offset = request + (uint64_t)BTF_MEMBER_BIT_OFFSET(m->offset) / 8;
	if (!*is_pointer && !btf_is_array(t))
		return 0;
	return offset < OFFSET_MAX ? (uint32_t)offset : 0;
}

/* The BTF of a driver: its own, over the kernel's, or in the kernel's. */
static struct btf *btf_of(struct btf *kernel, const char *module)
{
	char path[64];

	(void)snprintf(path, sizeof(path), BTF_DIR "/%s", module);
	if (access(path, R_OK))
		return NULL;
	return btf__parse_split(path, kernel);
}

uint32_t commands_drivers(void)
{
	static const char *const drivers[] = { "scsi_mod", "nvme_core" };
	uint32_t mask = 0, i;
	char path[64];

	for (i = 0; i < ARRAY_SIZE(drivers); i++) {
		(void)snprintf(path, sizeof(path), BTF_DIR "/%s", drivers[i]);
		mask |= (uint32_t)!access(path, R_OK) << i;
	}
	return mask;
}

bool commands_writes_pages(void)
{
	_cleanup_(freep_btf) struct btf *kernel =
		btf__parse(BTF_DIR "/vmlinux", NULL);

	/* Where that is not known, the tracker's programs do not load. */
	return kernel && member_of(kernel, "block_device_operations",
				   "rw_page") != NULL;
}

/*
 * Kernels before 6.3 write single pages to memory-like devices without a bio
 * (block_device_operations.rw_page): swap, and filesystems such as FAT.
 */
static bool is_written_by_pages(const struct blkdev *dev)
{
	return !dev->request_based &&
	       (!strcmp(dev->id.kind, "zram") || !strcmp(dev->id.kind, "brd") ||
		!strcmp(dev->id.kind, "pmem")) && commands_writes_pages();
}

int tracker_admit(const struct blkdev *dev, struct err *err)
{
	if (!is_written_by_pages(dev))
		return 0;
	err_set(err, -EOPNOTSUPP, "bio-based", dev->path, "cannot be tracked: "
		"this kernel writes pages to a %s device without a bio",
		dev->id.kind);
	return err_remedy(err, "use a kernel from 6.3 on");
}

void commands_locate(struct us_commands *out)
{
	_cleanup_(freep_btf) struct btf *kernel = NULL;
	_cleanup_(freep_btf) struct btf *scsi = NULL;
	_cleanup_(freep_btf) struct btf *nvme = NULL;
	bool is_pointer = false;

	memset(out, 0, sizeof(*out));
	kernel = btf__parse(BTF_DIR "/vmlinux", NULL);
	if (!kernel)
		return;
	scsi = btf_of(kernel, "scsi_mod");
	nvme = btf_of(kernel, "nvme_core");
	out->scsi_cdb = offset_of(scsi ? scsi : kernel, "scsi_cmnd", "cmnd",
				  &is_pointer);
	out->scsi_cdb_is_pointer = is_pointer;
	is_pointer = false;
	out->nvme_command = offset_of(nvme ? nvme : kernel, "nvme_request",
				      "cmd", &is_pointer);
	if (!is_pointer)
		out->nvme_command = 0;
}
