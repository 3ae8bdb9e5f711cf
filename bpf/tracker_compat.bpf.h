/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_TRACKER_COMPAT_H
#define BPF_TRACKER_COMPAT_H

/*
 * Kernel differences, one function each, found out by BTF at load time and
 * never by version number.
 */

/* 5.17, commit f3fa33acca9f "block: remove the ->rq_disk field in struct
 * request": the disk is reached through the queue (q->disk is there since
 * 5.15). NULL for queues without a disk, such as an NVMe admin queue. */
struct request___rq_disk {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *request_disk(struct request *rq)
{
	struct request___rq_disk *old = (void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return old->rq_disk;
	return rq->q->disk;
}

/* Operation codes that have been stable since before 5.15; a data-changing
 * operation has an odd code. From DRV_IN up they are passthrough commands,
 * whose direction says nothing about what they do. */
#define OP_MASK 0xffU
#define OP_READ 0U
#define OP_DISCARD 3U
#define OP_SECURE_ERASE 5U
#define OP_DRV_IN 34U

static __always_inline __u32 request_op(struct request *rq)
{
	return rq->cmd_flags & OP_MASK;
}

static __always_inline bool op_is_discard(__u32 op)
{
	return op == OP_DISCARD || op == OP_SECURE_ERASE;
}

static __always_inline bool op_modifies(__u32 op)
{
	return op & 1;
}

#endif
