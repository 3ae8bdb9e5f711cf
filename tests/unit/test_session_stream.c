// SPDX-License-Identifier: Apache-2.0
/*
 * However the bytes of a conversation are cut up on their way, both ends see
 * the same events; and no damage to the bytes makes either end crash.
 */
#include "lib/tap.h"

#include <stdlib.h>

#include "session_pair.h"

static uint8_t fps[WIRE_MAX_FP_BLOCKS * UNIT_FP_BYTES], units[200000];

/* What was seen, as text. */
struct log {
	char *p;
	size_t n, cap;
};

__attribute__((format(printf, 2, 3))) static void note(struct log *l,
							const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	ASSERT_TRUE(n > 0 && n < (int)sizeof(line));
	if (l->n + (size_t)n + 1 > l->cap) {
		l->cap = 2 * l->cap + 4096;
		l->p = realloc(l->p, l->cap);
		ASSERT_NOT_NULL(l->p);
	}
	memcpy(l->p + l->n, line, (size_t)n + 1);
	l->n += (size_t)n;
}

static uint64_t sum(const uint8_t *p, size_t n)
{
	uint64_t h = 14695981039346656037ULL;

	while (n--)
		h = (h ^ *p++) * 1099511628211ULL;
	return h;
}

/* Answers as a replica would, at once. */
static void serve_owner(struct pair *p, struct log *l)
{
	const struct serve_event *e = &p->se;
	struct wire_accept accept = pair_accept();
	struct wire_volume_state state = pair_state();
	struct wire_view_state view = pair_view(5);
	uint8_t unit[1000];
	struct wire_piece piece;
	struct wire_ack ack;

	note(l, "serve %d first=%" PRIu64 " count=%u seq=%" PRIu64
	     " bytes=%zu/%" PRIx64 "\n", e->type, e->first, e->count,
	     e->type == SERVE_COMMIT ? e->commit.seq : e->seq, e->n_bytes,
	     sum(e->bytes, e->n_bytes));
	switch (e->type) {
	case SERVE_HELLO:
		ASSERT_OK(serve_accept(p->s, &accept));
		break;
	case SERVE_VOLUME_OPEN:
		ASSERT_OK(serve_volume(p->s, &state));
		break;
	case SERVE_FP_QUERY:
		memset(fps, (int)e->first, sizeof(fps));
		ASSERT_OK(serve_fps(p->s, e->first, e->count, fps));
		break;
	case SERVE_COMMIT:
		ack = pair_ack(e->commit.seq);
		ASSERT_OK(serve_ack(p->s, &ack));
		break;
	case SERVE_POINTS_QUERY:
		ASSERT_OK(serve_point(p->s, &view.point));
		ASSERT_OK(serve_point(p->s, &view.point));
		ASSERT_OK(serve_points_end(p->s));
		break;
	case SERVE_VIEW_OPEN:
		ASSERT_OK(serve_view(p->s, &view));
		break;
	case SERVE_VIEW_READ:
		piece = (struct wire_piece){ .first = e->first, .count = 1,
					     .absent = true };
		ASSERT_OK(serve_piece(p->s, &piece));
		piece = (struct wire_piece){
			.first = e->first + 1, .count = e->count - 1,
			.delta = pair_delta(10), .unit = unit,
			.unit_bytes = pair_unit(unit, e->first + 1,
						e->count - 1, false) };
		ASSERT_OK(serve_piece(p->s, &piece));
		ASSERT_OK(serve_read_end(p->s, e->first, e->count));
		break;
	default:
		break;
	}
}

static void dial_owner(struct pair *p, struct log *l)
{
	const struct dial_event *e = &p->de;

	note(l, "dial %d request=%d first=%" PRIu64 " count=%u ack=%" PRIu64
	     " fps=%" PRIx64 " piece=%" PRIu64 "+%" PRIu64 "/%" PRIx64 "\n",
	     e->type, e->request, e->first, e->count, e->ack.seq,
	     e->fps ? sum(e->fps, (size_t)e->count * 16) : 0, e->piece.first,
	     e->piece.count, sum(e->piece.unit, e->piece.unit_bytes));
}

static size_t cut(struct rnd_seeded *rnd, size_t n)
{
	size_t max = rnd_seeded_below(rnd, 4) ? 40 : 30000;
	size_t k = 1 + rnd_seeded_below(rnd, max);

	return k < n ? k : n;
}

/* One piece of what one end has queued reaches the other. */
static bool move(struct pair *p, struct rnd_seeded *rnd, bool from_dial,
		 struct log *l)
{
	struct buf *out = from_dial ? dial_out(p->d) : serve_out(p->s);
	size_t n = rnd ? cut(rnd, out->len) : out->len;
	uint8_t *copy;

	if (!out->len)
		return false;
	copy = malloc(n);
	ASSERT_NOT_NULL(copy);
	memcpy(copy, out->data, n);
	buf_consume(out, n);
	if (from_dial)
		ASSERT_OK(serve_feed(p->s, copy, n, &p->err));
	else
		ASSERT_OK(dial_feed(p->d, copy, n, &p->err));
	free(copy);
	if (from_dial)
		while (!serve_next(p->s, &p->se, &p->err))
			serve_owner(p, l);
	else
		while (!dial_next(p->d, &p->de, &p->err))
			dial_owner(p, l);
	return true;
}

static void pump(struct pair *p, struct rnd_seeded *rnd, struct log *sl,
		 struct log *dl)
{
	bool moved;

	do {
		moved = move(p, rnd, true, sl);
		moved = move(p, rnd, false, dl) || moved;
	} while (moved);
}

static void send_point(struct pair *p, uint64_t seq)
{
	struct delta d = pair_delta(seq);
	struct wire_commit c = pair_commit(seq);
	size_t n = 0;
	uint32_t i;

	for (i = 0; i < 300; i++)
		n += pair_unit(units + n, i * 100, 1 + i % 16, i % 5 == 0);
	ASSERT_OK(dial_point_begin(p->d, &d));
	ASSERT_OK(dial_units(p->d, units, n));
	ASSERT_OK(dial_fp_query(p->d, seq, 4096));
	ASSERT_OK(dial_units(p->d, units, get_le32(units)));
	ASSERT_OK(dial_commit(p->d, &c));
}

/* One step of a sender's conversation; false at its end. */
static bool sender_step(struct pair *p, int step)
{
	struct wire_volume_open open = pair_open();

	switch (step) {
	case 0:
		ASSERT_OK(dial_volume_open(p->d, &open));
		return true;
	case 1:
		ASSERT_OK(dial_escrow(p->d, "a key", 5));
		ASSERT_OK(dial_fp_query(p->d, 0, 4096));
		ASSERT_OK(dial_fp_query(p->d, 4096, 100));
		ASSERT_OK(dial_ping(p->d));
		send_point(p, 11);
		return true;
	case 2:
		ASSERT_OK(dial_confirm(p->d, 3, 11, 9));
		ASSERT_OK(dial_discard(p->d));
		send_point(p, 12);
		return true;
	default:
		ASSERT_OK(dial_bye(p->d));
		return false;
	}
}

static bool reader_step(struct pair *p, int step)
{
	struct wire_view_open sel = { .name = "db1" };
	uint32_t i;

	switch (step) {
	case 0:
		ASSERT_OK(dial_points_query(p->d, "web1", "db1"));
		ASSERT_OK(dial_view_open(p->d, &sel));
		return true;
	case 1:
		for (i = 0; i < 20; i++)
			ASSERT_OK(dial_view_read(p->d, 5, i * 100, 2 + i % 15));
		return true;
	case 2:
		ASSERT_OK(dial_view_close(p->d, 5));
		return true;
	default:
		ASSERT_OK(dial_bye(p->d));
		return false;
	}
}

static void converse(enum wire_role role, struct rnd_seeded *rnd,
		     struct log *sl, struct log *dl)
{
	bool more = true;
	struct pair p;
	int step;

	pair_new(&p, role);
	pump(&p, rnd, sl, dl);
	for (step = 0; more; step++) {
		more = role == WIRE_ROLE_SENDER ? sender_step(&p, step) :
						  reader_step(&p, step);
		pump(&p, rnd, sl, dl);
	}
	pair_free(&p);
}

static void same_events_however_cut(enum wire_role role, int rounds)
{
	struct log whole_s = { 0 }, whole_d = { 0 };
	struct rnd_seeded rnd;
	int i;

	converse(role, NULL, &whole_s, &whole_d);
	ASSERT_GT(whole_s.n, 300);
	ASSERT_GT(whole_d.n, 300);
	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < rounds; i++) {
		struct log s = { 0 }, d = { 0 };

		converse(role, &rnd, &s, &d);
		ASSERT_STR(s.p, whole_s.p);
		ASSERT_STR(d.p, whole_d.p);
		free(s.p);
		free(d.p);
	}
	free(whole_s.p);
	free(whole_d.p);
}

TEST(a_senders_conversation_is_the_same_however_it_is_cut)
{
	same_events_however_cut(WIRE_ROLE_SENDER, 60);
}

TEST(a_readers_conversation_is_the_same_however_it_is_cut)
{
	same_events_however_cut(WIRE_ROLE_READER, 200);
}

/* Tries every answer there is. */
static void answer_anything(struct pair *p)
{
	struct wire_accept accept = pair_accept();
	struct wire_volume_state state = pair_state();
	struct wire_view_state view = pair_view(5);

	(void)serve_accept(p->s, &accept);
	(void)serve_volume(p->s, &state);
	(void)serve_view(p->s, &view);
	(void)serve_points_end(p->s);
	(void)serve_fps(p->s, p->se.first, p->se.count, fps);
}

static void damaged_turn(struct pair *p, struct rnd_seeded *rnd, bool to_dialler)
{
	struct buf *o = to_dialler ? serve_out(p->s) : dial_out(p->d);
	int r;

	if (!o->len)
		return;
	if (!rnd_seeded_below(rnd, 4))
		o->data[rnd_seeded_below(rnd, o->len)] ^=
			(uint8_t)(1 << rnd_seeded_below(rnd, 8));
	r = to_dialler ? to_dial(p) : to_serve(p);
	while (!r && to_dialler)
		r = dial_next(p->d, &p->de, NULL);
	while (!r) {
		r = serve_next(p->s, &p->se, NULL);
		if (!r)
			answer_anything(p);
	}
}

/*
 * A conversation in which bytes are damaged on the way (as no TLS would let
 * happen): whatever comes of it, no crash, no over-read, and a bounded end.
 */
static void damaged_conversation(struct rnd_seeded *rnd, enum wire_role role)
{
	bool more = true;
	struct pair p;
	int step, turns;

	pair_new(&p, role);
	for (step = -1; more; step++) {
		if (step >= 0 && role == WIRE_ROLE_SENDER) {
			struct wire_volume_open open = pair_open();

			(void)dial_volume_open(p.d, &open);
			(void)dial_fp_query(p.d, 0, 16);
			more = !dial_ping(p.d);
		} else if (step >= 0) {
			struct wire_view_open sel = { .name = "db1" };

			(void)dial_view_open(p.d, &sel);
			(void)dial_view_read(p.d, 5, 0, 8);
			more = !dial_points_query(p.d, NULL, "db1");
		}
		more = more && step < 10;
		for (turns = 0; turns < 20; turns++)
			damaged_turn(&p, rnd, turns % 2);
	}
	pair_free(&p);
}

TEST(damage_on_the_way_never_crashes_either_end)
{
	struct rnd_seeded rnd;
	int i;

	rnd_seeded_init(&rnd, tap_seed());
	for (i = 0; i < 4000; i++)
		damaged_conversation(&rnd, i % 2 ? WIRE_ROLE_SENDER :
						   WIRE_ROLE_READER);
}
