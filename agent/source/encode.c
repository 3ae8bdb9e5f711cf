// SPDX-License-Identifier: Apache-2.0
/*
 * A ring of jobs between the owner, who fills and empties it at both ends, and
 * the lanes, threads that encode what lies between.
 *
 *   head ......... next ......... tail
 *   encoded or     waiting for    being filled by the owner
 *   being encoded  a thread
 *
 * Invariants:
 * - Jobs are taken from the head only, so units come out as they went in.
 * - Every unit has a nonce counter of its own, given when its job is closed;
 *   all lanes seal under the same delta.
 * - A lane touches a job between hand_over() and done, the owner before and
 *   after.
 * - The owner never waits while there is a job that no lane has begun: it
 *   encodes that one itself, so that a processor that others keep busy does not
 *   make two threads slower than one.
 * - After the first failure nothing is taken any more: what would follow could
 *   stand on units that never left.
 */
#include "source/encode.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"

#define JOBS 32U			/* a power of two */
#define JOB_UNITS 32U


struct job_unit {
	uint64_t first;
	uint32_t count;
	bool is_zero;
};

struct job {
	bool done;			/* under lock */
	uint64_t counter;		/* nonce counter of the first unit */
	uint64_t delta_turn;		/* which delta; lanes follow it */
	uint32_t n_units, n_blocks;
	struct job_unit units[JOB_UNITS];
	struct fp fps[UNIT_MAX_BLOCKS];
	uint8_t data[UNIT_MAX_PLAIN_BYTES];
	struct buf out;
	int result;
};

/* One thread's own pair of hands. */
struct lane {
	struct encoder *e;
	pthread_t thread;
	struct sealer *sealer;
	uint64_t delta_turn;
};

struct encoder {
	struct encoder_config cfg;
	struct sealer *leader;		/* of the delta in force; the owner's */
	uint64_t delta_turn, counter;
	uint64_t head, tail;		/* owner's; job i is jobs[i % JOBS] */
	struct job *filling;		/* that at tail - 1, or NULL */
	int failed;			/* first failure, for ever */
	struct job *jobs;

	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t queued, lane_done;
	uint64_t next, end;		/* lanes take next, up to end */
	bool stop;
	unsigned int n_lanes;
	struct lane lanes[ENCODE_THREADS_MAX];
};

unsigned int encoder_threads(void)
{
	cpu_set_t set;
	int n;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	n = CPU_COUNT(&set) - 1;
	return (unsigned int)MIN(MAX(n, 1), (int)ENCODE_THREADS_MAX);
}

/* ---- encoding: a lane's thread, or the owner's when there is none ---- */

static int encode_units(struct sealer *s, struct job *j)
{
	uint32_t i, at = 0;
	int r = 0;

	buf_reset(&j->out);
	for (i = 0; i < j->n_units && !r; i++) {
		const struct job_unit *u = &j->units[i];

		if (u->is_zero) {
			r = sealer_zero(s, u->first, u->count, &j->out);
			continue;
		}
		r = sealer_data(s, u->first, u->count,
				j->data + ((size_t)at << US_BLOCK_SHIFT),
				&j->fps[at], &j->out);
		at += u->count;
	}
	return r;
}

/* The lane's sealer for the job's delta: made when the first one comes. */
static int follow(struct lane *l, const struct job *j)
{
	struct encoder *e = l->e;

	if (l->sealer && l->delta_turn == j->delta_turn)
		return 0;
	/* The leader stays as long as jobs of its delta are in the ring. */
	if (!l->sealer)
		l->sealer = sealer_twin(e->leader, e->cfg.key,
					&e->cfg.compression);
	else if (sealer_follow(l->sealer, e->leader, e->cfg.key))
		return -ENOMEM;
	l->delta_turn = j->delta_turn;
	return l->sealer ? 0 : -ENOMEM;
}

static int encode(struct lane *l, struct job *j)
{
	int r = follow(l, j);

	if (r)
		return r;
	sealer_seek(l->sealer, j->counter);
	return encode_units(l->sealer, j);
}

static void *lane_run(void *arg)
{
	struct lane *l = arg;
	struct encoder *e = l->e;
	struct job *j;
	int r;

	pthread_mutex_lock(&e->lock);
	while (!e->stop) {
		if (e->next == e->end) {
			pthread_cond_wait(&e->queued, &e->lock);
			continue;
		}
		j = &e->jobs[e->next++ % JOBS];
		pthread_mutex_unlock(&e->lock);
		r = encode(l, j);
		pthread_mutex_lock(&e->lock);
		j->result = r;
		j->done = true;
		pthread_cond_signal(&e->lane_done);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ---- the owner ---- */

static int fail(struct encoder *e, int r)
{
	if (r && !e->failed)
		e->failed = r;
	return r;
}

static struct job *job_at(struct encoder *e, uint64_t i)
{
	return &e->jobs[i % JOBS];
}

static bool head_is_done(struct encoder *e)
{
	LOCK_SCOPE(&e->lock);

	return job_at(e, e->head)->done;
}

static void encode_here(struct encoder *e, struct job *j)
{
	sealer_seek(e->leader, j->counter);
	j->result = encode_units(e->leader, j);
}

/* Helps meanwhile. */
static void wait_for_head(struct encoder *e)
{
	LOCK_SCOPE(&e->lock);

	while (!job_at(e, e->head)->done) {
		struct job *j;

		if (e->next == e->end) {
			pthread_cond_wait(&e->lane_done, &e->lock);
			continue;
		}
		j = job_at(e, e->next++);
		pthread_mutex_unlock(&e->lock);
		encode_here(e, j);
		pthread_mutex_lock(&e->lock);
		j->done = true;
	}
}

/* The job at the head is done. */
static int take_head(struct encoder *e)
{
	struct job *j = job_at(e, e->head++);

	if (j->result)
		return j->result;
	return e->cfg.take(e->cfg.arg, j->out.data, j->out.len);
}

/* Takes what is done; with all, waits for everything that is queued. */
static int collect(struct encoder *e, bool all)
{
	uint64_t end = e->tail - (e->filling != NULL);
	int r = 0;

	while (!r && e->head != end) {
		if (!head_is_done(e)) {
			if (!all)
				break;
			wait_for_head(e);
		}
		r = take_head(e);
	}
	return fail(e, r);
}

static void hand_over(struct encoder *e)
{
	LOCK_SCOPE(&e->lock);

	e->end++;
	pthread_cond_signal(&e->queued);
}

/* Closes the job that is being filled, if there is one. */
static int submit(struct encoder *e)
{
	struct job *j = e->filling;

	if (!j)
		return 0;
	e->filling = NULL;
	j->counter = e->counter;
	j->delta_turn = e->delta_turn;
	e->counter += j->n_units;
	if (e->n_lanes) {
		hand_over(e);
		return collect(e, false);
	}
	encode_here(e, j);
	j->done = true;
	return collect(e, false);
}

/* A job with room for one more unit of so many blocks. */
static int job_for(struct encoder *e, uint32_t n_blocks, struct job **out)
{
	struct job *j = e->filling;
	int r;

	if (e->failed)
		return e->failed;
	if (j) {
		if (j->n_units < JOB_UNITS &&
		    j->n_blocks + n_blocks <= UNIT_MAX_BLOCKS) {
			*out = j;
			return 0;
		}
		r = submit(e);
		if (r)
			return r;
	}
	if (e->tail - e->head == JOBS) {
		wait_for_head(e);
		r = fail(e, take_head(e));
		if (r)
			return r;
	}
	j = job_at(e, e->tail++);
	e->filling = j;
	j->done = false;
	j->n_units = j->n_blocks = 0;
	j->result = 0;
	*out = j;
	return 0;
}

int encoder_data(struct encoder *e, uint64_t first, uint32_t count,
		 const void *plain, const struct fp *fps)
{
	struct job *j;
	int r;

	if (!count || count > UNIT_MAX_BLOCKS)
		return -EINVAL;
	r = job_for(e, count, &j);
	if (r)
		return r;
	memcpy(j->data + ((size_t)j->n_blocks << US_BLOCK_SHIFT), plain,
	       (size_t)count << US_BLOCK_SHIFT);
	memcpy(&j->fps[j->n_blocks], fps, count * sizeof(*fps));
	j->units[j->n_units++] = (struct job_unit){ first, count, false };
	j->n_blocks += count;
	return j->n_blocks == UNIT_MAX_BLOCKS ? submit(e) : 0;
}

int encoder_zero(struct encoder *e, uint64_t first, uint32_t count)
{
	struct job *j;
	int r = job_for(e, 0, &j);

	if (r)
		return r;
	j->units[j->n_units++] = (struct job_unit){ first, count, true };
	return 0;
}

int encoder_flush(struct encoder *e)
{
	int r = e->failed ? e->failed : submit(e);

	return r ? r : collect(e, true);
}

const struct delta *encoder_begin(struct encoder *e, uint64_t seq)
{
	struct sealer *s;

	/* Lanes look at the leader only while a job of its delta is out. */
	s = sealer_new(e->cfg.key, &e->cfg.volume, e->cfg.epoch, seq,
		       &e->cfg.compression, e->cfg.rnd);
	if (!s)
		return NULL;
	sealer_free(e->leader);
	e->leader = s;
	e->delta_turn++;
	e->counter = 0;
	return sealer_delta(s);
}

/* ---- life ---- */

static int start_lanes(struct encoder *e)
{
	unsigned int n = MIN(e->cfg.n_threads, ENCODE_THREADS_MAX);

	for (; e->n_lanes < n; e->n_lanes++) {
		struct lane *l = &e->lanes[e->n_lanes];

		l->e = e;
		if (pthread_create(&l->thread, NULL, lane_run, l))
			break;
	}
	/* Fewer are slower, none would be too, but not wrong. */
	return 0;
}

struct encoder *encoder_new(const struct encoder_config *cfg)
{
	struct encoder *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->cfg = *cfg;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->queued, NULL);
	pthread_cond_init(&e->lane_done, NULL);
	e->jobs = calloc(JOBS, sizeof(*e->jobs));
	if (e->jobs && !start_lanes(e))
		return e;
	encoder_free(e);
	return NULL;
}

static void stop_lanes(struct encoder *e)
{
	unsigned int i;

	pthread_mutex_lock(&e->lock);
	e->stop = true;
	pthread_cond_broadcast(&e->queued);
	pthread_mutex_unlock(&e->lock);
	for (i = 0; i < e->n_lanes; i++) {
		(void)pthread_join(e->lanes[i].thread, NULL);
		sealer_free(e->lanes[i].sealer);
	}
}

void encoder_free(struct encoder *e)
{
	unsigned int i;

	if (!e)
		return;
	stop_lanes(e);
	for (i = 0; e->jobs && i < JOBS; i++)
		buf_free(&e->jobs[i].out);
	free(e->jobs);
	sealer_free(e->leader);
	pthread_cond_destroy(&e->lane_done);
	pthread_cond_destroy(&e->queued);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
