/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CUTRIG_H
#define TESTS_LIB_CUTRIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rnd.h"
#include "causal.h"
#include "device/blkdev.h"
#include "source/cut.h"
#include "source/reader.h"
#include "tracker/tracker_host.h"

/*
 * A device, tracked, with the cut engine on top and an image in memory that
 * nothing but collected blocks gets into. One thread, beside writers of the
 * test. Wants a bpffs of the process's own (private_bpffs.h).
 */

/* Keeps what is staged. */
struct memory_sink {
	struct cut_sink sink;
	uint8_t *image;
	uint64_t image_bytes;
	uint64_t staged_blocks;
	/* To be refuted: what is staged of the next runs that hold anything new
	 * is thrown away, this often. */
	uint32_t forget;
};

/*
 * A reader that is slow, so that conflicts happen; and that now and then waits
 * until a write has just landed where it is about to read, of which its writer
 * does not know yet.
 */
struct slow_reader {
	struct reader r;
	struct reader *real;
	struct rnd_seeded rnd;
	uint64_t max_delay_ns;
	uint32_t landing_one_in;	/* of the reads; 0: none */
	uint64_t start_bytes;		/* of the volume on what fd is */
	uint32_t lbs_bytes;
	int fd;				/* of the device, O_DIRECT */
	uint8_t *sector;
};

struct cutrig_options {
	/* Guards switched off, to be refuted. */
	bool without_reread, without_issue_mark, without_check;
	uint32_t window_turns;
	uint64_t read_delay_ns;		/* at most; 0: none */
	uint32_t landing_one_in;
	uint32_t block_shift;		/* 0: 12 */
	bool several;			/* copies of programs on any kernel */
};

struct cutrig {
	struct blkdev dev;
	struct tracker_host *host;
	struct tracker *tracker;
	struct reader *reader;
	struct slow_reader slow;
	struct memory_sink sink;
	struct cut *cut;
	uint64_t size_bytes;
	/* Cuts given up, as everything had to be read again, and why: writes
	 * whose beginning the kernel skipped, ends of bios nobody saw begin. */
	uint64_t missed_cuts, missed_writes, unknown_ends;
};

/* 0, or negative errno with err filled (a refusal's code is its reason);
 * then there is nothing to close. */
int cutrig_open(struct cutrig *g, const char *path,
		const struct cutrig_options *o, struct err *err);
/* Leaves nothing pinned. */
void cutrig_close(struct cutrig *g);

/*
 * One cut of at most so many rounds: 1 it converged and counts as
 * acknowledged, 0 it did not, or negative errno. *rounds is added to. A cut
 * during which the tracker missed writes, and says so, is none: everything is
 * read again.
 */
int cutrig_cut(struct cutrig *g, unsigned int max_rounds,
	       unsigned int *rounds, struct err *err);

/* For causal_judge: arg is the struct memory_sink. */
int cutrig_read_image(void *arg, uint64_t off, uint32_t len, uint8_t *out);

/* Is the image the device? 0; 1 with the first differing byte in *where; or
 * negative errno. Nobody may be writing. */
int cutrig_compare(const struct cutrig *g, uint64_t *where);

#endif
