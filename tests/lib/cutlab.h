/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CUTLAB_H
#define TESTS_LIB_CUTLAB_H

#include "simfs.h"
#include "storelab.h"

/*
 * A store on a simfs, what it has promised, and the judge: the store opened
 * on what a power cut has left must have kept every promise, show nothing
 * that was never committed, complain of nothing, and be able to go on.
 */
#define CUT_BLOCKS 12U
#define CUT_POINTS 48U
#define CUT_STAGED 24U

struct cut_promise {
	uint64_t seq;			/* acknowledged; 1 .. seq exist */
	uint64_t versions[CUT_POINTS + 2][CUT_BLOCKS];	/* by sequence */
	struct head heads[CUT_POINTS + 2];
	bool coming;			/* seq + 1 is being committed */
	uint64_t epoch;			/* older ones are refused */
	uint64_t epoch_coming;		/* or this is the oldest; 0: none */
	/* What the open point may say of a block, beside the newest point. */
	uint64_t staged[CUT_BLOCKS][CUT_STAGED];
	uint32_t n_staged[CUT_BLOCKS];
};

/* CUT_KILL_OPENED, of cut_judge: nothing is committed before. */
enum cut_death { CUT_CLOSE, CUT_KILL, CUT_KILL_OPENED };

/* Sanitizers take their time; what they look for needs no more rounds. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CUT_SLOW 1
#else
#define CUT_SLOW 0
#endif

struct cutlab {
	struct simfs fs;
	struct lab lab;
	struct cut_promise promise;
	const char *doing;
	/* Before each change or sync of the history; not in judged states. */
	void (*on_event)(struct cutlab *c, const struct sim_event *e);
	void *arg;
	/* "DOING: WHAT" of the sync that is left out, also after a kill. */
	char left_out[128];
	uint64_t n_left_out;		/* times that it was */
	/* Each site of a sync that was passed, in order of the first time. */
	struct cut_site {
		char name[128];
		unsigned int hits;
	} *sites;
	size_t n_sites;
	int real_stderr, heard;
	uint64_t judged;		/* each state has its own randomness */
	char why[512];			/* of the last failure */
};

/* Nothing is done in it yet. */
void cutlab_init(struct cutlab *c, uint64_t seed, uint64_t segment_bytes);
void cutlab_free(struct cutlab *c);
/* Goes on in that file system, which becomes c's, with nothing open. */
void cutlab_move(struct cutlab *c, struct simfs *fs);

/*
 * Steps of a history. False when the file system died under it (fs.dead), and
 * then nothing is promised by it; c->why when it failed otherwise.
 */
bool cut_open(struct cutlab *c);
bool cut_writer(struct cutlab *c);
/* A data unit of so many blocks, or zeros, as part of the open point. */
bool cut_stage(struct cutlab *c, uint64_t first, uint32_t count, bool zero);
bool cut_commit(struct cutlab *c);
bool cut_discard(struct cutlab *c);
bool cut_epoch(struct cutlab *c);
bool cut_rename(struct cutlab *c, const char *name);
void cut_close(struct cutlab *c, enum cut_death how);
/* A history of all of these, in segments of 4096 bytes. */
#define CUT_HISTORY_SEGMENT 4096U
bool cut_history(struct cutlab *c);

/*
 * The store in fs against what was promised; then another point on top, and
 * all once more. *p becomes what is promised after that; fs is left as how
 * says. With read_only the store is only looked at, without writing, and
 * fs and *p stay. False: c->why.
 */
bool cut_judge(struct cutlab *c, struct simfs *fs, struct cut_promise *p,
	       enum cut_death how);
bool cut_look(struct cutlab *c, struct simfs *fs, const struct cut_promise *p);
/*
 * After a cut, in c's own file system and with its events: open, judge, take
 * over what is there. The writer is open then.
 */
bool cut_recover(struct cutlab *c);

/* Digest of a promise, so that the same is not judged twice. */
uint64_t cut_promise_hash(const struct cut_promise *p);

#endif
