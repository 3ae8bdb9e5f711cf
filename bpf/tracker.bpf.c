// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The tracker: marks which blocks of protected volumes may have been written.
 *
 * One program per tracepoint, since a program that nests in itself on a CPU
 * is skipped by the kernel:
 *   on_issue_0       a request is about to reach the driver: a write may begin
 *   on_complete_0    the driver is done with it
 *   on_bio_queue_0   the same two, of devices that take bios
 *   on_bio_complete_0
 *   ..._1, ..._2     attached beside them where the kernel lets a task interrupt
 *                    a program: what comes then is seen by the next one
 *                    (tracker_pair.bpf.h)
 *
 * Invariants (the proof is in docs/consistency.md):
 *  1. The first program exchanges the in-flight slot (a full barrier), then
 *     sets leaf bits, then summary bits, then reads the flip count again and
 *     marks once more when it moved. Nothing of this may be reordered.
 *  2. A bit may be left alone only when that very bit is set already.
 *  3. A slot found live at reuse means a completion went unseen. Its range is
 *     marked again: a precaution, since the slot kept it carried until now.
 *  4. A completion whose slot is not live is that of an issue nobody saw: it
 *     is marked, or a write under way when tracking began would be lost.
 *  5. Nothing is dropped in silence: whatever cannot be marked exactly is
 *     counted, and the daemon acts on the counter before the next point.
 *  6. To do all of this twice for one write changes nothing.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tracker_abi.h"
#include "tracker_compat.bpf.h"
#include "tracker_maps.bpf.h"
#include "tracker_pair.bpf.h"
#include "tracker_mark.bpf.h"
#include "passthrough.bpf.h"
#include "tracker_request.bpf.h"
#include "tracker_bio.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int issue(struct request *rq, __u32 copy)
{
	if (is_seen(US_HOOK_ISSUE, copy, (__u64)rq))
		return 0;
	request_issued(rq);
	leave_stamp(US_HOOK_ISSUE, copy, (__u64)rq);
	return 0;
}

static __always_inline int complete(struct request *rq, int error,
				    unsigned int nr_bytes, __u32 copy)
{
	if (is_seen(US_HOOK_COMPLETE, copy, (__u64)rq))
		return 0;
	request_done(rq, error, nr_bytes);
	leave_stamp(US_HOOK_COMPLETE, copy, (__u64)rq);
	return 0;
}

static __always_inline int bio_queue(struct bio *bio, __u32 copy)
{
	if (is_seen(US_HOOK_BIO_QUEUE, copy, (__u64)bio))
		return 0;
	bio_queued(bio, copy != 0);
	leave_stamp(US_HOOK_BIO_QUEUE, copy, (__u64)bio);
	return 0;
}

static __always_inline int bio_complete(struct bio *bio, __u32 copy)
{
	if (is_seen(US_HOOK_BIO_COMPLETE, copy, (__u64)bio))
		return 0;
	bio_done(bio);
	leave_stamp(US_HOOK_BIO_COMPLETE, copy, (__u64)bio);
	return 0;
}

#define COPY(n)                                                              \
	SEC("tp_btf/block_rq_issue")                                         \
	int BPF_PROG(on_issue_##n, struct request *rq)                       \
	{                                                                    \
		return issue(rq, n);                                         \
	}                                                                    \
									     \
	SEC("tp_btf/block_rq_complete")                                      \
	int BPF_PROG(on_complete_##n, struct request *rq, int error,         \
		     unsigned int nr_bytes)                                  \
	{                                                                    \
		return complete(rq, error, nr_bytes, n);                     \
	}                                                                    \
									     \
	SEC("tp_btf/block_bio_queue")                                        \
	int BPF_PROG(on_bio_queue_##n, struct bio *bio)                      \
	{                                                                    \
		return bio_queue(bio, n);                                    \
	}                                                                    \
									     \
	SEC("tp_btf/block_bio_complete")                                     \
	int BPF_PROG(on_bio_complete_##n, struct request_queue *q,           \
		     struct bio *bio)                                        \
	{                                                                    \
		return bio_complete(bio, n);                                 \
	}

COPY(0)
COPY(1)
COPY(2)
