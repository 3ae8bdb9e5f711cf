/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_HUGERIG_H
#define TESTS_LIB_HUGERIG_H

#include <stdint.h>

#include "base/err.h"
#include "device/blkdev.h"
#include "loopdev.h"
#include "source/cut.h"
#include "source/reader.h"
#include "tracker/tracker_host.h"

#define HUGE_MIB (1ULL << 20)
#define HUGE_TIB (1ULL << 40)

/*
 * A volume of any size, sparse and in memory, tracked, with the cut engine on
 * top; nothing of it is read: what the engine reads is ready at once, and what
 * it stages is counted. One thread. Wants a bpffs of the process's own
 * (private_bpffs.h).
 */
struct hugerig {
	struct loopdev loop;
	struct blkdev dev;
	struct tracker_host *host;	/* borrowed: several may share one */
	struct uuid volume;
	struct tracker *tracker;
	struct reader reader;
	struct read_req reqs[READER_DEPTH];
	uint32_t free[READER_DEPTH], done[READER_DEPTH];
	uint32_t n_free, first_done, n_done;
	struct cut_sink sink;
	uint64_t staged_blocks;		/* of 4096 bytes */
	struct cut *cut;
	int fd;				/* for the test's writes */
};

/* The programs, for volumes of this process. 0 or negative errno. */
int hugerig_host(struct tracker_host **out, struct err *err);

/* Blocks of 1 << shift bytes. 0, or negative errno with err filled. */
int hugerig_open(struct hugerig *g, struct tracker_host *host,
		 uint64_t size_bytes, uint32_t shift, struct err *err);
void hugerig_close(struct hugerig *g);

/* The device only, not tracked. */
int hugerig_open_device(struct hugerig *g, uint64_t size_bytes,
			struct err *err);
/* The rest; with a tracker that is there already it is opened anew. */
int hugerig_track(struct hugerig *g, struct tracker_host *host, uint32_t shift,
		  struct err *err);
/* Tracker and engine; it goes on being tracked unless untrack. */
void hugerig_leave(struct hugerig *g, bool untrack);

/* Becomes larger, with the file below. */
int hugerig_grow(struct hugerig *g, uint64_t size_bytes, struct err *err);

/* 4096 bytes each. 0 or negative errno. */
int hugerig_write(struct hugerig *g, const uint64_t *offsets, uint32_t n);

#endif
