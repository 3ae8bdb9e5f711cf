// SPDX-License-Identifier: Apache-2.0
/*
 * The shipping sink against a replica in memory: whatever was staged, left
 * out, joined or cut off by a dying connection, what the replica holds after a
 * commit is what the source staged. Contents come from a small alphabet, so
 * that blocks often return to what they were; the cache is tiny, so that
 * entries are pushed out all the time. TEST_SEED=n repeats a run.
 */
#include "tap.h"

#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/conn.h"
#include "source/ship.h"

#define BLOCKS 160U
#define BLOCK US_BLOCK_BYTES

/* What the replica holds: the open point over the newest committed one. */
struct shelf {
	uint8_t image[BLOCKS][BLOCK];
	struct fp fps[BLOCKS];
	uint64_t seq;			/* newest committed */
	bool has_open;
	uint64_t units;
};

struct far_end {
	struct conn *conn;
	struct shelf *shelf;
	const struct volume_key *key;
	int64_t die_after;		/* bytes to read before it hangs up */
	pthread_t thread;
	uint64_t epoch;
};

static void put_unit(struct shelf *s, const struct unit_view *u,
		     const uint8_t *plain)
{
	uint32_t i;

	for (i = 0; i < u->count; i++) {
		uint64_t b = u->first + i;

		if (u->codec == UNIT_ZERO) {
			memset(s->image[b], 0, BLOCK);
			s->fps[b] = fp_zero_block;
			continue;
		}
		memcpy(s->image[b], plain + (size_t)i * BLOCK, BLOCK);
		memcpy(s->fps[b].b, u->fps + i * sizeof(struct fp),
		       sizeof(struct fp));
	}
	s->units++;
}

static void take_units(struct far_end *f, const struct delta *delta,
		       const struct serve_event *ev)
{
	static uint8_t plain[UNIT_MAX_PLAIN_BYTES];
	struct opener *o = opener_new(f->key);
	struct unit_view u;
	size_t at = 0;

	while (at < ev->n_bytes) {
		if (unit_parse(ev->bytes + at, ev->n_bytes - at, &u) ||
		    opener_open(o, delta, ev->bytes + at, u.total_bytes, &u,
				plain, sizeof(plain)))
			abort();
		put_unit(f->shelf, &u, plain);
		at += u.total_bytes;
	}
	f->shelf->has_open = true;
	opener_free(o);
}

static void answer(struct far_end *f, struct serve *s,
		   const struct serve_event *ev, struct delta *delta)
{
	struct wire_volume_state v = { .handle = 1, .epoch = 1 };
	struct wire_accept a = { .version = 1, .session.b = { 1 },
				 .rights = WIRE_RIGHT_PUSH, .peer_name = "s",
				 .software = "test" };
	struct wire_ack ack = { .session.b = { 1 }, .epoch = 1 };
	int r = 0;

	switch (ev->type) {
	case SERVE_HELLO:
		r = serve_accept(s, &a);
		break;
	case SERVE_VOLUME_OPEN:
		v.has_point = f->shelf->seq != 0;
		v.seq = f->shelf->seq;
		v.has_open = f->shelf->has_open;
		r = serve_volume(s, &v);
		break;
	case SERVE_POINT_BEGIN:
		*delta = ev->delta;
		return;
	case SERVE_UNITS:
		take_units(f, delta, ev);
		return;
	case SERVE_FP_QUERY:
		r = serve_fps(s, ev->first, ev->count,
			      f->shelf->fps[ev->first].b);
		break;
	case SERVE_COMMIT:
		f->shelf->seq = ack.seq = ev->commit.seq;
		f->shelf->has_open = false;
		r = serve_ack(s, &ack);
		break;
	default:
		return;
	}
	if (r) {
		fprintf(stderr, "# far end: event %d: %d\n", ev->type, r);
		abort();
	}
}

static void *far_end_run(void *arg)
{
	struct far_end *f = arg;
	struct serve *s = serve_new();
	struct err err = ERR_INIT;
	struct serve_event ev;
	struct delta delta;
	uint8_t buf[4096];
	int64_t n;

	memset(&delta, 0, sizeof(delta));
	while (f->die_after > 0) {
		n = conn_read(f->conn, buf, sizeof(buf), -1);
		if (n <= 0)
			break;
		f->die_after -= n;
		if (serve_feed(s, buf, (size_t)n, &err))
			break;
		while (!serve_next(s, &ev, &err))
			answer(f, s, &ev, &delta);
		while (serve_out(s)->len) {
			n = conn_write(f->conn, serve_out(s)->data,
				       serve_out(s)->len, -1);
			if (n <= 0)
				break;
			buf_consume(serve_out(s), (size_t)n);
		}
	}
	serve_free(s);
	conn_close(f->conn, false);
	return NULL;
}

/* ---- the source's side ---- */

struct near_end {
	struct rnd_seeded rnd;
	struct volume_key key;
	struct uuid volume;
	struct source_env env;
	struct replica_config replica;
	struct shelf *shelf;
	struct far_end far;
	struct link *link;
	struct link_handler handler;
	struct ship *ship;
	bool acked;
	uint32_t cache_log2;
	unsigned int encode_threads;
	uint8_t device[BLOCKS][BLOCK];
};

static void on_fps(void *arg, uint64_t first, uint32_t count,
		   const uint8_t *fps)
{
	struct near_end *e = arg;

	if (e->ship)
		ship_on_fps(e->ship, first, count, fps);
}

static void on_ack(void *arg, const struct wire_ack *ack)
{
	(void)ack;
	((struct near_end *)arg)->acked = true;
}

static void near_end_init(struct near_end *e, uint64_t seed)
{
	memset(e, 0, sizeof(*e));
	rnd_seeded_init(&e->rnd, seed);
	ASSERT_OK(uuid_new(rnd_system(), &e->volume));
	ASSERT_OK(volume_key_new(rnd_system(), 1, &e->key));
	e->env.clock = clock_real();
	e->env.rnd = rnd_system();
	(void)snprintf(e->replica.name, sizeof(e->replica.name), "dr1");
	e->shelf = calloc(1, sizeof(*e->shelf));
	ASSERT_NOT_NULL(e->shelf);
	e->handler = (struct link_handler){ .on_fps = on_fps,
					    .on_ack = on_ack, .arg = e };
}

static int connect_ends(struct near_end *e, int64_t die_after)
{
	struct link_config lc = { .replica = &e->replica, .env = &e->env,
				  .handler = &e->handler, .wake_fd = -1, .stop_fd = -1,
				  .role = WIRE_ROLE_SENDER };
	struct ship_config sc = { .volume = e->volume, .epoch = 1,
				  .key = &e->key,
				  .compression = { .mode = COMP_AUTO },
				  .rnd = rnd_system(),
				  .encode_threads = e->encode_threads,
				  .cache_log2_slots = e->cache_log2 };
	struct wire_volume_open vo = { .uuid = e->volume, .epoch = 1,
				       .size_bytes = BLOCKS * BLOCK,
				       .block_bytes = BLOCK, .name = "v" };
	struct wire_volume_state state;
	struct err err = ERR_INIT;
	struct conn *mine;
	int r;

	ASSERT_OK(conn_pair(&mine, &e->far.conn));
	e->far.shelf = e->shelf;
	e->far.key = &e->key;
	e->far.die_after = die_after;
	ASSERT_OK(pthread_create(&e->far.thread, NULL, far_end_run, &e->far));
	r = link_open_conn(&lc, mine, &e->link, &err);
	if (r) {
		e->link = NULL;
		return r;
	}
	r = link_volume_open(e->link, &vo, &state, &err);
	if (r)
		return r;
	sc.link = e->link;
	return ship_new(&sc, &e->ship, &err);
}

static void disconnect_ends(struct near_end *e)
{
	link_close(e->link, false);
	e->link = NULL;
	ASSERT_OK(pthread_join(e->far.thread, NULL));
	ship_free(e->ship);
	e->ship = NULL;
}

static void near_end_free(struct near_end *e)
{
	free(e->shelf);
}

/* A handful of contents, zeros among them; some blocks do not compress. */
static void change_block(struct near_end *e, uint64_t b)
{
	uint64_t which = rnd_seeded_below(&e->rnd, 4);
	size_t i;

	memset(e->device[b], 0, BLOCK);
	if (!which)
		return;
	for (i = 0; i < BLOCK; i++)
		e->device[b][i] = (uint8_t)(which == 3 ? i * i * 7 + i / 3
						       : which * 50);
}

/* Stage a random run that covers what changed; -errno when the link died. */
static int stage_some(struct near_end *e, bool *need)
{
	struct cut_sink *sink = ship_sink(e->ship);
	uint64_t b = 0, first;
	uint32_t n;
	int r;

	while (b < BLOCKS) {
		if (!need[b]) {
			b++;
			continue;
		}
		first = b;
		while (b < BLOCKS && need[b] && b - first < 40)
			b++;
		n = (uint32_t)(b - first);
		r = sink->expect(sink, first, n);
		if (!r)
			r = sink->stage(sink, first, n, e->device[first]);
		if (r)
			return r;
		memset(need + first, 0, n);
	}
	return 0;
}

static int commit(struct near_end *e)
{
	struct wire_commit c = { .epoch = 1, .seq = e->shelf->seq + 1,
				 .size_bytes = BLOCKS * BLOCK };
	struct err err = ERR_INIT;
	int r;

	e->acked = false;
	r = ship_commit(e->ship, &c, &err);
	while (!r && !e->acked)
		r = link_pump(e->link, 1000, &err);
	return r;
}

/* One session: rounds of changes, staged and committed, until it dies. */
static uint64_t run_session(struct near_end *e, bool *need, bool compare)
{
	uint64_t points = 0, seq = e->shelf->seq;
	int round, r = 0;

	for (round = 0; round < 12 && !r; round++) {
		uint64_t i, changes = rnd_seeded_below(&e->rnd, 30);

		for (i = 0; i < changes; i++) {
			uint64_t b = rnd_seeded_below(&e->rnd, BLOCKS);

			change_block(e, b);
			need[b] = true;
		}
		ship_round(e->ship, seq + 1, compare ||
				   rnd_seeded_below(&e->rnd, 3) == 0);
		r = stage_some(e, need);
		if (r || rnd_seeded_below(&e->rnd, 3))
			continue;	/* another round for this point */
		r = commit(e);
		if (r)
			break;
		ASSERT_MSG(!memcmp(e->device, e->shelf->image,
				   sizeof(e->device)),
			   "the replica's point is not what was staged");
		points++;
		seq++;
	}
	return points;
}

TEST_WITH_TIMEOUT(what_is_committed_is_what_was_staged, 60)
{
	uint64_t seed = tap_seed(), points = 0, deaths = 0;
	bool need[BLOCKS];
	struct near_end e;
	int i;

	near_end_init(&e, seed);
	e.cache_log2 = 4;
	memset(need, 1, sizeof(need));
	for (i = 0; i < 150; i++) {
		/* Most sessions die in the middle of something. */
		int64_t life = i % 4 == 3 ? INT64_MAX
					  : 600 + (int64_t)rnd_seeded_below(
							&e.rnd, 120000);

		e.encode_threads = (unsigned int)i % 4;
		if (!connect_ends(&e, life))
			points += run_session(&e, need, true);
		disconnect_ends(&e);
		deaths += e.far.die_after <= 0;
		/* Nobody knows what arrived: everything is staged again. */
		memset(need, 1, sizeof(need));
	}
	printf("# points=%" PRIu64 " deaths=%" PRIu64 "\n", points, deaths);
	ASSERT_GT(points, 30);
	ASSERT_GT(deaths, 20);
	near_end_free(&e);
}

TEST(what_the_replica_holds_is_not_sent_again)
{
	struct ship_totals t;
	bool need[BLOCKS];
	struct near_end e;
	uint64_t b;

	near_end_init(&e, 5);
	for (b = 0; b < BLOCKS; b++)
		change_block(&e, b);
	memset(need, 1, sizeof(need));
	ASSERT_OK(connect_ends(&e, INT64_MAX));
	ship_round(e.ship, 1, false);
	ASSERT_OK(stage_some(&e, need));
	ASSERT_OK(commit(&e));
	disconnect_ends(&e);
	/* A new session that asks ships nothing; one that does not, all. */
	memset(need, 1, sizeof(need));
	ASSERT_OK(connect_ends(&e, INT64_MAX));
	ship_round(e.ship, 2, true);
	ASSERT_OK(stage_some(&e, need));
	ASSERT_OK(commit(&e));
	ship_get_totals(e.ship, &t);
	EXPECT_U64(t.staged_bytes, 0);
	EXPECT_U64(t.unchanged_bytes, BLOCKS * BLOCK);
	disconnect_ends(&e);
	near_end_free(&e);
}

TEST(zeros_next_to_each_other_become_one_unit)
{
	bool need[BLOCKS];
	struct near_end e;

	near_end_init(&e, 6);
	memset(need, 1, sizeof(need));
	ASSERT_OK(connect_ends(&e, INT64_MAX));
	ship_round(e.ship, 1, false);
	ASSERT_OK(stage_some(&e, need));
	ASSERT_OK(commit(&e));
	EXPECT_U64(e.shelf->units, 1);
	disconnect_ends(&e);
	near_end_free(&e);
}
