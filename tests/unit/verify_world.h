/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_VERIFY_WORLD_H
#define TESTS_UNIT_VERIFY_WORLD_H

/*
 * What a verification, or an audit, lives among: writers, cuts, lost sessions,
 * losses of the tracker, interleaved step by step from a seed. The replica is a
 * model that answers as of the place in the stream at which it was asked, at
 * any moment later.
 */
#include "tap.h"

#include <string.h>

#include "base/checked.h"
#include "source/audit.h"
#include "source/cut.h"
#include "source/reader_mem.h"
#include "source/verify.h"
#include "unit/step_writers.h"

#define N_BLOCKS 90U
#define APART 41U
#define MAIL_MAX 64U
#define SIM_EPOCH_NS (1700000000ULL * NSEC_PER_SEC)

static struct volume_key key = { .id = 1, .bytes = { 7 } };
static const struct uuid volume = { { 9 } };

enum plant {
	PLANT_NOTHING, PLANT_ON_DEVICE, PLANT_CONTENT, PLANT_DAMAGE,
	PLANT_MISSING, PLANT_N,
};

/* An answer on its way back. */
struct mail {
	uint64_t seq;
	uint32_t count;
	uint8_t held[WIRE_MAX_VERIFY_BLOCKS * WIRE_HELD_BYTES];
};

struct sim {
	struct writers ws;		/* with the device and the lot */
	uint8_t *open, *point;		/* the replica's two images */
	uint8_t held[N_BLOCKS];		/* of point: an enum wire_held */
	bool staged[N_BLOCKS];
	uint64_t seq;			/* of the newest point */
	struct tracker *tracker;
	struct reader *reader;
	struct cut *cut;
	struct cut_sink sink;
	struct verify *verify;
	struct audit *audit;
	struct clock clock;		/* of the audit; goes with each turn */
	uint64_t now_ns;
	uint64_t audit_lap_ns;		/* 0: there is none */
	uint64_t audit_limit;
	struct audit_mark mark;
	struct verify_report found;	/* the last time */
	uint64_t n_found, laps, laps_here;
	struct fp_ctx *fp;
	bool one_block;			/* one tracking block, of many cells */
	bool without_check, without_pending;
	bool without_confirmed;		/* confirmations are not told */
	bool unsound;			/* writes were missed, and it is known */
	bool is_sound_blind;		/* ... but nobody asks */
	struct mail mail[MAIL_MAX];
	unsigned int first_mail, n_mail;
	uint64_t points, lost;
};

static struct sim *the;

/* ---- the replica ---- */

static inline void hold(struct sim *s, uint64_t b, uint8_t *out)
{
	struct fp fp = fp_zero_block;

	memset(out, 0, WIRE_HELD_BYTES);
	out[0] = s->staged[b] ? WIRE_HELD_STAGED : s->held[b];
	if (out[0] != WIRE_HELD_SOUND)
		return;
	if (!block_is_zero(s->point + b * BLOCK, BLOCK))
		ASSERT_OK(fp_compute(s->fp, b, s->point + b * BLOCK, &fp));
	memcpy(out + 1, fp.b, sizeof(fp.b));
}

static inline int ask(void *arg, bool fresh, const struct wire_extent *e, uint32_t n,
	       struct err *err)
{
	struct sim *s = arg;
	struct mail *m = &s->mail[(s->first_mail + s->n_mail) % MAIL_MAX];
	uint32_t i;
	uint64_t b;

	(void)fresh;
	(void)err;
	ASSERT_LT(s->n_mail, MAIL_MAX);
	m->seq = s->seq;
	m->count = 0;
	for (i = 0; i < n; i++)
		for (b = e[i].first; b < e[i].first + e[i].count; b++)
			hold(s, b, m->held + m->count++ * WIRE_HELD_BYTES);
	s->n_mail++;
	return 0;
}

/* Who compares. */
static inline struct verify *comparing(const struct sim *s)
{
	return s->verify ? s->verify : audit_window(s->audit);
}

static inline void mail_comes(struct sim *s)
{
	const struct mail *m = &s->mail[s->first_mail];

	if (!s->n_mail)
		return;
	s->first_mail = (s->first_mail + 1) % MAIL_MAX;
	s->n_mail--;
	if (comparing(s))
		verify_on_held(comparing(s), 1, m->seq, m->count, m->held);
}

static inline void make_point(struct sim *s)
{
	unsigned int b;

	s->seq++;
	for (b = 0; b < N_BLOCKS; b++) {
		if (!s->staged[b])
			continue;
		memcpy(s->point + b * BLOCK, s->open + b * BLOCK, BLOCK);
		s->held[b] = WIRE_HELD_SOUND;
		s->staged[b] = false;
	}
}

/* ---- between any two steps ---- */

static inline void world_moves(void)
{
	/* One block that all write to: cuts need a moment. */
	writers_move(&the->ws, the->one_block ? 64 : 2);
	if (writers_chance(&the->ws, 16))
		mail_comes(the);
}

static inline void on_step(void *arg, const char *where)
{
	(void)arg;
	(void)where;
	world_moves();
}

static inline void before_copy(void *arg, uint64_t off, uint32_t len)
{
	(void)arg;
	(void)off;
	(void)len;
	world_moves();
}

static inline int sink_expect(struct cut_sink *k, uint64_t first, uint64_t count)
{
	(void)k;
	(void)first;
	(void)count;
	world_moves();
	return 0;
}

static inline int sink_stage(struct cut_sink *k, uint64_t first, uint32_t count,
		      const uint8_t *data)
{
	uint32_t i;

	(void)k;
	world_moves();
	if (comparing(the))
		verify_on_stage(comparing(the), first, count, data);
	memcpy(the->open + first * BLOCK, data, (size_t)count * BLOCK);
	for (i = 0; i < count; i++)
		the->staged[first + i] = true;
	return 0;
}

static inline bool sound(void *arg)
{
	const struct sim *s = arg;

	return s->is_sound_blind || !s->unsound;
}

/* ---- a life ---- */

static inline void sim_open(struct sim *s, uint64_t seed)
{
	struct reader_mem_config rc = {
		.size_bytes = N_BLOCKS * BLOCK,
		.slice_bytes = 2048,
		.before_copy = before_copy,
	};
	struct cut_config cc = { .clock = clock_real() };
	struct err err = ERR_INIT;
	uint64_t n;

	the = s;
	rnd_seeded_init(&s->ws.rnd, seed);
	s->ws.apart = APART;
	s->ws.missed_one_in = 8;
	s->ws.shift = s->one_block ? 20 :
		   12 + 2 * (uint32_t)writers_below(&s->ws, 2);
	n = div_up_u64(N_BLOCKS * BLOCK, 1ULL << s->ws.shift);
	s->ws.device = calloc(N_BLOCKS, BLOCK);
	s->open = calloc(N_BLOCKS, BLOCK);
	s->point = calloc(N_BLOCKS, BLOCK);
	s->ws.words = tracker_mem_words_new(n, TAGS);
	s->fp = fp_ctx_new(&key, &volume);
	ASSERT_TRUE(s->ws.device && s->open && s->point && s->ws.words &&
		    s->fp);
	memset(s->held, WIRE_HELD_ABSENT, sizeof(s->held));
	memset(s->ws.device + 20 * BLOCK, 0x33, 3 * BLOCK);
	s->ws.words->w.step = on_step;
	s->sink = (struct cut_sink){ sink_expect, sink_stage };
	rc.data = s->ws.device;
	rc.seed = rnd_seeded_next(&s->ws.rnd);
	ASSERT_OK(tracker_mem_open(s->ws.words, s->ws.shift, false,
				   &s->tracker));
	ASSERT_OK(reader_open_mem(&rc, &s->reader));
	cc.tracker = s->tracker;
	cc.reader = s->reader;
	cc.sink = &s->sink;
	ASSERT_OK(cut_new(&cc, &s->cut, &err));
	ASSERT_OK(cut_all_dirty(s->cut, &err));
}

static inline void start_verify(struct sim *s)
{
	const struct verify_config c = {
		.tracker = s->tracker,
		.reader = s->reader,
		.cut = s->cut,
		.key = &key,
		.volume = &volume,
		.ask = ask,
		.sound = sound,
		.arg = s,
		.without_check = s->without_check,
		.without_pending = s->without_pending,
	};
	struct err err = ERR_INIT;

	ASSERT_OK(verify_new(&c, &s->verify, &err));
}

static inline void sim_close(struct sim *s)
{
	verify_free(s->verify);
	audit_free(s->audit);
	cut_free(s->cut);
	s->reader->ops->close(s->reader);
	s->tracker->ops->close(s->tracker, false);
	tracker_mem_words_free(s->ws.words);
	fp_ctx_free(s->fp);
	free(s->ws.device);
	free(s->open);
	free(s->point);
}

static inline void lose_session(struct sim *s)
{
	s->n_mail = 0;
	s->lost++;
	cut_session_lost(s->cut);
	if (comparing(s))
		verify_on_session_lost(comparing(s));
}

/* All that is staged is as the newest point has it. */
static inline bool nothing_differs(const struct sim *s)
{
	uint64_t b;

	for (b = 0; b < N_BLOCKS; b++)
		if (s->staged[b] && memcmp(s->open + b * BLOCK,
					   s->point + b * BLOCK, BLOCK))
			return false;
	return s->points > 0;
}

static inline void confirm(struct sim *s)
{
	struct err err = ERR_INIT;

	memset(s->staged, 0, sizeof(s->staged));
	cut_committed(s->cut);
	cut_acked(s->cut);
	if (!comparing(s))
		return;
	verify_on_settled(comparing(s));
	if (!s->without_confirmed)
		ASSERT_OK(verify_on_commit(comparing(s), s->seq, &err));
}

/* The commit is sent; it becomes a point, and its answer comes, or not. */
static inline void commit(struct sim *s)
{
	struct err err = ERR_INIT;

	cut_committed(s->cut);
	if (writers_chance(&the->ws, 16)) {	/* lost on the way there */
		lose_session(s);
		return;
	}
	make_point(s);
	if (comparing(s))
		ASSERT_OK(verify_on_commit(comparing(s), s->seq, &err));
	s->points++;
}

static inline void ack(struct sim *s)
{
	if (!cut_has_outstanding(s->cut))
		return;
	if (writers_chance(&the->ws, 16)) {	/* lost on the way back */
		lose_session(s);
		return;
	}
	cut_acked(s->cut);
	if (comparing(s))
		verify_on_settled(comparing(s));
}

/* ---- the audit's part in it ---- */

static inline uint64_t sim_mono_ns(struct clock *c)
{
	return ((struct sim *)((char *)c - offsetof(struct sim, clock)))
		->now_ns;
}

static inline int64_t sim_wall_ns(struct clock *c)
{
	return (int64_t)(sim_mono_ns(c) + SIM_EPOCH_NS);
}

static inline void audit_drop(struct sim *s)
{
	audit_free(s->audit);
	s->audit = NULL;
	/* As the volume has it: what is still on its way is nobody's. */
	s->n_mail = 0;
}

static inline void audit_reset(struct sim *s)
{
	audit_drop(s);
	memset(&s->mark, 0, sizeof(s->mark));
}

static inline void start_audit(struct sim *s)
{
	const struct audit_config c = {
		.verify = {
			.tracker = s->tracker, .reader = s->reader,
			.cut = s->cut, .key = &key, .volume = &volume,
			.ask = ask, .sound = sound, .arg = s,
			.without_check = s->without_check,
			.without_pending = s->without_pending,
		},
		.clock = &s->clock,
		.lap_ns = s->audit_lap_ns,
		.read_limit_bytes = s->audit_limit,
		.window_bytes = s->one_block ? 1 << 20 : 32 * BLOCK,
	};
	struct err err = ERR_INIT;

	s->clock = (struct clock){ sim_mono_ns, sim_wall_ns };
	ASSERT_OK(audit_new(&c, &s->mark, &s->audit, &err));
}

/* Found: all is made dirty, with a new session. */
static inline void audit_found(struct sim *s)
{
	struct err err = ERR_INIT;

	audit_get_report(s->audit, &s->found);
	s->n_found++;
	audit_reset(s);
	ASSERT_OK(cut_all_dirty(s->cut, &err));
	lose_session(s);
}

static inline void audit_turn(struct sim *s)
{
	struct err err = ERR_INIT;
	int r;

	if (!s->audit)
		start_audit(s);
	r = audit_step(s->audit, &err);
	ASSERT_GE(r, 0);
	if (r == AUDIT_FURTHER) {
		audit_get_mark(s->audit, &s->mark);
		s->laps += audit_laps(s->audit) > s->laps_here;
		s->laps_here = audit_laps(s->audit);
	} else if (r == AUDIT_DIFFERS) {
		audit_found(s);
	}
	if (!s->audit)
		s->laps_here = 0;
}

/* A turn of the worker: something of all it does. False: the work is done. */
static inline bool turn(struct sim *s)
{
	struct cut_round round;
	struct err err = ERR_INIT;
	int r;

	if (writers_chance(&the->ws, 3)) {
		ASSERT_OK(cut_round(s->cut, &round, &err));
		if (round.converged && s->unsound) {
			/* As volume_device_verify() does. */
			s->unsound = false;
			ASSERT_OK(cut_all_dirty(s->cut, &err));
			if (s->verify)
				verify_on_all_dirty(s->verify);
			audit_reset(s);
		} else if (round.converged) {
			ack(s);		/* one is outstanding at most */
			if (cut_has_outstanding(s->cut) ||
			    cut_need_blocks(s->cut))
				return true;
			if (nothing_differs(s))
				confirm(s);
			else
				commit(s);
		}
	} else if (writers_chance(&the->ws, 3)) {
		ack(s);
	} else if (s->verify) {
		r = verify_slice(s->verify, 1 + (uint32_t)rnd_seeded_below(
							&s->ws.rnd, 32), &err);
		ASSERT_GE(r, 0);
		if (r == VERIFY_DONE)
			return false;
	} else if (s->audit_lap_ns) {
		audit_turn(s);
	}
	s->now_ns += writers_below(&s->ws, 20 * NSEC_PER_MSEC);
	world_moves();
	return true;
}

static inline void make_first_point(struct sim *s)
{
	unsigned int i;

	for (i = 0; i < 10000 && (!s->points || cut_has_outstanding(s->cut) ||
				  (!s->one_block &&
				   cut_is_pending(s->cut, 0))); i++)
		(void)turn(s);
	ASSERT_GT(s->points, 0);
}

static inline bool verify_to_the_end(struct sim *s, struct verify_report *rep)
{
	unsigned int i;

	for (i = 0; i < 100000; i++)
		if (!turn(s))
			break;
	verify_get_report(s->verify, rep);
	return i < 100000;
}

/* A block that nobody writes to, also not through its tracking block. */
static inline uint64_t quiet_block(struct sim *s)
{
	uint64_t b, k = s->ws.shift - 12;
	unsigned int w, p;
	bool quiet;

	do {
		quiet = true;
		b = writers_below(&s->ws, N_BLOCKS);
		for (w = 0; w < WRITERS; w++)
			for (p = 0; p < PLACES; p++)
				quiet &= writer_block(&s->ws, w, p) >> k !=
					 b >> k;
	} while (!quiet);
	return b;
}

/* Its block, and what verify shall call it. */
static inline uint64_t plant(struct sim *s, enum plant what, enum verify_what *told)
{
	uint64_t b = quiet_block(s);

	*told = VERIFY_CONTENT;
	switch (what) {
	case PLANT_ON_DEVICE:
		s->ws.device[b * BLOCK + writers_below(&s->ws, BLOCK)] ^= 0x10;
		break;
	case PLANT_CONTENT:
		s->point[b * BLOCK + writers_below(&s->ws, BLOCK)] ^= 1;
		break;
	case PLANT_DAMAGE:
		s->held[b] = WIRE_HELD_DAMAGED;
		*told = VERIFY_DAMAGED;
		break;
	case PLANT_MISSING:
		b = 20;			/* not zeros */
		s->held[b] = WIRE_HELD_ABSENT;
		*told = VERIFY_MISSING;
		break;
	default:
		break;
	}
	return b;
}

#endif
