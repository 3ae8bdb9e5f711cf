// SPDX-License-Identifier: Apache-2.0
/*
 * A point read from afar: any order of questions gives the bytes of the model;
 * a replica that lies, and a key that does not fit, are told apart and never
 * give a wrong byte.
 */
#include "replica_fixture.h"

#include <ftw.h>

#include "source/remote_image.h"

struct rig {
	struct fixture f;
	struct history h;
	struct rnd_seeded r;
	struct source_env env;
};

/* A volume with a few points, the newest being the last snapshot. */
static void rig_init(struct rig *g, uint64_t size_bytes, int n_points,
		     unsigned int n_writes)
{
	struct sender s;
	int i;

	memset(g, 0, sizeof(*g));
	rnd_seeded_init(&g->r, tap_seed());
	fx_init(&g->f);
	g->env = (struct source_env){ .clock = clock_real(),
				      .rnd = rnd_system(), .io = io_posix() };
	history_init(&g->h, "db1", size_bytes);
	memset(g->h.dirty, 0, g->h.n_blocks);	/* never written: absent */
	sender_connect(&s, &g->f);
	ASSERT_INT(history_open(&g->h, &s), 0);
	for (i = 0; i < n_points; i++) {
		history_write(&g->h, &g->r, n_writes);
		ASSERT_INT(history_point(&g->h, &s), 0);
	}
	sender_close(&s);
}

static void rig_free(struct rig *g)
{
	replica_stop(g->f.replica);
	history_free(&g->h);
}

static struct remote *rig_remote(struct rig *g)
{
	struct remote *remote = NULL;
	struct err err = ERR_INIT;
	int r = remote_over(fx_connect(&g->f), "dr1", &g->env, &remote, &err);

	ASSERT_MSG(r == 0, "remote_over: %s", err.message);
	return remote;
}

static const struct wire_view_open latest = {
	.source = "web1", .name = "db1", .select = WIRE_SELECT_LATEST,
};

static struct image *rig_image(struct rig *g)
{
	struct remote *remote = rig_remote(g);
	struct err err = ERR_INIT;
	struct image *im = NULL;
	int r = remote_image(remote, &latest, &g->h.key, &im, &err);

	ASSERT_MSG(r == 0, "remote_image: %s", err.message);
	return im;
}

/* The model's answer to next: what lies at or after block is not zero. */
static bool stretch_is_right(struct rig *g, uint64_t block, uint64_t first,
			     uint64_t count, bool zero)
{
	const uint8_t *now = g->h.snaps[g->h.n_snaps - 1].bytes;

	if (first < block || !count || first + count > g->h.n_blocks)
		return false;
	if (!block_is_zero(now + block * B, (first - block) * B))
		return false;
	return !zero || block_is_zero(now + first * B, count * B);
}

TEST(questions_in_any_order_give_the_bytes_of_the_model)
{
	static uint8_t got[IMAGE_READ_MAX * B];
	struct rig g;
	struct image *im;
	int i;

	rig_init(&g, 3000 * (uint64_t)B + 512, 3, 30);
	im = rig_image(&g);
	for (i = 0; i < 400; i++) {
		uint64_t block = rnd_seeded_below(&g.r, g.h.n_blocks);
		uint64_t first = block, count = 1;
		struct err err = ERR_INIT;
		bool zero = false;
		int r;

		if (rnd_seeded_below(&g.r, 2)) {
			r = im->ops->next(im, block, &first, &count, &zero,
					  &err);
			if (r == 1) {
				EXPECT_TRUE(block_is_zero(
					g.h.now + block * B,
					(g.h.n_blocks - block) * B));
				continue;
			}
			ASSERT_MSG(r == 0, "next: %s", err.message);
			ASSERT_TRUE(stretch_is_right(&g, block, first, count,
						     zero));
		} else {
			count = 1 + rnd_seeded_below(&g.r, IMAGE_READ_MAX);
		}
		count = MIN(count, g.h.n_blocks - first);
		count = MIN(count, (uint64_t)IMAGE_READ_MAX);
		r = im->ops->read(im, first, count, got, &err);
		ASSERT_MSG(r == 0, "read: %s", err.message);
		ASSERT_MEM(got, g.h.now + first * B, count * B);
	}
	image_close(im);
	rig_free(&g);
}

TEST(every_restore_option_works_from_afar)
{
	struct restore_options o = { .verify = true };
	struct restore_result res;
	struct rig g;
	struct image *im;
	uint8_t *have;
	int fd, r;

	rig_init(&g, 1000 * (uint64_t)B + 1024, 4, 10);
	fd = a_target();
	im = rig_image(&g);
	ASSERT_OK(restore_run(im, fd, &o, &res, NULL));
	image_close(im);
	have = malloc(g.h.size_bytes);
	ASSERT_NOT_NULL(have);
	ASSERT_OK(io_pread_all(io_posix(), fd, have, g.h.size_bytes, 0));
	EXPECT_MEM(have, g.h.now, g.h.size_bytes);
	/* in place: nothing differs, nothing is written */
	o.in_place = true;
	im = rig_image(&g);
	ASSERT_OK(restore_run(im, fd, &o, &res, NULL));
	EXPECT_U64(res.written_bytes, 0);
	/* the same image again, from its beginning, for a range */
	o.in_place = false;
	o.off_bytes = 512 * 777;
	o.len_bytes = 512 * 2000;
	ASSERT_OK(ftruncate(fd, 0));
	r = restore_run(im, fd, &o, &res, NULL);
	ASSERT_OK(r);
	ASSERT_OK(io_pread_all(io_posix(), fd, have, o.len_bytes,
			       o.off_bytes));
	EXPECT_MEM(have, g.h.now + o.off_bytes, o.len_bytes);
	image_close(im);
	free(have);
	close(fd);
	rig_free(&g);
}

TEST(a_large_empty_volume_costs_little)
{
	uint64_t size = UINT64_C(64) << 30, first, count, sent;
	struct fixture f;
	struct source_env env = { .clock = clock_real(), .rnd = rnd_system() };
	struct wire_volume_open spec;
	struct remote *remote;
	struct dial_event ev;
	struct err err = ERR_INIT;
	struct wire_commit c;
	struct history h;
	struct sender s;
	struct image *im;
	bool zero;
	double start;

	fx_init(&f);
	history_init(&h, "db1", 8 * (uint64_t)B);
	spec = history_spec(&h);
	spec.size_bytes = size;
	sender_connect(&s, &f);
	ASSERT_OK(dial_volume_open(s.dial, &spec));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_VOLUME);
	c = history_commit_of(&h);
	c.size_bytes = size;
	ASSERT_OK(dial_commit(s.dial, &c));
	ASSERT_INT(sender_wait(&s, &ev), DIAL_ACK);
	sent = s.sent;
	sender_close(&s);
	EXPECT_LT(sent, 4096);
	ASSERT_OK(remote_over(fx_connect(&f), "dr1", &env, &remote, &err));
	ASSERT_OK(remote_image(remote, &latest, &h.key, &im, &err));
	start = tap_ms_now();
	EXPECT_INT(im->ops->next(im, 0, &first, &count, &zero, &err), 1);
	tap_note("64 GiB of nothing: %.1f ms", tap_ms_now() - start);
	EXPECT_LT(tap_ms_now() - start, 5000);
	image_close(im);
	replica_stop(f.replica);
	history_free(&h);
}

static int count_point(void *arg, const struct wire_point *p)
{
	uint64_t *last = arg;

	EXPECT_U64(p->seq, *last + 1);
	*last = p->seq;
	return 0;
}

static int stop_at_two(void *arg, const struct wire_point *p)
{
	(void)arg;
	return p->seq == 2 ? 42 : 0;
}

TEST(points_are_listed_and_refusals_told)
{
	struct wire_view_open sel = latest;
	struct err err = ERR_INIT;
	struct remote *remote;
	struct image *im;
	struct rig g;
	uint64_t last = 0;

	rig_init(&g, 64 * (uint64_t)B, 6, 2);
	remote = rig_remote(&g);
	EXPECT_OK(remote_points(remote, "web1/db1", count_point, &last, &err));
	EXPECT_U64(last, 6);
	last = 0;
	EXPECT_OK(remote_points(remote, "db1", count_point, &last, &err));
	EXPECT_U64(last, 6);
	EXPECT_INT(remote_points(remote, "db1", stop_at_two, NULL, &err), 42);
	EXPECT_INT(remote_points(remote, "nosuch", count_point, &last, &err),
		   -ENOENT);
	EXPECT_STR(err.code, "no-volume");
	EXPECT_TRUE(err.remedy[0]);
	err_clear(&err);
	EXPECT_INT(remote_points(remote, "a/b/c", count_point, &last, &err),
		   -EINVAL);
	/* after an error the session still serves */
	err_clear(&err);
	sel.select = WIRE_SELECT_SEQ;
	sel.seq = 99;
	EXPECT_INT(remote_image(remote, &sel, &g.h.key, &im, &err), -ENOENT);
	EXPECT_STR(err.code, "no-point");
	sel.seq = 3;
	err_clear(&err);
	ASSERT_OK(remote_image(remote, &sel, &g.h.key, &im, &err));
	EXPECT_TRUE(image_is(im, g.h.snaps[2].bytes, g.h.size_bytes));
	rig_free(&g);
}

TEST(a_wrong_key_is_told_as_that_on_both_paths)
{
	struct restore_options o = { 0 };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct volume_key wrong;
	struct remote *remote;
	struct view *v = NULL;
	struct image *im;
	struct rig g;
	int fd;

	rig_init(&g, 64 * (uint64_t)B, 2, 6);
	ASSERT_OK(volume_key_new(rnd_system(), 1, &wrong));
	fd = a_target();
	ASSERT_OK(ftruncate(fd, 100));
	remote = rig_remote(&g);
	ASSERT_OK(remote_image(remote, &latest, &wrong, &im, &err));
	EXPECT_INT(restore_run(im, fd, &o, &res, &err), -ENOKEY);
	EXPECT_STR(err.code, "wrong-key");
	EXPECT_STR_HAS(err.message, "web1/db1");
	EXPECT_STR_HAS(err.remedy, "key export");
	EXPECT_INT(lseek(fd, 0, SEEK_END), 100);	/* untouched */
	image_close(im);
	err_clear(&err);
	ASSERT_OK(view_open(replica_store(g.f.replica), &g.h.volume, 1, 2, &v,
			    &err));
	ASSERT_OK(image_from_view(v, &g.h.volume, &wrong, &im, &err));
	EXPECT_INT(restore_run(im, fd, &o, &res, &err), -ENOKEY);
	EXPECT_STR(err.code, "wrong-key");
	EXPECT_INT(lseek(fd, 0, SEEK_END), 100);
	image_close(im);
	close(fd);
	rig_free(&g);
}

/* Zeros are sealed as well: nobody without the key makes zeros of a block. */
TEST(zeros_of_another_key_are_refused_on_both_paths)
{
	struct restore_options o = { 0 };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct volume_key wrong;
	struct view *v = NULL;
	struct image *im;
	struct sender s;
	struct rig g;
	int fd;

	rig_init(&g, 512 * (uint64_t)B, 0, 0);
	sender_connect(&s, &g.f);
	ASSERT_INT(history_open(&g.h, &s), 0);
	memset(g.h.dirty + 100, 1, 300);
	ASSERT_INT(history_point(&g.h, &s), 0);
	sender_close(&s);
	ASSERT_OK(volume_key_new(rnd_system(), 1, &wrong));
	fd = a_target();
	ASSERT_OK(remote_image(rig_remote(&g), &latest, &wrong, &im, &err));
	EXPECT_INT(restore_run(im, fd, &o, &res, &err), -ENOKEY);
	EXPECT_STR(err.code, "wrong-key");
	image_close(im);
	err_clear(&err);
	ASSERT_OK(view_open(replica_store(g.f.replica), &g.h.volume, 1, 1, &v,
			    &err));
	ASSERT_OK(image_from_view(v, &g.h.volume, &wrong, &im, &err));
	EXPECT_INT(restore_run(im, fd, &o, &res, &err), -ENOKEY);
	EXPECT_STR(err.code, "wrong-key");
	image_close(im);
	/* with the right one it is a volume of zeros */
	EXPECT_TRUE(local_point_is(&g.f, &g.h, &g.h.snaps[0]));
	close(fd);
	rig_free(&g);
}

/* ---- damage in the store ---- */

static char segments[16][400];
static size_t n_segments;

static int note_segment(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_F && st->st_size && !strstr(path, "catalog") &&
	    n_segments < ARRAY_SIZE(segments))
		snprintf(segments[n_segments++], sizeof(segments[0]), "%s",
			 path);
	return 0;
}

/* Inverts one byte; called again it puts it back. */
static void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t b;

	ASSERT_TRUE(fd >= 0);
	ASSERT_INT(pread(fd, &b, 1, (off_t)at), 1);
	b = (uint8_t)~b;
	ASSERT_INT(pwrite(fd, &b, 1, (off_t)at), 1);
	close(fd);
}

/* 0 equal; 1 an error was told; -1 other bytes. */
static int judge_damaged(struct rig *g, bool remote, const struct snapshot *snap)
{
	struct wire_view_open sel = latest;
	struct restore_options o = { .target_is_fresh = true };
	struct err err = ERR_INIT;
	struct restore_result res;
	struct image *im = NULL;
	struct view *v = NULL;
	uint8_t *have;
	int fd, r;

	sel.select = WIRE_SELECT_SEQ;
	sel.seq = snap->seq;
	if (remote) {
		struct remote *rem = rig_remote(g);

		r = remote_image(rem, &sel, &g->h.key, &im, &err);
		if (r < 0)
			remote_close(rem);
	} else {
		r = view_open(replica_store(g->f.replica), &g->h.volume, 1,
			      snap->seq, &v, &err);
		if (r == 0)
			r = image_from_view(v, &g->h.volume, &g->h.key, &im,
					    &err);
	}
	fd = a_target();
	if (r == 0)
		r = restore_run(im, fd, &o, &res, &err);
	image_close(im);
	if (r < 0) {
		EXPECT_TRUE(err.code[0] && err.message[0]);
		close(fd);
		return 1;
	}
	have = malloc(g->h.size_bytes);
	ASSERT_NOT_NULL(have);
	ASSERT_OK(io_pread_all(io_posix(), fd, have, g->h.size_bytes, 0));
	r = memcmp(have, snap->bytes, g->h.size_bytes) ? -1 : 0;
	free(have);
	close(fd);
	return r;
}

TEST(a_damaged_store_gives_errors_and_never_other_bytes)
{
	unsigned int told = 0, equal = 0;
	struct rig g;
	int i;

	rig_init(&g, 100 * (uint64_t)B, 4, 4);
	replica_stop(g.f.replica);
	(void)nftw(g.f.store, note_segment, 16, FTW_PHYS);
	ASSERT_GT(n_segments, 0);
	for (i = 0; i < 25; i++) {
		const char *path =
			segments[rnd_seeded_below(&g.r, n_segments)];
		struct err err = ERR_INIT;
		struct stat st;
		uint64_t at;
		size_t p;

		ASSERT_OK(stat(path, &st));
		at = rnd_seeded_below(&g.r, (uint64_t)st.st_size);
		flip(path, at);
		if (replica_start(&g.f.cfg, &g.f.env, &g.f.replica, &err) < 0) {
			told++;
			flip(path, at);
			continue;
		}
		for (p = 0; p < g.h.n_snaps; p++) {
			int res = judge_damaged(&g, i & 1, &g.h.snaps[p]);

			ASSERT_MSG(res >= 0, "other bytes: %s at %" PRIu64,
				   path, at);
			told += res == 1;
			equal += res == 0;
		}
		replica_stop(g.f.replica);
		flip(path, at);
	}
	tap_note("told %u, equal %u", told, equal);
	EXPECT_GT(told, 0);
	EXPECT_GT(equal, 0);
	history_free(&g.h);
}

TEST(a_replica_that_dies_during_a_restore_fails_it)
{
	static uint8_t got[IMAGE_READ_MAX * B];
	struct err err = ERR_INIT;
	struct image *im;
	struct rig g;
	uint64_t b;
	int r = 0;

	rig_init(&g, 8192 * (uint64_t)B, 1, 900);
	im = rig_image(&g);
	ASSERT_OK(im->ops->read(im, 0, 16, got, &err));
	replica_stop(g.f.replica);
	for (b = 16; r == 0 && b + 256 <= g.h.n_blocks; b += 256) {
		r = im->ops->read(im, b, 256, got, &err);
		if (r == 0)
			ASSERT_MEM(got, g.h.now + b * B, sizeof(got));
	}
	EXPECT_LT(r, 0);
	EXPECT_TRUE(err.code[0] && err.message[0]);
	image_close(im);
	history_free(&g.h);
}

/* ---- a replica that lies: the serve machine with a script ---- */

struct liar {
	struct conn *conn;
	struct history *h;
	pthread_t thread;
	enum lie { TRUTH, FLIPPED_BIT, OTHER_BLOCK, OTHER_VOLUME, OLD_SALT }
		lie;
	bool dumb;			/* has no answer: hangs up */
	struct buf unit;		/* of blocks 0..15 */
	struct delta delta;
};

/* The whole volume is 16 blocks: one unit. */
static void liar_answer(struct liar *l, struct serve *s,
			const struct serve_event *ev)
{
	struct wire_piece p = {
		.first = ev->first, .count = 16, .delta = l->delta,
		.unit = l->unit.data, .unit_bytes = l->unit.len,
	};

	if (l->lie == FLIPPED_BIT)
		l->unit.data[l->unit.len - 100] ^= 1;
	if (l->lie == OLD_SALT)
		p.delta.salt[0] ^= 1;
	if (l->lie == OTHER_VOLUME)
		p.delta.volume.b[0] ^= 1;
	if (l->lie == OTHER_BLOCK)	/* block 16.. of the same delta */
		put_le64(l->unit.data + 8, 0);
	/* Some lies the serve machine itself does not let out. */
	l->dumb = serve_piece(s, &p) < 0 ||
		  serve_read_end(s, ev->first, ev->count) < 0;
}

static void liar_event(struct liar *l, struct serve *s,
		       const struct serve_event *ev)
{
	struct wire_accept a = { .rights = ALL_RIGHTS, .peer_name = "web1",
				 .software = "liar" };
	struct wire_view_state v = { .handle = 1, .volume = l->h->volume,
				     .source = "web1", .name = "db1" };

	(void)uuid_new(rnd_system(), &a.session);
	v.point.epoch = v.point.seq = 1;
	v.point.size_bytes = 16 * (uint64_t)B;
	if (ev->type == SERVE_HELLO)
		(void)serve_accept(s, &a);
	else if (ev->type == SERVE_VIEW_OPEN)
		(void)serve_view(s, &v);
	else if (ev->type == SERVE_VIEW_READ)
		liar_answer(l, s, ev);
}

static void *liar_main(void *arg)
{
	static uint8_t in[65536];
	struct serve *s = serve_new();
	struct liar *l = arg;
	struct serve_event ev;
	int64_t n = 1;

	while (s && n > 0 && !l->dumb) {
		struct buf *out = serve_out(s);

		while (serve_next(s, &ev, NULL) == 0)
			liar_event(l, s, &ev);
		while (out->len && n > 0) {
			n = conn_write(l->conn, out->data, out->len, PEER_MS);
			if (n > 0)
				buf_consume(out, (size_t)n);
		}
		if (n > 0 && !l->dumb)
			n = conn_read(l->conn, in, sizeof(in), PEER_MS);
		if (n > 0 && !l->dumb && serve_feed(s, in, (size_t)n, NULL) < 0)
			break;
	}
	conn_close(l->conn, true);
	serve_free(s);
	return NULL;
}

static int read_from_liar(enum lie lie, struct err *err)
{
	const struct comp_config comp = { .mode = COMP_NONE };
	struct source_env env = { .clock = clock_real(), .rnd = rnd_system() };
	static uint8_t got[16 * B];
	struct liar l = { .lie = lie };
	struct fp fps[16];
	struct remote *remote;
	struct sealer *sealer;
	struct conn *ours;
	struct image *im;
	struct history h;
	uint64_t first = lie == OTHER_BLOCK ? 16 : 0, b;
	int r;

	history_init(&h, "db1", 32 * (uint64_t)B);
	memset(h.now, 'x', 32 * B);
	l.h = &h;
	for (b = 0; b < 16; b++)
		fps[b] = fp_of(&h, first + b);
	sealer = sealer_new(&h.key, &h.volume, 1, 1, &comp, rnd_system());
	ASSERT_NOT_NULL(sealer);
	l.delta = *sealer_delta(sealer);
	ASSERT_OK(sealer_data(sealer, first, 16, h.now + first * B, fps,
			      &l.unit));
	ASSERT_OK(conn_pair(&ours, &l.conn));
	ASSERT_OK(pthread_create(&l.thread, NULL, liar_main, &l));
	ASSERT_OK(remote_over(ours, "dr1", &env, &remote, err));
	ASSERT_OK(remote_image(remote, &latest, &h.key, &im, err));
	memset(got, 0, sizeof(got));
	r = im->ops->read(im, 0, 16, got, err);
	if (r == 0)
		ASSERT_MEM(got, h.now, sizeof(got));
	else
		EXPECT_TRUE(block_is_zero(got, sizeof(got)));
	image_close(im);
	ASSERT_OK(pthread_join(l.thread, NULL));
	sealer_free(sealer);
	buf_free(&l.unit);
	history_free(&h);
	return r;
}

TEST(a_replica_cannot_forge_what_it_gives_back)
{
	struct err err = ERR_INIT;

	EXPECT_OK(read_from_liar(TRUTH, &err));
	EXPECT_LT(read_from_liar(FLIPPED_BIT, &err), 0);
	EXPECT_STR_HAS(err.message, "seal");
	err_clear(&err);
	EXPECT_LT(read_from_liar(OTHER_BLOCK, &err), 0);
	err_clear(&err);
	EXPECT_LT(read_from_liar(OTHER_VOLUME, &err), 0);
	err_clear(&err);
	EXPECT_LT(read_from_liar(OLD_SALT, &err), 0);
}
