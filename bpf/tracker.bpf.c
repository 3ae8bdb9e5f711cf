// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The tracker: marks which blocks of protected volumes may have been written.
 *
 * One program per tracepoint, since a program that nests in itself on a CPU
 * is skipped by the kernel:
 *   on_issue         a request is about to reach the driver: a write may begin
 *   on_complete      the driver is done with it
 *   on_bio_queue     the same two, of devices that take bios
 *   on_bio_complete
 *   on_issue_again, on_bio_queue_again
 *                    attached where the kernel lets a task interrupt the first
 *                    program: what comes then is seen by the second
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
#include "tracker_mark.bpf.h"
#include "passthrough.bpf.h"
#include "tracker_request.bpf.h"
#include "tracker_bio.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *rq)
{
	return request_issued(rq, 0);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue_again, struct request *rq)
{
	return request_issued(rq, 1);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *rq, int error, unsigned int nr_bytes)
{
	return request_done(rq, error, nr_bytes);
}

SEC("tp_btf/block_bio_queue")
int BPF_PROG(on_bio_queue, struct bio *bio)
{
	return bio_queued(bio, 0);
}

SEC("tp_btf/block_bio_queue")
int BPF_PROG(on_bio_queue_again, struct bio *bio)
{
	return bio_queued(bio, 1);
}

SEC("tp_btf/block_bio_complete")
int BPF_PROG(on_bio_complete, struct request_queue *q, struct bio *bio)
{
	return bio_done(bio);
}
