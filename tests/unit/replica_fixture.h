/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_REPLICA_FIXTURE_H
#define TESTS_UNIT_REPLICA_FIXTURE_H

/*
 * A replica in a directory of its own, a scripted sender over the dial
 * machine, and a volume whose history the test keeps block by block, so that
 * every point that was acknowledged can be compared with what it has to be.
 * Include it once, in the test that is the program.
 */
#include <poll.h>
#include <sys/stat.h>

#include "own_dir.h"
#include "tap.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "net/conn.h"
#include "replica/replica.h"
#include "store/restore.h"
#include "wire/seal.h"
#include "wire/session.h"
#include "unit/faulty_io.h"

#define B US_BLOCK_BYTES
#define ALL_RIGHTS (WIRE_RIGHT_PUSH | WIRE_RIGHT_READ)
#define PEER_MS 15000			/* nothing here takes that long */

/* ---- a directory that goes away with the test ---- */

static inline const char *fx_dir(void)
{
	if (!own_dir[0])
		own_dir_on_disk("replica");
	return own_dir;
}

/* ---- the replica ---- */

struct fixture {
	char state[200], store[200];
	struct faulty_io faulty;
	struct replica_role_config cfg;
	struct replica_env env;
	struct replica *replica;
};

static inline void fx_start(struct fixture *f)
{
	struct err err = ERR_INIT;
	int r = replica_start(&f->cfg, &f->env, &f->replica, &err);

	ASSERT_MSG(r == 0, "replica_start: %s", err.message);
}

static inline void fx_prepare(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->state, sizeof(f->state), "%s/state", fx_dir());
	snprintf(f->store, sizeof(f->store), "%s/store", fx_dir());
	(void)mkdir(f->state, 0700);
	snprintf(f->cfg.store_path, sizeof(f->cfg.store_path), "%s", f->store);
	f->env.state_dir = f->state;
	f->env.clock = clock_real();
	f->env.rnd = rnd_system();
	f->env.io = faulty_io_init(&f->faulty);
	ASSERT_OK(uuid_new(rnd_system(), &f->env.node));
	ASSERT_OK(uuid_new(rnd_system(), &f->env.boot));
}

static inline void fx_init(struct fixture *f)
{
	fx_prepare(f);
	fx_start(f);
}

static inline void fx_restart(struct fixture *f)
{
	replica_stop(f->replica);
	fx_start(f);
}

/* An end of a pair that the replica serves as the peer of that name. */
static inline struct conn *fx_connect_as(struct fixture *f, const char *name,
					 uint32_t rights, const char *volumes)
{
	struct conn *ours, *theirs;

	ASSERT_OK(conn_pair(&ours, &theirs));
	snprintf(theirs->peer_name, sizeof(theirs->peer_name), "%s", name);
	snprintf(theirs->peer_volumes, sizeof(theirs->peer_volumes), "%s",
		 volumes);
	snprintf(theirs->peer_address, sizeof(theirs->peer_address),
		 "test:%s", name);
	theirs->peer_rights = rights;
	ASSERT_OK(replica_serve(f->replica, theirs));
	return ours;
}

static inline struct conn *fx_connect(struct fixture *f)
{
	return fx_connect_as(f, "web1", ALL_RIGHTS, "*");
}

/* ---- the sender ---- */

struct sender {
	struct conn *conn;
	struct dial *dial;
	uint64_t sent, received;
	uint64_t cut_sent, cut_received;	/* cut at so many bytes; 0: no */
	bool gone;
	struct wire_error why;		/* of the BYE, REJECT or REFUSED */
	struct wire_accept accept;
	uint8_t in[64U << 10];
};

static inline void sender_cut(struct sender *s)
{
	conn_close(s->conn, false);
	s->conn = NULL;
	s->gone = true;
}

static inline void sender_close(struct sender *s)
{
	if (s->conn) {
		if (dial_bye(s->dial) == 0)
			(void)conn_write(s->conn, dial_out(s->dial)->data,
					 dial_out(s->dial)->len, 1000);
		conn_close(s->conn, true);
	}
	dial_free(s->dial);
	s->conn = NULL;
	s->dial = NULL;
}

/* 0, or -ECONNRESET (and gone). */
static inline int sender_flush(struct sender *s)
{
	struct buf *out = dial_out(s->dial);

	while (out->len && !s->gone) {
		uint64_t n = out->len;
		int64_t r;

		if (s->cut_sent)
			n = MIN(n, s->cut_sent - s->sent);
		if (!n) {
			sender_cut(s);
			break;
		}
		r = conn_write(s->conn, out->data, n, PEER_MS);
		if (r < 0)
			return -ECONNRESET;	/* reading may tell more */
		buf_consume(out, (size_t)r);
		s->sent += (uint64_t)r;
	}
	return s->gone ? -ECONNRESET : 0;
}

/* The next event; -ECONNRESET when there will be none. */
static inline int sender_event(struct sender *s, struct dial_event *ev)
{
	struct err err = ERR_INIT;

	while (!s->gone) {
		uint64_t room = sizeof(s->in);
		int64_t n;
		int r = dial_next(s->dial, ev, &err);

		if (r == 0) {
			if (ev->type == DIAL_BYE || ev->type == DIAL_REJECTED ||
			    ev->type == DIAL_REFUSED || ev->type == DIAL_ERROR)
				s->why = ev->error;
			return 0;
		}
		ASSERT_MSG(r == 1, "dial: %s", err.message);
		(void)sender_flush(s);
		if (s->gone)
			break;
		if (s->cut_received)
			room = MIN(room, s->cut_received - s->received);
		if (!room) {
			sender_cut(s);
			break;
		}
		n = conn_read(s->conn, s->in, room, PEER_MS);
		ASSERT_MSG(n != -EAGAIN, "the replica says nothing");
		if (n <= 0) {
			sender_cut(s);
			break;
		}
		s->received += (uint64_t)n;
		ASSERT_OK(dial_feed(s->dial, s->in, (size_t)n, &err));
	}
	return -ECONNRESET;
}

/* The type of the next event, or -ECONNRESET. */
static inline int sender_wait(struct sender *s, struct dial_event *ev)
{
	int r = sender_event(s, ev);

	return r < 0 ? r : (int)ev->type;
}

static inline void sender_hello(struct sender *s, struct conn *conn,
				const struct wire_hello *hello)
{
	memset(s, 0, sizeof(*s));
	s->conn = conn;
	s->dial = dial_new(hello);
	ASSERT_NOT_NULL(s->dial);
}

static inline struct wire_hello a_hello(enum wire_role role)
{
	struct wire_hello hello = {
		.role = role,
		.wall_ns = clock_wall_ns(clock_real()),
		.software = "test",
	};

	ASSERT_OK(uuid_new(rnd_system(), &hello.node));
	ASSERT_OK(uuid_new(rnd_system(), &hello.boot));
	return hello;
}

static inline int sender_begin(struct sender *s, struct conn *conn,
			       enum wire_role role)
{
	const struct wire_hello hello = a_hello(role);
	struct dial_event ev;
	int type;

	sender_hello(s, conn, &hello);
	type = sender_wait(s, &ev);
	if (type == DIAL_ACCEPTED)
		s->accept = ev.accept;
	return type;
}

static inline void sender_connect(struct sender *s, struct fixture *f)
{
	ASSERT_INT(sender_begin(s, fx_connect(f), WIRE_ROLE_SENDER),
		   DIAL_ACCEPTED);
}

/* ---- a volume and what it was at each point ---- */

#define HISTORY_MAX 200

struct snapshot {
	uint64_t seq;
	uint8_t *bytes;
	struct wire_head head;
};

struct history {
	struct uuid volume;
	char name[WIRE_NAME_MAX + 1];
	struct volume_key key;
	struct fp_ctx *fp;
	uint64_t epoch;
	uint64_t size_bytes, n_blocks;
	uint8_t *now;			/* the device, padded with zeros */
	uint8_t *dirty;			/* per block: not in an acked point */
	bool has_acked;
	uint64_t acked_seq;
	struct wire_head acked_head;
	uint64_t next_seq;
	struct wire_group group;	/* of the points to come; zero: none */
	int64_t group_wall_ns;		/* their flip */
	struct snapshot pending;	/* committed, not acknowledged */
	struct snapshot snaps[HISTORY_MAX];
	size_t n_snaps;
	uint64_t shipped_blocks, unchanged_blocks;
};

static inline void history_init(struct history *h, const char *name,
				uint64_t size_bytes)
{
	memset(h, 0, sizeof(*h));
	snprintf(h->name, sizeof(h->name), "%s", name);
	ASSERT_OK(uuid_new(rnd_system(), &h->volume));
	ASSERT_OK(volume_key_new(rnd_system(), 1, &h->key));
	h->fp = fp_ctx_new(&h->key, &h->volume);
	h->epoch = 1;
	h->next_seq = 1;
	h->size_bytes = size_bytes;
	h->n_blocks = div_up_u64(size_bytes, B);
	h->now = calloc(h->n_blocks, B);
	h->dirty = malloc(h->n_blocks);
	ASSERT_TRUE(h->fp && h->now && h->dirty);
	memset(h->dirty, 1, h->n_blocks);
}

static inline void history_free(struct history *h)
{
	size_t i;

	for (i = 0; i < h->n_snaps; i++)
		free(h->snaps[i].bytes);
	free(h->pending.bytes);
	fp_ctx_free(h->fp);
	free(h->now);
	free(h->dirty);
}

/* Writes as an application would: runs of data, of zeros, of the same again. */
static inline void history_write(struct history *h, struct rnd_seeded *r,
				 unsigned int n_writes)
{
	while (n_writes--) {
		uint64_t first = rnd_seeded_below(r, h->n_blocks);
		uint64_t count = MIN(1 + rnd_seeded_below(r, 40),
				     h->n_blocks - first);
		uint64_t kind = rnd_seeded_below(r, 4), i;
		uint8_t *p = h->now + first * B;

		if (kind == 0)
			memset(p, 0, count * B);
		else if (kind == 1)
			memset(p, (int)(1 + rnd_seeded_below(r, 255)),
			       count * B);
		else if (kind == 2)
			for (i = 0; i < count * B; i++)
				p[i] = (uint8_t)rnd_seeded_next(r);
		memset(h->now + h->size_bytes, 0,
		       h->n_blocks * B - h->size_bytes);
		memset(h->dirty + first, 1, count);
	}
}

static inline struct wire_volume_open history_spec(const struct history *h)
{
	struct wire_volume_open o = {
		.uuid = h->volume,
		.size_bytes = h->size_bytes,
		.epoch = h->epoch,
		.block_bytes = B,
		.has_acked = h->has_acked,
		.acked_epoch = h->has_acked ? h->epoch : 0,
		.acked_seq = h->acked_seq,
		.acked_head = h->acked_head,
	};

	snprintf(o.name, sizeof(o.name), "%s", h->name);
	return o;
}

static inline void snapshot_take(struct history *h, uint64_t seq)
{
	free(h->pending.bytes);
	h->pending.bytes = malloc(h->n_blocks * B);
	ASSERT_NOT_NULL(h->pending.bytes);
	memcpy(h->pending.bytes, h->now, h->n_blocks * B);
	h->pending.seq = seq;
}

static inline void history_acked(struct history *h, uint64_t seq,
				 const struct wire_head *head)
{
	ASSERT_U64(seq, h->pending.seq);
	ASSERT_LT(h->n_snaps, HISTORY_MAX);
	h->pending.head = *head;
	h->snaps[h->n_snaps++] = h->pending;
	memset(&h->pending, 0, sizeof(h->pending));
	memset(h->dirty, 0, h->n_blocks);
	h->has_acked = true;
	h->acked_seq = seq;
	h->acked_head = *head;
	h->next_seq = seq + 1;
}

/*
 * Opens the volume. 0, or the event type that came instead, or -ECONNRESET.
 * A commit whose acknowledgement was lost is settled by what the replica says.
 */
static inline int history_open(struct history *h, struct sender *s)
{
	const struct wire_volume_open o = history_spec(h);
	struct dial_event ev;
	int type;

	ASSERT_OK(dial_volume_open(s->dial, &o));
	type = sender_wait(s, &ev);
	if (type != DIAL_VOLUME)
		return type;
	if (h->pending.bytes && ev.volume.has_point &&
	    ev.volume.seq == h->pending.seq)
		history_acked(h, ev.volume.seq, &ev.volume.head);
	/* The writes since then would be dirty again; the test made none. */
	if (h->has_acked) {
		ASSERT_U64(ev.volume.seq, h->acked_seq);
		ASSERT_MEM(ev.volume.head.b, h->acked_head.b, WIRE_HEAD_BYTES);
	}
	return 0;
}

/* Fingerprints of what the replica has; 0 or -ECONNRESET. */
static inline int history_ask_fps(struct history *h, struct sender *s,
				  struct fp *out)
{
	uint64_t at = 0;

	while (at < h->n_blocks) {
		uint32_t n = (uint32_t)MIN(h->n_blocks - at,
					   (uint64_t)WIRE_MAX_FP_BLOCKS);
		struct dial_event ev;
		int type;

		ASSERT_OK(dial_fp_query(s->dial, at, n));
		type = sender_wait(s, &ev);
		if (type != DIAL_FPS)
			return -ECONNRESET;
		ASSERT_U64(ev.first, at);
		ASSERT_U64(ev.count, n);
		memcpy(out + at, ev.fps, (size_t)n * UNIT_FP_BYTES);
		at += n;
	}
	return 0;
}

static inline struct fp fp_of(struct history *h, uint64_t block)
{
	const uint8_t *p = h->now + block * B;
	struct fp fp;

	if (block_is_zero(p, B))
		return fp_zero_block;
	ASSERT_OK(fp_compute(h->fp, block, p, &fp));
	return fp;
}

/* One unit from block on, as long as blocks are to be sent and of a kind. */
static inline uint64_t seal_run(struct history *h, struct sealer *sealer,
				const struct fp *have, uint64_t first,
				struct buf *out)
{
	struct fp fps[UNIT_MAX_BLOCKS];
	bool zero = block_is_zero(h->now + first * B, B);
	uint64_t b;

	for (b = first; b < h->n_blocks && b - first < UNIT_MAX_BLOCKS; b++) {
		struct fp fp = fp_of(h, b);

		if (!h->dirty[b] ||
		    block_is_zero(h->now + b * B, B) != zero ||
		    (have && fp_equal(&fp, &have[b])))
			break;
		fps[b - first] = fp;
	}
	if (zero)
		ASSERT_OK(sealer_zero(sealer, first, (uint32_t)(b - first),
				      out));
	else
		ASSERT_OK(sealer_data(sealer, first, (uint32_t)(b - first),
				      h->now + first * B, fps, out));
	h->shipped_blocks += b - first;
	return b;
}

/* Everything dirty that the replica does not have. 0 or -ECONNRESET. */
static inline int history_ship(struct history *h, struct sender *s,
			       struct sealer *sealer, const struct fp *have)
{
	struct buf units = { 0 };
	uint64_t b = 0;
	int r = 0;

	while (r == 0 && b < h->n_blocks) {
		struct fp fp = fp_of(h, b);

		if (!h->dirty[b]) {
			b++;
			continue;
		}
		if (have && fp_equal(&fp, &have[b])) {
			h->unchanged_blocks++;
			b++;
			continue;
		}
		b = seal_run(h, sealer, have, b, &units);
		if (units.len < 256U << 10 && b < h->n_blocks)
			continue;
		ASSERT_OK(dial_units(s->dial, units.data, units.len));
		buf_reset(&units);
		r = sender_flush(s);
	}
	if (r == 0 && units.len) {
		ASSERT_OK(dial_units(s->dial, units.data, units.len));
		r = sender_flush(s);
	}
	buf_free(&units);
	return r;
}

/* Begins the point and stages what is dirty. 0 or -ECONNRESET. */
static inline int history_stage(struct history *h, struct sender *s, bool ask)
{
	const struct comp_config comp = { .mode = COMP_AUTO };
	struct sealer *sealer;
	struct fp *have = NULL;
	int r = 0;

	sealer = sealer_new(&h->key, &h->volume, h->epoch, h->next_seq, &comp,
			    rnd_system());
	ASSERT_NOT_NULL(sealer);
	ASSERT_OK(dial_point_begin(s->dial, sealer_delta(sealer)));
	if (ask) {
		have = calloc(h->n_blocks, sizeof(*have));
		ASSERT_NOT_NULL(have);
		r = history_ask_fps(h, s, have);
	}
	if (r == 0)
		r = history_ship(h, s, sealer, have);
	free(have);
	sealer_free(sealer);
	return r;
}

static inline struct wire_commit history_commit_of(struct history *h)
{
	struct wire_commit c = {
		.epoch = h->epoch,
		.seq = h->next_seq,
		.flip_wall_ns = clock_wall_ns(clock_real()),
		.kind = POINT_CRASH,
		.size_bytes = h->size_bytes,
		.prev_head = h->acked_head,
		.group = h->group,
	};

	if (h->group.seq)
		c.flip_wall_ns = h->group_wall_ns;
	return c;
}

/* 0 and acknowledged; or the event type that came instead, or -ECONNRESET. */
static inline int history_commit(struct history *h, struct sender *s,
				 const char *label)
{
	struct wire_commit c = history_commit_of(h);
	struct dial_event ev;
	int type;

	if (label)
		snprintf(c.label, sizeof(c.label), "%s", label);
	snapshot_take(h, h->next_seq);
	ASSERT_OK(dial_commit(s->dial, &c));
	type = sender_wait(s, &ev);
	if (type != DIAL_ACK)
		return type;
	ASSERT_TRUE(uuid_equal(&ev.ack.session, &s->accept.session));
	ASSERT_U64(ev.ack.epoch, h->epoch);
	history_acked(h, ev.ack.seq, &ev.ack.head);
	return 0;
}

static inline int history_point(struct history *h, struct sender *s)
{
	int r = history_stage(h, s, false);

	return r ? r : history_commit(h, s, NULL);
}

/* ---- judging ---- */

static inline int a_target(void)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/target.XXXXXX", fx_dir());
	fd = mkostemp(path, O_CLOEXEC);
	ASSERT_TRUE(fd >= 0);
	unlink(path);
	return fd;
}

/* Restores the image and compares; takes the image. */
static inline bool image_is(struct image *im, const uint8_t *want,
			    uint64_t size_bytes)
{
	const struct restore_options o = { .target_is_fresh = true };
	_cleanup_close_ int fd = a_target();
	struct restore_result res;
	struct err err = ERR_INIT;
	uint8_t *have;
	bool same;
	int r;

	r = restore_run(im, fd, &o, &res, &err);
	ASSERT_MSG(r == 0, "restore: %s", err.message);
	image_close(im);
	have = malloc(size_bytes);
	ASSERT_NOT_NULL(have);
	ASSERT_U64(res.image_bytes, size_bytes);
	ASSERT_OK(io_pread_all(io_posix(), fd, have, size_bytes, 0));
	same = !memcmp(have, want, size_bytes);
	free(have);
	return same;
}

static inline struct image *local_image(struct fixture *f,
					const struct history *h, uint64_t seq)
{
	struct err err = ERR_INIT;
	struct image *im = NULL;
	struct view *v = NULL;
	int r;

	r = view_open(replica_store(f->replica), &h->volume, h->epoch, seq, &v,
		      &err);
	ASSERT_MSG(r == 0, "view_open: %s", err.message);
	r = image_from_view(v, &h->volume, &h->key, &im, &err);
	ASSERT_MSG(r == 0, "image_from_view: %s", err.message);
	return im;
}

static inline bool local_point_is(struct fixture *f, const struct history *h,
				  const struct snapshot *snap)
{
	return image_is(local_image(f, h, snap->seq), snap->bytes,
			h->size_bytes);
}

static inline unsigned int count_points(struct fixture *f,
					const struct history *h)
{
	struct volume_info info;
	int r = store_volume_by_uuid(replica_store(f->replica), &h->volume,
				     &info);

	if (r == -ENOENT)
		return 0;
	ASSERT_OK(r);
	return (unsigned int)info.n_points;
}

#endif
